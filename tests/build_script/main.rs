//! The build script's logic, driven as cargo drives it but on packages of the
//! tests' own making.

#[path = "../../build/mod.rs"]
mod toolchain;

mod archs;
mod committed;
#[cfg(unix)]
mod cubins;
mod malformed;
#[cfg(unix)]
mod nvcc;
mod prebuilt;
mod scratch;

use scratch::Scratch;
use toolchain::{Request, fnv};

/// The vectors that the authors of FNV publish.
#[test]
fn fnv_1a_gives_the_published_values() {
    for (text, hash) in [("", "cbf29ce484222325"), ("a", "af63dc4c8601ec8c"), ("foobar", "85944171f73967e8")] {
        assert_eq!(fnv::of_bytes(text.as_bytes()), hash, "of {text:?}");
    }
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
