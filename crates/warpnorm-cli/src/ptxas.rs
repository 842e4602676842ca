//! ptxas, NVIDIA's assembler: what it makes of the kernels. It needs no GPU.

use crate::error::{ToolError, one_line};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use warpnorm::ptx::EmbeddedModule;

/// What ptxas says of a kernel, or of a function that it left out of line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assembled {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of a thread's stack: local memory, spills among it.
    pub stack_bytes: u32,
    /// Bytes stored and loaded by spills, by a thread.
    pub spill_bytes: u32,
    /// Bytes of shared memory that the kernel declares.
    pub static_shared_bytes: u32,
}

impl Assembled {
    /// Whether it uses local memory: the kernels are written to live in registers.
    pub fn leaves_registers(&self) -> bool {
        self.stack_bytes > 0 || self.spill_bytes > 0
    }
}

/// What ptxas says of the functions of a module, by name.
pub type Functions = BTreeMap<String, Assembled>;

/// An executable of the assembler.
pub struct Ptxas {
    path: PathBuf,
    /// Its version, such as `13.0.88`.
    pub version: String,
}

impl Ptxas {
    /// The one at this path, or else the first of `CUDA_HOME`, `CUDA_PATH` and `PATH`; None where it is
    /// in none of these.
    ///
    /// # Errors
    /// What was given or found does not run.
    pub fn find(given: Option<&Path>) -> Result<Option<Ptxas>, ToolError> {
        let found = given.map(Path::to_owned).or_else(|| look_up(|name| std::env::var_os(name)));
        found.map(Ptxas::open).transpose()
    }

    fn open(path: PathBuf) -> Result<Ptxas, ToolError> {
        let said = run(&path, &[OsStr::new("--version")])?;
        // Its last lines: `Cuda compilation tools, release 13.0, V13.0.88` and a build's name.
        let version = said.split_whitespace().rev().find_map(|word| word.strip_prefix('V'));
        match version {
            Some(version) => Ok(Ptxas { version: version.to_owned(), path }),
            None => Err(ToolError::Ptxas { path, reason: "it does not state a version".to_owned() }),
        }
    }

    /// Assembles modules, each for the chip of a compute capability, and returns what is said of their
    /// functions, in the same order.
    ///
    /// # Errors
    /// A module does not assemble, or not every kernel of it is reported.
    pub fn assemble(&self, modules: &[(&EmbeddedModule, (u32, u32))]) -> Result<Vec<Functions>, ToolError> {
        let next = AtomicUsize::new(0);
        let work = || -> Vec<(usize, Result<Functions, ToolError>)> {
            let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&index| index < modules.len());
            std::iter::from_fn(take)
                .map(|index| (index, self.assemble_one(modules[index].0, modules[index].1)))
                .collect()
        };
        let mut done = thread::scope(|scope| {
            let threads = thread::available_parallelism().map_or(1, |threads| threads.get());
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let parts = running.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            parts.flatten().collect::<Vec<_>>()
        });
        done.sort_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, functions)| functions).collect()
    }

    fn assemble_one(&self, module: &EmbeddedModule, capability: (u32, u32)) -> Result<Functions, ToolError> {
        let fail = |reason: String| ToolError::Ptxas { path: self.path.clone(), reason };
        let mut file = tempfile::NamedTempFile::with_suffix(".ptx").map_err(|error| fail(error.to_string()))?;
        file.write_all(module.ptx().as_bytes()).map_err(|error| fail(error.to_string()))?;
        let chip = format!("--gpu-name=sm_{}{}", capability.0, capability.1);
        let options = ["--verbose", &chip, "--output-file=/dev/null"].map(OsStr::new);
        let said = run(&self.path, &[&options[..], &[file.path().as_os_str()]].concat())?;
        let functions = parse(&said);
        match module.kernels().iter().find(|kernel| functions.get(**kernel).is_none_or(|of| of.registers == 0)) {
            None => Ok(functions),
            Some(kernel) => Err(fail(format!("it says nothing of kernel {kernel}"))),
        }
    }
}

fn look_up(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(&variable).map(|home| Path::new(&home).join("bin"));
    let folders: Vec<PathBuf> = variable("PATH").iter().flat_map(std::env::split_paths).collect();
    let name = format!("ptxas{}", std::env::consts::EXE_SUFFIX);
    homes.chain(folders).map(|folder| folder.join(&name)).find(|path| path.is_file())
}

fn run(path: &Path, arguments: &[&OsStr]) -> Result<String, ToolError> {
    let fail = |reason: String| ToolError::Ptxas { path: path.to_owned(), reason };
    let output = Command::new(path).args(arguments).output().map_err(|error| fail(error.to_string()))?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if output.status.success() { Ok(said) } else { Err(fail(format!("{}: {}", output.status, one_line(&said)))) }
}

/// The number before a phrase, as in `16 bytes spill stores`.
fn before(line: &str, phrase: &str) -> Option<u32> {
    let (head, _) = line.split_once(phrase)?;
    head.split_whitespace().next_back()?.parse().ok()
}

fn parse(report: &str) -> Functions {
    let mut functions = Functions::new();
    let mut current = None;
    for line in report.lines() {
        if let Some((_, name)) = line.split_once("Function properties for ") {
            current = Some(name.trim().to_owned());
        }
        let Some(function) = current.clone().map(|name| functions.entry(name).or_default()) else { continue };
        if let Some(bytes) = before(line, " bytes stack frame") {
            function.stack_bytes = bytes;
            let spills = [" bytes spill stores", " bytes spill loads"];
            function.spill_bytes = spills.iter().filter_map(|phrase| before(line, phrase)).sum();
        }
        if let Some(registers) = before(line, " registers") {
            function.registers = registers;
            function.static_shared_bytes = before(line, " bytes smem").unwrap_or(0);
        }
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
ptxas info    : 356 bytes gmem
ptxas info    : Compiling entry function 'one' for 'sm_90'
ptxas info    : Function properties for one
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 61 registers, used 1 barriers, 640 bytes smem
ptxas info    : Compile time = 293.158 ms
ptxas info    : Compiling entry function 'two' for 'sm_90'
ptxas info    : Function properties for two
    40 bytes stack frame, 24 bytes spill stores, 36 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers, 40 bytes cumulative stack size
";

    #[test]
    fn reports_are_read() {
        let one = Assembled { registers: 61, stack_bytes: 0, spill_bytes: 0, static_shared_bytes: 640 };
        let two = Assembled { registers: 255, stack_bytes: 40, spill_bytes: 60, static_shared_bytes: 0 };
        let wanted = BTreeMap::from([("one".to_owned(), one), ("two".to_owned(), two)]);
        assert_eq!(parse(REPORT), wanted);
        assert_eq!(parse("ptxas fatal   : Unresolved extern function\n"), BTreeMap::new());
    }

    #[test]
    fn homes_come_before_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let home = folder.path().join(name);
            std::fs::create_dir_all(home.join("bin")).unwrap();
            std::fs::write(home.join("bin/ptxas"), "").unwrap();
            home
        };
        let (home, path) = (place("home"), place("path"));
        let found = |home: Option<&Path>, path: Option<&Path>| {
            look_up(|name| match name {
                "CUDA_HOME" => Some(folder.path().join("no such folder").into_os_string()),
                "CUDA_PATH" => home.map(|home| home.as_os_str().to_owned()),
                _ => path.map(|path| std::env::join_paths([folder.path(), &path.join("bin")]).unwrap()),
            })
        };
        assert_eq!(found(Some(&home), Some(&path)), Some(home.join("bin/ptxas")));
        assert_eq!(found(None, Some(&path)), Some(path.join("bin/ptxas")));
        assert_eq!(found(None, None), None);
    }
}
