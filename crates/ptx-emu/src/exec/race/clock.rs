//! Who knows of whose accesses: vector clocks.
//!
//! Time is one counter for the whole launch, which ticks whenever threads synchronise; an access
//! bears the time at which it ran. A clock holds, for every warp of the running cluster, the time
//! before which all its accesses are known: an access of that time or later is not ordered before
//! whoever has the clock. One more entry stands for all the clusters that ran before.
//!
//! Lanes that synchronise without the rest of their warp are told apart by times per lane, which are
//! there only while they are needed.

use crate::exec::registers::{LANES, lanes_of};
use crate::ir::MemoryScope;
use std::rc::Rc;

/// Times have this many bits.
pub(super) const TIME_BITS: u32 = 28;
/// The last time there is.
const END: u32 = (1 << TIME_BITS) - 1;

/// Times of single lanes, for few warps.
#[derive(Clone, Debug, Default)]
pub(super) struct ByLane {
    entries: Vec<(usize, [u32; LANES])>,
}

impl ByLane {
    fn get(&self, warp: usize) -> Option<&[u32; LANES]> {
        self.entries.iter().find(|(of, _)| *of == warp).map(|(_, times)| times)
    }

    fn entry(&mut self, warp: usize) -> &mut [u32; LANES] {
        let index = self.entries.iter().position(|(of, _)| *of == warp).unwrap_or_else(|| {
            self.entries.push((warp, [0; LANES]));
            self.entries.len() - 1
        });
        &mut self.entries[index].1
    }

    fn join(&mut self, other: &ByLane) {
        for (warp, times) in &other.entries {
            let entry = self.entry(*warp);
            entry.iter_mut().zip(times).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
        }
    }

    /// Moves what holds of all lanes of a warp to `whole`, and drops what that knows already.
    fn settle(&mut self, whole: &mut [u32]) {
        self.entries.retain(|(warp, times)| {
            let least = times.iter().copied().fold(u32::MAX, u32::min);
            whole[*warp] = whole[*warp].max(least);
            times.iter().any(|time| *time > whole[*warp])
        });
    }
}

/// What has been made known to a barrier or by a fence.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    /// By warp, the clusters before last; empty where nothing is known.
    whole: Vec<u32>,
    lanes: ByLane,
}

impl Clock {
    pub(crate) fn clear(&mut self) {
        self.whole.clear();
        self.lanes.entries.clear();
    }

    fn raise(&mut self, whole: &[u32]) {
        if self.whole.is_empty() {
            self.whole.extend_from_slice(whole);
        } else {
            raise(&mut self.whole, whole);
        }
    }

    pub(crate) fn join(&mut self, other: &Clock) {
        self.raise(&other.whole);
        self.lanes.join(&other.lanes);
    }

    /// The times of single lanes for every lane of a view, which [`Clocks::view_of`] needs beside the
    /// clock.
    pub(super) fn by_lane(&self) -> Vec<Rc<ByLane>> {
        let lanes = if self.lanes.entries.is_empty() { 0 } else { LANES };
        std::iter::repeat_n(Rc::new(self.lanes.clone()), lanes).collect()
    }
}

fn raise(mine: &mut [u32], theirs: &[u32]) {
    mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
}

/// The clocks of a warp's lanes.
#[derive(Clone, Debug)]
struct WarpClock {
    /// What all lanes know.
    whole: Vec<u32>,
    /// What each lane knows beyond that; empty where it is nothing.
    lanes: Vec<Rc<ByLane>>,
}

impl WarpClock {
    fn joined(&self, lanes: u32) -> ByLane {
        let mut joined = ByLane::default();
        let mut last: Option<&Rc<ByLane>> = None;
        if self.lanes.is_empty() {
            return joined;
        }
        for clock in lanes_of(lanes).map(|lane| &self.lanes[lane]) {
            // Lanes that met share one clock.
            if !last.is_some_and(|last| Rc::ptr_eq(last, clock)) {
                joined.join(clock);
            }
            last = Some(clock);
        }
        joined
    }

    fn set(&mut self, lanes: u32, to: ByLane) {
        if self.lanes.is_empty() {
            self.lanes = vec![Rc::default(); LANES];
        }
        let to = Rc::new(to);
        lanes_of(lanes).for_each(|lane| self.lanes[lane] = Rc::clone(&to));
    }

    /// Lets all lanes know what each knows, and `more`.
    fn settle(&mut self, more: Option<&ByLane>) {
        if self.lanes.is_empty() && more.is_none_or(|more| more.entries.is_empty()) {
            return;
        }
        let mut joined = self.joined(u32::MAX);
        joined.join(more.unwrap_or(&ByLane::default()));
        joined.settle(&mut self.whole);
        self.lanes.clear();
        if !joined.entries.is_empty() {
            self.set(u32::MAX, joined);
        }
    }
}

/// Lanes of a warp that synchronise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Party {
    /// Index of the warp in the cluster.
    pub warp: usize,
    pub lanes: u32,
    /// Whether the warp has no other lanes that have not exited.
    pub whole: bool,
}

/// What the fences of some scope have made known.
#[derive(Clone, Debug, Default)]
struct Fences {
    ctas: Vec<Clock>,
    cluster: Clock,
    gpu: Clock,
    /// The time of the last fence that reaches other clusters.
    last: u32,
}

/// The clocks of a launch.
#[derive(Clone, Debug)]
pub(crate) struct Clocks {
    time: u32,
    /// When the running cluster started.
    start: u32,
    warps_per_cta: usize,
    known: Vec<WarpClock>,
    fences: Fences,
    /// When which cluster started.
    starts: Vec<(u32, u64)>,
}

/// What some lanes of a warp know when they access memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    whole: &'a [u32],
    lanes: &'a [Rc<ByLane>],
    pub warp: usize,
    pub warps_per_cta: usize,
    /// When the cluster started.
    pub start: u32,
}

impl View<'_> {
    /// Whether all lanes know of all that a warp of the cluster did at a time.
    pub(super) fn knows_whole(&self, time: u32, warp: usize) -> bool {
        time < self.whole[warp]
    }

    /// Those of `lanes`, which accessed memory in a warp at a time, that some of `now` knows nothing
    /// of. A lane always knows of itself.
    pub(super) fn unknown(&self, time: u32, warp: usize, lanes: u32, now: u32) -> u32 {
        let past = time < self.start;
        // The entry for the clusters before is the last.
        let source = if past { self.whole.len() - 1 } else { warp };
        if time < self.whole[source] {
            return 0;
        }
        let own = !past && warp == self.warp;
        if self.lanes.is_empty() {
            // Whoever is alone on both sides is the same.
            let alone = own && now & (now - 1) == 0;
            return if alone { lanes & !now } else { lanes };
        }
        let mut unknown = 0;
        for lane in lanes_of(now) {
            let others = if own { lanes & !(1 << lane) } else { lanes };
            unknown |= match self.lanes[lane].get(source) {
                None => others,
                Some(times) if past => {
                    if time < times[0] {
                        0
                    } else {
                        others
                    }
                }
                Some(times) => {
                    lanes_of(others).filter(|other| time >= times[*other]).fold(0, |set, other| set | 1 << other)
                }
            };
        }
        unknown
    }
}

impl Clocks {
    /// For clusters of `ctas` CTAs.
    pub(crate) fn new(ctas: usize, warps_per_cta: usize) -> Clocks {
        let warps = ctas * warps_per_cta;
        let nothing = WarpClock { whole: vec![0; warps + 1], lanes: Vec::new() };
        Clocks {
            time: 0,
            start: 0,
            warps_per_cta,
            known: vec![nothing; warps],
            fences: Fences { ctas: vec![Clock::default(); ctas], ..Fences::default() },
            starts: Vec::new(),
        }
    }

    /// Another cluster begins. Returns whether time has begun anew, so that all that has been
    /// recorded must be forgotten.
    pub(crate) fn begin(&mut self, cluster: u64) -> bool {
        let anew = self.time > END / 2;
        if anew {
            self.time = 0;
            self.fences.last = 0;
            self.starts.clear();
        }
        self.time += 1;
        self.start = self.time;
        self.starts.push((self.time, cluster));
        for clock in &mut self.known {
            clock.whole.fill(0);
            clock.lanes.clear();
        }
        self.fences.ctas.iter_mut().for_each(Clock::clear);
        self.fences.cluster.clear();
        self.fences.gpu.clear();
        // What went before the last fence of an earlier cluster counts as known by it.
        let warps = self.known.len();
        self.fences.gpu.whole.resize(warps, 0);
        self.fences.gpu.whole.push(self.fences.last);
        anew
    }

    /// Now; none when time has come to its end, so that nothing more is recorded.
    pub(super) fn now(&self) -> Option<u32> {
        (self.time < END).then_some(self.time)
    }

    pub(super) fn start(&self) -> u32 {
        self.start
    }

    /// The cluster that ran at a time.
    pub(super) fn cluster_at(&self, time: u32) -> u64 {
        let after = self.starts.partition_point(|(start, _)| *start <= time);
        after.checked_sub(1).map_or(0, |index| self.starts[index].1)
    }

    pub(super) fn view(&self, warp: usize) -> View<'_> {
        let WarpClock { whole, lanes } = &self.known[warp];
        View { whole, lanes, warp, warps_per_cta: self.warps_per_cta, start: self.start }
    }

    /// The view of all that a clock was told, by no warp in particular.
    pub(super) fn view_of<'a>(&self, clock: &'a Clock, lanes: &'a [Rc<ByLane>]) -> View<'a> {
        let (warp, warps_per_cta, start) = (usize::MAX, self.warps_per_cta, self.start);
        View { whole: &clock.whole, lanes, warp, warps_per_cta, start }
    }

    fn tick(&mut self) -> u32 {
        self.time = (self.time + 1).min(END);
        self.time
    }

    /// Lanes of a warp meet.
    pub(crate) fn meet(&mut self, Party { warp, lanes, whole }: Party) {
        let now = self.tick();
        let clock = &mut self.known[warp];
        if whole {
            clock.whole[warp] = now;
            clock.settle(None);
        } else {
            let mut joined = clock.joined(lanes);
            let entry = joined.entry(warp);
            lanes_of(lanes).for_each(|lane| entry[lane] = now);
            clock.set(lanes, joined);
        }
    }

    /// Lanes make known what they know and have done.
    pub(crate) fn release(&mut self, Party { warp, lanes, whole }: Party, into: &mut Clock) {
        let now = self.tick();
        let clock = &self.known[warp];
        into.raise(&clock.whole);
        into.lanes.join(&clock.joined(lanes));
        if whole {
            into.whole[warp] = now;
        } else {
            let entry = into.lanes.entry(warp);
            lanes_of(lanes).for_each(|lane| entry[lane] = now);
        }
    }

    /// Lanes learn what has been made known, and also what each of them knows.
    pub(crate) fn acquire(&mut self, Party { warp, lanes, whole }: Party, from: &Clock) {
        let clock = &mut self.known[warp];
        if whole {
            raise(&mut clock.whole, &from.whole);
            clock.settle(Some(&from.lanes));
            return;
        }
        let mut joined = clock.joined(lanes);
        for (of, time) in from.whole.iter().enumerate().filter(|(of, time)| **time > clock.whole[*of]) {
            joined.entry(of).iter_mut().for_each(|mine| *mine = (*mine).max(*time));
        }
        joined.join(&from.lanes);
        clock.set(lanes, joined);
    }

    /// Lanes make known to all later fences, and learn from all earlier ones, whose scope reaches
    /// them.
    pub(crate) fn fence(&mut self, party: Party, scope: MemoryScope) {
        let mut fences = std::mem::take(&mut self.fences);
        let cta = &mut fences.ctas[party.warp / self.warps_per_cta];
        self.release(party, cta);
        self.acquire(party, cta);
        if scope >= MemoryScope::Cluster {
            self.release(party, &mut fences.cluster);
            self.acquire(party, &fences.cluster);
        }
        if scope >= MemoryScope::Gpu {
            self.release(party, &mut fences.gpu);
            self.acquire(party, &fences.gpu);
            fences.last = self.time;
        }
        self.fences = fences;
    }

    /// What fences have made known to the cluster.
    pub(crate) fn cluster_fences(&self) -> &Clock {
        &self.fences.cluster
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_begins_anew_between_clusters_only() {
        let party = Party { warp: 1, lanes: u32::MAX, whole: true };
        let mut clocks = Clocks::new(1, 2);
        assert!(!clocks.begin(5));
        clocks.time = END - 2;
        clocks.meet(party);
        assert_eq!((clocks.now(), clocks.cluster_at(END - 1)), (Some(END - 1), 5));
        // Nothing is recorded any more, so that nothing is compared with the last time.
        clocks.meet(party);
        clocks.meet(party);
        assert_eq!(clocks.now(), None);
        assert!(clocks.begin(6));
        assert_eq!((clocks.now(), clocks.start(), clocks.cluster_at(1)), (Some(1), 1, 6));
        assert!(!clocks.view(1).knows_whole(1, 1));
        assert!(!clocks.begin(7));
        assert_eq!((clocks.cluster_at(1), clocks.cluster_at(2)), (6, 7));
    }
}
