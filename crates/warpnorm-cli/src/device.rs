//! The device that the options choose, and what it would run.

use crate::cli::{DeviceChoice, DeviceOptions};
use crate::error::ToolError;
use warpnorm::DeviceFacts;
use warpnorm::cuda::Cuda;
use warpnorm::emulated::Emulated;
use warpnorm::host::{Device, Problem};
use warpnorm::plan::{ColumnPlan, Plan};
use warpnorm::reference::Cpu;

/// A device, and what there is to say of it.
pub struct Chosen {
    /// The device.
    pub device: Box<dyn Device>,
    /// Its kind as the option names it.
    pub kind: &'static str,
    /// What its plans depend on; the reference makes none.
    pub facts: Option<DeviceFacts>,
    /// The CUDA version of its driver, where it has one.
    pub driver: Option<(u32, u32)>,
    /// Why it is not a GPU, where one was preferred.
    pub instead_of_gpu: Option<warpnorm::Error>,
}

impl Chosen {
    /// Opens the device that the options ask for.
    ///
    /// # Errors
    /// The options contradict one another, or a GPU was asked for and there is none.
    pub fn open(options: &DeviceOptions) -> Result<Self, ToolError> {
        let emulate = || options.emulate.clone().unwrap_or_else(DeviceFacts::h200);
        match (options.device, &options.emulate) {
            (Some(DeviceChoice::Cuda | DeviceChoice::Cpu), Some(_)) => {
                Err(ToolError::Usage("--emulate goes with --device emulated or none; see --help".to_owned()))
            }
            (Some(DeviceChoice::Cuda), None) => Ok(Self::cuda(Cuda::new(0)?)),
            (Some(DeviceChoice::Cpu), None) => Ok(Self::cpu()),
            (Some(DeviceChoice::Emulated), _) | (_, Some(_)) => Ok(Self::emulated(emulate())),
            (None | Some(DeviceChoice::Auto), None) => Ok(match Cuda::new(0) {
                Ok(cuda) => Self::cuda(cuda),
                Err(error) => Self { instead_of_gpu: Some(error), ..Self::emulated(emulate()) },
            }),
        }
    }

    fn cuda(cuda: Cuda) -> Self {
        let facts = Some(cuda.kernels().facts().clone());
        let driver = Some(cuda.kernels().driver_version());
        Self { device: Box::new(cuda), kind: "cuda", facts, driver, instead_of_gpu: None }
    }

    fn emulated(facts: DeviceFacts) -> Self {
        let device = Box::new(Emulated::new(facts.clone()));
        Self { device, kind: "emulated", facts: Some(facts), driver: None, instead_of_gpu: None }
    }

    fn cpu() -> Self {
        Self { device: Box::new(Cpu), kind: "cpu", facts: None, driver: None, instead_of_gpu: None }
    }

    /// The device for summaries, with the reason why it is not a GPU.
    pub fn describe(&self) -> String {
        match &self.instead_of_gpu {
            Some(reason) => format!("{} ({reason})", self.device.name()),
            None => self.device.name(),
        }
    }

    /// How the device runs a problem; None for the reference, and where there is nothing to run.
    ///
    /// # Errors
    /// The problem is invalid, or the device cannot run it.
    pub fn plan(&self, problem: &Problem<'_>) -> Result<Option<Plan>, ToolError> {
        match &self.facts {
            Some(facts) => Ok(problem.plan(facts)?),
            None => Ok(None),
        }
    }
}

/// A plan on one line.
pub fn plan_line(plan: &Plan) -> String {
    let threads = plan.team.threads;
    format!(
        "{}: {threads} thread{} a row, {} block{} of {} threads, row kept in {}{}",
        plan.kernel.name(),
        if threads == 1 { "" } else { "s" },
        plan.grid,
        if plan.grid == 1 { "" } else { "s" },
        plan.block_threads(),
        match plan.regime.name() {
            "staged" => "shared memory",
            "reread" => "global memory (read twice)",
            other => other,
        },
        if plan.shared_bytes == 0 { String::new() } else { format!(", {} bytes shared", plan.shared_bytes) },
    )
}

/// A plan of the statistics of columns on one line.
pub fn column_plan_line(plan: &ColumnPlan) -> String {
    let ColumnPlan { kernel, tile, grid, block, .. } = plan;
    format!(
        "{}: {tile} columns a block, {grid} block{} of {block} threads",
        kernel.name(),
        if *grid == 1 { "" } else { "s" }
    )
}
