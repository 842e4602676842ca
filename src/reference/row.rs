//! One row, step by step, in f64.

use super::activation::activate;
use super::round::round;
use super::sum::{quotient, sum};
use crate::parity::Tolerance;
use crate::{
    DType, Family, Input, Norm, PostAdd, PostRounding, ResidualAdd, ResidualRounding, Rope, RopePairs, RopeRounding,
    WeightRounding,
};

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
    /// The new residual stream h, `hidden` elements; empty where the norm adds no residual before its statistic.
    /// It is R(h), to the bit, but where [`PostNorm`](crate::Input::PostNorm) computes it in f32: there it is as
    /// exact as y.
    pub residual: Vec<Value>,
    /// The mean; 0 for RMSNorm.
    pub mean: f64,
    /// The error of the mean that the [tolerance](Tolerance::error_of_mean) takes for exact.
    pub mean_error: f64,
    /// The reciprocal standard deviation, or the reciprocal root mean square.
    pub rstd: f64,
    /// The error of rstd that the [tolerance](Tolerance::error_of_rstd) takes for exact.
    pub rstd_error: f64,
}

/// The parameters of the norm for every row, widened. Those of groups lie one after the other.
pub(super) struct Parameters {
    /// γ + γ₀, rounded to f32.
    pub gain: Option<Vec<f64>>,
    pub bias: Option<Vec<f64>>,
    pub linear_bias: Option<Vec<f64>>,
    /// γ + γ₀ of a first norm.
    pub inner_gain: Option<Vec<f64>>,
    /// |rate·scale|, rounded to f32.
    pub rate: Option<Vec<f64>>,
}

/// What a row, or a part of one, is computed from: exact values of the activation type.
pub(super) struct Inputs<'a> {
    pub x: &'a [f64],
    pub residual: Option<&'a [f64]>,
    pub gate: Option<&'a [f64]>,
    /// cos and sin of its position.
    pub angles: Option<(&'a [f64], &'a [f64])>,
    /// Where its parameters start.
    pub first: usize,
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

/// Computes a row.
pub(super) fn norm_row(norm: &Norm, dtype: DType, inputs: &Inputs<'_>, parameters: &Parameters) -> Row {
    let made = made(norm, dtype, inputs, parameters);
    let (wide, stored) = (&made.wide, &made.stored);
    let rounding = norm.residual_add().map(|add| add.rounding);
    let (statistic_input, output_input) = match rounding {
        None | Some(ResidualRounding::Wide) => (wide, wide),
        Some(ResidualRounding::Stored) => (stored, stored),
        Some(ResidualRounding::Split) => (wide, stored),
    };
    let mut statistic = statistic(norm, dtype, statistic_input);
    // v is off by as much as h is, and by as much as the length of all of h.
    statistic.rstd_error += made.error + made.error_of_rstd();
    let at = |vector: &Option<Vec<f64>>, column: usize| vector.as_ref().map(|vector| vector[inputs.first + column]);
    let y = output_input.iter().enumerate().map(|(column, &h)| {
        let (gain, bias) = (at(&parameters.gain, column), at(&parameters.bias, column));
        let (v, act) = match (norm.gate, inputs.gate) {
            (None, _) => (normalise(h, &statistic), 1.0),
            (Some(activation), Some(z)) => (normalise(h, &statistic), activate(activation, z[column] as f32)),
            (Some(activation), None) => (1.0, activate(activation, h as f32)),
        };
        let mut value = match (norm.post_add, inputs.residual) {
            (Some(add), Some(residual)) => {
                post_added(norm.weight_rounding, dtype, v, gain, (add, residual[column]), &statistic)
            }
            _ => output(norm.weight_rounding, dtype, v, gain, bias, &statistic),
        };
        if let Some(error) = made.errors.get(column) {
            value.statistic_error += error * statistic.rstd * gain.unwrap_or(1.0).abs();
        }
        if let Some(terms) = made.terms.get(column) {
            value.scale = value.scale.max(terms * statistic.rstd * gain.unwrap_or(1.0).abs());
        }
        if norm.gate.is_some() { gated(value, act, dtype) } else { value }
    });
    let mut y: Vec<Value> = y.collect();
    if let (Some(rope), Some((cos, sin))) = (norm.rope, inputs.angles) {
        rotate(rope, dtype, &mut y, cos, sin);
    }
    Row {
        y,
        mean: statistic.mean.0,
        mean_error: statistic.mean_error,
        rstd: statistic.rstd,
        rstd_error: statistic.rstd_error * statistic.rstd,
        residual: made.residual,
    }
}

/// h, and what is known of it.
#[derive(Default)]
struct Made {
    /// In f32.
    wide: Vec<f64>,
    /// R(h), where the norm adds a residual in front.
    stored: Vec<f64>,
    /// The residual stream that goes out.
    residual: Vec<Value>,
    /// Of f32 activations: the magnitude of the terms of h, which may be far larger than h. Empty where h is exact.
    terms: Vec<f64>,
    /// How far the kernels' h may be off, relative to it, and rstd with it.
    error: f64,
    /// And by how much more, element by element; empty where it is no more.
    errors: Vec<f64>,
}

impl Made {
    /// How far rstd may be off because of the terms of h and its errors, relative to it: as far as the length of h is, and that is by
    /// the length of its errors at most.
    fn error_of_rstd(&self) -> f64 {
        let length = |values: &[f64]| sum(values.iter().map(|value| value * value)).0.sqrt();
        let off = f64::from(f32::EPSILON) / 2.0 * length(&self.terms) + length(&self.errors);
        let relative = off / length(&self.wide);
        if relative.is_finite() { relative } else { 0.0 }
    }
}

fn made(norm: &Norm, dtype: DType, inputs: &Inputs<'_>, parameters: &Parameters) -> Made {
    let Inputs { x, gate, .. } = *inputs;
    match (norm.input, inputs.residual) {
        (Input::ResidualAdd(add), Some(residual)) => {
            let (wide, stored) = residual_add(add, dtype, x, residual, parameters.linear_bias.as_deref());
            let residual = stored.iter().map(|&h| Value { exact: h, scale: 0.0, statistic_error: 0.0 }).collect();
            Made { wide, stored, residual, ..Made::default() }
        }
        (Input::Gated(activation), _) => {
            let z = gate.unwrap_or(x);
            let of_z = || z.iter().map(|&z| activate(activation, z as f32));
            let wide = x.iter().zip(of_z()).map(|(x, of_z)| in_f32_range(x * of_z)).collect();
            // The kernels have this activation in f32 for 16-bit types, too.
            let lost = |x: f64, of_z: f64| Tolerance::error_of_gate(DType::F32, x.abs(), of_z.abs());
            let errors = x.iter().zip(of_z()).map(|(&x, of_z)| lost(x, of_z)).collect();
            Made { wide, error: Tolerance::error_of_gated_input(), errors, ..Made::default() }
        }
        (Input::PostNorm(add), Some(residual)) => post_norm(norm, add, dtype, x, residual, parameters),
        (Input::Interpolation(_), Some(residual)) => interpolation(norm, dtype, x, residual, parameters),
        _ => Made { wide: x.to_vec(), ..Made::default() },
    }
}

/// h = R((r + norm(x)·w₁)·scale); f32 h is not rounded.
fn post_norm(norm: &Norm, add: PostAdd, dtype: DType, x: &[f64], residual: &[f64], parameters: &Parameters) -> Made {
    let inner = statistic(norm, dtype, x);
    let value = |(column, &x): (usize, &f64)| {
        let gain = parameters.inner_gain.as_ref().map(|gain| gain[column]);
        let v = normalise(x, &inner);
        post_added(norm.weight_rounding, dtype, v, gain, (add, residual[column]), &inner)
    };
    let values: Vec<Value> = x.iter().enumerate().map(value).collect();
    if dtype == DType::F32 {
        let scale = f64::from(add.scale);
        let terms = values.iter().zip(residual).map(|(value, r)| value.scale + r.abs() * scale).collect();
        return Made {
            wide: values.iter().map(|value| value.exact).collect(),
            residual: values,
            terms,
            ..Made::default()
        };
    }
    let wide = values.iter().map(|value| round(dtype, value.exact)).collect();
    Made { wide, residual: values, ..Made::default() }
}

/// h = A + lr·(B − A), in f32 with a rounding for the difference and one for the rest; f32 h is not rounded, since
/// A and B are not.
fn interpolation(norm: &Norm, dtype: DType, x: &[f64], residual: &[f64], parameters: &Parameters) -> Made {
    let normed = |row: &[f64]| -> Vec<f64> {
        let inner = statistic(norm, dtype, row);
        row.iter()
            .map(|&h| normalise(h, &inner))
            .map(|v| if dtype == DType::F32 { v } else { round(dtype, v) })
            .collect()
    };
    let (from, to) = (normed(residual), normed(x));
    let rate = |column: usize| parameters.rate.as_ref().map_or(0.0, |rate| rate[column]);
    let each = from.iter().zip(&to).enumerate();
    if dtype == DType::F32 {
        let h = each.clone().map(|(column, (a, b))| in_f32_range(a + rate(column) * in_f32_range(b - a)));
        let terms = each.clone().map(|(column, (a, b))| a.abs() + rate(column) * (a.abs() + b.abs()));
        return Made { wide: h.collect(), terms: terms.collect(), ..Made::default() };
    }
    // Values of the element types are f32 values, so these casts are exact.
    let h = each.map(|(column, (&a, &b))| {
        let difference = b as f32 - a as f32;
        f64::from((rate(column) as f32).mul_add(difference, a as f32))
    });
    Made { wide: h.collect(), ..Made::default() }
}

/// h = (α·r + x) + b, in f32 with a rounding for each sum, and R(h), the stored residual stream.
fn residual_add(
    add: ResidualAdd,
    dtype: DType,
    x: &[f64],
    residual: &[f64],
    linear_bias: Option<&[f64]>,
) -> (Vec<f64>, Vec<f64>) {
    // Values of the element types are f32 values, so these casts are exact.
    let sum = |(column, &r): (usize, &f64)| {
        let sum = add.scale.mul_add(r as f32, x[column] as f32);
        f64::from(linear_bias.map_or(sum, |bias| sum + bias[column] as f32))
    };
    let wide: Vec<f64> = residual.iter().enumerate().map(sum).collect();
    let stored = wide.iter().map(|&h| round(dtype, h)).collect();
    (wide, stored)
}

fn statistic(norm: &Norm, dtype: DType, h: &[f64]) -> Statistic {
    match norm.family {
        Family::LayerNorm => layer_norm_statistic(h, norm.eps, dtype),
        Family::RmsNorm => rms_norm_statistic(h, norm.eps),
        // v = (h − 0)·1.
        Family::Identity => Statistic { mean: (0.0, 0.0), mean_error: 0.0, rstd: 1.0, rstd_error: 0.0 },
        Family::L2Norm => l2_norm_statistic(h, norm.eps),
    }
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

/// y = (r + v·gain)·scale, v rounded first where the op says so, and every step where the add does; the steps are
/// f32 operations then.
fn post_added(
    rounding: WeightRounding,
    dtype: DType,
    v: f64,
    gain: Option<f64>,
    (add, residual): (PostAdd, f64),
    statistic: &Statistic,
) -> Value {
    let product = output(rounding, dtype, v, gain, None, statistic);
    let scale = f64::from(add.scale);
    let exact = match add.rounding {
        PostRounding::Each if dtype != DType::F32 => {
            let sum = round(dtype, product.exact) as f32 + residual as f32;
            f64::from(if add.scale == 1.0 { sum } else { round(dtype, f64::from(sum)) as f32 * add.scale })
        }
        _ => in_f32_range(in_f32_range(product.exact + residual) * scale),
    };
    let error = product.statistic_error + Tolerance::error_of_product();
    Value { exact, scale: product.scale * scale, statistic_error: error * scale }
}

/// Rotates the first elements of a head. 16-bit y is rounded first, and what follows are f32 operations.
fn rotate(rope: Rope, dtype: DType, y: &mut [Value], cos: &[f64], sin: &[f64]) {
    let half = rope.dim / 2;
    for pair in 0..half {
        let (first, second) = match rope.pairs {
            RopePairs::HalfSplit => (pair, pair + half),
            RopePairs::Interleaved => (2 * pair, 2 * pair + 1),
        };
        let (cos, sin) = (cos[pair], sin[pair]);
        (y[first], y[second]) = (
            turned(rope, dtype, y[first], y[second], (cos, -sin)),
            turned(rope, dtype, y[second], y[first], (cos, sin)),
        );
    }
}

/// value·cos + partner·sin.
fn turned(rope: Rope, dtype: DType, value: Value, partner: Value, (cos, sin): (f64, f64)) -> Value {
    if dtype == DType::F32 {
        return Value {
            exact: value.exact * cos + partner.exact * sin,
            // y is as exact as the last bits of the term that its bias may have cancelled.
            scale: value.scale.max(value.exact.abs()) * cos.abs() + partner.scale.max(partner.exact.abs()) * sin.abs(),
            statistic_error: value.statistic_error * cos.abs() + partner.statistic_error * sin.abs(),
        };
    }
    let f32_of = |value: f64| round(dtype, value) as f32;
    let (value, partner) = (f32_of(value.exact), f32_of(partner.exact));
    let (cos, turned) = (cos as f32, partner * sin as f32);
    let exact = match rope.rounding {
        RopeRounding::Single => value.mul_add(cos, turned),
        RopeRounding::Each => f32_of(f64::from(value * cos)) + f32_of(f64::from(turned)),
    };
    Value { exact: f64::from(exact), scale: 0.0, statistic_error: 0.0 }
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
    let (v, v_error) = match rounding {
        WeightRounding::Single => (v, v_error),
        WeightRounding::BeforeWeight => {
            // Where the error spans a tie, v may be rounded to either side.
            let either = (round(dtype, v + v_error) - round(dtype, v - v_error)).abs();
            (round(dtype, v), v_error.max(if either.is_finite() { either } else { 0.0 }))
        }
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
