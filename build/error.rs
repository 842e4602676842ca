//! Why the build script stops. Written by hand: it has no dependencies.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why no PTX can be embedded.
#[derive(Debug)]
pub enum BuildError {
    /// A variable that cargo sets for build scripts is missing.
    NotUnderCargo { name: &'static str },
    /// A variable whose value is not UTF-8.
    NotText { name: &'static str, given: OsString },
    /// `WARPNORM_PTX` is none of the words it may be.
    Mode { given: String },
    /// An entry of a list of architectures is no plain number.
    Archs { name: &'static str, given: String, entry: String, reason: &'static str },
    /// A file or folder that cannot be read or written.
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// `modules.txt` is malformed.
    Table { path: PathBuf, problem: String },
    /// The prebuilt PTX does not belong to these sources. `searched` says
    /// where nvcc was looked for, and is empty when it was not looked for.
    Prebuilt { reason: String, searched: Vec<String> },
    /// nvcc was asked for and is nowhere.
    NvccNotFound { searched: Vec<String> },
    /// Cubins were asked for, and there is no nvcc.
    CubinsWithoutNvcc { searched: Vec<String> },
    /// `NVCC` names no file.
    NvccVariable { given: PathBuf },
    /// nvcc failed, or what it made cannot be used.
    Nvcc { command: String, problem: String, output: String },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUnderCargo { name } => {
                write!(f, "{name} is not set: the build script is run by cargo")
            }
            Self::NotText { name, given } => write!(f, "{name} is not UTF-8: {given:?}"),
            Self::Mode { given } => write!(f, "WARPNORM_PTX is `{given}`; wanted: auto, prebuilt or nvcc"),
            Self::Archs { name, given, entry, reason } => {
                write!(f, "{name} is `{given}`, and its entry `{entry}` cannot be used: {reason}")
            }
            Self::Io { doing, path, source } => write!(f, "cannot {doing} {}: {source}", path.display()),
            Self::Table { path, problem } => write!(f, "{}: {problem}", path.display()),
            Self::Prebuilt { reason, searched } => {
                write!(
                    f,
                    "the prebuilt PTX in kernels/prebuilt cannot be used: {reason}\n\
                     Either make it anew with scripts/prebuilt.sh (needs Python 3 and PyPI, \
                     no CUDA toolkit and no GPU),\n\
                     or compile the kernels with nvcc: set WARPNORM_PTX=nvcc, and NVCC or \
                     CUDA_HOME where nvcc is not on PATH"
                )?;
                list_searched(f, searched)
            }
            Self::NvccNotFound { searched } => {
                write!(
                    f,
                    "WARPNORM_PTX=nvcc, and there is no nvcc. Set NVCC to its path or CUDA_HOME \
                     to the toolkit's,\nor set WARPNORM_PTX=prebuilt to use the PTX that comes \
                     with the crate"
                )?;
                list_searched(f, searched)
            }
            Self::CubinsWithoutNvcc { searched } => {
                write!(
                    f,
                    "WARPNORM_CUBINS asks for machine code, and there is no nvcc to make it. Set NVCC to its path or \
                     CUDA_HOME to the toolkit's,\nor unset WARPNORM_CUBINS: drivers compile the PTX that comes with \
                     the crate, where no machine code that comes with it is for their GPU"
                )?;
                list_searched(f, searched)
            }
            Self::NvccVariable { given } => write!(
                f,
                "NVCC is `{}`, which is no file (a bare name is looked for in PATH). Correct or \
                 unset it, or set WARPNORM_PTX=prebuilt to do without nvcc",
                given.display()
            ),
            Self::Nvcc { command, problem, output } => write!(
                f,
                "nvcc: {problem}\ncommand: {command}\n{}\nTo use the PTX that comes with the \
                 crate, set WARPNORM_PTX=prebuilt; to compile for other architectures, set \
                 WARPNORM_ARCHS",
                output.trim_end()
            ),
        }
    }
}

fn list_searched(f: &mut fmt::Formatter<'_>, searched: &[String]) -> fmt::Result {
    if searched.is_empty() {
        return Ok(());
    }
    write!(f, "\nnvcc was looked for in: {}", searched.join(", "))
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
