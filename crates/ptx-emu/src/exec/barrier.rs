//! Barriers of a CTA and of a cluster.

use super::race::{Clock, Party};
use super::registers::{LANES, lanes_of};
use super::warp::{State, Warp};
use super::{Machine, Outcome};
use crate::fault::FaultKind;
use crate::ir::{BarrierReduction, CtaBarrier, Op};

/// Barriers that a CTA has.
pub(crate) const COUNT: usize = 16;

/// One of a CTA's barriers.
#[derive(Debug, Default)]
pub(crate) struct BarrierState {
    /// Threads that have arrived in this generation.
    arrived: u32,
    /// The same with every warp counted in full, as barriers with a thread count do.
    arrived_rounded: u32,
    /// The thread count that this generation's first arrival named.
    threads: Option<Option<u32>>,
    generation: u64,
    votes: Votes,
    /// The votes of the generation completed last.
    result: Votes,
    /// What those that have arrived knew, and had done.
    clock: Clock,
    /// Those that wait.
    waiting: Vec<Party>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Votes {
    yes: u32,
    all: u32,
}

impl BarrierState {
    /// Back to how a CTA finds it.
    pub(crate) fn restart(&mut self) {
        self.next(0);
        self.result = Votes::default();
    }

    fn next(&mut self, generation: u64) {
        (self.arrived, self.arrived_rounded, self.threads) = (0, 0, None);
        self.generation = generation;
        self.result = std::mem::take(&mut self.votes);
        self.clock.clear();
        self.waiting.clear();
    }

    /// Where the barrier is for some threads only: how many, and how many have arrived.
    pub(super) fn counted(&self) -> Option<(u32, u32)> {
        self.threads.flatten().map(|threads| (threads, self.arrived_rounded))
    }

    fn due(&self, live_threads: u32) -> bool {
        match self.threads {
            Some(Some(threads)) => self.arrived_rounded >= threads,
            Some(None) => self.arrived >= live_threads,
            None => false,
        }
    }
}

/// The barrier of a cluster.
#[derive(Debug, Default)]
pub(crate) struct ClusterBarrier {
    arrived: u32,
    phase: u64,
    /// What those that have arrived knew, and had done.
    clock: Clock,
    /// Whether any arrived without making it known, but for what fences did.
    relaxed: bool,
    /// The clock of the phase completed last.
    complete: Clock,
}

impl Machine<'_> {
    /// Whether the warp's lanes in `mask` may pass an instruction that needs the whole warp;
    /// if not, they are parked until the others come.
    fn gathered(&self, warp: &mut Warp, mask: u32, aligned: bool) -> bool {
        if aligned && mask != warp.live {
            warp.park(mask, State::Gather);
            return false;
        }
        true
    }

    pub(super) fn cta_barrier(&mut self, warp: &mut Warp, mask: u32, barrier: &CtaBarrier) -> Outcome<()> {
        if !self.gathered(warp, mask, barrier.aligned) {
            return Ok(());
        }
        let first = mask.trailing_zeros() as usize;
        let ids = barrier.id.read(&warp.registers);
        let id = ids[first];
        let counts = barrier.threads.map(|threads| *threads.read(&warp.registers));
        let threads = counts.map(|counts| counts[first]);
        let uniform =
            lanes_of(mask).all(|lane| ids[lane] == id && counts.is_none_or(|counts| Some(counts[lane]) == threads));
        let invalid = |reason: String| FaultKind::InvalidSync { reason };
        if !uniform {
            let reason = "lanes of a warp name different barriers or thread counts".to_owned();
            return Err(self.fault(warp, mask, invalid(reason)));
        }
        if id as usize >= COUNT {
            let kind = invalid(format!("barrier {id}; a CTA has barriers 0 to {}", COUNT - 1));
            return Err(self.fault(warp, mask, kind));
        }
        if let Some(threads) = threads
            && (threads == 0 || !threads.is_multiple_of(32))
        {
            let reason = format!("a barrier of {threads} threads; it must be a multiple of 32");
            return Err(self.fault(warp, mask, invalid(reason)));
        }
        let most = (self.warps_per_cta() * LANES) as u32;
        if let Some(threads) = threads
            && threads > most
        {
            let reason = format!("a barrier of {threads} threads in a CTA of {most}, in whole warps");
            return Err(self.fault(warp, mask, invalid(reason)));
        }
        let cta = &mut self.ctas[warp.cta];
        let state = &mut cta.barriers[id as usize];
        let expected = *state.threads.get_or_insert(threads);
        if expected != threads {
            let say =
                |threads: Option<u32>| threads.map_or("all threads".to_owned(), |threads| format!("{threads} threads"));
            let (now, before) = (say(threads), say(expected));
            let reason = format!("barrier {id} is for {now} here, but was for {before}");
            return Err(self.fault(warp, mask, invalid(reason)));
        }
        let lanes = mask.count_ones();
        state.arrived += lanes;
        state.arrived_rounded += if mask == warp.live { 32 } else { lanes };
        if let Some(reduction) = barrier.reduction {
            let yes = (reduction.source().bits(&warp.registers) & mask).count_ones();
            state.votes.yes += yes;
            state.votes.all += lanes;
        }
        let generation = state.generation;
        let party = Self::party(warp, mask);
        self.clocks.release(party, &mut state.clock);
        if barrier.waits {
            state.waiting.push(party);
        }
        let completed = self.complete_if_due(warp.cta, id as usize);
        if !barrier.waits {
            warp.pc += 1;
        } else if completed {
            self.deliver(warp, mask, id, barrier.reduction);
            warp.pc += 1;
        } else {
            warp.park(mask, State::CtaBarrier { id, generation });
        }
        Ok(())
    }

    /// Lets those that wait for a barrier learn from those that arrived, if all have come that it
    /// needs.
    fn complete_if_due(&mut self, cta: usize, id: usize) -> bool {
        let cta = &mut self.ctas[cta];
        let barrier = &mut cta.barriers[id];
        if !barrier.due(cta.live_threads) {
            return false;
        }
        if barrier.threads == Some(None) {
            // It has waited for those that exited, too.
            barrier.clock.join(&cta.exited);
        }
        for party in &barrier.waiting {
            self.clocks.acquire(*party, &barrier.clock);
        }
        barrier.next(barrier.generation + 1);
        self.report.cta_barriers += 1;
        true
    }

    /// Writes the result of a barrier's reduction to the lanes of `mask`.
    fn deliver(&self, warp: &mut Warp, mask: u32, id: u32, reduction: Option<BarrierReduction>) {
        let Votes { yes, all } = self.ctas[warp.cta].barriers[id as usize].result;
        let bits = |value: bool| if value { u32::MAX } else { 0 };
        match reduction {
            None => {}
            Some(BarrierReduction::Popc { dest, .. }) => {
                let dest = dest.write(&mut warp.registers);
                lanes_of(mask).for_each(|lane| dest[lane] = yes);
            }
            Some(BarrierReduction::And { dest, .. }) => {
                warp.registers.set_pred(dest, bits(yes == all), mask);
            }
            Some(BarrierReduction::Or { dest, .. }) => {
                warp.registers.set_pred(dest, bits(yes > 0), mask);
            }
        }
    }

    /// Lets groups go on whose barrier has been completed since they parked.
    pub(super) fn release(&mut self, warp: &mut Warp) {
        for index in 0..warp.others.len() {
            let group = warp.others[index];
            let released = match group.state {
                State::CtaBarrier { id, generation } => {
                    self.ctas[warp.cta].barriers[id as usize].generation != generation
                }
                State::ClusterBarrier => self.phase_over(warp, group.mask),
                State::Ready | State::Gather => false,
            };
            if !released {
                continue;
            }
            if let State::CtaBarrier { id, .. } = group.state
                && let Op::CtaBarrier(barrier) = &self.kernel.code[group.pc as usize].op
            {
                self.deliver(warp, group.mask, id, barrier.reduction);
            }
            if group.state == State::ClusterBarrier {
                self.pass_cluster_barrier(warp, group.mask);
            }
            let group = &mut warp.others[index];
            group.state = State::Ready;
            group.pc += 1;
        }
    }

    pub(super) fn cluster_arrive(&mut self, warp: &mut Warp, mask: u32, aligned: bool, relaxed: bool) -> Outcome<()> {
        if !self.gathered(warp, mask, aligned) {
            return Ok(());
        }
        let again = warp.cluster_arrived & mask;
        if again != 0 {
            let reason = "a second `barrier.cluster.arrive` without a wait between".to_owned();
            return Err(self.fault(warp, again, FaultKind::InvalidSync { reason }));
        }
        warp.cluster_arrived |= mask;
        lanes_of(mask).for_each(|lane| warp.cluster_phase[lane] = self.cluster_barrier.phase);
        self.cluster_barrier.arrived += mask.count_ones();
        if relaxed {
            self.cluster_barrier.relaxed = true;
        } else {
            self.clocks.release(Self::party(warp, mask), &mut self.cluster_barrier.clock);
        }
        self.complete_cluster_if_due();
        warp.pc += 1;
        Ok(())
    }

    fn complete_cluster_if_due(&mut self) {
        let live: u32 = self.ctas.iter().map(|cta| cta.live_threads).sum();
        let barrier = &mut self.cluster_barrier;
        if barrier.arrived > 0 && barrier.arrived >= live {
            self.ctas.iter().for_each(|cta| barrier.clock.join(&cta.exited));
            if barrier.relaxed {
                barrier.clock.join(self.clocks.cluster_fences());
            }
            std::mem::swap(&mut barrier.clock, &mut barrier.complete);
            barrier.clock.clear();
            (barrier.arrived, barrier.relaxed) = (0, false);
            barrier.phase += 1;
            self.report.cluster_barriers += 1;
        }
    }

    /// Whether the phase that the lanes arrived in is complete.
    fn phase_over(&self, warp: &Warp, mask: u32) -> bool {
        lanes_of(mask).all(|lane| warp.cluster_phase[lane] < self.cluster_barrier.phase)
    }

    pub(super) fn cluster_wait(&mut self, warp: &mut Warp, mask: u32, aligned: bool) -> Outcome<()> {
        if !self.gathered(warp, mask, aligned) {
            return Ok(());
        }
        let missing = mask & !warp.cluster_arrived;
        if missing != 0 {
            let reason = "`barrier.cluster.wait` without an arrive before it".to_owned();
            return Err(self.fault(warp, missing, FaultKind::InvalidSync { reason }));
        }
        if self.phase_over(warp, mask) {
            self.pass_cluster_barrier(warp, mask);
            warp.pc += 1;
        } else {
            warp.park(mask, State::ClusterBarrier);
        }
        Ok(())
    }

    fn pass_cluster_barrier(&mut self, warp: &mut Warp, mask: u32) {
        warp.cluster_arrived &= !mask;
        // Complete phases do not overtake a thread that has yet to wait for one.
        self.clocks.acquire(Self::party(warp, mask), &self.cluster_barrier.complete);
    }

    /// Barriers no longer wait for threads that have exited.
    pub(super) fn threads_exited(&mut self, warp: &Warp, mask: u32) -> Outcome<()> {
        let party = Party { warp: warp.id, lanes: mask, whole: warp.live == 0 };
        let cta = &mut self.ctas[warp.cta];
        self.clocks.release(party, &mut cta.exited);
        cta.live_threads -= mask.count_ones();
        if cta.live_threads == 0 {
            self.check_early_exit(warp, mask)?;
        }
        for id in 0..COUNT {
            self.complete_if_due(warp.cta, id);
        }
        let pending = lanes_of(mask & warp.cluster_arrived)
            .filter(|lane| warp.cluster_phase[*lane] == self.cluster_barrier.phase)
            .count() as u32;
        self.cluster_barrier.arrived -= pending;
        self.complete_cluster_if_due();
        Ok(())
    }
}
