//! A verdict is worth what it finds: results of the reference, with errors planted.

use super::*;
use crate::host::{Device, Outputs, Placement, Vector};
use crate::parity::{Case, Values};
use crate::quantise::{CodeType, Quantisation};
use crate::reference::{Cpu, encode, largest, quantise_row, to_bits};
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
                assert_eq!(
                    (verdict.correctly_rounded, verdict.misrounded),
                    (1.0, 0),
                    "{norm:?} {dtype} {values}: {verdict:?}"
                );
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
        assert_eq!((verdict.correctly_rounded, verdict.misrounded), (1.0 - 1.0 / 2000.0, 1));
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
        assert_eq!(four.misrounded, 4);
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
fn what_the_bias_cancels_is_judged_by_the_terms() {
    let exact = 2f64.powi(-20);
    for dtype in DType::ALL {
        // One and two ULP of v in f32 away, and eight.
        for ulps in [1.0, 2.0] {
            let verdict = judge_cancelled(dtype, exact + ulps * 2f64.powi(-23));
            assert!(verdict.passed, "{dtype}: {verdict:?}");
            assert_eq!(verdict.misrounded, 0);
        }
        let verdict = judge_cancelled(dtype, exact + 2f64.powi(-20));
        assert!(!verdict.passed && verdict.max_ulp > 1.0, "{dtype}: {verdict:?}");
    }
    assert_eq!(judge_cancelled(DType::BF16, exact).max_ulp, 0.0);
}

/// 100 columns of v = 1 − 2^-31 in bf16, and a bias that makes 1 + 2^-8 + `beside` of 1. The middle of 1 and 1 + 2^-7 is
/// at 1 + 2^-8.
fn judge_near_tie(beside: f64, y: &[f64]) -> Verdict {
    let h = 1000.0;
    let eps = (h * h * 0.5f64.powi(30)) as f32;
    let x = encode(DType::BF16, [h; 100]);
    let bias = encode(DType::F32, [0.5f64.powi(8) + beside; 100]);
    let problem = Problem {
        bias: Some(Vector { dtype: DType::F32, bytes: &bias }),
        ..Problem::new(Norm::rms_norm(eps), DType::BF16, 1, 100, &x)
    };
    judge(&problem, &Output { y: encode(DType::BF16, y.iter().copied()), ..Output::default() }).unwrap()
}

#[test]
fn a_near_tie_may_go_either_way_but_only_one_of_them_is_correctly_rounded() {
    let judged = |y| judge_near_tie(0.0, &[y; 100]);
    let below = judged(1.0);
    assert_eq!((below.correctly_rounded, below.misrounded, below.max_ulp, below.passed), (1.0, 0, 0.0, true));
    let above = judged(1.0 + 0.5f64.powi(7));
    assert_eq!((above.correctly_rounded, above.misrounded, above.max_ulp, above.passed), (0.0, 0, 1.0, true));
    let two_steps = judged(1.0 + 0.5f64.powi(6));
    assert_eq!((two_steps.misrounded, two_steps.max_ulp, two_steps.passed), (100, 2.0, false));
}

/// An element is on the wrong side of a tie with reason within 2 + 0.5 ULPs of f32 at v, and half of one at v + bias, and
/// without beyond them.
#[test]
fn what_f32_arithmetic_does_not_account_for_is_misrounded() {
    let f32_ulp = f64::from(f32::EPSILON);
    let wrong = 1.0 + 0.5f64.powi(7);
    let near = judge_near_tie(-2.5 * f32_ulp, &[wrong; 100]);
    assert_eq!((near.correctly_rounded, near.misrounded, near.passed), (0.0, 0, true));
    let far = judge_near_tie(-3.5 * f32_ulp, &[wrong; 100]);
    assert_eq!((far.correctly_rounded, far.misrounded, far.max_ulp, far.passed), (0.0, 100, 1.0, false));
    let with = |count: usize| {
        let y: Vec<f64> = (0..100).map(|column| if column < count { wrong } else { 1.0 }).collect();
        judge_near_tie(-3.5 * f32_ulp, &y)
    };
    assert_eq!((with(2).misrounded, with(2).passed), (2, true));
    assert_eq!((with(3).misrounded, with(3).passed), (3, false));
}

/// Where f32 arithmetic lets a result be a step and a half off, rounding makes two of it, never three.
#[test]
fn an_error_of_a_step_is_rounded_on_top() {
    let step = 2f64.powi(-16);
    let tolerance = Tolerance::of(DType::F16);
    let right = round(DType::F16, 1.0 / 33.0);
    let error = |exact: f64, steps_off: f64, got: f64| {
        let value = Value { exact, scale: 0.0, error: steps_off * step };
        compare(DType::F16, &tolerance, round(DType::F16, exact) + got * step, &value).error
    };
    assert_eq!(error(1.0 / 33.0, 1.5, 2.0), 1.0);
    assert_eq!(error(1.0 / 33.0, 1.5, 3.0), 1.5);
    // From one tie to the next it is two steps, both to even.
    let tie = right + if (right / step) % 2.0 == 0.0 { 0.5 } else { 1.5 } * step;
    assert_eq!([error(tie, 1.0, 2.0), error(tie, 1.0, 3.0)], [1.0, 1.5]);
    // Between ties no step is made of less than one.
    assert_eq!(error(right, 0.25, 1.0), 1.0);
    assert_eq!(error(right, 0.25, 2.0), 2.0);
}

/// A tie that is exact has one right side where y is exact, too.
#[test]
fn an_exact_tie_goes_to_the_even_value() {
    let value = Value { exact: 1.0 + 0.5f64.powi(8), scale: 0.0, error: 0.0 };
    let judged = |got| compare(DType::BF16, &Tolerance::of(DType::BF16), got, &value);
    assert!(judged(1.0).correctly_rounded && !judged(1.0).misrounded);
    assert!(judged(1.0 + 0.5f64.powi(7)).misrounded);
}

/// Columns of v = 1 − 2^-31 in bf16 and a weight in f32, quantised.
struct Quantising {
    x: Vec<u8>,
    weight: Vec<u8>,
    norm: Norm,
    tensor_scale: f32,
}

impl Quantising {
    fn new(quantisation: Quantisation, weight: &[f64]) -> Self {
        let h = 1000.0;
        let eps = (h * h * 0.5f64.powi(30)) as f32;
        Self {
            x: encode(DType::BF16, weight.iter().map(|_| h)),
            weight: encode(DType::F32, weight.iter().copied()),
            norm: Norm::rms_norm(eps).with_quantisation(quantisation),
            tensor_scale: 1.0,
        }
    }

    /// How many bytes differ if y was this.
    fn mismatches_of(&self, y: &[f32]) -> usize {
        let quantisation = self.norm.quantisation.unwrap();
        let row = quantise_row(&quantisation, self.tensor_scale, y).unwrap();
        self.mismatches(row.codes, &row.scales)
    }

    fn mismatches(&self, codes: Vec<u8>, scales: &[u32]) -> usize {
        let scaling = self.norm.quantisation.unwrap().scaling;
        let scale_bytes = |scale: &u32| match scaling.scale_type() {
            Some(ScaleType::F32) => scale.to_ne_bytes().to_vec(),
            _ => vec![*scale as u8],
        };
        let scales = scaling.scale_type().map(|_| scales.iter().flat_map(scale_bytes).collect());
        let hidden = self.x.len() / 2;
        let problem = Problem {
            weight: Some(Vector { dtype: DType::F32, bytes: &self.weight }),
            tensor_scale: scaling.takes_tensor_scale().then_some(self.tensor_scale),
            ..Problem::new(self.norm, DType::BF16, 1, hidden, &self.x)
        };
        let verdict = judge(&problem, &Output { codes: Some(codes), scales, ..Output::default() }).unwrap();
        assert_eq!(verdict.passed, verdict.code_mismatches == 0);
        verdict.code_mismatches
    }
}

/// The middle of two values of bf16, and those two.
const TIE: [f64; 3] = [1.0 + 1.0 / 256.0, 1.0, 1.0 + 1.0 / 128.0];

#[test]
fn codes_may_be_those_of_either_side_of_a_near_tie() {
    let [tie, below, above] = TIE;
    for quantisation in [
        Quantisation::per_token(CodeType::E4m3),
        Quantisation::per_token(CodeType::Int8),
        Quantisation::per_group(CodeType::E4m3, 64),
        Quantisation::nvfp4(),
        Quantisation::mxfp8(),
        Quantisation::per_tensor(CodeType::Int8),
    ] {
        // A near tie, which has the scale of the row, and values that have no part in it.
        let mut weight = [0.5; 64];
        weight[0] = tie;
        let case = Quantising::new(quantisation, &weight);
        let of = |first: f64| {
            weight.iter().map(|&y| y as f32).enumerate().map(move |(at, y)| if at == 0 { first as f32 } else { y })
        };
        for first in [below, above] {
            assert_eq!(case.mismatches_of(&of(first).collect::<Vec<_>>()), 0, "{quantisation:?} {first}");
        }
        let twice: Vec<f32> = of(2.0 * above).collect();
        assert!(case.mismatches_of(&twice) > 0, "{quantisation:?}");
        // The last element is near no tie.
        let mut codes = quantise_row(&quantisation, 1.0, &of(below).collect::<Vec<_>>()).unwrap();
        *codes.codes.last_mut().unwrap() ^= 1;
        assert_eq!(case.mismatches(codes.codes, &codes.scales), 1, "{quantisation:?}");
    }
}

#[test]
fn a_scale_that_no_neighbour_gives_is_wrong() {
    let quantisation = Quantisation::per_token(CodeType::E4m3);
    for (largest, allowed) in [(TIE[0], true), (TIE[0] - 0.5f64.powi(16), false)] {
        let mut weight = [0.5; 64];
        weight[5] = largest;
        let case = Quantising::new(quantisation, &weight);
        let mut y: Vec<f32> = weight.iter().map(|&y| y as f32).collect();
        for (of_largest, step) in [(TIE[1], 0), (TIE[2], 1), (TIE[2] + 1.0 / 128.0, 2)] {
            y[5] = of_largest as f32;
            let right = step == 0 || step == 1 && allowed;
            assert_eq!(case.mismatches_of(&y) == 0, right, "{largest} {of_largest}");
        }
    }
}

/// A device is held to the scale that it has: codes under the other side's are wrong.
#[test]
fn codes_go_with_the_scale_that_was_given() {
    let quantisation = Quantisation::per_token(CodeType::Int8);
    let [tie, below, above] = TIE;
    let mut weight: Vec<f64> = (0..128).map(|at| f64::from(at) / 256.0).collect();
    weight[127] = tie;
    let case = Quantising::new(quantisation, &weight);
    let of = |largest: f64| {
        let mut y: Vec<f32> = weight.iter().map(|&y| round(DType::BF16, y) as f32).collect();
        y[127] = largest as f32;
        quantise_row(&quantisation, 1.0, &y).unwrap()
    };
    let (below, above) = (of(below), of(above));
    assert_eq!(case.mismatches(below.codes.clone(), &below.scales), 0);
    assert_eq!(case.mismatches(above.codes.clone(), &above.scales), 0);
    assert!(case.mismatches(below.codes, &above.scales) > 0);
}

#[test]
fn codes_of_y_before_its_rounding_may_be_either_side_of_their_own_ties() {
    // The middle of the e4m3 values 1 and 1.125, whose codes are 0x38 and 0x39.
    let tie = 1.0 + 1.0 / 16.0;
    let judged = |weight: f64, code: u8| {
        Quantising::new(Quantisation::per_tensor_wide(), &[weight; 4]).mismatches(vec![0x38, 0x38, 0x38, code], &[])
    };
    assert_eq!([0x37, 0x38, 0x39, 0x3a, 0xb8].map(|code| judged(tie, code)), [1, 0, 0, 1, 1]);
    // Its error is of 2 + 0.5 + 0.5 ULPs of f32, and half of one for the product with the scale.
    let f32_ulp = f64::from(f32::EPSILON);
    assert_eq!([0x37, 0x38, 0x39].map(|code| judged(tie - 3.0 * f32_ulp, code)), [1, 0, 0]);
    assert_eq!([0x37, 0x38, 0x39].map(|code| judged(tie - 4.5 * f32_ulp, code)), [1, 0, 1]);
    // A small value has a sign that is certain.
    let small = |code| Quantising::new(Quantisation::per_tensor_wide(), &[1e-20]).mismatches(vec![code], &[]);
    assert_eq!([small(0), small(0x80)], [0, 1]);
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
