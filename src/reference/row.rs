//! One row, step by step, in f64.

use super::activation::activate;
use super::round::round;
use super::sum::{quotient, sum};
use crate::parity::Tolerance;
use crate::{
    Activation, DType, Family, Input, Norm, PostAdd, PostRounding, ResidualAdd, ResidualRounding, Rope, RopePairs,
    RopeRounding, WeightRounding,
};

/// One element of the result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value {
    /// y before its rounding to the activation type.
    pub exact: f64,
    /// |v·(weight + weight_offset)|, the term before the bias: y may be far smaller than this, and f32
    /// results are as exact as this term's last bits.
    pub scale: f64,
    /// How far y, computed in f32, may be from the exact one before its last rounding: by the errors that the
    /// tolerance allows [of the mean](Tolerance::error_of_mean), 0 for RMSNorm, [of rstd](Tolerance::error_of_rstd),
    /// [of the roundings](Tolerance::error_of_rounding) from there to y, [of an
    /// activation](Tolerance::error_of_activation) and [of a gate](Tolerance::error_of_gate).
    /// Where the op rounds to a 16-bit type on the way, a value whose error spans the middle of two may become either,
    /// and what y is off by then is among it.
    pub error: f64,
}

impl Value {
    /// A value that is exact to the bit.
    const fn exact(exact: f64) -> Self {
        Self { exact, scale: 0.0, error: 0.0 }
    }

    /// R(y).
    pub(crate) fn rounded(&self, dtype: DType) -> Rounded {
        Near { exact: self.exact, error: self.error }.rounded(dtype)
    }
}

/// A value that the kernels compute in f32, exactly, and how far theirs may be from it.
#[derive(Clone, Copy)]
struct Near {
    exact: f64,
    error: f64,
}

impl Near {
    const fn exact(exact: f64) -> Self {
        Self { exact, error: 0.0 }
    }

    fn rounded(self, dtype: DType) -> Rounded {
        let Self { exact, error } = self;
        let nearest = round(dtype, exact);
        let or_nearest = |value: f64| if value.is_finite() { round(dtype, value) } else { nearest };
        Rounded { nearest, least: or_nearest(exact - error), most: or_nearest(exact + error) }
    }
}

/// A value of the activation type, and the least and the largest that it may be instead, which differ from it where
/// the error before the rounding spans the middle of two.
#[derive(Clone, Copy)]
pub(crate) struct Rounded {
    pub(crate) nearest: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Rounded {
    /// What a function that only grows, or only falls, makes of it.
    fn map(self, function: impl Fn(f64) -> f64) -> Near {
        let exact = function(self.nearest);
        Near { exact, error: furthest(exact, [self.least, self.most].map(function)) }
    }

    /// What such a function, in each of two arguments, makes of two.
    fn map_with(self, other: Self, function: impl Fn(f64, f64) -> f64) -> Near {
        let exact = function(self.nearest, other.nearest);
        let of = |value: f64| [function(value, other.least), function(value, other.most)];
        let error = furthest(exact, of(self.least)).max(furthest(exact, of(self.most)));
        Near { exact, error }
    }
}

/// The distance of the furthest of finite values.
fn furthest<const N: usize>(from: f64, values: [f64; N]) -> f64 {
    let distances = values.into_iter().map(|value| (value - from).abs());
    distances.filter(|distance| distance.is_finite()).fold(0.0, f64::max)
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
    /// The error of rstd that the [tolerance](Tolerance::error_of_rstd) takes for exact: in all types that of f32, and a
    /// share of what [sums of 16-bit rows](Tolerance::error_of_squares) lose.
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
    rstd: f64,
    /// What y may show.
    errors: Errors,
    /// What counts as none where the two are results themselves.
    own_errors: Errors,
    /// Roundings on the way from h to v.
    roundings: f64,
}

/// Errors of a mean, and of an rstd relative to it.
#[derive(Clone, Copy, Default)]
struct Errors {
    mean: f64,
    rstd: f64,
}

impl Errors {
    fn and(self, other: Self) -> Self {
        Self { mean: self.mean + other.mean, rstd: self.rstd + other.rstd }
    }
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
    let of_h = made.errors_of_statistic(norm, &statistic);
    statistic.errors = statistic.errors.and(of_h);
    statistic.own_errors = statistic.own_errors.and(of_h);
    let at = |vector: &Option<Vec<f64>>, column: usize| vector.as_ref().map(|vector| vector[inputs.first + column]);
    let y = output_input.iter().enumerate().map(|(column, &h)| {
        let (gain, bias) = (at(&parameters.gain, column), at(&parameters.bias, column));
        let h_error = made.errors.get(column).copied().unwrap_or(0.0);
        let v = || normalise(dtype, h, h_error, &statistic);
        let (v, act) = match (norm.gate, inputs.gate) {
            (None, _) => (v(), Near::exact(1.0)),
            (Some(activation), Some(z)) => (v(), activated(activation, dtype, z[column])),
            (Some(activation), None) => (Near::exact(1.0), activated(activation, dtype, h)),
        };
        let mut value = match (norm.post_add, inputs.residual) {
            (Some(add), Some(residual)) => post_added(norm.weight_rounding, dtype, v, gain, (add, residual[column])),
            _ => output(norm.weight_rounding, dtype, v, gain, bias),
        };
        if let Some(terms) = made.terms.get(column) {
            value.scale = value.scale.max(terms * statistic.rstd * gain.unwrap_or(1.0).abs());
        }
        if norm.gate.is_some() { gated(value, act) } else { value }
    });
    let mut y: Vec<Value> = y.collect();
    if let (Some(rope), Some((cos, sin))) = (norm.rope, inputs.angles) {
        rotate(rope, dtype, &mut y, cos, sin);
    }
    Row {
        y,
        mean: statistic.mean.0,
        mean_error: statistic.own_errors.mean,
        rstd: statistic.rstd,
        rstd_error: statistic.own_errors.rstd * statistic.rstd,
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
    /// h with its errors.
    fn near(values: impl Iterator<Item = Near>) -> Self {
        let (wide, errors) = values.map(|value| (value.exact, value.error)).unzip();
        Self { wide, errors, ..Self::default() }
    }

    /// How far the statistic may be off because h is.
    ///
    /// Because of the rounding of its terms rstd is off as far as the length of h is, and that is by the length of what
    /// they are off by at most. Errors e move the mean by Σe / N, and Σd², the deviations' squares, by 2·Σ|d|e + Σe² at
    /// most: rstd, of it by half as much relative to Σd² and eps together.
    fn errors_of_statistic(&self, norm: &Norm, statistic: &Statistic) -> Errors {
        let length = |values: &[f64]| sum(values.iter().map(|value| value * value)).0.sqrt();
        let of_terms = f64::from(f32::EPSILON) / 2.0 * length(&self.terms) / length(&self.wide);
        let count = self.wide.len() as f64;
        let each = || self.wide.iter().map(|&h| deviation(h, statistic.mean).abs()).zip(&self.errors);
        let of_squares = sum(each().map(|(deviation, error)| error * (deviation + error / 2.0))).0;
        let summed = if norm.family == Family::L2Norm { 1.0 } else { count };
        let of_errors = of_squares / summed * statistic.rstd * statistic.rstd;
        let finite = |error: f64| if error.is_finite() { error } else { 0.0 };
        let rstd = self.error + finite(of_terms) + finite(of_errors);
        match norm.family {
            Family::LayerNorm => Errors { mean: finite(sum(self.errors.iter().copied()).0 / count), rstd },
            Family::RmsNorm | Family::L2Norm => Errors { mean: 0.0, rstd },
            // There is none, but for what h is off by itself.
            Family::Identity => Errors { mean: 0.0, rstd: self.error },
        }
    }
}

fn made(norm: &Norm, dtype: DType, inputs: &Inputs<'_>, parameters: &Parameters) -> Made {
    let Inputs { x, gate, .. } = *inputs;
    match (norm.input, inputs.residual) {
        (Input::ResidualAdd(add), Some(residual)) => {
            let (wide, stored) = residual_add(add, dtype, x, residual, parameters.linear_bias.as_deref());
            let residual = stored.iter().map(|&h| Value::exact(h)).collect();
            Made { wide, stored, residual, ..Made::default() }
        }
        (Input::Gated(activation), _) => {
            let z = gate.unwrap_or(x);
            let gated = x.iter().zip(z).map(|(&x, &z)| {
                let act = activated(activation, dtype, z);
                let exact = in_f32_range(x * act.exact);
                let lost = Tolerance::error_of_gate(x.abs(), act.exact.abs());
                let of_product = Tolerance::error_of_rounding(dtype, 1.0, exact.abs());
                Near { exact, error: x.abs() * act.error + of_product + lost }
            });
            let error = if dtype == DType::F32 { Tolerance::error_of_gated_input() } else { 0.0 };
            Made { error, ..Made::near(gated) }
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
        let v = normalise(dtype, x, 0.0, &inner);
        post_added(norm.weight_rounding, dtype, v, gain, (add, residual[column]))
    };
    let values: Vec<Value> = x.iter().enumerate().map(value).collect();
    if dtype == DType::F32 {
        let scale = f64::from(add.scale);
        let terms = values.iter().zip(residual).map(|(value, r)| value.scale + r.abs() * scale).collect();
        let near = values.iter().map(|value| Near { exact: value.exact, error: value.error });
        return Made { residual: values.clone(), terms, ..Made::near(near) };
    }
    let near = values.iter().map(|value| value.rounded(dtype).map(|h| h));
    Made { residual: values.clone(), ..Made::near(near) }
}

/// h = A + lr·(B − A), in f32 with a rounding for the difference and one for the rest; f32 h is not rounded, since
/// A and B are not.
fn interpolation(norm: &Norm, dtype: DType, x: &[f64], residual: &[f64], parameters: &Parameters) -> Made {
    let normed = |row: &[f64]| -> Vec<Near> {
        let inner = statistic(norm, dtype, row);
        row.iter().map(|&h| normalise(dtype, h, 0.0, &inner)).collect()
    };
    let (from, to) = (normed(residual), normed(x));
    let rate = |column: usize| parameters.rate.as_ref().map_or(0.0, |rate| rate[column]);
    let each = from.iter().zip(&to).enumerate().map(|(column, (&a, &b))| (rate(column), a, b));
    if dtype == DType::F32 {
        let h = each.clone().map(|(rate, a, b)| Near {
            exact: in_f32_range(a.exact + rate * in_f32_range(b.exact - a.exact)),
            error: a.error + rate * (a.error + b.error),
        });
        let terms = each.clone().map(|(rate, a, b)| a.exact.abs() + rate * (a.exact.abs() + b.exact.abs()));
        return Made { terms: terms.collect(), ..Made::near(h) };
    }
    Made::near(each.map(|(rate, a, b)| {
        // Values of the element types are f32 values, so these casts are exact.
        let h = |a: f64, b: f64| f64::from((rate as f32).mul_add(b as f32 - a as f32, a as f32));
        a.rounded(dtype).map_with(b.rounded(dtype), h)
    }))
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
        Family::RmsNorm => rms_norm_statistic(h, norm.eps, dtype),
        // v = (h − 0)·1.
        Family::Identity => Statistic {
            mean: (0.0, 0.0),
            rstd: 1.0,
            errors: Errors::default(),
            own_errors: Errors::default(),
            roundings: Tolerance::roundings_of_v(Family::Identity),
        },
        Family::L2Norm => l2_norm_statistic(h, norm.eps, dtype),
    }
}

impl Statistic {
    /// The errors are what a function finds for a type: what y may show for that of the activations, and where rstd
    /// is the result itself, for f32.
    fn new(family: Family, dtype: DType, mean: (f64, f64), rstd: f64, errors_of: impl Fn(DType) -> Errors) -> Self {
        let errors = errors_of(dtype);
        // Several units are allowed.
        let units = if dtype == DType::F32 { 1.0 } else { Tolerance::of(dtype).statistic_ulp };
        let rstd_error = errors_of(DType::F32).rstd + Tolerance::error_of_squares(dtype) / units;
        let own_errors = Errors { mean: errors.mean / units, rstd: rstd_error };
        Self { mean, rstd, errors, own_errors, roundings: Tolerance::roundings_of_v(family) }
    }
}

/// mean = Σh / N, variance = Σ(h − mean)² / N, rstd = 1/√(variance + eps).
fn layer_norm_statistic(h: &[f64], eps: f32, dtype: DType) -> Statistic {
    if h.iter().any(|h| !h.is_finite()) {
        return Statistic::new(Family::LayerNorm, dtype, (f64::NAN, 0.0), f64::NAN, |_| Errors {
            mean: f64::NAN,
            rstd: f64::NAN,
        });
    }
    let mean = quotient(sum(h.iter().copied()), h.len() as f64);
    let variance = mean_square(h.iter().map(|&h| square(deviation(h, mean))), h.len());
    let largest = h.iter().fold(0.0, |largest: f64, h| largest.max(h.abs()));
    // Whether f32 has room for the squares or not. No row deviates by more than its largest magnitude.
    let squares = sum(h.iter().map(|&h| deviation(h, mean).powi(2))).0;
    let deviation = (squares / h.len() as f64).sqrt().min(largest);
    Statistic::new(Family::LayerNorm, dtype, mean, rstd(variance, eps), |dtype| Errors {
        mean: Tolerance::error_of_mean(dtype, largest, deviation, h.len()),
        rstd: Tolerance::error_of_rstd(dtype, variance, f64::from(eps)),
    })
}

/// rstd = 1/√(Σh² / N + eps).
fn rms_norm_statistic(h: &[f64], eps: f32, dtype: DType) -> Statistic {
    of_squares(mean_square(h.iter().map(|&h| square(h)), h.len()), eps, dtype)
}

/// rstd = 1/√(Σh² + eps), 0 where Σh² is 0.
fn l2_norm_statistic(h: &[f64], eps: f32, dtype: DType) -> Statistic {
    match mean_square(h.iter().map(|&h| square(h)), 1) {
        0.0 => Statistic::new(Family::L2Norm, dtype, (0.0, 0.0), 0.0, |_| Errors::default()),
        squares => of_squares(squares, eps, dtype),
    }
}

fn of_squares(squares: f64, eps: f32, dtype: DType) -> Statistic {
    Statistic::new(Family::RmsNorm, dtype, (0.0, 0.0), rstd(squares, eps), |dtype| Errors {
        mean: 0.0,
        rstd: Tolerance::error_of_rstd(dtype, squares, f64::from(eps)),
    })
}

/// The sum of squares, divided by a count; infinite past the range of f32.
fn mean_square(squares: impl Iterator<Item = f64>, count: usize) -> f64 {
    in_f32_range(in_f32_range(sum(squares).0) / count as f64)
}

/// 1/√(mean square + eps): 0 where the mean square is past the range of f32, infinite where the root is of zero.
fn rstd(mean_square: f64, eps: f32) -> f64 {
    1.0 / (mean_square + f64::from(eps)).sqrt()
}

fn deviation(h: f64, (mean, remainder): (f64, f64)) -> f64 {
    in_f32_range((h - mean) - remainder)
}

fn square(value: f64) -> f64 {
    in_f32_range(value * value)
}

/// v = (h − mean)·rstd.
fn normalise(dtype: DType, h: f64, h_error: f64, statistic: &Statistic) -> Near {
    let Statistic { mean, rstd, errors, roundings, .. } = *statistic;
    let deviation = deviation(h, mean);
    let v = in_f32_range(deviation * rstd);
    let of_deviation = errors.mean + h_error;
    // Where rstd is 0, of the deviation there is its sign.
    let of_sign = if deviation.abs() < of_deviation { f64::from(f32::from_bits(1)) } else { 0.0 };
    let of_statistic = of_deviation * rstd + errors.rstd * v.abs() + of_sign;
    Near { exact: v, error: of_statistic + Tolerance::error_of_rounding(dtype, roundings, v.abs()) }
}

/// The activation of z.
fn activated(activation: Activation, dtype: DType, z: f64) -> Near {
    // Values of the element types are f32 values, so this cast is exact.
    let exact = activate(activation, z as f32);
    Near { exact, error: Tolerance::error_of_activation(dtype, activation, z, exact) }
}

/// The element times the activation of its gate.
fn gated(value: Value, act: Near) -> Value {
    let (product, activation) = (value.exact.abs(), act.exact.abs());
    Value {
        exact: in_f32_range(value.exact) * act.exact,
        scale: value.scale * activation,
        error: value.error * (activation + act.error)
            + product * act.error
            + Tolerance::error_of_gate(product, activation),
    }
}

/// y = (r + v·gain)·scale, v rounded first where the op says so, and every step where the add does; the steps are
/// f32 operations then.
fn post_added(
    rounding: WeightRounding,
    dtype: DType,
    v: Near,
    gain: Option<f64>,
    (add, residual): (PostAdd, f64),
) -> Value {
    let mut product = output(rounding, dtype, v, gain, None);
    product.error += Tolerance::error_of_product();
    let scale = f64::from(add.scale);
    let Near { exact, error } = match add.rounding {
        PostRounding::Each if dtype != DType::F32 => product.rounded(dtype).map(|product| {
            let sum = product as f32 + residual as f32;
            f64::from(if add.scale == 1.0 { sum } else { round(dtype, f64::from(sum)) as f32 * add.scale })
        }),
        _ => {
            let exact = in_f32_range(in_f32_range(product.exact + residual) * scale);
            let of_sum = product.error + Tolerance::error_of_rounding(dtype, 1.0, residual.abs());
            let of_scale = Tolerance::error_of_rounding(dtype, if scale == 1.0 { 0.0 } else { 1.0 }, exact.abs());
            Near { exact, error: of_sum * scale.abs() + of_scale }
        }
    };
    Value { exact, scale: product.scale * scale, error }
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
            error: value.error * cos.abs() + partner.error * sin.abs(),
        };
    }
    let rounded = |value: f32| round(dtype, f64::from(value)) as f32;
    let turn = |value: f64, partner: f64| {
        let (value, cos, turned) = (value as f32, cos as f32, partner as f32 * sin as f32);
        f64::from(match rope.rounding {
            RopeRounding::Single => value.mul_add(cos, turned),
            RopeRounding::Each => rounded(value * cos) + rounded(turned),
        })
    };
    let Near { exact, error } = value.rounded(dtype).map_with(partner.rounded(dtype), turn);
    Value { exact, scale: 0.0, error }
}

/// y = v·gain + bias, v rounded first where the op says so.
fn output(rounding: WeightRounding, dtype: DType, v: Near, gain: Option<f64>, bias: Option<f64>) -> Value {
    let y = |v: f64| match (gain, bias) {
        (None, None) => v,
        (Some(gain), None) => v * gain,
        (None, Some(bias)) => v + bias,
        (Some(gain), Some(bias)) => v.mul_add(gain, bias),
    };
    let v = match rounding {
        WeightRounding::BeforeWeight if dtype != DType::F32 => v.rounded(dtype).map(|v| v),
        _ => v,
    };
    let scale = v.exact.abs() * gain.unwrap_or(1.0).abs();
    let of_product =
        if gain.is_some() || bias.is_some() { Tolerance::error_of_rounding(dtype, 1.0, scale) } else { 0.0 };
    let of_bias = bias.map_or(0.0, |bias| Tolerance::error_of_rounding(dtype, 1.0, bias.abs()));
    Value { exact: y(v.exact), scale, error: v.error * gain.unwrap_or(1.0).abs() + of_product + of_bias }
}

/// A value as f32 arithmetic could hold it, precision aside: infinite past the largest f32, zero
/// below half the smallest. Within that range the value itself, unrounded.
fn in_f32_range(value: f64) -> f64 {
    let narrow = value as f32;
    if narrow.is_infinite() || narrow == 0.0 { f64::from(narrow) } else { value }
}
