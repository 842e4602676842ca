//! The grid of `parity`: its norms × shapes × kinds of data.

use crate::cli::{ParityArguments, Shape};
use crate::error::ToolError;
use crate::grid::{Breadth, Extent, Point, Quantising, check_size, norms, or_all};
use warpnorm::parity::Values;
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{DType, Scope};

/// One for each place that a row can have: teams within a warp and rows side by side in a thread block
/// (384), a team of several warps (4096), a row that does not fit in registers (16 385, which no chunk
/// size divides either).
const SHAPES: [Shape; 3] =
    [Shape { rows: 7, hidden: 384 }, Shape { rows: 4, hidden: 4096 }, Shape { rows: 2, hidden: 16_385 }];

/// The usual head sizes, and one that no power of two is.
const HEADS: [Shape; 3] =
    [Shape { rows: 5, hidden: 64 }, Shape { rows: 3, hidden: 128 }, Shape { rows: 3, hidden: 80 }];

/// A group within a warp, and one of several.
const GROUPS: [Shape; 2] = [Shape { rows: 5, hidden: 96 }, Shape { rows: 3, hidden: 2048 }];

const BREADTH: Breadth = Breadth { dtypes: &DType::ALL, sampled_dtypes: &DType::ALL, samples: false, parts: (5, 3) };

/// A float and an integer, a scale for a row and several. y is compared as well.
const QUANTISATIONS: [Quantisation; 2] =
    [Quantisation::per_token(CodeType::E4m3), Quantisation::per_group(CodeType::Int8, 128)];

/// The seed of the data.
pub fn seed(arguments: &ParityArguments) -> u64 {
    arguments.seed.unwrap_or(1)
}

/// The points that the options ask for.
///
/// # Errors
/// The options of the quantisation are refused, or an op has no heads or groups.
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
    for variant in norms(&arguments.subjects, arguments.parts, &arguments.dtype, quantising, &BREADTH)? {
        let (norm, with, parts, dtype) = (variant.norm, variant.with, variant.parts, variant.dtype);
        let shapes = match norm.scope {
            Scope::Row => &SHAPES[..],
            Scope::Head => &HEADS,
            Scope::Group => &GROUPS,
        };
        let shapes = if variant.extent == Extent::Case { &shapes[..1] } else { shapes };
        for &shape in or_all(&arguments.shape, shapes) {
            if !quantising.fits(&norm, shape, !arguments.shape.is_empty()) {
                continue;
            }
            check_size(shape, parts)?;
            for &values in or_all(&arguments.values, &[Values::Unit]) {
                points.push(Point { norm, dtype, shape, parts, with, tensor_scale, y, values, seed });
            }
        }
    }
    Ok(points)
}
