//! Norms of heads, rotated by their positions or not, and of groups, with the gate before or after.

use crate::judge;
use crate::support::{Failures, emulated_devices};
use warpnorm::host::Placement;
use warpnorm::parity::{Case, Rotation, Values};
use warpnorm::{Activation, DType, Family, Input, Norm, PositionType, Rope, RopeRounding, Scope, WeightRounding};

fn placement(number: usize) -> Placement {
    Placement { padding: [0, 8, 3][number % 3], offset: number / 3 % 2, in_place: number.is_multiple_of(4) }
}

/// A case of heads, with a weight and a bias by turns, and with K's heads beside Q's.
fn heads(norm: Norm, dtype: DType, shape: (usize, usize, usize), number: usize) -> Case {
    let (rows, count, hidden) = shape;
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

#[test]
fn norms_of_heads() {
    let mut failures = Failures::default();
    let devices = emulated_devices();
    let mut number = 0usize;
    for dtype in DType::ALL {
        for family in Family::NORMS {
            for hidden in [1, 32, 64, 80, 96, 100, 128, 256, 500, 512, 1000, 9000] {
                number += 1;
                let rounding = [WeightRounding::Single, WeightRounding::BeforeWeight][number % 2];
                let norm = Norm::new(family, 1e-6).with_weight_rounding(rounding).with_scope(Scope::Head);
                let shape = if hidden > 1000 { (1, 2, hidden) } else { (5, 3, hidden) };
                judge(&mut failures, &devices[number % 2], &heads(norm, dtype, shape, number), placement(number));
            }
        }
    }
    failures.assert_none();
}

fn ropes(hidden: usize) -> Vec<Rope> {
    let mut ropes = Vec::new();
    // All of the head, and a part of it that ends inside a chunk.
    for dim in [hidden, hidden / 2, (hidden / 3).next_multiple_of(2)] {
        for rounding in [RopeRounding::Single, RopeRounding::Each] {
            ropes.extend([Rope::half_split(dim), Rope::interleaved(dim)].map(|rope| rope.with_rounding(rounding)));
        }
    }
    ropes
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
                let family = Family::NORMS[number % 3];
                let norm = Norm::new(family, 1e-6).with_rope(rope);
                let rows = 5;
                let mut case = heads(norm, dtype, (rows, 2, hidden), number);
                let tables = if number.is_multiple_of(2) { dtype } else { DType::F32 };
                let mut rotation = Rotation::new(rope, tables, 40);
                if !number.is_multiple_of(3) {
                    // Rows of a batch are at any place of their sequences; those that are at none take the last.
                    rotation.positions = Some(vec![39, 0, 17, 1000, -1]);
                    rotation.position_type = [PositionType::I32, PositionType::I64][number % 2];
                }
                case.rope = Some(rotation);
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
            let norm = Norm::rms_norm(1e-5).with_scope(Scope::Group);
            for norm in [
                norm,
                norm.with_gate(Activation::SILU),
                norm.with_input(Input::Gated(Activation::SILU)),
                norm.with_input(Input::Gated(Activation::GeluExact)).with_weight_rounding(WeightRounding::BeforeWeight),
                norm.with_gate(Activation::Sigmoid).with_weight_rounding(WeightRounding::BeforeWeight),
            ] {
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
