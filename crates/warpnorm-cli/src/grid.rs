//! Grids of generated data: ops and their options × types × shapes.

use crate::cli::{GridSubjects, MAX_GENERATED, PartOptions, Shape};
use crate::error::ToolError;
use crate::ops::{self, Choice, Coverage, OPS, With};
use warpnorm::parity::{Case, Values};
use warpnorm::plan::Module;
use warpnorm::quantise::Quantisation;
use warpnorm::{
    CallError, DType, Family, Input, MAX_ROTATED_HEAD, Norm, PositionType, PostRounding, ResidualRounding,
    RopeRounding, Scope, WeightRounding,
};

/// One point of a grid.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// What is computed.
    pub norm: Norm,
    /// The activation type, and that of the parameters.
    pub dtype: DType,
    /// Rows and hidden size, that of a head or group where the norm is of those.
    pub shape: Shape,
    /// Heads or groups of a row.
    pub parts: usize,
    /// The tensors that the norm could do without.
    pub with: With,
    /// The scale that is given to a quantisation that takes one; the data's own, if none is.
    pub tensor_scale: Option<f32>,
    /// Whether y is wanted beside its codes.
    pub y: bool,
    /// What the data are like.
    pub values: Values,
    /// The seed of the data.
    pub seed: u64,
}

impl Point {
    /// The data of the point.
    ///
    /// # Errors
    /// The shape is not possible.
    pub fn case(&self) -> Result<Case, CallError> {
        let (Shape { rows, hidden }, dtype) = (self.shape, self.dtype);
        let mut case = Case::of_parts(self.norm, dtype, rows, self.parts, hidden, self.values, self.seed)?;
        if self.with.weight {
            case = case.with_weight(dtype);
            if matches!(self.norm.input, Input::PostNorm(_)) {
                case = case.with_inner_weight(dtype);
            }
        }
        if self.with.bias {
            case = case.with_bias(dtype);
        }
        if self.with.linear_bias {
            case = case.with_linear_bias(dtype);
        }
        if self.norm.family == Family::Identity && !self.with.gate {
            case.gate = None;
        }
        if self.with.second {
            // As many as grouped-query attention has of keys.
            case = case.with_second(self.parts.div_ceil(4));
        }
        if let (true, Some(rope)) = (self.with.positions, &mut case.rope) {
            rope.positions = Some((0..rows as i64).rev().collect());
            rope.position_type = PositionType::I32;
        }
        case.tensor_scale = self.tensor_scale.or(case.tensor_scale);
        case.outputs.y = self.y;
        Ok(case)
    }
}

/// What is given, or else all there is.
pub fn or_all<'a, T>(given: &'a [T], all: &'a [T]) -> &'a [T] {
    if given.is_empty() { all } else { given }
}

/// One norm of a grid.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// The norm.
    pub norm: Norm,
    /// The tensors that the norm could do without.
    pub with: With,
    /// Heads or groups of a row, where it is divided; else 1.
    pub parts: usize,
    /// The activation type.
    pub dtype: DType,
    /// Whether it is the plain one of its op.
    pub plain: bool,
    /// How much there is to be of it.
    pub extent: Extent,
}

/// How much there is to be of an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All the grid's types and shapes.
    Whole,
    /// Samples of the grid.
    Samples,
    /// One case.
    Case,
}

/// How a grid quantises.
#[derive(Clone, Copy, Debug)]
pub enum Quantising<'a> {
    /// Every norm so.
    Each(Quantisation),
    /// The plain norm of each op once more with each of these, where the build can.
    Also(&'a [Quantisation]),
}

impl Quantising<'_> {
    /// Whether rows of this size can be divided for the norm. Where both were asked for, a size that
    /// cannot be is left for the library to refuse.
    pub fn fits(self, norm: &Norm, shape: Shape, shape_given: bool) -> bool {
        let both_given = shape_given && matches!(self, Quantising::Each(_));
        let rotates = norm.rope.is_none_or(|rope| (rope.dim..=MAX_ROTATED_HEAD).contains(&shape.hidden));
        rotates
            && (both_given || norm.quantisation.is_none_or(|quantisation| quantisation.validate(shape.hidden).is_ok()))
    }
}

/// What sets the grid of a command apart.
pub struct Breadth {
    /// Types of ops of which there is the whole.
    pub dtypes: &'static [DType],
    /// Types of ops of which there are samples.
    pub sampled_dtypes: &'static [DType],
    /// Whether there are samples of ops that are not asked for.
    pub samples: bool,
    /// Heads and groups of a row.
    pub parts: (usize, usize),
}

/// A norm of a grid and what it is with; those of an op, and how much there is to be of it.
type Entry = (Vec<(Norm, With)>, Extent);

fn entries(subjects: &GridSubjects, breadth: &Breadth) -> Vec<Entry> {
    if let Some(preset) = subjects.preset {
        let (weight, bias) = (preset.norm.family != Family::L2Norm, preset.norm.family == Family::LayerNorm);
        return vec![(vec![(preset.norm, With { weight, bias, ..With::default() })], Extent::Whole)];
    }
    let by_default = OPS.iter().filter_map(|op| match op.coverage {
        Coverage::Whole => Some((ops::all(op).collect(), Extent::Whole)),
        Coverage::Samples(more) if breadth.samples => Some((ops::all(op).take(1 + more).collect(), Extent::Samples)),
        Coverage::Samples(_) | Coverage::WhereAsked => None,
    });
    let asked = |choice: &Choice| match choice {
        Choice::All => OPS.iter().map(|op| (vec![(op.norm, op.with)], Extent::Case)).collect(),
        // It is no norm of rows, and has points of its own.
        Choice::BatchNorm => vec![],
        Choice::One(op) => {
            let sampled = breadth.samples && op.coverage != Coverage::Whole;
            vec![(ops::all(op).collect(), if sampled { Extent::Samples } else { Extent::Whole })]
        }
    };
    if subjects.op.is_empty() { by_default.collect() } else { subjects.op.iter().flat_map(asked).collect() }
}

/// Every norm that is asked for, or of the ops that grids have where none are. Quantised are those of 16-bit types.
/// With f32 all roundings are the same and are left out.
///
/// # Errors
/// An op has no heads or groups, and rows are to be divided into them.
pub fn norms(
    subjects: &GridSubjects,
    parts: PartOptions,
    dtypes: &[DType],
    quantising: Quantising<'_>,
    breadth: &Breadth,
) -> Result<Vec<Variant>, ToolError> {
    let mut variants = Vec::new();
    let asked = !subjects.op.is_empty() || subjects.preset.is_some();
    for (norms, extent) in entries(subjects, breadth) {
        let usual = if extent == Extent::Samples { breadth.sampled_dtypes } else { breadth.dtypes };
        for &dtype in or_all(dtypes, usual) {
            for (index, &(norm, with)) in
                norms.iter().enumerate().filter(|&(index, (norm, _))| index == 0 || !idle(norm, dtype))
            {
                let norm = parts.divide(norm)?;
                let count = match norm.scope {
                    Scope::Row => 1,
                    Scope::Head => parts.count().unwrap_or(breadth.parts.0),
                    Scope::Group => parts.count().unwrap_or(breadth.parts.1),
                };
                let variant = Variant { norm, with, parts: count, dtype, plain: index == 0, extent };
                match quantising {
                    Quantising::Each(_) if dtype == DType::F32 => {}
                    Quantising::Each(quantisation) => {
                        let norm = norm.with_quantisation(quantisation);
                        // What was asked for is left for the library to refuse.
                        if asked || can_run(&norm, dtype) {
                            variants.push(Variant { norm, ..variant });
                        }
                    }
                    Quantising::Also(_) => variants.push(variant),
                }
            }
            if let (Quantising::Also(more), Some(plain)) = (quantising, norms.first())
                && extent != Extent::Case
            {
                let quantised = more.iter().map(|&quantisation| plain.0.with_quantisation(quantisation));
                let here = quantised.filter(|norm| parts.count().is_none() && can_run(norm, dtype));
                let variant = |norm| Variant { norm, with: plain.1, parts: 1, dtype, plain: false, extent };
                variants.extend(here.map(variant));
            }
        }
    }
    Ok(variants)
}

/// Whether all that sets the norm apart are roundings that do nothing with this type.
fn idle(norm: &Norm, dtype: DType) -> bool {
    let before_use = norm.residual_add().is_some_and(|add| add.rounding != ResidualRounding::Stored);
    let after = crate::options::post_add(norm).is_some_and(|add| add.rounding == PostRounding::Each);
    let rotation = norm.rope.is_some_and(|rope| rope.rounding == RopeRounding::Each);
    dtype == DType::F32 && (norm.weight_rounding != WeightRounding::Single || before_use || after || rotation)
}

/// Whether there is a kernel for a quantised norm.
fn can_run(norm: &Norm, dtype: DType) -> bool {
    let module = Module::of(norm, dtype);
    dtype != DType::F32 && norm.validate().is_ok() && Module::all().any(|one| one == module)
}

/// The number of elements that a point takes, refused where it is too large.
///
/// # Errors
/// It is.
pub fn check_size(shape: Shape, parts: usize) -> Result<(), ToolError> {
    let elements = shape.rows.max(1).checked_mul(shape.hidden).and_then(|elements| elements.checked_mul(parts));
    match elements {
        Some(elements) if parts > 0 && elements <= MAX_GENERATED => Ok(()),
        _ => Err(ToolError::Usage(format!(
            "{} rows of {parts} times {} elements: wanted at least 1 part, and at most {MAX_GENERATED} elements",
            shape.rows, shape.hidden
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BREADTH: Breadth =
        Breadth { dtypes: &DType::ALL, sampled_dtypes: &[DType::F16], samples: true, parts: (4, 3) };

    fn all(op: &[Choice], dtypes: &[DType]) -> Vec<Variant> {
        let subjects = GridSubjects { op: op.to_vec(), preset: None };
        norms(&subjects, PartOptions::default(), dtypes, Quantising::Also(&[]), &BREADTH).unwrap()
    }

    #[test]
    fn f32_has_no_roundings_but_every_op() {
        let variants = all(&[], &[DType::F32]);
        assert!(variants.iter().all(|variant| variant.norm.weight_rounding == WeightRounding::Single));
        for op in OPS {
            let of_op = all(&[Choice::One(op)], &[DType::F32]);
            assert!(of_op[0].plain && of_op.iter().all(|variant| ops::op_name(&variant.norm) == op.name));
            let of_16_bits = all(&[Choice::One(op)], &[DType::F16]);
            assert_eq!(of_16_bits.len(), 1 + op.variants.len());
        }
    }

    #[test]
    fn all_is_one_case_of_every_op() {
        let variants = all(&[Choice::All], &[DType::F16]);
        let names: Vec<String> = variants.iter().map(|variant| ops::op_name(&variant.norm)).collect();
        assert!(names.iter().eq(OPS.iter().map(|op| op.name)), "{names:?}");
        assert!(variants.iter().all(|variant| variant.extent == Extent::Case));
    }

    #[test]
    fn what_is_past_memory_is_refused() {
        assert!(check_size(Shape { rows: 0, hidden: MAX_GENERATED }, 1).is_ok());
        for parts in [0, 2, usize::MAX] {
            assert!(check_size(Shape { rows: 0, hidden: MAX_GENERATED }, parts).is_err());
        }
    }
}
