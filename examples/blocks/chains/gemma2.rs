//! The sandwich: a norm before each block and another after it.
//!
//! After Hugging Face's `modeling_gemma2.py`; *Gemma 2: Improving Open Language Models at a Practical Size* (2024). A
//! layer is
//!
//! ```text
//! h = h + norm(attention(norm(h)))
//! h = h + norm(down(gelu(gate)·up))         gate, up from norm(h)
//! ```
//!
//! with 1 + w for the weight of every norm. The norm after attention, the sum and the norm before the feed-forward
//! block are one pass, [`Input::PostNorm`]; the last norm of a layer and its sum are one, [`Norm::with_post_add`].
//! Where no one asks for the stream between two layers, `PostNorm` takes the next layer's first norm into that pass
//! as well.

use super::attention::rotate;
use super::{Attention, Batch, Chain, Machine, Result, Source, Tensor};
use warpnorm::host::Problem;
use warpnorm::{Activation, DType, Input, Norm, PostAdd, PostRounding, presets};

/// The base of the angles, and the bound on attention's scores, of Gemma 2.
pub const ROPE_BASE: f64 = 1e4;
pub const SCORE_CAP: f64 = 50.0;

pub struct Layer {
    pub input_norm: Tensor,
    /// `(heads + 2·kv_heads)·head × hidden`.
    pub qkv: Tensor,
    /// `hidden × heads·head`.
    pub output: Tensor,
    pub post_attention_norm: Tensor,
    pub pre_feedforward_norm: Tensor,
    /// `2·inner × hidden`: packed [gate | up].
    pub gate_up: Tensor,
    /// `hidden × inner`.
    pub down: Tensor,
    pub post_feedforward_norm: Tensor,
}

pub struct Gemma2 {
    pub batch: Batch,
    pub head: usize,
    pub heads: usize,
    pub kv_heads: usize,
    /// Embedded tokens, times √hidden.
    pub input: Tensor,
    pub layers: Vec<Layer>,
    pub final_norm: Tensor,
}

impl Gemma2 {
    pub fn new(dtype: DType) -> Self {
        let (hidden, head, heads, kv_heads, inner) = (96, 32, 4, 2, 160);
        let mut source = Source::new(dtype, 11);
        let batch = Batch { sequences: vec![4] };
        // Stored minus one.
        let norm = |source: &mut Source| source.vector(hidden, 0.1, 0.2);
        let layer = |source: &mut Source| Layer {
            input_norm: norm(source),
            qkv: source.matrix((heads + 2 * kv_heads) * head, hidden, 1.5),
            output: source.matrix(hidden, heads * head, 1.5),
            post_attention_norm: norm(source),
            pre_feedforward_norm: norm(source),
            gate_up: source.matrix(2 * inner, hidden, 1.5),
            down: source.matrix(hidden, inner, 1.5),
            post_feedforward_norm: norm(source),
        };
        Self {
            head,
            heads,
            kv_heads,
            input: source.activations(batch.rows(), hidden),
            layers: vec![layer(&mut source), layer(&mut source)],
            final_norm: norm(&mut source),
            batch,
        }
    }
}

impl Chain for Gemma2 {
    fn name(&self) -> &'static str {
        "sandwich (Gemma 2)"
    }

    fn forward(&self, machine: &Machine<'_>) -> Result<Tensor> {
        let (of_q, of_k) = (self.heads * self.head, self.kv_heads * self.head);
        let scale = (self.head as f64).powf(-0.5);
        let attention = Attention { head: self.head, scale, causal: true, cap: Some(SCORE_CAP) };
        let norm = presets::gemma().with_input(Input::Plain);
        // Hugging Face rounds the norm, and then the sum.
        let post_add = PostAdd { scale: 1.0, rounding: PostRounding::Each };
        let plain = |x: &Tensor, weight: &Tensor| {
            let problem = x.problem(norm);
            machine.y(&Problem { weight: Some(weight.vector()), ..problem })
        };
        let mut stream = self.input.clone();
        for layer in &self.layers {
            let h = plain(&stream, &layer.input_norm)?;
            let qkv = machine.product(&h, &layer.qkv)?;
            let q = rotate(&self.batch, &qkv.columns(0..of_q), self.head, ROPE_BASE);
            let k = rotate(&self.batch, &qkv.columns(of_q..of_q + of_k), self.head, ROPE_BASE);
            let context = attention.of(&self.batch, &q, &k, &qkv.columns(of_q + of_k..qkv.columns));
            let projected = machine.product(&context, &layer.output)?;

            let h;
            (h, stream) = machine.y_and_residual(Problem {
                residual: Some(&stream.bytes),
                inner_weight: Some(layer.post_attention_norm.vector()),
                weight: Some(layer.pre_feedforward_norm.vector()),
                ..projected.problem(norm.with_input(Input::PostNorm(post_add)))
            })?;
            let packed = machine.product(&h, &layer.gate_up)?;
            let inner = packed.columns / 2;
            let (gate, up) = (packed.columns(0..inner), packed.columns(inner..2 * inner));
            let geglu = Norm::activation(Activation::GeluTanh);
            let activated = machine.y(&Problem { gate: Some(&gate.bytes), ..up.problem(geglu) })?;
            let block = machine.product(&activated, &layer.down)?;
            stream = machine.y(&Problem {
                residual: Some(&stream.bytes),
                weight: Some(layer.post_feedforward_norm.vector()),
                ..block.problem(norm.with_post_add(post_add))
            })?;
        }
        plain(&stream, &self.final_norm)
    }
}
