//! `WARPNORM_CUBINS`: the chips that nvcc assembles the kernels for, beside the PTX, so that a driver need not.

use std::fmt::Write;
use std::path::Path;

use super::nvcc::{self, Code};
use super::table::Table;
use super::{BuildError, Env, Request, archs};

const NAME: &str = "WARPNORM_CUBINS";

/// Machine code of one module for one chip.
#[derive(Debug)]
pub struct Cubin {
    /// The module's place in the table's instances.
    pub instance: usize,
    /// Compute capability × 10.
    pub target: u32,
    /// The name of the file in `OUT_DIR`.
    pub file: String,
}

/// The cubins of a build, and what made them.
#[derive(Debug, Default)]
pub struct Cubins {
    compiler: String,
    list: Vec<Cubin>,
}

/// The chips in `WARPNORM_CUBINS`; none where it is not set.
///
/// # Errors
/// The list has an entry that is not a plain number.
pub fn read(env: &Env) -> Result<Vec<u32>, BuildError> {
    env.text(NAME)?.map_or(Ok(Vec::new()), |list| archs::parse(NAME, &list))
}

/// Assembles every module for every chip into the request's `out_dir`. Returns, beside the cubins, what nvcc has said.
///
/// # Errors
/// The first failure, in the order of the modules.
pub fn compile(
    nvcc: &Path,
    table: &Table,
    chips: &[u32],
    request: &Request,
) -> Result<(Cubins, Vec<String>), BuildError> {
    let compiled = nvcc::compile(nvcc, table, (Code::Cubin, chips), request)?;
    let list = compiled.modules.into_iter().map(|module| Cubin {
        instance: module.instance,
        target: module.target,
        file: module.file,
    });
    let cubins = Cubins { compiler: nvcc::version(nvcc)?, list: list.collect() };
    Ok((cubins, compiled.warnings.into_iter().collect()))
}

impl Cubins {
    /// Rust source that defines `COMPILER`, `TOOLKIT` and `CUBINS`.
    pub fn source(&self) -> String {
        let Self { compiler, list } = self;
        // "nvcc 13.0.88"
        let toolkit = compiler.split(' ').nth(1).and_then(|version| version.split('.').next()).unwrap_or("0");
        let mut text = format!(
            "const COMPILER: &str = {compiler:?};\nconst TOOLKIT: u32 = {toolkit};\n\
             static CUBINS: &[EmbeddedCubin] = &[\n"
        );
        for Cubin { instance, target, file } in list {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "    EmbeddedCubin {{ instance: &crate::ptx::INSTANCES[{instance}], target: {target}, \
                 code: &Aligned(*include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{file}\"))) }},"
            );
        }
        text.push_str("];\n");
        text
    }
}
