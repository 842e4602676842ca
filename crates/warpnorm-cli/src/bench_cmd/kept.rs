//! A report as it grows.

use crate::error::ToolError;
use crate::files::Destination;
use warpnorm_bench::report::{Cell, ColdStart, Missing, Report};

/// A report that is in its file after every measurement, so that a run that is ended from outside leaves what it has
/// measured by then.
pub struct Kept {
    report: Report,
    file: Option<Destination>,
}

impl Kept {
    /// Of this report, in which nothing is measured yet.
    pub fn new(report: Report, file: Option<Destination>) -> Self {
        Self { report, file }
    }

    /// For what is known before anything is measured; it is written with the next measurement.
    pub fn report(&mut self) -> &mut Report {
        &mut self.report
    }

    /// Adds a reason why something is not measured; it is written with the next measurement.
    pub fn missing(&mut self, baseline: &str, reason: String) {
        self.report.missing.push(Missing { baseline: baseline.to_owned(), reason });
    }

    /// Adds a cell.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn cell(&mut self, cell: Cell) -> Result<(), ToolError> {
        self.report.cells.push(cell);
        self.keep()
    }

    /// Adds the time of a module.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn cold_start(&mut self, start: ColdStart) -> Result<(), ToolError> {
        self.report.cold_starts.push(start);
        self.keep()
    }

    /// What is there so far says that it may not be all.
    fn keep(&self) -> Result<(), ToolError> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut so_far = self.report.clone();
        so_far.missing.push(not_all("the run was ended from outside"));
        file.write(so_far.to_json()?.as_bytes())
    }

    /// The report of a run that ended so, written for the last time. A run that failed before it measured anything
    /// leaves no file.
    ///
    /// # Errors
    /// What the run failed with, or the file cannot be written.
    pub fn end(mut self, ran: Result<(), ToolError>) -> Result<Report, ToolError> {
        if let Err(error) = &ran {
            self.report.missing.push(not_all(&error.to_string()));
        }
        let text = self.report.to_json()?;
        let measured = !self.report.cells.is_empty() || !self.report.cold_starts.is_empty();
        if let Some(file) = &self.file
            && (ran.is_ok() || measured)
        {
            file.write(text.as_bytes())?;
        }
        ran.map(|()| self.report)
    }
}

fn not_all(reason: &str) -> Missing {
    Missing { baseline: "warpnorm".to_owned(), reason: format!("nothing ran after this: {reason}") }
}
