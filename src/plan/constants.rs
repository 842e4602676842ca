//! The constants that plans are made with, each with its reason. Kernels mirror those that are theirs too.
//!
//! | constant | value | reason |
//! |---|---|---|
//! | [`CHUNK_BYTES`] | 16 | the widest access of a thread; a warp moves 512 bytes, whole sectors |
//! | [`GROUP_ELEMENTS`] | 16 | what fits 64 registers beside its weights; 2 to 8 loads of 16 bytes are in flight (below) |
//! | [`MOST_THREADS`] | 1024 | the largest CTA: rows of 16 384 elements in registers, at 64 registers a thread |
//! | [`SINGLE_THREADS`] | 1024 | with 64 registers each, as many as a multiprocessor holds at a time |
//! | [`FEWEST_ODD_WARPS`] | 9 | the last of five pairs has one group, which costs more; the other four save a tenth |
//! | [`FEWER_THREADS`] | 512 | up to 128 registers, for sources with two norms, a rotation or a gate |
//! | [`SHARED_CTA_THREADS`] | 128 | a warp for every scheduler, and one that finishes four warps' rows; a small last CTA |
//! | [`MAX_STRETCHES`] | 8 | the CTAs of the largest portable cluster |
//! | [`EXCHANGE_BYTES`] | 6192 | the sums of every stretch and warp, and what is made of them; the rest stages rows |
//! | [`COLUMN_THREADS`] | 512 | eight columns of 16 bits keep their moments in twice two floats: more than 64 registers |
//!
//! Settled by what registers hold (ptxas), what is moved (the executor's counters) and the hardware's units. That a
//! value is the fastest one is not among the reasons: no report of a GPU is committed yet.
//!
//! Loads of 16 bytes that a thread of a row in registers has in flight before it waits for the first:
//! [`loads_in_flight`], and where activations are of 16 bits and registers allow, its weights'.

use super::Source;
use crate::DType;

/// Bytes of a chunk, the unit of memory that a thread owns.
pub const CHUNK_BYTES: usize = 16;

/// Elements that a thread holds in registers at a time. Sixteen f32 values and their weights fit the
/// 64 registers that a thread of a 1024-thread CTA has (see the ptxas check), and 1024 threads then
/// keep rows of up to 16384 elements in registers.
pub const GROUP_ELEMENTS: usize = 16;

/// Threads of the largest team.
pub const MOST_THREADS: u32 = 1024;

/// Threads that a multiprocessor holds at a time where each takes 64 registers, which most kernels take or nearly so.
/// Where a call has more of them, they are [paired](super::Threads::Paired).
pub const SINGLE_THREADS: u32 = 1024;

/// Warps of a team of an odd number that pays where threads are [paired](super::Threads::Paired). A pair of groups takes
/// some 0.9 times the instructions of two threads (LayerNorm with a bias in `results/profile.json`: 25.7 an element at
/// 2880, where a sixteenth of the places is empty, for 28.1 of single threads at 4096), and the last pair of such a team has
/// one group, which takes more than a thread of its own. Rows that fill their warps or lines take fewer.
pub const FEWEST_ODD_WARPS: u32 = 9;

/// Threads of the largest team of sources that take more registers.
pub const FEWER_THREADS: u32 = 512;

/// Threads of a CTA that several teams share. Four warps: enough for every scheduler of a multiprocessor to have one, and
/// a small last CTA where the rows do not divide evenly. Where threads are paired, the first warp finishes the statistics
/// of all of them, once for four warps.
pub const SHARED_CTA_THREADS: u32 = 128;

/// Stretches of a long row at most, which the CTAs of a cluster divide.
///
/// As many as the largest cluster that every GPU with clusters takes has CTAs. A stretch costs a merge of lanes, some
/// 100 instructions a thread beside 700 and more for a slab.
pub const MAX_STRETCHES: u32 = 8;

/// Bytes of shared memory that a kernel takes at most for the exchange between its warps, beside a row that is staged:
/// for each stretch and each of 32 warps the three sums of an interpolation, those of its two inner norms and of the norm
/// itself, of two f32 each where its values are f32; and the moments of each, which one warp makes. LayerNorm has two sums;
/// those of 16 bits, of which some have codes and their largest magnitudes, take less.
/// The rest of a CTA's shared memory is there for staging.
pub const EXCHANGE_BYTES: u32 = MAX_STRETCHES * 32 * 3 * 2 * 4 + 3 * 16;

/// Threads of a CTA that takes the statistics of columns. Those of 1024 had 64 registers, which eight columns of 16
/// bits with their moments in twice two floats exceed.
pub const COLUMN_THREADS: u32 = 512;

/// Loads of 16 bytes that a thread of a row in registers has in flight, for each thread of the team that it does the work
/// of: the chunks of every input that its statistic is of.
pub const fn loads_in_flight(source: Source, dtype: DType) -> usize {
    let inputs = match source {
        Source::Plain | Source::PostAdd | Source::PostNorm | Source::Parts | Source::Columns => 1,
        Source::ResidualAdd | Source::Interpolation | Source::Gated => 2,
    };
    inputs * GROUP_ELEMENTS * dtype.size() / CHUNK_BYTES
}
