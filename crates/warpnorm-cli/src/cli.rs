//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::str::FromStr;
use warpnorm::parity::Values;
use warpnorm::{DType, DeviceFacts, Family};

/// Fused LayerNorm and RMSNorm on tensors in safetensors files.
#[derive(Debug, Parser)]
#[command(name = "warpnorm", version, about, after_help = EXIT_CODES, arg_required_else_help = false)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 success; 1 a result outside its tolerance, a cost above its \
                          baseline or a kernel that spills; 2 bad usage or bad input; 3 a device that is missing or failed.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the GPUs, the driver, the kernels of this build, and what `--device auto` would run on
    Info(InfoArguments),
    /// Apply a norm to the tensors of a file, and say how far the result is from the f64 reference
    Apply(ApplyArguments),
    /// Compare a device with the f64 reference, over a grid of ops, types and shapes or on real data
    Parity(ParityArguments),
    /// Count what the kernels move and cost on a GPU, which need not be there
    Profile(ProfileArguments),
    /// Assemble the kernels for every chip that runs them, and say what registers and memory they take
    Assemble(AssembleArguments),
}

/// Arguments of `info`.
#[derive(Debug, Args)]
pub struct InfoArguments {
    /// Load every module on the GPU, too, and say how long each takes
    #[arg(long)]
    pub load: bool,
}

/// Arguments of `apply`.
#[derive(Debug, Args)]
#[command(after_help = "\
Input tensors: `x` (the last dimension is the hidden size), and optionally `residual` (of x's shape \
and type), `weight` and `bias` (of the hidden size; x's type or F32). Types: F32, F16, BF16. \
Output tensors: `y`, `residual` (the new residual stream) when one came in, and with --stats `mean` \
(LayerNorm) and `rstd`. With --quantise, `codes` in place of `y` (or beside it, with --with-y) and the \
`scales` that are made: [rows…, groups], column-major [groups, rows], or tiled [rows / 128, groups / 4, 32, 4, 4]; \
bytes of scales that no group has are 0xff. E2M1 codes are two to a U8, the first in the lower half. Where the result is outside its tolerance, it is written, and the exit code is 1.")]
pub struct ApplyArguments {
    /// The norm
    #[arg(long, value_enum)]
    pub op: Op,
    /// The file to read
    #[arg(long, value_name = "IN.safetensors")]
    pub input: PathBuf,
    /// The file to write; it appears whole or not at all, and may be the input
    #[arg(long, value_name = "OUT.safetensors")]
    pub output: PathBuf,
    /// Options of the norm.
    #[command(flatten)]
    pub norm: NormOptions,
    /// Options of quantised outputs.
    #[command(flatten)]
    pub quantise: QuantiseOptions,
    /// Write mean (LayerNorm) and rstd of every row too
    #[arg(long)]
    pub stats: bool,
    /// Options of the device.
    #[command(flatten)]
    pub device: DeviceOptions,
    /// Print no summary, and skip the comparison with the reference
    #[arg(long, short)]
    pub quiet: bool,
}

/// Arguments of `parity`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --input, random data from the seed; an op covers all its rounding options. With --input, the \
norms of the file: tensors `x`, `residual`, `weight`, `bias`, or the same with a prefix before a dot, \
any number of prefixes; a residual makes an op the add of its name. Exit code 1 where a cell fails.")]
pub struct ParityArguments {
    /// The ops to compare [default: all]
    #[arg(long, value_enum, num_args = 1.., value_delimiter = ',')]
    pub op: Vec<GridOp>,
    /// The activation types [default: all]
    #[arg(long, value_parser = dtype, num_args = 1.., value_delimiter = ',', conflicts_with = "input")]
    pub dtype: Vec<DType>,
    /// The shapes [default: 7x384, 4x4096, 2x16385]
    #[arg(long, value_name = "ROWSxHIDDEN", num_args = 1.., value_delimiter = ',', conflicts_with = "input")]
    pub shape: Vec<Shape>,
    /// What the data are like: unit, large-mean, outlier-channel, constant, zeros, denormals,
    /// infinities, nans, extremes [default: unit]
    #[arg(long, value_parser = values, num_args = 1.., value_delimiter = ',', conflicts_with = "input")]
    pub values: Vec<Values>,
    /// The seed of the data [default: 1]
    #[arg(long, value_name = "N", conflicts_with = "input")]
    pub seed: Option<u64>,
    /// Compare on the tensors of this file instead
    #[arg(long, value_name = "IN.safetensors")]
    pub input: Option<PathBuf>,
    /// Options of the norm, for data from a file.
    #[command(flatten)]
    pub norm: NormOptions,
    /// Options of quantised outputs.
    #[command(flatten)]
    pub quantise: QuantiseOptions,
    /// Options of the device.
    #[command(flatten)]
    pub device: DeviceOptions,
    /// Write every number to this file, too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Arguments of `profile`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
The executor runs the kernels and counts: bytes moved (each byte once), the least that the op must move, \
bytes asked for, 32-byte sectors per request, bank conflicts, instructions. Registers, spills and occupancy \
are what NVIDIA's assembler makes of the kernels; it needs no GPU. Exit code 1 where a cost is above the \
baseline's, instructions by more than 1 %, or where a cell is missing.")]
pub struct ProfileArguments {
    /// The ops to profile [default: all]
    #[arg(long, value_enum, num_args = 1.., value_delimiter = ',')]
    pub op: Vec<GridOp>,
    /// The activation types [default: all]
    #[arg(long, value_parser = dtype, num_args = 1.., value_delimiter = ',')]
    pub dtype: Vec<DType>,
    /// The shapes [default: eight, from many short rows to one that is read twice]
    #[arg(long, value_name = "ROWSxHIDDEN", num_args = 1.., value_delimiter = ',')]
    pub shape: Vec<Shape>,
    /// Options of quantised outputs.
    #[command(flatten)]
    pub quantise: QuantiseOptions,
    /// The GPU: t4, a100, l4, h200 or b200 [default: h200]
    #[arg(long, value_name = "GPU", value_parser = gpu)]
    pub gpu: Option<DeviceFacts>,
    /// Write every number to this file, too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Compare with this file, which --json wrote
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// NVIDIA's assembler [default: that of CUDA_HOME, CUDA_PATH or PATH, if it is there]
    #[arg(long, value_name = "PATH")]
    pub ptxas: Option<PathBuf>,
}

/// Arguments of `assemble`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 1 where a kernel uses local memory: spills, or arrays that are not kept in registers.")]
pub struct AssembleArguments {
    /// One line per kernel and chip, not only one per module and chip
    #[arg(long)]
    pub all: bool,
    /// NVIDIA's assembler [default: that of CUDA_HOME, CUDA_PATH or PATH]
    #[arg(long, value_name = "PATH")]
    pub ptxas: Option<PathBuf>,
}

/// What a norm is made of beside its family.
#[derive(Debug, Default, Args)]
pub struct NormOptions {
    /// Added to the variance or the mean square [default: 1e-5 for layer-norm, 1e-6 for rms-norm]
    #[arg(long, value_name = "E", allow_hyphen_values = true)]
    pub eps: Option<f32>,
    /// Added to every weight; 1 for Gemma
    #[arg(long, value_name = "C", allow_hyphen_values = true)]
    pub weight_offset: Option<f32>,
    /// Factor of the residual; not 1 for DeepNorm
    #[arg(long, value_name = "A", allow_hyphen_values = true)]
    pub residual_scale: Option<f32>,
    /// How often the product with the weight is rounded [default: single]
    #[arg(long, value_enum)]
    pub weight_rounding: Option<WeightRounding>,
    /// What of the sum with the residual is rounded before use [default: stored]
    #[arg(long, value_enum)]
    pub residual_rounding: Option<ResidualRounding>,
}

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
    /// The scale of all elements (per-tensor), or the global scale (nvfp4); generated data have one of their own
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

/// Where to run.
#[derive(Debug, Args)]
pub struct DeviceOptions {
    /// Where to run: auto is cuda where that is possible, else emulated [default: auto]
    #[arg(long, value_enum)]
    pub device: Option<DeviceChoice>,
    /// The GPU to emulate: t4, a100, l4, h200 or b200; implies --device emulated [default: h200]
    #[arg(long, value_name = "GPU", value_parser = gpu)]
    pub emulate: Option<DeviceFacts>,
}

/// Ops of `apply`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Op {
    /// Layer normalisation
    LayerNorm,
    /// Root-mean-square normalisation
    RmsNorm,
}

impl Op {
    /// The statistic of the op.
    pub fn family(self) -> Family {
        match self {
            Op::LayerNorm => Family::LayerNorm,
            Op::RmsNorm => Family::RmsNorm,
        }
    }
}

/// Ops of `parity` and `profile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(clippy::enum_variant_names, reason = "these are what the field calls the ops")]
pub enum GridOp {
    /// Layer normalisation
    LayerNorm,
    /// Root-mean-square normalisation
    RmsNorm,
    /// Residual add and layer normalisation
    AddLayerNorm,
    /// Residual add and root-mean-square normalisation
    AddRmsNorm,
}

impl GridOp {
    /// The statistic of the op.
    pub fn family(self) -> Family {
        match self {
            GridOp::LayerNorm | GridOp::AddLayerNorm => Family::LayerNorm,
            GridOp::RmsNorm | GridOp::AddRmsNorm => Family::RmsNorm,
        }
    }

    /// Whether the op adds a residual.
    pub fn adds(self) -> bool {
        matches!(self, GridOp::AddLayerNorm | GridOp::AddRmsNorm)
    }
}

/// The option's names for [`warpnorm::WeightRounding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WeightRounding {
    /// Once, after the product
    Single,
    /// Before the product too, as Hugging Face Llama does
    BeforeWeight,
}

/// The option's names for [`warpnorm::ResidualRounding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ResidualRounding {
    /// Statistic and output from the rounded sum
    Stored,
    /// Statistic and output from the sum in f32
    Wide,
    /// Statistic from the sum in f32, output from the rounded sum
    Split,
}

/// Where to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    /// cuda where that is possible, else emulated
    Auto,
    /// The first GPU that the driver shows
    Cuda,
    /// The same PTX, run by the executor on the CPU
    Emulated,
    /// The f64 reference
    Cpu,
}

/// Rows and hidden size of generated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of rows.
    pub rows: usize,
    /// Elements of a row.
    pub hidden: usize,
}

/// Elements of generated data at most. The reference of a row takes 40 bytes an element, and a row
/// may be all of it.
const MAX_GENERATED: usize = 1 << 26;

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = text
            .split_once(['x', '×'])
            .and_then(|(rows, hidden)| Some(Shape { rows: rows.parse().ok()?, hidden: hidden.parse().ok()? }))
            .ok_or("wanted ROWSxHIDDEN, such as 4x4096")?;
        if shape.hidden == 0 {
            return Err("the hidden size is 0, wanted at least 1".to_owned());
        }
        match shape.rows.checked_mul(shape.hidden) {
            Some(elements) if elements.max(shape.hidden) <= MAX_GENERATED => Ok(shape),
            _ => Err(format!("wanted at most {MAX_GENERATED} elements")),
        }
    }
}

fn named<T: Copy>(text: &str, all: &[T], name: impl Fn(T) -> String) -> Result<T, String> {
    let found = all.iter().copied().find(|&value| name(value) == text);
    found
        .ok_or_else(|| format!("wanted one of {}", all.iter().map(|&value| name(value)).collect::<Vec<_>>().join(", ")))
}

fn dtype(text: &str) -> Result<DType, String> {
    named(text, &DType::ALL, |dtype| dtype.name().to_owned())
}

fn values(text: &str) -> Result<Values, String> {
    named(text, &Values::ALL, |values| values.name().to_owned())
}

fn gpu(text: &str) -> Result<DeviceFacts, String> {
    DeviceFacts::named(text).ok_or_else(|| "wanted one of t4, a100, l4, h200, b200".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn shapes() {
        assert_eq!("4x4096".parse(), Ok(Shape { rows: 4, hidden: 4096 }));
        assert_eq!("0x1".parse(), Ok(Shape { rows: 0, hidden: 1 }));
        for bad in ["", "4", "x", "4x", "x4", "4x0", "-1x4", "4x4x4", "99999999999999999999x1"] {
            assert!(bad.parse::<Shape>().is_err(), "{bad}");
        }
        assert!(format!("2x{MAX_GENERATED}").parse::<Shape>().is_err());
        assert!(format!("0x{}", MAX_GENERATED + 1).parse::<Shape>().is_err());
        assert!(format!("{}x4", usize::MAX).parse::<Shape>().is_err());
    }
}
