//! Verdicts: results held against the reference, element by element.

mod codes;

use super::Tolerance;
use crate::host::{HostError, Output, Outputs, Problem};
use crate::quantise::ScaleType;
use crate::reference::columns::Column;
use crate::reference::{Rounded, Row, Rows, Value, decode, from_bits, overflow, raw_bits, round, ulp};
use crate::{DType, Error, Input, Norm, Role};

/// The element furthest from the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worst {
    /// Its row.
    pub row: usize,
    /// Its column.
    pub column: usize,
    /// What the device gave.
    pub got: f64,
    /// The exact value, before rounding to the activation type.
    pub wanted: f64,
    /// Its error in units; infinite where one of the two is NaN or infinite and the other is not.
    pub ulp: f64,
}

/// How far a result is from the reference. What a unit of error is, [`Tolerance`] says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Elements of y.
    pub elements: usize,
    /// The largest error in y, in units, over the elements where both sides are finite.
    pub max_ulp: f64,
    /// The mean error in y, in units, over the same elements.
    pub mean_ulp: f64,
    /// The share of elements of y that are the correctly rounded exact value, NaN for NaN among them; 1 where there
    /// are none.
    pub correctly_rounded: f64,
    /// Elements of 16-bit y that are not the correctly rounded exact value, although its distance from the middle of
    /// the two is more than the [error](Value::error) of computing it in f32. None of f32 y. A
    /// [few](Tolerance::misrounded_allowed) are within the tolerance.
    pub misrounded: usize,
    /// The element of y with the largest error, if any has one.
    pub worst: Option<Worst>,
    /// Values of y, mean and rstd that are NaN or infinite where the reference is not, or the other
    /// way round, or infinite with the wrong sign.
    pub nonfinite_mismatches: usize,
    /// Elements of the new residual stream whose bits differ (any NaN stands for any other).
    pub residual_mismatches: usize,
    /// Bytes of the codes and of the scales that differ from the reference's, which quantises the y that was
    /// given, where it was; any difference is one too many. Where it was not, or codes are not of the rounded y
    /// ([`PerTensorWide`](crate::quantise::Scaling::PerTensorWide)), they may be those of any y that is off by no more
    /// than the [error](Value::error) of computing it in f32.
    pub code_mismatches: usize,
    /// The largest error of a mean in units, if means were asked for.
    pub mean_max_ulp: Option<f64>,
    /// The largest error of an rstd in f32 ULPs, if they were asked for.
    pub rstd_max_ulp: Option<f64>,
    /// ‖got − exact‖ / ‖exact‖ over the elements of y where both are finite.
    pub relative_l2: f64,
    /// Whether all of it is within the tolerance.
    pub passed: bool,
    /// The tolerance.
    pub tolerance: Tolerance,
}

/// Holds a result against the reference.
///
/// # Errors
/// The problem is invalid ([`reference::norm`](crate::reference::norm)), or the output's sizes do not
/// fit it. A wrong result is no error but a [`Verdict`].
pub fn judge(problem: &Problem<'_>, output: &Output) -> Result<Verdict, Error> {
    check_sizes(problem, output)?;
    let mut tally = Tally::new(&problem.norm, problem.dtype);
    tally.rows(problem, output)?;
    if let (Some(second), Some(y)) = (problem.second_problem(), &output.second_y) {
        tally.rows(&second, &Output { y: y.clone(), ..Output::default() })?;
    }
    tally.code_mismatches = codes::mismatches(problem, output)?;
    Ok(tally.verdict(problem.outputs))
}

fn check_sizes(problem: &Problem<'_>, output: &Output) -> Result<(), HostError> {
    let check = |role, given, wanted| {
        if given == wanted { Ok(()) } else { Err(HostError::Bytes { role, given, wanted }) }
    };
    let matrix = if problem.norm.quantisation.is_none() || problem.outputs.y { problem.x.len() } else { 0 };
    if let Some(quantisation) = problem.norm.quantisation {
        let codes = output.codes.as_ref().map_or(0, Vec::len);
        check(Role::Codes, codes, problem.rows * quantisation.row_bytes(problem.hidden))?;
        let size = quantisation.scaling.scale_type().map_or(0, ScaleType::size);
        let scales = quantisation.scale_count(problem.rows, problem.hidden).unwrap_or(0) * size;
        check(Role::Scales, output.scales.as_ref().map_or(0, Vec::len), scales)?;
    }
    if let Some(heads) = problem.second {
        check(Role::SecondY, output.second_y.as_ref().map_or(0, Vec::len), heads.x.len())?;
    }
    let vector = problem.rows * problem.parts * size_of::<f32>();
    let values = |values: &Option<Vec<f32>>| values.as_ref().map_or(0, |values| values.len() * size_of::<f32>());
    check(Role::Y, output.y.len(), matrix)?;
    let matrix = problem.x.len();
    if problem.outputs.residual {
        check(Role::ResidualOut, output.residual.as_ref().map_or(0, Vec::len), matrix)?;
    }
    if problem.outputs.mean {
        check(Role::Mean, values(&output.mean), vector)?;
    }
    if problem.outputs.rstd {
        check(Role::Rstd, values(&output.rstd), vector)?;
    }
    Ok(())
}

/// What an element is found to be.
#[derive(Clone, Copy)]
struct Finding {
    /// In units; infinite for a mismatch of NaN or infinity.
    error: f64,
    correctly_rounded: bool,
    /// Of a 16-bit type, and not for the error of f32 arithmetic.
    misrounded: bool,
    /// got − exact where both are finite.
    difference: Option<f64>,
    exact: f64,
}

/// Judges one element.
fn compare(dtype: DType, tolerance: &Tolerance, got: f64, value: &Value) -> Finding {
    let exact = value.exact;
    let right = round(dtype, exact);
    let correctly_rounded = got == right || got.is_nan() && exact.is_nan();
    // At the very edge of the range an infinity is one rounding away from the largest value. It stands
    // for the next value that the type would have.
    let in_range = |value: f64| value.clamp(-overflow(dtype), overflow(dtype));
    let Rounded { least, most, .. } = value.rounded(dtype);
    let misrounded = dtype != DType::F32 && !correctly_rounded && !(least <= got && got <= most);
    let finding = |error, difference| Finding { error, correctly_rounded, misrounded, difference, exact };
    if got.is_nan() || exact.is_nan() {
        return finding(if correctly_rounded { 0.0 } else { f64::INFINITY }, None);
    }
    if exact.is_infinite() {
        return finding(if got == exact { 0.0 } else { f64::INFINITY }, None);
    }
    if got == right && got.is_infinite() {
        return finding(0.0, None);
    }
    let overflowed = got.is_infinite() || right.is_infinite();
    let got_value = in_range(got);
    let (distance, spacing) = if dtype == DType::F32 || overflowed {
        ((got_value - exact).abs(), ulp(dtype, exact))
    } else {
        // The spacing at the smaller of the two: beside a power of two, one step is one step on either
        // side.
        ((got - right).abs(), ulp(dtype, got.abs().min(right.abs())))
    };
    let unit = if dtype == DType::F32 {
        ulp(DType::F32, value.scale).max(value.error)
    } else {
        // An error of a step may make two of it: both values are rounded.
        [least, most].into_iter().map(|value| (in_range(value) - in_range(right)).abs()).fold(0.0, f64::max)
    };
    let error = distance / spacing.max(unit);
    if overflowed && error > tolerance.max_ulp {
        return finding(f64::INFINITY, None);
    }
    finding(error, got.is_finite().then_some(got - exact))
}

/// The errors of the rows' statistics.
#[derive(Default)]
struct Statistics {
    max_ulp: f64,
    nonfinite_mismatches: usize,
}

impl Statistics {
    fn add(&mut self, got: f32, exact: f64, least_unit: f64) {
        let got = f64::from(got);
        let same = got == exact || (got.is_nan() && exact.is_nan());
        if !got.is_finite() || !exact.is_finite() {
            self.nonfinite_mismatches += usize::from(!same);
        } else {
            let unit = ulp(DType::F32, exact).max(least_unit);
            self.max_ulp = self.max_ulp.max((got - exact).abs() / unit);
        }
    }
}

pub(super) struct Tally {
    dtype: DType,
    tolerance: Tolerance,
    elements: usize,
    finite: usize,
    correctly_rounded: usize,
    misrounded: usize,
    max_ulp: f64,
    sum_ulp: f64,
    squared_difference: f64,
    squared_exact: f64,
    nonfinite_mismatches: usize,
    residual_mismatches: usize,
    code_mismatches: usize,
    worst: Option<Worst>,
    mean: Statistics,
    rstd: Statistics,
}

impl Tally {
    pub(super) fn new(norm: &Norm, dtype: DType) -> Self {
        Self {
            dtype,
            tolerance: Tolerance::of_norm(norm, dtype),
            elements: 0,
            finite: 0,
            correctly_rounded: 0,
            misrounded: 0,
            max_ulp: 0.0,
            sum_ulp: 0.0,
            squared_difference: 0.0,
            squared_exact: 0.0,
            nonfinite_mismatches: 0,
            residual_mismatches: 0,
            code_mismatches: 0,
            worst: None,
            mean: Statistics::default(),
            rstd: Statistics::default(),
        }
    }

    /// The rows of a problem, or its heads.
    fn rows(&mut self, problem: &Problem<'_>, output: &Output) -> Result<(), Error> {
        let has_y = problem.norm.quantisation.is_none() || problem.outputs.y;
        let row_bytes = problem.hidden * problem.dtype.size();
        let wanted = problem.outputs;
        for (index, row) in Rows::new(problem)?.iter().enumerate() {
            let bytes = index * row_bytes..(index + 1) * row_bytes;
            if has_y {
                self.y(index, &decode(problem.dtype, &output.y[bytes.clone()]), &row);
            }
            if let (true, Some(residual)) = (wanted.residual, &output.residual) {
                self.residual(&problem.norm, &residual[bytes], &row);
            }
            if let (true, Some(mean)) = (wanted.mean, &output.mean) {
                self.mean.add(mean[index], row.mean, row.mean_error);
            }
            if let (true, Some(rstd)) = (wanted.rstd, &output.rstd) {
                self.rstd.add(rstd[index], row.rstd, row.rstd_error);
            }
        }
        Ok(())
    }

    fn y(&mut self, index: usize, got: &[f64], row: &Row) {
        for (column, (&got, value)) in got.iter().zip(&row.y).enumerate() {
            self.value(index, column, got, value);
        }
    }

    /// An element of y.
    pub(super) fn value(&mut self, row: usize, column: usize, got: f64, value: &Value) {
        let finding = compare(self.dtype, &self.tolerance, got, value);
        self.element(finding);
        if finding.error > self.worst.map_or(0.0, |worst| worst.ulp) {
            self.worst = Some(Worst { row, column, got, wanted: finding.exact, ulp: finding.error });
        }
    }

    /// The statistics of a column. What they may be off is as many units as statistics of rows may be.
    pub(super) fn column(&mut self, column: &Column, mean: f32, rstd: f32) {
        let units = self.tolerance.statistic_ulp;
        let [of_mean, of_rstd, ..] = column.bounds();
        for (statistics, got, bound) in [(&mut self.mean, mean, of_mean), (&mut self.rstd, rstd, of_rstd)] {
            if !(bound.may_be_nan && got.is_nan()) {
                statistics.add(got, bound.exact, bound.error / units);
            }
        }
    }

    fn element(&mut self, finding: Finding) {
        self.elements += 1;
        self.correctly_rounded += usize::from(finding.correctly_rounded);
        self.misrounded += usize::from(finding.misrounded);
        if finding.error.is_infinite() {
            self.nonfinite_mismatches += 1;
            return;
        }
        if let Some(difference) = finding.difference {
            self.finite += 1;
            self.sum_ulp += finding.error;
            self.squared_difference += difference * difference;
            self.squared_exact += finding.exact * finding.exact;
        }
        self.max_ulp = self.max_ulp.max(finding.error);
    }

    fn residual(&mut self, norm: &Norm, bytes: &[u8], row: &Row) {
        let of_norm = matches!(norm.input, Input::PostNorm(_));
        for (bits, wanted) in raw_bits(self.dtype, bytes).zip(&row.residual) {
            let got = from_bits(self.dtype, bits);
            if of_norm {
                // A sum is exact, the result of a norm as exact as y is.
                let finding = compare(self.dtype, &self.tolerance, got, wanted);
                if self.dtype == DType::F32 {
                    self.element(finding);
                } else {
                    let off = finding.misrounded || finding.error > self.tolerance.max_ulp;
                    self.residual_mismatches += usize::from(off);
                }
                continue;
            }
            let same = got.to_bits() == wanted.exact.to_bits() || (got.is_nan() && wanted.exact.is_nan());
            self.residual_mismatches += usize::from(!same);
        }
    }

    pub(super) fn verdict(self, outputs: Outputs) -> Verdict {
        let tolerance = self.tolerance;
        let asked = |wanted: bool, statistics: &Statistics| wanted.then_some(statistics.max_ulp);
        let share = |part: f64, whole: usize| if whole == 0 { 0.0 } else { part / whole as f64 };
        let nonfinite_mismatches =
            self.nonfinite_mismatches + self.mean.nonfinite_mismatches + self.rstd.nonfinite_mismatches;
        Verdict {
            elements: self.elements,
            max_ulp: self.max_ulp,
            mean_ulp: share(self.sum_ulp, self.finite),
            correctly_rounded: 1.0 - share((self.elements - self.correctly_rounded) as f64, self.elements),
            misrounded: self.misrounded,
            worst: self.worst,
            nonfinite_mismatches,
            residual_mismatches: self.residual_mismatches,
            code_mismatches: self.code_mismatches,
            mean_max_ulp: asked(outputs.mean, &self.mean),
            rstd_max_ulp: asked(outputs.rstd, &self.rstd),
            relative_l2: relative(self.squared_difference, self.squared_exact),
            passed: nonfinite_mismatches == 0
                && self.residual_mismatches == 0
                && self.code_mismatches == 0
                && self.max_ulp <= tolerance.max_ulp
                && self.misrounded <= tolerance.misrounded_allowed(self.elements)
                && self.mean.max_ulp <= tolerance.statistic_ulp
                && self.rstd.max_ulp <= tolerance.statistic_ulp,
            tolerance,
        }
    }
}

/// √(squared difference / squared exact), where 0 of 0 is 0.
fn relative(squared_difference: f64, squared_exact: f64) -> f64 {
    if squared_difference == 0.0 { 0.0 } else { (squared_difference / squared_exact).sqrt() }
}

#[cfg(test)]
mod tests;
