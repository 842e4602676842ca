//! Benchmarks of warpnorm's kernels: what `warpnorm bench` and `cargo bench` run.
//!
//! - [`measure`](mod@measure) takes samples from a [`Stopwatch`](measure::Stopwatch) and knows nothing of GPUs;
//! - `gpu` (feature `cuda`) is the stopwatch of CUDA events around replays of a captured graph, on rotating buffers;
//! - `cublas` (feature `cublas`) has the same ops composed of cuBLAS calls;
//! - `emulated` (feature `emulator`) stands in where there is no GPU: it counts, and gives no times;
//! - [`report`] is the schema of what comes out, which the drivers of other libraries in `benches/peers` write too;
//! - `render` (feature `render`) makes Markdown tables and SVG plots of reports.

pub mod clocks;
#[cfg(feature = "cublas")]
pub mod cublas;
#[cfg(feature = "emulator")]
pub mod emulated;
mod error;
#[cfg(feature = "cuda")]
pub mod gpu;
pub mod measure;
#[cfg(feature = "render")]
pub mod render;
pub mod report;
mod stats;
mod workload;

pub use error::BenchError;
pub use stats::Summary;
pub use workload::Workload;
