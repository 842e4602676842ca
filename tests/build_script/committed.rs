//! The files in `kernels/prebuilt`: they belong to the kernels, and are what the manifest says.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::Path;

use lzma_rust2::LzmaReader;
use warpnorm::cubin::{self, EmbeddedCubin};
use warpnorm::ptx::{self, Origin};

use crate::toolchain::{GENERATED, GENERATED_CUBINS, KERNELS, PREBUILT, Request, embed_ptx, fnv};

/// Holds only while `scripts/prebuilt.sh` was run after the last change to the
/// kernels, and only if its hash is the build script's.
#[test]
fn the_prebuilt_ptx_of_this_package_belongs_to_its_kernels() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("this-package");
    fs::create_dir_all(&out_dir).unwrap();
    let get = |name: &str| match name {
        "CARGO_MANIFEST_DIR" => Some(OsString::from(package)),
        "OUT_DIR" => Some(OsString::from(&out_dir)),
        "WARPNORM_PTX" => Some(OsString::from("prebuilt")),
        _ => None,
    };
    let directives = embed_ptx(&Request::under_cargo(&get).unwrap()).unwrap();
    assert!(directives.contains(&format!("cargo::rerun-if-changed={KERNELS}")));

    let generated = [GENERATED, GENERATED_CUBINS].map(|file| fs::read_to_string(out_dir.join(file)).unwrap()).concat();
    let embedded: BTreeSet<String> = generated
        .split(&format!("\"/{PREBUILT}/"))
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    assert!(!embedded.is_empty());
    let mut files: BTreeSet<String> = fs::read_dir(package.join(PREBUILT))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(files.remove("manifest.txt"));
    let unmatched: Vec<_> = embedded.symmetric_difference(&files).collect();
    assert!(unmatched.is_empty(), "files that no module claims, or modules that have no file: {unmatched:?}");
}

/// Of every file, the manifest's line says what the text says that is compressed in it. The hashes of the
/// texts were computed before they were compressed, by another FNV-1a and another LZMA than here.
#[test]
fn the_manifest_says_what_the_texts_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(PREBUILT);
    let manifest = fs::read_to_string(folder.join("manifest.txt")).unwrap();
    let (mut before, mut offset) = (String::new(), 0);
    let mut lines = 0;
    for line in manifest.lines().filter_map(|line| line.strip_prefix("file ")) {
        let words: Vec<&str> = line.split(' ').collect();
        let [file, hash, isa, target, bytes, text_hash] = words[..] else { panic!("{line}") };
        let compressed = fs::read(folder.join(file)).unwrap();
        assert_eq!(fnv::of_bytes(&compressed), hash, "{file}");

        let mut text = String::new();
        LzmaReader::new_mem_limit(compressed.as_slice(), 4096, None).unwrap().read_to_string(&mut text).unwrap();
        // Texts for several targets follow one another, in the order of the lines.
        if file != before {
            (before, offset) = (file.to_owned(), 0);
        }
        let text = &text[offset..][..bytes.parse().unwrap()];
        offset += text.len();
        assert_eq!(fnv::of_bytes(text.as_bytes()), text_hash, "{file}");
        for directive in [format!(".version {isa}"), format!(".target {target}")] {
            assert_eq!(text.lines().filter(|line| **line == directive).count(), 1, "{file}: {directive}");
        }
        if ptx::provenance().origin == Origin::Prebuilt {
            let is_this = |module: &&ptx::EmbeddedModule| {
                format!("{}.{}.ptx.lzma", module.name(), module.module().dtype) == file
                    && format!("sm_{}", module.target) == target
            };
            assert!(ptx::modules().iter().find(is_this).unwrap().ptx() == text, "{file} {target}");
        }
        lines += 1;
    }
    assert!(lines > 0);
}

/// Whether these are the bytes of an ELF file for NVIDIA GPUs.
pub fn is_cubin(code: &[u8]) -> bool {
    const EM_CUDA: [u8; 2] = [190, 0];
    code.starts_with(b"\x7fELF") && code[18..20] == EM_CUDA
}

/// Of machine code, too: it is an ELF file for the chip, in which each of the module's kernels has a section.
#[test]
fn the_manifest_says_what_the_cubins_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(PREBUILT);
    let manifest = fs::read_to_string(folder.join("manifest.txt")).unwrap();
    let mut lines = 0;
    for line in manifest.lines().filter_map(|line| line.strip_prefix("cubin ")) {
        let words: Vec<&str> = line.split(' ').collect();
        let [file, hash, chip, bytes, code_hash] = words[..] else { panic!("{line}") };
        let compressed = fs::read(folder.join(file)).unwrap();
        assert_eq!(fnv::of_bytes(&compressed), hash, "{file}");

        let mut code = Vec::new();
        LzmaReader::new_mem_limit(compressed.as_slice(), 4096, None).unwrap().read_to_end(&mut code).unwrap();
        assert_eq!(code.len(), bytes.parse().unwrap(), "{file}");
        assert_eq!(fnv::of_bytes(&code), code_hash, "{file}");
        assert!(is_cubin(&code), "{file}");
        // In the lowest byte of the flags of an ELF file of CUDA 12.
        assert_eq!(format!("sm_{}", code[48]), chip, "{file}");
        lines += 1;

        if !cubin::compiler().is_some_and(|compiler| compiler.starts_with("ptxas ")) {
            continue;
        }
        let is_this = |cubin: &&EmbeddedCubin| format!("{cubin}.lzma") == file;
        let embedded = cubin::cubins().iter().find(is_this).unwrap_or_else(|| panic!("{file} is not embedded"));
        assert!(*embedded.code() == *code, "{file}");
        assert_eq!((embedded.code_bytes(), embedded.file_bytes()), (code.len(), compressed.len()), "{file}");
        for kernel in embedded.kernels() {
            let section = format!("\0.text.{kernel}\0");
            assert!(code.windows(section.len()).any(|bytes| bytes == section.as_bytes()), "{file}: no {kernel}");
        }
    }
    assert!(lines > 0);
}
