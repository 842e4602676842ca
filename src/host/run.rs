//! The road of host tensors through a device's memory: lay out, launch, read back.

use super::{HostError, Output, Placement, Problem, Vector, filled};
use crate::call::extent;
use crate::{Call, CallError, DType, Error, RawCodes, RawRows, RawVector, Role};

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
}

/// What padding and outputs hold before a launch: NaN in every element type, so that reading it shows.
const POISON: u8 = 0xff;

/// Lays a problem out in device memory, launches it and reads the results back.
pub(crate) fn run_on(
    memory: &mut impl DeviceMemory,
    problem: &Problem<'_>,
    placement: Placement,
) -> Result<Output, Error> {
    problem.validate()?;
    let layout = Layout::new(problem, placement)?;
    let offset_of = |dtype: DType| placement.offset * dtype.size();
    let misalignment = offset_of(problem.dtype);
    let blank = vec![POISON; layout.bytes];
    let rows = |address| RawRows { address, stride: layout.stride };

    let matrix = |memory: &mut _, role, contents: &[u8], read_only| -> Result<RawRows, Error> {
        let address = DeviceMemory::allocate(memory, role, contents, misalignment, read_only)?;
        for (offset, bytes) in layout.gaps() {
            DeviceMemory::forbid(memory, address + offset as u64, bytes)?;
        }
        Ok(rows(address))
    };
    let input = |memory: &mut _, role, bytes| matrix(memory, role, &layout.spread(bytes), !placement.in_place);
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

    let quantisation = problem.norm.quantisation;
    let y = match quantisation {
        Some(_) if !problem.outputs.y => None,
        _ if placement.in_place => Some(x),
        _ => Some(matrix(memory, Role::Y, &blank, false)?),
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
        (true, false) => Some(matrix(memory, Role::ResidualOut, &blank, false)?),
    };
    let statistic = vec![POISON; problem.rows * size_of::<f32>()];
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
    memory.launch(&call)?;

    let matrix = |role, rows: RawRows| -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; layout.bytes];
        memory.read(rows.address, &mut bytes)?;
        Ok(layout.gather(role, &bytes)?)
    };
    let values = |address: Option<u64>| -> Result<Option<Vec<f32>>, Error> {
        let Some(address) = address else { return Ok(None) };
        let mut values = vec![0.0f32; problem.rows];
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
        y: y.map_or_else(|| Ok(Vec::new()), |y| matrix(Role::Y, y))?,
        codes,
        scales,
        residual: residual_out.map(|rows| matrix(Role::ResidualOut, rows)).transpose()?,
        mean: values(mean)?,
        rstd: values(rstd)?,
    })
}

/// Row-strided placement of a matrix, in bytes.
struct Layout {
    rows: usize,
    row: usize,
    /// In elements.
    stride: usize,
    stride_bytes: usize,
    bytes: usize,
}

impl Layout {
    fn new(problem: &Problem<'_>, placement: Placement) -> Result<Self, CallError> {
        Self::of(problem.rows, problem.hidden, placement.padding, problem.dtype.size())
    }

    /// Rows of so many elements of so many bytes, with padding in elements.
    fn of(rows: usize, row: usize, padding: usize, size: usize) -> Result<Self, CallError> {
        let too_large = CallError::TooLarge { rows, stride: row };
        let stride = row.checked_add(padding).ok_or(too_large.clone())?;
        let bytes = extent(rows, row, stride).and_then(|n| n.checked_mul(size)).ok_or(too_large)?;
        Ok(Self { rows, row: row * size, stride, stride_bytes: stride * size, bytes })
    }

    /// Offset and length of what lies between the rows.
    fn gaps(&self) -> impl Iterator<Item = (usize, usize)> {
        let starts = (1..self.rows).map(|row| row * self.stride_bytes);
        let bytes = self.stride_bytes - self.row;
        starts.filter(move |_| bytes > 0).map(move |start| (start - bytes, bytes))
    }

    fn spread(&self, contiguous: &[u8]) -> Vec<u8> {
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
