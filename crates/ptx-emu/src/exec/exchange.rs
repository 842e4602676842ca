//! Exchanges among the lanes of a warp: shuffles, votes, matches, reductions, `bar.warp.sync`.

use super::registers::{LANES, lanes_of};
use super::warp::{State, Warp};
use super::{Machine, Outcome};
use crate::fault::{FaultKind, Whereabouts};
use crate::ir::{Exchange, Op, ShuffleMode};

/// What a lane receives from a lane that takes no part: NaN as a float, -1 as an integer.
const UNDEFINED: u32 = u32::MAX;

impl Machine<'_> {
    /// Executes the exchange for every set of lanes whose members have all come; the rest of
    /// the running group's lanes wait.
    pub(super) fn exchange(
        &mut self,
        warp: &mut Warp,
        mask: u32,
        members: &[u32; LANES],
        exchange: &Exchange,
    ) -> Outcome<()> {
        let mut ready = 0;
        let mut left = mask;
        while left != 0 {
            let named = members[left.trailing_zeros() as usize];
            let lanes = lanes_of(left).filter(|lane| members[*lane] == named).fold(0u32, |set, lane| set | 1 << lane);
            left &= !lanes;
            if lanes & !named != 0 {
                let reason = format!("member mask {named:#010x} does not name the lane itself");
                let kind = FaultKind::InvalidSync { reason };
                return Err(self.fault(warp, lanes & !named, kind));
            }
            let exited = named & warp.born & !warp.live;
            if exited != 0 {
                let absent = self.thread_id(warp, exited.trailing_zeros() & 31);
                let kind = FaultKind::AbsentThread { members: named, absent, whereabouts: Whereabouts::Exited };
                return Err(self.fault(warp, lanes, kind));
            }
            let wanted = named & warp.live;
            let elsewhere =
                if matches!(exchange, Exchange::Barrier) { self.waiting_at_warp_barrier(warp, named) } else { 0 };
            if wanted & !(lanes | elsewhere) == 0 {
                apply(warp, lanes, exchange);
                if elsewhere != 0 {
                    release_warp_barrier(warp, elsewhere);
                }
                self.clocks.meet(Self::party(warp, lanes | elsewhere));
                self.report.warp_exchanges += 1;
                ready |= lanes;
            }
        }
        let waiting = mask & !ready;
        if waiting == 0 {
            warp.pc += 1;
        } else {
            warp.park(waiting, State::Gather);
        }
        Ok(())
    }

    /// Lanes parked at any `bar.warp.sync` with the same member mask: unlike other exchanges, it
    /// need not be the same instruction.
    fn waiting_at_warp_barrier(&self, warp: &Warp, named: u32) -> u32 {
        let mut lanes = 0;
        for group in warp.others.iter().filter(|group| group.state == State::Gather) {
            if let Op::Exchange { members, exchange } = &self.kernel.code[group.pc as usize].op
                && matches!(**exchange, Exchange::Barrier)
            {
                let members = members.read(&warp.registers);
                if lanes_of(group.mask).all(|lane| members[lane] == named) {
                    lanes |= group.mask;
                }
            }
        }
        lanes
    }
}

fn release_warp_barrier(warp: &mut Warp, lanes: u32) {
    for group in &mut warp.others {
        if group.state == State::Gather && group.mask & !lanes == 0 {
            group.state = State::Ready;
            group.pc += 1;
        }
    }
}

fn apply(warp: &mut Warp, lanes: u32, exchange: &Exchange) {
    let registers = &mut warp.registers;
    let all_bits = |value: bool| if value { u32::MAX } else { 0 };
    match exchange {
        Exchange::Barrier => {}
        Exchange::Shuffle { mode, dest, in_range, value, lane: selector, clamp } => {
            let value = *value.read(registers);
            let selector = *selector.read(registers);
            let clamp = *clamp.read(registers);
            let mut results = [0u32; LANES];
            let mut ranges = 0;
            for lane in lanes_of(lanes) {
                let (source, valid) = shuffle_source(*mode, lane as u32, selector[lane], clamp[lane]);
                let taking_part = lanes >> source & 1 != 0;
                results[lane] = if taking_part { value[source as usize] } else { UNDEFINED };
                ranges |= u32::from(valid) << lane;
            }
            if let Some(dest) = dest {
                let dest = dest.write(registers);
                lanes_of(lanes).for_each(|lane| dest[lane] = results[lane]);
            }
            if let Some(pred) = in_range {
                registers.set_pred(*pred, ranges, lanes);
            }
        }
        Exchange::VoteAll { dest, source } => {
            let all = source.bits(registers) & lanes == lanes;
            registers.set_pred(*dest, all_bits(all), lanes);
        }
        Exchange::VoteAny { dest, source } => {
            let any = source.bits(registers) & lanes != 0;
            registers.set_pred(*dest, all_bits(any), lanes);
        }
        Exchange::VoteUniform { dest, source } => {
            let bits = source.bits(registers) & lanes;
            registers.set_pred(*dest, all_bits(bits == 0 || bits == lanes), lanes);
        }
        Exchange::Ballot { dest, source } => {
            let bits = source.bits(registers) & lanes;
            let dest = dest.write(registers);
            lanes_of(lanes).for_each(|lane| dest[lane] = bits);
        }
        Exchange::MatchAny { dest, value } => {
            let values: [u64; LANES] = std::array::from_fn(|lane| value.get(registers, lane));
            let dest = dest.write(registers);
            for lane in lanes_of(lanes) {
                dest[lane] = lanes_of(lanes)
                    .filter(|other| values[*other] == values[lane])
                    .fold(0, |set, other| set | 1 << other);
            }
        }
        Exchange::MatchAll { dest, all, value } => {
            let first = value.get(registers, lanes.trailing_zeros() as usize & 31);
            let same = lanes_of(lanes).all(|lane| value.get(registers, lane) == first);
            if let Some(dest) = dest {
                let dest = dest.write(registers);
                lanes_of(lanes).for_each(|lane| dest[lane] = if same { lanes } else { 0 });
            }
            if let Some(all) = all {
                registers.set_pred(*all, all_bits(same), lanes);
            }
        }
        Exchange::Reduce { dest, value, combine } => {
            let values = *value.read(registers);
            let result = lanes_of(lanes).map(|lane| values[lane]).reduce(combine).unwrap_or(0);
            let dest = dest.write(registers);
            lanes_of(lanes).for_each(|lane| dest[lane] = result);
        }
    }
}

/// The lane that a shuffle reads, and whether it lies in the lane's segment.
///
/// `clamp` holds the clamp value in bits 0–4 and the segment mask in bits 8–12.
fn shuffle_source(mode: ShuffleMode, lane: u32, selector: u32, clamp: u32) -> (u32, bool) {
    let selector = selector & 31;
    let segment = clamp >> 8 & 31;
    let clamp = clamp & 31;
    let bound = (lane & segment) | (clamp & !segment);
    let first = lane & segment;
    let (source, valid) = match mode {
        ShuffleMode::Up => (lane.wrapping_sub(selector), lane as i32 - selector as i32 >= bound as i32),
        ShuffleMode::Down => (lane + selector, lane + selector <= bound),
        ShuffleMode::Butterfly => (lane ^ selector, (lane ^ selector) <= bound),
        ShuffleMode::Index => {
            let source = first | (selector & !segment);
            (source, source <= bound)
        }
    };
    if valid { (source & 31, true) } else { (lane, false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The `c` operand that CUDA's shuffles of width w pass: ((32 - w) << 8) | 31, or 0 for up.
    fn clamp(width: u32, low: u32) -> u32 {
        ((32 - width) << 8) | low
    }

    #[test]
    fn shuffles_stay_in_their_segment() {
        use ShuffleMode::{Butterfly, Down, Index, Up};
        assert_eq!(shuffle_source(Down, 0, 16, clamp(32, 31)), (16, true));
        assert_eq!(shuffle_source(Down, 20, 16, clamp(32, 31)), (20, false));
        assert_eq!(shuffle_source(Down, 5, 4, clamp(8, 31)), (5, false));
        assert_eq!(shuffle_source(Down, 9, 4, clamp(8, 31)), (13, true));
        assert_eq!(shuffle_source(Up, 3, 1, clamp(32, 0)), (2, true));
        assert_eq!(shuffle_source(Up, 0, 1, clamp(32, 0)), (0, false));
        assert_eq!(shuffle_source(Up, 8, 1, clamp(8, 0)), (8, false));
        assert_eq!(shuffle_source(Index, 13, 2, clamp(8, 31)), (10, true));
        assert_eq!(shuffle_source(Index, 13, 10, clamp(8, 31)), (10, true));
        assert_eq!(shuffle_source(Butterfly, 6, 1, clamp(32, 31)), (7, true));
        assert_eq!(shuffle_source(Butterfly, 6, 16, clamp(16, 31)), (6, false));
    }
}
