//! What can be passed as device memory: cudarc's slices and views.

use cudarc::driver::{CudaSlice, CudaView, CudaViewMut};

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
