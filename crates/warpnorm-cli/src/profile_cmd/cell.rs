//! One launch: what it is, and what it costs.

use crate::error::ToolError;
use crate::grid::Point;
use crate::ops::op_name;
use crate::ptxas::{Assembled, Functions};
use crate::tensors;
use crate::words::{shape_words, variant};
use ptx_emu::{InstructionClass, LaunchReport, Traffic};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use warpnorm::emulated::Emulated;
use warpnorm::host::{Outputs, Placement, Problem};
use warpnorm::plan::{ByteFloor, Resources, occupancy};

/// What is computed: by this, cells are found in a baseline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    pub op: String,
    pub options: String,
    pub dtype: String,
    pub weight: Option<String>,
    pub bias: Option<String>,
    /// The other tensors beside x and the residual.
    #[serde(default)]
    pub tensors: Vec<String>,
    pub rows: usize,
    /// Of a head or group, where the norm is of those.
    pub hidden: usize,
    /// Heads or groups of a row.
    #[serde(default = "one")]
    pub parts: usize,
}

fn one() -> usize {
    1
}

impl Key {
    /// Weight, bias and the other tensors, as far as they are there.
    pub fn parameters(&self) -> String {
        let there = [(&self.weight, "weight"), (&self.bias, "bias")];
        let names = there.iter().filter(|(dtype, _)| dtype.is_some()).map(|(_, name)| *name);
        names.chain(self.tensors.iter().map(String::as_str)).collect::<Vec<_>>().join(", ")
    }

    pub fn shape(&self) -> String {
        shape_words(self.rows, self.parts, self.hidden)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.op, self.dtype, self.shape())?;
        if !self.options.is_empty() {
            write!(f, ", {}", self.options)?;
        }
        match self.parameters().as_str() {
            "" => Ok(()),
            parameters => write!(f, ", with {parameters}"),
        }
    }
}

/// Global memory in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The byte floor.
    pub floor_bytes: u64,
    /// Each byte counted once.
    pub distinct_bytes: u64,
    /// Bytes that threads asked for.
    pub bytes: u64,
    /// Accesses of single threads that are 1, 2, 4, 8 and 16 bytes wide.
    pub accesses_by_width: [u64; 5],
    pub requests: u64,
    pub sectors: u64,
    pub ideal_sectors: u64,
}

impl Moved {
    fn new(traffic: &Traffic, floor_bytes: u64) -> Moved {
        Moved {
            floor_bytes,
            distinct_bytes: traffic.distinct_bytes.unwrap_or(0),
            bytes: traffic.bytes,
            accesses_by_width: traffic.accesses_by_width,
            requests: traffic.requests,
            sectors: traffic.sectors,
            ideal_sectors: traffic.ideal_sectors,
        }
    }
}

/// What ptxas makes of the kernel, and what follows for the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OnChip {
    pub registers: u32,
    pub stack_bytes: u32,
    pub spill_bytes: u32,
    /// Static and dynamic, of a block.
    pub shared_bytes: u32,
    pub resident_blocks: u32,
    pub resident_warps: u32,
    /// The share of the warps that a multiprocessor has room for.
    pub occupancy: f64,
}

/// What was launched.
pub struct Launched {
    pub kernel: &'static str,
    pub regime: &'static str,
    /// Threads that share a row; of the statistics of columns, that share some columns.
    pub team_threads: u32,
    pub grid: u32,
    pub block: u32,
    pub cluster: u32,
    /// Dynamic shared memory of a block.
    pub shared_bytes: u32,
}

/// One launch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    #[serde(flatten)]
    pub key: Key,
    pub kernel: String,
    pub regime: String,
    pub team_threads: u32,
    pub grid: u32,
    pub block: u32,
    pub cluster: u32,
    pub loads: Moved,
    pub stores: Moved,
    /// Wavefronts of shared memory past those that the widths of the accesses make.
    pub bank_conflicts: u64,
    /// Warp-wide accesses to local memory.
    pub local_accesses: u64,
    pub cta_barriers: u64,
    pub cluster_barriers: u64,
    pub warp_instructions: u64,
    pub thread_instructions: u64,
    pub thread_instructions_by_class: BTreeMap<String, u64>,
    pub instructions_per_element: f64,
    /// None where there is no ptxas.
    pub assembled: Option<OnChip>,
}

impl Cell {
    /// Runs a point: the residual stream is stored where there is one, statistics are not. `None` where
    /// there is nothing to launch.
    ///
    /// # Errors
    /// The shape is not possible, or the executor found a fault.
    pub fn measure(device: &Emulated, point: &Point, assembled: &Functions) -> Result<Option<Cell>, ToolError> {
        let outputs = Outputs { y: point.y, residual: point.norm.input.stores_residual(), ..Outputs::default() };
        let case = point.case()?.with_outputs(outputs);
        let problem = case.as_problem();
        let Some((plan, report)) = device.run_counted(&problem, Placement::default())?.1 else { return Ok(None) };
        let floor = problem.byte_floor();
        let mut options = variant(&problem.norm);
        if problem.norm.quantisation.is_some() && problem.outputs.y {
            options.push_str(", with y");
        }
        let key = Key {
            op: op_name(&problem.norm),
            options,
            dtype: problem.dtype.name().to_owned(),
            weight: problem.weight.map(|weight| weight.dtype.name().to_owned()),
            bias: problem.bias.map(|bias| bias.dtype.name().to_owned()),
            tensors: tensors::beside(&problem).map(str::to_owned).collect(),
            rows: problem.rows,
            hidden: problem.hidden,
            parts: problem.parts,
        };
        let launched = Launched {
            kernel: plan.kernel.name(),
            regime: plan.regime.name(),
            team_threads: plan.team.threads,
            grid: plan.grid,
            block: plan.block_threads(),
            cluster: plan.cluster,
            shared_bytes: plan.shared_bytes,
        };
        Ok(Some(Cell::new(device, key, &launched, &report, floor, elements(&problem), assembled)))
    }

    /// What a launch cost.
    pub fn new(
        device: &Emulated,
        key: Key,
        launched: &Launched,
        report: &LaunchReport,
        floor: ByteFloor,
        elements: usize,
        assembled: &Functions,
    ) -> Cell {
        let classes = InstructionClass::ALL.map(|class| (class.name(), report.instructions[class].thread));
        Cell {
            key,
            kernel: launched.kernel.to_owned(),
            regime: launched.regime.to_owned(),
            team_threads: launched.team_threads,
            grid: launched.grid,
            block: launched.block,
            cluster: launched.cluster,
            loads: Moved::new(&report.global_loads, floor.loads),
            stores: Moved::new(&report.global_stores, floor.stores),
            bank_conflicts: bank_conflicts(report),
            local_accesses: report.local_accesses,
            cta_barriers: report.cta_barriers,
            cluster_barriers: report.cluster_barriers,
            warp_instructions: report.warp_instructions,
            thread_instructions: report.thread_instructions,
            thread_instructions_by_class: classes.map(|(name, count)| (name.to_owned(), count)).into(),
            instructions_per_element: per_element(report, elements),
            assembled: assembled.get(launched.kernel).map(|assembled| on_chip(device, launched, assembled)),
        }
    }

    /// Distinct bytes in both directions.
    pub fn distinct_bytes(&self) -> u64 {
        self.loads.distinct_bytes + self.stores.distinct_bytes
    }

    /// The byte floor of both directions.
    pub fn floor_bytes(&self) -> u64 {
        self.loads.floor_bytes + self.stores.floor_bytes
    }

    /// Where the row stays between the passes over it, and what that costs.
    pub fn regime_and_reads(&self) -> String {
        if self.regime == "reread" { "reread: one read more".to_owned() } else { self.regime.clone() }
    }

    /// Barriers that a block passes, of its own and of its cluster.
    pub fn barriers_of_a_block(&self) -> u64 {
        let clusters = u64::from((self.grid / self.cluster.max(1)).max(1));
        self.cta_barriers / u64::from(self.grid.max(1)) + self.cluster_barriers / clusters
    }
}

fn bank_conflicts(report: &LaunchReport) -> u64 {
    [report.shared_loads, report.shared_stores, report.shared_atomics]
        .iter()
        .map(|traffic| traffic.bank_conflicts)
        .sum()
}

/// Elements that are put out.
fn elements(problem: &Problem<'_>) -> usize {
    problem.rows * problem.hidden * (problem.parts + problem.second.map_or(0, |heads| heads.count))
}

/// Thread instructions by element, in thousandths.
fn per_element(report: &LaunchReport, elements: usize) -> f64 {
    (report.thread_instructions as f64 / elements as f64 * 1000.0).round() / 1000.0
}

fn on_chip(device: &Emulated, launched: &Launched, assembled: &Assembled) -> OnChip {
    let Assembled { registers, stack_bytes, spill_bytes, static_shared_bytes } = *assembled;
    let shared_bytes = static_shared_bytes + launched.shared_bytes;
    let found = occupancy(device.facts(), Resources { block: launched.block, registers, shared_bytes });
    OnChip {
        registers,
        stack_bytes,
        spill_bytes,
        shared_bytes,
        resident_blocks: found.blocks,
        resident_warps: found.warps,
        occupancy: found.share(),
    }
}
