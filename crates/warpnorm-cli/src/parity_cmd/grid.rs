//! The grid of generated data: ops and their options × types × shapes × kinds of data.

use crate::cli::{GridOp, ParityArguments, Shape};
use crate::options::default_eps;
use warpnorm::parity::{Case, Values};
use warpnorm::{CallError, DType, Family, Norm, ResidualAdd, ResidualRounding, WeightRounding};

const OPS: [GridOp; 4] = [GridOp::LayerNorm, GridOp::RmsNorm, GridOp::AddLayerNorm, GridOp::AddRmsNorm];

/// One for each place that a row can have: teams within a warp and rows side by side in a thread block
/// (384), a team of several warps (4096), a row that does not fit in registers (16 385, which no chunk
/// size divides either).
const SHAPES: [Shape; 3] =
    [Shape { rows: 7, hidden: 384 }, Shape { rows: 4, hidden: 4096 }, Shape { rows: 2, hidden: 16_385 }];

/// α of DeepNorm for an encoder of 18 layers, (2·18)^(1/4).
const DEEP_NORM_SCALE: f32 = 2.449_489_7;

/// One point of the grid.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    norm: Norm,
    dtype: DType,
    shape: Shape,
    /// What the data are like.
    pub values: Values,
    seed: u64,
}

impl Point {
    /// The data of the point: with a weight, and with a bias where LayerNorm has one, both of the
    /// activation type.
    ///
    /// # Errors
    /// The shape is not possible.
    pub fn case(&self) -> Result<Case, CallError> {
        let Shape { rows, hidden } = self.shape;
        let case = Case::new(self.norm, self.dtype, rows, hidden, self.values, self.seed)?.with_weight(self.dtype);
        Ok(if self.norm.family == Family::LayerNorm { case.with_bias(self.dtype) } else { case })
    }
}

/// The seed of the data.
pub fn seed(arguments: &ParityArguments) -> u64 {
    arguments.seed.unwrap_or(1)
}

/// The points that the options ask for.
pub fn points(arguments: &ParityArguments) -> Vec<Point> {
    fn or_all<'a, T>(given: &'a [T], all: &'a [T]) -> &'a [T] {
        if given.is_empty() { all } else { given }
    }
    let seed = seed(arguments);
    let mut points = Vec::new();
    for &op in or_all(&arguments.op, &OPS) {
        for &dtype in or_all(&arguments.dtype, &DType::ALL) {
            for norm in variants(op, dtype) {
                for &shape in or_all(&arguments.shape, &SHAPES) {
                    for &values in or_all(&arguments.values, &[Values::Unit]) {
                        points.push(Point { norm, dtype, shape, values, seed });
                    }
                }
            }
        }
    }
    points
}

/// The variants of an op: its options one by one, and rounding before the weight together with the
/// residual. With f32 all roundings are the same and are left out.
fn variants(op: GridOp, dtype: DType) -> Vec<Norm> {
    use ResidualRounding::{Split, Stored, Wide};
    let plain = Norm::new(op.family(), default_eps(op.family()));
    let add = |norm: Norm, scale, rounding| norm.with_residual_add(ResidualAdd { scale, rounding });
    let llama = plain.with_weight_rounding(WeightRounding::BeforeWeight);
    let gemma = plain.with_weight_offset(1.0);
    let all = match op {
        GridOp::LayerNorm => vec![plain],
        GridOp::RmsNorm => vec![plain, llama, gemma],
        GridOp::AddLayerNorm => {
            vec![
                add(plain, 1.0, Stored),
                add(plain, 1.0, Wide),
                add(plain, 1.0, Split),
                add(plain, DEEP_NORM_SCALE, Stored),
            ]
        }
        GridOp::AddRmsNorm => {
            vec![add(plain, 1.0, Stored), add(plain, 1.0, Wide), add(plain, 1.0, Split), add(llama, 1.0, Stored)]
        }
    };
    let rounds = |norm: &Norm| {
        norm.weight_rounding != WeightRounding::Single || norm.residual.is_some_and(|add| add.rounding != Stored)
    };
    all.into_iter().filter(|norm| dtype != DType::F32 || !rounds(norm)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rounding_is_in_the_grid_of_16_bit_types() {
        let all: Vec<Norm> = OPS.into_iter().flat_map(|op| variants(op, DType::BF16)).collect();
        for rounding in [ResidualRounding::Stored, ResidualRounding::Wide, ResidualRounding::Split] {
            for family in Family::ALL {
                let covered =
                    |norm: &&Norm| norm.family == family && norm.residual.is_some_and(|add| add.rounding == rounding);
                assert!(all.iter().any(|norm| covered(&norm)), "{family} {rounding:?}");
            }
        }
        assert!(all.iter().any(|norm| norm.weight_rounding == WeightRounding::BeforeWeight));
        assert!(all.iter().any(|norm| norm.weight_offset == 1.0));
        assert!(all.iter().all(|norm| norm.validate().is_ok()));
    }

    #[test]
    fn ops_say_whether_they_add() {
        for op in OPS {
            for dtype in DType::ALL {
                let norms = variants(op, dtype);
                assert!(!norms.is_empty());
                assert!(norms.iter().all(|norm| norm.residual.is_some() == op.adds() && norm.family == op.family()));
            }
        }
    }
}
