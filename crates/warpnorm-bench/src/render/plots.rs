//! What is drawn: bandwidth, and speed-up over each baseline, against the hidden size.

use super::markdown::{moved_over_floor, speed_up};
use super::{NOT_A_TIMING, baselines, distinct, file_name, titles};
use crate::report::{Cell, Report};
use serde::Serialize;

/// A plot: lines over hidden sizes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plot {
    /// A name that is fit for a file.
    pub name: String,
    /// What stands over it.
    pub title: String,
    /// What stands beside the values.
    pub label: String,
    /// The lines.
    pub series: Vec<Series>,
}

/// A line of a plot.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Series {
    /// The op.
    pub name: String,
    /// Hidden size, ascending, and value.
    pub points: Vec<(u64, f64)>,
}

/// What is drawn of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// GB/s of the byte floor.
    Bandwidth,
    /// The speed-up over a baseline.
    SpeedUp(String),
    /// Bytes moved over the byte floor, by the executor's count.
    MovedOverFloor,
    /// Thread instructions for each element, by the executor's count.
    Instructions,
}

impl Value {
    fn of(&self, cell: &Cell) -> Option<f64> {
        match self {
            Value::Bandwidth => cell.gb_per_s,
            Value::SpeedUp(baseline) => speed_up(cell, baseline),
            Value::MovedOverFloor => moved_over_floor(cell),
            Value::Instructions => cell.counters.as_ref().map(|counters| counters.instructions_per_element),
        }
    }

    fn name(&self) -> String {
        match self {
            Value::Bandwidth => "bandwidth".to_owned(),
            Value::SpeedUp(baseline) => format!("over-{}", file_name(baseline)),
            Value::MovedOverFloor => "moved".to_owned(),
            Value::Instructions => "instructions".to_owned(),
        }
    }

    fn label(&self) -> String {
        match self {
            Value::Bandwidth => "GB/s of the byte floor".to_owned(),
            Value::SpeedUp(baseline) => format!("time of {baseline} / time of warpnorm"),
            Value::MovedOverFloor => format!("bytes moved / byte floor ({NOT_A_TIMING})"),
            Value::Instructions => format!("instructions / element ({NOT_A_TIMING})"),
        }
    }
}

/// The plots of a report: one for each value, type and number of rows of which there is anything.
pub fn plots(report: &Report) -> Vec<Plot> {
    let values: Vec<Value> = if report.timing {
        std::iter::once(Value::Bandwidth).chain(baselines(report).into_iter().map(Value::SpeedUp)).collect()
    } else {
        vec![Value::MovedOverFloor, Value::Instructions]
    };
    let mut plots = Vec::new();
    for value in &values {
        for dtype in distinct(report.cells.iter().map(|cell| cell.dtype.clone())) {
            for rows in distinct(report.cells.iter().map(|cell| cell.rows)) {
                let series = series(report, value, &dtype, rows);
                if series.is_empty() {
                    continue;
                }
                let label = if report.timing { String::new() } else { format!(", {NOT_A_TIMING}") };
                plots.push(Plot {
                    name: format!("{}-{dtype}-{rows}", value.name()),
                    title: format!("{}, {dtype}, {rows} rows{label}", report.device.name),
                    label: value.label(),
                    series,
                });
            }
        }
    }
    plots
}

fn series(report: &Report, value: &Value, dtype: &str, rows: u64) -> Vec<Series> {
    let of = |name: String| {
        let cells = report.cells.iter().filter(|cell| cell.title() == name && cell.dtype == dtype && cell.rows == rows);
        let mut points: Vec<(u64, f64)> =
            cells.filter_map(|cell| Some((cell.hidden * cell.parts, value.of(cell)?))).collect();
        points.sort_by_key(|(hidden, _)| *hidden);
        Series { name, points }
    };
    titles(report).into_iter().map(of).filter(|series| !series.points.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{counted, timed};

    #[test]
    fn points_are_the_reports_numbers() {
        let report = timed();
        let plots = plots(&report);
        let bandwidth = plots.iter().find(|plot| plot.name == "bandwidth-bf16-8192").unwrap();
        assert_eq!(bandwidth.series.len(), 2);
        for series in &bandwidth.series {
            assert_eq!(series.points.iter().map(|(hidden, _)| *hidden).collect::<Vec<_>>(), [64, 1024, 4096, 262_144]);
            for (hidden, value) in &series.points {
                let cell = report
                    .cells
                    .iter()
                    .find(|cell| (&cell.op, cell.rows, cell.hidden) == (&series.name, 8192, *hidden))
                    .unwrap();
                assert_eq!(Some(*value), cell.gb_per_s);
            }
        }
        let names: Vec<&str> = plots.iter().map(|plot| plot.name.as_str()).collect();
        assert!(names.contains(&"over-cublas-bf16-8") && names.contains(&"over-copy-bf16-8192"), "{names:?}");
        // A baseline that nothing was measured of is not drawn.
        assert_eq!(plots.len(), 3 * 2);
    }

    #[test]
    fn axes_are_monotone_and_what_is_no_timing_says_so() {
        for report in [timed(), counted()] {
            for plot in plots(&report) {
                for series in &plot.series {
                    assert!(series.points.windows(2).all(|pair| pair[0].0 < pair[1].0), "{plot:?}");
                }
                let says = plot.title.contains(NOT_A_TIMING) && plot.label.contains(NOT_A_TIMING);
                assert_eq!(says, !report.timing);
                assert!(report.timing || !plot.label.contains("GB/s"));
            }
        }
        let names: Vec<String> = plots(&counted()).into_iter().map(|plot| plot.name).collect();
        assert_eq!(names, ["moved-bf16-8", "moved-bf16-8192", "instructions-bf16-8", "instructions-bf16-8192"]);
    }
}
