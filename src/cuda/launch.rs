//! The launch of a call of the safe face: its way to the raw face.

use super::call::{NormCall, Residual, SecondHeads};
use super::error::During;
use super::layout::Shape;
use super::{Rows, RowsMut};
use crate::{Call, Element, Error, Parts, RawHeads, RawRope, RawRows, Role};
use cudarc::driver::{CudaStream, DevicePtr, DevicePtrMut, SyncOnDrop};

/// What is normalised, and where y goes.
pub(super) enum Operands<'c, 'x, 'y, E> {
    Apart(&'c Rows<'x, E>, &'c mut RowsMut<'y, E>),
    InPlace(&'c mut RowsMut<'y, E>),
    /// y takes the place of the residual.
    OverResidual(&'c Rows<'x, E>, &'c mut RowsMut<'y, E>),
    /// y is not stored, but as codes.
    Quantised(&'c Rows<'x, E>),
}

/// x and where y goes, for the raw face, and the residual where y takes its place.
struct RawOperands<'s> {
    x: RawRows,
    y: Option<RawRows>,
    residual: Option<RawRows>,
    /// To be dropped after the launch.
    _guards: (SyncOnDrop<'s>, Option<SyncOnDrop<'s>>),
}

impl<E: Element> Operands<'_, '_, '_, E> {
    pub(super) fn x(&self) -> (Shape, &CudaStream) {
        match self {
            Operands::Apart(x, _) | Operands::OverResidual(x, _) | Operands::Quantised(x) => (x.shape, x.stream()),
            Operands::InPlace(x) => (x.shape, x.stream()),
        }
    }

    /// What y is stored over or in, where that is not x.
    pub(super) fn y(&self) -> Option<(Role, Shape, &CudaStream)> {
        match self {
            Operands::Apart(_, y) => Some((Role::Y, y.shape, y.stream())),
            Operands::OverResidual(_, y) => Some((Role::Residual, y.shape, y.stream())),
            Operands::InPlace(_) | Operands::Quantised(_) => None,
        }
    }

    fn raw<'s>(&'s mut self, stream: &'s CudaStream) -> RawOperands<'s> {
        match self {
            Operands::Apart(x, y) => {
                let (y, y_guard) = y.raw_mut(stream);
                let (x, x_guard) = x.raw(stream);
                RawOperands { x, y: Some(y), residual: None, _guards: (x_guard, Some(y_guard)) }
            }
            Operands::InPlace(x) => {
                let (x, guard) = x.raw_mut(stream);
                RawOperands { x, y: Some(x), residual: None, _guards: (guard, None) }
            }
            Operands::OverResidual(x, residual) => {
                let (y, y_guard) = residual.raw_mut(stream);
                let (x, x_guard) = x.raw(stream);
                RawOperands { x, y: Some(y), residual: Some(y), _guards: (x_guard, Some(y_guard)) }
            }
            Operands::Quantised(x) => {
                let (x, guard) = x.raw(stream);
                RawOperands { x, y: None, residual: None, _guards: (guard, None) }
            }
        }
    }
}

impl<E: Element> NormCall<'_, E> {
    pub(super) fn launch(mut self, stream: &CudaStream, mut operands: Operands<'_, '_, '_, E>) -> Result<(), Error> {
        self.check(stream, &operands)?;
        let kernels = self.kernels;
        let (shape, _) = operands.x();
        let parts = parts(shape, self.gate.as_ref().map(|gate| gate.shape), operands.y().map(|(_, shape, _)| shape));
        // The guards make the stream wait for what others do to the tensors, and, dropped after the
        // launch, others for the stream.
        let placed = operands.raw(stream);
        let mut call = Call::new(self.norm, E::DTYPE, shape.rows, shape.hidden, placed.x, placed.x);
        call.y = placed.y;
        call.parts = parts;

        let (residual, residual_out, _residual) = match &mut self.residual {
            Residual::None => (placed.residual, None, (None, None)),
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

        let (gate, _gate) = self.gate.as_ref().map(|rows| rows.raw(stream)).unzip();
        call.gate = gate;
        let (weight, _weight) = self.weight.as_ref().map(|vector| vector.raw(stream)).unzip();
        let (bias, _bias) = self.bias.as_ref().map(|vector| vector.raw(stream)).unzip();
        let (linear_bias, _linear_bias) = self.linear_bias.as_ref().map(|vector| vector.raw(stream)).unzip();
        let (inner_weight, _inner_weight) = self.inner_weight.as_ref().map(|vector| vector.raw(stream)).unzip();
        let (rate, _rate) = self.rate.as_ref().map(|vector| vector.raw(stream)).unzip();
        call.weight = weight;
        call.bias = bias;
        call.linear_bias = linear_bias;
        call.inner_weight = inner_weight;
        call.rate = rate;

        let second = &mut self.second;
        let (weight, _second_weight) = second.weight.as_ref().map(|vector| vector.raw(stream)).unzip();
        let (bias, _second_bias) = second.bias.as_ref().map(|vector| vector.raw(stream)).unzip();
        let (heads, _second) = match &mut second.heads {
            SecondHeads::None => (None, (None, None)),
            SecondHeads::Apart(x, y) => {
                let shapes = (x.shape, y.shape);
                let (y, y_guard) = y.raw_mut(stream);
                let (x, x_guard) = x.raw(stream);
                (Some((x, y, shapes)), (Some(x_guard), Some(y_guard)))
            }
            SecondHeads::InPlace(x) => {
                let shape = x.shape;
                let (x, guard) = x.raw_mut(stream);
                (Some((x, x, (shape, shape))), (Some(guard), None))
            }
        };
        call.second = heads.map(|(x, y, (of_x, of_y))| {
            let (count, x_stride, y_stride) = (of_x.count, of_x.part_stride, of_y.part_stride);
            RawHeads { x, y, count, x_stride, y_stride, weight, bias }
        });

        let tables = self.rope.as_ref();
        let (cos, _cos) = tables.map(|tables| tables.cos.raw(stream)).unzip();
        let (sin, _sin) = tables.map(|tables| tables.sin.raw(stream)).unzip();
        let positions = tables.and_then(|tables| tables.positions.as_ref());
        let (positions, _positions) = positions.map(|positions| positions.raw(stream)).unzip();
        call.rope = tables.zip(cos.zip(sin)).map(|(tables, (cos, sin))| {
            let (dtype, entries) = (tables.cos.values.dtype, tables.cos.shape.rows);
            RawRope { cos, sin, dtype, entries, positions }
        });

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

        call.programmatic_launch = self.programmatic_launch;

        // The guards leave what fails while they wait with the context.
        stream.context().check_err().during("make the stream wait for its tensors")?;
        // SAFETY: 1. the extents were checked against the views, which are of the stream's context object;
        // 2. and 3. the views are borrowed, what is written mutably, but for disjoint rows, which share no
        // element, and cudarc frees a slice in stream order after the events that the guards record; where
        // the caller has turned those events off, ordering streams is what they have promised cudarc; what is read
        // before a wait, they have promised in `parameters_first`; where the stream is captured, keeping tensors, and
        // kernels, for every replay is a promise of the caller's, too, which cudarc's safe graphs leave to them for
        // each launch and copy, and which the module's documentation names; 4. slices are written when allocated, or
        // their allocation was `unsafe` and so promised by the caller.
        unsafe { kernels.launch_raw(stream, &call) }
    }
}

/// How the parts of the rows of x, gate and y lie. A tensor that is not there, or is x, lies as x does.
fn parts(x: Shape, gate: Option<Shape>, y: Option<Shape>) -> Parts {
    let stride = |shape: Option<Shape>| shape.unwrap_or(x).part_stride;
    Parts { count: x.count, x_stride: x.part_stride, gate_stride: stride(gate), y_stride: stride(y) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::PartLayout;

    fn heads(count: usize, stride: usize) -> Shape {
        Shape::of_parts(1000, PartLayout::packed(2, count, 8).with_part_stride(stride)).expect("long enough")
    }

    #[test]
    fn each_tensor_has_its_own_stride_of_heads() {
        let x = heads(4, 24);
        let packed = |gate_stride, y_stride| Parts { count: 4, x_stride: 24, gate_stride, y_stride };
        assert_eq!(parts(x, None, None), packed(24, 24));
        assert_eq!(parts(x, Some(heads(4, 16)), None), packed(16, 24));
        assert_eq!(parts(x, Some(heads(4, 16)), Some(heads(4, 8))), packed(16, 8));
    }

    #[test]
    fn whole_rows_are_one_part() {
        let rows = Shape::strided(1000, 3, 7, 9).expect("long enough");
        assert_eq!(parts(rows, None, Some(rows)).count, 1);
    }
}
