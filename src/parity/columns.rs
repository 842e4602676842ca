//! Verdicts on the statistics of columns, and on batch normalisation.

use super::verdict::Tally;
use super::{Tolerance, Verdict};
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
/// scale and shift amount to in y, with the f32 rounding of a 16-bit result, is one unit.
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
            let scale = (x * column.scale).abs();
            let of_statistic = column.scale_error * x.abs() + column.shift_error;
            // One operation, and one rounding of what the two terms come to.
            let error = of_statistic + Tolerance::error_of_rounding(problem.dtype, 1.0, exact.abs());
            tally.value(row, at, got, &Value { exact, scale, error });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Device, Placement, Vector};
    use crate::reference::{Cpu, encode};
    use crate::{BatchStatistics, DType};

    /// With weight 0 y is the bias, of which shift is half an ULP off at most, and the rounding of y as much.
    #[test]
    fn y_may_be_off_by_the_rounding_of_its_one_operation() {
        let hidden = 100;
        let wrong = encode(DType::BF16, (0..2 * hidden).map(|_| 1.0 + 0.5f64.powi(7)));
        for (ulps, misrounded) in [(1.0, 0), (2.0, 200)] {
            // Below the middle of 1 and 1 + 2^-7.
            let bias = 1.0 + 0.5f64.powi(8) - ulps * f64::from(f32::EPSILON);
            let [weight, bias] = [0.0, bias].map(|value| encode(DType::F32, vec![value; hidden]));
            let x = encode(DType::BF16, (0..2 * hidden).map(|at| at as f64));
            let vector = |bytes| Some(Vector { dtype: DType::F32, bytes });
            let problem = BatchProblem {
                statistics: BatchStatistics::new(1.0),
                dtype: DType::BF16,
                rows: 2,
                hidden,
                x: &x,
                weight: vector(&weight),
                bias: vector(&bias),
            };
            let output = Cpu.run_batch(&problem, Placement::default()).expect("a valid problem");
            let verdict = judge_batch_norm(&problem, &output, &wrong).expect("a valid problem");
            assert_eq!((verdict.misrounded, verdict.passed), (misrounded, misrounded == 0), "{verdict:?}");
            assert_eq!(verdict.correctly_rounded, 0.0);
        }
    }
}
