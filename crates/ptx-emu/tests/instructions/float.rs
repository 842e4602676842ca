//! Single, double and half precision: exact results, rounded once.

use crate::exact::{Format, Rounding, Value, add, div, mul, negate, sqrt};
use crate::harness::{Family, Oracle, Wanted};
use crate::syntax::Spelling;

pub const SINGLE: Family = Family {
    lines: &[
        ("(add|sub|mul){$rnd}{.ftz}{.sat}.f32", "t t t"),
        ("(fma|mad)($rnd){.ftz}{.sat}.f32", "t t t t"),
        ("div($rnd){.ftz}.f32", "t t t"),
        ("(rcp|sqrt)($rnd){.ftz}.f32", "t t"),
        ("(min|max){.ftz}{.NaN}{.xorsign.abs}.f32", "t t t"),
        ("(abs|neg){.ftz}.f32", "t t"),
        ("copysign.f32", "t t t"),
        ("testp(.finite|.infinite|.number|.notanumber|.normal|.subnormal).f32", "p t"),
    ],
    oracle,
};

pub const DOUBLE: Family = Family {
    lines: &[
        ("(add|sub|mul){.rn}.f64", "t t t"),
        ("(fma|mad).rn.f64", "t t t t"),
        ("div.rn.f64", "t t t"),
        ("(rcp|sqrt).rn.f64", "t t"),
        ("(min|max).f64", "t t t"),
        ("(abs|neg).f64", "t t"),
        ("copysign.f64", "t t t"),
        ("testp(.finite|.infinite|.number|.notanumber|.normal|.subnormal).f64", "p t"),
    ],
    oracle,
};

pub const HALF: Family = Family {
    lines: &[
        ("(add|sub|mul){.rn}{.ftz}{.sat}(.f16|.f16x2)", "t t t"),
        ("(add|sub|mul){.rn}(.bf16|.bf16x2)", "t t t"),
        ("fma.rn{.ftz}{.sat|.relu}(.f16|.f16x2)", "t t t t"),
        ("fma.rn{.relu}(.bf16|.bf16x2)", "t t t t"),
        ("(min|max){.ftz}{.NaN}{.xorsign.abs}(.f16|.f16x2)", "t t t"),
        ("(min|max){.NaN}{.xorsign.abs}(.bf16|.bf16x2)", "t t t"),
        ("(abs|neg){.ftz}(.f16|.f16x2)", "t t"),
        ("(abs|neg)(.bf16|.bf16x2)", "t t"),
    ],
    oracle,
};

fn oracle(spelling: &Spelling) -> Option<Oracle> {
    let ty = spelling.ty();
    let format = ty.format();
    let modifiers = spelling.clone();
    let one = move |modifiers: &Spelling, row: &[u64]| -> u64 {
        match modifiers.opcode.as_str() {
            "min" | "max" => extreme(modifiers, format, row[0], row[1]),
            "copysign" => row[0] & format.sign() | row[1] & !format.sign(),
            "testp" => u64::from(property(modifiers, format, row[0])),
            "abs" => input(modifiers, format, row[0]) & !format.sign(),
            "neg" => input(modifiers, format, row[0]) ^ format.sign(),
            _ if ty.name == "f64" => double(&modifiers.opcode, row),
            _ => arithmetic(modifiers, format, row),
        }
    };
    // What a NaN of f64 looks like is open, and so is its sign after `abs` and `neg`.
    let open = ty.name == "f64" || matches!(spelling.opcode.as_str(), "abs" | "neg");
    Some(Oracle::wanted(move |row| {
        let bits = if ty.is_packed() {
            let half = |shift: u32| {
                let row: Vec<u64> = row.iter().map(|raw| raw >> shift & 0xffff).collect();
                one(&modifiers, &row) << shift
            };
            half(0) | half(16)
        } else {
            one(&modifiers, row)
        };
        if open && modifiers.opcode != "testp" { Wanted::UpToNan { bits, ty } } else { Wanted::Bits(bits) }
    }))
}

fn input(modifiers: &Spelling, format: Format, code: u64) -> u64 {
    if modifiers.has("ftz") { format.flush(code) } else { code }
}

fn arithmetic(modifiers: &Spelling, format: Format, row: &[u64]) -> u64 {
    let rounding = modifiers.rounding().unwrap_or(Rounding::Nearest);
    let values: Vec<Value> = row.iter().map(|code| format.decode(input(modifiers, format, *code))).collect();
    let result = match modifiers.opcode.as_str() {
        "add" => add(&values[0], &values[1], rounding),
        "sub" => add(&values[0], &negate(values[1].clone()), rounding),
        "mul" => mul(&values[0], &values[1]),
        "fma" | "mad" => add(&mul(&values[0], &values[1]), &values[2], rounding),
        "div" => div(&values[0], &values[1]),
        "rcp" => div(&Value::Finite(crate::exact::Number::integer(1)), &values[0]),
        "sqrt" => sqrt(&values[0]),
        opcode => panic!("{opcode} is no arithmetic"),
    };
    let code = input(modifiers, format, format.encode(&result, rounding, false));
    let nan = format.is_nan(code);
    let negative = code & format.sign() != 0;
    if modifiers.has("relu") && negative && !nan || modifiers.has("sat") && (negative || nan) {
        return 0;
    }
    let one = format.encode(&Value::Finite(crate::exact::Number::integer(1)), rounding, false);
    if modifiers.has("sat") { code.min(one) } else { code }
}

/// The host's own arithmetic.
fn double(opcode: &str, row: &[u64]) -> u64 {
    let v: Vec<f64> = row.iter().map(|bits| f64::from_bits(*bits)).collect();
    let result = match opcode {
        "add" => v[0] + v[1],
        "sub" => v[0] - v[1],
        "mul" => v[0] * v[1],
        "fma" | "mad" => v[0].mul_add(v[1], v[2]),
        "div" => v[0] / v[1],
        "rcp" => 1.0 / v[0],
        _ => v[0].sqrt(),
    };
    result.to_bits()
}

/// `min` and `max`, as the ISA's pseudo-code has them, with -0 below +0.
fn extreme(modifiers: &Spelling, format: Format, a: u64, b: u64) -> u64 {
    let [mut a, mut b] = [a, b].map(|code| input(modifiers, format, code));
    let xorsign = (a ^ b) & format.sign();
    if modifiers.has("abs") {
        (a, b) = (a & !format.sign(), b & !format.sign());
    }
    let rank = |code: u64| {
        let magnitude = i128::from(code & (format.sign() - 1));
        if code & format.sign() != 0 { -1 - magnitude } else { magnitude }
    };
    let result = match (format.is_nan(a), format.is_nan(b)) {
        (true, true) => return format.nan,
        (true, _) | (_, true) if modifiers.has("NaN") => return format.nan,
        (true, false) => b,
        (false, true) => a,
        (false, false) if modifiers.opcode == "min" => [a, b].into_iter().min_by_key(|code| rank(*code)).unwrap_or(a),
        (false, false) => [a, b].into_iter().max_by_key(|code| rank(*code)).unwrap_or(a),
    };
    if modifiers.has("xorsign") { result & !format.sign() | xorsign } else { result }
}

fn property(modifiers: &Spelling, format: Format, code: u64) -> bool {
    let magnitude = code & (format.sign() - 1);
    let (nan, infinite) = (format.is_nan(code), magnitude == format.infinity());
    match modifiers.one_of(&["finite", "infinite", "number", "notanumber", "normal"]) {
        Some("finite") => !nan && !infinite,
        Some("infinite") => infinite,
        Some("number") => !nan,
        Some("notanumber") => nan,
        // As the ISA has it, zeros are.
        Some(_) => !nan && !infinite && (magnitude == 0 || magnitude >> format.mantissa_bits != 0),
        None => format.is_subnormal(code),
    }
}
