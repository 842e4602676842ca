//! The part of `libcuda` that this repository calls, on the PTX executor.
//!
//! Where a program finds this library under the name of the driver's, its driver face runs as on a GPU: contexts,
//! streams, events, modules, launches and graphs; and under the name of cuBLAS, the calls that baselines are composed of.
//! `scripts/emulated_driver.sh` runs the GPU tests so. It is stricter than a GPU:
//!
//! - the executor ends a launch that reads or writes out of bounds, races, or reads what nothing has written, and a copy
//!   to the host of such memory fails too;
//! - a call that has no current context, or that a capture under way does not allow, fails as the driver's documentation
//!   says it may;
//! - memory is not used again, and a handle that was destroyed is known to have been.
//!
//! Work is put off until somebody waits for it, so that of two streams which nothing orders the one runs without the
//! other: a wait that is missing is met by data that is not there.
//!
//! What it cannot show: a kernel that begins before it may looks as if it were in order, and streams do not run at the same
//! time. And it has no clock but the host's: times between events are those of the executor, of no GPU.
//!
//! It takes PTX. Machine code it refuses as code for another GPU, which is what the driver says of it.
#![allow(
    missing_docs,
    reason = "the entry points are documented in the CUDA Driver API; this library is called by no other names"
)]
// The names are the driver's.
#![allow(non_snake_case)]

mod capture;
mod context;
mod cublas;
mod device;
mod graph;
mod memory;
mod module;
mod queue;
mod state;
mod stream;
mod work;

use cudarc::driver::sys::CUresult;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What an entry point is made of: success, or the driver's number for what went wrong.
pub(crate) type Outcome<T = ()> = Result<T, CUresult>;

/// Turns what an entry point did into the driver's answer. Nothing unwinds into a caller that may not be Rust.
pub(crate) fn answer(run: impl FnOnce() -> Outcome) -> CUresult {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => CUresult::CUDA_SUCCESS,
        Ok(Err(error)) => error,
        Err(_) => CUresult::CUDA_ERROR_UNKNOWN,
    }
}

/// Writes a result where the caller wants it.
///
/// # Safety
/// `to` is null, or points to where a `T` may be written.
pub(crate) unsafe fn put<T>(to: *mut T, value: T) -> Outcome {
    if to.is_null() {
        return Err(CUresult::CUDA_ERROR_INVALID_VALUE);
    }
    // SAFETY: it is not null, and the caller promises the rest.
    unsafe { to.write(value) };
    Ok(())
}

/// Says on stderr what a number cannot.
pub(crate) fn report(what: &dyn std::fmt::Display) {
    eprintln!("emulated driver: {what}");
}

/// Entry points: functions of the driver's names, arguments and numbers.
///
/// Every one is unsafe to call as the driver's own is: pointers are null, or point to what the CUDA Driver API says that
/// they point to, for as long as it says.
macro_rules! entries {
    ($(fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> cudarc::driver::sys::CUresult {
            $crate::answer(|| $body)
        }
    )*};
}
pub(crate) use entries;
