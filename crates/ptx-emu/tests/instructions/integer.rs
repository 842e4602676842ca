//! Integer arithmetic, against arithmetic in 128 bits.

use crate::harness::{Family, Oracle};
use crate::syntax::{Spelling, Type};

pub const FAMILY: Family = Family {
    lines: &[
        ("(add|sub)($int)", "t t t"),
        ("(add|sub).sat.s32", "t t t"),
        ("mul(.lo|.hi)($int)", "t t t"),
        ("mul.wide(.u16|.s16|.u32|.s32)", "w t t"),
        ("mad(.lo|.hi)($int)", "t t t t"),
        ("mad.hi.sat.s32", "t t t t"),
        ("mad.wide(.u16|.s16|.u32|.s32)", "w t t w"),
        ("mul24(.lo|.hi)(.u32|.s32)", "t t t"),
        ("mad24(.lo|.hi)(.u32|.s32)", "t t t t"),
        ("sad($int)", "t t t t"),
        ("(div|rem)($int)", "t t t"),
        ("(abs|neg)($signed)", "t t"),
        ("(min|max)($int)", "t t t"),
        ("(min|max).relu.s32", "t t t"),
        ("dp4a(.u32|.s32)(.u32|.s32)", "r s t r"),
        ("dp2a(.lo|.hi)(.u32|.s32)(.u32|.s32)", "r s t r"),
    ],
    oracle,
};

fn oracle(spelling: &Spelling) -> Option<Oracle> {
    let ty = spelling.ty();
    let (least, most) = ty.range();
    let modifiers = spelling.clone();
    // The exact result; then the part of it that is kept.
    let exact: fn(&Spelling, Type, &[i128]) -> i128 = match spelling.opcode.as_str() {
        "add" => |_, _, v| v[0] + v[1],
        "sub" => |_, _, v| v[0] - v[1],
        "mul" | "mad" => |spelling, ty, v| {
            // Of unsigned 64-bit factors, the product's sign is wrong, but not the 128 bits.
            let product = v[0].wrapping_mul(v[1]);
            let part = if spelling.has("hi") { product >> ty.bits } else { product };
            part.wrapping_add(v.get(2).copied().unwrap_or(0))
        },
        "sad" => |_, _, v| v[2] + (v[0] - v[1]).abs(),
        // Division truncates. By zero the ISA gives no value: this crate's are all ones, and the
        // dividend as the remainder.
        "div" => |_, _, v| if v[1] == 0 { -1 } else { v[0] / v[1] },
        "rem" => |_, _, v| if v[1] == 0 { v[0] } else { v[0] % v[1] },
        "abs" => |_, _, v| v[0].abs(),
        "neg" => |_, _, v| -v[0],
        "min" => |_, _, v| v[0].min(v[1]),
        "max" => |_, _, v| v[0].max(v[1]),
        "mul24" | "mad24" => return Some(mul24(spelling)),
        "dp4a" | "dp2a" => return Some(dot_product(spelling)),
        _ => return None,
    };
    Some(Oracle::bits(move |row| {
        let wide = modifiers.has("wide");
        let integers: Vec<i128> = row
            .iter()
            .enumerate()
            .map(|(i, raw)| if wide && i == 2 { ty.wide().integer(*raw) } else { ty.integer(*raw) })
            .collect();
        let result = exact(&modifiers, ty, &integers);
        if wide {
            return result as u64 & ty.wide().mask();
        }
        let result = if modifiers.has("sat") { result.clamp(least, most) } else { result };
        let result = if modifiers.has("relu") { result.max(0) } else { result };
        result as u64 & ty.mask()
    }))
}

/// Factors of 24 bits; of the 48 bits of the product, the low or the high 32.
fn mul24(spelling: &Spelling) -> Oracle {
    let (signed, high) = (spelling.ty().is_signed(), spelling.has("hi"));
    Oracle::bits(move |row| {
        let factor = |raw: u64| {
            let low = i128::from(raw & 0xff_ffff);
            if signed && low >= 1 << 23 { low - (1 << 24) } else { low }
        };
        let product = factor(row[0]) * factor(row[1]);
        let part = if high { product >> 16 } else { product };
        (part + i128::from(row.get(2).copied().unwrap_or(0))) as u64 & 0xffff_ffff
    })
}

fn dot_product(spelling: &Spelling) -> Oracle {
    let types = spelling.types();
    let (four, high) = (spelling.opcode == "dp4a", spelling.has("hi"));
    Oracle::bits(move |row| {
        let part = |raw: u64, bits: u32, index: u32, signed: bool| {
            let ty = Type::named(&format!("{}{bits}", if signed { "s" } else { "u" }));
            ty.integer(raw >> (bits * index))
        };
        let (a_signed, b_signed) = (types[0].is_signed(), types[1].is_signed());
        let products = (0..if four { 4 } else { 2 }).map(|i| {
            let a = part(row[0], if four { 8 } else { 16 }, i, a_signed);
            a * part(row[1], 8, if high { i + 2 } else { i }, b_signed)
        });
        (i128::from(row[2]) + products.sum::<i128>()) as u64 & 0xffff_ffff
    })
}

/// Additions and multiplications that read or write the carry flag.
pub const CARRY: Family = Family {
    lines: &[
        ("(add|sub).cc($word)", "t t t"),
        ("(addc|subc){.cc}($word)", "t t t"),
        ("mad(.lo|.hi).cc($word)", "t t t t"),
        ("madc(.lo|.hi){.cc}($word)", "t t t t"),
    ],
    oracle: carry,
};

/// The flag is set and read back around the instruction, once clear and once set.
fn carry(spelling: &Spelling) -> Option<Oracle> {
    let (spelling, ty) = (spelling.clone(), spelling.ty());
    let multiply = matches!(spelling.opcode.as_str(), "mad" | "madc");
    let subtract = spelling.opcode.starts_with("sub");
    let (reads, writes) = (spelling.opcode.ends_with('c'), spelling.has("cc"));
    Some(Oracle::test(move || {
        let template = if multiply { "t t t t" } else { "t t t" };
        let values = crate::edges::values(ty);
        let rows = crate::edges::tuples(&vec![values; if multiply { 3 } else { 2 }]);
        let text = crate::harness::instruction(&spelling, template).expect("operands");
        for flag in [0u64, 1] {
            let set = format!("mov.b32 %r28, -1;\nadd.cc.u32 %r28, %r28, {flag};\n");
            let widen = if ty.bits == 64 { "mov.b64 %rd30, %rd8;" } else { "cvt.u64.u32 %rd30, %r8;" };
            let body = format!("{set}{text}\n{widen}\naddc.u64 %rd31, 0, 0;");
            for (got, row) in crate::harness::evaluate(&body, &rows).into_iter().zip(&rows) {
                let own = if reads { i128::from(flag) } else { 0 };
                let [a, b] = [row[0], row[1]].map(|raw| ty.integer(raw));
                let unsigned = |x: i128| x & i128::from(ty.mask());
                let (result, carried) = if subtract {
                    let difference = unsigned(a) - unsigned(b) - own;
                    (difference, difference < 0)
                } else {
                    let first = match (multiply, spelling.has("hi")) {
                        (false, _) => unsigned(a),
                        (true, false) => unsigned(a.wrapping_mul(b)),
                        (true, true) => unsigned(a.wrapping_mul(b) >> ty.bits),
                    };
                    let second = if multiply { i128::from(row[2]) } else { unsigned(b) };
                    let sum = first + second + own;
                    (sum, sum >> ty.bits != 0)
                };
                let flag_after = if writes { u64::from(carried) } else { flag };
                let wanted = [result as u64 & ty.mask(), flag_after];
                assert_eq!(got, wanted, "`{text}` of {row:#x?} with the flag {flag}");
            }
        }
    }))
}
