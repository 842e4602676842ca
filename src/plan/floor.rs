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
    let matrix = bytes(rows.saturating_mul(hidden), call.dtype);
    let stored = |there: [bool; 2]| there.into_iter().filter(|&there| there).map(|_| matrix);
    let matrices = |there: [bool; 3]| there.into_iter().filter(|&there| there).map(|_| matrix);
    let vector = |vector: Option<RawVector>| vector.map_or(0, |vector| bytes(hidden, vector.dtype));
    let statistic = |address: Option<u64>| address.map_or(0, |_| bytes(rows, DType::F32));
    let tensor_scale = call.tensor_scale.map_or(0, |_| 4);
    let codes = call.norm.quantisation.map_or(0, |quantisation| {
        let scales = quantisation.groups(call.hidden) * quantisation.scaling.scale_type().map_or(0, ScaleType::size);
        rows.saturating_mul((quantisation.row_bytes(call.hidden) + scales) as u64)
    });
    let loads = matrices([true, call.residual.is_some(), call.gate.is_some()]).chain([
        vector(call.weight),
        vector(call.bias),
        vector(call.linear_bias),
        tensor_scale,
    ]);
    let stores = stored([call.y.is_some(), call.residual_out.is_some()]).chain([
        statistic(call.mean),
        statistic(call.rstd),
        codes,
    ]);
    ByteFloor { loads: loads.fold(0, u64::saturating_add), stores: stores.fold(0, u64::saturating_add) }
}
