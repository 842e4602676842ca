//! The tables of a rotary embedding, and the positions of the rows.

use super::{NormCall, Parameter, bytes_of};
use crate::cuda::layout::{PartLayout, Shape};
use crate::cuda::{IntoView, Rows};
use crate::{CallError, Element, ParameterOf, PositionType, RawPositions, RawRows, Role, Rope};
use cudarc::driver::{CudaStream, CudaView, DevicePtr, DeviceSlice, SyncOnDrop};

mod sealed {
    use crate::PositionType;

    pub trait Position: 'static {
        const KIND: PositionType;
    }

    impl Position for i32 {
        const KIND: PositionType = PositionType::I32;
    }

    // The kernel takes those from 2³¹ on as negative, and so as past the end of the tables, where they are.
    impl Position for u32 {
        const KIND: PositionType = PositionType::I32;
    }

    impl Position for i64 {
        const KIND: PositionType = PositionType::I64;
    }
}

/// A Rust type that positions can have: `i32`, `u32` or `i64`.
pub trait PositionElement: sealed::Position {}

impl PositionElement for i32 {}
impl PositionElement for u32 {}
impl PositionElement for i64 {}

/// The tables of a rotary embedding in device memory, of the activation type or f32, and which of their rows belongs
/// to each row of x.
#[derive(Debug)]
pub struct RopeTables<'a, T> {
    cos: Rows<'a, T>,
    sin: Rows<'a, T>,
    positions: Option<Positions<'a>>,
}

impl<'a, T: Element> RopeTables<'a, T> {
    /// One table, each row of which has the cosines of a position and then its sines, as vLLM and SGLang cache them:
    /// `dim` elements, [those of a head that are rotated](Rope::dim).
    ///
    /// # Errors
    /// [`NormError::RopeDim`](crate::NormError::RopeDim) where `dim` is not even or too large,
    /// [`CallError::PartialRow`] where the table is not a whole number of rows.
    pub fn cache(data: impl IntoView<'a, Element = T>, dim: usize) -> Result<Self, CallError> {
        let view = data.into_view();
        let (cos, sin) = halves(view.len(), dim)?;
        Ok(Self { cos: Rows::parts(&view, cos)?, sin: Rows::parts(view, sin)?, positions: None })
    }

    /// Two tables, of `dim / 2` elements a row: the cosines of a position and its sines.
    ///
    /// Where each angle stands twice in a row of `dim` elements, as Hugging Face's tables have it, the first half of
    /// each row is enough: `Rows::strided(&cos, positions, dim / 2, dim)`.
    ///
    /// # Errors
    /// [`CallError::Shape`] where they differ in shape.
    pub fn new(cos: &Rows<'a, T>, sin: &Rows<'a, T>) -> Result<Self, CallError> {
        check_tables(cos.shape, sin.shape)?;
        Ok(Self { cos: cos.clone(), sin: sin.clone(), positions: None })
    }

    /// With the position of every row of x, which is the row of the tables that it is rotated by. Without, each row is
    /// rotated by that of its own number.
    ///
    /// They are read when the launch runs. One that is negative, or past the end of the tables, takes their last row:
    /// no launch reads beyond a table.
    #[must_use]
    pub fn positions<P: PositionElement>(mut self, positions: impl IntoView<'a, Element = P>) -> Self {
        let view = positions.into_view();
        self.positions = Some(Positions { bytes: bytes_of(&view), kind: P::KIND, length: view.len() });
        self
    }
}

impl<'a, E: Element> NormCall<'a, E> {
    /// With the tables by which the heads are rotated. The norm has to say how by
    /// [`Norm::with_rope`](crate::Norm::with_rope).
    ///
    /// Tables of neither the activation type nor f32 are none:
    ///
    /// ```compile_fail,E0277
    /// # use cudarc::driver::CudaSlice;
    /// # use half::{bf16, f16};
    /// # use warpnorm::{Norm, cuda::{Kernels, RopeTables}};
    /// # fn f(kernels: &Kernels, norm: &Norm, cache: CudaSlice<f16>) -> Result<(), warpnorm::CallError> {
    /// let tables = RopeTables::cache(&cache, 128)?;
    /// let call = kernels.norm::<bf16>(norm).rope(&tables);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Nor are positions of 8 bits, or of floats:
    ///
    /// ```compile_fail,E0277
    /// # use cudarc::driver::CudaSlice;
    /// # use warpnorm::{CallError, cuda::RopeTables};
    /// # fn f(cache: CudaSlice<f32>, positions: CudaSlice<f32>) -> Result<(), CallError> {
    /// let tables = RopeTables::cache(&cache, 128)?.positions(&positions);
    /// # Ok(())
    /// # }
    /// ```
    pub fn rope<T: ParameterOf<E>>(mut self, tables: &RopeTables<'a, T>) -> Self {
        let table = |rows: &Rows<'a, T>| Table { values: Parameter::new(rows.view()), shape: rows.shape };
        let positions = tables.positions.as_ref().map(Positions::reborrow);
        self.rope = Some(Tables { cos: table(&tables.cos), sin: table(&tables.sin), positions });
        self
    }
}

/// Tables of any type.
#[derive(Debug)]
pub struct Tables<'a> {
    pub(in crate::cuda) cos: Table<'a>,
    pub(in crate::cuda) sin: Table<'a>,
    pub(in crate::cuda) positions: Option<Positions<'a>>,
}

#[derive(Debug)]
pub struct Table<'a> {
    pub(in crate::cuda) values: Parameter<'a>,
    pub(in crate::cuda) shape: Shape,
}

impl Table<'_> {
    /// The address for the raw face. The guard is to be dropped after the launch.
    pub(in crate::cuda) fn raw<'s>(&'s self, stream: &'s CudaStream) -> (RawRows, SyncOnDrop<'s>) {
        let (vector, guard) = self.values.raw(stream);
        (self.shape.raw(vector.address, vector.dtype.size()), guard)
    }
}

/// Positions of any type.
#[derive(Debug)]
pub struct Positions<'a> {
    bytes: CudaView<'a, u8>,
    kind: PositionType,
    pub(in crate::cuda) length: usize,
}

impl<'a> Positions<'a> {
    fn reborrow(&self) -> Positions<'a> {
        Positions { bytes: self.bytes.slice(..), kind: self.kind, length: self.length }
    }

    pub(in crate::cuda) fn stream(&self) -> &CudaStream {
        self.bytes.stream()
    }

    /// The address for the raw face. The guard is to be dropped after the launch.
    pub(in crate::cuda) fn raw<'s>(&'s self, stream: &'s CudaStream) -> (RawPositions, SyncOnDrop<'s>) {
        let (address, guard) = self.bytes.device_ptr(stream);
        (RawPositions { address, kind: self.kind }, guard)
    }
}

/// Where cosines and sines lie in a table of this length that has both in a row.
fn halves(length: usize, dim: usize) -> Result<(PartLayout, PartLayout), CallError> {
    Rope::half_split(dim).validate()?;
    let Shape { rows, .. } = Shape::contiguous(length, dim)?;
    let cos = PartLayout::packed(rows, 1, dim / 2).with_row_stride(dim);
    Ok((cos, cos.starting_at(dim / 2)))
}

fn check_tables(cos: Shape, sin: Shape) -> Result<(), CallError> {
    for (role, given, wanted) in [(Role::Cos, cos.count, 1), (Role::Sin, sin.count, 1)] {
        if given != wanted {
            return Err(CallError::PartCount { role, given, wanted });
        }
    }
    if (sin.rows, sin.hidden) == (cos.rows, cos.hidden) {
        return Ok(());
    }
    let (Shape { rows, hidden, .. }, wanted_rows, wanted_hidden) = (sin, cos.rows, cos.hidden);
    Err(CallError::Shape { role: Role::Sin, rows, hidden, wanted_rows, wanted_hidden })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NormError;

    #[test]
    fn a_cache_has_the_cosines_and_then_the_sines_of_a_position() {
        // Seven positions of 3 + 3 angles.
        let (cos, sin) = halves(42, 6).expect("whole rows");
        let wanted = |start| PartLayout { rows: 7, count: 1, hidden: 3, start, row_stride: 6, part_stride: 3 };
        assert_eq!((cos, sin), (wanted(0), wanted(3)));
        assert!(Shape::of_parts(42, cos).is_ok() && Shape::of_parts(42, sin).is_ok());
        assert_eq!(halves(43, 6), Err(CallError::PartialRow { given: 43, hidden: 6 }));
        for dim in [0, 1, 7, 514] {
            assert_eq!(halves(0, dim), Err(CallError::Norm(NormError::RopeDim { given: dim })), "{dim}");
        }
    }

    #[test]
    fn tables_are_of_one_shape() {
        let table = |rows, hidden| Shape::strided(1000, rows, hidden, hidden).expect("long enough");
        assert_eq!(check_tables(table(10, 32), table(10, 32)), Ok(()));
        let message = check_tables(table(10, 32), table(9, 32)).expect_err("a position less").to_string();
        assert_eq!(message, "sin is 9 × 32, wanted 10 × 32 as cos is");
        assert!(check_tables(table(10, 32), table(10, 16)).is_err());
        let heads = Shape::of_parts(1000, PartLayout::packed(10, 2, 32)).expect("long enough");
        let wanted = CallError::PartCount { role: Role::Sin, given: 2, wanted: 1 };
        assert_eq!(check_tables(table(10, 32), heads), Err(wanted));
    }
}
