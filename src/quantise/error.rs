//! Quantisations that cannot be, as types.

use super::{CodeType, ScaleLayout, Scaling};
use thiserror::Error;

/// A quantisation that cannot be computed.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum QuantiseError {
    /// See [`Scaling::takes`].
    #[error("{scaling} scaling is asked for {given} codes, wanted {}", match *.scaling {
        "nvfp4" => "e2m1",
        "mxfp8" => "e4m3 or e5m2",
        "per-tensor-wide" => "e4m3",
        _ => "e4m3, e5m2 or int8",
    })]
    CodeType {
        /// The scaling.
        scaling: &'static str,
        /// The code type given.
        given: CodeType,
    },
    /// The elements of a row cannot be divided into groups.
    #[error("hidden size is {hidden}, wanted a multiple of {group}, the elements that share a scale")]
    Hidden {
        /// The hidden size.
        hidden: usize,
        /// Elements that share a scale.
        group: usize,
    },
    /// See [`Scaling::PerGroup`].
    #[error("group size is {given}, wanted 64 or 128")]
    GroupSize {
        /// The size given.
        given: usize,
    },
    /// See [`Scaling::PerToken`].
    #[error("upper bound is {given}, wanted a finite value above 0")]
    UpperBound {
        /// The bound given.
        given: f32,
    },
    /// See [`Scaling::PerToken`].
    #[error("an upper bound is given for int8 codes, wanted none, or fp8 codes")]
    UpperBoundOfInt8,
    /// See [`Scaling::PerGroup`].
    #[error("floor is {given}, wanted a finite value of at least {}", Scaling::LEAST_FLOOR)]
    Floor {
        /// The floor given.
        given: f32,
    },
    /// Scales of this kind are not stored so.
    #[error("scales of {scaling} scaling are asked for {given}, wanted {wanted}")]
    Layout {
        /// The scaling.
        scaling: &'static str,
        /// The layout given.
        given: ScaleLayout,
        /// The layouts there are.
        wanted: &'static str,
    },
    /// See [`ScaleLayout::ColumnMajor`].
    #[error("column-major scales are asked for with an alignment of {given}, wanted at least 1")]
    Alignment {
        /// The alignment given.
        given: usize,
    },
}
