//! Layouts of candle as rows that a launch can walk.

use crate::error::TensorError;
use candle_core::Layout;
use warpnorm::Role;

/// Rows of a matrix: so many, each of so many parts of `hidden` elements, in elements of the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) count: usize,
    pub(crate) parts: usize,
    pub(crate) hidden: usize,
    /// Where the first row starts in the storage.
    pub(crate) offset: usize,
    pub(crate) row_stride: usize,
    pub(crate) part_stride: usize,
}

impl Rows {
    /// The starts of all parts of all rows in the storage, in the order of the tensor's elements.
    pub(crate) fn starts(&self) -> impl Iterator<Item = usize> {
        let Rows { count, parts, offset, row_stride, part_stride, .. } = *self;
        (0..count).flat_map(move |row| (0..parts).map(move |part| offset + row * row_stride + part * part_stride))
    }

    /// The same rows, one after the other.
    pub(crate) fn packed(self) -> Self {
        Self { offset: 0, row_stride: self.parts * self.hidden, part_stride: self.hidden, ..self }
    }
}

/// What the dimensions before the last one are to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Rows of one stride.
    Rows,
    /// Rows of one stride, or rows of parts where no one stride leads through all of them.
    RowsOrParts,
    /// The last of them is the heads of a row.
    Heads,
    /// Rows of one stride whose elements are so many groups.
    Groups(usize),
}

impl Form {
    const fn wanted(self) -> &'static str {
        match self {
            Form::Rows | Form::Groups(_) => "one row stride apart, each behind the one before",
            Form::RowsOrParts => "one row stride apart, or two nested ones, each row behind the one before",
            Form::Heads => "one row stride apart, with the heads of each one head stride apart",
        }
    }
}

/// The rows of a view.
pub(crate) fn rows(role: Role, layout: &Layout, form: Form) -> Result<Rows, TensorError> {
    let (dims, strides) = (layout.dims(), layout.stride());
    let (Some((&last, leading)), Some((&last_stride, leading_strides))) = (dims.split_last(), strides.split_last())
    else {
        return Err(TensorError::Scalar { role });
    };
    if last > 1 && last_stride != 1 && leading.iter().all(|&dim| dim > 0) {
        return Err(TensorError::LastStride { role, stride: last_stride });
    }
    let refused = || TensorError::Rows { role, shape: dims.to_vec(), strides: strides.to_vec(), wanted: form.wanted() };

    let (leading, heads) = match (form, leading.split_last()) {
        (Form::Heads, Some((&heads, rows))) => (rows, Some(heads)),
        (Form::Heads, None) => return Err(TensorError::Heads { role, shape: dims.to_vec() }),
        _ => (leading, None),
    };
    let (parts, hidden) = match form {
        Form::Groups(groups) if groups == 0 || last % groups != 0 => {
            return Err(TensorError::Groups { hidden: last, groups });
        }
        Form::Groups(groups) => (groups, last / groups),
        _ => (heads.unwrap_or(1), last),
    };
    let count = leading.iter().product();
    let rows = Rows { count, parts, hidden, offset: layout.start_offset(), row_stride: 0, part_stride: 0 };
    if count > 0 && heads == Some(0) {
        // Such rows have no elements, but they are rows: a launch of them would be one of heads that are not there.
        return Err(TensorError::NoHeads { role, shape: dims.to_vec() });
    }
    if layout.shape().elem_count() == 0 {
        // No row is read, or rows of nothing, which are refused; there may be no heads of no rows, though.
        return Ok(Rows { parts: parts.max(1), ..rows }.packed());
    }

    let levels = levels(leading, leading_strides);
    let rows = match (form, heads, &levels[..]) {
        (Form::Heads, Some(heads), [] | [_]) => {
            // A single head, or a single row, has no neighbour and so no stride.
            let part_stride = if heads > 1 { leading_strides[leading.len()] } else { hidden };
            let row = (heads - 1) * part_stride + hidden;
            Rows { part_stride, row_stride: levels.first().map_or(row, |level| level.stride), ..rows }
        }
        (_, None, []) => rows.packed_at(layout.start_offset()),
        (_, None, [level]) => Rows { row_stride: level.stride, part_stride: hidden, ..rows },
        (Form::RowsOrParts, None, [outer, inner]) => {
            Rows { count: outer.count, parts: inner.count, row_stride: outer.stride, part_stride: inner.stride, ..rows }
        }
        _ => return Err(refused()),
    };
    // Broadcast or reversed order: rows that lie over one another, or in front of the one before.
    let row = (rows.parts - 1).checked_mul(rows.part_stride).and_then(|start| start.checked_add(hidden));
    let apart = rows.parts == 1 || rows.part_stride >= hidden;
    let behind = rows.count == 1 || row.is_some_and(|row| rows.row_stride >= row);
    if apart && behind { Ok(rows) } else { Err(refused()) }
}

impl Rows {
    fn packed_at(self, offset: usize) -> Self {
        Self { offset, ..self.packed() }
    }
}

/// Equal steps through memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    count: usize,
    stride: usize,
}

/// The dimensions, outermost first, those of them as one that one stride leads through. Dimensions of one have none.
fn levels(dims: &[usize], strides: &[usize]) -> Vec<Level> {
    let mut levels: Vec<Level> = Vec::with_capacity(dims.len());
    for (&count, &stride) in dims.iter().zip(strides).filter(|&(&dim, _)| dim != 1) {
        match levels.last_mut() {
            Some(outer) if stride.checked_mul(count) == Some(outer.stride) => {
                *outer = Level { count: outer.count * count, stride };
            }
            _ => levels.push(Level { count, stride }),
        }
    }
    levels
}

/// Where a vector of so many elements starts.
pub(crate) fn vector(role: Role, layout: &Layout, wanted: usize) -> Result<usize, TensorError> {
    let dims = layout.dims();
    if dims != [wanted] {
        return Err(TensorError::Shape { role, given: dims.to_vec(), wanted: vec![wanted] });
    }
    match layout.stride() {
        &[stride] if stride != 1 && wanted > 1 => Err(TensorError::LastStride { role, stride }),
        _ => Ok(layout.start_offset()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Shape;

    fn layout(dims: &[usize], strides: &[usize], offset: usize) -> Layout {
        Layout::new(Shape::from(dims), strides.to_vec(), offset)
    }

    fn of(dims: &[usize], strides: &[usize], form: Form) -> Result<Rows, TensorError> {
        rows(Role::X, &layout(dims, strides, 7), form)
    }

    fn made(count: usize, parts: usize, hidden: usize, row_stride: usize, part_stride: usize) -> Rows {
        Rows { count, parts, hidden, offset: 7, row_stride, part_stride }
    }

    #[test]
    fn dimensions_that_one_stride_leads_through_are_rows() {
        for (dims, strides, wanted) in [
            (&[8][..], &[1][..], made(1, 1, 8, 8, 8)),
            (&[3, 8], &[8, 1], made(3, 1, 8, 8, 8)),
            (&[3, 8], &[20, 1], made(3, 1, 8, 20, 8)),
            (&[2, 3, 8], &[60, 20, 1], made(6, 1, 8, 20, 8)),
            (&[2, 1, 3, 8], &[60, 999, 20, 1], made(6, 1, 8, 20, 8)),
            (&[1, 8], &[0, 1], made(1, 1, 8, 8, 8)),
            // Rows of one element, as far apart as columns of a matrix are.
            (&[3, 1], &[5, 9], made(3, 1, 1, 5, 1)),
        ] {
            for form in [Form::Rows, Form::RowsOrParts] {
                assert_eq!(of(dims, strides, form), Ok(wanted), "{dims:?} {strides:?}");
            }
        }
    }

    #[test]
    fn two_nested_strides_are_rows_of_parts_where_those_will_do() {
        // A narrowed sequence: the first of four tokens is left out.
        let (dims, strides) = (&[2, 3, 8][..], &[32, 8, 1][..]);
        assert_eq!(of(dims, strides, Form::RowsOrParts), Ok(made(2, 3, 8, 32, 8)));
        assert!(matches!(of(dims, strides, Form::Rows), Err(TensorError::Rows { .. })));
        // Three do not.
        let narrowed_twice = of(&[2, 3, 4, 8], &[1000, 100, 20, 1], Form::RowsOrParts);
        assert!(matches!(narrowed_twice, Err(TensorError::Rows { .. })));
    }

    #[test]
    fn heads_are_the_last_dimension_but_one() {
        // 4 heads of 8 in rows of 64, side by side; and every second one.
        assert_eq!(of(&[2, 3, 4, 8], &[192, 64, 8, 1], Form::Heads), Ok(made(6, 4, 8, 64, 8)));
        assert_eq!(of(&[2, 3, 4, 8], &[192, 64, 16, 1], Form::Heads), Ok(made(6, 4, 8, 64, 16)));
        assert_eq!(of(&[4, 8], &[8, 1], Form::Heads), Ok(made(1, 4, 8, 32, 8)));
        assert_eq!(of(&[3, 1, 8], &[64, 5, 1], Form::Heads), Ok(made(3, 1, 8, 64, 8)));
        assert_eq!(of(&[8], &[1], Form::Heads), Err(TensorError::Heads { role: Role::X, shape: vec![8] }));
        // Transposed: heads are further apart than rows.
        assert!(matches!(of(&[3, 4, 8], &[8, 24, 1], Form::Heads), Err(TensorError::Rows { .. })));
    }

    #[test]
    fn rows_have_heads() {
        for dims in [&[5, 0, 8][..], &[2, 3, 0, 8], &[0, 8]] {
            let refused = Err(TensorError::NoHeads { role: Role::X, shape: dims.to_vec() });
            assert_eq!(of(dims, &vec![8; dims.len()], Form::Heads), refused, "{dims:?}");
        }
        // Of no rows nothing is read, whatever their heads.
        for dims in [&[0, 4, 8][..], &[0, 0, 8], &[3, 0, 4, 8]] {
            let rows = of(dims, &vec![8; dims.len()], Form::Heads).expect("nothing to walk");
            assert_eq!((rows.count, rows.hidden), (0, 8), "{dims:?}");
        }
    }

    #[test]
    fn groups_divide_the_last_dimension() {
        assert_eq!(of(&[3, 8], &[20, 1], Form::Groups(2)), Ok(made(3, 2, 4, 20, 4)));
        for groups in [0, 3] {
            assert_eq!(of(&[3, 8], &[8, 1], Form::Groups(groups)), Err(TensorError::Groups { hidden: 8, groups }));
        }
    }

    #[test]
    fn views_that_no_launch_walks_are_refused() {
        assert_eq!(of(&[], &[], Form::Rows), Err(TensorError::Scalar { role: Role::X }));
        assert_eq!(of(&[3, 8], &[1, 3], Form::Rows), Err(TensorError::LastStride { role: Role::X, stride: 3 }));
        // Broadcast rows; rows in transposed order; rows that overlap.
        for (dims, strides) in [(&[3, 8][..], &[0, 1][..]), (&[3, 2, 8], &[8, 24, 1]), (&[3, 8], &[7, 1])] {
            for form in [Form::Rows, Form::RowsOrParts] {
                assert!(matches!(of(dims, strides, form), Err(TensorError::Rows { .. })), "{dims:?} {strides:?}");
            }
        }
    }

    #[test]
    fn where_there_is_no_element_any_stride_will_do() {
        for dims in [&[0, 8][..], &[2, 0, 8], &[3, 0]] {
            let strides = vec![3; dims.len()];
            let rows = of(dims, &strides, Form::RowsOrParts).expect("nothing to walk");
            assert_eq!(rows.count * rows.hidden, 0);
        }
    }

    #[test]
    fn starts_are_in_the_order_of_the_tensor() {
        let starts: Vec<usize> = made(2, 3, 8, 64, 10).starts().collect();
        assert_eq!(starts, [7, 17, 27, 71, 81, 91]);
    }
}
