//! The safe face: a norm of cudarc's slices and views.

use super::codes::ScaleView;
use super::launch::Operands;
use super::{CodesMut, IntoView, IntoViewMut, Kernels, Rows, RowsMut, ScaleElement};
use crate::{DType, Element, Error, Norm, ParameterOf, RawVector};
use cudarc::driver::{CudaStream, CudaView, CudaViewMut};

/// A norm about to be run: [`Kernels::norm`], the tensors that it takes beside x, then
/// [`run`](Self::run), [`run_in_place`](Self::run_in_place) or, for the codes of y alone,
/// [`run_quantised`](Self::run_quantised).
///
/// `E` is the activation type and follows from x. What is written is borrowed mutably, so that a call
/// whose output aliases what it reads does not compile:
///
/// ```compile_fail,E0502
/// # use cudarc::driver::{CudaSlice, CudaStream};
/// # use warpnorm::{Norm, cuda::{Kernels, Rows, RowsMut}};
/// # fn f(kernels: &Kernels, stream: &CudaStream, mut data: CudaSlice<f32>) -> Result<(), warpnorm::Error> {
/// let x = Rows::contiguous(&data, 768)?;
/// let mut y = RowsMut::contiguous(&mut data, 768)?;
/// kernels.norm(&Norm::rms_norm(1e-6)).run(stream, &x, &mut y)
/// # }
/// ```
///
/// The same into a buffer of its own, or in place, does:
///
/// ```no_run
/// # use cudarc::driver::{CudaSlice, CudaStream};
/// # use warpnorm::{Norm, cuda::{Kernels, Rows, RowsMut}};
/// # fn f(kernels: &Kernels, stream: &CudaStream, mut data: CudaSlice<f32>, mut other: CudaSlice<f32>) -> Result<(), warpnorm::Error> {
/// let x = Rows::contiguous(&data, 768)?;
/// let mut y = RowsMut::contiguous(&mut other, 768)?;
/// kernels.norm(&Norm::rms_norm(1e-6)).run(stream, &x, &mut y)?;
///
/// let mut x = RowsMut::contiguous(&mut data, 768)?;
/// kernels.norm(&Norm::rms_norm(1e-6)).run_in_place(stream, &mut x)
/// # }
/// ```
///
/// Nor does a weight of a type that does not go with the activations:
///
/// ```compile_fail,E0308
/// # use cudarc::driver::{CudaSlice, CudaStream};
/// # use half::{bf16, f16};
/// # use warpnorm::{Norm, cuda::{Kernels, RowsMut}};
/// # fn f(kernels: &Kernels, stream: &CudaStream, mut data: CudaSlice<bf16>, weight: CudaSlice<f16>) -> Result<(), warpnorm::Error> {
/// let mut x = RowsMut::contiguous(&mut data, 768)?;
/// kernels.norm(&Norm::rms_norm(1e-6)).weight(&weight).run_in_place(stream, &mut x)
/// # }
/// ```
///
/// Nor a residual that is at once the output:
///
/// ```compile_fail,E0499
/// # use cudarc::driver::{CudaSlice, CudaStream};
/// # use warpnorm::{Norm, ResidualAdd, cuda::{Kernels, Rows, RowsMut}};
/// # fn f(kernels: &Kernels, stream: &CudaStream, data: CudaSlice<f32>, mut other: CudaSlice<f32>) -> Result<(), warpnorm::Error> {
/// let norm = Norm::rms_norm(1e-6).with_residual_add(ResidualAdd::default());
/// let x = Rows::contiguous(&data, 768)?;
/// let mut y = RowsMut::contiguous(&mut other, 768)?;
/// kernels.norm(&norm).residual_in_place(&mut y).run(stream, &x, &mut y)
/// # }
/// ```
///
/// # Quantised outputs
/// A norm [with a quantisation](Norm::with_quantisation) writes [`codes`](Self::codes), and
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
#[must_use = "nothing is launched until the call is run"]
#[derive(Debug)]
pub struct NormCall<'a, E> {
    pub(super) kernels: &'a Kernels,
    pub(super) norm: Norm,
    pub(super) weight: Option<Parameter<'a>>,
    pub(super) bias: Option<Parameter<'a>>,
    pub(super) linear_bias: Option<Parameter<'a>>,
    pub(super) gate: Option<Rows<'a, E>>,
    pub(super) residual: Residual<'a, E>,
    pub(super) mean: Option<CudaViewMut<'a, f32>>,
    pub(super) rstd: Option<CudaViewMut<'a, f32>>,
    pub(super) codes: Option<CodesMut<'a>>,
    pub(super) scales: Option<ScaleView<'a>>,
    pub(super) tensor_scale: Option<CudaView<'a, f32>>,
}

/// The residual stream of a call.
#[derive(Debug)]
pub(super) enum Residual<'a, E> {
    None,
    Read(Rows<'a, E>),
    Into(Rows<'a, E>, RowsMut<'a, E>),
    InPlace(RowsMut<'a, E>),
}

/// A weight or bias of any type.
#[derive(Debug)]
pub(super) struct Parameter<'a> {
    pub(super) bytes: CudaView<'a, u8>,
    pub(super) dtype: DType,
    pub(super) length: usize,
}

impl<'a> Parameter<'a> {
    fn new<W: Element>(view: CudaView<'a, W>) -> Self {
        let length = view.len();
        // SAFETY: any bytes are valid as u8; the view serves for its address and its events alone.
        let bytes = unsafe { view.transmute::<u8>(length * size_of::<W>()) };
        let bytes = bytes.expect("a view has the bytes of its elements");
        Self { bytes, dtype: W::DTYPE, length }
    }

    pub(super) fn raw(&self, address: u64) -> RawVector {
        RawVector { address, dtype: self.dtype }
    }
}

impl<'a, E: Element> NormCall<'a, E> {
    pub(super) fn new(kernels: &'a Kernels, norm: Norm) -> Self {
        Self {
            kernels,
            norm,
            weight: None,
            bias: None,
            linear_bias: None,
            gate: None,
            residual: Residual::None,
            mean: None,
            rstd: None,
            codes: None,
            scales: None,
            tensor_scale: None,
        }
    }

    /// With γ, `hidden` elements of the activation type or f32.
    pub fn weight<W: ParameterOf<E>>(mut self, weight: impl IntoView<'a, Element = W>) -> Self {
        self.weight = Some(Parameter::new(weight.into_view()));
        self
    }

    /// With β, `hidden` elements of the activation type or f32; of the weight's type, where there is
    /// one.
    pub fn bias<W: ParameterOf<E>>(mut self, bias: impl IntoView<'a, Element = W>) -> Self {
        self.bias = Some(Parameter::new(bias.into_view()));
        self
    }

    /// With the bias of the Linear that x comes from, `hidden` elements, which is added with the residual; where
    /// the Linear has not added it itself.
    pub fn linear_bias(mut self, bias: impl IntoView<'a, Element = E>) -> Self {
        self.linear_bias = Some(Parameter::new(bias.into_view()));
        self
    }

    /// With the gate z, shaped as x: the result is multiplied by its activation. The norm has to say which by
    /// [`Norm::with_gate`]. On packed `[gate | up]` rows, gate and x are two strided views of one buffer:
    ///
    /// ```no_run
    /// # use cudarc::driver::{CudaSlice, CudaStream};
    /// # use half::bf16;
    /// # use warpnorm::{Activation, Norm, cuda::{Kernels, Rows, RowsMut}};
    /// # fn f(kernels: &Kernels, stream: &CudaStream, packed: CudaSlice<bf16>, mut out: CudaSlice<bf16>, rows: usize) -> Result<(), warpnorm::Error> {
    /// let hidden = 14336;
    /// let gate = Rows::strided(&packed, rows, hidden, 2 * hidden)?;
    /// let up = packed.slice(hidden..);
    /// let up = Rows::strided(&up, rows, hidden, 2 * hidden)?;
    /// let mut y = RowsMut::contiguous(&mut out, hidden)?;
    /// kernels.norm(&Norm::activation(Activation::SILU)).gate(&gate).run(stream, &up, &mut y)
    /// # }
    /// ```
    pub fn gate(mut self, gate: &Rows<'a, E>) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// With a residual stream, shaped as x, that is added and not stored. The norm has to say so by
    /// [`Norm::with_residual_add`]. Replaces the residual of an earlier call.
    pub fn residual(mut self, residual: &Rows<'a, E>) -> Self {
        self.residual = Residual::Read(residual.clone());
        self
    }

    /// As [`residual`](Self::residual), and the sum is stored in `out`, shaped as x.
    pub fn residual_out(mut self, residual: &Rows<'a, E>, out: &'a mut RowsMut<'_, E>) -> Self {
        self.residual = Residual::Into(residual.clone(), out.reborrow());
        self
    }

    /// As [`residual`](Self::residual), and the sum is stored in its place.
    pub fn residual_in_place(mut self, residual: &'a mut RowsMut<'_, E>) -> Self {
        self.residual = Residual::InPlace(residual.reborrow());
        self
    }

    /// Stores the mean of every row, one f32 a row; LayerNorm only.
    pub fn mean(mut self, mean: impl IntoViewMut<'a, Element = f32>) -> Self {
        self.mean = Some(mean.into_view_mut());
        self
    }

    /// Stores the reciprocal standard deviation (LayerNorm) or reciprocal root mean square (RMSNorm)
    /// of every row, one f32 a row.
    pub fn rstd(mut self, rstd: impl IntoViewMut<'a, Element = f32>) -> Self {
        self.rstd = Some(rstd.into_view_mut());
        self
    }

    /// Stores the codes of y: as many rows as x has, of
    /// [`row_bytes`](crate::quantise::Quantisation::row_bytes) each. The norm has to say how y is quantised by
    /// [`Norm::with_quantisation`].
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

    /// Normalises x into y, of the same shape, on this stream, and quantises it where the norm does. Returns
    /// as soon as the launch is queued.
    ///
    /// # Errors
    /// [`Error::Call`] where tensors do not fit the norm or one another,
    /// [`CudaError::WrongDevice`](super::CudaError::WrongDevice) and
    /// [`CudaError::WrongContext`](super::CudaError::WrongContext) where they or the kernels are in another
    /// context than the stream, and those of [`Kernels::launch_raw`].
    pub fn run(self, stream: &CudaStream, x: &Rows<'_, E>, y: &mut RowsMut<'_, E>) -> Result<(), Error> {
        self.launch(stream, Operands::Apart(x, y))
    }

    /// Normalises x in its place on this stream. Returns as soon as the launch is queued.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_in_place(self, stream: &CudaStream, x: &mut RowsMut<'_, E>) -> Result<(), Error> {
        self.launch(stream, Operands::InPlace(x))
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
