//! Finding nvcc and running it, once per module.

use std::collections::BTreeSet;
use std::env::{consts::EXE_SUFFIX, split_paths};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::table::Table;
use super::{BuildError, Env, KERNELS, Ptx, Request, parallel, ptx_header};

/// What the search for nvcc came to.
pub enum Lookup {
    /// Its path.
    Found(PathBuf),
    /// Where it was looked for, in words.
    Missing { searched: Vec<String> },
}

impl Lookup {
    /// Where nvcc was looked for in vain.
    pub fn into_searched(self) -> Vec<String> {
        match self {
            Self::Found(_) => Vec::new(),
            Self::Missing { searched } => searched,
        }
    }
}

/// Looks for nvcc: `NVCC`, `$CUDA_HOME/bin`, `$CUDA_PATH/bin`, `PATH`.
///
/// # Errors
/// `NVCC` is set and names no file: an explicit wish is not passed over.
pub fn find(env: &Env) -> Result<Lookup, BuildError> {
    let mut searched = Vec::new();
    if let Some(given) = env.var("NVCC").map(PathBuf::from) {
        // A bare name is searched for, as a shell would.
        let found =
            if given.components().count() > 1 { given.is_file().then(|| given.clone()) } else { on_path(env, &given) };
        return found.map(Lookup::Found).ok_or(BuildError::NvccVariable { given });
    }
    searched.push("NVCC (not set)".to_owned());

    let executable = format!("nvcc{EXE_SUFFIX}");
    for name in ["CUDA_HOME", "CUDA_PATH"] {
        let Some(home) = env.var(name) else {
            searched.push(format!("{name} (not set)"));
            continue;
        };
        let candidate = Path::new(&home).join("bin").join(&executable);
        if candidate.is_file() {
            return Ok(Lookup::Found(candidate));
        }
        searched.push(format!("{name} ({} is no file)", candidate.display()));
    }
    match on_path(env, Path::new(&executable)) {
        Some(found) => Ok(Lookup::Found(found)),
        None => {
            searched.push("PATH (no folder of it holds nvcc)".to_owned());
            Ok(Lookup::Missing { searched })
        }
    }
}

fn on_path(env: &Env, executable: &Path) -> Option<PathBuf> {
    split_paths(&env.var("PATH")?).map(|folder| folder.join(executable)).find(|candidate| candidate.is_file())
}

/// The compiler's name and version, as in `nvcc 13.0.88`.
///
/// # Errors
/// nvcc cannot be run, fails, or does not say its version.
pub fn version(nvcc: &Path) -> Result<String, BuildError> {
    let mut command = Command::new(nvcc);
    command.arg("--version");
    let output = run(&mut command)?;
    // "Cuda compilation tools, release 13.0, V13.0.88"
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .find_map(|word| word.strip_prefix('V').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit())))
        .map(|version| format!("nvcc {version}"))
        .ok_or_else(|| BuildError::Nvcc {
            command: format!("{command:?}"),
            problem: "it printed no version".to_owned(),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
        })
}

/// What a successful compilation left.
pub struct Compiled {
    /// In the order of the table, then of the targets.
    pub modules: Vec<Ptx>,
    /// Lines that nvcc printed all the same, each once.
    pub warnings: BTreeSet<String>,
}

/// What nvcc makes of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// PTX for a virtual architecture.
    Ptx,
    /// Machine code for a chip: an ELF file.
    Cubin,
}

/// Compiles every module for every target into the request's `out_dir`.
///
/// # Errors
/// The first failure, in the order of the modules.
pub fn compile(
    nvcc: &Path,
    table: &Table,
    (code, targets): (Code, &[u32]),
    request: &Request,
) -> Result<Compiled, BuildError> {
    let modules = table.expand(targets);
    let Request { package, out_dir, jobs, .. } = request;
    let results =
        parallel::map(&modules, *jobs, |&module| compile_module(nvcc, table, module, code, (package, out_dir)));
    let mut compiled = Compiled { modules: Vec::with_capacity(results.len()), warnings: BTreeSet::new() };
    for result in results {
        let (ptx, printed) = result?;
        compiled.modules.push(ptx);
        compiled.warnings.extend(printed.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
    }
    Ok(compiled)
}

fn compile_module(
    nvcc: &Path,
    table: &Table,
    (at, target): (usize, u32),
    code: Code,
    (package, out_dir): (&Path, &Path),
) -> Result<(Ptx, String), BuildError> {
    let instance = &table.instances[at];
    let (kind, architecture, file) = match code {
        Code::Ptx => ("--ptx", "compute", instance.file(target)),
        Code::Cubin => ("--cubin", "sm", instance.cubin_file(target)),
    };
    let path = out_dir.join(&file);
    let mut command = Command::new(nvcc);
    // Relative source paths: nvcc mixes the path into the names of symbols
    // with internal linkage, and the PTX is to be the same on every machine.
    command
        .current_dir(package)
        .arg(kind)
        .arg(format!("--gpu-architecture={architecture}_{target}"))
        .args(&table.flags)
        .args(instance.defines(target))
        .args(["-I", KERNELS, "-o"])
        .arg(&path)
        .arg(format!("{KERNELS}/{}", instance.source_file()));
    let output = run(&mut command)?;
    let unfit = |problem| BuildError::Nvcc {
        command: format!("{command:?}"),
        problem: format!("the {} it wrote cannot be used: {problem}", if code == Code::Ptx { "PTX" } else { "cubin" }),
        output: printed(&output),
    };
    if code == Code::Cubin {
        let bytes = fs::read(&path).map_err(|source| BuildError::Io { doing: "read", path, source })?;
        if !bytes.starts_with(b"\x7fELF") {
            return Err(unfit("it is no ELF file".to_owned()));
        }
        let cubin = Ptx { instance: at, target, isa: (0, 0), file, offset: 0, bytes: bytes.len() };
        return Ok((cubin, printed(&output)));
    }
    let ptx = fs::read_to_string(&path).map_err(|source| BuildError::Io { doing: "read", path, source })?;
    let header = ptx_header::parse(&ptx).map_err(unfit)?;
    if header.target != target {
        return Err(unfit(format!("its target is sm_{}", header.target)));
    }
    let module = Ptx { instance: at, target, isa: header.isa, file, offset: 0, bytes: ptx.len() };
    Ok((module, printed(&output)))
}

fn run(command: &mut Command) -> Result<Output, BuildError> {
    let failed = |problem: String, output: String, command: &Command| BuildError::Nvcc {
        command: format!("{command:?}"),
        problem,
        output,
    };
    let output =
        command.output().map_err(|error| failed(format!("it cannot be run: {error}"), String::new(), command))?;
    if output.status.success() { Ok(output) } else { Err(failed(output.status.to_string(), printed(&output), command)) }
}

fn printed(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
    // Where the host compiler is cl.exe, messages come on the other stream.
    text.push_str(&String::from_utf8_lossy(&output.stdout));
    text
}
