//! One decoder, on three norms.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

/// The sizes of a decoder.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub vocabulary: usize,
    pub hidden: usize,
    pub heads: usize,
    pub key_heads: usize,
    pub inner: usize,
    pub layers: usize,
    pub eps: f64,
}

impl Config {
    /// Elements of a head.
    pub fn head(&self) -> usize {
        self.hidden / self.heads
    }
}

/// A decoder, whichever its norms.
pub trait Decoder {
    /// The logits of every token, [batch, tokens, vocabulary].
    fn logits(&self, tokens: &Tensor) -> Result<Tensor>;
}

mod stock {
    use candle_nn as nn;

    include!("model.rs");

    fn add_norm(norm: &RmsNorm, x: &Tensor, residual: &Tensor) -> Result<(Tensor, Tensor)> {
        let residual = (x + residual)?;
        Ok((norm.forward(&residual)?, residual))
    }
}

mod swapped {
    use warpnorm_candle::nn;

    include!("model.rs");

    fn add_norm(norm: &RmsNorm, x: &Tensor, residual: &Tensor) -> Result<(Tensor, Tensor)> {
        let residual = (x + residual)?;
        Ok((norm.forward(&residual)?, residual))
    }
}

mod fused {
    use warpnorm_candle::nn;

    include!("model.rs");

    fn add_norm(norm: &RmsNorm, x: &Tensor, residual: &Tensor) -> Result<(Tensor, Tensor)> {
        norm.forward_add(x, residual)
    }
}

impl Decoder for stock::Llama {
    fn logits(&self, tokens: &Tensor) -> Result<Tensor> {
        self.forward(tokens)
    }
}

impl Decoder for swapped::Llama {
    fn logits(&self, tokens: &Tensor) -> Result<Tensor> {
        self.forward(tokens)
    }
}

impl Decoder for fused::Llama {
    fn logits(&self, tokens: &Tensor) -> Result<Tensor> {
        self.forward(tokens)
    }
}

type Build = fn(&Config, VarBuilder<'_>) -> Result<Box<dyn Decoder>>;

/// The decoders by the norms that they have; candle-nn's first.
pub fn all() -> [(&'static str, Build); 3] {
    [
        ("candle-nn", |config, vb| Ok(Box::new(stock::Llama::new(config, vb)?))),
        ("warpnorm_candle::nn", |config, vb| Ok(Box::new(swapped::Llama::new(config, vb)?))),
        ("the same, add and norm as one", |config, vb| Ok(Box::new(fused::Llama::new(config, vb)?))),
    ]
}
