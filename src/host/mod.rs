//! Norms of host memory, on any device: what the tool, the parity verdicts and the tests run.
//!
//! Everything here copies; servers use [`cuda`](crate::cuda) on memory that is already there.

mod batch;
#[cfg(any(feature = "cuda", feature = "emulator"))]
mod run;
#[cfg(any(feature = "cuda", feature = "emulator"))]
mod run_batch;

pub use batch::{BatchOutput, BatchProblem};

#[cfg(any(feature = "cuda", feature = "emulator"))]
pub(crate) use run::{DeviceMemory, run_on};
#[cfg(any(feature = "cuda", feature = "emulator"))]
pub(crate) use run_batch::run_batch_on;

use crate::call::extent;
use crate::plan::{ByteFloor, Plan, byte_floor, plan};
use crate::reference::decode;
use crate::{
    Call, CallError, DType, DeviceFacts, Error, Norm, Parts, PositionType, ProgrammaticLaunch, RawCodes, RawHeads,
    RawPositions, RawRope, RawRows, RawVector, Role, Rope, Scope,
};
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
    /// `hidden` elements of the weight of a first norm, where the input is
    /// [`PostNorm`](crate::Input::PostNorm).
    pub inner_weight: Option<Vector<'a>>,
    /// `hidden` elements of the rates, where the input is an [`Interpolation`](crate::Input::Interpolation).
    pub rate: Option<Vector<'a>>,
    /// Heads or groups of a row, `hidden` elements each, side by side: x, gate and y are `rows × parts × hidden`. 1
    /// where the norm is of rows.
    pub parts: usize,
    /// Heads beside those of x, where the norm is of heads.
    pub second: Option<Heads<'a>>,
    /// The tables of the rotary embedding, where the norm rotates.
    pub rope: Option<RopeTables<'a>>,
    /// What is wanted beside y, or beside the codes of y.
    pub outputs: Outputs,
    /// When the launch may begin.
    pub programmatic_launch: ProgrammaticLaunch,
}

/// Heads on the host that are normalised beside those of x.
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a> {
    /// `rows × count × hidden` elements.
    pub x: &'a [u8],
    /// Heads of a row.
    pub count: usize,
    /// `hidden` elements, where those of x have a weight.
    pub weight: Option<Vector<'a>>,
    /// `hidden` elements, where those of x have a bias.
    pub bias: Option<Vector<'a>>,
}

/// The tables of a rotary embedding on the host.
#[derive(Clone, Copy, Debug)]
pub struct RopeTables<'a> {
    /// The cosines, `dim / 2` elements for each position.
    pub cos: &'a [u8],
    /// The sines, likewise.
    pub sin: &'a [u8],
    /// Their type.
    pub dtype: DType,
    /// The position of every row; its number where there are none.
    pub positions: Option<&'a [i64]>,
    /// The type in which the positions go to the device.
    pub position_type: PositionType,
}

impl RopeTables<'_> {
    /// Bytes of the angles of a position.
    fn row_bytes(&self, rope: Rope) -> usize {
        rope.dim / 2 * self.dtype.size()
    }

    /// Positions that the tables have.
    fn entries(&self, rope: Rope) -> usize {
        self.cos.len().checked_div(self.row_bytes(rope)).unwrap_or(0)
    }

    /// cos and sin of a row's position.
    pub(crate) fn angles(&self, rope: Rope, row: usize) -> (Vec<f64>, Vec<f64>) {
        let last = self.entries(rope) - 1;
        let position = self.positions.map_or(row, |positions| usize::try_from(positions[row]).unwrap_or(last));
        let start = position.min(last) * self.row_bytes(rope);
        let values = |table: &[u8]| decode(self.dtype, &table[start..][..self.row_bytes(rope)]);
        (values(self.cos), values(self.sin))
    }
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
    /// `rows × count × hidden` elements, if the problem has other heads.
    pub second_y: Option<Vec<u8>>,
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
    /// Elements by which each tensor of rows starts further past such a multiple than the one before it.
    pub stagger: usize,
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

    /// Computes the statistics of columns, x laid out with the padding of `placement` and all tensors with its
    /// offset; in place, there is nothing that could be.
    ///
    /// # Errors
    /// The problem is invalid, or the device failed.
    fn run_batch(&self, problem: &BatchProblem<'_>, placement: Placement) -> Result<BatchOutput, Error>;
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
            inner_weight: None,
            rate: None,
            parts: 1,
            second: None,
            rope: None,
            outputs: Outputs::default(),
            programmatic_launch: ProgrammaticLaunch::Off,
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

    /// The other heads as a problem of their own, which they are to the result.
    pub fn second_problem(&self) -> Option<Self> {
        let Heads { x, count, weight, bias } = self.second?;
        Some(Self { x, parts: count, weight, bias, second: None, ..*self })
    }

    /// The problem as a call. Host tensors have no addresses on a device; these are non-null, aligned,
    /// and so far apart that nothing overlaps: no slice in memory reaches 2^60 bytes.
    fn stand_in(&self) -> Call {
        let address = |tensor: u64| (tensor + 1) << 60;
        // A shape that overflows was refused with its bytes.
        let of_parts =
            |tensor, parts: usize| RawRows { address: address(tensor), stride: self.hidden.saturating_mul(parts) };
        let rows = |tensor| of_parts(tensor, 1);
        let vector = |tensor, vector: Vector<'_>| RawVector { address: address(tensor), dtype: vector.dtype };
        let (x, y) = (of_parts(0, self.parts), of_parts(1, self.parts));
        let mut call = Call::new(self.norm, self.dtype, self.rows, self.hidden, x, y);
        call.parts = Parts::packed(self.parts, self.hidden);
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
        call.tensor_scale = self.tensor_scale.map(|_| address(10));
        call.linear_bias = self.linear_bias.map(|bias| vector(11, bias));
        call.gate = self.gate.map(|_| of_parts(12, self.parts));
        // Half as far apart, so that all of them have a place.
        let half = |tensor: u64| (27 + tensor) << 59;
        let beside = |tensor, vector: Vector<'_>| RawVector { address: half(tensor), dtype: vector.dtype };
        call.inner_weight = self.inner_weight.map(|weight| beside(0, weight));
        call.rate = self.rate.map(|rate| beside(0, rate));
        call.second = self.second.map(|Heads { count, weight, bias, .. }| {
            let stride = self.hidden.saturating_mul(count);
            RawHeads {
                x: RawRows { address: half(1), stride },
                y: RawRows { address: address(2), stride },
                count,
                x_stride: self.hidden,
                y_stride: self.hidden,
                weight: weight.map(|weight| RawVector { address: address(5), dtype: weight.dtype }),
                bias: bias.map(|bias| RawVector { address: address(8), dtype: bias.dtype }),
            }
        });
        call.programmatic_launch = self.programmatic_launch;
        call.rope = self.rope.zip(self.norm.rope).map(|(tables, rope)| RawRope {
            cos: RawRows { address: address(9), stride: rope.dim / 2 },
            sin: RawRows { address: address(10), stride: rope.dim / 2 },
            dtype: tables.dtype,
            entries: tables.entries(rope),
            positions: tables.positions.map(|_| RawPositions { address: address(11), kind: tables.position_type }),
        });
        call
    }

    /// Checks the sizes of the byte slices.
    ///
    /// # Errors
    /// A slice is longer or shorter than its shape and type say, or the shape overflows.
    fn validate_bytes(&self) -> Result<(), Error> {
        let matrix_of = |parts: usize| {
            let row = self.hidden.checked_mul(parts);
            row.and_then(|row| extent(self.rows, row, row))
                .and_then(|elements| elements.checked_mul(self.dtype.size()))
                .ok_or(CallError::TooLarge { rows: self.rows, stride: self.hidden })
        };
        let matrix = matrix_of(self.parts)?;
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
        let all = if self.norm.scope == Scope::Group { self.hidden.saturating_mul(self.parts) } else { self.hidden };
        let second = self.second;
        for (role, vector, wanted) in [
            (Role::Weight, self.weight, all),
            (Role::Bias, self.bias, all),
            (Role::LinearBias, self.linear_bias, self.hidden),
            (Role::InnerWeight, self.inner_weight, self.hidden),
            (Role::Rate, self.rate, self.hidden),
            (Role::SecondWeight, second.and_then(|heads| heads.weight), self.hidden),
            (Role::SecondBias, second.and_then(|heads| heads.bias), self.hidden),
        ] {
            if let Some(vector) = vector {
                let size = vector.dtype.size();
                if vector.bytes.len() % size != 0 || vector.bytes.len() / size != wanted {
                    return Err(CallError::Length { role, given: vector.bytes.len() / size, wanted }.into());
                }
            }
        }
        if let Some(heads) = second {
            check(Role::SecondX, heads.x, matrix_of(heads.count)?)?;
        }
        if let (Some(tables), Some(rope)) = (self.rope, self.norm.rope) {
            let row = tables.row_bytes(rope).max(1);
            check(Role::Cos, tables.cos, tables.cos.len() / row * row)?;
            check(Role::Sin, tables.sin, tables.cos.len())?;
            if let Some(positions) = tables.positions
                && positions.len() != self.rows
            {
                let (role, given, wanted) = (Role::Positions, positions.len(), self.rows);
                return Err(CallError::Length { role, given, wanted }.into());
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
