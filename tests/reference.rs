//! The CPU reference against rows worked out by other means, and against a real model.
//!
//! Expected decimals were computed with exact fractions and 50-digit square roots.

use safetensors::SafeTensors;
use warpnorm::host::{self, Device, Output, Outputs, Placement, Problem, Vector};
use warpnorm::parity::judge;
use warpnorm::reference::{self, Cpu, Row, Value, decode, encode};
use warpnorm::{
    Activation, CallError, DType, Error, Input, Interpolation, Norm, NormError, PostAdd, PostRounding, ResidualAdd,
    ResidualRounding, Rope, RopeRounding, Scope, WeightRounding,
};

fn problem<'a>(norm: Norm, dtype: DType, hidden: usize, x: &'a [u8]) -> Problem<'a> {
    let rows = x.len() / (hidden * dtype.size());
    Problem::new(norm, dtype, rows, hidden, x)
}

fn exact_values(values: &[Value]) -> Vec<f64> {
    values.iter().map(|value| value.exact).collect()
}

fn one_row(problem: &Problem<'_>) -> Row {
    let mut rows = reference::norm(problem).unwrap().rows;
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

fn row_of(norm: Norm, dtype: DType, x: &[f64]) -> Row {
    one_row(&problem(norm, dtype, x.len(), &encode(dtype, x.iter().copied())))
}

fn exact(row: &Row) -> Vec<f64> {
    row.y.iter().map(|value| value.exact).collect()
}

#[track_caller]
fn close(got: &[f64], wanted: &[f64]) {
    assert_eq!(got.len(), wanted.len());
    for (got, wanted) in got.iter().zip(wanted) {
        assert!((got - wanted).abs() <= 1e-14 * wanted.abs(), "{got:?}, wanted {wanted:?}");
    }
}

#[test]
fn layer_norm_of_one_to_four() {
    // Mean 5/2, variance 5/4.
    let row = row_of(Norm::layer_norm(0.0), DType::F32, &[1.0, 2.0, 3.0, 4.0]);
    assert_eq!(row.mean, 2.5);
    close(&[row.rstd], &[0.894_427_190_999_915_9]);
    close(
        &exact(&row),
        &[-1.341_640_786_499_873_8, -0.447_213_595_499_957_9, 0.447_213_595_499_957_9, 1.341_640_786_499_873_8],
    );
}

#[test]
fn layer_norm_of_a_large_mean() {
    let x = [10_000.0, 10_000.009_765_625, 9_999.990_234_375, 10_000.019_531_25, 9_999.985_351_562_5];
    let row = row_of(Norm::layer_norm(1e-12), DType::F32, &x);
    close(&[row.mean, row.rstd], &[10_000.000_976_562_5, 79.960_965_831_340_86]);
    close(
        &exact(&row),
        &[
            -0.078_086_880_694_668_8,
            0.702_781_926_252_019_2,
            -0.858_955_687_641_356_8,
            1.483_650_733_198_707_2,
            -1.249_390_091_114_701,
        ],
    );
}

#[test]
fn rms_norm_of_three_values() {
    // 0.1, −0.7 and 3.3 as f32.
    let row = row_of(Norm::rms_norm(1e-6), DType::F32, &[0.1, -0.7, 3.3]);
    close(&[row.rstd], &[0.513_214_259_298_721_9]);
    close(&exact(&row), &[0.051_321_426_694_621_024, -0.359_249_975_391_114_7, 1.693_607_031_213_819_2]);
}

#[test]
fn weight_offset_and_bias() {
    // 3, 4: mean square 25/2. With eps 0.5 rstd = 1/√13.
    let x = encode(DType::BF16, [3.0, 4.0]);
    let weight = encode(DType::F32, [0.5, -3.0]);
    let bias = encode(DType::F32, [10.0, 0.25]);
    let norm = Norm::rms_norm(0.5).with_weight_offset(1.0);
    let mut problem = problem(norm, DType::BF16, 2, &x);
    problem.weight = Some(Vector { dtype: DType::F32, bytes: &weight });
    problem.bias = Some(Vector { dtype: DType::F32, bytes: &bias });
    let row = one_row(&problem);
    let root = 13f64.sqrt();
    close(&exact(&row), &[4.5 / root + 10.0, 0.25 - 8.0 / root]);
    close(&[row.y[0].scale, row.y[1].scale], &[4.5 / root, 8.0 / root]);
}

#[test]
fn rounding_before_the_weight_rounds_twice() {
    // 1, 7: rstd = 1/5, so v = 0.2, 1.4. In bf16 those are 0.200195… (205/1024) and 1.3984375 (179/128).
    let x = encode(DType::BF16, [1.0, 7.0]);
    let weight = encode(DType::F32, [3.0, 3.0]);
    let mut problem = problem(Norm::rms_norm(0.0), DType::BF16, 2, &x);
    problem.weight = Some(Vector { dtype: DType::F32, bytes: &weight });
    close(&exact(&one_row(&problem)), &[0.6, 4.2]);
    problem.norm.weight_rounding = WeightRounding::BeforeWeight;
    let row = one_row(&problem);
    close(&exact(&row), &[3.0 * 205.0 / 1024.0, 3.0 * 179.0 / 128.0]);
}

#[test]
fn an_inner_tie_goes_to_the_even_value() {
    // h = 1 + 2^-8, and 1/2; eps = 3/8 − 2^-8 − 2^-17 makes rstd 1. So v = 1 + 2^-8 lies in the middle
    // of the bf16 values 1 and 1 + 2^-7.
    let x = encode(DType::BF16, [1.0, 0.5]);
    let residual = encode(DType::BF16, [0.5f64.powi(8), 0.0]);
    let weight = encode(DType::F32, [2.0, 2.0]);
    let eps = 0.375 - 0.5f32.powi(8) - 0.5f32.powi(17);
    let add = ResidualAdd { scale: 1.0, rounding: ResidualRounding::Wide };
    let norm = Norm::rms_norm(eps).with_residual_add(add).with_weight_rounding(WeightRounding::BeforeWeight);
    let mut problem = problem(norm, DType::BF16, 2, &x);
    problem.residual = Some(&residual);
    problem.weight = Some(Vector { dtype: DType::F32, bytes: &weight });
    let row = one_row(&problem);
    assert_eq!((row.rstd, row.y[0].exact, row.y[1].exact), (1.0, 2.0, 1.0));
    let judged = |first| {
        let output = Output { y: encode(DType::BF16, [first, 1.0]), ..Output::default() };
        judge(&problem, &output).unwrap().max_ulp
    };
    assert_eq!((judged(2.0), judged(2.0 + 0.5f64.powi(6))), (0.0, 1.0));
}

/// One ULP of f32 at 1.
const F32_ULP: f64 = f32::EPSILON as f64;

/// Errors of y in f32 ULPs, which denormals and what is left of the mean's own add 1e-5 of to at most.
#[track_caller]
fn errors(row: &Row, wanted: &[f64]) {
    for (value, wanted) in row.y.iter().zip(wanted) {
        let error = value.error / F32_ULP;
        assert!((error - wanted).abs() <= 1e-5 * wanted.max(0.01), "{error}, wanted {wanted}");
    }
}

#[test]
fn the_error_of_y_is_that_of_f32_arithmetic() {
    // rstd 1/5, v = 0.2 and 1.4: two ULPs of rstd, half of one on the way to v.
    let x = encode(DType::BF16, [1.0, 7.0]);
    let mut problem = problem(Norm::rms_norm(0.0), DType::BF16, 2, &x);
    errors(&one_row(&problem), &[2.5 * 0.2, 2.5 * 1.4]);
    // And half of one for the product and for what is added.
    let parameters = [encode(DType::F32, [3.0, -2.0]), encode(DType::F32, [-0.5, 8.0])];
    problem.weight = Some(Vector { dtype: DType::F32, bytes: &parameters[0] });
    errors(&one_row(&problem), &[3.0 * 0.6, 3.0 * 2.8]);
    problem.bias = Some(Vector { dtype: DType::F32, bytes: &parameters[1] });
    errors(&one_row(&problem), &[3.0 * 0.6 + 0.25, 3.0 * 2.8 + 4.0]);
    // Of the mean, two ULPs of the deviation, and half of one of h − mean.
    let layer_norm = |dtype| row_of(Norm::layer_norm(0.0), dtype, &[1.0, 2.0, 3.0, 4.0]);
    let v = layer_norm(DType::F16).y[3].exact;
    errors(&layer_norm(DType::F16), &[2.0 + 3.0 * v, 2.0 + v, 2.0 + v, 2.0 + 3.0 * v]);
    assert!(layer_norm(DType::F32).y.iter().all(|value| value.error < 1e-5 * F32_ULP));
    // Four units of it are allowed where it is the result itself, as of rstd, which may be off by three ULPs.
    let mean_error = layer_norm(DType::F16).mean_error / (0.5 * F32_ULP * 1.25f64.sqrt());
    assert!((mean_error - 1.0).abs() < 1e-5, "{mean_error}");
    let rstd_error = |dtype| layer_norm(dtype).rstd_error / (F32_ULP / 1.25f64.sqrt());
    assert!((rstd_error(DType::F16) - 0.75).abs() < 1e-5 && rstd_error(DType::F32) < 1e-5);
    // What is not normalised has no error, nor what is multiplied by a weight more than half an ULP.
    let affine = |weight| {
        let mut problem = problem;
        (problem.norm, problem.bias, problem.weight) = (Norm::affine(), None, weight);
        one_row(&problem)
    };
    assert_eq!([affine(None).y[0].error, affine(None).y[1].error], [0.0, 0.0]);
    errors(&affine(problem.weight), &[1.5, 7.0]);
}

/// Of so many units, and two for each power of e that the distribution function, or σ, is below 1.
#[test]
fn the_error_of_an_activation_grows_in_its_tail() {
    let x = encode(DType::F16, [1.0, 7.0]);
    let z = encode(DType::F16, [0.75, -2.0]);
    // Φ(0.75) and Φ(−2), σ of the same, to four digits.
    let gelu = [0.7734, 0.022750].map(|of_normal: f64| 10.0 - 2.0 * of_normal.ln());
    let silu = [0.6792, 0.1192].map(|sigmoid: f64| 6.0 - 2.0 * sigmoid.ln());
    for (activation, [first, second]) in [(Activation::GeluExact, gelu), (Activation::SILU, silu)] {
        let mut problem = problem(Norm::rms_norm(0.0).with_gate(activation), DType::F16, 2, &x);
        problem.gate = Some(&z);
        let row = one_row(&problem);
        // Beside the two and a half of v.
        errors(&row, &[(2.5 + first) * row.y[0].exact, (2.5 + second) * -row.y[1].exact]);
        // h = x·act(z) is rounded, too, and rstd is off by what h is off by, each element for the share that it has of
        // the squares.
        problem.norm = Norm::rms_norm(0.0).with_input(Input::Gated(activation));
        let row = one_row(&problem);
        let squares = [row.y[0].exact, row.y[1].exact].map(|y| y * y / 2.0);
        let of_rstd = (first + 0.5) * squares[0] + (second + 0.5) * squares[1];
        let of_y = [first, second].map(|of_activation| of_activation + 0.5 + of_rstd + 2.5);
        errors(&row, &[of_y[0] * row.y[0].exact, of_y[1] * -row.y[1].exact]);
    }
}

/// f32 results have the activation's among their units, but for h of a gate, whose own and rstd's it is.
#[test]
fn the_error_of_an_f32_activation_is_among_the_units() {
    let x = encode(DType::F32, [1.0, 7.0]);
    let z = encode(DType::F32, [0.75, -2.0]);
    let mut problem = problem(Norm::rms_norm(0.0).with_gate(Activation::SILU), DType::F32, 2, &x);
    problem.gate = Some(&z);
    errors(&one_row(&problem), &[0.0, 0.0]);
    problem.norm = Norm::rms_norm(0.0).with_input(Input::Gated(Activation::SILU));
    let row = one_row(&problem);
    errors(&row, &[3.5 * row.y[0].exact, -3.5 * row.y[1].exact]);
}

/// v = 1, and a weight that puts v·weight less than an ULP of f32 below the middle of 1 and 1 + 2^-7 in bf16, or 1.5.
fn near_tie_and_not() -> (Vec<u8>, Vec<u8>) {
    (encode(DType::BF16, [1.0, 1.0]), encode(DType::F32, [1.0 + 0.5f64.powi(8) - F32_ULP, 1.5]))
}

const STEP: f64 = 1.0 / 128.0;

#[test]
fn v_near_a_tie_is_rounded_to_either_side() {
    // rstd = 1 + 2^-8 but for its last bits.
    let x = encode(DType::BF16, [1.0, 0.625]);
    let rstd = 1.0 + 0.5f64.powi(8);
    let eps = (rstd.powi(-2) - (1.0 + 0.625 * 0.625) / 2.0) as f32;
    let norm = Norm::rms_norm(eps).with_weight_rounding(WeightRounding::BeforeWeight);
    let weight = encode(DType::F32, [3.0, 3.0]);
    let mut problem = problem(norm, DType::BF16, 2, &x);
    problem.weight = Some(Vector { dtype: DType::F32, bytes: &weight });
    let row = one_row(&problem);
    let [near, far] = [&row.y[0], &row.y[1]];
    assert!((near.error - 3.0 * STEP).abs() < 2.0 * F32_ULP && near.error > 3.0 * STEP, "{near:?}");
    // Of v that is rounded there is only the rounding of the product.
    assert!((far.error - far.exact * F32_ULP / 2.0).abs() < 1e-6 * F32_ULP, "{far:?}");
}

#[test]
fn a_product_near_a_tie_goes_to_either_side_of_it_and_the_sum_of_its_own() {
    let (x, weight) = near_tie_and_not();
    // 1 + 2^-8 and 1 + 2^-7 + 2^-8 are ties, which go to 1 and to 1 + 2^-6.
    let residual = encode(DType::BF16, [STEP / 2.0, 0.25]);
    let add = PostAdd { scale: 1.0, rounding: PostRounding::Each };
    let mut problem = problem(Norm::rms_norm(0.0).with_post_add(add), DType::BF16, 2, &x);
    problem.weight = Some(Vector { dtype: DType::F32, bytes: &weight });
    problem.residual = Some(&residual);
    let row = one_row(&problem);
    assert_eq!([row.y[0].exact, row.y[0].error, row.y[1].exact, row.y[1].error], [1.0 + STEP / 2.0, STEP, 1.75, 0.0]);
    let judged = |y: [f64; 2]| {
        let verdict = judge(&problem, &Output { y: encode(DType::BF16, y), ..Output::default() }).unwrap();
        (verdict.misrounded, verdict.passed)
    };
    assert_eq!([0.0, 1.0, 2.0, 3.0].map(|steps| judged([1.0 + steps * STEP, 1.75]).0), [0, 0, 0, 1]);
    assert_eq!(judged([1.0 + 2.0 * STEP, 1.75]), (0, true));
    assert_eq!(judged([1.0 + 3.0 * STEP, 1.75]), (1, false));
    // The other sum follows from a product near no tie.
    assert_eq!(judged([1.0, 1.75 + STEP]).0, 1);
    // With a scale each candidate is rounded once more, and halved.
    problem.norm.post_add = Some(PostAdd { scale: 0.5, rounding: PostRounding::Each });
    let row = one_row(&problem);
    assert_eq!([row.y[0].exact, row.y[0].error, row.y[1].error], [0.5, STEP, 0.0]);
    // Where only the end is rounded, product and residual have half an ULP each.
    problem.norm.post_add = Some(PostAdd::default());
    let row = one_row(&problem);
    errors(&row, &[3.0 * (1.0 + STEP / 2.0) + STEP / 4.0, 3.0 * 1.5 + 0.125]);
}

#[test]
fn rotated_values_near_ties_go_to_either_side() {
    let (x, weight) = near_tie_and_not();
    let (cos, sin) = (encode(DType::F32, [0.5]), encode(DType::F32, [0.25]));
    for rounding in [RopeRounding::Single, RopeRounding::Each] {
        let rope = Rope { rounding, ..Rope::half_split(2) };
        let mut problem = problem(Norm::rms_norm(0.0).with_scope(Scope::Head).with_rope(rope), DType::BF16, 2, &x);
        problem.weight = Some(Vector { dtype: DType::F32, bytes: &weight });
        let tables = host::RopeTables {
            cos: &cos,
            sin: &sin,
            dtype: DType::F32,
            positions: None,
            position_type: warpnorm::PositionType::I32,
        };
        problem.rope = Some(tables);
        let row = one_row(&problem);
        // 1/2 − 3/8 and 3/4 + 1/4.
        assert_eq!(exact(&row), [0.125, 1.0], "{rounding:?}");
        assert_eq!([row.y[0].error, row.y[1].error], [STEP / 2.0, STEP / 4.0], "{rounding:?}");
    }
}

#[test]
fn what_a_first_norm_rounds_to_either_side_goes_through_the_second() {
    let (x, inner_weight) = near_tie_and_not();
    let far = encode(DType::F32, [1.0 + 0.5f64.powi(9), 1.5]);
    let zeros = encode(DType::BF16, [0.0, 0.0]);
    let ones = encode(DType::F32, [1.0, 1.0]);
    let norm = Norm::rms_norm(0.0).with_input(Input::PostNorm(PostAdd::default()));
    let mut problem = problem(norm, DType::BF16, 2, &x);
    problem.weight = Some(Vector { dtype: DType::F32, bytes: &ones });
    problem.residual = Some(&zeros);
    problem.outputs = Outputs { residual: true, ..Outputs::default() };
    // The second norm of what the first one may have made.
    let output = |first: f64| {
        let y = row_of(Norm::rms_norm(0.0), DType::BF16, &[first, 1.5]).y;
        let residual = Some(encode(DType::BF16, [first, 1.5]));
        Output { y: encode(DType::BF16, exact_values(&y)), residual, ..Output::default() }
    };
    let mut judged = |weight, first| {
        problem.inner_weight = Some(Vector { dtype: DType::F32, bytes: weight });
        let verdict = judge(&problem, &output(first)).unwrap();
        (verdict.residual_mismatches, verdict.misrounded, verdict.passed)
    };
    assert_eq!(judged(&inner_weight, 1.0), (0, 0, true));
    assert_eq!(judged(&inner_weight, 1.0 + STEP), (0, 0, true));
    assert_eq!(judged(&inner_weight, 1.0 + 2.0 * STEP).0, 1);
    assert_eq!(judged(&far, 1.0), (0, 0, true));
    let (of_residual, of_y, _) = judged(&far, 1.0 + STEP);
    assert!(of_residual == 1 && of_y > 0);
}

#[test]
fn norms_that_are_interpolated_may_each_be_rounded_to_either_side() {
    // v = 1 + 2^-8 but for its last bits in the first column of the one row, and near no tie in the other.
    let tie = encode(DType::BF16, [1.0, 0.625]);
    let none = encode(DType::BF16, [0.75, 0.8125]);
    let eps = ((1.0 + 0.5f64.powi(8)).powi(-2) - (1.0 + 0.625 * 0.625) / 2.0) as f32;
    let rate = encode(DType::F32, [0.5, 0.5]);
    let error = |x: &[u8], residual: &[u8]| {
        let norm = Norm::rms_norm(eps).with_input(Input::Interpolation(Interpolation::default()));
        let mut problem = problem(norm, DType::BF16, 2, x);
        problem.residual = Some(residual);
        problem.rate = Some(Vector { dtype: DType::F32, bytes: &rate });
        one_row(&problem).y[0].error
    };
    let (both, neither) = (error(&tie, &tie), error(&none, &none));
    assert!(both > 0.9 * STEP && neither < 10.0 * F32_ULP, "{both}, {neither}");
    for one in [error(&tie, &none), error(&none, &tie)] {
        assert!((0.4..0.65).contains(&(one / both)), "{one} of {both}");
    }
}

#[test]
fn the_offset_is_added_in_f32() {
    // 2^-25 vanishes beside 1 in f32, and 1.5·2^-24 rounds to 2^-23.
    let x = encode(DType::F32, [1.0, 1.0]);
    let weight = encode(DType::F32, [2f64.powi(-25), 1.5 * 2f64.powi(-24)]);
    let mut problem = problem(Norm::rms_norm(0.0).with_weight_offset(1.0), DType::F32, 2, &x);
    problem.weight = Some(Vector { dtype: DType::F32, bytes: &weight });
    assert_eq!(exact(&one_row(&problem)), [1.0, 1.0 + 2f64.powi(-23)]);
}

/// h = 1 + (1 + 2^-10) = 2 + 2^-10 lies in the middle of two f16 values, and R(h) = 2.
fn residual_case(rounding: ResidualRounding) -> Row {
    let x = encode(DType::F16, [1.0, -4.0]);
    let residual = encode(DType::F16, [1.0 + 0.5f64.powi(10), 0.0]);
    let norm = Norm::rms_norm(0.0).with_residual_add(ResidualAdd { scale: 1.0, rounding });
    let mut problem = problem(norm, DType::F16, 2, &x);
    problem.residual = Some(&residual);
    one_row(&problem)
}

#[test]
fn the_three_ways_to_round_the_sum() {
    let wide_h = 2.0 + 0.5f64.powi(10);
    let (stored_rms, wide_rms) = (10f64.sqrt(), ((wide_h * wide_h + 16.0) / 2.0).sqrt());
    let stored = residual_case(ResidualRounding::Stored);
    close(&exact(&stored), &[2.0 / stored_rms, -4.0 / stored_rms]);
    let wide = residual_case(ResidualRounding::Wide);
    close(&exact(&wide), &[wide_h / wide_rms, -4.0 / wide_rms]);
    let split = residual_case(ResidualRounding::Split);
    close(&exact(&split), &[2.0 / wide_rms, -4.0 / wide_rms]);
    for row in [stored, wide, split] {
        assert_eq!(exact_values(&row.residual), [2.0, -4.0]);
    }
}

#[test]
fn the_sum_is_one_fused_f32_operation() {
    // α·r = (1 + 2^-12)² = 1 + 2^-11 + 2^-24, less 1 + 2^-11: only a fused operation keeps 2^-24.
    let factor = 1.0 + 0.5f64.powi(12);
    let x = encode(DType::F32, [-(1.0 + 0.5f64.powi(11))]);
    let residual = encode(DType::F32, [factor]);
    let add = ResidualAdd { scale: factor as f32, rounding: ResidualRounding::Stored };
    let mut problem = problem(Norm::rms_norm(1.0).with_residual_add(add), DType::F32, 1, &x);
    problem.residual = Some(&residual);
    assert_eq!(exact_values(&one_row(&problem).residual), [0.5f64.powi(24)]);
    // And one rounding to f32: 1 + 2^-25 is 1.
    let x = encode(DType::F32, [1.0]);
    let residual = encode(DType::F32, [0.5f64.powi(25)]);
    problem.x = &x;
    problem.residual = Some(&residual);
    problem.norm = Norm::rms_norm(1.0).with_residual_add(ResidualAdd::default());
    assert_eq!(exact_values(&one_row(&problem).residual), [1.0]);
}

#[test]
fn zero_and_constant_rows() {
    for dtype in DType::ALL {
        let zero = row_of(Norm::rms_norm(0.25), dtype, &[0.0; 5]);
        assert_eq!((zero.rstd, exact(&zero)), (2.0, vec![0.0; 5]));
        // 0·∞, as IEEE 754 has it.
        assert!(exact(&row_of(Norm::rms_norm(0.0), dtype, &[0.0; 5])).iter().all(|y| y.is_nan()));
        for value in [0.1, -1000.0, 3e4] {
            let constant = row_of(Norm::layer_norm(1e-12), dtype, &[value; 7]);
            assert_eq!(exact(&constant), [0.0; 7], "{dtype} {value}");
            close(&[constant.rstd, constant.mean], &[1.0 / f64::from(1e-12f32).sqrt(), reference::round(dtype, value)]);
            assert!(exact(&row_of(Norm::layer_norm(0.0), dtype, &[value; 7])).iter().all(|y| y.is_nan()));
        }
        let single = row_of(Norm::layer_norm(1e-5), dtype, &[3.0]);
        assert_eq!((single.mean, exact(&single)), (3.0, vec![0.0]));
    }
}

#[test]
fn the_range_of_f32_ends_where_pytorch_sees_it_end() {
    // The square of 2^64 is past the largest f32.
    let huge = 2f64.powi(64);
    let row = row_of(Norm::rms_norm(1e-6), DType::F32, &[huge, -1.0]);
    assert_eq!((row.rstd, exact(&row)), (0.0, vec![0.0, 0.0]));
    let row = row_of(Norm::layer_norm(1e-6), DType::BF16, &[huge, -huge]);
    assert_eq!((row.mean, row.rstd, exact(&row)), (0.0, 0.0, vec![0.0, 0.0]));
    // f16 never gets there.
    let row = row_of(Norm::rms_norm(0.0), DType::F16, &[65504.0, -65504.0]);
    close(&exact(&row), &[1.0, -1.0]);
    // A deviation past the largest f32: ∞·0.
    let largest = f64::from(f32::MAX);
    let row = row_of(Norm::layer_norm(1e-6), DType::F32, &[largest, -largest, -largest, -largest]);
    assert!(row.y[0].exact.is_nan() && row.y[1..].iter().all(|value| value.exact == 0.0));
    // The square of 2^-80 is zero in f32, that of 2^-70 is not.
    let row = row_of(Norm::rms_norm(0.0), DType::F32, &[0.5f64.powi(80), 0.0]);
    assert!(row.rstd.is_infinite() && row.y[0].exact == f64::INFINITY && row.y[1].exact.is_nan());
    close(&exact(&row_of(Norm::rms_norm(0.0), DType::F32, &[0.5f64.powi(70), 0.5f64.powi(70)])), &[1.0, 1.0]);
}

#[test]
fn nan_and_infinities() {
    for dtype in DType::ALL {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let row = row_of(Norm::layer_norm(1e-5), dtype, &[1.0, bad, 2.0]);
            assert!(row.mean.is_nan() && row.rstd.is_nan() && exact(&row).iter().all(|y| y.is_nan()));
        }
        let row = row_of(Norm::rms_norm(1e-5), dtype, &[1.0, f64::NAN, 2.0]);
        assert!(row.rstd.is_nan() && exact(&row).iter().all(|y| y.is_nan()));
        let row = row_of(Norm::rms_norm(1e-5), dtype, &[1.0, f64::NEG_INFINITY, 2.0]);
        assert_eq!((row.rstd, row.y[0].exact, row.y[2].exact), (0.0, 0.0, 0.0));
        assert!(row.y[1].exact.is_nan());
    }
}

#[test]
fn a_million_elements_lose_nothing() {
    // k / 2^20 for k in 0..2^20 is exact in f32. Mean (N − 1)/(2N), variance (N² − 1)/(12N²).
    let count = 1usize << 20;
    let n = count as f64;
    let row = row_of(Norm::layer_norm(0.0), DType::F32, &(0..count).map(|k| k as f64 / n).collect::<Vec<_>>());
    assert_eq!(row.mean, (n - 1.0) / (2.0 * n));
    let rstd = (12.0 * n * n / (n * n - 1.0)).sqrt();
    close(&[row.rstd, row.y[0].exact], &[rstd, -(n - 1.0) / (2.0 * n) * rstd]);
}

#[test]
fn the_device_rounds_and_honours_the_outputs() {
    let x = encode(DType::F16, [1.0, 2.0, 3.0, 4.0, 5.0, 5.0, 5.0, 7.0]);
    let mut problem = problem(Norm::layer_norm(0.0), DType::F16, 4, &x);
    let run = |problem: &Problem<'_>| Cpu.run(problem, Placement::default()).unwrap();
    let plain = run(&problem);
    assert_eq!((&plain.residual, &plain.mean, &plain.rstd), (&None, &None, &None));
    // −1.3416… and −0.4472… are nearest to −1374/1024 and −1832/4096.
    assert_eq!(decode(DType::F16, &plain.y)[..2], [-1374.0 / 1024.0, -1832.0 / 4096.0]);
    problem.outputs = Outputs { mean: true, rstd: true, ..Outputs::default() };
    let statistics = run(&problem);
    assert_eq!(statistics.y, plain.y);
    assert_eq!(statistics.mean, Some(vec![2.5, 5.5]));
    assert_eq!(statistics.rstd, Some(vec![0.894_427_2, 1.154_700_5]));
    assert_eq!(Cpu.name(), "cpu reference (f64)");

    problem.norm.input = Input::ResidualAdd(ResidualAdd { scale: 2.0, ..ResidualAdd::default() });
    problem.residual = Some(&x);
    problem.outputs = Outputs { residual: true, ..Outputs::default() };
    let added = run(&problem);
    assert_eq!(decode(DType::F16, &added.residual.unwrap()), [3.0, 6.0, 9.0, 12.0, 15.0, 15.0, 15.0, 21.0]);
    assert_eq!(added.y, plain.y);
}

#[test]
fn no_rows_are_no_work() {
    let none = problem(Norm::rms_norm(1e-6), DType::F32, 3, &[]);
    assert_eq!(reference::norm(&none).unwrap().rows, []);
    assert_eq!(Cpu.run(&none, Placement::default()).unwrap(), Output::default());
}

#[test]
fn what_calls_refuse_is_refused() {
    let x = encode(DType::F16, [1.0, 2.0]);
    let good = problem(Norm::rms_norm(1e-6), DType::F16, 2, &x);
    let refusal = |change: &dyn Fn(&mut Problem<'_>)| {
        let mut bad = good;
        change(&mut bad);
        match reference::norm(&bad) {
            Err(Error::Call(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refusal(&|p| p.norm.eps = -1.0), CallError::Norm(NormError::Eps { given: -1.0 }));
    assert_eq!(refusal(&|p| p.norm.weight_offset = 1.0), CallError::OffsetWithoutWeight { offset: 1.0 });
    assert_eq!(
        refusal(&|p| p.norm.input = Input::ResidualAdd(ResidualAdd::default())),
        CallError::Residual { wanted: true }
    );
    assert_eq!(refusal(&|p| p.outputs.residual = true), CallError::ResidualOut);
    assert!(matches!(refusal(&|p| p.outputs.mean = true), CallError::Mean { .. }));
    let bf16 = Vector { dtype: DType::BF16, bytes: &[0; 4] };
    assert!(matches!(refusal(&|p| p.weight = Some(bf16)), CallError::ParameterType { .. }));
    let short = Vector { dtype: DType::F16, bytes: &[0; 2] };
    assert!(matches!(refusal(&|p| p.bias = Some(short)), CallError::Length { given: 1, wanted: 2, .. }));
    assert_eq!(refusal(&|p| (p.x, p.hidden) = (&[], 0)), CallError::Hidden { given: 0 });
    let mut bad = good;
    bad.x = &x[..3];
    assert!(matches!(reference::norm(&bad), Err(Error::Host(_))));
}

/// Every LayerNorm of a real encoder, whose saved results come from x + residual in f64: the f32 sum
/// that the op defines moves them by up to 4e-7.
#[test]
fn minilm_layer_norms() {
    let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/minilm-layer-norms.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let mut prefixes: Vec<&str> = tensors.names().into_iter().filter_map(|name| name.strip_suffix(".x")).collect();
    prefixes.sort_unstable();
    assert_eq!(prefixes.len(), 13);
    for prefix in prefixes {
        let tensor = |field: &str| tensors.tensor(&format!("{prefix}.{field}")).unwrap();
        let (x, residual, weight, bias, y) =
            (tensor("x"), tensor("residual"), tensor("weight"), tensor("bias"), tensor("y"));
        let wanted = y.data().chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap()));
        let add = ResidualAdd { scale: 1.0, rounding: ResidualRounding::Wide };
        let mut problem = problem(Norm::layer_norm(1e-12).with_residual_add(add), DType::F32, 384, x.data());
        problem.residual = Some(residual.data());
        problem.weight = Some(Vector { dtype: DType::F32, bytes: weight.data() });
        problem.bias = Some(Vector { dtype: DType::F32, bytes: bias.data() });
        let rows = reference::norm(&problem).unwrap().rows;
        assert_eq!(rows.len(), 21);
        let got = rows.iter().flat_map(exact);
        let (mut largest, mut squares, mut total) = (0.0f64, 0.0, 0.0);
        let mut count = 0;
        for (got, wanted) in got.zip(wanted) {
            largest = largest.max((got - wanted).abs());
            squares += (got - wanted).powi(2);
            total += wanted.powi(2);
            count += 1;
        }
        assert_eq!(count, 21 * 384);
        let relative = (squares / total).sqrt();
        println!("{prefix}: at most {largest:.2e}, relative L2 {relative:.2e}");
        assert!(largest < 5e-6, "{prefix}: {largest:e}");
        assert!(relative < 1e-6, "{prefix}: {relative:e}");
    }
}
