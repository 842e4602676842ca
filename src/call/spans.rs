//! What memory the tensors of a call span, and which of them may share any.

use super::{Call, Parts, RawCodes, RawRope, RawRows, RawVector};
use crate::{CallError, DType, Role};

/// Equal pieces of memory, one after the other: `length` bytes of every `stride`.
#[derive(Clone, Copy, PartialEq)]
struct Lattice {
    stride: u64,
    length: u64,
}

/// The bytes that a tensor spans, for the aliasing rules.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(super) role: Role,
    start: u64,
    end: u64,
    /// What of them it occupies: rows, and the heads of rows. None where there is nothing to tell apart.
    lattices: [Option<Lattice>; 2],
}

impl Span {
    /// That of `rows` rows of `hidden` elements of `size` bytes; None where there are none.
    pub(super) fn of_rows(
        role: Role,
        matrix: RawRows,
        rows: usize,
        hidden: usize,
        size: usize,
    ) -> Result<Option<Self>, CallError> {
        Matrix { role, rows: matrix, count: 1, part_stride: 0, hidden, size }.span(rows)
    }

    /// That of `length` elements of `size` bytes side by side.
    pub(super) fn of_vector(role: Role, address: u64, size: usize, length: usize) -> Result<Self, CallError> {
        let start = check_address(role, address, size)?;
        let bytes = (length as u64).checked_mul(size as u64);
        let end = bytes.and_then(|bytes| start.checked_add(bytes));
        let end = end.ok_or(CallError::TooLarge { rows: 1, stride: length })?;
        Ok(Self { role, start, end, lattices: [None; 2] })
    }

    /// Addresses from the first byte to the one behind the last.
    #[cfg(feature = "emulator")]
    pub(super) fn extent(&self) -> std::ops::Range<u64> {
        self.start..self.end
    }

    pub(crate) fn overlaps(&self, other: &Span) -> bool {
        if self.start >= other.end || other.start >= self.end {
            return false;
        }
        // Columns of one packed matrix interleave without sharing a byte.
        let apart = |mine: Option<Lattice>, others: Option<Lattice>| {
            let (Some(mine), Some(others)) = (mine, others) else { return false };
            if mine.stride != others.stride {
                return false;
            }
            let (low, low_length, high, high_length) = if self.start <= other.start {
                (self.start, mine.length, other.start, others.length)
            } else {
                (other.start, others.length, self.start, mine.length)
            };
            let shift = (high - low) % mine.stride;
            shift >= low_length && shift + high_length <= mine.stride
        };
        !self.lattices.iter().any(|&mine| other.lattices.iter().any(|&others| apart(mine, others)))
    }

    pub(super) fn same_place(&self, other: &Span) -> bool {
        self.start == other.start && self.end == other.end && self.lattices == other.lattices
    }
}

/// A matrix of a call: `rows` rows of `count` parts.
pub(crate) struct Matrix {
    pub(crate) role: Role,
    pub(crate) rows: RawRows,
    pub(crate) count: usize,
    pub(crate) part_stride: usize,
    /// Elements of a part, and bytes of an element.
    pub(crate) hidden: usize,
    pub(crate) size: usize,
}

impl Matrix {
    /// Its span; None where it has no rows.
    pub(crate) fn span(&self, rows: usize) -> Result<Option<Span>, CallError> {
        let Matrix { role, rows: RawRows { address, stride }, count, part_stride, hidden, size } = *self;
        if count > 1 && part_stride < hidden {
            return Err(CallError::PartStride { role, given: part_stride, hidden });
        }
        let too_large = CallError::TooLarge { rows, stride };
        let row = extent(count, hidden, part_stride).ok_or(too_large.clone())?;
        if stride < row {
            return Err(CallError::Stride { role, given: stride, hidden: row });
        }
        let bytes =
            extent(rows, row, stride).and_then(|elements| elements.checked_mul(size)).ok_or(too_large.clone())? as u64;
        if rows == 0 {
            return Ok(None);
        }
        let start = check_address(role, address, size)?;
        let end = start.checked_add(bytes).ok_or(too_large)?;
        let lattice = |stride: usize, length: usize| {
            let (stride, length) = ((stride * size) as u64, (length * size) as u64);
            Some(Lattice { stride, length })
        };
        // One row has no stride: its neighbours are nobody's.
        let of_rows = if rows == 1 { Some(Lattice { stride: bytes, length: bytes }) } else { lattice(stride, row) };
        let in_step = count > 1 && (rows == 1 || stride.is_multiple_of(part_stride));
        let of_parts = if in_step { lattice(part_stride, hidden) } else { None };
        Ok(Some(Span { role, start, end, lattices: [of_rows, of_parts] }))
    }
}

impl Call {
    /// The span of every tensor of the call, none where there are no rows to read or write.
    pub(super) fn spans(&self) -> Result<Spans, CallError> {
        let mut spans = Spans::new();
        let Parts { count, x_stride, gate_stride, y_stride } = self.parts;
        let size = self.dtype.size();
        let second = self.second;
        for (role, rows, count, part_stride) in [
            (Role::X, Some(self.x), count, x_stride),
            (Role::Residual, self.residual, 1, 0),
            (Role::Gate, self.gate, count, gate_stride),
            (Role::Y, self.y, count, y_stride),
            (Role::ResidualOut, self.residual_out, 1, 0),
            (
                Role::SecondX,
                second.map(|heads| heads.x),
                second.map_or(1, |heads| heads.count),
                second.map_or(0, |heads| heads.x_stride),
            ),
            (
                Role::SecondY,
                second.map(|heads| heads.y),
                second.map_or(1, |heads| heads.count),
                second.map_or(0, |heads| heads.y_stride),
            ),
        ] {
            let Some(rows) = rows else { continue };
            spans.extend(Matrix { role, rows, count, part_stride, hidden: self.hidden, size }.span(self.rows)?);
        }
        if let (Some(RawCodes { address, stride }), Some(quantisation)) = (self.codes, self.norm.quantisation) {
            let rows = RawRows { address, stride };
            let hidden = quantisation.row_bytes(self.hidden);
            spans
                .extend(Matrix { role: Role::Codes, rows, count: 1, part_stride: 0, hidden, size: 1 }.span(self.rows)?);
        }
        if let (Some(RawRope { cos, sin, dtype, entries, .. }), Some(rope)) = (self.rope, self.norm.rope) {
            for (role, rows) in [(Role::Cos, cos), (Role::Sin, sin)] {
                let (hidden, size) = (rope.dim / 2, dtype.size());
                spans.extend(Matrix { role, rows, count: 1, part_stride: 0, hidden, size }.span(entries)?);
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
            spans.push(Span { role: Role::Scales, start, end, lattices: [None; 2] });
        }
        let parameter = |vector: Option<RawVector>, length: usize| {
            vector.map(|RawVector { address, dtype }| (address, dtype.size(), length))
        };
        let statistic = |address: Option<u64>| {
            address.map(|address| (address, DType::F32.size(), self.rows.saturating_mul(self.parts.count)))
        };
        let (hidden, all) = (self.hidden, self.parameter_length());
        let positions = self.rope.and_then(|rope| rope.positions);
        for (role, vector) in [
            (Role::Weight, parameter(self.weight, all)),
            (Role::Bias, parameter(self.bias, all)),
            (Role::LinearBias, parameter(self.linear_bias, hidden)),
            (Role::InnerWeight, parameter(self.inner_weight, hidden)),
            (Role::Rate, parameter(self.rate, hidden)),
            (Role::SecondWeight, parameter(second.and_then(|heads| heads.weight), hidden)),
            (Role::SecondBias, parameter(second.and_then(|heads| heads.bias), hidden)),
            (Role::Mean, statistic(self.mean)),
            (Role::Rstd, statistic(self.rstd)),
            (Role::TensorScale, self.tensor_scale.map(|address| (address, DType::F32.size(), 1))),
            (Role::Positions, positions.map(|positions| (positions.address, positions.kind.size(), self.rows))),
        ] {
            let Some((address, size, length)) = vector else { continue };
            let start = check_address(role, address, size)?;
            let end = (length as u64)
                .checked_mul(size as u64)
                .and_then(|bytes| start.checked_add(bytes))
                .ok_or(CallError::TooLarge { rows: self.rows, stride: 1 })?;
            spans.push(Span { role, start, end, lattices: [None; 2] });
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

/// As many spans as a call has tensors, without an allocation: a call is checked on the hot path.
pub(super) struct Spans {
    values: [Option<Span>; 22],
    length: usize,
}

impl Spans {
    fn new() -> Self {
        Self { values: [None; 22], length: 0 }
    }

    fn push(&mut self, span: Span) {
        self.values[self.length] = Some(span);
        self.length += 1;
    }

    fn extend(&mut self, span: Option<Span>) {
        span.into_iter().for_each(|span| self.push(span));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Span> {
        self.values[..self.length].iter().flatten()
    }
}
