//! Norms of host memory, on any device: what the tool, the parity verdicts and the tests run.
//!
//! Everything here copies; servers use [`cuda`](crate::cuda) on memory that is already there.

#[cfg(any(feature = "cuda", feature = "emulator"))]
mod run;

#[cfg(any(feature = "cuda", feature = "emulator"))]
pub(crate) use run::{DeviceMemory, run_on};

use crate::call::extent;
use crate::plan::{ByteFloor, Plan, byte_floor, plan};
use crate::{Call, CallError, DType, DeviceFacts, Error, Norm, RawCodes, RawRows, RawVector, Role};
use thiserror::Error as ThisError;

/// A weight or bias on the host.
#[derive(Clone, Copy, Debug)]
pub struct Vector<'a> {
    /// The type of its elements.
    pub dtype: DType,
    /// Its elements, in the machine's byte order.
    pub bytes: &'a [u8],
}

/// A norm of contiguous rows on the host. Elements are in the machine's byte order.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// What is to be computed.
    pub norm: Norm,
    /// The type of x and residual.
    pub dtype: DType,
    /// Number of rows.
    pub rows: usize,
    /// Elements of a row.
    pub hidden: usize,
    /// `rows × hidden` elements.
    pub x: &'a [u8],
    /// `rows × hidden` elements, where the norm adds a residual.
    pub residual: Option<&'a [u8]>,
    /// `rows × hidden` elements of the gate z, where the norm has one.
    pub gate: Option<&'a [u8]>,
    /// The bias of the Linear that x comes from, `hidden` elements of the type of x, where the norm adds a
    /// residual.
    pub linear_bias: Option<Vector<'a>>,
    /// `hidden` elements.
    pub weight: Option<Vector<'a>>,
    /// `hidden` elements.
    pub bias: Option<Vector<'a>>,
    /// The scale that is given for all of a tensor, where the norm's quantisation takes one.
    pub tensor_scale: Option<f32>,
    /// What is wanted beside y, or beside the codes of y.
    pub outputs: Outputs,
}

/// What is wanted beside y, or beside the codes of y.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// y itself, where it is quantised; elsewhere it always is there.
    pub y: bool,
    /// The new residual stream.
    pub residual: bool,
    /// The mean of every row; LayerNorm only.
    pub mean: bool,
    /// The reciprocal standard deviation or reciprocal RMS of every row.
    pub rstd: bool,
}

/// The results of a [`Problem`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// `rows × hidden` elements of the activation type; empty where y is quantised and not asked for.
    pub y: Vec<u8>,
    /// The codes of y, rows of [`row_bytes`](crate::quantise::Quantisation::row_bytes) bytes, if y is quantised.
    pub codes: Option<Vec<u8>>,
    /// The buffer of [`scale_count`](crate::quantise::Quantisation::scale_count) scales, if scales are made.
    pub scales: Option<Vec<u8>>,
    /// `rows × hidden` elements of the activation type, if asked for.
    pub residual: Option<Vec<u8>>,
    /// `rows` values, if asked for.
    pub mean: Option<Vec<f32>>,
    /// `rows` values, if asked for.
    pub rstd: Option<Vec<f32>>,
}

/// How the tensors of a problem lie in device memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Elements between the end of a row and the start of the next.
    pub padding: usize,
    /// Elements by which every tensor starts past a multiple of 256 bytes.
    pub offset: usize,
    /// Whether y lies over x, and the residual that goes out over the one that comes in.
    pub in_place: bool,
}

/// A fault that only a look at the memory around the outputs shows.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum HostError {
    /// Bytes between the rows of an output changed.
    #[error("{role}: the padding after row {row} was written")]
    PaddingWritten {
        /// The output.
        role: Role,
        /// The row.
        row: usize,
    },
    /// Bytes do not make up the tensor.
    #[error("{role} has {given} bytes, wanted {wanted}")]
    Bytes {
        /// The tensor.
        role: Role,
        /// Its bytes.
        given: usize,
        /// The bytes of its shape and type.
        wanted: usize,
    },
}

/// Something that computes norms of host memory.
pub trait Device {
    /// The device for tables: its kind and model.
    fn name(&self) -> String;

    /// Computes a problem, its tensors laid out in the device's memory as `placement` says.
    ///
    /// # Errors
    /// The problem is invalid, or the device failed.
    fn run(&self, problem: &Problem<'_>, placement: Placement) -> Result<Output, Error>;
}

impl<'a> Problem<'a> {
    /// A problem with x and nothing beside it; set the other fields as needed.
    pub fn new(norm: Norm, dtype: DType, rows: usize, hidden: usize, x: &'a [u8]) -> Self {
        Self {
            norm,
            dtype,
            rows,
            hidden,
            x,
            residual: None,
            gate: None,
            linear_bias: None,
            weight: None,
            bias: None,
            tensor_scale: None,
            outputs: Outputs::default(),
        }
    }
}

impl Problem<'_> {
    /// Checks the problem as [`Call::validate`] does, and the sizes of its byte slices.
    ///
    /// # Errors
    /// [`Error::Call`] or [`Error::Host`], whichever is refused first.
    pub fn validate(&self) -> Result<(), Error> {
        self.validate_bytes()?;
        Ok(self.stand_in().validate()?)
    }

    /// The plan of the problem on a device, for tensors that are contiguous and aligned. `None` where
    /// there is nothing to launch.
    ///
    /// # Errors
    /// The problem is invalid, or the device cannot run it.
    pub fn plan(&self, device: &DeviceFacts) -> Result<Option<Plan>, Error> {
        self.validate_bytes()?;
        plan(&self.stand_in(), device)
    }

    /// The bytes that the problem must move, however it is computed: see [`byte_floor`].
    pub fn byte_floor(&self) -> ByteFloor {
        byte_floor(&self.stand_in())
    }

    /// The problem as a call. Host tensors have no addresses on a device; these are non-null, aligned,
    /// and so far apart that nothing overlaps: no slice in memory reaches 2^60 bytes.
    fn stand_in(&self) -> Call {
        let address = |tensor: u64| (tensor + 1) << 60;
        let rows = |tensor| RawRows { address: address(tensor), stride: self.hidden };
        let vector = |tensor, vector: Vector<'_>| RawVector { address: address(tensor), dtype: vector.dtype };
        let mut call = Call::new(self.norm, self.dtype, self.rows, self.hidden, rows(0), rows(1));
        call.residual = self.residual.map(|_| rows(2));
        call.weight = self.weight.map(|weight| vector(3, weight));
        call.bias = self.bias.map(|bias| vector(4, bias));
        call.residual_out = self.outputs.residual.then(|| rows(5));
        call.mean = self.outputs.mean.then(|| address(6));
        call.rstd = self.outputs.rstd.then(|| address(7));
        if let Some(quantisation) = self.norm.quantisation {
            call.y = self.outputs.y.then(|| rows(1));
            call.codes = Some(RawCodes { address: address(8), stride: quantisation.row_bytes(self.hidden) });
            call.scales = quantisation.scaling.scale_type().map(|_| address(9));
        }
        call.gate = self.gate.map(|_| rows(12));
        call.linear_bias = self.linear_bias.map(|bias| vector(11, bias));
        call.tensor_scale = self.tensor_scale.map(|_| address(10));
        call
    }

    /// Checks the sizes of the byte slices.
    ///
    /// # Errors
    /// A slice is longer or shorter than its shape and type say, or the shape overflows.
    fn validate_bytes(&self) -> Result<(), Error> {
        let matrix = extent(self.rows, self.hidden, self.hidden)
            .and_then(|elements| elements.checked_mul(self.dtype.size()))
            .ok_or(CallError::TooLarge { rows: self.rows, stride: self.hidden })?;
        let check = |role, bytes: &[u8], wanted| {
            if bytes.len() == wanted { Ok(()) } else { Err(HostError::Bytes { role, given: bytes.len(), wanted }) }
        };
        check(Role::X, self.x, matrix)?;
        if let Some(residual) = self.residual {
            check(Role::Residual, residual, matrix)?;
        }
        if let Some(gate) = self.gate {
            check(Role::Gate, gate, matrix)?;
        }
        for (role, vector) in
            [(Role::Weight, self.weight), (Role::Bias, self.bias), (Role::LinearBias, self.linear_bias)]
        {
            if let Some(vector) = vector {
                let size = vector.dtype.size();
                if vector.bytes.len() % size != 0 || vector.bytes.len() / size != self.hidden {
                    return Err(
                        CallError::Length { role, given: vector.bytes.len() / size, wanted: self.hidden }.into()
                    );
                }
            }
        }
        Ok(())
    }
}

/// So many bytes of one value. A layout of scales can ask for more than there is memory for, however small
/// the rows are.
pub(crate) fn filled(value: u8, bytes: usize, rows: usize) -> Result<Vec<u8>, CallError> {
    let mut filled = Vec::new();
    filled.try_reserve_exact(bytes).map_err(|_| CallError::TooLarge { rows, stride: 1 })?;
    filled.resize(bytes, value);
    Ok(filled)
}
