//! What can be wrong with a call of the C library, the library's own errors among it.

use crate::status::Status;
use thiserror::Error;
use warpnorm::presets::PresetError;
use warpnorm::{CallError, NormError, Role};

/// A call that failed.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error("{argument} is a null pointer")]
    NullArgument { argument: &'static str },
    #[error("{argument} is at address {address:#x}, wanted a multiple of {wanted}")]
    MisalignedArgument { argument: &'static str, address: usize, wanted: usize },
    #[error("{argument} is no UTF-8 text")]
    Text { argument: &'static str },
    #[error("{argument} has a capacity of {given} bytes, wanted at least {wanted}")]
    Capacity { argument: &'static str, given: usize, wanted: usize },
    #[error(
        "a {structure} of {given} bytes is given, this library has one of {wanted}: \
         start with {initialiser}, and compile against the header of this version"
    )]
    Size { structure: &'static str, initialiser: &'static str, given: usize, wanted: usize },
    #[error("{field} is {given}, wanted a number from the header's enumeration, at most {largest}")]
    Enumeration { field: &'static str, given: u32, largest: u32 },
    #[error("{field} is {given}, wanted 0 or 1")]
    Truth { field: &'static str, given: u32 },
    #[error("input.activation is WARPNORM_ACTIVATION_KIND_NONE, wanted the activation of the gate before the norm")]
    NoActivation,
    #[error("the flags {given:#x} are given, wanted those of the header, {known:#x} at most")]
    Flags { given: u32, known: u32 },
    #[error("device {id:#x} is none that this library has made")]
    UnknownDevice { id: u64 },
    #[error("device {id:#x} has been destroyed")]
    DestroyedDevice { id: u64 },
    #[error("a stream is given, and {device} has none; wanted a null pointer")]
    HostStream { device: String },
    #[error("there is no GPU {given:?} to emulate, wanted one of {known}")]
    #[allow(dead_code, reason = "of builds with the emulated device")]
    NoGpu { given: String, known: String },
    #[error("this build of the library has no {device} device: it was compiled without the feature {feature:?}")]
    #[allow(dead_code, reason = "of builds without a feature")]
    NoFeature { device: &'static str, feature: &'static str },
    #[error("{role} at {address:#x} is in {found}, wanted memory that CUDA device {wanted} can access")]
    #[allow(dead_code, reason = "of builds with CUDA")]
    Memory { role: Role, address: u64, found: String, wanted: usize },
    #[error("the stream is of another context than the device's, CUDA device {wanted}")]
    #[allow(dead_code, reason = "of builds with CUDA")]
    Stream { wanted: usize },
    #[error(transparent)]
    Preset(#[from] PresetError),
    #[error("{}", library_words(.0))]
    Library(#[from] warpnorm::Error),
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Failure::Library(error.into())
    }
}

#[cfg(feature = "cuda")]
impl From<warpnorm::cuda::CudaError> for Failure {
    fn from(error: warpnorm::cuda::CudaError) -> Self {
        Failure::Library(error.into())
    }
}

/// The library's words, but where they name what only Rust has.
fn library_words(error: &warpnorm::Error) -> String {
    match error {
        #[cfg(feature = "cuda")]
        warpnorm::Error::Cuda(warpnorm::cuda::CudaError::NotLoaded { module }) => {
            format!(
                "the stream is capturing and its kernel of module {module} is not loaded; call warpnorm_warm_up before the capture"
            )
        }
        _ => error.to_string(),
    }
}

impl Failure {
    pub(crate) fn status(&self) -> Status {
        match self {
            Failure::UnknownDevice { .. } => Status::InvalidHandle,
            Failure::DestroyedDevice { .. } => Status::DestroyedHandle,
            Failure::NoFeature { .. } => Status::Unsupported,
            Failure::Memory { .. } | Failure::Stream { .. } => Status::WrongDevice,
            Failure::Library(error) => library_status(error),
            _ => Status::InvalidArgument,
        }
    }
}

fn library_status(error: &warpnorm::Error) -> Status {
    match error {
        warpnorm::Error::Plan(_) | warpnorm::Error::Call(CallError::Norm(NormError::Combination { .. })) => {
            Status::Unsupported
        }
        warpnorm::Error::Call(_) => Status::InvalidArgument,
        #[cfg(feature = "cuda")]
        warpnorm::Error::Cuda(error) => cuda_status(error),
        #[cfg(feature = "emulator")]
        warpnorm::Error::Emulated(_) => Status::EmulatorFault,
        // Host problems are made here, so that what does not fit in them is this library's fault.
        _ => Status::Internal,
    }
}

#[cfg(feature = "cuda")]
fn cuda_status(error: &warpnorm::cuda::CudaError) -> Status {
    use warpnorm::cuda::CudaError;
    match error {
        CudaError::NoDriver => Status::NoDriver,
        CudaError::NoDevice { .. } => Status::NoDevice,
        CudaError::NotLoaded { .. } => Status::NotLoaded,
        CudaError::WrongDevice { .. } | CudaError::OtherContext { .. } | CudaError::WrongContext { .. } => {
            Status::WrongDevice
        }
        _ => Status::DriverError,
    }
}
