//! The road of host tensors through a device's memory, for the statistics of columns.

use super::run::{DeviceMemory, Layout, POISON};
use super::{BatchOutput, BatchProblem, Placement, Vector};
use crate::{ColumnCall, DType, Error, RawRows, RawVector, Role};

/// Lays a problem out in device memory, launches it and reads the results back. All outputs are vectors, so nothing
/// can lie in place.
pub(crate) fn run_batch_on(
    memory: &mut impl DeviceMemory,
    problem: &BatchProblem<'_>,
    placement: Placement,
) -> Result<BatchOutput, Error> {
    problem.validate()?;
    let BatchProblem { statistics, dtype, rows, hidden, x, weight, bias } = *problem;
    let misalignment = |dtype: DType| placement.offset * dtype.size();
    let layout = Layout::of(rows, hidden, placement.padding, dtype.size())?;
    let address = memory.allocate(Role::X, &layout.spread(x), misalignment(dtype), true)?;
    for (offset, bytes) in layout.gaps() {
        memory.forbid(address + offset as u64, bytes)?;
    }
    let x = RawRows { address, stride: layout.stride };
    let mut call = ColumnCall::new(statistics, dtype, rows, hidden, x);
    let parameter = |memory: &mut _, role, vector: Option<Vector<'_>>| -> Result<Option<RawVector>, Error> {
        let Some(Vector { dtype, bytes }) = vector else { return Ok(None) };
        let address = DeviceMemory::allocate(memory, role, bytes, misalignment(dtype), true)?;
        Ok(Some(RawVector { address, dtype }))
    };
    call.weight = parameter(memory, Role::Weight, weight)?;
    call.bias = parameter(memory, Role::Bias, bias)?;
    let blank = vec![POISON; hidden * size_of::<f32>()];
    let mut output = |role| memory.allocate(role, &blank, misalignment(DType::F32), false);
    let (mean, rstd) = (output(Role::Mean)?, output(Role::Rstd)?);
    let (scale, shift) = (output(Role::Scale)?, output(Role::Shift)?);
    (call.mean, call.rstd, call.scale, call.shift) = (Some(mean), Some(rstd), Some(scale), Some(shift));
    memory.launch_columns(&call)?;

    let values = |address| -> Result<Vec<f32>, Error> {
        let mut values = vec![0.0f32; hidden];
        memory.read(address, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    };
    Ok(BatchOutput { mean: values(mean)?, rstd: values(rstd)?, scale: values(scale)?, shift: values(shift)? })
}
