//! Norms of heads, rotated by their positions or not, and of groups, with the gate before or after.

use crate::judge;
use crate::support::ops::{ROUNDINGS, groups, heads, ropes, rotated};
use crate::support::{Failures, emulated_devices};
use warpnorm::host::Placement;
use warpnorm::parity::{Case, Values};
use warpnorm::{Activation, DType, Family, Input, Norm, Rope, RopeRounding, Scope};

fn placement(number: usize) -> Placement {
    Placement {
        padding: [0, 8, 3][number % 3],
        offset: number / 3 % 2,
        in_place: number.is_multiple_of(4),
        ..Placement::default()
    }
}

#[test]
fn norms_of_heads() {
    let mut failures = Failures::default();
    let devices = emulated_devices();
    let mut number = 0usize;
    for dtype in DType::ALL {
        for family in Family::NORMS {
            for hidden in [1, 32, 64, 80, 96, 100, 128, 256, 500, 512, 1000, 9000] {
                number += 1;
                let rounding = ROUNDINGS[number % 2];
                let norm = Norm::new(family, 1e-6).with_weight_rounding(rounding).with_scope(Scope::Head);
                let shape = if hidden > 1000 { (1, 2, hidden) } else { (5, 3, hidden) };
                judge(&mut failures, &devices[number % 2], &heads(norm, dtype, shape, number), placement(number));
            }
        }
    }
    failures.assert_none();
}

#[test]
fn rotated_heads() {
    let mut failures = Failures::default();
    let devices = emulated_devices();
    let mut number = 0usize;
    for dtype in DType::ALL {
        for hidden in [32, 64, 80, 96, 128, 256, 512] {
            for rope in ropes(hidden) {
                number += 1;
                let norm = Norm::new(Family::NORMS[number % 3], 1e-6).with_rope(rope);
                let case = rotated(norm, dtype, hidden, number);
                judge(&mut failures, &devices[number % 2], &case, placement(number));
            }
        }
    }
    failures.assert_none();
}

#[test]
fn norms_of_groups() {
    let mut failures = Failures::default();
    let devices = emulated_devices();
    let mut number = 0usize;
    for dtype in DType::ALL {
        for (count, hidden) in
            [(1, 1), (8, 7), (4, 64), (3, 128), (2, 1000), (8, 512), (1, 4096), (2, 4097), (1, 20_001)]
        {
            for norm in groups() {
                number += 1;
                let rows = if hidden < 1000 { 5 } else { 1 };
                let mut case = Case::of_parts(norm, dtype, rows, count, hidden, Values::Unit, number as u64).unwrap();
                if !number.is_multiple_of(4) {
                    let f32_weight = number % 3 == 1;
                    case = case.with_weight(if f32_weight { DType::F32 } else { dtype });
                }
                judge(&mut failures, &devices[number % 2], &case, placement(number));
            }
        }
    }
    failures.assert_none();
}

/// The gate before the norm of whole rows, in every regime.
#[test]
fn gated_rows() {
    let mut failures = Failures::default();
    let mut number = 0usize;
    for dtype in DType::ALL {
        for hidden in [1, 100, 768, 4096, 8193, 20_001, 66_000] {
            for activation in [Activation::SILU, Activation::Relu, Activation::GeluTanh] {
                number += 1;
                if hidden > 5000 && number % 2 == 1 {
                    continue;
                }
                let norm = Norm::rms_norm(1e-5).with_input(Input::Gated(activation));
                let rows = if hidden < 1000 { 5 } else { 1 };
                let case =
                    Case::new(norm, dtype, rows, hidden, Values::Unit, number as u64).unwrap().with_weight(dtype);
                judge(&mut failures, &emulated_devices()[number / 2 % 2], &case, placement(number));
            }
        }
    }
    failures.assert_none();
}

#[test]
fn adversarial_values() {
    let mut failures = Failures::default();
    for dtype in DType::ALL {
        for values in Values::ALL {
            let groups = Norm::rms_norm(1e-5).with_scope(Scope::Group);
            for (index, norm) in [
                Norm::rms_norm(1e-6).with_rope(Rope::half_split(128)),
                Norm::layer_norm(1e-5).with_rope(Rope::interleaved(64).with_rounding(RopeRounding::Each)),
                groups.with_input(Input::Gated(Activation::SILU)),
                groups.with_input(Input::Gated(Activation::Sigmoid)),
            ]
            .into_iter()
            .enumerate()
            {
                let case = Case::of_parts(norm, dtype, 3, 2, 128, values, 3).unwrap();
                judge(&mut failures, &emulated_devices()[index % 2], &case, Placement::default());
            }
        }
    }
    failures.assert_none();
}
