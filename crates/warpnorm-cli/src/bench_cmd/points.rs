//! The grid of `bench`: ops of the one table × types × rows × hidden sizes.

use crate::cli::{BenchArguments, MAX_GENERATED, Shape};
use crate::error::ToolError;
use crate::grid::{Breadth, Extent, Point, Quantising, Variant, norms};
use crate::ops::{self, Choice, op_name};
use crate::words::{shape_words, variant};
use warpnorm::host::Outputs;
use warpnorm::parity::Values;
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{DType, Scope};
use warpnorm_bench::Workload;

/// Every rows with every hidden size.
pub struct Shapes {
    rows: &'static [u32],
    hidden: &'static [u32],
    heads: &'static [u32],
    groups: &'static [u32],
    /// Whether all rows are generated, which the executor runs, or a block of them.
    whole: bool,
}

/// On a GPU.
pub const TIMED: Shapes = Shapes {
    rows: &[1, 8, 64, 512, 8192, 65_536],
    hidden: &[64, 128, 512, 768, 1536, 4096, 4097, 5120, 7168, 8192, 16_384, 65_536, 262_144],
    heads: &[64, 128, 256],
    groups: &[512, 1024],
    whole: false,
};

/// In the executor: a warp of several rows, one of a block, one that no chunk divides.
pub const COUNTED: Shapes = Shapes { rows: &[2], hidden: &[64, 768, 4097], heads: &[128], groups: &[512], whole: true };

/// Bytes of a matrix at most.
const MAX_MATRIX: u64 = 4 << 30;

const BREADTH: Breadth = Breadth { dtypes: &DType::ALL, sampled_dtypes: &DType::ALL, samples: true, parts: (32, 8) };

/// What servers quantise to: a scale for a row, and one for every 128 elements.
const QUANTISATIONS: [Quantisation; 2] =
    [Quantisation::per_token(CodeType::E4m3), Quantisation::per_group(CodeType::E4m3, 128)];

/// Rows of the segment of a block: those of decoding, and of a prompt.
const SEGMENT_ROWS: [u32; 5] = [1, 8, 64, 512, 8192];

/// A cell to be.
pub struct BenchPoint {
    point: Point,
    rows: usize,
}

impl BenchPoint {
    /// The op, type and shape, for messages.
    pub fn name(&self) -> String {
        let Point { norm, dtype, shape, parts, .. } = self.point;
        format!("{} {dtype} {}", op_name(&norm), shape_words(self.rows, parts, shape.hidden))
    }

    /// The norm, its type and its data.
    ///
    /// # Errors
    /// The shape is not possible.
    pub fn workload(&self) -> Result<Workload, ToolError> {
        let Point { norm, y, .. } = self.point;
        let outputs = Outputs { y, residual: norm.input.stores_residual(), ..Outputs::default() };
        let block = self.point.case()?.with_outputs(outputs);
        let mut options = variant(&norm);
        if norm.quantisation.is_some() && y {
            options.push_str(", with y");
        }
        Ok(Workload { op: op_name(&norm), options, rows: self.rows, block })
    }
}

/// The seed of the data.
pub fn seed(arguments: &BenchArguments) -> u64 {
    arguments.seed.unwrap_or(1)
}

/// What is timed: of each op the plain norm, quantised where servers have that, and rotated heads.
///
/// # Errors
/// An op that is not timed is asked for, an option does not go with an op, or a row is too long.
pub fn points(arguments: &BenchArguments, shapes: &Shapes) -> Result<Vec<BenchPoint>, ToolError> {
    let quantising = arguments.quantise.quantised_grid(&arguments.dtype)?;
    let quantising = quantising.map_or(Quantising::Also(&QUANTISATIONS), |one| Quantising::Each(one.quantisation));
    let (tensor_scale, y) = (arguments.quantise.tensor_scale, arguments.quantise.with_y);
    let mut points = Vec::new();
    for Variant { norm, mut with, parts, dtype, .. } in variants(arguments, quantising)? {
        with.positions = norm.rope.is_some();
        let hidden = match norm.scope {
            Scope::Row => shapes.hidden,
            Scope::Head => shapes.heads,
            Scope::Group => shapes.groups,
        };
        for &hidden in crate::grid::or_all(&arguments.hidden, hidden) {
            for &rows in crate::grid::or_all(&arguments.rows, shapes.rows) {
                let (rows, hidden) = (rows as usize, hidden as usize);
                let row = hidden.saturating_mul(parts);
                let bytes = (rows as u64).saturating_mul(row as u64).saturating_mul(dtype.size() as u64);
                let asked = !arguments.rows.is_empty() && !arguments.hidden.is_empty();
                let block = if shapes.whole { rows } else { Workload::block_rows(rows, row) };
                let fits = bytes <= MAX_MATRIX && block.saturating_mul(row) <= MAX_GENERATED;
                if asked && !fits {
                    let bytes = bytes.to_string();
                    return Err(ToolError::Usage(format!(
                        "{}: a matrix of {bytes} bytes, wanted at most {MAX_MATRIX}, of which {MAX_GENERATED} elements \
                         are generated",
                        shape_words(rows, parts, hidden)
                    )));
                }
                let shape = Shape { rows: block, hidden };
                if !fits || !quantising.fits(&norm, shape, asked) {
                    continue;
                }
                let (values, seed) = (Values::Unit, seed(arguments));
                let point = Point { norm, dtype, shape, parts, with, tensor_scale, y, values, seed };
                points.push(BenchPoint { point, rows });
            }
        }
    }
    Ok(points)
}

/// The norms, without regard to shapes: of these, each module of a cold start is one.
///
/// # Errors
/// As [`points`].
pub fn variants(arguments: &BenchArguments, quantising: Quantising<'_>) -> Result<Vec<Variant>, ToolError> {
    if arguments.subjects.op.iter().any(|choice| matches!(choice, Choice::BatchNorm)) {
        return Err(ToolError::Usage(
            "--op batch-norm is two launches of which the second is affine: wanted one of \
                                     the other ops; see --help"
                .to_owned(),
        ));
    }
    let all = norms(&arguments.subjects, arguments.parts, &arguments.dtype, quantising, &BREADTH)?;
    let wanted = |variant: &Variant| match variant.norm.quantisation {
        // Of an op of which there are samples, the first quantisation is enough.
        Some(quantisation) if matches!(quantising, Quantising::Also(_)) => {
            variant.extent != Extent::Samples || quantisation == QUANTISATIONS[0]
        }
        _ => variant.plain || variant.norm.rope.is_some(),
    };
    Ok(all.into_iter().filter(wanted).collect())
}

/// The segments of a block that are timed: add-rms-norm in the shapes of a model of 7 · 10⁹ parameters.
pub fn segments(arguments: &BenchArguments) -> Vec<BenchPoint> {
    let subjects = &arguments.subjects;
    let by_default = subjects.op.is_empty() && subjects.preset.is_none() && arguments.quantise.quantise.is_none();
    let Some(op) = ops::named("add-rms-norm").filter(|_| arguments.segment || by_default) else { return Vec::new() };
    let mut points = Vec::new();
    for &dtype in crate::grid::or_all(&arguments.dtype, &DType::ALL) {
        for &rows in crate::grid::or_all(&arguments.rows, &SEGMENT_ROWS) {
            let (rows, hidden) = (rows as usize, QKV_HIDDEN);
            let shape = Shape { rows: Workload::block_rows(rows, hidden), hidden };
            let (norm, with, values, seed) = (op.norm, op.with, Values::Unit, seed(arguments));
            let point = Point { norm, dtype, shape, parts: 1, with, tensor_scale: None, y: true, values, seed };
            points.push(BenchPoint { point, rows });
        }
    }
    points
}

/// The hidden size of a model of 7 · 10⁹ parameters.
const QKV_HIDDEN: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::collections::BTreeSet;

    fn arguments(more: &[&str]) -> BenchArguments {
        match crate::cli::Cli::try_parse_from(["warpnorm", "bench"].iter().chain(more)).unwrap().command {
            crate::cli::Command::Bench(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_grid_has_what_servers_run_within_memory() {
        let points = points(&arguments(&[]), &TIMED).unwrap();
        let ops: BTreeSet<String> = points.iter().map(|point| op_name(&point.point.norm)).collect();
        for op in ["layer-norm", "rms-norm", "add-layer-norm", "add-rms-norm", "gated-rms-norm", "head-rms-norm"] {
            assert!(ops.contains(op), "{op}");
        }
        let is = |test: fn(&Point) -> bool| points.iter().any(|point| test(&point.point));
        assert!(is(|point| point.norm.quantisation.is_some() && op_name(&point.norm) == "add-rms-norm"));
        assert!(is(|point| point.norm.rope.is_some()) && is(|point| point.norm.rope.is_none()));
        for point in &points {
            let Point { shape, parts, dtype, .. } = point.point;
            assert!((point.rows * parts * shape.hidden * dtype.size()) as u64 <= MAX_MATRIX, "{}", point.name());
            assert!(shape.rows <= point.rows);
        }
        for rows in TIMED.rows {
            for hidden in TIMED.hidden {
                let there = points.iter().any(|point| {
                    let Point { norm, dtype, shape, .. } = point.point;
                    let here = (point.rows, shape.hidden) == (*rows as usize, *hidden as usize);
                    here && dtype == DType::BF16 && op_name(&norm) == "rms-norm"
                });
                assert_eq!(there, u64::from(*rows) * u64::from(*hidden) * 2 <= MAX_MATRIX, "{rows} x {hidden}");
            }
        }
        let names: BTreeSet<String> =
            points.iter().map(|point| format!("{} {}", point.name(), variant(&point.point.norm))).collect();
        assert_eq!(names.len(), points.len());
    }

    #[test]
    fn segments_are_there_where_no_op_is_asked_for_or_they_are() {
        assert_eq!(segments(&arguments(&[])).len(), 3 * SEGMENT_ROWS.len());
        assert_eq!(segments(&arguments(&["--op", "rms-norm"])).len(), 0);
        assert_eq!(segments(&arguments(&["--op", "rms-norm", "--segment", "--dtype", "bf16"])).len(), 5);
    }
}
