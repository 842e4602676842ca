//! One row, step by step, in f64.

use super::activation::activate;
use super::round::round;
use super::sum::{quotient, sum};
use crate::parity::Tolerance;
use crate::{DType, Family, Norm, ResidualRounding, WeightRounding};

/// One element of the result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value {
    /// y before its rounding to the activation type.
    pub exact: f64,
    /// |v·(weight + weight_offset)|, the term before the bias: y may be far smaller than this, and f32
    /// results are as exact as this term's last bits.
    pub scale: f64,
    /// How far y may move because the statistic is not exact: |weight + weight_offset| times what v moves by
    /// the errors that the tolerance allows, [of the mean](Tolerance::error_of_mean), 0 for RMSNorm, and
    /// [of rstd](Tolerance::error_of_rstd); and that [of a gate's factors](Tolerance::error_of_gate), where there
    /// is a gate.
    pub statistic_error: f64,
}

/// One row of the result.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The `hidden` elements of y.
    pub y: Vec<Value>,
    /// The new residual stream R(h), `hidden` values of the activation type; empty where the norm adds
    /// no residual.
    pub residual: Vec<f64>,
    /// The mean; 0 for RMSNorm.
    pub mean: f64,
    /// The error of the mean that the [tolerance](Tolerance::error_of_mean) takes for exact.
    pub mean_error: f64,
    /// The reciprocal standard deviation, or the reciprocal root mean square.
    pub rstd: f64,
    /// The error of rstd that the [tolerance](Tolerance::error_of_rstd) takes for exact.
    pub rstd_error: f64,
}

/// The parameters of the norm for every row, widened.
pub(super) struct Parameters {
    /// γ + γ₀, rounded to f32.
    pub gain: Option<Vec<f64>>,
    pub bias: Option<Vec<f64>>,
    pub linear_bias: Option<Vec<f64>>,
}

/// What a row is normalised by: v = (h − mean)·rstd.
struct Statistic {
    /// The mean and the remainder that its f64 lacks.
    mean: (f64, f64),
    mean_error: f64,
    rstd: f64,
    /// Relative to rstd.
    rstd_error: f64,
}

/// Computes a row from x and residual, both exact values of the activation type.
pub(super) fn norm_row(
    norm: &Norm,
    dtype: DType,
    x: &[f64],
    (residual, gate): (Option<&[f64]>, Option<&[f64]>),
    parameters: &Parameters,
) -> Row {
    let (wide, stored) = residual_add(norm, dtype, x, residual, parameters.linear_bias.as_deref());
    let rounding = norm.residual_add().map(|add| add.rounding);
    let (statistic_input, output_input) = match rounding {
        None | Some(ResidualRounding::Wide) => (&wide, &wide),
        Some(ResidualRounding::Stored) => (&stored, &stored),
        Some(ResidualRounding::Split) => (&wide, &stored),
    };
    let statistic = match norm.family {
        Family::LayerNorm => layer_norm_statistic(statistic_input, norm.eps, dtype),
        Family::RmsNorm => rms_norm_statistic(statistic_input, norm.eps),
        // v = (h − 0)·1.
        Family::Identity => Statistic { mean: (0.0, 0.0), mean_error: 0.0, rstd: 1.0, rstd_error: 0.0 },
        Family::L2Norm => l2_norm_statistic(statistic_input, norm.eps),
    };
    let y = output_input.iter().enumerate().map(|(column, &h)| {
        let gain = parameters.gain.as_ref().map(|gain| gain[column]);
        let bias = parameters.bias.as_ref().map(|bias| bias[column]);
        let (v, act) = match (norm.gate, gate) {
            (None, _) => (normalise(h, &statistic), 1.0),
            (Some(activation), Some(z)) => (normalise(h, &statistic), activate(activation, z[column] as f32)),
            (Some(activation), None) => (1.0, activate(activation, h as f32)),
        };
        let value = output(norm.weight_rounding, dtype, v, gain, bias, &statistic);
        if norm.gate.is_some() { gated(value, act, dtype) } else { value }
    });
    Row {
        y: y.collect(),
        residual: stored,
        mean: statistic.mean.0,
        mean_error: statistic.mean_error,
        rstd: statistic.rstd,
        rstd_error: statistic.rstd_error * statistic.rstd,
    }
}

/// h = (α·r + x) + b, in f32 with a rounding for each sum, and R(h), the stored residual stream. Without a
/// residual h = x, and nothing is stored.
fn residual_add(
    norm: &Norm,
    dtype: DType,
    x: &[f64],
    residual: Option<&[f64]>,
    linear_bias: Option<&[f64]>,
) -> (Vec<f64>, Vec<f64>) {
    let (Some(add), Some(residual)) = (norm.residual_add(), residual) else { return (x.to_vec(), Vec::new()) };
    // Values of the element types are f32 values, so these casts are exact.
    let sum = |(column, &r): (usize, &f64)| {
        let sum = add.scale.mul_add(r as f32, x[column] as f32);
        f64::from(linear_bias.map_or(sum, |bias| sum + bias[column] as f32))
    };
    let wide: Vec<f64> = residual.iter().enumerate().map(sum).collect();
    let stored = wide.iter().map(|&h| round(dtype, h)).collect();
    (wide, stored)
}

/// mean = Σh / N, variance = Σ(h − mean)² / N, rstd = 1/√(variance + eps).
fn layer_norm_statistic(h: &[f64], eps: f32, dtype: DType) -> Statistic {
    if h.iter().any(|h| !h.is_finite()) {
        return Statistic { mean: (f64::NAN, 0.0), mean_error: f64::NAN, rstd: f64::NAN, rstd_error: f64::NAN };
    }
    let count = h.len() as f64;
    let mean = quotient(sum(h.iter().copied()), count);
    let squares = sum(h.iter().map(|&h| square(deviation(h, mean)))).0;
    let largest = h.iter().fold(0.0, |largest: f64, h| largest.max(h.abs()));
    let mean_error = Tolerance::of(dtype).error_of_mean(largest, h.len());
    let (rstd, rstd_error) = rstd(squares, count, eps);
    Statistic { mean, mean_error, rstd, rstd_error }
}

/// rstd = 1/√(Σh² / N + eps).
fn rms_norm_statistic(h: &[f64], eps: f32) -> Statistic {
    let squares = sum(h.iter().map(|&h| square(h))).0;
    let (rstd, rstd_error) = rstd(squares, h.len() as f64, eps);
    Statistic { mean: (0.0, 0.0), mean_error: 0.0, rstd, rstd_error }
}

/// rstd = 1/√(Σh² + eps), 0 where Σh² is 0.
fn l2_norm_statistic(h: &[f64], eps: f32) -> Statistic {
    let squares = sum(h.iter().map(|&h| square(h))).0;
    let (rstd, rstd_error) = if squares == 0.0 { (0.0, 0.0) } else { rstd(squares, 1.0, eps) };
    Statistic { mean: (0.0, 0.0), mean_error: 0.0, rstd, rstd_error }
}

/// 1/√(squares / count + eps): 0 where the sum of squares is past the range of f32, infinite where the
/// root is of zero. With its relative error.
fn rstd(squares: f64, count: f64, eps: f32) -> (f64, f64) {
    let (mean_square, eps) = (in_f32_range(in_f32_range(squares) / count), f64::from(eps));
    (1.0 / (mean_square + eps).sqrt(), Tolerance::error_of_rstd(mean_square, eps))
}

fn deviation(h: f64, (mean, remainder): (f64, f64)) -> f64 {
    in_f32_range((h - mean) - remainder)
}

fn square(value: f64) -> f64 {
    in_f32_range(value * value)
}

/// v = (h − mean)·rstd.
fn normalise(h: f64, statistic: &Statistic) -> f64 {
    in_f32_range(deviation(h, statistic.mean) * statistic.rstd)
}

/// The element times the activation of its gate.
fn gated(value: Value, act: f64, dtype: DType) -> Value {
    Value {
        exact: in_f32_range(value.exact) * act,
        scale: value.scale * act.abs(),
        statistic_error: value.statistic_error * act.abs() + Tolerance::error_of_gate(dtype, value.scale, act.abs()),
    }
}

/// y = v·gain + bias, v rounded first where the op says so.
fn output(
    rounding: WeightRounding,
    dtype: DType,
    v: f64,
    gain: Option<f64>,
    bias: Option<f64>,
    statistic: &Statistic,
) -> Value {
    let y = |v: f64| match (gain, bias) {
        (None, None) => v,
        (Some(gain), None) => v * gain,
        (None, Some(bias)) => v + bias,
        (Some(gain), Some(bias)) => v.mul_add(gain, bias),
    };
    let v_error = statistic.mean_error * statistic.rstd + statistic.rstd_error * v.abs();
    let v = match rounding {
        WeightRounding::Single => v,
        WeightRounding::BeforeWeight => round(dtype, v),
    };
    let gain = gain.unwrap_or(1.0).abs();
    Value { exact: y(v), scale: v.abs() * gain, statistic_error: v_error * gain }
}

/// A value as f32 arithmetic could hold it, precision aside: infinite past the largest f32, zero
/// below half the smallest. Within that range the value itself, unrounded.
fn in_f32_range(value: f64) -> f64 {
    let narrow = value as f32;
    if narrow.is_infinite() || narrow == 0.0 { f64::from(narrow) } else { value }
}
