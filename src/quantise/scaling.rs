//! Which elements share a scale, and what the scale is.

use super::{CodeType, QuantiseError, ScaleLayout, ScaleType};

/// How the exponent of a block's power-of-two scale is rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BlockRounding {
    /// The least power of two that brings amax to `largest` or below: nothing saturates. NVIDIA's rule,
    /// which servers use.
    #[default]
    Up,
    /// The power of two that brings amax into the binade of `largest`: elements past `largest` saturate.
    /// The rule of the OCP specification.
    Floor,
}

/// Which elements share a scale, and what the scale is. The formulas, and who computes them, are in the
/// table of the [module](super).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scaling {
    /// One f32 scale for all elements, found beforehand: the caller's, in device memory.
    PerTensor,
    /// The same, and codes are made of the exact y rather than of y as the activation type holds it, which is not
    /// stored then. RMSNorm, e4m3.
    PerTensorWide,
    /// An f32 scale for every row, from the row's amax.
    PerToken {
        /// amax counts as no more than this; what is larger saturates. Not for int8.
        upper_bound: Option<f32>,
    },
    /// An f32 scale for every `size` elements of a row, from their amax.
    PerGroup {
        /// 64 or 128.
        size: usize,
        /// Row-major or column-major.
        layout: ScaleLayout,
        /// Whether scales are rounded up to powers of two, still stored as f32.
        power_of_two: bool,
        /// amax counts as no less than this; at least [`LEAST_FLOOR`](Self::LEAST_FLOOR).
        floor: f32,
    },
    /// MXFP8: a power-of-two scale, one UE8M0 byte, for every 32 elements of a row.
    Mxfp8 {
        /// How the scale's exponent is rounded.
        rounding: BlockRounding,
        /// Row-major or tiled.
        layout: ScaleLayout,
    },
    /// NVFP4: an e4m3 scale for every 16 elements of a row, under one f32 scale for all of them, the
    /// caller's, in device memory: `global`. A code stands for code·scale/global. Servers make it
    /// 448·6/amax of the tensor.
    Nvfp4 {
        /// Row-major or tiled.
        layout: ScaleLayout,
    },
}

impl Scaling {
    /// The least floor: 2⁻⁶⁴. Scales are then far from f32's denormals, where the kernels' division
    /// would not be exact.
    pub const LEAST_FLOOR: f32 = 1.0 / (1u64 << 63) as f32 / 2.0;

    /// The name that messages use.
    pub const fn name(self) -> &'static str {
        match self {
            Scaling::PerTensor => "per-tensor",
            Scaling::PerTensorWide => "per-tensor-wide",
            Scaling::PerToken { .. } => "per-token",
            Scaling::PerGroup { .. } => "per-group",
            Scaling::Mxfp8 { .. } => "mxfp8",
            Scaling::Nvfp4 { .. } => "nvfp4",
        }
    }

    /// Whether codes of this type can be scaled so.
    pub const fn takes(self, code: CodeType) -> bool {
        match self {
            Scaling::PerTensor | Scaling::PerToken { .. } | Scaling::PerGroup { .. } => {
                matches!(code, CodeType::E4m3 | CodeType::E5m2 | CodeType::Int8)
            }
            Scaling::PerTensorWide => matches!(code, CodeType::E4m3),
            Scaling::Mxfp8 { .. } => matches!(code, CodeType::E4m3 | CodeType::E5m2),
            Scaling::Nvfp4 { .. } => matches!(code, CodeType::E2m1),
        }
    }

    /// Elements of a row that share a scale; None where all of the row do.
    pub const fn group(self) -> Option<usize> {
        match self {
            Scaling::PerTensor | Scaling::PerTensorWide | Scaling::PerToken { .. } => None,
            Scaling::PerGroup { size, .. } => Some(size),
            Scaling::Mxfp8 { .. } => Some(32),
            Scaling::Nvfp4 { .. } => Some(16),
        }
    }

    /// The type of the scales that are written; None where none are.
    pub const fn scale_type(self) -> Option<ScaleType> {
        match self {
            Scaling::PerTensor | Scaling::PerTensorWide => None,
            Scaling::PerToken { .. } | Scaling::PerGroup { .. } => Some(ScaleType::F32),
            Scaling::Mxfp8 { .. } => Some(ScaleType::Ue8m0),
            Scaling::Nvfp4 { .. } => Some(ScaleType::E4m3),
        }
    }

    /// Whether the caller gives one f32 scale for all elements, in device memory.
    pub const fn takes_tensor_scale(self) -> bool {
        matches!(self, Scaling::PerTensor | Scaling::PerTensorWide | Scaling::Nvfp4 { .. })
    }

    /// How the scales that are written lie in memory.
    pub const fn layout(self) -> ScaleLayout {
        match self {
            Scaling::PerTensor | Scaling::PerTensorWide | Scaling::PerToken { .. } => ScaleLayout::RowMajor,
            Scaling::PerGroup { layout, .. } | Scaling::Mxfp8 { layout, .. } | Scaling::Nvfp4 { layout } => layout,
        }
    }

    pub(super) fn validate_layout(self) -> Result<(), QuantiseError> {
        let wanted = match (self, self.layout()) {
            (_, ScaleLayout::RowMajor) => return Ok(()),
            (Scaling::PerGroup { .. }, ScaleLayout::ColumnMajor { alignment }) => {
                let given = alignment;
                return if alignment == 0 { Err(QuantiseError::Alignment { given }) } else { Ok(()) };
            }
            (Scaling::PerGroup { .. }, ScaleLayout::Tiled) => "row-major or column-major",
            (_, ScaleLayout::Tiled) => return Ok(()),
            (_, ScaleLayout::ColumnMajor { .. }) => "row-major or tiled",
        };
        Err(QuantiseError::Layout { scaling: self.name(), given: self.layout(), wanted })
    }
}
