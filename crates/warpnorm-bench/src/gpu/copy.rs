//! The bare copy: the same bytes, and nothing done to them.

use super::memory::{DeviceBuffers, Tiled};
use crate::BenchError;
use crate::error::During;
use crate::measure::MAX_LAUNCHES;
use cudarc::driver::{CudaStream, result};

/// Sets of a rotation at most: a sample has a launch for each.
const MAX_SETS: u64 = MAX_LAUNCHES as u64;

/// Sets of `bytes` each that are `wanted` bytes together, as far as there is room.
pub fn sets(bytes: u64, wanted: u64, room: u64) -> u64 {
    wanted.div_ceil(bytes.max(1)).min(room / bytes.max(1)).clamp(1, MAX_SETS)
}

/// Copies from one buffer to another, in turn.
pub struct Copies {
    from: Tiled,
    to: Tiled,
    bytes: usize,
    sets: u64,
}

impl Copies {
    /// Copies of so many bytes, which read as many and write as many.
    ///
    /// # Errors
    /// The driver has no room.
    pub fn new(buffers: &mut DeviceBuffers, bytes: u64, sets: u64) -> Result<Self, BenchError> {
        let length = usize::try_from(bytes).map_err(|_| BenchError::Memory { wanted: bytes, free: 0 })?;
        Ok(Self { from: buffers.sets(bytes, sets)?, to: buffers.sets(bytes, sets)?, bytes: length, sets })
    }

    /// Copies of a round.
    pub fn round(&self) -> u32 {
        // As `sets` has them, there are few.
        self.sets as u32
    }

    /// Queues one.
    ///
    /// # Errors
    /// The driver fails.
    pub fn queue(&self, turn: u32, stream: &CudaStream) -> Result<(), BenchError> {
        let set = u64::from(turn) % self.sets;
        // SAFETY: both buffers are of so many bytes, and outlive the stream's work: their owner waits for it.
        unsafe { result::memcpy_dtod_async(self.to.at(set), self.from.at(set), self.bytes, stream.cu_stream()) }
            .during("copy in device memory")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_as_many_as_are_wanted_and_fit() {
        assert_eq!(sets(100, 1000, 1 << 30), 10);
        assert_eq!(sets(100, 1001, 1 << 30), 11);
        assert_eq!(sets(100, 1000, 350), 3);
        assert_eq!(sets(100, 1000, 50), 1);
        assert_eq!(sets(1, 1 << 40, 1 << 40), MAX_SETS);
        assert_eq!(sets(0, 1000, 1000), 1000);
    }
}
