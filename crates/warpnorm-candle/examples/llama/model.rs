// A Llama-type decoder on `nn`, which whoever includes this names: `candle_nn`, or `warpnorm_candle::nn`. `add_norm` is
// theirs, too: x + residual and the norm of it, in two steps or in one.

use candle_core::{D, DType, Device, Result, Tensor};
use super::Config;
use nn::{Embedding, Linear, Module, RmsNorm, VarBuilder};

struct Layer {
    config: Config,
    input_norm: RmsNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    inner_norm: RmsNorm,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Layer {
    fn new(config: &Config, vb: VarBuilder<'_>) -> Result<Self> {
        let Config { hidden, inner, eps, key_heads, .. } = *config;
        let (attention, mlp) = (vb.pp("self_attn"), vb.pp("mlp"));
        let keys = key_heads * config.head();
        Ok(Self {
            config: *config,
            input_norm: nn::rms_norm(hidden, eps, vb.pp("input_layernorm"))?,
            query: nn::linear_no_bias(hidden, hidden, attention.pp("q_proj"))?,
            key: nn::linear_no_bias(hidden, keys, attention.pp("k_proj"))?,
            value: nn::linear_no_bias(hidden, keys, attention.pp("v_proj"))?,
            output: nn::linear_no_bias(hidden, hidden, attention.pp("o_proj"))?,
            inner_norm: nn::rms_norm(hidden, eps, vb.pp("post_attention_layernorm"))?,
            gate: nn::linear_no_bias(hidden, inner, mlp.pp("gate_proj"))?,
            up: nn::linear_no_bias(hidden, inner, mlp.pp("up_proj"))?,
            down: nn::linear_no_bias(inner, hidden, mlp.pp("down_proj"))?,
        })
    }

    /// `x` is [batch, tokens, hidden].
    fn attention(&self, x: &Tensor, rope: &Rope) -> Result<Tensor> {
        let Config { heads, key_heads, hidden, .. } = self.config;
        let (batch, tokens, _) = x.dims3()?;
        let split = |x: Tensor, heads: usize| -> Result<Tensor> {
            x.reshape((batch, tokens, heads, ()))?.transpose(1, 2)?.contiguous()
        };
        let q = nn::rotary_emb::rope(&split(self.query.forward(x)?, heads)?, &rope.cos, &rope.sin)?;
        let k = nn::rotary_emb::rope(&split(self.key.forward(x)?, key_heads)?, &rope.cos, &rope.sin)?;
        let v = split(self.value.forward(x)?, key_heads)?;
        let repeat = |x: Tensor| -> Result<Tensor> {
            let shape = (batch, key_heads, heads / key_heads, tokens, self.config.head());
            x.unsqueeze(2)?.broadcast_as(shape)?.reshape((batch, heads, tokens, ()))
        };
        let scores = (q.matmul(&repeat(k)?.t()?)? / (self.config.head() as f64).sqrt())?;
        let weights = nn::ops::softmax(&scores.broadcast_add(&rope.mask)?, D::Minus1)?;
        let context = weights.matmul(&repeat(v)?)?.transpose(1, 2)?.reshape((batch, tokens, hidden))?;
        self.output.forward(&context)
    }

    fn mlp(&self, x: &Tensor) -> Result<Tensor> {
        self.down.forward(&(nn::ops::silu(&self.gate.forward(x)?)? * self.up.forward(x)?)?)
    }
}

/// What depends on the positions alone.
struct Rope {
    cos: Tensor,
    sin: Tensor,
    /// 0 where a token sees another, and -inf where that comes later.
    mask: Tensor,
}

impl Rope {
    fn new(tokens: usize, head: usize, dtype: DType, device: &Device) -> Result<Self> {
        let angles: Vec<f32> = (0..tokens)
            .flat_map(|token| (0..head / 2).map(move |pair| token as f32 / 1e4f32.powf(2.0 * pair as f32 / head as f32)))
            .collect();
        let angles = Tensor::from_vec(angles, (tokens, head / 2), device)?;
        let mask: Vec<f32> = (0..tokens)
            .flat_map(|token| (0..tokens).map(move |other| if other > token { f32::NEG_INFINITY } else { 0.0 }))
            .collect();
        Ok(Self {
            cos: angles.cos()?.to_dtype(dtype)?,
            sin: angles.sin()?.to_dtype(dtype)?,
            mask: Tensor::from_vec(mask, (tokens, tokens), device)?.to_dtype(dtype)?,
        })
    }
}

pub struct Llama {
    config: Config,
    words: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    logits: Linear,
}

impl Llama {
    pub fn new(config: &Config, vb: VarBuilder<'_>) -> Result<Self> {
        let Config { vocabulary, hidden, layers, eps, .. } = *config;
        Ok(Self {
            config: *config,
            words: nn::embedding(vocabulary, hidden, vb.pp("model.embed_tokens"))?,
            layers: (0..layers)
                .map(|layer| Layer::new(config, vb.pp(format!("model.layers.{layer}"))))
                .collect::<Result<_>>()?,
            norm: nn::rms_norm(hidden, eps, vb.pp("model.norm"))?,
            logits: nn::linear_no_bias(hidden, vocabulary, vb.pp("lm_head"))?,
        })
    }

    /// The logits of every token, [batch, tokens, vocabulary]; `tokens` is [batch, tokens] u32.
    pub fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let mut residual = self.words.forward(tokens)?;
        let rope = Rope::new(tokens.dim(1)?, self.config.head(), residual.dtype(), residual.device())?;
        let Some((first, _)) = self.layers.split_first() else { return self.logits.forward(&self.norm.forward(&residual)?) };
        let mut x = first.input_norm.forward(&residual)?;
        for (at, layer) in self.layers.iter().enumerate() {
            let attention = layer.attention(&x, &rope)?;
            (x, residual) = add_norm(&layer.inner_norm, &attention, &residual)?;
            let mlp = layer.mlp(&x)?;
            let next = self.layers.get(at + 1).map_or(&self.norm, |layer| &layer.input_norm);
            (x, residual) = add_norm(next, &mlp, &residual)?;
        }
        self.logits.forward(&x)
    }
}
