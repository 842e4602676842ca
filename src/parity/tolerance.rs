//! The one table of tolerances.

use crate::{Activation, DType, Family, Input, Norm};

/// What a result may differ from the reference, by activation type.
///
/// The kernels compute in f32, every operation as IEEE 754 has it (but for the
/// [activations](Tolerance::error_of_activation) of 16-bit gates), and round to the activation type at the end and where
/// the op says so. A 16-bit result is therefore within one ULP of the correctly rounded exact value, but where
/// a bias or a residual cancels it, and it is that value unless the exact one lies within a few f32 ULPs of the
/// middle of two: `tests/emulated/accuracy.rs` finds fewer than one such element in 1000 of f16, and than two in
/// 10 000 of bf16.
///
/// Errors are counted in *units*. The unit of an element is the largest of
/// - one ULP of the activation type at the element;
/// - for f32, one ULP at |v·(weight + offset)|, the term that the bias may cancel;
/// - the [error of computing y in f32](crate::reference::Value::error), which the functions here add up to: for f32
///   what the units above do not cover, and for 16 bits all of it, rounded: how far the rounding of a value that is so
///   far off may be from the correctly rounded one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// The largest error of an element, in units. For 16-bit types it is the distance to the correctly
    /// rounded value, so that 1 stands for the neighbour of the right value; for f32 it is the distance
    /// to the exact value, of which correct rounding takes at most 0.5.
    pub max_ulp: f64,
    /// The share of elements that must be the correctly rounded exact value, or else what a value within the error
    /// of computing y in f32 is rounded to.
    pub correctly_rounded: f64,
    /// The largest error of mean and rstd, in f32 ULPs.
    pub statistic_ulp: f64,
    /// The error of the mean that counts as none, relative to the largest magnitude of the row: where
    /// positive and negative values cancel, the mean is only as exact as the sum of its terms.
    pub mean_error: f64,
}

/// A unit in the last place of a value in [1, 2) of a type with 24 significand bits.
const F32_ULP: f64 = f32::EPSILON as f64;

/// The smallest positive f32.
const SMALLEST: f64 = f32::from_bits(1) as f64;

/// The mean is carried in two floats, and merged exactly to 2^-47.
const MEAN_ERROR: f64 = F32_ULP * F32_ULP;

impl Tolerance {
    /// Elements that may miss correct rounding however small the problem, since a share of few
    /// elements is no whole number of them.
    pub const MISROUNDED_AT_LEAST: usize = 2;

    /// Roundings to f32 that make v of h and the statistic: that of the product with rstd, from which one operation
    /// takes the rest of the mean off, and of LayerNorm that of h − mean.
    pub const fn roundings_of_v(family: Family) -> f64 {
        match family {
            Family::LayerNorm => 2.0,
            Family::RmsNorm | Family::L2Norm => 1.0,
            Family::Identity => 0.0,
        }
    }

    /// The tolerance of an activation type.
    pub const fn of(dtype: DType) -> Tolerance {
        match dtype {
            DType::F32 => {
                Tolerance { max_ulp: 4.0, correctly_rounded: 0.0, statistic_ulp: 4.0, mean_error: MEAN_ERROR }
            }
            DType::F16 | DType::BF16 => {
                Tolerance { max_ulp: 1.0, correctly_rounded: 0.9999, statistic_ulp: 4.0, mean_error: MEAN_ERROR }
            }
        }
    }

    /// The error of the mean that results of a type may show, for a row whose largest magnitude, standard deviation
    /// and size are given. Where the mean of 16-bit values is the result itself, of which several units are allowed, it is
    /// what they come to.
    ///
    /// The mean is carried in two floats, but 16-bit values, or where their mean is far from 0 their deviations from it, are
    /// summed in f32: two f32 ULPs of the row's deviation.
    ///
    /// Beside those and the [relative error](Self::mean_error) there is the underflow of the sum's terms. The kernels
    /// scale them by a power of two of about 1 / 2·hidden, at most 1 / 256, so that no sum of finite values overflows;
    /// a term then loses at most half the smallest f32, and the mean at most twice `hidden`, or 256, times
    /// the smallest f32: less than any f16 output can show, and than bf16 outputs do but in rows below
    /// 1e-33.
    pub fn error_of_mean(dtype: DType, largest: f64, deviation: f64, hidden: usize) -> f64 {
        let ulps = match dtype {
            DType::F32 => 0.0,
            DType::F16 | DType::BF16 => 2.0,
        };
        let underflow = (2 * hidden).max(256) as f64 * SMALLEST;
        Self::of(dtype).mean_error * largest + ulps * F32_ULP * deviation + underflow
    }

    /// The error of rstd that results of a type may show, relative to it, for a row whose variance (or mean square)
    /// and eps are given. Where rstd itself is the result, the error that counts as none is that of f32, but for what
    /// [sums of 16-bit rows](Self::error_of_squares) lose.
    ///
    /// Sum of squares, root and reciprocal are computed in f32: two f32 ULPs in 16 bits. Of f32 results that is among
    /// the units they are allowed. Beside that, a square loses half the smallest f32 at most, and so does each step
    /// from their sum to the variance, which shows only where variance and eps are both below some 1e-30.
    pub fn error_of_rstd(dtype: DType, variance: f64, eps: f64) -> f64 {
        let relative = match dtype {
            DType::F32 => F32_ULP * F32_ULP,
            DType::F16 | DType::BF16 => 2.0 * F32_ULP,
        };
        relative + 2.0 * SMALLEST / (variance + eps)
    }

    /// How far rstd of a row of a type may be off where it is the result itself, relative to it.
    ///
    /// A value far from all others rounds every sum of f32 that it is in to that sum's last place: some twenty sums, each
    /// by half an ULP, of whose relative error rstd has half. Were all of one sign, it would be five ULPs; three are allowed.
    /// Of f32 rows sums are carried in two floats.
    pub const fn error_of_squares(dtype: DType) -> f64 {
        match dtype {
            DType::F32 => 0.0,
            DType::F16 | DType::BF16 => 3.0 * F32_ULP,
        }
    }

    /// The error that results of a type may show of a value of the given magnitude that is rounded to f32 so often on
    /// its way to y: half an ULP each time, or half the smallest f32. Of f32 results that is among the units they are
    /// allowed, and none here.
    ///
    /// v has [its own](Self::roundings_of_v), the product with the weight one, which is that of the sum where something
    /// is added, and what is added has one.
    pub fn error_of_rounding(dtype: DType, times: f64, magnitude: f64) -> f64 {
        match dtype {
            DType::F32 => 0.0,
            DType::F16 | DType::BF16 => times / 2.0 * (F32_ULP * magnitude + SMALLEST),
        }
    }

    /// The tolerance of an op. f32 results of a gated one may be 6 units off: the activation is computed in f32,
    /// to 3 ULP of its own. So may those of two norms one after the other, since the first is rounded to f32, and
    /// those of a rotation. 16-bit results are no further off than without.
    pub const fn of_norm(norm: &Norm, dtype: DType) -> Tolerance {
        let tolerance = Self::of(dtype);
        let steps = norm.takes_gate()
            || norm.rope.is_some()
            || matches!(norm.input, Input::PostNorm(_) | Input::Interpolation(_));
        match dtype {
            DType::F32 if steps => Tolerance { max_ulp: 6.0, ..tolerance },
            _ => tolerance,
        }
    }

    /// The error of h, relative to it, that counts as none where f32 h is x times the activation of a gate: three ULPs
    /// of that activation, half of one of the product, and rstd is as exact as they are.
    pub const fn error_of_gated_input() -> f64 {
        3.5 * F32_ULP
    }

    /// How far the activation of z, whose value is given, may be off. Of f32 results that is among the units they are
    /// allowed, and none here.
    ///
    /// For 16 bits, σ, Φ and the tanh of GELU are computed with approximate instructions for powers of two and for
    /// reciprocals, off by 2 and 1 ULP of f32 (PTX ISA, `ex2.approx` and `rcp.approx`). A power has a relative error as
    /// large as the absolute one of its exponent, which is ln σ in the tail. And both σ, times z, and the product lose
    /// half the smallest f32.
    pub fn error_of_activation(dtype: DType, activation: Activation, z: f64, value: f64) -> f64 {
        // The argument of Φ's polynomial is a reciprocal, too.
        let least = if activation == Activation::GeluExact { 10.0 } else { 6.0 };
        let (factor, value) = match activation {
            Activation::LeakyRelu { .. } => return Self::error_of_rounding(dtype, 1.0, value.abs()),
            _ if !activation.is_approximate(dtype) => return 0.0,
            Activation::Sigmoid => (1.0, value),
            _ => (z.abs(), value.abs()),
        };
        let exponent = -(value / factor).ln();
        let ulps = if exponent.is_finite() { least + 2.0 * exponent } else { 0.0 };
        ulps * F32_ULP * value + SMALLEST * (factor + 1.0)
    }

    /// The error that a gate adds to a gated result, product·act(z): what each of the two factors, whose
    /// magnitudes are given, loses among f32's denormals before the other brings it back.
    pub const fn error_of_gate(product: f64, activation: f64) -> f64 {
        4.0 * SMALLEST * (activation + product)
    }

    /// The error of the sum of a residual and the product v·(weight + weight_offset) that counts as none before it is
    /// scaled: what the two lose among f32's denormals.
    pub const fn error_of_product() -> f64 {
        2.0 * SMALLEST
    }

    /// How many of `elements` may miss correct rounding where their [error](crate::reference::Value::error) does not
    /// account for it.
    pub fn misrounded_allowed(&self, elements: usize) -> usize {
        let share = (1.0 - self.correctly_rounded) * elements as f64;
        (share as usize).max(Self::MISROUNDED_AT_LEAST)
    }
}
