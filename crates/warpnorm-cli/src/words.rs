//! Norms in words, and for machines.

use crate::ops::{BATCH_NORM, op_name, split_activation};
use crate::options::post_add;
use crate::quantise::words;
use serde::Serialize;
use std::fmt::Write;
use warpnorm::{
    Activation, BatchStatistics, Family, Input, Norm, PostRounding, ResidualRounding, RopePairs, RopeRounding, Scope,
    WeightRounding,
};

/// The option's name of the rounding.
fn weight_rounding_name(rounding: WeightRounding) -> &'static str {
    match rounding {
        WeightRounding::Single => "single",
        WeightRounding::BeforeWeight => "before-weight",
    }
}

/// The option's name of the rounding.
fn residual_rounding_name(rounding: ResidualRounding) -> &'static str {
    match rounding {
        ResidualRounding::Stored => "stored",
        ResidualRounding::Wide => "wide",
        ResidualRounding::Split => "split",
    }
}

/// The option's name of the rounding.
fn post_rounding_name(rounding: PostRounding) -> &'static str {
    match rounding {
        PostRounding::Single => "single",
        PostRounding::Each => "each",
    }
}

/// The option's name of the pairs.
fn rope_pairs_name(pairs: RopePairs) -> &'static str {
    match pairs {
        RopePairs::HalfSplit => "half-split",
        RopePairs::Interleaved => "interleaved",
    }
}

/// The option's name of the rounding.
fn rope_rounding_name(rounding: RopeRounding) -> &'static str {
    match rounding {
        RopeRounding::Single => "single",
        RopeRounding::Each => "each",
    }
}

fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Row => "row",
        Scope::Head => "head",
        Scope::Group => "group",
    }
}

/// The activation of the norm, before it or after it.
fn activation(norm: &Norm) -> Option<Activation> {
    match norm.input {
        Input::Gated(activation) => Some(activation),
        _ => norm.gate,
    }
}

/// The activation as options have it.
fn activation_words(activation: Activation) -> String {
    match split_activation(activation) {
        (name, None) => name.to_owned(),
        (name, Some(parameter)) => format!("{name}:{parameter}"),
    }
}

/// A factor for tables, with three decimals at most.
fn short(value: f32) -> String {
    if !(1e-3..1e4).contains(&value.abs()) {
        return format!("{value:e}");
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Rows and hidden size, and the heads or groups of a row between them where there are several.
pub fn shape_words(rows: usize, parts: usize, hidden: usize) -> String {
    if parts == 1 { format!("{rows}x{hidden}") } else { format!("{rows}x{parts}x{hidden}") }
}

/// What sets the norm apart from the plain one of its op: roundings, offset and scale, without eps; and the activation.
pub fn variant(norm: &Norm) -> String {
    let mut parts = Vec::new();
    if let Some(residual) = norm.residual_add() {
        parts.push(residual_rounding_name(residual.rounding).to_owned());
        if residual.scale != 1.0 {
            parts.push(format!("residual × {}", short(residual.scale)));
        }
    }
    if norm.weight_rounding != WeightRounding::Single {
        parts.push(weight_rounding_name(norm.weight_rounding).to_owned());
    }
    if norm.weight_offset != 0.0 {
        parts.push(format!("weight + {}", short(norm.weight_offset)));
    }
    parts.extend(activation(norm).map(activation_words));
    if let Some(add) = post_add(norm) {
        parts.push(post_rounding_name(add.rounding).to_owned());
        if add.scale != 1.0 {
            parts.push(format!("sum × {}", short(add.scale)));
        }
    }
    if let Input::Interpolation(step) = norm.input
        && step.rate_scale != 1.0
    {
        parts.push(format!("rate × {}", short(step.rate_scale)));
    }
    if let Some(rope) = norm.rope {
        let rounding = if rope.rounding == RopeRounding::Each { ", each" } else { "" };
        parts.push(format!("rotated {} {}{rounding}", rope.dim, rope_pairs_name(rope.pairs)));
    }
    parts.extend(norm.quantisation.map(words));
    parts.join(", ")
}

/// All options of the norm, in the words of the command line.
pub fn describe(norm: &Norm) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    if norm.family != Family::Identity {
        let _ = write!(text, "eps {:e}, ", norm.eps);
    }
    let _ = write!(text, "weight rounding {}", weight_rounding_name(norm.weight_rounding));
    let offset = norm.weight_offset;
    if offset != 0.0 {
        let _ = write!(text, ", weight offset {offset}");
    }
    if let Some(residual) = norm.residual_add() {
        let rounding = residual_rounding_name(residual.rounding);
        let _ = write!(text, ", residual rounding {rounding}, residual scale {}", residual.scale);
    }
    if let Some(activation) = activation(norm) {
        let of_gate = if norm.family == Family::Identity { "" } else { "gate " };
        let _ = write!(text, ", {of_gate}activation {}", activation_words(activation));
    }
    if let Some(add) = post_add(norm) {
        let _ = write!(text, ", post rounding {}, post scale {}", post_rounding_name(add.rounding), add.scale);
    }
    if let Input::Interpolation(step) = norm.input {
        let _ = write!(text, ", rate scale {}", step.rate_scale);
    }
    if let Some(rope) = norm.rope {
        let (pairs, rounding) = (rope_pairs_name(rope.pairs), rope_rounding_name(rope.rounding));
        let _ = write!(text, ", rope dim {}, rope pairs {pairs}, rope rounding {rounding}", rope.dim);
    }
    if let Some(quantisation) = norm.quantisation {
        let _ = write!(text, ", quantised to {}", words(quantisation));
    }
    text
}

/// A norm for machines, but for its quantisation. What it has not is null.
#[derive(Serialize)]
pub struct NormJson {
    op: String,
    /// None where nothing is normalised.
    eps: Option<f32>,
    weight_offset: f32,
    weight_rounding: &'static str,
    residual_scale: Option<f32>,
    residual_rounding: Option<&'static str>,
    /// The residual add after the norm, or after the first of two.
    post_scale: Option<f32>,
    post_rounding: Option<&'static str>,
    /// Of the gate, or of x where there is none.
    activation: Option<&'static str>,
    activation_parameter: Option<f32>,
    rate_scale: Option<f32>,
    /// What has a statistic of its own.
    scope: &'static str,
    rope: Option<RopeJson>,
}

#[derive(Serialize)]
struct RopeJson {
    dim: usize,
    pairs: &'static str,
    rounding: &'static str,
}

impl NormJson {
    /// Of batch normalisation: what the affine op at its end has, and the statistics.
    pub fn of_batch_norm(statistics: BatchStatistics) -> Self {
        let (op, eps) = (BATCH_NORM.to_owned(), Some(statistics.eps));
        Self { op, eps, scope: "column", ..Self::new(&Norm::affine()) }
    }

    /// Of this norm.
    pub fn new(norm: &Norm) -> Self {
        let residual = norm.residual_add();
        let after = post_add(norm);
        let activation = activation(norm).map(split_activation);
        Self {
            op: op_name(norm),
            eps: (norm.family != Family::Identity).then_some(norm.eps),
            weight_offset: norm.weight_offset,
            weight_rounding: weight_rounding_name(norm.weight_rounding),
            residual_scale: residual.map(|add| add.scale),
            residual_rounding: residual.map(|add| residual_rounding_name(add.rounding)),
            post_scale: after.map(|add| add.scale),
            post_rounding: after.map(|add| post_rounding_name(add.rounding)),
            activation: activation.map(|(name, _)| name),
            activation_parameter: activation.and_then(|(_, parameter)| parameter),
            rate_scale: match norm.input {
                Input::Interpolation(step) => Some(step.rate_scale),
                _ => None,
            },
            scope: scope_name(norm.scope),
            rope: norm.rope.map(|rope| RopeJson {
                dim: rope.dim,
                pairs: rope_pairs_name(rope.pairs),
                rounding: rope_rounding_name(rope.rounding),
            }),
        }
    }
}
