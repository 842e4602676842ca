//! Teams: the threads that reduce one row together, and which elements each of them owns.

use super::Source;
use super::constants::{CHUNK_BYTES, GROUP_ELEMENTS};
use crate::DType;

/// Threads of a warp.
pub(super) const WARP: u32 = 32;

/// The threads that share a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Team {
    /// 1, 2, 4, 8, 16 or a multiple of 32 up to 1024.
    pub threads: u32,
    /// Elements of a chunk.
    chunk: usize,
}

/// Which thread owns an element, and where among its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The step of the team's walk over the row.
    pub slab: usize,
    /// The thread, by its rank in the team.
    pub rank: usize,
    /// The place among the thread's [`GROUP_ELEMENTS`] elements of the slab.
    pub element: usize,
}

impl Team {
    /// The team of rows of this size and type, from this source.
    ///
    /// As few threads as hold the row in registers: a power of two inside a warp, whole warps above.
    /// Fewer threads mean fewer steps of the reduction, and more rows side by side. A row of two chunks
    /// or more takes two threads at least: they move whole sectors of 32 bytes at once. Of a row that no team holds, as
    /// few as walk over it in the fewest steps: more would have nothing to do in the last one.
    pub fn of_row(source: Source, dtype: DType, hidden: usize) -> Team {
        let chunk = CHUNK_BYTES / dtype.size();
        let least = if hidden > chunk { 2 } else { 1 };
        let groups = hidden.div_ceil(GROUP_ELEMENTS).max(least);
        let slabs = groups.div_ceil(source.max_threads() as usize);
        let groups = groups.div_ceil(slabs) as u32;
        let threads = if groups <= WARP { groups.next_power_of_two() } else { groups.next_multiple_of(WARP) };
        Team { threads, chunk }
    }

    /// Elements of a line: a chunk for each lane of a warp.
    pub const fn line(self) -> usize {
        WARP as usize * self.chunk
    }

    /// Steps in which the team walks over a row.
    pub fn slabs(self, hidden: usize) -> usize {
        hidden.div_ceil(GROUP_ELEMENTS * self.threads as usize)
    }

    /// Where the team keeps the element of this column: the thread of rank t owns, in slab s, the
    /// chunks (s·C + i)·threads + t for i in 0..C, C chunks making up a group.
    pub fn place(self, column: usize) -> Place {
        let chunk = column / self.chunk;
        let line = chunk / self.threads as usize;
        let lines_per_slab = GROUP_ELEMENTS / self.chunk;
        Place {
            slab: line / lines_per_slab,
            rank: chunk % self.threads as usize,
            element: line % lines_per_slab * self.chunk + column % self.chunk,
        }
    }

    /// Teams in a CTA that has work for about `threads` threads, no more than there are rows. Those larger than a warp meet
    /// at the CTA's barrier, and have one alone unless they may share it.
    pub(crate) fn per_cta(self, threads: u32, rows: u64, may_share: bool) -> u32 {
        let most = (threads / self.threads).max(1);
        if self.threads > WARP && !may_share { 1 } else { most.min(u32::try_from(rows).unwrap_or(u32::MAX)) }
    }

    /// Threads of a CTA of so many teams, each thread doing the work of `groups`: those of a team, and teams, of which there
    /// may be more, so that the threads make up warps.
    pub(crate) const fn block(self, groups: u32, teams: u32) -> [u32; 2] {
        let threads = self.threads.div_ceil(groups);
        if threads >= WARP {
            [threads.next_multiple_of(WARP), teams]
        } else {
            [threads, (threads * teams).next_multiple_of(WARP) / threads]
        }
    }
}
