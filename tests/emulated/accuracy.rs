//! The bars that are not a bound per element.

use warpnorm::emulated::Emulated;
use warpnorm::host::Placement;
use warpnorm::parity::{Case, Values, check, plain_error, within_house_tolerance};
use warpnorm::reference::{decode, encode, norm as reference};
use warpnorm::{DType, DeviceFacts, Family, Input, Norm, ResidualAdd, WeightRounding};

/// f32 rows of mean 1e4 and deviation 1e-2: relative L2 error at most 1e-6. Statistics in plain f32 are
/// some 8e-3 off there.
#[test]
fn layer_norm_of_large_means() {
    for hidden in [64, 769, 4096, 16384, 50_000] {
        let norm = Norm::layer_norm(1e-12);
        let case = Case::new(norm, DType::F32, 4, hidden, Values::LargeMean, 21).expect("a possible size");
        let verdict = check(&Emulated::new(DeviceFacts::h200()), &case, Placement::default()).expect("runs");
        assert!(verdict.relative_l2 <= 1e-6, "hidden {hidden}: {}", verdict.relative_l2);
    }
}

/// Rows of one value but for one that is far from it or close: next to nothing is left of what the sums of squares cancel
/// to, wherever it stands.
#[test]
fn rows_of_one_value_but_one() {
    let device = Emulated::new(DeviceFacts::h200());
    for dtype in [DType::F16, DType::F32] {
        for hidden in [3, 64, 512, 4096, 16_384, 65_536] {
            for (exponent, place) in [(-15, 1), (-3, 0), (1, 1), (3, 0), (6, 1), (9, 2)] {
                let other = 3.0 + 3.0 * 0.5_f64.powi(exponent);
                let row = |at: usize| if at == place || (exponent == 1 && at == 2) { other } else { 3.0 };
                let mut case =
                    Case::new(Norm::layer_norm(1e-20), dtype, 1, hidden, Values::Zeros, 1).expect("a possible size");
                case.x = encode(dtype, (0..hidden).map(row));
                let verdict = check(&device, &case, Placement::default()).expect("runs");
                assert!(verdict.passed && verdict.misrounded == 0, "{dtype} {hidden}, 2^-{exponent}: {verdict:?}");
            }
        }
    }
}

/// Rows some of whose values are far from all others, and rows whose mean is: on either side of where they are summed once
/// more, and next to it.
#[test]
fn rows_far_from_zero_and_from_their_mean() {
    let device = Emulated::new(DeviceFacts::h200());
    for dtype in DType::ALL {
        for hidden in [8, 100, 512, 2048, 4096, 4097, 16_384, 65_536] {
            let far = [(1, -1000.0), (hidden.min(32), 30.0), (hidden / 2, -100.0)];
            let means = [0.25, 0.65, 0.7, 0.75, 2.0, 30.0].map(|mean| (hidden, mean));
            for (count, height) in far.into_iter().chain(means) {
                let mut case = Case::new(Norm::layer_norm(1e-5), dtype, 2, hidden, Values::Unit, 15)
                    .expect("a possible size")
                    .with_weight(dtype);
                let moved = |(at, value): (usize, f64)| if at % hidden < count { height + value } else { value };
                case.x = encode(dtype, decode(dtype, &case.x).into_iter().enumerate().map(moved));
                let verdict = check(&device, &case, Placement::default()).expect("runs");
                let held = verdict.passed && verdict.misrounded == 0;
                assert!(held, "{dtype} {hidden}, {count} values by {height}: {verdict:?}");
            }
        }
    }
}

/// Rows of one value whose squares are among f32's denormals, or all but: without an eps, the variance is 0, and nothing else.
#[test]
fn rows_of_one_small_value() {
    let device = Emulated::new(DeviceFacts::h200());
    for dtype in [DType::BF16, DType::F32] {
        for hidden in [64, 1000, 20_000] {
            for value in [1e-15, 3e-20, 1e-22, 4e-23, 5.3e-23, 1e-23, 1e-24] {
                let mut case =
                    Case::new(Norm::layer_norm(0.0), dtype, 1, hidden, Values::Unit, 3).expect("a possible size");
                case.x = encode(dtype, (0..hidden).map(|_| value));
                let verdict = check(&device, &case, Placement::default()).expect("runs");
                assert!(verdict.passed, "{dtype} {hidden} {value:e}: {verdict:?}");
            }
        }
    }
}

/// Sums of 16-bit values lose more of the variance the further their mean is from 0, up to where rows are summed once more:
/// that is early enough, in thousands of rows on either side.
#[test]
fn rstd_of_16_bit_rows_is_as_exact_wherever_their_mean_is() {
    let device = Emulated::new(DeviceFacts::h200());
    for dtype in [DType::F16, DType::BF16] {
        for mean in [0.65, 0.75, 1.1] {
            let mut case =
                Case::new(Norm::layer_norm(1e-5), dtype, 1500, 1024, Values::Unit, 99).expect("a possible size");
            case.x = encode(dtype, decode(dtype, &case.x).into_iter().map(|value| value + mean));
            let verdict = check(&device, &case, Placement::default()).expect("runs");
            assert!(verdict.passed && verdict.misrounded == 0, "{dtype} {mean}: {verdict:?}");
        }
    }
}

/// f32 arithmetic leaves few 16-bit elements that are not the correctly rounded exact values, fewer than one in a thousand,
/// and each of them because that is next to a tie.
#[test]
fn nearly_all_16_bit_results_are_correctly_rounded() {
    let device = Emulated::new(DeviceFacts::h200());
    for (dtype, share) in [(DType::F16, 0.999), (DType::BF16, 0.9998)] {
        for family in Family::NORMS {
            for residual in [None, Some(ResidualAdd::default())] {
                for hidden in [64, 768, 4096, 20_000] {
                    let mut norm = Norm::new(family, 1e-5);
                    norm.input = Input::from(residual);
                    let rows = 80_000 / hidden;
                    let case = Case::new(norm, dtype, rows, hidden, Values::Unit, 77).expect("a possible size");
                    let case = case.with_weight(dtype);
                    let case = if family == Family::LayerNorm { case.with_bias(dtype) } else { case };
                    let verdict = check(&device, &case, Placement::default()).expect("runs");
                    let held = verdict.passed && verdict.misrounded == 0 && verdict.correctly_rounded >= share;
                    assert!(held, "{norm:?} {dtype} {hidden}: {verdict:?}");
                }
            }
        }
    }
}

/// At most twice the error of the plain computation in the same type, both against f64.
#[test]
fn at_most_twice_the_error_of_the_plain_computation() {
    let device = Emulated::new(DeviceFacts::h200());
    for norm in [Norm::layer_norm(1e-5), Norm::rms_norm(1e-6)] {
        for dtype in DType::ALL {
            for values in [Values::Unit, Values::LargeMean, Values::OutlierChannel] {
                for hidden in [111, 768, 4096, 20_000] {
                    let case =
                        Case::new(norm, dtype, 3, hidden, values, 31).expect("a possible size").with_weight(dtype);
                    let verdict = check(&device, &case, Placement::default()).expect("runs");
                    let plain = plain_error(&case.as_problem()).expect("a valid problem");
                    assert!(
                        within_house_tolerance(verdict.relative_l2, plain),
                        "{norm:?} {dtype} {values} {hidden}: plain {plain:e}, {verdict:?}"
                    );
                }
            }
        }
    }
}

/// Where every value of a row comes hundreds of times, one near tie on the wrong side is thousands of elements on
/// the wrong side: each of them is explained by the tie.
#[test]
fn values_that_repeat_are_on_the_wrong_side_of_near_ties_only() {
    let device = Emulated::new(DeviceFacts::h200());
    for family in Family::NORMS {
        for rounding in [WeightRounding::Single, WeightRounding::BeforeWeight] {
            let norm = Norm::new(family, 1e-5).with_residual_add(ResidualAdd::default()).with_weight_rounding(rounding);
            for seed in 0..8 {
                let case = Case::new(norm, DType::BF16, 4, 16384, Values::Unit, seed).expect("a possible size");
                let verdict = check(&device, &case, Placement::default()).expect("runs");
                assert!(verdict.passed && verdict.misrounded == 0, "{norm:?}, seed {seed}: {verdict:?}");
            }
        }
    }
}

/// A bias that is the product with the weight, negated and rounded, leaves nothing of y but what the
/// rounding dropped: it is as exact as the last digits of the product in f32, which is not rounded before it is added to.
#[test]
fn what_the_bias_leaves_of_the_product_is_as_exact_as_the_product() {
    let device = Emulated::new(DeviceFacts::h200());
    for family in Family::NORMS {
        for dtype in DType::ALL {
            for (values, parameter) in [(Values::Unit, dtype), (Values::Unit, DType::F32), (Values::LargeMean, dtype)] {
                let norm = Norm::new(family, 1e-5);
                let mut case = Case::new(norm, dtype, 1, 5000, values, 9).expect("a possible size");
                case = case.with_weight(parameter);
                let products = reference(&case.as_problem()).expect("a valid problem").rows.remove(0).y;
                case.bias = Some((parameter, encode(parameter, products.iter().map(|value| -value.exact))));
                let verdict = check(&device, &case, Placement::default()).expect("runs");
                assert!(verdict.passed, "{norm:?} {dtype} {values}: {verdict:?}");
            }
        }
    }
}

/// Beside a value that is far from all others, every sum that it is in rounds to its last place: one of f32 is off by
/// several. Sums of f32 rows, and rstd, are carried in two floats.
#[test]
fn outliers_leave_f32_rows_as_exact_as_others() {
    let device = Emulated::new(DeviceFacts::h200());
    for (norm, most_of_rstd, most) in [(Norm::rms_norm(0.0), 0.51, 0.51), (Norm::layer_norm(0.0), 1.5, 2.75)] {
        for hidden in [512, 4096, 20_000] {
            let case = Case::new(norm, DType::F32, 200_000 / hidden, hidden, Values::OutlierChannel, 3);
            let verdict = check(&device, &case.expect("a possible size"), Placement::default()).expect("runs");
            let rstd = verdict.rstd_max_ulp.expect("asked for");
            assert!(rstd <= most_of_rstd && verdict.max_ulp <= most, "{norm:?} {hidden}: {verdict:?}");
        }
    }
}
