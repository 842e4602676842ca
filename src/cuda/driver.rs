//! The driver: whether it is there, and what it says of its devices.

use super::CudaError;
use super::error::During;
use crate::DeviceFacts;
use cudarc::driver::result;
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};
use std::sync::OnceLock;

/// Stands in for cudarc's probe of that name where cudarc is linked against libcuda, as candle builds
/// it: the program would not have started without the library.
///
/// # Safety
/// None is needed; the signature is cudarc's.
#[allow(dead_code, reason = "shadowed where cudarc loads libcuda at run time")]
unsafe fn is_culib_present() -> bool {
    true
}

/// Checks that libcuda is there. Everything else in cudarc panics where it is not, the printing of
/// errors included, so this comes first.
///
/// # Errors
/// [`CudaError::NoDriver`].
pub(super) fn probe() -> Result<(), CudaError> {
    // cudarc has its probe only where it loads libcuda at run time, which is for the features of the
    // whole build to decide. A name from this inner scope goes before the stand-in above.
    #[allow(unused_imports, reason = "used where cudarc loads libcuda at run time")]
    use cudarc::driver::sys::*;

    static PRESENT: OnceLock<bool> = OnceLock::new();
    // SAFETY: the probe opens libcuda by its well-known names and closes it; running the initialisers
    // of the installed driver's library is what using the driver means.
    let present = *PRESENT.get_or_init(|| unsafe { is_culib_present() });
    if present { Ok(()) } else { Err(CudaError::NoDriver) }
}

/// A GPU that the driver shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The number by which contexts are made.
    pub ordinal: usize,
    /// What plans depend on, the name included.
    pub facts: DeviceFacts,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// The CUDA version that the driver states, major and minor.
    pub driver: (u32, u32),
}

/// The GPUs of this machine, in the order of their ordinals. Makes no context.
///
/// # Errors
/// [`CudaError::NoDriver`] where there is no driver; [`CudaError::Driver`] where it fails.
pub fn devices() -> Result<Vec<DeviceInfo>, CudaError> {
    (0..count()?).map(info).collect()
}

/// Initialises the driver and counts its devices.
pub(super) fn count() -> Result<usize, CudaError> {
    probe()?;
    match result::init() {
        // A driver without a GPU says so here rather than with a count of 0.
        Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE => return Ok(0),
        initialised => initialised.during("initialise the driver")?,
    }
    let count = result::device::get_count().during("count devices")?;
    Ok(usize::try_from(count).unwrap_or(0))
}

fn info(ordinal: usize) -> Result<DeviceInfo, CudaError> {
    let device = i32::try_from(ordinal).map_err(|_| CudaError::NoDevice { ordinal, count: 0 })?;
    let device = result::device::get(device).during("get a device")?;
    // SAFETY: the device comes from `device::get`.
    let memory = unsafe { result::device::total_mem(device) }.during("read a device's memory size")?;
    Ok(DeviceInfo { ordinal, facts: facts(device)?, memory_bytes: memory as u64, driver: version()? })
}

/// The CUDA version that the driver states, major and minor.
pub(super) fn version() -> Result<(u32, u32), CudaError> {
    probe()?;
    let mut version = 0;
    // SAFETY: the driver is there (probed) and writes one integer.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().during("read the driver's version")?;
    let version = version.unsigned_abs();
    Ok((version / 1000, version % 1000 / 10))
}

/// The facts of a device that came from the driver.
pub(super) fn facts(device: sys::CUdevice) -> Result<DeviceFacts, CudaError> {
    let read = |attribute| -> Result<u32, CudaError> {
        // SAFETY: the device came from the driver.
        let value = unsafe { result::device::get_attribute(device, attribute) };
        Ok(value.during("read a device attribute")?.unsigned_abs())
    };
    Ok(DeviceFacts {
        name: result::device::get_name(device).during("read a device's name")?,
        compute_capability: (
            read(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            read(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        multiprocessors: read(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        max_threads_per_block: read(Attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?,
        max_threads_per_multiprocessor: read(Attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR)?,
        registers_per_multiprocessor: read(Attribute::CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR)?,
        max_blocks_per_multiprocessor: read(Attribute::CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR)?,
        max_shared_bytes_per_block: read(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        shared_bytes_per_multiprocessor: read(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)?,
        reserved_shared_bytes_per_block: read(Attribute::CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK)?,
        max_grid_x: read(Attribute::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X)?,
    })
}
