//! What accesses cost: sectors, distinct bytes, passes over the banks of shared memory.
//!
//! Every count is a sum over warp instructions or a set of bytes, so that the order in which warps and
//! CTAs run does not matter.

use super::Machine;
use super::access::{Placement, Region, Request};
use super::registers::{LANES, lanes_of};
use crate::fault::AccessKind;
use crate::report::{SharedTraffic, Traffic};
use crate::touched::Touched;

/// Bytes of a sector, the unit in which caches and DRAM move data.
const SECTOR: u64 = 32;
/// Banks of shared memory.
const BANKS: usize = 32;
/// Bytes that a bank gives in one pass.
const WORD: usize = 4;

/// The bytes of global memory that a launch touches, by kind of access.
#[derive(Debug, Default)]
pub(crate) struct Footprints {
    loads: Touched,
    stores: Touched,
    atomics: Touched,
}

impl Machine<'_> {
    /// Counts a request to global memory by the lanes of a mask.
    pub(super) fn count_global(&mut self, request: Request, addresses: &[u64; LANES], mask: u32) {
        let report = &mut self.report;
        let (traffic, touched) = match request.kind {
            AccessKind::Load => (&mut report.global_loads, self.footprints.as_mut().map(|all| &mut all.loads)),
            AccessKind::Store => (&mut report.global_stores, self.footprints.as_mut().map(|all| &mut all.stores)),
            AccessKind::Atomic => (&mut report.global_atomics, self.footprints.as_mut().map(|all| &mut all.atomics)),
        };
        let bytes = u64::from(request.bytes);
        let lanes = u64::from(mask.count_ones());
        let pattern = Pattern::of(addresses, mask);
        traffic.requests += 1;
        traffic.bytes += bytes * lanes;
        traffic.sectors += pattern.sectors;
        traffic.ideal_sectors += (pattern.addresses * bytes).div_ceil(SECTOR);
        traffic.accesses_by_width[request.bytes.trailing_zeros() as usize] += lanes;
        if let Some(touched) = touched {
            *traffic.distinct_bytes.get_or_insert_default() += pattern.touch(touched, addresses, mask, bytes);
        }
    }

    /// Counts a request that reaches shared memory: of the warp's own CTA, or of others.
    pub(super) fn count_shared(&mut self, cta: usize, request: Request, placement: &Placement) {
        let (mut own, mut others) = (0u32, false);
        for lane in lanes_of(request.mask) {
            match placement.region[lane] {
                Region::Shared(owner) if owner == cta => own |= 1 << lane,
                Region::Shared(_) => others = true,
                _ => {}
            }
        }
        self.report.cluster_accesses += u64::from(others);
        if own == 0 {
            return;
        }
        let traffic: &mut SharedTraffic = match request.kind {
            AccessKind::Load => &mut self.report.shared_loads,
            AccessKind::Store => &mut self.report.shared_stores,
            AccessKind::Atomic => &mut self.report.shared_atomics,
        };
        let (parts, wavefronts) = wavefronts(&placement.offset, own, request.bytes as usize);
        traffic.requests += 1;
        traffic.bytes += u64::from(request.bytes) * u64::from(own.count_ones());
        traffic.wavefronts += wavefronts;
        traffic.bank_conflicts += wavefronts - parts;
    }
}

impl Traffic {
    /// The counters at the start of a launch.
    pub(super) fn new(distinct: bool) -> Traffic {
        Traffic { distinct_bytes: distinct.then_some(0), ..Traffic::default() }
    }
}

/// How the addresses of a request lie. Accesses are naturally aligned and of one width, so any two of
/// them are the same or disjoint, and none straddles two sectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pattern {
    /// Distinct addresses.
    addresses: u64,
    /// Distinct sectors.
    sectors: u64,
    lowest: u64,
    highest: u64,
}

impl Pattern {
    fn of(addresses: &[u64; LANES], mask: u32) -> Pattern {
        Pattern::of_ascending(lanes_of(mask).map(|lane| addresses[lane])).unwrap_or_else(|| {
            let mut sorted = [0; LANES];
            let mut count = 0;
            for lane in lanes_of(mask) {
                sorted[count] = addresses[lane];
                count += 1;
            }
            sorted[..count].sort_unstable();
            Pattern::of_ascending(sorted[..count].iter().copied()).unwrap_or_default()
        })
    }

    /// `None` where the addresses do not ascend.
    fn of_ascending(mut addresses: impl Iterator<Item = u64>) -> Option<Pattern> {
        let Some(lowest) = addresses.next() else { return Some(Pattern::default()) };
        let mut pattern = Pattern { addresses: 1, sectors: 1, lowest, highest: lowest };
        for address in addresses {
            if address < pattern.highest {
                return None;
            }
            pattern.addresses += u64::from(address != pattern.highest);
            pattern.sectors += u64::from(address / SECTOR != pattern.highest / SECTOR);
            pattern.highest = address;
        }
        Some(pattern)
    }

    /// Adds the bytes of the accesses to a set and returns how many are new.
    fn touch(self, touched: &mut Touched, addresses: &[u64; LANES], mask: u32, bytes: u64) -> u64 {
        let end = self.highest + bytes;
        if end - self.lowest == self.addresses * bytes {
            // As many as fit between the ends: they lie side by side.
            return touched.insert(self.lowest..end);
        }
        lanes_of(mask).map(|lane| touched.insert_aligned(addresses[lane], bytes)).sum()
    }
}

/// The parts of a warp that a request is served in, and the passes over the banks that they take.
fn wavefronts(offsets: &[usize; LANES], mask: u32, bytes: usize) -> (u64, u64) {
    let lanes = (BANKS * WORD / bytes.max(WORD)).clamp(1, LANES);
    let (mut parts, mut total) = (0, 0);
    for start in (0..LANES).step_by(lanes) {
        let part = mask & (u32::MAX >> (LANES - lanes) << start);
        if part != 0 {
            parts += 1;
            total += passes(offsets, part, bytes);
        }
    }
    (parts, total)
}

/// Passes for lanes that are served together: as many as the busiest bank has distinct words to give.
fn passes(offsets: &[usize; LANES], part: u32, bytes: usize) -> u64 {
    // No more than BANKS words: that is what makes up a part.
    let mut words = [0; BANKS];
    let mut count = 0;
    for lane in lanes_of(part) {
        for word in offsets[lane] / WORD..(offsets[lane] + bytes).div_ceil(WORD) {
            words[count] = word;
            count += 1;
        }
    }
    let words = &mut words[..count];
    words.sort_unstable();
    let mut of_bank = [0u64; BANKS];
    let mut last = None;
    for &word in words.iter() {
        if last != Some(word) {
            of_bank[word % BANKS] += 1;
        }
        last = Some(word);
    }
    of_bank.into_iter().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(f: impl Fn(u64) -> u64) -> [u64; LANES] {
        std::array::from_fn(|lane| 4096 + f(lane as u64))
    }

    fn pattern(mask: u32, f: impl Fn(u64) -> u64) -> (u64, u64) {
        let Pattern { addresses, sectors, .. } = Pattern::of(&at(f), mask);
        (addresses, sectors)
    }

    #[test]
    fn addresses_and_sectors_of_common_patterns() {
        assert_eq!(pattern(u32::MAX, |lane| lane * 4), (32, 4));
        assert_eq!(pattern(u32::MAX, |lane| lane * 16), (32, 16));
        assert_eq!(pattern(u32::MAX, |lane| lane * 4 + 16), (32, 5));
        assert_eq!(pattern(u32::MAX, |lane| lane * 256), (32, 32));
        assert_eq!(pattern(u32::MAX, |_| 0), (1, 1));
        assert_eq!(pattern(u32::MAX, |lane| (31 - lane) * 4), (32, 4));
        assert_eq!(pattern(u32::MAX, |lane| (lane % 2) * 64), (2, 2));
        // Four lanes each read the same eight words.
        assert_eq!(pattern(u32::MAX, |lane| (lane % 8) * 4), (8, 1));
        assert_eq!(pattern(0x8000_0001, |lane| lane * 4), (2, 2));
        assert_eq!(pattern(1 << 31, |lane| lane * 4), (1, 1));
    }

    #[test]
    fn bytes_are_touched_once() {
        let mut touched = Touched::default();
        let mut add = |mask: u32, bytes: u64, f: &dyn Fn(u64) -> u64| {
            let addresses = at(f);
            Pattern::of(&addresses, mask).touch(&mut touched, &addresses, mask, bytes)
        };
        assert_eq!(add(u32::MAX, 4, &|lane| lane * 4), 128);
        assert_eq!(add(u32::MAX, 16, &|lane| lane * 16), 512 - 128);
        // Every other word, in descending order: those past the first 512 bytes are new.
        assert_eq!(add(u32::MAX, 4, &|lane| (31 - lane) * 32), 16 * 4);
        // First and last lie side by side, the rest elsewhere: 30 more bytes.
        assert_eq!(add(u32::MAX, 1, &|lane| if lane == 31 { 5001 } else { 5000 + lane * 64 % 1984 }), 31 + 1);
        // The first lane lies above the others.
        assert_eq!(add(3, 2, &|lane| 9000 - lane * 2), 4);
        assert_eq!(add(1, 2, &|_| 8998), 0);
    }

    /// Parts and passes of a full warp whose lane i is at byte f(i).
    fn banks(bytes: usize, f: impl Fn(usize) -> usize) -> (u64, u64) {
        wavefronts(&std::array::from_fn(f), u32::MAX, bytes)
    }

    #[test]
    fn words_of_different_banks_take_one_pass() {
        assert_eq!(banks(4, |lane| lane * 4), (1, 1));
        assert_eq!(banks(4, |lane| (31 - lane) * 4), (1, 1));
        // Strides that are odd in words, 20-byte structures among them.
        assert_eq!(banks(4, |lane| lane * 12), (1, 1));
        assert_eq!(banks(4, |lane| lane * 20), (1, 1));
        // A column of a 32 × 32 matrix whose rows are padded by a word.
        assert_eq!(banks(4, |lane| lane * 33 * 4), (1, 1));
    }

    #[test]
    fn words_of_one_bank_take_turns() {
        assert_eq!(banks(4, |lane| lane * 8), (1, 2));
        assert_eq!(banks(4, |lane| lane * 16), (1, 4));
        // A column of a 32 × 32 matrix without padding.
        assert_eq!(banks(4, |lane| lane * 32 * 4), (1, 32));
        // Three lanes in bank 5, two in bank 9, the others out of their way.
        let lanes = [5, 5 + 32, 5 + 64, 9, 9 + 96];
        assert_eq!(wavefronts(&std::array::from_fn(|lane| lanes[lane % 5] * 4), 0b11111, 4), (1, 3));
    }

    #[test]
    fn one_word_is_given_to_any_number_of_lanes() {
        assert_eq!(banks(4, |_| 64), (1, 1));
        assert_eq!(banks(4, |lane| lane / 2 * 4), (1, 1));
        // Bytes and halves of one word.
        assert_eq!(banks(1, |lane| lane), (1, 1));
        assert_eq!(banks(2, |lane| lane * 2), (1, 1));
        assert_eq!(banks(2, |lane| lane * 4), (1, 1));
        // A word of each lane's own, two lanes to a bank.
        assert_eq!(banks(2, |lane| lane * 8), (1, 2));
    }

    #[test]
    fn wide_accesses_are_served_in_halves_and_quarters() {
        assert_eq!(banks(8, |lane| lane * 8), (2, 2));
        assert_eq!(banks(16, |lane| lane * 16), (4, 4));
        // Gaps between vectors: lanes 0 and 8 of a half, 0 and 4 of a quarter meet.
        assert_eq!(banks(8, |lane| lane * 16), (2, 4));
        assert_eq!(banks(16, |lane| lane * 32), (4, 8));
        // A pad of one vector after every row of eight.
        assert_eq!(banks(16, |lane| (lane % 8) * 144), (4, 4));
        assert_eq!(banks(16, |lane| (lane % 8) * 128), (4, 32));
        assert_eq!(banks(16, |_| 32), (4, 4));
        // Only quarters that have lanes count.
        assert_eq!(wavefronts(&std::array::from_fn(|lane| lane * 16), 0xff00_0001, 16), (2, 2));
        assert_eq!(wavefronts(&std::array::from_fn(|lane| lane * 8), 1 << 31, 8), (1, 1));
    }
}
