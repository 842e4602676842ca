//! What the tool prints, and what it exits with.

use crate::error::{ToolError, one_line};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use warpnorm::host::Problem;
use warpnorm::parity::Verdict;
use warpnorm::ptx::{Origin, provenance};

/// How a command that ran to its end ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is as it should be.
    Passed,
    /// A result is outside its tolerance.
    Failed,
}

impl Outcome {
    /// Passed where every verdict is.
    pub fn of<'a>(verdicts: impl IntoIterator<Item = &'a Verdict>) -> Self {
        if verdicts.into_iter().all(|verdict| verdict.passed) { Outcome::Passed } else { Outcome::Failed }
    }

    /// What the process exits with.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(self.code())
    }

    fn code(self) -> u8 {
        match self {
            Outcome::Passed => 0,
            Outcome::Failed => 1,
        }
    }
}

/// Prints to standard output. A reader that has gone away is no error.
///
/// # Errors
/// [`ToolError::Stdout`] where the system refuses for another reason.
pub fn print(text: &str) -> Result<(), ToolError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ToolError::Stdout(error)),
        _ => Ok(()),
    }
}

/// Names and values, one a line, the values aligned.
#[derive(Default)]
pub struct Fields {
    fields: Vec<(String, String)>,
}

impl Fields {
    /// Adds a line; names from files may hold anything.
    pub fn add(&mut self, name: &str, value: impl Into<String>) {
        self.fields.push((one_line(name), one_line(&value.into())));
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        self.fields.iter().try_for_each(|(name, value)| writeln!(f, "{name:width$}  {value}"))
    }
}

/// A table with these headings, in Markdown: for terminals and reports alike.
pub fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(headings.iter().copied());
    table
}

/// Aligns the numbers of these columns.
pub fn align_right(table: &mut Table, columns: &[usize]) {
    for &column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// A size for people.
pub fn bytes(size: usize) -> String {
    const KIB: f64 = 1024.0;
    match size as f64 {
        size if size < KIB => format!("{size} B"),
        size if size < KIB * KIB => format!("{:.1} KiB", size / KIB),
        size if size < KIB * KIB * KIB => format!("{:.1} MiB", size / (KIB * KIB)),
        size => format!("{:.1} GiB", size / (KIB * KIB * KIB)),
    }
}

/// A bar on stderr, where stderr is a terminal.
pub fn progress(cells: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(cells as u64);
    match ProgressStyle::with_template("{bar:40} {pos}/{len} cells, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Where the kernels come from, in a word or two.
fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Prebuilt => "prebuilt",
        Origin::Nvcc => "compiled by this build",
    }
}

/// Where the kernels come from, on one line.
pub fn ptx() -> String {
    let provenance = provenance();
    format!("{}, by {}, of sources {}", origin(provenance.origin), provenance.compiler, provenance.source_hash)
}

/// Where the kernels come from, for machines.
#[derive(Serialize)]
pub struct PtxJson {
    origin: &'static str,
    compiler: &'static str,
    source_hash: &'static str,
}

impl PtxJson {
    /// Of this build.
    pub fn of_this_build() -> Self {
        let provenance = provenance();
        Self { origin: origin(provenance.origin), compiler: provenance.compiler, source_hash: provenance.source_hash }
    }
}

/// An error in units, short.
pub fn ulp(value: f64) -> String {
    format!("{value:.3}")
}

/// A share in per cent that says 100 only of all.
pub fn percent(share: f64) -> String {
    let percent = format!("{:.3}", 100.0 * share);
    if percent == "100.000" && share < 1.0 { "99.999 %".to_owned() } else { format!("{percent} %") }
}

/// A verdict on one line, of what the problem asks for.
pub fn verdict_line(verdict: &Verdict, problem: &Problem<'_>) -> String {
    let mut parts = Vec::new();
    let quantised = problem.norm.quantisation.is_some();
    if !quantised || problem.outputs.y {
        parts.push(of_y(verdict));
    }
    if quantised {
        parts.push(format!("{} mismatching bytes of codes and scales", verdict.code_mismatches));
    }
    format!("{}: {}", parts.join(", "), result(verdict))
}

/// A verdict on y alone on one line.
pub fn y_verdict_line(verdict: &Verdict) -> String {
    format!("{}: {}", of_y(verdict), result(verdict))
}

fn of_y(verdict: &Verdict) -> String {
    format!(
        "max {} ULP, mean {} ULP, {} correctly rounded, relative L2 {:.1e}",
        ulp(verdict.max_ulp),
        ulp(verdict.mean_ulp),
        percent(verdict.correctly_rounded),
        verdict.relative_l2,
    )
}

fn result(verdict: &Verdict) -> String {
    if verdict.passed { "passed".to_owned() } else { format!("FAILED: {}", faults(verdict)) }
}

/// What is outside the tolerance.
pub fn faults(verdict: &Verdict) -> String {
    let tolerance = &verdict.tolerance;
    let mut faults = Vec::new();
    if verdict.max_ulp > tolerance.max_ulp {
        faults.push(format!("an error of {} ULP (at most {})", ulp(verdict.max_ulp), tolerance.max_ulp));
    }
    let (misrounded, allowed) = (verdict.misrounded, tolerance.misrounded_allowed(verdict.elements));
    if misrounded > allowed {
        faults.push(format!("{misrounded} elements on the wrong side of a tie that is not near (at most {allowed})"));
    }
    if verdict.nonfinite_mismatches > 0 {
        faults.push(format!("{} NaN or infinities that do not match", verdict.nonfinite_mismatches));
    }
    if verdict.residual_mismatches > 0 {
        faults.push(format!("{} elements of the residual stream differ", verdict.residual_mismatches));
    }
    if verdict.code_mismatches > 0 {
        faults.push(format!("{} bytes of codes and scales differ", verdict.code_mismatches));
    }
    for (name, error) in [("mean", verdict.mean_max_ulp), ("rstd", verdict.rstd_max_ulp)] {
        if let Some(error) = error.filter(|&error| error > tolerance.statistic_ulp) {
            faults.push(format!("{name} off by {} ULP (at most {})", ulp(error), tolerance.statistic_ulp));
        }
    }
    if let Some(worst) = verdict.worst {
        let (row, column) = (worst.row, worst.column);
        faults.push(format!("worst at row {row}, column {column}: got {}, wanted {}", worst.got, worst.wanted));
    }
    faults.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use warpnorm::DType;
    use warpnorm::host::{Device, Placement};
    use warpnorm::parity::{Case, Values, judge};
    use warpnorm::quantise::{CodeType, Quantisation};
    use warpnorm::{Norm, reference::Cpu};

    fn case() -> Case {
        Case::new(Norm::layer_norm(1e-5), DType::F32, 2, 64, Values::Unit, 3).unwrap()
    }

    /// The verdicts on a right result and on the same with one sign turned.
    fn verdicts() -> (Verdict, Verdict) {
        let case = case();
        let problem = case.as_problem();
        let mut output = Cpu.run(&problem, Placement::default()).unwrap();
        let right = judge(&problem, &output).unwrap();
        output.y[4 * 70 + 3] ^= 0x80;
        (right, judge(&problem, &output).unwrap())
    }

    #[test]
    fn a_wrong_element_makes_the_exit_code_1() {
        let (right, wrong) = verdicts();
        assert_eq!(Outcome::of([&right]).code(), 0);
        assert_eq!(Outcome::of([&right, &wrong]).code(), 1);
        assert_eq!(Outcome::of([&wrong, &right]).code(), 1);
        assert_eq!(Outcome::of([]).code(), 0);
    }

    #[test]
    fn misrounded_elements_are_a_fault_of_their_own() {
        let case = Case::new(Norm::layer_norm(1e-5), DType::BF16, 2, 64, Values::Unit, 3).unwrap();
        let problem = case.as_problem();
        let mut output = Cpu.run(&problem, Placement::default()).unwrap();
        for element in 0..6 {
            output.y[2 * element] ^= 1;
        }
        let verdict = judge(&problem, &output).unwrap();
        assert!(faults(&verdict).starts_with(&format!("{} elements on the", verdict.misrounded)), "{verdict:?}");
        assert!((3..=6).contains(&verdict.misrounded), "{verdict:?}");
    }

    #[test]
    fn a_failure_says_where() {
        let (right, wrong) = verdicts();
        let case = case();
        let line = |verdict| verdict_line(verdict, &case.as_problem());
        assert!(line(&right).ends_with(": passed"), "{}", line(&right));
        let line = line(&wrong);
        assert!(line.contains("FAILED") && line.contains("worst at row 1, column 6"), "{line}");
    }

    #[test]
    fn codes_that_differ_are_counted() {
        let norm = Norm::rms_norm(1e-6).with_quantisation(Quantisation::per_token(CodeType::E4m3));
        let mut case = Case::new(norm, DType::F16, 2, 64, Values::Unit, 3).unwrap();
        case.outputs.y = false;
        let problem = case.as_problem();
        let mut output = Cpu.run(&problem, Placement::default()).unwrap();
        let line = |output: &_| verdict_line(&judge(&problem, output).unwrap(), &problem);
        assert_eq!(line(&output), "0 mismatching bytes of codes and scales: passed");
        output.codes.as_mut().unwrap()[70] ^= 1;
        output.scales.as_mut().unwrap()[5] ^= 0x80;
        let wanted = "2 mismatching bytes of codes and scales: FAILED: 2 bytes of codes and scales differ";
        assert_eq!(line(&output), wanted);
    }

    #[test]
    fn a_share_below_one_is_not_all() {
        assert_eq!(percent(1.0), "100.000 %");
        assert_eq!(percent(1.0 - 1e-9), "99.999 %");
        assert_eq!(percent(0.99512), "99.512 %");
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes(17), "17 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(141 << 30), "141.0 GiB");
    }
}
