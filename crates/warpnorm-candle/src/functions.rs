//! The norms that servers run, as functions.

use crate::call::{RopeTables, norm};
use candle_core::{Result, Tensor};
use warpnorm::{Activation, Norm, PostAdd, ResidualAdd, ResidualRounding, Rope, Scope};

/// RMSNorm over the last dimension: y = R(x·rstd·γ + β), rounded once. The signature is candle-layer-norm's.
///
/// # Errors
/// As [`NormCall::run`](crate::NormCall::run).
pub fn rms_norm(x: &Tensor, gamma: &Tensor, beta: Option<&Tensor>, epsilon: f32) -> Result<Tensor> {
    plain(&Norm::rms_norm(epsilon), x, gamma, beta)
}

/// LayerNorm over the last dimension: y = R((x − mean)·rstd·γ + β), rounded once. The signature is candle-layer-norm's.
///
/// # Errors
/// As [`NormCall::run`](crate::NormCall::run).
pub fn layer_norm(x: &Tensor, gamma: &Tensor, beta: Option<&Tensor>, epsilon: f32) -> Result<Tensor> {
    plain(&Norm::layer_norm(epsilon), x, gamma, beta)
}

/// The residual add and the RMSNorm after it, in one pass: r' = R(r + x), y from r' as [`rms_norm`] has it. Returns
/// (y, r'), each in its own memory.
///
/// These are the bits of an addition followed by [`rms_norm`]. [`fused_add_rms_norm`] takes its statistic from the sum
/// before it is rounded.
///
/// # Errors
/// As [`NormCall::run_with_residual`](crate::NormCall::run_with_residual).
pub fn add_rms_norm(
    x: &Tensor,
    residual: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    eps: f32,
) -> Result<(Tensor, Tensor)> {
    add(Norm::rms_norm(eps), ResidualRounding::Stored, x, residual, (weight, bias))
}

/// The residual add and the LayerNorm after it, in one pass: r' = R(r + x), y from r' as [`layer_norm`] has it.
/// Returns (y, r'), each in its own memory.
///
/// # Errors
/// As [`NormCall::run_with_residual`](crate::NormCall::run_with_residual).
pub fn add_layer_norm(
    x: &Tensor,
    residual: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    eps: f32,
) -> Result<(Tensor, Tensor)> {
    add(Norm::layer_norm(eps), ResidualRounding::Stored, x, residual, (weight, bias))
}

/// The residual add and the RMSNorm after it, as candle-layer-norm has them: y comes from r + x in f32, before it is
/// rounded to r'. Returns (y, r').
///
/// # Errors
/// As [`NormCall::run_with_residual`](crate::NormCall::run_with_residual).
pub fn fused_add_rms_norm(
    x: &Tensor,
    res: &Tensor,
    gamma: &Tensor,
    beta: Option<&Tensor>,
    epsilon: f32,
) -> Result<(Tensor, Tensor)> {
    add(Norm::rms_norm(epsilon), ResidualRounding::Wide, x, res, (gamma, beta))
}

/// The residual add and the LayerNorm after it, as candle-layer-norm has them: y comes from r + x in f32, before it is
/// rounded to r'. Returns (y, r').
///
/// # Errors
/// As [`NormCall::run_with_residual`](crate::NormCall::run_with_residual).
pub fn fused_add_layer_norm(
    x: &Tensor,
    res: &Tensor,
    gamma: &Tensor,
    beta: Option<&Tensor>,
    epsilon: f32,
) -> Result<(Tensor, Tensor)> {
    add(Norm::layer_norm(epsilon), ResidualRounding::Wide, x, res, (gamma, beta))
}

/// The RMSNorm whose result is added to the residual, as in OLMo 2: R(r + x·rstd·γ), the new residual stream, rounded
/// once. Hugging Face rounds the norm and then the sum, and Gemma 2 adds 1 to the weight: [`norm`] of
/// [`olmo2_add`](warpnorm::presets::olmo2_add), [`gemma2_add`](warpnorm::presets::gemma2_add).
///
/// # Errors
/// As [`NormCall::run`](crate::NormCall::run).
pub fn rms_norm_add(x: &Tensor, residual: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    post_add(&Norm::rms_norm(eps), x, residual, weight)
}

/// The LayerNorm whose result is added to the residual, as Swin v2 has it: R(r + (x − mean)·rstd·γ), the new residual
/// stream.
///
/// # Errors
/// As [`NormCall::run`](crate::NormCall::run).
pub fn layer_norm_add(x: &Tensor, residual: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    post_add(&Norm::layer_norm(eps), x, residual, weight)
}

/// Gated RMSNorm: y = R(x·rstd·γ·act(z)), the gate after the norm, as Qwen3-Next has it. Mamba-2 has it before the norm
/// by default: [`norm`] of [`mamba2`](warpnorm::presets::mamba2).
///
/// # Errors
/// As [`NormCall::run`](crate::NormCall::run).
pub fn gated_rms_norm(x: &Tensor, gate: &Tensor, weight: &Tensor, activation: Activation, eps: f32) -> Result<Tensor> {
    norm(&Norm::rms_norm(eps).with_gate(activation)).weight(weight).gate(gate).run(x)
}

/// QK-norm: the RMSNorm of every head of Q and of K, in one launch. q is `[.., heads, head dimension]` and k
/// `[.., key heads, head dimension]`, of as many rows; both may be views of one packed projection.
///
/// # Errors
/// As [`NormCall::run_pair`](crate::NormCall::run_pair).
pub fn qk_norm(q: &Tensor, k: &Tensor, q_weight: &Tensor, k_weight: &Tensor, eps: f32) -> Result<(Tensor, Tensor)> {
    let heads = Norm::rms_norm(eps).with_scope(Scope::Head);
    norm(&heads).weight(q_weight).second(k, Some(k_weight)).run_pair(q)
}

/// QK-norm and the rotary embedding behind it, in one launch: as [`qk_norm`], and the first elements of every head,
/// twice as many as the tables have columns, rotated in halves (GPT-NeoX, Llama, Qwen). y is rounded before it is
/// rotated; [`norm`] has the other pairings and roundings.
///
/// # Errors
/// As [`NormCall::run_pair`](crate::NormCall::run_pair).
pub fn qk_norm_rope(
    (q, q_weight): (&Tensor, &Tensor),
    (k, k_weight): (&Tensor, &Tensor),
    tables: RopeTables<'_>,
    eps: f32,
) -> Result<(Tensor, Tensor)> {
    let dim = 2 * tables.cos.dims().last().copied().unwrap_or(0);
    let heads = Norm::rms_norm(eps).with_rope(Rope::half_split(dim));
    norm(&heads).weight(q_weight).second(k, Some(k_weight)).rope(tables).run_pair(q)
}

fn plain(description: &Norm, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let call = norm(description).weight(weight);
    bias.into_iter().fold(call, |call, bias| call.bias(bias)).run(x)
}

fn add(
    description: Norm,
    rounding: ResidualRounding,
    x: &Tensor,
    residual: &Tensor,
    (weight, bias): (&Tensor, Option<&Tensor>),
) -> Result<(Tensor, Tensor)> {
    let description = description.with_residual_add(ResidualAdd { scale: 1.0, rounding });
    let call = norm(&description).weight(weight).residual(residual);
    bias.into_iter().fold(call, |call, bias| call.bias(bias)).run_with_residual(x)
}

fn post_add(description: &Norm, x: &Tensor, residual: &Tensor, weight: &Tensor) -> Result<Tensor> {
    norm(&description.with_post_add(PostAdd::default())).weight(weight).residual(residual).run(x)
}
