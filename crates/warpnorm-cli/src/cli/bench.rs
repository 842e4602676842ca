//! Arguments of `bench`, and of `report`, which draws what it writes.

use super::values::dtype;
use super::{DeviceOptions, GridSubjects, PartOptions, QuantiseOptions};
use clap::Args;
use std::path::PathBuf;
use warpnorm::DType;

/// Arguments of `bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
A sample is a replay of a CUDA graph of many launches between two events, on sets of tensors that are taken in turn and \
are larger than the L2 cache; baselines are measured in turn with warpnorm, on the same tensors, once their results \
were seen to be right. Without a GPU, nothing is timed: the executor counts what the kernels move and execute, and every \
output says that it is not a timing.")]
pub struct BenchArguments {
    /// What to time.
    #[command(flatten)]
    pub subjects: GridSubjects,
    /// The activation types [default: all]
    #[arg(long, value_parser = dtype, num_args = 1.., value_delimiter = ',')]
    pub dtype: Vec<DType>,
    /// Numbers of rows [default: 1, 8, 64, 512, 8192, 65536; without a GPU: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), num_args = 1.., value_delimiter = ',')]
    pub rows: Vec<u32>,
    /// Hidden sizes, of heads and groups where the op is of those [default: 64 to 262144, and less where a matrix is
    /// larger than 4 GiB; without a GPU: 64, 768, 4097]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), num_args = 1.., value_delimiter = ',')]
    pub hidden: Vec<u32>,
    /// How rows are divided.
    #[command(flatten)]
    pub parts: PartOptions,
    /// Options of quantised outputs.
    #[command(flatten)]
    pub quantise: QuantiseOptions,
    /// Time residual add, norm and QKV projection (4096 to 12288) by cuBLAS too, fused against unfused [default: where
    /// no op is asked for]
    #[arg(long)]
    pub segment: bool,
    /// Time from a context to the end of the first launch of each module instead, each in a process of its own with
    /// CUDA_CACHE_DISABLE=1
    #[arg(long)]
    pub cold_start: bool,
    /// Samples of each subject [default: 30]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub samples: Option<u32>,
    /// The seed of the data [default: 1]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The commit for the report [default: what `git rev-parse HEAD` says, with -dirty where files are changed]
    #[arg(long, value_name = "COMMIT")]
    pub commit: Option<String>,
    /// Options of the device.
    #[command(flatten)]
    pub device: DeviceOptions,
    /// Write the report to this file, too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write SVG plots of the report into this folder
    #[arg(long, value_name = "FOLDER")]
    pub plots: Option<PathBuf>,
    /// Print the milliseconds of the first launch of this module of a cold start, and nothing else.
    #[arg(long, hide = true, value_name = "INDEX")]
    pub first_launch: Option<usize>,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without options, prints tables in Markdown. Reports are checked first: numbers that do not follow from one another are \
refused. Only reports of times become part of a README.")]
pub struct ReportArguments {
    /// Reports that `bench --json` or benches/peers wrote
    #[arg(value_name = "REPORT.json", required = true)]
    pub reports: Vec<PathBuf>,
    /// Write the tables to this file
    #[arg(long, value_name = "FILE.md")]
    pub markdown: Option<PathBuf>,
    /// Write SVG plots into this folder, named after the report
    #[arg(long, value_name = "FOLDER")]
    pub plots: Option<PathBuf>,
    /// Write the section between the marks of this file anew
    #[arg(long, value_name = "README.md")]
    pub readme: Option<PathBuf>,
}
