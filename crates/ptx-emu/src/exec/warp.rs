//! A warp: registers, and the groups of lanes that run or wait together.

use super::registers::{FULL, LANES, Registers};
use crate::written::ByteSet;

/// Why a group of lanes does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It can run.
    Ready,
    /// It stands at an instruction that needs more lanes of its warp.
    Gather,
    /// It waits for barrier `id` of its CTA to leave `generation`.
    CtaBarrier { id: u32, generation: u64 },
    /// It waits for the cluster's barrier.
    ClusterBarrier,
}

/// Lanes with the same program counter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub pc: u32,
    pub mask: u32,
    pub state: State,
}

/// One warp of a CTA.
///
/// The running group is `pc` and `active`; all others are in `others`. Of the groups that can
/// run, the one with the lowest program counter runs first, so structured code reconverges.
#[derive(Clone, Debug)]
pub(crate) struct Warp {
    /// Index of the CTA in the cluster.
    pub cta: usize,
    /// Index of the warp in the CTA.
    pub index: u32,
    /// Index of the warp in the cluster.
    pub id: usize,
    pub registers: Registers,
    /// Local memory, one frame after another.
    pub local: Vec<u8>,
    /// Which bytes of `local` have been written.
    pub local_written: ByteSet,
    /// Lanes that the CTA has threads for.
    pub born: u32,
    /// Lanes that have not exited.
    pub live: u32,
    pub pc: u32,
    pub active: u32,
    pub others: Vec<Group>,
    /// The lowest program counter of the other groups: below it the running group is alone.
    pub horizon: u32,
    /// Set while a group other than the lowest runs, so that a spinning group cannot starve it.
    pub pinned: bool,
    /// Instructions since groups last took turns.
    pub unrotated: u32,
    /// Lanes that arrived at the cluster's barrier and have not waited, and the phases they
    /// arrived in.
    pub cluster_arrived: u32,
    pub cluster_phase: [u64; LANES],
    /// Lanes that have waited for the launches before this one.
    pub waited: u32,
}

impl Warp {
    /// Makes all of `live` start at the kernel's first instruction, with nothing in local memory.
    pub(crate) fn restart(&mut self, live: u32) {
        self.born = live;
        self.live = live;
        self.pc = 0;
        self.active = live;
        self.others.clear();
        self.horizon = u32::MAX;
        self.pinned = false;
        self.unrotated = 0;
        self.cluster_arrived = 0;
        self.waited = 0;
        self.local_written.clear();
    }

    fn update_horizon(&mut self) {
        self.horizon = self.others.iter().map(|group| group.pc).min().unwrap_or(u32::MAX);
    }

    pub(crate) fn push(&mut self, pc: u32, mask: u32, state: State) {
        self.others.push(Group { pc, mask, state });
        self.horizon = self.horizon.min(pc);
    }

    /// Parks `lanes` of the running group in `state`, at the current instruction. Where lanes
    /// remain, they go on with the next one.
    pub(crate) fn park(&mut self, lanes: u32, state: State) {
        self.push(self.pc, lanes, state);
        self.active &= !lanes;
        self.pc += 1;
    }

    /// Sends `taken` of the running group to `target` and the rest to the next instruction.
    pub(crate) fn branch(&mut self, taken: u32, target: u32) {
        if taken == self.active {
            self.pc = target;
        } else if taken == 0 {
            self.pc += 1;
        } else {
            let rest = self.active & !taken;
            self.push(self.pc + 1, rest, State::Ready);
            self.active = taken;
            self.pc = target;
        }
    }

    /// Merges groups that stand where the running group stands, and hands over to a group that
    /// lies behind.
    pub(crate) fn reconverge(&mut self) {
        loop {
            let (pc, mut merged) = (self.pc, 0);
            self.others.retain(|group| {
                let joins = group.pc == pc && matches!(group.state, State::Ready | State::Gather);
                if joins {
                    merged |= group.mask;
                }
                !joins
            });
            self.active |= merged;
            let behind = self
                .others
                .iter()
                .enumerate()
                .filter(|(_, group)| group.state == State::Ready && group.pc < pc)
                .min_by_key(|(_, group)| group.pc)
                .map(|(index, _)| index);
            match behind {
                Some(index) if !self.pinned => {
                    let group = self.others.swap_remove(index);
                    self.others.push(Group { pc, mask: self.active, state: State::Ready });
                    (self.pc, self.active) = (group.pc, group.mask);
                }
                _ => break,
            }
        }
        self.update_horizon();
    }

    /// Where nothing runs, picks the lowest group that can. False where none can.
    pub(crate) fn select(&mut self) -> bool {
        if self.active != 0 {
            return true;
        }
        let ready = self
            .others
            .iter()
            .enumerate()
            .filter(|(_, group)| group.state == State::Ready)
            .min_by_key(|(_, group)| group.pc)
            .map(|(index, _)| index);
        let Some(index) = ready else { return false };
        let group = self.others.swap_remove(index);
        (self.pc, self.active) = (group.pc, group.mask);
        self.update_horizon();
        true
    }

    /// After a full time slice: alternates between the lowest group and the next above it, so
    /// that lanes that spin cannot starve the lanes they wait for.
    pub(crate) fn rotate(&mut self) {
        self.unrotated = 0;
        if self.pinned {
            self.pinned = false;
            return;
        }
        let next = self
            .others
            .iter()
            .enumerate()
            .filter(|(_, group)| group.state == State::Ready)
            .min_by_key(|(_, group)| (group.pc <= self.pc, group.pc))
            .map(|(index, _)| index);
        if let Some(index) = next {
            let group = self.others.swap_remove(index);
            self.others.push(Group { pc: self.pc, mask: self.active, state: State::Ready });
            (self.pc, self.active) = (group.pc, group.mask);
            self.pinned = true;
            self.update_horizon();
        }
    }

    /// Ends the lanes of `mask`, all in the running group.
    pub(crate) fn exit(&mut self, mask: u32) {
        self.live &= !mask;
        self.active &= !mask;
        self.pc += 1;
        for group in &mut self.others {
            // Whom a gathering group waits for may have been among those that left.
            if group.state == State::Gather {
                group.state = State::Ready;
            }
        }
    }

    /// Whether any group could run now.
    pub(crate) fn runnable(&self) -> bool {
        self.active != 0 || self.others.iter().any(|group| group.state == State::Ready)
    }

    pub(crate) fn new(cta: usize, index: u32, id: usize, registers: Registers, local: usize) -> Warp {
        Warp {
            cta,
            index,
            id,
            registers,
            local: vec![0; local],
            local_written: ByteSet::new(local),
            born: 0,
            live: 0,
            pc: 0,
            active: 0,
            others: Vec::new(),
            horizon: u32::MAX,
            pinned: false,
            unrotated: 0,
            cluster_arrived: 0,
            cluster_phase: [0; LANES],
            waited: 0,
        }
    }
}

/// The lanes of the `index`th warp of a CTA of `threads` threads.
pub(crate) fn lanes_in_warp(threads: u32, index: u32) -> u32 {
    let left = threads.saturating_sub(index * LANES as u32);
    if left >= LANES as u32 { FULL } else { (1 << left) - 1 }
}
