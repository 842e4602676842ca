//! Sets of tensors that launches take in turn.

use super::copy::sets;
use super::memory::{DeviceBuffers, Tiled};
use crate::report::Buffers;
use crate::{BenchError, Workload};
use warpnorm::parity::Case;
use warpnorm::{Call, DType, Parts, PositionType, RawCodes, RawHeads, RawPositions, RawRope, RawRows, RawVector};

/// Calls of one workload, each on tensors of its own; parameters are shared.
pub struct Rotation {
    calls: Vec<Call>,
    set_bytes: u64,
}

/// Tensors of rows, one for each set.
struct Matrices {
    x: Tiled,
    residual: Option<Tiled>,
    gate: Option<Tiled>,
    second_x: Option<Tiled>,
    y: Option<Tiled>,
    second_y: Option<Tiled>,
    residual_out: Option<Tiled>,
    codes: Option<Tiled>,
    scales: Option<Tiled>,
}

/// Bytes of the tensors of rows, where there are such.
struct Sizes {
    matrix: u64,
    /// x, gate and y, of all heads.
    parts: u64,
    second: Option<u64>,
    y: bool,
    residual_out: bool,
    codes: Option<u64>,
    scales: Option<u64>,
}

impl Sizes {
    fn new(workload: &Workload) -> Self {
        let block = &workload.block;
        let matrix = workload.rows as u64 * block.hidden as u64 * block.dtype.size() as u64;
        let quantisation = block.norm.quantisation;
        Self {
            matrix,
            parts: matrix * block.parts as u64,
            second: block.second.as_ref().map(|heads| matrix * heads.count as u64),
            y: quantisation.is_none() || block.outputs.y,
            residual_out: block.outputs.residual,
            codes: quantisation.map(|one| workload.rows as u64 * one.row_bytes(block.hidden) as u64),
            scales: quantisation.and_then(|one| {
                let count = one.scale_count(workload.rows, block.hidden)?;
                Some(count as u64 * one.scaling.scale_type()?.size() as u64)
            }),
        }
    }

    /// Of one set together.
    fn total(&self, case: &Case) -> u64 {
        let there = |there: bool| u64::from(there);
        self.parts * (1 + there(case.gate.is_some()) + there(self.y))
            + self.matrix * (there(case.residual.is_some()) + there(self.residual_out))
            + 2 * self.second.unwrap_or(0)
            + self.codes.unwrap_or(0)
            + self.scales.unwrap_or(0)
    }
}

impl Rotation {
    /// As many sets as take `wanted` bytes together, as far as there is room.
    ///
    /// # Errors
    /// There is no room for one, or the driver fails.
    pub fn new(buffers: &mut DeviceBuffers, workload: &Workload, wanted: u64, room: u64) -> Result<Self, BenchError> {
        let (block, sizes) = (&workload.block, Sizes::new(workload));
        let set_bytes = sizes.total(block);
        if set_bytes > room {
            return Err(BenchError::Memory { wanted: set_bytes, free: room });
        }
        let count = sets(set_bytes, wanted, room);
        let filled = |buffers: &mut DeviceBuffers, bytes: &Option<Vec<u8>>, size| {
            bytes.as_ref().map(|bytes| buffers.tiled(bytes, size, count)).transpose()
        };
        let blank =
            |buffers: &mut DeviceBuffers, size: Option<u64>| size.map(|size| buffers.sets(size, count)).transpose();
        let second = block.second.as_ref();
        let matrices = Matrices {
            x: buffers.tiled(&block.x, sizes.parts, count)?,
            residual: filled(buffers, &block.residual, sizes.matrix)?,
            gate: filled(buffers, &block.gate, sizes.parts)?,
            second_x: match second {
                Some(heads) => Some(buffers.tiled(&heads.x, sizes.second.unwrap_or(0), count)?),
                None => None,
            },
            y: blank(buffers, sizes.y.then_some(sizes.parts))?,
            second_y: blank(buffers, sizes.second)?,
            residual_out: blank(buffers, sizes.residual_out.then_some(sizes.matrix))?,
            codes: blank(buffers, sizes.codes)?,
            scales: blank(buffers, sizes.scales)?,
        };
        let shared = shared(buffers, workload, matrices.x.at(0))?;
        let calls = (0..count).map(|set| place(&shared, workload, &matrices, set)).collect();
        Ok(Self { calls, set_bytes })
    }

    /// A call for each set.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// Launches that take every set once.
    pub fn round(&self) -> u32 {
        // As `sets` has them, there are few.
        self.calls.len() as u32
    }

    /// The sets for reports, where the shortest samples have so many launches.
    pub fn buffers(&self, launches: u64, l2_bytes: u64) -> Buffers {
        Buffers::taken(self.round().into(), self.set_bytes, launches, l2_bytes)
    }
}

/// A call with all that is not of rows.
fn shared(buffers: &mut DeviceBuffers, workload: &Workload, x: u64) -> Result<Call, BenchError> {
    let block = &workload.block;
    let vector = |buffers: &mut DeviceBuffers, vector: &Option<(DType, Vec<u8>)>| {
        let upload = |(dtype, bytes): &(DType, Vec<u8>)| {
            Ok::<_, BenchError>(RawVector { address: buffers.upload(bytes)?, dtype: *dtype })
        };
        vector.as_ref().map(upload).transpose()
    };
    let rows = RawRows { address: x, stride: block.hidden * block.parts };
    let mut call = Call::new(block.norm, block.dtype, workload.rows, block.hidden, rows, rows);
    call.parts = Parts::packed(block.parts, block.hidden);
    call.weight = vector(buffers, &block.weight)?;
    call.bias = vector(buffers, &block.bias)?;
    call.linear_bias = vector(buffers, &block.linear_bias)?;
    call.inner_weight = vector(buffers, &block.inner_weight)?;
    call.rate = vector(buffers, &block.rate)?;
    let scale = block.tensor_scale;
    call.tensor_scale = scale.map(|scale| buffers.upload(&scale.to_ne_bytes())).transpose()?;
    if let Some(heads) = &block.second {
        let (weight, bias) = (vector(buffers, &heads.weight)?, vector(buffers, &heads.bias)?);
        let (count, stride) = (heads.count, block.hidden * heads.count);
        let rows = RawRows { address: x, stride };
        let (x_stride, y_stride) = (block.hidden, block.hidden);
        call.second = Some(RawHeads { x: rows, y: rows, count, x_stride, y_stride, weight, bias });
    }
    if let (Some(rotation), Some(rope)) = (&block.rope, block.norm.rope) {
        let half = rope.dim / 2;
        let entries = rotation.cos.len() / (half * rotation.dtype.size()).max(1);
        let table = |address| RawRows { address, stride: half };
        // Rows past the block have the positions of those in it.
        let of_block: Vec<i64> = match &rotation.positions {
            Some(positions) => positions.clone(),
            None => (0..block.rows as i64).collect(),
        };
        let (size, kind) = match rotation.position_type {
            PositionType::I32 => (4, PositionType::I32),
            PositionType::I64 => (8, PositionType::I64),
        };
        let bytes: Vec<u8> = of_block.iter().flat_map(|position| position.to_le_bytes()[..size].to_vec()).collect();
        let positions = buffers.tiled(&bytes, (workload.rows * size) as u64, 1)?;
        call.rope = Some(RawRope {
            cos: table(buffers.upload(&rotation.cos)?),
            sin: table(buffers.upload(&rotation.sin)?),
            dtype: rotation.dtype,
            entries,
            positions: Some(RawPositions { address: positions.at(0), kind }),
        });
    }
    Ok(call)
}

/// The call on the tensors of a set.
fn place(shared: &Call, workload: &Workload, matrices: &Matrices, set: u64) -> Call {
    let block = &workload.block;
    let rows = |tiled: Tiled, parts: usize| RawRows { address: tiled.at(set), stride: block.hidden * parts };
    let mut call = *shared;
    call.x = rows(matrices.x, block.parts);
    call.y = matrices.y.map(|y| rows(y, block.parts));
    call.residual = matrices.residual.map(|residual| rows(residual, 1));
    call.gate = matrices.gate.map(|gate| rows(gate, block.parts));
    call.residual_out = matrices.residual_out.map(|residual| rows(residual, 1));
    call.codes = matrices
        .codes
        .zip(block.norm.quantisation)
        .map(|(codes, quantisation)| RawCodes { address: codes.at(set), stride: quantisation.row_bytes(block.hidden) });
    call.scales = matrices.scales.map(|scales| scales.at(set));
    if let (Some(heads), Some(x), Some(y)) = (&mut call.second, matrices.second_x, matrices.second_y) {
        (heads.x, heads.y) = (rows(x, heads.count), rows(y, heads.count));
    }
    call
}
