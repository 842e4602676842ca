//! The statistics of batch normalisation of host memory.

use super::{HostError, Vector};
use crate::call::extent;
use crate::plan::{ByteFloor, ColumnPlan, column_byte_floor, plan_columns};
use crate::{BatchStatistics, CallError, ColumnCall, DType, DeviceFacts, Error, RawRows, RawVector, Role};

/// The statistics of the columns of contiguous rows on the host. Elements are in the machine's byte order.
#[derive(Clone, Copy, Debug)]
pub struct BatchProblem<'a> {
    /// What is to be computed.
    pub statistics: BatchStatistics,
    /// The type of x.
    pub dtype: DType,
    /// Number of rows, at least 1.
    pub rows: usize,
    /// Number of columns: the elements of a row.
    pub hidden: usize,
    /// `rows × hidden` elements.
    pub x: &'a [u8],
    /// γ, `hidden` elements.
    pub weight: Option<Vector<'a>>,
    /// β, `hidden` elements of the type of γ.
    pub bias: Option<Vector<'a>>,
}

/// The results of a [`BatchProblem`], `hidden` values each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchOutput {
    /// The mean of every column.
    pub mean: Vec<f32>,
    /// The reciprocal standard deviation of every column.
    pub rstd: Vec<f32>,
    /// γ·rstd.
    pub scale: Vec<f32>,
    /// β − mean·scale.
    pub shift: Vec<f32>,
}

impl BatchOutput {
    /// The results by role.
    pub fn by_role(&self) -> [(Role, &[f32]); 4] {
        [(Role::Mean, &self.mean), (Role::Rstd, &self.rstd), (Role::Scale, &self.scale), (Role::Shift, &self.shift)]
    }
}

impl<'a> BatchProblem<'a> {
    /// A problem with x alone; set γ and β as needed.
    pub const fn new(statistics: BatchStatistics, dtype: DType, rows: usize, hidden: usize, x: &'a [u8]) -> Self {
        Self { statistics, dtype, rows, hidden, x, weight: None, bias: None }
    }

    /// Checks the problem as [`ColumnCall::validate`] does, and the sizes of its byte slices.
    ///
    /// # Errors
    /// [`Error::Call`] or [`Error::Host`], whichever is refused first.
    pub fn validate(&self) -> Result<(), Error> {
        self.validate_bytes()?;
        Ok(self.stand_in().validate()?)
    }

    /// The plan of the problem on a device, for tensors that are contiguous and aligned.
    ///
    /// # Errors
    /// The problem is invalid, or the device cannot run it.
    pub fn plan(&self, device: &DeviceFacts) -> Result<ColumnPlan, Error> {
        self.validate_bytes()?;
        plan_columns(&self.stand_in(), device)
    }

    /// The bytes that the problem must move, however it is computed: see [`column_byte_floor`].
    pub fn byte_floor(&self) -> ByteFloor {
        column_byte_floor(&self.stand_in())
    }

    /// The problem as a call, on addresses that are non-null, aligned and far apart: see
    /// [`Problem`](super::Problem).
    fn stand_in(&self) -> ColumnCall {
        let address = |tensor: u64| (tensor + 1) << 60;
        let vector = |tensor, vector: Vector<'_>| RawVector { address: address(tensor), dtype: vector.dtype };
        let x = RawRows { address: address(0), stride: self.hidden };
        ColumnCall {
            weight: self.weight.map(|weight| vector(1, weight)),
            bias: self.bias.map(|bias| vector(2, bias)),
            mean: Some(address(3)),
            rstd: Some(address(4)),
            scale: Some(address(5)),
            shift: Some(address(6)),
            ..ColumnCall::new(self.statistics, self.dtype, self.rows, self.hidden, x)
        }
    }

    fn validate_bytes(&self) -> Result<(), Error> {
        let elements = extent(self.rows, self.hidden, self.hidden);
        let wanted = elements.and_then(|elements| elements.checked_mul(self.dtype.size()));
        let wanted = wanted.ok_or(CallError::TooLarge { rows: self.rows, stride: self.hidden })?;
        if self.x.len() != wanted {
            return Err(HostError::Bytes { role: Role::X, given: self.x.len(), wanted }.into());
        }
        for (role, vector) in [(Role::Weight, self.weight), (Role::Bias, self.bias)] {
            let Some(Vector { dtype, bytes }) = vector else { continue };
            if Some(bytes.len()) != self.hidden.checked_mul(dtype.size()) {
                let (given, wanted) = (bytes.len() / dtype.size(), self.hidden);
                return Err(CallError::Length { role, given, wanted }.into());
            }
        }
        Ok(())
    }
}
