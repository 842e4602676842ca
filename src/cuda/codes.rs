//! Codes and scales of cudarc's slices and views: what a norm that quantises writes.

use super::IntoViewMut;
use super::layout::Shape;
use crate::quantise::{CodeType, ScaleType};
use crate::{CallError, RawCodes, Role};
use cudarc::driver::{CudaStream, CudaViewMut, DevicePtrMut, DeviceSlice, SyncOnDrop};

mod sealed {
    use super::{CodeView, ScaleView};
    use cudarc::driver::CudaViewMut;

    pub trait Code: Sized + 'static {
        fn wrap(view: CudaViewMut<'_, Self>) -> CodeView<'_>;
    }

    pub trait Scale: Sized + 'static {
        fn wrap(view: CudaViewMut<'_, Self>) -> ScaleView<'_>;
    }
}

/// A Rust type of one byte that codes can be stored as: `u8` for every
/// [code type](crate::quantise::CodeType), `i8` for [int8](crate::quantise::CodeType::Int8).
///
/// A slice of another one-byte type, such as those of the crate float8, can be viewed as `u8` by cudarc's
/// `transmute_mut`.
pub trait CodeByte: sealed::Code {}

impl CodeByte for u8 {}
impl CodeByte for i8 {}

/// A Rust type that scales can be stored as: `f32`, and `u8` for
/// [UE8M0](crate::quantise::ScaleType::Ue8m0) and [e4m3](crate::quantise::ScaleType::E4m3) scales.
pub trait ScaleElement: sealed::Scale {}

impl ScaleElement for f32 {}
impl ScaleElement for u8 {}

#[derive(Debug)]
pub enum CodeView<'a> {
    U8(CudaViewMut<'a, u8>),
    I8(CudaViewMut<'a, i8>),
}

impl sealed::Code for u8 {
    fn wrap(view: CudaViewMut<'_, u8>) -> CodeView<'_> {
        CodeView::U8(view)
    }
}

impl sealed::Code for i8 {
    fn wrap(view: CudaViewMut<'_, i8>) -> CodeView<'_> {
        CodeView::I8(view)
    }
}

/// Rows of codes to write: so many bytes of device memory a row, each row `stride` bytes after the one
/// before.
///
/// A row of codes has [`Quantisation::row_bytes`](crate::quantise::Quantisation::row_bytes) bytes: as many as
/// a row of x has elements, or half of that with [e2m1](crate::quantise::CodeType::E2m1).
#[derive(Debug)]
pub struct CodesMut<'a> {
    view: CodeView<'a>,
    pub(super) shape: Shape,
}

impl<'a> CodesMut<'a> {
    /// All of a buffer as rows of `row_bytes` bytes without gaps.
    ///
    /// # Errors
    /// [`CallError::Hidden`] for rows of 0 bytes, [`CallError::PartialRow`] where the buffer is not a whole
    /// number of rows.
    pub fn contiguous<B: CodeByte>(
        data: impl IntoViewMut<'a, Element = B>,
        row_bytes: usize,
    ) -> Result<Self, CallError> {
        let view = data.into_view_mut();
        Ok(Self { shape: Shape::contiguous(view.len(), row_bytes)?, view: B::wrap(view) })
    }

    /// The start of a buffer as `rows` rows of `row_bytes` bytes, `stride` bytes apart. What lies between the
    /// rows is left as it is.
    ///
    /// # Errors
    /// [`CallError::Buffer`] where the buffer ends before the last row does, [`CallError::TooLarge`] where the
    /// shape overflows. That rows do not overlap is checked by the call.
    pub fn strided<B: CodeByte>(
        data: impl IntoViewMut<'a, Element = B>,
        rows: usize,
        row_bytes: usize,
        stride: usize,
    ) -> Result<Self, CallError> {
        let view = data.into_view_mut();
        Ok(Self { shape: Shape::strided(view.len(), rows, row_bytes, stride)?, view: B::wrap(view) })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.shape.rows
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.shape.hidden
    }

    /// From one row to the next, in bytes.
    pub fn stride(&self) -> usize {
        self.shape.stride
    }

    pub(super) fn reborrow(&mut self) -> CodesMut<'_> {
        let view = match &mut self.view {
            CodeView::U8(view) => CodeView::U8(view.slice_mut(..)),
            CodeView::I8(view) => CodeView::I8(view.slice_mut(..)),
        };
        CodesMut { view, shape: self.shape }
    }

    pub(super) fn stream(&self) -> &CudaStream {
        match &self.view {
            CodeView::U8(view) => view.stream(),
            CodeView::I8(view) => view.stream(),
        }
    }

    /// That codes of this type can be stored as the buffer's.
    pub(super) fn check_type(&self, code: CodeType) -> Result<(), CallError> {
        let given = match &self.view {
            CodeView::U8(_) => return Ok(()),
            CodeView::I8(_) => "i8",
        };
        check_code_type(given, code)
    }

    /// The address for the raw face. The guard is to be dropped after the launch.
    pub(super) fn raw_mut<'s>(&'s mut self, stream: &'s CudaStream) -> (RawCodes, SyncOnDrop<'s>) {
        let stride = self.shape.stride;
        let (address, guard) = match &mut self.view {
            CodeView::U8(view) => view.device_ptr_mut(stream),
            CodeView::I8(view) => view.device_ptr_mut(stream),
        };
        (RawCodes { address, stride }, guard)
    }
}

fn check_code_type(given: &'static str, code: CodeType) -> Result<(), CallError> {
    if code == CodeType::Int8 {
        return Ok(());
    }
    Err(CallError::StoredType { role: Role::Codes, stored: code.name(), given, wanted: "u8" })
}

/// The buffer of a call's scales.
#[derive(Debug)]
pub enum ScaleView<'a> {
    F32(CudaViewMut<'a, f32>),
    U8(CudaViewMut<'a, u8>),
}

impl sealed::Scale for f32 {
    fn wrap(view: CudaViewMut<'_, f32>) -> ScaleView<'_> {
        ScaleView::F32(view)
    }
}

impl sealed::Scale for u8 {
    fn wrap(view: CudaViewMut<'_, u8>) -> ScaleView<'_> {
        ScaleView::U8(view)
    }
}

impl<'a> ScaleView<'a> {
    pub(super) fn new<S: ScaleElement>(view: CudaViewMut<'a, S>) -> Self {
        S::wrap(view)
    }

    /// Number of scales that it holds.
    pub(super) fn len(&self) -> usize {
        match self {
            ScaleView::F32(view) => view.len(),
            ScaleView::U8(view) => view.len(),
        }
    }

    pub(super) fn stream(&self) -> &CudaStream {
        match self {
            ScaleView::F32(view) => view.stream(),
            ScaleView::U8(view) => view.stream(),
        }
    }

    /// That scales of this type can be stored in it.
    pub(super) fn check_type(&self, scale: ScaleType) -> Result<(), CallError> {
        let given = match self {
            ScaleView::F32(_) => "f32",
            ScaleView::U8(_) => "u8",
        };
        check_scale_type(given, scale)
    }

    pub(super) fn device_ptr_mut<'s>(&'s mut self, stream: &'s CudaStream) -> (u64, SyncOnDrop<'s>) {
        match self {
            ScaleView::F32(view) => view.device_ptr_mut(stream),
            ScaleView::U8(view) => view.device_ptr_mut(stream),
        }
    }
}

fn check_scale_type(given: &'static str, scale: ScaleType) -> Result<(), CallError> {
    let wanted = match scale {
        ScaleType::F32 => "f32",
        ScaleType::Ue8m0 | ScaleType::E4m3 => "u8",
    };
    if given == wanted {
        return Ok(());
    }
    Err(CallError::StoredType { role: Role::Scales, stored: scale.name(), given, wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_bytes_are_for_int8_alone() {
        for code in CodeType::ALL {
            let checked = check_code_type("i8", code);
            assert_eq!(checked.is_ok(), code == CodeType::Int8, "{code}");
        }
        let message = check_code_type("i8", CodeType::E4m3).expect_err("not int8").to_string();
        assert_eq!(message, "codes is a buffer of i8, wanted u8 for e4m3");
    }

    #[test]
    fn scales_are_stored_as_what_they_are() {
        for (given, scale, stored) in [
            ("f32", ScaleType::F32, true),
            ("u8", ScaleType::F32, false),
            ("f32", ScaleType::Ue8m0, false),
            ("u8", ScaleType::Ue8m0, true),
            ("f32", ScaleType::E4m3, false),
            ("u8", ScaleType::E4m3, true),
        ] {
            assert_eq!(check_scale_type(given, scale).is_ok(), stored, "{scale} in {given}");
        }
        let message = check_scale_type("u8", ScaleType::F32).expect_err("not bytes").to_string();
        assert_eq!(message, "scales is a buffer of u8, wanted f32 for f32");
    }
}
