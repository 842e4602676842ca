//! Activations: the functions of gates and feed-forward layers, as plain values.

use crate::DType;
use std::fmt;
use thiserror::Error;

/// A function that is applied to each element of a gate.
///
/// σ(x) = 1/(1 + e⁻ˣ), and Φ is the distribution function of the standard normal distribution. As the
/// gate of a packed `[gate | up]` row, act(gate)⊙up, the variants of Shazeer, *GLU Variants Improve
/// Transformer* (2020), are: GLU [`Sigmoid`](Self::Sigmoid), Bilinear [`Identity`](Self::Identity), ReGLU
/// [`Relu`](Self::Relu), GEGLU [`GeluExact`](Self::GeluExact) or [`GeluTanh`](Self::GeluTanh), and SwiGLU
/// [`Swish`](Self::Swish), with [`SILU`](Self::SILU) in most networks.
///
/// NaN gives NaN. An infinity gives what the formula gives in f32, as in PyTorch: NaN where it is −∞·0, as
/// for SiLU and GELU at −∞.
///
/// ```
/// use warpnorm::Activation;
///
/// assert!(Activation::SILU.validate().is_ok());
/// assert!(Activation::Swish { beta: f32::NAN }.validate().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// x: the Bilinear variant, a gate without an activation (Shazeer, 2020).
    Identity,
    /// max(0, x). −0 gives 0.
    Relu,
    /// x above 0, slope·x elsewhere: Maas, Hannun and Ng, *Rectifier Nonlinearities Improve Neural Network
    /// Acoustic Models* (2013).
    LeakyRelu {
        /// Finite; 0.01 in PyTorch by default.
        slope: f32,
    },
    /// σ(x): the gate of the gated linear unit, Dauphin et al., *Language Modeling with Gated Convolutional
    /// Networks* (2017).
    Sigmoid,
    /// x·σ(β·x): Ramachandran, Zoph and Le, *Searching for Activation Functions* (2017).
    Swish {
        /// Finite; 1 for SiLU.
        beta: f32,
    },
    /// x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))/2, which Hendrycks and Gimpel, *Gaussian Error Linear Units*
    /// (2016), give for GELU: PyTorch's `approximate="tanh"`, as GPT-2 and Gemma have it.
    GeluTanh,
    /// x·Φ(x): GELU itself, Hendrycks and Gimpel (2016), as BERT has it.
    GeluExact,
}

impl Activation {
    /// Swish with β = 1: x·σ(x), also of Elfwing, Uchibe and Doya, *Sigmoid-Weighted Linear Units* (2017).
    pub const SILU: Activation = Activation::Swish { beta: 1.0 };

    /// Whether the kernels of an activation type compute it with approximate instructions, to some ten units of f32: a
    /// result next to a tie may then differ between generations of GPUs. f32 kernels have none.
    ///
    /// ```
    /// use warpnorm::{Activation, DType};
    ///
    /// assert!(Activation::SILU.is_approximate(DType::BF16) && !Activation::SILU.is_approximate(DType::F32));
    /// assert!(!Activation::Relu.is_approximate(DType::BF16));
    /// ```
    pub const fn is_approximate(self, dtype: DType) -> bool {
        match self {
            Activation::Identity | Activation::Relu | Activation::LeakyRelu { .. } => false,
            Activation::Sigmoid | Activation::Swish { .. } | Activation::GeluTanh | Activation::GeluExact => {
                !matches!(dtype, DType::F32)
            }
        }
    }

    /// The number that kernels know the activation by: `Activation` in `kernels/common/activation_kind.cuh`.
    pub const fn code(self) -> u32 {
        match self {
            Activation::Identity => 0,
            Activation::Relu => 1,
            Activation::LeakyRelu { .. } => 2,
            Activation::Sigmoid => 3,
            Activation::Swish { .. } => 4,
            Activation::GeluTanh => 5,
            Activation::GeluExact => 6,
        }
    }

    /// The slope or β, which kernels take beside the [code](Self::code); 0 where there is none.
    pub const fn parameter(self) -> f32 {
        match self {
            Activation::LeakyRelu { slope } => slope,
            Activation::Swish { beta } => beta,
            _ => 0.0,
        }
    }

    /// Checks the parameter.
    ///
    /// # Errors
    /// The slope or β is not finite.
    pub fn validate(self) -> Result<(), ActivationError> {
        match self {
            Activation::LeakyRelu { slope } if !slope.is_finite() => Err(ActivationError::Slope { given: slope }),
            Activation::Swish { beta } if !beta.is_finite() => Err(ActivationError::Beta { given: beta }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Activation {
    /// The name, with the parameter where there is one: `gelu-tanh`, `swish(1)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Activation::Identity => f.write_str("identity"),
            Activation::Relu => f.write_str("relu"),
            Activation::LeakyRelu { slope } => write!(f, "leaky-relu({slope})"),
            Activation::Sigmoid => f.write_str("sigmoid"),
            Activation::Swish { beta } => write!(f, "swish({beta})"),
            Activation::GeluTanh => f.write_str("gelu-tanh"),
            Activation::GeluExact => f.write_str("gelu-exact"),
        }
    }
}

/// A parameter of an activation that is never valid.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum ActivationError {
    /// See [`Activation::LeakyRelu`].
    #[error("slope of leaky ReLU is {given}, wanted a finite value")]
    Slope {
        /// The value given.
        given: f32,
    },
    /// See [`Activation::Swish`].
    #[error("β of Swish is {given}, wanted a finite value")]
    Beta {
        /// The value given.
        given: f32,
    },
}
