//! Cells of the statistics of batch normalisation; the affine op at its end has cells of its own.

use super::cell::{Cell, Key, Launched};
use crate::batch::{self, BatchPoint};
use crate::cli::{ProfileArguments, Shape};
use crate::error::ToolError;
use crate::grid::{check_size, or_all};
use crate::ops::{BATCH_NORM, Choice};
use crate::ptxas::Functions;
use warpnorm::DType;
use warpnorm::emulated::Emulated;
use warpnorm::host::Placement;
use warpnorm::parity::Values;

/// Rows that a thread block takes several of; as many columns as make blocks of whole tiles.
const SHAPE: Shape = Shape { rows: 1024, hidden: 128 };

/// What sets the cell apart from one of all of batch normalisation.
const OPTIONS: &str = "statistics";

/// Any.
const SEED: u64 = 1;

/// The points that the options ask for: one for every type.
///
/// # Errors
/// Batch normalisation is asked for by name, with options that it does not take; or a shape is too large.
pub fn points(arguments: &ProfileArguments) -> Result<Vec<BatchPoint>, ToolError> {
    let ProfileArguments { subjects, parts, dtype, shape, quantise, .. } = arguments;
    let options = batch::check(*parts, quantise);
    if subjects.op.iter().any(|choice| matches!(choice, Choice::BatchNorm)) {
        options?;
    } else {
        let among_all = subjects.op.is_empty() || subjects.op.iter().any(|choice| matches!(choice, Choice::All));
        if subjects.preset.is_some() || !among_all || options.is_err() {
            return Ok(Vec::new());
        }
    }
    let mut points = Vec::new();
    for &dtype in or_all(dtype, &DType::ALL) {
        for &shape in or_all(shape, &[SHAPE]) {
            check_size(shape, 1)?;
            // No rows have no statistics, and nothing is launched for other ops either.
            if shape.rows > 0 {
                points.push(BatchPoint { dtype, shape, values: Values::Unit, seed: SEED });
            }
        }
    }
    Ok(points)
}

/// Whether the options ask for a cell of this key.
pub fn selected(arguments: &ProfileArguments, key: &Key) -> bool {
    let of_key = |point: &BatchPoint| {
        let shape = Shape { rows: key.rows, hidden: key.hidden };
        point.dtype.name() == key.dtype && (arguments.shape.is_empty() || point.shape == shape)
    };
    key.op == BATCH_NORM && points(arguments).is_ok_and(|points| points.iter().any(of_key))
}

/// Runs a point. `None` where there is nothing to launch.
///
/// # Errors
/// The shape is not possible, or the executor found a fault.
pub fn measure(device: &Emulated, point: &BatchPoint, assembled: &Functions) -> Result<Option<Cell>, ToolError> {
    let case = point.case()?;
    let problem = batch::problem(&case);
    let Some((plan, report)) = device.run_batch_counted(&problem, Placement::default())?.1 else { return Ok(None) };
    let key = Key {
        op: BATCH_NORM.to_owned(),
        options: OPTIONS.to_owned(),
        dtype: problem.dtype.name().to_owned(),
        weight: problem.weight.map(|weight| weight.dtype.name().to_owned()),
        bias: problem.bias.map(|bias| bias.dtype.name().to_owned()),
        tensors: Vec::new(),
        rows: problem.rows,
        hidden: problem.hidden,
        parts: 1,
    };
    let launched = Launched {
        kernel: plan.kernel.name(),
        // Nothing is kept: rows go through once.
        regime: "streamed",
        team_threads: plan.block,
        grid: plan.grid,
        block: plan.block,
        cluster: 1,
        shared_bytes: 0,
    };
    // Elements that are taken in; a few are put out.
    let elements = problem.rows * problem.hidden;
    Ok(Some(Cell::new(device, key, &launched, &report, problem.byte_floor(), elements, assembled)))
}
