//! The CUDA face: norms of tensors that are already in the memory of an NVIDIA GPU.
//!
//! [`Kernels`] is made once per context. The safe face takes cudarc's slices and views and borrows
//! them, so that outputs cannot alias what is read; the raw face, [`Kernels::launch_raw`], takes
//! addresses. Both run on the caller's stream and return as soon as the launch is queued: they
//! allocate nothing, synchronise nothing, and load nothing but a kernel at its first use.
//!
//! ```no_run
//! use cudarc::driver::{CudaContext, CudaSlice};
//! use half::bf16;
//! use warpnorm::cuda::{Kernels, Rows, RowsMut};
//! use warpnorm::{Norm, ResidualAdd};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let context = CudaContext::new(0)?;
//! let stream = context.default_stream();
//! let kernels = Kernels::new(&context)?;
//!
//! let (rows, hidden) = (512, 4096);
//! let x: CudaSlice<bf16> = stream.alloc_zeros(rows * hidden)?;
//! let mut residual: CudaSlice<bf16> = stream.alloc_zeros(rows * hidden)?;
//! let weight: CudaSlice<f32> = stream.alloc_zeros(hidden)?;
//! let mut y: CudaSlice<bf16> = stream.alloc_zeros(rows * hidden)?;
//!
//! // residual ← residual + x, y ← rms_norm(residual)·weight, in one pass.
//! let norm = Norm::rms_norm(1e-6).with_residual_add(ResidualAdd::default());
//! kernels
//!     .norm(&norm)
//!     .weight(&weight)
//!     .residual_in_place(&mut RowsMut::contiguous(&mut residual, hidden)?)
//!     .run(&stream, &Rows::contiguous(&x, hidden)?, &mut RowsMut::contiguous(&mut y, hidden)?)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Quantised outputs
//! A norm [with a quantisation](crate::Norm::with_quantisation) stores [codes](NormCall::codes), and the
//! [scales](NormCall::scales) that it makes:
//!
//! ```no_run
//! # use cudarc::driver::{CudaContext, CudaSlice};
//! # use half::bf16;
//! use warpnorm::Norm;
//! use warpnorm::cuda::{CodesMut, Kernels, Rows};
//! use warpnorm::quantise::Quantisation;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let context = CudaContext::new(0)?;
//! # let stream = context.default_stream();
//! # let kernels = Kernels::new(&context)?;
//! let (rows, hidden) = (512, 4096);
//! let nvfp4 = Quantisation::nvfp4();
//! nvfp4.validate(hidden)?;
//! let count = nvfp4.scale_count(rows, hidden).expect("fits");
//!
//! let x: CudaSlice<bf16> = stream.alloc_zeros(rows * hidden)?;
//! let global: CudaSlice<f32> = stream.clone_htod(&[448.0])?;
//! let mut codes: CudaSlice<u8> = stream.alloc_zeros(rows * nvfp4.row_bytes(hidden))?;
//! let mut scales: CudaSlice<u8> = stream.alloc_zeros(count)?;
//!
//! kernels
//!     .norm(&Norm::rms_norm(1e-6).with_quantisation(nvfp4))
//!     .codes(&mut CodesMut::contiguous(&mut codes, nvfp4.row_bytes(hidden))?)
//!     .scales(&mut scales)
//!     .tensor_scale(&global)
//!     .run_quantised(&stream, &Rows::contiguous(&x, hidden)?)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Heads, groups and the residual after the norm
//! Where a norm is of heads or of groups, [`Rows::parts`] and [`RowsMut::parts`] say how they lie in a row, and
//! [`RowsMut::disjoint`] lends several of them, of one buffer, to be written: Q and K of packed projections, which
//! [one launch](NormCall::second) normalises and, by [`RopeTables`], rotates. A norm that
//! [adds the residual](crate::Norm::with_post_add) after itself runs
//! [over the residual](NormCall::run_over_residual).
//! # Batch normalisation
//! [`Kernels::batch_statistics`] takes the statistics of columns over the rows of a batch, and folds them to a scale
//! and a shift for [`Norm::affine`](crate::Norm::affine): see [`BatchStatisticsCall`].
//!
//! # CUDA graphs
//! A launch can be captured once its kernel is loaded: call [`Kernels::warm_up`] before the capture
//! begins. As cudarc's own operations do, the safe face orders streams by events that the slices
//! carry, and a captured stream cannot wait for an event recorded outside its capture: call
//! [`CudaContext::disable_event_tracking`](cudarc::driver::CudaContext::disable_event_tracking)
//! before the slices are allocated.
//!
//! A graph keeps the addresses of what it captured, and borrows nothing: the tensors of a captured launch stay
//! allocated, and the [`Kernels`] whose modules it runs stay alive, until the last replay of the graph has completed;
//! and from each replay's start to its end nothing else writes what it reads, or touches what it writes. cudarc's
//! capture and replay are safe functions that hold none of this, so that it is a promise of whoever captures, here as
//! for every other launch or copy that cudarc puts on a captured stream.

mod call;
mod check;
mod codes;
mod columns;
mod device;
mod driver;
mod enqueue;
mod error;
mod kernels;
mod launch;
mod layout;
mod module;
mod rows;
mod views;

pub use call::{NormCall, PositionElement, RopeTables};
pub use codes::{CodeByte, CodesMut, ScaleElement};
pub use columns::BatchStatisticsCall;
pub use cudarc;
pub use device::Cuda;
pub use driver::{DeviceInfo, devices};
pub use error::CudaError;
pub use kernels::Kernels;
pub use layout::PartLayout;
pub use rows::{Rows, RowsMut};
pub use views::{IntoView, IntoViewMut};
