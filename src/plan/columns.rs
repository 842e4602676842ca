//! Plans for the statistics of columns.

use super::constants::COLUMN_THREADS;
use super::team::WARP;
use super::{ByteFloor, CHUNK_BYTES, Kernel, Module, runs_hopper_code};
use crate::{CallError, ColumnCall, DType, DeviceFacts, Error, PlanError, RawVector};

/// Chunks of a row that a CTA takes: a sector of 32 bytes.
const TILE_CHUNKS: usize = 2;

/// Rows that a CTA takes at a time.
const CTA_LINES: u64 = (COLUMN_THREADS / TILE_CHUNKS as u32) as u64;

/// Bits of [`ColumnArgs::flags`].
pub mod column_flags {
    /// Every row of x starts at a multiple of 16 bytes.
    pub const WIDE_X: u32 = 1 << 0;
    /// Weight and bias are f32 whatever the activations are.
    pub const PARAMETERS_F32: u32 = 1 << 1;
}

/// What a launch passes to the kernel of columns, mirrored field by field from `kernels/columns/args.cuh`.
/// Addresses are device addresses, 0 for an absent tensor; the stride is in elements.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
#[allow(missing_docs, reason = "the fields carry the names of the tensors and options they stand for")]
pub struct ColumnArgs {
    pub x: u64,
    pub weight: u64,
    pub bias: u64,
    pub mean: u64,
    pub rstd: u64,
    pub scale: u64,
    pub shift: u64,
    pub x_stride: u64,
    pub rows: u64,
    pub hidden: u32,
    pub flags: u32,
    pub eps: f32,
    pub padding: u32,
}

const _: () = assert!(size_of::<ColumnArgs>() == 88, "kernels/columns/args.cuh has the same size");

/// A launch of the kernel of columns, ready for the driver or the executor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColumnPlan {
    /// The kernel; it says which module it is in.
    pub kernel: Kernel,
    /// Columns that a thread block takes through all rows.
    pub tile: u32,
    /// Thread blocks.
    pub grid: u32,
    /// Threads in a thread block.
    pub block: u32,
    /// Whether the launch [may begin](crate::ProgrammaticLaunch) before those in front of it have completed.
    pub programmatic: bool,
    /// The kernel's one parameter.
    pub args: ColumnArgs,
}

/// Plans a call for a device.
///
/// A thread block takes a tile of 32 bytes of every row, 8 columns of f32 or 16 of 16 bits, and merges what its
/// threads find: one launch, no memory beside the tensors', and one order of the arithmetic. A hidden size of 768
/// to 4096 makes 96 to 512 blocks of f32 and half as many of 16 bits, enough to keep the memory of a large GPU
/// busy; short of some 50 blocks it is not, however many rows there are, since no two blocks share a column. A
/// matrix that is tall and narrow would gain from being cut along its rows as well, with a second launch to merge
/// the parts.
///
/// # Errors
/// [`Error::Call`] where the call is invalid on any device, [`Error::Plan`] where this device cannot run it or this
/// build has no kernel for it.
pub fn plan_columns(call: &ColumnCall, device: &DeviceFacts) -> Result<ColumnPlan, Error> {
    call.validate()?;
    let hidden = u32::try_from(call.hidden).map_err(|_| CallError::Hidden { given: call.hidden })?;
    let rows = call.rows as u64;
    // A thread counts its rows in 32 bits.
    if u32::try_from(rows.div_ceil(CTA_LINES)).is_err() {
        return Err(CallError::TooLarge { rows: call.rows, stride: call.x.stride }.into());
    }
    if COLUMN_THREADS > device.max_threads_per_block {
        let (threads, limit, device) = (COLUMN_THREADS, device.max_threads_per_block, device.name.clone());
        return Err(PlanError::Threads { threads, limit, device }.into());
    }
    let tile = (TILE_CHUNKS * CHUNK_BYTES / call.dtype.size()) as u32;
    let grid = hidden.div_ceil(tile);
    if grid > device.max_grid_x {
        let (ctas, limit, device) = (u64::from(grid), device.max_grid_x, device.name.clone());
        return Err(PlanError::Grid { rows, ctas, limit, device }.into());
    }
    Ok(ColumnPlan {
        kernel: Module::of_columns(call.dtype).general(false)?,
        tile,
        grid,
        block: COLUMN_THREADS,
        programmatic: call.programmatic_launch.begins_early() && runs_hopper_code(device),
        args: ColumnArgs {
            x: call.x.address,
            weight: address(call.weight),
            bias: address(call.bias),
            mean: call.mean.unwrap_or(0),
            rstd: call.rstd.unwrap_or(0),
            scale: call.scale.unwrap_or(0),
            shift: call.shift.unwrap_or(0),
            x_stride: call.x.stride as u64,
            rows,
            hidden,
            flags: launch_flags(call),
            eps: call.statistics.eps,
            padding: 0,
        },
    })
}

const _: () = assert!(COLUMN_THREADS.is_multiple_of(WARP), "shuffles name all lanes of a warp");

fn address(vector: Option<RawVector>) -> u64 {
    vector.map_or(0, |vector| vector.address)
}

fn launch_flags(call: &ColumnCall) -> u32 {
    let wide = call.x.address.is_multiple_of(CHUNK_BYTES as u64)
        && (call.rows == 1 || (call.x.stride * call.dtype.size()).is_multiple_of(CHUNK_BYTES));
    let parameters_f32 = call.weight.or(call.bias).is_some_and(|vector| vector.dtype == DType::F32);
    [(wide, column_flags::WIDE_X), (parameters_f32, column_flags::PARAMETERS_F32)]
        .into_iter()
        .fold(0, |set, (condition, flag)| if condition { set | flag } else { set })
}

/// The byte floor of a call: x, γ and β are read once, and `hidden` f32 written for every output.
pub fn column_byte_floor(call: &ColumnCall) -> ByteFloor {
    // Each tensor of a valid call fits an address space; all of them together may not.
    let bytes = |elements: u64, dtype: DType| elements.saturating_mul(dtype.size() as u64);
    let (rows, hidden) = (call.rows as u64, call.hidden as u64);
    let vector = |vector: Option<RawVector>| vector.map_or(0, |vector| bytes(hidden, vector.dtype));
    let loads = [bytes(rows.saturating_mul(hidden), call.dtype), vector(call.weight), vector(call.bias)];
    let outputs = call.outputs().iter().filter(|(_, address)| address.is_some()).count() as u64;
    ByteFloor {
        loads: loads.into_iter().fold(0, u64::saturating_add),
        stores: bytes(hidden.saturating_mul(outputs), DType::F32),
    }
}
