//! The road of host tensors through a device's memory: lay out, launch, read back.

use super::{HostError, Output, Placement, Problem, RopeTables, Vector, filled};
use crate::call::extent;
use crate::{
    Call, CallError, ColumnCall, DType, Error, Parts, PositionType, RawCodes, RawHeads, RawPositions, RawRope, RawRows,
    RawVector, Role, Rope,
};
use std::cell::Cell;

/// Memory of a device, for one launch on copies of host tensors.
pub(crate) trait DeviceMemory {
    /// Allocates a copy of `contents` whose address is `misalignment` past a multiple of 256.
    fn allocate(&mut self, role: Role, contents: &[u8], misalignment: usize, read_only: bool) -> Result<u64, Error>;

    /// Puts bytes that belong to no row out of use, on a device that can tell who touches them.
    fn forbid(&mut self, address: u64, bytes: usize) -> Result<(), Error> {
        let _ = (address, bytes);
        Ok(())
    }

    /// Reads back from an allocation.
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Error>;

    /// Plans and launches a call, and waits for it.
    fn launch(&mut self, call: &Call) -> Result<(), Error>;

    /// The same for the statistics of columns.
    fn launch_columns(&mut self, call: &ColumnCall) -> Result<(), Error>;
}

/// What padding and outputs hold before a launch: NaN in every element type, so that reading it shows.
pub(super) const POISON: u8 = 0xff;

/// Lays a problem out in device memory, launches it and reads the results back.
pub(crate) fn run_on(
    memory: &mut impl DeviceMemory,
    problem: &Problem<'_>,
    placement: Placement,
) -> Result<Output, Error> {
    problem.validate()?;
    let layout_of = |parts: usize| {
        let row = problem.hidden * parts;
        Layout::of(problem.rows, row, placement.padding, problem.dtype.size())
    };
    let layout = layout_of(problem.parts)?;
    let second_layout = layout_of(problem.second.map_or(1, |heads| heads.count))?;
    let offset_of = |dtype: DType| placement.offset * dtype.size();
    let placed = Cell::new(0);

    let place = |memory: &mut _, role, layout: &Layout, contents: &[u8], read_only| -> Result<RawRows, Error> {
        let turn = placed.replace(placed.get() + 1);
        let misalignment = (placement.offset + turn * placement.stagger) * problem.dtype.size();
        let address = DeviceMemory::allocate(memory, role, contents, misalignment, read_only)?;
        for (offset, bytes) in layout.gaps() {
            DeviceMemory::forbid(memory, address + offset as u64, bytes)?;
        }
        Ok(RawRows { address, stride: layout.stride })
    };
    let input = |memory: &mut _, role, bytes| place(memory, role, &layout, &layout.spread(bytes), !placement.in_place);
    let output =
        |memory: &mut _, role, layout: &Layout| place(memory, role, layout, &vec![POISON; layout.bytes], false);
    let x = input(memory, Role::X, problem.x)?;
    let residual = problem.residual.map(|bytes| input(memory, Role::Residual, bytes)).transpose()?;
    let gate = problem.gate.map(|bytes| input(memory, Role::Gate, bytes)).transpose()?;
    let vector = |memory: &mut _, role, vector: Option<Vector<'_>>| -> Result<Option<RawVector>, Error> {
        let Some(Vector { dtype, bytes }) = vector else { return Ok(None) };
        let address = DeviceMemory::allocate(memory, role, bytes, offset_of(dtype), true)?;
        Ok(Some(RawVector { address, dtype }))
    };
    let weight = vector(memory, Role::Weight, problem.weight)?;
    let bias = vector(memory, Role::Bias, problem.bias)?;
    let linear_bias = vector(memory, Role::LinearBias, problem.linear_bias)?;
    let inner_weight = vector(memory, Role::InnerWeight, problem.inner_weight)?;
    let rate = vector(memory, Role::Rate, problem.rate)?;

    let quantisation = problem.norm.quantisation;
    let y = match quantisation {
        Some(_) if !problem.outputs.y => None,
        _ if placement.in_place => Some(x),
        _ => Some(output(memory, Role::Y, &layout)?),
    };
    let codes_layout = quantisation
        .map(|quantisation| Layout::of(problem.rows, quantisation.row_bytes(problem.hidden), placement.padding, 1))
        .transpose()?;
    let codes = match &codes_layout {
        None => None,
        Some(layout) => {
            let blank = vec![POISON; layout.bytes];
            let address = memory.allocate(Role::Codes, &blank, placement.offset, false)?;
            for (offset, bytes) in layout.gaps() {
                memory.forbid(address + offset as u64, bytes)?;
            }
            Some(RawCodes { address, stride: layout.stride })
        }
    };
    let scale_bytes = quantisation.and_then(|quantisation| {
        let size = quantisation.scaling.scale_type()?.size();
        Some(quantisation.scale_count(problem.rows, problem.hidden)? * size)
    });
    let scales = scale_bytes
        .map(|bytes| memory.allocate(Role::Scales, &filled(POISON, bytes, problem.rows)?, 0, false))
        .transpose()?;
    let tensor_scale = problem
        .tensor_scale
        .map(|scale| memory.allocate(Role::TensorScale, &scale.to_ne_bytes(), 0, true))
        .transpose()?;
    let residual_out = match (problem.outputs.residual, placement.in_place) {
        (false, _) => None,
        (true, true) => residual,
        (true, false) => Some(output(memory, Role::ResidualOut, &layout)?),
    };
    let statistic = vec![POISON; problem.rows * problem.parts * size_of::<f32>()];
    let statistics = |memory: &mut _, role, wanted: bool| -> Result<Option<u64>, Error> {
        wanted.then(|| DeviceMemory::allocate(memory, role, &statistic, 0, false)).transpose()
    };
    let mean = statistics(memory, Role::Mean, problem.outputs.mean)?;
    let rstd = statistics(memory, Role::Rstd, problem.outputs.rstd)?;

    let mut call = Call::new(problem.norm, problem.dtype, problem.rows, problem.hidden, x, x);
    call.y = y;
    call.codes = codes;
    call.scales = scales;
    call.tensor_scale = tensor_scale;
    call.residual = residual;
    call.weight = weight;
    call.bias = bias;
    call.linear_bias = linear_bias;
    call.gate = gate;
    call.residual_out = residual_out;
    call.mean = mean;
    call.rstd = rstd;
    call.inner_weight = inner_weight;
    call.rate = rate;
    call.parts = Parts::packed(problem.parts, problem.hidden);
    call.second = match problem.second {
        None => None,
        Some(heads) => {
            let (contents, read_only) = (second_layout.spread(heads.x), !placement.in_place);
            let x = place(memory, Role::SecondX, &second_layout, &contents, read_only)?;
            let y = if placement.in_place { x } else { output(memory, Role::SecondY, &second_layout)? };
            let weight = vector(memory, Role::SecondWeight, heads.weight)?;
            let bias = vector(memory, Role::SecondBias, heads.bias)?;
            let (x_stride, y_stride) = (problem.hidden, problem.hidden);
            Some(RawHeads { x, y, count: heads.count, x_stride, y_stride, weight, bias })
        }
    };
    call.rope = match (problem.rope, problem.norm.rope) {
        (Some(tables), Some(rope)) => Some(rope_tables(memory, &tables, rope, offset_of(tables.dtype))?),
        _ => None,
    };
    call.programmatic_launch = problem.programmatic_launch;
    memory.launch(&call)?;

    let matrix = |role, layout: &Layout, rows: RawRows| -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; layout.bytes];
        memory.read(rows.address, &mut bytes)?;
        Ok(layout.gather(role, &bytes)?)
    };
    let values = |address: Option<u64>| -> Result<Option<Vec<f32>>, Error> {
        let Some(address) = address else { return Ok(None) };
        let mut values = vec![0.0f32; problem.rows * problem.parts];
        memory.read(address, bytemuck::cast_slice_mut(&mut values))?;
        Ok(Some(values))
    };
    let codes = match (&codes_layout, codes) {
        (Some(layout), Some(codes)) => {
            let mut bytes = vec![0; layout.bytes];
            memory.read(codes.address, &mut bytes)?;
            Some(layout.gather(Role::Codes, &bytes)?)
        }
        _ => None,
    };
    let scales = match (scale_bytes, scales) {
        (Some(bytes), Some(address)) => {
            let mut scales = vec![0; bytes];
            memory.read(address, &mut scales)?;
            Some(scales)
        }
        _ => None,
    };
    Ok(Output {
        y: y.map_or_else(|| Ok(Vec::new()), |y| matrix(Role::Y, &layout, y))?,
        second_y: call.second.map(|heads| matrix(Role::SecondY, &second_layout, heads.y)).transpose()?,
        codes,
        scales,
        residual: residual_out.map(|rows| matrix(Role::ResidualOut, &layout, rows)).transpose()?,
        mean: values(mean)?,
        rstd: values(rstd)?,
    })
}

/// The tables of a rotary embedding as vLLM's cache has them: the cosines of a position, and after them its sines.
fn rope_tables(
    memory: &mut impl DeviceMemory,
    tables: &RopeTables<'_>,
    rope: Rope,
    misalignment: usize,
) -> Result<RawRope, Error> {
    let (bytes, entries) = (tables.row_bytes(rope), tables.entries(rope));
    let rows = tables.cos.chunks(bytes).zip(tables.sin.chunks(bytes));
    let cache: Vec<u8> = rows.flat_map(|(cos, sin)| [cos, sin].concat()).collect();
    let address = memory.allocate(Role::Cos, &cache, misalignment, true)?;
    let positions = match tables.positions {
        None => None,
        Some(positions) => {
            let kind = tables.position_type;
            let bytes: Vec<u8> = match kind {
                PositionType::I64 => positions.iter().flat_map(|position| position.to_ne_bytes()).collect(),
                // Past the largest i32 is past the end of the tables, where a negative one is, too.
                PositionType::I32 => {
                    let narrow = |&position: &i64| i32::try_from(position).unwrap_or(-1).to_ne_bytes();
                    positions.iter().flat_map(narrow).collect()
                }
            };
            Some(RawPositions { address: memory.allocate(Role::Positions, &bytes, 0, true)?, kind })
        }
    };
    let table = |address| RawRows { address, stride: rope.dim };
    let (cos, sin) = (table(address), table(address + bytes as u64));
    Ok(RawRope { cos, sin, dtype: tables.dtype, entries, positions })
}

/// Row-strided placement of a matrix, in bytes.
pub(super) struct Layout {
    rows: usize,
    row: usize,
    /// In elements.
    pub(super) stride: usize,
    stride_bytes: usize,
    bytes: usize,
}

impl Layout {
    /// Rows of so many elements of so many bytes, with padding in elements.
    pub(super) fn of(rows: usize, row: usize, padding: usize, size: usize) -> Result<Self, CallError> {
        let too_large = CallError::TooLarge { rows, stride: row };
        let stride = row.checked_add(padding).ok_or(too_large.clone())?;
        let bytes = extent(rows, row, stride).and_then(|n| n.checked_mul(size)).ok_or(too_large)?;
        Ok(Self { rows, row: row * size, stride, stride_bytes: stride * size, bytes })
    }

    /// Offset and length of what lies between the rows.
    pub(super) fn gaps(&self) -> impl Iterator<Item = (usize, usize)> {
        let starts = (1..self.rows).map(|row| row * self.stride_bytes);
        let bytes = self.stride_bytes - self.row;
        starts.filter(move |_| bytes > 0).map(move |start| (start - bytes, bytes))
    }

    pub(super) fn spread(&self, contiguous: &[u8]) -> Vec<u8> {
        let mut bytes = vec![POISON; self.bytes];
        for row in 0..self.rows {
            let from = &contiguous[row * self.row..(row + 1) * self.row];
            bytes[row * self.stride_bytes..][..self.row].copy_from_slice(from);
        }
        bytes
    }

    fn gather(&self, role: Role, bytes: &[u8]) -> Result<Vec<u8>, HostError> {
        let mut contiguous = Vec::with_capacity(self.rows * self.row);
        for row in 0..self.rows {
            let start = row * self.stride_bytes;
            contiguous.extend_from_slice(&bytes[start..start + self.row]);
            let padding = &bytes[start + self.row..self.bytes.min(start + self.stride_bytes)];
            if padding.iter().any(|&byte| byte != POISON) {
                return Err(HostError::PaddingWritten { role, row });
            }
        }
        Ok(contiguous)
    }
}
