//! Running a decoded kernel.

mod access;
mod barrier;
mod deadlock;
mod defined;
mod exchange;
pub(crate) mod launch;
mod meter;
pub(crate) mod race;
pub(crate) mod registers;
pub(crate) mod schedule;
mod transfer;
mod warp;

use crate::fault::{Fault, FaultKind, SourceLine};
use crate::ir::{Kernel, Op, Origin};
use crate::memory::Memory;
use crate::report::LaunchReport;
use crate::semantics::float::Approximations;
use crate::written::ByteSet;
use access::LastHit;
use barrier::{BarrierState, ClusterBarrier};
use meter::Footprints;
use race::{Clock, Clocks, Shadow};
use registers::{Registers, lanes_of};
use schedule::{Scheduler, TIME_SLICE};
use std::ops::Range;
use warp::{State, Warp};

/// One CTA of the running cluster.
#[derive(Debug)]
pub(crate) struct Cta {
    pub id: [u32; 3],
    pub shared: Vec<u8>,
    /// Which bytes of `shared` have been written.
    pub written: ByteSet,
    /// What has been done to `shared`.
    pub shadow: Shadow,
    /// What its threads knew, and had done, when they exited.
    pub exited: Clock,
    pub live_threads: u32,
    pub barriers: [BarrierState; barrier::COUNT],
}

/// A cluster of CTAs being executed, with all that they share.
pub(crate) struct Machine<'a> {
    pub kernel: &'a Kernel,
    pub files: &'a [(u32, String)],
    pub constants: &'a [u8],
    pub constant_variables: &'a [(String, u64, u64)],
    pub memory: &'a mut Memory,
    pub parameters: Vec<u8>,
    pub block: [u32; 3],
    pub grid: Grid,
    pub ctas: Vec<Cta>,
    pub cluster_barrier: ClusterBarrier,
    pub report: LaunchReport,
    /// Where distinct bytes are counted.
    pub footprints: Option<Footprints>,
    pub instruction_limit: u64,
    pub scheduler: Scheduler,
    pub approximations: Approximations,
    pub last_hit: LastHit,
    pub clocks: Clocks,
    /// What has been done to global memory.
    pub shadow: Shadow,
    /// Addresses of global memory that are not to be touched before `griddepcontrol.wait`.
    pub unready: &'a [Range<u64>],
}

/// The grid, in clusters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub clusters: [u32; 3],
    /// CTAs of a cluster.
    pub cluster: [u32; 3],
}

impl Grid {
    /// `%ctaid` of a CTA by its rank in a cluster.
    fn cta(&self, cluster: u64, rank: u32) -> [u32; 3] {
        let [x, y, _] = self.clusters.map(u64::from);
        let origin = [cluster % x, cluster / x % y, cluster / x / y];
        let inside = thread_coordinates(rank, self.cluster);
        std::array::from_fn(|axis| origin[axis] as u32 * self.cluster[axis] + inside[axis])
    }
}

pub(crate) type Outcome<T> = Result<T, Box<Fault>>;

impl Machine<'_> {
    /// Runs all warps of the cluster to their end.
    pub(crate) fn run(&mut self, warps: &mut [Warp]) -> Outcome<()> {
        let mut order = Vec::new();
        loop {
            let mut alive = false;
            let mut progress = false;
            self.scheduler.warps(&mut order, warps.len());
            for index in &order {
                let warp = &mut warps[*index];
                if warp.live == 0 {
                    continue;
                }
                alive = true;
                self.release(warp);
                if warp.runnable() {
                    progress = true;
                    self.run_slice(warp)?;
                }
            }
            if !alive {
                return Ok(());
            }
            if !progress {
                return Err(self.deadlock(warps));
            }
        }
    }

    /// Runs one warp until all its lanes wait or have exited, or its turn is over.
    fn run_slice(&mut self, warp: &mut Warp) -> Outcome<()> {
        let kernel = self.kernel;
        // Which lanes of a warp run together must not depend on the schedule, or the counts would: they
        // take turns by the warp's own instructions.
        let length = self.scheduler.slice().min(TIME_SLICE - warp.unrotated);
        let mut slice = length;
        while warp.select() {
            if self.report.warp_instructions >= self.instruction_limit {
                let limit = self.instruction_limit;
                return Err(self.fault(warp, warp.active, FaultKind::InstructionLimit { limit }));
            }
            if slice == 0 {
                warp.unrotated += length;
                if warp.unrotated == TIME_SLICE {
                    warp.rotate();
                }
                return Ok(());
            }
            slice -= 1;
            if warp.pc >= warp.horizon {
                warp.reconverge();
            }
            let inst = &kernel.code[warp.pc as usize];
            let mask = warp.active & inst.guard.bits(&warp.registers);
            self.report.warp_instructions += 1;
            self.report.thread_instructions += u64::from(mask.count_ones());
            let of_class = &mut self.report.instructions[inst.class];
            of_class.warp += 1;
            of_class.thread += u64::from(mask.count_ones());
            if let Op::Branch { target } = &inst.op {
                warp.branch(mask, *target);
                continue;
            }
            if mask == 0 {
                warp.pc += 1;
                continue;
            }
            match &inst.op {
                Op::Alu(alu) => {
                    alu(&mut warp.registers, mask);
                    warp.pc += 1;
                }
                Op::Approximate(by) => {
                    by[self.approximations as usize](&mut warp.registers, mask);
                    warp.pc += 1;
                }
                Op::Load(load) => {
                    self.load(warp, load, mask)?;
                    warp.pc += 1;
                }
                Op::Store(store) => {
                    self.store(warp, store, mask)?;
                    warp.pc += 1;
                }
                Op::Atomic(atomic) => {
                    self.atomic(warp, atomic, mask)?;
                    warp.pc += 1;
                }
                Op::Nop => warp.pc += 1,
                Op::GridWait => {
                    warp.waited |= mask;
                    warp.pc += 1;
                }
                Op::Fence { scope } => {
                    self.clocks.fence(Self::party(warp, mask), *scope);
                    warp.pc += 1;
                }
                Op::Branch { target } => warp.branch(mask, *target),
                Op::BranchIndexed { index, targets } => {
                    self.branch_indexed(warp, mask, *index.read(&warp.registers), targets)?;
                }
                Op::Exit => {
                    warp.exit(mask);
                    self.threads_exited(warp, mask)?;
                }
                Op::Trap => return Err(self.fault(warp, mask, FaultKind::Trap)),
                Op::ActiveMask { dest } => {
                    let dest = dest.write(&mut warp.registers);
                    lanes_of(mask).for_each(|lane| dest[lane] = mask);
                    warp.pc += 1;
                }
                Op::Exchange { members, exchange } => {
                    let members = *members.read(&warp.registers);
                    self.exchange(warp, mask, &members, exchange)?;
                }
                Op::CtaBarrier(barrier) => self.cta_barrier(warp, mask, barrier)?,
                Op::ClusterArrive { aligned, relaxed } => self.cluster_arrive(warp, mask, *aligned, *relaxed)?,
                Op::ClusterWait { aligned } => self.cluster_wait(warp, mask, *aligned)?,
            }
        }
        warp.unrotated += length - slice;
        Ok(())
    }

    fn branch_indexed(
        &self,
        warp: &mut Warp,
        mask: u32,
        index: [u32; registers::LANES],
        targets: &[u32],
    ) -> Outcome<()> {
        let next = warp.pc + 1;
        for lane in lanes_of(mask) {
            let Some(target) = targets.get(index[lane] as usize) else {
                let kind = FaultKind::BranchIndex { index: index[lane], targets: targets.len() as u32 };
                return Err(self.fault(warp, 1 << lane, kind));
            };
            match warp.others.iter_mut().find(|group| group.pc == *target && group.state == State::Ready) {
                Some(group) => group.mask |= 1 << lane,
                None => warp.push(*target, 1 << lane, State::Ready),
            }
        }
        warp.active &= !mask;
        warp.pc = next;
        Ok(())
    }

    fn warps_per_cta(&self) -> usize {
        self.block.iter().product::<u32>().div_ceil(registers::LANES as u32) as usize
    }

    /// `%tid` of a lane.
    fn thread_id(&self, warp: &Warp, lane: u32) -> [u32; 3] {
        thread_coordinates(warp.index * 32 + lane, self.block)
    }

    /// A fault of the running instruction, blamed on the first lane of the mask.
    pub(crate) fn fault(&self, warp: &Warp, mask: u32, kind: FaultKind) -> Box<Fault> {
        self.fault_at(warp, warp.pc, mask, kind)
    }

    pub(crate) fn fault_at(&self, warp: &Warp, pc: u32, mask: u32, kind: FaultKind) -> Box<Fault> {
        let origin = &self.kernel.origins[pc as usize];
        Box::new(Fault {
            kernel: self.kernel.name.clone(),
            ptx_line: origin.line,
            source: self.source_line(origin),
            instruction: origin.text.clone(),
            cta: self.ctas[warp.cta].id,
            thread: self.thread_id(warp, mask.trailing_zeros() & 31),
            kind,
        })
    }

    fn source_line(&self, origin: &Origin) -> Option<SourceLine> {
        origin.source.map(|(file, line)| {
            let name = self.files.iter().find(|(index, _)| *index == file);
            let file = name.map_or_else(|| format!("file {file}"), |(_, name)| name.clone());
            SourceLine { file, line }
        })
    }
}

/// `%tid` of the thread with a linear index in its CTA.
pub(crate) fn thread_coordinates(linear: u32, block: [u32; 3]) -> [u32; 3] {
    let [x, y, _] = block.map(|dim| dim.max(1));
    [linear % x, linear / x % y, linear / x / y]
}

/// Puts into all registers but predicates what nothing should compute with: NaN, and no address of anything. A zero would
/// add nothing to a sum, and be no maximum.
pub(crate) fn clear_registers(registers: &mut Registers) {
    registers.w32.fill([u32::MAX; registers::LANES]);
    registers.w64.fill([u64::MAX; registers::LANES]);
    registers.pred.fill(0);
    registers.pred[registers::PRED_TRUE as usize] = registers::FULL;
}
