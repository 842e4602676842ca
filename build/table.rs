//! `kernels/modules.txt`: what is compiled, and how. The file itself explains
//! its lines.

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
    /// (family, dtype), sorted.
    pub modules: Vec<(String, String)>,
}

impl Table {
    /// Every (family, dtype, target) for these targets, sorted.
    pub fn expand(&self, targets: &[u32]) -> Vec<(&str, &str, u32)> {
        self.modules
            .iter()
            .flat_map(|(family, dtype)| targets.iter().map(move |&target| (family.as_str(), dtype.as_str(), target)))
            .collect()
    }
}

/// The name of a module's PTX file.
pub fn ptx_file(family: &str, dtype: &str, target: u32) -> String {
    format!("{family}.{dtype}.sm_{target}.ptx")
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
        ("module", table.modules.is_empty()),
    ];
    if let Some((key, _)) = missing.iter().find(|(_, missing)| *missing) {
        return Err(format!("there is no `{key}` line"));
    }
    table.targets.sort_unstable();
    table.modules.sort_unstable();
    if let Some(pair) = table.modules.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("{} {} is listed twice", pair[0].0, pair[0].1));
    }
    Ok(table)
}

fn parse_line(line: &str, table: &mut Table) -> Result<(), String> {
    let mut words = line.split_whitespace();
    let key = words.next().unwrap_or_default();
    let mut words = words.peekable();
    if words.peek().is_none() {
        return Err("a value is wanted".to_owned());
    }
    match key {
        "targets" => {
            table.targets = words
                .map(|word| word.parse().map_err(|_| format!("`{word}` is not a number")))
                .collect::<Result<_, _>>()?;
        }
        "flags" => table.flags = words.map(str::to_owned).collect(),
        "max-isa" => {
            table.max_isa = words.next().and_then(ptx_header::parse_isa).ok_or("<major>.<minor> is wanted")?;
        }
        "module" => {
            let family = identifier(words.next().unwrap_or_default())?;
            if words.peek().is_none() {
                return Err("at least one dtype is wanted".to_owned());
            }
            for dtype in words {
                table.modules.push((family.clone(), identifier(dtype)?));
            }
        }
        _ => return Err("the first word is not one of targets, flags, max-isa, module".to_owned()),
    }
    Ok(())
}

/// Families and dtypes become file names and parts of macro names.
fn identifier(word: &str) -> Result<String, String> {
    if word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
        Ok(word.to_owned())
    } else {
        Err(format!("`{word}` has other characters than a-z, 0-9 and _"))
    }
}
