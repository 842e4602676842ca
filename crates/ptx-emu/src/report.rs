//! What a launch did, counted.

use std::ops::{Index, IndexMut};

/// What a launch asked of global memory in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Warp instructions with at least one active lane.
    pub requests: u64,
    /// Bytes that the lanes asked for.
    pub bytes: u64,
    /// Distinct 32-byte sectors touched, summed over requests.
    pub sectors: u64,
    /// The fewest sectors that the distinct bytes of each request could lie in, summed over requests:
    /// equal to `sectors` where every request is coalesced.
    pub ideal_sectors: u64,
    /// Accesses of single lanes that are 1, 2, 4, 8 and 16 bytes wide.
    pub accesses_by_width: [u64; 5],
    /// Bytes touched by the launch, each of them counted once: what DRAM must move if every byte that
    /// is touched again is still in a cache. Counted only where
    /// [`LaunchOptions::distinct_bytes`](crate::LaunchOptions::distinct_bytes) asks for it.
    pub distinct_bytes: Option<u64>,
}

/// What a launch asked of the shared memory of the thread's own CTA, in one direction.
///
/// Shared memory has 32 banks, and successive 4-byte words lie in successive banks. A wavefront serves
/// each bank with one word, to any number of lanes. Accesses of up to 4 bytes are served for a whole
/// warp together, those of 8 bytes for one half of it after the other, those of 16 bytes for one
/// quarter after another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedTraffic {
    /// Warp instructions with at least one active lane.
    pub requests: u64,
    /// Bytes that the lanes asked for.
    pub bytes: u64,
    /// Passes over the banks.
    pub wavefronts: u64,
    /// Those of `wavefronts` that lanes of the same warp, half or quarter cause by asking a bank for
    /// different words. Atomics on one word, which take turns, are not among them.
    pub bank_conflicts: u64,
}

/// What an instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum InstructionClass {
    /// Accesses to global memory, prefetches too.
    GlobalMemory,
    /// Accesses to shared memory, of the own CTA or of the cluster.
    SharedMemory,
    /// Accesses to local, constant and parameter memory, and those by generic addresses.
    OtherMemory,
    /// Floating-point arithmetic.
    Float,
    /// Conversions between number types (`cvt`).
    Conversion,
    /// Integer arithmetic and logic, and comparisons, selections and moves of any type.
    Integer,
    /// Branches, exits, and hints to the scheduler.
    Control,
    /// Shuffles, votes, matches and reductions across a warp.
    Exchange,
    /// Barriers and fences.
    Barrier,
}

impl InstructionClass {
    /// Every class, in the order of their declaration.
    pub const ALL: [InstructionClass; 9] = [
        InstructionClass::GlobalMemory,
        InstructionClass::SharedMemory,
        InstructionClass::OtherMemory,
        InstructionClass::Float,
        InstructionClass::Conversion,
        InstructionClass::Integer,
        InstructionClass::Control,
        InstructionClass::Exchange,
        InstructionClass::Barrier,
    ];

    /// A name for tables and files, such as `global_memory`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            InstructionClass::GlobalMemory => "global_memory",
            InstructionClass::SharedMemory => "shared_memory",
            InstructionClass::OtherMemory => "other_memory",
            InstructionClass::Float => "float",
            InstructionClass::Conversion => "conversion",
            InstructionClass::Integer => "integer",
            InstructionClass::Control => "control",
            InstructionClass::Exchange => "exchange",
            InstructionClass::Barrier => "barrier",
        }
    }
}

/// Instructions issued and executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instructions {
    /// Issues, once per warp (divergent parts of a warp issue separately).
    pub warp: u64,
    /// Executions by threads: the active lanes, guard predicate true, of every issue.
    pub thread: u64,
}

/// Instructions of each class: `report.instructions[InstructionClass::Float].thread`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstructionCounts([Instructions; InstructionClass::ALL.len()]);

impl Index<InstructionClass> for InstructionCounts {
    type Output = Instructions;

    fn index(&self, class: InstructionClass) -> &Instructions {
        &self.0[class as usize]
    }
}

impl IndexMut<InstructionClass> for InstructionCounts {
    fn index_mut(&mut self, class: InstructionClass) -> &mut Instructions {
        &mut self.0[class as usize]
    }
}

/// Counts of one launch. The same on every machine and in every run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaunchReport {
    /// CTAs executed.
    pub ctas: u64,
    /// Instructions issued, once per warp (divergent parts of a warp issue separately).
    pub warp_instructions: u64,
    /// Instructions executed by threads: the active lanes, guard predicate true, of every issue.
    pub thread_instructions: u64,
    /// The same by class.
    pub instructions: InstructionCounts,
    /// Loads from global memory.
    pub global_loads: Traffic,
    /// Stores to global memory.
    pub global_stores: Traffic,
    /// Atomics and reductions on global memory.
    pub global_atomics: Traffic,
    /// Loads from the CTA's shared memory.
    pub shared_loads: SharedTraffic,
    /// Stores to the CTA's shared memory.
    pub shared_stores: SharedTraffic,
    /// Atomics on the CTA's shared memory.
    pub shared_atomics: SharedTraffic,
    /// Warp-wide accesses to the shared memory of another CTA of the cluster, of any kind.
    pub cluster_accesses: u64,
    /// Warp-wide loads and stores of local memory: spills, and arrays not kept in registers.
    pub local_accesses: u64,
    /// Shuffles, votes, matches and reductions across a warp.
    pub warp_exchanges: u64,
    /// CTA barriers completed.
    pub cta_barriers: u64,
    /// Cluster barriers completed.
    pub cluster_barriers: u64,
}
