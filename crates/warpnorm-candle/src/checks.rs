//! Whether tensors fit x, one by one.

use crate::call::RopeTables;
use crate::error::TensorError;
use crate::layout::{Form, rows, vector};
use crate::prepared::{Matrix, Rope, Vector};
use candle_core::{DType as CandleDType, Tensor};
use warpnorm::{DType, Norm, PositionType, Role};

const ACTIVATIONS: &str = "f32, f16 or bf16";

/// What a check returns.
type Checked<T> = std::result::Result<T, TensorError>;

/// The library's type of a tensor.
pub(crate) fn element(role: Role, tensor: &Tensor) -> Checked<DType> {
    match tensor.dtype() {
        CandleDType::F32 => Ok(DType::F32),
        CandleDType::F16 => Ok(DType::F16),
        CandleDType::BF16 => Ok(DType::BF16),
        given => Err(TensorError::DType { role, given, wanted: ACTIVATIONS }),
    }
}

/// What every tensor of a call must agree with.
pub(crate) struct Checks<'a> {
    pub(crate) x: &'a Tensor,
    pub(crate) dtype: DType,
}

impl<'a> Checks<'a> {
    fn device(&self, role: Role, tensor: &Tensor) -> Checked<()> {
        let (given, wanted) = (tensor.device().location(), self.x.device().location());
        if given != wanted {
            return Err(TensorError::Device { role, given, wanted });
        }
        // Each device of a GPU has a context object and a stream of its own, and streams are ordered within one context
        // object alone: on tensors of two a launch could not wait.
        if tensor.device().same_device(self.x.device()) {
            Ok(())
        } else {
            Err(TensorError::OtherDevice { role, given })
        }
    }

    /// A matrix of the type of x.
    fn activations(&self, role: Role, tensor: &'a Tensor, form: Form) -> Checked<Matrix<'a>> {
        self.device(role, tensor)?;
        if tensor.dtype() != self.x.dtype() {
            return Err(TensorError::ActivationType { role, given: tensor.dtype(), wanted: self.x.dtype() });
        }
        Ok(Matrix { tensor, rows: rows(role, tensor.layout(), form)? })
    }

    /// A matrix of the shape and type of x.
    pub(crate) fn matrix(&self, role: Role, tensor: &'a Tensor, form: Form) -> Checked<Matrix<'a>> {
        if tensor.dims() != self.x.dims() {
            return Err(TensorError::Shape { role, given: tensor.dims().to_vec(), wanted: self.x.dims().to_vec() });
        }
        self.activations(role, tensor, form)
    }

    /// Heads of as many rows, and of the size of those of x.
    pub(crate) fn heads(&self, tensor: &'a Tensor, x: &Matrix<'a>) -> Checked<Matrix<'a>> {
        let role = Role::SecondX;
        let (given, mut wanted) = (tensor.dims().to_vec(), self.x.dims().to_vec());
        let heads = given.len().checked_sub(2).map(|at| given[at]);
        if let (Some(heads), Some(at)) = (heads, wanted.len().checked_sub(2)) {
            wanted[at] = heads;
        }
        if given != wanted {
            return Err(TensorError::Shape { role, given, wanted });
        }
        // Of x that is no heads the library says what is wanted.
        let form = if x.rows.parts == 1 && self.x.rank() < 2 { Form::Rows } else { Form::Heads };
        self.activations(role, tensor, form)
    }

    pub(crate) fn vector(&self, role: Role, tensor: Option<&'a Tensor>, length: usize) -> Checked<Option<Vector<'a>>> {
        let Some(tensor) = tensor else { return Ok(None) };
        self.device(role, tensor)?;
        let offset = vector(role, tensor.layout(), length)?;
        Ok(Some(Vector { tensor, dtype: element(role, tensor)?, offset, length }))
    }

    pub(crate) fn tensor_scale(&self, tensor: Option<&'a Tensor>) -> Checked<Option<Vector<'a>>> {
        let role = Role::TensorScale;
        let Some(tensor) = tensor else { return Ok(None) };
        self.device(role, tensor)?;
        if tensor.dtype() != CandleDType::F32 {
            return Err(TensorError::DType { role, given: tensor.dtype(), wanted: "f32" });
        }
        if tensor.elem_count() != 1 {
            return Err(TensorError::Shape { role, given: tensor.dims().to_vec(), wanted: vec![1] });
        }
        Ok(Some(Vector { tensor, dtype: DType::F32, offset: tensor.layout().start_offset(), length: 1 }))
    }

    pub(crate) fn rope(&self, tables: RopeTables<'a>, norm: &Norm, count: usize) -> Checked<Rope<'a>> {
        let RopeTables { cos, sin, positions } = tables;
        let half = norm.rope.map_or(0, |rope| rope.dim / 2);
        let table = |role, tensor: &'a Tensor, wanted: &[usize]| {
            self.device(role, tensor)?;
            if tensor.dims() != wanted {
                return Err(TensorError::Shape { role, given: tensor.dims().to_vec(), wanted: wanted.to_vec() });
            }
            Ok(Matrix { tensor, rows: rows(role, tensor.layout(), Form::Rows)? })
        };
        let shape = [cos.dims().first().copied().unwrap_or(0), half];
        let (cos, sin) = (table(Role::Cos, cos, &shape)?, table(Role::Sin, sin, &shape)?);
        let dtype = element(Role::Cos, cos.tensor)?;
        if sin.tensor.dtype() != cos.tensor.dtype() {
            let (role, given) = (Role::Sin, sin.tensor.dtype());
            return Err(TensorError::DType { role, given, wanted: "the type of cos" });
        }
        let positions = match positions {
            None => None,
            Some(positions) => Some(self.positions(positions, count)?),
        };
        Ok(Rope { cos, sin, dtype, positions })
    }

    fn positions(&self, tensor: &'a Tensor, count: usize) -> Checked<(&'a Tensor, usize, PositionType)> {
        let role = Role::Positions;
        self.device(role, tensor)?;
        let kind = match tensor.dtype() {
            CandleDType::I64 => PositionType::I64,
            // A u32 past the largest i32 is a negative one, and both are past the end of the tables.
            CandleDType::I32 | CandleDType::U32 => PositionType::I32,
            given => return Err(TensorError::DType { role, given, wanted: "u32, i32 or i64" }),
        };
        if tensor.elem_count() != count {
            return Err(TensorError::Shape { role, given: tensor.dims().to_vec(), wanted: vec![count] });
        }
        match tensor.layout().contiguous_offsets() {
            Some((offset, _)) => Ok((tensor, offset, kind)),
            None => Err(TensorError::Rows {
                role,
                shape: tensor.dims().to_vec(),
                strides: tensor.stride().to_vec(),
                wanted: "side by side",
            }),
        }
    }
}
