//! Parity with the f64 reference on the GPU of all that surrounds a norm: gates and activations, the bias of the
//! Linear before, the residual after the norm, another norm before it, heads, rotations and groups.

use crate::support::ops::{
    ACTIVATIONS, ROUNDINGS, groups, heads, post_adds, residual_after, ropes, rotated, steps, two_norms,
};
use crate::support::{Failures, case};
use crate::{gpu, judge, quick};
use warpnorm::host::Placement;
use warpnorm::parity::{Case, Values};
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{Activation, DType, Family, Input, Interpolation, Norm, PostAdd, ResidualAdd, Rope, Scope};

/// One size for each way a row is reduced: one thread, part of a warp, several warps, slabs, staged and read again.
const SIZES: [(usize, usize); 8] =
    [(9, 3), (37, 64), (9, 100), (6, 769), (6, 4096), (3, 16_500), (2, 66_001), (1, 200_001)];

/// Aligned, padded, misaligned and in place, by turns.
fn placement(number: usize) -> Placement {
    Placement {
        padding: [0, 8, 3][number % 3],
        offset: number / 3 % 2,
        in_place: number.is_multiple_of(4),
        ..Placement::default()
    }
}

/// The types of weights that activations of a type are tested with.
fn weights(dtype: DType) -> Vec<Option<DType>> {
    let mut weights = vec![None, Some(dtype)];
    if dtype != DType::F32 {
        weights.push(Some(DType::F32));
    }
    weights
}

/// Every norm with every weight and size; in the quick matrix, a part of them.
fn each_case(norms: &[Norm], mut check: impl FnMut(Case, usize)) {
    let mut number = 0usize;
    for dtype in DType::ALL {
        for norm in norms {
            for weight in weights(dtype) {
                for (rows, hidden) in SIZES {
                    number += 1;
                    if quick() && (!number.is_multiple_of(13) || hidden > 20_000) {
                        continue;
                    }
                    let offset = if weight == Some(DType::F32) { 1.0 } else { 0.0 };
                    let norm = (norm.with_weight_offset(offset), weight, None);
                    check(case(norm, dtype, rows, hidden, Values::Unit, number as u64), number);
                }
            }
        }
    }
}

fn assert_parity(norms: &[Norm]) {
    let cuda = gpu();
    let mut failures = Failures::default();
    each_case(norms, |mut case, number| {
        if let (Input::PostNorm(_), Some((dtype, _))) = (case.norm.input, &case.weight) {
            case = case.clone().with_inner_weight(*dtype);
        }
        judge(&mut failures, &cuda, &case, placement(number));
    });
    failures.assert_none();
}

#[test]
#[ignore = "needs a GPU"]
fn gates_after_the_norm() {
    assert_parity(&ACTIVATIONS.map(|activation| Norm::rms_norm(1e-5).with_gate(activation)));
}

#[test]
#[ignore = "needs a GPU"]
fn gates_before_the_norm() {
    assert_parity(&ACTIVATIONS.map(|activation| Norm::rms_norm(1e-5).with_input(Input::Gated(activation))));
}

#[test]
#[ignore = "needs a GPU"]
fn gates_without_a_norm() {
    assert_parity(&ACTIVATIONS.map(Norm::activation));
}

/// act(h), with no gate z; every 16-bit value there is, infinities and NaNs too.
#[test]
#[ignore = "needs a GPU"]
fn activations_of_every_16_bit_value() {
    let cuda = gpu();
    let mut failures = Failures::default();
    for dtype in [DType::F16, DType::BF16] {
        for activation in ACTIVATIONS {
            let mut case = case((Norm::activation(activation), None, None), dtype, 64, 1024, Values::Unit, 0);
            case.x = (0..=u16::MAX).flat_map(u16::to_ne_bytes).collect();
            case.gate = None;
            judge(&mut failures, &cuda, &case, Placement::default());
        }
    }
    failures.assert_none();
}

#[test]
#[ignore = "needs a GPU"]
fn scale_and_shift() {
    let cuda = gpu();
    let mut failures = Failures::default();
    for dtype in DType::ALL {
        for (number, (rows, hidden)) in SIZES.into_iter().enumerate() {
            let case = case((Norm::affine(), Some(dtype), Some(dtype)), dtype, rows, hidden, Values::Unit, 7);
            judge(&mut failures, &cuda, &case, placement(number));
        }
    }
    failures.assert_none();
}

#[test]
#[ignore = "needs a GPU"]
fn the_bias_of_the_linear_before() {
    let cuda = gpu();
    let mut failures = Failures::default();
    let norms: Vec<Norm> =
        Family::NORMS.map(|family| Norm::new(family, 1e-5).with_residual_add(ResidualAdd::default())).into();
    each_case(&norms, |case, number| {
        let dtype = case.dtype;
        judge(&mut failures, &cuda, &case.with_linear_bias(dtype), placement(number));
    });
    failures.assert_none();
}

#[test]
#[ignore = "needs a GPU"]
fn the_residual_after_the_norm() {
    assert_parity(&residual_after());
}

#[test]
#[ignore = "needs a GPU"]
fn a_norm_and_the_next_one() {
    assert_parity(&two_norms());
}

#[test]
#[ignore = "needs a GPU"]
fn a_step_on_the_sphere() {
    assert_parity(&steps());
}

#[test]
#[ignore = "needs a GPU"]
fn quantised() {
    let cuda = gpu();
    let mut failures = Failures::default();
    let mut number = 0usize;
    for quantisation in [
        Quantisation::per_tensor(CodeType::E4m3),
        Quantisation::per_token(CodeType::Int8),
        Quantisation::per_group(CodeType::E4m3, 64),
        Quantisation::mxfp8(),
        Quantisation::nvfp4(),
    ] {
        for dtype in [DType::F16, DType::BF16] {
            for add in post_adds() {
                for norm in [
                    Norm::rms_norm(1e-6).with_post_add(add),
                    Norm::rms_norm(1e-6).with_input(Input::PostNorm(add)),
                    Norm::activation(Activation::SILU),
                ] {
                    number += 1;
                    let hidden = [64, 448, 4096, 8256, 40_064][number % 5];
                    let norm = norm.with_quantisation(quantisation);
                    let mut case = case((norm, Some(dtype), None), dtype, 3, hidden, Values::Unit, number as u64);
                    if matches!(norm.input, Input::PostNorm(_)) {
                        case = case.with_inner_weight(dtype);
                    }
                    judge(&mut failures, &cuda, &case, placement(number));
                }
            }
        }
    }
    failures.assert_none();
}

#[test]
#[ignore = "needs a GPU"]
fn norms_of_heads() {
    let cuda = gpu();
    let mut failures = Failures::default();
    let mut number = 0usize;
    for dtype in DType::ALL {
        for family in Family::NORMS {
            for hidden in [1, 32, 64, 80, 96, 100, 128, 256, 500, 512, 1000, 9000] {
                for rows in [5, 301] {
                    number += 1;
                    let norm = Norm::new(family, 1e-6).with_weight_rounding(ROUNDINGS[number % 2]);
                    let rows = if hidden > 1000 { 2 } else { rows };
                    let case = heads(norm.with_scope(Scope::Head), dtype, (rows, 3, hidden), number);
                    judge(&mut failures, &cuda, &case, placement(number));
                }
            }
        }
    }
    failures.assert_none();
}

#[test]
#[ignore = "needs a GPU"]
fn rotated_heads() {
    let cuda = gpu();
    let mut failures = Failures::default();
    let mut number = 0usize;
    for dtype in DType::ALL {
        for hidden in [32, 64, 80, 96, 128, 256, 512] {
            for rope in ropes(hidden) {
                number += 1;
                let norm = Norm::new(Family::NORMS[number % 3], 1e-6).with_rope(rope);
                judge(&mut failures, &cuda, &rotated(norm, dtype, hidden, number), placement(number));
            }
        }
    }
    failures.assert_none();
}

#[test]
#[ignore = "needs a GPU"]
fn norms_of_groups() {
    let cuda = gpu();
    let mut failures = Failures::default();
    let mut number = 0usize;
    for dtype in DType::ALL {
        for (count, hidden) in
            [(1, 1), (8, 7), (4, 64), (3, 128), (2, 1000), (8, 512), (1, 4096), (2, 4097), (1, 20_001)]
        {
            for norm in groups() {
                number += 1;
                let rows = if hidden < 1000 { 37 } else { 2 };
                let seed = number as u64;
                let mut case = Case::of_parts(norm, dtype, rows, count, hidden, Values::Unit, seed).expect("a shape");
                if !number.is_multiple_of(4) {
                    case = case.with_weight(if number % 3 == 1 { DType::F32 } else { dtype });
                }
                judge(&mut failures, &cuda, &case, placement(number));
            }
        }
    }
    failures.assert_none();
}

#[test]
#[ignore = "needs a GPU"]
fn every_kind_of_values() {
    let cuda = gpu();
    let mut failures = Failures::default();
    let rms = Norm::rms_norm(1e-6);
    for dtype in DType::ALL {
        for values in Values::ALL {
            for norm in [
                rms.with_gate(Activation::SILU),
                rms.with_input(Input::Gated(Activation::SILU)),
                Norm::activation(Activation::GeluTanh),
                rms.with_post_add(PostAdd::default()),
                Norm::layer_norm(1e-5).with_post_add(post_adds()[1]),
                rms.with_input(Input::PostNorm(PostAdd::default())),
                rms.with_input(Input::PostNorm(post_adds()[3])),
                Norm::l2_norm().with_input(Input::Interpolation(Interpolation::default())),
            ] {
                judge(&mut failures, &cuda, &case((norm, None, None), dtype, 4, 200, values, 3), Placement::default());
            }
            for norm in [
                rms.with_rope(Rope::half_split(128)),
                Norm::layer_norm(1e-5).with_rope(Rope::interleaved(64)),
                rms.with_scope(Scope::Group).with_input(Input::Gated(Activation::SILU)),
            ] {
                let case = Case::of_parts(norm, dtype, 3, 2, 128, values, 3).expect("a shape");
                judge(&mut failures, &cuda, &case, Placement::default());
            }
        }
    }
    failures.assert_none();
}
