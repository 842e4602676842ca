//! The bridge on CPU tensors. What its launches read and write is tested in the crate, in the executor; what only a GPU
//! shows is in `tests/cuda.rs`.

mod fused;
mod gradients;
mod misuse;
mod models;
mod oracle;
mod swap;
