//! Races on the shared memory of a CTA.
//!
//! Every cell of shared memory remembers who touched it last and when, on a clock that ticks
//! whenever threads meet. Two accesses conflict where no meeting lies between them. Whatever may
//! order two accesses counts as a meeting of the whole CTA (or warp), so that what is reported is
//! a race, though not every race is reported.

use super::access::{Placement, Region};
use super::registers::lanes_of;
use super::warp::Warp;
use super::{Machine, Outcome};
use crate::fault::{AccessKind, Fault, FaultKind, RaceAccess, Space};
use crate::ir::{Kernel, Op, Ordering, StateSpace};
use std::ops::Range;

/// Warps that a CTA may have.
const WARPS: usize = 32;

/// Who touched a cell, and when; time 0 is never.
#[derive(Clone, Copy, Debug, Default)]
struct Touch {
    time: u32,
    pc: u32,
    /// Index of the warp times 32, plus the lane.
    thread: u16,
    strong: bool,
}

impl Touch {
    fn warp(self) -> u16 {
        self.thread / 32
    }
}

/// The last touches of a cell.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    write: Touch,
    /// The last read.
    read: Touch,
    /// A read by another lane of the same warp.
    by_lane: Touch,
    /// A read by another warp than the last.
    by_warp: Touch,
}

/// What is known of the accesses to the shared memory of one CTA.
#[derive(Debug)]
pub(crate) struct Races {
    clock: u32,
    /// When all threads met last.
    met: u32,
    /// When the lanes of each warp met last.
    warp_met: [u32; WARPS],
    /// Bytes of a cell, as a power of two.
    shift: u32,
    cells: Vec<Cell>,
}

/// An access that nothing orders with an earlier one.
struct Conflict {
    earlier: Touch,
    cell: usize,
}

/// Bytes of the narrowest access to shared memory in the kernel, as a power of two. Accesses are
/// aligned to their size, so none ever touches a part of a cell of that size.
fn cell_shift(kernel: &Kernel) -> Option<u32> {
    let width = |op: &Op| {
        let (space, bytes) = match op {
            Op::Load(load) => (load.space, load.element_bytes * load.dests.len() as u32),
            Op::Store(store) => (store.space, store.element_bytes * store.sources.len() as u32),
            Op::Atomic(atomic) => (atomic.space, atomic.element_bytes * atomic.operands.len() as u32),
            _ => return None,
        };
        matches!(space, StateSpace::Shared | StateSpace::SharedCluster | StateSpace::Generic).then_some(bytes)
    };
    kernel.code.iter().filter_map(|inst| width(&inst.op)).min().map(u32::trailing_zeros)
}

impl Races {
    pub(crate) fn new(kernel: &Kernel, shared_bytes: usize) -> Races {
        let shift = cell_shift(kernel);
        let cells = shift.map_or(0, |shift| shared_bytes.div_ceil(1 << shift));
        Races { clock: 1, met: 1, warp_met: [1; WARPS], shift: shift.unwrap_or(0), cells: vec![Cell::default(); cells] }
    }

    fn tick(&mut self) {
        if self.clock == u32::MAX {
            // Forgets everything, which cannot make a race of what is none.
            self.cells.fill(Cell::default());
            (self.clock, self.met, self.warp_met) = (0, 1, [1; WARPS]);
        }
        self.clock += 1;
    }

    /// All threads have met, or something may have ordered any of them.
    pub(crate) fn order_all(&mut self) {
        self.tick();
        self.met = self.clock;
    }

    /// Lanes of a warp have met.
    pub(crate) fn order_warp(&mut self, warp: u32) {
        self.tick();
        self.warp_met[warp as usize % WARPS] = self.clock;
    }

    fn touch(&self, warp: &Warp, lane: usize, strong: bool) -> Touch {
        Touch { time: self.clock, pc: warp.pc, thread: (warp.index * 32) as u16 + lane as u16, strong }
    }

    /// Whether the earlier touch is by another thread, nothing orders it before the later, and not
    /// both are strong.
    fn conflict(&self, earlier: Touch, later: Touch) -> bool {
        earlier.time >= self.met
            && earlier.thread != later.thread
            && !(earlier.strong && later.strong)
            && (earlier.warp() != later.warp() || earlier.time >= self.warp_met[usize::from(later.warp()) % WARPS])
    }

    fn cells_of(&self, range: &Range<usize>) -> Range<usize> {
        range.start >> self.shift..range.end >> self.shift
    }

    fn read(&mut self, range: &Range<usize>, now: Touch) -> Option<Conflict> {
        for index in self.cells_of(range) {
            let Cell { write, read, .. } = self.cells[index];
            if self.conflict(write, now) {
                return Some(Conflict { earlier: write, cell: index });
            }
            let live = read.time >= self.met;
            if now.strong && live && !read.strong {
                // The weak read conflicts with more.
                continue;
            }
            let cell = &mut self.cells[index];
            if live && read.thread != now.thread {
                if read.warp() == now.warp() {
                    cell.by_lane = read;
                } else {
                    cell.by_warp = read;
                }
            }
            cell.read = now;
        }
        None
    }

    /// `same` says whether a range of bytes will hold what it held before.
    fn write(&mut self, range: &Range<usize>, now: Touch, same: impl Fn(Range<usize>) -> bool) -> Option<Conflict> {
        for index in self.cells_of(range) {
            let Cell { write, read, by_lane, by_warp } = self.cells[index];
            let bytes = index << self.shift..(index + 1) << self.shift;
            if self.conflict(write, now) && !same(bytes) {
                return Some(Conflict { earlier: write, cell: index });
            }
            if let Some(earlier) = [read, by_lane, by_warp].into_iter().find(|earlier| self.conflict(*earlier, now)) {
                return Some(Conflict { earlier, cell: index });
            }
            // A weak write conflicts with more than a strong one of the same thread after it.
            if !now.strong || write.strong || write.time < self.met {
                self.cells[index].write = now;
            }
        }
        None
    }
}

impl Machine<'_> {
    /// Looks for races of a load's lanes with earlier accesses, and records them.
    pub(super) fn race_loads(
        &mut self,
        warp: &Warp,
        mask: u32,
        bytes: usize,
        ordering: Ordering,
        placement: &Placement,
    ) -> Outcome<()> {
        if !placement.shared {
            return Ok(());
        }
        let strong = ordering != Ordering::Weak;
        let races = &mut self.ctas[warp.cta].races;
        for lane in lanes_of(mask).filter(|lane| placement.region[*lane] == Region::Shared(warp.cta)) {
            let now = races.touch(warp, lane, strong);
            let start = placement.offset[lane];
            if let Some(conflict) = races.read(&(start..start + bytes), now) {
                return Err(self.race(warp, now, &conflict));
            }
        }
        Ok(())
    }

    /// The same for one lane that is about to write `new`; without it, what it is about to write
    /// is not known.
    pub(super) fn race_write(
        &mut self,
        warp: &Warp,
        lane: usize,
        range: Range<usize>,
        strong: bool,
        new: Option<&[u8]>,
    ) -> Outcome<()> {
        let cta = &mut self.ctas[warp.cta];
        let now = cta.races.touch(warp, lane, strong);
        let shared = &cta.shared;
        let same = |part: Range<usize>| {
            new.is_some_and(|new| new[part.start - range.start..part.end - range.start] == shared[part])
        };
        match cta.races.write(&range, now, same) {
            None => Ok(()),
            Some(conflict) => Err(self.race(warp, now, &conflict)),
        }
    }

    fn race(&self, warp: &Warp, now: Touch, conflict: &Conflict) -> Box<Fault> {
        let side = |touch: Touch| {
            let origin = &self.kernel.origins[touch.pc as usize];
            RaceAccess {
                kind: match self.kernel.code[touch.pc as usize].op {
                    Op::Atomic(_) => AccessKind::Atomic,
                    Op::Store(_) => AccessKind::Store,
                    _ => AccessKind::Load,
                },
                cta: self.ctas[warp.cta].id,
                thread: super::thread_coordinates(touch.thread.into(), self.block),
                ptx_line: origin.line,
                source: self.source_line(origin),
                instruction: origin.text.clone(),
            }
        };
        let shift = self.ctas[warp.cta].races.shift;
        let kind = FaultKind::Race {
            first: side(conflict.earlier),
            second: side(now),
            address: (conflict.cell << shift) as u64,
            bytes: 1 << shift,
            space: Space::Shared,
            name: self.shared_name(warp, warp.cta),
        };
        self.fault(warp, 1 << (now.thread % 32), kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_runs_over_forgets() {
        let mut races =
            Races { clock: u32::MAX, met: 1, warp_met: [1; WARPS], shift: 2, cells: vec![Cell::default(); 4] };
        let by = |races: &Races, thread| Touch { time: races.clock, pc: 0, thread, strong: false };
        let now = by(&races, 0);
        assert!(races.write(&(4..8), now, |_| false).is_none());
        let now = by(&races, 32);
        assert_eq!(races.read(&(0..16), now).map(|conflict| conflict.cell), Some(1));
        races.order_all();
        let now = by(&races, 32);
        assert!(races.read(&(0..16), now).is_none());
        let now = by(&races, 33);
        let conflict = races.write(&(4..8), now, |_| false).expect("nothing orders the two lanes");
        assert_eq!((conflict.cell, conflict.earlier.thread), (1, 32));
        races.order_warp(1);
        let now = by(&races, 33);
        assert!(races.write(&(4..8), now, |_| false).is_none());
    }
}
