//! `bench --cold-start`: each module in a process of its own, which is this tool again.

use super::kept::Kept;
use super::points;
use crate::cli::BenchArguments;
use crate::cli::Shape;
use crate::error::ToolError;
use crate::grid::{Point, Quantising, Variant};
use crate::report::{self, Outcome, progress};
use std::process::Command;
use warpnorm::host::Outputs;
use warpnorm::parity::Values;
use warpnorm::plan::Module;
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm_bench::Workload;
use warpnorm_bench::gpu::{CACHE_DISABLED, first_launch};
use warpnorm_bench::report::ColdStart;

/// All quantisations of a norm are one module.
const QUANTISATIONS: [Quantisation; 1] = [Quantisation::per_token(CodeType::E4m3)];

/// A hidden size that every op takes.
const HIDDEN: usize = 128;
const ROWS: usize = 8;

/// One norm of each module that the options ask for.
fn modules(arguments: &BenchArguments) -> Result<Vec<(Module, Variant)>, ToolError> {
    let quantising = arguments.quantise.quantised_grid(&arguments.dtype)?;
    let quantising = quantising.map_or(Quantising::Also(&QUANTISATIONS), |one| Quantising::Each(one.quantisation));
    let mut modules: Vec<(Module, Variant)> = Vec::new();
    for variant in points::variants(arguments, quantising)? {
        let module = Module::of(&variant.norm, variant.dtype);
        if !modules.iter().any(|(one, _)| *one == module) {
            modules.push((module, variant));
        }
    }
    Ok(modules)
}

/// What a process of its own does: one launch, and its time on standard output.
///
/// # Errors
/// There is no such module, no GPU, or it fails.
pub fn print_first_launch(arguments: &BenchArguments, index: usize) -> Result<Outcome, ToolError> {
    let modules = modules(arguments)?;
    let Some(&(_, Variant { norm, with, parts, dtype, .. })) = modules.get(index) else {
        return Err(ToolError::Usage(format!("{index}: there are {} modules", modules.len())));
    };
    let shape = Shape { rows: ROWS, hidden: HIDDEN };
    let (values, seed, y) = (Values::Unit, points::seed(arguments), arguments.quantise.with_y);
    let point = Point { norm, dtype, shape, parts, with, tensor_scale: None, y, values, seed };
    let outputs = Outputs { y, residual: norm.input.stores_residual(), ..Outputs::default() };
    let block = point.case()?.with_outputs(outputs);
    let workload = Workload { op: String::new(), options: String::new(), rows: ROWS, block };
    report::print(&format!("{}\n", first_launch(&workload)?))?;
    Ok(Outcome::Passed)
}

/// Starts a process for each module. Without a GPU, says of each that it was not measured.
///
/// # Errors
/// The options are refused, or the file cannot be written. A process that fails is in the report with what it said.
pub fn measure(arguments: &BenchArguments, gpu: bool, kept: &mut Kept) -> Result<(), ToolError> {
    let modules = modules(arguments)?;
    let progress = progress(modules.len());
    for (index, (module, _)) in modules.iter().enumerate() {
        let time = if gpu { in_a_process(index) } else { Err("there is no GPU".to_owned()) };
        let (milliseconds, missing) = match time {
            Ok(time) => (Some(time), None),
            Err(reason) => (None, Some(reason)),
        };
        kept.cold_start(ColdStart { module: module.to_string(), milliseconds, missing })?;
        progress.inc(1);
    }
    Ok(())
}

fn in_a_process(index: usize) -> Result<f64, String> {
    let tool = std::env::current_exe().map_err(|error| format!("this tool cannot be found: {error}"))?;
    let (variable, value) = CACHE_DISABLED;
    let mut command = Command::new(tool);
    command.args(std::env::args_os().skip(1)).arg("--first-launch").arg(index.to_string()).env(variable, value);
    let output = command.output().map_err(|error| format!("this tool cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| format!("a time was wanted, not {:?}", text.trim()))
}
