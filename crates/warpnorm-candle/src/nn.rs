//! candle-nn, with its norms replaced: `use warpnorm_candle::nn as candle_nn;` is all that a model changes.
//!
//! Everything of [`candle_nn`] is here under its name; [`LayerNorm`], [`RmsNorm`], [`layer_norm`](layer_norm()),
//! [`layer_norm_no_bias`], [`rms_norm`] and `ops::{layer_norm, rms_norm}` are this crate's.
//!
//! Beside what candle-nn's take, the modules take f32 weights beside 16-bit activations, and have
//! [`forward_add`](RmsNorm::forward_add) for the residual add in the same pass. As candle-nn's, they take views of any
//! strides; one that no launch can walk is copied first. What the kernels have not (f64, Metal) is computed by
//! candle's own ops.
//!
//! # Gradients
//! `forward` is for inference. Where a gradient is tracked through it, backward is an error; candle-nn's returns a
//! constant there, without a word, where x is contiguous (but for LayerNorm without bias). `forward_diff` is
//! differentiable.

#[doc(no_inline)]
pub use candle_nn::*;

use crate::layout::{self, Form};
use crate::norm;
use candle_core::{D, DType, Device, Result, Tensor};
use warpnorm::{Norm, ResidualAdd, Role};

/// The module's path in candle-nn.
pub mod layer_norm {
    #[doc(no_inline)]
    pub use super::{LayerNorm, LayerNormConfig, RmsNorm, layer_norm, layer_norm_no_bias, rms_norm};
}

/// candle-nn's ops, with its norms replaced.
pub mod ops {
    #[doc(no_inline)]
    pub use candle_nn::ops::*;

    use super::{forward, has_kernels};
    use candle_core::{Result, Tensor};
    use warpnorm::Norm;

    /// RMSNorm, with the signature of `candle_nn::ops::rms_norm`.
    ///
    /// # Errors
    /// As [`NormCall::run`](crate::NormCall::run).
    pub fn rms_norm(xs: &Tensor, alpha: &Tensor, eps: f32) -> Result<Tensor> {
        if !has_kernels(xs) {
            return candle_nn::ops::rms_norm(xs, alpha, eps);
        }
        forward(&Norm::rms_norm(eps), xs, alpha, None)
    }

    /// LayerNorm, with the signature of `candle_nn::ops::layer_norm`.
    ///
    /// # Errors
    /// As [`NormCall::run`](crate::NormCall::run).
    pub fn layer_norm(xs: &Tensor, alpha: &Tensor, beta: &Tensor, eps: f32) -> Result<Tensor> {
        if !has_kernels(xs) {
            return candle_nn::ops::layer_norm(xs, alpha, beta, eps);
        }
        forward(&Norm::layer_norm(eps), xs, alpha, Some(beta))
    }
}

/// Takes the place of [`candle_nn::LayerNorm`].
#[derive(Clone, Debug)]
pub struct LayerNorm {
    stock: candle_nn::LayerNorm,
}

impl LayerNorm {
    /// With weight and bias.
    pub fn new(weight: Tensor, bias: Tensor, eps: f64) -> Self {
        Self { stock: candle_nn::LayerNorm::new(weight, bias, eps) }
    }

    /// With a weight alone.
    pub fn new_no_bias(weight: Tensor, eps: f64) -> Self {
        Self { stock: candle_nn::LayerNorm::new_no_bias(weight, eps) }
    }

    /// RMSNorm: the mean is not removed.
    pub fn rms_norm(weight: Tensor, eps: f64) -> Self {
        Self { stock: candle_nn::LayerNorm::rms_norm(weight, eps) }
    }

    /// γ.
    pub fn weight(&self) -> &Tensor {
        self.stock.weight()
    }

    /// β, if there is one.
    pub fn bias(&self) -> Option<&Tensor> {
        self.stock.bias()
    }

    /// Added to the variance, inside the root.
    pub fn eps(&self) -> f64 {
        self.stock.eps()
    }

    /// Whether it is LayerNorm, or RMSNorm.
    pub fn remove_mean(&self) -> bool {
        self.stock.remove_mean()
    }

    /// The residual add and this norm in one pass: r' = R(r + x), y = norm(r'). Returns (y, r'), each in its own
    /// memory.
    ///
    /// # Errors
    /// As [`NormCall::run_with_residual`](crate::NormCall::run_with_residual), but for views: those are copied where
    /// they must be.
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<(Tensor, Tensor)> {
        if !has_kernels(x) {
            let residual = (x + residual)?;
            return Ok((self.without_kernels(&residual)?, residual));
        }
        let (x, residual) = (walkable(x, Form::Rows)?, walkable(residual, Form::Rows)?);
        let description = self.description().with_residual_add(ResidualAdd::default());
        let call = norm(&description).weight(self.weight()).residual(&residual);
        self.bias().into_iter().fold(call, |call, bias| call.bias(bias)).run_with_residual(&x)
    }

    /// The norm of candle's own ops, which has a gradient.
    ///
    /// # Errors
    /// Where candle's ops have them.
    pub fn forward_diff(&self, x: &Tensor) -> Result<Tensor> {
        let hidden = x.dim(D::Minus1)? as f64;
        let dtype = x.dtype();
        let wide = match dtype {
            DType::F16 | DType::BF16 => x.to_dtype(DType::F32)?,
            _ => x.clone(),
        };
        let centred =
            if self.remove_mean() { wide.broadcast_sub(&(wide.sum_keepdim(D::Minus1)? / hidden)?)? } else { wide };
        let variance = (centred.sqr()?.sum_keepdim(D::Minus1)? / hidden)?;
        let normalised = centred.broadcast_div(&(variance + self.eps())?.sqrt()?)?;
        let y = normalised.broadcast_mul(&self.weight().to_dtype(normalised.dtype())?)?;
        let y = match self.bias() {
            None => y,
            Some(bias) => y.broadcast_add(&bias.to_dtype(y.dtype())?)?,
        };
        y.to_dtype(dtype)
    }

    /// candle-nn's norm, but for f64, of which it has only some.
    fn without_kernels(&self, x: &Tensor) -> Result<Tensor> {
        if x.dtype() == DType::F64 { self.forward_diff(x) } else { self.stock.forward(x) }
    }

    fn description(&self) -> Norm {
        let eps = self.eps() as f32;
        if self.remove_mean() { Norm::layer_norm(eps) } else { Norm::rms_norm(eps) }
    }
}

impl Module for LayerNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if !has_kernels(x) {
            return self.without_kernels(x);
        }
        forward(&self.description(), x, self.weight(), self.bias())
    }
}

/// Takes the place of [`candle_nn::RmsNorm`].
#[derive(Clone, Debug)]
pub struct RmsNorm(LayerNorm);

impl RmsNorm {
    /// With this weight.
    pub fn new(weight: Tensor, eps: f64) -> Self {
        Self(LayerNorm::rms_norm(weight, eps))
    }

    /// As the module that has both.
    pub fn into_inner(self) -> LayerNorm {
        self.0
    }

    /// γ.
    pub fn weight(&self) -> &Tensor {
        self.0.weight()
    }

    /// Added to the mean square, inside the root.
    pub fn eps(&self) -> f64 {
        self.0.eps()
    }

    /// The norm of candle's own ops, which has a gradient.
    ///
    /// # Errors
    /// Where candle's ops have them.
    pub fn forward_diff(&self, xs: &Tensor) -> Result<Tensor> {
        self.0.forward_diff(xs)
    }

    /// The residual add and this norm in one pass: r' = R(r + x), y = norm(r'). Returns (y, r'), each in its own
    /// memory.
    ///
    /// # Errors
    /// As [`LayerNorm::forward_add`].
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<(Tensor, Tensor)> {
        self.0.forward_add(x, residual)
    }
}

impl Module for RmsNorm {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.0.forward(xs)
    }
}

/// Builds a norm from `weight` and `bias`, or `gamma` and `beta`, as [`candle_nn::layer_norm()`] does.
///
/// # Errors
/// A tensor is missing or of another shape.
pub fn layer_norm<C: Into<LayerNormConfig>>(size: usize, config: C, vb: VarBuilder<'_>) -> Result<LayerNorm> {
    Ok(LayerNorm { stock: candle_nn::layer_norm(size, config, vb)? })
}

/// Builds a LayerNorm from `weight` alone, as [`candle_nn::layer_norm_no_bias`] does.
///
/// # Errors
/// The tensor is missing or of another shape.
pub fn layer_norm_no_bias(size: usize, eps: f64, vb: VarBuilder<'_>) -> Result<LayerNorm> {
    Ok(LayerNorm { stock: candle_nn::layer_norm_no_bias(size, eps, vb)? })
}

/// Builds an RMSNorm from `weight`, as [`candle_nn::rms_norm`] does.
///
/// # Errors
/// The tensor is missing or of another shape.
pub fn rms_norm(size: usize, eps: f64, vb: VarBuilder<'_>) -> Result<RmsNorm> {
    Ok(RmsNorm(LayerNorm { stock: candle_nn::rms_norm(size, eps, vb)?.into_inner() }))
}

/// Whether the kernels, or the CPU path, take such a tensor.
fn has_kernels(x: &Tensor) -> bool {
    matches!(x.dtype(), DType::F32 | DType::F16 | DType::BF16) && !matches!(x.device(), Device::Metal(_))
}

/// The tensor itself, where a launch can walk its rows; else a contiguous copy.
fn walkable(x: &Tensor, form: Form) -> Result<Tensor> {
    match layout::rows(Role::X, x.layout(), form) {
        Err(_) if x.rank() > 0 => x.contiguous(),
        _ => Ok(x.clone()),
    }
}

fn forward(description: &Norm, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let x = walkable(x, Form::RowsOrParts)?;
    let (weight, bias) = (walkable(weight, Form::Rows)?, bias.map(|bias| walkable(bias, Form::Rows)).transpose()?);
    let call = norm(description).weight(&weight);
    bias.iter().fold(call, |call, bias| call.bias(bias)).run(&x)
}
