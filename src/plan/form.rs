//! Forms: what kernels of one module differ in.

use super::Team;
use super::constants::GROUP_ELEMENTS;
use super::team::WARP;

/// What is known of a call where its kernel is compiled.
///
/// Of an aligned call: rows, or the heads or groups of them, are made of whole chunks of 16 bytes, all of which begin at
/// multiples of 16 bytes, in every tensor, and their codes at multiples of their own size; rows are fewer than 2^31, and
/// as many bytes apart as 32 bits count; parameters are of the activation type; and norms without a mean have no bias. Of a
/// shifted call the same, but that rows may be of any number of elements, and begin anywhere. Where v is f32, that it is
/// rounded before the weights changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// Nothing.
    General,
    /// It is aligned, its weights are not offset, and v is not rounded before them.
    Aligned,
    /// It is aligned, its weights are not offset, and v is rounded before them.
    AlignedRounded,
    /// It is aligned, its weights are offset, and v is not rounded before them.
    AlignedWithOffset,
    /// It is shifted, its weights are not offset, and v is not rounded before them.
    Shifted,
}

/// Whose work the threads of a row that stays in registers do. The bits are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Threads {
    /// Each its own.
    Single,
    /// Each that of two of the team, which has more than a warp of them: fewer instructions for an element, and fewer
    /// threads for a row.
    Paired,
    /// The same of rows that are made of whole lines, a chunk of 16 bytes for each lane of a warp: of each line that its
    /// lanes may have, a warp has all or nothing.
    PairedLines,
    /// The same of rows that fill all warps of the team: each has all lines that it may have.
    PairedFull,
    /// The same where the team's warps are even in number: of each pair, both have all lines.
    PairedEven,
    /// The same of a team within a warp.
    PairedLanes,
}

impl Threads {
    /// Those that do the work of two of a team for rows of so many elements, the best first.
    pub const fn paired(team: Team, hidden: usize) -> [Option<Threads>; 3] {
        let of_warps = WARP as usize * GROUP_ELEMENTS;
        match team.threads {
            // Two lanes move a sector of 32 bytes at once.
            0..=3 => [None; 3],
            4..=WARP => [Some(Threads::PairedLanes), None, None],
            _ if hidden.is_multiple_of(2 * of_warps) => {
                [Some(Threads::PairedEven), Some(Threads::PairedFull), Some(Threads::Paired)]
            }
            _ if hidden.is_multiple_of(of_warps) => [Some(Threads::PairedFull), Some(Threads::Paired), None],
            _ if hidden.is_multiple_of(team.line()) => [Some(Threads::PairedLines), Some(Threads::Paired), None],
            _ => [Some(Threads::Paired), None, None],
        }
    }

    /// Threads of the team that a thread does the work of.
    pub const fn groups(self) -> u32 {
        match self {
            Threads::Single => 1,
            Threads::Paired
            | Threads::PairedLines
            | Threads::PairedFull
            | Threads::PairedEven
            | Threads::PairedLanes => 2,
        }
    }
}

/// What a kernel is made for: [`Form::GENERAL`] and [`Form::LOOPED`], of which every module of rows has one each, take
/// all calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Form {
    /// What is known of the call.
    pub path: Path,
    /// Whose work a thread does.
    pub threads: Threads,
    /// Whether the row is walked in slabs, or is one slab that stays in registers.
    pub looped: bool,
}

impl Form {
    /// For all calls whose rows stay in registers.
    pub const GENERAL: Form = Form { path: Path::General, threads: Threads::Single, looped: false };
    /// For all calls of longer rows.
    pub const LOOPED: Form = Form { looped: true, ..Form::GENERAL };

    /// Of a path, for rows that stay in registers.
    pub const fn registers(path: Path, threads: Threads) -> Form {
        Form { path, threads, looped: false }
    }

    /// Of a path, for longer rows.
    pub const fn looped(path: Path) -> Form {
        Form { path, ..Form::LOOPED }
    }
}
