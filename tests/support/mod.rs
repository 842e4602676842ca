//! What the tests of emulated and of real GPUs share: the grid of cases, and failing with a list rather than one by one.

#[allow(dead_code, reason = "not every test of the support's users goes through all ops")]
pub mod catalogue;
#[allow(dead_code, reason = "not every test binary has all of the ops")]
pub mod ops;
pub mod quantisations;

use warpnorm::parity::{Case, Values};
use warpnorm::{DType, DeviceFacts, Family, Input, Norm, ResidualAdd, ResidualRounding, WeightRounding};

/// Hidden sizes around the edges of chunks (4 and 8 elements), groups (16), warps of groups (512), and
/// the largest row that stays in registers (16384), and sizes of real networks.
pub const HIDDEN: [usize; 24] = [
    1, 2, 3, 7, 8, 31, 64, 111, 127, 128, 257, 384, 500, 768, 769, 1000, 1024, 3584, 4096, 4097, 5120, 8192, 16384,
    16385,
];

/// A device whose kernels come from each of the shipped targets, and which differ in shared memory.
#[allow(dead_code, reason = "a real GPU needs none")]
pub fn emulated_devices() -> [DeviceFacts; 2] {
    [DeviceFacts::t4(), DeviceFacts::h200()]
}

/// The residual adds that a norm is tested with: none, every rounding, and DeepNorm's scaling.
pub fn residuals() -> Vec<Option<ResidualAdd>> {
    let add = |scale, rounding| Some(ResidualAdd { scale, rounding });
    vec![
        None,
        add(1.0, ResidualRounding::Stored),
        add(1.0, ResidualRounding::Wide),
        add(1.0, ResidualRounding::Split),
        // α of a DeepNorm decoder of 24 layers: (2·24)^(1/4).
        add(2.632_148, ResidualRounding::Stored),
    ]
}

/// The types of weight and bias that activations of a type are tested with, absent ones included.
pub fn parameters(dtype: DType) -> Vec<(Option<DType>, Option<DType>)> {
    let mut types = vec![(None, None), (Some(dtype), None), (None, Some(dtype)), (Some(dtype), Some(dtype))];
    if dtype != DType::F32 {
        types.extend([(Some(DType::F32), None), (Some(DType::F32), Some(DType::F32))]);
    }
    types
}

/// A bias of this type, for norms that run by the best of their kernels with one.
#[allow(dead_code, reason = "not every test of the support's users has a bias")]
pub fn bias(norm: &Norm, dtype: DType) -> Option<DType> {
    (norm.family == Family::LayerNorm).then_some(dtype)
}

/// Every norm of a family with every option, beside every choice of parameters.
pub fn norms(family: Family, dtype: DType) -> Vec<(Norm, Option<DType>, Option<DType>)> {
    let mut norms = Vec::new();
    for residual in residuals() {
        for weight_rounding in [WeightRounding::Single, WeightRounding::BeforeWeight] {
            for (weight, bias) in parameters(dtype) {
                let mut norm = Norm::new(family, 1e-5).with_weight_rounding(weight_rounding);
                norm.input = Input::from(residual);
                // Gemma's offset on half of the cases that have a weight.
                if weight.is_some() && bias.is_none() {
                    norm = norm.with_weight_offset(1.0);
                }
                norms.push((norm, weight, bias));
            }
        }
    }
    norms
}

/// A case with these parameters.
pub fn case(
    (norm, weight, bias): (Norm, Option<DType>, Option<DType>),
    dtype: DType,
    rows: usize,
    hidden: usize,
    values: Values,
    seed: u64,
) -> Case {
    let mut case = Case::new(norm, dtype, rows, hidden, values, seed).expect("a possible size");
    if let Some(dtype) = weight {
        case = case.with_weight(dtype);
    }
    if let Some(dtype) = bias {
        case = case.with_bias(dtype);
    }
    case
}

/// Failures of a grid of cases, reported together.
#[derive(Default)]
pub struct Failures {
    cases: usize,
    failed: Vec<String>,
}

impl Failures {
    /// Counts a case, and keeps the message if it has one.
    pub fn record(&mut self, failure: Option<String>) {
        self.cases += 1;
        self.failed.extend(failure);
    }

    /// Fails the test if a case has failed, or none was run.
    #[track_caller]
    pub fn assert_none(self) {
        assert!(self.cases > 0, "no case was run");
        let shown = self.failed.iter().take(8).map(String::as_str).collect::<Vec<_>>().join("\n");
        assert!(self.failed.is_empty(), "{} of {} cases failed:\n{shown}", self.failed.len(), self.cases);
    }
}
