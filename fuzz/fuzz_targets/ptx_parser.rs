//! Any text through `Module::parse`, and its kernels through the executor. Errors and faults are
//! answers; panics, overflows, hangs and runaway memory are finds.

#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use warpnorm_fuzz::{mutate, ptx};

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        ptx::parse_and_launch(text);
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| { mutate::text(data, size, max_size, seed) });
