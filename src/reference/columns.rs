//! The statistics of columns in f64, and how far off f32 results may be.
//!
//! With N rows, and all in f64:
//!
//! ```text
//! mean  = Σx / N                               Ioffe and Szegedy, Batch Normalization (2015)
//! rstd  = 1/√(Σ(x − mean)² / N + eps)
//! scale = γ·rstd
//! shift = β − mean·γ·rstd
//! ```
//!
//! The kernel carries mean and squared deviations through the rows by Welford's recurrence, the mean in two floats,
//! and merges what threads find by Chan's formula; [`Column`] says what that may cost. Infinities and NaN are as
//! [`BatchStatistics`] has them.

use super::round::{decode, ulp};
use super::sum::{quotient, sum};
use crate::host::{BatchProblem, HostError, Vector};
use crate::parity::Tolerance;
use crate::{BatchStatistics, CallError, DType, Error, Role};

/// The largest error of a result, in f32 ULPs, cancellation aside.
pub const MAX_ULP: f64 = 4.0;

/// The error of the mean that cancellation brings out, relative to the largest magnitude of the column: the mean is
/// carried in two floats, each rounding is one of 2^-48 of it at most, and those of many rows average out.
pub const MEAN_ERROR: f64 = 1.0 / (1u64 << 46) as f64;

/// The statistics of one column, and the errors that count as none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Column {
    /// The mean.
    pub mean: f64,
    /// The reciprocal standard deviation.
    pub rstd: f64,
    /// γ·rstd.
    pub scale: f64,
    /// β − mean·γ·rstd.
    pub shift: f64,
    /// The largest error of the mean: [`MAX_ULP`] at the largest magnitude of the column, since positive and
    /// negative values may cancel.
    pub mean_error: f64,
    /// The largest error of rstd. Beside [`MAX_ULP`] of it, what cancels: squares are of differences x − mean, and
    /// an error δ of the mean, [`MEAN_ERROR`] of the largest magnitude, is one of up to 2δσ in the variance σ², and
    /// of δ·rstd of rstd itself: δ·rstd². It shows where the mean is some 2^23 deviations from zero. And squares
    /// that underflow: see [`Tolerance::error_of_rstd`].
    pub rstd_error: f64,
    /// The largest error of scale: that of rstd times |γ|, and half an ULP.
    pub scale_error: f64,
    /// The largest error of shift: those of mean and scale as they come through the product, and half an ULP at
    /// |mean·scale|, which β may cancel, and of shift itself.
    pub shift_error: f64,
    /// Whether NaN is as right as the results: values spread over more than a quarter of f32's range.
    pub may_be_nan: bool,
}

/// A result of a column, and its largest error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// Which it is.
    pub role: Role,
    /// The exact value.
    pub exact: f64,
    /// The largest error.
    pub error: f64,
    /// See [`Column::may_be_nan`].
    pub may_be_nan: bool,
}

impl Bound {
    /// The error of what a device gave as a share of what it may be, so that at most 1 is right; infinite where one
    /// of the two is NaN or infinite and the other is not.
    pub fn share_of_error(&self, got: f32) -> f64 {
        let (got, exact) = (f64::from(got), in_f32_range(self.exact));
        if got == exact || got.is_nan() && (exact.is_nan() || self.may_be_nan) {
            return 0.0;
        }
        if got.is_finite() && exact.is_finite() { (got - exact).abs() / self.error } else { f64::INFINITY }
    }
}

/// [`batch_statistics`] of a problem.
///
/// # Errors
/// The problem is invalid.
pub fn of_problem(problem: &BatchProblem<'_>) -> Result<Vec<Column>, Error> {
    problem.validate()?;
    let BatchProblem { statistics, dtype, rows, hidden, x, weight, bias } = *problem;
    batch_statistics(&statistics, (dtype, rows, hidden), x, weight, bias)
}

/// Computes the statistics of contiguous rows on the host, column by column.
///
/// # Errors
/// [`Error::Host`] where the bytes do not fit the shape, [`Error::Call`] where no device could be asked for this.
pub fn batch_statistics(
    statistics: &BatchStatistics,
    (dtype, rows, hidden): (DType, usize, usize),
    x: &[u8],
    weight: Option<Vector<'_>>,
    bias: Option<Vector<'_>>,
) -> Result<Vec<Column>, Error> {
    statistics.validate().map_err(CallError::from)?;
    if rows == 0 {
        return Err(CallError::NoRows.into());
    }
    check(Role::X, x, dtype, rows.checked_mul(hidden))?;
    let parameter = |role, vector: Option<Vector<'_>>| -> Result<Option<Vec<f64>>, Error> {
        let Some(Vector { dtype, bytes }) = vector else { return Ok(None) };
        check(role, bytes, dtype, Some(hidden))?;
        Ok(Some(decode(dtype, bytes)))
    };
    let (weight, bias) = (parameter(Role::Weight, weight)?, parameter(Role::Bias, bias)?);
    let x = decode(dtype, x);
    let column = |column: usize| {
        let values = x.iter().skip(column).step_by(hidden).copied();
        let weight = weight.as_ref().map_or(1.0, |weight| weight[column]);
        let bias = bias.as_ref().map_or(0.0, |bias| bias[column]);
        Column::of(values, rows as f64, f64::from(statistics.eps), weight, bias)
    };
    Ok((0..hidden).map(column).collect())
}

fn check(role: Role, bytes: &[u8], dtype: DType, elements: Option<usize>) -> Result<(), Error> {
    let wanted = elements.and_then(|elements| elements.checked_mul(dtype.size()));
    let wanted = wanted.ok_or(CallError::TooLarge { rows: 1, stride: usize::MAX })?;
    if bytes.len() == wanted { Ok(()) } else { Err(HostError::Bytes { role, given: bytes.len(), wanted }.into()) }
}

impl Column {
    /// The results, each with its error.
    pub const fn bounds(&self) -> [Bound; 4] {
        let may_be_nan = self.may_be_nan;
        [
            Bound { role: Role::Mean, exact: self.mean, error: self.mean_error, may_be_nan },
            Bound { role: Role::Rstd, exact: self.rstd, error: self.rstd_error, may_be_nan },
            Bound { role: Role::Scale, exact: self.scale, error: self.scale_error, may_be_nan },
            Bound { role: Role::Shift, exact: self.shift, error: self.shift_error, may_be_nan },
        ]
    }

    fn of(values: impl Iterator<Item = f64> + Clone, rows: f64, eps: f64, weight: f64, bias: f64) -> Self {
        if values.clone().any(|value| !value.is_finite()) {
            let (mean, rstd, scale, shift) = (f64::NAN, f64::NAN, f64::NAN, f64::NAN);
            let (mean_error, rstd_error, scale_error, shift_error) = (0.0, 0.0, 0.0, 0.0);
            let may_be_nan = true;
            return Self { mean, rstd, scale, shift, mean_error, rstd_error, scale_error, shift_error, may_be_nan };
        }
        let (mean, rest) = quotient(sum(values.clone()), rows);
        let squares = values.clone().map(|value| (value - mean) - rest).map(|deviation| deviation * deviation);
        let squares = in_f32_range(sum(squares).0);
        let variance = squares / rows;
        let rstd = 1.0 / (variance + eps).sqrt();
        let scale = in_f32_range(weight * rstd);
        let shift = bias - mean * scale;

        let at = |value: f64| ulp(DType::F32, value);
        let (least, most) = values
            .clone()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (value.min(least), value.max(most)));
        let may_be_nan = most - least > f64::from(f32::MAX) / 4.0;
        let largest = values.fold(0.0, |largest: f64, value| largest.max(value.abs()));
        let mean_error = MAX_ULP * at(largest);
        let of_squares = MEAN_ERROR * largest * rstd + Tolerance::error_of_rstd(DType::F32, variance, eps);
        let rstd_error = MAX_ULP * at(rstd) + of_squares * rstd;
        let scale_error = rstd_error * weight.abs() + at(scale) / 2.0;
        let product = (mean * scale).abs();
        let of_product = mean_error * scale.abs() + scale_error * mean.abs() + at(product) / 2.0;
        let shift_error = of_product + at(shift) / 2.0;
        Self { mean, rstd, scale, shift, mean_error, rstd_error, scale_error, shift_error, may_be_nan }
    }
}

/// Infinite past the largest f32.
fn in_f32_range(value: f64) -> f64 {
    if (value as f32).is_infinite() { f64::INFINITY.copysign(value) } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f32], eps: f32) -> Column {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
        let shape = (DType::F32, values.len(), 1);
        batch_statistics(&BatchStatistics::new(eps), shape, &bytes, None, None).expect("a valid problem")[0]
    }

    #[test]
    fn one_to_five() {
        // Mean 3, biased variance (4 + 1 + 0 + 1 + 4) / 5 = 2.
        let column = of(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.25);
        assert_eq!((column.mean, column.rstd), (3.0, 1.0 / 1.5));
        assert_eq!((column.scale, column.shift), (1.0 / 1.5, -2.0));
    }

    #[test]
    fn columns_are_apart_and_folded() {
        // Columns (1, 3) and (10, 10): mean 2 and 10, variance 1 and 0.
        let x: Vec<u8> = [1.0f32, 10.0, 3.0, 10.0].iter().flat_map(|value| value.to_ne_bytes()).collect();
        let pair = |values: [f32; 2]| values.iter().flat_map(|value| value.to_ne_bytes()).collect::<Vec<u8>>();
        let (weight, bias) = (pair([2.0, 0.5]), pair([1.0, -1.0]));
        let vector = |bytes| Some(Vector { dtype: DType::F32, bytes });
        let statistics = BatchStatistics::new(3.0);
        let columns =
            batch_statistics(&statistics, (DType::F32, 2, 2), &x, vector(&weight), vector(&bias)).expect("valid");
        assert_eq!((columns[0].mean, columns[0].rstd, columns[0].scale, columns[0].shift), (2.0, 0.5, 1.0, -1.0));
        let rstd = 1.0 / 3f64.sqrt();
        assert_eq!((columns[1].mean, columns[1].rstd, columns[1].scale), (10.0, rstd, rstd / 2.0));
        assert_eq!(columns[1].shift, -1.0 - 5.0 * rstd);
    }

    #[test]
    fn what_no_device_takes_is_refused() {
        let refused = batch_statistics(&BatchStatistics::new(1e-5), (DType::F32, 0, 4), &[], None, None);
        assert!(matches!(refused, Err(Error::Call(CallError::NoRows))), "{refused:?}");
        let refused = batch_statistics(&BatchStatistics::new(1e-5), (DType::F32, 1, 4), &[0; 15], None, None);
        assert!(matches!(refused, Err(Error::Host(HostError::Bytes { given: 15, wanted: 16, .. }))), "{refused:?}");
        let refused = batch_statistics(&BatchStatistics::new(-1.0), (DType::F32, 1, 1), &[0; 4], None, None);
        assert!(matches!(refused, Err(Error::Call(CallError::Norm(_)))), "{refused:?}");
    }
}
