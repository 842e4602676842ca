//! Quantised outputs: codes in place of y, and the scales that give them their meaning, as plain values.
//!
//! Quantisation starts from y as the activation type holds it, after its last rounding. From there on
//! everything is a function of exact values: every operation below is one IEEE f32 operation, rounded to
//! nearest, ties to even, in the order written. Codes and scales are therefore the same to the bit in the
//! kernels and in the [reference](crate::reference::quantise_row), on every GPU.
//!
//! amax is the largest |y| of the elements that share a scale, NaNs left out; `largest` is the code type's
//! largest magnitude; R rounds to the code type, to nearest, ties to even, and saturates. A NaN of y
//! becomes the code that `cvt` makes of it ([`CodeType`]).
//!
//! | scaling | scale | codes | who |
//! |---|---|---|---|
//! | [`PerTensor`](Scaling::PerTensor), fp8 | given | R(y·(1/scale)) | vLLM `static_scaled_fp8_quant` and its RMSNorm with static fp8 |
//! | [`PerTensorWide`](Scaling::PerTensorWide), e4m3 | given | R(y·(1/scale)), of y before it is rounded to 16 bits | FlashInfer `rmsnorm_quant`, `fused_add_rmsnorm_quant`, in CUDA; in CuTe they take `rcp.approx` for 1/scale, and e5m2, too |
//! | `PerTensor`, int8 | given | R(y / scale) | vLLM `static_scaled_int8_quant` |
//! | [`PerToken`](Scaling::PerToken), fp8 | max(min(amax, upper bound), 1/512) / largest | R(y / scale) | vLLM `dynamic_per_token_scaled_fp8_quant`, `rms_norm_dynamic_per_token_quant` (its max with 1/(largest·512) after the division is the same) |
//! | `PerToken`, int8 | max(amax, 127·2⁻²³) / 127 | R(y·(1/scale)) | vLLM `rms_norm_dynamic_per_token_quant`. Its `dynamic_scaled_int8_quant` has no least scale and multiplies by 127/amax; where a kernel of the former reads each row once, it divides |
//! | [`PerGroup`](Scaling::PerGroup), fp8 | max(amax, floor) / largest | R(y / scale) | floor 1e-10: vLLM `per_token_group_fp8_quant` and its Triton twin; floor 1/512: vLLM `rms_norm_per_block_quant`, which also takes an upper bound, as `PerGroup` does not. SGLang's CUDA kernel multiplies, amax·(1/448) and y·(448/amax), and is an ULP away |
//! | `PerGroup`, int8 | max(amax, floor) / 127 | R(y·(1/scale)) | vLLM `rms_norm_per_block_quant`, floor 127·2⁻²³. `per_token_group_quant_int8` of vLLM and SGLang cut the fraction off where this rounds |
//! | `PerGroup`, power of two | that scale, up to the next power of two | R(y / scale), exact but for R | DeepGEMM, floor 1e-4; vLLM and SGLang with `scale_ue8m0`. vLLM's scales are at least 2⁻³³: floor 448e-10 |
//! | [`Mxfp8`](Scaling::Mxfp8), round up | 2^⌈log₂(amax / largest)⌉ | R(y / scale), exact but for R | cuDNN, cuBLAS, TransformerEngine, TensorRT-LLM, FlashInfer; torchao `RCEIL` |
//! | `Mxfp8`, floor | 2^(⌊log₂ amax⌋ − ⌊log₂ largest⌋) | the same; the largest elements may saturate | OCP Microscaling Formats v1.0, section 6.3; torchao `FLOOR` |
//! | [`Nvfp4`](Scaling::Nvfp4) | R₄₃(global·(amax / 6)), an e4m3 | R(y·(global / scale)), all 0 where scale is 0 | vLLM, SGLang, FlashInfer, TensorRT-LLM: the same recipe with `rcp.approx` for its three divisions, so that their last bits depend on the GPU |
//!
//! # Where values end
//! - A row or group of zeros, or of NaNs alone, has the least scale there is (MXFP8: 2⁻¹²⁷; NVFP4: 0), and
//!   zeros keep their signs as codes.
//! - An infinity makes an f32 scale infinite (with an upper bound it does not): finite elements become zeros,
//!   and the infinity, being ∞/∞, the NaN code. With MXFP8 the scale is then 2¹²⁷, with NVFP4 448, and the
//!   infinity saturates.
//! - vLLM clamps before it converts, which turns a NaN into the largest magnitude; here a NaN stays one.
//! - A given scale of 0, or one that is no number, is computed with as it stands.

mod code;
mod error;
mod scales;
mod scaling;

pub use code::CodeType;
pub use error::QuantiseError;
pub use scales::{ScaleLayout, ScaleType};
pub use scaling::{BlockRounding, Scaling};

/// What a row is quantised to: the type of its codes, and how they are scaled.
///
/// ```
/// use warpnorm::quantise::{CodeType, Quantisation, Scaling};
///
/// let fp8 = Quantisation::per_token(CodeType::E4m3);
/// assert_eq!(fp8, Quantisation { code: CodeType::E4m3, scaling: Scaling::PerToken { upper_bound: None } });
/// fp8.validate(4096)?;
/// assert_eq!((fp8.row_bytes(4096), fp8.groups(4096)), (4096, 1));
///
/// let nvfp4 = Quantisation::nvfp4();
/// assert_eq!((nvfp4.row_bytes(4096), nvfp4.groups(4096)), (2048, 256));
/// # Ok::<(), warpnorm::quantise::QuantiseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantisation {
    /// The type of the codes.
    pub code: CodeType,
    /// Which elements share a scale, and what it is.
    pub scaling: Scaling,
}

impl Quantisation {
    /// One given scale for all.
    pub const fn per_tensor(code: CodeType) -> Self {
        Self { code, scaling: Scaling::PerTensor }
    }

    /// One given scale for all, and e4m3 codes of y before it is rounded.
    pub const fn per_tensor_wide() -> Self {
        Self { code: CodeType::E4m3, scaling: Scaling::PerTensorWide }
    }

    /// A scale for every row.
    pub const fn per_token(code: CodeType) -> Self {
        Self { code, scaling: Scaling::PerToken { upper_bound: None } }
    }

    /// A scale for every `size` elements of a row, row-major, not rounded, with the floor that vLLM and
    /// SGLang share.
    pub const fn per_group(code: CodeType, size: usize) -> Self {
        let layout = ScaleLayout::RowMajor;
        Self { code, scaling: Scaling::PerGroup { size, layout, power_of_two: false, floor: 1e-10 } }
    }

    /// MXFP8: e4m3 codes in blocks of 32, scales rounded up and row-major.
    pub const fn mxfp8() -> Self {
        let scaling = Scaling::Mxfp8 { rounding: BlockRounding::Up, layout: ScaleLayout::RowMajor };
        Self { code: CodeType::E4m3, scaling }
    }

    /// NVFP4: e2m1 codes in blocks of 16, row-major scales.
    pub const fn nvfp4() -> Self {
        Self { code: CodeType::E2m1, scaling: Scaling::Nvfp4 { layout: ScaleLayout::RowMajor } }
    }

    /// Checks that code type and scaling go together, and that rows of `hidden` elements can be divided
    /// as they ask.
    ///
    /// # Errors
    /// The first of these that is not so: the scaling takes this code type; its group size is 64 or 128; its
    /// upper bound, if any, is finite, above 0, and not for int8; its floor is finite and at least 2⁻⁶⁴;
    /// it has its scales in this layout; `hidden` is a multiple of the group.
    pub fn validate(&self, hidden: usize) -> Result<(), QuantiseError> {
        let Self { code, scaling } = *self;
        if !scaling.takes(code) {
            return Err(QuantiseError::CodeType { scaling: scaling.name(), given: code });
        }
        if let Scaling::PerToken { upper_bound: Some(given) } = scaling {
            if !(given > 0.0 && given.is_finite()) {
                return Err(QuantiseError::UpperBound { given });
            }
            if code == CodeType::Int8 {
                return Err(QuantiseError::UpperBoundOfInt8);
            }
        }
        if let Scaling::PerGroup { size, floor, .. } = scaling {
            if size != 64 && size != 128 {
                return Err(QuantiseError::GroupSize { given: size });
            }
            if !(floor >= Scaling::LEAST_FLOOR && floor.is_finite()) {
                return Err(QuantiseError::Floor { given: floor });
            }
        }
        scaling.validate_layout()?;
        match scaling.group() {
            Some(group) if !hidden.is_multiple_of(group) => Err(QuantiseError::Hidden { hidden, group }),
            _ => Ok(()),
        }
    }

    /// Bytes that the codes of a row take. Where a byte holds two codes, the first is in its lower half.
    pub const fn row_bytes(&self, hidden: usize) -> usize {
        hidden.div_ceil(self.code.per_byte())
    }

    /// Scales that a row writes; none where one is given for all.
    pub const fn groups(&self, hidden: usize) -> usize {
        match (self.scaling, self.scaling.group()) {
            (Scaling::PerTensor | Scaling::PerTensorWide, _) => 0,
            (_, None) => 1,
            (_, Some(group)) => match hidden.checked_div(group) {
                Some(groups) => groups,
                // Refused elsewhere; here it must not be divided by.
                None => 0,
            },
        }
    }

    /// The bounds that amax is held to before it is divided by the largest magnitude, for the scalings that
    /// have f32 scales of their own: max(min(amax, upper), floor).
    ///
    /// Where a peer has its least scale after the division instead, this is the same: dividing keeps the
    /// order, and its least scales times `largest` are f32 values.
    pub const fn amax_bounds(&self) -> Option<(f32, f32)> {
        match self.scaling {
            Scaling::PerToken { upper_bound } => {
                let upper = match upper_bound {
                    Some(bound) => bound,
                    None => f32::INFINITY,
                };
                let floor = match self.code {
                    CodeType::Int8 => 127.0 * f32::EPSILON,
                    CodeType::E4m3 | CodeType::E5m2 | CodeType::E2m1 => 1.0 / 512.0,
                };
                Some((floor, upper))
            }
            Scaling::PerGroup { floor, .. } => Some((floor, f32::INFINITY)),
            Scaling::PerTensor | Scaling::PerTensorWide | Scaling::Mxfp8 { .. } | Scaling::Nvfp4 { .. } => None,
        }
    }

    /// Whether codes are rounded from y / scale, rather than from y times something.
    pub(crate) const fn divides(&self) -> bool {
        match self.scaling {
            Scaling::PerTensor => matches!(self.code, CodeType::Int8),
            Scaling::PerToken { .. } | Scaling::PerGroup { .. } => !matches!(self.code, CodeType::Int8),
            Scaling::PerTensorWide | Scaling::Mxfp8 { .. } | Scaling::Nvfp4 { .. } => false,
        }
    }
}
