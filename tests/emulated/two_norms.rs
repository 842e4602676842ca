//! Norms with the residual after them, and with another norm before them.

use crate::judge;
use crate::support::ops::{post_adds, residual_after, steps, two_norms};
use crate::support::{Failures, case, emulated_devices};
use warpnorm::host::Placement;
use warpnorm::parity::{Case, Values};
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{DType, Input, Interpolation, Norm, PostAdd};

/// Around the edges of chunks, of the registers of 512 threads, and of what a T4 stages.
const HIDDEN: [usize; 12] = [1, 7, 64, 100, 769, 2304, 4097, 8192, 8193, 16_385, 33_000, 66_001];

/// The types of weights that activations of a type are tested with.
fn weights(dtype: DType) -> Vec<Option<DType>> {
    let mut weights = vec![None, Some(dtype)];
    if dtype != DType::F32 {
        weights.push(Some(DType::F32));
    }
    weights
}

fn placement(number: usize) -> Placement {
    Placement {
        padding: [0, 8, 3][number % 3],
        offset: number / 3 % 2,
        in_place: number.is_multiple_of(4),
        ..Placement::default()
    }
}

/// A case of every weight, hidden size and device, by turns.
fn each_case(norms: &[Norm], dtype: DType, check: &mut dyn FnMut(Case, usize)) {
    let mut number = 0usize;
    for norm in norms {
        for weight in weights(dtype) {
            let offset = if weight == Some(DType::F32) { 1.0 } else { 0.0 };
            for hidden in HIDDEN {
                number += 1;
                // Large rows take the executor long: each of them once for all of the options.
                if hidden > 5000 && !(number / HIDDEN.len()).is_multiple_of(3) {
                    continue;
                }
                let rows = if hidden < 1000 { 9 } else { 1 };
                let norm = norm.with_weight_offset(offset);
                check(case((norm, weight, None), dtype, rows, hidden, Values::Unit, number as u64), number);
            }
        }
    }
}

fn assert_parity(norms: &[Norm], dtypes: &[DType]) {
    let mut failures = Failures::default();
    let devices = emulated_devices();
    for &dtype in dtypes {
        each_case(norms, dtype, &mut |mut case, number| {
            if let (Input::PostNorm(_), Some((dtype, _))) = (case.norm.input, &case.weight) {
                case = case.clone().with_inner_weight(*dtype);
            }
            judge(&mut failures, &devices[number % 2], &case, placement(number));
        });
    }
    failures.assert_none();
}

#[test]
fn the_residual_after_the_norm() {
    assert_parity(&residual_after(), &DType::ALL);
}

#[test]
fn a_norm_and_the_next_one() {
    assert_parity(&two_norms(), &DType::ALL);
}

#[test]
fn a_step_on_the_sphere() {
    assert_parity(&steps(), &DType::ALL);
}

#[test]
fn rates_of_the_activation_type() {
    let mut failures = Failures::default();
    for dtype in [DType::F16, DType::BF16] {
        for (index, hidden) in [1, 100, 768, 9000].into_iter().enumerate() {
            let norm = Norm::l2_norm().with_input(Input::Interpolation(Interpolation { rate_scale: 0.7 }));
            let case = case((norm, None, None), dtype, 3, hidden, Values::Unit, 5).with_rate(dtype);
            let placement = Placement { offset: index % 2, ..Placement::default() };
            judge(&mut failures, &emulated_devices()[index / 2], &case, placement);
        }
    }
    failures.assert_none();
}

#[test]
fn quantised() {
    let quantisations = [
        Quantisation::per_tensor(CodeType::E4m3),
        Quantisation::per_token(CodeType::E4m3),
        Quantisation::per_token(CodeType::Int8),
        Quantisation::per_group(CodeType::E4m3, 64),
        Quantisation::mxfp8(),
        Quantisation::nvfp4(),
    ];
    let mut failures = Failures::default();
    let mut number = 0usize;
    for dtype in [DType::F16, DType::BF16] {
        for quantisation in quantisations {
            for add in post_adds() {
                for norm in
                    [Norm::rms_norm(1e-6).with_post_add(add), Norm::rms_norm(1e-6).with_input(Input::PostNorm(add))]
                {
                    number += 1;
                    let hidden = [64, 448, 4096, 8192 + 64, 40_000 + 64][number % 5] / 64 * 64;
                    let norm = norm.with_quantisation(quantisation);
                    let mut case = case((norm, Some(dtype), None), dtype, 3, hidden, Values::Unit, number as u64);
                    if norm.post_add.is_none() {
                        case = case.with_inner_weight(dtype);
                    }
                    judge(&mut failures, &emulated_devices()[number % 2], &case, placement(number));
                }
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
            for (index, norm) in [
                Norm::rms_norm(1e-6).with_post_add(PostAdd::default()),
                Norm::rms_norm(1e-6).with_post_add(post_adds()[1]),
                Norm::layer_norm(1e-5).with_post_add(PostAdd::default()),
                Norm::rms_norm(1e-6).with_input(Input::PostNorm(PostAdd::default())),
                Norm::rms_norm(1e-6).with_input(Input::PostNorm(post_adds()[3])),
                Norm::l2_norm().with_input(Input::Interpolation(Interpolation::default())),
            ]
            .into_iter()
            .enumerate()
            {
                let case = case((norm, None, None), dtype, 4, 200, values, 3);
                judge(&mut failures, &emulated_devices()[index % 2], &case, Placement::default());
            }
        }
    }
    failures.assert_none();
}

/// Squares that all vanish, with no eps, make the first norm infinite; the places of a thread beyond the row's end
/// must not make a NaN of the statistic after it.
#[test]
fn nothing_comes_from_beyond_the_end_of_a_row() {
    let mut failures = Failures::default();
    for hidden in [5, 100, 200] {
        for device in &emulated_devices() {
            let norm = Norm::rms_norm(0.0).with_input(Input::PostNorm(PostAdd::default()));
            let mut case = case((norm, None, None), DType::F32, 3, hidden, Values::Unit, 3);
            case.x = warpnorm::reference::encode(DType::F32, vec![1e-30; 3 * hidden]);
            judge(&mut failures, device, &case, Placement::default());
        }
    }
    failures.assert_none();
}
