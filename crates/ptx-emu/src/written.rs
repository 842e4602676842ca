//! Which bytes of a memory have been written.

use std::ops::Range;

/// A set of byte offsets, one bit each.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByteSet {
    words: Vec<u64>,
}

/// Bits of the range that lie in each word: the word's index and its mask.
fn masks(range: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        if at >= range.end {
            return None;
        }
        let word = at / 64;
        let next = ((word + 1) * 64).min(range.end);
        let mask = (u64::MAX >> (64 - (next - at))) << (at % 64);
        at = next;
        Some((word, mask))
    })
}

impl ByteSet {
    /// The empty set of offsets below `bytes`.
    pub(crate) fn new(bytes: usize) -> ByteSet {
        ByteSet { words: vec![0; bytes.div_ceil(64)] }
    }

    pub(crate) fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Adds a range and returns how many of its offsets are new.
    pub(crate) fn insert(&mut self, range: Range<usize>) -> usize {
        let mut new = 0;
        for (word, mask) in masks(range) {
            new += (mask & !self.words[word]).count_ones() as usize;
            self.words[word] |= mask;
        }
        new
    }

    /// The lowest offset of the range that is not in the set.
    pub(crate) fn first_missing(&self, range: Range<usize>) -> Option<usize> {
        masks(range)
            .map(|(word, mask)| (word, mask & !self.words[word]))
            .find(|(_, missing)| *missing != 0)
            .map(|(word, missing)| word * 64 + missing.trailing_zeros() as usize)
    }
}

/// Bytes of a page: small enough that a row written to a huge tensor costs little, large enough
/// that the list of a huge tensor's pages does too.
const PAGE: usize = 1 << 16;

#[derive(Clone, Debug)]
enum Page {
    Empty,
    Partial { written: ByteSet, left: usize },
    Full,
}

/// Which bytes of an allocation have been written; bits are kept only for pages that are written
/// in part.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    bytes: usize,
    pages: Vec<Page>,
    /// Pages that are not full.
    left: usize,
}

impl Written {
    /// None of `bytes` bytes.
    pub(crate) fn none_of(bytes: usize) -> Written {
        let left = bytes.div_ceil(PAGE);
        Written { bytes, pages: vec![Page::Empty; left], left }
    }

    /// Whether every byte has been written.
    pub(crate) fn is_whole(&self) -> bool {
        self.left == 0
    }

    /// The parts of a range that lie in each page: the page's index, its length, and the part
    /// relative to its start.
    fn parts(&self, range: Range<usize>) -> impl Iterator<Item = (usize, usize, Range<usize>)> + use<> {
        let bytes = self.bytes;
        let pages = if range.is_empty() { 0..0 } else { range.start / PAGE..range.end.div_ceil(PAGE) };
        pages.map(move |page| {
            let start = page * PAGE;
            let length = PAGE.min(bytes - start);
            (page, length, range.start.max(start) - start..range.end.min(start + length) - start)
        })
    }

    /// Records that a range, which must lie inside, has been written.
    pub(crate) fn insert(&mut self, range: Range<usize>) {
        if self.is_whole() {
            return;
        }
        for (index, length, part) in self.parts(range) {
            let page = &mut self.pages[index];
            let full = match page {
                Page::Full => continue,
                _ if part.len() == length => true,
                Page::Empty => {
                    let mut written = ByteSet::new(length);
                    let left = length - written.insert(part);
                    *page = Page::Partial { written, left };
                    false
                }
                Page::Partial { written, left } => {
                    *left -= written.insert(part);
                    *left == 0
                }
            };
            if full {
                *page = Page::Full;
                self.left -= 1;
            }
        }
    }

    /// The lowest offset of a range, which must lie inside, that has not been written.
    pub(crate) fn first_missing(&self, range: Range<usize>) -> Option<usize> {
        if self.is_whole() {
            return None;
        }
        self.parts(range).find_map(|(index, _, part)| {
            let start = index * PAGE;
            match &self.pages[index] {
                Page::Full => None,
                Page::Empty => Some(start + part.start),
                Page::Partial { written, .. } => written.first_missing(part).map(|offset| start + offset),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_across_words() {
        let mut set = ByteSet::new(200);
        assert_eq!(set.insert(60..70), 10);
        assert_eq!(set.insert(0..64), 60);
        assert_eq!(set.first_missing(0..70), None);
        assert_eq!(set.first_missing(0..71), Some(70));
        assert_eq!(set.insert(64..200), 130);
        assert_eq!(set.first_missing(0..200), None);
        assert_eq!(set.first_missing(5..5), None);
        set.clear();
        assert_eq!(set.first_missing(199..200), Some(199));
    }

    #[test]
    fn ranges_across_pages() {
        let bytes = 2 * PAGE + 10;
        let mut written = Written::none_of(bytes);
        written.insert(0..0);
        assert_eq!(written.first_missing(0..bytes), Some(0));
        written.insert(PAGE - 4..2 * PAGE + 1);
        assert_eq!(written.first_missing(PAGE - 4..2 * PAGE + 1), None);
        assert_eq!(written.first_missing(PAGE - 5..PAGE), Some(PAGE - 5));
        assert_eq!(written.first_missing(PAGE..bytes), Some(2 * PAGE + 1));
        written.insert(2 * PAGE + 1..bytes);
        assert!(!written.is_whole());
        written.insert(0..PAGE - 4);
        assert!(written.is_whole());
        assert_eq!(written.first_missing(0..bytes), None);
    }

    #[test]
    fn nothing_is_whole() {
        assert!(Written::none_of(0).is_whole());
        assert_eq!(Written::none_of(0).first_missing(0..0), None);
    }
}
