//! `warpnorm report`: tables and plots of the reports of `bench` and of benches/peers.

use crate::bench_cmd::write_plots;
use crate::cli::ReportArguments;
use crate::error::ToolError;
use crate::files::{Destination, FileFault};
use crate::report::{self, Outcome};
use std::path::{Path, PathBuf};
use warpnorm_bench::render;
use warpnorm_bench::report::Report;

/// Runs the command.
pub fn run(arguments: &ReportArguments) -> Result<Outcome, ToolError> {
    let reports = arguments.reports.iter().map(|path| Ok((path.clone(), read(path)?)));
    let reports: Vec<(PathBuf, Report)> = reports.collect::<Result<_, ToolError>>()?;
    let tables: Vec<String> = reports.iter().map(|(_, report)| render::markdown(report)).collect();
    let tables = tables.join("\n");
    let mut written = false;
    if let Some(path) = &arguments.markdown {
        Destination::new(path)?.write(tables.as_bytes())?;
        written = true;
    }
    if let Some(folder) = &arguments.plots {
        for (path, report) in &reports {
            let name = path.file_stem().map_or("report".into(), |name| name.to_string_lossy());
            write_plots(folder, &name, report)?;
        }
        written = true;
    }
    if let Some(path) = &arguments.readme {
        let text = String::from_utf8_lossy(&bytes(path)?).into_owned();
        let named: Vec<(String, Report)> =
            reports.into_iter().map(|(path, report)| (path.display().to_string(), report)).collect();
        let text = render::replace_section(&text, &render::readme_section(&named))?;
        Destination::new(path)?.write(text.as_bytes())?;
        written = true;
    }
    if !written {
        report::print(&tables)?;
    }
    Ok(Outcome::Passed)
}

fn bytes(path: &Path) -> Result<Vec<u8>, ToolError> {
    std::fs::read(path).map_err(|source| ToolError::Read { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<Report, ToolError> {
    let bytes = bytes(path)?;
    Report::from_json(&bytes).map_err(|fault| ToolError::File { path: path.to_owned(), fault: FileFault::Bench(fault) })
}
