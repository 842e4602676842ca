//! How rows lie in a buffer, and the heads or groups in them.

use crate::call::{Matrix, Span, extent};
use crate::{CallError, RawRows, Role};

/// How rows of heads, or of groups, lie in a buffer; all in elements.
///
/// ```
/// use warpnorm::cuda::PartLayout;
///
/// // Packed projections of 512 tokens: 32 heads of Q, then 8 of K and 8 of V, of 128 elements each.
/// let row = (32 + 8 + 8) * 128;
/// let q = PartLayout::packed(512, 32, 128).with_row_stride(row);
/// let k = PartLayout::packed(512, 8, 128).with_row_stride(row).starting_at(32 * 128);
/// assert_eq!((q.part_stride, k.start), (128, 4096));
/// // The key of every head behind its query, as GPT-NeoX packs them.
/// let keys = PartLayout::packed(512, 32, 128).with_part_stride(3 * 128).starting_at(128);
/// assert_eq!(keys.row_stride, 32 * 3 * 128);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartLayout {
    /// Number of rows.
    pub rows: usize,
    /// Heads, or groups, of a row.
    pub count: usize,
    /// Elements of a head or group.
    pub hidden: usize,
    /// Where the first head of the first row starts.
    pub start: usize,
    /// From one row to the next.
    pub row_stride: usize,
    /// From one head or group of a row to the next.
    pub part_stride: usize,
}

impl PartLayout {
    /// So many heads or groups of `hidden` elements side by side, and rows without gaps from the buffer's start.
    pub const fn packed(rows: usize, count: usize, hidden: usize) -> Self {
        Self { rows, count, hidden, start: 0, row_stride: count.saturating_mul(hidden), part_stride: hidden }
    }

    /// With heads or groups this far apart, and rows without gaps.
    #[must_use]
    pub const fn with_part_stride(mut self, stride: usize) -> Self {
        self.part_stride = stride;
        self.row_stride = self.count.saturating_mul(stride);
        self
    }

    /// With rows this far apart.
    #[must_use]
    pub const fn with_row_stride(mut self, stride: usize) -> Self {
        self.row_stride = stride;
        self
    }

    /// That starts further in.
    #[must_use]
    pub const fn starting_at(mut self, start: usize) -> Self {
        self.start = start;
        self
    }
}

/// A layout that was checked against the length of its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) rows: usize,
    /// Elements of a row, or of each of its parts.
    pub(super) hidden: usize,
    /// From one row to the next.
    pub(super) stride: usize,
    /// Where the first row starts.
    pub(super) start: usize,
    /// Parts of a row.
    pub(super) count: usize,
    /// From one part to the next.
    pub(super) part_stride: usize,
}

impl Shape {
    pub(super) fn contiguous(length: usize, hidden: usize) -> Result<Self, CallError> {
        if hidden == 0 {
            return Err(CallError::Hidden { given: hidden });
        }
        if !length.is_multiple_of(hidden) {
            return Err(CallError::PartialRow { given: length, hidden });
        }
        Ok(Self::of_rows(length / hidden, hidden, hidden))
    }

    pub(super) fn strided(length: usize, rows: usize, hidden: usize, stride: usize) -> Result<Self, CallError> {
        Self::of_rows(rows, hidden, stride).within(length)
    }

    pub(super) fn of_parts(length: usize, layout: PartLayout) -> Result<Self, CallError> {
        let PartLayout { rows, count, hidden, start, row_stride, part_stride } = layout;
        Self { rows, hidden, stride: row_stride, start, count, part_stride }.within(length)
    }

    /// Whole rows from the start of a buffer.
    const fn of_rows(rows: usize, hidden: usize, stride: usize) -> Self {
        Self { rows, hidden, stride, start: 0, count: 1, part_stride: hidden }
    }

    /// Checks that a buffer of this length holds the rows.
    fn within(self, length: usize) -> Result<Self, CallError> {
        let Self { rows, hidden, stride, start, count, part_stride } = self;
        let too_large = CallError::TooLarge { rows, stride };
        let row = extent(count, hidden, part_stride).ok_or(too_large.clone())?;
        let elements = extent(rows, row, stride).ok_or(too_large.clone())?;
        // Where there are no rows nothing is read, wherever it would start. Rows without elements, which calls refuse,
        // still start somewhere, and an address is made of that.
        let wanted = if rows == 0 { 0 } else { elements.checked_add(start).ok_or(too_large)? };
        if length < wanted {
            return Err(CallError::Buffer { given: length, wanted, rows, hidden: row, stride });
        }
        Ok(self)
    }

    /// The rows of a buffer that starts at this address, of elements of so many bytes.
    pub(super) fn raw(self, address: u64, size: usize) -> RawRows {
        // Where there are no rows, nothing says that the start is in the buffer.
        let start = if self.rows == 0 { 0 } else { self.start * size };
        RawRows { address: address + start as u64, stride: self.stride }
    }

    /// What it spans of a buffer of one-byte elements that starts at address 1.
    fn span(self) -> Result<Option<Span>, CallError> {
        let Self { rows, hidden, stride, start, count, part_stride } = self;
        let placed = RawRows { address: (start as u64).saturating_add(1), stride };
        Matrix { role: Role::Y, rows: placed, count, part_stride, hidden, size: 1 }.span(rows)
    }
}

/// Checks that a buffer of this length holds all of them, and that no two share an element.
pub(super) fn check_disjoint<const N: usize>(length: usize, layouts: [PartLayout; N]) -> Result<[Shape; N], CallError> {
    let mut shapes = [Shape::of_rows(0, 0, 0); N];
    let mut spans = [None; N];
    for (second, layout) in layouts.into_iter().enumerate() {
        shapes[second] = Shape::of_parts(length, layout)?;
        let Some(span) = shapes[second].span()? else { continue };
        let overlaps = |other: &Option<Span>| other.is_some_and(|other| span.overlaps(&other));
        if let Some(first) = spans[..second].iter().position(overlaps) {
            return Err(CallError::NotDisjoint { first, second });
        }
        spans[second] = Some(span);
    }
    Ok(shapes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_rows(rows: usize, hidden: usize, stride: usize) -> Shape {
        Shape { rows, hidden, stride, start: 0, count: 1, part_stride: hidden }
    }

    #[test]
    fn contiguous_rows_divide_the_buffer() {
        assert_eq!(Shape::contiguous(12, 4), Ok(of_rows(3, 4, 4)));
        assert_eq!(Shape::contiguous(0, 4), Ok(of_rows(0, 4, 4)));
        assert_eq!(Shape::contiguous(13, 4), Err(CallError::PartialRow { given: 13, hidden: 4 }));
        assert_eq!(Shape::contiguous(13, 0), Err(CallError::Hidden { given: 0 }));
    }

    #[test]
    fn strided_rows_need_no_gap_after_the_last() {
        // Three rows of 4, 10 apart: the last ends at 2·10 + 4.
        assert_eq!(Shape::strided(24, 3, 4, 10), Ok(of_rows(3, 4, 10)));
        let short = CallError::Buffer { given: 23, wanted: 24, rows: 3, hidden: 4, stride: 10 };
        assert_eq!(Shape::strided(23, 3, 4, 10), Err(short));
        assert_eq!(Shape::strided(0, 0, 4, 10), Ok(of_rows(0, 4, 10)));
        let rows = usize::MAX / 2;
        assert_eq!(Shape::strided(24, rows, 4, 10), Err(CallError::TooLarge { rows, stride: 10 }));
    }

    #[test]
    fn heads_end_with_the_last_of_the_last_row() {
        // Two heads of 4 at 6 and 6 + 5 of rows of 20: row 2 starts at 46, its second head ends at 46 + 5 + 4.
        let layout = PartLayout::packed(3, 2, 4).with_part_stride(5).with_row_stride(20).starting_at(6);
        let shape = Shape { rows: 3, hidden: 4, stride: 20, start: 6, count: 2, part_stride: 5 };
        assert_eq!(Shape::of_parts(55, layout), Ok(shape));
        let short = CallError::Buffer { given: 54, wanted: 55, rows: 3, hidden: 9, stride: 20 };
        assert_eq!(Shape::of_parts(54, layout), Err(short));
    }

    #[test]
    fn heads_past_the_address_space_are_refused() {
        let huge = usize::MAX / 2;
        for layout in [
            PartLayout::packed(1, huge, 4),
            PartLayout::packed(huge, 4, 4),
            PartLayout::packed(1, 2, 4).starting_at(usize::MAX),
            PartLayout::packed(1, 2, usize::MAX),
        ] {
            assert!(matches!(Shape::of_parts(100, layout), Err(CallError::TooLarge { .. })), "{layout:?}");
        }
        assert!(Shape::of_parts(0, PartLayout::packed(0, 4, 4).starting_at(usize::MAX)).is_ok());
    }

    #[test]
    fn rows_of_nothing_start_in_their_buffer() {
        for empty in [PartLayout::packed(1, 0, 4), PartLayout::packed(2, 3, 0)] {
            assert!(Shape::of_parts(100, empty.starting_at(100)).is_ok(), "{empty:?}");
            for start in [101, usize::MAX] {
                let refused = Shape::of_parts(100, empty.starting_at(start));
                let wanted = |error: &CallError| matches!(error, CallError::Buffer { given: 100, wanted, .. } if *wanted == start);
                assert!(refused.as_ref().is_err_and(wanted), "{refused:?}");
            }
        }
    }

    /// Packed projections: heads of Q, then of K, then of V.
    fn packed(rows: usize, from: usize, count: usize) -> PartLayout {
        PartLayout::packed(rows, count, 8).with_row_stride(12 * 8).starting_at(from * 8)
    }

    #[test]
    fn heads_of_packed_projections_are_disjoint() {
        fn refused<const N: usize>(length: usize, layouts: [PartLayout; N]) -> CallError {
            check_disjoint(length, layouts).expect_err("they share elements")
        }

        let length = 5 * 12 * 8;
        let layouts = [packed(5, 0, 6), packed(5, 6, 3), packed(5, 9, 3)];
        let shapes = check_disjoint(length, layouts).expect("they lie side by side");
        assert_eq!(shapes.map(|shape| (shape.start, shape.count)), [(0, 6), (48, 3), (72, 3)]);
        // One head more of Q is the first of K; V goes on past its row into the next one's Q.
        let not = |first, second| CallError::NotDisjoint { first, second };
        assert_eq!(refused(length, [packed(5, 0, 7), packed(5, 6, 3)]), not(0, 1));
        assert_eq!(refused(length, [packed(5, 6, 3), packed(5, 0, 7)]), not(0, 1));
        assert_eq!(refused(length, [packed(5, 6, 3), packed(4, 0, 3), packed(4, 10, 3)]), not(1, 2));
        assert_eq!(refused(length, [packed(5, 2, 3), packed(5, 2, 3)]), not(0, 1));
        let message = refused(length, [packed(5, 2, 3); 2]).to_string();
        assert!(message.contains("0 and 1"), "{message}");
    }

    #[test]
    fn heads_may_lie_between_one_another() {
        // Query, key and value of each head side by side, for one row and for several.
        let head = |rows, at: usize| PartLayout::packed(rows, 4, 8).with_part_stride(24).starting_at(8 * at);
        for rows in [1, 3] {
            assert!(check_disjoint(rows * 4 * 24, [head(rows, 0), head(rows, 1), head(rows, 2)]).is_ok(), "{rows}");
            let wider = PartLayout { hidden: 9, ..head(rows, 1) };
            let refused = Err(CallError::NotDisjoint { first: 0, second: 1 });
            assert_eq!(check_disjoint(rows * 4 * 24, [wider, head(rows, 2)]), refused, "{rows}");
        }
    }

    #[test]
    fn disjoint_rows_fit_their_buffer_and_do_not_overlap_themselves() {
        let short = CallError::Buffer { given: 479, wanted: 480, rows: 5, hidden: 24, stride: 96 };
        assert_eq!(check_disjoint(479, [packed(5, 0, 6), packed(5, 9, 3)]), Err(short));
        let rows = packed(5, 0, 6).with_row_stride(47);
        assert!(matches!(check_disjoint(480, [rows]), Err(CallError::Stride { given: 47, hidden: 48, .. })));
        let heads = packed(5, 0, 6).with_part_stride(7);
        assert!(matches!(check_disjoint(480, [heads]), Err(CallError::PartStride { given: 7, hidden: 8, .. })));
        // No rows lie nowhere.
        assert!(check_disjoint(0, [packed(0, 0, 6), packed(0, usize::MAX / 8, 6)]).is_ok());
    }
}
