//! Verdicts on the statistics of columns, and on batch normalisation.

use super::Verdict;
use super::verdict::Tally;
use crate::host::{BatchOutput, BatchProblem, HostError, Outputs};
use crate::reference::columns::{Bound, Column, of_problem};
use crate::reference::{Value, decode};
use crate::{Error, Norm, Role};

/// The result of a column that is furthest from the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorstOfColumns {
    /// Its column.
    pub column: usize,
    /// The result, the largest error it may have among it.
    pub wanted: Bound,
    /// What the device gave.
    pub got: f32,
    /// Its error as a share of what it may be.
    pub share: f64,
}

/// How far statistics are from the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColumnVerdict {
    /// The largest errors of mean, rstd, scale and shift, as shares of what they may be; infinite where one is NaN
    /// or infinite and the reference is not, or the other way round.
    pub shares: [f64; 4],
    /// The result with the largest share, if any has one.
    pub worst: Option<WorstOfColumns>,
    /// Whether all of it is within the tolerance.
    pub passed: bool,
}

/// Holds results against the columns of the [reference](crate::reference::columns). Of results that were not asked
/// for there are none.
pub fn judge_results(columns: &[Column], results: [&[f32]; 4]) -> ColumnVerdict {
    let mut verdict = ColumnVerdict { shares: [0.0; 4], worst: None, passed: true };
    for (column, reference) in columns.iter().enumerate() {
        for ((wanted, results), largest) in reference.bounds().into_iter().zip(results).zip(&mut verdict.shares) {
            let Some(&got) = results.get(column) else { continue };
            let share = wanted.share_of_error(got);
            *largest = largest.max(share);
            if share > verdict.worst.map_or(0.0, |worst| worst.share) {
                verdict.worst = Some(WorstOfColumns { column, wanted, got, share });
            }
        }
    }
    verdict.passed = verdict.shares.iter().all(|&share| share <= 1.0);
    verdict
}

/// Holds statistics against the reference.
///
/// # Errors
/// The problem is invalid, or the output's sizes do not fit it. A wrong result is no error but a [`ColumnVerdict`].
pub fn judge_columns(problem: &BatchProblem<'_>, output: &BatchOutput) -> Result<ColumnVerdict, Error> {
    check_sizes(problem, output)?;
    Ok(judge_results(&of_problem(problem)?, output.by_role().map(|(_, values)| values)))
}

/// Holds batch normalisation against the reference: y = x·scale + shift of the activation type, `rows × hidden`
/// elements, and mean and rstd.
///
/// The tolerance is that of [`Norm::affine`]; the error of a statistic in a [`Verdict`] is what the
/// [reference](crate::reference::columns) says it may be, divided into the tolerance's ULPs, and what the errors of
/// scale and shift amount to in y is one unit.
///
/// # Errors
/// As [`judge_columns`], and where y does not fit the problem.
pub fn judge_batch_norm(problem: &BatchProblem<'_>, output: &BatchOutput, y: &[u8]) -> Result<Verdict, Error> {
    check_sizes(problem, output)?;
    if y.len() != problem.x.len() {
        return Err(HostError::Bytes { role: Role::Y, given: y.len(), wanted: problem.x.len() }.into());
    }
    let columns = of_problem(problem)?;
    let mut tally = Tally::new(&Norm::affine(), problem.dtype);
    let row_bytes = problem.hidden * problem.dtype.size();
    for (row, (x, y)) in problem.x.chunks(row_bytes).zip(y.chunks(row_bytes)).enumerate() {
        let (x, y) = (decode(problem.dtype, x), decode(problem.dtype, y));
        for (at, ((x, got), column)) in x.iter().zip(y).zip(&columns).enumerate() {
            let exact =
                if column.may_be_nan && got.is_nan() { f64::NAN } else { x.mul_add(column.scale, column.shift) };
            let statistic_error = column.scale_error * x.abs() + column.shift_error;
            tally.value(row, at, got, &Value { exact, scale: (x * column.scale).abs(), statistic_error });
        }
    }
    for (column, (&mean, &rstd)) in columns.iter().zip(output.mean.iter().zip(&output.rstd)) {
        tally.column(column, mean, rstd);
    }
    Ok(tally.verdict(Outputs { mean: true, rstd: true, ..Outputs::default() }))
}

fn check_sizes(problem: &BatchProblem<'_>, output: &BatchOutput) -> Result<(), HostError> {
    for (role, values) in output.by_role() {
        let [given, wanted] = [values.len(), problem.hidden].map(|count| count.saturating_mul(size_of::<f32>()));
        if given != wanted {
            return Err(HostError::Bytes { role, given, wanted });
        }
    }
    Ok(())
}
