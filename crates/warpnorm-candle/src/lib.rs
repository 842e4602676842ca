#![doc = include_str!("../README.md")]

mod call;
mod checks;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod emulated;
mod error;
mod functions;
mod layout;
pub mod nn;
mod prepared;
mod run;

pub use call::{NormCall, Quantised, RopeTables, norm};
#[cfg(feature = "cuda")]
pub use cuda::{kernels, warm_up};
pub use error::TensorError;
pub use functions::{
    add_layer_norm, add_rms_norm, fused_add_layer_norm, fused_add_rms_norm, gated_rms_norm, layer_norm, layer_norm_add,
    qk_norm, qk_norm_rope, rms_norm, rms_norm_add,
};
pub use warpnorm;
