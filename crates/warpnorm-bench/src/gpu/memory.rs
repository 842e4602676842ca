//! Device memory of a measurement.

use crate::BenchError;
use crate::error::During;
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, result};
use std::sync::Arc;

/// Tensors start at multiples of this, as those of an allocator do.
const ALIGNMENT: u64 = 256;

/// Memory that results are written to and read from.
pub trait Memory {
    /// Bytes, once all work that writes them is done.
    ///
    /// # Errors
    /// They are not of this, or the driver fails.
    fn read(&self, address: u64, bytes: usize) -> Result<Vec<u8>, BenchError>;

    /// Puts one value in so many bytes, before any work that comes after.
    ///
    /// # Errors
    /// They are not of this, or the driver fails.
    fn fill(&self, address: u64, value: u8, bytes: usize) -> Result<(), BenchError>;
}

/// Buffers that live as long as this.
pub struct DeviceBuffers {
    stream: Arc<CudaStream>,
    held: Vec<CudaSlice<u8>>,
}

/// Several tensors of the same size in one buffer.
#[derive(Clone, Copy, Debug)]
pub struct Tiled {
    address: u64,
    /// From one to the next, in bytes.
    stride: u64,
}

impl Tiled {
    /// The address of the one of this number.
    pub fn at(self, set: u64) -> u64 {
        self.address + set * self.stride
    }
}

impl DeviceBuffers {
    /// None yet, on this stream.
    pub fn new(stream: &Arc<CudaStream>) -> Self {
        Self { stream: Arc::clone(stream), held: Vec::new() }
    }

    /// So many bytes of zeros.
    ///
    /// # Errors
    /// The driver has no room for them.
    pub fn zeros(&mut self, bytes: u64) -> Result<u64, BenchError> {
        let length = usize::try_from(bytes.max(1)).map_err(|_| BenchError::Memory { wanted: bytes, free: 0 })?;
        let slice = self.stream.alloc_zeros::<u8>(length).during("allocate device memory")?;
        let (address, _) = slice.device_ptr(&self.stream);
        self.held.push(slice);
        Ok(address)
    }

    /// A copy of these bytes.
    ///
    /// # Errors
    /// The driver fails.
    pub fn upload(&mut self, contents: &[u8]) -> Result<u64, BenchError> {
        let slice = self.stream.clone_htod(contents).during("copy to the device")?;
        let (address, _) = slice.device_ptr(&self.stream);
        self.held.push(slice);
        Ok(address)
    }

    /// So many tensors of zeros.
    ///
    /// # Errors
    /// The driver has no room for them.
    pub fn sets(&mut self, bytes: u64, sets: u64) -> Result<Tiled, BenchError> {
        let stride = bytes.next_multiple_of(ALIGNMENT);
        let address = self.zeros(stride.saturating_mul(sets))?;
        Ok(Tiled { address, stride })
    }

    /// So many tensors, each of which repeats a block until it is full.
    ///
    /// # Errors
    /// The driver fails.
    pub fn tiled(&mut self, block: &[u8], bytes: u64, sets: u64) -> Result<Tiled, BenchError> {
        let tiled = self.sets(bytes, sets)?;
        if block.is_empty() || bytes == 0 {
            return Ok(tiled);
        }
        let source = self.upload(block)?;
        let first = (block.len() as u64).min(bytes);
        self.copy(source, tiled.address, first)?;
        self.repeat(tiled.address, first, bytes)?;
        for set in 1..sets {
            self.copy(tiled.address, tiled.at(set), bytes)?;
        }
        Ok(tiled)
    }

    /// Fills a buffer with what its first bytes hold, each copy as long as all before it.
    fn repeat(&self, address: u64, filled: u64, bytes: u64) -> Result<(), BenchError> {
        let mut filled = filled;
        while filled < bytes {
            let next = filled.min(bytes - filled);
            self.copy(address, address + filled, next)?;
            filled += next;
        }
        Ok(())
    }

    fn copy(&self, from: u64, to: u64, bytes: u64) -> Result<(), BenchError> {
        self.stream.context().bind_to_thread().during("bind the context")?;
        // SAFETY: both are within buffers of this, and do not overlap.
        unsafe { result::memcpy_dtod_async(to, from, bytes as usize, self.stream.cu_stream()) }
            .during("copy in device memory")
    }

    /// Whether a buffer of this has all these bytes.
    ///
    /// # Errors
    /// None has.
    fn held(&self, address: u64, bytes: usize) -> Result<(), BenchError> {
        let inside = |slice: &CudaSlice<u8>| {
            let (start, _) = slice.device_ptr(&self.stream);
            let end = address.checked_add(bytes as u64);
            address >= start && end.is_some_and(|end| end <= start + slice.num_bytes() as u64)
        };
        let wanted = bytes as u64;
        if self.held.iter().any(inside) { Ok(()) } else { Err(BenchError::Memory { wanted, free: 0 }) }
    }
}

impl Memory for DeviceBuffers {
    fn read(&self, address: u64, bytes: usize) -> Result<Vec<u8>, BenchError> {
        self.held(address, bytes)?;
        self.stream.context().bind_to_thread().during("bind the context")?;
        let mut into = vec![0u8; bytes];
        // SAFETY: the source is within a buffer; the destination is as long, and borrowed until the stream is done.
        unsafe { result::memcpy_dtoh_async(&mut into, address, self.stream.cu_stream()) }
            .during("copy from the device")?;
        self.stream.synchronize().during("wait for the device")?;
        Ok(into)
    }

    fn fill(&self, address: u64, value: u8, bytes: usize) -> Result<(), BenchError> {
        self.held(address, bytes)?;
        self.stream.context().bind_to_thread().during("bind the context")?;
        // SAFETY: the bytes are within a buffer.
        unsafe { result::memset_d8_async(address, value, bytes, self.stream.cu_stream()) }.during("fill device memory")
    }
}
