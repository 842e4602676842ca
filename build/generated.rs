//! The Rust source that `src/ptx.rs` includes.

use std::fmt::Write;

use super::table::{Instance, Table};
use super::{Embedded, Origin, deflate};

/// Rust source that defines `PROVENANCE`, `INSTANCES` and `MODULES`.
pub fn source(table: &Table, embedded: &Embedded, source_hash: &str) -> String {
    let origin = match embedded.origin {
        Origin::Prebuilt => "Prebuilt",
        Origin::Nvcc => "Nvcc",
    };
    let mut text = format!(
        "pub(crate) const PROVENANCE: Provenance = Provenance {{ \
         origin: Origin::{origin}, compiler: {:?}, source_hash: {source_hash:?} }};\n\
         pub(crate) const INSTANCES: &[Instance] = &[\n",
        embedded.compiler
    );
    // Writing to a String cannot fail.
    for instance in &table.instances {
        let Instance { name, dtype, statistic, source, sink } = instance;
        // A variant that no enum has is an error of the Rust compiler.
        let _ = writeln!(
            text,
            "    Instance {{ module: Module {{ statistic: Family::{statistic}, source: Source::{source}, \
             sink: Sink::{sink}, dtype: DType::{} }}, name: {name:?}, \
             kernels: [\"{name}_{dtype}_registers\", \"{name}_{dtype}_looped\"] }},",
            dtype.to_ascii_uppercase()
        );
    }
    text.push_str("];\npub(crate) static MODULES: &[EmbeddedModule] = &[\n");
    for ptx in &embedded.modules {
        // A path relative to a variable keeps the text the same on every machine.
        let _ = writeln!(
            text,
            "    EmbeddedModule {{ instance: &INSTANCES[{}], target: {}, isa: {:?}, \
             ptx_bytes: {}, deflated: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{}\")) }},",
            ptx.instance,
            ptx.target,
            ptx.isa,
            ptx.text.len(),
            deflate::file(ptx)
        );
    }
    text.push_str("];\n");
    text
}
