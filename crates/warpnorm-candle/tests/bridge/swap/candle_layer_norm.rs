//! Stands in for candle-layer-norm 0.0.1, which builds neither without a GPU's toolkit nor against this candle: its
//! functions, on candle's ops. As there, all is f32 up to the one rounding of the result.

use candle_core::{D, DType, Result, Tensor};

fn norm(h: &Tensor, gamma: &Tensor, beta: Option<&Tensor>, epsilon: f32, remove_mean: bool) -> Result<Tensor> {
    let hidden = h.dim(D::Minus1)? as f64;
    let h = match remove_mean {
        true => h.broadcast_sub(&(h.sum_keepdim(D::Minus1)? / hidden)?)?,
        false => h.clone(),
    };
    let variance = (h.sqr()?.sum_keepdim(D::Minus1)? / hidden)?;
    let y = h.broadcast_div(&(variance + f64::from(epsilon))?.sqrt()?)?.broadcast_mul(&gamma.to_dtype(DType::F32)?)?;
    let y = match beta {
        Some(beta) => y.broadcast_add(&beta.to_dtype(DType::F32)?)?,
        None => y,
    };
    y.to_dtype(gamma.dtype())
}

pub fn layer_norm(x: &Tensor, gamma: &Tensor, beta: Option<&Tensor>, epsilon: f32) -> Result<Tensor> {
    norm(&x.to_dtype(DType::F32)?, gamma, beta, epsilon, true)
}

pub fn rms_norm(x: &Tensor, gamma: &Tensor, beta: Option<&Tensor>, epsilon: f32) -> Result<Tensor> {
    norm(&x.to_dtype(DType::F32)?, gamma, beta, epsilon, false)
}

fn fused_add(
    x: &Tensor,
    res: &Tensor,
    gamma: &Tensor,
    beta: Option<&Tensor>,
    epsilon: f32,
    remove_mean: bool,
) -> Result<(Tensor, Tensor)> {
    let h = (x.to_dtype(DType::F32)? + res.to_dtype(DType::F32)?)?;
    Ok((norm(&h, gamma, beta, epsilon, remove_mean)?, h.to_dtype(x.dtype())?))
}

pub fn fused_add_layer_norm(
    x: &Tensor,
    res: &Tensor,
    gamma: &Tensor,
    beta: Option<&Tensor>,
    epsilon: f32,
) -> Result<(Tensor, Tensor)> {
    fused_add(x, res, gamma, beta, epsilon, true)
}

pub fn fused_add_rms_norm(
    x: &Tensor,
    res: &Tensor,
    gamma: &Tensor,
    beta: Option<&Tensor>,
    epsilon: f32,
) -> Result<(Tensor, Tensor)> {
    fused_add(x, res, gamma, beta, epsilon, false)
}
