//! The grid of `profile`: its norms × parameters × shapes.

use super::cell::Key;
use crate::cli::{ProfileArguments, Shape};
use crate::error::ToolError;
use crate::grid::{Point, Quantising, Variant, norms, or_all};
use crate::options::{op_name, variant};
use warpnorm::Family;
use warpnorm::parity::Values;
use warpnorm::quantise::{CodeType, Quantisation};

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

/// A scale for a row, and a scale for every slice of it that a few threads own.
const QUANTISATIONS: [Quantisation; 2] =
    [Quantisation::per_token(CodeType::E4m3), Quantisation::per_group(CodeType::E4m3, 128)];

/// Any: counts depend on it only where data decide what a kernel does, such as infinities.
const SEED: u64 = 1;

/// How the options quantise.
fn quantising(arguments: &ProfileArguments) -> Result<Quantising<'static>, ToolError> {
    let quantised = arguments.quantise.quantised_grid(&arguments.dtype)?;
    Ok(quantised.map_or(Quantising::Also(&QUANTISATIONS), |quantised| Quantising::Each(quantised.quantisation)))
}

/// The points that the options ask for: with a weight, and LayerNorm with and without a bias.
///
/// # Errors
/// The options of the quantisation are refused.
pub fn points(arguments: &ProfileArguments) -> Result<Vec<Point>, ToolError> {
    let quantising = quantising(arguments)?;
    let (tensor_scale, y) = (arguments.quantise.tensor_scale, arguments.quantise.with_y);
    let mut points = Vec::new();
    for variant in norms(&arguments.op, &arguments.dtype, quantising) {
        let (norm, dtype) = (variant.norm, variant.dtype);
        let shapes = if variant.plain { &SHAPES[..] } else { &[SHAPE_OF_OPTIONS] };
        for &shape in or_all(&arguments.shape, shapes) {
            if !quantising.fits(&norm, shape, !arguments.shape.is_empty()) {
                continue;
            }
            let biases: &[bool] = match (norm.family, variant.plain) {
                (Family::LayerNorm, true) => &[false, true],
                (Family::LayerNorm, false) => &[true],
                (Family::RmsNorm | Family::L2Norm | Family::Identity, _) => &[false],
            };
            let values = Values::Unit;
            let point = |&bias| Point { norm, dtype, shape, bias, tensor_scale, y, values, seed: SEED };
            points.extend(biases.iter().map(point));
        }
    }
    Ok(points)
}

/// Whether the options leave nothing of the grid out.
pub fn is_whole(arguments: &ProfileArguments) -> bool {
    let ProfileArguments { op, dtype, shape, quantise, .. } = arguments;
    op.is_empty() && dtype.is_empty() && shape.is_empty() && quantise.quantise.is_none()
}

/// Whether the options ask for a cell of this key. Of one quantisation, only its own cells; else also
/// cells of options that the grid has no longer.
pub fn selected(arguments: &ProfileArguments, key: &Key) -> bool {
    let Ok(quantising) = quantising(arguments) else { return false };
    let shape = Shape { rows: key.rows, hidden: key.hidden };
    let of_key = |one: &Variant| {
        op_name(&one.norm) == key.op
            && one.dtype.name() == key.dtype
            && (arguments.quantise.quantise.is_none() || variant(&one.norm) == key.options)
    };
    (arguments.shape.is_empty() || arguments.shape.contains(&shape))
        && norms(&arguments.op, &arguments.dtype, quantising).iter().any(of_key)
}
