//! `kernels/modules.txt`: what is compiled, and how. The file itself explains
//! its lines.

use std::fmt;
use std::fs;
use std::path::Path;

use super::{BuildError, ptx_header};

/// The table's name in the folder of the kernels.
pub const FILE: &str = "modules.txt";

/// What `modules.txt` says.
#[derive(Debug, Default)]
pub struct Table {
    /// Compute capabilities × 10, ascending.
    pub targets: Vec<u32>,
    /// Compiler flags that NVRTC and nvcc share.
    pub flags: Vec<String>,
    /// The newest PTX ISA allowed in prebuilt files.
    pub max_isa: (u32, u32),
    /// The chips whose machine code comes with the prebuilt PTX, compute capability × 10.
    pub cubins: Vec<u32>,
    /// By name and dtype, sorted.
    pub instances: Vec<Instance>,
}

/// One instance of a kernel: a `module` or `columns` line for one of its dtypes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// What its files and its exported kernels begin with.
    pub name: String,
    /// The activation dtype.
    pub dtype: String,
    /// What it is an instance of.
    pub kernel: Kernel,
    /// Kernels beside those for all calls and for long rows, of targets that [have them](FIRST_WITH_PATHS).
    pub paths: Vec<String>,
}

/// The first target whose modules have kernels of other paths than the general one; scripts/nvrtc_compile.py has the
/// same.
pub const FIRST_WITH_PATHS: u32 = 90;

/// A kernel of the sources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kernel {
    /// The row kernel.
    Row {
        /// The statistic, as CUDA and Rust name it.
        statistic: String,
        /// The source.
        source: String,
        /// The sink.
        sink: String,
    },
    /// The kernel of columns.
    Columns,
}

impl Instance {
    /// The name of the file that holds the PTX for all targets, uncompressed.
    pub fn bundle(&self) -> String {
        format!("{}.{}.ptx", self.name, self.dtype)
    }

    /// The name of the PTX file for a target.
    pub fn file(&self, target: u32) -> String {
        format!("{}.{}.sm_{target}.ptx", self.name, self.dtype)
    }

    /// The name of the cubin for a chip.
    pub fn cubin_file(&self, target: u32) -> String {
        format!("{}.{}.sm_{target}.cubin", self.name, self.dtype)
    }

    /// The source file that it is compiled from.
    pub fn source_file(&self) -> &'static str {
        match self.kernel {
            Kernel::Row { .. } => "row.cu",
            Kernel::Columns => "columns.cu",
        }
    }

    /// What the compiler for a target is told of it.
    pub fn defines(&self, target: u32) -> Vec<String> {
        let mut defines = vec![format!("-DWARPNORM_MODULE={}", self.name)];
        if let Kernel::Row { statistic, source, sink } = &self.kernel {
            defines.extend([
                format!("-DWARPNORM_STATISTIC={statistic}"),
                format!("-DWARPNORM_SOURCE={source}"),
                format!("-DWARPNORM_SINK={sink}"),
            ]);
        }
        defines.push(format!("-DWARPNORM_ACTIVATION_{}", self.dtype.to_ascii_uppercase()));
        if target >= FIRST_WITH_PATHS {
            defines.extend(self.paths.iter().map(|path| format!("-DWARPNORM_PATH_{}", path.to_ascii_uppercase())));
        }
        defines
    }
}

/// The words of its line behind the name; the key, where there are none.
impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kernel::Row { statistic, source, sink } => write!(f, "{statistic} {source} {sink}"),
            Kernel::Columns => f.write_str("columns"),
        }
    }
}

impl Table {
    /// The place of every instance, for every one of these targets, sorted.
    pub fn expand(&self, targets: &[u32]) -> Vec<(usize, u32)> {
        (0..self.instances.len()).flat_map(|at| targets.iter().map(move |&target| (at, target))).collect()
    }
}

/// Reads the table in `kernels`.
///
/// # Errors
/// The file cannot be read, or a line is malformed.
pub fn read(kernels: &Path) -> Result<Table, BuildError> {
    let path = kernels.join(FILE);
    let text =
        fs::read_to_string(&path).map_err(|source| BuildError::Io { doing: "read", path: path.clone(), source })?;
    parse(&text).map_err(|problem| BuildError::Table { path, problem })
}

fn parse(text: &str) -> Result<Table, String> {
    let mut table = Table::default();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        parse_line(line, &mut table).map_err(|problem| format!("line {}: `{line}`: {problem}", at + 1))?;
    }
    let missing = [
        ("targets", table.targets.is_empty()),
        ("flags", table.flags.is_empty()),
        ("max-isa", table.max_isa == (0, 0)),
        ("module", table.instances.is_empty()),
    ];
    if let Some((key, _)) = missing.iter().find(|(_, missing)| *missing) {
        return Err(format!("there is no `{key}` line"));
    }
    table.targets.sort_unstable();
    table.cubins.sort_unstable();
    table.instances.sort_unstable();
    check_unique(&table.instances)?;
    Ok(table)
}

/// A name and dtype are one PTX file, a name is one kernel for all its dtypes, and what a call asks for is
/// one module.
fn check_unique(instances: &[Instance]) -> Result<(), String> {
    for (at, one) in instances.iter().enumerate() {
        for other in &instances[at + 1..] {
            let same_name = one.name == other.name;
            let same_kernel = one.kernel == other.kernel;
            if same_name && !same_kernel {
                return Err(format!("{} is both {} and {}", one.name, one.kernel, other.kernel));
            }
            if same_name && one.dtype == other.dtype {
                return Err(format!("{} {} is listed twice", one.name, one.dtype));
            }
            if same_kernel && one.dtype == other.dtype {
                let [one_is, other_is] = [one, other].map(|instance| format!("{} {}", instance.name, instance.dtype));
                return Err(format!("{one_is} and {other_is} are both {}", one.kernel));
            }
        }
    }
    Ok(())
}

fn parse_line(line: &str, table: &mut Table) -> Result<(), String> {
    let mut words = line.split_whitespace();
    let key = words.next().unwrap_or_default();
    let mut words = words.peekable();
    if words.peek().is_none() {
        return Err("a value is wanted".to_owned());
    }
    match key {
        "targets" => table.targets = numbers(words)?,
        "cubins" => table.cubins = numbers(words)?,
        "flags" => table.flags = words.map(str::to_owned).collect(),
        "max-isa" => {
            table.max_isa = words.next().and_then(ptx_header::parse_isa).ok_or("<major>.<minor> is wanted")?;
        }
        "module" => {
            let mut next = || words.next().ok_or("<name> <Statistic> <Source> <Sink> <dtype>... is wanted");
            let (name, statistic, source, sink) = (next()?, next()?, next()?, next()?);
            let name = identifier(name)?;
            let (statistic, source, sink) = (type_name(statistic)?, type_name(source)?, type_name(sink)?);
            instances(&name, &Kernel::Row { statistic, source, sink }, words, table)?;
        }
        "paths" => {
            let (name, dtypes) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let paths = words.map(identifier).collect::<Result<Vec<_>, _>>()?;
            if paths.is_empty() {
                return Err("<name> <dtype>,... <path>... is wanted".to_owned());
            }
            for dtype in dtypes.split(',') {
                let is_meant = |instance: &&mut Instance| instance.name == name && instance.dtype == dtype;
                let instance = table.instances.iter_mut().find(is_meant);
                instance.ok_or(format!("no module above is {name} of {dtype}"))?.paths.clone_from(&paths);
            }
        }
        "columns" => {
            let name = identifier(words.next().unwrap_or_default())?;
            instances(&name, &Kernel::Columns, words, table)?;
        }
        _ => {
            return Err(
                "the first word is not one of targets, flags, max-isa, cubins, module, paths, columns".to_owned()
            );
        }
    }
    Ok(())
}

fn numbers<'a>(words: impl Iterator<Item = &'a str>) -> Result<Vec<u32>, String> {
    words.map(|word| word.parse().map_err(|_| format!("`{word}` is not a number"))).collect()
}

/// The instances of a line, which ends in dtypes.
fn instances<'a>(
    name: &str,
    kernel: &Kernel,
    dtypes: impl Iterator<Item = &'a str>,
    table: &mut Table,
) -> Result<(), String> {
    let before = table.instances.len();
    for dtype in dtypes {
        let (name, dtype) = (name.to_owned(), identifier(dtype)?);
        table.instances.push(Instance { name, dtype, kernel: kernel.clone(), paths: Vec::new() });
    }
    if table.instances.len() == before { Err("at least one dtype is wanted".to_owned()) } else { Ok(()) }
}

/// Names and dtypes become file names and parts of C identifiers.
fn identifier(word: &str) -> Result<String, String> {
    if word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
        Ok(word.to_owned())
    } else {
        Err(format!("`{word}` has other characters than a-z, 0-9 and _"))
    }
}

/// Statistics, sources and sinks are types of CUDA and variants of Rust enums.
fn type_name(word: &str) -> Result<String, String> {
    if word.starts_with(|c: char| c.is_ascii_uppercase()) && word.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        Ok(word.to_owned())
    } else {
        Err(format!("`{word}` is not a type's name: a capital letter, then letters and digits"))
    }
}
