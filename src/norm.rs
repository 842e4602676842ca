//! Op descriptions: what is to be computed, as plain values.

use crate::error::NormError;
use crate::quantise::{Quantisation, Scaling};
use crate::{Activation, Input, PostAdd, ResidualAdd, Rope};
use std::fmt;

/// The statistic that a row is normalised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// Mean and standard deviation, after Ba, Kiros and Hinton, *Layer Normalization* (2016). The
    /// variance is the population variance.
    LayerNorm,
    /// Root mean square, after Zhang and Sennrich, *Root Mean Square Layer Normalization* (2019).
    RmsNorm,
    /// Euclidean length, as nGPT normalises (Loshchilov et al., *nGPT: Normalized Transformer with
    /// Representation Learning on the Hypersphere*, 2024): RMS norm without the division by `hidden`. A row of
    /// zeros, or of values whose squares all vanish, stays zero.
    L2Norm,
    /// None: v = h. With a gate, the activations of feed-forward layers; with weight and bias, a scale and a shift
    /// per feature, which is what batch normalisation folds to: at inference, or by
    /// [`BatchStatistics`](crate::BatchStatistics).
    Identity,
}

impl Family {
    /// The families that normalise.
    pub const NORMS: [Family; 3] = [Family::LayerNorm, Family::RmsNorm, Family::L2Norm];

    /// Every family.
    pub const ALL: [Family; 4] = [Family::LayerNorm, Family::RmsNorm, Family::L2Norm, Family::Identity];

    /// The name that kernels and messages use.
    pub const fn name(self) -> &'static str {
        match self {
            Family::LayerNorm => "layer_norm",
            Family::RmsNorm => "rms_norm",
            Family::L2Norm => "l2_norm",
            Family::Identity => "identity",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where the product with the weight is rounded to the activation type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WeightRounding {
    /// y = R(v·w + b): one rounding. FlashInfer, TensorRT-LLM, OLMo 2, Gemma.
    #[default]
    Single,
    /// y = R(R(v)·w + b): the normalised value is rounded first. Hugging Face Llama, Mistral, Qwen, T5
    /// (with f32 weights beside 16-bit activations, theirs stays f32 where this is rounded).
    BeforeWeight,
}

/// What of a row is normalised by one statistic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All of it.
    #[default]
    Row,
    /// Each of its heads, of `hidden` elements: QK-norm. The heads share weight and bias.
    Head,
    /// Each of its groups, of `hidden` elements: Mamba-2's grouped RMSNorm. Weight and bias are as long as the row.
    Group,
}

/// A normalisation over the last dimension, with all that surrounds it in the same pass:
///
/// ```text
/// h = x                           or what the input says: α·r + x, say
/// v = (h − mean)·rstd             layer norm, rstd = 1/√(variance + eps)
/// v = h·rstd                      RMS norm,   rstd = 1/√(mean square + eps)
/// v = h·rstd                      L2 norm,    rstd = 1/√(sum of squares + eps), 0 for a zero row
/// y = R(v·(weight + weight_offset) + bias)
/// y = R(v·(weight + weight_offset)·act(z))     where there is a gate
/// y = R((r + v·(weight + weight_offset))·s)    where a residual is added after the norm
/// y = rotated(y)                  where heads are given their positions
/// codes, scales = quantise(y)     where a quantisation is asked for
/// ```
///
/// R rounds to the activation type, to nearest, ties to even. h and weight + weight_offset are rounded to
/// f32; of all else, 16-bit results show no rounding, and f32 results are computed in f32. Weight and bias
/// are arguments of the call and may each be absent.
///
/// Where f32's range ends, results are PyTorch's: squares that add up past it make rstd 0, a NaN or an
/// infinity in a row makes all of LayerNorm's y NaN, and a zero row is NaN where eps is 0. The
/// [reference](crate::reference) says this in full.
///
/// ```
/// use warpnorm::{Norm, ResidualAdd, ResidualRounding, WeightRounding};
///
/// // Hugging Face Llama: add and norm, rounded before the weight.
/// let llama = Norm::rms_norm(1e-6)
///     .with_residual_add(ResidualAdd::default())
///     .with_weight_rounding(WeightRounding::BeforeWeight);
/// // Gemma: weights are stored minus one.
/// let gemma = Norm::rms_norm(1e-6).with_weight_offset(1.0);
/// # assert!(llama.validate().is_ok() && gemma.validate().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// The statistic.
    pub family: Family,
    /// Added to the variance or the mean square, inside the root. At least 0.
    pub eps: f32,
    /// Added to every weight, in f32; 1 for Gemma.
    pub weight_offset: f32,
    /// Where the product with the weight is rounded.
    pub weight_rounding: WeightRounding,
    /// What h is made of: x alone, or x and the residual add in front, say.
    pub input: Input,
    /// The activation of the gate, if there is one: y = R(v·(weight + weight_offset)·act(z)). z is a tensor of its
    /// own; where [`Family::Identity`] is given none, z is h, and y = R((weight + weight_offset)·act(h)).
    pub gate: Option<Activation>,
    /// The residual add after the norm, if there is one: y is then the new residual stream.
    pub post_add: Option<PostAdd>,
    /// What of a row is normalised by one statistic.
    pub scope: Scope,
    /// The rotation of the heads that are normalised, if there is one.
    pub rope: Option<Rope>,
    /// What y is quantised to, if it is; f16 and bf16 only.
    pub quantisation: Option<Quantisation>,
}

impl Norm {
    /// A norm of this family and nothing around it.
    pub const fn new(family: Family, eps: f32) -> Self {
        Self {
            family,
            eps,
            weight_offset: 0.0,
            weight_rounding: WeightRounding::Single,
            input: Input::Plain,
            gate: None,
            post_add: None,
            scope: Scope::Row,
            rope: None,
            quantisation: None,
        }
    }

    /// LayerNorm. GPT-2 uses eps 1e-5, BERT 1e-12.
    pub const fn layer_norm(eps: f32) -> Self {
        Self::new(Family::LayerNorm, eps)
    }

    /// RMSNorm. Most networks use eps 1e-6 or 1e-5.
    pub const fn rms_norm(eps: f32) -> Self {
        Self::new(Family::RmsNorm, eps)
    }

    /// L2 norm without eps, as nGPT has it.
    pub const fn l2_norm() -> Self {
        Self::new(Family::L2Norm, 0.0)
    }

    /// With this eps.
    #[must_use]
    pub const fn with_eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    /// With a constant added to every weight.
    #[must_use]
    pub const fn with_weight_offset(mut self, offset: f32) -> Self {
        self.weight_offset = offset;
        self
    }

    /// With this order of weight product and rounding.
    #[must_use]
    pub const fn with_weight_rounding(mut self, rounding: WeightRounding) -> Self {
        self.weight_rounding = rounding;
        self
    }

    /// With a residual add in front.
    #[must_use]
    pub const fn with_residual_add(mut self, add: ResidualAdd) -> Self {
        self.input = Input::ResidualAdd(add);
        self
    }

    /// With this input.
    #[must_use]
    pub const fn with_input(mut self, input: Input) -> Self {
        self.input = input;
        self
    }

    /// The residual add in front, if there is one.
    pub const fn residual_add(&self) -> Option<ResidualAdd> {
        match self.input {
            Input::ResidualAdd(add) => Some(add),
            _ => None,
        }
    }

    /// Whether a residual stream comes in, before the norm or after it.
    pub const fn takes_residual(&self) -> bool {
        self.input.takes_residual() || self.post_add.is_some()
    }

    /// Whether a gate z comes in; one that [`Family::Identity`] may go without included.
    pub const fn takes_gate(&self) -> bool {
        self.gate.is_some() || matches!(self.input, Input::Gated(_))
    }

    /// With the residual added to the result: Gemma 2, OLMo 2.
    #[must_use]
    pub const fn with_post_add(mut self, add: PostAdd) -> Self {
        self.post_add = Some(add);
        self
    }

    /// Of each head alone, or of each group.
    #[must_use]
    pub const fn with_scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Of each head alone, which is then rotated by its position.
    #[must_use]
    pub const fn with_rope(mut self, rope: Rope) -> Self {
        self.scope = Scope::Head;
        self.rope = Some(rope);
        self
    }

    /// An activation function, or act(z)⊙x where the call has a gate z: the feed-forward layer's. On packed
    /// `[gate | up]` rows, x are the second halves and z the first.
    pub const fn activation(activation: Activation) -> Self {
        Self::new(Family::Identity, 0.0).with_gate(activation)
    }

    /// A scale and a shift per feature: x·weight + bias. Batch normalisation, with what
    /// [`BatchStatistics`](crate::BatchStatistics) folds.
    pub const fn affine() -> Self {
        Self::new(Family::Identity, 0.0)
    }

    /// With the result multiplied by the activation of a gate z, as gated RMSNorm does (Qwen3-Next). Mamba-2 has it
    /// before the norm by default: [`Input::Gated`].
    #[must_use]
    pub const fn with_gate(mut self, activation: Activation) -> Self {
        self.gate = Some(activation);
        self
    }

    /// With codes in place of y.
    #[must_use]
    pub const fn with_quantisation(mut self, quantisation: Quantisation) -> Self {
        self.quantisation = Some(quantisation);
        self
    }

    /// Checks the values that no shape can make valid.
    ///
    /// # Errors
    /// A value is out of its range, or two things are asked for that do not go together.
    pub fn validate(&self) -> Result<(), NormError> {
        if !(self.eps >= 0.0 && self.eps.is_finite()) {
            return Err(NormError::Eps { given: self.eps });
        }
        if !self.weight_offset.is_finite() {
            return Err(NormError::WeightOffset { given: self.weight_offset });
        }
        if let Some(gate) = self.gate {
            gate.validate()?;
        }
        self.input.validate()?;
        if let Some(add) = self.post_add {
            add.validate()?;
        }
        if let Some(rope) = self.rope {
            rope.validate()?;
        }
        self.validate_combination()
    }

    /// Refuses what no kernel computes in one pass. Which statistic goes with which input, the modules of the build
    /// say.
    fn validate_combination(&self) -> Result<(), NormError> {
        let whole = self.scope == Scope::Row;
        let plain = self.input == Input::Plain;
        for (asked, refused, supported) in [
            (
                "a gate after the norm",
                self.gate.is_some() && !matches!(self.input, Input::Plain | Input::ResidualAdd(_)),
                "goes with x alone or a residual add in front",
            ),
            (
                "a residual add after the norm",
                self.post_add.is_some() && !(plain && whole && self.gate.is_none()),
                "goes with whole rows of x alone, without a gate",
            ),
            (
                "a norm of heads or groups",
                !whole && !matches!(self.input, Input::Plain | Input::Gated(_)),
                "goes with x alone or a gate before the norm",
            ),
            ("a norm of heads or groups", !whole && self.quantisation.is_some(), "is not quantised"),
            (
                "a norm of heads",
                self.scope == Scope::Head && self.takes_gate(),
                "has no gate; the norm of groups may have one",
            ),
            (
                "quantisation of y before it is rounded",
                self.gate.is_some() && self.quantises_wide(),
                "goes without a gate",
            ),
            ("rotary embedding", self.rope.is_some() && self.scope != Scope::Head, "goes with the norm of heads"),
            (
                "a first norm, whose result the second one takes,",
                matches!(self.input, Input::PostNorm(_) | Input::Interpolation(_)) && !self.norm_without_mean(),
                "is an RMS norm or an L2 norm, as the second is",
            ),
        ] {
            if refused {
                return Err(NormError::Combination { asked, supported });
            }
        }
        Ok(())
    }

    /// Whether codes are made of y before it is rounded.
    pub(crate) const fn quantises_wide(&self) -> bool {
        matches!(self.quantisation, Some(Quantisation { scaling: Scaling::PerTensorWide, .. }))
    }

    const fn norm_without_mean(&self) -> bool {
        matches!(self.family, Family::RmsNorm | Family::L2Norm)
    }
}
