//! `warpnorm bench`: times beside baselines, or, without a GPU, counts that are no timing.

mod cold;
mod commit;
mod kept;
mod points;

use crate::cli::{BenchArguments, DeviceChoice};
use crate::error::ToolError;
use crate::files::Destination;
use crate::report::{self, Outcome, progress};
use kept::Kept;
use std::path::Path;
use warpnorm::DeviceFacts;
use warpnorm::emulated::Emulated;
use warpnorm_bench::clocks::Clocks;
use warpnorm_bench::gpu::Gpu;
use warpnorm_bench::measure::Protocol;
use warpnorm_bench::report::{Device, Method, Report, SCHEMA, TOOL};
use warpnorm_bench::{BenchError, Workload, emulated, render};

/// Where a benchmark runs.
enum Bench {
    Gpu(Box<Gpu>),
    Emulated { device: Emulated, instead_of_gpu: Option<String> },
}

/// Runs the command.
pub fn run(arguments: &BenchArguments) -> Result<Outcome, ToolError> {
    if let Some(index) = arguments.first_launch {
        return cold::print_first_launch(arguments, index);
    }
    let json = arguments.json.as_deref().map(Destination::new).transpose()?;
    let bench = open(arguments)?;
    let mut kept = Kept::new(empty(arguments, &bench), json);
    let ran = match (&bench, arguments.cold_start) {
        (_, true) => cold::measure(arguments, matches!(bench, Bench::Gpu(_)), &mut kept),
        (Bench::Gpu(gpu), false) => time(gpu, arguments, &mut kept),
        (Bench::Emulated { device, .. }, false) => count(device, arguments, &mut kept),
    };
    if let Bench::Gpu(gpu) = &bench {
        // While the GPU is still at its clocks of work.
        kept.report().clocks = gpu.clocks();
    }
    let report = kept.end(ran)?;
    if let Some(folder) = &arguments.plots {
        write_plots(folder, "bench", &report)?;
    }
    report::print(&render::markdown(&report))?;
    Ok(Outcome::Passed)
}

/// Writes the plots of a report, their names after this one's.
///
/// # Errors
/// One cannot be drawn or written.
pub fn write_plots(folder: &Path, name: &str, report: &Report) -> Result<(), ToolError> {
    std::fs::create_dir_all(folder).map_err(|source| ToolError::Write { path: folder.to_owned(), source })?;
    for plot in render::plots(report) {
        let path = folder.join(format!("{name}-{}.svg", plot.name));
        Destination::new(&path)?.write(render::svg(&plot)?.as_bytes())?;
    }
    Ok(())
}

fn open(arguments: &BenchArguments) -> Result<Bench, ToolError> {
    let options = &arguments.device;
    let facts = || options.emulate.clone().unwrap_or_else(DeviceFacts::h200);
    let emulated = |instead_of_gpu| Bench::Emulated { device: Emulated::new(facts()), instead_of_gpu };
    match (options.device, &options.emulate) {
        (Some(DeviceChoice::Cuda | DeviceChoice::Cpu), Some(_)) => {
            Err(ToolError::Usage("--emulate goes with --device emulated or none; see --help".to_owned()))
        }
        (Some(DeviceChoice::Cpu), None) => Err(ToolError::Usage(
            "--device cpu is the reference, which is not timed: wanted auto, cuda or emulated".to_owned(),
        )),
        (Some(DeviceChoice::Cuda), None) => Ok(Bench::Gpu(Box::new(Gpu::open()?))),
        (Some(DeviceChoice::Emulated), _) | (_, Some(_)) => Ok(emulated(None)),
        (None | Some(DeviceChoice::Auto), None) => Ok(match Gpu::open() {
            Ok(gpu) => Bench::Gpu(Box::new(gpu)),
            Err(error) => emulated(Some(error.to_string())),
        }),
    }
}

/// A report of nothing yet.
fn empty(arguments: &BenchArguments, bench: &Bench) -> Report {
    let protocol = protocol(arguments);
    let (device, timing, sample) = match bench {
        Bench::Gpu(gpu) => {
            let sample = "a replay of a CUDA graph of many launches, between two events, on rotating buffers, all \
                          of which it takes; subjects in turn";
            (gpu.describe(), true, sample)
        }
        Bench::Emulated { device, instead_of_gpu } => {
            let facts = device.facts();
            let (major, minor) = facts.compute_capability;
            let device = Device {
                kind: "emulated".to_owned(),
                name: facts.name.clone(),
                compute_capability: Some(format!("{major}.{minor}")),
                multiprocessors: Some(facts.multiprocessors),
                cuda_driver: None,
                l2_bytes: None,
                instead_of_gpu: instead_of_gpu.clone(),
            };
            (device, false, "one launch, in the executor")
        }
    };
    let sample = if arguments.cold_start { "the first launch in a process of its own" } else { sample };
    let counted = timing && !arguments.cold_start;
    Report {
        schema: SCHEMA.to_owned(),
        tool: TOOL.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: arguments.commit.clone().or_else(commit::here),
        timing,
        not_a_timing: (!timing).then(|| emulated::LABEL.to_owned()),
        device,
        clocks: Clocks::unknown(match bench {
            Bench::Gpu(_) => "they are read at the end of the run",
            Bench::Emulated { .. } => "there is no GPU whose clocks they would be",
        }),
        method: Method {
            sample: sample.to_owned(),
            samples: counted.then_some(protocol.samples as u32),
            sample_seconds: counted.then_some(protocol.sample_seconds),
            seed: points::seed(arguments),
        },
        copy: None,
        missing: Vec::new(),
        cells: Vec::new(),
        cold_starts: Vec::new(),
    }
}

fn protocol(arguments: &BenchArguments) -> Protocol {
    let default = Protocol::default();
    Protocol { samples: arguments.samples.map_or(default.samples, |samples| samples as usize), ..default }
}

fn time(gpu: &Gpu, arguments: &BenchArguments, kept: &mut Kept) -> Result<(), ToolError> {
    let protocol = protocol(arguments);
    let points = points::points(arguments, &points::TIMED)?;
    let segments = points::segments(arguments);
    if let Some(reason) = gpu.without_cublas() {
        kept.missing("cublas", reason);
    }
    let progress = progress(points.len() + segments.len());
    let copy = gpu.copy(&protocol)?;
    kept.report().copy = Some(copy.clone());
    for point in &points {
        match gpu.time(&point.workload()?, &protocol, Some(&copy)) {
            Ok(cell) => kept.cell(cell)?,
            // Not a failure of what is timed, but of the grid.
            Err(error @ BenchError::Memory { .. }) => kept.missing("warpnorm", format!("{}: {error}", point.name())),
            Err(error) => return Err(error.into()),
        }
        progress.inc(1);
    }
    for point in &segments {
        match segment(gpu, &point.workload()?, &protocol) {
            Ok(cell) => kept.cell(cell)?,
            // cuBLAS is a baseline: without it the rest is no less.
            Err(
                error @ (BenchError::Memory { .. }
                | BenchError::Unsupported(_)
                | BenchError::Cublas { .. }
                | BenchError::Wrong { .. }),
            ) => kept.missing("segment", format!("{}: {error}", point.name())),
            Err(error) => return Err(error.into()),
        }
        progress.inc(1);
    }
    Ok(())
}

#[cfg(feature = "cublas")]
fn segment(gpu: &Gpu, workload: &Workload, protocol: &Protocol) -> Result<warpnorm_bench::report::Cell, BenchError> {
    gpu.segment(workload, warpnorm_bench::cublas::QKV_OUTPUTS, protocol)
}

#[cfg(not(feature = "cublas"))]
fn segment(gpu: &Gpu, _: &Workload, _: &Protocol) -> Result<warpnorm_bench::report::Cell, BenchError> {
    Err(BenchError::Unsupported(gpu.without_cublas().unwrap_or_default()))
}

fn count(device: &Emulated, arguments: &BenchArguments, kept: &mut Kept) -> Result<(), ToolError> {
    let points = points::points(arguments, &points::COUNTED)?;
    for baseline in ["copy", "cublas", "segment"] {
        kept.missing(baseline, "there is no GPU to run it on".to_owned());
    }
    let progress = progress(points.len());
    for point in &points {
        kept.cell(emulated::count(device, &point.workload()?)?)?;
        progress.inc(1);
    }
    Ok(())
}
