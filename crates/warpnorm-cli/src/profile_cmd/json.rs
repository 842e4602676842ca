//! The report of `profile` for machines, which is also the form of a baseline.

use super::cell::Cell;
use crate::ptxas::Ptxas;
use crate::report::PtxJson;
use serde::Serialize;
use warpnorm::DeviceFacts;

#[derive(Serialize)]
struct HeadJson<'a> {
    warpnorm: &'static str,
    gpu: &'a str,
    compute_capability: String,
    ptx: PtxJson,
    /// The assembler's version.
    ptxas: Option<&'a str>,
}

/// The report as text, ending in a line break: a cell on a line, so that a change of one shows as one.
pub fn render(facts: &DeviceFacts, ptxas: Option<&Ptxas>, cells: &[Cell]) -> String {
    let (major, minor) = facts.compute_capability;
    let head = HeadJson {
        warpnorm: env!("CARGO_PKG_VERSION"),
        gpu: &facts.name,
        compute_capability: format!("{major}.{minor}"),
        ptx: PtxJson::of_this_build(),
        ptxas: ptxas.map(|ptxas| ptxas.version.as_str()),
    };
    // Strings, finite numbers and lists always have a JSON form.
    let head = serde_json::to_string_pretty(&head).unwrap_or_default();
    let open = head.strip_suffix("\n}").unwrap_or(&head);
    let lines: Vec<String> = cells.iter().map(|cell| serde_json::to_string(cell).unwrap_or_default()).collect();
    format!("{open},\n  \"cells\": [\n    {}\n  ]\n}}\n", lines.join(",\n    "))
}
