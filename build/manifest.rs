//! `kernels/prebuilt/manifest.txt`: what the prebuilt PTX was made from.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::table::Table;
use super::{Ptx, fnv, ptx_header};

/// The manifest's name in the folder of the prebuilt files.
const FILE: &str = "manifest.txt";

#[derive(Debug, Default)]
struct Manifest {
    source_hash: String,
    compiler: String,
    /// File name to hash.
    files: BTreeMap<String, String>,
}

/// Checks the prebuilt folder against the table and the sources' hash, and
/// returns the compiler's name and the modules.
///
/// # Errors
/// Why the folder cannot be used.
pub fn load(folder: &Path, table: &Table, source_hash: &str) -> Result<(String, Vec<Ptx>), String> {
    let path = folder.join(FILE);
    let text = fs::read_to_string(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let manifest = parse(&text).map_err(|problem| format!("{}: {problem}", path.display()))?;
    if manifest.source_hash != source_hash {
        return Err(format!(
            "it was made from sources with the hash {}, and the sources here have {source_hash}",
            manifest.source_hash
        ));
    }
    let modules = table
        .expand(&table.targets)
        .into_iter()
        .map(|(instance, target)| {
            let file = table.instances[instance].file(target);
            let (isa, text) = check_file(folder, &file, &manifest, target, table.max_isa)
                .map_err(|problem| format!("{file}: {problem}"))?;
            Ok(Ptx { instance, target, isa, file, text })
        })
        .collect::<Result<_, String>>()?;
    Ok((manifest.compiler, modules))
}

fn check_file(
    folder: &Path,
    file: &str,
    manifest: &Manifest,
    target: u32,
    max_isa: (u32, u32),
) -> Result<((u32, u32), String), String> {
    let wanted = manifest.files.get(file).ok_or("the manifest does not list it")?;
    let ptx = fs::read_to_string(folder.join(file)).map_err(|error| error.to_string())?;
    let found = fnv::of_text(ptx.as_bytes());
    if found != *wanted {
        return Err(format!("its hash is {found}, and the manifest has {wanted}: it was changed by hand"));
    }
    let header = ptx_header::parse(&ptx)?;
    if header.target != target {
        return Err(format!("its target is sm_{}", header.target));
    }
    if header.isa > max_isa {
        return Err(format!(
            "its PTX ISA is {}.{}, and modules.txt allows {}.{}",
            header.isa.0, header.isa.1, max_isa.0, max_isa.1
        ));
    }
    Ok((header.isa, ptx))
}

fn parse(text: &str) -> Result<Manifest, String> {
    let mut manifest = Manifest::default();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let malformed = || format!("line {}: `{line}` is not a line of a manifest", at + 1);
        let (key, value) = line.split_once(' ').ok_or_else(malformed)?;
        match key {
            "source-hash" => manifest.source_hash = value.to_owned(),
            "compiler" => manifest.compiler = value.to_owned(),
            // For the reader: the files themselves and modules.txt say it too.
            "isa" | "flags" | "targets" => {}
            "file" => {
                let (file, hash) = value.split_once(' ').ok_or_else(malformed)?;
                manifest.files.insert(file.to_owned(), hash.to_owned());
            }
            _ => return Err(malformed()),
        }
    }
    if manifest.source_hash.is_empty() || manifest.compiler.is_empty() {
        return Err("a `source-hash` and a `compiler` line are wanted".to_owned());
    }
    Ok(manifest)
}
