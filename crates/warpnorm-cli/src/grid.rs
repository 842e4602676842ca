//! Grids of generated data: ops and their options × types × shapes.

use crate::cli::{GridOp, Shape};
use crate::options::default_eps;
use warpnorm::parity::{Case, Values};
use warpnorm::quantise::Quantisation;
use warpnorm::{CallError, DType, Norm, ResidualAdd, ResidualRounding, WeightRounding};

const OPS: [GridOp; 4] = [GridOp::LayerNorm, GridOp::RmsNorm, GridOp::AddLayerNorm, GridOp::AddRmsNorm];

/// α of DeepNorm for an encoder of 18 layers, (2·18)^(1/4).
const DEEP_NORM_SCALE: f32 = 2.449_489_7;

/// One point of a grid.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// What is computed.
    pub norm: Norm,
    /// The activation type, and that of weight and bias.
    pub dtype: DType,
    /// Rows and hidden size.
    pub shape: Shape,
    /// Whether there is a bias beside the weight.
    pub bias: bool,
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
        let Shape { rows, hidden } = self.shape;
        let mut case = Case::new(self.norm, self.dtype, rows, hidden, self.values, self.seed)?.with_weight(self.dtype);
        case.tensor_scale = self.tensor_scale.or(case.tensor_scale);
        case.outputs.y = self.y;
        Ok(if self.bias { case.with_bias(self.dtype) } else { case })
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
    /// The activation type.
    pub dtype: DType,
    /// Whether it is the plain one of its op.
    pub plain: bool,
}

/// How a grid quantises.
#[derive(Clone, Copy, Debug)]
pub enum Quantising<'a> {
    /// Every norm so.
    Each(Quantisation),
    /// The plain norm of each op once more with each of these.
    Also(&'a [Quantisation]),
}

impl Quantising<'_> {
    /// Whether rows of this size can be divided for the norm. Where both were asked for, a size that
    /// cannot be is left for the library to refuse.
    pub fn fits(self, norm: &Norm, shape: Shape, shape_given: bool) -> bool {
        let both_given = shape_given && matches!(self, Quantising::Each(_));
        both_given || norm.quantisation.is_none_or(|quantisation| quantisation.validate(shape.hidden).is_ok())
    }
}

/// Every norm of these ops and types; of all, where none are given. Quantised are those of 16-bit types.
pub fn norms(ops: &[GridOp], dtypes: &[DType], quantising: Quantising<'_>) -> Vec<Variant> {
    let mut norms = Vec::new();
    for &op in or_all(ops, &OPS) {
        for &dtype in or_all(dtypes, &DType::ALL) {
            let all = variants(op, dtype);
            let plain = all[0];
            let all = all.into_iter().enumerate().map(|(index, norm)| Variant { norm, dtype, plain: index == 0 });
            match quantising {
                Quantising::Each(_) if dtype == DType::F32 => {}
                Quantising::Each(quantisation) => norms.extend(
                    all.map(|variant| Variant { norm: variant.norm.with_quantisation(quantisation), ..variant }),
                ),
                Quantising::Also(more) => {
                    norms.extend(all);
                    let more = if dtype == DType::F32 { &[] } else { more };
                    norms.extend(more.iter().map(|&quantisation| {
                        let norm = plain.with_quantisation(quantisation);
                        Variant { norm, dtype, plain: false }
                    }));
                }
            }
        }
    }
    norms
}

/// The variants of an op: the plain one first, then its options one by one, and rounding before the weight together with the
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
        norm.weight_rounding != WeightRounding::Single || norm.residual_add().is_some_and(|add| add.rounding != Stored)
    };
    all.into_iter().filter(|norm| dtype != DType::F32 || !rounds(norm)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use warpnorm::Family;

    #[test]
    fn every_rounding_is_in_the_grid_of_16_bit_types() {
        let all: Vec<Norm> = OPS.into_iter().flat_map(|op| variants(op, DType::BF16)).collect();
        for rounding in [ResidualRounding::Stored, ResidualRounding::Wide, ResidualRounding::Split] {
            for family in [Family::LayerNorm, Family::RmsNorm] {
                let covered = |norm: &&Norm| {
                    norm.family == family && norm.residual_add().is_some_and(|add| add.rounding == rounding)
                };
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
                assert!(
                    norms.iter().all(|norm| norm.residual_add().is_some() == op.adds() && norm.family == op.family())
                );
            }
        }
    }
}
