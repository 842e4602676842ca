//! The command line.

mod bench;
mod norm;
mod quantise;
mod values;

pub use bench::{BenchArguments, ReportArguments};
pub use norm::{GridSubjects, NormOptions, PartOptions, SubjectOptions};
pub use norm::{PostRounding, ResidualRounding, RopePairs, RopeRounding, WeightRounding};
pub use quantise::{BlockRounding, Code, Group, QuantiseOptions, ScaleLayout, Scaling};
pub use values::{MAX_GENERATED, Shape};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use values::{dtype, gpu, values};
use warpnorm::parity::Values;
use warpnorm::{DType, DeviceFacts};

/// Fused norms, and what surrounds them, on tensors in safetensors files.
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
    /// Time the kernels beside a bare copy and cuBLAS on a GPU; without one, count what they cost
    Bench(BenchArguments),
    /// Make tables and plots of reports of `bench`
    Report(ReportArguments),
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
and type), `weight` and `bias` (of the hidden size; x's type or F32). By op also: `gate` (of x's shape and type), \
`linear_bias` beside a residual in front (of the hidden size; x's type), `inner_weight` (that of the first of two \
norms), `rate` (of the hidden size; x's type or F32). With --heads, x's last dimension is that many heads, which share \
weight and bias; `second_x`, heads of the same size, has `second_weight` and `second_bias` of its own; `cos` and `sin`, \
[positions, rotated elements / 2] in x's type or F32, rotate them, and `positions`, I32 or I64, gives each row its \
position. With --groups, weight and bias are as long as the row. Types: F32, F16, BF16. A tensor of these names that \
would do nothing is refused. \
Output tensors: `y`, `second_y`, `residual` (the new residual stream) when one came in before the norm, and with \
--stats `mean` (LayerNorm) and `rstd`. Batch normalisation takes `x`, `weight` and `bias`; its mean and \
rstd are of every column, over all rows. With --quantise, `codes` in place of `y` (or beside it, with --with-y) and the \
`scales` that are made: [rows…, groups], column-major [groups, rows], or tiled [rows / 128, groups / 4, 32, 4, 4]; \
bytes of scales that no group has are 0xff. E2M1 codes are two to a U8, the first in the lower half. Where the result is outside its tolerance, it is written, and the exit code is 1.")]
pub struct ApplyArguments {
    /// What to compute.
    #[command(flatten)]
    pub subject: SubjectOptions,
    /// The file to read
    #[arg(long, value_name = "IN.safetensors")]
    pub input: PathBuf,
    /// The file to write; it appears whole or not at all, and may be the input
    #[arg(long, value_name = "OUT.safetensors")]
    pub output: PathBuf,
    /// Options of the norm.
    #[command(flatten)]
    pub norm: NormOptions,
    /// How rows are divided.
    #[command(flatten)]
    pub parts: PartOptions,
    /// Options of quantised outputs.
    #[command(flatten)]
    pub quantise: QuantiseOptions,
    /// Write mean (LayerNorm) and rstd of every row too; of every column, for batch-norm
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
Without --input, random data from the seed; an op covers all its rounding options, and its hidden size is that of a \
head or group where it has those. With --input, the norms of the file: tensors as `apply` has them, or the same with \
a prefix before a dot, any number of prefixes; a residual makes an op the add of its name. Exit code 1 where a cell fails.")]
pub struct ParityArguments {
    /// What to compare.
    #[command(flatten)]
    pub subjects: GridSubjects,
    /// The activation types: f32, f16, bf16 [default: all]
    #[arg(long, value_parser = dtype, num_args = 1.., value_delimiter = ',', conflicts_with = "input")]
    pub dtype: Vec<DType>,
    /// The shapes [default: 7x384, 4x4096, 2x16385; for heads and groups, their own]
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
    /// How rows are divided.
    #[command(flatten)]
    pub parts: PartOptions,
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
    /// What to profile.
    #[command(flatten)]
    pub subjects: GridSubjects,
    /// The activation types: f32, f16, bf16 [default: all]
    #[arg(long, value_parser = dtype, num_args = 1.., value_delimiter = ',')]
    pub dtype: Vec<DType>,
    /// The shapes [default: eight, from many short rows to one that is read twice]
    #[arg(long, value_name = "ROWSxHIDDEN", num_args = 1.., value_delimiter = ',')]
    pub shape: Vec<Shape>,
    /// How rows are divided.
    #[command(flatten)]
    pub parts: PartOptions,
    /// Options of quantised outputs.
    #[command(flatten)]
    pub quantise: QuantiseOptions,
    /// The GPU: t4, a100, l4, h100, h200 or b200 [default: h200]
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

/// Where to run.
#[derive(Debug, Args)]
pub struct DeviceOptions {
    /// Where to run: auto is cuda where that is possible, else emulated [default: auto]
    #[arg(long, value_enum)]
    pub device: Option<DeviceChoice>,
    /// The GPU to emulate: t4, a100, l4, h100, h200 or b200; implies --device emulated [default: h200]
    #[arg(long, value_name = "GPU", value_parser = gpu)]
    pub emulate: Option<DeviceFacts>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
