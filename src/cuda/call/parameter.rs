//! Vectors and tables of any type.

use crate::{DType, Element, RawVector};
use cudarc::driver::{CudaStream, CudaView, DevicePtr, DeviceSlice, SyncOnDrop};

/// A vector or table of any type.
#[derive(Debug)]
pub struct Parameter<'a> {
    bytes: CudaView<'a, u8>,
    pub(in crate::cuda) dtype: DType,
    pub(in crate::cuda) length: usize,
}

impl<'a> Parameter<'a> {
    pub(in crate::cuda) fn new<W: Element>(view: CudaView<'a, W>) -> Self {
        Self { dtype: W::DTYPE, length: view.len(), bytes: bytes_of(&view) }
    }

    pub(in crate::cuda) fn stream(&self) -> &CudaStream {
        self.bytes.stream()
    }

    /// The address for the raw face. The guard is to be dropped after the launch.
    pub(in crate::cuda) fn raw<'s>(&'s self, stream: &'s CudaStream) -> (RawVector, SyncOnDrop<'s>) {
        let (address, guard) = self.bytes.device_ptr(stream);
        (RawVector { address, dtype: self.dtype }, guard)
    }
}

/// The bytes of a view, which serve for its address and its events alone.
pub(super) fn bytes_of<'a, T>(view: &CudaView<'a, T>) -> CudaView<'a, u8> {
    // SAFETY: nothing is read as u8; the launch reads the elements as what they are.
    let bytes = unsafe { view.transmute::<u8>(view.len() * size_of::<T>()) };
    bytes.expect("a view has the bytes of its elements")
}
