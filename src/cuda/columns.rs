//! The safe face of the statistics of columns.

use super::call::parameter::Parameter;
use super::check::{check_device, check_length};
use super::error::During;
use super::{IntoView, IntoViewMut, Kernels, Rows};
use crate::{BatchStatistics, ColumnCall, Element, Error, ParameterOf, ProgrammaticLaunch, Role};
use cudarc::driver::{CudaStream, CudaViewMut, DevicePtrMut, DeviceSlice};

/// Batch statistics about to be taken: [`Kernels::batch_statistics`], the outputs that are wanted, at least one of
/// them, then [`run`](Self::run).
///
/// `E` is the activation type and follows from x; all outputs are `hidden` f32 elements. Batch normalisation is
/// the statistics of a batch, folded, and one launch more:
///
/// ```no_run
/// # use cudarc::driver::{CudaSlice, CudaStream};
/// # use std::sync::Arc;
/// # use half::bf16;
/// use warpnorm::cuda::{Kernels, Rows, RowsMut};
/// use warpnorm::{BatchStatistics, Norm};
///
/// # fn f(kernels: &Kernels, stream: &Arc<CudaStream>, x: CudaSlice<bf16>, mut y: CudaSlice<bf16>, gamma: CudaSlice<f32>, beta: CudaSlice<f32>) -> Result<(), Box<dyn std::error::Error>> {
/// let hidden = 768;
/// let x = Rows::contiguous(&x, hidden)?;
/// let mut scale = stream.alloc_zeros::<f32>(hidden)?;
/// let mut shift = stream.alloc_zeros::<f32>(hidden)?;
/// kernels
///     .batch_statistics(&BatchStatistics::new(1e-5))
///     .weight(&gamma)
///     .bias(&beta)
///     .fold(&mut scale, &mut shift)
///     .run(stream, &x)?;
/// let mut y = RowsMut::contiguous(&mut y, hidden)?;
/// kernels.norm(&Norm::affine()).weight(&scale).bias(&shift).run(stream, &x, &mut y)?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is launched until the call is run"]
#[derive(Debug)]
pub struct BatchStatisticsCall<'a, E> {
    kernels: &'a Kernels,
    statistics: BatchStatistics,
    weight: Option<Parameter<'a>>,
    bias: Option<Parameter<'a>>,
    mean: Option<CudaViewMut<'a, f32>>,
    rstd: Option<CudaViewMut<'a, f32>>,
    scale: Option<CudaViewMut<'a, f32>>,
    shift: Option<CudaViewMut<'a, f32>>,
    programmatic_launch: ProgrammaticLaunch,
    x: std::marker::PhantomData<fn(E)>,
}

impl<'a, E: Element> BatchStatisticsCall<'a, E> {
    pub(super) fn new(kernels: &'a Kernels, statistics: BatchStatistics) -> Self {
        Self {
            kernels,
            statistics,
            weight: None,
            bias: None,
            mean: None,
            rstd: None,
            scale: None,
            shift: None,
            programmatic_launch: ProgrammaticLaunch::Off,
            x: std::marker::PhantomData,
        }
    }

    /// With γ, `hidden` elements of the activation type or f32; for [`fold`](Self::fold).
    pub fn weight<W: ParameterOf<E>>(mut self, weight: impl IntoView<'a, Element = W>) -> Self {
        self.weight = Some(Parameter::new(weight.into_view()));
        self
    }

    /// With β, `hidden` elements of the activation type or f32, and of the type of γ, where there is one; for
    /// [`fold`](Self::fold).
    pub fn bias<W: ParameterOf<E>>(mut self, bias: impl IntoView<'a, Element = W>) -> Self {
        self.bias = Some(Parameter::new(bias.into_view()));
        self
    }

    /// Stores the mean of every column.
    pub fn mean(mut self, mean: impl IntoViewMut<'a, Element = f32>) -> Self {
        self.mean = Some(mean.into_view_mut());
        self
    }

    /// Stores the reciprocal standard deviation of every column.
    pub fn rstd(mut self, rstd: impl IntoViewMut<'a, Element = f32>) -> Self {
        self.rstd = Some(rstd.into_view_mut());
        self
    }

    /// Stores the scale γ·rstd and the shift β − mean·scale of every column: the weight and the bias of
    /// [`Norm::affine`](crate::Norm::affine).
    pub fn fold(
        mut self,
        scale: impl IntoViewMut<'a, Element = f32>,
        shift: impl IntoViewMut<'a, Element = f32>,
    ) -> Self {
        self.scale = Some(scale.into_view_mut());
        self.shift = Some(shift.into_view_mut());
        self
    }

    /// Lets the launch [begin early](ProgrammaticLaunch::WaitFirst), before the kernel in front of it in the stream has
    /// completed, for whose completion it waits before it accesses any tensor. Kernels of others in front of it that
    /// were themselves launched programmatically, and let those behind them begin early, have to
    /// [wait](ProgrammaticLaunch) with all of their threads, too.
    pub fn programmatic_launch(mut self) -> Self {
        self.programmatic_launch = ProgrammaticLaunch::WaitFirst;
        self
    }

    /// Takes the statistics of x over its rows, on this stream. Returns as soon as the launch is queued.
    ///
    /// # Errors
    /// [`Error::Call`] where x has no rows, no output is given or tensors do not fit one another,
    /// [`CudaError::WrongDevice`](super::CudaError::WrongDevice) and
    /// [`CudaError::WrongContext`](super::CudaError::WrongContext) where they or the kernels are in another
    /// context than the stream, [`CudaError::OtherContext`](super::CudaError::OtherContext) where tensors are of
    /// another `CudaContext` object for its context, and those of [`Kernels::launch_columns_raw`].
    pub fn run(mut self, stream: &CudaStream, x: &Rows<'_, E>) -> Result<(), Error> {
        self.check(stream, x)?;
        let kernels = self.kernels;
        // The guards make the stream wait for what others do to the tensors, and, dropped after the launch, others
        // for the stream.
        let (rows, _x) = x.raw(stream);
        let mut call = ColumnCall::new(self.statistics, E::DTYPE, x.rows(), x.hidden(), rows);
        let (weight, _weight) = self.weight.as_ref().map(|vector| vector.raw(stream)).unzip();
        let (bias, _bias) = self.bias.as_ref().map(|vector| vector.raw(stream)).unzip();
        (call.weight, call.bias) = (weight, bias);
        let (mean, _mean) = self.mean.as_mut().map(|view| view.device_ptr_mut(stream)).unzip();
        let (rstd, _rstd) = self.rstd.as_mut().map(|view| view.device_ptr_mut(stream)).unzip();
        let (scale, _scale) = self.scale.as_mut().map(|view| view.device_ptr_mut(stream)).unzip();
        let (shift, _shift) = self.shift.as_mut().map(|view| view.device_ptr_mut(stream)).unzip();
        (call.mean, call.rstd, call.scale, call.shift) = (mean, rstd, scale, shift);

        call.programmatic_launch = self.programmatic_launch;

        // The guards leave what fails while they wait with the context.
        stream.context().check_err().during("make the stream wait for its tensors")?;
        // SAFETY: 1. the extents were checked against the views, which are of the stream's context object; 2. and 3.
        // the views are borrowed, what is written mutably, and cudarc frees a slice in stream order after the events
        // that the guards record; where the caller has turned those events off, ordering streams is what they have
        // promised cudarc; where the stream is captured, keeping tensors, and kernels, for every replay is a promise of
        // the caller's, too, which cudarc's safe graphs leave to them for each launch and copy, and which the module's
        // documentation names; 4. slices are written when allocated, or their allocation was `unsafe` and so promised
        // by the caller.
        unsafe { kernels.launch_columns_raw(stream, &call) }
    }

    /// Checks lengths and contexts, which a raw call no longer knows.
    fn check(&self, stream: &CudaStream, x: &Rows<'_, E>) -> Result<(), Error> {
        self.kernels.check_context(stream)?;
        check_device(Role::X, x.stream(), stream)?;
        for (role, vector) in [(Role::Weight, &self.weight), (Role::Bias, &self.bias)] {
            if let Some(vector) = vector {
                check_device(role, vector.stream(), stream)?;
                check_length(role, vector.length, x.hidden())?;
            }
        }
        for (role, vector) in
            [(Role::Mean, &self.mean), (Role::Rstd, &self.rstd), (Role::Scale, &self.scale), (Role::Shift, &self.shift)]
        {
            if let Some(vector) = vector {
                check_device(role, vector.stream(), stream)?;
                check_length(role, vector.len(), x.hidden())?;
            }
        }
        Ok(())
    }
}
