//! Element types: f32, f16 and bf16.

use half::{bf16, f16};
use std::fmt;

/// The type of the elements of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
}

impl DType {
    /// Every element type.
    pub const ALL: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

    /// Bytes an element takes.
    pub const fn size(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F16 | DType::BF16 => 2,
        }
    }

    /// The name that kernels, files and messages use.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
        }
    }

    /// Bits of the significand, the implicit one included.
    pub const fn significand_bits(self) -> i32 {
        match self {
            DType::F32 => 24,
            DType::F16 => 11,
            DType::BF16 => 8,
        }
    }

    /// The exponent of the smallest normal number.
    pub const fn min_exponent(self) -> i32 {
        match self {
            DType::F32 | DType::BF16 => -126,
            DType::F16 => -14,
        }
    }

    /// The exponent of the largest finite number.
    pub const fn max_exponent(self) -> i32 {
        match self {
            DType::F32 | DType::BF16 => 127,
            DType::F16 => 15,
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::f16 {}
    impl Sealed for half::bf16 {}
}

/// A Rust type that activations can have.
pub trait Element: sealed::Sealed + bytemuck::Pod + fmt::Debug + PartialEq + Send + Sync {
    /// The same type as a value.
    const DTYPE: DType;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
}

impl Element for f16 {
    const DTYPE: DType = DType::F16;
}

impl Element for bf16 {
    const DTYPE: DType = DType::BF16;
}

/// A type that the weight and the bias of `E` activations can have: `E` itself, or f32.
pub trait ParameterOf<E: Element>: Element {}

impl ParameterOf<f32> for f32 {}
impl ParameterOf<f16> for f16 {}
impl ParameterOf<f16> for f32 {}
impl ParameterOf<bf16> for bf16 {}
impl ParameterOf<bf16> for f32 {}
