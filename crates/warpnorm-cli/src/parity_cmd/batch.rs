//! Cells of batch normalisation.

use super::{Beside, Cell, points};
use crate::batch::{self, Applied, BatchPoint};
use crate::cli::{ParityArguments, Shape};
use crate::device::Chosen;
use crate::error::ToolError;
use crate::grid::{check_size, or_all};
use crate::ops::Choice;
use warpnorm::host::{BatchProblem, Problem};
use warpnorm::parity::Values;
use warpnorm::plan::ColumnPlan;
use warpnorm::{BatchStatistics, DType, Norm};

/// More rows than a thread block takes at a time, and as many as make it go through them again and again; columns
/// that no tile divides.
const SHAPES: [Shape; 2] = [Shape { rows: 300, hidden: 100 }, Shape { rows: 3000, hidden: 24 }];

/// What sets a cell of batch normalisation apart.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    pub statistics: BatchStatistics,
    /// The plan of the statistics; the reference makes none.
    pub plan: Option<ColumnPlan>,
}

/// The points that the options ask for.
///
/// # Errors
/// Batch normalisation is asked for by name, with options that it does not take; or a shape is too large.
pub fn points(arguments: &ParityArguments) -> Result<Vec<BatchPoint>, ToolError> {
    let ops = &arguments.subjects.op;
    let named = ops.iter().any(|choice| matches!(choice, Choice::BatchNorm));
    let options = batch::check(arguments.parts, &arguments.quantise);
    let shapes = match (named, options) {
        (true, options) => options.map(|()| &SHAPES[..])?,
        (false, Ok(())) if ops.iter().any(|choice| matches!(choice, Choice::All)) => &SHAPES[..1],
        _ => return Ok(Vec::new()),
    };
    let mut all = Vec::new();
    for &dtype in or_all(&arguments.dtype, &DType::ALL) {
        for &shape in or_all(&arguments.shape, shapes) {
            check_size(shape, 1)?;
            let seed = points::seed(arguments);
            let point = |&values: &Values| BatchPoint { dtype, shape, values, seed };
            all.extend(or_all(&arguments.values, &[Values::Unit]).iter().map(point));
        }
    }
    Ok(all)
}

/// Runs a problem and compares it with the reference.
pub fn cell(chosen: &Chosen, problem: &BatchProblem<'_>, data: String) -> Result<Cell, ToolError> {
    let applied = batch::apply(chosen, problem)?;
    let verdict = applied.judge(problem)?;
    let Applied { columns, affine, .. } = applied;
    let BatchProblem { statistics, dtype, rows, hidden, x, weight, bias } = *problem;
    let norm = Norm::affine();
    Ok(Cell {
        norm,
        batch: Some(Batch { statistics, plan: columns }),
        dtype,
        rows,
        parts: 1,
        hidden,
        data,
        weight: weight.map(|weight| weight.dtype),
        bias: bias.map(|bias| bias.dtype),
        beside: Beside::new(&Problem::new(norm, dtype, rows, hidden, x)),
        tensor_scale: None,
        plan: affine,
        verdict,
    })
}
