#![cfg_attr(feature = "cuda", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "cuda"),
    doc = "Fused row-normalisation kernels for NVIDIA GPUs; built without the CUDA face."
)]

mod activation;
mod call;
pub mod cubin;
#[cfg(feature = "cuda")]
pub mod cuda;
mod device;
mod element;
#[cfg(feature = "emulator")]
pub mod emulated;
mod error;
pub mod host;
mod input;
mod norm;
pub mod parity;
pub mod plan;
pub mod presets;
pub mod ptx;
pub mod quantise;
pub mod reference;
mod rope;

pub use activation::{Activation, ActivationError};
pub use call::{
    BatchStatistics, Call, ColumnCall, Parts, PositionType, ProgrammaticLaunch, RawCodes, RawHeads, RawPositions,
    RawRope, RawRows, RawVector,
};
pub use device::DeviceFacts;
pub use element::{DType, Element, ParameterOf};
pub use error::{CallError, Error, NormError, PlanError, Role};
pub use input::{Input, Interpolation, PostAdd, PostRounding, ResidualAdd, ResidualRounding};
pub use norm::{Family, Norm, Scope, WeightRounding};
pub use rope::{MAX_ROTATED_HEAD, Rope, RopePairs, RopeRounding};

/// The largest hidden size, in elements: 2²⁴, up to which the kernels' f32 counts are exact.
pub const MAX_HIDDEN: usize = 1 << 24;
