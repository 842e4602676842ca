//! Sums that do not lose what cancels.

/// The sum of `values` as an f64 and the remainder that it lacks, after Neumaier, *Rundungsfehleranalyse
/// einiger Verfahren zur Summation endlicher Summen* (1974): the rounding error of every addition is
/// itself exact and is added up apart. The pair is good to about 2^-100 of Σ|value|.
///
/// Where a value is not finite the plain sum is returned, and no remainder.
pub(super) fn sum(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (mut total, mut remainder) = (0.0f64, 0.0f64);
    for value in values {
        let next = total + value;
        remainder += if total.abs() >= value.abs() { (total - next) + value } else { (value - next) + total };
        total = next;
    }
    if !total.is_finite() {
        return (total, 0.0);
    }
    let high = total + remainder;
    (high, (total - high) + remainder)
}

/// A sum divided by a count, again as a value and the remainder that it lacks.
pub(super) fn quotient((high, low): (f64, f64), count: f64) -> (f64, f64) {
    let value = high / count;
    if !value.is_finite() {
        return (value, 0.0);
    }
    // The fused product leaves exactly what the division dropped.
    (value, ((-value).mul_add(count, high) + low) / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cancels_is_kept() {
        // 1 + 1e100 + 1 − 1e100 is 2, and 0 in plain f64.
        assert_eq!(sum([1.0, 1e100, 1.0, -1e100].into_iter()), (2.0, 0.0));
        // 2^53 + 1 has no f64; the remainder has the 1.
        assert_eq!(sum([2f64.powi(53), 1.0].into_iter()), (2f64.powi(53), 1.0));
    }

    #[test]
    fn infinities_and_nan_stay() {
        assert_eq!(sum([1.0, f64::INFINITY, 1.0].into_iter()), (f64::INFINITY, 0.0));
        assert!(sum([f64::INFINITY, f64::NEG_INFINITY].into_iter()).0.is_nan());
        assert!(sum([1.0, f64::NAN].into_iter()).0.is_nan());
    }

    #[test]
    fn the_mean_of_equal_values_is_the_value() {
        for value in [0.1f32, 1e4, 3.4e38, -7.7e-39] {
            for count in [1usize, 3, 7, 1000, 4097] {
                let total = sum(std::iter::repeat_n(f64::from(value), count));
                let (mean, remainder) = quotient(total, count as f64);
                assert_eq!((f64::from(value) - mean) - remainder, 0.0, "{value} × {count}");
            }
        }
    }
}
