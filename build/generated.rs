//! The Rust source that `src/ptx.rs` includes.

use std::fmt::Write;

use super::table::{Instance, Kernel, Table};
use super::{Embedded, Ptx};

/// The variant of an enum that is called so where words are joined by underscores.
fn camel_case(words: &str) -> String {
    let capitalised = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    words.split('_').filter(|word| !word.is_empty()).map(capitalised).collect()
}

/// The form of a kernel of a path, which the end of its name says.
fn form(name: &str) -> String {
    let of = |path: &str, threads| format!("Form::registers(Path::{}, Threads::{threads})", camel_case(path));
    if let Some(path) = name.strip_suffix("_looped") {
        format!("Form::looped(Path::{})", camel_case(path))
    } else if let Some(path) = name.strip_suffix("_paired_lanes") {
        of(path, "PairedLanes")
    } else if let Some(path) = name.strip_suffix("_paired_lines") {
        of(path, "PairedLines")
    } else if let Some(path) = name.strip_suffix("_paired_full") {
        of(path, "PairedFull")
    } else if let Some(path) = name.strip_suffix("_paired_even") {
        of(path, "PairedEven")
    } else if let Some(path) = name.strip_suffix("_paired") {
        of(path, "Paired")
    } else {
        of(name, "Single")
    }
}

/// Rust source that defines `PROVENANCE`, `INSTANCES` and `MODULES`.
pub fn source(table: &Table, embedded: &Embedded, source_hash: &str) -> String {
    let mut text = format!(
        "pub(crate) const PROVENANCE: Provenance = Provenance {{ \
         origin: Origin::{:?}, compiler: {:?}, source_hash: {source_hash:?} }};\n\
         pub(crate) const INSTANCES: &[Instance] = &[\n",
        embedded.origin, embedded.compiler
    );
    // Writing to a String cannot fail.
    for instance in &table.instances {
        let Instance { name, dtype, kernel, paths } = instance;
        let variant = dtype.to_ascii_uppercase();
        let more: String = paths.iter().map(|path| format!(", \"{name}_{dtype}_{path}\"")).collect();
        let forms: String = paths.iter().map(|path| format!(", {}", form(path))).collect();
        // A variant that no enum has is an error of the Rust compiler.
        let _ = match kernel {
            Kernel::Row { statistic, source, sink } => writeln!(
                text,
                "    Instance {{ module: Module {{ statistic: Family::{statistic}, source: Source::{source}, \
                 sink: Sink::{sink}, dtype: DType::{variant} }}, name: {name:?}, \
                 kernels: &[\"{name}_{dtype}_registers\", \"{name}_{dtype}_looped\"{more}], \
                 forms: &[Form::GENERAL, Form::LOOPED{forms}] }},"
            ),
            Kernel::Columns => writeln!(
                text,
                "    Instance {{ module: Module::of_columns(DType::{variant}), name: {name:?}, \
                 kernels: &[\"{name}_{dtype}\"], forms: &[Form::GENERAL] }},"
            ),
        };
    }
    text.push_str("];\n");
    let mut files: Vec<&str> = embedded.modules.iter().map(|ptx| ptx.file.as_str()).collect();
    files.dedup();
    for (at, file) in files.iter().enumerate() {
        let _ = writeln!(text, "static FILE_{at}: &[u8] = {};", embedded.origin.include(file));
    }
    text.push_str("pub(crate) static MODULES: &[EmbeddedModule] = &[\n");
    let mut at = 0;
    for ptx in &embedded.modules {
        let Ptx { instance, target, isa, file, offset, bytes } = ptx;
        at += usize::from(files[at] != file);
        let _ = writeln!(
            text,
            "    EmbeddedModule {{ instance: &INSTANCES[{instance}], target: {target}, isa: {isa:?}, \
             offset: {offset}, ptx_bytes: {bytes}, file: FILE_{at} }},"
        );
    }
    text.push_str("];\n");
    text
}
