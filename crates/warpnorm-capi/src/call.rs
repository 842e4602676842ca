//! The tensors of a call, as the header has them.

use crate::enums::{DTYPES, POSITION_TYPES, PROGRAMMATIC_LAUNCHES, decode, encode};
use crate::error::Failure;
use crate::structs::Sized32;
use std::ffi::c_void;
use std::ptr;
use warpnorm::{
    Call, CallError, DType, MAX_HIDDEN, Norm, ProgrammaticLaunch, RawCodes, RawHeads, RawPositions, RawRope, RawRows,
    RawVector,
};

/// Rows that are read. Absent where the pointer is null.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Rows {
    /// Where the first row starts: a multiple of the element size.
    pub data: *const c_void,
    /// From one row to the next, in elements; at least a row.
    pub stride: usize,
}

/// Rows that are written. Absent where the pointer is null.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RowsMut {
    /// Where the first row starts: a multiple of the element size.
    pub data: *mut c_void,
    /// From one row to the next, in elements; at least a row.
    pub stride: usize,
}

/// Elements side by side. Absent where the pointer is null.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Vector {
    /// Where they start: a multiple of the element size.
    pub data: *const c_void,
    /// A warpnorm_dtype: mostly the activation type or f32.
    pub dtype: u32,
}

/// Rows of codes. Absent where the pointer is null.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Codes {
    /// Where the first row starts.
    pub data: *mut c_void,
    /// From one row to the next, in bytes: at least the row_bytes of warpnorm_quantised_sizes.
    pub stride: usize,
}

/// The heads or groups of a row, `hidden` elements each.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Parts {
    /// How many a row has; 1 where norms are of whole rows.
    pub count: usize,
    /// From one to the next in a row of x, in elements.
    pub x_stride: usize,
    /// The same in a row of the gate.
    pub gate_stride: usize,
    /// The same in a row of y.
    pub y_stride: usize,
}

/// Heads beside those of x, with parameters of their own: K beside Q. Absent where all pointers are null and the
/// count is 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Heads {
    /// As many rows as x has.
    pub x: Rows,
    /// The result; may lie exactly over x.
    pub y: RowsMut,
    /// Heads of a row.
    pub count: usize,
    /// From one to the next in a row of x, in elements.
    pub x_stride: usize,
    /// The same in a row of y.
    pub y_stride: usize,
    /// `hidden` elements, where those of x have a weight.
    pub weight: Vector,
    /// `hidden` elements, where those of x have a bias.
    pub bias: Vector,
}

/// The tables of a rotary embedding. Absent where all pointers are null.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RopeTables {
    /// `entries` rows of dim/2 cosines.
    pub cos: Rows,
    /// `entries` rows of dim/2 sines; rows may interleave with those of cos.
    pub sin: Rows,
    /// Rows of the tables. A position past them, or a negative one, takes the last.
    pub entries: usize,
    /// The position of every row; null for that of its number.
    pub positions: *const c_void,
    /// The warpnorm_dtype of cos and sin: the activation type or f32.
    pub dtype: u32,
    /// A warpnorm_position_type.
    pub position_type: u32,
}

/// The tensors of one launch. All are in memory of the device's: of a GPU, memory that it can access; else of the
/// host. Fill it by warpnorm_call_init, then set x, y and what else the norm takes.
///
/// Memory must be as large as rows, sizes and strides say, and stay allocated and untouched by others until the launch
/// has completed. y may lie exactly over x, residual or gate (same address and strides), residual_out over x or
/// residual; beyond that, what is written overlaps nothing.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Tensors {
    /// sizeof(warpnorm_call).
    pub size: u32,
    /// The warpnorm_dtype of x, residual, gate, y and residual_out.
    pub dtype: u32,
    /// Number of rows. 0 does nothing: norm and `hidden` are checked, and no tensor is looked at, so that all may be
    /// absent.
    pub rows: usize,
    /// Elements of a row, or of each head or group of it.
    pub hidden: usize,
    /// The input: `rows` rows of `parts.count` parts of `hidden` elements.
    pub x: Rows,
    /// The residual stream that comes in, where the norm takes one.
    pub residual: Rows,
    /// The gate, as x is; where the norm has one.
    pub gate: Rows,
    /// The bias of the Linear that x comes from, `hidden` elements of x's type; with a residual add alone.
    pub linear_bias: Vector,
    /// `hidden` elements; of all groups one after the other, where the norm is of groups.
    pub weight: Vector,
    /// As long as the weight and of its type.
    pub bias: Vector,
    /// The output, as x is. Where the norm quantises, it may be absent.
    pub y: RowsMut,
    /// The residual stream that goes out, R(h), where it is wanted.
    pub residual_out: RowsMut,
    /// Where it is wanted, the mean of every row, or of every part of every row; layer norm only.
    pub mean: *mut f32,
    /// Where it is wanted, the reciprocal of every row's or part's standard deviation, root mean square or length.
    pub rstd: *mut f32,
    /// The codes of y, where the norm quantises.
    pub codes: Codes,
    /// Their scales, as many and of such size as warpnorm_quantised_sizes says; where the norm makes scales.
    pub scales: *mut c_void,
    /// The f32 scale that is given; where the norm takes one.
    pub tensor_scale: *const f32,
    /// The weight of the first of two norms, `hidden` elements of the weight's type.
    pub inner_weight: Vector,
    /// The rates of an interpolation, `hidden` elements.
    pub rate: Vector,
    /// Heads or groups of a row.
    pub parts: Parts,
    /// Heads beside those of x.
    pub second: Heads,
    /// The tables of the rotation, where the norm rotates.
    pub rope: RopeTables,
    /// A warpnorm_programmatic_launch.
    pub programmatic_launch: u32,
}

// SAFETY: `repr(C)`, starts with `size`, and holds numbers and pointers alone.
unsafe impl Sized32 for Tensors {
    const NAME: &'static str = "warpnorm_call";
    const INITIALISER: &'static str = "warpnorm_call_init";
}

impl Rows {
    pub(crate) const ABSENT: Self = Self { data: ptr::null(), stride: 0 };

    fn raw(self) -> RawRows {
        RawRows { address: address(self.data), stride: self.stride }
    }

    fn optional(self) -> Option<RawRows> {
        (!self.data.is_null()).then(|| self.raw())
    }
}

impl RowsMut {
    const ABSENT: Self = Self { data: ptr::null_mut(), stride: 0 };

    fn raw(self) -> RawRows {
        RawRows { address: address(self.data), stride: self.stride }
    }

    fn optional(self) -> Option<RawRows> {
        (!self.data.is_null()).then(|| self.raw())
    }
}

impl Vector {
    pub(crate) fn absent(dtype: DType) -> Self {
        Self { data: ptr::null(), dtype: encode(dtype, DTYPES) }
    }

    pub(crate) fn decode(self, field: &'static str) -> Result<Option<RawVector>, Failure> {
        if self.data.is_null() {
            return Ok(None);
        }
        Ok(Some(RawVector { address: address(self.data), dtype: decode(field, self.dtype, DTYPES)? }))
    }
}

impl Tensors {
    /// A call without tensors.
    pub(crate) fn new(dtype: DType, rows: usize, hidden: usize) -> Self {
        let vector = Vector::absent(dtype);
        let heads = Heads {
            x: Rows::ABSENT,
            y: RowsMut::ABSENT,
            count: 0,
            x_stride: hidden,
            y_stride: hidden,
            weight: vector,
            bias: vector,
        };
        let rope = RopeTables {
            cos: Rows::ABSENT,
            sin: Rows::ABSENT,
            entries: 0,
            positions: ptr::null(),
            dtype: encode(dtype, DTYPES),
            position_type: encode(warpnorm::PositionType::I64, POSITION_TYPES),
        };
        Self {
            size: size_of::<Self>() as u32,
            dtype: encode(dtype, DTYPES),
            rows,
            hidden,
            x: Rows::ABSENT,
            residual: Rows::ABSENT,
            gate: Rows::ABSENT,
            linear_bias: vector,
            weight: vector,
            bias: vector,
            y: RowsMut::ABSENT,
            residual_out: RowsMut::ABSENT,
            mean: ptr::null_mut(),
            rstd: ptr::null_mut(),
            codes: Codes { data: ptr::null_mut(), stride: 0 },
            scales: ptr::null_mut(),
            tensor_scale: ptr::null(),
            inner_weight: vector,
            rate: vector,
            parts: Parts { count: 1, x_stride: hidden, gate_stride: hidden, y_stride: hidden },
            second: heads,
            rope,
            programmatic_launch: encode(ProgrammaticLaunch::Off, PROGRAMMATIC_LAUNCHES),
        }
    }

    /// The library's call. Whether its tensors fit the norm is for the library to say.
    pub(crate) fn decode(&self, norm: Norm) -> Result<Call, Failure> {
        let dtype = decode("dtype", self.dtype, DTYPES)?;
        let (x, y) = (self.x.raw(), self.y.raw());
        let Parts { count, x_stride, gate_stride, y_stride } = self.parts;
        Ok(Call {
            residual: self.residual.optional(),
            gate: self.gate.optional(),
            linear_bias: self.linear_bias.decode("linear_bias.dtype")?,
            weight: self.weight.decode("weight.dtype")?,
            bias: self.bias.decode("bias.dtype")?,
            y: self.y.optional(),
            residual_out: self.residual_out.optional(),
            mean: optional(self.mean),
            rstd: optional(self.rstd),
            codes: optional(self.codes.data).map(|address| RawCodes { address, stride: self.codes.stride }),
            scales: optional(self.scales),
            tensor_scale: optional(self.tensor_scale),
            inner_weight: self.inner_weight.decode("inner_weight.dtype")?,
            rate: self.rate.decode("rate.dtype")?,
            parts: warpnorm::Parts { count, x_stride, gate_stride, y_stride },
            second: self.second.decode()?,
            rope: self.rope.decode()?,
            programmatic_launch: decode("programmatic_launch", self.programmatic_launch, PROGRAMMATIC_LAUNCHES)?,
            ..Call::new(norm, dtype, self.rows, self.hidden, x, y)
        })
    }
}

/// Checks a call, and says whether there is anything to do. Where it has no rows, the norm is checked, and the
/// size of rows, but no tensor: empty ones are null with many allocators, and null is what an absent one is here.
pub(crate) fn checked(call: &Call) -> Result<bool, CallError> {
    if call.rows == 0 {
        call.norm.validate()?;
        // A call that was never filled in is none of no rows.
        if call.hidden == 0 || call.hidden > MAX_HIDDEN {
            return Err(CallError::Hidden { given: call.hidden });
        }
        return Ok(false);
    }
    call.validate()?;
    Ok(true)
}

impl Heads {
    fn decode(&self) -> Result<Option<RawHeads>, Failure> {
        let weight = self.weight.decode("second.weight.dtype")?;
        let bias = self.bias.decode("second.bias.dtype")?;
        let absent = self.x.data.is_null() && self.y.data.is_null() && weight.is_none() && bias.is_none();
        if absent && self.count == 0 {
            return Ok(None);
        }
        let (x, y) = (self.x.raw(), self.y.raw());
        let (count, x_stride, y_stride) = (self.count, self.x_stride, self.y_stride);
        Ok(Some(RawHeads { x, y, count, x_stride, y_stride, weight, bias }))
    }
}

impl RopeTables {
    fn decode(&self) -> Result<Option<RawRope>, Failure> {
        if self.cos.data.is_null() && self.sin.data.is_null() && self.positions.is_null() {
            return Ok(None);
        }
        let positions = match optional(self.positions) {
            None => None,
            Some(address) => {
                let kind = decode("rope.position_type", self.position_type, POSITION_TYPES)?;
                Some(RawPositions { address, kind })
            }
        };
        let (cos, sin, entries) = (self.cos.raw(), self.sin.raw(), self.entries);
        Ok(Some(RawRope { cos, sin, dtype: decode("rope.dtype", self.dtype, DTYPES)?, entries, positions }))
    }
}

fn address<T>(pointer: *const T) -> u64 {
    // A host device makes pointers of addresses again.
    pointer.expose_provenance() as u64
}

pub(crate) fn optional<T>(pointer: *const T) -> Option<u64> {
    (!pointer.is_null()).then(|| address(pointer))
}
