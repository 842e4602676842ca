//! What only a GPU can show. Every test here is ignored by default; on a machine with one, run
//! `cargo test --release --test gpu -- --ignored`, or `scripts/gpu_tests.sh` to take the tests there.
//!
//! `WARPNORM_GPU_QUICK=1` shortens the parity matrix and what is done again and again, for compute-sanitizer and where
//! the driver is `crates/emulated-driver`.

#[path = "../support/mod.rs"]
mod support;

#[cfg(feature = "emulator")]
mod bits;
mod columns;
mod errors;
mod face;
mod graph;
mod hot_path;
mod invariance;
mod large;
mod matrix;
mod ops;
mod programmatic;
mod quantise;
mod streams;

use half::bf16;
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use support::Failures;
use warpnorm::cuda::Cuda;
use warpnorm::host::Placement;
use warpnorm::parity::{Case, check};

/// The first GPU. Tests share it for reading, so that one may have it alone.
static GPU: OnceLock<RwLock<Cuda>> = OnceLock::new();

fn lock() -> &'static RwLock<Cuda> {
    GPU.get_or_init(|| RwLock::new(Cuda::new(0).expect("a GPU")))
}

/// The GPU, beside other tests.
fn gpu() -> RwLockReadGuard<'static, Cuda> {
    lock().read().unwrap_or_else(PoisonError::into_inner)
}

/// The GPU, with no other test of this binary on it.
fn gpu_alone() -> RwLockWriteGuard<'static, Cuda> {
    lock().write().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the short matrix is asked for.
fn quick() -> bool {
    std::env::var_os("WARPNORM_GPU_QUICK").is_some_and(|value| value != "0")
}

/// Runs a case and records its verdict.
fn judge(failures: &mut Failures, cuda: &Cuda, case: &Case, placement: Placement) {
    let verdict = check(cuda, case, placement);
    let failure = match verdict {
        Ok(verdict) if verdict.passed => None,
        Ok(verdict) => Some(format!("{verdict:?}")),
        Err(error) => Some(error.to_string()),
    };
    failures.record(failure.map(|what| {
        let Case { norm, dtype, rows, hidden, weight, bias, .. } = case;
        let weight = weight.as_ref().map(|(dtype, _)| dtype);
        let bias = bias.as_ref().map(|(dtype, _)| dtype);
        format!("{rows} × {hidden} {dtype} weight {weight:?} bias {bias:?} {norm:?} {placement:?}: {what}")
    }));
}

/// The elements of a case's tensor.
fn elements<E: bytemuck::Pod>(bytes: &[u8]) -> Vec<E> {
    bytes.chunks_exact(size_of::<E>()).map(bytemuck::pod_read_unaligned).collect()
}

/// The bits of values, for comparisons that tell NaNs and zeros apart.
fn bits(values: &[bf16]) -> Vec<u16> {
    values.iter().map(|value| value.to_bits()).collect()
}
