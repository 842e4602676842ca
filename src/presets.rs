//! Norms by the name of the framework that they are to agree with.
//!
//! Each is the description with that framework's rounding, offset and default eps. Checkpoints may state
//! another eps: [`Norm::with_eps`]. Those with a residual add in front compute
//! R(r + x), or what the framework makes of it, in the same pass; where it is not wanted, set
//! [`Norm::input`] to [`Input::Plain`].
//!
//! | preset | y | residual | eps by default |
//! |---|---|---|---|
//! | [`llama`], [`mistral`], [`qwen3`] | R(w·R(x·s)) | stored | 1e-6 |
//! | [`t5`] | R(w·R(x·s)) | stored | 1e-6 |
//! | [`gemma`] | R((x·s)·(1 + w)) | stored | 1e-6 |
//! | [`olmo2`] | R(w·(x·s)) | none | 1e-5 |
//! | [`gpt2`], [`bert`] | LayerNorm, one rounding | stored | 1e-5, 1e-12 |
//! | [`deep_norm`] | LayerNorm of α·r + x | stored | 1e-5 |
//! | [`n_gpt`] | L2 norm | none | none |
//! | [`vllm`] | R(w·(x·s)) | stored | 1e-6 |
//! | [`vllm_static_fp8`] | R(w·R(x·s)) | stored | 1e-6 |
//! | [`vllm_dynamic`] | R(w·R(x·s)) | wide | 1e-6 |
//! | [`flash_infer`], [`flash_infer_gemma`] | R(x·s·(c + w)) | wide | 1e-6 |
//! | [`olmo2_add`] | R(r + R(w·(x·s))) | after the norm | 1e-5 |
//! | [`gemma2_add`] | R(r + R((x·s)·(1 + w))) | after the norm | 1e-6 |
//! | [`gemma2_sandwich`] | [`gemma`] of [`gemma2_add`] | after the first norm, stored | 1e-6 |
//! | [`qwen3_heads`] | [`qwen3`] of each head, rotated | none | 1e-6 |
//! | [`qwen3_next_gated`] | R(w·R(x·s)·silu(z)) | none | 1e-6 |
//! | [`mamba2`] | R(h·s·w), h = x·silu(z) | none | 1e-5 |
//! | [`mamba2_norm_before_gate`] | R(x·s·w·silu(z)) | none | 1e-5 |
//! | [`n_gpt_step`] | Norm(A + lr·(B − A)) | A | none |
//!
//! [`named`] finds them by a text such as `deep-norm:24`.
//!
//! s = 1/√(mean square + eps), and R rounds to the activation type. The sources are the modelling files of
//! Hugging Face Transformers, and the kernels of vLLM and FlashInfer.

mod named;

pub use named::{Preset, PresetError, named};

use crate::{
    Activation, Input, Interpolation, Norm, PostAdd, PostRounding, ResidualAdd, ResidualRounding, Rope, RopeRounding,
    Scope, WeightRounding,
};

const STORED: ResidualAdd = ResidualAdd { scale: 1.0, rounding: ResidualRounding::Stored };
const WIDE: ResidualAdd = ResidualAdd { scale: 1.0, rounding: ResidualRounding::Wide };

const fn before_weight(eps: f32) -> Norm {
    Norm::rms_norm(eps).with_weight_rounding(WeightRounding::BeforeWeight).with_residual_add(STORED)
}

/// Hugging Face `LlamaRMSNorm`, with the residual add before it. Llama 2 and 3 checkpoints state eps 1e-5.
pub const fn llama() -> Norm {
    before_weight(1e-6)
}

/// Hugging Face `MistralRMSNorm`, with the residual add before it. Checkpoints state eps 1e-5.
pub const fn mistral() -> Norm {
    before_weight(1e-6)
}

/// Hugging Face `Qwen3RMSNorm`, with the residual add before it.
pub const fn qwen3() -> Norm {
    before_weight(1e-6)
}

/// Hugging Face `T5LayerNorm`, which is an RMSNorm, with the residual add before it. Where apex is installed, Hugging
/// Face runs its `FusedRMSNorm` instead, which rounds once: [`WeightRounding::Single`].
pub const fn t5() -> Norm {
    before_weight(1e-6)
}

/// Hugging Face `Gemma2RMSNorm` and `Gemma3RMSNorm`: weights are stored minus one, and the sum is taken in
/// f32. With the residual add before it.
pub const fn gemma() -> Norm {
    Norm::rms_norm(1e-6).with_weight_offset(1.0).with_residual_add(STORED)
}

/// Hugging Face `Olmo2RMSNorm`, and OLMo-core's, alone; with the add after it there is [`olmo2_add`]. The
/// `RMSLayerNorm` of allenai/OLMo rounds before the weight: [`WeightRounding::BeforeWeight`]. eps is what Hugging
/// Face's configuration has by default.
pub const fn olmo2() -> Norm {
    Norm::rms_norm(1e-5)
}

/// The norms and the add after the norm, each rounded as where PyTorch computes them one by one.
const EACH: PostAdd = PostAdd { scale: 1.0, rounding: PostRounding::Each };

/// What follows attention and feed-forward in Hugging Face OLMo 2: `residual + post_…_layernorm(hidden_states)`.
pub const fn olmo2_add() -> Norm {
    olmo2().with_post_add(EACH)
}

/// What follows the feed-forward layer in Hugging Face Gemma 2 and 3:
/// `residual + post_feedforward_layernorm(hidden_states)`.
pub const fn gemma2_add() -> Norm {
    Norm::rms_norm(1e-6).with_weight_offset(1.0).with_post_add(EACH)
}

/// What follows attention in Hugging Face Gemma 2 and 3: `post_attention_layernorm`, the residual, and
/// `pre_feedforward_layernorm` of the sum.
pub const fn gemma2_sandwich() -> Norm {
    Norm::rms_norm(1e-6).with_weight_offset(1.0).with_input(Input::PostNorm(EACH))
}

/// `q_norm` and `k_norm` of Hugging Face Qwen3, and the rotary embedding of `dim` elements of each head after them,
/// every operation of it rounded. Its tables are to be of the activation type, to which Hugging Face casts cos and sin.
pub const fn qwen3_heads(dim: usize) -> Norm {
    Norm::rms_norm(1e-6)
        .with_weight_rounding(WeightRounding::BeforeWeight)
        .with_rope(Rope::half_split(dim).with_rounding(RopeRounding::Each))
}

/// `Qwen3NextRMSNormGated` of Hugging Face, of the heads of the gated delta net. As there, each head of each token is a
/// row: tokens · heads rows of `head_v_dim` elements, under one weight of `head_v_dim`, which all of them share.
///
/// ```
/// use warpnorm::host::{Device, Placement, Problem, Vector};
/// use warpnorm::{DType, presets, reference::Cpu};
///
/// // The delta rule's output, [tokens, heads · head_v_dim] in bf16, all ones, and a gate of zeros.
/// let (tokens, heads, head_v_dim) = (3, 32, 128);
/// let x = 0x3f80u16.to_ne_bytes().repeat(tokens * heads * head_v_dim);
/// let gate = vec![0; x.len()];
/// let weight = 0x3f80u16.to_ne_bytes().repeat(head_v_dim);
/// let problem = Problem {
///     gate: Some(&gate),
///     weight: Some(Vector { dtype: DType::BF16, bytes: &weight }),
///     ..Problem::new(presets::qwen3_next_gated(), DType::BF16, tokens * heads, head_v_dim, &x)
/// };
/// assert_eq!(Cpu.run(&problem, Placement::default())?.y, gate);
/// # Ok::<(), warpnorm::Error>(())
/// ```
///
/// Where the heads of a token and those of the next one are not equally far apart, as in a view of a packed projection,
/// they can be groups of a row: [`Norm::with_scope`] of [`Scope::Group`], whose weight is as long as the row, so that
/// the one of the checkpoint is to be repeated, once a head.
///
/// Where fla is installed, Hugging Face runs its kernel instead, which rounds once: [`WeightRounding::Single`]. Without
/// it the product w·R(x·s) is rounded, too, where the weight is of 16 bits; here it is not.
pub const fn qwen3_next_gated() -> Norm {
    Norm::rms_norm(1e-6).with_weight_rounding(WeightRounding::BeforeWeight).with_gate(Activation::SILU)
}

const MAMBA2: Norm = Norm::rms_norm(1e-5).with_scope(Scope::Group);

/// `RMSNormGated` as `Mamba2` of the state-space models' own repository has it, and so its checkpoints: the gate before
/// the norm (`norm_before_gate` is false there by default), of the groups of a row. All of it in f32.
///
/// Hugging Face's `MambaRMSNormGated` gates before the norm, too, and is of the whole row, which is one group; it rounds
/// before the weight: [`WeightRounding::BeforeWeight`].
pub const fn mamba2() -> Norm {
    MAMBA2.with_input(Input::Gated(Activation::SILU))
}

/// The same of a `Mamba2` that was made with `norm_before_gate` true: the gate after the norm.
pub const fn mamba2_norm_before_gate() -> Norm {
    MAMBA2.with_gate(Activation::SILU)
}

/// nGPT's update of the hidden state: x is the block's output, r the hidden state, and the rates are the network's
/// parameters, to be multiplied by `rate_scale` = α_init / α_scale: 0.05 / `base_scale` in nGPT's repository.
///
/// In 16 bits this is the repository's formula, not its bits: there all of it is in f32 under autocast, and of bf16
/// tensors every operation is rounded; here A, B and y are.
pub const fn n_gpt_step(rate_scale: f32) -> Norm {
    Norm::l2_norm().with_input(Input::Interpolation(Interpolation { rate_scale }))
}

/// `ln_1` and `ln_2` of Hugging Face GPT-2, with the residual add before them. The variance is the biased one.
pub const fn gpt2() -> Norm {
    Norm::layer_norm(1e-5).with_residual_add(STORED)
}

/// `LayerNorm` of Hugging Face BERT, after the residual add.
pub const fn bert() -> Norm {
    Norm::layer_norm(1e-12).with_residual_add(STORED)
}

/// DeepNorm of an encoder or a decoder of so many layers that stands alone (Wang et al., *DeepNet*, 2022):
/// LayerNorm(α·r + x), α = (2·layers)^¼. The sum is rounded once; torchscale, in 16 bits, rounds α·r as well.
pub fn deep_norm(layers: u32) -> Norm {
    scaled((2.0 * f64::from(layers)).powf(0.25))
}

/// DeepNorm in the encoder of an encoder-decoder: α = 0.81·(encoder⁴·decoder)^(1/16).
pub fn deep_norm_encoder(encoder_layers: u32, decoder_layers: u32) -> Norm {
    scaled(0.81 * (f64::from(encoder_layers).powi(4) * f64::from(decoder_layers)).powf(1.0 / 16.0))
}

/// DeepNorm in the decoder of an encoder-decoder: α = (3·decoder)^¼.
pub fn deep_norm_decoder(decoder_layers: u32) -> Norm {
    scaled((3.0 * f64::from(decoder_layers)).powf(0.25))
}

fn scaled(alpha: f64) -> Norm {
    Norm::layer_norm(1e-5).with_residual_add(ResidualAdd { scale: alpha as f32, ..STORED })
}

/// The norm of nGPT (Loshchilov et al., 2024): Euclidean length along the embedding. A zero row stays zero,
/// where its repository has NaN. In 16 bits it is the formula of the repository's `justnorm`, x / x.norm(), not its
/// bits: that is in f32 under autocast, and of bf16 tensors rounds the length as well.
pub const fn n_gpt() -> Norm {
    Norm::l2_norm()
}

/// vLLM's `fused_add_rms_norm`; `rms_norm` without the residual. Older versions of both round before the weight, as
/// [`vllm_static_fp8`].
pub const fn vllm() -> Norm {
    Norm::rms_norm(1e-6).with_residual_add(STORED)
}

/// vLLM's `fused_add_rms_norm_static_fp8_quant`, to be given
/// [`Quantisation::per_tensor`](crate::quantise::Quantisation::per_tensor); `rms_norm_static_fp8_quant` without the
/// residual.
pub const fn vllm_static_fp8() -> Norm {
    before_weight(1e-6)
}

/// vLLM's `rms_norm_dynamic_per_token_quant` and `rms_norm_per_block_quant`, to be given
/// [`Quantisation::per_token`](crate::quantise::Quantisation::per_token) or
/// [`per_group`](crate::quantise::Quantisation::per_group): of the sum, only what is stored is rounded.
pub const fn vllm_dynamic() -> Norm {
    before_weight(1e-6).with_residual_add(WIDE)
}

/// FlashInfer's `fused_add_rmsnorm`; `rmsnorm` without the residual.
pub const fn flash_infer() -> Norm {
    Norm::rms_norm(1e-6).with_residual_add(WIDE)
}

/// FlashInfer's `gemma_fused_add_rmsnorm`; `gemma_rmsnorm` without the residual.
pub const fn flash_infer_gemma() -> Norm {
    Norm::rms_norm(1e-6).with_weight_offset(1.0).with_residual_add(WIDE)
}
