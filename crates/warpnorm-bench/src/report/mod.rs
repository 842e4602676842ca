//! The schema of reports, `warpnorm-bench/1`: the same for `warpnorm bench` and for the drivers of other libraries.
//!
//! Times are in microseconds and of one launch, or of all the launches that a baseline needs for the same result.
//! A number that was not measured is null; nothing in a report says 0 for "unknown". A report without
//! [`timing`](Report::timing) has no time at all and says [why](Report::not_a_timing).

mod check;
mod derive;

pub use derive::{PEERS_TOOL, TOOL};

use crate::BenchError;
use crate::clocks::Clocks;
use serde::{Deserialize, Serialize};

/// The name of the schema.
pub const SCHEMA: &str = "warpnorm-bench/1";

/// All that a run found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// The program that wrote it.
    pub tool: String,
    /// The version of warpnorm.
    pub version: String,
    /// The commit that was measured; null where it is not known.
    pub commit: Option<String>,
    /// Whether the numbers are times of a GPU.
    pub timing: bool,
    /// Why there are no times, where there are none.
    pub not_a_timing: Option<String>,
    /// Where it ran.
    pub device: Device,
    /// The clocks, as far as they are known.
    pub clocks: Clocks,
    /// How it was measured.
    pub method: Method,
    /// The bandwidth of a large copy in device memory.
    pub copy: Option<Copy>,
    /// Baselines that are in no cell, and why.
    pub missing: Vec<Missing>,
    /// The measurements.
    pub cells: Vec<Cell>,
    /// Times to the first launch.
    pub cold_starts: Vec<ColdStart>,
}

/// Where a run ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// `cuda`, `emulated` or `none`.
    pub kind: String,
    /// The name that the driver gives it; of an emulated device, of the GPU that it stands for.
    pub name: String,
    /// Such as `9.0`.
    pub compute_capability: Option<String>,
    /// Streaming multiprocessors.
    pub multiprocessors: Option<u32>,
    /// The CUDA version that the driver states.
    pub cuda_driver: Option<String>,
    /// Bytes of the L2 cache.
    pub l2_bytes: Option<u64>,
    /// Why it is not a GPU, where one was looked for.
    pub instead_of_gpu: Option<String>,
}

/// How a run measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// What a sample is, in words.
    pub sample: String,
    /// Samples of each subject, where it is not slow.
    pub samples: Option<u32>,
    /// Seconds of a sample.
    pub sample_seconds: Option<f64>,
    /// The seed of the data.
    pub seed: u64,
}

/// A copy in device memory of many times the size of the L2 cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copy {
    /// Bytes moved: those read and those written.
    pub bytes: u64,
    /// The time of one.
    pub time: Time,
    /// 10⁹ bytes a second.
    pub gb_per_s: f64,
}

/// A baseline that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// Its name.
    pub baseline: String,
    /// Why.
    pub reason: String,
}

/// An op in a shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// The op as options name it; with `+gemm` where a matrix product follows.
    pub op: String,
    /// What sets it apart from the plain one of its op; empty for that.
    pub options: String,
    /// The activation type.
    pub dtype: String,
    /// Rows.
    pub rows: u64,
    /// Heads or groups of a row.
    pub parts: u64,
    /// Elements of a row, head or group.
    pub hidden: u64,
    /// Tensors beside x.
    pub tensors: Vec<String>,
    /// The least that the op must move; null where moving bytes is not what it spends its time on.
    pub floor_bytes: Option<u64>,
    /// The time of warpnorm.
    pub time: Option<Time>,
    /// `floor_bytes / time.median_us`, in 10⁹ bytes a second.
    pub gb_per_s: Option<f64>,
    /// `gb_per_s` of this cell over that of the copy.
    pub copy_share: Option<f64>,
    /// Relative L2 error of warpnorm's result against f64.
    pub relative_l2: Option<f64>,
    /// The buffers that launches went round.
    pub buffers: Option<Buffers>,
    /// The others.
    pub baselines: Vec<Baseline>,
    /// What the executor counted, where it is no timing.
    pub counters: Option<Counters>,
}

/// Times of a launch, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// The median.
    pub median_us: f64,
    /// The first quartile.
    pub q1_us: f64,
    /// The third quartile.
    pub q3_us: f64,
    /// The shortest.
    pub min_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Samples.
    pub samples: u64,
    /// Launches of each sample.
    pub launches: u64,
}

/// The sets of tensors that launches take in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Buffers {
    /// How many.
    pub sets: u64,
    /// Bytes of all of them together.
    pub bytes: u64,
    /// Whether those that a sample takes are larger than the L2 cache together; where they are not, a set may still be
    /// in it at its next turn.
    pub larger_than_l2: bool,
}

/// Another way to the same result, on the same buffers in the same run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Its name.
    pub name: String,
    /// Its time.
    pub time: Option<Time>,
    /// Its median over warpnorm's: above 1, warpnorm is faster.
    pub speed_up: Option<f64>,
    /// Relative L2 error of its result against f64; null for a copy, which has none.
    pub relative_l2: Option<f64>,
    /// Why it has no time.
    pub missing: Option<String>,
}

/// What a launch moves and executes, counted by the executor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    /// The kernel.
    pub kernel: String,
    /// Bytes loaded and stored, each counted once.
    pub distinct_bytes: u64,
    /// 32-byte sectors of all requests.
    pub sectors: u64,
    /// Thread instructions.
    pub instructions: u64,
    /// Thread instructions for each element of x.
    pub instructions_per_element: f64,
}

/// The way from a context to the first finished launch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColdStart {
    /// The module.
    pub module: String,
    /// Milliseconds from the context to the end of the first launch, the module's compilation included; null where
    /// it was not measured.
    pub milliseconds: Option<f64>,
    /// Why not.
    pub missing: Option<String>,
}

impl Report {
    /// Reads a report and checks that its numbers agree with one another.
    ///
    /// # Errors
    /// It is no report of this schema, or contradicts itself.
    pub fn from_json(json: &[u8]) -> Result<Report, BenchError> {
        let report: Report = serde_json::from_slice(json).map_err(|error| BenchError::Report(error.to_string()))?;
        report.check()?;
        Ok(report)
    }

    /// The report as text, with a line break at the end.
    ///
    /// # Errors
    /// A number is not finite.
    pub fn to_json(&self) -> Result<String, BenchError> {
        self.check()?;
        let text = serde_json::to_string_pretty(self).map_err(|error| BenchError::Report(error.to_string()))?;
        Ok(text + "\n")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Summary;
    use crate::measure::Times;

    /// A cell without times.
    pub fn cell(op: &str, rows: u64, hidden: u64) -> Cell {
        Cell {
            op: op.to_owned(),
            options: String::new(),
            dtype: "bf16".to_owned(),
            rows,
            parts: 1,
            hidden,
            tensors: vec!["weight".to_owned()],
            floor_bytes: Some(rows * hidden * 4 + hidden * 2),
            time: None,
            gb_per_s: None,
            copy_share: None,
            relative_l2: Some(1e-3),
            buffers: None,
            baselines: Vec::new(),
            counters: None,
        }
    }

    /// The time of launches that all take so long.
    pub fn time(us: f64) -> Time {
        let seconds = Summary::of(&[us * 1e-6 * 0.9, us * 1e-6, us * 1e-6 * 1.2]).unwrap();
        Times { seconds, launches: 16 }.into()
    }

    /// Times made up by formula: cell by cell known, and of no device that there is.
    pub fn timed() -> Report {
        let copy = Copy::new(1 << 30, time(300.0));
        let mut cells = Vec::new();
        for op in ["layer-norm", "rms-norm"] {
            for rows in [8, 8192] {
                for hidden in [64, 1024, 4096, 262_144] {
                    let mut cell = cell(op, rows, hidden);
                    let us = 2.0 + (rows * hidden) as f64 / 8e5;
                    cell.time = Some(time(us));
                    cell.buffers = Some(Buffers { sets: 4, bytes: 1 << 28, larger_than_l2: true });
                    cell.baselines = vec![
                        Baseline::timed("copy", time(us * 0.9), None),
                        Baseline::timed("cublas", time(us * 5.0), Some(2e-3)),
                        Baseline::missing("other", "not installed".to_owned()),
                    ];
                    cells.push(cell.derive(Some(&copy)));
                }
            }
        }
        Report {
            schema: SCHEMA.to_owned(),
            tool: TOOL.to_owned(),
            version: "0.1.0".to_owned(),
            commit: Some("0123456789abcdef".to_owned()),
            timing: true,
            not_a_timing: None,
            device: Device {
                kind: "cuda".to_owned(),
                name: "A GPU of tests".to_owned(),
                compute_capability: Some("9.0".to_owned()),
                multiprocessors: Some(2),
                cuda_driver: Some("12.8".to_owned()),
                l2_bytes: Some(1 << 20),
                instead_of_gpu: None,
            },
            clocks: Clocks::unknown("a test"),
            method: Method { sample: "made up".to_owned(), samples: Some(3), sample_seconds: Some(5e-3), seed: 1 },
            copy: Some(copy),
            missing: Vec::new(),
            cells,
            cold_starts: Vec::new(),
        }
    }

    /// The same without a GPU.
    pub fn counted() -> Report {
        let mut report = timed();
        report.timing = false;
        report.not_a_timing = Some("counted by the executor: there is no GPU".to_owned());
        report.device.kind = "emulated".to_owned();
        report.copy = None;
        for cell in &mut report.cells {
            cell.time = None;
            cell.buffers = None;
            cell.baselines.clear();
            let elements = cell.rows * cell.hidden;
            cell.counters = Some(Counters {
                kernel: "kernel".to_owned(),
                distinct_bytes: cell.floor_bytes.unwrap() + 64,
                sectors: elements / 8,
                instructions: elements * 20,
                instructions_per_element: 20.0 + 100.0 / cell.hidden as f64,
            });
            *cell = cell.clone().derive(None);
        }
        report
    }
}
