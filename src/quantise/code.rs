//! The types that a quantised element can have.

use std::fmt;

/// The type of a code.
///
/// A NaN becomes what PTX's `cvt` makes of it, stated for each type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CodeType {
    /// Four exponent bits, three mantissa bits, no infinity: OCP 8-bit Floating Point (OFP8) v1.0, PyTorch's
    /// `float8_e4m3fn`. A NaN is 0x7f.
    E4m3,
    /// Five exponent bits, two mantissa bits, as IEEE types are built: OFP8 v1.0, PyTorch's `float8_e5m2`.
    /// Values past the largest saturate, infinities too. A NaN is 0x7f.
    E5m2,
    /// Two's complement. Values saturate at −128 and 127; scales are made for 127. A NaN is 0.
    Int8,
    /// Two exponent bits, one mantissa bit: 0, ½, 1, 1½, 2, 3, 4, 6 and their negatives. OCP Microscaling
    /// Formats v1.0, section 5.3.3. There is no NaN: one becomes 6.
    E2m1,
}

impl CodeType {
    /// Every code type.
    pub const ALL: [CodeType; 4] = [CodeType::E4m3, CodeType::E5m2, CodeType::Int8, CodeType::E2m1];

    /// The name that kernels and messages use.
    pub const fn name(self) -> &'static str {
        match self {
            CodeType::E4m3 => "e4m3",
            CodeType::E5m2 => "e5m2",
            CodeType::Int8 => "int8",
            CodeType::E2m1 => "e2m1",
        }
    }

    /// Bits that a code takes.
    pub const fn bits(self) -> usize {
        match self {
            CodeType::E4m3 | CodeType::E5m2 | CodeType::Int8 => 8,
            CodeType::E2m1 => 4,
        }
    }

    /// Codes in a byte.
    pub const fn per_byte(self) -> usize {
        8 / self.bits()
    }

    /// The largest magnitude that scales are made for: the largest finite one, and 127 for int8.
    pub const fn largest(self) -> f32 {
        match self {
            CodeType::E4m3 => 448.0,
            CodeType::E5m2 => 57344.0,
            CodeType::Int8 => 127.0,
            CodeType::E2m1 => 6.0,
        }
    }
}

impl fmt::Display for CodeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
