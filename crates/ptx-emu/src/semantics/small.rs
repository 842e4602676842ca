//! Floating-point formats of 16 and 8 bits, and TF32.

use super::float::{Rounding, add_odd};

/// A binary floating-point format of at most 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    exponent_bits: u32,
    mantissa_bits: u32,
    /// Whether the highest exponent holds infinity and NaN only; otherwise NaN is the single
    /// code with all bits set, and there is no infinity.
    ieee: bool,
    /// The NaN that conversions and arithmetic produce.
    nan: u16,
}

pub(crate) const F16: Format = Format { exponent_bits: 5, mantissa_bits: 10, ieee: true, nan: 0x7fff };
pub(crate) const BF16: Format = Format { exponent_bits: 8, mantissa_bits: 7, ieee: true, nan: 0x7fff };
pub(crate) const E4M3: Format = Format { exponent_bits: 4, mantissa_bits: 3, ieee: false, nan: 0x7f };
pub(crate) const E5M2: Format = Format { exponent_bits: 5, mantissa_bits: 2, ieee: true, nan: 0x7f };

impl Format {
    fn bias(self) -> i32 {
        (1 << (self.exponent_bits - 1)) - 1
    }

    fn sign_bit(self) -> u16 {
        1 << (self.exponent_bits + self.mantissa_bits)
    }

    /// The code of the largest finite value.
    fn max_finite(self) -> u16 {
        if self.ieee { self.infinity() - 1 } else { self.sign_bit() - 2 }
    }

    fn infinity(self) -> u16 {
        ((1 << self.exponent_bits) - 1) << self.mantissa_bits
    }

    /// The value of a code; exact.
    pub(crate) fn decode(self, code: u16) -> f64 {
        let magnitude = code & (self.sign_bit() - 1);
        let sign = if code & self.sign_bit() != 0 { -1.0 } else { 1.0 };
        if magnitude > self.max_finite() {
            let infinite = self.ieee && magnitude == self.infinity();
            return if infinite { sign * f64::INFINITY } else { f64::NAN };
        }
        let exponent = i32::from(magnitude >> self.mantissa_bits);
        let mantissa = f64::from(magnitude & ((1 << self.mantissa_bits) - 1));
        let scale = power_of_two(1 - self.bias() - self.mantissa_bits as i32);
        if exponent == 0 {
            return sign * mantissa * scale;
        }
        let hidden = f64::from(1u32 << self.mantissa_bits);
        sign * (hidden + mantissa) * scale * power_of_two(exponent - 1)
    }

    /// The code of a value that is exact or rounded to odd. Overflow gives infinity where the
    /// direction leads there and `saturate` is not set, the largest finite value otherwise.
    pub(crate) fn encode(self, x: f64, rounding: Rounding, saturate: bool) -> u16 {
        if x.is_nan() {
            return self.nan;
        }
        let negative = x.is_sign_negative();
        let sign = if negative { self.sign_bit() } else { 0 };
        let magnitude = x.abs();
        let overflow = if self.ieee && !saturate { self.infinity() } else { self.max_finite() };
        if magnitude.is_infinite() {
            return sign | overflow;
        }
        let exponent = (magnitude.to_bits() >> 52) as i32 - 1023;
        let least = 1 - self.bias();
        let quantum = exponent.max(least) - self.mantissa_bits as i32;
        // Scaling by a power of two is exact here: the result is at most 2^(mantissa + 1).
        let scaled = magnitude * power_of_two(-quantum);
        let rounded = match rounding {
            Rounding::Nearest => scaled.round_ties_even(),
            Rounding::NearestAway => scaled.round(),
            Rounding::Zero => scaled.trunc(),
            Rounding::Down if negative => scaled.ceil(),
            Rounding::Up if !negative => scaled.ceil(),
            Rounding::Down | Rounding::Up => scaled.trunc(),
        };
        let significand = rounded as u64;
        // A significand that rounded up to the next power of two carries into the exponent.
        let code = if exponent < least {
            significand
        } else {
            (((exponent - least) as u64) << self.mantissa_bits) + significand
        };
        if code <= u64::from(self.max_finite()) {
            return sign | code as u16;
        }
        let towards_zero = match rounding {
            Rounding::Nearest | Rounding::NearestAway => false,
            Rounding::Zero => true,
            Rounding::Down => !negative,
            Rounding::Up => negative,
        };
        sign | if towards_zero { self.max_finite() } else { overflow }
    }

    /// Whether the code is a subnormal value.
    pub(crate) fn is_subnormal(self, code: u16) -> bool {
        let magnitude = code & (self.sign_bit() - 1);
        magnitude != 0 && magnitude >> self.mantissa_bits == 0
    }

    /// Flushes a subnormal code to a zero of its sign.
    pub(crate) fn flush(self, code: u16) -> u16 {
        if self.is_subnormal(code) { code & self.sign_bit() } else { code }
    }

    fn round(self, x: f64) -> u16 {
        self.encode(x, Rounding::Nearest, false)
    }

    pub(crate) fn add(self, a: u16, b: u16) -> u16 {
        self.round(add_odd(self.decode(a), self.decode(b)))
    }

    pub(crate) fn sub(self, a: u16, b: u16) -> u16 {
        self.round(add_odd(self.decode(a), -self.decode(b)))
    }

    pub(crate) fn mul(self, a: u16, b: u16) -> u16 {
        self.round(self.decode(a) * self.decode(b))
    }

    pub(crate) fn fma(self, a: u16, b: u16, c: u16) -> u16 {
        self.round(add_odd(self.decode(a) * self.decode(b), self.decode(c)))
    }
}

/// 2 to an exponent in f64's normal range.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// f16 to f32; exact, NaN to the NaN of arithmetic.
pub(crate) fn f16_to_f32(code: u16) -> f32 {
    let magnitude = u32::from(code & 0x7fff);
    let sign = u32::from(code & 0x8000) << 16;
    if magnitude >= 0x7c00 {
        let bits = if magnitude == 0x7c00 { sign | 0x7f80_0000 } else { super::float::NAN32 };
        return f32::from_bits(bits);
    }
    // As an f32's bits the magnitude is too small by the difference of the biases, subnormals
    // included, and the product is exact.
    let value = f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(value.to_bits() | sign)
}

/// f32 to f16, to nearest even.
pub(crate) fn f32_to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return 0x7fff;
    }
    // From 65520 up, the midpoint beyond the largest f16, everything rounds to infinity.
    if magnitude >= 0x477f_f000 {
        return sign | 0x7c00;
    }
    // Below 2^-14 results are multiples of 2^-24, which is f32's spacing in [0.5, 1).
    if magnitude < 0x3880_0000 {
        let shifted = f32::from_bits(magnitude) + 0.5;
        return sign | (shifted.to_bits() - 0.5f32.to_bits()) as u16;
    }
    let rebiased = magnitude - ((127 - 15) << 23);
    let odd = rebiased >> 13 & 1;
    sign | ((rebiased + 0xfff + odd) >> 13) as u16
}

/// f32 to bf16, to nearest even.
pub(crate) fn f32_to_bf16(x: f32) -> u16 {
    if x.is_nan() {
        return BF16.nan;
    }
    let bits = x.to_bits();
    ((u64::from(bits) + 0x7fff + u64::from(bits >> 16 & 1)) >> 16) as u16
}

/// f32 to an f32 whose lowest 13 bits are zero, as tensor cores read it.
pub(crate) fn f32_to_tf32(x: f32, rounding: Rounding, saturate: bool) -> f32 {
    const DROPPED: u32 = (1 << 13) - 1;
    const MAX: u32 = 0x7f7f_e000;
    if x.is_nan() {
        return f32::from_bits(super::float::NAN32);
    }
    let bits = x.to_bits();
    // Rounding up carries into the exponent, and past the largest number to infinity.
    let rounded = match rounding {
        Rounding::Nearest => bits + (DROPPED >> 1) + (bits >> 13 & 1),
        Rounding::NearestAway => bits + (DROPPED >> 1) + 1,
        _ => bits,
    } & !DROPPED;
    let (sign, magnitude) = (rounded & 0x8000_0000, rounded & 0x7fff_ffff);
    f32::from_bits(sign | if saturate { magnitude.min(MAX) } else { magnitude })
}

/// bf16 to f32; exact, NaN payloads kept.
pub(crate) fn bf16_to_f32(code: u16) -> f32 {
    f32::from_bits(u32::from(code) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    fn same(mine: u16, theirs: u16, nan: bool) -> bool {
        if nan { mine == 0x7fff } else { mine == theirs }
    }

    #[test]
    fn every_f16_and_bf16_decodes_and_encodes() {
        for code in 0..=u16::MAX {
            let (h, b) = (f16::from_bits(code), bf16::from_bits(code));
            if h.is_nan() {
                assert!(f16_to_f32(code).is_nan() && F16.decode(code).is_nan());
            } else {
                assert_eq!(f16_to_f32(code).to_bits(), h.to_f32().to_bits());
                assert_eq!(F16.decode(code).to_bits(), h.to_f64().to_bits());
                assert_eq!(F16.encode(h.to_f64(), Rounding::Nearest, false), code);
                assert_eq!(f32_to_f16(h.to_f32()), code);
            }
            if b.is_nan() {
                assert!(BF16.decode(code).is_nan());
            } else {
                assert_eq!(bf16_to_f32(code).to_bits(), b.to_f32().to_bits());
                assert_eq!(BF16.decode(code).to_bits(), b.to_f64().to_bits());
                assert_eq!(BF16.encode(b.to_f64(), Rounding::Nearest, false), code);
                assert_eq!(f32_to_bf16(b.to_f32()), code);
            }
        }
    }

    #[test]
    fn f32_conversions_agree_with_an_independent_implementation() {
        // A stride coprime to 2^32 visits every exponent with varied mantissas.
        for i in 0..4_000_000u32 {
            let x = f32::from_bits(i.wrapping_mul(2_654_435_761));
            let nan = x.is_nan();
            assert!(same(f32_to_f16(x), f16::from_f32(x).to_bits(), nan), "{x:e}");
            assert!(same(f32_to_bf16(x), bf16::from_f32(x).to_bits(), nan), "{x:e}");
            let wide = f64::from(x);
            assert_eq!(F16.encode(wide, Rounding::Nearest, false), f32_to_f16(x), "{x:e}");
            assert_eq!(BF16.encode(wide, Rounding::Nearest, false), f32_to_bf16(x), "{x:e}");
        }
    }

    #[test]
    fn midpoints_and_overflow() {
        assert_eq!(f32_to_f16(65504.0), 0x7bff);
        assert_eq!(f32_to_f16(65519.996), 0x7bff);
        assert_eq!(f32_to_f16(65520.0), 0x7c00);
        assert_eq!(F16.encode(65520.0, Rounding::Zero, false), 0x7bff);
        assert_eq!(F16.encode(65520.0, Rounding::Nearest, true), 0x7bff);
        assert_eq!(F16.encode(-65520.0, Rounding::Up, false), 0xfbff);
        assert_eq!(F16.encode(-65520.0, Rounding::Down, false), 0xfc00);
        assert_eq!(F16.encode(1e-30, Rounding::Up, false), 1);
        assert_eq!(F16.encode(-1e-30, Rounding::Up, false), 0x8000);
    }

    #[test]
    fn fp8_formats() {
        let e4m3 = |x: f64| E4M3.encode(x, Rounding::Nearest, true);
        assert_eq!((e4m3(1.0), e4m3(448.0), e4m3(1e9), e4m3(-1e9)), (0x38, 0x7e, 0x7e, 0xfe));
        // 464 lies between 448 and the 480 that the format cannot hold.
        assert_eq!(e4m3(464.1), 0x7e);
        assert_eq!(e4m3(f64::NAN), 0x7f);
        assert_eq!(e4m3(f64::INFINITY), 0x7e);
        assert_eq!(e4m3(2f64.powi(-9)), 0x01);
        assert_eq!(e4m3(2f64.powi(-10)), 0x00);
        assert_eq!(e4m3(1.0625), 0x38);
        assert_eq!(e4m3(1.1875), 0x3a);
        assert_eq!((E4M3.decode(0x7e), E4M3.decode(0x01)), (448.0, 2f64.powi(-9)));
        assert!(E4M3.decode(0xff).is_nan());
        assert_eq!(E5M2.encode(57344.0, Rounding::Nearest, true), 0x7b);
        assert_eq!(E5M2.encode(1e9, Rounding::Nearest, true), 0x7b);
        assert_eq!(E5M2.decode(0x7c), f64::INFINITY);
    }

    #[test]
    fn fused_half_is_rounded_once() {
        // 2^-24 · 2^-24 vanishes beside 1 but must break the tie of 1 + 2^-11.
        let tiny = 0x0001;
        let (one, up) = (0x3c00u16, 0x3c01u16);
        let half_ulp = F16.encode(2f64.powi(-11), Rounding::Nearest, false);
        assert_eq!(F16.add(one, half_ulp), one);
        let nudged = F16.decode(one) + F16.decode(half_ulp);
        assert_eq!(F16.round(add_odd(nudged, F16.decode(tiny) * F16.decode(tiny))), up);
        assert_eq!(F16.fma(one, one, half_ulp), one);
        assert_eq!(BF16.fma(0x3f81, 0x3f81, 0), 0x3f82);
        assert_eq!(F16.mul(0x7c00, 0), 0x7fff);
        assert_eq!(F16.flush(0x83ff), 0x8000);
        assert_eq!(F16.flush(0x0400), 0x0400);
    }
}
