//! The entry points that describe, check and run.

use crate::call::{Tensors, checked};
use crate::columns::BatchStatistics;
use crate::device::{Device, Handle, text};
use crate::enums::{DTYPES, FAMILIES, decode};
use crate::error::Failure;
use crate::norm::Description;
use crate::status::{Status, entry};
use crate::structs::{put, read, write};
use std::ffi::{c_char, c_void};
use warpnorm::{CallError, Error, Norm, presets};

/// A norm of this family and eps, and nothing around it. `size` is sizeof(warpnorm_norm).
///
/// # Safety
/// The pointer is to a warpnorm_norm.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn warpnorm_norm_init(norm: *mut Description, size: usize, family: u32, eps: f32) -> Status {
    entry(|| {
        let description = Description::encode(&Norm::new(decode("family", family, FAMILIES)?, eps));
        // SAFETY: as the caller promises.
        unsafe { write("norm", norm, size, description) }
    })
}

/// The norm of a framework by name, with its roundings, offset and eps, and the residual add where it has one:
/// `llama`, `gemma`, `flash-infer`, `vllm`, `bert`, or with numbers `deep-norm:24` and `qwen3-heads:128`. A name that
/// there is not is an error that lists those that there are. `size` is sizeof(warpnorm_norm).
///
/// # Safety
/// The name is null or a text that ends in NUL; the pointer is to a warpnorm_norm.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn warpnorm_norm_preset(norm: *mut Description, size: usize, name: *const c_char) -> Status {
    entry(|| {
        // SAFETY: as the caller promises.
        let name = unsafe { text("name", name) }?;
        let description = Description::encode(&presets::named(name)?.norm);
        // SAFETY: as the caller promises.
        unsafe { write("norm", norm, size, description) }
    })
}

/// A call without tensors, of rows that are one part. `size` is sizeof(warpnorm_call), `dtype` a warpnorm_dtype.
///
/// # Safety
/// The pointer is to a warpnorm_call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn warpnorm_call_init(
    call: *mut Tensors,
    size: usize,
    dtype: u32,
    rows: usize,
    hidden: usize,
) -> Status {
    entry(|| {
        let tensors = Tensors::new(decode("dtype", dtype, DTYPES)?, rows, hidden);
        // SAFETY: as the caller promises.
        unsafe { write("call", call, size, tensors) }
    })
}

/// Statistics of columns without tensors. `size` is sizeof(warpnorm_batch_statistics), `dtype` a warpnorm_dtype.
///
/// # Safety
/// The pointer is to a warpnorm_batch_statistics.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn warpnorm_batch_statistics_init(
    statistics: *mut BatchStatistics,
    size: usize,
    dtype: u32,
    rows: usize,
    hidden: usize,
    eps: f32,
) -> Status {
    entry(|| {
        let value = BatchStatistics::new(decode("dtype", dtype, DTYPES)?, rows, hidden, eps);
        // SAFETY: as the caller promises.
        unsafe { write("statistics", statistics, size, value) }
    })
}

/// What codes and scales of so many rows take: bytes of a row of codes, how many scales there are, those between the
/// rows' own included, and the bytes of all of them. A result that is not wanted may be null.
///
/// # Safety
/// The norm is null or a warpnorm_norm; the others are null or to a size_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn warpnorm_quantised_sizes(
    norm: *const Description,
    rows: usize,
    hidden: usize,
    row_bytes: *mut usize,
    scale_count: *mut usize,
    scale_bytes: *mut usize,
) -> Status {
    entry(|| {
        // SAFETY: as the caller promises.
        let norm = unsafe { read("norm", norm) }?.decode()?;
        let (bytes_of_row, count, bytes) = match norm.quantisation {
            None => (0, 0, 0),
            Some(quantisation) => {
                quantisation.validate(hidden).map_err(CallError::from)?;
                let too_large = || CallError::TooLarge { rows, stride: hidden };
                let count = quantisation.scale_count(rows, hidden).ok_or_else(too_large)?;
                let size = quantisation.scaling.scale_type().map_or(0, |kind| kind.size());
                (quantisation.row_bytes(hidden), count, count.checked_mul(size).ok_or_else(too_large)?)
            }
        };
        for (argument, pointer, value) in [
            ("row_bytes", row_bytes, bytes_of_row),
            ("scale_count", scale_count, count),
            ("scale_bytes", scale_bytes, bytes),
        ] {
            if !pointer.is_null() {
                // SAFETY: as the caller promises.
                unsafe { put(argument, pointer, value) }?;
            }
        }
        Ok(())
    })
}

/// Checks a call as warpnorm_run does, but for what only a device can tell. Reads no tensor.
///
/// # Safety
/// The pointers are null or to their structures.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn warpnorm_check(norm: *const Description, call: *const Tensors) -> Status {
    entry(|| {
        // SAFETY: as the caller promises.
        let (norm, tensors) = unsafe { (read("norm", norm)?, read("call", call)?) };
        checked(&tensors.decode(norm.decode()?)?)?;
        Ok(())
    })
}

/// Runs a norm. On a GPU it is put on the stream, a cudaStream_t or CUstream of the device's context, null for its
/// default stream, and the function returns: it allocates nothing, loads nothing but a module's first use, waits for
/// nothing, and can be captured in a graph after warpnorm_warm_up. Elsewhere the stream is null, and the results are
/// there when it returns.
///
/// # Safety
/// The pointers are null or to their structures, and the tensors as those say; the stream is null or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn warpnorm_run(
    device: Handle,
    stream: *mut c_void,
    norm: *const Description,
    call: *const Tensors,
) -> Status {
    entry(|| {
        let device = device.device()?;
        // SAFETY: as the caller promises.
        let (norm, tensors) = unsafe { (read("norm", norm)?, read("call", call)?) };
        let call = tensors.decode(norm.decode()?)?;
        match &*device {
            #[cfg(feature = "cuda")]
            // SAFETY: as the caller promises.
            Device::Cuda(cuda) => unsafe { cuda.run(stream, &call) },
            Device::Host(host) => {
                no_stream(stream, &host.name())?;
                // SAFETY: as the caller promises.
                unsafe { host.run(&call) }
            }
        }
    })
}

/// Takes the statistics of columns. Streams are as those of warpnorm_run.
///
/// # Safety
/// The pointer is null or to its structure, and the tensors as it says; the stream is null or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn warpnorm_run_batch_statistics(
    device: Handle,
    stream: *mut c_void,
    statistics: *const BatchStatistics,
) -> Status {
    entry(|| {
        let device = device.device()?;
        // SAFETY: as the caller promises.
        let call = unsafe { read("statistics", statistics) }?.decode()?;
        match &*device {
            #[cfg(feature = "cuda")]
            // SAFETY: as the caller promises.
            Device::Cuda(cuda) => unsafe { cuda.run_columns(stream, &call) },
            Device::Host(host) => {
                no_stream(stream, &host.name())?;
                // SAFETY: as the caller promises.
                unsafe { host.run_columns(&call) }
            }
        }
    })
}

/// Loads the module of a norm of activations of this type, a warpnorm_dtype: before a stream captures it, or before
/// the first request. Where there is nothing to load, only the arguments are checked.
///
/// # Safety
/// The pointer is null or to a warpnorm_norm.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn warpnorm_warm_up(device: Handle, norm: *const Description, dtype: u32) -> Status {
    entry(|| {
        let device = device.device()?;
        // SAFETY: as the caller promises.
        let norm = unsafe { read("norm", norm) }?.decode()?;
        norm.validate().map_err(CallError::from)?;
        let dtype = decode("dtype", dtype, DTYPES)?;
        match &*device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda.warm_up(&norm, dtype),
            Device::Host(_) => known(warpnorm::plan::Module::of(&norm, dtype)),
        }
    })
}

/// The same for the statistics of columns of this type.
#[unsafe(no_mangle)]
pub extern "C" fn warpnorm_warm_up_batch_statistics(device: Handle, dtype: u32) -> Status {
    entry(|| {
        let device = device.device()?;
        let dtype = decode("dtype", dtype, DTYPES)?;
        match &*device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda.warm_up_columns(dtype),
            Device::Host(_) => known(warpnorm::plan::Module::of_columns(dtype)),
        }
    })
}

/// The same for all that there is, which takes seconds where the driver has not compiled it before.
#[unsafe(no_mangle)]
pub extern "C" fn warpnorm_warm_up_all(device: Handle) -> Status {
    entry(|| match &*device.device()? {
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => cuda.warm_up_all(),
        Device::Host(_) => Ok(()),
    })
}

fn known(module: warpnorm::plan::Module) -> Result<(), Failure> {
    module.name().map_err(Error::from)?;
    Ok(())
}

fn no_stream(stream: *mut c_void, device: &str) -> Result<(), Failure> {
    if stream.is_null() { Ok(()) } else { Err(Failure::HostStream { device: device.to_owned() }) }
}
