//! What fuzzing has found in the kernels, by the smallest input that shows it.

use crate::judge;
use crate::support::{Failures, case, emulated_devices};
use warpnorm::host::Placement;
use warpnorm::parity::Values;
use warpnorm::reference::encode;
use warpnorm::{Activation, DType, Norm, PostAdd, PostRounding, ResidualAdd, ResidualRounding, WeightRounding};

/// A sum of squares a little below the end of f32's range, which its anchor is past.
#[test]
fn squares_at_the_end_of_the_range() {
    for (norm, hidden) in [(Norm::rms_norm(1e-5), 16), (Norm::layer_norm(1e-5), 16)] {
        for magnitude in (0..40).map(|step| 1e18f32 * (1.0 + step as f32 / 16.0)) {
            for dtype in [DType::F32, DType::BF16] {
                let mut case = case((norm, None, None), dtype, 1, hidden, Values::Unit, 0);
                let values =
                    (0..hidden).map(|column| f64::from(if column.is_multiple_of(2) { magnitude } else { -magnitude }));
                case.x = encode(dtype, values);
                let mut failures = Failures::default();
                for device in &emulated_devices() {
                    judge(&mut failures, device, &case, Placement::default());
                }
                failures.assert_none();
            }
        }
    }
}

/// Two huge values, of opposite signs or alike, before values so small that one float has no room for both:
/// the small ones are lost from deviations taken in one float, and with them the mean, in which the huge
/// ones may cancel. The last value is as near to the mean as its type can say.
#[test]
fn two_huge_values_before_small_ones() {
    let mut failures = Failures::default();
    for (dtype, huge) in [(DType::F16, 65504.0), (DType::F16, 2048.0), (DType::BF16, 1e30), (DType::F32, 1e7)] {
        for (hidden, ratio) in [(9, 30), (17, 14), (64, 20), (4096, 26)] {
            let small = huge * 0.5f64.powi(ratio);
            let rows: [[f64; 3]; 4] =
                [[huge, huge, -huge], [-huge, huge * 0.75, 0.0], [huge, -huge, small], [huge, huge, small]];
            for (row, first) in rows.into_iter().enumerate() {
                let mut values: Vec<f64> = (0..hidden)
                    .map(|column: usize| first.get(column).copied().unwrap_or(small * (1.0 + (column % 5) as f64)))
                    .collect();
                if row == 0 {
                    // The sum of the others, small ones alone, is made up for.
                    values[hidden - 2] = -huge;
                }
                values[hidden - 1] = values[..hidden - 1].iter().sum::<f64>() / (hidden - 1) as f64;
                let mut case = case((Norm::layer_norm(0.0), None, None), dtype, 1, hidden, Values::Unit, 0);
                case.x = encode(dtype, values);
                for device in &emulated_devices() {
                    judge(&mut failures, device, &case, Placement::default());
                }
            }
        }
    }
    failures.assert_none();
}

/// Infinite values beside a bias, to which the bounds add what is infinite, too: squares that vanish, with no eps, and
/// values that are infinite themselves.
#[test]
fn infinities_beside_a_bias() {
    let mut failures = Failures::default();
    let signs = |column: usize| if column.is_multiple_of(3) { -1.0 } else { 1.0 };
    for dtype in [DType::F16, DType::BF16] {
        let smallest = if dtype == DType::F16 { 2f64.powi(-24) } else { 2f64.powi(-133) };
        for (norm, magnitude) in [
            (Norm::rms_norm(0.0), smallest),
            (Norm::layer_norm(0.0), smallest),
            (Norm::rms_norm(0.0).with_weight_rounding(WeightRounding::BeforeWeight), smallest),
            (Norm::rms_norm(0.0).with_post_add(PostAdd { scale: 0.5, rounding: PostRounding::Single }), smallest),
            (Norm::affine(), f64::INFINITY),
            (Norm::affine(), 65504.0),
        ] {
            let bias = norm.post_add.is_none().then_some(dtype);
            for hidden in [8, 37] {
                let mut case = case((norm, Some(dtype), bias), dtype, 3, hidden, Values::Unit, 0);
                case.x = encode(dtype, (0..3 * hidden).map(|column| signs(column) * magnitude));
                for device in &emulated_devices() {
                    judge(&mut failures, device, &case, Placement::default());
                }
            }
        }
    }
    failures.assert_none();
}

/// Squares among f32's denormals, which have few digits left, with no eps to hide it.
#[test]
fn squares_at_the_start_of_the_range() {
    let mut failures = Failures::default();
    for norm in [Norm::rms_norm(0.0), Norm::layer_norm(0.0)] {
        for magnitude in (0..40).map(|step| 4e-23 * 1.5f64.powi(step)) {
            for dtype in [DType::F32, DType::BF16] {
                let mut case = case((norm, None, Some(dtype)), dtype, 1, 10, Values::Unit, 0);
                case.x = encode(dtype, (0..10).map(|column| magnitude * (1.0 + f64::from(column * column % 7))));
                for device in &emulated_devices() {
                    judge(&mut failures, device, &case, Placement::default());
                }
            }
        }
    }
    failures.assert_none();
}

/// Squares about first values that lie far off add up to many times those about the mean; up to the variance
/// that the reference's docs name, they stay in range all the same.
#[test]
fn variances_near_the_end_of_the_range() {
    let mut failures = Failures::default();
    for hidden in [16, 64, 4096] {
        let count = hidden as f64;
        let largest = (f64::from(f32::MAX) / (count * (1.0 + count))).sqrt();
        for outlier in [1.0, 4.0, count.sqrt() / 2.0] {
            for mean in [0.0, 3.0, 1000.0] {
                for dtype in [DType::F32, DType::BF16] {
                    let deviation = largest / (2.0 * (1.0 + outlier * outlier / count).sqrt());
                    let sign = |column: usize| if column.is_multiple_of(2) { 1.0 } else { -1.0 };
                    let value = |column| if column < 2 { outlier } else { sign(column) };
                    let mut case = case((Norm::layer_norm(1e-5), None, None), dtype, 1, hidden, Values::Unit, 0);
                    case.x = encode(dtype, (0..hidden).map(|column| deviation * (mean + value(column))));
                    for device in &emulated_devices() {
                        judge(&mut failures, device, &case, Placement::default());
                    }
                }
            }
        }
    }
    failures.assert_none();
}

/// Products that leave f32's range, or all but leave it, before the activation of a large gate, or of a small
/// one, brings them back.
#[test]
fn products_at_the_ends_of_the_range_before_a_gate() {
    let mut failures = Failures::default();
    for dtype in [DType::F32, DType::BF16] {
        for (x, z) in [(1e-45, 3e38), (3e-41, 1e38), (-2e-40, 1e30), (3e38, 1e-30), (-3e38, -20.0)] {
            let mut case = case((Norm::activation(Activation::SILU), Some(dtype), None), dtype, 1, 40, Values::Unit, 3);
            case.x = encode(dtype, (0..40).map(|column| x * (1.0 + f64::from(column % 7) / 32.0)));
            case.gate = Some(encode(dtype, (0..40).map(|column| z * (1.0 + f64::from(column % 5) / 64.0))));
            for device in &emulated_devices() {
                judge(&mut failures, device, &case, Placement::default());
            }
        }
    }
    failures.assert_none();
}

fn hold(norm: Norm, dtype: DType, bias: bool, rows: usize, hidden: usize, values: Values) {
    let mut failures = Failures::default();
    let parameter = bias.then_some(dtype);
    for device in &emulated_devices() {
        let case = case((norm, parameter, parameter), dtype, rows, hidden, values, 16_777_215);
        judge(&mut failures, device, &case, Placement::default());
    }
    failures.assert_none();
}

fn wide(scale: f32) -> ResidualAdd {
    ResidualAdd { scale, rounding: ResidualRounding::Wide }
}

/// α of a DeepNorm decoder of 24 layers.
const DEEP_NORM: f32 = 2.632_148;

#[test]
fn no_eps_and_deviations_whose_squares_vanish() {
    hold(Norm::layer_norm(0.0), DType::F32, false, 1, 20, Values::Denormals);
}

#[test]
fn a_large_mean_beside_a_scaled_residual() {
    let norm = Norm::layer_norm(1e-5).with_residual_add(wide(DEEP_NORM));
    hold(norm, DType::F16, false, 1, 12_674, Values::LargeMean);
}

#[test]
fn constants_beside_a_scaled_residual() {
    let norm = Norm::layer_norm(1e-5).with_residual_add(wide(DEEP_NORM));
    hold(norm, DType::F16, true, 2, 2046, Values::Constant);
}

#[test]
fn huge_constants_beside_a_scaled_residual() {
    let norm = Norm::layer_norm(1e-6).with_residual_add(wide(32_768.0));
    hold(norm, DType::BF16, true, 9, 21, Values::Constant);
}

/// f32 rows of one value each, in which lanes and warps have more elements than others: what the lanes' sums lose cancels
/// only where they are as exact as what is left of them is large.
#[test]
fn constants_of_which_threads_have_unlike_shares() {
    let mut failures = Failures::default();
    for hidden in [4080, 20, 500, 1000, 4081, 12_300, 40_004] {
        let rows = 7;
        let mut case = case((Norm::layer_norm(1e-5), None, None), DType::F32, rows, hidden, Values::Constant, 0);
        let value = |row| f64::from(3.7f32 + 0.1 * row as f32);
        case.x = encode(DType::F32, (0..rows * hidden).map(|index| value(index / hidden)));
        for device in &emulated_devices() {
            for placement in [Placement::default(), Placement { offset: 1, ..Placement::default() }] {
                judge(&mut failures, device, &case, placement);
            }
        }
    }
    failures.assert_none();
}

/// The mean of values whose squares are less than f32 has room for is as exact as that of others.
#[test]
fn values_far_below_those_whose_squares_vanish() {
    let mut failures = Failures::default();
    for (dtype, scale) in
        [(DType::BF16, 4_025_722_300_000.0), (DType::BF16, 1e9), (DType::F16, 1e-20), (DType::F32, 1e9)]
    {
        let norm = Norm::layer_norm(1e-12).with_residual_add(wide(scale));
        for hidden in [300, 4096, 16_384] {
            let case = case((norm, None, None), dtype, 3, hidden, Values::Denormals, 1);
            for device in &emulated_devices() {
                judge(&mut failures, device, &case, Placement::default());
            }
        }
    }
    failures.assert_none();
}
