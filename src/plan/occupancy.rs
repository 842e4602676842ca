//! Occupancy: how many thread blocks of a kernel a multiprocessor holds at a time.

use super::team::WARP;
use crate::DeviceFacts;

/// Registers are given to a warp in units of this many (CUDA C++ Programming Guide, hardware
/// multithreading; the same for every compute capability since 5.0).
const REGISTER_UNIT: u32 = 256;

/// Parts of a multiprocessor, each with its own schedulers and its own share of the registers; a warp
/// lives in one of them. Four in every compute capability since 5.0, but for 6.0.
const PARTITIONS: u32 = 4;

/// The most registers that a thread can have.
const MAX_REGISTERS: u32 = 255;

/// What bounds the number of thread blocks that are resident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Warps, of which a multiprocessor holds a fixed number.
    Warps,
    /// Thread blocks, of which a multiprocessor holds a fixed number.
    Blocks,
    /// Registers.
    Registers,
    /// Shared memory.
    Shared,
}

/// The thread blocks of one kernel that a multiprocessor holds at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// Thread blocks; 0 where the kernel cannot run.
    pub blocks: u32,
    /// Their warps.
    pub warps: u32,
    /// Warps that the multiprocessor has room for.
    pub max_warps: u32,
    /// What there would have to be more of for another block, the first of those that run out together.
    pub limit: Limit,
}

impl Occupancy {
    /// The share of the multiprocessor's warps that can be resident.
    pub fn share(self) -> f64 {
        if self.max_warps == 0 { 0.0 } else { f64::from(self.warps) / f64::from(self.max_warps) }
    }
}

/// What a kernel takes of a multiprocessor, by block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Threads of a block.
    pub block: u32,
    /// Registers of a thread, as ptxas reports them.
    pub registers: u32,
    /// Bytes of shared memory of a block, static and dynamic.
    pub shared_bytes: u32,
}

/// The occupancy of a kernel, as NVIDIA's occupancy calculator has it, with as much of the L1 cache
/// turned into shared memory as there can be. Clusters, which need room for all their blocks at once,
/// are not looked at.
///
/// ```
/// use warpnorm::DeviceFacts;
/// use warpnorm::plan::{Resources, occupancy};
///
/// let one_large_block = Resources { block: 1024, registers: 64, shared_bytes: 640 };
/// assert_eq!(occupancy(&DeviceFacts::h200(), one_large_block).share(), 0.5);
/// ```
pub fn occupancy(device: &DeviceFacts, resources: Resources) -> Occupancy {
    let Resources { block, registers, shared_bytes } = resources;
    let warps = block.div_ceil(WARP).max(1);
    let max_warps = device.max_threads_per_multiprocessor / WARP;

    let by_registers = if registers > MAX_REGISTERS {
        0
    } else {
        let of_warp = (registers.max(1) * WARP).next_multiple_of(REGISTER_UNIT);
        let warps_of_partition = device.registers_per_multiprocessor / PARTITIONS / of_warp;
        warps_of_partition * PARTITIONS / warps
    };

    let unit = shared_unit(device.compute_capability);
    let taken =
        u64::from(shared_bytes).next_multiple_of(u64::from(unit)) + u64::from(device.reserved_shared_bytes_per_block);
    let by_shared = match (u64::from(device.shared_bytes_per_multiprocessor)).checked_div(taken) {
        _ if shared_bytes > device.max_shared_bytes_per_block => 0,
        Some(blocks) => u32::try_from(blocks).unwrap_or(u32::MAX),
        None => u32::MAX,
    };

    let by_warps = if block > device.max_threads_per_block { 0 } else { max_warps / warps };
    let limits = [
        (by_warps, Limit::Warps),
        (device.max_blocks_per_multiprocessor, Limit::Blocks),
        (by_registers, Limit::Registers),
        (by_shared, Limit::Shared),
    ];
    let (blocks, limit) = limits.into_iter().min_by_key(|(blocks, _)| *blocks).unwrap_or((0, Limit::Warps));
    Occupancy { blocks, warps: blocks * warps, max_warps, limit }
}

/// Bytes in whose multiples a block gets shared memory, by compute capability.
fn shared_unit(capability: (u32, u32)) -> u32 {
    if capability.0 < 8 { 256 } else { 128 }
}
