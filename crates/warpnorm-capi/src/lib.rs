//! The C library. Its reference is `include/warpnorm.h`, which is generated from the comments here.
//!
//! Every entry point runs in [`status::entry`], which turns errors and panics into a status and keeps their words for
//! the calling thread. What C passes is checked before it is believed: structures by their size, enumerations, which
//! arrive as numbers, by lookup, and devices by the table of those that live.

mod call;
mod columns;
#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod enums;
mod error;
mod host;
mod norm;
mod run;
mod status;
mod structs;
mod version;
