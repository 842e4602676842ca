//! Conversions: exact values, rounded once.

use crate::edges::{Random, values};
use crate::exact::{F32, Number, Rounding, Value};
use crate::harness::{Family, Function, Oracle, Wanted, check_rows, evaluate};
use crate::syntax::{Spelling, Type};

pub const FAMILY: Family = Family {
    lines: &[
        ("cvt($byteint)($byteint)", "s t"),
        // Saturated where the source has values that do not fit.
        ("cvt.sat(.u8|.u16|.u32|.u64)($signedbyte)", "s t"),
        ("cvt.sat.u8(.u16|.u32|.u64)", "s t"),
        ("cvt.sat.u16(.u32|.u64)", "s t"),
        ("cvt.sat.u32.u64", "s t"),
        ("cvt.sat.s8(.u8|.u16|.u32|.u64|.s16|.s32|.s64)", "s t"),
        ("cvt.sat.s16(.u16|.u32|.u64|.s32|.s64)", "s t"),
        ("cvt.sat.s32(.u32|.u64|.s64)", "s t"),
        ("cvt.sat.s64.u64", "s t"),
        ("cvt($irnd){.ftz}{.sat}($byteint).f32", "s t"),
        ("cvt($irnd){.sat}($byteint)(.f16|.f64)", "s t"),
        ("cvt($irnd)($int).bf16", "s t"),
        ("cvt($rnd){.ftz}{.sat}.f32($byteint)", "s t"),
        ("cvt($rnd){.sat}(.f16|.f64)($byteint)", "s t"),
        ("cvt($rnd).bf16($int)", "s t"),
        ("cvt{.ftz}{.sat}.f32.f16", "s t"),
        ("cvt{.ftz}.f32.bf16", "s t"),
        ("cvt{.ftz}{.sat}.f64.f32", "s t"),
        ("cvt{.sat}.f64.f16", "s t"),
        ("cvt.f64.bf16", "s t"),
        ("cvt{$irnd}{.ftz}{.sat}.f32.f32", "s t"),
        ("cvt{$irnd}{.sat}.f64.f64", "s t"),
        ("cvt{$irnd}{.sat}.f16.f16", "s t"),
        ("cvt{$irnd}.bf16.bf16", "s t"),
        ("cvt($rnd){.ftz}{.sat}.f32.f64", "s t"),
        ("cvt($rnd){.ftz}{.sat}.f16.f32", "s t"),
        ("cvt($rnd){.ftz}.bf16.f32", "s t"),
        ("cvt($rnd){.sat}.f16.f64", "s t"),
        ("cvt($rnd).bf16.f64", "s t"),
        ("cvt($rnd).bf16.f16", "s t"),
        ("cvt($rnd).f16.bf16", "s t"),
        ("cvt(.rn|.rz){.relu}{.satfinite}(.f16|.bf16).f32", "s t"),
        ("cvt(.rn|.rz){.relu}{.satfinite}(.f16x2|.bf16x2).f32", "s t t"),
        ("cvt.rna{.satfinite}.tf32.f32", "s t"),
        ("cvt(.rn|.rz){.relu}.tf32.f32", "s t"),
    ],
    oracle,
};

pub const EIGHT_BITS: Family = Family {
    lines: &[
        ("cvt.rn.satfinite{.relu}(.e4m3x2|.e5m2x2).f32", "s t t"),
        ("cvt.rn.satfinite{.relu}(.e4m3x2|.e5m2x2).f16x2", "s t"),
        ("cvt.rn{.relu}.f16x2(.e4m3x2|.e5m2x2)", "s t"),
    ],
    oracle: eight_bits,
};

/// The number that an element of a type is.
fn value(ty: Type, raw: u64) -> Value {
    if ty.is_float() { ty.format().decode(raw) } else { Value::Finite(Number::integer(ty.integer(raw))) }
}

/// A conversion's result as an element of the destination type; an integer's sign goes on above it.
fn convert(modifiers: &Spelling, dest: Type, source: Type, raw: u64) -> u64 {
    let flush = |ty: Type, code: u64| if modifiers.has("ftz") && ty.name == "f32" { F32.flush(code) } else { code };
    let value = value(source, flush(source, raw));
    let integral = modifiers.one_of(&["rni", "rzi", "rmi", "rpi"]).map(|name| match name {
        "rni" => Rounding::Nearest,
        "rzi" => Rounding::Zero,
        "rmi" => Rounding::Down,
        _ => Rounding::Up,
    });
    if !dest.is_float() {
        let (least, most) = dest.range();
        return match (&value, integral) {
            (Value::Finite(number), Some(rounding)) => number.to_integer(rounding, least, most),
            (Value::Infinite(negative), _) => {
                if *negative {
                    least
                } else {
                    most
                }
            }
            // NaN is zero, or, where the source is f64 or the result has 64 bits, the highest bit.
            (Value::Nan, _) if source.bits == 64 || dest.bits == 64 => {
                if dest.is_signed() {
                    least
                } else {
                    most / 2 + 1
                }
            }
            (Value::Nan, _) => 0,
            (Value::Finite(_), None) => {
                let n = source.integer(raw);
                if modifiers.has("sat") { n.clamp(least, most) } else { dest.integer(n as u64) }
            }
        } as u64;
    }
    let value = match (value, integral) {
        (Value::Finite(number), Some(rounding)) => Value::Finite(number.integral(rounding)),
        (value, _) => value,
    };
    let negative = match &value {
        Value::Finite(number) => number.negative,
        Value::Infinite(negative) => *negative,
        Value::Nan => false,
    };
    let format = dest.format();
    let rounding = modifiers.rounding().unwrap_or(Rounding::Nearest);
    if modifiers.has("sat") && (negative || matches!(value, Value::Nan)) || modifiers.has("relu") && negative {
        return 0;
    }
    let code = format.encode(&value, rounding, modifiers.has("satfinite"));
    let one = format.encode(&Value::Finite(Number::integer(1)), rounding, false);
    let code = if modifiers.has("sat") { code.min(one) } else { code };
    flush(dest, code)
}

/// Two sources go to the two halves, the first to the high one.
fn packed(modifiers: &Spelling, row: &[u64]) -> u64 {
    let (dest, source) = (modifiers.types()[0], modifiers.ty());
    let bits = dest.element_bits();
    let [low, high] = match row {
        [high, low] => [*low, *high],
        both => [0, 1].map(|i| both[0] >> (i * source.element_bits()) & (u64::MAX >> (64 - source.element_bits()))),
    };
    convert(modifiers, dest, source, high) << bits | convert(modifiers, dest, source, low)
}

fn oracle(spelling: &Spelling) -> Option<Oracle> {
    let modifiers = spelling.clone();
    let (dest, source) = (spelling.types()[0], spelling.ty());
    if dest.is_packed() {
        return Some(Oracle::bits(move |row| packed(&modifiers, row)));
    }
    if dest.name == "tf32" {
        // In 32 bits, the lowest 13 of them zero.
        return Some(Oracle::bits(move |row| {
            let code = convert(&modifiers, dest, source, row[0]);
            if code == dest.format().nan { F32.nan } else { code << 13 }
        }));
    }
    // No register has 8 bits: the result is extended to 16.
    let register = dest.bits.max(16);
    let mask = u64::MAX >> (64 - register);
    Some(Oracle::wanted(move |row| {
        let bits = convert(&modifiers, dest, source, row[0]) & mask;
        if dest.is_float() && dest.bits >= 32 { Wanted::UpToNan { bits, ty: dest } } else { Wanted::Bits(bits) }
    }))
}

/// All codes of 8 and 16 bits; of f32, the neighbourhood of every code and of every midpoint.
fn eight_bits(spelling: &Spelling) -> Option<Oracle> {
    let spelling = spelling.clone();
    let (dest, source) = (spelling.types()[0], spelling.ty());
    let modifiers = spelling.clone();
    let function: Function = Box::new(move |row| Wanted::Bits(packed(&modifiers, row)));
    Some(Oracle::test(move || match source.name {
        "f32" => check_rows(&spelling, "s t t", &function, &around_codes(dest)),
        "f16x2" => {
            let rows: Vec<_> = (0..0x1_0000u64).map(|code| vec![code | ((code * 40503) & 0xffff) << 16]).collect();
            check_rows(&spelling, "s t", &function, &rows);
        }
        _ => {
            let rows: Vec<_> = (0..0x1_0000u64).map(|codes| vec![codes]).collect();
            check_rows(&spelling, "s t", &function, &rows);
        }
    }))
}

/// Pairs of f32: each code's value, the midpoint to the next, and the f32 on each side of both.
fn around_codes(ty: Type) -> Vec<Vec<u64>> {
    let format = ty.format();
    let mut list = values(Type::named("f32"));
    let mut last = None;
    for code in 0..=format.max() {
        let exact = F32.encode(&format.decode(code), Rounding::Nearest, false);
        let magnitude = f32::from_bits(exact as u32);
        let midpoint = last.map_or(0.0, |last: f32| (last + magnitude) / 2.0);
        last = Some(magnitude);
        for around in [magnitude, midpoint] {
            let bits = u64::from(around.to_bits());
            list.extend([bits, bits + 1, bits.saturating_sub(1)]);
        }
    }
    let count = list.len();
    (0..2 * count).map(|i| vec![list[i % count] | (i as u64 & 1) << 31, list[(i * 5 + 1) % count]]).collect()
}

/// The tables that the OCP's 8-bit formats have: E4M3 without infinities, E5M2 with.
#[test]
fn values_of_all_eight_bit_codes() {
    for name in ["e4m3x2", "e5m2x2"] {
        let body = format!("cvt.rn.f16x2.{name} %r8, %h0;\ncvt.u64.u32 %rd30, %r8;");
        let rows: Vec<_> = (0..256u64).map(|code| vec![code]).collect();
        for (code, [got, _]) in evaluate(&body, &rows).into_iter().enumerate() {
            let (sign, low) = (if code & 0x80 != 0 { -1.0 } else { 1.0 }, code & 0x7f);
            let magnitude = if name == "e4m3x2" {
                let (exponent, fraction) = (low >> 3, (low & 7) as f64 / 8.0);
                match exponent {
                    _ if low == 0x7f => f64::NAN,
                    0 => fraction * 2f64.powi(-6),
                    _ => (1.0 + fraction) * 2f64.powi(exponent as i32 - 7),
                }
            } else {
                let (exponent, fraction) = (low >> 2, (low & 3) as f64 / 4.0);
                match exponent {
                    31 if fraction == 0.0 => f64::INFINITY,
                    31 => f64::NAN,
                    0 => fraction * 2f64.powi(-14),
                    _ => (1.0 + fraction) * 2f64.powi(exponent as i32 - 15),
                }
            };
            assert_eq!(got >> 16, 0, "{name} {code:#x}");
            let got = half::f16::from_bits(got as u16);
            if magnitude.is_nan() {
                assert_eq!(got.to_bits(), 0x7fff, "{name} {code:#x}");
            } else {
                assert_eq!(got.to_f64().to_bits(), (sign * magnitude).to_bits(), "{name} {code:#x}");
            }
        }
    }
}

/// Sources and results in registers wider than their types.
#[test]
fn registers_wider_than_the_types() {
    let signed: Vec<Vec<u64>> = values(Type::named("u64")).into_iter().map(|value| vec![value]).collect();
    for (text, wanted) in [
        ("cvt.s8.s32 %rd30, %r0;", (|x| x as i8 as u64) as fn(u64) -> u64),
        ("cvt.u8.s32 %rd30, %r0;", |x| u64::from(x as u8)),
        ("cvt.s16.u64 %rd30, %rd0;", |x| x as i16 as u64),
        ("cvt.s64.s8 %rd30, %rd0;", |x| x as i8 as u64),
        ("cvt.u64.s8 %rd30, %r0;", |x| x as i8 as u64),
        ("cvt.s32.u8 %rd30, %rd0;", |x| u64::from(x as u8)),
        ("cvt.u16.u32 %rd30, %rd0;", |x| u64::from(x as u16)),
        ("cvt.sat.s8.s64 %rd30, %rd0;", |x| (x as i64).clamp(-128, 127) as u64),
        ("cvt.sat.u16.s64 %rd30, %rd0;", |x| (x as i64).clamp(0, 65535) as u64),
        ("cvt.rzi.s8.f64 %rd30, %rd0;", |x| {
            let x = f64::from_bits(x);
            (if x.is_nan() { -128 } else { i64::from(x as i8) }) as u64
        }),
        ("cvt.rzi.u8.f64 %rd30, %rd0;", |x| {
            let x = f64::from_bits(x);
            if x.is_nan() { 128 } else { u64::from(x as u8) }
        }),
    ] {
        for ([got, _], row) in evaluate(text, &signed).into_iter().zip(&signed) {
            assert_eq!(got, wanted(row[0]), "`{text}` of {row:#x?}");
        }
    }
}

/// Ten thousand f32, of every exponent, to the formats that kernels store.
#[test]
fn many_f32_to_16_bits() {
    let mut random = Random::new(1);
    let rows: Vec<_> = (0..10_000).map(|_| vec![random.next() & 0xffff_ffff]).collect();
    for text in ["cvt.rn.f16.f32", "cvt.rn.bf16.f32", "cvt.rz.f16.f32", "cvt.rz.bf16.f32"] {
        let spelling = Spelling::parse(text);
        if let Some(Oracle::Function(function)) = oracle(&spelling) {
            check_rows(&spelling, "s t", &function, &rows);
        }
    }
}
