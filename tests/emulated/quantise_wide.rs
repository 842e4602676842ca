//! Codes of y before it is rounded to the activation type, as FlashInfer has them.

use crate::judge;
use crate::support::{Failures, case, emulated_devices, residuals};
use warpnorm::emulated::Emulated;
use warpnorm::host::{Device, Outputs, Placement};
use warpnorm::parity::Values;
use warpnorm::quantise::Quantisation;
use warpnorm::{DType, DeviceFacts, Input, Norm, WeightRounding};

fn wide(norm: Norm) -> Norm {
    norm.with_quantisation(Quantisation::per_tensor_wide())
}

/// Every input, rounding and kind of parameter, over rows of every regime.
#[test]
fn codes_are_exact() {
    let mut failures = Failures::default();
    let mut number = 0usize;
    for dtype in [DType::F16, DType::BF16] {
        for residual in residuals() {
            for rounding in [WeightRounding::Single, WeightRounding::BeforeWeight] {
                for (weight, bias) in [(None, None), (Some(dtype), None), (Some(DType::F32), Some(DType::F32))] {
                    for hidden in [1, 7, 64, 100, 768, 4096, 4097, 20_000] {
                        number += 1;
                        if hidden > 4096 && !number.is_multiple_of(3) {
                            continue;
                        }
                        let mut norm = wide(Norm::rms_norm(1e-6).with_weight_rounding(rounding));
                        norm.input = Input::from(residual);
                        let rows = if hidden < 1000 { 9 } else { 2 };
                        let mut case = case((norm, weight, bias), dtype, rows, hidden, Values::Unit, number as u64);
                        // A power of two leaves ties where they are, between products of few bits.
                        case.tensor_scale = Some([1.0 / 64.0, 0.007_812, 0.031][number % 3]);
                        case.outputs.y = false;
                        let placement = Placement {
                            padding: [0, 16, 3][number % 3],
                            offset: number / 3 % 2,
                            in_place: false,
                            ..Placement::default()
                        };
                        judge(&mut failures, &emulated_devices()[number % 2], &case, placement);
                    }
                }
            }
        }
    }
    failures.assert_none();
}

#[test]
fn adversarial_values() {
    let mut failures = Failures::default();
    for dtype in [DType::F16, DType::BF16] {
        for values in Values::ALL {
            for device in &emulated_devices() {
                let mut case = case((wide(Norm::l2_norm()), None, None), dtype, 4, 200, values, 3);
                case.outputs = Outputs::default();
                judge(&mut failures, device, &case, Placement::default());
            }
        }
    }
    failures.assert_none();
}

/// y = 1.0625·(1 + 2^-10): e4m3 has 1 and 1.125 beside it, and the middle of them is 1.0625. As bf16 y is 1.0625
/// itself, and the tie goes to 1.
#[test]
fn what_a_rounding_before_would_have_lost() {
    let x = |dtype| {
        // Two values, of which the first is to be 1.0625·(1 + 2^-10) after the weight; their mean square is 1.
        let mut case = case((wide(Norm::rms_norm(0.0)), Some(DType::F32), None), dtype, 1, 2, Values::Unit, 0);
        case.x = warpnorm::reference::encode(dtype, [1.0, 1.0]);
        case.weight =
            Some((DType::F32, warpnorm::reference::encode(DType::F32, [1.0625 * (1.0 + 0.5f64.powi(10)), 1.0])));
        case.tensor_scale = Some(1.0);
        case.outputs = Outputs::default();
        case
    };
    let codes = |case: &warpnorm::parity::Case| {
        let output = Emulated::new(DeviceFacts::h200()).run(&case.as_problem(), Placement::default());
        output.expect("runs").codes.expect("codes")
    };
    // 1.0 is 0x38, 1.125 is 0x39.
    let mut case = x(DType::BF16);
    assert_eq!(codes(&case), [0x39, 0x38]);
    case.norm.quantisation = Some(Quantisation::per_tensor(warpnorm::quantise::CodeType::E4m3));
    assert_eq!(codes(&case), [0x38, 0x38]);
}
