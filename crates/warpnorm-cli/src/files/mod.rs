//! Files: what is read is checked first, what is written appears whole or not at all.

mod input;
mod output;

pub use input::{NormInput, Tensors};
pub use output::{Destination, OutputTensor, codes_tensor, format_type, scales_tensor, serialize};

use crate::error::ToolError;
use safetensors::tensor::{SafeTensorError, TensorInfo};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use thiserror::Error;
use warpnorm::DType;
use warpnorm_bench::render::{BEGIN, END};

#[cfg(target_endian = "big")]
compile_error!("safetensors files are little-endian, and their elements are passed on as they are");

/// What is wrong with the contents of a file.
#[derive(Debug, Error)]
pub enum FileFault {
    /// The file is not in the format.
    #[error("not a safetensors file: {0}")]
    Format(SafeTensorError),
    /// The file ends before its last tensor.
    #[error("truncated: tensor `{name}` ends at byte {end} of the data, and {given} are there")]
    Truncated {
        /// A tensor that is not all there.
        name: String,
        /// Where it ends, in bytes.
        end: usize,
        /// Bytes of data in the file.
        given: usize,
    },
    /// A tensor is not in the file.
    #[error("no tensor `{name}`; the file has {present}")]
    Missing {
        /// The tensor.
        name: String,
        /// Those that are there.
        present: String,
    },
    /// A tensor has elements that no norm takes.
    #[error("tensor `{name}` is {given}, wanted {wanted}")]
    Type {
        /// The tensor.
        name: String,
        /// The type of its elements.
        given: Dtype,
        /// What it may be.
        wanted: &'static str,
    },
    /// A tensor of another type than x, or than the one that it belongs to.
    #[error("tensor `{name}` is {given}, wanted {wanted} as {like} is")]
    OtherType {
        /// The tensor.
        name: String,
        /// Its type.
        given: DType,
        /// The type wanted.
        wanted: DType,
        /// The tensor that is of this type.
        like: &'static str,
    },
    /// A row that cannot be divided as asked.
    #[error("tensor `{name}` has rows of {given} elements, which are not {parts} {what} of the same size")]
    Parts {
        /// The tensor.
        name: String,
        /// Its last dimension.
        given: usize,
        /// Parts of a row.
        parts: usize,
        /// heads or groups.
        what: &'static str,
    },
    /// Heads of another tensor than x that have another size.
    #[error("tensor `{name}` has rows of {given} elements, wanted whole heads of {hidden} as x has")]
    SecondHeads {
        /// The tensor.
        name: String,
        /// Its last dimension.
        given: usize,
        /// Elements of a head of x.
        hidden: usize,
    },
    /// A table that is no matrix.
    #[error("tensor `{name}` has shape {given:?}, wanted [positions, {half}]")]
    Table {
        /// The tensor.
        name: String,
        /// Its shape.
        given: Vec<usize>,
        /// Pairs of elements that are rotated.
        half: usize,
    },
    /// A tensor without dimensions has no rows.
    #[error("tensor `{name}` is a scalar, wanted at least one dimension")]
    Scalar {
        /// The tensor.
        name: String,
    },
    /// A tensor has another shape than x makes it have.
    #[error("tensor `{name}` has shape {given:?}, wanted {wanted:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        given: Vec<usize>,
        /// The shape wanted.
        wanted: Vec<usize>,
    },
    /// A baseline that is none.
    #[error("not a profile: {0}")]
    Profile(serde_json::Error),
    /// A report of a benchmark that is none.
    #[error(transparent)]
    Bench(warpnorm_bench::BenchError),
    /// A text that a section is to be written into does not say where.
    #[error(
        "the mark `{mark}` is there {times} times, wanted once: the section is written between `{BEGIN}` and `{END}`, \
         each on a line of its own"
    )]
    Mark {
        /// The mark.
        mark: &'static str,
        /// How often it is there.
        times: usize,
    },
    /// A text whose section ends before it begins.
    #[error("the mark `{END}` stands before `{BEGIN}`, wanted it behind")]
    MarksInTheWrongOrder,
    /// A baseline of another GPU.
    #[error("the profile is of {given}, wanted one of {wanted}")]
    ProfiledGpu {
        /// The GPU of the baseline.
        given: String,
        /// The GPU that is profiled.
        wanted: String,
    },
}

/// A safetensors file in memory.
pub struct TensorFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// The header of the format, as far as offsets go.
#[derive(Deserialize)]
struct Header {
    #[serde(rename = "__metadata__")]
    _metadata: Option<HashMap<String, String>>,
    #[serde(flatten)]
    tensors: HashMap<String, TensorInfo>,
}

impl TensorFile {
    /// Reads a file whole.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(path: &Path) -> Result<Self, ToolError> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Self { path: path.to_owned(), bytes }),
            Err(source) => Err(ToolError::Read { path: path.to_owned(), source }),
        }
    }

    /// Checks the header.
    ///
    /// # Errors
    /// The file is not in the format, or truncated.
    pub fn tensors(&self) -> Result<Tensors<'_>, ToolError> {
        let tensors = check_offsets(&self.bytes)
            .and_then(|()| SafeTensors::deserialize(&self.bytes).map_err(FileFault::Format))
            .map_err(|fault| self.fault(fault))?;
        Ok(Tensors { file: self, tensors })
    }

    fn fault(&self, fault: FileFault) -> ToolError {
        ToolError::File { path: self.path.clone(), fault }
    }
}

/// Refuses offsets past the end of the file: the format's own reader adds them up without a check for
/// overflow, and has no word for a file that is too short.
fn check_offsets(bytes: &[u8]) -> Result<(), FileFault> {
    let format = FileFault::Format;
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or(format(SafeTensorError::HeaderTooSmall))?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| format(SafeTensorError::HeaderTooLarge))?;
    let (header, data) = rest.split_at_checked(length).ok_or(format(SafeTensorError::InvalidHeaderLength))?;
    let header: Header =
        serde_json::from_slice(header).map_err(|error| format(SafeTensorError::InvalidHeaderDeserialization(error)))?;
    let past_the_end = header.tensors.into_iter().filter(|(_, info)| info.data_offsets.1 > data.len());
    // The first by name, for a message that does not change from run to run.
    match past_the_end.min_by(|a, b| a.0.cmp(&b.0)) {
        Some((name, info)) => Err(FileFault::Truncated { name, end: info.data_offsets.1, given: data.len() }),
        None => Ok(()),
    }
}
