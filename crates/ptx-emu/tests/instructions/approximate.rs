//! Approximate functions: their special values as the ISA tables them, and the error that it allows
//! everywhere else.

use crate::exact::{F32, Format};
use crate::harness::{Family, Oracle, Wanted};
use crate::syntax::{Spelling, Type};

pub const FAMILY: Family = Family {
    lines: &[
        ("(rcp|sqrt|rsqrt|sin|cos|lg2|ex2).approx{.ftz}.f32", "t t"),
        ("tanh.approx.f32", "t t"),
        ("div(.approx|.full){.ftz}.f32", "t t t"),
        ("(rcp|rsqrt).approx.ftz.f64", "t t"),
        ("ex2.approx(.f16|.f16x2)", "t t"),
        ("ex2.approx.ftz(.bf16|.bf16x2)", "t t"),
        ("tanh.approx($half)", "t t"),
    ],
    oracle,
};

/// A function, and the largest absolute and relative error.
type Bounded = (fn(f64) -> f64, f64, f64);

fn function(opcode: &str, ty: Type) -> Option<Bounded> {
    let power = |exponent: f64| exponent.exp2();
    Some(match (opcode, ty.name) {
        // Only the upper half of a double comes out.
        ("rcp", "f64") => (|x| 1.0 / x, 0.0, power(-20.0)),
        ("rsqrt", "f64") => (|x| 1.0 / x.sqrt(), 0.0, power(-20.0)),
        // One unit in the last place.
        ("rcp", _) => (|x| 1.0 / x, 0.0, power(-23.0)),
        ("sqrt", _) => (f64::sqrt, 0.0, power(-23.0)),
        ("rsqrt", _) => (|x| 1.0 / x.sqrt(), 0.0, power(-22.9)),
        ("sin", _) => (f64::sin, power(-20.5), 0.0),
        ("cos", _) => (f64::cos, power(-20.5), 0.0),
        ("lg2", _) => (f64::log2, power(-22.6), power(-22.0)),
        ("ex2", "f32") => (f64::exp2, 0.0, power(-22.0)),
        ("ex2", "f16" | "f16x2") => (f64::exp2, 0.0, power(-9.9)),
        ("ex2", _) => (f64::exp2, 0.0, power(-7.0)),
        ("tanh", "f32") => (f64::tanh, 0.0, power(-11.0)),
        ("tanh", "f16" | "f16x2") => (f64::tanh, power(-10.987), 0.0),
        ("tanh", _) => (f64::tanh, power(-8.0), 0.0),
        _ => return None,
    })
}

/// A code's value, exact.
fn value(format: Format, code: u64) -> f64 {
    match format {
        crate::exact::F64 => f64::from_bits(code),
        F32 => f64::from(f32::from_bits(code as u32)),
        crate::exact::F16 => half::f16::from_bits(code as u16).to_f64(),
        _ => half::bf16::from_bits(code as u16).to_f64(),
    }
}

fn oracle(spelling: &Spelling) -> Option<Oracle> {
    let ty = spelling.ty();
    let format = ty.format();
    let ftz = spelling.has("ftz");
    let flushed = move |code: u64| value(format, if ftz { format.flush(code) } else { code });
    if spelling.opcode == "div" {
        let full = spelling.has("full");
        return Some(Oracle::wanted(move |row| {
            let (a, b) = (flushed(row[0]), flushed(row[1]));
            let beyond = !full && b.is_finite() && b.abs() > 126f64.exp2();
            let quotient = match beyond {
                // Of an infinity by so large a divisor the ISA makes NaN, of the rest zero.
                true if a.is_infinite() => f64::NAN,
                true if !a.is_nan() => 0.0 * a * b.signum(),
                _ => a / b,
            };
            near(quotient, 0.0, 22f64.exp2().recip(), ftz, ty)
        }));
    }
    let (f, absolute, relative) = function(&spelling.opcode, ty)?;
    let opcode = spelling.opcode.clone();
    let wanted = move |code: u64| {
        let x = flushed(code);
        let result = match opcode.as_str() {
            "lg2" if x == 0.0 => f64::NEG_INFINITY,
            // 1/√-0 is -Inf.
            "rsqrt" if x == 0.0 => f64::INFINITY.copysign(x),
            _ => f(x),
        };
        // Beyond two turns the ISA bounds no error.
        let turns = matches!(opcode.as_str(), "sin" | "cos") && x.abs() > std::f64::consts::TAU;
        near(result, if turns { 2.0 } else { absolute }, relative, ftz, ty)
    };
    Some(if ty.is_packed() {
        Oracle::wanted(move |row| Wanted::Both {
            halves: [row[0] & 0xffff, row[0] >> 16].map(|half| flat(wanted(half))),
            ty,
        })
    } else {
        Oracle::wanted(move |row| wanted(row[0]))
    })
}

/// The interval around a result that the errors make, which a result of `ty` must touch.
fn near(result: f64, absolute: f64, relative: f64, ftz: bool, ty: Type) -> Wanted {
    let format = ty.format();
    let least = value(format, 1);
    let normal = value(format, 1 << format.mantissa_bits);
    // A subnormal has no more than its last place to be exact in, and is flushed with `.ftz`.
    let floor = if ftz { normal } else { least };
    let within = (absolute + relative * result.abs()).max(if result == 0.0 { 0.0 } else { floor });
    Wanted::Near { value: result, within, ty }
}

fn flat(wanted: Wanted) -> (f64, f64) {
    match wanted {
        Wanted::Near { value, within, .. } => (value, within),
        _ => (f64::NAN, 0.0),
    }
}

/// Whether a code is as near to a value as it must be. Zero, infinity and NaN must be met.
pub fn touches(ty: Type, code: u64, wanted: f64, within: f64) -> bool {
    let format = ty.format();
    let got = value(format, code);
    if wanted.is_nan() {
        return if ty.name == "f64" { got.is_nan() } else { code == format.nan };
    }
    let max = value(format, format.max());
    if wanted.is_infinite() || wanted == 0.0 && within == 0.0 {
        return got.to_bits() == wanted.to_bits();
    }
    if got.is_infinite() {
        return got.is_sign_negative() == wanted.is_sign_negative() && wanted.abs() + within > max;
    }
    (got - wanted).abs() <= within
}
