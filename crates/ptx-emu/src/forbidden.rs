//! Bytes of an allocation that the host has put out of use.

use std::ops::Range;

/// A set of byte offsets as sorted ranges that neither touch nor overlap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forbidden {
    ranges: Vec<Range<usize>>,
}

impl Forbidden {
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Adds a range.
    pub(crate) fn insert(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        let first = self.ranges.partition_point(|old| old.end < range.start);
        let last = self.ranges.partition_point(|old| old.start <= range.end);
        let merged =
            self.ranges[first..last].iter().fold(range, |all, old| all.start.min(old.start)..all.end.max(old.end));
        self.ranges.splice(first..last, [merged]);
    }

    /// The lowest offset of the range that is in the set.
    pub(crate) fn first_in(&self, range: Range<usize>) -> Option<usize> {
        let candidate = self.ranges.get(self.ranges.partition_point(|old| old.end <= range.start))?;
        let first = candidate.start.max(range.start);
        (first < range.end).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge() {
        let mut set = Forbidden::default();
        for range in [10..20, 40..50, 20..22, 5..5, 30..35, 33..41] {
            set.insert(range);
        }
        assert_eq!(set.ranges, [10..22, 30..50]);
        set.insert(0..60);
        assert!(matches!(set.ranges[..], [Range { start: 0, end: 60 }]));
    }

    #[test]
    fn the_first_offset_inside() {
        let mut set = Forbidden::default();
        assert_eq!(set.first_in(0..100), None);
        set.insert(10..20);
        set.insert(30..40);
        assert_eq!(set.first_in(0..10), None);
        assert_eq!(set.first_in(0..11), Some(10));
        assert_eq!(set.first_in(15..16), Some(15));
        assert_eq!(set.first_in(20..30), None);
        assert_eq!(set.first_in(20..31), Some(30));
        assert_eq!(set.first_in(40..99), None);
        assert_eq!(set.first_in(12..12), None);
    }
}
