//! Random op descriptions through plan, emulated device, reference and verdict.

#![no_main]

use libfuzzer_sys::fuzz_target;
use warpnorm_fuzz::op::Op;

fuzz_target!(|op: Op| op.hold());
