//! The networks of the chains as their modelling files have them, one operation after the other and none fused.

pub mod plain;

use crate::chains::gemma2::{self, Gemma2};
use crate::chains::minilm::{Affine, Recorded};
use crate::chains::n_gpt::{self, NGpt};
use crate::chains::post_norm::PostNorm;
use crate::chains::qwen3::{self, Qwen3};
use crate::chains::{Chain, Tensor};
use plain::{Matrix, Plain, Scores, gelu, gelu_tanh, silu};

/// A chain whose network is known.
pub trait Network: Chain {
    /// What the network puts out.
    fn formula(&self, plain: Plain) -> Matrix;
}

impl Network for Qwen3 {
    /// `Qwen3DecoderLayer`, `Qwen3Attention`, `Qwen3MLP`.
    fn formula(&self, plain: Plain) -> Matrix {
        let norm = |x: &Matrix, weight: &Tensor| plain.multiply(&plain.rms_norm(x, 1e-6), &Matrix::of(weight));
        let (of_q, of_k) = (self.heads * self.head, self.kv_heads * self.head);
        let how = Scores { head: self.head, scale: 1.0 / (self.head as f64).sqrt(), causal: true, cap: None };
        let mut h = Matrix::of(&self.input);
        for layer in &self.layers {
            let qkv = plain.linear(&norm(&h, &layer.input_norm), &layer.qkv, None);
            let heads = |x: Matrix, weight| {
                let normalised = norm(&x.cut(self.head), weight).cut(x.columns);
                plain.rope(&self.batch, &normalised, self.head, qwen3::ROPE_BASE)
            };
            let q = heads(qkv.slice(0, of_q), &layer.q_norm);
            let k = heads(qkv.slice(of_q, of_k), &layer.k_norm);
            let context = plain.attention(&self.batch, [&q, &k, &qkv.slice(of_q + of_k, of_k)], how);
            h = plain.add(&h, &plain.linear(&context, &layer.output, None));
            let packed = plain.linear(&norm(&h, &layer.post_attention_norm), &layer.gate_up, None);
            let inner = packed.columns / 2;
            let gate = plain.map(&packed.slice(0, inner), silu);
            let activated = plain.multiply(&gate, &packed.slice(inner, inner));
            h = plain.add(&h, &plain.linear(&activated, &layer.down, None));
        }
        norm(&h, &self.final_norm)
    }
}

impl Network for Gemma2 {
    /// `Gemma2DecoderLayer`, `Gemma2Attention` without its window, `Gemma2MLP`.
    fn formula(&self, plain: Plain) -> Matrix {
        // The product with 1 + w is f32's, of the norm that is not rounded yet.
        let norm = |x: &Matrix, weight: &Tensor| {
            let normalised = Plain { dtype: None }.rms_norm(x, 1e-6);
            plain.zip(&normalised, &Matrix::of(weight), |v, w| v * (1.0 + w))
        };
        let (of_q, of_k) = (self.heads * self.head, self.kv_heads * self.head);
        let scale = 1.0 / (self.head as f64).sqrt();
        let how = Scores { head: self.head, scale, causal: true, cap: Some(gemma2::SCORE_CAP) };
        let mut h = Matrix::of(&self.input);
        for layer in &self.layers {
            let qkv = plain.linear(&norm(&h, &layer.input_norm), &layer.qkv, None);
            let q = plain.rope(&self.batch, &qkv.slice(0, of_q), self.head, gemma2::ROPE_BASE);
            let k = plain.rope(&self.batch, &qkv.slice(of_q, of_k), self.head, gemma2::ROPE_BASE);
            let context = plain.attention(&self.batch, [&q, &k, &qkv.slice(of_q + of_k, of_k)], how);
            let projected = plain.linear(&context, &layer.output, None);
            h = plain.add(&h, &norm(&projected, &layer.post_attention_norm));
            let packed = plain.linear(&norm(&h, &layer.pre_feedforward_norm), &layer.gate_up, None);
            let inner = packed.columns / 2;
            let gate = plain.map(&packed.slice(0, inner), gelu_tanh);
            let activated = plain.multiply(&gate, &packed.slice(inner, inner));
            let down = plain.linear(&activated, &layer.down, None);
            h = plain.add(&h, &norm(&down, &layer.post_feedforward_norm));
        }
        norm(&h, &self.final_norm)
    }
}

impl Network for PostNorm {
    /// `BertEmbeddings`, `BertSelfOutput`, `BertIntermediate` and `BertOutput`; torchscale's `EncoderLayer`, which
    /// has the residual times α.
    fn formula(&self, plain: Plain) -> Matrix {
        let bert = self.embedding.is_some();
        // (2N)^¼ for two layers is √2.
        let (alpha, eps) = if bert { (1.0, 1e-12) } else { (std::f64::consts::SQRT_2, 1e-5) };
        let norm = |h: &Matrix, x: &Matrix, affine: &Affine| {
            let scaled = plain.map(h, |h| alpha * h);
            plain.layer_norm(&plain.add(&scaled, x), eps, &affine.weight, &affine.bias)
        };
        let hidden = self.input.columns;
        let how = Scores { head: self.head, scale: 1.0 / (self.head as f64).sqrt(), causal: false, cap: None };
        let mut h = Matrix::of(&self.input);
        if let Some((place, affine)) = &self.embedding {
            h = norm(&Matrix::of(place), &h, affine);
        }
        for layer in &self.layers {
            let qkv = plain.linear(&h, &layer.qkv, Some(&layer.qkv_bias));
            let [q, k, v] = [0, 1, 2].map(|index| qkv.slice(index * hidden, hidden));
            let context = plain.attention(&self.batch, [&q, &k, &v], how);
            h = norm(&h, &plain.linear(&context, &layer.output, Some(&layer.output_bias)), &layer.attention_norm);
            let inner = plain.map(&plain.linear(&h, &layer.up, Some(&layer.up_bias)), gelu);
            h = norm(&h, &plain.linear(&inner, &layer.down, Some(&layer.down_bias)), &layer.output_norm);
        }
        h
    }
}

impl Network for Recorded {
    fn formula(&self, plain: Plain) -> Matrix {
        self.blocks.iter().fold(Matrix::of(&self.input), |h, (x, affine)| {
            plain.layer_norm(&plain.add(&h, &Matrix::of(x)), 1e-12, &affine.weight, &affine.bias)
        })
    }
}

impl Network for NGpt {
    /// `Block` of nGPT's `model.py`, with the rotation that its paper names.
    fn formula(&self, plain: Plain) -> Matrix {
        let hidden = self.input.columns;
        let how = Scores { head: self.head, scale: (self.head as f64).sqrt(), causal: true, cap: None };
        let step = |h: &Matrix, block: &Matrix, rate: &Tensor| {
            let (a, b) = (plain.unit(h), plain.unit(block));
            let rate_scale = n_gpt::RATE_INIT * (hidden as f64).sqrt();
            let rate = plain.map(&Matrix::of(rate), |rate| (rate * rate_scale).abs());
            let towards = plain.multiply(&plain.zip(&b, &a, |b, a| b - a), &rate);
            plain.unit(&plain.add(&a, &towards))
        };
        let mut h = Matrix::of(&self.input);
        for layer in &self.layers {
            let qkv = plain.linear(&h, &layer.qkv, None);
            let scaled = |part: usize| {
                let rotated = plain.rope(&self.batch, &qkv.slice(part * hidden, hidden), self.head, n_gpt::ROPE_BASE);
                plain.multiply(&plain.unit(&rotated.cut(self.head)).cut(hidden), &Matrix::of(&layer.qk_scale))
            };
            let context = plain.attention(&self.batch, [&scaled(0), &scaled(1), &qkv.slice(2 * hidden, hidden)], how);
            h = step(&h, &plain.linear(&context, &layer.output, None), &layer.attention_rate);
            let packed = plain.multiply(&plain.linear(&h, &layer.uv, None), &Matrix::of(&layer.uv_scale));
            let inner = packed.columns / 2;
            let gate = plain.map(&packed.slice(inner, inner), silu);
            let activated = plain.multiply(&packed.slice(0, inner), &gate);
            h = step(&h, &plain.linear(&activated, &layer.mlp_output, None), &layer.mlp_rate);
        }
        h
    }
}
