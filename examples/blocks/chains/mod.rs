//! Transformer blocks, each written once, for any device and anything that multiplies matrices.

pub mod attention;
pub mod gemma2;
pub mod machine;
pub mod minilm;
pub mod n_gpt;
pub mod post_norm;
pub mod qwen3;
pub mod tensor;

pub use attention::{Attention, Batch};
pub use machine::{CpuMatMul, Machine};
pub use tensor::{Source, Tensor};

/// Results of chains.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A network of a few layers, with its parameters and what enters it.
pub trait Chain {
    /// Its kind, and the model that has it.
    fn name(&self) -> &'static str;

    /// From what enters to what the last norm puts out, `tokens × hidden`.
    ///
    /// # Errors
    /// The device or the products failed.
    fn forward(&self, machine: &Machine<'_>) -> Result<Tensor>;
}
