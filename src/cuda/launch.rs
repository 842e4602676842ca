//! The launch of a call of the safe face: its checks, and its way to the raw face.

use super::call::{NormCall, Residual};
use super::error::During;
use super::rows::Shape;
use super::{CudaError, Rows, RowsMut};
use crate::quantise::Quantisation;
use crate::{Call, CallError, Element, Error, RawRows, Role};
use cudarc::driver::{CudaStream, DevicePtr, DevicePtrMut, DeviceSlice, SyncOnDrop};

/// What is normalised, and where y goes.
pub(super) enum Operands<'c, 'x, 'y, E> {
    Apart(&'c Rows<'x, E>, &'c mut RowsMut<'y, E>),
    InPlace(&'c mut RowsMut<'y, E>),
    /// y is not stored, but as codes.
    Quantised(&'c Rows<'x, E>),
}

impl<E: Element> Operands<'_, '_, '_, E> {
    fn x(&self) -> (Shape, &CudaStream) {
        match self {
            Operands::Apart(x, _) | Operands::Quantised(x) => (x.shape, x.stream()),
            Operands::InPlace(x) => (x.shape, x.stream()),
        }
    }

    /// y, where it is not x.
    fn y(&self) -> Option<(Shape, &CudaStream)> {
        match self {
            Operands::Apart(_, y) => Some((y.shape, y.stream())),
            Operands::InPlace(_) | Operands::Quantised(_) => None,
        }
    }

    /// The addresses of x and y for the raw face, and the guards of both.
    fn raw<'s>(
        &'s mut self,
        stream: &'s CudaStream,
    ) -> (RawRows, Option<RawRows>, SyncOnDrop<'s>, Option<SyncOnDrop<'s>>) {
        match self {
            Operands::Apart(x, y) => {
                let (y, y_guard) = y.raw_mut(stream);
                let (x, x_guard) = x.raw(stream);
                (x, Some(y), x_guard, Some(y_guard))
            }
            Operands::InPlace(x) => {
                let (x, guard) = x.raw_mut(stream);
                (x, Some(x), guard, None)
            }
            Operands::Quantised(x) => {
                let (x, guard) = x.raw(stream);
                (x, None, guard, None)
            }
        }
    }
}

impl<E: Element> NormCall<'_, E> {
    pub(super) fn launch(mut self, stream: &CudaStream, mut operands: Operands<'_, '_, '_, E>) -> Result<(), Error> {
        self.check(stream, &operands)?;
        let kernels = self.kernels;
        let (shape, _) = operands.x();
        // The guards make the stream wait for what others do to the tensors, and, dropped after the
        // launch, others for the stream.
        let (x, y, _x, _y) = operands.raw(stream);
        let mut call = Call::new(self.norm, E::DTYPE, shape.rows, shape.hidden, x, x);
        call.y = y;

        let (residual, residual_out, _residual) = match &mut self.residual {
            Residual::None => (None, None, (None, None)),
            Residual::Read(rows) => {
                let (rows, guard) = rows.raw(stream);
                (Some(rows), None, (Some(guard), None))
            }
            Residual::Into(rows, out) => {
                let (rows, guard) = rows.raw(stream);
                let (out, out_guard) = out.raw_mut(stream);
                (Some(rows), Some(out), (Some(guard), Some(out_guard)))
            }
            Residual::InPlace(rows) => {
                let (rows, guard) = rows.raw_mut(stream);
                (Some(rows), Some(rows), (Some(guard), None))
            }
        };
        call.residual = residual;
        call.residual_out = residual_out;

        let (weight, _weight) = self.weight.as_ref().map(|vector| vector.bytes.device_ptr(stream)).unzip();
        let (bias, _bias) = self.bias.as_ref().map(|vector| vector.bytes.device_ptr(stream)).unzip();
        let (linear_bias, _linear_bias) =
            self.linear_bias.as_ref().map(|vector| vector.bytes.device_ptr(stream)).unzip();
        call.linear_bias = self.linear_bias.as_ref().zip(linear_bias).map(|(vector, address)| vector.raw(address));
        let (gate, _gate) = self.gate.as_ref().map(|rows| rows.raw(stream)).unzip();
        call.gate = gate;
        call.weight = self.weight.as_ref().zip(weight).map(|(vector, address)| vector.raw(address));
        call.bias = self.bias.as_ref().zip(bias).map(|(vector, address)| vector.raw(address));

        let (mean, _mean) = self.mean.as_mut().map(|view| view.device_ptr_mut(stream)).unzip();
        let (rstd, _rstd) = self.rstd.as_mut().map(|view| view.device_ptr_mut(stream)).unzip();
        call.mean = mean;
        call.rstd = rstd;

        let (codes, _codes) = self.codes.as_mut().map(|codes| codes.raw_mut(stream)).unzip();
        let (scales, _scales) = self.scales.as_mut().map(|scales| scales.device_ptr_mut(stream)).unzip();
        let (tensor_scale, _tensor_scale) = self.tensor_scale.as_ref().map(|scale| scale.device_ptr(stream)).unzip();
        call.codes = codes;
        call.scales = scales;
        call.tensor_scale = tensor_scale;

        // The guards leave what fails while they wait with the context.
        stream.context().check_err().during("make the stream wait for its tensors")?;
        // SAFETY: 1. the extents were checked against the views, which are of the stream's context;
        // 2. and 3. the views are borrowed, what is written mutably, and cudarc frees a slice in stream
        // order after the events that the guards record; where the caller has turned those events off,
        // ordering streams is what they have promised cudarc; 4. slices are written when allocated, or
        // their allocation was `unsafe` and so promised by the caller.
        unsafe { kernels.launch_raw(stream, &call) }
    }

    /// Checks shapes and contexts, which a raw call no longer knows.
    fn check(&self, stream: &CudaStream, operands: &Operands<'_, '_, '_, E>) -> Result<(), Error> {
        self.kernels.check_context(stream)?;
        let (of_x, x_stream) = operands.x();
        let check_rows = |role, shape: Shape, tensor: &CudaStream| -> Result<(), Error> {
            check_device(role, tensor, stream)?;
            if (shape.rows, shape.hidden) != (of_x.rows, of_x.hidden) {
                let Shape { rows, hidden, .. } = shape;
                let (wanted_rows, wanted_hidden) = (of_x.rows, of_x.hidden);
                return Err(CallError::Shape { role, rows, hidden, wanted_rows, wanted_hidden }.into());
            }
            Ok(())
        };
        let check_vector = |role, given, wanted, tensor: &CudaStream| -> Result<(), Error> {
            check_device(role, tensor, stream)?;
            Ok(check_length(role, given, wanted)?)
        };

        check_device(Role::X, x_stream, stream)?;
        if let Some((shape, tensor)) = operands.y() {
            check_rows(Role::Y, shape, tensor)?;
        }
        match &self.residual {
            Residual::None => {}
            Residual::Read(rows) => check_rows(Role::Residual, rows.shape, rows.stream())?,
            Residual::Into(rows, out) => {
                check_rows(Role::Residual, rows.shape, rows.stream())?;
                check_rows(Role::ResidualOut, out.shape, out.stream())?;
            }
            Residual::InPlace(rows) => check_rows(Role::Residual, rows.shape, rows.stream())?,
        }
        if let Some(gate) = &self.gate {
            check_rows(Role::Gate, gate.shape, gate.stream())?;
        }
        for (role, vector) in
            [(Role::Weight, &self.weight), (Role::Bias, &self.bias), (Role::LinearBias, &self.linear_bias)]
        {
            if let Some(vector) = vector {
                check_vector(role, vector.length, of_x.hidden, vector.bytes.stream())?;
            }
        }
        for (role, vector) in [(Role::Mean, &self.mean), (Role::Rstd, &self.rstd)] {
            if let Some(vector) = vector {
                check_vector(role, vector.len(), of_x.rows, vector.stream())?;
            }
        }
        self.check_quantised(stream, of_x)
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

fn check_length(role: Role, given: usize, wanted: usize) -> Result<(), CallError> {
    if given == wanted { Ok(()) } else { Err(CallError::Length { role, given, wanted }) }
}

fn check_device(role: Role, tensor: &CudaStream, stream: &CudaStream) -> Result<(), CudaError> {
    // By the driver's handle: two cudarc contexts of one device share the primary context.
    if tensor.context() == stream.context() {
        return Ok(());
    }
    Err(CudaError::WrongDevice { role, tensor: tensor.context().ordinal(), stream: stream.context().ordinal() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantise::{BlockRounding, CodeType, ScaleLayout, Scaling};

    fn shape(rows: usize, hidden: usize) -> Shape {
        Shape { rows, hidden, stride: hidden }
    }

    #[test]
    fn codes_are_as_many_bytes_as_their_type_takes() {
        let (fp8, fp4) = (Quantisation::mxfp8(), Quantisation::nvfp4());
        assert_eq!(check_codes(&fp8, Shape { rows: 3, hidden: 64, stride: 80 }, shape(3, 64)), Ok(()));
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
}
