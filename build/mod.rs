//! The build script's logic: choose between prebuilt PTX and nvcc, and write
//! `ptx_modules.rs`, which `src/ptx.rs` includes.

mod archs;
mod cubins;
mod env;
mod error;
pub mod fnv;
mod generated;
mod manifest;
mod nvcc;
mod parallel;
mod ptx_header;
mod sources;
mod table;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

pub use error::BuildError;

use archs::ArchList;
use cubins::{Cubins, Wanted};
use env::Env;
use nvcc::{Code, Lookup};
use table::Table;

/// The file written into [`Request::out_dir`].
pub const GENERATED: &str = "ptx_modules.rs";
/// The file beside it, which `src/cubin.rs` includes.
pub const GENERATED_CUBINS: &str = "cubins.rs";
/// Where the CUDA sources are, relative to the package.
pub const KERNELS: &str = "kernels";
/// Where the prebuilt PTX is, relative to the package.
pub const PREBUILT: &str = "kernels/prebuilt";

/// What one run of the build script works on.
pub struct Request<'a> {
    /// The package root (`CARGO_MANIFEST_DIR`).
    pub package: PathBuf,
    /// Where to write (`OUT_DIR`).
    pub out_dir: PathBuf,
    /// How many threads and processes may run at once (`NUM_JOBS`).
    pub jobs: usize,
    /// The environment, which notes the variables that were read.
    env: Env<'a>,
}

impl<'a> Request<'a> {
    /// The request that cargo's variables, read through `get`, amount to.
    ///
    /// # Errors
    /// cargo did not set them: this is not a build script's environment.
    pub fn under_cargo(get: &'a dyn Fn(&str) -> Option<OsString>) -> Result<Self, BuildError> {
        let path = |name| get(name).map(PathBuf::from).ok_or(BuildError::NotUnderCargo { name });
        Ok(Self {
            package: path("CARGO_MANIFEST_DIR")?,
            out_dir: path("OUT_DIR")?,
            jobs: get("NUM_JOBS").and_then(|jobs| jobs.to_str()?.parse().ok()).unwrap_or(1),
            env: Env::new(get),
        })
    }
}

/// One compiled module.
#[derive(Debug)]
pub struct Ptx {
    /// Its place in the table's instances.
    pub instance: usize,
    /// Compute capability × 10.
    pub target: u32,
    /// PTX ISA, (major, minor).
    pub isa: (u32, u32),
    /// The name of the file that is embedded.
    pub file: String,
    /// Bytes of other texts before its own in the file.
    pub offset: usize,
    /// Bytes of its text, or of the machine code in its place.
    pub bytes: usize,
}

/// Where embedded code comes from.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// From [`PREBUILT`], in the package: compressed.
    Prebuilt,
    /// Compiled into `OUT_DIR` by this run: plain text. It is for the machine that compiles it and not for
    /// shipping, and a compressor would run unoptimised in a build script.
    Nvcc,
}

impl Origin {
    /// Rust source of a file's bytes. A path relative to a variable keeps it the same on every machine.
    fn include(self, file: &str) -> String {
        let (variable, folder) = match self {
            Self::Prebuilt => ("CARGO_MANIFEST_DIR", format!("/{PREBUILT}")),
            Self::Nvcc => ("OUT_DIR", String::new()),
        };
        format!("include_bytes!(concat!(env!({variable:?}), \"{folder}/{file}\"))")
    }
}

/// What `WARPNORM_PTX` asks for.
enum Mode {
    Auto,
    Prebuilt,
    Nvcc,
}

struct Embedded {
    origin: Origin,
    compiler: String,
    modules: Vec<Ptx>,
}

/// Writes [`GENERATED`] and returns the lines that cargo is to be told.
///
/// # Errors
/// A variable that cannot be understood, an unreadable file, PTX that does not
/// belong to the sources, or a failing nvcc.
pub fn embed_ptx(request: &Request) -> Result<Vec<String>, BuildError> {
    let kernels = request.package.join(KERNELS);
    let table = table::read(&kernels)?;
    let source_hash = sources::hash(&kernels)?;
    let mode = Mode::read(&request.env)?;
    let archs = ArchList::read(&request.env, &table.targets)?;
    let wanted = if on_docs_rs(&request.env) { Wanted::Shipped } else { Wanted::read(&request.env)? };

    // cargo scans a folder named here for changes, files added and the
    // prebuilt ones included.
    let mut directives = vec![format!("cargo::rerun-if-changed={KERNELS}")];

    let nvcc = match mode {
        Mode::Prebuilt if !matches!(wanted, Wanted::Chips(_)) => None,
        Mode::Prebuilt | Mode::Auto | Mode::Nvcc => Some(nvcc::find(&request.env)?),
    };
    let made = match &wanted {
        Wanted::Chips(chips) => assemble(request, nvcc.as_ref(), &table, chips, &mut directives)?,
        Wanted::Shipped | Wanted::None => Cubins::default(),
    };
    let (embedded, shipped) = match (mode, nvcc) {
        (Mode::Auto | Mode::Nvcc, Some(Lookup::Found(nvcc))) => {
            directives.extend(archs.warning());
            (compile(request, &nvcc, &table, &archs, &mut directives)?, Cubins::default())
        }
        (Mode::Nvcc, Some(Lookup::Missing { searched })) => {
            return Err(BuildError::NvccNotFound { searched });
        }
        (_, lookup) => {
            let searched = lookup.map_or_else(Vec::new, Lookup::into_searched);
            directives.extend(archs.ignored_warning());
            prebuilt(&request.package, &table, &source_hash, searched)?
        }
    };

    let cubins = if wanted == Wanted::Shipped { shipped } else { made };
    write(request.out_dir.join(GENERATED), &generated::source(&table, &embedded, &source_hash))?;
    write(request.out_dir.join(GENERATED_CUBINS), &cubins.source())?;
    directives.extend(request.env.names_read().map(|name| format!("cargo::rerun-if-env-changed={name}")));
    Ok(directives)
}

fn write(path: PathBuf, text: &str) -> Result<(), BuildError> {
    fs::write(&path, text).map_err(|source| BuildError::Io { doing: "write", path, source })
}

/// docs.rs builds without a network and without nvcc.
fn on_docs_rs(env: &Env) -> bool {
    env.var("DOCS_RS").is_some()
}

impl Mode {
    fn read(env: &Env) -> Result<Self, BuildError> {
        if on_docs_rs(env) {
            return Ok(Self::Prebuilt);
        }
        match env.text("WARPNORM_PTX")?.as_deref() {
            None | Some("auto") => Ok(Self::Auto),
            Some("prebuilt") => Ok(Self::Prebuilt),
            Some("nvcc") => Ok(Self::Nvcc),
            Some(other) => Err(BuildError::Mode { given: other.to_owned() }),
        }
    }
}

fn prebuilt(
    package: &Path,
    table: &Table,
    source_hash: &str,
    searched: Vec<String>,
) -> Result<(Embedded, Cubins), BuildError> {
    manifest::load(&package.join(PREBUILT), table, source_hash)
        .map_err(|reason| BuildError::Prebuilt { reason, searched })
}

fn compile(
    request: &Request,
    nvcc: &Path,
    table: &Table,
    archs: &ArchList,
    directives: &mut Vec<String>,
) -> Result<Embedded, BuildError> {
    watch_nvcc(request, nvcc, directives);
    let compiler = nvcc::version(nvcc)?;
    let compiled = nvcc::compile(nvcc, table, (Code::Ptx, archs.targets()), request)?;
    directives.extend(compiled.warnings.iter().map(|line| format!("cargo::warning=nvcc: {line}")));
    Ok(Embedded { origin: Origin::Nvcc, compiler, modules: compiled.modules })
}

/// Machine code for these chips, from nvcc.
fn assemble(
    request: &Request,
    nvcc: Option<&Lookup>,
    table: &Table,
    chips: &[u32],
    directives: &mut Vec<String>,
) -> Result<Cubins, BuildError> {
    match nvcc {
        Some(Lookup::Found(nvcc)) => {
            watch_nvcc(request, nvcc, directives);
            let (cubins, printed) = cubins::compile(nvcc, table, chips, request)?;
            directives.extend(printed.iter().map(|line| format!("cargo::warning=nvcc: {line}")));
            Ok(cubins)
        }
        Some(Lookup::Missing { searched }) => Err(BuildError::CubinsWithoutNvcc { searched: searched.clone() }),
        None => Err(BuildError::CubinsWithoutNvcc { searched: Vec::new() }),
    }
}

/// Has cargo build anew where nvcc is another, or is told other things by what it reads itself.
fn watch_nvcc(request: &Request, nvcc: &Path, directives: &mut Vec<String>) {
    let changed = format!("cargo::rerun-if-changed={}", nvcc.display());
    if !directives.contains(&changed) {
        directives.push(changed);
    }
    for name in ["NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS", "NVCC_CCBIN"] {
        request.env.var(name);
    }
}
