//! Comparisons and selections.

use crate::harness::{Family, Oracle};
use crate::syntax::{Kind, Spelling, Type};
use std::cmp::Ordering;

pub const FAMILY: Family = Family {
    lines: &[
        ("setp(.eq|.ne)($bits)", "p t t"),
        ("setp($order)($signed)", "p t t"),
        ("setp($order|.lo|.ls|.hi|.hs)(.u16|.u32|.u64)", "p t t"),
        ("setp($order|$float){.ftz}(.f32|.f16)", "p t t"),
        ("setp($order|$float)(.f64|.bf16)", "p t t"),
        ("setp($order|$float){.ftz}.f16x2", "p|p t t"),
        ("setp($order|$float).bf16x2", "p|p t t"),
        ("setp(.eq|.ne)(.and|.or|.xor)($bits)", "p|p t t p"),
        ("setp($order)(.and|.or|.xor)($signed)", "p|p t t p"),
        ("setp($order|.lo|.ls|.hi|.hs)(.and|.or|.xor)(.u16|.u32|.u64)", "p|p t t p"),
        ("setp($order|$float)(.and|.or|.xor){.ftz}(.f32|.f16x2)", "p|p t t p"),
        ("setp($order|$float)(.and|.or|.xor)(.f64|.bf16x2)", "p|p t t p"),
        // Of 16 bits, one predicate only.
        ("setp($order|$float)(.and|.or|.xor){.ftz}.f16", "p t t p"),
        ("setp($order|$float)(.and|.or|.xor).bf16", "p t t p"),
        ("set(.eq|.ne)(.u32|.s32|.f32)($bits)", "s t t"),
        ("set($order)(.u32|.s32|.f32)($signed)", "s t t"),
        ("set($order|.lo|.ls|.hi|.hs)(.u32|.s32|.f32)(.u16|.u32|.u64)", "s t t"),
        ("set($order|$float){.ftz}(.u32|.s32|.f32).f32", "s t t"),
        ("set($order|$float)(.u32|.s32|.f32).f64", "s t t"),
        ("set($order|$float){.ftz}(.u16|.s16|.u32|.s32|.f16).f16", "s t t"),
        ("set($order|$float)(.u16|.s16|.u32|.s32|.bf16).bf16", "s t t"),
        ("set($order|$float){.ftz}(.u32|.s32|.f16x2).f16x2", "s t t"),
        ("set($order|$float)(.u32|.s32|.bf16x2).bf16x2", "s t t"),
        ("set(.eq|.ne)(.and|.or|.xor)(.u32|.s32|.f32)($bits)", "s t t p"),
        ("set($order)(.and|.or|.xor)(.u32|.s32|.f32)($signed)", "s t t p"),
        ("set($order|.lo|.ls|.hi|.hs)(.and|.or|.xor)(.u32|.s32|.f32)(.u16|.u32|.u64)", "s t t p"),
        ("set($order|$float)(.and|.or|.xor){.ftz}(.u32|.s32|.f32).f32", "s t t p"),
        ("set($order|$float)(.and|.or|.xor)(.u32|.s32|.f32).f64", "s t t p"),
        ("set($order|$float)(.and|.or|.xor){.ftz}(.u16|.s16|.u32|.s32|.f16).f16", "s t t p"),
        ("set($order|$float)(.and|.or|.xor)(.u16|.s16|.u32|.s32|.bf16).bf16", "s t t p"),
        ("selp($bits|$int|.f32|.f64)", "t t t p"),
        ("slct($bits|$int|.f32|.f64).s32", "s s s r"),
        ("slct{.ftz}($bits|$int|.f32|.f64).f32", "s s s t"),
    ],
    oracle,
};

/// How two values compare; `None` where one is NaN.
fn order(ty: Type, ftz: bool, a: u64, b: u64) -> Option<Ordering> {
    if ty.kind != Kind::Float {
        return Some(ty.integer(a).cmp(&ty.integer(b)));
    }
    let format = ty.format();
    if format.is_nan(a) || format.is_nan(b) {
        return None;
    }
    // Codes order as sign and magnitude, the two zeroes being one.
    let rank = |code: u64| {
        let code = if ftz { format.flush(code) } else { code };
        let magnitude = (code & (format.sign() - 1)) as i128;
        if code & format.sign() != 0 { -magnitude } else { magnitude }
    };
    Some(rank(a).cmp(&rank(b)))
}

fn holds(comparison: &str, order: Option<Ordering>) -> bool {
    let Some(order) = order else {
        return matches!(comparison, "equ" | "neu" | "ltu" | "leu" | "gtu" | "geu" | "nan");
    };
    match comparison {
        "eq" | "equ" => order.is_eq(),
        "ne" | "neu" => order.is_ne(),
        "lt" | "ltu" | "lo" => order.is_lt(),
        "le" | "leu" | "ls" => order.is_le(),
        "gt" | "gtu" | "hi" => order.is_gt(),
        "ge" | "geu" | "hs" => order.is_ge(),
        "num" => true,
        _ => false,
    }
}

const COMPARISONS: [&str; 18] = [
    "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan",
];

fn oracle(spelling: &Spelling) -> Option<Oracle> {
    let (ty, dest) = (spelling.ty(), spelling.types()[0]);
    let ftz = spelling.has("ftz");
    match spelling.opcode.as_str() {
        "selp" => return Some(Oracle::bits(|row| if row[2] != 0 { row[0] } else { row[1] })),
        "slct" if ty.kind == Kind::Float => {
            // NaN is not at least zero; -0 is, and so is what `.ftz` makes of a negative subnormal.
            return Some(Oracle::bits(move |row| {
                let c = f64::from(f32::from_bits(row[2] as u32));
                let tiny = ftz && c.abs() < f64::from(f32::MIN_POSITIVE);
                if c >= 0.0 || tiny { row[0] } else { row[1] }
            }));
        }
        "slct" => return Some(Oracle::bits(|row| if row[2] < 1 << 31 { row[0] } else { row[1] })),
        _ => {}
    }
    let comparison = spelling.one_of(&COMPARISONS)?;
    let combine = spelling.one_of(&["and", "or", "xor"]);
    let combined = move |result: bool, row: &[u64]| match (combine, row.get(2)) {
        (Some("and"), Some(c)) => result && *c != 0,
        (Some("or"), Some(c)) => result || *c != 0,
        (Some(_), Some(c)) => result != (*c != 0),
        _ => result,
    };
    let element = ty.element_bits();
    let compare = move |row: &[u64], half: u32| {
        let [a, b] = [row[0], row[1]].map(|raw| raw >> (half * element) & (u64::MAX >> (64 - element)));
        holds(comparison, order(ty, ftz, a, b))
    };
    Some(match spelling.opcode.as_str() {
        "setp" if ty.is_packed() => Oracle::bits(move |row| {
            let [low, high] = [0, 1].map(|half| u64::from(combined(compare(row, half), row)));
            low | high << 1
        }),
        // The second predicate combines the opposite.
        "setp" => Oracle::bits(move |row| {
            let result = compare(row, 0);
            let second = combine.is_some() && !matches!(ty.name, "f16" | "bf16") && combined(!result, row);
            u64::from(combined(result, row)) | u64::from(second) << 1
        }),
        "set" => {
            let truth = match dest.name {
                "f32" => 0x3f80_0000,
                "f16" | "f16x2" => 0x3c00,
                "bf16" | "bf16x2" => 0x3f80,
                _ if ty.is_packed() => 0xffff,
                _ => dest.mask(),
            };
            Oracle::bits(move |row| {
                let half = |half: u32| if combined(compare(row, half), row) { truth << (16 * half) } else { 0 };
                if ty.is_packed() { half(0) | half(1) } else { half(0) }
            })
        }
        _ => return None,
    })
}
