//! `kernels/common/codes.cuh` and `scales.cuh`, function by function and as PTX of both targets: the bits of the
//! reference.

#[path = "../support/random.rs"]
mod random;
#[path = "../support/values.rs"]
mod values;

mod groups;
mod harness;
mod narrow;
mod quotients;
mod scales;
mod significant;
