//! Races on shared and on global memory.
//!
//! Two accesses of the same bytes by different threads race where one of them writes and nothing
//! orders the one before the other: [`clock`] says what is ordered, [`shadow`] what was accessed.
//! Where an order is in doubt there counts as being one, so that what is reported is a race.

mod clock;
#[cfg(test)]
mod model;
mod shadow;

pub(crate) use clock::{Clock, Clocks, Party};
pub(crate) use shadow::{MAX_CODE, Shadow};

use super::access::{Placement, Region};
use super::registers::{LANES, lanes_of};
use super::warp::Warp;
use super::{Machine, Outcome};
use crate::fault::{AccessKind, Fault, FaultKind, RaceAccess};
use crate::ir::{MemoryScope, Op, Ordering};
use shadow::{Conflict, Entry, Strength, Touch};
use std::ops::Range;

/// The place that stands for the life of a CTA's shared memory in its shadow: other CTAs' accesses
/// read it, the CTA's exit writes it.
const LIFE: Range<u64> = 1 << 40..(1 << 40) + 16;

/// What an access to another CTA's shared memory is to the life of that.
fn life(touch: Touch) -> Touch {
    Touch::new(touch.time(), touch.pc(), touch.warp(), false, Strength::Weak)
}

fn strength(ordering: Ordering) -> Strength {
    match ordering {
        Ordering::Weak => Strength::Weak,
        Ordering::Relaxed(scope) | Ordering::Synchronises(scope) => match scope {
            MemoryScope::Cta => Strength::Cta,
            MemoryScope::Cluster => Strength::Cluster,
            MemoryScope::Gpu => Strength::Gpu,
        },
    }
}

impl Machine<'_> {
    /// Another cluster begins, at the time returned.
    pub(super) fn begin_cluster(&mut self, cluster: u64) -> u32 {
        if self.clocks.begin(cluster) {
            // Forgotten races are missed, but none is made up.
            self.shadow = Shadow::default();
            self.ctas.iter_mut().for_each(|cta| cta.shadow = Shadow::default());
        }
        self.clocks.start()
    }

    /// The lanes of a warp that synchronise.
    pub(super) fn party(warp: &Warp, lanes: u32) -> Party {
        Party { warp: warp.id, lanes, whole: lanes == warp.live }
    }

    /// Looks for races of a load's lanes with earlier accesses, and records them.
    pub(super) fn race_loads(
        &mut self,
        warp: &Warp,
        mask: u32,
        bytes: usize,
        ordering: Ordering,
        placement: &Placement,
    ) -> Outcome<()> {
        let Some(time) = self.clocks.now() else { return Ok(()) };
        let view = self.clocks.view(warp.id);
        let touch = Touch::new(time, warp.pc, warp.id, false, strength(ordering));
        let mut left = mask;
        let mut found = None;
        while left != 0 && found.is_none() {
            let region = placement.region[left.trailing_zeros() as usize];
            let (shadow, base) = match region {
                Region::Shared(cta) => (&mut self.ctas[cta].shadow, 0),
                Region::Global(index) if !self.memory.is_read_only(index) => {
                    (&mut self.shadow, self.memory.extent(index).0)
                }
                Region::Global(_) | Region::Local | Region::Const | Region::Param => {
                    lanes_of(left)
                        .filter(|lane| placement.region[*lane] == region)
                        .for_each(|lane| left &= !(1 << lane));
                    continue;
                }
            };
            let place = |left: u32| {
                let lane = left.trailing_zeros() as usize;
                (lane < LANES && placement.region[lane] == region).then(|| placement.offset[lane])
            };
            let mut here = 0;
            while let Some(start) = place(left) {
                let mut lanes = 0;
                // Lanes that read the same bytes are taken together.
                while place(left) == Some(start) {
                    lanes |= left & left.wrapping_neg();
                    left &= left - 1;
                }
                here |= lanes;
                let start = base + start as u64;
                let now = Entry { touch, lanes };
                if let Some(conflict) = shadow.access(&view, start..start + bytes as u64, now, |_| false) {
                    found = Some((region, now, conflict));
                    break;
                }
            }
            if let Region::Shared(cta) = region
                && cta != warp.cta
            {
                shadow.access(&view, LIFE, Entry { touch: life(touch), lanes: here }, |_| false);
            }
        }
        match found {
            None => Ok(()),
            Some((region, now, conflict)) => Err(self.race_fault(warp, region, now, &conflict)),
        }
    }

    /// The same for one lane that is about to write `new`; without it, what it is about to write
    /// is not known.
    pub(super) fn race_write(
        &mut self,
        warp: &Warp,
        lane: usize,
        (region, range): (Region, Range<usize>),
        ordering: Ordering,
        new: Option<&[u8]>,
    ) -> Outcome<()> {
        let Some(time) = self.clocks.now() else { return Ok(()) };
        let (shadow, contents, base) = match region {
            Region::Shared(cta) => {
                let cta = &mut self.ctas[cta];
                (&mut cta.shadow, &cta.shared[..], 0)
            }
            // Those that are written are not read-only.
            Region::Global(index) => (&mut self.shadow, self.memory.data(index), self.memory.extent(index).0),
            Region::Local | Region::Const | Region::Param => return Ok(()),
        };
        let view = self.clocks.view(warp.id);
        let touch = Touch::new(time, warp.pc, warp.id, true, strength(ordering));
        let now = Entry { touch, lanes: 1 << lane };
        let same = |part: Range<u64>| {
            let part = (part.start - base) as usize..(part.end - base) as usize;
            new.is_some_and(|new| new[part.start - range.start..part.end - range.start] == contents[part])
        };
        let bytes = base + range.start as u64..base + range.end as u64;
        if let Some(conflict) = shadow.access(&view, bytes, now, same) {
            return Err(self.race_fault(warp, region, now, &conflict));
        }
        if let Region::Shared(cta) = region
            && cta != warp.cta
        {
            shadow.access(&view, LIFE, Entry { touch: life(touch), ..now }, |_| false);
        }
        Ok(())
    }

    /// One side of a race.
    fn side(&self, Entry { touch, lanes }: Entry) -> RaceAccess {
        let origin = &self.kernel.origins[touch.pc() as usize];
        let [warps, warp] = [self.warps_per_cta(), touch.warp()];
        let thread = (warp % warps * LANES) as u32 + lanes.trailing_zeros() % LANES as u32;
        RaceAccess {
            kind: match self.kernel.code[touch.pc() as usize].op {
                Op::Atomic(_) => AccessKind::Atomic,
                Op::Store(_) => AccessKind::Store,
                _ => AccessKind::Load,
            },
            cta: self.grid.cta(self.clocks.cluster_at(touch.time()), (warp / warps) as u32),
            thread: super::thread_coordinates(thread, self.block),
            ptx_line: origin.line,
            source: self.source_line(origin),
            instruction: origin.text.clone(),
        }
    }

    fn race_fault(&self, warp: &Warp, region: Region, now: Entry, conflict: &Conflict) -> Box<Fault> {
        let Conflict { earlier, address, bytes } = *conflict;
        // Of lanes that read together, one that knows nothing of the earlier.
        let view = self.clocks.view(warp.id);
        let first = earlier.lanes & earlier.lanes.wrapping_neg();
        let ignorant = |lane: &usize| view.unknown(earlier.touch.time(), earlier.touch.warp(), first, 1 << lane) != 0;
        let now = Entry { lanes: lanes_of(now.lanes).find(ignorant).map_or(now.lanes, |lane| 1 << lane), ..now };
        let kind = FaultKind::Race {
            first: self.side(earlier),
            second: self.side(now),
            space: region.space(),
            address,
            bytes,
            name: self.region_name(region),
        };
        self.fault(warp, now.lanes, kind)
    }

    /// For a CTA whose last thread has exited: that no other CTA's access to its shared memory could
    /// have come later.
    pub(super) fn check_early_exit(&self, warp: &Warp, mask: u32) -> Outcome<()> {
        let cta = &self.ctas[warp.cta];
        let lanes = cta.exited.by_lane();
        let view = self.clocks.view_of(&cta.exited, &lanes);
        match cta.shadow.unknown(&view, LIFE.start) {
            None => Ok(()),
            Some(entry) => {
                let kind = FaultKind::EarlyExit { access: self.side(entry) };
                // The exit has moved the counter on.
                Err(self.fault_at(warp, warp.pc - 1, mask, kind))
            }
        }
    }
}
