//! Nobody can run: why.

use super::Machine;
use super::registers::lanes_of;
use super::warp::{Group, State, Warp};
use crate::fault::{Fault, FaultKind, Whereabouts};
use crate::ir::Op;

impl Machine<'_> {
    /// The fault of a cluster in which every thread waits.
    pub(super) fn deadlock(&self, warps: &[Warp]) -> Box<Fault> {
        let blocked = || warps.iter().filter(|warp| !warp.others.is_empty());
        let groups = || blocked().flat_map(|warp| warp.others.iter().map(move |group| (warp, group)));
        // A warp split over waiting places, one of them a barrier, is the cause; others that
        // wait for it in one piece are the consequence.
        let split = blocked().find(|warp| {
            let at_barrier = |pc: u32| {
                let op = &self.kernel.code[pc as usize].op;
                matches!(op, Op::CtaBarrier(_) | Op::ClusterArrive { .. } | Op::ClusterWait { .. })
            };
            warp.others.len() > 1 && warp.others.iter().any(|group| at_barrier(group.pc))
        });
        if let Some(warp) = split
            && let Some(group) = warp.others.first()
        {
            let waiting = warp.others.iter().map(|group| self.waiting_place(warp, group)).collect();
            return self.fault_at(warp, group.pc, group.mask, FaultKind::DivergentBarrier { waiting });
        }
        let cause = groups().find_map(|(warp, group)| {
            let kind = self.absent_thread(warp, group).or_else(|| self.unmet_barrier(warps, warp, group))?;
            Some(self.fault_at(warp, group.pc, group.mask, kind))
        });
        cause.unwrap_or_else(|| {
            let waiting = groups().map(|(warp, group)| self.waiting_place(warp, group)).collect();
            let (warp, pc, mask) = groups().next().map_or((&warps[0], 0, 1), |(warp, at)| (warp, at.pc, at.mask));
            self.fault_at(warp, pc, mask, FaultKind::Deadlock { waiting })
        })
    }

    fn waiting_place(&self, warp: &Warp, group: &Group) -> String {
        let origin = &self.kernel.origins[group.pc as usize];
        format!(
            "CTA {:?} warp {} lanes {:#010x} wait at PTX line {} `{}`",
            self.ctas[warp.cta].id, warp.index, group.mask, origin.line, origin.text
        )
    }

    /// For lanes at an exchange: that one whom they name is elsewhere.
    fn absent_thread(&self, warp: &Warp, group: &Group) -> Option<FaultKind> {
        let Op::Exchange { members, .. } = &self.kernel.code[group.pc as usize].op else { return None };
        let members = members.read(&warp.registers)[group.mask.trailing_zeros() as usize & 31];
        let absent = lanes_of(members & warp.live & !group.mask).next()? as u32;
        let at = warp.others.iter().find(|other| other.mask >> absent & 1 != 0)?;
        let origin = &self.kernel.origins[at.pc as usize];
        let whereabouts = Whereabouts::At {
            ptx_line: origin.line,
            source: self.source_line(origin),
            instruction: origin.text.clone(),
        };
        Some(FaultKind::AbsentThread { members, absent: self.thread_id(warp, absent), whereabouts })
    }

    /// For lanes at a barrier for some threads: that there are not so many left.
    fn unmet_barrier(&self, warps: &[Warp], warp: &Warp, group: &Group) -> Option<FaultKind> {
        let State::CtaBarrier { id, .. } = group.state else { return None };
        let (threads, arrived) = self.ctas[warp.cta].barriers[id as usize].counted()?;
        let waits = |other: &Group| matches!(other.state, State::CtaBarrier { id: at, .. } if at == id);
        let may_come = |other: &&Warp| other.cta == warp.cta && other.live != 0 && !other.others.iter().any(waits);
        let left = 32 * warps.iter().filter(may_come).count() as u32;
        if arrived + left >= threads {
            return None;
        }
        let waiting = warp.others.iter().map(|group| self.waiting_place(warp, group)).collect();
        Some(FaultKind::UnmetBarrier { id, threads, arrived, waiting })
    }
}
