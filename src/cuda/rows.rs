//! Rows of cudarc's slices and views: a buffer with its number of rows, hidden size and stride.

use crate::call::extent;
use crate::{CallError, Element, RawRows};
use cudarc::driver::{CudaSlice, CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, SyncOnDrop};

mod sealed {
    use cudarc::driver::{CudaSlice, CudaView, CudaViewMut};

    pub trait Sealed {}
    impl<E> Sealed for &CudaSlice<E> {}
    impl<E> Sealed for &mut CudaSlice<E> {}
    impl<E> Sealed for CudaView<'_, E> {}
    impl<E> Sealed for &CudaView<'_, E> {}
    impl<E> Sealed for CudaViewMut<'_, E> {}
    impl<E> Sealed for &CudaViewMut<'_, E> {}
    impl<E> Sealed for &mut CudaViewMut<'_, E> {}
}

/// What can be read as device memory: `&CudaSlice`, `CudaView`, `&CudaView` and `&CudaViewMut`.
pub trait IntoView<'a>: sealed::Sealed {
    /// The type of its elements.
    type Element;

    /// The whole of it as a view.
    fn into_view(self) -> CudaView<'a, Self::Element>;
}

impl<'a, E> IntoView<'a> for &'a CudaSlice<E> {
    type Element = E;

    fn into_view(self) -> CudaView<'a, E> {
        self.as_view()
    }
}

impl<'a, E> IntoView<'a> for CudaView<'a, E> {
    type Element = E;

    fn into_view(self) -> CudaView<'a, E> {
        self
    }
}

impl<'a, E> IntoView<'a> for &CudaView<'a, E> {
    type Element = E;

    fn into_view(self) -> CudaView<'a, E> {
        self.slice(..)
    }
}

impl<'a, E> IntoView<'a> for &'a CudaViewMut<'_, E> {
    type Element = E;

    fn into_view(self) -> CudaView<'a, E> {
        self.as_view()
    }
}

/// What can be written as device memory: `&mut CudaSlice`, `CudaViewMut` and `&mut CudaViewMut`.
pub trait IntoViewMut<'a>: sealed::Sealed {
    /// The type of its elements.
    type Element;

    /// The whole of it as a view.
    fn into_view_mut(self) -> CudaViewMut<'a, Self::Element>;
}

impl<'a, E> IntoViewMut<'a> for &'a mut CudaSlice<E> {
    type Element = E;

    fn into_view_mut(self) -> CudaViewMut<'a, E> {
        self.as_view_mut()
    }
}

impl<'a, E> IntoViewMut<'a> for CudaViewMut<'a, E> {
    type Element = E;

    fn into_view_mut(self) -> CudaViewMut<'a, E> {
        self
    }
}

impl<'a, E> IntoViewMut<'a> for &'a mut CudaViewMut<'_, E> {
    type Element = E;

    fn into_view_mut(self) -> CudaViewMut<'a, E> {
        self.slice_mut(..)
    }
}

/// Number of rows, hidden size and stride of a buffer, checked against its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) rows: usize,
    pub(super) hidden: usize,
    pub(super) stride: usize,
}

impl Shape {
    pub(super) fn contiguous(length: usize, hidden: usize) -> Result<Self, CallError> {
        if hidden == 0 {
            return Err(CallError::Hidden { given: hidden });
        }
        if !length.is_multiple_of(hidden) {
            return Err(CallError::PartialRow { given: length, hidden });
        }
        Ok(Self { rows: length / hidden, hidden, stride: hidden })
    }

    pub(super) fn strided(length: usize, rows: usize, hidden: usize, stride: usize) -> Result<Self, CallError> {
        let wanted = extent(rows, hidden, stride).ok_or(CallError::TooLarge { rows, stride })?;
        if length < wanted {
            return Err(CallError::Buffer { given: length, wanted, rows, hidden, stride });
        }
        Ok(Self { rows, hidden, stride })
    }
}

/// Rows to read: `rows × hidden` elements of device memory, each row `stride` elements after the one
/// before.
#[derive(Debug)]
pub struct Rows<'a, E> {
    view: CudaView<'a, E>,
    pub(super) shape: Shape,
}

impl<'a, E: Element> Rows<'a, E> {
    /// All of a buffer as rows of `hidden` elements without gaps.
    ///
    /// # Errors
    /// [`CallError::Hidden`] for a hidden size of 0, [`CallError::PartialRow`] where the buffer is not a
    /// whole number of rows.
    pub fn contiguous(data: impl IntoView<'a, Element = E>, hidden: usize) -> Result<Self, CallError> {
        let view = data.into_view();
        Ok(Self { shape: Shape::contiguous(view.len(), hidden)?, view })
    }

    /// The start of a buffer as `rows` rows of `hidden` elements, `stride` elements apart: a batch of
    /// heads in packed projections, say. For rows that start further in, slice the buffer first.
    ///
    /// # Errors
    /// [`CallError::Buffer`] where the buffer ends before the last row does, [`CallError::TooLarge`]
    /// where the shape overflows. That rows do not overlap is checked by the call.
    pub fn strided(
        data: impl IntoView<'a, Element = E>,
        rows: usize,
        hidden: usize,
        stride: usize,
    ) -> Result<Self, CallError> {
        let view = data.into_view();
        Ok(Self { shape: Shape::strided(view.len(), rows, hidden, stride)?, view })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.shape.rows
    }

    /// Elements of a row.
    pub fn hidden(&self) -> usize {
        self.shape.hidden
    }

    /// From one row to the next, in elements.
    pub fn stride(&self) -> usize {
        self.shape.stride
    }

    pub(super) fn stream(&self) -> &CudaStream {
        cudarc::driver::DeviceSlice::stream(&self.view)
    }

    /// The address for the raw face. The guard is to be dropped after the launch.
    pub(super) fn raw<'s>(&'s self, stream: &'s CudaStream) -> (RawRows, SyncOnDrop<'s>) {
        let (address, guard) = self.view.device_ptr(stream);
        (RawRows { address, stride: self.shape.stride }, guard)
    }
}

impl<E> Clone for Rows<'_, E> {
    fn clone(&self) -> Self {
        Self { view: self.view.slice(..), shape: self.shape }
    }
}

/// Rows to write, or to work on in place; as [`Rows`], and borrowed for that alone.
#[derive(Debug)]
pub struct RowsMut<'a, E> {
    view: CudaViewMut<'a, E>,
    pub(super) shape: Shape,
}

impl<'a, E: Element> RowsMut<'a, E> {
    /// All of a buffer as rows of `hidden` elements without gaps.
    ///
    /// # Errors
    /// As [`Rows::contiguous`].
    pub fn contiguous(data: impl IntoViewMut<'a, Element = E>, hidden: usize) -> Result<Self, CallError> {
        let view = data.into_view_mut();
        Ok(Self { shape: Shape::contiguous(view.len(), hidden)?, view })
    }

    /// The start of a buffer as `rows` rows of `hidden` elements, `stride` elements apart. What lies
    /// between the rows is left as it is.
    ///
    /// # Errors
    /// As [`Rows::strided`].
    pub fn strided(
        data: impl IntoViewMut<'a, Element = E>,
        rows: usize,
        hidden: usize,
        stride: usize,
    ) -> Result<Self, CallError> {
        let view = data.into_view_mut();
        Ok(Self { shape: Shape::strided(view.len(), rows, hidden, stride)?, view })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.shape.rows
    }

    /// Elements of a row.
    pub fn hidden(&self) -> usize {
        self.shape.hidden
    }

    /// From one row to the next, in elements.
    pub fn stride(&self) -> usize {
        self.shape.stride
    }

    /// The same rows, to read.
    pub fn as_rows(&self) -> Rows<'_, E> {
        Rows { view: self.view.as_view(), shape: self.shape }
    }

    pub(super) fn reborrow(&mut self) -> RowsMut<'_, E> {
        RowsMut { view: self.view.slice_mut(..), shape: self.shape }
    }

    pub(super) fn stream(&self) -> &CudaStream {
        cudarc::driver::DeviceSlice::stream(&self.view)
    }

    /// The address for the raw face. The guard is to be dropped after the launch.
    pub(super) fn raw_mut<'s>(&'s mut self, stream: &'s CudaStream) -> (RawRows, SyncOnDrop<'s>) {
        let stride = self.shape.stride;
        let (address, guard) = self.view.device_ptr_mut(stream);
        (RawRows { address, stride }, guard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contiguous_rows_divide_the_buffer() {
        assert_eq!(Shape::contiguous(12, 4), Ok(Shape { rows: 3, hidden: 4, stride: 4 }));
        assert_eq!(Shape::contiguous(0, 4), Ok(Shape { rows: 0, hidden: 4, stride: 4 }));
        assert_eq!(Shape::contiguous(13, 4), Err(CallError::PartialRow { given: 13, hidden: 4 }));
        assert_eq!(Shape::contiguous(13, 0), Err(CallError::Hidden { given: 0 }));
    }

    #[test]
    fn strided_rows_need_no_gap_after_the_last() {
        // Three rows of 4, 10 apart: the last ends at 2·10 + 4.
        assert_eq!(Shape::strided(24, 3, 4, 10), Ok(Shape { rows: 3, hidden: 4, stride: 10 }));
        let short = CallError::Buffer { given: 23, wanted: 24, rows: 3, hidden: 4, stride: 10 };
        assert_eq!(Shape::strided(23, 3, 4, 10), Err(short));
        assert_eq!(Shape::strided(0, 0, 4, 10), Ok(Shape { rows: 0, hidden: 4, stride: 10 }));
        let rows = usize::MAX / 2;
        assert_eq!(Shape::strided(24, rows, 4, 10), Err(CallError::TooLarge { rows, stride: 10 }));
    }
}
