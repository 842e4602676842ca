//! Modules, their functions, and launches of these.

use crate::device::FACTS;
use crate::state::{Function, Handle, locked};
use crate::work::Work;
use crate::{Outcome, entries, put, report};
use cudarc::driver::sys::{
    CUfunction, CUfunction_attribute as FunctionAttribute, CUjit_option as JitOption,
    CUlaunchAttributeID as AttributeId, CUlaunchConfig, CUmodule, CUresult, CUstream,
};
use ptx_emu::{LaunchConfig, Module};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::slice;
use std::sync::Arc;

/// Dynamic shared memory that a launch may have without anyone asking.
const USUAL_SHARED: u32 = 48 << 10;
/// CTAs of a cluster that every GPU takes.
const MAX_CLUSTER: u32 = 8;

/// Parses an image: PTX, as text that ends in a zero byte. Of anything else, what the driver says of code for other GPUs.
///
/// # Safety
/// The image is one that the driver takes.
unsafe fn parse(image: *const c_void) -> Outcome<Result<Module, String>> {
    if image.is_null() {
        return Err(CUresult::CUDA_ERROR_INVALID_VALUE);
    }
    // SAFETY: every image has at least four bytes: those of ELF, or of a text of PTX.
    let head = unsafe { slice::from_raw_parts(image.cast::<u8>(), 4) };
    if head == b"\x7fELF" {
        return Err(CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU);
    }
    // SAFETY: what is no ELF file is text that ends in a zero byte.
    let text = unsafe { CStr::from_ptr(image.cast()) };
    let text = text.to_str().map_err(|_| CUresult::CUDA_ERROR_INVALID_PTX)?;
    Ok(Module::parse(text).map_err(|error| error.to_string()))
}

/// Writes an error log into the buffer of the options, where there is one.
///
/// # Safety
/// The options are so many, and each value is what its option is of.
unsafe fn log(message: &str, count: c_uint, options: *mut JitOption, values: *mut *mut c_void) {
    let (mut buffer, mut bytes) = (std::ptr::null_mut::<u8>(), 0);
    for at in 0..count as usize {
        // SAFETY: the caller's promise.
        match unsafe { (*options.add(at), *values.add(at)) } {
            (JitOption::CU_JIT_ERROR_LOG_BUFFER, value) => buffer = value.cast(),
            (JitOption::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, value) => bytes = value.addr() & u32::MAX as usize,
            _ => {}
        }
    }
    if !buffer.is_null() && bytes > 0 {
        let taken = message.len().min(bytes - 1);
        // SAFETY: the buffer has so many bytes.
        unsafe {
            buffer.copy_from_nonoverlapping(message.as_ptr(), taken);
            buffer.add(taken).write(0);
        }
    }
}

/// # Safety
/// As [`parse`] and [`log`].
unsafe fn load(
    module: *mut CUmodule,
    image: *const c_void,
    count: c_uint,
    options: *mut JitOption,
    values: *mut *mut c_void,
) -> Outcome {
    let mut state = locked()?;
    state.captures.forbid()?;
    // SAFETY: the caller's promise.
    let parsed = match unsafe { parse(image)? } {
        Ok(parsed) => parsed,
        Err(message) => {
            // SAFETY: the caller's promise.
            unsafe { log(&message, count, options, values) };
            return Err(CUresult::CUDA_ERROR_INVALID_PTX);
        }
    };
    let target: u32 = parsed.target().trim_start_matches("sm_").parse().unwrap_or(u32::MAX);
    let (major, minor) = FACTS.compute_capability;
    if target > major * 10 + minor {
        return Err(CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU);
    }
    let handle = state.handle();
    state.modules.insert(handle, Arc::new(parsed));
    // SAFETY: the caller's promise.
    unsafe { put(module, handle.pointer()) }
}

/// The shape of a launch without its cluster.
struct Shape {
    grid: [u32; 3],
    block: [u32; 3],
    cluster: [u32; 3],
    shared: u32,
}

/// Queues a launch; the arguments are read now, as the driver reads them.
///
/// # Safety
/// There is a pointer for each of the function's parameters, to as many bytes as that has.
unsafe fn launch(function: CUfunction, shape: &Shape, stream: CUstream, parameters: *mut *mut c_void) -> Outcome {
    let mut state = locked()?;
    let handle = Handle::of(function);
    let function = state.functions.get(&handle).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)?;
    let module = state.modules.get(&function.module).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)?;
    let kernel = module.kernel(&function.name).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)?;
    let ctas: u64 = shape.cluster.iter().map(|&ctas| u64::from(ctas)).product();
    if shape.shared > function.dynamic_shared || ctas > u64::from(MAX_CLUSTER) {
        report(&format!("{}: {} bytes of shared memory, {ctas} CTAs in a cluster", function.name, shape.shared));
        return Err(CUresult::CUDA_ERROR_INVALID_VALUE);
    }
    let arguments = kernel.parameter_sizes().enumerate().map(|(at, bytes)| {
        // SAFETY: the caller's promise.
        unsafe { slice::from_raw_parts((*parameters.add(at)).cast::<u8>(), bytes) }.to_vec()
    });
    let arguments = arguments.collect();
    let config = LaunchConfig {
        grid: shape.grid,
        block: shape.block,
        cluster: shape.cluster,
        dynamic_shared_bytes: shape.shared,
    };
    state.queue(Handle::of(stream), Work::Launch { function: handle, config, arguments })
}

entries! {
    fn cuModuleLoadData(module: *mut CUmodule, image: *const c_void) {
        // SAFETY: the macro's contract; there are no options.
        unsafe { load(module, image, 0, std::ptr::null_mut(), std::ptr::null_mut()) }
    }

    fn cuModuleLoadDataEx(
        module: *mut CUmodule,
        image: *const c_void,
        count: c_uint,
        options: *mut JitOption,
        values: *mut *mut c_void,
    ) {
        // SAFETY: the macro's contract.
        unsafe { load(module, image, count, options, values) }
    }

    fn cuModuleUnload(module: CUmodule) {
        let mut state = locked()?;
        state.captures.forbid()?;
        let handle = Handle::of(module);
        state.modules.remove(&handle).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)?;
        state.functions.retain(|_, function| function.module != handle);
        Ok(())
    }

    fn cuModuleGetFunction(function: *mut CUfunction, module: CUmodule, name: *const c_char) {
        let mut state = locked()?;
        let parsed = state.modules.get(&Handle::of(module)).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)?;
        // SAFETY: the macro's contract: it is a C string.
        let name = unsafe { CStr::from_ptr(name) }.to_str().map_err(|_| CUresult::CUDA_ERROR_NOT_FOUND)?;
        parsed.kernel(name).ok_or(CUresult::CUDA_ERROR_NOT_FOUND)?;
        let made = Function { module: Handle::of(module), name: name.to_owned(), dynamic_shared: USUAL_SHARED };
        let handle = state.handle();
        state.functions.insert(handle, made);
        // SAFETY: the macro's contract.
        unsafe { put(function, handle.pointer()) }
    }

    fn cuFuncSetAttribute(function: CUfunction, which: FunctionAttribute, value: c_int) {
        let mut state = locked()?;
        let function = state.functions.get_mut(&Handle::of(function)).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)?;
        match which {
            FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES => {
                let bytes = u32::try_from(value).map_err(|_| CUresult::CUDA_ERROR_INVALID_VALUE)?;
                if bytes > FACTS.max_shared_bytes_per_block {
                    return Err(CUresult::CUDA_ERROR_INVALID_VALUE);
                }
                function.dynamic_shared = bytes;
            }
            FunctionAttribute::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT => {}
            other => {
                report(&format!("{other:?} is set by nobody yet"));
                return Err(CUresult::CUDA_ERROR_NOT_SUPPORTED);
            }
        }
        Ok(())
    }

    fn cuFuncGetAttribute(value: *mut c_int, which: FunctionAttribute, function: CUfunction) {
        let state = locked()?;
        let function = state.functions.get(&Handle::of(function)).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)?;
        let module = state.modules.get(&function.module).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)?;
        let kernel = module.kernel(&function.name).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)?;
        let found = match which {
            FunctionAttribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES => kernel.static_shared_bytes(),
            FunctionAttribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES => kernel.local_bytes(),
            FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES => function.dynamic_shared.into(),
            FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK => kernel.max_threads().unwrap_or(1024).into(),
            // ptxas would say: as many as the largest blocks leave each thread.
            FunctionAttribute::CU_FUNC_ATTRIBUTE_NUM_REGS => 64,
            other => {
                report(&format!("{other:?} is asked for by nobody yet"));
                return Err(CUresult::CUDA_ERROR_NOT_SUPPORTED);
            }
        };
        // SAFETY: the macro's contract.
        unsafe { put(value, c_int::try_from(found).unwrap_or(c_int::MAX)) }
    }

    fn cuLaunchKernel(
        function: CUfunction,
        grid_x: c_uint,
        grid_y: c_uint,
        grid_z: c_uint,
        block_x: c_uint,
        block_y: c_uint,
        block_z: c_uint,
        shared: c_uint,
        stream: CUstream,
        parameters: *mut *mut c_void,
        _extra: *mut *mut c_void,
    ) {
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        // SAFETY: the macro's contract.
        unsafe { launch(function, &Shape { grid, block, cluster: [1; 3], shared }, stream, parameters) }
    }

    fn cuLaunchKernelEx(
        config: *const CUlaunchConfig,
        function: CUfunction,
        parameters: *mut *mut c_void,
        _extra: *mut *mut c_void,
    ) {
        // SAFETY: the macro's contract.
        let config = unsafe { config.as_ref() }.ok_or(CUresult::CUDA_ERROR_INVALID_VALUE)?;
        let mut cluster = [1; 3];
        for at in 0..config.numAttrs as usize {
            // SAFETY: the macro's contract: there are so many, and each has the value that its number says.
            let attribute = unsafe { &*config.attrs.add(at) };
            match attribute.id {
                AttributeId::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION if FACTS.has_clusters() => {
                    // SAFETY: as above.
                    let wanted = unsafe { attribute.value.clusterDim };
                    cluster = [wanted.x, wanted.y, wanted.z];
                }
                // What is queued is done at once.
                AttributeId::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION if FACTS.has_clusters() => {}
                AttributeId::CU_LAUNCH_ATTRIBUTE_IGNORE => {}
                other => {
                    report(&format!("{other:?} is used by nobody yet, or not on such a GPU"));
                    return Err(CUresult::CUDA_ERROR_NOT_SUPPORTED);
                }
            }
        }
        let grid = [config.gridDimX, config.gridDimY, config.gridDimZ];
        let block = [config.blockDimX, config.blockDimY, config.blockDimZ];
        let shape = Shape { grid, block, cluster, shared: config.sharedMemBytes };
        // SAFETY: the macro's contract.
        unsafe { launch(function, &shape, config.hStream, parameters) }
    }
}
