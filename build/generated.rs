//! The Rust source that `src/ptx.rs` includes.

use std::fmt::Write;

use super::{Embedded, Origin, PREBUILT};

/// Rust source that defines `PROVENANCE` and `MODULES`.
pub fn source(embedded: &Embedded, source_hash: &str) -> String {
    // A path relative to a variable keeps the text the same on every machine.
    let (origin, root) = match embedded.origin {
        Origin::Prebuilt => ("Prebuilt", format!("env!(\"CARGO_MANIFEST_DIR\"), \"/{PREBUILT}/")),
        Origin::Nvcc => ("Nvcc", "env!(\"OUT_DIR\"), \"/".to_owned()),
    };
    let mut text = format!(
        "pub(crate) const PROVENANCE: Provenance = Provenance {{ \
         origin: Origin::{origin}, compiler: {:?}, source_hash: {source_hash:?} }};\n\
         pub(crate) static MODULES: &[EmbeddedModule] = &[\n",
        embedded.compiler
    );
    for ptx in &embedded.modules {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "    EmbeddedModule {{ family: {:?}, dtype: {:?}, target: {}, isa: {:?}, \
             ptx: include_str!(concat!({root}{}\")) }},",
            ptx.family, ptx.dtype, ptx.target, ptx.isa, ptx.file
        );
    }
    text.push_str("];\n");
    text
}
