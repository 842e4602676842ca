//! The tensors that norms take, by the names that files have for them.

use crate::error::ToolError;
use crate::ops::{BATCH_NORM, Subject, op_name};
use warpnorm::host::{Problem, Vector};
use warpnorm::{Family, Input, Norm, Scope};

/// What a norm makes of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Required,
    Optional,
    None,
}

/// A tensor that some norm takes.
struct Known {
    name: &'static str,
    /// What a norm makes of it, beside the tensors that are there.
    used: fn(&Norm, &Present) -> Use,
    /// The option that makes use of it, where that is not the op.
    by: Option<&'static str>,
}

const fn required(used: bool) -> Use {
    if used { Use::Required } else { Use::None }
}

const fn optional(used: bool) -> Use {
    if used { Use::Optional } else { Use::None }
}

const KNOWN: [Known; 14] = [
    Known { name: "x", used: |_, _| Use::Required, by: None },
    Known { name: "residual", used: |norm, _| required(norm.takes_residual()), by: None },
    Known {
        name: "gate",
        used: |norm, _| match norm.family {
            Family::Identity => optional(norm.takes_gate()),
            _ => required(norm.takes_gate()),
        },
        by: Some("--gate-activation"),
    },
    Known { name: "weight", used: |_, _| Use::Optional, by: None },
    Known { name: "bias", used: |norm, _| optional(norm.gate.is_none() && norm.post_add.is_none()), by: None },
    Known { name: "linear_bias", used: |norm, _| optional(norm.residual_add().is_some()), by: None },
    Known {
        name: "inner_weight",
        // Both norms have a weight, or neither.
        used: |norm, present| required(matches!(norm.input, Input::PostNorm(_)) && present.has("weight")),
        by: None,
    },
    Known { name: "rate", used: |norm, _| required(matches!(norm.input, Input::Interpolation(_))), by: None },
    Known { name: "second_x", used: |norm, _| optional(norm.scope == Scope::Head), by: Some("--heads") },
    Known { name: "second_weight", used: |norm, present| of_second(norm, present, "weight"), by: None },
    Known { name: "second_bias", used: |norm, present| of_second(norm, present, "bias"), by: None },
    Known { name: "cos", used: |norm, _| required(norm.rope.is_some()), by: Some("--heads") },
    Known { name: "sin", used: |norm, _| required(norm.rope.is_some()), by: Some("--heads") },
    Known { name: "positions", used: |norm, _| optional(norm.rope.is_some()), by: Some("--heads") },
];

/// A parameter of second heads: there where that of the first is.
fn of_second(norm: &Norm, present: &Present, first: &str) -> Use {
    required(norm.scope == Scope::Head && present.has("second_x") && present.has(first))
}

/// Names of the tensors of a problem beside x, residual, weight and bias, and those that go with another.
pub fn beside(problem: &Problem<'_>) -> impl Iterator<Item = &'static str> {
    let positions = problem.rope.is_some_and(|tables| tables.positions.is_some());
    let there = [
        ("gate", problem.gate.is_some()),
        ("linear_bias", problem.linear_bias.is_some()),
        ("inner_weight", problem.inner_weight.is_some()),
        ("rate", problem.rate.is_some()),
        ("second_x", problem.second.is_some()),
        ("cos", problem.rope.is_some()),
        ("positions", positions),
    ];
    there.into_iter().filter_map(|(name, there)| there.then_some(name))
}

/// A weight or bias in words, there or not.
pub fn parameter_words(name: &str, vector: Option<Vector<'_>>) -> String {
    match vector {
        Some(vector) => format!("{name} {}", vector.dtype),
        None => format!("no {name}"),
    }
}

/// Names of all the tensors that norms take.
pub fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|known| known.name)
}

/// Which tensors there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// What stands before their names and a dot in the file; empty where nothing does.
    pub prefix: String,
    names: Vec<&'static str>,
    /// Elements that a row of `cos` has for each position, where it is a matrix.
    pub table_row: Option<usize>,
}

impl Present {
    /// Those of the known ones that are there.
    pub fn new(prefix: &str, there: impl Fn(&str) -> bool, table_row: Option<usize>) -> Present {
        let names = names().filter(|name| there(&join(prefix, name))).collect();
        Present { prefix: prefix.to_owned(), names, table_row }
    }

    /// Whether a tensor is there.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(&name)
    }

    /// A tensor as the file names it.
    pub fn tensor_name(&self, name: &str) -> String {
        join(&self.prefix, name)
    }

    /// Refuses tensors that are missing, and those that would do nothing: who gives a tensor means it.
    ///
    /// # Errors
    /// There is one.
    pub fn check(&self, subject: &Subject, norm: &Norm) -> Result<(), ToolError> {
        for known in &KNOWN {
            let tensor = || self.tensor_name(known.name);
            match ((known.used)(norm, self), self.has(known.name)) {
                (Use::Required, false) => {
                    return Err(ToolError::OptionWithoutTensor { option: subject.option(), tensor: tensor() });
                }
                (Use::None, true) => {
                    let op = op_name(norm);
                    let option = subject.option();
                    let given = if option.ends_with(&format!(" {op}")) { option } else { format!("{option} ({op})") };
                    return Err(ToolError::TensorWithoutUse { tensor: tensor(), given, by: known.by });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Refuses tensors that batch normalisation makes nothing of.
    ///
    /// # Errors
    /// There is one.
    pub fn check_batch_norm(&self) -> Result<(), ToolError> {
        match self.names.iter().find(|name| !["x", "weight", "bias"].contains(name)) {
            Some(name) => {
                let (tensor, given) = (self.tensor_name(name), format!("--op {BATCH_NORM}"));
                Err(ToolError::TensorWithoutUse { tensor, given, by: None })
            }
            None => Ok(()),
        }
    }
}

/// A tensor's name under a prefix.
pub fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}
