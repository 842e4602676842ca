//! `kernels/prebuilt/manifest.txt`: what the prebuilt PTX and machine code were made from, and what is in their files,
//! which are compressed and which this script does not decompress.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::cubins::{Cubin, Cubins};
use super::table::Table;
use super::{Embedded, Origin, Ptx, fnv, ptx_header};

/// The manifest's name in the folder of the prebuilt files.
const FILE: &str = "manifest.txt";

#[derive(Debug, Default)]
struct Manifest {
    source_hash: String,
    compiler: String,
    assembler: String,
    /// Those of PTX, by name.
    files: BTreeMap<String, Vec<ListedText>>,
    /// By name.
    cubins: BTreeMap<String, ListedCubin>,
}

/// What the manifest says of a text in a file.
#[derive(Debug)]
struct ListedText {
    hash: String,
    /// PTX ISA, (major, minor), of its `.version`.
    isa: (u32, u32),
    /// Compute capability × 10, of its `.target`.
    target: u32,
    /// Bytes of the texts before it in the file.
    offset: usize,
    /// Bytes of the PTX text.
    text_bytes: usize,
}

/// What the manifest says of machine code.
#[derive(Debug)]
struct ListedCubin {
    hash: String,
    /// Bytes of the ELF file.
    bytes: usize,
}

/// Checks the prebuilt folder against the table and the sources' hash, and returns what is in it.
///
/// # Errors
/// Why the folder cannot be used.
pub fn load(folder: &Path, table: &Table, source_hash: &str) -> Result<(Embedded, Cubins), String> {
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
            let file = format!("{}.lzma", table.instances[instance].bundle());
            let listed = check_text(folder, &file, &manifest, target, table.max_isa)
                .map_err(|problem| format!("{file}: {problem}"))?;
            Ok(Ptx { instance, target, isa: listed.isa, file, offset: listed.offset, bytes: listed.text_bytes })
        })
        .collect::<Result<_, String>>()?;
    let cubins = table
        .expand(&table.cubins)
        .into_iter()
        .map(|(instance, target)| {
            let file = format!("{}.lzma", table.instances[instance].cubin_file(target));
            let listed = check_cubin(folder, &file, &manifest).map_err(|problem| format!("{file}: {problem}"))?;
            Ok(Cubin { instance, target, file, bytes: listed.bytes })
        })
        .collect::<Result<Vec<_>, String>>()?;
    let Manifest { compiler, assembler, .. } = manifest;
    if !cubins.is_empty() && assembler.is_empty() {
        return Err(format!("{}: an `assembler` line is wanted", path.display()));
    }
    Ok((
        Embedded { origin: Origin::Prebuilt, compiler, modules },
        Cubins { origin: Origin::Prebuilt, compiler: assembler, list: cubins },
    ))
}

fn check_text<'a>(
    folder: &Path,
    file: &str,
    manifest: &'a Manifest,
    target: u32,
    max_isa: (u32, u32),
) -> Result<&'a ListedText, String> {
    let texts = manifest.files.get(file).ok_or(UNLISTED)?;
    let listed = texts
        .iter()
        .find(|text| text.target == target)
        .ok_or_else(|| format!("the manifest lists no text for the target sm_{target}"))?;
    check_hash(folder, file, &listed.hash)?;
    if listed.isa > max_isa {
        return Err(format!(
            "its PTX ISA is {}.{}, and modules.txt allows {}.{}",
            listed.isa.0, listed.isa.1, max_isa.0, max_isa.1
        ));
    }
    Ok(listed)
}

fn check_cubin<'a>(folder: &Path, file: &str, manifest: &'a Manifest) -> Result<&'a ListedCubin, String> {
    let listed = manifest.cubins.get(file).ok_or(UNLISTED)?;
    check_hash(folder, file, &listed.hash)?;
    Ok(listed)
}

const UNLISTED: &str = "the manifest does not list it";

fn check_hash(folder: &Path, file: &str, listed: &str) -> Result<(), String> {
    let compressed = fs::read(folder.join(file)).map_err(|error| error.to_string())?;
    let found = fnv::of_bytes(&compressed);
    if found == listed {
        return Ok(());
    }
    Err(format!(
        "its hash is {found}, and the manifest has {listed}: it is damaged, or another's, or was changed by hand"
    ))
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
            "assembler" => manifest.assembler = value.to_owned(),
            // For the reader: modules.txt says it too.
            "flags" => {}
            "file" => {
                let (file, listed) = parse_text(value).ok_or_else(malformed)?;
                let texts = manifest.files.entry(file).or_default();
                let offset = texts.last().map_or(0, |last: &ListedText| last.offset + last.text_bytes);
                texts.push(ListedText { offset, ..listed });
            }
            "cubin" => {
                let (file, listed) = parse_cubin(value).ok_or_else(malformed)?;
                manifest.cubins.insert(file, listed);
            }
            _ => return Err(malformed()),
        }
    }
    if manifest.source_hash.is_empty() || manifest.compiler.is_empty() {
        return Err("a `source-hash` and a `compiler` line are wanted".to_owned());
    }
    Ok(manifest)
}

/// Reads the value of a `file` line. The text's hash, its last word, is for those who decompress it: the
/// tests.
fn parse_text(value: &str) -> Option<(String, ListedText)> {
    let words: Vec<&str> = value.split_whitespace().collect();
    let [file, hash, isa, target, text_bytes, _text_hash] = words[..] else { return None };
    let listed = ListedText {
        hash: hash.to_owned(),
        isa: ptx_header::parse_isa(isa)?,
        target: target.strip_prefix("sm_")?.parse().ok()?,
        // Of the file's first text.
        offset: 0,
        text_bytes: text_bytes.parse().ok()?,
    };
    Some((file.to_owned(), listed))
}

/// The same of a `cubin` line, whose chip the file's name says too.
fn parse_cubin(value: &str) -> Option<(String, ListedCubin)> {
    let words: Vec<&str> = value.split_whitespace().collect();
    let [file, hash, _chip, bytes, _hash_of_code] = words[..] else { return None };
    Some((file.to_owned(), ListedCubin { hash: hash.to_owned(), bytes: bytes.parse().ok()? }))
}
