//! The statistics of batch normalisation, as the header has them.

use crate::call::{Rows, Vector, optional};
use crate::enums::{DTYPES, PROGRAMMATIC_LAUNCHES, decode, encode};
use crate::error::Failure;
use crate::structs::Sized32;
use std::ptr;
use warpnorm::{ColumnCall, DType, ProgrammaticLaunch, RawRows};

/// The statistics of the columns of x over its rows, as batch normalisation takes them:
///
///     mean  = Σx / rows
///     rstd  = 1/sqrt(Σ(x - mean)² / rows + eps)
///     scale = weight·rstd                      weight is 1 where there is none
///     shift = bias - mean·scale                bias is 0 where there is none
///
/// y = x·scale + shift is then a run of WARPNORM_FAMILY_IDENTITY with scale for its weight and shift for its bias,
/// both f32. Fill it by warpnorm_batch_statistics_init, then set x and at least one output, each `hidden` f32 elements
/// that lie apart from every other tensor.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct BatchStatistics {
    /// sizeof(warpnorm_batch_statistics).
    pub size: u32,
    /// The warpnorm_dtype of x.
    pub dtype: u32,
    /// Added to the variance, inside the root. At least 0.
    pub eps: f32,
    /// Number of rows, at least 1.
    pub rows: usize,
    /// Number of columns.
    pub hidden: usize,
    /// The input.
    pub x: Rows,
    /// γ, `hidden` elements of x's type or f32; only beside scale or shift.
    pub weight: Vector,
    /// β, of γ's type; only beside shift.
    pub bias: Vector,
    /// The mean of every column.
    pub mean: *mut f32,
    /// The reciprocal standard deviation of every column.
    pub rstd: *mut f32,
    /// γ·rstd.
    pub scale: *mut f32,
    /// β - mean·scale.
    pub shift: *mut f32,
    /// A warpnorm_programmatic_launch; the parameters are weight and bias.
    pub programmatic_launch: u32,
}

// SAFETY: `repr(C)`, starts with `size`, and holds numbers and pointers alone.
unsafe impl Sized32 for BatchStatistics {
    const NAME: &'static str = "warpnorm_batch_statistics";
    const INITIALISER: &'static str = "warpnorm_batch_statistics_init";
}

impl BatchStatistics {
    pub(crate) fn new(dtype: DType, rows: usize, hidden: usize, eps: f32) -> Self {
        Self {
            size: size_of::<Self>() as u32,
            dtype: encode(dtype, DTYPES),
            eps,
            rows,
            hidden,
            x: Rows::ABSENT,
            weight: Vector::absent(dtype),
            bias: Vector::absent(dtype),
            mean: ptr::null_mut(),
            rstd: ptr::null_mut(),
            scale: ptr::null_mut(),
            shift: ptr::null_mut(),
            programmatic_launch: encode(ProgrammaticLaunch::Off, PROGRAMMATIC_LAUNCHES),
        }
    }

    pub(crate) fn decode(&self) -> Result<ColumnCall, Failure> {
        let dtype = decode("dtype", self.dtype, DTYPES)?;
        let statistics = warpnorm::BatchStatistics::new(self.eps);
        let x = RawRows { address: optional(self.x.data).unwrap_or(0), stride: self.x.stride };
        Ok(ColumnCall {
            weight: self.weight.decode("weight.dtype")?,
            bias: self.bias.decode("bias.dtype")?,
            mean: optional(self.mean),
            rstd: optional(self.rstd),
            scale: optional(self.scale),
            shift: optional(self.shift),
            programmatic_launch: decode("programmatic_launch", self.programmatic_launch, PROGRAMMATIC_LAUNCHES)?,
            ..ColumnCall::new(statistics, dtype, self.rows, self.hidden, x)
        })
    }
}
