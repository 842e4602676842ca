//! The safe face: a norm of cudarc's slices and views.

pub(super) mod parameter;
mod parts;
mod programmatic;
mod quantised;
mod rope;

pub use rope::{PositionElement, RopeTables};

pub(super) use parts::{Second, SecondHeads};
pub(super) use rope::Tables;

use parameter::{Parameter, bytes_of};

use super::codes::ScaleView;
use super::launch::Operands;
use super::{CodesMut, IntoView, IntoViewMut, Kernels, Rows, RowsMut};
use crate::{Element, Error, Norm, ParameterOf, ProgrammaticLaunch};
use cudarc::driver::{CudaStream, CudaView, CudaViewMut};

/// A norm about to be run: [`Kernels::norm`], the tensors that it takes beside x, then
/// [`run`](Self::run), [`run_in_place`](Self::run_in_place), [`run_over_residual`](Self::run_over_residual) or, for
/// the codes of y alone, [`run_quantised`](Self::run_quantised).
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
#[must_use = "nothing is launched until the call is run"]
#[derive(Debug)]
pub struct NormCall<'a, E> {
    pub(super) kernels: &'a Kernels,
    pub(super) norm: Norm,
    pub(super) weight: Option<Parameter<'a>>,
    pub(super) bias: Option<Parameter<'a>>,
    pub(super) linear_bias: Option<Parameter<'a>>,
    pub(super) inner_weight: Option<Parameter<'a>>,
    pub(super) rate: Option<Parameter<'a>>,
    pub(super) gate: Option<Rows<'a, E>>,
    pub(super) residual: Residual<'a, E>,
    pub(super) second: Second<'a, E>,
    pub(super) rope: Option<Tables<'a>>,
    pub(super) mean: Option<CudaViewMut<'a, f32>>,
    pub(super) rstd: Option<CudaViewMut<'a, f32>>,
    pub(super) codes: Option<CodesMut<'a>>,
    pub(super) scales: Option<ScaleView<'a>>,
    pub(super) tensor_scale: Option<CudaView<'a, f32>>,
    pub(super) programmatic_launch: ProgrammaticLaunch,
}

/// The residual stream of a call.
#[derive(Debug)]
pub(super) enum Residual<'a, E> {
    None,
    Read(Rows<'a, E>),
    Into(Rows<'a, E>, RowsMut<'a, E>),
    InPlace(RowsMut<'a, E>),
}

impl<'a, E: Element> NormCall<'a, E> {
    pub(super) fn new(kernels: &'a Kernels, norm: Norm) -> Self {
        Self {
            kernels,
            norm,
            weight: None,
            bias: None,
            linear_bias: None,
            inner_weight: None,
            rate: None,
            gate: None,
            residual: Residual::None,
            second: Second::none(),
            rope: None,
            mean: None,
            rstd: None,
            codes: None,
            scales: None,
            tensor_scale: None,
            programmatic_launch: ProgrammaticLaunch::Off,
        }
    }

    /// With γ, `hidden` elements of the activation type or f32; of all groups one after the other, where the norm is
    /// of groups.
    pub fn weight<W: ParameterOf<E>>(mut self, weight: impl IntoView<'a, Element = W>) -> Self {
        self.weight = Some(Parameter::new(weight.into_view()));
        self
    }

    /// With β, as long as γ, of the activation type or f32; of the weight's type, where there is one.
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

    /// With the γ of the first of two norms, `hidden` elements of the weight's type; where the input is
    /// [`Input::PostNorm`](crate::Input::PostNorm). As Gemma 2 goes from its attention to its MLP: what the attention
    /// puts out is normalised and added to the residual stream, and the sum normalised.
    ///
    /// ```no_run
    /// # use cudarc::driver::{CudaSlice, CudaStream};
    /// # use half::bf16;
    /// # use warpnorm::cuda::{Kernels, Rows, RowsMut};
    /// # use warpnorm::{Input, Norm, PostAdd, PostRounding};
    /// # fn f(kernels: &Kernels, stream: &CudaStream, attention: CudaSlice<bf16>, mut stream_of: CudaSlice<bf16>, post_attention: CudaSlice<bf16>, pre_feedforward: CudaSlice<bf16>, mut out: CudaSlice<bf16>) -> Result<(), warpnorm::Error> {
    /// let hidden = 2304;
    /// let add = PostAdd { scale: 1.0, rounding: PostRounding::Each };
    /// let norm = Norm::rms_norm(1e-6).with_weight_offset(1.0).with_input(Input::PostNorm(add));
    /// let attention = Rows::contiguous(&attention, hidden)?;
    /// let mut residual = RowsMut::contiguous(&mut stream_of, hidden)?;
    /// let mut y = RowsMut::contiguous(&mut out, hidden)?;
    /// // residual ← residual + norm(attention)·(1 + w₁), y ← norm(residual)·(1 + w₂).
    /// let call = kernels.norm(&norm).inner_weight(&post_attention).weight(&pre_feedforward);
    /// call.residual_in_place(&mut residual).run(stream, &attention, &mut y)
    /// # }
    /// ```
    pub fn inner_weight<W: ParameterOf<E>>(mut self, weight: impl IntoView<'a, Element = W>) -> Self {
        self.inner_weight = Some(Parameter::new(weight.into_view()));
        self
    }

    /// With the rates, `hidden` elements of the activation type or f32; where the input is an
    /// [`Input::Interpolation`](crate::Input::Interpolation). nGPT's step of the residual stream towards what a
    /// block puts out, in the stream's place:
    ///
    /// ```no_run
    /// # use cudarc::driver::{CudaSlice, CudaStream};
    /// # use half::bf16;
    /// # use warpnorm::cuda::{Kernels, Rows, RowsMut};
    /// # use warpnorm::{Input, Interpolation, Norm};
    /// # fn f(kernels: &Kernels, stream: &CudaStream, block: CudaSlice<bf16>, mut h: CudaSlice<bf16>, alpha: CudaSlice<f32>) -> Result<(), warpnorm::Error> {
    /// let hidden = 1024;
    /// // α_init 0.05, α_scale 1/√1024.
    /// let step = Interpolation { rate_scale: 0.05 * 32.0 };
    /// let norm = Norm::l2_norm().with_input(Input::Interpolation(step));
    /// let block = Rows::contiguous(&block, hidden)?;
    /// kernels.norm(&norm).rate(&alpha).run_over_residual(stream, &block, &mut RowsMut::contiguous(&mut h, hidden)?)
    /// # }
    /// ```
    pub fn rate<W: ParameterOf<E>>(mut self, rate: impl IntoView<'a, Element = W>) -> Self {
        self.rate = Some(Parameter::new(rate.into_view()));
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

    /// With a residual stream, shaped as x, that is read and not stored. The norm has to take one: by
    /// [`Norm::with_residual_add`] or another [input](crate::Input::takes_residual), or by [`Norm::with_post_add`].
    /// Replaces the residual of an earlier call.
    pub fn residual(mut self, residual: &Rows<'a, E>) -> Self {
        self.residual = Residual::Read(residual.clone());
        self
    }

    /// As [`residual`](Self::residual), and the sum in front of the norm is stored in `out`, shaped as x; where the
    /// input [has one](crate::Input::stores_residual).
    pub fn residual_out(mut self, residual: &Rows<'a, E>, out: &'a mut RowsMut<'_, E>) -> Self {
        self.residual = Residual::Into(residual.clone(), out.reborrow());
        self
    }

    /// As [`residual_out`](Self::residual_out), in the place of the residual stream.
    pub fn residual_in_place(mut self, residual: &'a mut RowsMut<'_, E>) -> Self {
        self.residual = Residual::InPlace(residual.reborrow());
        self
    }

    /// Stores the mean of every row, one f32 a row, or of every head of every row; LayerNorm only.
    pub fn mean(mut self, mean: impl IntoViewMut<'a, Element = f32>) -> Self {
        self.mean = Some(mean.into_view_mut());
        self
    }

    /// Stores the reciprocal standard deviation (LayerNorm) or reciprocal root mean square (RMSNorm)
    /// of every row, one f32 a row; or of every head or group of every row.
    pub fn rstd(mut self, rstd: impl IntoViewMut<'a, Element = f32>) -> Self {
        self.rstd = Some(rstd.into_view_mut());
        self
    }

    /// Normalises x into y, of the same shape, on this stream, and quantises it where the norm does. Returns
    /// as soon as the launch is queued.
    ///
    /// # Errors
    /// [`Error::Call`] where tensors do not fit the norm or one another,
    /// [`CudaError::WrongDevice`](super::CudaError::WrongDevice) and
    /// [`CudaError::WrongContext`](super::CudaError::WrongContext) where they or the kernels are in another
    /// context than the stream, [`CudaError::OtherContext`](super::CudaError::OtherContext) where tensors are of
    /// another `CudaContext` object for its context, and those of [`Kernels::launch_raw`].
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

    /// Normalises x and stores y in the place of the residual stream, which it reads, on this stream: the new residual
    /// stream, where the norm [adds it](Norm::with_post_add) after itself. Returns as soon as the launch is queued.
    ///
    /// ```no_run
    /// # use cudarc::driver::{CudaSlice, CudaStream};
    /// # use half::bf16;
    /// # use warpnorm::{Norm, PostAdd, cuda::{Kernels, Rows, RowsMut}};
    /// # fn f(kernels: &Kernels, stream: &CudaStream, block: CudaSlice<bf16>, weight: CudaSlice<bf16>, mut residual: CudaSlice<bf16>) -> Result<(), warpnorm::Error> {
    /// // OLMo 2: residual ← residual + norm(block)·w.
    /// let norm = Norm::rms_norm(1e-6).with_post_add(PostAdd::default());
    /// let block = Rows::contiguous(&block, 4096)?;
    /// let mut residual = RowsMut::contiguous(&mut residual, 4096)?;
    /// kernels.norm(&norm).weight(&weight).run_over_residual(stream, &block, &mut residual)
    /// # }
    /// ```
    ///
    /// It is the residual of the call, once: x cannot be the same rows.
    ///
    /// ```compile_fail,E0502
    /// # use cudarc::driver::{CudaSlice, CudaStream};
    /// # use half::bf16;
    /// # use warpnorm::{Norm, PostAdd, cuda::{Kernels, Rows, RowsMut}};
    /// # fn f(kernels: &Kernels, stream: &CudaStream, mut residual: CudaSlice<bf16>) -> Result<(), warpnorm::Error> {
    /// let norm = Norm::rms_norm(1e-6).with_post_add(PostAdd::default());
    /// let mut residual = RowsMut::contiguous(&mut residual, 4096)?;
    /// kernels.norm(&norm).run_over_residual(stream, &residual.as_rows(), &mut residual)
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run); [`CallError::Unused`](crate::CallError::Unused) where the call has another residual.
    pub fn run_over_residual(
        self,
        stream: &CudaStream,
        x: &Rows<'_, E>,
        residual: &mut RowsMut<'_, E>,
    ) -> Result<(), Error> {
        self.launch(stream, Operands::OverResidual(x, residual))
    }
}
