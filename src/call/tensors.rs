//! Tensors of a call, by address.

use crate::DType;

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

/// How the heads, or the groups, of a row lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// How many a row has, `hidden` elements each.
    pub count: usize,
    /// From one to the next in a row of x, in elements; at least the hidden size, where there are several.
    pub x_stride: usize,
    /// The same in a row of the gate.
    pub gate_stride: usize,
    /// The same in a row of y.
    pub y_stride: usize,
}

impl Parts {
    /// The row is one part.
    pub const ONE: Parts = Parts::packed(1, 0);

    /// So many, of `hidden` elements, side by side.
    pub const fn packed(count: usize, hidden: usize) -> Self {
        Self { count, x_stride: hidden, gate_stride: hidden, y_stride: hidden }
    }
}

/// Heads that are normalised in the same launch as those of x, with parameters of their own: K beside Q.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawHeads {
    /// As many rows as x has. They start at the first of these heads.
    pub x: RawRows,
    /// The result. May lie exactly over x.
    pub y: RawRows,
    /// Heads of a row.
    pub count: usize,
    /// From one head to the next in a row of x, in elements.
    pub x_stride: usize,
    /// The same in a row of y.
    pub y_stride: usize,
    /// γ, `hidden` elements; there where the call's weight is, and of its type.
    pub weight: Option<RawVector>,
    /// β, `hidden` elements; there where the call's bias is, and of its type.
    pub bias: Option<RawVector>,
}

/// The tables of a rotary embedding in device memory: one row for each position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRope {
    /// The cosines, `entries × dim / 2` values. Rows may interleave with those of the sines, and one table may lie
    /// behind the other.
    pub cos: RawRows,
    /// The sines, likewise.
    pub sin: RawRows,
    /// Their type: the activation type, or f32.
    pub dtype: DType,
    /// Positions that the tables have. A position past them takes the last: no kernel reads beyond a table.
    pub entries: usize,
    /// Which row of the tables belongs to each row of x. None: the one of its own number.
    pub positions: Option<RawPositions>,
}

/// The position of every row, in device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPositions {
    /// Where they start: a multiple of their size.
    pub address: u64,
    /// Their type.
    pub kind: PositionType,
}

/// The type of positions. Negative ones count as past the end of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PositionType {
    /// 32-bit.
    I32,
    /// 64-bit.
    I64,
}

impl PositionType {
    /// Bytes of one.
    pub const fn size(self) -> usize {
        match self {
            PositionType::I32 => 4,
            PositionType::I64 => 8,
        }
    }
}
