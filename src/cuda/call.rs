//! The safe face: a norm of cudarc's slices and views.

use super::error::During;
use super::rows::Shape;
use super::{CudaError, IntoView, IntoViewMut, Kernels, Rows, RowsMut};
use crate::{Call, CallError, DType, Element, Error, Norm, ParameterOf, RawVector, Role};
use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceSlice};

/// A norm about to be run: [`Kernels::norm`], the tensors that it takes beside x, then
/// [`run`](Self::run) or [`run_in_place`](Self::run_in_place).
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
    kernels: &'a Kernels,
    norm: Norm,
    weight: Option<Parameter<'a>>,
    bias: Option<Parameter<'a>>,
    residual: Residual<'a, E>,
    mean: Option<CudaViewMut<'a, f32>>,
    rstd: Option<CudaViewMut<'a, f32>>,
}

/// The residual stream of a call.
#[derive(Debug)]
enum Residual<'a, E> {
    None,
    Read(Rows<'a, E>),
    Into(Rows<'a, E>, RowsMut<'a, E>),
    InPlace(RowsMut<'a, E>),
}

/// A weight or bias of any type.
#[derive(Debug)]
struct Parameter<'a> {
    bytes: CudaView<'a, u8>,
    dtype: DType,
    length: usize,
}

impl<'a> Parameter<'a> {
    fn new<W: Element>(view: CudaView<'a, W>) -> Self {
        let length = view.len();
        // SAFETY: any bytes are valid as u8; the view serves for its address and its events alone.
        let bytes = unsafe { view.transmute::<u8>(length * size_of::<W>()) };
        let bytes = bytes.expect("a view has the bytes of its elements");
        Self { bytes, dtype: W::DTYPE, length }
    }

    fn raw(&self, address: u64) -> RawVector {
        RawVector { address, dtype: self.dtype }
    }
}

impl<'a, E: Element> NormCall<'a, E> {
    pub(super) fn new(kernels: &'a Kernels, norm: Norm) -> Self {
        Self { kernels, norm, weight: None, bias: None, residual: Residual::None, mean: None, rstd: None }
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

    /// Normalises x into y, of the same shape, on this stream. Returns as soon as the launch is queued.
    ///
    /// # Errors
    /// [`Error::Call`] where tensors do not fit the norm or one another, [`CudaError::WrongDevice`] and
    /// [`CudaError::WrongContext`] where they or the kernels are in another context than the stream, and
    /// those of [`Kernels::launch_raw`].
    pub fn run(self, stream: &CudaStream, x: &Rows<'_, E>, y: &mut RowsMut<'_, E>) -> Result<(), Error> {
        self.launch(stream, Some(x), y)
    }

    /// Normalises x in its place on this stream. Returns as soon as the launch is queued.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_in_place(self, stream: &CudaStream, x: &mut RowsMut<'_, E>) -> Result<(), Error> {
        self.launch(stream, None, x)
    }

    /// x is None where it is what y holds.
    fn launch(mut self, stream: &CudaStream, x: Option<&Rows<'_, E>>, y: &mut RowsMut<'_, E>) -> Result<(), Error> {
        self.check(stream, x, y)?;
        let kernels = self.kernels;
        let shape = x.map_or(y.shape, |x| x.shape);
        // The guards make the stream wait for what others do to the tensors, and, dropped after the
        // launch, others for the stream.
        let (y_rows, _y) = y.raw_mut(stream);
        let (x_rows, _x) = x.map(|x| x.raw(stream)).unzip();
        let mut call = Call::new(self.norm, E::DTYPE, shape.rows, shape.hidden, x_rows.unwrap_or(y_rows), y_rows);

        let (residual, residual_out, _residual) = match &mut self.residual {
            Residual::None => (None, None, (None, None)),
            Residual::Read(rows) => {
                let (rows, guard) = rows.raw(stream);
                (Some(rows), None, (Some(guard), None))
            }
            Residual::Into(rows, out) => {
                let (rows, guard) = rows.raw(stream);
                let (out, out_guard) = out.raw_mut(stream);
                (Some(rows), Some(out), (Some(guard), Some(out_guard)))
            }
            Residual::InPlace(rows) => {
                let (rows, guard) = rows.raw_mut(stream);
                (Some(rows), Some(rows), (Some(guard), None))
            }
        };
        call.residual = residual;
        call.residual_out = residual_out;

        let (weight, _weight) = self.weight.as_ref().map(|vector| vector.bytes.device_ptr(stream)).unzip();
        let (bias, _bias) = self.bias.as_ref().map(|vector| vector.bytes.device_ptr(stream)).unzip();
        call.weight = self.weight.as_ref().zip(weight).map(|(vector, address)| vector.raw(address));
        call.bias = self.bias.as_ref().zip(bias).map(|(vector, address)| vector.raw(address));

        let (mean, _mean) = self.mean.as_mut().map(|view| view.device_ptr_mut(stream)).unzip();
        let (rstd, _rstd) = self.rstd.as_mut().map(|view| view.device_ptr_mut(stream)).unzip();
        call.mean = mean;
        call.rstd = rstd;

        // The guards leave what fails while they wait with the context.
        stream.context().check_err().during("make the stream wait for its tensors")?;
        // SAFETY: 1. the extents were checked against the views, which are of the stream's context;
        // 2. and 3. the views are borrowed, what is written mutably, and cudarc frees a slice in stream
        // order after the events that the guards record; where the caller has turned those events off,
        // ordering streams is what they have promised cudarc; 4. slices are written when allocated, or
        // their allocation was `unsafe` and so promised by the caller.
        unsafe { kernels.launch_raw(stream, &call) }
    }

    /// Checks shapes and contexts, which a raw call no longer knows.
    fn check(&self, stream: &CudaStream, x: Option<&Rows<'_, E>>, y: &RowsMut<'_, E>) -> Result<(), Error> {
        self.kernels.check_context(stream)?;
        let of_x = x.map_or(y.shape, |x| x.shape);
        let check_rows = |role, shape: Shape, tensor: &CudaStream| -> Result<(), Error> {
            check_device(role, tensor, stream)?;
            if (shape.rows, shape.hidden) != (of_x.rows, of_x.hidden) {
                let Shape { rows, hidden, .. } = shape;
                let (wanted_rows, wanted_hidden) = (of_x.rows, of_x.hidden);
                return Err(CallError::Shape { role, rows, hidden, wanted_rows, wanted_hidden }.into());
            }
            Ok(())
        };
        let check_vector = |role, given, wanted, tensor: &CudaStream| -> Result<(), Error> {
            check_device(role, tensor, stream)?;
            if given == wanted { Ok(()) } else { Err(CallError::Length { role, given, wanted }.into()) }
        };

        if let Some(x) = x {
            check_device(Role::X, x.stream(), stream)?;
        }
        check_rows(if x.is_some() { Role::Y } else { Role::X }, y.shape, y.stream())?;
        match &self.residual {
            Residual::None => {}
            Residual::Read(rows) => check_rows(Role::Residual, rows.shape, rows.stream())?,
            Residual::Into(rows, out) => {
                check_rows(Role::Residual, rows.shape, rows.stream())?;
                check_rows(Role::ResidualOut, out.shape, out.stream())?;
            }
            Residual::InPlace(rows) => check_rows(Role::Residual, rows.shape, rows.stream())?,
        }
        for (role, vector) in [(Role::Weight, &self.weight), (Role::Bias, &self.bias)] {
            if let Some(vector) = vector {
                check_vector(role, vector.length, of_x.hidden, vector.bytes.stream())?;
            }
        }
        for (role, vector) in [(Role::Mean, &self.mean), (Role::Rstd, &self.rstd)] {
            if let Some(vector) = vector {
                check_vector(role, vector.len(), of_x.rows, vector.stream())?;
            }
        }
        Ok(())
    }
}

fn check_device(role: Role, tensor: &CudaStream, stream: &CudaStream) -> Result<(), CudaError> {
    // By the driver's handle: two cudarc contexts of one device share the primary context.
    if tensor.context() == stream.context() {
        return Ok(());
    }
    Err(CudaError::WrongDevice { role, tensor: tensor.context().ordinal(), stream: stream.context().ordinal() })
}
