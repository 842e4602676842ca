//! nGPT: everything is a point on the unit sphere, and a block is a step on it.
//!
//! After Loshchilov et al., *nGPT: Normalized Transformer with Representation Learning on the Hypersphere* (2024), and
//! `model.py` of NVIDIA's repository `ngpt`. A layer is
//!
//! ```text
//! h = norm(h + α_A·(norm(attention(h)) − h))
//! h = norm(h + α_M·(norm(mlp(h)) − h))
//! ```
//!
//! where norm is division by the Euclidean length, and each of the two lines is one pass. There is no norm before a
//! block, and none at the end. q and k are normalised after their rotation and scaled by s_qk, feature by feature of
//! every head: L2 norms of groups, those of q and k in one launch. The MLP's u = (h·W_u)·s_u is scaled in the pass of
//! SwiGLU, which takes s_u for its weight; s_v, inside the activation, is folded into W_v.

use super::attention::rotate;
use super::{Attention, Batch, Chain, Machine, Result, Source, Tensor};
use warpnorm::host::Problem;
use warpnorm::{Activation, DType, Input, Interpolation, Norm, Scope, presets};

pub const ROPE_BASE: f64 = 1e4;
/// What α starts from in training. The parameter is stored divided by it and multiplied by the scale of a unit
/// vector's elements, 1/√hidden.
pub const RATE_INIT: f64 = 0.05;

pub struct Layer {
    /// `3·hidden × hidden`, rows of length 1.
    pub qkv: Tensor,
    /// s_qk, of each feature of each head.
    pub qk_scale: Tensor,
    /// `hidden × hidden`.
    pub output: Tensor,
    pub attention_rate: Tensor,
    /// `2·inner × hidden`: packed [u | v], rows of length 1.
    #[allow(dead_code, reason = "for the network's formula in the tests; the chain has it folded")]
    pub uv: Tensor,
    /// `2·inner`: s_u and s_v, times √hidden.
    pub uv_scale: Tensor,
    /// The same as `uv`, the rows of v times their scales.
    folded_uv: Tensor,
    /// `hidden × inner`.
    pub mlp_output: Tensor,
    pub mlp_rate: Tensor,
}

pub struct NGpt {
    pub batch: Batch,
    pub head: usize,
    /// Embedded tokens, of length 1.
    pub input: Tensor,
    pub layers: Vec<Layer>,
}

impl NGpt {
    pub fn new(dtype: DType) -> Self {
        let (hidden, head, inner) = (128, 32, 160);
        let mut source = Source::new(dtype, 19);
        let batch = Batch { sequences: vec![3, 2] };
        let unit = 1.0 / (hidden as f64).sqrt();
        // Of f32, as they are in training: scales and rates stay there in mixed precision.
        let scales = |source: &mut Source, length, mean: f64| source.vector_of(DType::F32, length, mean, mean / 4.0);
        let layer = |source: &mut Source| {
            let uv_scale = scales(source, 2 * inner, 1.0 / unit);
            let uv = Tensor::of(dtype, hidden, &unit_rows(hidden, source.raw(2 * inner, hidden, 1.0)));
            let mut folded = uv.values();
            let scales_of_v = uv_scale.values().into_iter().skip(inner);
            for (row, scale) in folded[inner * hidden..].chunks_exact_mut(hidden).zip(scales_of_v) {
                row.iter_mut().for_each(|value| *value *= scale);
            }
            Layer {
                qkv: Tensor::of(dtype, hidden, &unit_rows(hidden, source.raw(3 * hidden, hidden, 1.0))),
                qk_scale: scales(source, hidden, 1.0),
                output: source.matrix(hidden, hidden, 1.0),
                attention_rate: scales(source, hidden, unit),
                folded_uv: Tensor::of(dtype, hidden, &folded),
                uv,
                uv_scale,
                mlp_output: source.matrix(hidden, inner, 1.0),
                mlp_rate: scales(source, hidden, unit),
            }
        };
        Self {
            head,
            input: Tensor::of(dtype, hidden, &unit_rows(hidden, source.raw(batch.rows(), hidden, 1.0))),
            layers: vec![layer(&mut source), layer(&mut source)],
            batch,
        }
    }
}

fn unit_rows(columns: usize, mut values: Vec<f64>) -> Vec<f64> {
    for row in values.chunks_exact_mut(columns) {
        let length = row.iter().map(|value| value * value).sum::<f64>().sqrt();
        row.iter_mut().for_each(|value| *value /= length);
    }
    values
}

impl Chain for NGpt {
    fn name(&self) -> &'static str {
        "on the sphere (nGPT)"
    }

    fn forward(&self, machine: &Machine<'_>) -> Result<Tensor> {
        let hidden = self.input.columns;
        let attention = Attention { head: self.head, scale: (self.head as f64).sqrt(), causal: true, cap: None };
        let rate_scale = (RATE_INIT * (hidden as f64).sqrt()) as f32;
        let step = presets::n_gpt().with_input(Input::Interpolation(Interpolation { rate_scale }));
        let towards = |block: &Tensor, h: &Tensor, rate: &Tensor| {
            let problem = block.problem(step);
            machine.y(&Problem { residual: Some(&h.bytes), rate: Some(rate.vector()), ..problem })
        };
        let mut h = self.input.clone();
        for layer in &self.layers {
            let qkv = machine.product(&h, &layer.qkv)?;
            let qk = rotate(&self.batch, &qkv.columns(0..2 * hidden), self.head, ROPE_BASE);
            let both_scales = Tensor { columns: 2 * hidden, bytes: layer.qk_scale.bytes.repeat(2), ..layer.qk_scale };
            let qk = machine.y(&Problem {
                weight: Some(both_scales.vector()),
                ..qk.parts_problem(presets::n_gpt().with_scope(Scope::Group), self.head)
            })?;
            let (q, k) = (qk.columns(0..hidden), qk.columns(hidden..2 * hidden));
            let context = attention.of(&self.batch, &q, &k, &qkv.columns(2 * hidden..3 * hidden));
            let projected = machine.product(&context, &layer.output)?;
            h = towards(&projected, &h, &layer.attention_rate)?;

            let packed = machine.product(&h, &layer.folded_uv)?;
            let inner = packed.columns / 2;
            let (u, v) = (packed.columns(0..inner), packed.columns(inner..2 * inner));
            let scale = layer.uv_scale.columns(0..inner);
            let activated = machine.y(&Problem {
                gate: Some(&v.bytes),
                weight: Some(scale.vector()),
                ..u.problem(Norm::activation(Activation::SILU))
            })?;
            let block = machine.product(&activated, &layer.mlp_output)?;
            h = towards(&block, &h, &layer.mlp_rate)?;
        }
        Ok(h)
    }
}
