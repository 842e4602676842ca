//! The hash of everything that the PTX is made from. `scripts/nvrtc_compile.py`
//! computes the same one.

use std::fs;
use std::path::Path;

use super::{BuildError, fnv, table};

/// The hash of `modules.txt` and of every `.cu` and `.cuh` below `kernels`:
/// for each file, in the order of the relative paths (bytewise, `/` between
/// the parts), its path, a zero byte, its text, a zero byte.
///
/// # Errors
/// A folder or file that cannot be read, or a path that is not UTF-8.
pub fn hash(kernels: &Path) -> Result<String, BuildError> {
    let mut files = vec![table::FILE.to_owned()];
    collect(kernels, "", &mut files)?;
    files.sort_unstable();

    let mut hasher = fnv::Hasher::new();
    for file in files {
        let path = kernels.join(&file);
        let text = fs::read(&path).map_err(|source| BuildError::Io { doing: "read", path, source })?;
        hasher.write(file.as_bytes());
        hasher.write(&[0]);
        hasher.write_text(&text);
        hasher.write(&[0]);
    }
    Ok(hasher.finish())
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<String>) -> Result<(), BuildError> {
    let failed = |source| BuildError::Io { doing: "list", path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let name = entry.file_name().into_string().map_err(|given| {
            let source =
                std::io::Error::new(std::io::ErrorKind::InvalidFilename, format!("the name {given:?} is not UTF-8"));
            failed(source)
        })?;
        let relative = format!("{prefix}{name}");
        if path.is_dir() {
            collect(&path, &format!("{relative}/"), files)?;
        } else if name.ends_with(".cu") || name.ends_with(".cuh") {
            files.push(relative);
        }
    }
    Ok(())
}
