//! The ops: one table, from which the choices of the command line, the grids of `parity` and `profile` and the words
//! for a norm follow.

mod activation;
mod table;

pub use activation::{parse as parse_activation, split as split_activation};

pub use table::{OPS, all};
pub use warpnorm::presets::{Preset, named as parse_preset};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use warpnorm::{Family, Input, Norm, Scope};

/// A line of the table.
#[derive(Debug)]
pub struct Op {
    /// The name, which [`op_name`] gives the norm.
    pub name: &'static str,
    /// What it is, for `--help`.
    pub about: &'static str,
    /// The plain norm of the op. What tensors and what options the op takes follows from it.
    pub norm: Norm,
    /// The tensors beside those that the norm cannot do without, where data are generated.
    pub with: With,
    /// More of the op for grids: its options one by one.
    pub variants: &'static [(Norm, With)],
    /// Where grids have it that are not told which ops to have.
    pub coverage: Coverage,
}

/// How much of an op is in a grid that is not told which ops to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// All its variants, types and shapes.
    Whole,
    /// Nothing of it in `parity`, and in `profile` its first variants, these and the plain one, once each.
    Samples(usize),
    /// Nothing of it: it runs on the module of another op.
    WhereAsked,
}

/// Tensors that a norm can do without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct With {
    /// γ; that of the first of two norms as well.
    pub weight: bool,
    /// β.
    pub bias: bool,
    /// The gate of an activation.
    pub gate: bool,
    /// The bias of the Linear before.
    pub linear_bias: bool,
    /// Heads of a second tensor.
    pub second: bool,
    /// A position for every row that is not its number.
    pub positions: bool,
}

/// What is applied to a file, or compared over a grid: an op, or a preset.
#[derive(Clone, Copy, Debug)]
pub enum Subject {
    /// The plain norm of an op, which the tensors that are there may make another.
    Op(&'static Op),
    /// A norm with all its options.
    Preset(Preset),
}

impl Subject {
    /// The norm that options and tensors start from.
    pub fn norm(&self) -> Norm {
        match self {
            Subject::Op(op) => op.norm,
            Subject::Preset(preset) => preset.norm,
        }
    }

    /// The option that asks for it, for messages.
    pub fn option(&self) -> String {
        match self {
            Subject::Op(op) => format!("--op {}", op.name),
            Subject::Preset(preset) => format!("--preset {preset}"),
        }
    }
}

/// The name of the op that is none of rows.
pub const BATCH_NORM: &str = "batch-norm";

/// What `--op` names.
#[derive(Clone, Copy, Debug)]
pub enum Named {
    /// An op of the table.
    Norm(&'static Op),
    /// Batch normalisation, by the statistics of this batch.
    BatchNorm,
}

impl Named {
    /// The op, where it is one of the table.
    pub fn norm(self) -> Option<&'static Op> {
        match self {
            Named::Norm(op) => Some(op),
            Named::BatchNorm => None,
        }
    }

    fn parse(name: &str) -> Option<Named> {
        if name == BATCH_NORM { Some(Named::BatchNorm) } else { named(name).map(Named::Norm) }
    }
}

/// The choice of `--op` in grids.
#[derive(Clone, Copy, Debug)]
pub enum Choice {
    /// A case of every op.
    All,
    /// An op of the table.
    One(&'static Op),
    /// Batch normalisation.
    BatchNorm,
}

/// The value of `--op` where it is one op.
pub fn parser() -> impl TypedValueParser<Value = Named> {
    PossibleValuesParser::new(all_possible()).try_map(|name| Named::parse(&name).ok_or("no such op"))
}

/// The value of `--op` where it is a choice of several.
pub fn choice_parser() -> impl TypedValueParser<Value = Choice> {
    let all = PossibleValue::new("all").help("The plain norm of every op, in one shape");
    PossibleValuesParser::new(all_possible().chain([all])).try_map(|name| match Named::parse(&name) {
        Some(Named::Norm(op)) => Ok(Choice::One(op)),
        Some(Named::BatchNorm) => Ok(Choice::BatchNorm),
        None if name == "all" => Ok(Choice::All),
        None => Err("no such op"),
    })
}

fn all_possible() -> impl Iterator<Item = PossibleValue> {
    let batch_norm = "Batch normalisation by the statistics of this batch: a mean and an rstd for every column";
    OPS.iter().map(possible).chain([PossibleValue::new(BATCH_NORM).help(batch_norm)])
}

fn possible(op: &'static Op) -> PossibleValue {
    PossibleValue::new(op.name).help(op.about)
}

/// The op of this name.
pub fn named(name: &str) -> Option<&'static Op> {
    OPS.iter().find(|op| op.name == name)
}

/// Names of the ops that are so, for messages.
pub fn names(so: impl Fn(&Norm) -> bool) -> String {
    OPS.iter().filter(|op| so(&op.norm)).map(|op| op.name).collect::<Vec<_>>().join(", ")
}

/// Whether a residual in front makes another op of the norm.
pub fn may_add(norm: &Norm) -> bool {
    is_plain(norm) && norm.scope == Scope::Row
}

/// Whether a norm is of x alone and nothing follows it.
pub fn is_plain(norm: &Norm) -> bool {
    norm.input == Input::Plain && norm.gate.is_none() && norm.post_add.is_none() && norm.family != Family::Identity
}

/// The op as options name it, such as `add-rms-norm`.
pub fn op_name(norm: &Norm) -> String {
    let base = match norm.family {
        Family::LayerNorm => "layer-norm",
        Family::RmsNorm => "rms-norm",
        Family::L2Norm => "l2-norm",
        Family::Identity if norm.gate.is_some() => "activation",
        Family::Identity => "affine",
    };
    let gated = match norm.input {
        Input::Gated(_) => "gated-input-",
        _ if norm.gate.is_some() && norm.family != Family::Identity => "gated-",
        _ => "",
    };
    let input = match norm.input {
        Input::ResidualAdd(_) => "add-",
        Input::Interpolation(_) => "interpolate-",
        Input::Plain | Input::Gated(_) | Input::PostNorm(_) => "",
    };
    let scope = match norm.scope {
        Scope::Row => "",
        Scope::Head => "head-",
        Scope::Group => "group-",
    };
    let after = match norm.input {
        Input::PostNorm(_) => format!("-add-{base}"),
        _ if norm.post_add.is_some() => "-add".to_owned(),
        _ => String::new(),
    };
    format!("{gated}{input}{scope}{base}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use warpnorm::plan::Module;
    use warpnorm::{DType, ResidualRounding, WeightRounding};

    #[test]
    fn names_are_those_of_the_norms_and_their_own() {
        for op in OPS {
            for (norm, _) in all(op) {
                assert_eq!(op_name(&norm), op.name, "{norm:?}");
                assert!(norm.validate().is_ok(), "{norm:?}");
            }
        }
        assert_eq!(OPS.iter().map(|op| op.name).collect::<BTreeSet<_>>().len(), OPS.len());
    }

    #[test]
    fn every_module_of_the_build_is_some_ops() {
        let modules: BTreeSet<Module> =
            OPS.iter().flat_map(all).flat_map(|(norm, _)| DType::ALL.map(|dtype| Module::of(&norm, dtype))).collect();
        let of_columns = DType::ALL.map(Module::of_columns);
        let modules: BTreeSet<Module> = modules.into_iter().chain(of_columns).collect();
        for module in Module::all().filter(|module| !module.to_string().contains("quantise")) {
            assert!(modules.contains(&module), "{module}");
        }
        for module in modules {
            assert!(Module::all().any(|one| one == module), "{module}");
        }
    }

    #[test]
    fn every_rounding_is_among_the_variants_of_what_grids_have() {
        let norms: Vec<Norm> =
            OPS.iter().filter(|op| op.coverage == Coverage::Whole).flat_map(all).map(|(norm, _)| norm).collect();
        for rounding in [ResidualRounding::Stored, ResidualRounding::Wide, ResidualRounding::Split] {
            for family in [Family::LayerNorm, Family::RmsNorm] {
                let covered = |norm: &Norm| {
                    norm.family == family && norm.residual_add().is_some_and(|add| add.rounding == rounding)
                };
                assert!(norms.iter().any(covered), "{family} {rounding:?}");
            }
        }
        assert!(norms.iter().any(|norm| norm.weight_rounding == WeightRounding::BeforeWeight));
        assert!(norms.iter().any(|norm| norm.weight_offset == 1.0));
    }
}
