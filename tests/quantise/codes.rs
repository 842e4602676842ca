//! Codes and the values they stand for.

use crate::values::{interesting, magnitudes};
use warpnorm::quantise::CodeType;
use warpnorm::reference::{narrow, widen};

/// The sign bit of a code, for the types that have one.
fn sign(code: CodeType) -> Option<u8> {
    (code != CodeType::Int8).then_some(if code == CodeType::E2m1 { 0x8 } else { 0x80 })
}

/// The nearest code by counting the middles between neighbours that a magnitude has passed.
struct Nearest {
    code: CodeType,
    middles: Vec<f64>,
}

impl Nearest {
    fn new(code: CodeType) -> Self {
        let mut magnitudes = magnitudes(code);
        if code == CodeType::Int8 {
            // Of the negative ones there is one more.
            magnitudes.push(128.0);
        }
        Self { code, middles: magnitudes.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect() }
    }

    fn of(&self, value: f64) -> u8 {
        if value.is_nan() {
            return [0x7f, 0x7f, 0, 0x7][self.code as usize];
        }
        let magnitude = value.abs();
        let below = self.middles.partition_point(|&middle| middle < magnitude);
        // On a middle, the even one of its two codes.
        let tie = self.middles.get(below).is_some_and(|&middle| middle == magnitude);
        let count = if tie { below + below % 2 } else { below } as u8;
        let negative = value.is_sign_negative();
        match sign(self.code) {
            None if negative => count.wrapping_neg(),
            None => count.min(127),
            Some(sign) => count | if negative { sign } else { 0 },
        }
    }
}

#[test]
fn every_code_stands_for_the_value_that_its_layout_says() {
    for code in CodeType::ALL {
        let magnitudes = magnitudes(code);
        for (bits, &magnitude) in (0u8..).zip(&magnitudes) {
            assert_eq!(widen(code, bits), magnitude, "{code} {bits:#04x}");
            match sign(code) {
                Some(sign) => {
                    assert_eq!(widen(code, bits | sign).to_bits(), (-magnitude).to_bits(), "{code} {bits:#04x}")
                }
                None => assert_eq!(widen(code, bits.wrapping_neg()), -magnitude, "{bits}"),
            }
        }
        assert_eq!(magnitudes.last(), Some(&f64::from(code.largest())), "{code}");
    }
    assert_eq!(widen(CodeType::Int8, 0x80), -128.0);
    assert!(widen(CodeType::E4m3, 0x7f).is_nan() && widen(CodeType::E4m3, 0xff).is_nan());
    assert_eq!((widen(CodeType::E5m2, 0x7c), widen(CodeType::E5m2, 0xfc)), (f64::INFINITY, f64::NEG_INFINITY));
    for nan in [0x7d, 0x7e, 0x7f, 0xfd, 0xfe, 0xff] {
        assert!(widen(CodeType::E5m2, nan).is_nan(), "{nan:#04x}");
    }
    // The upper half of a byte belongs to another code.
    assert_eq!(widen(CodeType::E2m1, 0xf7), 6.0);
}

#[test]
fn every_code_comes_back_from_its_value() {
    for code in CodeType::ALL {
        for bits in 0..=u8::MAX >> (8 - code.bits()) {
            let value = widen(code, bits);
            let wanted = match (code, bits) {
                _ if value.is_nan() => 0x7f,
                (CodeType::E5m2, 0x7c | 0xfc) => bits - 1,
                _ => bits,
            };
            assert_eq!(narrow(code, value), wanted, "{code} {bits:#04x}");
        }
    }
}

#[test]
fn values_become_the_nearest_code() {
    for code in CodeType::ALL {
        let nearest = Nearest::new(code);
        for value in interesting(code, 1 << 18) {
            assert_eq!(narrow(code, value.into()), nearest.of(value.into()), "{code} of {value:e}");
        }
    }
}

/// What PTX's `cvt` makes of values without a nearest code, from the manual.
#[test]
fn values_without_a_nearest_code() {
    for (code, infinity, nan) in
        [(CodeType::E4m3, 0x7e, 0x7f), (CodeType::E5m2, 0x7b, 0x7f), (CodeType::Int8, 0x7f, 0), (CodeType::E2m1, 7, 7)]
    {
        let sign = sign(code).unwrap_or(0xff);
        assert_eq!(narrow(code, f64::INFINITY), infinity, "{code}");
        assert_eq!(narrow(code, f64::NEG_INFINITY), infinity ^ sign, "{code}");
        assert_eq!((narrow(code, f64::NAN), narrow(code, -f64::NAN)), (nan, nan), "{code}");
        let zero = if code == CodeType::Int8 { 0 } else { sign };
        assert_eq!((narrow(code, 0.0), narrow(code, -0.0), narrow(code, -1e-30)), (0, zero, zero), "{code}");
    }
}
