//! Median and spread.

/// What many samples say together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The median.
    pub median: f64,
    /// The first quartile.
    pub q1: f64,
    /// The third quartile.
    pub q3: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many there are.
    pub samples: usize,
}

impl Summary {
    /// Of these samples; none where there are none.
    ///
    /// Quantiles are those of Hyndman and Fan, *Sample Quantiles in Statistical Packages* (1996), type 7, which
    /// NumPy and R have by default: linear between the samples at either side of `(n − 1)·p`.
    pub fn of(samples: &[f64]) -> Option<Summary> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let quantile = |p: f64| {
            let place = (sorted.len() - 1) as f64 * p;
            let below = place.floor() as usize;
            let above = (below + 1).min(sorted.len() - 1);
            sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
        };
        let (q1, median, q3) = (quantile(0.25), quantile(0.5), quantile(0.75));
        Some(Summary { median, q1, q3, min, max, samples: sorted.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.percentile([7, 15, 36, 39, 40, 41], [25, 50, 75])` is `[20.25, 37.5, 39.75]`.
    #[test]
    fn quantiles_are_numpys() {
        let summary = Summary::of(&[41.0, 7.0, 40.0, 15.0, 39.0, 36.0]).unwrap();
        assert_eq!((summary.q1, summary.median, summary.q3), (20.25, 37.5, 39.75));
        assert_eq!((summary.min, summary.max, summary.samples), (7.0, 41.0, 6));
    }

    #[test]
    fn one_sample_is_all_of_it() {
        let summary = Summary::of(&[3.0]).unwrap();
        assert_eq!([summary.q1, summary.median, summary.q3, summary.min, summary.max], [3.0; 5]);
        assert_eq!(Summary::of(&[]), None);
    }
}
