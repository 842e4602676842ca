//! Failures, and the exit codes that they become.

use crate::files::FileFault;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use thiserror::Error;
use warpnorm_bench::BenchError;

/// Bad usage or bad input.
const INPUT: u8 = 2;
/// A device that is missing or failed.
const DEVICE: u8 = 3;

/// Any failure of the tool.
#[derive(Debug, Error)]
pub enum ToolError {
    /// The command line is not understood.
    #[error("{0}")]
    Usage(String),
    /// An option refers to a tensor that the input does not have.
    #[error("{option} needs the tensor `{tensor}`, which the input does not have")]
    OptionWithoutTensor {
        /// The option, with its value where that says it.
        option: String,
        /// The tensor's name in the file.
        tensor: String,
    },
    /// The input has a tensor that what is asked for does nothing with.
    #[error(
        "the input has the tensor `{tensor}`, which {given} does not use{}",
        .by.map_or(String::new(), |by| format!("; {by} makes use of it"))
    )]
    TensorWithoutUse {
        /// The tensor's name in the file.
        tensor: String,
        /// What is asked for, and the op that it is with the other tensors.
        given: String,
        /// The option that would use it.
        by: Option<&'static str>,
    },
    /// A file cannot be read.
    #[error("{}: cannot read: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file's contents are not what is wanted.
    #[error("{}: {fault}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: FileFault,
    },
    /// A file cannot be written.
    #[error("{}: cannot write: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder of a file to be written is not there, and cannot be made.
    #[error("{}: cannot write: cannot make its folder, {}: {source}", .path.display(), .folder.display())]
    Folder {
        /// The file.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no ptxas.
    #[error("no ptxas in CUDA_HOME, CUDA_PATH and PATH; --ptxas says where it is")]
    NoPtxas,
    /// ptxas is not what it should be, or does not take a kernel.
    #[error("{}: {reason}", .path.display())]
    Ptxas {
        /// The executable.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is no GPU to load modules on.
    #[error("--load needs a GPU, whose driver compiles and loads the modules: {0}")]
    NoGpuToLoad(warpnorm::Error),
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Stdout(io::Error),
    /// A benchmark failed.
    #[error(transparent)]
    Bench(BenchError),
    /// The library refused the input, or a device failed.
    #[error(transparent)]
    Library(#[from] warpnorm::Error),
}

impl ToolError {
    /// 2 for what the caller can put right in usage or input, 3 for what a device lacks or did.
    fn code(&self) -> u8 {
        use warpnorm::host::HostError;
        use warpnorm::{Error, PlanError};
        match self {
            ToolError::Library(Error::Call(_) | Error::Host(HostError::Bytes { .. })) => INPUT,
            // What is asked for has no kernel, on whatever device.
            ToolError::Library(Error::Plan(PlanError::NoModule { .. })) => INPUT,
            ToolError::Library(_) | ToolError::NoGpuToLoad(_) => DEVICE,
            ToolError::Bench(BenchError::Report(_) | BenchError::Plot(_) | BenchError::Unsupported(_)) => INPUT,
            ToolError::Bench(_) => DEVICE,
            _ => INPUT,
        }
    }

    /// What the process exits with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

impl From<BenchError> for ToolError {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Library(error) => ToolError::Library(error),
            error => ToolError::Bench(error),
        }
    }
}

impl From<warpnorm::CallError> for ToolError {
    fn from(error: warpnorm::CallError) -> Self {
        ToolError::Library(error.into())
    }
}

/// A message on one line: names from files and messages of drivers may hold line breaks, and control
/// characters have no business on a terminal.
pub fn one_line(message: &str) -> String {
    let printable: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    printable.trim().to_owned()
}

/// What a rendered clap error says, without its usage and its tips, on one line.
pub fn usage_message(rendered: &str) -> String {
    let lines = rendered.lines().map(str::trim);
    let said = lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
    let message = said.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    format!("{}; see --help", message.strip_prefix("error: ").unwrap_or(&message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use warpnorm::cuda::CudaError;
    use warpnorm::{CallError, PlanError};

    #[test]
    fn codes_tell_input_from_device() {
        assert_eq!(ToolError::from(CallError::Hidden { given: 0 }).code(), 2);
        assert_eq!(ToolError::Usage(String::new()).code(), 2);
        assert_eq!(ToolError::Library(CudaError::NoDriver.into()).code(), 3);
        let grid = PlanError::Grid { rows: 9, ctas: 9, limit: 1, device: "x".to_owned() };
        assert_eq!(ToolError::Library(grid.into()).code(), 3);
        let module = warpnorm::plan::Module::of(&warpnorm::Norm::rms_norm(1e-6), warpnorm::DType::F32);
        assert_eq!(ToolError::Library(PlanError::NoModule { module }.into()).code(), 2);
    }

    #[test]
    fn messages_are_one_line() {
        assert_eq!(one_line("a\nb\u{1b}[31m\r\n"), "a b [31m");
        let rendered = "error: required:\n  --input <IN>\n  --output <OUT>\n\nUsage: warpnorm\n\nFor more";
        assert_eq!(usage_message(rendered), "required: --input <IN> --output <OUT>; see --help");
    }
}
