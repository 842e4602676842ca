//! How samples are taken, whatever it is that is timed.

use crate::{BenchError, Summary};

/// Launches of a graph at most, and so sets of tensors at most that launches take in turn.
pub const MAX_LAUNCHES: u32 = 2048;

/// Something that runs launches of one subject, and knows how long they took.
pub trait Stopwatch {
    /// Launches of a round: with so many, every set of tensors has had its turn. A sample begins at the first set, so
    /// that one of fewer launches finds in the cache what the sample before it left there.
    fn round(&self) -> u32;

    /// Makes so many launches one sample.
    ///
    /// # Errors
    /// The subject cannot be launched.
    fn prepare(&mut self, launches: u32) -> Result<(), BenchError>;

    /// Runs a sample. Returns the seconds that all its launches took together.
    ///
    /// # Errors
    /// The device failed.
    fn sample(&mut self) -> Result<f64, BenchError>;
}

/// How samples are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Protocol {
    /// Samples of each subject.
    pub samples: usize,
    /// Samples that are run first and not counted.
    pub warm_up: usize,
    /// Seconds that a sample is to take, by the number of its launches.
    pub sample_seconds: f64,
    /// Launches of a sample at most, where a round has no more.
    pub max_launches: u32,
    /// Seconds after which a slow subject has samples enough, once it has [`Protocol::LEAST`].
    pub subject_seconds: f64,
}

impl Protocol {
    /// Samples that even the slowest subject has, as far as so many are asked for.
    pub const LEAST: usize = 5;

    /// Launches of a sample, for a launch that takes so long, and rounds of so many.
    fn launches(&self, seconds: f64, round: u32) -> u32 {
        let wanted = (self.sample_seconds / seconds).ceil();
        // Saturates, and a NaN is 0.
        whole_rounds(wanted as u32, round, self.max_launches)
    }
}

/// The launches of whole rounds that are at least those wanted, as far as they are at most `most`; one round in any
/// case.
pub fn whole_rounds(wanted: u32, round: u32, most: u32) -> u32 {
    let round = round.max(1);
    round * wanted.div_ceil(round).min(most / round).max(1)
}

impl Default for Protocol {
    /// 30 samples of 5 ms.
    fn default() -> Self {
        Self { samples: 30, warm_up: 3, sample_seconds: 5e-3, max_launches: MAX_LAUNCHES, subject_seconds: 2.0 }
    }
}

/// The times of a launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// Seconds.
    pub seconds: Summary,
    /// Launches of each sample.
    pub launches: u32,
}

/// Takes samples of all subjects in turn, one of each at a time, so that a drift of the clocks meets all of them
/// alike. A subject that fails is left out from there on.
pub fn measure(subjects: &mut [&mut dyn Stopwatch], protocol: &Protocol) -> Vec<Result<Times, BenchError>> {
    let mut runs: Vec<Result<Run, BenchError>> =
        subjects.iter_mut().map(|subject| Run::begin(&mut **subject, protocol)).collect();
    for _ in 0..protocol.samples {
        for (subject, run) in subjects.iter_mut().zip(&mut runs) {
            let Ok(so_far) = run else { continue };
            if let Err(error) = so_far.step(&mut **subject, protocol) {
                *run = Err(error);
            }
        }
    }
    runs.into_iter().map(|run| run.and_then(Run::end)).collect()
}

struct Run {
    launches: u32,
    /// Seconds of a launch.
    samples: Vec<f64>,
    total: f64,
}

impl Run {
    /// Finds out how many launches make a sample, and warms up.
    fn begin(subject: &mut dyn Stopwatch, protocol: &Protocol) -> Result<Run, BenchError> {
        subject.prepare(1)?;
        // The first may load and allocate.
        subject.sample()?;
        let round = subject.round();
        let first = protocol.launches(checked(subject.sample()?)?, round);
        subject.prepare(first)?;
        // One launch alone takes as long as a graph takes to begin, which may be several times its own time: many
        // tell how long one of them takes.
        let launches = protocol.launches(checked(subject.sample()?)? / f64::from(first), round);
        if launches != first {
            subject.prepare(launches)?;
        }
        for _ in 0..protocol.warm_up {
            subject.sample()?;
        }
        Ok(Run { launches, samples: Vec::with_capacity(protocol.samples), total: 0.0 })
    }

    fn step(&mut self, subject: &mut dyn Stopwatch, protocol: &Protocol) -> Result<(), BenchError> {
        if self.samples.len() >= Protocol::LEAST && self.total >= protocol.subject_seconds {
            return Ok(());
        }
        let seconds = checked(subject.sample()?)?;
        self.total += seconds;
        self.samples.push(seconds / f64::from(self.launches));
        Ok(())
    }

    fn end(self) -> Result<Times, BenchError> {
        let summary = Summary::of(&self.samples);
        let seconds = summary.ok_or_else(|| BenchError::Unsupported("no sample was asked for".to_owned()))?;
        Ok(Times { seconds, launches: self.launches })
    }
}

fn checked(seconds: f64) -> Result<f64, BenchError> {
    if seconds.is_finite() && seconds > 0.0 { Ok(seconds) } else { Err(BenchError::Time { seconds }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// A clock whose launches take what it is told, one after the other.
    struct Fake<'a> {
        name: char,
        /// Seconds of a launch in each sample; the last one stays.
        script: Vec<f64>,
        taken: usize,
        launches: u32,
        /// Seconds of a sample beside those of its launches.
        start: f64,
        round: u32,
        log: &'a RefCell<String>,
    }

    impl<'a> Fake<'a> {
        fn new(name: char, script: &[f64], log: &'a RefCell<String>) -> Self {
            Self { name, script: script.to_vec(), taken: 0, launches: 0, start: 0.0, round: 1, log }
        }
    }

    impl Stopwatch for Fake<'_> {
        fn round(&self) -> u32 {
            self.round
        }

        fn prepare(&mut self, launches: u32) -> Result<(), BenchError> {
            self.launches = launches;
            Ok(())
        }

        fn sample(&mut self) -> Result<f64, BenchError> {
            self.log.borrow_mut().push(self.name);
            let seconds = self.script[self.taken.min(self.script.len() - 1)];
            self.taken += 1;
            Ok(self.start + seconds * f64::from(self.launches))
        }
    }

    const PROTOCOL: Protocol =
        Protocol { samples: 4, warm_up: 1, sample_seconds: 1e-3, max_launches: 100, subject_seconds: 1.0 };

    #[test]
    fn times_are_of_one_launch_and_warm_up_is_not_counted() {
        let log = RefCell::new(String::new());
        // Cold, calibration of one and of many, warm-up, and the four that count.
        let us = |times: &[f64]| times.iter().map(|us| us * 1e-6).collect::<Vec<_>>();
        let mut fake = Fake::new('a', &us(&[900.0, 90.0, 51.0, 70.0, 40.0, 20.0, 10.0, 30.0]), &log);
        let times = measure(&mut [&mut fake], &PROTOCOL).remove(0).unwrap();
        assert_eq!(times.launches, 20);
        let seconds = times.seconds;
        for (got, wanted) in [seconds.median, seconds.q1, seconds.q3, seconds.min, seconds.max]
            .into_iter()
            .zip([25e-6, 17.5e-6, 32.5e-6, 10e-6, 40e-6])
        {
            assert!((got - wanted).abs() < 1e-15, "{got} {wanted}");
        }
        assert_eq!(seconds.samples, 4);
    }

    #[test]
    fn subjects_take_turns() {
        let log = RefCell::new(String::new());
        let (mut a, mut b) = (Fake::new('a', &[1e-3], &log), Fake::new('b', &[1e-4], &log));
        let times = measure(&mut [&mut a, &mut b], &PROTOCOL);
        assert!(times.iter().all(Result::is_ok));
        assert_eq!(*log.borrow(), format!("aaaabbbb{}", "ab".repeat(4)));
    }

    #[test]
    fn launches_are_as_many_as_fill_a_sample() {
        let launches = |seconds| PROTOCOL.launches(seconds, 1);
        assert_eq!([launches(1.0), launches(1e-3), launches(3e-4), launches(1e-9)], [1, 1, 4, 100]);
        assert_eq!(launches(f64::NAN), 1);
    }

    /// 8 µs before the first of launches of 2 µs, 500 of which fill a sample: by one launch it would be 100.
    #[test]
    fn launches_are_counted_by_the_time_of_many() {
        let log = RefCell::new(String::new());
        let mut fake = Fake { start: 8e-6, ..Fake::new('a', &[2e-6], &log) };
        let protocol = Protocol { max_launches: MAX_LAUNCHES, ..PROTOCOL };
        let times = measure(&mut [&mut fake], &protocol).remove(0).unwrap();
        assert_eq!(times.launches, (1e-3f64 / 2.08e-6).ceil() as u32);
    }

    /// However slow a launch is, and however few fit a sample.
    #[test]
    fn samples_are_whole_rounds() {
        for (seconds, round, wanted) in [(1.0, 7, 7), (1e-4, 7, 14), (1e-4, 10, 10), (1e-9, 7, 98), (1e-9, 101, 101)] {
            let log = RefCell::new(String::new());
            let mut fake = Fake { round, ..Fake::new('a', &[seconds], &log) };
            let times = measure(&mut [&mut fake], &PROTOCOL).remove(0).unwrap();
            assert_eq!(times.launches, wanted, "{seconds} {round}");
        }
        assert_eq!([whole_rounds(0, 0, 0), whole_rounds(u32::MAX, 3, u32::MAX)], [1, u32::MAX]);
    }

    #[test]
    fn a_slow_subject_has_fewer_samples_and_a_broken_one_none() {
        let log = RefCell::new(String::new());
        let mut slow = Fake::new('s', &[0.5], &log);
        let mut broken = Fake::new('b', &[1e-3, 1e-3, 1e-3, 1e-3, f64::NAN], &log);
        let mut never = Fake::new('n', &[0.0], &log);
        let protocol = Protocol { samples: 30, ..PROTOCOL };
        let times = measure(&mut [&mut slow, &mut broken, &mut never], &protocol);
        assert_eq!(times[0].as_ref().unwrap().seconds.samples, Protocol::LEAST);
        assert!(matches!(times[1], Err(BenchError::Time { seconds }) if seconds.is_nan()));
        assert!(matches!(times[2], Err(BenchError::Time { seconds: 0.0 })));
    }
}
