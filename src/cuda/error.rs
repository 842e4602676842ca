//! What the driver refuses, and what is refused before it is asked.

use super::driver;
use crate::Role;
use crate::plan::Module;
use cudarc::driver::DriverError;
use thiserror::Error;

/// A failure of the CUDA driver, or a use of it that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CudaError {
    /// libcuda, which comes with the NVIDIA driver, is not on this machine.
    #[error("no NVIDIA driver on this machine: libcuda was not found where the loader looks for libraries")]
    NoDriver,
    /// The machine has no such device.
    #[error("no CUDA device {ordinal}: the driver shows {count} (CUDA_VISIBLE_DEVICES may hide some)")]
    NoDevice {
        /// The ordinal asked for.
        ordinal: usize,
        /// Devices that the driver shows.
        count: usize,
    },
    /// The driver returned an error. Launches are asynchronous, so it may stem from earlier work.
    #[error("{what}: CUDA error {code} ({name})")]
    Driver {
        /// What was being done.
        what: &'static str,
        /// The number of the `CUresult`.
        code: u32,
        /// Its name, such as `CUDA_ERROR_OUT_OF_MEMORY`.
        name: String,
    },
    /// The driver refused a module.
    #[error("load module {module} for sm_{target}{}: CUDA error {code} ({name}){}{log}", if *.cubin { ", a cubin" } else { "" }, if .log.is_empty() { "" } else { ": " })]
    Module {
        /// The module.
        module: Module,
        /// The module's target, compute capability × 10.
        target: u32,
        /// Whether it is machine code, or else PTX.
        cubin: bool,
        /// The number of the `CUresult`.
        code: u32,
        /// Its name.
        name: String,
        /// What the driver's compiler says.
        log: String,
    },
    /// A capturing stream is to run a kernel that is not loaded, and loading is not allowed in a capture.
    #[error(
        "the stream is capturing and its kernel of module {module} is not loaded; \
         call Kernels::warm_up(&[module]) before the capture"
    )]
    NotLoaded {
        /// The module.
        module: Module,
    },
    /// A launch is planned for code that knows the device's compute capability, and the driver takes only such that does
    /// not: it has no kernel of that name, or none for clusters of thread blocks.
    #[error(
        "kernel {kernel} is planned for code of this device, and the driver takes none of its module but that for \
         sm_{target}; a newer driver is wanted"
    )]
    Target {
        /// The kernel's name.
        kernel: &'static str,
        /// The target of what the driver takes, compute capability × 10.
        target: u32,
    },
    /// A tensor is in another context than the stream that is to work on it.
    #[error("{role} is in a context of device {tensor}, wanted the context of the stream (device {stream})")]
    WrongDevice {
        /// The tensor.
        role: Role,
        /// The ordinal of its device.
        tensor: usize,
        /// The ordinal of the stream's device.
        stream: usize,
    },
    /// A tensor is of another `CudaContext` of the stream's GPU than the stream, a second one that the caller made.
    ///
    /// cudarc orders streams by events where a context has several, and each `CudaContext` counts only those that were
    /// made from it: between two of them nothing would wait.
    #[error(
        "{role} belongs to another CudaContext of device {ordinal} than the stream, wanted the very one: cudarc orders \
         the streams of one alone; clone its Arc where CudaContext::new is called again"
    )]
    OtherContext {
        /// The tensor.
        role: Role,
        /// The ordinal of the device.
        ordinal: usize,
    },
    /// The kernels were loaded into another context than the stream's.
    #[error("the kernels are for a context of device {kernels}, wanted the context of the stream (device {stream})")]
    WrongContext {
        /// The ordinal of the kernels' device.
        kernels: usize,
        /// The ordinal of the stream's device.
        stream: usize,
    },
    /// A kernel wrote outside a tensor of a host problem.
    #[error("{role}: memory {side} it was written")]
    OutOfBounds {
        /// The tensor.
        role: Role,
        /// `before` or `after`.
        side: &'static str,
    },
}

/// A step of the driver's, named for messages.
pub(super) trait During<T> {
    /// Turns the driver's error into one that says what was being done.
    fn during(self, what: &'static str) -> Result<T, CudaError>;
}

impl<T> During<T> for Result<T, DriverError> {
    fn during(self, what: &'static str) -> Result<T, CudaError> {
        self.map_err(|error| {
            let (code, name) = describe(error);
            CudaError::Driver { what, code, name }
        })
    }
}

/// The number and the name of an error. Fetched when the error arises: [`DriverError`] asks the driver
/// each time it is printed.
pub(super) fn describe(error: DriverError) -> (u32, String) {
    let name = match driver::probe() {
        Ok(()) => error.error_name().map(|name| name.to_string_lossy().into_owned()),
        Err(_) => Err(error),
    };
    (error.0 as u32, name.unwrap_or_else(|_| "unnamed".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Norm};

    #[test]
    fn messages_name_what_was_given_and_what_is_wanted() {
        let message = CudaError::WrongDevice { role: Role::Weight, tensor: 1, stream: 0 }.to_string();
        assert_eq!(message, "weight is in a context of device 1, wanted the context of the stream (device 0)");
        let message = CudaError::OtherContext { role: Role::Gate, ordinal: 2 }.to_string();
        assert!(message.starts_with("gate belongs to another CudaContext of device 2 than the stream"), "{message}");
        let message = CudaError::NotLoaded { module: Module::of(&Norm::rms_norm(1e-6), DType::BF16) }.to_string();
        assert!(message.contains("rms_norm bf16") && message.contains("warm_up"), "{message}");
    }

    #[test]
    fn a_module_without_a_log_ends_after_the_error() {
        let error = |log: &str| CudaError::Module {
            module: Module::of(&Norm::layer_norm(1e-5), DType::F16),
            target: 90,
            cubin: false,
            code: 218,
            name: "CUDA_ERROR_INVALID_PTX".to_owned(),
            log: log.to_owned(),
        };
        assert!(error("").to_string().ends_with("218 (CUDA_ERROR_INVALID_PTX)"));
        assert!(error("line 3").to_string().ends_with("(CUDA_ERROR_INVALID_PTX): line 3"));
    }
}
