//! `warpnorm report`: tables and plots of the reports of `bench` and of benches/peers.

use crate::bench_cmd::write_plots;
use crate::cli::ReportArguments;
use crate::error::ToolError;
use crate::files::{Destination, FileFault};
use crate::report::{self, Outcome};
use std::path::{Path, PathBuf};
use warpnorm_bench::render::{self, BEGIN, END};
use warpnorm_bench::report::Report;

/// Runs the command.
pub fn run(arguments: &ReportArguments) -> Result<Outcome, ToolError> {
    let reports = arguments.reports.iter().map(|path| Ok((path.clone(), read(path)?)));
    let reports: Vec<(PathBuf, Report)> = reports.collect::<Result<_, ToolError>>()?;
    let tables: Vec<String> = reports.iter().map(|(_, report)| render::markdown(report)).collect();
    let tables = tables.join("\n");
    // Before anything is written: a README without the marks is refused.
    let readme = arguments.readme.as_deref().map(|path| with_section(path, &reports)).transpose()?;
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
    if let (Some(path), Some(text)) = (&arguments.readme, readme) {
        Destination::new(path)?.write(text.as_bytes())?;
        written = true;
    }
    if !written {
        report::print(&tables)?;
    }
    Ok(Outcome::Passed)
}

/// The text of a README with the section of these reports between its marks.
///
/// # Errors
/// It cannot be read, or has not one of each mark, in their order.
fn with_section(path: &Path, reports: &[(PathBuf, Report)]) -> Result<String, ToolError> {
    let text = String::from_utf8_lossy(&bytes(path)?).into_owned();
    for mark in [BEGIN, END] {
        let times = text.matches(mark).count();
        if times != 1 {
            return Err(ToolError::File { path: path.to_owned(), fault: FileFault::Mark { mark, times } });
        }
    }
    let named: Vec<(String, Report)> =
        reports.iter().map(|(path, report)| (path.display().to_string(), report.clone())).collect();
    // One of each is there: what is left to refuse is their order.
    render::replace_section(&text, &render::readme_section(&named))
        .map_err(|_| ToolError::File { path: path.to_owned(), fault: FileFault::MarksInTheWrongOrder })
}

fn bytes(path: &Path) -> Result<Vec<u8>, ToolError> {
    std::fs::read(path).map_err(|source| ToolError::Read { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<Report, ToolError> {
    let bytes = bytes(path)?;
    Report::from_json(&bytes).map_err(|fault| ToolError::File { path: path.to_owned(), fault: FileFault::Bench(fault) })
}
