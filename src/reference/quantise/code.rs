//! Codes: what they stand for, and which of them a value becomes.

use crate::quantise::CodeType;

/// A floating-point type of few bits: sign, exponent, mantissa, from the highest bit to the lowest.
struct Format {
    mantissa_bits: i32,
    /// The exponent of the smallest normal value.
    min_exponent: i32,
    sign: u8,
    /// The code of the largest finite magnitude.
    max: u8,
    /// The code that has no sign and no finite value, nor is infinite: what a NaN becomes. Where there is
    /// none, `max`.
    nan: u8,
    /// The code of infinity.
    infinity: Option<u8>,
}

/// The format of a type; None for int8, which is none.
fn format(code: CodeType) -> Option<Format> {
    Some(match code {
        CodeType::E4m3 => {
            Format { mantissa_bits: 3, min_exponent: -6, sign: 0x80, max: 0x7e, nan: 0x7f, infinity: None }
        }
        CodeType::E5m2 => {
            Format { mantissa_bits: 2, min_exponent: -14, sign: 0x80, max: 0x7b, nan: 0x7f, infinity: Some(0x7c) }
        }
        CodeType::E2m1 => Format { mantissa_bits: 1, min_exponent: 0, sign: 0x8, max: 0x7, nan: 0x7, infinity: None },
        CodeType::Int8 => return None,
    })
}

/// The value that a code stands for, exactly. Of an e2m1 code the lower four bits count.
pub fn widen(code_type: CodeType, code: u8) -> f64 {
    let Some(format) = format(code_type) else { return f64::from(code as i8) };
    let magnitude = code & (format.sign - 1);
    let value = if magnitude <= format.max {
        format.value(magnitude)
    } else if Some(magnitude) == format.infinity {
        f64::INFINITY
    } else {
        f64::NAN
    };
    if code & format.sign == 0 { value } else { -value }
}

/// The code of the nearest value, ties to the even code; the largest of its sign where the value is past
/// all of them. A zero, or what becomes one, keeps its sign, but for int8. NaN: see [`CodeType`].
///
/// A type with m mantissa bits holds, in the binade of 2^e, the multiples of 2^(e − m), and below its
/// smallest normal value the same multiples as there. Codes count those multiples upwards from zero.
pub fn narrow(code_type: CodeType, value: f64) -> u8 {
    let Some(format) = format(code_type) else {
        // `as` saturates, and makes 0 of a NaN.
        return value.round_ties_even() as i8 as u8;
    };
    if value.is_nan() {
        return format.nan;
    }
    let magnitude = value.abs().min(format.value(format.max));
    let mut exponent = format.min_exponent;
    while magnitude >= 2f64.powi(exponent + 1) {
        exponent += 1;
    }
    let multiple = (magnitude / 2f64.powi(exponent - format.mantissa_bits)).round_ties_even() as i32;
    // The multiples of a binade begin at 2^m, where those of the binade before it end.
    let code = multiple + ((exponent - format.min_exponent) << format.mantissa_bits);
    if value.is_sign_negative() { code as u8 | format.sign } else { code as u8 }
}

impl Format {
    /// The value of a finite code without sign.
    fn value(&self, magnitude: u8) -> f64 {
        let mantissa = i32::from(magnitude) & ((1 << self.mantissa_bits) - 1);
        match i32::from(magnitude) >> self.mantissa_bits {
            0 => f64::from(mantissa) * 2f64.powi(self.min_exponent - self.mantissa_bits),
            exponent => {
                let significand = f64::from(mantissa + (1 << self.mantissa_bits));
                significand * 2f64.powi(exponent - 1 + self.min_exponent - self.mantissa_bits)
            }
        }
    }
}
