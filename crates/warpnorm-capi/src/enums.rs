//! Enumerations of the header. They arrive as numbers, which are looked up: a number that no variant has is an error.

use crate::error::Failure;

/// The number of a variant on one side, and what the library has for it on the other.
pub(crate) type Table<T> = &'static [(u32, T)];

/// What a number stands for.
///
/// # Errors
/// [`Failure::Enumeration`] where no variant has it.
pub(crate) fn decode<T: Copy>(field: &'static str, given: u32, table: Table<T>) -> Result<T, Failure> {
    let found = table.iter().find(|(number, _)| *number == given).map(|(_, value)| *value);
    let largest = table.iter().map(|(number, _)| *number).max().unwrap_or(0);
    found.ok_or(Failure::Enumeration { field, given, largest })
}

/// The number of a value; every value of the library has one.
pub(crate) fn encode<T: Copy + PartialEq>(value: T, table: Table<T>) -> u32 {
    table.iter().find(|(_, one)| *one == value).map_or(u32::MAX, |(number, _)| *number)
}

/// The type of the elements of a tensor.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32 = 0,
    /// IEEE 754 binary16.
    F16 = 1,
    /// The upper half of a binary32.
    Bf16 = 2,
}

pub(crate) const DTYPES: Table<warpnorm::DType> = &[
    (Dtype::F32 as u32, warpnorm::DType::F32),
    (Dtype::F16 as u32, warpnorm::DType::F16),
    (Dtype::Bf16 as u32, warpnorm::DType::BF16),
];

/// The statistic that a row is normalised by.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum Family {
    /// Mean and standard deviation: v = (h - mean)·rstd, rstd = 1/sqrt(variance + eps), of the population.
    LayerNorm = 0,
    /// Root mean square: v = h·rstd, rstd = 1/sqrt(mean square + eps).
    RmsNorm = 1,
    /// Euclidean length: v = h·rstd, rstd = 1/sqrt(sum of squares + eps), 0 for a row of zeros.
    L2Norm = 2,
    /// None: v = h. Activations, with a gate; a scale and a shift, with weight and bias.
    Identity = 3,
}

pub(crate) const FAMILIES: Table<warpnorm::Family> = &[
    (Family::LayerNorm as u32, warpnorm::Family::LayerNorm),
    (Family::RmsNorm as u32, warpnorm::Family::RmsNorm),
    (Family::L2Norm as u32, warpnorm::Family::L2Norm),
    (Family::Identity as u32, warpnorm::Family::Identity),
];

/// Where the product with the weight is rounded. R rounds to the activation type.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum WeightRounding {
    /// y = R(v·w + b): FlashInfer, OLMo 2, Gemma.
    Single = 0,
    /// y = R(R(v)·w + b): Hugging Face Llama, Mistral, Qwen.
    BeforeWeight = 1,
}

pub(crate) const WEIGHT_ROUNDINGS: Table<warpnorm::WeightRounding> = &[
    (WeightRounding::Single as u32, warpnorm::WeightRounding::Single),
    (WeightRounding::BeforeWeight as u32, warpnorm::WeightRounding::BeforeWeight),
];

/// What of a row is normalised by one statistic.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum Scope {
    /// All of it.
    Row = 0,
    /// Each of its heads, of `hidden` elements. The heads share weight and bias.
    Head = 1,
    /// Each of its groups, of `hidden` elements. Weight and bias are as long as the row.
    Group = 2,
}

pub(crate) const SCOPES: Table<warpnorm::Scope> = &[
    (Scope::Row as u32, warpnorm::Scope::Row),
    (Scope::Head as u32, warpnorm::Scope::Head),
    (Scope::Group as u32, warpnorm::Scope::Group),
];

/// What the values h of a row are made of.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum InputKind {
    /// h = x.
    Plain = 0,
    /// h = scale·residual + x, and the bias of the Linear before where the call has one. `rounding` is a
    /// warpnorm_residual_rounding.
    ResidualAdd = 1,
    /// h = x·act(gate), in f32: the gate before the norm.
    Gated = 2,
    /// h = R((residual + norm(x)·inner_weight)·scale): two norms, one after the other. `rounding` is a
    /// warpnorm_post_rounding.
    PostNorm = 3,
    /// h = A + lr·(B - A), A = R(norm(residual)), B = R(norm(x)), lr = |rate·scale|: nGPT's step.
    Interpolation = 4,
}

/// What of the sum h = scale·residual + x is rounded before it is used.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum ResidualRounding {
    /// Statistic and output are those of R(h): Hugging Face, vLLM but for its dynamic quantisation.
    Stored = 0,
    /// Statistic and output are those of h in f32: FlashInfer, quack, vLLM's dynamic quantisation.
    Wide = 1,
    /// Statistic of h in f32, output of R(h): SGLang's fused add.
    Split = 2,
}

pub(crate) const RESIDUAL_ROUNDINGS: Table<warpnorm::ResidualRounding> = &[
    (ResidualRounding::Stored as u32, warpnorm::ResidualRounding::Stored),
    (ResidualRounding::Wide as u32, warpnorm::ResidualRounding::Wide),
    (ResidualRounding::Split as u32, warpnorm::ResidualRounding::Split),
];

/// Where a norm is rounded whose result is added to the residual.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum PostRounding {
    /// R((r + v·w)·scale).
    Single = 0,
    /// R(R(r + R(v·w))·scale): Hugging Face Gemma 2, OLMo 2.
    Each = 1,
}

pub(crate) const POST_ROUNDINGS: Table<warpnorm::PostRounding> = &[
    (PostRounding::Single as u32, warpnorm::PostRounding::Single),
    (PostRounding::Each as u32, warpnorm::PostRounding::Each),
];

/// The function of a gate or of a feed-forward layer.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum ActivationKind {
    /// There is no gate.
    None = 0,
    /// x: a gate without an activation, the bilinear GLU.
    Identity = 1,
    /// max(0, x).
    Relu = 2,
    /// x above 0, `parameter`·x elsewhere.
    LeakyRelu = 3,
    /// 1/(1 + exp(-x)).
    Sigmoid = 4,
    /// x·sigmoid(`parameter`·x).
    Swish = 5,
    /// GELU by tanh.
    GeluTanh = 6,
    /// x·Φ(x): GELU itself.
    Gelu = 7,
    /// x·sigmoid(x): Swish with 1, whatever the parameter.
    Silu = 8,
}

/// Which elements of a head are rotated together.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum RopePairs {
    /// Element i with element i + dim/2: GPT-NeoX, Llama.
    HalfSplit = 0,
    /// Element 2i with element 2i + 1: GPT-J.
    Interleaved = 1,
}

pub(crate) const ROPE_PAIRS: Table<warpnorm::RopePairs> = &[
    (RopePairs::HalfSplit as u32, warpnorm::RopePairs::HalfSplit),
    (RopePairs::Interleaved as u32, warpnorm::RopePairs::Interleaved),
];

/// Where a rotation is rounded.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum RopeRounding {
    /// R(y0·cos - y1·sin): FlashInfer, vLLM.
    Single = 0,
    /// R(R(y0·cos) - R(y1·sin)): Hugging Face, older versions of vLLM.
    Each = 1,
}

pub(crate) const ROPE_ROUNDINGS: Table<warpnorm::RopeRounding> = &[
    (RopeRounding::Single as u32, warpnorm::RopeRounding::Single),
    (RopeRounding::Each as u32, warpnorm::RopeRounding::Each),
];

/// The type of a code.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum CodeType {
    /// OCP 8-bit floating point, four exponent bits: PyTorch's float8_e4m3fn.
    E4m3 = 0,
    /// OCP 8-bit floating point, five exponent bits: PyTorch's float8_e5m2.
    E5m2 = 1,
    /// Two's complement, for scales of 127.
    Int8 = 2,
    /// Four bits, two of exponent; two codes a byte, the first in its lower half.
    E2m1 = 3,
}

pub(crate) const CODE_TYPES: Table<warpnorm::quantise::CodeType> = &[
    (CodeType::E4m3 as u32, warpnorm::quantise::CodeType::E4m3),
    (CodeType::E5m2 as u32, warpnorm::quantise::CodeType::E5m2),
    (CodeType::Int8 as u32, warpnorm::quantise::CodeType::Int8),
    (CodeType::E2m1 as u32, warpnorm::quantise::CodeType::E2m1),
];

/// Which elements share a scale, and what it is.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum ScalingKind {
    /// y is not quantised.
    None = 0,
    /// One f32 scale for all elements, which is given: `tensor_scale`.
    PerTensor = 1,
    /// The same, and codes are made of y before it is rounded. RMSNorm, e4m3.
    PerTensorWide = 2,
    /// An f32 scale for every row.
    PerToken = 3,
    /// An f32 scale for every `group_size` elements of a row.
    PerGroup = 4,
    /// A power-of-two scale, one UE8M0 byte, for every 32 elements of a row.
    Mxfp8 = 5,
    /// An e4m3 scale for every 16 elements of a row, under one f32 scale that is given: `tensor_scale`.
    Nvfp4 = 6,
}

/// How scales lie.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum ScaleLayout {
    /// scales\[row\]\[group\].
    RowMajor = 0,
    /// scales\[group\]\[row\], the rows of a group rounded up to a multiple of `layout_alignment`.
    ColumnMajor = 1,
    /// Tiles of 128 rows and 4 groups, as cuBLAS and Blackwell's tensor cores read them.
    Tiled = 2,
}

/// How the exponent of a block's power-of-two scale is rounded.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum BlockRounding {
    /// Up: nothing saturates.
    Up = 0,
    /// Down, as the OCP specification has it: the largest elements may saturate.
    Floor = 1,
}

pub(crate) const BLOCK_ROUNDINGS: Table<warpnorm::quantise::BlockRounding> = &[
    (BlockRounding::Up as u32, warpnorm::quantise::BlockRounding::Up),
    (BlockRounding::Floor as u32, warpnorm::quantise::BlockRounding::Floor),
];

/// The type of positions.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum PositionType {
    /// int32_t.
    I32 = 0,
    /// int64_t.
    I64 = 1,
}

pub(crate) const POSITION_TYPES: Table<warpnorm::PositionType> =
    &[(PositionType::I32 as u32, warpnorm::PositionType::I32), (PositionType::I64 as u32, warpnorm::PositionType::I64)];

/// When a launch on a GPU may begin. Without effect before compute capability 9.0, and on other devices.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum ProgrammaticLaunch {
    /// When all work in front of it in the stream has completed.
    Off = 0,
    /// Early, beside the end of the kernel in front of it, for which it waits before it reads or writes any tensor.
    WaitFirst = 1,
    /// Early, and it may read parameters before it waits: weight, bias, linear_bias, inner_weight, rate, and weight
    /// and bias of `second`. A promise of the caller's: no kernel that may still be running then writes those, neither
    /// the one in front of it in the stream nor, where that was launched programmatically, those in front of that.
    ParametersFirst = 2,
}

pub(crate) const PROGRAMMATIC_LAUNCHES: Table<warpnorm::ProgrammaticLaunch> = &[
    (ProgrammaticLaunch::Off as u32, warpnorm::ProgrammaticLaunch::Off),
    (ProgrammaticLaunch::WaitFirst as u32, warpnorm::ProgrammaticLaunch::WaitFirst),
    (ProgrammaticLaunch::ParametersFirst as u32, warpnorm::ProgrammaticLaunch::ParametersFirst),
];

/// What computes on a device, and whose memory its tensors are in.
#[allow(dead_code, reason = "of builds without all devices")]
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum DeviceKind {
    /// A GPU; tensors are in memory that it can access.
    Cuda = 0,
    /// The reference, in f64; tensors are in host memory.
    Cpu = 1,
    /// A GPU that is not there: its kernels, run by an executor. Tensors are in host memory.
    Emulated = 2,
}
