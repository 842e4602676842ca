//! The grid of `profile`: its norms × parameters × shapes.

use super::cell::Key;
use crate::cli::{ProfileArguments, Shape};
use crate::grid::{Point, Variant, norms, or_all};
use crate::options::op_name;
use warpnorm::Family;
use warpnorm::parity::Values;

/// Where a row can live and how a team can fill: teams within a warp with many rows side by side (64,
/// 128), a warp (512), several warps (4096) and the largest team (16 384), all of them full; a team
/// that an odd size fills in part (5125); rows past the registers, which are staged (24 576) or read
/// again (131 072).
const SHAPES: [Shape; 8] = [
    Shape { rows: 256, hidden: 64 },
    Shape { rows: 128, hidden: 128 },
    Shape { rows: 32, hidden: 512 },
    Shape { rows: 4, hidden: 4096 },
    Shape { rows: 3, hidden: 5125 },
    Shape { rows: 2, hidden: 16_384 },
    Shape { rows: 2, hidden: 24_576 },
    Shape { rows: 1, hidden: 131_072 },
];

/// Options of an op change what is computed and not what is moved, so one shape shows their cost.
const SHAPE_OF_OPTIONS: Shape = Shape { rows: 4, hidden: 4096 };

/// Any: counts depend on it only where data decide what a kernel does, such as infinities.
const SEED: u64 = 1;

/// The points that the options ask for: with a weight, and LayerNorm with and without a bias.
pub fn points(arguments: &ProfileArguments) -> Vec<Point> {
    let mut points = Vec::new();
    for variant in norms(&arguments.op, &arguments.dtype) {
        let (norm, dtype) = (variant.norm, variant.dtype);
        let shapes = if variant.plain { &SHAPES[..] } else { &[SHAPE_OF_OPTIONS] };
        for &shape in or_all(&arguments.shape, shapes) {
            let biases: &[bool] = match (norm.family, variant.plain) {
                (Family::LayerNorm, true) => &[false, true],
                (Family::LayerNorm, false) => &[true],
                (Family::RmsNorm | Family::L2Norm | Family::Identity, _) => &[false],
            };
            let point = |&bias| Point { norm, dtype, shape, bias, values: Values::Unit, seed: SEED };
            points.extend(biases.iter().map(point));
        }
    }
    points
}

/// Whether the options ask for a cell of this key.
pub fn selected(arguments: &ProfileArguments, key: &Key) -> bool {
    let shape = Shape { rows: key.rows, hidden: key.hidden };
    let of_key = |variant: &Variant| op_name(&variant.norm) == key.op && variant.dtype.name() == key.dtype;
    (arguments.shape.is_empty() || arguments.shape.contains(&shape))
        && norms(&arguments.op, &arguments.dtype).iter().any(of_key)
}
