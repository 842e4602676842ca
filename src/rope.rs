//! Rotary position embedding of normalised heads.

use crate::NormError;

/// The largest head that is rotated, in elements: those of a team of one warp.
pub const MAX_ROTATED_HEAD: usize = 512;

/// Which elements of a head are rotated together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RopePairs {
    /// Element i with element i + dim/2 (GPT-NeoX, Llama).
    #[default]
    HalfSplit,
    /// Element 2i with element 2i + 1 (GPT-J, and RoFormer itself).
    Interleaved,
}

/// Where a rotation is rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RopeRounding {
    /// R(y₀·cos − y₁·sin), of f32 operations: the second product is rounded to f32, and then their difference.
    /// FlashInfer, vLLM.
    #[default]
    Single,
    /// R(R(y₀·cos) − R(y₁·sin)): every operation is rounded to the activation type. Hugging Face, older versions
    /// of vLLM.
    Each,
}

/// The rotation of a head's first `dim` elements by angles that grow with the position, after Su et al., *RoFormer:
/// Enhanced Transformer with Rotary Position Embedding* (2021):
///
/// ```text
/// y₀' = y₀·cos − y₁·sin
/// y₁' = y₁·cos + y₀·sin
/// ```
///
/// y is rounded to the activation type before it is rotated, as it is where the norm stores it for another kernel.
/// Kernels that keep it in f32 and round at the end, such as vLLM's `fused_qknorm_rope_kernel`, which is
/// TensorRT-LLM's, differ from that in some elements by a step.
/// The rest of the head, where `dim` is less, is left as it is. cos and sin are tables of the call, `dim / 2` values
/// a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rope {
    /// Elements that are rotated; even.
    pub dim: usize,
    /// Which of them are rotated together.
    pub pairs: RopePairs,
    /// Where the result is rounded.
    pub rounding: RopeRounding,
}

impl Rope {
    /// Of this many elements, in halves.
    pub const fn half_split(dim: usize) -> Self {
        Self { dim, pairs: RopePairs::HalfSplit, rounding: RopeRounding::Single }
    }

    /// Of this many elements, in neighbours.
    pub const fn interleaved(dim: usize) -> Self {
        Self { dim, pairs: RopePairs::Interleaved, rounding: RopeRounding::Single }
    }

    /// With this rounding.
    #[must_use]
    pub const fn with_rounding(mut self, rounding: RopeRounding) -> Self {
        self.rounding = rounding;
        self
    }

    pub(crate) fn validate(self) -> Result<(), NormError> {
        let fits = self.dim >= 2 && self.dim.is_multiple_of(2) && self.dim <= MAX_ROTATED_HEAD;
        if fits { Ok(()) } else { Err(NormError::RopeDim { given: self.dim }) }
    }
}
