//! Pre-norm: Llama's block, with the norm of the heads of Q and K that Qwen3 has beside it.
//!
//! After Hugging Face's `modeling_llama.py` and `modeling_qwen3.py`; *Qwen3 Technical Report* (2025). A layer is
//!
//! ```text
//! h = h + attention(rms_norm(h))
//! h = h + down(silu(gate)·up)         gate, up from rms_norm(h)
//! ```
//!
//! and every sum is taken in the pass of the norm that follows it, which stores the new residual stream: the
//! feed-forward block's in the next layer's first norm, and in the final norm after the last. Q and K are normalised
//! and rotated in one launch. Llama itself has no norm of the heads; its rotation alone is no op of this crate.

use super::attention::angles;
use super::{Attention, Batch, Chain, Machine, Result, Source, Tensor};
use warpnorm::host::{Heads, Problem, RopeTables};
use warpnorm::{Activation, DType, Input, Norm, PositionType, Rope, RopeRounding, presets};

/// The base of the angles of Qwen3.
pub const ROPE_BASE: f64 = 1e6;

pub struct Layer {
    pub input_norm: Tensor,
    /// `(heads + 2·kv_heads)·head × hidden`: Q, K and V in one product.
    pub qkv: Tensor,
    pub q_norm: Tensor,
    pub k_norm: Tensor,
    /// `hidden × heads·head`.
    pub output: Tensor,
    pub post_attention_norm: Tensor,
    /// `2·inner × hidden`: packed [gate | up].
    pub gate_up: Tensor,
    /// `hidden × inner`.
    pub down: Tensor,
}

pub struct Qwen3 {
    pub batch: Batch,
    pub head: usize,
    pub heads: usize,
    pub kv_heads: usize,
    /// Embedded tokens.
    pub input: Tensor,
    pub layers: Vec<Layer>,
    pub final_norm: Tensor,
}

impl Qwen3 {
    pub fn new(dtype: DType) -> Self {
        let (hidden, head, heads, kv_heads, inner) = (128, 32, 4, 2, 192);
        let mut source = Source::new(dtype, 3);
        let batch = Batch { sequences: vec![3, 2] };
        let layer = |source: &mut Source| Layer {
            input_norm: source.vector(hidden, 1.0, 0.2),
            qkv: source.matrix((heads + 2 * kv_heads) * head, hidden, 1.0),
            q_norm: source.vector(head, 1.2, 0.2),
            k_norm: source.vector(head, 1.2, 0.2),
            output: source.matrix(hidden, heads * head, 1.0),
            post_attention_norm: source.vector(hidden, 1.0, 0.2),
            gate_up: source.matrix(2 * inner, hidden, 1.5),
            down: source.matrix(hidden, inner, 1.0),
        };
        Self {
            head,
            heads,
            kv_heads,
            input: source.activations(batch.rows(), hidden),
            layers: vec![layer(&mut source), layer(&mut source)],
            final_norm: source.vector(hidden, 1.0, 0.2),
            batch,
        }
    }

    /// Q and K, each head normalised and then rotated by the position of its row.
    fn rotated_heads(&self, machine: &Machine<'_>, layer: &Layer, q: &Tensor, k: &Tensor) -> Result<(Tensor, Tensor)> {
        let rope = Rope::half_split(self.head).with_rounding(RopeRounding::Each);
        let norm = presets::qwen3().with_input(Input::Plain).with_rope(rope);
        let positions = self.batch.positions();
        let longest = self.batch.sequences.iter().copied().max().unwrap_or(0) as i64;
        let table = |function: fn(f64) -> f64| {
            let values = (0..longest).flat_map(|position| angles(position, self.head, ROPE_BASE)).map(function);
            Tensor::of(q.dtype, self.head / 2, &values.collect::<Vec<f64>>())
        };
        let (cos, sin) = (table(f64::cos), table(f64::sin));
        machine.both_heads(&Problem {
            weight: Some(layer.q_norm.vector()),
            second: Some(Heads { x: &k.bytes, count: self.kv_heads, weight: Some(layer.k_norm.vector()), bias: None }),
            rope: Some(RopeTables {
                cos: &cos.bytes,
                sin: &sin.bytes,
                dtype: cos.dtype,
                positions: Some(&positions),
                position_type: PositionType::I64,
            }),
            ..q.parts_problem(norm, self.head)
        })
    }
}

impl Chain for Qwen3 {
    fn name(&self) -> &'static str {
        "pre-norm, Llama's with QK-norm (Qwen3)"
    }

    fn forward(&self, machine: &Machine<'_>) -> Result<Tensor> {
        let (of_q, of_k) = (self.heads * self.head, self.kv_heads * self.head);
        let attention = Attention { head: self.head, scale: (self.head as f64).powf(-0.5), causal: true, cap: None };
        let add = |x: &Tensor, stream: &Tensor, weight: &Tensor| {
            let problem = x.problem(presets::qwen3());
            machine.y_and_residual(Problem { residual: Some(&stream.bytes), weight: Some(weight.vector()), ..problem })
        };
        // What the last block put out, which the next norm adds to the stream; nothing before the first layer.
        let mut block: Option<Tensor> = None;
        let mut stream = self.input.clone();
        for layer in &self.layers {
            let h;
            (h, stream) = match block {
                Some(block) => add(&block, &stream, &layer.input_norm)?,
                None => {
                    let norm = presets::qwen3().with_input(Input::Plain);
                    let problem = Problem { weight: Some(layer.input_norm.vector()), ..stream.problem(norm) };
                    (machine.y(&problem)?, stream)
                }
            };
            let qkv = machine.product(&h, &layer.qkv)?;
            let (q, k) = (qkv.columns(0..of_q), qkv.columns(of_q..of_q + of_k));
            let (q, k) = self.rotated_heads(machine, layer, &q, &k)?;
            let context = attention.of(&self.batch, &q, &k, &qkv.columns(of_q + of_k..qkv.columns));
            let projected = machine.product(&context, &layer.output)?;

            let h;
            (h, stream) = add(&projected, &stream, &layer.post_attention_norm)?;
            let packed = machine.product(&h, &layer.gate_up)?;
            let inner = packed.columns / 2;
            let (gate, up) = (packed.columns(0..inner), packed.columns(inner..2 * inner));
            let swiglu = Norm::activation(Activation::SILU);
            let activated = machine.y(&Problem { gate: Some(&gate.bytes), ..up.problem(swiglu) })?;
            block = Some(machine.product(&activated, &layer.down)?);
        }
        match block {
            Some(block) => Ok(add(&block, &stream, &self.final_norm)?.0),
            None => Ok(stream),
        }
    }
}
