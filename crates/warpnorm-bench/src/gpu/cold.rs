//! Cold start: from a context to the first finished launch of a module.

use super::{DeviceBuffers, Rotation, launch};
use crate::error::During;
use crate::{BenchError, Workload};
use std::time::Instant;
use warpnorm::cuda::Cuda;

/// The variable that keeps the driver from taking a module out of its cache, to be set before a context is made:
/// in the environment of a process of its own.
pub const CACHE_DISABLED: (&str, &str) = ("CUDA_CACHE_DISABLE", "1");

/// Milliseconds from a context with its tensors to the end of the first launch, in a process that has launched
/// nothing of the module. Where this build has no machine code for the GPU, the driver compiles the PTX in that time.
///
/// # Errors
/// There is no GPU, or it fails.
pub fn first_launch(workload: &Workload) -> Result<f64, BenchError> {
    let cuda = Cuda::new(0)?;
    // SAFETY: one stream, whose order is all that is needed.
    unsafe { cuda.kernels().context().disable_event_tracking() };
    let mut buffers = DeviceBuffers::new(cuda.stream());
    let rotation = Rotation::new(&mut buffers, workload, 0, u64::MAX)?;
    cuda.stream().synchronize().during("wait for the tensors")?;
    let start = Instant::now();
    launch(cuda.kernels(), cuda.stream(), &rotation.calls()[0])?;
    cuda.stream().synchronize().during("wait for the first launch")?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
