//! The build script's logic, driven as cargo drives it but on packages of the
//! tests' own making.

#[path = "../../build/mod.rs"]
mod toolchain;

mod archs;
mod malformed;
#[cfg(unix)]
mod nvcc;
mod prebuilt;
mod scratch;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use scratch::Scratch;
use toolchain::{KERNELS, Request, embed_ptx, fnv};

/// The vectors that the authors of FNV publish.
#[test]
fn fnv_1a_gives_the_published_values() {
    for (text, hash) in [("", "cbf29ce484222325"), ("a", "af63dc4c8601ec8c"), ("foobar", "85944171f73967e8")] {
        assert_eq!(fnv::of_text(text.as_bytes()), hash, "of {text:?}");
    }
}

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

    let generated = fs::read_to_string(out_dir.join(toolchain::GENERATED)).unwrap();
    let embedded = generated.matches("EmbeddedModule { instance").count();
    let files = fs::read_dir(package.join(toolchain::PREBUILT))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension() == Some("ptx".as_ref()))
        .count();
    assert!(embedded > 0);
    assert_eq!(embedded, files, "a PTX file that no module claims");
}

#[test]
fn a_word_that_is_no_mode_is_refused() {
    let mut scratch = Scratch::new("mode");
    scratch.set("WARPNORM_PTX", "cubin");
    assert_eq!(scratch.refusal(), "WARPNORM_PTX is `cubin`; wanted: auto, prebuilt or nvcc");
}

#[test]
fn without_cargo_the_missing_variable_is_named() {
    let error = Request::under_cargo(&|name| (name != "OUT_DIR").then(|| ".".into())).err().unwrap();
    assert!(error.to_string().starts_with("OUT_DIR is not set"));
}
