//! `warpnorm info`: devices, driver, kernels.

use crate::cli::DeviceOptions;
use crate::device::Chosen;
use crate::error::ToolError;
use crate::report::{self, Fields, Outcome, bytes, table};
use std::collections::BTreeSet;
use warpnorm::cuda::{DeviceInfo, devices};
use warpnorm::plan::Module;
use warpnorm::ptx::{self, driver_isa};
use warpnorm::{DType, Norm};

/// Runs the command. A missing driver is a finding here, not a failure.
pub fn run() -> Result<Outcome, ToolError> {
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
    report::print(&format!("{fields}\n{}\n", modules_table()))?;
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

/// Which of the PTX a device runs. Every module has the same targets; one stands for all.
fn runs(capability: (u32, u32), driver: Option<(u32, u32)>) -> String {
    match ptx::select(Module::of(&Norm::layer_norm(0.0), DType::F32), capability, driver) {
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
            "{} modules, {} kernels, {}",
            modules.len(),
            modules.iter().map(|module| module.kernels().len()).sum::<usize>(),
            bytes(modules.iter().map(|module| module.ptx.len()).sum()),
        ),
    );
}

fn modules_table() -> String {
    let mut table = table(&["module", "type", "target", "ISA", "kernels", "size"]);
    for module in ptx::modules() {
        table.add_row([
            module.name().to_owned(),
            module.module().dtype.to_string(),
            format!("sm_{}", module.target),
            format!("{}.{}", module.isa.0, module.isa.1),
            module.kernels().len().to_string(),
            bytes(module.ptx.len()),
        ]);
    }
    report::align_right(&mut table, &[4, 5]);
    table.to_string()
}
