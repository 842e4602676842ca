//! `warpnorm profile`: what every kernel moves and costs, counted by the executor, and what ptxas makes of it.

mod baseline;
mod batch;
mod cell;
mod json;
mod points;

use crate::batch::BatchPoint;
use crate::cli::ProfileArguments;
use crate::error::ToolError;
use crate::files::Destination;
use crate::grid::Point;
use crate::ptxas::{Functions, Ptxas};
use crate::report::{self, Fields, Outcome, align_right, bytes, progress, table};
use baseline::{Baseline, Comparison};
use cell::{Cell, Key};
use warpnorm::DeviceFacts;
use warpnorm::emulated::Emulated;
use warpnorm::plan::Module;
use warpnorm::ptx::{self, EmbeddedModule};

/// Runs the command.
pub fn run(arguments: &ProfileArguments) -> Result<Outcome, ToolError> {
    let json = arguments.json.as_deref().map(Destination::new).transpose()?;
    let baseline = arguments.baseline.as_deref().map(Baseline::read).transpose()?;
    let facts = arguments.gpu.clone().unwrap_or_else(DeviceFacts::h200);
    if let Some(baseline) = &baseline {
        baseline.check_gpu(&facts)?;
    }
    let ptxas = Ptxas::find(arguments.ptxas.as_deref())?;
    let (points, batches) = (points::points(arguments)?, batch::points(arguments)?);
    let assembled = match &ptxas {
        Some(ptxas) => assemble(ptxas, &facts, &points, &batches)?,
        None => Functions::new(),
    };
    let cells = measure(&facts, &points, &batches, &assembled)?;
    if let Some(json) = json {
        json.write(json::render(&facts, ptxas.as_ref(), &cells).as_bytes())?;
    }
    let whole = points::is_whole(arguments);
    let selected = |key: &Key| points::selected(arguments, key) || batch::selected(arguments, key);
    let comparison = baseline.map(|baseline| baseline.compare(&cells, whole, selected));
    report::print(&summary(&facts, ptxas.as_ref(), &cells, comparison.as_ref()))?;
    Ok(if comparison.is_some_and(|comparison| comparison.is_worse()) { Outcome::Failed } else { Outcome::Passed })
}

/// What ptxas says of every kernel of the modules that the points run, by name.
fn assemble(
    ptxas: &Ptxas,
    facts: &DeviceFacts,
    points: &[Point],
    batches: &[BatchPoint],
) -> Result<Functions, ToolError> {
    let capability = facts.compute_capability;
    let mut modules: Vec<(&EmbeddedModule, (u32, u32))> = Vec::new();
    let of_points = points.iter().map(|point| Module::of(&point.norm, point.dtype));
    for module in of_points.chain(batches.iter().map(|point| Module::of_columns(point.dtype))) {
        let module = ptx::select(module, capability, None).map_err(warpnorm::Error::from)?;
        if !modules.iter().any(|(there, _)| std::ptr::eq(*there, module)) {
            modules.push((module, capability));
        }
    }
    Ok(ptxas.assemble(&modules)?.into_iter().flatten().collect())
}

fn measure(
    facts: &DeviceFacts,
    points: &[Point],
    batches: &[BatchPoint],
    assembled: &Functions,
) -> Result<Vec<Cell>, ToolError> {
    let device = Emulated::new(facts.clone());
    let count = points.len() + batches.len();
    let progress = progress(count);
    let mut cells = Vec::with_capacity(count);
    for point in points {
        cells.extend(Cell::measure(&device, point, assembled)?);
        progress.inc(1);
    }
    for point in batches {
        cells.extend(batch::measure(&device, point, assembled)?);
        progress.inc(1);
    }
    Ok(cells)
}

fn summary(facts: &DeviceFacts, ptxas: Option<&Ptxas>, cells: &[Cell], comparison: Option<&Comparison>) -> String {
    let mut fields = Fields::default();
    let by = if ptxas.is_some() { "by the executor and by ptxas" } else { "by the executor" };
    fields.add("GPU", format!("{}, {by}", facts.name));
    fields.add("PTX", report::ptx());
    fields.add(
        "ptxas",
        ptxas.map_or("not found: no registers, spills and occupancy".to_owned(), |ptxas| ptxas.version.clone()),
    );
    let mut text = format!("{fields}\n{}\n", cells_table(cells));
    if let Some(comparison) = comparison {
        text.push_str(&format!("\n{comparison}"));
    }
    text
}

/// Headings, and whether the column holds numbers.
const COLUMNS: [(&str, bool); 19] = [
    ("op", false),
    ("options", false),
    ("parameters", false),
    ("type", false),
    ("shape", true),
    ("kernel", false),
    ("regime", false),
    ("moved", true),
    ("floor", true),
    ("moved / floor", true),
    ("requested", true),
    ("sectors / request", true),
    ("ideal", true),
    ("bank conflicts", true),
    ("instructions / element", true),
    ("barriers", true),
    ("registers", true),
    ("spilled", true),
    ("occupancy", true),
];

fn cells_table(cells: &[Cell]) -> String {
    let mut table = table(&COLUMNS.map(|(heading, _)| heading));
    for cell in cells {
        let size = |size: u64| bytes(usize::try_from(size).unwrap_or(usize::MAX));
        let known = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let [moved, floor] = [cell.distinct_bytes(), cell.floor_bytes()];
        let requests = cell.loads.requests + cell.stores.requests;
        let per_request = |sectors: u64| format!("{:.2}", sectors as f64 / requests.max(1) as f64);
        let assembled = cell.assembled.as_ref();
        table.add_row([
            cell.key.op.clone(),
            cell.key.options.clone(),
            cell.key.parameters(),
            cell.key.dtype.clone(),
            cell.key.shape(),
            cell.kernel.clone(),
            cell.regime_and_reads(),
            size(moved),
            size(floor),
            format!("{:.3}", moved as f64 / floor.max(1) as f64),
            size(cell.loads.bytes + cell.stores.bytes),
            per_request(cell.loads.sectors + cell.stores.sectors),
            per_request(cell.loads.ideal_sectors + cell.stores.ideal_sectors),
            cell.bank_conflicts.to_string(),
            format!("{:.1}", cell.instructions_per_element),
            cell.barriers_of_a_block().to_string(),
            known(assembled.map(|of| of.registers.to_string())),
            known(assembled.map(|of| of.spill_bytes.to_string())),
            known(assembled.map(|of| format!("{:.0} %", 100.0 * of.occupancy))),
        ]);
    }
    let numbers: Vec<usize> = (0..COLUMNS.len()).filter(|&column| COLUMNS[column].1).collect();
    align_right(&mut table, &numbers);
    table.to_string()
}
