//! Options of norms: which, and with what values.

use crate::ops::{self, Choice, Named, Preset};
use clap::{Args, ValueEnum};
use warpnorm::Activation;

/// The norm of `apply`.
#[derive(Debug, Args)]
pub struct SubjectOptions {
    /// The op
    #[arg(long, value_name = "OP", value_parser = ops::parser(), required_unless_present = "preset")]
    pub op: Option<Named>,
    /// The norm of a framework, by the name of the library's preset
    #[arg(long, value_name = "NAME", value_parser = ops::parse_preset, conflicts_with = "op")]
    pub preset: Option<Preset>,
}

/// The norms of a grid.
#[derive(Clone, Debug, Default, Args)]
pub struct GridSubjects {
    /// The ops; `all` is one case of each [default: the norms and their residual adds; profile and bench: and samples of the rest]
    #[arg(long, value_name = "OP", value_parser = ops::choice_parser(), num_args = 1.., value_delimiter = ',')]
    pub op: Vec<Choice>,
    /// The norm of a framework, by the name of the library's preset
    #[arg(long, value_name = "NAME", value_parser = ops::parse_preset, conflicts_with = "op")]
    pub preset: Option<Preset>,
}

/// How rows are divided into what is normalised.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct PartOptions {
    /// Normalise each of so many heads of a row, which share weight and bias
    #[arg(long, value_name = "N", conflicts_with = "groups")]
    pub heads: Option<usize>,
    /// Normalise each of so many groups of a row
    #[arg(long, value_name = "N")]
    pub groups: Option<usize>,
}

/// What a norm is made of beside its family.
#[derive(Debug, Default, Args)]
pub struct NormOptions {
    /// Added to the variance or the mean square [default: 1e-5 for layer-norm and batch-norm, 1e-6 for rms-norm, 0 for l2-norm]
    #[arg(long, value_name = "E", allow_hyphen_values = true)]
    pub eps: Option<f32>,
    /// Added to every weight; 1 for Gemma
    #[arg(long, value_name = "C", allow_hyphen_values = true)]
    pub weight_offset: Option<f32>,
    /// How often the product with the weight is rounded [default: single]
    #[arg(long, value_enum)]
    pub weight_rounding: Option<WeightRounding>,
    /// Factor of the residual in front of the norm; not 1 for DeepNorm
    #[arg(long, value_name = "A", allow_hyphen_values = true)]
    pub residual_scale: Option<f32>,
    /// What of the sum with the residual is rounded before use [default: stored]
    #[arg(long, value_enum)]
    pub residual_rounding: Option<ResidualRounding>,
    /// Factor of the sum with the residual after the norm [default: 1]
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    pub post_scale: Option<f32>,
    /// How often the sum with the residual after the norm is rounded [default: single]
    #[arg(long, value_enum)]
    pub post_rounding: Option<PostRounding>,
    /// The function of `activation`: identity, relu, leaky-relu, leaky-relu:SLOPE, sigmoid, silu, swish, swish:BETA,
    /// gelu, gelu-tanh [default: silu]
    #[arg(long, value_name = "NAME[:PARAMETER]", value_parser = ops::parse_activation)]
    pub activation: Option<Activation>,
    /// The function of the gate that a norm has, or is given by this: as --activation [default: silu]
    #[arg(long, value_name = "NAME[:PARAMETER]", value_parser = ops::parse_activation)]
    pub gate_activation: Option<Activation>,
    /// Factor of the rates of an interpolation: α_init / α_scale [default: 1]
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    pub rate_scale: Option<f32>,
    /// Elements of a head that are rotated [default: twice those of a row of `cos`]
    #[arg(long, value_name = "N")]
    pub rope_dim: Option<usize>,
    /// Which elements of a head are rotated together [default: half-split]
    #[arg(long, value_enum)]
    pub rope_pairs: Option<RopePairs>,
    /// How often a rotation is rounded [default: single]
    #[arg(long, value_enum)]
    pub rope_rounding: Option<RopeRounding>,
}

/// The option's names for [`warpnorm::WeightRounding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WeightRounding {
    /// Once, after the product
    Single,
    /// Before the product too, as Hugging Face Llama does
    BeforeWeight,
}

/// The option's names for [`warpnorm::ResidualRounding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ResidualRounding {
    /// Statistic and output from the rounded sum
    Stored,
    /// Statistic and output from the sum in f32
    Wide,
    /// Statistic from the sum in f32, output from the rounded sum
    Split,
}

/// The option's names for [`warpnorm::PostRounding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PostRounding {
    /// Once, at the end
    Single,
    /// The norm, the sum and its product with the factor
    Each,
}

/// The option's names for [`warpnorm::RopePairs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RopePairs {
    /// Element i with element i + N/2: GPT-NeoX, Llama
    HalfSplit,
    /// Element 2i with element 2i + 1: GPT-J
    Interleaved,
}

/// The option's names for [`warpnorm::RopeRounding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RopeRounding {
    /// Once, at the end
    Single,
    /// Every operation
    Each,
}
