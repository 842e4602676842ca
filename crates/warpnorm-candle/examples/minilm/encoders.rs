//! One encoder, on three norms.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

/// The sizes of an encoder.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub vocabulary: usize,
    pub positions: usize,
    pub hidden: usize,
    pub heads: usize,
    pub inner: usize,
    pub layers: usize,
    pub eps: f64,
}

/// An encoder, whichever its norms.
pub trait Encoder {
    /// The embeddings of sentences, [batch, hidden].
    fn embed(&self, tokens: &Tensor, mask: &Tensor) -> Result<Tensor>;
}

mod stock {
    use candle_nn as nn;

    include!("model.rs");

    fn add_norm(norm: &LayerNorm, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        norm.forward(&(x + residual)?)
    }
}

mod swapped {
    use warpnorm_candle::nn;

    include!("model.rs");

    fn add_norm(norm: &LayerNorm, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        norm.forward(&(x + residual)?)
    }
}

mod fused {
    use warpnorm_candle::nn;

    include!("model.rs");

    fn add_norm(norm: &LayerNorm, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        Ok(norm.forward_add(x, residual)?.0)
    }
}

impl Encoder for stock::Bert {
    fn embed(&self, tokens: &Tensor, mask: &Tensor) -> Result<Tensor> {
        self.forward(tokens, mask)
    }
}

impl Encoder for swapped::Bert {
    fn embed(&self, tokens: &Tensor, mask: &Tensor) -> Result<Tensor> {
        self.forward(tokens, mask)
    }
}

impl Encoder for fused::Bert {
    fn embed(&self, tokens: &Tensor, mask: &Tensor) -> Result<Tensor> {
        self.forward(tokens, mask)
    }
}

type Build = fn(&Config, VarBuilder<'_>) -> Result<Box<dyn Encoder>>;

/// The encoders by the norms that they have; candle-nn's first.
pub fn all() -> [(&'static str, Build); 3] {
    [
        ("candle-nn", |config, vb| Ok(Box::new(stock::Bert::new(config, vb)?))),
        ("warpnorm_candle::nn", |config, vb| Ok(Box::new(swapped::Bert::new(config, vb)?))),
        ("the same, add and norm as one", |config, vb| Ok(Box::new(fused::Bert::new(config, vb)?))),
    ]
}
