//! The one device.

use crate::state::locked;
use crate::{Outcome, entries, put, report};
use cudarc::driver::sys::{CUdevice, CUdevice_attribute as Attribute, CUresult, CUuuid};
use std::ffi::{CStr, c_char, c_int, c_uint};
use std::sync::LazyLock;
use warpnorm::DeviceFacts;

/// The CUDA version that it says it is of: 13.0.
const VERSION: c_int = 13_000;
/// Bytes of memory that it says it has.
pub(crate) const MEMORY: usize = 64 << 30;

/// What it says it is: the GPU that `EMULATED_GPU` names, such as `t4`, or an H200.
pub(crate) static FACTS: LazyLock<DeviceFacts> = LazyLock::new(|| {
    let named = std::env::var("EMULATED_GPU").ok();
    let facts = named.as_deref().map_or_else(|| Some(DeviceFacts::h200()), DeviceFacts::named);
    let facts = facts.unwrap_or_else(|| {
        report(&format!("EMULATED_GPU is {named:?}, wanted one of {}", DeviceFacts::short_names()));
        std::process::abort()
    });
    DeviceFacts { name: format!("{}, emulated", facts.name), ..facts }
});

fn the_device(device: CUdevice) -> Outcome {
    if device == 0 { Ok(()) } else { Err(CUresult::CUDA_ERROR_INVALID_DEVICE) }
}

/// Writes a text and the zero byte behind it, or as much of it as there is room for.
///
/// # Safety
/// `to` is null, or points to where so many bytes may be written.
unsafe fn put_text(to: *mut c_char, bytes: c_int, text: &str) -> Outcome {
    let room = usize::try_from(bytes).ok().and_then(|bytes| bytes.checked_sub(1));
    let taken = text.bytes().take(room.ok_or(CUresult::CUDA_ERROR_INVALID_VALUE)?);
    for (at, byte) in taken.chain([0]).enumerate() {
        // SAFETY: the caller's promise; no more are taken than fit.
        unsafe { put(to.wrapping_add(at), byte as c_char)? };
    }
    Ok(())
}

fn attribute(which: Attribute) -> Outcome<u32> {
    let facts = &*FACTS;
    Ok(match which {
        Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR => facts.compute_capability.0,
        Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR => facts.compute_capability.1,
        Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT => facts.multiprocessors,
        Attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK => facts.max_threads_per_block,
        Attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR => facts.max_threads_per_multiprocessor,
        Attribute::CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR => facts.registers_per_multiprocessor,
        Attribute::CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR => facts.max_blocks_per_multiprocessor,
        Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN => facts.max_shared_bytes_per_block,
        Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR => facts.shared_bytes_per_multiprocessor,
        Attribute::CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK => facts.reserved_shared_bytes_per_block,
        Attribute::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X => facts.max_grid_x,
        Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED => 1,
        // So small that a few sets of small tensors are larger.
        Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE => 64 << 10,
        other => {
            report(&format!("{other:?} is asked for by nobody yet"));
            return Err(CUresult::CUDA_ERROR_NOT_SUPPORTED);
        }
    })
}

entries! {
    fn cuInit(flags: c_uint) {
        if flags == 0 { Ok(()) } else { Err(CUresult::CUDA_ERROR_INVALID_VALUE) }
    }

    fn cuDriverGetVersion(version: *mut c_int) {
        // SAFETY: the macro's contract.
        unsafe { put(version, VERSION) }
    }

    fn cuDeviceGetCount(count: *mut c_int) {
        // SAFETY: the macro's contract.
        unsafe { put(count, 1) }
    }

    fn cuDeviceGet(device: *mut CUdevice, ordinal: c_int) {
        the_device(ordinal)?;
        // SAFETY: the macro's contract.
        unsafe { put(device, ordinal) }
    }

    fn cuDeviceGetName(name: *mut c_char, bytes: c_int, device: CUdevice) {
        the_device(device)?;
        // SAFETY: the macro's contract.
        unsafe { put_text(name, bytes, &FACTS.name) }
    }

    fn cuDeviceGetPCIBusId(id: *mut c_char, bytes: c_int, device: CUdevice) {
        the_device(device)?;
        // SAFETY: the macro's contract.
        unsafe { put_text(id, bytes, "0000:00:00.0") }
    }

    fn cuDeviceGetAttribute(value: *mut c_int, which: Attribute, device: CUdevice) {
        the_device(device)?;
        let attribute = attribute(which)?;
        // SAFETY: the macro's contract.
        unsafe { put(value, c_int::try_from(attribute).unwrap_or(c_int::MAX)) }
    }

    fn cuDeviceTotalMem_v2(bytes: *mut usize, device: CUdevice) {
        the_device(device)?;
        // SAFETY: the macro's contract.
        unsafe { put(bytes, MEMORY) }
    }

    fn cuDeviceGetUuid_v2(uuid: *mut CUuuid, device: CUdevice) {
        the_device(device)?;
        // SAFETY: the macro's contract.
        unsafe { put(uuid, CUuuid { bytes: [1; 16] }) }
    }

    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        let taken = locked()?.taken;
        // SAFETY: the macro's contract.
        unsafe {
            put(free, MEMORY.saturating_sub(taken))?;
            put(total, MEMORY)
        }
    }

    fn cuGetErrorName(error: CUresult, name: *mut *const c_char) {
        // SAFETY: the macro's contract.
        unsafe { put(name, name_of(error).as_ptr()) }
    }

    fn cuGetErrorString(error: CUresult, text: *mut *const c_char) {
        // SAFETY: the macro's contract.
        unsafe { put(text, name_of(error).as_ptr()) }
    }
}

/// The names of the errors that there are here.
fn name_of(error: CUresult) -> &'static CStr {
    macro_rules! names {
        ($($name:ident)*) => {
            match error {
                $(CUresult::$name => {
                    const NAME: &str = concat!(stringify!($name), "\0");
                    CStr::from_bytes_with_nul(NAME.as_bytes()).unwrap_or(c"")
                })*
                _ => c"CUDA_ERROR_UNKNOWN",
            }
        };
    }
    names! {
        CUDA_SUCCESS
        CUDA_ERROR_INVALID_VALUE
        CUDA_ERROR_OUT_OF_MEMORY
        CUDA_ERROR_INVALID_DEVICE
        CUDA_ERROR_INVALID_CONTEXT
        CUDA_ERROR_NO_BINARY_FOR_GPU
        CUDA_ERROR_INVALID_PTX
        CUDA_ERROR_INVALID_HANDLE
        CUDA_ERROR_NOT_FOUND
        CUDA_ERROR_NOT_READY
        CUDA_ERROR_ILLEGAL_ADDRESS
        CUDA_ERROR_NOT_SUPPORTED
        CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
        CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
        CUDA_ERROR_STREAM_CAPTURE_MERGE
        CUDA_ERROR_STREAM_CAPTURE_UNMATCHED
        CUDA_ERROR_STREAM_CAPTURE_UNJOINED
        CUDA_ERROR_STREAM_CAPTURE_ISOLATION
        CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD
        CUDA_ERROR_CAPTURED_EVENT
    }
}
