//! `warpnorm info`: devices, driver, kernels.

use crate::cli::{DeviceOptions, InfoArguments};
use crate::device::Chosen;
use crate::error::ToolError;
use crate::report::{self, Fields, Outcome, bytes, table};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use warpnorm::cubin::{self, EmbeddedCubin};
use warpnorm::cuda::{Cuda, DeviceInfo, devices};
use warpnorm::plan::Module;
use warpnorm::ptx::{self, driver_isa};
use warpnorm::{DType, Norm};

/// Runs the command. A missing driver is a finding here, not a failure, unless modules are to be loaded.
pub fn run(arguments: &InfoArguments) -> Result<Outcome, ToolError> {
    let loads = if arguments.load { Some(load()?) } else { None };
    let mut fields = Fields::default();
    fields.add("warpnorm", env!("CARGO_PKG_VERSION"));
    let found = devices();
    match &found {
        Err(reason) => fields.add("driver", format!("none to use: {reason}")),
        Ok(devices) => {
            let driver = devices.first().map(|device| {
                let (isa_major, isa_minor) = driver_isa(device.driver);
                format!("CUDA {}.{}, PTX ISA up to {isa_major}.{isa_minor}", device.driver.0, device.driver.1)
            });
            fields.add("driver", driver.unwrap_or_else(|| "present, without a GPU".to_owned()));
        }
    }
    for device in found.iter().flatten() {
        fields.add(&format!("device {}", device.ordinal), describe(device));
    }
    let chosen = Chosen::open(&DeviceOptions { device: None, emulate: None })?;
    // The line of the driver has said why it is no GPU, where there is no driver.
    let auto = if found.is_err() { chosen.device.name() } else { chosen.describe() };
    let target = chosen.facts.as_ref().map(|facts| runs(facts.compute_capability, chosen.driver));
    fields.add("auto", format!("{auto}; {}", target.unwrap_or_default()));
    describe_ptx(&mut fields);
    describe_cubins(&mut fields);
    let mut tables = modules_table();
    if let Some(loads) = loads {
        fields.add("driver's cache", cache(std::env::var("CUDA_CACHE_DISABLE").as_deref() == Ok("1")));
        tables.push_str(&format!("\n\n{}", loads_table(&loads)));
    }
    report::print(&format!("{fields}\n{tables}\n"))?;
    Ok(Outcome::Passed)
}

fn describe(device: &DeviceInfo) -> String {
    let facts = &device.facts;
    let (major, minor) = facts.compute_capability;
    format!(
        "{}, compute capability {major}.{minor}, {} multiprocessors, {}; {}",
        facts.name,
        facts.multiprocessors,
        bytes(usize::try_from(device.memory_bytes).unwrap_or(usize::MAX)),
        runs(facts.compute_capability, Some(device.driver)),
    )
}

/// What a device loads: a cubin, or which of the PTX. Every module has the same; one stands for all.
fn runs(capability: (u32, u32), driver: Option<(u32, u32)>) -> String {
    let module = Module::of(&Norm::layer_norm(0.0), DType::F32);
    if let Some(cubin) = driver.and_then(|driver| cubin::select(module, capability, driver)) {
        return format!("loads the cubin for sm_{}", cubin.target);
    }
    match ptx::select(module, capability, driver) {
        Ok(module) => format!("runs the PTX for sm_{}", module.target),
        Err(reason) => format!("cannot run: {reason}"),
    }
}

fn describe_ptx(fields: &mut Fields) {
    let modules = ptx::modules();
    let list = |values: BTreeSet<String>| values.into_iter().collect::<Vec<_>>().join(", ");
    fields.add("PTX", report::ptx());
    fields.add("targets", list(modules.iter().map(|module| format!("sm_{}", module.target)).collect()));
    fields.add("PTX ISA", list(modules.iter().map(|module| format!("{}.{}", module.isa.0, module.isa.1)).collect()));
    fields.add(
        "in all",
        format!(
            "{} modules, {} kernels, {} of PTX, {} in the binary",
            modules.len(),
            modules.iter().map(|module| module.kernels().len()).sum::<usize>(),
            bytes(modules.iter().map(|module| module.ptx_bytes()).sum()),
            bytes(ptx::embedded_bytes()),
        ),
    );
}

fn describe_cubins(fields: &mut Fields) {
    let cubins = cubin::cubins();
    let targets: BTreeSet<String> = cubins.iter().map(|cubin| format!("sm_{}", cubin.target)).collect();
    let code = bytes(cubins.iter().map(EmbeddedCubin::code_bytes).sum());
    let files = bytes(cubins.iter().map(EmbeddedCubin::file_bytes).sum());
    fields.add(
        "cubins",
        match cubin::compiler() {
            None => "none: drivers compile the PTX".to_owned(),
            Some(compiler) => {
                let targets = targets.into_iter().collect::<Vec<_>>().join(", ");
                format!("{} for {targets}, {code}, {files} in the binary, from {compiler}", cubins.len())
            }
        },
    );
}

fn modules_table() -> String {
    let mut table = table(&["module", "type", "target", "ISA", "kernels", "PTX", "its file in the binary"]);
    for module in ptx::modules() {
        table.add_row([
            module.name().to_owned(),
            module.module().dtype.to_string(),
            format!("sm_{}", module.target),
            format!("{}.{}", module.isa.0, module.isa.1),
            module.kernels().len().to_string(),
            bytes(module.ptx_bytes()),
            bytes(module.file_bytes()),
        ]);
    }
    report::align_right(&mut table, &[4, 5, 6]);
    table.to_string()
}

/// A module that was loaded, the target of its code, and how long it took.
struct Load {
    module: Module,
    target: u32,
    took: Duration,
}

/// Loads every module on the first GPU, as a first launch would.
fn load() -> Result<Vec<Load>, ToolError> {
    let cuda = Cuda::new(0).map_err(ToolError::NoGpuToLoad)?;
    let kernels = cuda.kernels();
    let load = |module| {
        let (capability, driver) = (kernels.facts().compute_capability, kernels.driver_version());
        let target = match cubin::select(module, capability, driver) {
            Some(cubin) => cubin.target,
            None => ptx::select(module, capability, Some(driver))?.target,
        };
        let start = Instant::now();
        kernels.warm_up(&[module])?;
        Ok(Load { module, target, took: start.elapsed() })
    };
    Module::all().map(load).collect::<Result<_, warpnorm::Error>>().map_err(ToolError::from)
}

/// What the times of loading are worth: the driver keeps what it has compiled in files.
fn cache(disabled: bool) -> &'static str {
    if disabled {
        "off: every module is compiled"
    } else {
        "on: what it has compiled before is only loaded; CUDA_CACHE_DISABLE=1 turns it off"
    }
}

fn loads_table(loads: &[Load]) -> String {
    let milliseconds = |took: Duration| format!("{:.1} ms", 1e3 * took.as_secs_f64());
    let mut table = table(&["module", "type", "target", "loaded in"]);
    for Load { module, target, took } in loads {
        let name = module.name().unwrap_or_default();
        table.add_row([name.to_owned(), module.dtype.to_string(), format!("sm_{target}"), milliseconds(*took)]);
    }
    let all = loads.iter().map(|load| load.took).sum();
    table.add_row(["all".to_owned(), String::new(), String::new(), milliseconds(all)]);
    report::align_right(&mut table, &[3]);
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_listed_and_added_up() {
        let load = |dtype, took| {
            let module = Module::of(&Norm::rms_norm(1e-6), dtype);
            Load { module, target: 90, took: Duration::from_micros(took) }
        };
        let table = loads_table(&[load(DType::F32, 1500), load(DType::BF16, 250)]);
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split('|').map(str::trim).collect()).collect();
        assert_eq!(rows[2], ["", "rms_norm", "f32", "sm_90", "1.5 ms", ""]);
        assert_eq!(rows[3], ["", "rms_norm", "bf16", "sm_90", "0.2 ms", ""]);
        assert_eq!(rows[4], ["", "all", "", "", "1.8 ms", ""]);
    }
}
