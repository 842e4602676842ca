//! What version of the library this is.

use std::ffi::{CStr, c_char};

const fn number(text: &str) -> u32 {
    let (bytes, mut at, mut number) = (text.as_bytes(), 0, 0);
    while at < bytes.len() {
        number = number * 10 + (bytes[at] - b'0') as u32;
        at += 1;
    }
    number
}

const VERSION: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) * 1_000_000
    + number(env!("CARGO_PKG_VERSION_MINOR")) * 1_000
    + number(env!("CARGO_PKG_VERSION_PATCH"));

const TEXT: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(text) => text,
    Err(_) => panic!("a version has no NUL"),
};

/// The version of the library: major·1000000 + minor·1000 + patch.
#[unsafe(no_mangle)]
pub extern "C" fn warpnorm_version() -> u32 {
    VERSION
}

/// The same in words, such as `0.1.0`. Valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn warpnorm_version_string() -> *const c_char {
    TEXT.as_ptr()
}
