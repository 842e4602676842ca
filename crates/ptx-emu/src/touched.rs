//! Which bytes of global memory a launch has touched.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

/// Bytes of a page: small enough that a short vector costs little, large enough that a long row takes
/// few of them.
const PAGE: u64 = 1 << 14;
const WORDS: usize = PAGE as usize / 64;

/// A set of addresses, one bit each, in pages that are made where something is touched.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// By address / PAGE.
    index: HashMap<u64, usize, BuildHasherDefault<PageHasher>>,
    pages: Vec<[u64; WORDS]>,
    /// The page found last, and its number.
    last: Option<(u64, usize)>,
}

impl Touched {
    /// Adds a range of addresses and returns how many are new.
    pub(crate) fn insert(&mut self, range: Range<u64>) -> u64 {
        let mut new = 0;
        let mut at = range.start;
        while at < range.end {
            let page = at / PAGE;
            let end = range.end.min((page + 1) * PAGE);
            new += insert_bits(self.page(page), (at % PAGE) as usize, (end - at) as usize);
            at = end;
        }
        new
    }

    /// The same for an access of 1, 2, 4, 8 or 16 bytes at a multiple of its width.
    pub(crate) fn insert_aligned(&mut self, address: u64, bytes: u64) -> u64 {
        let word = &mut self.page(address / PAGE)[(address % PAGE / 64) as usize];
        let mask = ((1 << bytes) - 1) << (address % 64);
        let new = u64::from((mask & !*word).count_ones());
        *word |= mask;
        new
    }

    fn page(&mut self, page: u64) -> &mut [u64; WORDS] {
        let index = match self.last {
            Some((last, index)) if last == page => index,
            _ => {
                let pages = &mut self.pages;
                let index = *self.index.entry(page).or_insert_with(|| {
                    pages.push([0; WORDS]);
                    pages.len() - 1
                });
                self.last = Some((page, index));
                index
            }
        };
        &mut self.pages[index]
    }
}

fn insert_bits(words: &mut [u64; WORDS], start: usize, length: usize) -> u64 {
    let mut new = 0;
    let (mut at, end) = (start, start + length);
    while at < end {
        let bits = (64 - at % 64).min(end - at);
        let mask = u64::MAX >> (64 - bits) << (at % 64);
        let word = &mut words[at / 64];
        new += u64::from((mask & !*word).count_ones());
        *word |= mask;
        at += bits;
    }
    new
}

/// Page numbers come in runs, and allocations lie at multiples of a large power of two: one
/// multiplication by 2^64 / φ spreads both.
#[derive(Default)]
struct PageHasher(u64);

impl Hasher for PageHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_new_once() {
        let mut touched = Touched::default();
        assert_eq!(touched.insert(100..100), 0);
        assert_eq!(touched.insert(100..116), 16);
        assert_eq!(touched.insert(100..116), 0);
        assert_eq!(touched.insert(96..120), 8);
        assert_eq!(touched.insert(0..256), 256 - 24);
    }

    #[test]
    fn aligned_accesses_are_ranges() {
        let (mut touched, mut ranges) = (Touched::default(), Touched::default());
        for (address, bytes) in [(48, 16), (56, 8), (64, 16), (62, 2), (63, 1), (PAGE - 4, 4), (PAGE, 1), (80, 8)] {
            let new = ranges.insert(address..address + bytes);
            assert_eq!(touched.insert_aligned(address, bytes), new, "{bytes} at {address}");
        }
        assert_eq!(touched.pages, ranges.pages);
    }

    #[test]
    fn ranges_across_pages_and_far_apart() {
        let mut touched = Touched::default();
        assert_eq!(touched.insert(PAGE - 3..PAGE + 5), 8);
        assert_eq!(touched.insert(PAGE..PAGE + 6), 1);
        assert_eq!(touched.insert(PAGE - 4..PAGE), 1);
        let far = 1 << 36;
        assert_eq!(touched.insert(far..far + 3 * PAGE), 3 * PAGE);
        assert_eq!(touched.insert(far + 10..far + 3 * PAGE + 1), 1);
        assert_eq!(touched.pages.len(), 6);
    }
}
