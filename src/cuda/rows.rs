//! Rows of cudarc's slices and views: a buffer with its number of rows, hidden size and strides.

use super::layout::{PartLayout, Shape, check_disjoint};
use super::{IntoView, IntoViewMut};
use crate::{CallError, Element, RawRows};
use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, SyncOnDrop};
use std::ptr;

/// Rows to read: `rows × hidden` elements of device memory, each row `stride` elements after the one
/// before. Where the norm is of heads or of groups, a row has several of `hidden` elements.
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

    /// Rows of heads, or of groups.
    ///
    /// # Errors
    /// As [`strided`](Self::strided).
    pub fn parts(data: impl IntoView<'a, Element = E>, layout: PartLayout) -> Result<Self, CallError> {
        let view = data.into_view();
        Ok(Self { shape: Shape::of_parts(view.len(), layout)?, view })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.shape.rows
    }

    /// Elements of a row, or of each head or group of a row.
    pub fn hidden(&self) -> usize {
        self.shape.hidden
    }

    /// Heads or groups of a row; 1 where it is whole.
    pub fn count(&self) -> usize {
        self.shape.count
    }

    /// From one row to the next, in elements.
    pub fn stride(&self) -> usize {
        self.shape.stride
    }

    pub(super) fn stream(&self) -> &CudaStream {
        cudarc::driver::DeviceSlice::stream(&self.view)
    }

    pub(super) fn view(&self) -> CudaView<'a, E> {
        self.view.slice(..)
    }

    /// The address for the raw face. The guard is to be dropped after the launch.
    pub(super) fn raw<'s>(&'s self, stream: &'s CudaStream) -> (RawRows, SyncOnDrop<'s>) {
        let (address, guard) = self.view.device_ptr(stream);
        (self.shape.raw(address, size_of::<E>()), guard)
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
    /// Of it, only what belongs to the rows may be read or written: the views of [`disjoint`](Self::disjoint) rows
    /// overlap.
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

    /// Rows of heads, or of groups. What lies between them is left as it is.
    ///
    /// # Errors
    /// As [`strided`](Self::strided).
    pub fn parts(data: impl IntoViewMut<'a, Element = E>, layout: PartLayout) -> Result<Self, CallError> {
        let view = data.into_view_mut();
        Ok(Self { shape: Shape::of_parts(view.len(), layout)?, view })
    }

    /// Several of one buffer, which may lie between one another and share no element: the heads of Q and those of K
    /// in packed projections, say.
    ///
    /// ```no_run
    /// # use cudarc::driver::CudaSlice;
    /// # use half::bf16;
    /// # use warpnorm::cuda::{PartLayout, RowsMut};
    /// # fn f(mut qkv: CudaSlice<bf16>, rows: usize) -> Result<(), warpnorm::CallError> {
    /// let (q_heads, k_heads, v_heads, hidden) = (32, 8, 8, 128);
    /// let row = (q_heads + k_heads + v_heads) * hidden;
    /// let q = PartLayout::packed(rows, q_heads, hidden).with_row_stride(row);
    /// let k = PartLayout::packed(rows, k_heads, hidden).with_row_stride(row).starting_at(q_heads * hidden);
    /// let [mut q, mut k] = RowsMut::disjoint(&mut qkv, [q, k])?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`parts`](Self::parts); [`CallError::Stride`](crate::CallError::Stride) or
    /// [`CallError::PartStride`](crate::CallError::PartStride) where the rows or the heads of one overlap, and
    /// [`CallError::NotDisjoint`] where two share an element, or lie between one another in steps of which none is
    /// a multiple of the other.
    pub fn disjoint<const N: usize>(
        data: impl IntoViewMut<'a, Element = E>,
        layouts: [PartLayout; N],
    ) -> Result<[Self; N], CallError> {
        let view = data.into_view_mut();
        let shapes = check_disjoint(view.len(), layouts)?;
        Ok(shapes.map(|shape| {
            // SAFETY: a view is an address and borrows of the slice's events, and frees nothing. The slice stays
            // borrowed mutably for 'a by all of the copies; each is used for its own rows alone, which share no
            // element with the others', as was just checked, and none is handed out.
            let view = unsafe { ptr::read(&raw const view) };
            Self { view, shape }
        }))
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.shape.rows
    }

    /// Elements of a row, or of each head or group of a row.
    pub fn hidden(&self) -> usize {
        self.shape.hidden
    }

    /// Heads or groups of a row; 1 where it is whole.
    pub fn count(&self) -> usize {
        self.shape.count
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
        let shape = self.shape;
        let (address, guard) = self.view.device_ptr_mut(stream);
        (shape.raw(address, size_of::<E>()), guard)
    }
}
