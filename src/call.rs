//! Calls: an op description with the tensors that it is to run on, as device addresses.

use crate::quantise::Scaling;
use crate::{CallError, DType, Family, MAX_HIDDEN, Norm, Role};

/// Rows of a matrix in device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRows {
    /// Where the first row starts: a multiple of the element size.
    pub address: u64,
    /// From one row to the next, in elements; at least the hidden size.
    pub stride: usize,
}

/// Rows of codes in device memory: [`Quantisation::row_bytes`](crate::quantise::Quantisation::row_bytes)
/// bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawCodes {
    /// Where the first row starts.
    pub address: u64,
    /// From one row to the next, in bytes.
    pub stride: usize,
}

/// A weight or bias vector in device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawVector {
    /// Where it starts: a multiple of the element size.
    pub address: u64,
    /// The type of its elements: the activation type, or f32.
    pub dtype: DType,
}

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
    /// The residual stream that comes in, `rows × hidden`; where the norm adds one.
    pub residual: Option<RawRows>,
    /// The gate z, `rows × hidden`; where the norm has one. [`Family::Identity`] may go without.
    pub gate: Option<RawRows>,
    /// The bias b of the Linear that x comes from, `hidden` elements of the type of x; where the norm adds a
    /// residual, and the Linear has not added it: h = (α·r + x) + b.
    pub linear_bias: Option<RawVector>,
    /// γ, `hidden` elements.
    pub weight: Option<RawVector>,
    /// β, `hidden` elements, of the weight's type.
    pub bias: Option<RawVector>,
    /// The output, `rows × hidden`. May lie exactly over x, residual or gate. Where the norm quantises, y may be
    /// absent.
    pub y: Option<RawRows>,
    /// The residual stream that goes out, R(h), `rows × hidden`. May lie exactly over x or residual.
    pub residual_out: Option<RawRows>,
    /// The f32 mean of every row, `rows` elements; LayerNorm only.
    pub mean: Option<u64>,
    /// The f32 reciprocal standard deviation (or reciprocal RMS) of every row, `rows` elements.
    pub rstd: Option<u64>,
    /// The codes of y; where the norm quantises.
    pub codes: Option<RawCodes>,
    /// The scales of the codes, of their [type](crate::quantise::Scaling::scale_type),
    /// [so many](crate::quantise::Quantisation::scale_count) of them; where the norm makes scales.
    pub scales: Option<u64>,
    /// The f32 scale that is given, one element; where the norm
    /// [takes one](crate::quantise::Scaling::takes_tensor_scale).
    pub tensor_scale: Option<u64>,
}

/// The bytes that a tensor spans, for the aliasing rules.
#[derive(Clone, Copy)]
struct Span {
    role: Role,
    start: u64,
    end: u64,
    /// Row stride and row length in bytes; None for vectors.
    rows: Option<(u64, u64)>,
}

impl Span {
    fn overlaps(&self, other: &Span) -> bool {
        if self.start >= other.end || other.start >= self.end {
            return false;
        }
        // Columns of one packed matrix interleave without sharing a byte.
        if let (Some((stride, row)), Some((other_stride, other_row))) = (self.rows, other.rows)
            && stride == other_stride
        {
            let (low, low_row, high, high_row) = if self.start <= other.start {
                (self.start, row, other.start, other_row)
            } else {
                (other.start, other_row, self.start, row)
            };
            let shift = (high - low) % stride;
            return shift < low_row || shift + high_row > stride;
        }
        true
    }

    fn same_place(&self, other: &Span) -> bool {
        self.start == other.start && self.end == other.end && self.rows == other.rows
    }
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
        let adds = self.norm.residual.is_some();
        if adds != self.residual.is_some() {
            return Err(CallError::Residual { wanted: adds });
        }
        if self.linear_bias.is_some() && !adds {
            return Err(CallError::Unused { role: Role::LinearBias });
        }
        if self.residual_out.is_some() && !adds {
            return Err(CallError::ResidualOut);
        }
        if self.mean.is_some() && self.norm.family != Family::LayerNorm {
            return Err(CallError::Mean { family: self.norm.family });
        }
        self.validate_gate()?;
        self.validate_parameters()?;
        self.validate_quantisation()?;
        let spans = self.spans()?;
        let inputs =
            [Role::X, Role::Residual, Role::Gate, Role::Weight, Role::Bias, Role::LinearBias, Role::TensorScale];
        for (i, output) in spans.iter().enumerate().filter(|(_, span)| !inputs.contains(&span.role)) {
            for (j, other) in spans.iter().enumerate() {
                if i == j || !output.overlaps(other) {
                    continue;
                }
                let in_place = matches!(output.role, Role::Y | Role::ResidualOut)
                    && matches!(other.role, Role::X | Role::Residual | Role::Gate)
                    && output.same_place(other);
                if !in_place {
                    return Err(CallError::Overlap { output: output.role, other: other.role });
                }
            }
        }
        Ok(())
    }

    fn validate_parameters(&self) -> Result<(), CallError> {
        for (role, vector) in [(Role::Weight, self.weight), (Role::Bias, self.bias)] {
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
        if self.norm.weight_offset != 0.0 && self.weight.is_none() {
            return Err(CallError::OffsetWithoutWeight { offset: self.norm.weight_offset });
        }
        Ok(())
    }

    fn validate_gate(&self) -> Result<(), CallError> {
        let identity = self.norm.family == Family::Identity;
        match (self.norm.gate.is_some(), self.gate.is_some()) {
            (false, true) => return Err(CallError::Unused { role: Role::Gate }),
            (true, false) if !identity => return Err(CallError::Absent { role: Role::Gate }),
            _ => {}
        }
        if self.norm.gate.is_some() && self.bias.is_some() {
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
        } else if self.y.is_none() {
            return Err(CallError::Absent { role: Role::Y });
        }
        let scaling = quantisation.map(|quantisation| quantisation.scaling);
        for (role, wanted, given) in [
            (Role::Codes, quantisation.is_some(), self.codes.is_some()),
            (Role::Scales, scaling.is_some_and(|scaling| scaling.scale_type().is_some()), self.scales.is_some()),
            (Role::TensorScale, scaling.is_some_and(Scaling::takes_tensor_scale), self.tensor_scale.is_some()),
        ] {
            match (wanted, given) {
                (true, false) => return Err(CallError::Absent { role }),
                (false, true) => return Err(CallError::Unused { role }),
                (true, true) | (false, false) => {}
            }
        }
        Ok(())
    }

    /// The span of every tensor of the call, none where there are no rows to read or write.
    fn spans(&self) -> Result<Vec13<Span>, CallError> {
        let mut spans = Vec13::new();
        let matrices = [
            (Role::X, Some(self.x)),
            (Role::Residual, self.residual),
            (Role::Gate, self.gate),
            (Role::Y, self.y),
            (Role::ResidualOut, self.residual_out),
        ];
        let size = self.dtype.size();
        for (role, rows) in matrices {
            let Some(RawRows { address, stride }) = rows else { continue };
            if stride < self.hidden {
                return Err(CallError::Stride { role, given: stride, hidden: self.hidden });
            }
            let too_large = CallError::TooLarge { rows: self.rows, stride };
            let bytes = extent(self.rows, self.hidden, stride)
                .and_then(|elements| elements.checked_mul(size))
                .ok_or(too_large.clone())? as u64;
            if self.rows == 0 {
                continue;
            }
            let start = check_address(role, address, size)?;
            let end = start.checked_add(bytes).ok_or(too_large)?;
            // One row has no stride: its neighbours are nobody's.
            let rows =
                if self.rows == 1 { (bytes, bytes) } else { ((stride * size) as u64, (self.hidden * size) as u64) };
            spans.push(Span { role, start, end, rows: Some(rows) });
        }
        if let (Some(RawCodes { address, stride }), Some(quantisation)) = (self.codes, self.norm.quantisation) {
            let row = quantisation.row_bytes(self.hidden);
            if stride < row {
                return Err(CallError::Stride { role: Role::Codes, given: stride, hidden: row });
            }
            let too_large = CallError::TooLarge { rows: self.rows, stride };
            let bytes = extent(self.rows, row, stride).ok_or(too_large.clone())? as u64;
            if self.rows > 0 {
                let start = check_address(Role::Codes, address, 1)?;
                let end = start.checked_add(bytes).ok_or(too_large)?;
                let rows = if self.rows == 1 { (bytes, bytes) } else { (stride as u64, row as u64) };
                spans.push(Span { role: Role::Codes, start, end, rows: Some(rows) });
            }
        }
        if self.rows == 0 {
            return Ok(spans);
        }
        if let (Some(address), Some(quantisation)) = (self.scales, self.norm.quantisation)
            && let Some(scale_type) = quantisation.scaling.scale_type()
        {
            let start = check_address(Role::Scales, address, scale_type.size())?;
            let end = quantisation
                .scale_count(self.rows, self.hidden)
                .and_then(|count| count.checked_mul(scale_type.size()))
                .filter(|&bytes| isize::try_from(bytes).is_ok())
                .and_then(|bytes| start.checked_add(bytes as u64))
                .ok_or(CallError::TooLarge { rows: self.rows, stride: 1 })?;
            spans.push(Span { role: Role::Scales, start, end, rows: None });
        }
        let vectors = [
            (Role::Weight, self.weight.map(|v| (v.address, v.dtype, self.hidden))),
            (Role::Bias, self.bias.map(|v| (v.address, v.dtype, self.hidden))),
            (Role::LinearBias, self.linear_bias.map(|v| (v.address, v.dtype, self.hidden))),
            (Role::Mean, self.mean.map(|address| (address, DType::F32, self.rows))),
            (Role::Rstd, self.rstd.map(|address| (address, DType::F32, self.rows))),
            (Role::TensorScale, self.tensor_scale.map(|address| (address, DType::F32, 1))),
        ];
        for (role, vector) in vectors {
            let Some((address, dtype, length)) = vector else { continue };
            let start = check_address(role, address, dtype.size())?;
            let end = (length as u64)
                .checked_mul(dtype.size() as u64)
                .and_then(|bytes| start.checked_add(bytes))
                .ok_or(CallError::TooLarge { rows: self.rows, stride: 1 })?;
            spans.push(Span { role, start, end, rows: None });
        }
        Ok(spans)
    }
}

fn check_address(role: Role, address: u64, size: usize) -> Result<u64, CallError> {
    if address == 0 {
        return Err(CallError::Null { role });
    }
    if !address.is_multiple_of(size as u64) {
        return Err(CallError::Misaligned { role, address, size });
    }
    Ok(address)
}

/// Elements from the start of the first row to the end of the last; None where that overflows.
pub(crate) fn extent(rows: usize, hidden: usize, stride: usize) -> Option<usize> {
    match rows {
        0 => Some(0),
        _ => (rows - 1).checked_mul(stride)?.checked_add(hidden).filter(|&n| isize::try_from(n).is_ok()),
    }
}

/// Up to thirteen values, as many as a call has tensors, without an allocation: a call is checked on the hot path.
struct Vec13<T> {
    values: [Option<T>; 13],
    length: usize,
}

impl<T: Copy> Vec13<T> {
    fn new() -> Self {
        Self { values: [None; 13], length: 0 }
    }

    fn push(&mut self, value: T) {
        self.values[self.length] = Some(value);
        self.length += 1;
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.values.iter().flatten()
    }
}
