//! The grid of `profile`: its norms × parameters × shapes.

use super::cell::Key;
use crate::cli::{ProfileArguments, Shape};
use crate::error::ToolError;
use crate::grid::{Breadth, Extent, Point, Quantising, Variant, check_size, norms, or_all};
use crate::ops::{With, op_name};
use crate::words::variant;
use warpnorm::parity::Values;
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{DType, Family, Input, Scope};

/// The hidden sizes of `bench`, and where a row can live and how a team can fill: teams within a warp with many rows
/// side by side (64, 128), a warp (512), several warps (768 to 8192) and the largest team (16 384), all of them full;
/// teams that an odd size fills in part, with rows that begin anywhere (4097, 5125); rows past the registers, in
/// clusters of two CTAs (24 576), four (65 536) and eight (262 144). What is moved and computed for a row does not depend on how
/// many there are, but for those in clusters and those of [`MANY_ROWS`].
const SHAPES: [Shape; 15] = [
    Shape { rows: 256, hidden: 64 },
    Shape { rows: 128, hidden: 128 },
    Shape { rows: 32, hidden: 512 },
    Shape { rows: 8, hidden: 768 },
    Shape { rows: 8, hidden: 1536 },
    Shape { rows: 4, hidden: 4096 },
    Shape { rows: 8, hidden: 4097 },
    Shape { rows: 4, hidden: 5120 },
    Shape { rows: 3, hidden: 5125 },
    Shape { rows: 2, hidden: 7168 },
    Shape { rows: 2, hidden: 8192 },
    Shape { rows: 2, hidden: 16_384 },
    Shape { rows: 2, hidden: 24_576 },
    Shape { rows: 1, hidden: 65_536 },
    Shape { rows: 1, hidden: 262_144 },
];

/// As many rows as are [paired](warpnorm::plan::Threads::Paired) on an H200, where a norm has such kernels: of teams of
/// four threads and of a warp, of eight warps, nine and 32, of rows that begin anywhere, and of rows that do not fill their
/// warps, or fill them line by line.
const MANY_ROWS: [Shape; 8] = [
    Shape { rows: 33_793, hidden: 64 },
    Shape { rows: 4225, hidden: 512 },
    Shape { rows: 529, hidden: 4096 },
    Shape { rows: 529, hidden: 4097 },
    Shape { rows: 470, hidden: 4608 },
    Shape { rows: 133, hidden: 16_384 },
    Shape { rows: 705, hidden: 2880 },
    Shape { rows: 2113, hidden: 768 },
];

/// Options of an op change what is computed and not what is moved, so one shape shows their cost.
const SHAPE_OF_OPTIONS: Shape = Shape { rows: 4, hidden: 4096 };

/// The same of 32 heads, and of 8 groups.
const SHAPE_OF_HEADS: Shape = Shape { rows: 4, hidden: 128 };
const SHAPE_OF_GROUPS: Shape = Shape { rows: 4, hidden: 512 };

/// As many rows of as many heads as are paired on an H200.
const MANY_HEADS: [Shape; 1] = [Shape { rows: 529, hidden: 128 }];

/// bf16 and f32 cost what they do with the ops of which there is the whole.
const BREADTH: Breadth = Breadth { dtypes: &DType::ALL, sampled_dtypes: &[DType::F16], samples: true, parts: (32, 8) };

/// A scale for a row, a scale for every slice of it that a few threads own, and codes of y before it is rounded.
const QUANTISATIONS: [Quantisation; 3] = [
    Quantisation::per_token(CodeType::E4m3),
    Quantisation::per_group(CodeType::E4m3, 128),
    Quantisation::per_tensor_wide(),
];

/// Any: counts depend on it only where data decide what a kernel does, such as infinities.
const SEED: u64 = 1;

/// How the options quantise.
fn quantising(arguments: &ProfileArguments) -> Result<Quantising<'static>, ToolError> {
    let quantised = arguments.quantise.quantised_grid(&arguments.dtype)?;
    Ok(quantised.map_or(Quantising::Also(&QUANTISATIONS), |quantised| Quantising::Each(quantised.quantisation)))
}

/// The norms that the options ask for. Of ops of which there are samples, one quantisation is enough.
fn variants(arguments: &ProfileArguments) -> Result<Vec<Variant>, ToolError> {
    let ProfileArguments { subjects, parts, dtype, .. } = arguments;
    let mut variants = norms(subjects, *parts, dtype, quantising(arguments)?, &BREADTH)?;
    let surplus = |variant: &Variant| {
        let first = variant.norm.quantisation.is_none_or(|quantisation| quantisation == QUANTISATIONS[0]);
        variant.extent == Extent::Samples && !first
    };
    if arguments.quantise.quantise.is_none() {
        variants.retain(|variant| !surplus(variant));
    }
    Ok(variants)
}

/// The shapes of [`MANY_ROWS`] that there are paired kernels for: all of them of a plain norm; rows of 16 bits that
/// begin anywhere with a residual, and one shape of codes and of a gate after the norm. And that of [`MANY_HEADS`].
fn of_many_rows(variant: &Variant) -> &'static [Shape] {
    let Variant { norm, dtype, plain, extent, .. } = variant;
    if norm.scope == Scope::Head {
        return &MANY_HEADS;
    }
    if norm.scope != Scope::Row || norm.post_add.is_some() {
        return &[];
    }
    let whole = *extent == Extent::Whole;
    match (norm.input, norm.quantisation) {
        (Input::Plain, None) if norm.gate.is_some() && norm.family == Family::RmsNorm => &MANY_ROWS[1..2],
        _ if !whole => &[],
        (Input::Plain, None) if *plain => &MANY_ROWS,
        (Input::ResidualAdd(_), None) if *plain && *dtype != DType::F32 => &MANY_ROWS[3..4],
        (Input::Plain, Some(_)) if norm.family != Family::Identity => &MANY_ROWS[2..3],
        _ => &[],
    }
}

/// The points that the options ask for: LayerNorm, where there is the whole of it, without a bias as well.
///
/// # Errors
/// The options of the quantisation are refused, or an op has no heads or groups.
pub fn points(arguments: &ProfileArguments) -> Result<Vec<Point>, ToolError> {
    let quantising = quantising(arguments)?;
    let (tensor_scale, y) = (arguments.quantise.tensor_scale, arguments.quantise.with_y);
    let mut points = Vec::new();
    for variant in variants(arguments)? {
        let Variant { norm, with, parts, dtype, plain, extent } = variant;
        let shapes = match norm.scope {
            Scope::Row if plain && extent == Extent::Whole => &SHAPES[..],
            Scope::Row => &[SHAPE_OF_OPTIONS],
            Scope::Head => &[SHAPE_OF_HEADS],
            Scope::Group => &[SHAPE_OF_GROUPS],
        };
        let shapes = [shapes, of_many_rows(&variant)].concat();
        let without = With { bias: false, ..with };
        let both = plain && extent == Extent::Whole && norm.family == Family::LayerNorm && with.bias;
        let withs = if both { &[without, with][..] } else { &[with] };
        for &shape in or_all(&arguments.shape, &shapes) {
            if !quantising.fits(&norm, shape, !arguments.shape.is_empty()) {
                continue;
            }
            check_size(shape, parts)?;
            let values = Values::Unit;
            let point = |&with| Point { norm, dtype, shape, parts, with, tensor_scale, y, values, seed: SEED };
            points.extend(withs.iter().map(point));
        }
    }
    Ok(points)
}

/// Whether the options leave nothing of the grid out.
pub fn is_whole(arguments: &ProfileArguments) -> bool {
    let ProfileArguments { subjects, parts, dtype, shape, quantise, .. } = arguments;
    let any = !subjects.op.is_empty() || subjects.preset.is_some() || parts.count().is_some();
    !any && dtype.is_empty() && shape.is_empty() && quantise.quantise.is_none()
}

/// Whether the options ask for a cell of this key. Of one quantisation, only its own cells; else also
/// cells of options that the grid has no longer.
pub fn selected(arguments: &ProfileArguments, key: &Key) -> bool {
    let Ok(variants) = variants(arguments) else { return false };
    let shape = Shape { rows: key.rows, hidden: key.hidden };
    let of_key = |one: &Variant| {
        op_name(&one.norm) == key.op
            && one.dtype.name() == key.dtype
            && (arguments.parts.count().is_none() || one.parts == key.parts)
            && (arguments.quantise.quantise.is_none() || variant(&one.norm) == key.options)
    };
    (arguments.shape.is_empty() || arguments.shape.contains(&shape)) && variants.iter().any(of_key)
}
