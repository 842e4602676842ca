//! Statistics of columns: batch normalisation's, over all rows of a batch.

use super::spans::Span;
use super::{ProgrammaticLaunch, RawRows, RawVector};
use crate::{CallError, DType, MAX_HIDDEN, NormError, Role};

/// The statistics of batch normalisation, over the rows of a batch (Ioffe and Szegedy, *Batch Normalization*,
/// 2015): where layer norm takes the mean and the variance of a row over its features, these are of a feature
/// over the rows. With N rows:
///
/// ```text
/// mean  = Σx / N
/// rstd  = 1/√(Σ(x − mean)² / N + eps)      the biased variance
/// scale = γ·rstd                           γ is 1 where there is none
/// shift = β − mean·scale                   β is 0 where there is none
/// ```
///
/// y = (x − mean)·rstd·γ + β = x·scale + shift is then one launch of [`Norm::affine`](crate::Norm::affine), with
/// scale for its weight and shift for its bias, both f32. At inference, with statistics of a running average, that
/// launch is all there is to it; how they are averaged is the caller's business.
///
/// The results are f32. How far off they may be, [`reference::columns`](crate::reference::columns) says. They are
/// the same bits every time, on every GPU, whatever the stride and the alignment, and wherever the column stands.
///
/// # The range of f32
/// A NaN or an infinity in a column makes all its results NaN. So may values that spread over more than a quarter
/// of f32's range; where it is the sum of squared deviations that passes it, rstd is 0. A column of equal values
/// has an rstd of 1/√eps: infinite where eps is 0, and then scale is too, and shift infinite, or NaN where mean or
/// γ is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchStatistics {
    /// Added to the variance, inside the root. At least 0; networks mostly use 1e-5.
    pub eps: f32,
}

impl BatchStatistics {
    /// With this eps.
    pub const fn new(eps: f32) -> Self {
        Self { eps }
    }

    /// Checks the value of eps.
    ///
    /// # Errors
    /// [`NormError::Eps`] where it is negative or not finite.
    pub fn validate(&self) -> Result<(), NormError> {
        if self.eps >= 0.0 && self.eps.is_finite() { Ok(()) } else { Err(NormError::Eps { given: self.eps }) }
    }
}

/// The statistics of `hidden` columns over `rows` rows, on memory named by address. At least one output is wanted;
/// each is `hidden` f32 elements and lies apart from every other tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColumnCall {
    /// What is to be computed.
    pub statistics: BatchStatistics,
    /// The type of x.
    pub dtype: DType,
    /// Number of rows, at least 1.
    pub rows: usize,
    /// Number of columns: the elements of a row.
    pub hidden: usize,
    /// The input, `rows × hidden`.
    pub x: RawRows,
    /// γ, `hidden` elements; only beside scale or shift.
    pub weight: Option<RawVector>,
    /// β, `hidden` elements of the type of γ; only beside shift.
    pub bias: Option<RawVector>,
    /// The mean of every column.
    pub mean: Option<u64>,
    /// The reciprocal standard deviation of every column.
    pub rstd: Option<u64>,
    /// γ·rstd.
    pub scale: Option<u64>,
    /// β − mean·scale.
    pub shift: Option<u64>,
    /// When the launch may begin. γ and β are read last, whatever is promised of them.
    pub programmatic_launch: ProgrammaticLaunch,
}

impl ColumnCall {
    /// A call with x alone; set the outputs, and γ and β, as needed.
    pub const fn new(statistics: BatchStatistics, dtype: DType, rows: usize, hidden: usize, x: RawRows) -> Self {
        Self {
            statistics,
            dtype,
            rows,
            hidden,
            x,
            weight: None,
            bias: None,
            mean: None,
            rstd: None,
            scale: None,
            shift: None,
            programmatic_launch: ProgrammaticLaunch::Off,
        }
    }

    /// Checks everything about the call that no device is needed for.
    ///
    /// # Errors
    /// eps is invalid, there are no rows or no outputs, tensors do not fit one another, an address is null or
    /// misaligned, or an output overlaps another tensor.
    pub fn validate(&self) -> Result<(), CallError> {
        self.statistics.validate()?;
        if self.hidden == 0 || self.hidden > MAX_HIDDEN {
            return Err(CallError::Hidden { given: self.hidden });
        }
        if self.rows == 0 {
            return Err(CallError::NoRows);
        }
        if self.outputs().iter().all(|(_, address)| address.is_none()) {
            return Err(CallError::NoOutput);
        }
        self.validate_parameters()?;

        let spans = self.spans()?;
        for (at, output) in spans.iter().enumerate().skip(Self::INPUTS) {
            let Some(output) = output else { continue };
            let mut others = spans[..at].iter().flatten();
            if let Some(other) = others.find(|other| output.overlaps(other)) {
                return Err(CallError::Overlap { output: output.role, other: other.role });
            }
        }
        Ok(())
    }

    /// x, γ and β, which come first among the spans.
    const INPUTS: usize = 3;

    /// The memory that each tensor spans.
    pub(super) fn spans(&self) -> Result<[Option<Span>; 7], CallError> {
        let (hidden, size) = (self.hidden, self.dtype.size());
        let mut spans = [None; 7];
        spans[0] = Span::of_rows(Role::X, self.x, self.rows, hidden, size)?;
        for (span, (role, vector)) in spans[1..].iter_mut().zip([(Role::Weight, self.weight), (Role::Bias, self.bias)])
        {
            let of = |vector: RawVector| Span::of_vector(role, vector.address, vector.dtype.size(), hidden);
            *span = vector.map(of).transpose()?;
        }
        for (span, (role, address)) in spans[Self::INPUTS..].iter_mut().zip(self.outputs()) {
            let of = |address| Span::of_vector(role, address, DType::F32.size(), hidden);
            *span = address.map(of).transpose()?;
        }
        Ok(spans)
    }

    /// The outputs by role.
    pub(crate) fn outputs(&self) -> [(Role, Option<u64>); 4] {
        [(Role::Mean, self.mean), (Role::Rstd, self.rstd), (Role::Scale, self.scale), (Role::Shift, self.shift)]
    }

    fn validate_parameters(&self) -> Result<(), CallError> {
        for (role, vector, used) in [
            (Role::Weight, self.weight, self.scale.is_some() || self.shift.is_some()),
            (Role::Bias, self.bias, self.shift.is_some()),
        ] {
            let Some(RawVector { dtype, .. }) = vector else { continue };
            if !used {
                return Err(CallError::Unused { role });
            }
            if dtype != self.dtype && dtype != DType::F32 {
                return Err(CallError::ParameterType { role, given: dtype, activation: self.dtype });
            }
        }
        match (self.weight, self.bias) {
            (Some(weight), Some(bias)) if weight.dtype != bias.dtype => {
                Err(CallError::ParameterTypes { weight: weight.dtype, bias: bias.dtype })
            }
            _ => Ok(()),
        }
    }
}
