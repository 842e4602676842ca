//! From the options of a norm to its description.

use crate::cli::{self, NormOptions};
use crate::error::ToolError;
use crate::files::NormInput;
use crate::quantise::words;
use std::fmt::Write;
use warpnorm::quantise::Quantisation;
use warpnorm::{Family, Norm, ResidualAdd, ResidualRounding, WeightRounding};

/// eps where none is given.
pub fn default_eps(family: Family) -> f32 {
    match family {
        Family::LayerNorm => 1e-5,
        Family::RmsNorm => 1e-6,
        Family::L2Norm | Family::Identity => 0.0,
    }
}

impl NormOptions {
    /// The name of the first option given, if any is.
    pub fn first_given(&self) -> Option<&'static str> {
        let given = [
            (self.eps.is_some(), "--eps"),
            (self.weight_offset.is_some(), "--weight-offset"),
            (self.residual_scale.is_some(), "--residual-scale"),
            (self.weight_rounding.is_some(), "--weight-rounding"),
            (self.residual_rounding.is_some(), "--residual-rounding"),
        ];
        given.into_iter().find_map(|(given, name)| given.then_some(name))
    }

    /// The norm that these options make of the tensors that are there.
    ///
    /// # Errors
    /// An option would change what a missing tensor does to the result, or its value is never valid.
    pub fn norm(
        &self,
        family: Family,
        quantisation: Option<Quantisation>,
        input: &NormInput<'_>,
    ) -> Result<Norm, ToolError> {
        let needs = |option, given: bool, name: &str, there: bool| {
            if given && !there {
                return Err(ToolError::OptionWithoutTensor { option, tensor: input.tensor_name(name) });
            }
            Ok(())
        };
        // Values that do nothing are not refused, nor are roundings: they say how to compute, not what.
        let (residual, weight) = (input.residual.is_some(), input.weight.is_some());
        needs("--residual-scale", self.residual_scale.is_some_and(|scale| scale != 1.0), "residual", residual)?;
        needs("--weight-offset", self.weight_offset.is_some_and(|offset| offset != 0.0), "weight", weight)?;

        let mut norm = Norm::new(family, self.eps.unwrap_or(default_eps(family)))
            .with_weight_offset(self.weight_offset.unwrap_or(0.0))
            .with_weight_rounding(self.weight_rounding.map_or_else(WeightRounding::default, Into::into));
        if residual {
            norm = norm.with_residual_add(ResidualAdd {
                scale: self.residual_scale.unwrap_or(1.0),
                rounding: self.residual_rounding.map_or_else(ResidualRounding::default, Into::into),
            });
        }
        norm.quantisation = quantisation;
        norm.validate().map_err(warpnorm::CallError::from)?;
        Ok(norm)
    }
}

impl From<cli::WeightRounding> for WeightRounding {
    fn from(rounding: cli::WeightRounding) -> Self {
        match rounding {
            cli::WeightRounding::Single => WeightRounding::Single,
            cli::WeightRounding::BeforeWeight => WeightRounding::BeforeWeight,
        }
    }
}

impl From<cli::ResidualRounding> for ResidualRounding {
    fn from(rounding: cli::ResidualRounding) -> Self {
        match rounding {
            cli::ResidualRounding::Stored => ResidualRounding::Stored,
            cli::ResidualRounding::Wide => ResidualRounding::Wide,
            cli::ResidualRounding::Split => ResidualRounding::Split,
        }
    }
}

/// The op as options name it, such as `add-rms-norm`.
pub fn op_name(norm: &Norm) -> &'static str {
    match (norm.family, norm.residual_add().is_some()) {
        (Family::LayerNorm, false) => "layer-norm",
        (Family::RmsNorm, false) => "rms-norm",
        (Family::LayerNorm, true) => "add-layer-norm",
        (Family::RmsNorm, true) => "add-rms-norm",
        (Family::L2Norm, false) => "l2-norm",
        (Family::L2Norm, true) => "add-l2-norm",
        (Family::Identity, false) => "identity",
        (Family::Identity, true) => "add",
    }
}

/// The option's name of the rounding.
pub fn weight_rounding_name(rounding: WeightRounding) -> &'static str {
    match rounding {
        WeightRounding::Single => "single",
        WeightRounding::BeforeWeight => "before-weight",
    }
}

/// The option's name of the rounding.
pub fn residual_rounding_name(rounding: ResidualRounding) -> &'static str {
    match rounding {
        ResidualRounding::Stored => "stored",
        ResidualRounding::Wide => "wide",
        ResidualRounding::Split => "split",
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

/// What sets the norm apart from the plain one of its op: roundings, offset and scale, without eps.
pub fn variant(norm: &Norm) -> String {
    let mut text = String::new();
    let mut add = |part: &str| {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(part);
    };
    if let Some(residual) = norm.residual_add() {
        add(residual_rounding_name(residual.rounding));
        if residual.scale != 1.0 {
            add(&format!("residual × {}", short(residual.scale)));
        }
    }
    if norm.weight_rounding != WeightRounding::Single {
        add(weight_rounding_name(norm.weight_rounding));
    }
    if norm.weight_offset != 0.0 {
        add(&format!("weight + {}", short(norm.weight_offset)));
    }
    if let Some(quantisation) = norm.quantisation {
        add(&words(quantisation));
    }
    text
}

/// All options of the norm, in the words of the command line.
pub fn describe(norm: &Norm) -> String {
    let mut text = format!("eps {:e}, weight rounding {}", norm.eps, weight_rounding_name(norm.weight_rounding));
    let offset = norm.weight_offset;
    if offset != 0.0 {
        // Writing to a string cannot fail.
        let _ = write!(text, ", weight offset {offset}");
    }
    if let Some(residual) = norm.residual_add() {
        let rounding = residual_rounding_name(residual.rounding);
        let _ = write!(text, ", residual rounding {rounding}, residual scale {}", residual.scale);
    }
    if let Some(quantisation) = norm.quantisation {
        let _ = write!(text, ", quantised to {}", words(quantisation));
    }
    text
}
