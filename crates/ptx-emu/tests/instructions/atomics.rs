//! Atomic updates: each operation, type and state space, on the old value and the operand.

use crate::harness::{Family, Oracle};
use crate::syntax::{Kind, Spelling, Type};

/// The update that an atomic makes, on raw bits.
fn updated(operation: &str, ty: Type, flush: bool, old: u64, b: u64, swap: u64) -> u64 {
    let (x, y) = (ty.integer(old), ty.integer(b));
    let integer = match operation {
        "and" => return old & b,
        "or" => return old | b,
        "xor" => return old ^ b,
        "exch" => return b,
        "cas" => return if old == b { swap } else { old },
        "inc" => {
            if x >= y {
                0
            } else {
                x + 1
            }
        }
        "dec" => {
            if x == 0 || x > y {
                y
            } else {
                x - 1
            }
        }
        "min" => x.min(y),
        "max" => x.max(y),
        _ if ty.kind == Kind::Float => return sum(ty, flush, old, b),
        _ => x + y,
    };
    integer as u64 & ty.mask()
}

fn sum(ty: Type, flush: bool, a: u64, b: u64) -> u64 {
    use crate::exact::{Rounding::Nearest, add};
    let format = ty.format();
    let end = |code: u64| if flush { format.flush(code) } else { code };
    let one = |a: u64, b: u64| {
        end(format.encode(&add(&format.decode(end(a)), &format.decode(end(b)), Nearest), Nearest, false))
    };
    if !ty.is_packed() {
        return one(a, b);
    }
    one(a & 0xffff, b & 0xffff) | one(a >> 16, b >> 16) << 16
}

pub const FAMILY: Family = Family {
    lines: &[
        ("atom{.global|$shared}(.and|.or|.xor|.exch)(.b32|.b64)", "t [q] t"),
        ("atom{.global|$shared}.cas($bits)", "t [q] t t"),
        ("atom{.global|$shared}.add(.u32|.u64|.s32|.f32|.f64)", "t [q] t"),
        ("atom{.global|$shared}.add.noftz($half)", "t [q] t"),
        ("atom{.global|$shared}(.min|.max)($word)", "t [q] t"),
        ("atom{.global|$shared}(.inc|.dec).u32", "t [q] t"),
        ("atom{.relaxed|.acquire|.release|.acq_rel}{$scope}{.global|$shared}.add.u32", "t [q] t"),
        ("atom{.relaxed|.acquire|.release|.acq_rel}{$scope}{.global}.add.L2::cache_hint.u32", "t [q] t q"),
        ("atom{.global}.add(.v2|.v4).f32", "{t} [q] {t}"),
        ("red{.global|$shared}(.and|.or|.xor)(.b32|.b64)", "[q] t"),
        ("red{.global|$shared}.add(.u32|.u64|.s32|.f32|.f64)", "[q] t"),
        ("red{.global|$shared}.add.noftz($half)", "[q] t"),
        ("red{.global|$shared}(.min|.max)($word)", "[q] t"),
        ("red{.global|$shared}(.inc|.dec).u32", "[q] t"),
        ("red{.relaxed|.release}{$scope}{.global|$shared}.add.u32", "[q] t"),
        ("red{.relaxed|.release}{$scope}{.global}.add.L2::cache_hint.u32", "[q] t q"),
        ("red{.global}.add(.v2|.v4).f32", "[q] {t}"),
    ],
    oracle,
};

/// Each thread has a cell of its own, with the old value in each element.
fn oracle(spelling: &Spelling) -> Option<Oracle> {
    let spelling = spelling.clone();
    let operation = spelling.one_of(&["and", "or", "xor", "exch", "cas", "inc", "dec", "min", "max", "add"])?;
    let (ty, count) = (spelling.ty(), spelling.count());
    let shared = spelling.modifiers.iter().any(|modifier| modifier.starts_with("shared"));
    Some(Oracle::test(move || {
        let values = crate::edges::values(ty);
        let rows = crate::edges::tuples(&vec![values; if operation == "cas" { 3 } else { 2 }]);
        let (space, cell, prepare) = if shared {
            let prepare = ".shared .align 16 .b8 cells[640];\nmov.b32 %r20, cells;\nmov.u32 %r21, %tid.x;\n\
                           mad.lo.u32 %r20, %r21, 16, %r20;\n";
            ("shared", "%r20", prepare)
        } else {
            ("global", "%rd33", "")
        };
        let letter = match ty.bits {
            64 => "%rd",
            32 => "%r",
            _ => "%h",
        };
        let vector = |base: usize| {
            let list: Vec<_> = (0..count).map(|i| format!("{letter}{}", base + i)).collect();
            if count == 1 { list[0].clone() } else { format!("{{{}}}", list.join(", ")) }
        };
        // Element i adds the operand to the old value, or, where i is odd, the other way round.
        let mut body = prepare.to_owned();
        for i in 0..count {
            let (old, operand) = if i % 2 == 0 { (0, 1) } else { (1, 0) };
            body += &format!("mov.b{0} {letter}{1}, {letter}{operand};\n", ty.bits, 10 + i);
            body += &format!("st.{space}.b{} [{cell}+{}], {letter}{old};\n", ty.bits, 4 * i);
        }
        let returns = spelling.opcode == "atom";
        let dest = if returns { format!("{}, ", vector(24)) } else { String::new() };
        let swap = if operation == "cas" { format!(", {letter}2") } else { String::new() };
        let policy = if spelling.has("L2::cache_hint") { ", %rd9" } else { "" };
        body += &format!("mov.b64 %rd9, 0;\n{spelling} {dest}[{cell}], {}{swap}{policy};\n", vector(10));
        for i in 0..count {
            let wide = |register: &str, result: &str| match ty.bits {
                64 => format!("mov.b64 {result}, {register};\n"),
                bits => format!("cvt.u64.u{bits} {result}, {register};\n"),
            };
            let read = format!("ld.{space}.b{} {letter}18, [{cell}+{}];\n", ty.bits, 4 * i);
            let mut element = body.clone() + &read + &wide(&format!("{letter}18"), "%rd31");
            element +=
                &if returns { wide(&format!("{letter}{}", 24 + i), "%rd30") } else { "mov.b64 %rd30, 0;\n".into() };
            for ([old, new], row) in crate::harness::evaluate(&element, &rows).into_iter().zip(&rows) {
                let (was, operand) = if i % 2 == 0 { (row[0], row[1]) } else { (row[1], row[0]) };
                let wanted =
                    updated(operation, ty, ty.name == "f32" && !shared, was, operand, row.get(2).copied().unwrap_or(0));
                let nan = ty.name == "f64" && ty.format().is_nan(wanted) && ty.format().is_nan(new);
                assert!(new == wanted || nan, "{element} of {row:#x?} leaves {new:#x}, wanted {wanted:#x}");
                assert_eq!(old, if returns { was } else { 0 }, "{element} of {row:#x?}");
            }
        }
    }))
}
