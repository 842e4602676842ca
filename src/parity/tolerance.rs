//! The one table of tolerances.

use crate::DType;

/// What a result may differ from the reference, by activation type.
///
/// Errors are counted in *units*. The unit of an element is the largest of
/// - one ULP of the activation type at the element;
/// - [`product_ulps`](Self::product_ulps) f32 ULPs of |v·(weight + offset)|, the term that the bias may
///   cancel: f32 arithmetic cannot be more exact than the last bits of its terms;
/// - what the [error of the mean](Self::error_of_mean) amounts to in y: a value next to its row's mean
///   cancels the same way.
///
/// For 16-bit types the second and third only matter where cancellation has made y thousands of times
/// smaller than its terms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// The largest error of an element, in units. For 16-bit types the error is the distance to the
    /// correctly rounded value, so that 1 stands for the neighbour of the right value; for f32 it is
    /// the distance to the exact value, of which correct rounding takes at most 0.5.
    pub max_ulp: f64,
    /// The share of elements that must be the correctly rounded exact value, or the other neighbour of
    /// a value so close to the middle of two that f32 cannot tell ([`Verdict::undecided`]). Of random
    /// values one in tens of thousands is; but bf16 has few values, so that one h near a middle comes
    /// hundreds of times in a row, and in constant rows a 16-bit weight and bias add up to middles.
    ///
    /// [`Verdict::undecided`]: super::Verdict::undecided
    pub correctly_rounded: f64,
    /// f32 ULPs of the product with the weight that make up a unit.
    pub product_ulps: f64,
    /// The largest error of mean and rstd, in f32 ULPs.
    pub statistic_ulp: f64,
    /// The error of the mean that counts as none, relative to the root mean square of the row: where
    /// positive and negative values cancel, the mean is only as exact as the sum of its terms.
    pub mean_error: f64,
}

/// A unit in the last place of a value in [1, 2) of a type with 24 significand bits.
const F32_ULP: f64 = f32::EPSILON as f64;

impl Tolerance {
    /// Elements that may miss correct rounding however small the problem, since a share of few
    /// elements is no whole number of them.
    pub const MISROUNDED_AT_LEAST: usize = 2;

    /// The relative error of f32 arithmetic in v, for deciding which inner roundings are in doubt: 8
    /// f32 ULPs.
    pub const INNER_ROUNDING_DOUBT: f64 = 8.0 * F32_ULP;

    /// The tolerance of an activation type.
    pub const fn of(dtype: DType) -> Tolerance {
        match dtype {
            DType::F32 => Tolerance {
                max_ulp: 4.0,
                correctly_rounded: 0.0,
                product_ulps: 1.0,
                statistic_ulp: 4.0,
                // Sums are carried in two floats, each addition exact to 2^-48.
                mean_error: F32_ULP * F32_ULP,
            },
            DType::F16 | DType::BF16 => Tolerance {
                max_ulp: 1.0,
                correctly_rounded: 0.995,
                product_ulps: 4.0,
                statistic_ulp: 4.0,
                // Sixteen values are added in plain f32, the sums of sixteen in two floats.
                mean_error: F32_ULP / 2.0,
            },
        }
    }

    /// The error of the mean that counts as none, for a row of this root mean square and size.
    ///
    /// Beside the relative error that is the underflow of the sum's terms. The kernels scale them by a
    /// power of two of about 1 / hidden, so that no sum of finite values overflows; a term then loses at
    /// most half the smallest f32, and the mean at most `hidden` times the smallest f32.
    pub fn error_of_mean(&self, root_mean_square: f64, hidden: usize) -> f64 {
        self.mean_error * root_mean_square + hidden as f64 * f64::from(f32::from_bits(1))
    }

    /// How many of `elements` may miss correct rounding.
    pub fn misrounded_allowed(&self, elements: usize) -> usize {
        let share = (1.0 - self.correctly_rounded) * elements as f64;
        (share as usize).max(Self::MISROUNDED_AT_LEAST)
    }
}
