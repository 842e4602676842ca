//! A GPU as a device for host problems: copies in, one launch, copies out.

use super::error::During;
use super::{CudaError, Kernels, driver};
use crate::host::{BatchOutput, BatchProblem, Device, DeviceMemory, Output, Placement, Problem, run_batch_on, run_on};
use crate::{Call, ColumnCall, Error, Role};
use cudarc::driver::{CudaContext, CudaStream, result};
use std::sync::Arc;

/// Bytes of guard on either side of a tensor: [`cuMemAlloc`] aligns to as much, so the tensor keeps
/// its alignment.
///
/// [`cuMemAlloc`]: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__MEM.html
const GUARD_BYTES: usize = 256;

/// What the guards hold.
const GUARD: u8 = 0xff;

/// A GPU for problems of host memory: what the tool, the parity verdicts and the tests run.
#[derive(Debug)]
pub struct Cuda {
    kernels: Kernels,
    stream: Arc<CudaStream>,
}

impl Cuda {
    /// The GPU of this ordinal, its primary context and a stream of its own.
    ///
    /// # Errors
    /// [`CudaError::NoDriver`] where there is no driver, [`CudaError::NoDevice`] where there is no such
    /// device, [`CudaError::Driver`] where the driver fails.
    pub fn new(ordinal: usize) -> Result<Self, Error> {
        let count = driver::count()?;
        if ordinal >= count {
            return Err(CudaError::NoDevice { ordinal, count }.into());
        }
        let context = CudaContext::new(ordinal).during("make a context")?;
        let stream = context.new_stream().during("make a stream")?;
        Ok(Self { kernels: Kernels::new(&context)?, stream })
    }

    /// The kernels in this device's context.
    pub fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    /// The stream that problems run on.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }
}

impl Device for Cuda {
    fn name(&self) -> String {
        self.kernels.facts().name.clone()
    }

    fn run(&self, problem: &Problem<'_>, placement: Placement) -> Result<Output, Error> {
        run_on(&mut Arena { cuda: self, allocations: Vec::new() }, problem, placement)
    }

    fn run_batch(&self, problem: &BatchProblem<'_>, placement: Placement) -> Result<BatchOutput, Error> {
        run_batch_on(&mut Arena { cuda: self, allocations: Vec::new() }, problem, placement)
    }
}

/// The device memory of one problem.
struct Arena<'a> {
    cuda: &'a Cuda,
    allocations: Vec<Allocation>,
}

/// guard | tensor | guard.
struct Allocation {
    role: Role,
    /// What the driver returned.
    base: u64,
    /// Bytes before the tensor: the guard and the misalignment.
    before: usize,
    /// Bytes of the tensor.
    bytes: usize,
}

impl Allocation {
    fn address(&self) -> u64 {
        self.base + self.before as u64
    }

    fn holds(&self, address: u64, bytes: usize) -> bool {
        address
            .checked_sub(self.address())
            .and_then(|offset| usize::try_from(offset).ok())
            .and_then(|offset| offset.checked_add(bytes))
            .is_some_and(|end| end <= self.bytes)
    }
}

impl Arena<'_> {
    /// Reads device memory that is known to be allocated.
    ///
    /// # Safety
    /// `address` and the bytes after it are within an allocation of this arena.
    unsafe fn copy_out(&self, address: u64, into: &mut [u8]) -> Result<(), CudaError> {
        let stream = &self.cuda.stream;
        stream.context().bind_to_thread().during("bind the context")?;
        // SAFETY: the source is allocated, as the caller promises; the destination is borrowed until the
        // stream is done.
        unsafe { result::memcpy_dtoh_async(into, address, stream.cu_stream()) }.during("copy from the device")?;
        stream.synchronize().during("wait for a copy from the device")
    }

    /// Finds writes that missed their tensor.
    fn check_guards(&self) -> Result<(), CudaError> {
        for allocation in &self.allocations {
            let after = allocation.address() + allocation.bytes as u64;
            for (side, address, bytes) in
                [("before", allocation.base, allocation.before), ("after", after, GUARD_BYTES)]
            {
                let mut guard = vec![0; bytes];
                // SAFETY: both guards are within the allocation.
                unsafe { self.copy_out(address, &mut guard) }?;
                if guard.iter().any(|&byte| byte != GUARD) {
                    return Err(CudaError::OutOfBounds { role: allocation.role, side });
                }
            }
        }
        Ok(())
    }
}

impl DeviceMemory for Arena<'_> {
    fn allocate(&mut self, role: Role, contents: &[u8], misalignment: usize, _: bool) -> Result<u64, Error> {
        let before = GUARD_BYTES + misalignment;
        let mut image = vec![GUARD; before + contents.len() + GUARD_BYTES];
        image[before..][..contents.len()].copy_from_slice(contents);

        let stream = &self.cuda.stream;
        stream.context().bind_to_thread().during("bind the context")?;
        // SAFETY: the memory is written below, before anything reads it.
        let base = unsafe { result::malloc_sync(image.len()) }.during("allocate device memory")?;
        let allocation = Allocation { role, base, before, bytes: contents.len() };
        let address = allocation.address();
        self.allocations.push(allocation);
        // SAFETY: the destination is as long as the image, which lives until the stream is done.
        unsafe { result::memcpy_htod_async(base, &image, stream.cu_stream()) }.during("copy to the device")?;
        stream.synchronize().during("wait for a copy to the device")?;
        Ok(address)
    }

    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Error> {
        assert!(
            self.allocations.iter().any(|allocation| allocation.holds(address, into.len())),
            "reads are of what was allocated"
        );
        // SAFETY: just checked.
        Ok(unsafe { self.copy_out(address, into) }?)
    }

    fn launch(&mut self, call: &Call) -> Result<(), Error> {
        // SAFETY: 1. `run_on` makes the call of this arena's allocations, with the extents that it
        // allocated; 2. they live until the arena drops, and the stream is waited for before that; 3.
        // nobody else knows of them; 4. all of them were filled when allocated.
        unsafe { self.cuda.kernels.launch_raw(&self.cuda.stream, call) }?;
        self.cuda.stream.synchronize().during("wait for a norm")?;
        self.check_guards()?;
        Ok(())
    }

    fn launch_columns(&mut self, call: &ColumnCall) -> Result<(), Error> {
        // SAFETY: as in `launch`, but for `run_batch_on`.
        unsafe { self.cuda.kernels.launch_columns_raw(&self.cuda.stream, call) }?;
        self.cuda.stream.synchronize().during("wait for the statistics of columns")?;
        self.check_guards()?;
        Ok(())
    }
}

impl Drop for Arena<'_> {
    fn drop(&mut self) {
        let stream = &self.cuda.stream;
        // After an error, work may still be under way.
        stream.context().record_err(stream.synchronize());
        for allocation in &self.allocations {
            // SAFETY: allocated by `malloc_sync`, freed nowhere else, and used by no work any more.
            stream.context().record_err(unsafe { result::free_sync(allocation.base) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_holds_its_tensor_and_not_its_guards() {
        let allocation = Allocation { role: Role::X, base: 0x1000, before: GUARD_BYTES + 2, bytes: 10 };
        let first = 0x1000 + 256 + 2;
        assert_eq!(allocation.address(), first);
        assert!(allocation.holds(first, 10) && allocation.holds(first + 10, 0) && allocation.holds(first + 4, 6));
        assert!(!allocation.holds(first, 11) && !allocation.holds(first - 1, 1) && !allocation.holds(first + 10, 1));
        assert!(!allocation.holds(0, 0) && !allocation.holds(u64::MAX, 1) && !allocation.holds(first, usize::MAX));
    }
}
