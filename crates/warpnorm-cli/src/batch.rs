//! Batch normalisation: the statistics of a batch's columns, folded, and the affine op with what they fold to. It is
//! no norm of rows and takes two launches, so that it stands beside the table of ops.

use crate::cli::{NormOptions, PartOptions, QuantiseOptions, Shape};
use crate::device::Chosen;
use crate::error::ToolError;
use crate::ops::BATCH_NORM;
use warpnorm::host::{BatchOutput, BatchProblem, Placement, Problem, Vector};
use warpnorm::parity::{Case, Values, Verdict, judge_batch_norm};
use warpnorm::plan::{ColumnPlan, Plan};
use warpnorm::{BatchStatistics, CallError, DType, Norm};

/// As networks mostly have it.
pub const STATISTICS: BatchStatistics = BatchStatistics::new(1e-5);

/// The statistics that the options ask for.
///
/// # Errors
/// An option would do nothing, or eps is never valid.
pub fn statistics(
    norm: &NormOptions,
    parts: PartOptions,
    quantise: &QuantiseOptions,
) -> Result<BatchStatistics, ToolError> {
    if let Some(option) = norm.given().find(|&option| option != "--eps") {
        return Err(goes_without(option));
    }
    check(parts, quantise)?;
    let statistics = norm.eps.map_or(STATISTICS, BatchStatistics::new);
    statistics.validate().map_err(CallError::from)?;
    Ok(statistics)
}

/// Refuses what divides or quantises rows.
///
/// # Errors
/// It is asked for.
pub fn check(parts: PartOptions, quantise: &QuantiseOptions) -> Result<(), ToolError> {
    let given = [
        (parts.heads.is_some(), "--heads"),
        (parts.groups.is_some(), "--groups"),
        (quantise.quantise.is_some(), "--quantise"),
    ];
    match given.into_iter().find(|(given, _)| *given) {
        Some((_, option)) => Err(goes_without(option)),
        None => Ok(()),
    }
}

fn goes_without(option: &str) -> ToolError {
    ToolError::Usage(format!("{option} does not go with --op {BATCH_NORM}; see --help"))
}

/// What batch normalisation gave, and how.
pub struct Applied {
    /// `rows × hidden` elements of the type of x.
    pub y: Vec<u8>,
    /// The statistics, and what they fold to.
    pub statistics: BatchOutput,
    /// The plan of the statistics; the reference makes none.
    pub columns: Option<ColumnPlan>,
    /// The plan of the affine op.
    pub affine: Option<Plan>,
}

impl Applied {
    /// How far it is from the reference.
    ///
    /// # Errors
    /// None, since the problem was run.
    pub fn judge(&self, problem: &BatchProblem<'_>) -> Result<Verdict, ToolError> {
        Ok(judge_batch_norm(problem, &self.statistics, &self.y)?)
    }
}

/// Runs batch normalisation on a device.
///
/// # Errors
/// The problem is invalid, or the device failed.
pub fn apply(chosen: &Chosen, problem: &BatchProblem<'_>) -> Result<Applied, ToolError> {
    let statistics = chosen.device.run_batch(problem, Placement::default())?;
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_ne_bytes()).collect::<Vec<u8>>();
    let (scale, shift) = (bytes(&statistics.scale), bytes(&statistics.shift));
    let vector = |bytes| Some(Vector { dtype: DType::F32, bytes });
    let affine = Problem {
        weight: vector(&scale),
        bias: vector(&shift),
        ..Problem::new(Norm::affine(), problem.dtype, problem.rows, problem.hidden, problem.x)
    };
    let columns = chosen.facts.as_ref().map(|facts| problem.plan(facts)).transpose()?;
    let plan = chosen.plan(&affine)?;
    Ok(Applied { y: chosen.device.run(&affine, Placement::default())?.y, statistics, columns, affine: plan })
}

/// A point of a grid: with γ and β of the type of x.
#[derive(Clone, Copy, Debug)]
pub struct BatchPoint {
    /// The type of all tensors.
    pub dtype: DType,
    /// Rows and columns.
    pub shape: Shape,
    /// What the data are like.
    pub values: Values,
    /// The seed of the data.
    pub seed: u64,
}

impl BatchPoint {
    /// The data of the point.
    ///
    /// # Errors
    /// The shape is not possible.
    pub fn case(&self) -> Result<Case, CallError> {
        let (Shape { rows, hidden }, dtype) = (self.shape, self.dtype);
        let case = Case::new(Norm::affine(), dtype, rows, hidden, self.values, self.seed)?;
        Ok(case.with_weight(dtype).with_bias(dtype))
    }
}

/// The problem of a point's data.
pub fn problem(case: &Case) -> BatchProblem<'_> {
    let Problem { dtype, rows, hidden, x, weight, bias, .. } = case.as_problem();
    BatchProblem { weight, bias, ..BatchProblem::new(STATISTICS, dtype, rows, hidden, x) }
}
