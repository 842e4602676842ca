//! Executes NVIDIA PTX on the CPU, checking every memory access.
//!
//! PTX is what `nvcc -ptx` and NVRTC emit. This crate runs it without a GPU: threads in warps
//! of 32 that meet at `shfl.sync`, CTAs that meet at `bar.sync`, clusters that meet at
//! `barrier.cluster`. An instruction or modifier that it does not know is an error when the text
//! is parsed, never a guess. An access outside an allocation, a misaligned or forbidden one, a write
//! to read-only memory, a read of bytes that nothing has written, a race on shared or global memory,
//! a barrier or shuffle reached by the wrong threads ends the launch with a [`Fault`] that names the
//! PTX line, the instruction and the thread. [`LaunchOptions::schedule`] shuffles the order in which
//! CTAs and warps run.
//!
//! ```
//! use ptx_emu::{LaunchConfig, Memory, Module};
//!
//! let ptx = "
//! .version 8.2
//! .target sm_75
//! .address_size 64
//! .visible .entry scale(.param .u64 data, .param .f32 factor)
//! {
//!     .reg .f32 %f<4>;
//!     .reg .b32 %r<2>;
//!     .reg .b64 %rd<4>;
//!     ld.param.u64 %rd0, [data];
//!     ld.param.f32 %f0, [factor];
//!     cvta.to.global.u64 %rd1, %rd0;
//!     mov.u32 %r0, %tid.x;
//!     mul.wide.u32 %rd2, %r0, 4;
//!     add.s64 %rd3, %rd1, %rd2;
//!     ld.global.f32 %f1, [%rd3];
//!     mul.f32 %f2, %f1, %f0;
//!     st.global.f32 [%rd3], %f2;
//!     ret;
//! }";
//! let module = Module::parse(ptx)?;
//! let mut memory = Memory::new();
//! let data = memory.allocate("data", 64 * 4);
//! for i in 0..64u64 {
//!     memory.write(data + 4 * i, &(i as f32).to_le_bytes())?;
//! }
//! let config = LaunchConfig::linear(1, 64);
//! let report = module.launch(
//!     "scale",
//!     &config,
//!     &[&data.to_le_bytes(), &0.5f32.to_le_bytes()],
//!     &mut memory,
//! )?;
//! let mut last = [0; 4];
//! memory.read(data + 63 * 4, &mut last)?;
//! assert_eq!(f32::from_le_bytes(last), 31.5);
//! assert_eq!(report.global_loads.sectors, 8);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![warn(missing_docs)]
#![forbid(unsafe_code)]

mod decode;
mod error;
mod exec;
mod fault;
mod forbidden;
mod ir;
mod isa;
mod memory;
mod module;
mod parse;
mod report;
mod semantics;
mod touched;
mod written;

pub use error::{LaunchError, ParseError};
pub use exec::launch::{LaunchConfig, LaunchOptions};
pub use exec::schedule::Schedule;
pub use fault::{Access, AccessKind, Fault, FaultKind, RaceAccess, SourceLine, Space, Whereabouts};
pub use ir::Kernel;
pub use memory::{Memory, MemoryError, Nearest};
pub use module::Module;
pub use report::{InstructionClass, InstructionCounts, Instructions, LaunchReport, SharedTraffic, Traffic};
pub use semantics::float::Approximations;

/// The README's example must go on compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
