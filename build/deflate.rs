//! Deflating the PTX: the text of a module is mostly the same few words.

use std::fs;

use super::{BuildError, Ptx, Request, parallel};

/// On zlib's scale. Build scripts are not optimised unless someone asks for it: of 4.2 MB of PTX, 5 leaves
/// 811 kB within half a second, 3 leaves 863 kB in two thirds of that, and 9 leaves 791 kB in four seconds.
const LEVEL: u8 = 5;

/// The name of a module's deflated file, in `OUT_DIR`.
pub fn file(ptx: &Ptx) -> String {
    format!("{}.deflate", ptx.file)
}

/// Writes the deflated file of every module.
///
/// # Errors
/// A file cannot be written.
pub fn write(modules: &[Ptx], request: &Request) -> Result<(), BuildError> {
    let Request { out_dir, jobs, .. } = request;
    parallel::map(modules, *jobs, |ptx| {
        let path = out_dir.join(file(ptx));
        let deflated = miniz_oxide::deflate::compress_to_vec(ptx.text.as_bytes(), LEVEL);
        fs::write(&path, deflated).map_err(|source| BuildError::Io { doing: "write", path, source })
    })
    .into_iter()
    .collect()
}
