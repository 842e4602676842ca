//! The grid of `parity`: its norms × shapes × kinds of data.

use crate::cli::{ParityArguments, Shape};
use crate::grid::{Point, norms, or_all};
use warpnorm::Family;
use warpnorm::parity::Values;

/// One for each place that a row can have: teams within a warp and rows side by side in a thread block
/// (384), a team of several warps (4096), a row that does not fit in registers (16 385, which no chunk
/// size divides either).
const SHAPES: [Shape; 3] =
    [Shape { rows: 7, hidden: 384 }, Shape { rows: 4, hidden: 4096 }, Shape { rows: 2, hidden: 16_385 }];

/// The seed of the data.
pub fn seed(arguments: &ParityArguments) -> u64 {
    arguments.seed.unwrap_or(1)
}

/// The points that the options ask for: with a weight, and with a bias where LayerNorm has one.
pub fn points(arguments: &ParityArguments) -> Vec<Point> {
    let seed = seed(arguments);
    let mut points = Vec::new();
    for variant in norms(&arguments.op, &arguments.dtype) {
        let (norm, dtype) = (variant.norm, variant.dtype);
        let bias = norm.family == Family::LayerNorm;
        for &shape in or_all(&arguments.shape, &SHAPES) {
            for &values in or_all(&arguments.values, &[Values::Unit]) {
                points.push(Point { norm, dtype, shape, bias, values, seed });
            }
        }
    }
    points
}
