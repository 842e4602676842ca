//! A verdict is worth what it finds: results of the reference, with errors planted.

use super::*;
use crate::host::{Device, Outputs, Placement, Vector};
use crate::parity::{Case, Values};
use crate::reference::{Cpu, encode, largest, to_bits};
use crate::{CallError, Family, Input, Norm, ResidualAdd, ResidualRounding, WeightRounding};

const HIDDEN: usize = 500;

fn case(norm: Norm, dtype: DType) -> Case {
    Case::new(norm, dtype, 4, HIDDEN, Values::Unit, 1).unwrap().with_weight(dtype).with_bias(dtype)
}

fn layer_norm(dtype: DType) -> Case {
    case(Norm::layer_norm(1e-5).with_residual_add(ResidualAdd::default()), dtype)
}

/// The right result of a case.
fn right(case: &Case) -> Output {
    Cpu.run(&case.as_problem(), Placement::default()).unwrap()
}

/// Replaces the bits of one element.
fn replace(dtype: DType, bytes: &mut [u8], element: usize, change: impl Fn(u32) -> u32) {
    let size = dtype.size();
    let bytes = &mut bytes[element * size..][..size];
    let bits = change(raw_bits(dtype, bytes).next().unwrap());
    match dtype {
        DType::F32 => bytes.copy_from_slice(&bits.to_ne_bytes()),
        _ => bytes.copy_from_slice(&(bits as u16).to_ne_bytes()),
    }
}

/// The verdict on the right result after a change.
fn verdict_after(case: &Case, change: impl FnOnce(&mut Output)) -> Verdict {
    let mut output = right(case);
    change(&mut output);
    judge(&case.as_problem(), &output).unwrap()
}

#[test]
fn the_reference_itself_passes() {
    for dtype in DType::ALL {
        for values in Values::ALL {
            for norm in [
                Norm::layer_norm(1e-5).with_residual_add(ResidualAdd::default()),
                Norm::rms_norm(1e-6).with_weight_rounding(WeightRounding::BeforeWeight),
            ] {
                let case = Case::new(norm, dtype, 6, 65, values, 3).unwrap().with_weight(DType::F32);
                let verdict = verdict_after(&case, |_| {});
                assert!(verdict.passed, "{norm:?} {dtype} {values}: {verdict:?}");
                assert_eq!(verdict.elements, 6 * 65);
                assert_eq!(verdict.correctly_rounded, 1.0, "{norm:?} {dtype} {values}: {verdict:?}");
                assert!(verdict.max_ulp <= 0.5, "{norm:?} {dtype} {values}: {verdict:?}");
            }
        }
    }
}

#[test]
fn one_element_two_steps_off_fails_and_is_named() {
    for dtype in [DType::F16, DType::BF16] {
        let case = layer_norm(dtype);
        let verdict = verdict_after(&case, |output| replace(dtype, &mut output.y, HIDDEN + 7, |bits| bits + 2));
        assert!(!verdict.passed, "{dtype}: {verdict:?}");
        assert_eq!(verdict.max_ulp, 2.0);
        let worst = verdict.worst.unwrap();
        assert_eq!((worst.row, worst.column, worst.ulp), (1, 7, 2.0));
        let unharmed = decode(dtype, &right(&case).y)[HIDDEN + 7];
        assert_eq!(round(dtype, worst.wanted), unharmed);
        assert!((worst.got - unharmed).abs() >= ulp(dtype, unharmed));
    }
}

#[test]
fn one_step_off_passes_in_16_bits() {
    for dtype in [DType::F16, DType::BF16] {
        let verdict = verdict_after(&layer_norm(dtype), |output| replace(dtype, &mut output.y, 9, |bits| bits - 1));
        assert!(verdict.passed, "{dtype}: {verdict:?}");
        assert_eq!(verdict.max_ulp, 1.0);
        assert_eq!(verdict.correctly_rounded, 1.0 - 1.0 / 2000.0);
    }
}

#[test]
fn f32_may_be_off_by_four_ulp_and_no_more() {
    // Without a bias no term is larger than y.
    let case = Case::new(Norm::rms_norm(1e-6), DType::F32, 2, HIDDEN, Values::Unit, 1).unwrap();
    let off = |ulps| verdict_after(&case, |output| replace(DType::F32, &mut output.y, 3, |bits| bits + ulps));
    assert!(off(3).passed);
    assert!(off(3).max_ulp > 2.5);
    assert!(!off(5).passed);
    assert!(off(5).max_ulp > 4.0);
}

#[test]
fn one_in_a_thousand_off_by_one_step_fails() {
    for dtype in [DType::F16, DType::BF16] {
        let every = |nth: usize| {
            verdict_after(&layer_norm(dtype), |output| {
                for element in (0..4 * HIDDEN).step_by(nth) {
                    replace(dtype, &mut output.y, element, |bits| bits ^ 1);
                }
            })
        };
        // 2000 elements: two of them, and four.
        let two = every(1000);
        assert!(two.passed, "{dtype}: {two:?}");
        let four = every(500);
        assert!(!four.passed, "{dtype}: {four:?}");
        assert_eq!(four.max_ulp, 1.0);
        assert!((four.correctly_rounded - 0.998).abs() < 1e-12);
        assert!((four.mean_ulp - 0.002).abs() < 1e-12);
    }
}

#[test]
fn a_wrong_nan_or_infinity_fails() {
    for dtype in DType::ALL {
        for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let case = layer_norm(dtype);
            let verdict = verdict_after(&case, |output| replace(dtype, &mut output.y, 2, |_| to_bits(dtype, wrong)));
            assert!(!verdict.passed);
            assert_eq!(verdict.nonfinite_mismatches, 1);
            assert_eq!(verdict.worst.unwrap().ulp, f64::INFINITY);
            assert!(verdict.max_ulp <= 0.5 && verdict.relative_l2.is_finite());
        }
    }
}

#[test]
fn a_number_where_nan_is_right_fails() {
    let case = Case::new(Norm::layer_norm(1e-5), DType::F16, 1, 8, Values::Nans, 1).unwrap();
    assert!(verdict_after(&case, |_| {}).passed);
    let verdict = verdict_after(&case, |output| replace(DType::F16, &mut output.y, 5, |_| 0));
    assert_eq!(verdict.nonfinite_mismatches, 1);
    assert!(!verdict.passed);
    let verdict = verdict_after(&case, |output| output.rstd = Some(vec![0.0]));
    assert_eq!(verdict.nonfinite_mismatches, 1);
    assert!(!verdict.passed);
}

#[test]
fn a_saturated_overflow_fails() {
    // h = 60000 twice, RMS 60000, so v = 1; y = v·weight = 10^5, past the largest f16.
    let x = encode(DType::F16, [60000.0, 60000.0]);
    let weight = encode(DType::F32, [1e5, 1.0]);
    let problem = Problem {
        weight: Some(Vector { dtype: DType::F32, bytes: &weight }),
        ..Problem::new(Norm::rms_norm(0.0), DType::F16, 1, 2, &x)
    };
    let judged = |first| judge(&problem, &Output { y: encode(DType::F16, [first, 1.0]), ..Output::default() }).unwrap();
    assert!(judged(f64::INFINITY).passed);
    for wrong in [largest(DType::F16), f64::NEG_INFINITY, 1.0] {
        assert_eq!(judged(wrong).nonfinite_mismatches, 1, "{wrong}");
        assert!(!judged(wrong).passed, "{wrong}");
    }
}

#[test]
fn one_wrong_bit_of_the_residual_fails() {
    for dtype in DType::ALL {
        let verdict = verdict_after(&layer_norm(dtype), |output| {
            replace(dtype, output.residual.as_mut().unwrap(), 77, |bits| bits ^ 1);
        });
        assert_eq!(verdict.residual_mismatches, 1);
        assert!(!verdict.passed);
        assert_eq!(verdict.correctly_rounded, 1.0);
    }
}

#[test]
fn wrong_statistics_fail() {
    for dtype in DType::ALL {
        let case = layer_norm(dtype);
        let scaled = |values: &mut Option<Vec<f32>>, by: f32| values.as_mut().unwrap()[2] *= by;
        let clean = verdict_after(&case, |_| {});
        assert!(clean.mean_max_ulp.unwrap() <= 0.5 && clean.rstd_max_ulp.unwrap() <= 0.5);
        let rstd = verdict_after(&case, |output| scaled(&mut output.rstd, 1.0 + 9.0 * f32::EPSILON));
        assert!(!rstd.passed && rstd.rstd_max_ulp.unwrap() > 4.0);
        let mean = verdict_after(&case, |output| scaled(&mut output.mean, 1.001));
        assert!(!mean.passed && mean.mean_max_ulp.unwrap() > 4.0);
    }
}

#[test]
fn the_result_of_another_op_fails() {
    let add = |rounding| Norm::layer_norm(1e-5).with_residual_add(ResidualAdd { scale: 1.0, rounding });
    let (stored, wide, split) =
        (add(ResidualRounding::Stored), add(ResidualRounding::Wide), add(ResidualRounding::Split));
    let before_weight = stored.with_weight_rounding(WeightRounding::BeforeWeight);
    let pairs = [
        (stored, wide),
        (wide, split),
        (split, stored),
        (stored, before_weight),
        (before_weight, stored),
        (stored, Norm { eps: 1e-2, ..stored }),
        (stored, Norm { family: Family::RmsNorm, ..stored }),
        (stored, stored.with_weight_offset(1.0)),
    ];
    for dtype in [DType::F16, DType::BF16] {
        for (asked, computed) in pairs {
            let outputs = Outputs { residual: true, ..Outputs::default() };
            let asked = case(asked, dtype).with_outputs(outputs);
            let other = Case { norm: computed, ..asked.clone() };
            let verdict = judge(&asked.as_problem(), &right(&other)).unwrap();
            assert!(!verdict.passed, "{dtype} {computed:?} for {:?}: {verdict:?}", asked.norm);
        }
    }
}

#[test]
fn a_whole_row_swapped_for_another_fails() {
    let case = layer_norm(DType::BF16);
    let verdict = verdict_after(&case, |output| {
        let row = HIDDEN * 2;
        let (first, rest) = output.y.split_at_mut(row);
        first.swap_with_slice(&mut rest[..row]);
    });
    assert!(!verdict.passed && verdict.relative_l2 > 0.5);
}

/// LayerNorm of ±1 with no weight, and a bias in f32 that leaves 2^-20 of v = 1.
fn judge_cancelled(dtype: DType, first: f64) -> Verdict {
    let x = encode(dtype, [1.0, -1.0]);
    let bias = encode(DType::F32, [-1.0 + 2f64.powi(-20), 0.0]);
    let problem = Problem {
        bias: Some(Vector { dtype: DType::F32, bytes: &bias }),
        ..Problem::new(Norm::layer_norm(0.0), dtype, 1, 2, &x)
    };
    judge(&problem, &Output { y: encode(dtype, [first, -1.0]), ..Output::default() }).unwrap()
}

#[test]
fn what_the_bias_cancels_is_judged_by_the_terms_in_f32_and_by_the_result_in_16_bits() {
    let exact = 2f64.powi(-20);
    // One and two ULP of v in f32 away.
    for ulps in [1.0, 2.0] {
        let got = exact + ulps * 2f64.powi(-23);
        assert!(judge_cancelled(DType::F32, got).passed);
        for dtype in [DType::F16, DType::BF16] {
            let verdict = judge_cancelled(dtype, got);
            assert!(!verdict.passed && verdict.max_ulp > 1.0, "{dtype}: {verdict:?}");
        }
    }
    assert!(!judge_cancelled(DType::F32, exact + 2f64.powi(-20)).passed);
    assert_eq!(judge_cancelled(DType::BF16, exact).max_ulp, 0.0);
}

#[test]
fn a_near_tie_on_the_wrong_side_is_not_correctly_rounded() {
    // v = 1 − 2^-31 in every column, and 1 + 2^-8 + bias is the middle of 1 and 1 + 2^-7 in bf16.
    let h = 1000.0;
    let eps = (h * h * 0.5f64.powi(30)) as f32;
    let x = encode(DType::BF16, [h; 100]);
    let bias = encode(DType::BF16, [0.5f64.powi(8); 100]);
    let problem = Problem {
        bias: Some(Vector { dtype: DType::BF16, bytes: &bias }),
        ..Problem::new(Norm::rms_norm(eps), DType::BF16, 1, 100, &x)
    };
    let judged = |y| judge(&problem, &Output { y: encode(DType::BF16, [y; 100]), ..Output::default() }).unwrap();
    assert_eq!((judged(1.0).correctly_rounded, judged(1.0).passed), (1.0, true));
    let above = judged(1.0 + 0.5f64.powi(7));
    assert_eq!((above.correctly_rounded, above.max_ulp, above.passed), (0.0, 1.0, false));
}

/// Where the statistic lets a result be a step and a half off, rounding makes two of it, never three.
#[test]
fn an_error_of_the_statistic_is_rounded_on_top() {
    let step = 2f64.powi(-16);
    let value = Value { exact: 1.0 / 33.0, scale: 0.0, statistic_error: 1.5 * step };
    let right = round(DType::F16, value.exact);
    let tolerance = Tolerance::of(DType::F16);
    let error = |steps: f64| compare(DType::F16, &tolerance, right + steps * step, &value).error;
    assert!(error(2.0) <= tolerance.max_ulp, "{}", error(2.0));
    assert!(error(3.0) > tolerance.max_ulp, "{}", error(3.0));
}

#[test]
fn outputs_of_the_wrong_size_are_refused() {
    let case = layer_norm(DType::F16);
    let refused = |change: fn(&mut Output)| {
        let mut output = right(&case);
        change(&mut output);
        match judge(&case.as_problem(), &output) {
            Err(Error::Host(HostError::Bytes { role, given, wanted })) => (role, given, wanted),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(|output| output.y.truncate(10)), (Role::Y, 10, 4000));
    assert_eq!(refused(|output| output.residual = None), (Role::ResidualOut, 0, 4000));
    assert_eq!(refused(|output| output.mean = Some(vec![0.0; 3])), (Role::Mean, 12, 16));
    assert_eq!(refused(|output| output.rstd = None), (Role::Rstd, 0, 16));
}

#[test]
fn invalid_problems_are_refused() {
    let case = layer_norm(DType::F16);
    let mut problem = case.as_problem();
    problem.norm.input = Input::Plain;
    let refusal = judge(&problem, &right(&case));
    assert!(matches!(refusal, Err(Error::Call(CallError::Residual { wanted: false }))), "{refusal:?}");
}
