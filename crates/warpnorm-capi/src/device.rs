//! Devices, and the table of those that live.

use crate::error::Failure;
use crate::host::HostDevice;
use crate::status::{Status, entry};
use crate::structs::{check, put};
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_void};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

#[cfg(feature = "cuda")]
use crate::cuda::CudaDevice;

/// A device. To be made by warpnorm_device_cuda, _cuda_context, _cpu or _emulated, and destroyed by
/// warpnorm_device_destroy. It may be copied and used from any thread; what is none, or has been destroyed, is an
/// error and no more.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Handle {
    /// Its number, which no other device of this process has or will have. Never 0.
    pub id: u64,
}

/// What a handle stands for.
pub(crate) enum Device {
    #[cfg(feature = "cuda")]
    Cuda(CudaDevice),
    Host(HostDevice),
}

/// The devices that live, by their ids. Ids count up, so that one that is not here and is no larger than the last has
/// been destroyed.
#[derive(Default)]
struct Table {
    last: u64,
    live: HashMap<u64, Arc<Device>>,
}

static TABLE: OnceLock<RwLock<Table>> = OnceLock::new();

fn table() -> &'static RwLock<Table> {
    TABLE.get_or_init(RwLock::default)
}

fn add(device: Device) -> Handle {
    // No invariant spans two statements that a panic could part.
    let mut table = table().write().unwrap_or_else(PoisonError::into_inner);
    table.last += 1;
    let id = table.last;
    table.live.insert(id, Arc::new(device));
    Handle { id }
}

impl Handle {
    /// The device, which lives on for this call even where another thread destroys it meanwhile.
    ///
    /// # Errors
    /// There is no such device, or not any more.
    pub(crate) fn device(self) -> Result<Arc<Device>, Failure> {
        let table = table().read().unwrap_or_else(PoisonError::into_inner);
        table.live.get(&self.id).cloned().ok_or_else(|| self.missing(&table))
    }

    fn remove(self) -> Result<Arc<Device>, Failure> {
        let mut table = table().write().unwrap_or_else(PoisonError::into_inner);
        table.live.remove(&self.id).ok_or_else(|| self.missing(&table))
    }

    fn missing(self, table: &Table) -> Failure {
        let Handle { id } = self;
        if (1..=table.last).contains(&id) { Failure::DestroyedDevice { id } } else { Failure::UnknownDevice { id } }
    }
}

/// Makes a device, if there is a place for its handle.
///
/// # Safety
/// The pointer is null, misaligned, or to a handle that nothing else uses.
unsafe fn make(device: *mut Handle, make: impl FnOnce() -> Result<Device, Failure>) -> Status {
    entry(|| {
        check("device", device)?;
        // SAFETY: as the caller promises.
        unsafe { put("device", device, add(make()?)) }
    })
}

/// A flag for a device of CUDA: pointers are not looked up. Without it, every launch asks the driver of each tensor
/// whether its memory is one that the device can access, which turns a host pointer, or one of another device, into
/// WARPNORM_STATUS_WRONG_DEVICE instead of a fault that ends the context.
/// To be set for the least overhead, or for memory of another device with peer access.
pub const WARPNORM_TRUST_POINTERS: u32 = 1;

/// Makes a device of the GPU of this ordinal, in its primary context: the one that the CUDA runtime, PyTorch and all
/// others use who do not make their own. `flags` is 0 or WARPNORM_TRUST_POINTERS.
///
/// # Safety
/// The pointer is to a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn warpnorm_device_cuda(ordinal: u32, flags: u32, device: *mut Handle) -> Status {
    // SAFETY: as the caller promises.
    unsafe { make(device, || cuda(ordinal, flags)) }
}

/// Makes a device of a GPU in this context, a CUcontext, which must outlive the device.
///
/// # Safety
/// The context is a live CUcontext; the pointer is to a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn warpnorm_device_cuda_context(context: *mut c_void, flags: u32, device: *mut Handle) -> Status {
    // SAFETY: as the caller promises.
    unsafe { make(device, || cuda_context(context, flags)) }
}

/// Makes a device of the CPU: the reference, in f64. Tensors are in host memory; streams are null.
///
/// # Safety
/// The pointer is to a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn warpnorm_device_cpu(device: *mut Handle) -> Status {
    // SAFETY: as the caller promises.
    unsafe { make(device, || Ok(Device::Host(HostDevice::cpu()))) }
}

/// Makes a device that runs the kernels themselves in an executor, with the facts of the GPU of this name: `t4`,
/// `a100`, `l4`, `h100`, `h200` or `b200`. Tensors are in host memory; streams are null. Only in builds of the library
/// with the feature `emulator`; others return WARPNORM_STATUS_UNSUPPORTED.
///
/// # Safety
/// The name is null or a text that ends in NUL; the pointer is to a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn warpnorm_device_emulated(gpu: *const c_char, device: *mut Handle) -> Status {
    // SAFETY: as the caller promises.
    unsafe { make(device, || Ok(Device::Host(HostDevice::emulated(text("gpu", gpu)?)?))) }
}

/// Destroys a device. Calls of other threads that are under way on it are completed first, by those. Where the device
/// is a GPU, work of its context is waited for, which is not allowed while a stream captures; graphs that captured
/// launches on it are to be destroyed before.
#[unsafe(no_mangle)]
pub extern "C" fn warpnorm_device_destroy(device: Handle) -> Status {
    entry(|| {
        // The lock is free again when the device drops, which can take long.
        drop(device.remove()?);
        Ok(())
    })
}

/// What a device is: writes a warpnorm_device_kind.
///
/// # Safety
/// The pointer is to a uint32_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn warpnorm_device_kind_of(device: Handle, kind: *mut u32) -> Status {
    entry(|| {
        let number = match &*device.device()? {
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => crate::enums::DeviceKind::Cuda as u32,
            Device::Host(host) => host.kind(),
        };
        // SAFETY: as the caller promises.
        unsafe { put("kind", kind, number) }
    })
}

/// Writes the name of a device, such as `NVIDIA H100 80GB HBM3`, with a NUL behind it. A capacity of less than that is
/// an error; 256 is enough.
///
/// # Safety
/// The pointer is to as many bytes as the capacity says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn warpnorm_device_name(device: Handle, name: *mut c_char, capacity: usize) -> Status {
    entry(|| {
        check("name", name)?;
        let text = match &*device.device()? {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda.name(),
            Device::Host(host) => host.name(),
        };
        if capacity <= text.len() {
            let (argument, given, wanted) = ("name", capacity, text.len() + 1);
            return Err(Failure::Capacity { argument, given, wanted });
        }
        // SAFETY: the bytes of the text and one more are there; they are of Rust, and the buffer is the caller's.
        unsafe {
            name.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
            name.add(text.len()).write(0);
        }
        Ok(())
    })
}

/// Counts the GPUs that the driver shows. Makes no context.
///
/// # Safety
/// The pointer is to a uint32_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn warpnorm_cuda_device_count(count: *mut u32) -> Status {
    // SAFETY: as the caller promises.
    entry(|| unsafe { put("count", count, cuda_count()?) })
}

fn trusts(flags: u32) -> Result<bool, Failure> {
    if flags & !WARPNORM_TRUST_POINTERS != 0 {
        return Err(Failure::Flags { given: flags, known: WARPNORM_TRUST_POINTERS });
    }
    Ok(flags & WARPNORM_TRUST_POINTERS != 0)
}

#[cfg(feature = "cuda")]
fn cuda(ordinal: u32, flags: u32) -> Result<Device, Failure> {
    Ok(Device::Cuda(CudaDevice::primary(ordinal as usize, trusts(flags)?)?))
}

/// # Safety
/// The context is null or live, and outlives the device.
#[cfg(feature = "cuda")]
unsafe fn cuda_context(context: *mut c_void, flags: u32) -> Result<Device, Failure> {
    check("context", context.cast::<u8>())?;
    // SAFETY: not null, and as the caller promises.
    Ok(Device::Cuda(unsafe { CudaDevice::of_context(context, trusts(flags)?) }?))
}

#[cfg(feature = "cuda")]
fn cuda_count() -> Result<u32, Failure> {
    Ok(warpnorm::cuda::devices()?.len() as u32)
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: u32, flags: u32) -> Result<Device, Failure> {
    trusts(flags)?;
    Err(Failure::NoFeature { device: "CUDA", feature: "cuda" })
}

/// # Safety
/// None is needed.
#[cfg(not(feature = "cuda"))]
unsafe fn cuda_context(context: *mut c_void, flags: u32) -> Result<Device, Failure> {
    check("context", context.cast::<u8>())?;
    trusts(flags)?;
    Err(Failure::NoFeature { device: "CUDA", feature: "cuda" })
}

#[cfg(not(feature = "cuda"))]
fn cuda_count() -> Result<u32, Failure> {
    Err(Failure::NoFeature { device: "CUDA", feature: "cuda" })
}

/// A text of C's.
///
/// # Safety
/// The pointer is null or to bytes that end in NUL and outlive the result.
pub(crate) unsafe fn text<'a>(argument: &'static str, pointer: *const c_char) -> Result<&'a str, Failure> {
    check(argument, pointer)?;
    // SAFETY: not null, and as the caller promises.
    unsafe { CStr::from_ptr(pointer) }.to_str().map_err(|_| Failure::Text { argument })
}
