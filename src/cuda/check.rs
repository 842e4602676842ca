//! What a call of the safe face checks before it goes to the raw face: shapes, types and contexts, which a raw call
//! no longer knows.

use super::CudaError;
use super::call::{NormCall, Residual, SecondHeads, Tables};
use super::launch::Operands;
use super::layout::Shape;
use crate::quantise::Quantisation;
use crate::{CallError, Element, Error, Role, Scope};
use cudarc::driver::{CudaStream, DeviceSlice};
use std::sync::Arc;

impl<E: Element> NormCall<'_, E> {
    pub(super) fn check(&self, stream: &CudaStream, operands: &Operands<'_, '_, '_, E>) -> Result<(), Error> {
        self.kernels.check_context(stream)?;
        let (of_x, x_stream) = operands.x();
        let rows = |role, shape: Shape, tensor: &CudaStream| -> Result<(), Error> {
            check_device(role, tensor, stream)?;
            Ok(check_rows(role, shape, of_x)?)
        };

        check_device(Role::X, x_stream, stream)?;
        if let Some((role, shape, tensor)) = operands.y() {
            rows(role, shape, tensor)?;
        }
        match &self.residual {
            Residual::None => {}
            _ if matches!(operands, Operands::OverResidual(..)) => {
                return Err(CallError::Unused { role: Role::Residual }.into());
            }
            Residual::Read(residual) => rows(Role::Residual, residual.shape, residual.stream())?,
            Residual::Into(residual, out) => {
                rows(Role::Residual, residual.shape, residual.stream())?;
                rows(Role::ResidualOut, out.shape, out.stream())?;
            }
            Residual::InPlace(residual) => rows(Role::Residual, residual.shape, residual.stream())?,
        }
        if let Some(gate) = &self.gate {
            rows(Role::Gate, gate.shape, gate.stream())?;
        }
        let (of_parameters, of_statistics) = vectors(of_x, self.norm.scope);
        for (role, vector, wanted) in [
            (Role::Weight, &self.weight, of_parameters),
            (Role::Bias, &self.bias, of_parameters),
            (Role::LinearBias, &self.linear_bias, of_x.hidden),
            (Role::InnerWeight, &self.inner_weight, of_x.hidden),
            (Role::Rate, &self.rate, of_x.hidden),
            (Role::SecondWeight, &self.second.weight, of_x.hidden),
            (Role::SecondBias, &self.second.bias, of_x.hidden),
        ] {
            if let Some(vector) = vector {
                check_device(role, vector.stream(), stream)?;
                check_length(role, vector.length, wanted)?;
            }
        }
        for (role, vector) in [(Role::Mean, &self.mean), (Role::Rstd, &self.rstd)] {
            if let Some(vector) = vector {
                check_device(role, vector.stream(), stream)?;
                check_length(role, vector.len(), of_statistics)?;
            }
        }
        self.check_second(stream, of_x)?;
        if let Some(tables) = &self.rope {
            self.check_rope(stream, tables, of_x)?;
        }
        self.check_quantised(stream, of_x)
    }

    /// The same for the heads beside those of x.
    fn check_second(&self, stream: &CudaStream, of_x: Shape) -> Result<(), Error> {
        match &self.second.heads {
            SecondHeads::None => {
                // The raw call has no place for them.
                for (role, vector) in [(Role::SecondWeight, &self.second.weight), (Role::SecondBias, &self.second.bias)]
                {
                    if vector.is_some() {
                        return Err(CallError::Unused { role }.into());
                    }
                }
            }
            SecondHeads::Apart(x, y) => {
                check_device(Role::SecondX, x.stream(), stream)?;
                check_second(Role::SecondX, x.shape, of_x)?;
                check_device(Role::SecondY, y.stream(), stream)?;
                check_rows(Role::SecondY, y.shape, x.shape)?;
            }
            SecondHeads::InPlace(x) => {
                check_device(Role::SecondX, x.stream(), stream)?;
                check_second(Role::SecondX, x.shape, of_x)?;
            }
        }
        Ok(())
    }

    /// The same for the tables of the rotary embedding.
    fn check_rope(&self, stream: &CudaStream, tables: &Tables<'_>, of_x: Shape) -> Result<(), Error> {
        for (role, table) in [(Role::Cos, &tables.cos), (Role::Sin, &tables.sin)] {
            check_device(role, table.values.stream(), stream)?;
        }
        if let Some(rope) = self.norm.rope {
            // Of the sines it is known that they are shaped as the cosines.
            check_angles(tables.cos.shape, rope.dim)?;
        }
        if let Some(positions) = &tables.positions {
            check_device(Role::Positions, positions.stream(), stream)?;
            check_length(Role::Positions, positions.length, of_x.rows)?;
        }
        Ok(())
    }

    /// The same for what a norm that quantises has beside. That all of it is there, and nothing that the norm
    /// does not use, the raw call checks.
    fn check_quantised(&self, stream: &CudaStream, of_x: Shape) -> Result<(), Error> {
        let quantisation = self.norm.quantisation;
        if let Some(quantisation) = &quantisation {
            // Sizes follow from a valid quantisation alone.
            quantisation.validate(of_x.hidden).map_err(CallError::from)?;
        }
        if let Some(codes) = &self.codes {
            check_device(Role::Codes, codes.stream(), stream)?;
            if let Some(quantisation) = &quantisation {
                codes.check_type(quantisation.code)?;
                check_codes(quantisation, codes.shape, of_x)?;
            }
        }
        if let Some(scales) = &self.scales {
            check_device(Role::Scales, scales.stream(), stream)?;
            if let Some(quantisation) = &quantisation
                && let Some(scale_type) = quantisation.scaling.scale_type()
            {
                scales.check_type(scale_type)?;
                check_scales(quantisation, scales.len(), of_x)?;
            }
        }
        if let Some(scale) = &self.tensor_scale {
            check_device(Role::TensorScale, scale.stream(), stream)?;
            check_length(Role::TensorScale, scale.len(), 1)?;
        }
        Ok(())
    }
}

/// Elements of weight and bias, and of mean and rstd.
fn vectors(of_x: Shape, scope: Scope) -> (usize, usize) {
    let Shape { rows, hidden, count, .. } = of_x;
    let parameters = match scope {
        Scope::Group => hidden.saturating_mul(count),
        Scope::Row | Scope::Head => hidden,
    };
    (parameters, rows.saturating_mul(count))
}

/// Checks a tensor that is shaped as x.
fn check_rows(role: Role, shape: Shape, of_x: Shape) -> Result<(), CallError> {
    check_second(role, shape, of_x)?;
    if shape.count != of_x.count {
        return Err(CallError::PartCount { role, given: shape.count, wanted: of_x.count });
    }
    Ok(())
}

/// Checks a tensor whose rows may have another number of heads than those of x.
fn check_second(role: Role, shape: Shape, of_x: Shape) -> Result<(), CallError> {
    let Shape { rows, hidden, .. } = shape;
    let (wanted_rows, wanted_hidden) = (of_x.rows, of_x.hidden);
    if (rows, hidden) == (wanted_rows, wanted_hidden) {
        return Ok(());
    }
    Err(CallError::Shape { role, rows, hidden, wanted_rows, wanted_hidden })
}

/// Checks that a table has the angles of so many elements.
fn check_angles(table: Shape, dim: usize) -> Result<(), CallError> {
    let Shape { rows, hidden, .. } = table;
    let wanted_hidden = dim / 2;
    if hidden == wanted_hidden {
        return Ok(());
    }
    Err(CallError::Shape { role: Role::Cos, rows, hidden, wanted_rows: rows, wanted_hidden })
}

fn check_codes(quantisation: &Quantisation, codes: Shape, of_x: Shape) -> Result<(), CallError> {
    let Shape { rows, hidden, .. } = codes;
    let (wanted_rows, wanted_hidden) = (of_x.rows, quantisation.row_bytes(of_x.hidden));
    if (rows, hidden) == (wanted_rows, wanted_hidden) {
        return Ok(());
    }
    Err(CallError::Shape { role: Role::Codes, rows, hidden, wanted_rows, wanted_hidden })
}

fn check_scales(quantisation: &Quantisation, given: usize, of_x: Shape) -> Result<(), CallError> {
    let Shape { rows, hidden, .. } = of_x;
    let wanted = quantisation.scale_count(rows, hidden).ok_or(CallError::TooLarge { rows, stride: 1 })?;
    check_length(Role::Scales, given, wanted)
}

pub(super) fn check_length(role: Role, given: usize, wanted: usize) -> Result<(), CallError> {
    if given == wanted { Ok(()) } else { Err(CallError::Length { role, given, wanted }) }
}

pub(super) fn check_device(role: Role, tensor: &CudaStream, stream: &CudaStream) -> Result<(), CudaError> {
    same_context(role, tensor.context(), stream.context(), |context| context.ordinal())
}

/// Refuses a tensor of another context than the stream's, and of another object for the same context: by its own
/// count of streams each object decides whether accesses wait for one another and record events to be waited for.
fn same_context<C: PartialEq>(
    role: Role,
    tensor: &Arc<C>,
    stream: &Arc<C>,
    ordinal: impl Fn(&C) -> usize,
) -> Result<(), CudaError> {
    if Arc::ptr_eq(tensor, stream) {
        return Ok(());
    }
    // By the driver's handle: two cudarc contexts of one device share the primary context.
    if **tensor == **stream {
        return Err(CudaError::OtherContext { role, ordinal: ordinal(stream) });
    }
    Err(CudaError::WrongDevice { role, tensor: ordinal(tensor), stream: ordinal(stream) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantise::{BlockRounding, CodeType, ScaleLayout, Scaling};

    fn shape(rows: usize, hidden: usize) -> Shape {
        Shape { rows, hidden, stride: hidden, start: 0, count: 1, part_stride: hidden }
    }

    /// Stand-ins for contexts: equal where cudarc's are, which is by device and handle.
    #[test]
    fn tensors_are_of_the_very_context_of_the_stream() {
        let (stream, again, other) = (Arc::new(0), Arc::new(0), Arc::new(1));
        let check = |tensor: &Arc<usize>| same_context(Role::Gate, tensor, &stream, |&ordinal| ordinal);
        assert_eq!(check(&Arc::clone(&stream)), Ok(()));
        assert_eq!(check(&again), Err(CudaError::OtherContext { role: Role::Gate, ordinal: 0 }));
        assert_eq!(check(&other), Err(CudaError::WrongDevice { role: Role::Gate, tensor: 1, stream: 0 }));
    }

    #[test]
    fn codes_are_as_many_bytes_as_their_type_takes() {
        let (fp8, fp4) = (Quantisation::mxfp8(), Quantisation::nvfp4());
        assert_eq!(check_codes(&fp8, Shape { stride: 80, ..shape(3, 64) }, shape(3, 64)), Ok(()));
        assert_eq!(check_codes(&fp4, shape(3, 32), shape(3, 64)), Ok(()));
        let refused = check_codes(&fp4, shape(3, 64), shape(3, 64)).expect_err("twice as many");
        assert_eq!(refused.to_string(), "codes is 3 × 64, wanted 3 × 32, in bytes, for the rows of x");
        let (role, rows, hidden) = (Role::Codes, 2, 64);
        let wanted = CallError::Shape { role, rows, hidden, wanted_rows: 3, wanted_hidden: 64 };
        assert_eq!(check_codes(&fp8, shape(2, 64), shape(3, 64)), Err(wanted));
    }

    /// The counts are worked out from the layouts by hand.
    #[test]
    fn scales_are_counted_with_those_that_no_row_has() {
        let column_major = ScaleLayout::ColumnMajor { alignment: 4 };
        let per_group = |layout| Scaling::PerGroup { size: 64, layout, power_of_two: false, floor: 1e-10 };
        let tiled = Scaling::Mxfp8 { rounding: BlockRounding::Up, layout: ScaleLayout::Tiled };
        for (scaling, wanted) in [
            (Scaling::PerToken { upper_bound: None }, 5),
            // Two groups a row, and room for eight rows.
            (per_group(ScaleLayout::RowMajor), 10),
            (per_group(column_major), 16),
            // Four groups a row: one tile of 128 × 4.
            (tiled, 512),
        ] {
            let quantisation = Quantisation { code: CodeType::E4m3, scaling };
            assert_eq!(check_scales(&quantisation, wanted, shape(5, 128)), Ok(()), "{scaling:?}");
            for given in [wanted - 1, wanted + 1] {
                let refused = Err(CallError::Length { role: Role::Scales, given, wanted });
                assert_eq!(check_scales(&quantisation, given, shape(5, 128)), refused, "{scaling:?}");
            }
        }
        let uncountable = check_scales(&Quantisation::mxfp8(), 1, shape(usize::MAX / 2, 128));
        assert_eq!(uncountable, Err(CallError::TooLarge { rows: usize::MAX / 2, stride: 1 }));
    }

    #[test]
    fn tensors_are_shaped_as_x_and_divided_as_x() {
        let heads = |rows, count, hidden| Shape { count, ..shape(rows, hidden) };
        assert_eq!(check_rows(Role::Y, heads(3, 4, 64), Shape { stride: 999, ..heads(3, 4, 64) }), Ok(()));
        let message = check_rows(Role::Gate, heads(3, 2, 64), heads(3, 4, 64)).expect_err("two heads less");
        assert_eq!(message.to_string(), "a row of gate has 2 heads or groups, wanted 4 as x has");
        let (role, wanted_rows, wanted_hidden) = (Role::Residual, 3, 64);
        let wanted = CallError::Shape { role, rows: 2, hidden: 64, wanted_rows, wanted_hidden };
        assert_eq!(check_rows(role, heads(2, 4, 64), heads(3, 4, 64)), Err(wanted));
        // Heads beside those of x have a number of their own, and nothing else.
        assert_eq!(check_second(Role::SecondX, heads(3, 2, 64), heads(3, 4, 64)), Ok(()));
        let message = check_second(Role::SecondX, heads(3, 2, 32), heads(3, 4, 64)).expect_err("half as large");
        assert_eq!(message.to_string(), "second_x is 3 × 32, wanted 3 × 64 as x is");
    }

    #[test]
    fn groups_have_parameters_of_their_own_and_heads_share_them() {
        let parts = Shape { count: 8, ..shape(5, 64) };
        assert_eq!(vectors(parts, Scope::Group), (512, 40));
        assert_eq!(vectors(parts, Scope::Head), (64, 40));
        assert_eq!(vectors(shape(5, 64), Scope::Row), (64, 5));
    }

    #[test]
    fn tables_have_an_angle_for_two_elements() {
        assert_eq!(check_angles(shape(4096, 32), 64), Ok(()));
        let refused = check_angles(shape(4096, 64), 64).expect_err("each angle twice");
        assert_eq!(refused.to_string(), "cos is 4096 × 64, wanted 4096 × 32 for the elements that are rotated");
    }
}
