//! The grid of `parity`: its norms × shapes × kinds of data.

use crate::cli::{ParityArguments, Shape};
use crate::error::ToolError;
use crate::grid::{Point, Quantising, norms, or_all};
use warpnorm::Family;
use warpnorm::parity::Values;
use warpnorm::quantise::{CodeType, Quantisation};

/// One for each place that a row can have: teams within a warp and rows side by side in a thread block
/// (384), a team of several warps (4096), a row that does not fit in registers (16 385, which no chunk
/// size divides either).
const SHAPES: [Shape; 3] =
    [Shape { rows: 7, hidden: 384 }, Shape { rows: 4, hidden: 4096 }, Shape { rows: 2, hidden: 16_385 }];

/// A float and an integer, a scale for a row and several. y is compared as well.
const QUANTISATIONS: [Quantisation; 2] =
    [Quantisation::per_token(CodeType::E4m3), Quantisation::per_group(CodeType::Int8, 128)];

/// The seed of the data.
pub fn seed(arguments: &ParityArguments) -> u64 {
    arguments.seed.unwrap_or(1)
}

/// The points that the options ask for: with a weight, and with a bias where LayerNorm has one.
///
/// # Errors
/// The options of the quantisation are refused.
pub fn points(arguments: &ParityArguments) -> Result<Vec<Point>, ToolError> {
    let seed = seed(arguments);
    let quantised = arguments.quantise.quantised_grid(&arguments.dtype)?;
    let quantising = match quantised {
        Some(quantised) => Quantising::Each(quantised.quantisation),
        None => Quantising::Also(&QUANTISATIONS),
    };
    let y = quantised.is_none_or(|quantised| quantised.with_y);
    let tensor_scale = quantised.and_then(|quantised| quantised.tensor_scale);
    let mut points = Vec::new();
    for variant in norms(&arguments.op, &arguments.dtype, quantising) {
        let (norm, dtype) = (variant.norm, variant.dtype);
        let bias = norm.family == Family::LayerNorm;
        for &shape in or_all(&arguments.shape, &SHAPES) {
            if !quantising.fits(&norm, shape, !arguments.shape.is_empty()) {
                continue;
            }
            for &values in or_all(&arguments.values, &[Values::Unit]) {
                points.push(Point { norm, dtype, shape, bias, tensor_scale, y, values, seed });
            }
        }
    }
    Ok(points)
}
