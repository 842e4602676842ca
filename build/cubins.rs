//! Machine code beside the PTX, so that a driver need not compile it: what comes with the prebuilt PTX, or what
//! `WARPNORM_CUBINS` has nvcc make.

use std::fmt::Write;
use std::path::Path;

use super::nvcc::{self, Code};
use super::table::Table;
use super::{BuildError, Env, Origin, Request, archs};

const NAME: &str = "WARPNORM_CUBINS";

/// Machine code of one module for one chip.
#[derive(Debug)]
pub struct Cubin {
    /// The module's place in the table's instances.
    pub instance: usize,
    /// Compute capability × 10.
    pub target: u32,
    /// The name of the file that is embedded.
    pub file: String,
    /// Bytes of the ELF file.
    pub bytes: usize,
}

/// The cubins of a build, and what made them.
#[derive(Debug)]
pub struct Cubins {
    pub origin: Origin,
    /// A name and a version; empty where there are none.
    pub compiler: String,
    pub list: Vec<Cubin>,
}

impl Default for Cubins {
    fn default() -> Self {
        Self { origin: Origin::Prebuilt, compiler: String::new(), list: Vec::new() }
    }
}

/// What `WARPNORM_CUBINS` asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Those that come with the prebuilt PTX, where that is embedded.
    Shipped,
    None,
    /// Those for these chips, from nvcc.
    Chips(Vec<u32>),
}

impl Wanted {
    /// What is asked for; what is shipped, where the variable is not set.
    ///
    /// # Errors
    /// The list has an entry that is not a plain number.
    pub fn read(env: &Env) -> Result<Self, BuildError> {
        match env.text(NAME)?.as_deref() {
            None => Ok(Self::Shipped),
            Some("none") => Ok(Self::None),
            Some(list) => archs::parse(NAME, list).map(Self::Chips),
        }
    }
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
        bytes: module.bytes,
    });
    let cubins = Cubins { origin: Origin::Nvcc, compiler: nvcc::version(nvcc)?, list: list.collect() };
    Ok((cubins, compiled.warnings.into_iter().collect()))
}

impl Cubins {
    /// Rust source that defines `ORIGIN`, `COMPILER`, `TOOLKIT` and `CUBINS`.
    pub fn source(&self) -> String {
        let Self { origin, compiler, list } = self;
        // "nvcc 13.0.88"
        let toolkit = compiler.split(' ').nth(1).and_then(|version| version.split('.').next()).unwrap_or("0");
        let mut text = format!(
            "const ORIGIN: Origin = Origin::{origin:?};\nconst COMPILER: &str = {compiler:?};\n\
             const TOOLKIT: u32 = {toolkit};\nstatic CUBINS: &[EmbeddedCubin] = &[\n"
        );
        for Cubin { instance, target, file, bytes } in list {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "    EmbeddedCubin {{ instance: &crate::ptx::INSTANCES[{instance}], target: {target}, \
                 code_bytes: {bytes}, file: &Aligned(*{}) }},",
                origin.include(file)
            );
        }
        text.push_str("];\n");
        text
    }
}
