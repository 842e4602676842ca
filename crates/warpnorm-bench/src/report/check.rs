//! Whether a report says what it may say.

use super::{Baseline, Cell, Report, SCHEMA, Time};
use crate::BenchError;
use std::collections::BTreeSet;

/// How far a number may be from what it follows from: what other languages print and read back.
const RELATIVE: f64 = 1e-6;

fn refuse<T>(reason: impl Into<String>) -> Result<T, BenchError> {
    Err(BenchError::Report(reason.into()))
}

impl Report {
    /// Checks that numbers follow from one another, that what is no timing has no times, and that no cell is there
    /// twice.
    ///
    /// # Errors
    /// They do not.
    pub fn check(&self) -> Result<(), BenchError> {
        if self.schema != SCHEMA {
            return refuse(format!("the schema is {}, wanted {SCHEMA}", self.schema));
        }
        if self.timing != self.not_a_timing.is_none() {
            return refuse("a report that is no timing says why, and no other does");
        }
        if self.timing && self.device.kind != "cuda" {
            return refuse(format!("times of a device of kind {}, wanted cuda", self.device.kind));
        }
        if let Some(copy) = &self.copy {
            check_time(&copy.time).or_else(|reason| refuse(format!("copy: {reason}")))?;
            if !follows(Some(copy.gb_per_s), Some(copy.time.gb_per_s(copy.bytes))) {
                return refuse("copy: gb_per_s does not follow from bytes and time");
            }
        }
        let mut seen = BTreeSet::new();
        for cell in &self.cells {
            let key = (&cell.op, &cell.options, &cell.dtype, cell.rows, cell.parts, cell.hidden);
            if !seen.insert(key) {
                return refuse(format!("{}: there twice", name(cell)));
            }
            self.check_cell(cell).or_else(|reason| refuse(format!("{}: {reason}", name(cell))))?;
        }
        for start in &self.cold_starts {
            if start.milliseconds.is_some() == start.missing.is_some() {
                return refuse(format!("cold start of {}: a time, or why there is none", start.module));
            }
        }
        let times = self.copy.is_some() || self.cold_starts.iter().any(|start| start.milliseconds.is_some());
        if times && !self.timing { refuse("a time in a report that is no timing") } else { Ok(()) }
    }

    fn check_cell(&self, cell: &Cell) -> Result<(), String> {
        let times = cell.time.iter().chain(cell.baselines.iter().filter_map(|baseline| baseline.time.as_ref()));
        for time in times {
            if !self.timing {
                return Err("a time in a report that is no timing".to_owned());
            }
            check_time(time)?;
        }
        if self.timing && cell.counters.is_some() {
            return Err("counters in a report of times".to_owned());
        }
        let derived = cell.clone().derive(self.copy.as_ref());
        if !follows(cell.gb_per_s, derived.gb_per_s) {
            return Err("gb_per_s does not follow from floor_bytes and time".to_owned());
        }
        if !follows(cell.copy_share, derived.copy_share) {
            return Err("copy_share does not follow from gb_per_s and the copy".to_owned());
        }
        let mut names = BTreeSet::new();
        for (baseline, derived) in cell.baselines.iter().zip(&derived.baselines) {
            let Baseline { name, time, speed_up, missing, .. } = baseline;
            if !names.insert(name) {
                return Err(format!("the baseline {name} is there twice"));
            }
            if time.is_some() == missing.is_some() {
                return Err(format!("the baseline {name}: a time, or why there is none"));
            }
            if !follows(*speed_up, derived.speed_up) {
                return Err(format!("the speed-up over {name} does not follow from the times"));
            }
        }
        Ok(())
    }
}

fn name(cell: &Cell) -> String {
    format!("{} {} {}", cell.title(), cell.dtype, cell.shape())
}

fn check_time(time: &Time) -> Result<(), String> {
    let Time { median_us, q1_us, q3_us, min_us, max_us, samples, launches } = *time;
    let sorted = [min_us, q1_us, median_us, q3_us, max_us];
    let ascending = sorted.windows(2).all(|pair| pair[0] <= pair[1]);
    if !(min_us > 0.0 && max_us.is_finite() && ascending) {
        return Err(format!("times of {sorted:?} µs, wanted them above 0 and ascending"));
    }
    if samples == 0 || launches == 0 { Err("a time of no samples".to_owned()) } else { Ok(()) }
}

fn follows(given: Option<f64>, wanted: Option<f64>) -> bool {
    match (given, wanted) {
        (None, None) => true,
        (Some(given), Some(wanted)) => (given - wanted).abs() <= RELATIVE * wanted.abs(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::timed;
    use crate::report::{ColdStart, Missing};

    fn reason(change: impl Fn(&mut Report)) -> String {
        let mut report = timed();
        change(&mut report);
        report.check().map_or_else(|error| error.to_string(), |()| "accepted".to_owned())
    }

    #[test]
    fn what_follows_is_accepted_and_reads_back() {
        assert_eq!(
            reason(|report| report.missing.push(Missing { baseline: "x".into(), reason: "y".into() })),
            "accepted"
        );
        let report = timed();
        assert!(Report::from_json(report.to_json().unwrap().as_bytes()).unwrap() == report);
    }

    #[test]
    fn every_contradiction_is_refused() {
        type Change = fn(&mut Report);
        let changes: [(Change, &str); 14] = [
            (|report| report.schema.push('2'), "schema"),
            (|report| report.timing = false, "says why"),
            (|report| report.not_a_timing = Some("no GPU".to_owned()), "says why"),
            (
                |report| {
                    report.timing = false;
                    report.not_a_timing = Some("no GPU".to_owned());
                },
                "a time in a report that is no timing",
            ),
            (|report| report.device.kind = "emulated".to_owned(), "wanted cuda"),
            (|report| report.cells.push(report.cells[0].clone()), "there twice"),
            (|report| report.cells[0].gb_per_s = Some(1.0), "gb_per_s"),
            (|report| report.cells[0].gb_per_s = None, "gb_per_s"),
            (|report| report.cells[0].copy_share = Some(1.0), "copy_share"),
            (|report| report.cells[0].baselines[0].speed_up = Some(3.0), "speed-up"),
            (|report| report.cells[0].baselines[0].missing = Some("no".to_owned()), "a time, or why"),
            (|report| report.copy.as_mut().unwrap().gb_per_s *= 2.0, "copy: gb_per_s"),
            (|report| report.cells[0].time.as_mut().unwrap().q1_us = 1e9, "ascending"),
            (
                |report| {
                    report.cold_starts.push(ColdStart { module: "m".to_owned(), milliseconds: None, missing: None })
                },
                "cold start",
            ),
        ];
        for (change, word) in changes {
            let reason = reason(change);
            assert!(reason.contains(word), "wanted {word}: {reason}");
        }
    }

    #[test]
    fn unknown_fields_are_refused() {
        let json = timed().to_json().unwrap().replacen("\"timing\"", "\"timings\": 1, \"timing\"", 1);
        assert!(Report::from_json(json.as_bytes()).is_err_and(|error| error.to_string().contains("timings")));
    }
}
