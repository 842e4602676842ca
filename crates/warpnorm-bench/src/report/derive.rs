//! From times to what they mean.

use super::{Baseline, Buffers, Cell, Copy, Time};
use crate::measure::Times;

/// The [tool](super::Report::tool) that measures warpnorm beside cuBLAS.
pub const TOOL: &str = "warpnorm bench";
/// That of other libraries.
pub const PEERS_TOOL: &str = "benches/peers";

impl From<Times> for Time {
    fn from(Times { seconds, launches }: Times) -> Self {
        let us = |seconds: f64| seconds * 1e6;
        Self {
            median_us: us(seconds.median),
            q1_us: us(seconds.q1),
            q3_us: us(seconds.q3),
            min_us: us(seconds.min),
            max_us: us(seconds.max),
            samples: seconds.samples as u64,
            launches: launches.into(),
        }
    }
}

impl Time {
    /// The distance of the quartiles over the median.
    pub fn spread(&self) -> f64 {
        (self.q3_us - self.q1_us) / self.median_us
    }

    /// The bandwidth of so many bytes, in 10⁹ a second.
    pub fn gb_per_s(&self, bytes: u64) -> f64 {
        bytes as f64 / self.median_us / 1e3
    }
}

impl Copy {
    /// A copy of `bytes / 2` bytes, which reads as many as it writes.
    pub fn new(bytes: u64, time: Time) -> Self {
        Self { bytes, time, gb_per_s: time.gb_per_s(bytes) }
    }
}

impl Buffers {
    /// So many sets of so many bytes each. A sample begins at the first, so that of the sets it takes as many as it has
    /// launches.
    pub fn taken(sets: u64, set_bytes: u64, launches: u64, l2_bytes: u64) -> Self {
        let taken = set_bytes.saturating_mul(sets.min(launches));
        Self { sets, bytes: set_bytes.saturating_mul(sets), larger_than_l2: taken > l2_bytes }
    }
}

impl Baseline {
    /// One that is not there.
    pub fn missing(name: &str, reason: String) -> Self {
        Self { name: name.to_owned(), time: None, speed_up: None, relative_l2: None, missing: Some(reason) }
    }

    /// One that took so long; the [cell](Cell::derive) knows the speed-up.
    pub fn timed(name: &str, time: Time, relative_l2: Option<f64>) -> Self {
        Self { name: name.to_owned(), time: Some(time), speed_up: None, relative_l2, missing: None }
    }
}

impl Cell {
    /// Works out all that follows from times and bytes.
    #[must_use]
    pub fn derive(mut self, copy: Option<&Copy>) -> Self {
        self.gb_per_s = self.time.zip(self.floor_bytes).map(|(time, bytes)| time.gb_per_s(bytes));
        self.copy_share = self.gb_per_s.zip(copy).map(|(here, copy)| here / copy.gb_per_s);
        for baseline in &mut self.baselines {
            baseline.speed_up = self.time.zip(baseline.time).map(|(ours, theirs)| theirs.median_us / ours.median_us);
        }
        self
    }

    /// The baseline of this name.
    pub fn baseline(&self, name: &str) -> Option<&Baseline> {
        self.baselines.iter().find(|baseline| baseline.name == name)
    }

    /// Rows, the parts of a row where there are several, and hidden size.
    pub fn shape(&self) -> String {
        let Self { rows, parts, hidden, .. } = self;
        if *parts == 1 { format!("{rows}x{hidden}") } else { format!("{rows}x{parts}x{hidden}") }
    }

    /// The op with its options.
    pub fn title(&self) -> String {
        if self.options.is_empty() { self.op.clone() } else { format!("{} ({})", self.op, self.options) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Summary;
    use crate::report::tests::cell;

    fn time(us: f64) -> Time {
        let summary = Summary::of(&[us * 1e-6]).unwrap();
        Times { seconds: summary, launches: 8 }.into()
    }

    /// 8 MB in 4 µs are 2000 GB/s; a copy of 1 GB in 250 µs runs at 4000, a half.
    #[test]
    fn bandwidth_share_and_speed_up_follow_from_known_times() {
        let copy = Copy::new(1_000_000_000, time(250.0));
        assert!((copy.gb_per_s - 4000.0).abs() < 1e-9, "{}", copy.gb_per_s);
        let mut cell = cell("rms-norm", 8, 64);
        cell.floor_bytes = Some(8_000_000);
        cell.time = Some(time(4.0));
        cell.baselines = vec![
            Baseline::timed("slow", time(10.0), Some(1e-3)),
            Baseline::timed("copy", time(3.0), None),
            Baseline::missing("none", "not there".to_owned()),
        ];
        let cell = cell.derive(Some(&copy));
        let near = |got: Option<f64>, wanted: f64| assert!((got.unwrap() / wanted - 1.0).abs() < 1e-12, "{got:?}");
        near(cell.gb_per_s, 2000.0);
        near(cell.copy_share, 0.5);
        near(cell.baselines[0].speed_up, 2.5);
        near(cell.baselines[1].speed_up, 0.75);
        assert_eq!(cell.baselines[2].speed_up, None);
        assert_eq!(cell.clone().derive(None).copy_share, None);
    }

    #[test]
    fn what_no_launch_takes_does_not_leave_the_cache() {
        let wanted = |larger_than_l2| Buffers { sets: 10, bytes: 1000, larger_than_l2 };
        assert_eq!(Buffers::taken(10, 100, 20, 999), wanted(true));
        assert_eq!(Buffers::taken(10, 100, 20, 1000), wanted(false));
        assert_eq!(Buffers::taken(10, 100, 10, 999), wanted(true));
        assert_eq!(Buffers::taken(10, 100, 9, 900), wanted(false));
    }

    #[test]
    fn spread_is_that_of_the_middle_half() {
        let seconds = Summary::of(&[1e-6, 2e-6, 3e-6, 4e-6, 50e-6]).unwrap();
        let time = Time::from(Times { seconds, launches: 1 });
        assert!((time.spread() - 2.0 / 3.0).abs() < 1e-12);
        assert!((time.max_us - 50.0).abs() < 1e-9);
    }
}
