//! The decoded form of a kernel: what the executor runs.

use crate::exec::registers::{Alu, AnyReg, PredOperand, Reg};
use crate::report::InstructionClass;
use crate::semantics::float::Approximations;
use std::fmt;

/// Window of generic addresses that name shared memory; the low 32 bits are a shared address.
pub(crate) const SHARED_WINDOW: u64 = 0x7100_0000_0000_0000;
/// Window of generic addresses that name the thread's local memory.
pub(crate) const LOCAL_WINDOW: u64 = 0x7200_0000_0000_0000;
/// Window of generic addresses that name constant memory.
pub(crate) const CONST_WINDOW: u64 = 0x7300_0000_0000_0000;
/// Window of generic addresses that name kernel parameters.
pub(crate) const PARAM_WINDOW: u64 = 0x7400_0000_0000_0000;

/// Shared addresses carry, above these bits, one more than the rank of the CTA in the cluster
/// whose memory they name; zero there means the executing CTA itself.
pub(crate) const CLUSTER_RANK_SHIFT: u32 = 24;

/// State space of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateSpace {
    Generic,
    Global,
    Shared,
    SharedCluster,
    Local,
    Const,
    Param,
}

/// The address operand `[base + offset]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AddressOperand {
    pub base: AnyReg,
    pub offset: i64,
}

/// One element of a load's destination: `None` discards it.
pub(crate) type LoadDest = Option<AnyReg>;

/// The threads that an access or a fence reaches, from the executing thread's CTA up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MemoryScope {
    Cta,
    Cluster,
    /// All the GPU, and what lies beyond it.
    Gpu,
}

/// What an access promises to other threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ordering {
    /// Nothing.
    #[default]
    Weak,
    /// To race with no other strong access (`.volatile`, `.relaxed`, atomics).
    Relaxed(MemoryScope),
    /// To order the accesses around it, too (`.acquire`, `.release`).
    Synchronises(MemoryScope),
}

/// A load of one or more elements.
#[derive(Debug)]
pub(crate) struct Load {
    pub space: StateSpace,
    pub ordering: Ordering,
    pub address: AddressOperand,
    pub element_bytes: u32,
    pub signed: bool,
    pub dests: Vec<LoadDest>,
}

/// A store of one or more elements.
#[derive(Debug)]
pub(crate) struct Store {
    pub space: StateSpace,
    pub ordering: Ordering,
    pub address: AddressOperand,
    pub element_bytes: u32,
    pub sources: Vec<AnyReg>,
}

/// New memory value from the old one and the operands.
pub(crate) type AtomicFn = Box<dyn Fn(u64, u64, u64) -> u64 + Send + Sync>;

/// An atomic read-modify-write of one or more elements.
pub(crate) struct Atomic {
    pub space: StateSpace,
    pub ordering: Ordering,
    pub address: AddressOperand,
    pub element_bytes: u32,
    pub dests: Vec<LoadDest>,
    pub operands: Vec<AnyReg>,
    /// The second operand of compare-and-swap.
    pub swap: Option<AnyReg>,
    pub update: AtomicFn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

/// An exchange among the lanes that a member mask names.
#[derive(Debug)]
pub(crate) enum Exchange {
    Shuffle {
        mode: ShuffleMode,
        dest: Option<Reg<u32>>,
        in_range: Option<u32>,
        value: Reg<u32>,
        lane: Reg<u32>,
        clamp: Reg<u32>,
    },
    VoteAll {
        dest: u32,
        source: PredOperand,
    },
    VoteAny {
        dest: u32,
        source: PredOperand,
    },
    VoteUniform {
        dest: u32,
        source: PredOperand,
    },
    Ballot {
        dest: Reg<u32>,
        source: PredOperand,
    },
    MatchAny {
        dest: Reg<u32>,
        value: AnyReg,
    },
    MatchAll {
        dest: Option<Reg<u32>>,
        all: Option<u32>,
        value: AnyReg,
    },
    Reduce {
        dest: Reg<u32>,
        value: Reg<u32>,
        combine: fn(u32, u32) -> u32,
    },
    /// `bar.warp.sync`: only waits.
    Barrier,
}

/// What `bar.red` combines.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BarrierReduction {
    Popc { dest: Reg<u32>, source: PredOperand },
    And { dest: u32, source: PredOperand },
    Or { dest: u32, source: PredOperand },
}

impl BarrierReduction {
    pub(crate) fn source(self) -> PredOperand {
        match self {
            BarrierReduction::Popc { source, .. }
            | BarrierReduction::And { source, .. }
            | BarrierReduction::Or { source, .. } => source,
        }
    }
}

/// A barrier among the threads of a CTA.
#[derive(Debug)]
pub(crate) struct CtaBarrier {
    pub id: Reg<u32>,
    pub threads: Option<Reg<u32>>,
    pub waits: bool,
    pub aligned: bool,
    pub reduction: Option<BarrierReduction>,
}

/// A decoded instruction's action.
pub(crate) enum Op {
    Alu(Alu),
    /// What `Approximations::ALL` make of an approximate instruction.
    Approximate([Alu; Approximations::ALL.len()]),
    Nop,
    /// `griddepcontrol.wait`.
    GridWait,
    Fence {
        scope: MemoryScope,
    },
    Load(Box<Load>),
    Store(Box<Store>),
    Atomic(Box<Atomic>),
    Branch {
        target: u32,
    },
    BranchIndexed {
        index: Reg<u32>,
        targets: Vec<u32>,
    },
    Exit,
    Trap,
    ActiveMask {
        dest: Reg<u32>,
    },
    Exchange {
        members: Reg<u32>,
        exchange: Box<Exchange>,
    },
    CtaBarrier(Box<CtaBarrier>),
    ClusterArrive {
        aligned: bool,
        relaxed: bool,
    },
    ClusterWait {
        aligned: bool,
    },
}

/// A decoded instruction.
pub(crate) struct Inst {
    pub guard: PredOperand,
    pub class: InstructionClass,
    pub op: Op,
}

/// Where an instruction came from, for faults.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub line: u32,
    pub text: String,
    /// Index into the module's source files, and line.
    pub source: Option<(u32, u32)>,
}

/// A special register that is constant for a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    WarpCount,
    SmId,
    SmCount,
    GridId,
    ClusterId(u8),
    ClusterCount(u8),
    ClusterCtaid(u8),
    ClusterNctaid(u8),
    ClusterCtaRank,
    ClusterCtaCount,
    IsExplicitCluster,
    LaneMaskEq,
    LaneMaskLe,
    LaneMaskLt,
    LaneMaskGe,
    LaneMaskGt,
    TotalShared,
    DynamicShared,
}

/// What fills a register before the kernel starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Preset {
    Bits(u64),
    Special(Special),
    /// Address of the CTA's dynamic shared memory, plus an offset.
    DynamicShared {
        offset: i64,
        generic: bool,
    },
    /// Address of a module variable in global memory, plus an offset.
    Global {
        variable: u32,
        offset: i64,
    },
}

/// A kernel's parameter.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    pub name: String,
    pub offset: u64,
    pub bytes: u64,
}

/// A kernel, decoded and ready to run.
pub struct Kernel {
    pub(crate) name: String,
    pub(crate) code: Vec<Inst>,
    pub(crate) origins: Vec<Origin>,
    pub(crate) w32_count: u32,
    pub(crate) w64_count: u32,
    pub(crate) pred_count: u32,
    pub(crate) presets32: Vec<(Preset, u32)>,
    pub(crate) presets64: Vec<(Preset, u32)>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) parameter_bytes: u64,
    pub(crate) static_shared: u64,
    pub(crate) dynamic_shared_align: u64,
    pub(crate) local_bytes: u64,
    pub(crate) max_threads: Option<[u32; 3]>,
    pub(crate) required_threads: Option<[u32; 3]>,
    pub(crate) required_cluster: Option<[u32; 3]>,
}

impl Kernel {
    /// The kernel's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sizes in bytes of the parameters, in order.
    pub fn parameter_sizes(&self) -> impl Iterator<Item = usize> {
        self.parameters.iter().map(|parameter| parameter.bytes as usize)
    }

    /// Bytes of shared memory that the kernel declares itself.
    #[must_use]
    pub fn static_shared_bytes(&self) -> u64 {
        self.static_shared
    }

    /// Bytes of local memory per thread: spills, and arrays that are not kept in registers.
    #[must_use]
    pub fn local_bytes(&self) -> u64 {
        self.local_bytes
    }

    /// Instructions in the kernel's code.
    #[must_use]
    pub fn instruction_count(&self) -> usize {
        self.code.len()
    }

    /// The cluster that the kernel was compiled for (`__cluster_dims__`), if any.
    #[must_use]
    pub fn required_cluster(&self) -> Option<[u32; 3]> {
        self.required_cluster
    }

    /// The CTA that the kernel was compiled for (`.reqntid`, `__block_size__`), if any.
    #[must_use]
    pub fn required_threads(&self) -> Option<[u32; 3]> {
        self.required_threads
    }

    /// The most threads a CTA may have (`__launch_bounds__`), if stated.
    #[must_use]
    pub fn max_threads(&self) -> Option<u32> {
        self.max_threads.map(|[x, y, z]| x.saturating_mul(y).saturating_mul(z))
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel")
            .field("name", &self.name)
            .field("parameters", &self.parameters)
            .field("instructions", &self.code.len())
            .finish_non_exhaustive()
    }
}
