//! `warpnorm parity`: a device against the f64 reference, cell by cell.

mod json;
mod points;

use crate::cli::{GridOp, Op, ParityArguments};
use crate::device::Chosen;
use crate::error::ToolError;
use crate::files::{Destination, NormInput, TensorFile, Tensors};
use crate::grid::Point;
use crate::options::{op_name, variant};
use crate::quantise::Quantised;
use crate::report::{self, Fields, Outcome, align_right, percent, progress, table, ulp};
use warpnorm::host::{Outputs, Placement, Problem};
use warpnorm::parity::{Verdict, judge};
use warpnorm::plan::Plan;
use warpnorm::{DType, Family, Norm};

/// One comparison.
struct Cell {
    norm: Norm,
    dtype: DType,
    rows: usize,
    hidden: usize,
    /// The kind of data, or the prefix in the file.
    data: String,
    weight: Option<DType>,
    bias: Option<DType>,
    tensor_scale: Option<f32>,
    plan: Option<Plan>,
    verdict: Verdict,
}

/// Runs the command.
pub fn run(arguments: &ParityArguments) -> Result<Outcome, ToolError> {
    if let (None, Some(option)) = (&arguments.input, arguments.norm.first_given()) {
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
            chosen = Chosen::open(&arguments.device)?;
            cells = compare_file(&chosen, &problems, arguments.quantise.quantised_file()?)?;
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
fn file_problems<'a>(
    arguments: &ParityArguments,
    tensors: &Tensors<'a>,
) -> Result<Vec<(NormInput<'a>, Norm)>, ToolError> {
    let ops: Vec<GridOp> = match arguments.op.as_slice() {
        [] => [Op::LayerNorm, Op::RmsNorm].map(GridOp::from).to_vec(),
        given => given.to_vec(),
    };
    let quantisation = arguments.quantise.quantised_file()?.map(|quantised| quantised.quantisation);
    let mut problems = Vec::new();
    for prefix in tensors.prefixes()? {
        for &op in &ops {
            let input = tensors.norm_input(&prefix)?;
            if op.adds() && input.residual.is_none() {
                let option = if op == GridOp::AddLayerNorm { "--op add-layer-norm" } else { "--op add-rms-norm" };
                return Err(ToolError::OptionWithoutTensor { option, tensor: input.tensor_name("residual") });
            }
            let norm = arguments.norm.norm(op.family(), quantisation, &input)?;
            problems.push((input, norm));
        }
    }
    Ok(problems)
}

fn compare_file(
    chosen: &Chosen,
    problems: &[(NormInput<'_>, Norm)],
    quantised: Option<Quantised>,
) -> Result<Vec<Cell>, ToolError> {
    let y = quantised.is_none_or(|quantised| quantised.with_y);
    let tensor_scale = quantised.and_then(|quantised| quantised.tensor_scale);
    let progress = progress(problems.len());
    let compare = |(input, norm): &(NormInput<'_>, Norm)| {
        let outputs =
            Outputs { y, residual: norm.residual_add().is_some(), mean: norm.family == Family::LayerNorm, rstd: true };
        let cell = cell(chosen, &input.problem(*norm, tensor_scale, outputs), input.prefix.clone());
        progress.inc(1);
        cell
    };
    problems.iter().map(compare).collect()
}

fn compare_grid(chosen: &Chosen, arguments: &ParityArguments) -> Result<Vec<Cell>, ToolError> {
    let points = points::points(arguments)?;
    let progress = progress(points.len());
    let compare = |point: &Point| {
        let case = point.case()?;
        let cell = cell(chosen, &case.as_problem(), point.values.name().to_owned());
        progress.inc(1);
        cell
    };
    points.iter().map(compare).collect()
}

fn cell(chosen: &Chosen, problem: &Problem<'_>, data: String) -> Result<Cell, ToolError> {
    let plan = chosen.plan(problem)?;
    let output = chosen.device.run(problem, Placement::default())?;
    Ok(Cell {
        norm: problem.norm,
        dtype: problem.dtype,
        rows: problem.rows,
        hidden: problem.hidden,
        data,
        weight: problem.weight.map(|weight| weight.dtype),
        bias: problem.bias.map(|bias| bias.dtype),
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
        let place = format!("{} {} {}x{} {}", op_name(&cell.norm), cell.dtype, cell.rows, cell.hidden, cell.data);
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
            op_name(&cell.norm).to_owned(),
            variant(&cell.norm),
            cell.dtype.to_string(),
            format!("{}x{}", cell.rows, cell.hidden),
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

impl From<Op> for GridOp {
    fn from(op: Op) -> Self {
        match op {
            Op::LayerNorm => GridOp::LayerNorm,
            Op::RmsNorm => GridOp::RmsNorm,
        }
    }
}
