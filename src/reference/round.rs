//! Rounding of f64 values to the element types, written out with exponents.
//!
//! A type with p significand bits holds, in the binade of 2^e, the multiples of 2^(e − p + 1): the
//! quantum. Below the smallest normal number the quantum stays what it is there. Rounding divides by
//! the quantum, rounds to an integer (ties to even) and multiplies again; a quantum is a power of two,
//! so only the middle step is inexact.

use crate::DType;

/// The value of `dtype` nearest to `value`, ties to even; infinite where that is past the largest
/// finite value. NaN stays NaN and a zero keeps its sign.
pub fn round(dtype: DType, value: f64) -> f64 {
    if !value.is_finite() {
        return value;
    }
    let quantum = quantum(dtype, value);
    let rounded = (value / quantum).round_ties_even() * quantum;
    if rounded.abs() >= overflow(dtype) { f64::INFINITY.copysign(value) } else { rounded }
}

/// The distance between the values of `dtype` around `value` (one ULP): between a power of two and
/// its upper neighbour, for a power of two. Past the largest finite value, the ULP of that one.
pub fn ulp(dtype: DType, value: f64) -> f64 {
    quantum(dtype, value.abs().min(largest(dtype)))
}

/// The largest finite value of `dtype`.
pub fn largest(dtype: DType) -> f64 {
    overflow(dtype) - power_of_two(dtype.max_exponent() - dtype.significand_bits() + 1)
}

/// The smallest positive normal value of `dtype`.
pub fn smallest_normal(dtype: DType) -> f64 {
    power_of_two(dtype.min_exponent())
}

/// The smallest positive value of `dtype`.
pub fn smallest(dtype: DType) -> f64 {
    power_of_two(dtype.min_exponent() - dtype.significand_bits() + 1)
}

/// The power of two after the largest finite value: where an unbounded exponent would go on.
pub fn overflow(dtype: DType) -> f64 {
    power_of_two(dtype.max_exponent() + 1)
}

/// The bits of `value` after rounding to `dtype`, in the lower bits. Every NaN gives the quiet one.
pub fn to_bits(dtype: DType, value: f64) -> u32 {
    let fraction_bits = dtype.significand_bits() - 1;
    let rounded = round(dtype, value);
    let magnitude = rounded.abs();
    let exponent_mask = exponent_mask(dtype);
    let (exponent, fraction) = if rounded.is_nan() {
        (exponent_mask, 1 << (fraction_bits - 1))
    } else if magnitude.is_infinite() {
        (exponent_mask, 0)
    } else {
        // The significand as an integer; its leading bit, where it has one, belongs to the exponent.
        let significand = (magnitude / quantum(dtype, magnitude)) as u32;
        match significand >> fraction_bits {
            0 => (0, significand),
            _ => ((exponent_of(magnitude) - dtype.min_exponent() + 1) as u32, significand - (1 << fraction_bits)),
        }
    };
    let sign = u32::from(rounded.is_sign_negative() && !rounded.is_nan());
    sign << (8 * dtype.size() - 1) | exponent << fraction_bits | fraction
}

/// The value of these bits, exactly. Bits above the type's width are ignored.
pub fn from_bits(dtype: DType, bits: u32) -> f64 {
    let fraction_bits = dtype.significand_bits() - 1;
    let sign_bit = 8 * dtype.size() as u32 - 1;
    let exponent_mask = exponent_mask(dtype);
    let exponent = bits >> fraction_bits & exponent_mask;
    let fraction = bits & ((1 << fraction_bits) - 1);
    let magnitude = if exponent == exponent_mask {
        if fraction == 0 { f64::INFINITY } else { f64::NAN }
    } else if exponent == 0 {
        f64::from(fraction) * smallest(dtype)
    } else {
        let scale = exponent as i32 - 1 + dtype.min_exponent() - fraction_bits;
        f64::from(fraction | 1 << fraction_bits) * power_of_two(scale)
    };
    if bits >> sign_bit & 1 == 1 { -magnitude } else { magnitude }
}

/// Values rounded to `dtype`, as elements in the machine's byte order.
pub fn encode(dtype: DType, values: impl IntoIterator<Item = f64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        let bits = to_bits(dtype, value);
        match dtype {
            DType::F32 => bytes.extend_from_slice(&bits.to_ne_bytes()),
            DType::F16 | DType::BF16 => bytes.extend_from_slice(&(bits as u16).to_ne_bytes()),
        }
    }
    bytes
}

/// The values of elements in the machine's byte order, exactly. Bytes after the last whole element
/// are ignored.
pub fn decode(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    raw_bits(dtype, bytes).map(|bits| from_bits(dtype, bits)).collect()
}

/// The bits of elements in the machine's byte order.
pub(crate) fn raw_bits(dtype: DType, bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(dtype.size()).map(|element| match *element {
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]),
        [a, b] => u32::from(u16::from_ne_bytes([a, b])),
        _ => 0,
    })
}

/// The spacing of the type in the binade of `value`.
pub(super) fn quantum(dtype: DType, value: f64) -> f64 {
    let exponent = exponent_of(value).max(dtype.min_exponent());
    power_of_two(exponent - dtype.significand_bits() + 1)
}

/// All ones of the exponent's bits: what is neither the sign nor the fraction.
fn exponent_mask(dtype: DType) -> u32 {
    (1 << (8 * dtype.size() as i32 - dtype.significand_bits())) - 1
}

/// The exponent e of a value in [2^e, 2^(e + 1)); −1023 for zero and for denormals of f64, all of
/// which lie below the smallest value of every element type.
fn exponent_of(value: f64) -> i32 {
    (value.to_bits() >> 52 & 0x7ff) as i32 - 1023
}

/// 2^exponent, for exponents of normal f64 values.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};
    use proptest::prelude::*;

    fn same(a: f64, b: f64) -> bool {
        a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
    }

    /// `half` is the other opinion on what 16 bits mean.
    fn half_value(dtype: DType, bits: u16) -> f64 {
        match dtype {
            DType::F16 => f64::from(f16::from_bits(bits)),
            _ => f64::from(bf16::from_bits(bits)),
        }
    }

    #[test]
    fn every_16_bit_value_means_what_half_says_and_comes_back() {
        for dtype in [DType::F16, DType::BF16] {
            for bits in 0..=u16::MAX {
                let value = from_bits(dtype, u32::from(bits));
                assert!(same(value, half_value(dtype, bits)), "{dtype} {bits:#06x}: {value}");
                assert!(same(round(dtype, value), value), "{dtype} {bits:#06x}: {value}");
                if !value.is_nan() {
                    assert_eq!(to_bits(dtype, value), u32::from(bits), "{dtype} {bits:#06x}");
                }
            }
        }
    }

    #[test]
    fn every_midpoint_of_16_bit_values_goes_to_the_even_neighbour() {
        for (dtype, last_finite) in [(DType::F16, 0x7bffu32), (DType::BF16, 0x7f7f)] {
            for bits in 0..last_finite {
                let (low, high) = (from_bits(dtype, bits), from_bits(dtype, bits + 1));
                let middle = low + (high - low) / 2.0;
                let even = if bits % 2 == 0 { low } else { high };
                for sign in [1.0, -1.0] {
                    assert!(same(round(dtype, sign * middle), sign * even), "{dtype} {bits:#06x}");
                    assert!(same(round(dtype, sign * middle.next_down()), sign * low), "{dtype} {bits:#06x}");
                    assert!(same(round(dtype, sign * middle.next_up()), sign * high), "{dtype} {bits:#06x}");
                }
                assert_eq!(ulp(dtype, low), high - low, "{dtype} {bits:#06x}");
            }
        }
    }

    #[test]
    fn overflow_starts_half_a_quantum_past_the_largest_value() {
        // The limits of binary16, bfloat16 and binary32 from their definitions.
        let limits =
            [(DType::F16, 65504.0, 65520.0), (DType::F32, f64::from(f32::MAX), 2f64.powi(128) - 2f64.powi(103))];
        for (dtype, max, threshold) in limits {
            assert_eq!(largest(dtype), max);
            assert_eq!(round(dtype, threshold), f64::INFINITY);
            assert_eq!(round(dtype, -threshold), f64::NEG_INFINITY);
            assert_eq!(round(dtype, threshold.next_down()), max);
            assert_eq!(ulp(dtype, f64::INFINITY), ulp(dtype, max));
        }
        assert_eq!(largest(DType::BF16), f64::from(bf16::MAX));
        assert_eq!(to_bits(DType::BF16, 3.4e38), 0x7f80);
        assert_eq!(to_bits(DType::F32, f64::MAX), f32::INFINITY.to_bits());
        assert_eq!(to_bits(DType::F16, f64::NAN), 0x7e00);
    }

    #[test]
    fn the_smallest_values() {
        assert_eq!(smallest(DType::F16), f64::from(f16::from_bits(1)));
        assert_eq!(smallest_normal(DType::F16), f64::from(f16::MIN_POSITIVE));
        assert_eq!(smallest(DType::F32), f64::from(f32::from_bits(1)));
        assert_eq!(smallest_normal(DType::BF16), f64::from(f32::MIN_POSITIVE));
        // Half the smallest value is a tie with zero, which is even.
        assert!(same(round(DType::F16, -0.5 * smallest(DType::F16)), -0.0));
        assert!(same(round(DType::F16, 0.75 * smallest(DType::F16)), smallest(DType::F16)));
        assert!(same(round(DType::F32, f64::MIN_POSITIVE / 2.0), 0.0));
    }

    #[test]
    fn elements_come_back_from_bytes() {
        for dtype in DType::ALL {
            let values = [0.0, -1.5, 0.25, f64::INFINITY];
            let bytes = encode(dtype, values);
            assert_eq!(bytes.len(), 4 * dtype.size());
            assert_eq!(decode(dtype, &bytes), values);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn rounding_to_f32_is_the_cast(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assert!(same(round(DType::F32, value), f64::from(value as f32)));
        }

        #[test]
        fn rounding_to_f32_is_the_cast_within_its_range(value in any::<f32>(), ulps in -4.0f64..4.0) {
            let value = f64::from(value) + ulps * ulp(DType::F32, f64::from(value));
            prop_assert!(same(round(DType::F32, value), f64::from(value as f32)));
            if !value.is_nan() {
                prop_assert_eq!(to_bits(DType::F32, value), (value as f32).to_bits());
                prop_assert!(same(from_bits(DType::F32, (value as f32).to_bits()), f64::from(value as f32)));
            }
        }
    }
}
