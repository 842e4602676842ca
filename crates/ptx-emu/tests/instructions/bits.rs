//! Logic, shifts and bit fields, against the ISA's pseudo-code, bit by bit.

use crate::edges::Random;
use crate::harness::{Family, Oracle, check_rows, evaluate};
use crate::syntax::{Kind, Spelling};

pub const FAMILY: Family = Family {
    lines: &[
        ("(and|or|xor)(.pred|$bits)", "t t t"),
        ("not(.pred|$bits)", "t t"),
        ("cnot($bits)", "t t"),
        ("shl($bits)", "t t r"),
        ("shr($bits|$int)", "t t r"),
        ("(popc|clz)(.b32|.b64)", "r t"),
        ("bfind{.shiftamt}($word)", "r t"),
        ("brev(.b32|.b64)", "t t"),
        ("bfe($word)", "t t r r"),
        ("bfi(.b32|.b64)", "t t t r r"),
        ("prmt.b32{.f4e|.b4e|.rc8|.ecl|.ecr|.rc16}", "t t t r"),
        ("lop3.b32", "t t t t 0x96"),
        ("shf(.l|.r)(.clamp|.wrap).b32", "t t t r"),
    ],
    oracle,
};

fn bit(value: u64, index: u32) -> u64 {
    value >> index & 1
}

fn oracle(spelling: &Spelling) -> Option<Oracle> {
    let ty = spelling.ty();
    let width = ty.bits;
    let bits = |f: fn(u64, u32) -> u64| Oracle::bits(move |row| f(row[0], width));
    let each = |f: fn(u64, u64) -> u64| {
        Oracle::bits(move |row| (0..width).fold(0, |all, i| all | f(bit(row[0], i), bit(row[1], i)) << i))
    };
    Some(match spelling.opcode.as_str() {
        "and" => each(|a, b| u64::from(a + b == 2)),
        "or" => each(|a, b| u64::from(a + b != 0)),
        "xor" => each(|a, b| u64::from(a != b)),
        "not" => bits(|a, width| (0..width).fold(0, |all, i| all | (1 - bit(a, i)) << i)),
        "cnot" => bits(|a, _| u64::from(a == 0)),
        "popc" => bits(|a, width| (0..width).map(|i| bit(a, i)).sum()),
        "clz" => bits(|a, width| (0..width).rev().take_while(|i| bit(a, *i) == 0).count() as u64),
        "brev" => bits(|a, width| (0..width).fold(0, |all, i| all | bit(a, i) << (width - 1 - i))),
        "shl" => Oracle::bits(move |row| {
            // Amounts beyond the width count as the width.
            let amount = row[1].min(u64::from(width));
            (u128::from(row[0]) << amount) as u64 & ty.mask()
        }),
        "shr" => Oracle::bits(move |row| (ty.integer(row[0]) >> row[1].min(u64::from(width))) as u64 & ty.mask()),
        "bfind" => {
            let (signed, amount) = (ty.kind == Kind::Signed, spelling.has("shiftamt"));
            Oracle::bits(move |row| {
                let sign = if signed { bit(row[0], width - 1) } else { 0 };
                match (0..width).rev().find(|i| bit(row[0], *i) != sign) {
                    None => 0xffff_ffff,
                    Some(i) => u64::from(if amount { width - 1 - i } else { i }),
                }
            })
        }
        "bfe" => fields(spelling, 1, move |v| {
            let (a, start, length) = (v[0], v[1] & 0xff, v[2] & 0xff);
            let msb = u64::from(width) - 1;
            let sign =
                if ty.kind != Kind::Signed || length == 0 { 0 } else { bit(a, (start + length - 1).min(msb) as u32) };
            (0..=msb).fold(0, |d, i| {
                let inside = i < length && start + i <= msb;
                d | if inside { bit(a, (start + i) as u32) } else { sign } << i
            })
        }),
        "bfi" => fields(spelling, 2, move |v| {
            let (a, b, start, length) = (v[0], v[1], v[2] & 0xff, v[3] & 0xff);
            let mut f = b;
            let mut i = 0;
            while i < length && start + i < u64::from(width) {
                let at = (start + i) as u32;
                f = f & !(1 << at) | bit(a, i as u32) << at;
                i += 1;
            }
            f
        }),
        "prmt" => permute(spelling),
        "shf" => {
            let (left, clamp) = (spelling.has("l"), spelling.has("clamp"));
            Oracle::bits(move |row| {
                let n = if clamp { row[2].min(32) } else { row[2] & 31 };
                let (a, b) = (u128::from(row[0]), u128::from(row[1]));
                let result = if left { b << n | a >> (32 - n) } else { b << (32 - n) | a >> n };
                result as u64 & 0xffff_ffff
            })
        }
        "lop3" => Oracle::test(every_truth_table),
        _ => return None,
    })
}

/// A test with `values` random values, then every start and length that tells something.
fn fields(spelling: &Spelling, values: usize, f: impl Fn(&[u64]) -> u64 + 'static) -> Oracle {
    let (spelling, width) = (spelling.clone(), spelling.ty().bits);
    let function: crate::harness::Function = Box::new(move |row| crate::harness::Wanted::Bits(f(row)));
    Oracle::test(move || {
        let mut random = Random::new(11);
        let amounts: Vec<u64> =
            (0..4).chain([7, 8, 9, 30, 31, 32, 33, 62, 63, 64, 65, 128, 255, 256, 260, 0xffff_ffff]).collect();
        let mut rows = Vec::new();
        for start in &amounts {
            for length in &amounts {
                for value in [0, u64::MAX, 1 << (width - 1), random.next(), random.next()] {
                    let mut row: Vec<u64> = (0..values).map(|i| if i == 0 { value } else { random.next() }).collect();
                    row.iter_mut().for_each(|value| *value &= spelling.ty().mask());
                    rows.push([&row[..], &[*start, *length]].concat());
                }
            }
        }
        let template = if values == 1 { "t t r r" } else { "t t t r r" };
        check_rows(&spelling, template, &function, &rows);
    })
}

fn permute(spelling: &Spelling) -> Oracle {
    // The bytes that each control value picks, lowest first, as the ISA tables them.
    let table: Option<[[usize; 4]; 4]> = match spelling.one_of(&["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"]) {
        Some("f4e") => Some([[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]]),
        Some("b4e") => Some([[0, 7, 6, 5], [1, 0, 7, 6], [2, 1, 0, 7], [3, 2, 1, 0]]),
        Some("rc8") => Some([[0; 4], [1; 4], [2; 4], [3; 4]]),
        Some("ecl") => Some([[0, 1, 2, 3], [1, 1, 2, 3], [2, 2, 2, 3], [3, 3, 3, 3]]),
        Some("ecr") => Some([[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 2, 2], [0, 1, 2, 3]]),
        Some(_) => Some([[0, 1, 0, 1], [2, 3, 2, 3], [0, 1, 0, 1], [2, 3, 2, 3]]),
        None => None,
    };
    let spelling = spelling.clone();
    let function: crate::harness::Function = Box::new(move |row| {
        let byte = |index: usize| if index < 4 { row[0] >> (8 * index) } else { row[1] >> (8 * (index - 4)) } & 0xff;
        let picked = |i: usize| match table {
            Some(table) => byte(table[row[2] as usize & 3][i]),
            None => {
                let selector = row[2] >> (4 * i) & 15;
                let value = byte(selector as usize & 7);
                if selector & 8 == 0 { value } else { (value >> 7) * 0xff }
            }
        };
        crate::harness::Wanted::Bits((0..4).fold(0, |all, i| all | picked(i) << (8 * i)))
    });
    Oracle::test(move || {
        let mut random = Random::new(3);
        let mut row = |control: u64| vec![random.next() & 0xffff_ffff, random.next() & 0xffff_ffff, control];
        let mut rows: Vec<_> =
            [0x3210, 0x7654, 0xba98, 0xfedc, 0, 1, 2, 3, 4, 0x1_0002, 0xffff_ffff].map(&mut row).into();
        for selector in 0..16 {
            rows.extend((0..4).map(|i| row(selector << (4 * i))));
        }
        check_rows(&spelling, "t t t r", &function, &rows);
    })
}

/// In `0xf0`, `0xcc` and `0xaa` every combination of three bits occurs once, so that the low byte of
/// the result is the table.
fn every_truth_table() {
    for table in 0..256u64 {
        let body = format!("lop3.b32 %r8, %r0, %r1, %r2, {table};\ncvt.u64.u32 %rd30, %r8;");
        let rows = [vec![0xf0, 0xcc, 0xaa], vec![0xf0f0_f0f0, 0xcccc_cccc, 0xaaaa_aaaa]];
        let got: Vec<u64> = evaluate(&body, &rows).iter().map(|words| words[0]).collect();
        let above = if table & 1 != 0 { 0xffff_ff00 } else { 0 };
        assert_eq!(got, [table | above, table * 0x0101_0101], "lop3.b32 of table {table:#x}");
    }
}
