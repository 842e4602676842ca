//! What has been done to every byte of a memory.
//!
//! Pages come into being when they are touched. A page's cells are as wide as its narrowest access
//! so far: accesses are aligned to their size, so none ever touches a part of a cell. A cell keeps
//! every access that a later one could race with: those that a later access of no fewer conflicts
//! knows of are dropped, which leaves one write and one read as a rule.

use super::clock::{TIME_BITS, View};
use std::collections::HashMap;
use std::ops::Range;

const PC_BITS: u32 = 18;
/// A cluster has up to 16 CTAs of up to 32 warps.
const WARP_BITS: u32 = 10;
const KIND_BITS: u32 = 3;
const _: () = assert!(TIME_BITS + PC_BITS + WARP_BITS + KIND_BITS < u64::BITS);

/// Instructions that a kernel may have, calls inlined: so many can a touch tell apart.
pub(crate) const MAX_CODE: usize = 1 << PC_BITS;

/// How far an access that may meet others like it reaches. Weak accesses may meet none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strength {
    Weak,
    Cta,
    Cluster,
    Gpu,
}

/// A warp's access by one instruction at one time, packed; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Touch(u64);

impl Touch {
    pub(super) fn new(time: u32, pc: u32, warp: usize, writes: bool, strength: Strength) -> Touch {
        let kind = strength as u64 | u64::from(writes) << 2;
        let place = (u64::from(time) << PC_BITS | u64::from(pc)) << WARP_BITS | warp as u64;
        Touch(place << KIND_BITS | kind)
    }

    pub(super) fn time(self) -> u32 {
        (self.0 >> (KIND_BITS + WARP_BITS + PC_BITS)) as u32
    }

    pub(super) fn pc(self) -> u32 {
        (self.0 >> (KIND_BITS + WARP_BITS)) as u32 & ((1 << PC_BITS) - 1)
    }

    pub(super) fn warp(self) -> usize {
        (self.0 >> KIND_BITS) as usize & ((1 << WARP_BITS) - 1)
    }

    fn writes(self) -> bool {
        self.0 & 4 != 0
    }

    fn strength(self) -> u64 {
        self.0 & 3
    }

    /// Whether the two conflict where nothing orders them.
    fn conflicts(self, now: Touch, view: &View<'_>) -> bool {
        if !self.writes() && !now.writes() {
            return false;
        }
        let strength = self.strength().min(now.strength());
        if strength == Strength::Weak as u64 {
            return true;
        }
        let same_cta = || self.warp() / view.warps_per_cta == now.warp() / view.warps_per_cta;
        let needed = match self.time() {
            time if time < view.start => Strength::Gpu,
            _ if same_cta() => Strength::Cta,
            _ => Strength::Cluster,
        };
        strength < needed as u64
    }

    /// Whether whatever conflicts with the earlier touch conflicts with this one, too. A write does
    /// not stand in for a read: another write of its value races with the read alone.
    fn replaces(self, earlier: Touch) -> bool {
        self.writes() == earlier.writes() && self.strength() <= earlier.strength()
    }
}

/// A touch, and the lanes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub touch: Touch,
    pub lanes: u32,
}

/// The entries of a cell, or where there are more.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    touches: [Touch; 2],
    lanes: [u32; 2],
}

/// Stands in for the second touch of a cell whose entries are in a list; the second set of lanes is
/// the list's index.
const LISTED: Touch = Touch(u64::MAX);

#[derive(Clone, Debug)]
struct Page {
    /// Bytes of a cell, as a power of two.
    shift: u32,
    cells: Vec<Cell>,
}

const PAGE_SHIFT: u32 = 12;
const PAGE_BYTES: u64 = 1 << PAGE_SHIFT;
/// Slots of the table of pages found last.
const FOUND: usize = 64;

/// An access that nothing orders with an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    /// The earlier one, and those of its lanes.
    pub earlier: Entry,
    /// The bytes that both touch.
    pub address: u64,
    pub bytes: u32,
}

/// What has been done to a memory.
#[derive(Clone, Debug)]
pub(crate) struct Shadow {
    /// What was done before this time does not matter.
    birth: u32,
    pages: Vec<Page>,
    index: HashMap<u64, u32>,
    /// Page number and index, by the low bits of the number.
    found: [(u64, u32); FOUND],
    lists: Vec<Vec<Entry>>,
    unused: Vec<u32>,
}

impl Default for Shadow {
    fn default() -> Shadow {
        Shadow {
            birth: 0,
            pages: Vec::new(),
            index: HashMap::new(),
            found: [(u64::MAX, 0); FOUND],
            lists: Vec::new(),
            unused: Vec::new(),
        }
    }
}

impl Shadow {
    /// The memory begins anew.
    pub(crate) fn begin(&mut self, time: u32) {
        self.birth = time;
    }

    #[inline(always)]
    fn page(&mut self, number: u64, shift: u32) -> usize {
        let (found, index) = self.found[number as usize % FOUND];
        if found == number && self.pages[index as usize].shift <= shift {
            return index as usize;
        }
        self.look_up(number, shift)
    }

    #[cold]
    fn look_up(&mut self, number: u64, shift: u32) -> usize {
        let next = self.pages.len() as u32;
        let index = *self.index.entry(number).or_insert(next);
        if index == next {
            self.pages.push(Page { shift, cells: vec![Cell::default(); (PAGE_BYTES >> shift) as usize] });
        }
        self.found[number as usize % FOUND] = (number, index);
        if self.pages[index as usize].shift > shift {
            self.refine(index as usize, shift);
        }
        index as usize
    }

    /// Splits the cells of a page.
    fn refine(&mut self, index: usize, shift: u32) {
        let parts = 1 << (self.pages[index].shift - shift);
        let old = std::mem::take(&mut self.pages[index].cells);
        let mut cells = Vec::with_capacity(old.len() * parts);
        for cell in old {
            cells.push(cell);
            for _ in 1..parts {
                let mut copy = cell;
                if cell.touches[1] == LISTED {
                    copy.lanes[1] = self.lists.len() as u32;
                    self.lists.push(self.lists[cell.lanes[1] as usize].clone());
                }
                cells.push(copy);
            }
        }
        self.pages[index] = Page { shift, cells };
    }

    /// Looks for earlier accesses to a range that race with a new one, and records it. `same` says
    /// whether a range of the bytes will hold what it held before.
    ///
    /// The range has a power of two bytes and is aligned.
    pub(super) fn access(
        &mut self,
        view: &View<'_>,
        range: Range<u64>,
        now: Entry,
        same: impl Fn(Range<u64>) -> bool,
    ) -> Option<Conflict> {
        let width = (range.end - range.start).trailing_zeros();
        let index = self.page(range.start >> PAGE_SHIFT, width);
        let shift = self.pages[index].shift;
        let start = (range.start % PAGE_BYTES) >> shift;
        for cell in start..start + (1 << (width - shift)) {
            let address = (range.start & !(PAGE_BYTES - 1)) + (cell << shift);
            let bytes = 1 << shift;
            let cell = &mut self.pages[index].cells[cell as usize];
            if quick(cell, now, view, self.birth) {
                continue;
            }
            let judge = Judge { birth: self.birth, view, now, same: &|| same(address..address + bytes) };
            let conflict = match cell.touches {
                [_, LISTED] => {
                    let list = cell.lanes[1];
                    let entries = &mut self.lists[list as usize];
                    let conflict = judge.list(entries);
                    if let [first, ref rest @ ..] = entries[..]
                        && rest.len() < 2
                    {
                        let second = rest.first().copied().unwrap_or_default();
                        *cell = Cell { touches: [first.touch, second.touch], lanes: [first.lanes, second.lanes] };
                        self.unused.push(list);
                    }
                    conflict
                }
                _ => judge.cell(cell, &mut self.lists, &mut self.unused),
            };
            if let Some(earlier) = conflict {
                return Some(Conflict { earlier, address, bytes: bytes as u32 });
            }
        }
        None
    }

    /// The first recorded access to an aligned range of bytes that the view knows nothing of.
    pub(super) fn unknown(&self, view: &View<'_>, address: u64) -> Option<Entry> {
        let page = &self.pages[*self.index.get(&(address >> PAGE_SHIFT))? as usize];
        let cell = &page.cells[((address % PAGE_BYTES) >> page.shift) as usize];
        let inline = [0, 1].map(|index| Entry { touch: cell.touches[index], lanes: cell.lanes[index] });
        let entries = if cell.touches[1] == LISTED { &self.lists[cell.lanes[1] as usize] } else { &inline[..] };
        let mut live = entries.iter().filter(|entry| entry.touch.time() >= self.birth && entry.touch != Touch(0));
        live.find_map(|entry| {
            let lanes = view.unknown(entry.touch.time(), entry.touch.warp(), entry.lanes, u32::MAX);
            (lanes != 0).then_some(Entry { lanes, ..*entry })
        })
    }
}

/// Records an access to a cell in the commonest cases: nobody has been there, or one whom it replaces,
/// or clusters before read what it reads.
#[inline(always)]
fn quick(cell: &mut Cell, now: Entry, view: &View<'_>, birth: u32) -> bool {
    let [first, second] = cell.touches;
    if second == Touch(0) {
        let alone = first.time() < birth.max(1)
            || now.touch.replaces(first) && first.time() >= view.start && view.knows_whole(first.time(), first.warp());
        if alone {
            (cell.touches[0], cell.lanes[0]) = (now.touch, now.lanes);
        }
        return alone;
    }
    let past =
        second.time() < view.start && now.touch.replaces(second) && second.replaces(first) && !now.touch.writes();
    if past {
        *cell = Cell { touches: [second, now.touch], lanes: [cell.lanes[1], now.lanes] };
    }
    past
}

/// What becomes of an earlier entry.
enum Verdict {
    Races(u32),
    /// Lanes of it that stay.
    Stays(u32),
}

/// A new access, before the entries of a cell.
struct Judge<'a> {
    birth: u32,
    view: &'a View<'a>,
    now: Entry,
    same: &'a dyn Fn() -> bool,
}

impl Judge<'_> {
    fn judge(&self, earlier: Entry) -> Verdict {
        let Judge { birth, view, now, same } = self;
        let (touch, time) = (earlier.touch, earlier.touch.time());
        if time < *birth || touch == Touch(0) {
            return Verdict::Stays(0);
        }
        let unknown = view.unknown(time, touch.warp(), earlier.lanes, now.lanes);
        if unknown != 0 && touch.conflicts(now.touch, view) {
            let excused = touch.writes() && now.touch.writes() && same();
            if !excused {
                return Verdict::Races(unknown);
            }
        }
        if !now.touch.replaces(touch) {
            return Verdict::Stays(earlier.lanes);
        }
        if touch == now.touch {
            return Verdict::Stays(earlier.lanes);
        }
        // A lane knows of itself, even where others do not.
        let own = time >= view.start && touch.warp() == view.warp;
        Verdict::Stays(if own { unknown & !now.lanes } else { unknown })
    }

    /// Whether the later of two entries stands in for the earlier, because both are of clusters that
    /// ran before: whoever comes now or later knows of the earlier one if it knows of the later.
    fn past(&self, earlier: Touch, later: Touch) -> bool {
        later.time() < self.view.start && later.replaces(earlier)
    }

    fn list(&self, list: &mut Vec<Entry>) -> Option<Entry> {
        let mut index = 0;
        while index + 1 < list.len() && list[index + 1].touch.time() < self.view.start {
            let (first, rest) = list[index..].split_first().expect("two are there");
            if rest.iter().any(|later| self.past(first.touch, later.touch)) {
                list.remove(index);
            } else {
                index += 1;
            }
        }
        let mut race = None;
        list.retain_mut(|entry| match self.judge(*entry) {
            Verdict::Races(lanes) => {
                race.get_or_insert(Entry { lanes, ..*entry });
                true
            }
            Verdict::Stays(lanes) => {
                entry.lanes = lanes;
                lanes != 0
            }
        });
        if race.is_none() {
            match list.iter_mut().find(|entry| entry.touch == self.now.touch) {
                Some(entry) => entry.lanes |= self.now.lanes,
                None => list.push(self.now),
            }
        }
        race
    }

    fn cell(&self, cell: &mut Cell, lists: &mut Vec<Vec<Entry>>, unused: &mut Vec<u32>) -> Option<Entry> {
        let mut kept = Cell::default();
        let mut count = 0;
        let mut merged = false;
        let [first, second] = cell.touches;
        let skip = usize::from(second != Touch(0) && self.past(first, second));
        for index in skip..2 {
            let mut entry = Entry { touch: cell.touches[index], lanes: cell.lanes[index] };
            match self.judge(entry) {
                Verdict::Races(lanes) => return Some(Entry { lanes, ..entry }),
                Verdict::Stays(0) => continue,
                Verdict::Stays(lanes) => entry.lanes = lanes,
            }
            if entry.touch == self.now.touch {
                entry.lanes |= self.now.lanes;
                merged = true;
            }
            (kept.touches[count], kept.lanes[count]) = (entry.touch, entry.lanes);
            count += 1;
        }
        if !merged && count < 2 {
            (kept.touches[count], kept.lanes[count]) = (self.now.touch, self.now.lanes);
        } else if !merged {
            let list = unused.pop().unwrap_or_else(|| {
                lists.push(Vec::new());
                lists.len() as u32 - 1
            });
            let entries = [0, 1].map(|index| Entry { touch: kept.touches[index], lanes: kept.lanes[index] });
            let list_entries = &mut lists[list as usize];
            list_entries.clear();
            list_entries.extend(entries);
            list_entries.push(self.now);
            (kept.touches[1], kept.lanes[1]) = (LISTED, list);
        }
        *cell = kept;
        None
    }
}
