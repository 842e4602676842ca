//! Codes and scales of y.

use super::NormCall;
use crate::cuda::codes::ScaleView;
use crate::cuda::launch::Operands;
use crate::cuda::{CodesMut, IntoView, IntoViewMut, Rows, ScaleElement};
use crate::{Element, Error};
use cudarc::driver::CudaStream;

/// Quantised outputs.
///
/// A norm [with a quantisation](crate::Norm::with_quantisation) writes [`codes`](Self::codes), and
/// [`scales`](Self::scales) unless it [takes](crate::quantise::Scaling::takes_tensor_scale) a
/// [`tensor_scale`](Self::tensor_scale) instead; NVFP4 has both. y is stored as well where there is one.
///
/// ```no_run
/// # use cudarc::driver::{CudaSlice, CudaStream};
/// # use half::bf16;
/// # use warpnorm::{Norm, cuda::{CodesMut, Kernels, Rows}};
/// # use warpnorm::quantise::{CodeType, Quantisation};
/// # fn f(kernels: &Kernels, stream: &CudaStream, data: CudaSlice<bf16>, mut codes: CudaSlice<u8>, mut scales: CudaSlice<f32>) -> Result<(), warpnorm::Error> {
/// let fp8 = Quantisation::per_token(CodeType::E4m3);
/// let norm = Norm::rms_norm(1e-6).with_quantisation(fp8);
/// let x = Rows::contiguous(&data, 4096)?;
/// let mut codes = CodesMut::contiguous(&mut codes, fp8.row_bytes(4096))?;
/// kernels.norm(&norm).codes(&mut codes).scales(&mut scales).run_quantised(stream, &x)
/// # }
/// ```
///
/// Neither codes nor scales can lie in a buffer that is read, or in each other's:
///
/// ```compile_fail,E0499
/// # use cudarc::driver::{CudaSlice, CudaStream};
/// # use half::bf16;
/// # use warpnorm::{Norm, cuda::{CodesMut, Kernels, Rows}};
/// # use warpnorm::quantise::Quantisation;
/// # fn f(kernels: &Kernels, stream: &CudaStream, data: CudaSlice<bf16>, mut bytes: CudaSlice<u8>) -> Result<(), warpnorm::Error> {
/// let norm = Norm::rms_norm(1e-6).with_quantisation(Quantisation::mxfp8());
/// let x = Rows::contiguous(&data, 4096)?;
/// let mut codes = CodesMut::contiguous(&mut bytes, 4096)?;
/// kernels.norm(&norm).codes(&mut codes).scales(&mut bytes).run_quantised(stream, &x)
/// # }
/// ```
///
/// Codes are bytes, and scales f32 or bytes; which of them the quantisation wants, the call checks:
///
/// ```compile_fail,E0277
/// # use cudarc::driver::CudaSlice;
/// # use half::f16;
/// # use warpnorm::cuda::CodesMut;
/// # fn f(mut codes: CudaSlice<f16>) {
/// let codes = CodesMut::contiguous(&mut codes, 4096);
/// # }
/// ```
///
/// ```compile_fail,E0277
/// # use cudarc::driver::CudaSlice;
/// # use half::f16;
/// # use warpnorm::{Norm, cuda::{CodesMut, Kernels}};
/// # fn f(kernels: &Kernels, norm: &Norm, mut scales: CudaSlice<f16>) {
/// let call = kernels.norm::<f16>(norm).scales(&mut scales);
/// # }
/// ```
///
/// The scale that is given is one f32:
///
/// ```compile_fail,E0271
/// # use cudarc::driver::CudaSlice;
/// # use half::f16;
/// # use warpnorm::{Norm, cuda::{CodesMut, Kernels}};
/// # fn f(kernels: &Kernels, norm: &Norm, scale: CudaSlice<f16>) {
/// let call = kernels.norm::<f16>(norm).tensor_scale(&scale);
/// # }
/// ```
impl<'a, E: Element> NormCall<'a, E> {
    /// Stores the codes of y: as many rows as x has, of
    /// [`row_bytes`](crate::quantise::Quantisation::row_bytes) each. The norm has to say how y is quantised by
    /// [`Norm::with_quantisation`](crate::Norm::with_quantisation).
    pub fn codes(mut self, codes: &'a mut CodesMut<'_>) -> Self {
        self.codes = Some(codes.reborrow());
        self
    }

    /// Stores the scales of the codes, [`scale_count`](crate::quantise::Quantisation::scale_count) of them, laid
    /// out as the quantisation says: f32 where [their type](crate::quantise::Scaling::scale_type) is, and u8
    /// where it is UE8M0 or e4m3.
    pub fn scales<S: ScaleElement>(mut self, scales: impl IntoViewMut<'a, Element = S>) -> Self {
        self.scales = Some(ScaleView::new(scales.into_view_mut()));
        self
    }

    /// With the scale of all of the tensor, one f32 that is read when the launch runs: the scale itself with
    /// [`PerTensor`](crate::quantise::Scaling::PerTensor), the global one of
    /// [`Nvfp4`](crate::quantise::Scaling::Nvfp4).
    pub fn tensor_scale(mut self, scale: impl IntoView<'a, Element = f32>) -> Self {
        self.tensor_scale = Some(scale.into_view());
        self
    }

    /// Normalises x and stores y as [`codes`](Self::codes) alone, on this stream. Returns as soon as the launch
    /// is queued.
    ///
    /// # Errors
    /// As [`run`](Self::run); [`CallError::Absent`](crate::CallError::Absent) where the norm does not quantise,
    /// and so needs a y.
    pub fn run_quantised(self, stream: &CudaStream, x: &Rows<'_, E>) -> Result<(), Error> {
        self.launch(stream, Operands::Quantised(x))
    }
}
