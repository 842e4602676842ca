//! Devices of CUDA: what C passes is checked as far as the driver can tell, then launched by the raw face.

use crate::call::checked;
use crate::error::Failure;
use std::ffi::c_void;
use std::mem::{self, ManuallyDrop};
use std::sync::Arc;
use warpnorm::cuda::cudarc::driver::sys::{self, CUpointer_attribute as Attribute};
use warpnorm::cuda::cudarc::driver::{CudaContext, DriverError, result};
use warpnorm::cuda::{CudaError, Kernels, devices};
use warpnorm::plan::Module;
use warpnorm::{Call, ColumnCall, DType, Error, Norm, RawHeads, RawRope, Role};

/// A GPU, in one of its contexts.
pub(crate) struct CudaDevice {
    /// Dropped with the caller's context kept.
    kernels: ManuallyDrop<Kernels>,
    /// Whether pointers are taken as they come.
    trusting: bool,
}

impl CudaDevice {
    /// The GPU of this ordinal in its primary context.
    pub(crate) fn primary(ordinal: usize, trusting: bool) -> Result<Self, Failure> {
        // Asks for a driver first, without which cudarc panics.
        let count = devices()?.len();
        if ordinal >= count {
            return Err(CudaError::NoDevice { ordinal, count }.into());
        }
        Current::keep(|| {
            let context = CudaContext::new(ordinal).map_err(|error| driver("make a context", error))?;
            Ok(Self { kernels: ManuallyDrop::new(Kernels::new(&context)?), trusting })
        })
    }

    /// The GPU of this context.
    ///
    /// # Safety
    /// The context is a live CUcontext, and outlives the device.
    pub(crate) unsafe fn of_context(context: *mut c_void, trusting: bool) -> Result<Self, Failure> {
        devices()?;
        let context: sys::CUcontext = context.cast();
        Current::keep(|| {
            // SAFETY: live, as the caller promises.
            unsafe { result::ctx::set_current(context) }.map_err(|error| driver("bind a context", error))?;
            let mut device = 0;
            // SAFETY: a context is current; one integer is written.
            unsafe { sys::cuCtxGetDevice(&raw mut device) }
                .result()
                .map_err(|error| driver("ask a context for its device", error))?;
            let ordinal = usize::try_from(device).unwrap_or(0);
            // SAFETY: live and of this device. It would be destroyed with the last reference, so one stays for ever.
            let context = unsafe { CudaContext::from_raw_context(ordinal, device, context) }
                .map_err(|error| driver("use a context", error))?;
            mem::forget(Arc::clone(&context));
            Ok(Self { kernels: ManuallyDrop::new(Kernels::new(&context)?), trusting })
        })
    }

    pub(crate) fn name(&self) -> String {
        self.kernels.facts().name.clone()
    }

    /// Loads the module of a norm.
    pub(crate) fn warm_up(&self, norm: &Norm, dtype: DType) -> Result<(), Failure> {
        Current::keep(|| Ok(self.kernels.warm_up(&[Module::of(norm, dtype)])?))
    }

    /// Loads the module that takes the statistics of columns.
    pub(crate) fn warm_up_columns(&self, dtype: DType) -> Result<(), Failure> {
        Current::keep(|| Ok(self.kernels.warm_up(&[Module::of_columns(dtype)])?))
    }

    /// Loads every module.
    pub(crate) fn warm_up_all(&self) -> Result<(), Failure> {
        Current::keep(|| Ok(self.kernels.warm_up_all()?))
    }

    /// Launches a call.
    ///
    /// # Safety
    /// Points 1 to 5 of [`Kernels::launch_raw_on`]; where the device does not trust pointers, and a tensor is in no
    /// memory that it can access, nothing is launched.
    pub(crate) unsafe fn run(&self, stream: *mut c_void, call: &Call) -> Result<(), Failure> {
        let any_rows = checked(call)?;
        Current::keep(|| {
            self.check(stream.cast(), any_rows, &tensors(call))?;
            if !any_rows {
                return Ok(());
            }
            // SAFETY: as the caller promises; the stream is of this context.
            Ok(unsafe { self.kernels.launch_raw_on(stream.cast(), call) }?)
        })
    }

    /// Launches the statistics of columns.
    ///
    /// # Safety
    /// As [`run`](Self::run), of [`Kernels::launch_columns_raw_on`].
    pub(crate) unsafe fn run_columns(&self, stream: *mut c_void, call: &ColumnCall) -> Result<(), Failure> {
        call.validate()?;
        Current::keep(|| {
            self.check(stream.cast(), true, &column_tensors(call))?;
            // SAFETY: as the caller promises; the stream is of this context.
            Ok(unsafe { self.kernels.launch_columns_raw_on(stream.cast(), call) }?)
        })
    }

    /// Refuses a stream of another context, and tensors in memory that the device cannot access.
    fn check(&self, stream: sys::CUstream, any_rows: bool, tensors: &[(Role, Option<u64>)]) -> Result<(), Failure> {
        let context = self.kernels.context();
        context.bind_to_thread().map_err(|error| driver("bind the context", error))?;
        // Null and the two numbers below 3 are the default streams of whichever context is current.
        if stream.addr() > 2 {
            let mut of_stream = std::ptr::null_mut();
            // SAFETY: the stream is live, as the caller of the entry point promises.
            unsafe { sys::cuStreamGetCtx(stream, &raw mut of_stream) }
                .result()
                .map_err(|error| driver("ask a stream for its context", error))?;
            if of_stream != context.cu_ctx() {
                return Err(Failure::Stream { wanted: context.ordinal() });
            }
        }
        if self.trusting || !any_rows {
            return Ok(());
        }
        tensors.iter().filter_map(|&(role, address)| Some((role, address?))).try_for_each(|(role, address)| {
            let found = Found::at(address)?;
            let wanted = context.ordinal();
            if found.accessible(address, wanted) {
                return Ok(());
            }
            Err(Failure::Memory { role, address, found: found.words(), wanted })
        })
    }
}

impl Drop for CudaDevice {
    fn drop(&mut self) {
        // Where the driver fails at this, there is nobody to tell; unloading keeps its own errors with the context.
        let dropped = Current::keep(|| {
            // SAFETY: dropped here and not looked at again.
            unsafe { ManuallyDrop::drop(&mut self.kernels) };
            Ok(())
        });
        let _ = dropped;
    }
}

/// What the driver knows of an address. All is 0 where it does not know it.
#[derive(Default)]
struct Found {
    kind: u32,
    ordinal: i32,
    managed: u32,
    /// Where the memory is for the device of the current context.
    on_device: u64,
}

impl Found {
    fn at(address: u64) -> Result<Self, Failure> {
        let mut found = Self::default();
        let mut attributes = [
            Attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
            Attribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
            Attribute::CU_POINTER_ATTRIBUTE_IS_MANAGED,
            Attribute::CU_POINTER_ATTRIBUTE_DEVICE_POINTER,
        ];
        let mut values = [
            (&raw mut found.kind).cast::<c_void>(),
            (&raw mut found.ordinal).cast(),
            (&raw mut found.managed).cast(),
            (&raw mut found.on_device).cast(),
        ];
        // SAFETY: each attribute has a place of its type, a bool's in four bytes of zeros; any address may be asked for.
        unsafe {
            sys::cuPointerGetAttributes(attributes.len() as u32, attributes.as_mut_ptr(), values.as_mut_ptr(), address)
        }
        .result()
        .map_err(|error| driver("ask for the memory of a pointer", error))?;
        Ok(found)
    }

    /// Device memory of this device, memory that all devices share, and host memory that is mapped to its own address.
    fn accessible(&self, address: u64, ordinal: usize) -> bool {
        let device = sys::CUmemorytype::CU_MEMORYTYPE_DEVICE as u32;
        let host = sys::CUmemorytype::CU_MEMORYTYPE_HOST as u32;
        self.managed != 0
            || self.kind == device && usize::try_from(self.ordinal) == Ok(ordinal)
            || self.kind == host && self.on_device == address
    }

    fn words(&self) -> String {
        match self.kind {
            0 => "host memory, or none: CUDA does not know it".to_owned(),
            kind if kind == sys::CUmemorytype::CU_MEMORYTYPE_DEVICE as u32 => {
                format!("memory of CUDA device {}", self.ordinal)
            }
            _ => "host memory that is not mapped for the device".to_owned(),
        }
    }
}

/// The context that is the caller's, to be current again when the library is done.
struct Current(Option<sys::CUcontext>);

impl Current {
    /// Runs what binds other contexts. The driver is there: a device has been made, or is asked for just now.
    fn keep<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        let _current = Self(result::ctx::get_current().map_err(|error| driver("ask for the current context", error))?);
        body()
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        // SAFETY: it was current before, or there was none. Where that fails, the context is broken, and its next use
        // says so.
        let _ = unsafe { result::ctx::set_current(self.0.unwrap_or(std::ptr::null_mut())) };
    }
}

fn driver(what: &'static str, error: DriverError) -> Failure {
    let name = error.error_name().map_or_else(|_| "unnamed".to_owned(), |name| name.to_string_lossy().into_owned());
    Failure::Library(Error::Cuda(CudaError::Driver { what, code: error.0 as u32, name }))
}

/// The tensors of a call.
fn tensors(call: &Call) -> [(Role, Option<u64>); 22] {
    let rows = |rows: Option<warpnorm::RawRows>| rows.map(|rows| rows.address);
    let vector = |vector: Option<warpnorm::RawVector>| vector.map(|vector| vector.address);
    let second = |of: fn(&RawHeads) -> Option<u64>| call.second.as_ref().and_then(of);
    let rope = |of: fn(&RawRope) -> Option<u64>| call.rope.as_ref().and_then(of);
    [
        (Role::X, Some(call.x.address)),
        (Role::Residual, rows(call.residual)),
        (Role::Gate, rows(call.gate)),
        (Role::LinearBias, vector(call.linear_bias)),
        (Role::Weight, vector(call.weight)),
        (Role::Bias, vector(call.bias)),
        (Role::Y, rows(call.y)),
        (Role::ResidualOut, rows(call.residual_out)),
        (Role::Mean, call.mean),
        (Role::Rstd, call.rstd),
        (Role::Codes, call.codes.map(|codes| codes.address)),
        (Role::Scales, call.scales),
        (Role::TensorScale, call.tensor_scale),
        (Role::InnerWeight, vector(call.inner_weight)),
        (Role::Rate, vector(call.rate)),
        (Role::SecondX, second(|heads| Some(heads.x.address))),
        (Role::SecondY, second(|heads| Some(heads.y.address))),
        (Role::SecondWeight, second(|heads| heads.weight.map(|vector| vector.address))),
        (Role::SecondBias, second(|heads| heads.bias.map(|vector| vector.address))),
        (Role::Cos, rope(|rope| Some(rope.cos.address))),
        (Role::Sin, rope(|rope| Some(rope.sin.address))),
        (Role::Positions, rope(|rope| rope.positions.map(|positions| positions.address))),
    ]
}

fn column_tensors(call: &ColumnCall) -> [(Role, Option<u64>); 7] {
    [
        (Role::X, Some(call.x.address)),
        (Role::Weight, call.weight.map(|vector| vector.address)),
        (Role::Bias, call.bias.map(|vector| vector.address)),
        (Role::Mean, call.mean),
        (Role::Rstd, call.rstd),
        (Role::Scale, call.scale),
        (Role::Shift, call.shift),
    ]
}
