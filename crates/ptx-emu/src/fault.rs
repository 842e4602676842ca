//! Faults: what a kernel did wrong, and where.

use crate::memory::Nearest;
use std::fmt;

/// A state space as it appears in faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Space {
    /// Global memory.
    Global,
    /// Shared memory of the CTA, or of another CTA of the cluster.
    Shared,
    /// Local memory of the thread.
    Local,
    /// Constant memory.
    Const,
    /// Kernel parameters.
    Param,
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Space::Global => "global",
            Space::Shared => "shared",
            Space::Local => "local",
            Space::Const => "constant",
            Space::Param => "parameter",
        })
    }
}

/// What an access wanted to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessKind {
    /// A load.
    Load,
    /// A store.
    Store,
    /// An atomic operation or a reduction.
    Atomic,
}

impl fmt::Display for AccessKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AccessKind::Load => "load",
            AccessKind::Store => "store",
            AccessKind::Atomic => "atomic",
        })
    }
}

/// One thread's access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The space the address is in.
    pub space: Space,
    /// Load, store or atomic.
    pub kind: AccessKind,
    /// The address: generic and global ones as 64-bit addresses, others as offsets in the space.
    pub address: u64,
    /// Bytes of the whole (vector) access.
    pub bytes: u32,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Access { space, kind, address, bytes } = self;
        write!(f, "{kind} of {bytes} bytes at {space} address {address:#x}")
    }
}

/// One of the two accesses of a race.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaceAccess {
    /// Load, store or atomic.
    pub kind: AccessKind,
    /// `%ctaid` of the thread.
    pub cta: [u32; 3],
    /// `%tid` of the thread.
    pub thread: [u32; 3],
    /// Line of the PTX text, from 1.
    pub ptx_line: u32,
    /// Line of the CUDA source, where known.
    pub source: Option<SourceLine>,
    /// The instruction's text.
    pub instruction: String,
}

impl fmt::Display for RaceAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RaceAccess { kind, cta, thread, ptx_line, source, instruction } = self;
        write!(f, "{kind} by CTA {cta:?} thread {thread:?} at PTX line {ptx_line} `{instruction}`")?;
        match source {
            Some(SourceLine { file, line }) => write!(f, " ({file}:{line})"),
            None => Ok(()),
        }
    }
}

/// Where a thread is that others wait for in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Whereabouts {
    /// It has exited.
    Exited,
    /// It waits elsewhere.
    At {
        /// Line of the PTX text, from 1.
        ptx_line: u32,
        /// Line of the CUDA source, where known.
        source: Option<SourceLine>,
        /// The instruction's text.
        instruction: String,
    },
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whereabouts::Exited => f.write_str("has exited"),
            Whereabouts::At { ptx_line, source, instruction } => {
                write!(f, "waits at PTX line {ptx_line} `{instruction}`")?;
                match source {
                    Some(SourceLine { file, line }) => write!(f, " ({file}:{line})"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// An access outside every allocation (or variable, or the CTA's shared memory).
    OutOfBounds {
        /// The access.
        access: Access,
        /// The nearest allocation, where there is one.
        nearest: Option<Nearest>,
    },
    /// An address that is not a multiple of the access's size.
    Misaligned {
        /// The access.
        access: Access,
    },
    /// A write to a read-only allocation, to constants or to parameters.
    ReadOnly {
        /// The access.
        access: Access,
        /// The allocation's name.
        name: String,
    },
    /// A load, or the reading half of an atomic, of bytes that nothing has written.
    Uninitialised {
        /// The access.
        access: Access,
        /// The address of the first such byte, as `access.address` counts.
        byte: u64,
        /// The allocation's name, or what memory it is.
        name: String,
        /// Bytes from the start of the allocation, or of the memory, to that byte.
        offset: u64,
    },
    /// An access to bytes that the host has forbidden, such as the gap between the rows of a
    /// strided matrix.
    Forbidden {
        /// The access.
        access: Access,
        /// The address of the first such byte.
        byte: u64,
        /// The allocation's name.
        name: String,
        /// Bytes from the start of the allocation to that byte.
        offset: u64,
    },
    /// An access, by a thread that has not waited for the launch's prerequisites (`griddepcontrol.wait`), to
    /// bytes that they may still be writing or reading.
    Unready {
        /// The access.
        access: Access,
        /// The address of the first such byte.
        byte: u64,
        /// The allocation's name.
        name: String,
        /// Bytes from the start of the allocation to that byte.
        offset: u64,
    },
    /// Two threads touched the same bytes of shared or global memory, at least one of them writing,
    /// and nothing orders the one before the other.
    Race {
        /// The access that happened to run first.
        first: RaceAccess,
        /// The access that happened to run second.
        second: RaceAccess,
        /// Shared or global.
        space: Space,
        /// Address of the first byte that both touch: in shared memory, from the start of the shared
        /// memory of the CTA that owns it.
        address: u64,
        /// Bytes from there that both touch; there may be more.
        bytes: u32,
        /// The allocation's name, or whose shared memory it is.
        name: String,
    },
    /// A CTA exits while nothing makes sure that another CTA of its cluster has finished with its
    /// shared memory.
    EarlyExit {
        /// The other CTA's access, which happened to come in time.
        access: RaceAccess,
    },
    /// An access that the space does not allow.
    InvalidAccess {
        /// The access.
        access: Access,
        /// Why not.
        reason: String,
    },
    /// Nobody can run: every thread waits for another.
    Deadlock {
        /// Where each group of threads waits.
        waiting: Vec<String>,
    },
    /// Threads of a warp wait at different barriers, or some at a barrier that needs them all.
    DivergentBarrier {
        /// Where each group of the warp's threads waits.
        waiting: Vec<String>,
    },
    /// A thread that a member mask names does not take part in the exchange (shuffle, vote, match,
    /// reduction or `bar.warp.sync`), and never will.
    AbsentThread {
        /// The member mask.
        members: u32,
        /// `%tid` of the first such thread.
        absent: [u32; 3],
        /// Where it is instead.
        whereabouts: Whereabouts,
    },
    /// A barrier for some of the CTA's threads, of which too few are left.
    UnmetBarrier {
        /// The barrier.
        id: u32,
        /// The threads that it is for.
        threads: u32,
        /// Those that have arrived, warps counted in full.
        arrived: u32,
        /// Where each group of threads waits.
        waiting: Vec<String>,
    },
    /// A barrier, shuffle or vote used against its rules.
    InvalidSync {
        /// Which rule.
        reason: String,
    },
    /// The kernel executed `trap` or failed an assertion.
    Trap,
    /// An indexed branch beyond its table.
    BranchIndex {
        /// The index.
        index: u32,
        /// Entries of the table.
        targets: u32,
    },
    /// The launch executed more instructions than its options allow.
    InstructionLimit {
        /// The limit, in warp instructions.
        limit: u64,
    },
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultKind::OutOfBounds { access, nearest } => {
                write!(f, "out of bounds: {access}")?;
                let Some(near) = nearest else { return Ok(()) };
                let name = &near.name;
                let freed = if near.freed { "freed " } else { "" };
                if near.offset < 0 {
                    write!(f, "; {} bytes before the {freed}allocation `{name}`", -near.offset)
                } else {
                    let (offset, bytes) = (near.offset, near.bytes);
                    write!(f, "; byte {offset} of the {freed}allocation `{name}` of {bytes} bytes")
                }
            }
            FaultKind::Misaligned { access } => write!(f, "misaligned: {access}"),
            FaultKind::ReadOnly { access, name } => {
                write!(f, "write to read-only memory: {access}, in `{name}`")
            }
            FaultKind::Uninitialised { access, byte, name, offset } => {
                write!(
                    f,
                    "uninitialised: {access}; nothing has written the byte at {byte:#x}, byte {offset} of `{name}`"
                )
            }
            FaultKind::Forbidden { access, byte, name, offset } => {
                write!(f, "forbidden: {access}; the byte at {byte:#x}, byte {offset} of `{name}`, is out of use")
            }
            FaultKind::Unready { access, byte, name, offset } => {
                write!(
                    f,
                    "unready: {access}; before `griddepcontrol.wait`, the byte at {byte:#x}, byte {offset} of \
                     `{name}`, is still in use by the launches before"
                )
            }
            FaultKind::Race { first, second, space, address, bytes, name } => {
                write!(f, "race on {bytes} bytes at {space} address {address:#x} of `{name}`: {first}, then {second}")
            }
            FaultKind::EarlyExit { access } => {
                write!(f, "the CTA may exit before others have finished with its shared memory: {access}")
            }
            FaultKind::InvalidAccess { access, reason } => write!(f, "{reason}: {access}"),
            FaultKind::Deadlock { waiting } => {
                write!(f, "deadlock: {}", waiting.join("; "))
            }
            FaultKind::DivergentBarrier { waiting } => {
                write!(f, "divergent barrier: {}", waiting.join("; "))
            }
            FaultKind::AbsentThread { members, absent, whereabouts } => {
                write!(f, "member mask {members:#010x} names thread {absent:?}, which {whereabouts}")
            }
            FaultKind::UnmetBarrier { id, threads, arrived, waiting } => {
                write!(
                    f,
                    "barrier {id} for {threads} threads, of which {arrived} have come and too few are left: {}",
                    waiting.join("; ")
                )
            }
            FaultKind::InvalidSync { reason } => write!(f, "invalid synchronisation: {reason}"),
            FaultKind::Trap => write!(f, "trap"),
            FaultKind::BranchIndex { index, targets } => {
                write!(f, "branch index {index} beyond a table of {targets}")
            }
            FaultKind::InstructionLimit { limit } => {
                write!(f, "more than {limit} warp instructions")
            }
        }
    }
}

/// One list for both, so that a variant cannot be without its name, nor a name be left out.
macro_rules! names {
    ($($variant:ident: $name:literal),* $(,)?) => {
        impl FaultKind {
            /// The name of every kind of fault.
            pub const NAMES: &[&str] = &[$($name),*];

            /// What kind of fault it is, in a word or two.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(FaultKind::$variant { .. } => $name),*
                }
            }
        }
    };
}

names! {
    OutOfBounds: "out of bounds",
    Misaligned: "misaligned",
    ReadOnly: "read-only",
    Uninitialised: "uninitialised",
    Forbidden: "forbidden",
    Unready: "unready",
    Race: "race",
    EarlyExit: "early exit",
    InvalidAccess: "invalid access",
    Deadlock: "deadlock",
    DivergentBarrier: "divergent barrier",
    AbsentThread: "absent thread",
    UnmetBarrier: "unmet barrier",
    InvalidSync: "invalid synchronisation",
    Trap: "trap",
    BranchIndex: "branch index",
    InstructionLimit: "instruction limit",
}

/// A line of the CUDA source, where the PTX has line information.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// The file's name as the compiler recorded it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

/// A fault: what went wrong, in which instruction of which thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The kernel.
    pub kernel: String,
    /// Line of the PTX text, from 1.
    pub ptx_line: u32,
    /// Line of the CUDA source, where known.
    pub source: Option<SourceLine>,
    /// The instruction's text.
    pub instruction: String,
    /// `%ctaid` of the thread.
    pub cta: [u32; 3],
    /// `%tid` of the (first) thread at fault.
    pub thread: [u32; 3],
    /// What went wrong.
    pub kind: FaultKind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { kernel, ptx_line, source, instruction, cta, thread, kind } = self;
        write!(f, "{kind} (kernel `{kernel}`, PTX line {ptx_line}: `{instruction}`")?;
        if let Some(SourceLine { file, line }) = source {
            write!(f, ", {file}:{line}")?;
        }
        write!(f, ", CTA {cta:?}, thread {thread:?})")
    }
}

impl std::error::Error for Fault {}
