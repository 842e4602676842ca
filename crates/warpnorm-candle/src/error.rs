//! What is refused before a kernel is asked.

use candle_core::{DType, DeviceLocation, Error};
use thiserror::Error as ThisError;
use warpnorm::Role;

/// A tensor that no norm takes. Reaches the caller as a [`candle_core::Error`] with this text; what the library
/// itself refuses, such as a negative eps, has the text of [`warpnorm::Error`].
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum TensorError {
    /// A scalar has no last dimension.
    #[error("{role} is a scalar, wanted at least one dimension to normalise over")]
    Scalar {
        /// The tensor.
        role: Role,
    },
    /// Heads are the last dimension but one.
    #[error("{role} has the shape {shape:?}, wanted [.., heads, head dimension]")]
    Heads {
        /// The tensor.
        role: Role,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// Rows of no heads have nothing to normalise, and no launch is of none.
    #[error("{role} has the shape {shape:?}, rows of 0 heads, wanted at least 1 head in [.., heads, head dimension]")]
    NoHeads {
        /// The tensor.
        role: Role,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The last dimension of grouped rows is all of their groups.
    #[error("rows of {hidden} elements are not {groups} groups of one size")]
    Groups {
        /// Elements of a row.
        hidden: usize,
        /// Groups asked for.
        groups: usize,
    },
    /// A tensor has another shape than the op needs.
    #[error("{role} has the shape {given:?}, wanted {wanted:?}")]
    Shape {
        /// The tensor.
        role: Role,
        /// Its shape.
        given: Vec<usize>,
        /// The shape of x, or what follows from it.
        wanted: Vec<usize>,
    },
    /// Elements of a row, or of a vector, lie apart.
    #[error("the last dimension of {role} has a stride of {stride}, wanted 1; call .contiguous() on it first")]
    LastStride {
        /// The tensor.
        role: Role,
        /// Its last stride, in elements.
        stride: usize,
    },
    /// One launch cannot walk the rows of this view.
    #[error(
        "the rows of {role}, of shape {shape:?} and strides {strides:?}, are not {wanted}; \
         call .contiguous() on it first"
    )]
    Rows {
        /// The tensor.
        role: Role,
        /// Its shape.
        shape: Vec<usize>,
        /// Its strides, in elements.
        strides: Vec<usize>,
        /// What a launch can walk.
        wanted: &'static str,
    },
    /// A tensor's type is not one that goes in its place.
    #[error("{role} is {given:?}, wanted {wanted}")]
    DType {
        /// The tensor.
        role: Role,
        /// Its type.
        given: DType,
        /// The types that there are.
        wanted: &'static str,
    },
    /// Two matrices of one op have different types.
    #[error("{role} is {given:?}, wanted {wanted:?} as x is")]
    ActivationType {
        /// The tensor.
        role: Role,
        /// Its type.
        given: DType,
        /// The type of x.
        wanted: DType,
    },
    /// Tensors are on different devices.
    #[error("{role} is on {given:?}, wanted {wanted:?} as x is")]
    Device {
        /// The tensor.
        role: Role,
        /// Where it is.
        given: DeviceLocation,
        /// Where x is.
        wanted: DeviceLocation,
    },
    /// Tensors are of two devices of candle that are one GPU: each has a stream of its own, and neither waits for the
    /// other's.
    #[error(
        "{role} is of another Device of {given:?} than x is, wanted the same one or a clone of it: \
         streams of two are not ordered"
    )]
    OtherDevice {
        /// The tensor.
        role: Role,
        /// Where both are.
        given: DeviceLocation,
    },
    /// The device has no kernels here.
    #[error("tensors are on {given:?}, wanted the CPU or an NVIDIA GPU")]
    NoKernels {
        /// Where they are.
        given: DeviceLocation,
    },
    /// Results are asked for in a way that the op does not have them.
    #[error("{asked}, wanted {wanted}")]
    Results {
        /// What is asked for.
        asked: &'static str,
        /// What goes with the op.
        wanted: &'static str,
    },
}

impl From<TensorError> for Error {
    fn from(error: TensorError) -> Self {
        Error::wrap(error)
    }
}

/// An error of the library as one of candle's; one of the driver keeps its type.
pub(crate) fn of_library(error: warpnorm::Error) -> Error {
    match error {
        #[cfg(feature = "cuda")]
        warpnorm::Error::Cuda(error) => Error::Cuda(Box::new(error)).bt(),
        error => Error::wrap(error),
    }
}
