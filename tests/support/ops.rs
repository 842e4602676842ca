//! The options of the ops beyond a norm and its residual add, as emulated and real GPUs are tested with them.

use warpnorm::parity::{Case, Rotation, Values};
use warpnorm::{
    Activation, DType, Family, Input, Interpolation, Norm, PositionType, PostAdd, PostRounding, Rope, RopeRounding,
    Scope, WeightRounding,
};

pub const ACTIVATIONS: [Activation; 9] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu { slope: 0.01 },
    Activation::Sigmoid,
    Activation::SILU,
    Activation::Swish { beta: -1.702 },
    Activation::GeluTanh,
    Activation::GeluExact,
    Activation::Swish { beta: 1e4 },
];

pub const ROUNDINGS: [WeightRounding; 2] = [WeightRounding::Single, WeightRounding::BeforeWeight];

pub fn post_adds() -> [PostAdd; 4] {
    let add = |scale, rounding| PostAdd { scale, rounding };
    [
        PostAdd::default(),
        add(1.0, PostRounding::Each),
        add(0.7, PostRounding::Single),
        add(2.632_148, PostRounding::Each),
    ]
}

/// y = (r + norm(x)·w)·scale: Gemma 2, OLMo 2, and Swin v2's LayerNorm.
pub fn residual_after() -> Vec<Norm> {
    Family::NORMS
        .into_iter()
        .flat_map(|family| ROUNDINGS.map(|rounding| Norm::new(family, 1e-5).with_weight_rounding(rounding)))
        .flat_map(|norm| post_adds().map(|add| norm.with_post_add(add)))
        .collect()
}

/// norm(R((r + norm(x)·w₁)·scale))·w₂, and the residual stream between the two.
pub fn two_norms() -> Vec<Norm> {
    let norm = |rounding| Norm::rms_norm(1e-6).with_weight_rounding(rounding);
    ROUNDINGS
        .into_iter()
        .flat_map(|rounding| post_adds().map(|add| norm(rounding).with_input(Input::PostNorm(add))))
        .collect()
}

/// Norm(A + lr·(B − A)): nGPT.
pub fn steps() -> [Norm; 3] {
    let step = |rate_scale| Input::Interpolation(Interpolation { rate_scale });
    [
        Norm::l2_norm().with_input(step(1.0)),
        Norm::l2_norm().with_input(step(-1.6)),
        Norm::rms_norm(1e-5).with_input(step(0.05)),
    ]
}

/// All of the head, and a part of it that ends inside a chunk.
pub fn ropes(hidden: usize) -> Vec<Rope> {
    let mut ropes = Vec::new();
    for dim in [hidden, hidden / 2, (hidden / 3).next_multiple_of(2)] {
        for rounding in [RopeRounding::Single, RopeRounding::Each] {
            ropes.extend([Rope::half_split(dim), Rope::interleaved(dim)].map(|rope| rope.with_rounding(rounding)));
        }
    }
    ropes
}

/// Norms of groups, with the gate nowhere, after the norm and before it.
pub fn groups() -> [Norm; 5] {
    let norm = Norm::rms_norm(1e-5).with_scope(Scope::Group);
    [
        norm,
        norm.with_gate(Activation::SILU),
        norm.with_input(Input::Gated(Activation::SILU)),
        norm.with_input(Input::Gated(Activation::GeluExact)).with_weight_rounding(WeightRounding::BeforeWeight),
        norm.with_gate(Activation::Sigmoid).with_weight_rounding(WeightRounding::BeforeWeight),
    ]
}

/// A case of heads, `(rows, heads, hidden)`, with a weight and a bias by turns, and with K's heads beside Q's.
pub fn heads(norm: Norm, dtype: DType, (rows, count, hidden): (usize, usize, usize), number: usize) -> Case {
    let mut case = Case::of_parts(norm, dtype, rows, count, hidden, Values::Unit, number as u64).expect("a shape");
    let parameters = if number % 2 == 1 && dtype != DType::F32 { DType::F32 } else { dtype };
    if !number.is_multiple_of(5) {
        case = case.with_weight(parameters);
    }
    if norm.family == Family::LayerNorm {
        case = case.with_bias(parameters);
    }
    if !number.is_multiple_of(3) { case.with_second(1 + number % 3) } else { case }
}

/// A case of five rows of heads that are rotated, at any place of their sequences; those that are at none take the
/// last, also where the type of positions has no such number.
pub fn rotated(norm: Norm, dtype: DType, hidden: usize, number: usize) -> Case {
    let rope = norm.rope.expect("the norm rotates");
    let mut case = heads(norm, dtype, (5, 2, hidden), number);
    let tables = if number.is_multiple_of(2) { dtype } else { DType::F32 };
    let mut rotation = Rotation::new(rope, tables, 40);
    if !number.is_multiple_of(3) {
        rotation.positions = Some(vec![39, 17, 1000, 1 << 32, -1]);
        rotation.position_type = [PositionType::I32, PositionType::I64][number % 2];
    }
    case.rope = Some(rotation);
    case
}
