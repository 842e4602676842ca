//! `warpnorm parity`: a device against the f64 reference, cell by cell.

mod batch;
mod json;
mod points;

use crate::batch::{self as batch_norm, BatchPoint};
use crate::cli::ParityArguments;
use crate::device::Chosen;
use crate::error::ToolError;
use crate::files::{Destination, NormInput, TensorFile, Tensors};
use crate::grid::Point;
use crate::ops::{self, BATCH_NORM, Choice, OPS, Subject, op_name};
use crate::quantise::Quantised;
use crate::report::{self, Fields, Outcome, align_right, percent, progress, table, ulp};
use crate::words::{shape_words, variant};
use warpnorm::host::{Outputs, Placement, Problem};
use warpnorm::parity::{Verdict, judge};
use warpnorm::plan::Plan;
use warpnorm::{BatchStatistics, DType, Norm, PositionType};

/// One comparison.
struct Cell {
    /// Of batch normalisation, the affine op at its end.
    norm: Norm,
    batch: Option<batch::Batch>,
    dtype: DType,
    rows: usize,
    /// Heads or groups of a row.
    parts: usize,
    hidden: usize,
    /// The kind of data, or the prefix in the file.
    data: String,
    weight: Option<DType>,
    bias: Option<DType>,
    beside: Beside,
    tensor_scale: Option<f32>,
    plan: Option<Plan>,
    verdict: Verdict,
}

impl Cell {
    fn op(&self) -> String {
        self.batch.map_or_else(|| op_name(&self.norm), |_| BATCH_NORM.to_owned())
    }

    fn shape(&self) -> String {
        shape_words(self.rows, self.parts, self.hidden)
    }
}

/// The tensors beside x, residual, weight and bias.
struct Beside {
    /// The type of a gate's tensor, which an activation can go without.
    gate: Option<DType>,
    linear_bias: Option<DType>,
    inner_weight: Option<DType>,
    rate: Option<DType>,
    /// Heads of a row of a second tensor.
    second_parts: Option<usize>,
    tables: Option<DType>,
    positions: Option<PositionType>,
}

impl Beside {
    fn new(problem: &Problem<'_>) -> Self {
        let positions = problem.rope.filter(|tables| tables.positions.is_some());
        Self {
            gate: problem.gate.map(|_| problem.dtype),
            linear_bias: problem.linear_bias.map(|vector| vector.dtype),
            inner_weight: problem.inner_weight.map(|vector| vector.dtype),
            rate: problem.rate.map(|vector| vector.dtype),
            second_parts: problem.second.map(|heads| heads.count),
            tables: problem.rope.map(|tables| tables.dtype),
            positions: positions.map(|tables| tables.position_type),
        }
    }
}

/// Runs the command.
pub fn run(arguments: &ParityArguments) -> Result<Outcome, ToolError> {
    if let (None, Some(option)) = (&arguments.input, arguments.norm.given().next()) {
        return Err(ToolError::Usage(format!("{option} goes with --input: a grid covers its own options; see --help")));
    }
    let json = arguments.json.as_deref().map(Destination::new).transpose()?;
    let cells;
    let chosen;
    match &arguments.input {
        Some(path) => {
            let file = TensorFile::read(path)?;
            let tensors = file.tensors()?;
            let problems = file_problems(arguments, &tensors)?;
            let batches = file_batches(arguments, &tensors)?;
            chosen = Chosen::open(&arguments.device)?;
            cells = compare_file(&chosen, &problems, &batches, arguments.quantise.quantised_file()?)?;
        }
        None => {
            chosen = Chosen::open(&arguments.device)?;
            cells = compare_grid(&chosen, arguments)?;
        }
    }
    let outcome = Outcome::of(cells.iter().map(|cell| &cell.verdict));
    if let Some(json) = json {
        json.write(json::render(arguments, &chosen, &cells, outcome).as_bytes())?;
    }
    report::print(&summary(arguments, &chosen, &cells))?;
    Ok(outcome)
}

/// The norms of a file that the options ask for.
fn file_problems<'a>(arguments: &ParityArguments, tensors: &Tensors<'a>) -> Result<Vec<NormInput<'a>>, ToolError> {
    let quantisation = arguments.quantise.quantised_file()?.map(|quantised| quantised.quantisation);
    let subjects = file_subjects(arguments)?;
    let mut problems = Vec::new();
    for prefix in tensors.prefixes()? {
        let present = tensors.present(&prefix)?;
        for subject in &subjects {
            let norm = arguments.norm.norm(subject, arguments.parts, quantisation, &present)?;
            problems.push(tensors.norm_input(&prefix, norm, arguments.parts.count().unwrap_or(1))?);
        }
    }
    Ok(problems)
}

/// The batches of a file that are to be normalised.
fn file_batches<'a>(
    arguments: &ParityArguments,
    tensors: &Tensors<'a>,
) -> Result<Vec<(NormInput<'a>, BatchStatistics)>, ToolError> {
    if !arguments.subjects.op.iter().any(|choice| matches!(choice, Choice::BatchNorm)) {
        return Ok(Vec::new());
    }
    let statistics = batch_norm::statistics(&arguments.norm, arguments.parts, &arguments.quantise)?;
    let input = |prefix: String| {
        tensors.present(&prefix)?.check_batch_norm()?;
        Ok((tensors.norm_input(&prefix, Norm::affine(), 1)?, statistics))
    };
    tensors.prefixes()?.into_iter().map(input).collect()
}

/// What to make of each set of tensors: where nothing is asked for, the two norms that everyone has.
fn file_subjects(arguments: &ParityArguments) -> Result<Vec<Subject>, ToolError> {
    if let Some(preset) = arguments.subjects.preset {
        return Ok(vec![Subject::Preset(preset)]);
    }
    let by_default = || ["layer-norm", "rms-norm"].into_iter().filter_map(ops::named).collect();
    let mut asked = Vec::new();
    for choice in &arguments.subjects.op {
        match choice {
            Choice::One(op) => asked.push(*op),
            Choice::BatchNorm => {}
            // No file has the tensors of every op, and none that they do not use.
            Choice::All => {
                let names = OPS.iter().map(|op| op.name).collect::<Vec<_>>().join(", ");
                return Err(ToolError::Usage(format!("--op all goes without --input, wanted some of {names}")));
            }
        }
    }
    let ops = if arguments.subjects.op.is_empty() { by_default() } else { asked };
    Ok(ops.into_iter().map(Subject::Op).collect())
}

fn compare_file(
    chosen: &Chosen,
    inputs: &[NormInput<'_>],
    batches: &[(NormInput<'_>, BatchStatistics)],
    quantised: Option<Quantised>,
) -> Result<Vec<Cell>, ToolError> {
    let y = quantised.is_none_or(|quantised| quantised.with_y);
    let tensor_scale = quantised.and_then(|quantised| quantised.tensor_scale);
    let progress = progress(inputs.len() + batches.len());
    let compare = |input: &NormInput<'_>| {
        let outputs = Outputs { y, ..input.all_outputs() };
        let cell = cell(chosen, &input.problem(tensor_scale, outputs), input.prefix.clone());
        progress.inc(1);
        cell
    };
    let compare_batch = |(input, statistics): &(NormInput<'_>, BatchStatistics)| {
        let cell = batch::cell(chosen, &input.batch_problem(*statistics), input.prefix.clone());
        progress.inc(1);
        cell
    };
    inputs.iter().map(compare).chain(batches.iter().map(compare_batch)).collect()
}

fn compare_grid(chosen: &Chosen, arguments: &ParityArguments) -> Result<Vec<Cell>, ToolError> {
    let (points, batches) = (points::points(arguments)?, batch::points(arguments)?);
    let progress = progress(points.len() + batches.len());
    let compare = |point: &Point| {
        let case = point.case()?;
        let cell = cell(chosen, &case.as_problem(), point.values.name().to_owned());
        progress.inc(1);
        cell
    };
    let compare_batch = |point: &BatchPoint| {
        let case = point.case()?;
        let cell = batch::cell(chosen, &batch_norm::problem(&case), point.values.name().to_owned());
        progress.inc(1);
        cell
    };
    points.iter().map(compare).chain(batches.iter().map(compare_batch)).collect()
}

fn cell(chosen: &Chosen, problem: &Problem<'_>, data: String) -> Result<Cell, ToolError> {
    let plan = chosen.plan(problem)?;
    let output = chosen.device.run(problem, Placement::default())?;
    Ok(Cell {
        norm: problem.norm,
        batch: None,
        dtype: problem.dtype,
        rows: problem.rows,
        parts: problem.parts,
        hidden: problem.hidden,
        data,
        weight: problem.weight.map(|weight| weight.dtype),
        bias: problem.bias.map(|bias| bias.dtype),
        beside: Beside::new(problem),
        tensor_scale: problem.tensor_scale,
        plan,
        verdict: judge(problem, &output)?,
    })
}

fn summary(arguments: &ParityArguments, chosen: &Chosen, cells: &[Cell]) -> String {
    let mut fields = Fields::default();
    fields.add("device", chosen.describe());
    if chosen.facts.is_some() {
        fields.add("PTX", report::ptx());
    }
    match &arguments.input {
        Some(path) => fields.add("data", path.display().to_string()),
        None => fields.add("data", format!("random, seed {}", points::seed(arguments))),
    }
    let failed = cells.iter().filter(|cell| !cell.verdict.passed).count();
    let result = match failed {
        0 => format!("all {} cells passed", cells.len()),
        failed => format!("{failed} of {} cells FAILED", cells.len()),
    };
    let mut text = format!("{fields}\n{}\n\n{result}\n", cells_table(cells));
    for cell in cells.iter().filter(|cell| !cell.verdict.passed) {
        let mut faults = Fields::default();
        let place = format!("{} {} {} {}", cell.op(), cell.dtype, cell.shape(), cell.data);
        faults.add(&place, report::faults(&cell.verdict));
        text.push_str(&faults.to_string());
    }
    text
}

fn cells_table(cells: &[Cell]) -> String {
    let headings = [
        "op",
        "options",
        "type",
        "shape",
        "data",
        "max ULP",
        "mean ULP",
        "correctly rounded",
        "relative L2",
        "code mismatches",
        "verdict",
    ];
    let mut table = table(&headings);
    for cell in cells {
        let verdict = &cell.verdict;
        table.add_row([
            cell.op(),
            variant(&cell.norm),
            cell.dtype.to_string(),
            cell.shape(),
            crate::error::one_line(&cell.data),
            ulp(verdict.max_ulp),
            ulp(verdict.mean_ulp),
            percent(verdict.correctly_rounded),
            format!("{:.1e}", verdict.relative_l2),
            cell.norm.quantisation.map_or_else(|| "-".to_owned(), |_| verdict.code_mismatches.to_string()),
            (if verdict.passed { "passed" } else { "FAILED" }).to_owned(),
        ]);
    }
    align_right(&mut table, &[3, 5, 6, 7, 8, 9]);
    table.to_string()
}
