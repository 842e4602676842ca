//! The table itself.

use super::{Coverage, Op, With};
use warpnorm::{
    Activation, Input, Interpolation, Norm, PostAdd, PostRounding, ResidualAdd, ResidualRounding, Rope, RopeRounding,
    Scope, WeightRounding,
};

const LAYER: Norm = Norm::layer_norm(1e-5);
const RMS: Norm = Norm::rms_norm(1e-6);
const L2: Norm = Norm::l2_norm();
/// Rounded before the weight, as Hugging Face has it.
const LLAMA: Norm = RMS.with_weight_rounding(WeightRounding::BeforeWeight);
const GEMMA: Norm = RMS.with_weight_offset(1.0);

/// α of DeepNorm for an encoder of 18 layers, (2·18)^(1/4).
const DEEP_NORM_SCALE: f32 = 2.449_489_7;

const STORED: ResidualAdd = add(ResidualRounding::Stored);
const WIDE: ResidualAdd = add(ResidualRounding::Wide);
const SPLIT: ResidualAdd = add(ResidualRounding::Split);
const DEEP: ResidualAdd = ResidualAdd { scale: DEEP_NORM_SCALE, rounding: ResidualRounding::Stored };

const fn add(rounding: ResidualRounding) -> ResidualAdd {
    ResidualAdd { scale: 1.0, rounding }
}

const AFTER: PostAdd = PostAdd { scale: 1.0, rounding: PostRounding::Single };
/// As Hugging Face has it, where the norm is an op of its own.
const AFTER_EACH: PostAdd = PostAdd { scale: 1.0, rounding: PostRounding::Each };
const AFTER_SCALED: PostAdd = PostAdd { scale: 0.5, rounding: PostRounding::Single };

const STEP: Input = Input::Interpolation(Interpolation { rate_scale: 1.0 });
/// α_init / α_scale of nGPT for a hidden size of 4096: 0.05·√4096.
const STEP_SCALED: Input = Input::Interpolation(Interpolation { rate_scale: 3.2 });
const SILU_BEFORE: Input = Input::Gated(Activation::SILU);

const HEADS: Scope = Scope::Head;
const GROUPS: Scope = Scope::Group;

const NOTHING: With =
    With { weight: false, bias: false, gate: false, linear_bias: false, second: false, positions: false };
const WEIGHT: With = With { weight: true, ..NOTHING };
const WEIGHT_AND_BIAS: With = With { bias: true, ..WEIGHT };
const GATE: With = With { gate: true, ..NOTHING };
const LINEAR_BIAS: With = With { linear_bias: true, ..WEIGHT };
/// As servers call it: Q and K at once.
const Q_AND_K: With = With { second: true, ..WEIGHT };
const POSITIONS: With = With { positions: true, ..Q_AND_K };

/// Every op, those first that have always been there: grids keep the order.
pub const OPS: &[Op] = &[
    Op {
        name: "layer-norm",
        about: "Layer normalisation; with a residual, that of add-layer-norm",
        norm: LAYER,
        with: WEIGHT_AND_BIAS,
        variants: &[],
        coverage: Coverage::Whole,
    },
    Op {
        name: "rms-norm",
        about: "Root-mean-square normalisation; with a residual, that of add-rms-norm",
        norm: RMS,
        with: WEIGHT,
        variants: &[(LLAMA, WEIGHT), (GEMMA, WEIGHT)],
        coverage: Coverage::Whole,
    },
    Op {
        name: "add-layer-norm",
        about: "Residual add and layer normalisation",
        norm: LAYER.with_residual_add(STORED),
        with: WEIGHT_AND_BIAS,
        variants: &[
            (LAYER.with_residual_add(WIDE), WEIGHT_AND_BIAS),
            (LAYER.with_residual_add(SPLIT), WEIGHT_AND_BIAS),
            (LAYER.with_residual_add(DEEP), WEIGHT_AND_BIAS),
        ],
        coverage: Coverage::Whole,
    },
    Op {
        name: "add-rms-norm",
        about: "Residual add and root-mean-square normalisation",
        norm: RMS.with_residual_add(STORED),
        with: WEIGHT,
        variants: &[
            (RMS.with_residual_add(WIDE), WEIGHT),
            (RMS.with_residual_add(SPLIT), WEIGHT),
            (LLAMA.with_residual_add(STORED), WEIGHT),
        ],
        coverage: Coverage::Whole,
    },
    Op {
        name: "l2-norm",
        about: "Normalisation by Euclidean length; with a residual, that of add-l2-norm",
        norm: L2,
        with: WEIGHT,
        variants: &[(L2, NOTHING)],
        coverage: Coverage::WhereAsked,
    },
    Op {
        name: "add-l2-norm",
        about: "Residual add and normalisation by Euclidean length",
        norm: L2.with_residual_add(STORED),
        with: WEIGHT,
        variants: &[(L2.with_residual_add(WIDE), LINEAR_BIAS)],
        coverage: Coverage::WhereAsked,
    },
    Op {
        name: "layer-norm-add",
        about: "Layer normalisation, whose result is added to the residual",
        norm: LAYER.with_post_add(AFTER),
        with: WEIGHT,
        variants: &[(LAYER.with_post_add(AFTER_EACH), WEIGHT)],
        coverage: Coverage::Samples(0),
    },
    Op {
        name: "rms-norm-add",
        about: "Root-mean-square normalisation, whose result is added to the residual: Gemma 2, OLMo 2",
        norm: RMS.with_post_add(AFTER),
        with: WEIGHT,
        variants: &[
            (RMS.with_post_add(AFTER_EACH), WEIGHT),
            (GEMMA.with_post_add(AFTER_SCALED), WEIGHT),
            (LLAMA.with_post_add(AFTER), WEIGHT),
        ],
        coverage: Coverage::Samples(0),
    },
    Op {
        name: "l2-norm-add",
        about: "Normalisation by Euclidean length, whose result is added to the residual",
        norm: L2.with_post_add(AFTER),
        with: WEIGHT,
        variants: &[],
        coverage: Coverage::WhereAsked,
    },
    Op {
        name: "rms-norm-add-rms-norm",
        about: "The norm after a block, its add to the residual, and the norm before the next block",
        norm: RMS.with_input(Input::PostNorm(AFTER)),
        with: WEIGHT,
        variants: &[
            (RMS.with_input(Input::PostNorm(AFTER_EACH)), WEIGHT),
            (GEMMA.with_input(Input::PostNorm(AFTER_SCALED)), WEIGHT),
        ],
        coverage: Coverage::Samples(0),
    },
    Op {
        name: "l2-norm-add-l2-norm",
        about: "The same with norms by Euclidean length",
        norm: L2.with_input(Input::PostNorm(AFTER)),
        with: WEIGHT,
        variants: &[],
        coverage: Coverage::WhereAsked,
    },
    Op {
        name: "interpolate-l2-norm",
        about: "nGPT's step from the normalised residual towards the normalised x, normalised",
        norm: L2.with_input(STEP),
        with: NOTHING,
        variants: &[(L2.with_input(STEP_SCALED), WEIGHT)],
        coverage: Coverage::Samples(0),
    },
    Op {
        name: "interpolate-rms-norm",
        about: "The same with root-mean-square norms",
        norm: RMS.with_input(STEP),
        with: WEIGHT,
        variants: &[],
        coverage: Coverage::WhereAsked,
    },
    Op {
        name: "head-layer-norm",
        about: "Layer normalisation of each head; with cos and sin, rotated by its position",
        norm: LAYER.with_scope(HEADS),
        with: WEIGHT_AND_BIAS,
        variants: &[(LAYER.with_rope(Rope::interleaved(64)), WEIGHT_AND_BIAS)],
        coverage: Coverage::Samples(0),
    },
    Op {
        name: "head-rms-norm",
        about: "Root-mean-square normalisation of each head, QK-norm; with cos and sin, rotated by its position",
        norm: RMS.with_scope(HEADS),
        with: WEIGHT,
        variants: &[
            (RMS.with_rope(Rope::half_split(128)), Q_AND_K),
            (LLAMA.with_rope(Rope::half_split(64).with_rounding(RopeRounding::Each)), POSITIONS),
            (RMS.with_rope(Rope::interleaved(32)), WEIGHT),
        ],
        coverage: Coverage::Samples(1),
    },
    Op {
        name: "head-l2-norm",
        about: "Normalisation of each head by Euclidean length; with cos and sin, rotated by its position",
        norm: L2.with_scope(HEADS),
        with: WEIGHT,
        variants: &[(L2.with_rope(Rope::half_split(64)), NOTHING)],
        coverage: Coverage::WhereAsked,
    },
    Op {
        name: "group-layer-norm",
        about: "Layer normalisation of each group of a row",
        norm: LAYER.with_scope(GROUPS),
        with: WEIGHT_AND_BIAS,
        variants: &[],
        coverage: Coverage::WhereAsked,
    },
    Op {
        name: "group-rms-norm",
        about: "Root-mean-square normalisation of each group of a row",
        norm: RMS.with_scope(GROUPS),
        with: WEIGHT,
        variants: &[],
        coverage: Coverage::WhereAsked,
    },
    Op {
        name: "gated-rms-norm",
        about: "Root-mean-square normalisation, multiplied by the activation of a gate: Qwen3-Next",
        norm: RMS.with_gate(Activation::SILU),
        with: WEIGHT,
        variants: &[(LLAMA.with_gate(Activation::SILU), WEIGHT), (RMS.with_gate(Activation::Sigmoid), WEIGHT)],
        coverage: Coverage::Samples(0),
    },
    Op {
        name: "gated-group-rms-norm",
        about: "The same of each group of a row: Mamba-2 where its norm_before_gate is true",
        norm: RMS.with_scope(GROUPS).with_gate(Activation::SILU),
        with: WEIGHT,
        variants: &[],
        coverage: Coverage::WhereAsked,
    },
    Op {
        name: "gated-input-rms-norm",
        about: "Root-mean-square normalisation of x times the activation of a gate",
        norm: RMS.with_input(SILU_BEFORE),
        with: WEIGHT,
        variants: &[],
        coverage: Coverage::WhereAsked,
    },
    Op {
        name: "gated-input-group-rms-norm",
        about: "The same of each group of a row: Mamba-2, whose norm_before_gate is false by default",
        norm: RMS.with_scope(GROUPS).with_input(SILU_BEFORE),
        with: WEIGHT,
        variants: &[],
        coverage: Coverage::Samples(0),
    },
    Op {
        name: "activation",
        about: "The activation of x, or x times that of a gate where there is one: GLU, ReGLU, GEGLU, SwiGLU",
        norm: Norm::activation(Activation::SILU),
        with: GATE,
        variants: &[
            (Norm::activation(Activation::SILU), NOTHING),
            (Norm::activation(Activation::GeluExact), GATE),
            (Norm::activation(Activation::GeluTanh), GATE),
            (Norm::activation(Activation::Sigmoid), GATE),
            (Norm::activation(Activation::Relu), NOTHING),
            (Norm::activation(Activation::LeakyRelu { slope: 0.01 }), NOTHING),
        ],
        coverage: Coverage::Samples(1),
    },
    Op {
        name: "affine",
        about: "A scale and a shift per feature: batch normalisation, folded for inference",
        norm: Norm::affine(),
        with: WEIGHT_AND_BIAS,
        variants: &[],
        coverage: Coverage::Samples(0),
    },
];

/// All that grids have of an op, the plain norm first.
pub fn all(op: &'static Op) -> impl Iterator<Item = (Norm, With)> {
    std::iter::once((op.norm, op.with)).chain(op.variants.iter().copied())
}
