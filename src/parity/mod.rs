//! Parity: how far a device's results are from the [reference](crate::reference), and whether that is
//! within the crate's promise.
//!
//! ```
//! use warpnorm::host::Placement;
//! use warpnorm::parity::{Case, Values, check};
//! use warpnorm::{DType, Norm, reference::Cpu};
//!
//! let case = Case::new(Norm::layer_norm(1e-5), DType::BF16, 3, 384, Values::Unit, 7)?
//!     .with_weight(DType::F32)
//!     .with_bias(DType::F32);
//! let verdict = check(&Cpu, &case, Placement::default())?;
//! assert!(verdict.passed && verdict.correctly_rounded == 1.0);
//! # Ok::<(), warpnorm::Error>(())
//! ```

mod cases;
mod columns;
mod house;
mod tolerance;
mod values;
mod verdict;

pub use cases::{Case, Rotation, SecondHeads};
pub use columns::{ColumnVerdict, WorstOfColumns, judge_batch_norm, judge_columns, judge_results};
pub use house::{plain, plain_error, within_house_tolerance};
pub use tolerance::Tolerance;
pub use values::Values;
pub use verdict::{Verdict, Worst, judge};

use crate::Error;
use crate::host::{Device, Placement};

/// Runs a case on a device and judges the result.
///
/// # Errors
/// The case is invalid, or the device failed. A wrong result is no error but a [`Verdict`].
pub fn check(device: &dyn Device, case: &Case, placement: Placement) -> Result<Verdict, Error> {
    let problem = case.as_problem();
    judge(&problem, &device.run(&problem, placement)?)
}
