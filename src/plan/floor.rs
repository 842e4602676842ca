//! The byte floor: what a call must move, however it is computed.

use crate::quantise::ScaleType;
use crate::{Call, DType, RawVector};

/// Bytes of device memory that a launch cannot do without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteFloor {
    /// Bytes to be read.
    pub loads: u64,
    /// Bytes to be written.
    pub stores: u64,
}

impl ByteFloor {
    /// Bytes in both directions.
    pub const fn total(self) -> u64 {
        self.loads.saturating_add(self.stores)
    }
}

/// The byte floor of a call: every matrix is read or written once, weight and bias are read once a
/// launch whatever the number of rows, a statistic takes four bytes a row, and a quantised output what its
/// codes and scales take.
///
/// Padding between rows is not moved. A tensor that lies over another counts as if it lay apart: an
/// output in place is still read and written.
///
/// ```
/// use warpnorm::plan::byte_floor;
/// use warpnorm::{Call, DType, Norm, RawRows, RawVector};
///
/// let rows = |address| RawRows { address, stride: 4096 };
/// let mut call = Call::new(Norm::rms_norm(1e-6), DType::BF16, 100, 4096, rows(1 << 40), rows(2 << 40));
/// call.weight = Some(RawVector { address: 3 << 40, dtype: DType::F32 });
/// let floor = byte_floor(&call);
/// assert_eq!(floor.loads, 100 * 4096 * 2 + 4096 * 4);
/// assert_eq!(floor.stores, 100 * 4096 * 2);
/// ```
pub fn byte_floor(call: &Call) -> ByteFloor {
    if call.rows == 0 {
        return ByteFloor::default();
    }
    // A valid call's tensors fit an address space each; all of them together may not.
    let bytes = |elements: u64, dtype: DType| elements.saturating_mul(dtype.size() as u64);
    let (rows, hidden) = (call.rows as u64, call.hidden as u64);
    let matrix = |there: bool, parts: usize| {
        let elements = rows.saturating_mul(hidden).saturating_mul(parts as u64);
        if there { bytes(elements, call.dtype) } else { 0 }
    };
    let vector =
        |vector: Option<RawVector>, length: usize| vector.map_or(0, |vector| bytes(length as u64, vector.dtype));
    let (parts, parameters) = (call.parts.count, call.parameter_length());
    let statistic = |address: Option<u64>| address.map_or(0, |_| bytes(rows.saturating_mul(parts as u64), DType::F32));
    let codes = call.norm.quantisation.map_or(0, |quantisation| {
        let scales = quantisation.groups(call.hidden) * quantisation.scaling.scale_type().map_or(0, ScaleType::size);
        rows.saturating_mul((quantisation.row_bytes(call.hidden) + scales) as u64)
    });
    let second = call.second;
    let second_parts = second.map_or(0, |heads| heads.count);
    let loads = [
        matrix(true, parts),
        matrix(call.residual.is_some(), 1),
        matrix(call.gate.is_some(), parts),
        matrix(second.is_some(), second_parts),
        vector(call.weight, parameters),
        vector(call.bias, parameters),
        vector(call.linear_bias, call.hidden),
        vector(call.inner_weight, call.hidden),
        vector(call.rate, call.hidden),
        vector(second.and_then(|heads| heads.weight), call.hidden),
        vector(second.and_then(|heads| heads.bias), call.hidden),
        call.tensor_scale.map_or(0, |_| 4),
        rope_tables(call),
    ];
    let stores = [
        matrix(call.y.is_some(), parts),
        matrix(call.residual_out.is_some(), 1),
        matrix(second.is_some(), second_parts),
        statistic(call.mean),
        statistic(call.rstd),
        codes,
    ];
    ByteFloor {
        loads: loads.into_iter().fold(0, u64::saturating_add),
        stores: stores.into_iter().fold(0, u64::saturating_add),
    }
}

/// cos and sin of every position that is sure to be read: of each row's, where rows are their own positions, and of
/// one where they are given, for they may all be the same.
fn rope_tables(call: &Call) -> u64 {
    let (Some(rope), Some(tables)) = (call.norm.rope, call.rope) else { return 0 };
    let (read, positions) = match tables.positions {
        None => (call.rows, 0),
        Some(positions) => (1, call.rows.saturating_mul(positions.kind.size())),
    };
    let angles = read.saturating_mul(rope.dim).saturating_mul(tables.dtype.size());
    angles.saturating_add(positions) as u64
}
