//! One case of every op beyond the plain norms, for the promises that all of them keep.

use super::case;
use warpnorm::parity::{Case, Rotation, Values};
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{
    Activation, DType, Family, Input, Interpolation, Norm, PostAdd, PostRounding, Rope, RopeRounding, Scope,
};

/// Cases of rows of this size, of two heads or groups where they are divided, each with what it is.
pub fn catalogue(dtype: DType, rows: usize, hidden: usize) -> Vec<(&'static str, Case)> {
    let each = PostAdd { scale: 0.7, rounding: PostRounding::Each };
    let rms = Norm::rms_norm(1e-6);
    let mut norms = vec![
        ("activation", Norm::activation(Activation::GeluTanh)),
        ("affine", Norm::affine()),
        ("l2 norm", Norm::l2_norm()),
        ("gated", rms.with_gate(Activation::SILU)),
        ("gated input", rms.with_input(Input::Gated(Activation::SILU))),
        ("post add", rms.with_post_add(PostAdd::default())),
        ("post add of a layer norm", Norm::layer_norm(1e-5).with_post_add(each)),
        ("two norms", rms.with_input(Input::PostNorm(each))),
        ("interpolation", Norm::l2_norm().with_input(Input::Interpolation(Interpolation { rate_scale: 1.3 }))),
        ("heads", Norm::layer_norm(1e-5).with_scope(Scope::Head)),
        ("gated groups", rms.with_scope(Scope::Group).with_gate(Activation::SILU)),
        ("groups of gated input", rms.with_scope(Scope::Group).with_input(Input::Gated(Activation::Sigmoid))),
    ];
    if (2..=512).contains(&hidden) {
        let rope = Rope::half_split(hidden / 2 * 2);
        norms.push(("rotated heads", rms.with_rope(rope)));
        let rope = Rope::interleaved((hidden / 3).next_multiple_of(2)).with_rounding(RopeRounding::Each);
        norms.push(("heads rotated in part", Norm::l2_norm().with_rope(rope)));
    }
    if dtype != DType::F32 {
        let per_token = Quantisation::per_token(CodeType::E4m3);
        norms.extend([
            ("quantised activation", Norm::activation(Activation::SILU).with_quantisation(per_token)),
            ("quantised post add", rms.with_post_add(each).with_quantisation(per_token)),
            ("quantised second norm", rms.with_input(Input::PostNorm(PostAdd::default())).with_quantisation(per_token)),
            ("quantised unrounded", rms.with_quantisation(Quantisation::per_tensor_wide())),
        ]);
    }
    norms.into_iter().map(|(name, norm)| (name, one(norm, dtype, rows, hidden))).collect()
}

fn one(norm: Norm, dtype: DType, rows: usize, hidden: usize) -> Case {
    const SEED: u64 = 91;
    let parts = if norm.scope == Scope::Row { 1 } else { 2 };
    let mut case = match parts {
        1 => case((norm, Some(dtype), None), dtype, rows, hidden, Values::Unit, SEED),
        _ => Case::of_parts(norm, dtype, rows, parts, hidden, Values::Unit, SEED).expect("a shape").with_weight(dtype),
    };
    if matches!(norm.input, Input::PostNorm(_)) {
        case = case.with_inner_weight(dtype);
    }
    if norm.scope == Scope::Head {
        if norm.family == Family::LayerNorm {
            case = case.with_bias(dtype);
        }
        case = case.with_second(3);
    }
    if norm.quantisation.is_some_and(|quantisation| quantisation == Quantisation::per_tensor_wide()) {
        case.outputs.y = false;
    }
    if let Some(rope) = norm.rope {
        let mut rotation = Rotation::new(rope, DType::F32, 2 * rows);
        // Each row has a position of its own, so that what is read is known.
        rotation.positions = Some((0..rows).map(|row| (2 * row + 1) as i64).collect());
        case.rope = Some(rotation);
    }
    case
}
