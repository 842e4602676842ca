//! CPU tensors, by the library's reference: f64, rows in parallel.

use crate::error::of_library;
use crate::layout::Rows;
use crate::prepared::{Matrix, Prepared, Second, Vector};
use crate::run::Storages;
use candle_core::{CpuStorage, Error, Result, Storage, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;
use warpnorm::host::{self, Device, Output, Outputs, Placement, Problem};
use warpnorm::quantise::ScaleType;
use warpnorm::reference::Cpu;
use warpnorm::{DType, PositionType, Role};

/// Elements of x that are worth a task.
const TASK_ELEMENTS: usize = 1 << 13;

/// The tensors of a norm, packed.
struct Gathered {
    x: Vec<u8>,
    residual: Option<Vec<u8>>,
    gate: Option<Vec<u8>>,
    weight: Option<Packed>,
    bias: Option<Packed>,
    linear_bias: Option<Packed>,
    inner_weight: Option<Packed>,
    rate: Option<Packed>,
    second: Option<GatheredHeads>,
    rope: Option<GatheredRope>,
    tensor_scale: Option<f32>,
}

/// The type and the bytes of a vector.
type Packed = (DType, Vec<u8>);

struct GatheredRope {
    cos: Vec<u8>,
    sin: Vec<u8>,
    positions: Option<Vec<i64>>,
}

struct GatheredHeads {
    x: Vec<u8>,
    weight: Option<Packed>,
    bias: Option<Packed>,
}

pub(crate) fn run(prepared: &Prepared<'_>) -> Result<Storages> {
    let gathered = Gathered::of(prepared)?;
    let Rows { count, parts, hidden, .. } = prepared.x.rows;
    // Scales of all rows are one tensor, and angles may be those of a row's number.
    let whole =
        prepared.norm.quantisation.is_some() || gathered.rope.as_ref().is_some_and(|rope| rope.positions.is_none());
    let rows = if whole { count } else { TASK_ELEMENTS.div_ceil(parts * hidden) };
    let starts: Vec<usize> = (0..count).step_by(rows).collect();
    let run = |&start: &usize| {
        let problem = gathered.problem(prepared, start, rows.min(count - start));
        Cpu.run(&problem, Placement::default()).map_err(of_library)
    };
    let outputs: Vec<Output> = match starts[..] {
        [start] => vec![run(&start)?],
        _ => starts.par_iter().map(run).collect::<Result<_>>()?,
    };

    let dtype = prepared.dtype;
    let joined = |bytes: fn(&Output) -> Option<&[u8]>| -> Option<Vec<u8>> {
        let pieces: Option<Vec<&[u8]>> = outputs.iter().map(bytes).collect();
        pieces.map(|pieces| pieces.concat())
    };
    let of_activations = |bytes: Vec<u8>| match dtype {
        DType::F32 => CpuStorage::F32(elements::<f32>(&bytes)),
        DType::F16 => CpuStorage::F16(elements::<f16>(&bytes)),
        DType::BF16 => CpuStorage::BF16(elements::<bf16>(&bytes)),
    };
    let matrix = |bytes: fn(&Output) -> Option<&[u8]>| joined(bytes).map(|bytes| Storage::Cpu(of_activations(bytes)));
    Ok(Storages {
        y: matrix(|output| Some(&output.y)),
        residual: matrix(|output| output.residual.as_deref()),
        second: matrix(|output| output.second_y.as_deref()),
        codes: joined(|output| output.codes.as_deref()).map(|codes| Storage::Cpu(CpuStorage::U8(codes))),
        scales: joined(|output| output.scales.as_deref()).map(|scales| Storage::Cpu(of_scales(prepared, &scales))),
    })
}

/// Scales as they are stored, those of no row zero.
fn of_scales(prepared: &Prepared<'_>, scales: &[u8]) -> CpuStorage {
    let Rows { count, hidden, .. } = prepared.x.rows;
    let Some(quantisation) = prepared.norm.quantisation else { return CpuStorage::U8(Vec::new()) };
    let size = quantisation.scaling.scale_type().map_or(1, ScaleType::size);
    let mut written = vec![0; scales.len()];
    for row in 0..count {
        for group in 0..quantisation.groups(hidden) {
            let at = quantisation.scale_index(count, hidden, row, group) * size;
            written[at..at + size].copy_from_slice(&scales[at..at + size]);
        }
    }
    match quantisation.scaling.scale_type() {
        Some(ScaleType::F32) => CpuStorage::F32(elements::<f32>(&written)),
        _ => CpuStorage::U8(written),
    }
}

impl Gathered {
    fn of(prepared: &Prepared<'_>) -> Result<Self> {
        let rows = |matrix: Option<Matrix<'_>>| matrix.map(|matrix| gather(&matrix)).transpose();
        let vector = |vector: Option<Vector<'_>>| -> Result<_> {
            let Some(Vector { tensor, dtype, offset, length }) = vector else { return Ok(None) };
            with_bytes(tensor, |bytes, size| Ok(Some((dtype, bytes[offset * size..][..length * size].to_vec()))))
        };
        let rope = match prepared.rope {
            None => None,
            Some(rope) => {
                let count = prepared.x.rows.count;
                let positions = rope.positions.map(|(tensor, offset, kind)| {
                    with_bytes(tensor, |bytes, size| Ok(positions(&bytes[offset * size..][..count * size], kind)))
                });
                Some(GatheredRope {
                    cos: gather(&rope.cos)?,
                    sin: gather(&rope.sin)?,
                    positions: positions.transpose()?,
                })
            }
        };
        Ok(Self {
            x: gather(&prepared.x)?,
            residual: rows(prepared.residual)?,
            gate: rows(prepared.gate)?,
            weight: vector(prepared.weight)?,
            bias: vector(prepared.bias)?,
            linear_bias: vector(prepared.linear_bias)?,
            inner_weight: vector(prepared.inner_weight)?,
            rate: vector(prepared.rate)?,
            second: match prepared.second {
                None => None,
                Some(second) => Some(GatheredHeads {
                    x: gather(&second.x)?,
                    weight: vector(second.weight)?,
                    bias: vector(second.bias)?,
                }),
            },
            rope,
            tensor_scale: vector(prepared.tensor_scale)?.map(|(_, bytes)| bytemuck::pod_read_unaligned(&bytes)),
        })
    }

    /// So many rows from one on, as a problem of the library.
    fn problem<'a>(&'a self, prepared: &Prepared<'_>, start: usize, rows: usize) -> Problem<'a> {
        let Rows { parts, hidden, .. } = prepared.x.rows;
        let size = prepared.dtype.size();
        let of_rows = |bytes: &'a [u8], parts: usize| {
            let row = parts * hidden * size;
            &bytes[start * row..][..rows * row]
        };
        let vector =
            |vector: &'a Option<Packed>| vector.as_ref().map(|(dtype, bytes)| host::Vector { dtype: *dtype, bytes });
        Problem {
            residual: self.residual.as_ref().map(|residual| of_rows(residual, 1)),
            gate: self.gate.as_ref().map(|gate| of_rows(gate, parts)),
            weight: vector(&self.weight),
            bias: vector(&self.bias),
            linear_bias: vector(&self.linear_bias),
            inner_weight: vector(&self.inner_weight),
            rate: vector(&self.rate),
            parts,
            second: self.second.as_ref().zip(prepared.second).map(|(second, Second { x, .. })| host::Heads {
                x: of_rows(&second.x, x.rows.parts),
                count: x.rows.parts,
                weight: vector(&second.weight),
                bias: vector(&second.bias),
            }),
            rope: self.rope.as_ref().zip(prepared.rope).map(|(gathered, rope)| host::RopeTables {
                cos: &gathered.cos,
                sin: &gathered.sin,
                dtype: rope.dtype,
                positions: gathered.positions.as_ref().map(|positions| &positions[start..start + rows]),
                position_type: PositionType::I64,
            }),
            tensor_scale: self.tensor_scale,
            outputs: Outputs { residual: prepared.wanted.residual, ..Outputs::default() },
            ..Problem::new(prepared.norm, prepared.dtype, rows, hidden, of_rows(&self.x, parts))
        }
    }
}

/// The rows of a matrix, one after the other.
fn gather(matrix: &Matrix<'_>) -> Result<Vec<u8>> {
    let rows = matrix.rows;
    with_bytes(matrix.tensor, |bytes, size| {
        let row = rows.hidden * size;
        let mut packed = Vec::with_capacity(rows.count * rows.parts * row);
        for start in rows.starts() {
            packed.extend_from_slice(&bytes[start * size..][..row]);
        }
        Ok(packed)
    })
}

/// Elements that may lie anywhere.
fn elements<T: bytemuck::AnyBitPattern>(bytes: &[u8]) -> Vec<T> {
    bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
}

fn positions(bytes: &[u8], kind: PositionType) -> Vec<i64> {
    match kind {
        PositionType::I64 => elements(bytes),
        PositionType::I32 => elements::<i32>(bytes).into_iter().map(i64::from).collect(),
    }
}

/// The bytes of a CPU tensor's storage, and those of an element. The storage is locked for as long as this runs, and
/// no other beside it: a writer that waits for one of two views of a storage would keep the second from being read.
fn with_bytes<T>(tensor: &Tensor, read: impl FnOnce(&[u8], usize) -> Result<T>) -> Result<T> {
    let (storage, _) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return Err(Error::msg(format!("{} is not a CPU tensor", Role::X)));
    };
    let (bytes, size): (&[u8], usize) = match storage {
        CpuStorage::F32(values) => (bytemuck::cast_slice(values), 4),
        CpuStorage::F16(values) => (bytemuck::cast_slice(values), 2),
        CpuStorage::BF16(values) => (bytemuck::cast_slice(values), 2),
        CpuStorage::U32(values) => (bytemuck::cast_slice(values), 4),
        CpuStorage::I32(values) => (bytemuck::cast_slice(values), 4),
        CpuStorage::I64(values) => (bytemuck::cast_slice(values), 8),
        // Refused when the norm was prepared.
        _ => return Err(Error::msg("no norm has tensors of this type")),
    };
    read(bytes, size)
}
