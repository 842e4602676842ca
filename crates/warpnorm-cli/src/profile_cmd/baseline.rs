//! A committed profile, and what has become worse or better since.

use super::cell::{Cell, Key};
use crate::error::ToolError;
use crate::files::FileFault;
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};
use warpnorm::DeviceFacts;

/// Instructions may grow by this share before it is said.
const INSTRUCTIONS: f64 = 0.01;

/// A profile that was written by `--json`.
pub struct Baseline {
    path: PathBuf,
    contents: Contents,
}

#[derive(Deserialize)]
struct Contents {
    gpu: String,
    cells: Vec<Cell>,
}

impl Baseline {
    /// Reads a baseline.
    ///
    /// # Errors
    /// The file cannot be read, or is no profile.
    pub fn read(path: &Path) -> Result<Baseline, ToolError> {
        let path = path.to_owned();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) => return Err(ToolError::Read { path, source }),
        };
        match serde_json::from_slice(&bytes) {
            Ok(contents) => Ok(Baseline { path, contents }),
            Err(error) => Err(ToolError::File { path, fault: FileFault::Profile(error) }),
        }
    }

    /// Checks that the baseline is one of this GPU.
    ///
    /// # Errors
    /// It is of another.
    pub fn check_gpu(&self, facts: &DeviceFacts) -> Result<(), ToolError> {
        if self.contents.gpu == facts.name {
            return Ok(());
        }
        let (given, wanted) = (self.contents.gpu.clone(), facts.name.clone());
        Err(ToolError::File { path: self.path.clone(), fault: FileFault::ProfiledGpu { given, wanted } })
    }

    /// What has changed. Cells of the baseline are missed where they are selected; new ones count as
    /// missing from the baseline where the grid is the whole one.
    pub fn compare(self, cells: &[Cell], whole: bool, selected: impl Fn(&Key) -> bool) -> Comparison {
        let mut comparison = Comparison { path: self.path, compared: 0, worse: Vec::new(), better: Vec::new() };
        for before in &self.contents.cells {
            match cells.iter().find(|cell| cell.key == before.key) {
                Some(now) => {
                    comparison.compared += 1;
                    comparison.add(before, now);
                }
                None if selected(&before.key) => comparison.worse.push(format!("{}: not in this profile", before.key)),
                None => {}
            }
        }
        for cell in cells {
            if whole && !self.contents.cells.iter().any(|before| before.key == cell.key) {
                comparison.worse.push(format!("{}: not in the baseline", cell.key));
            }
            if let Some(of) = cell.assembled.filter(|of| of.spill_bytes > 0) {
                comparison.worse.push(format!("{}: {} bytes spilled", cell.key, of.spill_bytes));
            }
        }
        comparison
    }
}

/// What has become of a baseline.
pub struct Comparison {
    path: PathBuf,
    compared: usize,
    worse: Vec<String>,
    better: Vec<String>,
}

impl Comparison {
    /// Whether something costs more, or is missing.
    pub fn is_worse(&self) -> bool {
        !self.worse.is_empty()
    }

    fn add(&mut self, before: &Cell, now: &Cell) {
        for (before, now) in costs(before).into_iter().zip(costs(now)) {
            let (Some(was), Some(is)) = (before.amount, now.amount) else { continue };
            let list = if is > was * (1.0 + now.slack) {
                &mut self.worse
            } else if is < was * (1.0 - now.slack) {
                &mut self.better
            } else {
                continue;
            };
            list.push(format!("{}: {}: {was} before, {is} now", now.key, now.name));
        }
    }
}

/// Something of which less is better.
struct Cost<'a> {
    key: &'a Key,
    name: &'static str,
    /// None where it is not known.
    amount: Option<f64>,
    /// The share by which it may change without a word.
    slack: f64,
}

fn costs(cell: &Cell) -> Vec<Cost<'_>> {
    let cost = |name, amount, slack| Cost { key: &cell.key, name, amount, slack };
    let exact = |name, amount: u64| cost(name, Some(amount as f64), 0.0);
    let (loads, stores) = (&cell.loads, &cell.stores);
    vec![
        exact("distinct bytes loaded", loads.distinct_bytes),
        exact("distinct bytes stored", stores.distinct_bytes),
        exact("bytes asked for by loads", loads.bytes),
        exact("bytes asked for by stores", stores.bytes),
        exact("requests to load", loads.requests),
        exact("requests to store", stores.requests),
        exact("sectors of loads", loads.sectors),
        exact("sectors of stores", stores.sectors),
        exact("bank conflicts", cell.bank_conflicts),
        exact("accesses to local memory", cell.local_accesses),
        cost("thread instructions", Some(cell.thread_instructions as f64), INSTRUCTIONS),
        // Registers count where they cost a step of occupancy.
        cost("share of the warps left empty", cell.assembled.map(|of| 1.0 - of.occupancy), 0.0),
    ]
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, worse, better) = (self.path.display(), self.worse.len(), self.better.len());
        writeln!(f, "{} cells compared with {path}: {worse} costs are worse, {better} are better", self.compared)?;
        for (list, word) in [(&self.worse, "WORSE"), (&self.better, "better")] {
            list.iter().try_for_each(|line| writeln!(f, "{word}  {line}"))?;
        }
        if worse + better > 0 {
            writeln!(f, "Where that is meant, update the baseline: --json {path}, with the options that made it")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile_cmd::cell::{Moved, OnChip};

    fn cell(hidden: usize) -> Cell {
        let moved = Moved {
            floor_bytes: 1008,
            distinct_bytes: 1008,
            bytes: 1008,
            accesses_by_width: [0, 0, 0, 0, 63],
            requests: 10,
            sectors: 40,
            ideal_sectors: 40,
        };
        let op = "rms-norm".to_owned();
        let key = Key {
            op,
            options: String::new(),
            dtype: "f16".to_owned(),
            weight: None,
            bias: None,
            tensors: Vec::new(),
            rows: 4,
            hidden,
            parts: 1,
        };
        Cell {
            key,
            kernel: "kernel".to_owned(),
            regime: "registers".to_owned(),
            team_threads: 32,
            grid: 1,
            block: 128,
            cluster: 1,
            loads: moved,
            stores: moved,
            bank_conflicts: 0,
            local_accesses: 0,
            cta_barriers: 1,
            cluster_barriers: 0,
            warp_instructions: 1000,
            thread_instructions: 30_000,
            thread_instructions_by_class: Default::default(),
            instructions_per_element: 30.0,
            assembled: Some(OnChip {
                registers: 32,
                stack_bytes: 0,
                spill_bytes: 0,
                shared_bytes: 0,
                resident_blocks: 16,
                resident_warps: 64,
                occupancy: 1.0,
            }),
        }
    }

    /// Worse and better costs of a run against a baseline.
    fn compare(before: &[Cell], now: &[Cell], whole: bool) -> (Vec<String>, Vec<String>) {
        let contents = Contents { gpu: "GPU".to_owned(), cells: before.to_vec() };
        let baseline = Baseline { path: PathBuf::from("b.json"), contents };
        let comparison = baseline.compare(now, whole, |key| whole || key.hidden != 8);
        assert_eq!(comparison.is_worse(), !comparison.worse.is_empty());
        (comparison.worse, comparison.better)
    }

    #[test]
    fn the_same_is_neither_worse_nor_better() {
        let cells = [cell(4), cell(8)];
        assert_eq!(compare(&cells, &cells, true), (vec![], vec![]));
    }

    #[test]
    fn every_cost_is_compared() {
        type Change = fn(&mut Cell);
        let more: [(Change, &str); 11] = [
            (|cell| cell.loads.distinct_bytes += 1, "distinct bytes loaded"),
            (|cell| cell.stores.distinct_bytes += 1, "distinct bytes stored"),
            (|cell| cell.loads.bytes += 1, "bytes asked for by loads"),
            (|cell| cell.stores.bytes += 1, "bytes asked for by stores"),
            (|cell| cell.loads.requests += 1, "requests to load"),
            (|cell| cell.stores.requests += 1, "requests to store"),
            (|cell| cell.loads.sectors += 1, "sectors of loads"),
            (|cell| cell.stores.sectors += 1, "sectors of stores"),
            (|cell| cell.bank_conflicts += 1, "bank conflicts"),
            (|cell| cell.local_accesses += 1, "accesses to local memory"),
            (|cell| cell.thread_instructions += 301, "thread instructions"),
        ];
        for (change, name) in more {
            let (before, mut now) = (cell(4), cell(4));
            change(&mut now);
            let (worse, better) = compare(std::slice::from_ref(&before), std::slice::from_ref(&now), true);
            assert_eq!((worse.len(), better.len()), (1, 0), "{name}: {worse:?} {better:?}");
            assert!(worse[0].starts_with("rms-norm f16 4x4: ") && worse[0].contains(name), "{worse:?}");
            let (worse, better) = compare(&[now], &[before], true);
            // The other way round it is better, but for a change of instructions just under 1 %.
            assert_eq!((worse.len(), better.len()), (0, usize::from(name != "thread instructions")), "{name}");
        }
    }

    #[test]
    fn instructions_have_a_hundredth_of_room() {
        let with = |thread_instructions| Cell { thread_instructions, ..cell(4) };
        assert_eq!(compare(&[with(30_000)], &[with(30_300)], true).0.len(), 0);
        assert_eq!(compare(&[with(30_000)], &[with(29_700)], true).1.len(), 0);
        assert_eq!(compare(&[with(30_000)], &[with(29_699)], true).1.len(), 1);
    }

    #[test]
    fn registers_count_by_the_occupancy_that_they_cost() {
        let with = |registers, occupancy| {
            let mut cell = cell(4);
            cell.assembled = cell.assembled.map(|of| OnChip { registers, occupancy, ..of });
            cell
        };
        assert_eq!(compare(&[with(33, 0.75)], &[with(40, 0.75)], true), (vec![], vec![]));
        assert_eq!(compare(&[with(32, 1.0)], &[with(33, 0.75)], true).0.len(), 1);
        assert_eq!(compare(&[with(33, 0.75)], &[with(32, 1.0)], true).1.len(), 1);
        // What is not known is not compared.
        let unknown = Cell { assembled: None, ..cell(4) };
        assert_eq!(compare(&[with(32, 1.0)], &[unknown], true), (vec![], vec![]));
    }

    #[test]
    fn any_spill_is_worse_even_one_of_the_baseline() {
        let mut spilling = cell(4);
        spilling.assembled = spilling.assembled.map(|of| OnChip { spill_bytes: 8, ..of });
        let (worse, _) = compare(std::slice::from_ref(&spilling), std::slice::from_ref(&spilling), true);
        assert_eq!(worse, ["rms-norm f16 4x4: 8 bytes spilled"]);
    }

    #[test]
    fn cells_that_are_missing_are_worse() {
        let (worse, _) = compare(&[cell(4), cell(8)], &[cell(4)], true);
        assert_eq!(worse, ["rms-norm f16 4x8: not in this profile"]);
        let (worse, _) = compare(&[cell(4)], &[cell(4), cell(8)], true);
        assert_eq!(worse, ["rms-norm f16 4x8: not in the baseline"]);
        // A part of the grid is compared with that part of the baseline.
        assert_eq!(compare(&[cell(4), cell(8)], &[cell(4)], false).0, [""; 0]);
        assert_eq!(compare(&[cell(4), cell(8)], &[cell(8)], false).0, ["rms-norm f16 4x4: not in this profile"]);
        assert_eq!(compare(&[cell(4)], &[cell(4), cell(8)], false).0, [""; 0]);
    }
}
