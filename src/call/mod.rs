//! Calls: an op description with the tensors that it is to run on, as device addresses.

mod columns;
mod programmatic;
mod spans;
mod tensors;

pub use columns::{BatchStatistics, ColumnCall};
pub use programmatic::ProgrammaticLaunch;
pub use tensors::{Parts, PositionType, RawCodes, RawHeads, RawPositions, RawRope, RawRows, RawVector};

use crate::quantise::Scaling;
use crate::{CallError, DType, Family, Input, MAX_HIDDEN, MAX_ROTATED_HEAD, Norm, Role, Scope};
pub(crate) use spans::extent;
#[cfg(feature = "cuda")]
pub(crate) use spans::{Matrix, Span};

/// One normalisation of `rows` rows of `hidden` elements, on memory named by address.
///
/// This is the description that planning, the executor and the driver share; the typed face of
/// [`cuda`](crate::cuda) builds it from slices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call {
    /// What is to be computed.
    pub norm: Norm,
    /// The type of x, residual, gate, y and residual_out.
    pub dtype: DType,
    /// Number of rows; 0 is a call that does nothing.
    pub rows: usize,
    /// Elements of a row.
    pub hidden: usize,
    /// The input, `rows × hidden`.
    pub x: RawRows,
    /// The residual stream that comes in, `rows × hidden`; where the norm takes one.
    pub residual: Option<RawRows>,
    /// The gate z, `rows × hidden`; where the norm has one. [`Family::Identity`] may go without.
    pub gate: Option<RawRows>,
    /// The bias b of the Linear that x comes from, `hidden` elements of the type of x; where the norm adds a
    /// residual, and the Linear has not added it: h = (α·r + x) + b.
    pub linear_bias: Option<RawVector>,
    /// γ, `hidden` elements; of all groups one after the other, where the norm is of groups.
    pub weight: Option<RawVector>,
    /// β, as long as γ and of its type.
    pub bias: Option<RawVector>,
    /// The output, `rows × hidden`. May lie exactly over x, residual or gate. Where the norm quantises, y may be
    /// absent.
    pub y: Option<RawRows>,
    /// The residual stream that goes out, R(h), `rows × hidden`. May lie exactly over x or residual.
    pub residual_out: Option<RawRows>,
    /// The f32 mean of every row, or of every part of every row; LayerNorm only.
    pub mean: Option<u64>,
    /// The f32 reciprocal standard deviation (or reciprocal RMS), likewise.
    pub rstd: Option<u64>,
    /// The codes of y; where the norm quantises.
    pub codes: Option<RawCodes>,
    /// The scales of the codes, of their [type](crate::quantise::Scaling::scale_type),
    /// [so many](crate::quantise::Quantisation::scale_count) of them; where the norm makes scales.
    pub scales: Option<u64>,
    /// The f32 scale that is given, one element; where the norm
    /// [takes one](crate::quantise::Scaling::takes_tensor_scale).
    pub tensor_scale: Option<u64>,
    /// The γ of the first norm, `hidden` elements of the weight's type; where the input is
    /// [`PostNorm`](crate::Input::PostNorm).
    pub inner_weight: Option<RawVector>,
    /// The rates, `hidden` elements of the activation type or f32; where the input is an
    /// [`Interpolation`](crate::Input::Interpolation).
    pub rate: Option<RawVector>,
    /// The heads or groups of a row, where the norm is of those: x, gate and y are then `rows × count` parts of
    /// `hidden` elements.
    pub parts: Parts,
    /// Heads beside those of x.
    pub second: Option<RawHeads>,
    /// The tables of the rotary embedding; where the norm rotates.
    pub rope: Option<RawRope>,
    /// When the launch may begin.
    pub programmatic_launch: ProgrammaticLaunch,
}

impl Call {
    /// A call with x and y alone; set the other fields as needed.
    pub const fn new(norm: Norm, dtype: DType, rows: usize, hidden: usize, x: RawRows, y: RawRows) -> Self {
        Self {
            norm,
            dtype,
            rows,
            hidden,
            x,
            residual: None,
            gate: None,
            linear_bias: None,
            weight: None,
            bias: None,
            y: Some(y),
            residual_out: None,
            mean: None,
            rstd: None,
            codes: None,
            scales: None,
            tensor_scale: None,
            inner_weight: None,
            rate: None,
            parts: Parts::ONE,
            second: None,
            rope: None,
            programmatic_launch: ProgrammaticLaunch::Off,
        }
    }

    /// Checks everything about the call that no device is needed for.
    ///
    /// # Errors
    /// The op is invalid, tensors do not fit it or one another, an address is null or misaligned, or
    /// an output overlaps another tensor other than element for element.
    pub fn validate(&self) -> Result<(), CallError> {
        self.norm.validate()?;
        if self.hidden == 0 || self.hidden > MAX_HIDDEN {
            return Err(CallError::Hidden { given: self.hidden });
        }
        self.validate_residual()?;
        self.validate_gate()?;
        self.validate_parts()?;
        self.validate_rope()?;
        if self.mean.is_some() && self.norm.family != Family::LayerNorm {
            return Err(CallError::Mean { family: self.norm.family });
        }
        self.validate_parameters()?;
        self.validate_quantisation()?;
        let spans = self.spans()?;
        let outputs = [Role::Y, Role::SecondY, Role::ResidualOut, Role::Codes, Role::Scales, Role::Mean, Role::Rstd];
        for (i, output) in spans.iter().enumerate().filter(|(_, span)| outputs.contains(&span.role)) {
            for (j, other) in spans.iter().enumerate() {
                if i == j || !output.overlaps(other) {
                    continue;
                }
                let may_lie_over = match output.role {
                    Role::Y | Role::ResidualOut => matches!(other.role, Role::X | Role::Residual | Role::Gate),
                    Role::SecondY => other.role == Role::SecondX,
                    _ => false,
                };
                if !(may_lie_over && output.same_place(other)) {
                    return Err(CallError::Overlap { output: output.role, other: other.role });
                }
            }
        }
        Ok(())
    }

    /// Rows, or heads or groups of all rows, those of the second tensor included: what has a statistic of its own.
    pub(crate) fn teams(&self) -> Option<u64> {
        let parts = self.parts.count.checked_add(self.second.map_or(0, |heads| heads.count))?;
        u32::try_from(parts).ok()?;
        (self.rows as u64).checked_mul(parts as u64)
    }

    /// Elements of the weight and of the bias.
    pub(crate) fn parameter_length(&self) -> usize {
        match self.norm.scope {
            Scope::Group => self.parts.count.saturating_mul(self.hidden),
            Scope::Row | Scope::Head => self.hidden,
        }
    }

    fn validate_residual(&self) -> Result<(), CallError> {
        let takes = self.norm.takes_residual();
        if takes != self.residual.is_some() {
            return Err(CallError::Residual { wanted: takes });
        }
        if self.residual_out.is_some() && !self.norm.input.stores_residual() {
            return Err(CallError::ResidualOut);
        }
        for (role, wanted, given) in [
            (
                Role::LinearBias,
                self.linear_bias.is_some() && self.norm.residual_add().is_some(),
                self.linear_bias.is_some(),
            ),
            (
                Role::InnerWeight,
                self.inner_weight.is_some() && matches!(self.norm.input, Input::PostNorm(_)),
                self.inner_weight.is_some(),
            ),
            (Role::Rate, matches!(self.norm.input, Input::Interpolation(_)), self.rate.is_some()),
        ] {
            expect(role, wanted, given)?;
        }
        Ok(())
    }

    fn validate_parts(&self) -> Result<(), CallError> {
        let scope = self.norm.scope;
        if self.parts.count == 0 || scope == Scope::Row && self.parts.count != 1 {
            return Err(CallError::Parts { given: self.parts.count, scope });
        }
        let Some(second) = self.second else { return Ok(()) };
        if scope != Scope::Head {
            return Err(CallError::Unused { role: Role::SecondX });
        }
        if second.count == 0 {
            return Err(CallError::Parts { given: second.count, scope });
        }
        expect(Role::Mean, false, self.mean.is_some())?;
        expect(Role::Rstd, false, self.rstd.is_some())?;
        for (role, first, second) in
            [(Role::SecondWeight, self.weight, second.weight), (Role::SecondBias, self.bias, second.bias)]
        {
            expect(role, first.is_some(), second.is_some())?;
            if let (Some(first), Some(second)) = (first, second)
                && first.dtype != second.dtype
            {
                return Err(CallError::SecondType { role, given: second.dtype, wanted: first.dtype });
            }
        }
        Ok(())
    }

    fn validate_rope(&self) -> Result<(), CallError> {
        expect(Role::Cos, self.norm.rope.is_some(), self.rope.is_some())?;
        let (Some(rope), Some(tables)) = (self.norm.rope, self.rope) else { return Ok(()) };
        if rope.dim > self.hidden || self.hidden > MAX_ROTATED_HEAD {
            return Err(CallError::RotatedHead { dim: rope.dim, hidden: self.hidden });
        }
        if tables.dtype != self.dtype && tables.dtype != DType::F32 {
            return Err(CallError::ParameterType { role: Role::Cos, given: tables.dtype, activation: self.dtype });
        }
        let wanted = if tables.positions.is_none() { self.rows } else { 1 };
        if tables.entries < wanted && self.rows > 0 {
            return Err(CallError::RopeEntries { given: tables.entries, wanted });
        }
        Ok(())
    }

    fn validate_parameters(&self) -> Result<(), CallError> {
        for (role, vector) in [(Role::Weight, self.weight), (Role::Bias, self.bias), (Role::Rate, self.rate)] {
            if let Some(RawVector { dtype, .. }) = vector
                && dtype != self.dtype
                && dtype != DType::F32
            {
                return Err(CallError::ParameterType { role, given: dtype, activation: self.dtype });
            }
        }
        if let Some(RawVector { dtype: given, .. }) = self.linear_bias
            && given != self.dtype
        {
            return Err(CallError::LinearBiasType { given, activation: self.dtype });
        }
        if let (Some(weight), Some(bias)) = (self.weight, self.bias)
            && weight.dtype != bias.dtype
        {
            return Err(CallError::ParameterTypes { weight: weight.dtype, bias: bias.dtype });
        }
        if matches!(self.norm.input, Input::PostNorm(_)) {
            // Two norms of one description: both have a weight, or neither.
            expect(Role::InnerWeight, self.weight.is_some(), self.inner_weight.is_some())?;
            if let (Some(weight), Some(inner)) = (self.weight, self.inner_weight)
                && weight.dtype != inner.dtype
            {
                let (role, given, wanted) = (Role::InnerWeight, inner.dtype, weight.dtype);
                return Err(CallError::SecondType { role, given, wanted });
            }
        }
        if self.norm.weight_offset != 0.0 && self.weight.is_none() {
            return Err(CallError::OffsetWithoutWeight { offset: self.norm.weight_offset });
        }
        Ok(())
    }

    fn validate_gate(&self) -> Result<(), CallError> {
        let identity = self.norm.family == Family::Identity;
        match (self.norm.takes_gate(), self.gate.is_some()) {
            (false, true) => return Err(CallError::Unused { role: Role::Gate }),
            (true, false) if !identity || self.norm.gate.is_none() => {
                return Err(CallError::Absent { role: Role::Gate });
            }
            _ => {}
        }
        if (self.norm.gate.is_some() || self.norm.post_add.is_some()) && self.bias.is_some() {
            return Err(CallError::Unused { role: Role::Bias });
        }
        if identity && self.rstd.is_some() {
            return Err(CallError::Unused { role: Role::Rstd });
        }
        Ok(())
    }

    fn validate_quantisation(&self) -> Result<(), CallError> {
        let quantisation = self.norm.quantisation;
        if let Some(quantisation) = quantisation {
            quantisation.validate(self.hidden)?;
            if self.dtype == DType::F32 {
                return Err(CallError::QuantisedType { given: self.dtype });
            }
            if quantisation.scaling == Scaling::PerTensorWide {
                expect(Role::Y, false, self.y.is_some())?;
            }
        } else if self.y.is_none() {
            return Err(CallError::Absent { role: Role::Y });
        }
        let scaling = quantisation.map(|quantisation| quantisation.scaling);
        for (role, wanted, given) in [
            (Role::Codes, quantisation.is_some(), self.codes.is_some()),
            (Role::Scales, scaling.is_some_and(|scaling| scaling.scale_type().is_some()), self.scales.is_some()),
            (Role::TensorScale, scaling.is_some_and(Scaling::takes_tensor_scale), self.tensor_scale.is_some()),
        ] {
            expect(role, wanted, given)?;
        }
        Ok(())
    }
}

/// Refuses a tensor that is there and should not be, or the other way round.
fn expect(role: Role, wanted: bool, given: bool) -> Result<(), CallError> {
    match (wanted, given) {
        (true, false) => Err(CallError::Absent { role }),
        (false, true) => Err(CallError::Unused { role }),
        (true, true) | (false, false) => Ok(()),
    }
}
