//! The one table of tolerances.

use crate::{DType, Input, Norm};

/// What a result may differ from the reference, by activation type.
///
/// 16-bit results are within one ULP of the correctly rounded exact value whatever cancels, and nearly
/// all of them are that value: the kernels decide near ties, and what a bias or the mean cancels, in
/// twice f32's digits.
///
/// Errors are counted in *units*. The unit of an element is the largest of
/// - one ULP of the activation type at the element;
/// - for f32, one ULP at |v·(weight + offset)|, the term that the bias may cancel;
/// - what the [error of the mean](Self::error_of_mean) amounts to in y, which twice f32's digits leave of
///   a value next to its row's mean, and what the [error of rstd](Self::error_of_rstd) does, and that
///   [of a gate's factors](Self::error_of_gate).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// The largest error of an element, in units. For 16-bit types it is the distance to the correctly
    /// rounded value, so that 1 stands for the neighbour of the right value; for f32 it is the distance
    /// to the exact value, of which correct rounding takes at most 0.5.
    pub max_ulp: f64,
    /// The share of elements that must be the correctly rounded exact value, or its neighbour where the
    /// error of the statistic spans the middle of the two.
    pub correctly_rounded: f64,
    /// The largest error of mean and rstd, in f32 ULPs.
    pub statistic_ulp: f64,
    /// The error of the mean that counts as none, relative to the largest magnitude of the row: where
    /// positive and negative values cancel, the mean is only as exact as the sum of its terms.
    pub mean_error: f64,
}

/// A unit in the last place of a value in [1, 2) of a type with 24 significand bits.
const F32_ULP: f64 = f32::EPSILON as f64;

/// Sums are carried in two floats, each addition exact to 2^-47.
const MEAN_ERROR: f64 = F32_ULP * F32_ULP;

/// The square root and the reciprocal of a sum that is exact to 2^-47, refined once.
const RSTD_ERROR: f64 = F32_ULP * F32_ULP;

impl Tolerance {
    /// Elements that may miss correct rounding however small the problem, since a share of few
    /// elements is no whole number of them.
    pub const MISROUNDED_AT_LEAST: usize = 2;

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

    /// The error of the mean that counts as none, for a row whose largest magnitude and size are given.
    ///
    /// Beside the relative error that is the underflow of the sum's terms. The kernels scale them by a
    /// power of two of about 1 / 2·hidden, at most 1 / 256, so that no sum of finite values overflows; a
    /// term then loses at most half the smallest f32, and the mean at most twice `hidden`, or 256, times
    /// the smallest f32: less than any f16 output can show, and than bf16 outputs do but in rows below
    /// 1e-33.
    pub fn error_of_mean(&self, largest: f64, hidden: usize) -> f64 {
        self.mean_error * largest + (2 * hidden).max(256) as f64 * f64::from(f32::from_bits(1))
    }

    /// The error of rstd that counts as none, relative to it, for a row whose variance (or mean square) and
    /// eps are given.
    ///
    /// Two floats are good to 2^-46 of it. That shows where v is all but a power of two, as the L2 norm has it
    /// for constant rows: products with weights then lie next to ties, or to what the bias cancels. Beside
    /// that, a square loses half the smallest f32 at most, and so does each step from their sum to the variance,
    /// which shows only where variance and eps are both below some 1e-30.
    pub fn error_of_rstd(variance: f64, eps: f64) -> f64 {
        RSTD_ERROR + 2.0 * f64::from(f32::from_bits(1)) / (variance + eps)
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

    /// The error of h, relative to it, that counts as none where h is x times the activation of a gate: three ULPs of
    /// that activation, which is computed in f32, half of one of the product, and rstd is as exact as they are. It is too
    /// much work to compute all of a row's activations in two floats for the statistic that all of them share.
    pub const fn error_of_gated_input() -> f64 {
        3.5 * F32_ULP
    }

    /// The error of a gated result, product·act(z), that counts as none: what each of the two factors, whose
    /// magnitudes are given, loses among f32's denormals before the other brings it back. Of the activation,
    /// 16-bit results show none of it.
    pub fn error_of_gate(dtype: DType, product: f64, activation: f64) -> f64 {
        let of_activation = if dtype == DType::F32 { product } else { 0.0 };
        4.0 * f64::from(f32::from_bits(1)) * (activation + of_activation)
    }

    /// The error of the product v·(weight + weight_offset) that counts as none where a residual is added to it: what
    /// its low part loses among f32's denormals. A residual that lies between two values of the activation type
    /// with a half step to go shows it.
    pub const fn error_of_product() -> f64 {
        2.0 * f32::from_bits(1) as f64
    }

    /// How many of `elements` may miss correct rounding.
    pub fn misrounded_allowed(&self, elements: usize) -> usize {
        let share = (1.0 - self.correctly_rounded) * elements as f64;
        (share as usize).max(Self::MISROUNDED_AT_LEAST)
    }
}
