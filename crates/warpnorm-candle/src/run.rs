//! From a prepared norm to tensors.

use crate::cpu;
use crate::error::{TensorError, of_library};
use crate::prepared::Prepared;
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, DType, Device, Error, Layout, Result, Shape, Storage, Tensor};
use std::sync::{Mutex, PoisonError};
use warpnorm::quantise::{ScaleLayout, ScaleType, Scaling};

/// What is wanted beside y.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    /// The residual stream that goes out.
    pub(crate) residual: bool,
}

/// The results of a norm that does not quantise.
#[derive(Debug)]
pub(crate) struct Outputs {
    pub(crate) y: Tensor,
    pub(crate) residual: Option<Tensor>,
    pub(crate) second: Option<Tensor>,
}

/// What a device computed: packed rows.
#[derive(Debug, Default)]
pub(crate) struct Storages {
    pub(crate) y: Option<Storage>,
    pub(crate) residual: Option<Storage>,
    pub(crate) second: Option<Storage>,
    pub(crate) codes: Option<Storage>,
    pub(crate) scales: Option<Storage>,
}

/// Runs a norm that does not quantise.
pub(crate) fn outputs(prepared: &Prepared<'_>) -> Result<Outputs> {
    let storages = storages(prepared)?;
    let x = prepared.x.tensor;
    let tensor = |storage, shape: &Shape| deliver(prepared, storage, shape, x.dtype());
    Ok(Outputs {
        y: tensor(storages.y, x.shape())?,
        residual: prepared.wanted.residual.then(|| tensor(storages.residual, x.shape())).transpose()?,
        second: prepared.second.map(|second| tensor(storages.second, second.x.tensor.shape())).transpose()?,
    })
}

/// Runs a norm that quantises: codes, scales and residual.
pub(crate) fn quantised(prepared: &Prepared<'_>) -> Result<(Tensor, Option<Tensor>, Option<Tensor>)> {
    let storages = storages(prepared)?;
    let x = prepared.x.tensor;
    let rows = prepared.x.rows;
    let quantisation = prepared.norm.quantisation;
    let with_last = |last: usize| {
        let mut dims = x.dims().to_vec();
        if let Some(dim) = dims.last_mut() {
            *dim = last;
        }
        Shape::from(dims)
    };
    let codes = with_last(quantisation.map_or(0, |quantisation| quantisation.row_bytes(rows.hidden)));
    let scales = quantisation.and_then(|quantisation| {
        let row_major = match quantisation.scaling {
            Scaling::PerGroup { layout, .. } | Scaling::Mxfp8 { layout, .. } | Scaling::Nvfp4 { layout } => {
                layout == ScaleLayout::RowMajor
            }
            Scaling::PerToken { .. } | Scaling::PerTensor | Scaling::PerTensorWide => true,
        };
        let shape =
            if row_major { with_last(quantisation.groups(rows.hidden)) } else { Shape::from(prepared.scale_count()) };
        let dtype = if quantisation.scaling.scale_type()? == ScaleType::F32 { DType::F32 } else { DType::U8 };
        Some((shape, dtype))
    });
    Ok((
        deliver(prepared, storages.codes, &codes, DType::U8)?,
        scales.map(|(shape, dtype)| deliver(prepared, storages.scales, &shape, dtype)).transpose()?,
        prepared.wanted.residual.then(|| deliver(prepared, storages.residual, x.shape(), x.dtype())).transpose()?,
    ))
}

fn storages(prepared: &Prepared<'_>) -> Result<Storages> {
    let device = prepared.x.tensor.device();
    let empty = prepared.x.rows.count == 0;
    if empty || device.is_cpu() {
        // As a launch would be checked. No address is accessed, and these are further apart than tensors are long.
        let call = prepared.call(|role| (role as u64 + 1) << 52);
        call.validate().map_err(|error| of_library(error.into()))?;
    }
    if empty {
        return Ok(Storages::default());
    }
    match device {
        Device::Cpu => cpu::run(prepared),
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => crate::cuda::run(prepared, device),
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => Err(Error::NotCompiledWithCudaSupport.bt()),
        Device::Metal(_) => Err(TensorError::NoKernels { given: device.location() }.into()),
    }
}

/// A result as a tensor; zeros where nothing was computed, which is where there are no rows.
///
/// Where a gradient is tracked, the result is tied to it by an op that has none: backward is then an error, where a
/// result without an op would silently be a constant to it.
fn deliver(prepared: &Prepared<'_>, storage: Option<Storage>, shape: &Shape, dtype: DType) -> Result<Tensor> {
    let Some(storage) = storage else { return Tensor::zeros(shape, dtype, prepared.x.tensor.device()) };
    match prepared.inputs().find(|(_, tensor, _)| tensor.track_op()) {
        Some((_, tracked, _)) if dtype.is_float() => {
            tracked.apply_op1(NoGradient { computed: Mutex::new(Some(storage)), shape: shape.clone() })
        }
        _ => Ok(Tensor::from_storage(storage, shape.clone(), BackpropOp::none(), false)),
    }
}

/// Hands out what was computed already.
struct NoGradient {
    computed: Mutex<Option<Storage>>,
    shape: Shape,
}

impl NoGradient {
    fn take(&self) -> Option<Storage> {
        self.computed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl CustomOp1 for NoGradient {
    fn name(&self) -> &'static str {
        "warpnorm: fused norms are for inference; forward_diff of its modules is differentiable"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        match self.take() {
            Some(Storage::Cpu(storage)) => Ok((storage, self.shape.clone())),
            _ => Err(Error::msg("the result of a norm was taken twice")),
        }
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        match self.take() {
            Some(Storage::Cuda(storage)) => Ok((storage, self.shape.clone())),
            _ => Err(Error::msg("the result of a norm was taken twice")),
        }
    }
}
