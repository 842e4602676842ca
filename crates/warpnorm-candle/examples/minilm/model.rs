// A BERT encoder on `nn`, which whoever includes this names: `candle_nn`, or `warpnorm_candle::nn`. `add_norm` is
// theirs, too: LayerNorm(x + residual), in two steps or in one.

use candle_core::{D, DType, IndexOp, Result, Tensor};
use super::Config;
use nn::{Embedding, LayerNorm, Linear, Module, VarBuilder};

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention: Linear,
    attention_norm: LayerNorm,
    inner: Linear,
    output: Linear,
    output_norm: LayerNorm,
    heads: usize,
}

impl Layer {
    fn new(config: &Config, vb: VarBuilder<'_>) -> Result<Self> {
        let Config { hidden, inner, eps, heads, .. } = *config;
        let attention = vb.pp("attention.self");
        Ok(Self {
            query: nn::linear(hidden, hidden, attention.pp("query"))?,
            key: nn::linear(hidden, hidden, attention.pp("key"))?,
            value: nn::linear(hidden, hidden, attention.pp("value"))?,
            attention: nn::linear(hidden, hidden, vb.pp("attention.output.dense"))?,
            attention_norm: nn::layer_norm(hidden, eps, vb.pp("attention.output.LayerNorm"))?,
            inner: nn::linear(hidden, inner, vb.pp("intermediate.dense"))?,
            output: nn::linear(inner, hidden, vb.pp("output.dense"))?,
            output_norm: nn::layer_norm(hidden, eps, vb.pp("output.LayerNorm"))?,
            heads,
        })
    }

    /// `x` is [batch, tokens, hidden]; `mask` is added to the scores.
    fn forward(&self, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (batch, tokens, hidden) = x.dims3()?;
        let heads = |x: Tensor| -> Result<Tensor> {
            x.reshape((batch, tokens, self.heads, hidden / self.heads))?.transpose(1, 2)?.contiguous()
        };
        let (q, k, v) =
            (heads(self.query.forward(x)?)?, heads(self.key.forward(x)?)?, heads(self.value.forward(x)?)?);
        let scores = (q.matmul(&k.t()?)? / ((hidden / self.heads) as f64).sqrt())?;
        let weights = nn::ops::softmax(&scores.broadcast_add(mask)?, D::Minus1)?;
        let context = weights.matmul(&v)?.transpose(1, 2)?.reshape((batch, tokens, hidden))?;
        let x = add_norm(&self.attention_norm, &self.attention.forward(&context)?, x)?;
        let inner = self.inner.forward(&x)?.gelu_erf()?;
        add_norm(&self.output_norm, &self.output.forward(&inner)?, &x)
    }
}

pub struct Bert {
    words: Embedding,
    positions: Embedding,
    types: Embedding,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

impl Bert {
    pub fn new(config: &Config, vb: VarBuilder<'_>) -> Result<Self> {
        let Config { vocabulary, positions, hidden, layers, eps, .. } = *config;
        let embeddings = vb.pp("embeddings");
        Ok(Self {
            words: nn::embedding(vocabulary, hidden, embeddings.pp("word_embeddings"))?,
            positions: nn::embedding(positions, hidden, embeddings.pp("position_embeddings"))?,
            types: nn::embedding(2, hidden, embeddings.pp("token_type_embeddings"))?,
            norm: nn::layer_norm(hidden, eps, embeddings.pp("LayerNorm"))?,
            layers: (0..layers)
                .map(|layer| Layer::new(config, vb.pp(format!("encoder.layer.{layer}"))))
                .collect::<Result<_>>()?,
        })
    }

    /// The embeddings of sentences, [batch, hidden] of unit length: the means over their tokens. `tokens` and `mask`
    /// are [batch, tokens] u32; 1 where there is a token and 0 where there is padding.
    pub fn forward(&self, tokens: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let positions = Tensor::arange(0, tokens.dim(1)? as u32, tokens.device())?;
        let places = self.positions.forward(&positions)?.broadcast_add(&self.types.embeddings().i(0)?)?;
        let words = self.words.forward(tokens)?;
        let mut x = add_norm(&self.norm, &words, &places.broadcast_as(words.shape())?.contiguous()?)?;
        let present = mask.to_dtype(x.dtype())?;
        // 0 where there is a token, and a score that no token reaches elsewhere.
        let scores = ((&present - 1.0)? * 1e4)?.unsqueeze(1)?.unsqueeze(1)?;
        for layer in &self.layers {
            x = layer.forward(&x, &scores)?;
        }
        let summed = x.broadcast_mul(&present.unsqueeze(2)?)?.sum(1)?.to_dtype(DType::F32)?;
        let mean = summed.broadcast_div(&present.to_dtype(DType::F32)?.sum_keepdim(1)?)?;
        mean.broadcast_div(&mean.sqr()?.sum_keepdim(1)?.sqrt()?)
    }
}
