//! Reports for people: Markdown tables, and plots in SVG.
//!
//! Whatever is no timing is labelled so, in every table and every plot, and has counters where times would be.

mod markdown;
mod plots;
mod readme;
mod svg;

pub use markdown::{markdown, summary};
pub use plots::{Plot, Series, Value, plots};
pub use readme::{BEGIN, END, readme_section, replace_section};
pub use svg::svg;

use crate::report::{Cell, PEERS_TOOL, Report};

/// What stands over everything that is no timing.
pub const NOT_A_TIMING: &str = "not a timing";

/// What a report is of, for headings.
pub fn heading(report: &Report) -> String {
    let what = if report.tool == PEERS_TOOL { "other libraries" } else { "cuBLAS and a bare copy" };
    let device = &report.device;
    if report.timing {
        format!("{}: warpnorm beside {what}", device.name)
    } else {
        format!("{} ({}): {NOT_A_TIMING}", device.name, device.kind)
    }
}

/// A name that is fit for a file: `nvidia-h100-80gb-hbm3`.
pub fn file_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.to_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.ends_with('-') && !name.is_empty() {
            name.push('-');
        }
    }
    name.trim_end_matches('-').to_owned()
}

/// Ops of a report with their options, in the order of its cells.
fn titles(report: &Report) -> Vec<String> {
    distinct(report.cells.iter().map(Cell::title))
}

/// Each once, in the order in which they first come.
fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut once = Vec::new();
    for one in all {
        if !once.contains(&one) {
            once.push(one);
        }
    }
    once
}

/// Names of the baselines that have a time in some cell.
fn baselines(report: &Report) -> Vec<String> {
    let all = report.cells.iter().flat_map(|cell| &cell.baselines);
    distinct(all.filter(|baseline| baseline.speed_up.is_some()).map(|baseline| baseline.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fit_for_files() {
        assert_eq!(file_name("NVIDIA H100 80GB HBM3"), "nvidia-h100-80gb-hbm3");
        assert_eq!(file_name("  rms-norm (per-token e4m3) "), "rms-norm-per-token-e4m3");
    }
}
