//! Options of quantised outputs.

use clap::{Args, ValueEnum};

/// Codes in place of y, and how they are scaled.
#[derive(Clone, Debug, Default, Args)]
pub struct QuantiseOptions {
    /// Quantise y, which is f16 or bf16: which elements share a scale
    #[arg(long, value_enum)]
    pub quantise: Option<Scaling>,
    /// The type of the codes [default: e4m3; nvfp4 has e2m1]
    #[arg(long, value_enum, requires = "quantise")]
    pub code: Option<Code>,
    /// Elements that share a scale, per-group [default: 128]
    #[arg(long, value_enum, requires = "quantise")]
    pub group: Option<Group>,
    /// How scales lie: row-major or column-major (per-group), row-major or tiled (mxfp8, nvfp4) [default: row-major]
    #[arg(long, value_enum, requires = "quantise")]
    pub scale_layout: Option<ScaleLayout>,
    /// Column-major scales of a group are padded to a multiple of so many [default: 1]
    #[arg(long, value_name = "N", requires = "quantise")]
    pub scale_alignment: Option<usize>,
    /// Round scales up to powers of two, per-group
    #[arg(long, requires = "quantise")]
    pub power_of_two: bool,
    /// The largest magnitude of a row counts as no more than this, per-token
    #[arg(long, value_name = "B", requires = "quantise", allow_hyphen_values = true)]
    pub upper_bound: Option<f32>,
    /// How the exponents of scales are rounded, mxfp8 [default: up]
    #[arg(long, value_enum, requires = "quantise")]
    pub block_rounding: Option<BlockRounding>,
    /// The scale of all elements (per-tensor, per-tensor-wide), or the global scale (nvfp4); generated data have one of their own
    #[arg(long, value_name = "S", requires = "quantise", allow_hyphen_values = true)]
    pub tensor_scale: Option<f32>,
    /// Store y beside its codes
    #[arg(long, requires = "quantise")]
    pub with_y: bool,
}

/// The option's names for [`warpnorm::quantise::Scaling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scaling {
    /// One given scale for all
    PerTensor,
    /// The same, of y before it is rounded, which is not stored then; rms-norm
    PerTensorWide,
    /// An f32 scale for every row
    PerToken,
    /// An f32 scale for every 64 or 128 elements of a row
    PerGroup,
    /// A power-of-two byte for every 32 elements
    Mxfp8,
    /// An e4m3 scale for every 16 elements, under a given scale
    Nvfp4,
}

/// The option's names for [`warpnorm::quantise::CodeType`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Code {
    /// fp8 of four exponent bits
    E4m3,
    /// fp8 of five exponent bits
    E5m2,
    /// Integers from -128 to 127
    Int8,
}

/// The sizes of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// 64 elements
    #[value(name = "64")]
    Of64,
    /// 128 elements
    #[value(name = "128")]
    Of128,
}

/// The option's names for [`warpnorm::quantise::ScaleLayout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScaleLayout {
    /// The scales of a row side by side
    RowMajor,
    /// The scales of a group side by side
    ColumnMajor,
    /// Tiles of 128 rows and 4 groups, as cuBLAS reads them
    Tiled,
}

/// The option's names for [`warpnorm::quantise::BlockRounding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BlockRounding {
    /// Nothing saturates
    Up,
    /// As the OCP specification has it: the largest elements may saturate
    Floor,
}
