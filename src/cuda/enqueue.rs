//! How the driver is told of a launch: by `cuLaunchKernel`, or by `cuLaunchKernelEx` where the launch has attributes,
//! for which cudarc has no safe face.

use super::CudaError;
use super::error::During;
use cudarc::driver::result;
use cudarc::driver::sys::{self, CUlaunchAttributeID as AttributeId};
use std::ffi::c_void;
use std::ptr;

/// The shape of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Thread blocks.
    pub(super) grid: u32,
    /// Threads of a thread block.
    pub(super) block: [u32; 2],
    /// Thread blocks of a cluster.
    pub(super) cluster: u32,
    /// Bytes of dynamic shared memory of a thread block.
    pub(super) shared_bytes: u32,
    /// Whether it may begin before the launches in front of it have completed.
    pub(super) programmatic: bool,
}

/// As many attributes as a launch can have.
type Attributes = [sys::CUlaunchAttribute; 2];

impl Shape {
    /// The attributes that say what a plain launch cannot, the first so many of the array.
    fn attributes(self) -> (Attributes, u32) {
        let mut attributes = [none(); 2];
        let mut count = 0;
        if self.cluster > 1 {
            let id = AttributeId::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
            let clusters = sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x: self.cluster, y: 1, z: 1 };
            attributes[count] = attribute(id, sys::CUlaunchAttributeValue { clusterDim: clusters });
            count += 1;
        }
        if self.programmatic {
            let id = AttributeId::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
            let value = sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 };
            attributes[count] = attribute(id, value);
            count += 1;
        }
        (attributes, count as u32)
    }
}

fn attribute(id: AttributeId, value: sys::CUlaunchAttributeValue) -> sys::CUlaunchAttribute {
    sys::CUlaunchAttribute { id, pad: [0; 4], value }
}

/// What stands in the places of the array that are not counted.
fn none() -> sys::CUlaunchAttribute {
    attribute(AttributeId::CU_LAUNCH_ATTRIBUTE_IGNORE, sys::CUlaunchAttributeValue { pad: [0; 64] })
}

/// Queues a launch of a function with one parameter, and returns.
///
/// # Safety
/// The function is of a module that is loaded in the current context, and stays so until the launch has completed;
/// the stream is a live one of that context; the function takes one parameter, an `A`; all that it accesses in such
/// a launch stays allocated, and untouched by others, until it has completed.
pub(super) unsafe fn enqueue<A: bytemuck::Pod>(
    function: sys::CUfunction,
    shape: Shape,
    stream: sys::CUstream,
    args: &mut A,
) -> Result<(), CudaError> {
    let Shape { grid, block: [width, height], shared_bytes, .. } = shape;
    let mut parameters = [(&raw mut *args).cast::<c_void>()];
    let (mut attributes, count) = shape.attributes();
    let launched = if count == 0 {
        // SAFETY: the driver copies the parameter before it returns; the rest is as the caller promises.
        unsafe {
            let block = (width, height, 1);
            result::launch_kernel(function, (grid, 1, 1), block, shared_bytes, stream, &mut parameters)
        }
    } else {
        let config = sys::CUlaunchConfig {
            gridDimX: grid,
            gridDimY: 1,
            gridDimZ: 1,
            blockDimX: width,
            blockDimY: height,
            blockDimZ: 1,
            sharedMemBytes: shared_bytes,
            hStream: stream,
            attrs: attributes.as_mut_ptr(),
            numAttrs: count,
        };
        // SAFETY: the configuration and its attributes, of which the first `count` are set, outlive the call, as does
        // the parameter; the rest is as the caller promises.
        unsafe { sys::cuLaunchKernelEx(&raw const config, function, parameters.as_mut_ptr(), ptr::null_mut()) }.result()
    };
    launched.during("launch a kernel")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(cluster: u32, programmatic: bool) -> Vec<sys::CUlaunchAttribute> {
        let (attributes, count) =
            Shape { grid: 16, block: [128, 1], cluster, shared_bytes: 0, programmatic }.attributes();
        attributes[..count as usize].to_vec()
    }

    #[test]
    fn a_plain_launch_has_no_attributes() {
        assert_eq!(attributes(1, false).len(), 0);
    }

    #[test]
    fn a_cluster_is_an_attribute() {
        for cluster in [2, 4, 8] {
            let [attribute] = attributes(cluster, false)[..] else { panic!("one attribute for {cluster} CTAs") };
            assert_eq!(attribute.id, AttributeId::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION);
            // SAFETY: the dimensions are what the attribute of this name holds.
            let dimensions = unsafe { attribute.value.clusterDim };
            assert_eq!((dimensions.x, dimensions.y, dimensions.z), (cluster, 1, 1));
        }
    }

    #[test]
    fn an_early_begin_is_another() {
        const ID: AttributeId = AttributeId::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
        for (cluster, wanted) in [(1, 1), (8, 2)] {
            let attributes = attributes(cluster, true);
            assert_eq!(attributes.len(), wanted);
            let attribute = attributes.iter().find(|attribute| attribute.id == ID).expect("it is there");
            // SAFETY: the number is what the attribute of this name holds.
            assert_eq!(unsafe { attribute.value.programmaticStreamSerializationAllowed }, 1);
        }
    }
}
