//! What the values h of a row are made of, before they are normalised.

use crate::{Activation, NormError};

/// What of the sum h = α·r + x is rounded before it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResidualRounding {
    /// Statistic and output from R(h), the stored value. Hugging Face, Liger, vLLM but for its dynamic
    /// quantisation.
    #[default]
    Stored,
    /// Statistic and output from h in f32. FlashInfer, quack, FlashAttention, vLLM's dynamic quantisation.
    Wide,
    /// Statistic from h in f32, output from R(h). SGLang's fused add; its older kernel is FlashInfer's,
    /// [`Wide`](Self::Wide).
    Split,
}

/// The residual add in front of a norm: h = α·r + x, computed in f32 with one rounding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResidualAdd {
    /// α: 1 for most networks; DeepNorm scales the residual up (Wang et al., *DeepNet*, 2022).
    pub scale: f32,
    /// What of h is rounded before use.
    pub rounding: ResidualRounding,
}

impl Default for ResidualAdd {
    fn default() -> Self {
        Self { scale: 1.0, rounding: ResidualRounding::default() }
    }
}

/// Where a norm is rounded whose result is added to the residual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PostRounding {
    /// R((r + v·w)·scale): one rounding.
    #[default]
    Single,
    /// R(R(r + R(v·w))·scale): norm, sum and product are each rounded, as they are where three ops compute them
    /// (Hugging Face's Gemma 2 and OLMo 2). The sum and the product are f32 operations.
    Each,
}

/// The residual add after a norm: (r + v·w)·scale, as Gemma 2 and OLMo 2 have it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PostAdd {
    /// What the sum is multiplied by; positive, and 1 for most networks.
    pub scale: f32,
    /// Where it is rounded.
    pub rounding: PostRounding,
}

impl Default for PostAdd {
    fn default() -> Self {
        Self { scale: 1.0, rounding: PostRounding::default() }
    }
}

impl PostAdd {
    pub(crate) fn validate(self) -> Result<(), NormError> {
        if self.scale > 0.0 && self.scale.is_finite() {
            Ok(())
        } else {
            Err(NormError::PostScale { given: self.scale })
        }
    }
}

/// A step from one normalised row towards another, as nGPT's blocks take it (Loshchilov et al., *nGPT: Normalized
/// Transformer with Representation Learning on the Hypersphere*, 2024): h = A + lr·(B − A), where A is the
/// residual r and B is x, each normalised without weights and rounded to the activation type, and
/// lr = |rate·`rate_scale`|, feature by feature, in f32. B − A is rounded to f32, and so is h. nGPT's
/// repository rounds nothing of it under autocast, and every operation of bf16 tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interpolation {
    /// What the rates, which are parameters of the network, are multiplied by: α_init / α_scale.
    pub rate_scale: f32,
}

impl Default for Interpolation {
    fn default() -> Self {
        Self { rate_scale: 1.0 }
    }
}

/// What the values h of a row are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Input {
    /// h = x.
    #[default]
    Plain,
    /// h = α·r + x, and the bias of the Linear before where the call has one.
    ResidualAdd(ResidualAdd),
    /// h = x·act(z), in f32: the gate before the norm, as Mamba-2 has it (`norm_before_gate` is false by
    /// default).
    Gated(Activation),
    /// h = R((r + norm(x)·w₁)·scale): what leaves one block is normalised and added to the residual, and the sum is
    /// normalised for the next one. The first norm is of the family, eps, weight offset and weight rounding of the
    /// second, and has a weight of its own.
    PostNorm(PostAdd),
    /// h = A + lr·(B − A).
    Interpolation(Interpolation),
}

impl Input {
    /// Whether a residual stream comes in.
    pub const fn takes_residual(self) -> bool {
        matches!(self, Input::ResidualAdd(_) | Input::PostNorm(_) | Input::Interpolation(_))
    }

    /// Whether h can be stored as the residual stream that goes out.
    pub const fn stores_residual(self) -> bool {
        matches!(self, Input::ResidualAdd(_) | Input::PostNorm(_))
    }

    pub(crate) fn validate(self) -> Result<(), NormError> {
        match self {
            Input::Plain => Ok(()),
            Input::ResidualAdd(add) if !add.scale.is_finite() => Err(NormError::ResidualScale { given: add.scale }),
            Input::ResidualAdd(_) => Ok(()),
            Input::Gated(activation) => Ok(activation.validate()?),
            Input::PostNorm(add) => add.validate(),
            Input::Interpolation(Interpolation { rate_scale }) if !rate_scale.is_finite() => {
                Err(NormError::RateScale { given: rate_scale })
            }
            Input::Interpolation(_) => Ok(()),
        }
    }
}

impl From<Option<ResidualAdd>> for Input {
    fn from(add: Option<ResidualAdd>) -> Self {
        add.map_or(Input::Plain, Input::ResidualAdd)
    }
}
