//! Kernels, loaded into a context.

use super::CudaError;
use super::enqueue::Shape;
use super::error::{During, describe};
use crate::plan::{EXCHANGE_BYTES, FIRST_WITH_CLUSTERS, Kernel, Module};
use crate::{DeviceFacts, Error, cubin, ptx};
use cudarc::driver::sys::{self, CUfunction_attribute as Attribute, CUjit_option};
use cudarc::driver::{CudaContext, DriverError, result};
use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::Arc;

/// Bytes kept of what the driver's compiler says of PTX that it refuses.
const LOG_BYTES: usize = 4096;

/// A kernel, in a loaded module of its own: of PTX, the driver compiles no more than what is to run.
pub(super) struct LoadedKernel {
    /// Keeps the context alive for as long as the module is in it.
    context: Arc<CudaContext>,
    handle: sys::CUmodule,
    /// The target of what was loaded, compute capability × 10.
    target: u32,
    function: sys::CUfunction,
}

// SAFETY: the handles are names that any thread may pass to the driver, which synchronises itself;
// nothing here changes them after loading.
unsafe impl Send for LoadedKernel {}
// SAFETY: as above.
unsafe impl Sync for LoadedKernel {}

impl LoadedKernel {
    /// Loads the code that the device and the driver take: the module's cubin if there is one, else the kernel's PTX. A
    /// driver may refuse a cubin that is for its device, as one that is told to compile all code does
    /// (`CUDA_FORCE_PTX_JIT`): then it gets the PTX.
    ///
    /// # Errors
    /// No code of this build runs there, or the driver refused it.
    pub(super) fn load(
        context: &Arc<CudaContext>,
        facts: &DeviceFacts,
        driver: (u32, u32),
        kernel: Kernel,
    ) -> Result<Self, Error> {
        let (module, capability) = (kernel.module(), facts.compute_capability);
        context.bind_to_thread().during("bind the context")?;
        let loaded = match cubin::select(module, capability, driver) {
            Some(embedded) => match load_image(&embedded.code()) {
                Ok(handle) => Ok((handle, embedded.target)),
                Err(refusal) => load_ptx(kernel, capability, driver)
                    .map_err(|error| refusal.of_cubin(module, embedded.target, &error)),
            },
            None => load_ptx(kernel, capability, driver),
        };
        let (handle, target) = loaded?;
        // From here on, a failure unloads the module by dropping it.
        let mut loaded = Self { context: Arc::clone(context), handle, target, function: ptr::null_mut() };
        loaded.function = prepare(handle, kernel, facts)?;
        Ok(loaded)
    }

    /// The shape in which what was loaded can be launched. Plans go by the device; what its driver takes may be PTX for
    /// an earlier one, which knows nothing of launches that begin early and would not wait: it begins when its turn has
    /// come.
    ///
    /// # Errors
    /// [`CudaError::Target`]: such code takes each block of a cluster for a row's only one.
    pub(super) fn supported(&self, kernel: Kernel, shape: Shape) -> Result<Shape, CudaError> {
        match shape.cluster {
            _ if self.target >= FIRST_WITH_CLUSTERS => Ok(shape),
            1 => Ok(Shape { programmatic: false, ..shape }),
            _ => Err(CudaError::Target { kernel: kernel.name(), target: self.target }),
        }
    }

    pub(super) fn function(&self) -> sys::CUfunction {
        self.function
    }
}

impl Drop for LoadedKernel {
    fn drop(&mut self) {
        // What cudarc has noted of calls before would keep it from waiting, and be lost: noted again afterwards.
        let before = self.context.check_err();
        // Launches may still run. Where they cannot be waited for (a broken context, a capture under
        // way), the module stays until its context goes.
        if self.context.synchronize().is_ok() {
            // SAFETY: the module was loaded into this context, which is current and alive, is unloaded
            // nowhere else, and no launch of it runs any more.
            self.context.record_err(unsafe { result::module::unload(self.handle) });
        }
        self.context.record_err(before);
    }
}

/// Compiles a kernel's PTX into the current context; beside the module, the target of the PTX.
fn load_ptx(kernel: Kernel, capability: (u32, u32), driver: (u32, u32)) -> Result<(sys::CUmodule, u32), Error> {
    let embedded = ptx::select(kernel.module(), capability, Some(driver))?;
    if !kernel.is_on(embedded.target) {
        return Err(CudaError::Target { kernel: kernel.name(), target: embedded.target }.into());
    }
    // Text ends in NUL.
    let text = embedded.ptx_of(kernel) + "\0";
    let handle =
        load_image(text.as_bytes()).map_err(|refusal| refusal.of_module(kernel.module(), embedded.target, false))?;
    Ok((handle, embedded.target))
}

/// Why the driver does not load an image, and what its compiler says of it.
struct Refusal {
    error: DriverError,
    log: String,
}

impl Refusal {
    fn of_module(self, module: Module, target: u32, cubin: bool) -> CudaError {
        let (code, name) = describe(self.error);
        CudaError::Module { module, target, cubin, code, name, log: self.log }
    }

    /// That of a cubin, in whose place there is no PTX either, for this reason.
    fn of_cubin(self, module: Module, target: u32, of_ptx: &Error) -> Error {
        let separator = if self.log.is_empty() { "" } else { "; " };
        let log = format!("{}{separator}nor its PTX: {of_ptx}", self.log);
        Self { log, ..self }.of_module(module, target, true).into()
    }
}

/// Loads PTX that ends in NUL, or a cubin, into the current context.
fn load_image(image: &[u8]) -> Result<sys::CUmodule, Refusal> {
    let mut log = [0u8; LOG_BYTES];
    let mut options = [CUjit_option::CU_JIT_ERROR_LOG_BUFFER, CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    // The size is passed in the place of a pointer.
    let mut values = [log.as_mut_ptr().cast::<c_void>(), ptr::without_provenance_mut(LOG_BYTES)];
    let mut handle = ptr::null_mut();
    // SAFETY: the image is text that ends in NUL, or an ELF file whose head says how long it is; the two options have a
    // value each, the log's pointer and its size; all of them outlive the call.
    let status = unsafe {
        sys::cuModuleLoadDataEx(
            &raw mut handle,
            image.as_ptr().cast(),
            options.len() as u32,
            options.as_mut_ptr(),
            values.as_mut_ptr(),
        )
    };
    status.result().map(|()| handle).map_err(|error| {
        let end = log.iter().position(|&byte| byte == 0).unwrap_or(LOG_BYTES);
        Refusal { error, log: String::from_utf8_lossy(&log[..end]).trim().to_owned() }
    })
}

/// Finds a kernel, lets it have the shared memory that plans count on, and makes the driver load its
/// code now.
fn prepare(handle: sys::CUmodule, kernel: Kernel, facts: &DeviceFacts) -> Result<sys::CUfunction, CudaError> {
    let name = CString::new(kernel.name()).expect("kernel names are constants without NUL");
    // SAFETY: the module was just loaded into the current context.
    let function = unsafe { result::module::get_function(handle, name) }.during("find a kernel in its module")?;
    if kernel.form().looped {
        let dynamic = facts.max_shared_bytes_per_block.saturating_sub(EXCHANGE_BYTES) as i32;
        // SAFETY: the function is of a loaded module.
        unsafe {
            result::function::set_function_attribute(
                function,
                Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                dynamic,
            )
        }
        .during("allow a kernel its shared memory")?;
    }
    // With lazy loading, the driver's default since CUDA 12.2, code is loaded when it is first looked
    // at, and that must not fall into a graph capture.
    // SAFETY: the function is of a loaded module.
    unsafe { result::function::get_function_attribute(function, Attribute::CU_FUNC_ATTRIBUTE_NUM_REGS) }
        .during("load a kernel's code")?;
    Ok(function)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Norm};

    #[test]
    fn of_a_cubin_that_is_refused_both_reasons_are_said() {
        let module = Module::of(&Norm::layer_norm(1e-5), DType::F16);
        let error = DriverError(sys::CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU);
        for (log, wanted) in [("", "): nor its PTX: "), ("for sm_80", "): for sm_80; nor its PTX: ")] {
            let of_ptx = Error::from(ptx::select(module, (3, 5), None).unwrap_err());
            let said = Refusal { error, log: log.to_owned() }.of_cubin(module, 90, &of_ptx).to_string();
            assert!(said.starts_with("load module layer_norm f16 for sm_90, a cubin: CUDA error 209 ("), "{said}");
            assert!(said.ends_with(&format!("{wanted}{of_ptx}")), "{said}");
        }
    }
}
