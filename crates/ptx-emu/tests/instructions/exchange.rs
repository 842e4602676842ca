//! Exchanges among the lanes of a warp, against the ISA's pseudo-code.

use crate::edges::{Random, values};
use crate::harness::{Family, Oracle, evaluate_in_ctas};
use crate::syntax::{Spelling, Type};

pub const FAMILY: Family = Family {
    lines: &[
        ("shfl.sync(.up|.down|.bfly|.idx).b32", "r|p r r r -1"),
        ("vote.sync(.all|.any|.uni).pred", "p p -1"),
        ("vote.sync.ballot.b32", "r p -1"),
        ("match.any.sync(.b32|.b64)", "r t -1"),
        ("match.all.sync(.b32|.b64)", "r|p t -1"),
        ("redux.sync(.add|.min|.max)(.u32|.s32)", "r r -1"),
        ("redux.sync(.and|.or|.xor).b32", "r r -1"),
    ],
    oracle,
};

/// The lanes that take part: all, some, the ends, one.
const MEMBERS: [u32; 5] = [u32::MAX, 0x0f0f_3355, 0x8000_0001, 1 << 5, 0x0000_ffff];

/// What a lane gets: word and predicate, of its number, the rows of its warp and the members.
type Lane = Box<dyn Fn(usize, &[Vec<u64>], u32) -> (u64, u64)>;

fn lanes(members: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |lane| members >> lane & 1 != 0)
}

fn oracle(spelling: &Spelling) -> Option<Oracle> {
    let text = spelling.to_string();
    let ty = spelling.ty();
    let mode = spelling
        .one_of(&["up", "down", "bfly", "idx", "all", "any", "uni", "ballot", "add", "min", "max", "and", "or", "xor"]);
    let on = |f: fn(&[Vec<u64>], u32) -> u64| -> Lane { Box::new(move |_, rows, members| (f(rows, members), 0)) };
    let votes = |rows: &[Vec<u64>], members: u32| lanes(members).fold(0, |set, i| set | (rows[i][0] & 1) << i);
    let (operands, lane): (&str, Lane) = match (spelling.opcode.as_str(), mode?) {
        ("shfl", mode) => {
            let mode = mode.to_owned();
            ("%r8|%p8, %r0, %r1, %r2, %r31", Box::new(move |lane, rows, members| shuffle(&mode, lane, rows, members)))
        }
        ("vote", "all") => {
            ("%p8, %p0, %r31", on(|rows, members| u64::from(lanes(members).all(|i| rows[i][0] & 1 != 0))))
        }
        ("vote", "any") => {
            ("%p8, %p0, %r31", on(|rows, members| u64::from(lanes(members).any(|i| rows[i][0] & 1 != 0))))
        }
        ("vote", "uni") => (
            "%p8, %p0, %r31",
            on(|rows, members| {
                let first = rows[members.trailing_zeros() as usize][0] & 1;
                u64::from(lanes(members).all(|i| rows[i][0] & 1 == first))
            }),
        ),
        ("vote", _) => ("%r8, %p0, %r31", Box::new(move |_, rows, members| (votes(rows, members), 0))),
        ("match", "any") => (
            if ty.bits == 64 { "%r8, %rd0, %r31" } else { "%r8, %r0, %r31" },
            Box::new(|lane, rows, members| {
                (lanes(members).filter(|i| rows[*i][0] == rows[lane][0]).fold(0, |set, i| set | 1 << i), 0)
            }),
        ),
        ("match", _) => (
            if ty.bits == 64 { "%r8|%p8, %rd0, %r31" } else { "%r8|%p8, %r0, %r31" },
            Box::new(|lane, rows, members| {
                let same = lanes(members).all(|i| rows[i][0] == rows[lane][0]);
                if same { (u64::from(members), 1) } else { (0, 0) }
            }),
        ),
        ("redux", operation) => {
            let operation = operation.to_owned();
            let reduce = move |rows: &[Vec<u64>], members: u32| {
                let all = lanes(members).map(|i| ty.integer(rows[i][0]));
                let result = match operation.as_str() {
                    "add" => Some(all.sum()),
                    "min" => all.min(),
                    "max" => all.max(),
                    "and" => all.reduce(|a, b| a & b),
                    "or" => all.reduce(|a, b| a | b),
                    _ => all.reduce(|a, b| a ^ b),
                };
                result.unwrap_or(0) as u64 & 0xffff_ffff
            };
            ("%r8, %r0, %r31", Box::new(move |_, rows, members| (reduce(rows, members), 0)))
        }
        _ => return None,
    };
    let predicate = operands.starts_with("%p8");
    let opcode = spelling.opcode.clone();
    Some(Oracle::test(move || {
        let word = if predicate { "selp.b64 %rd30, 1, 0, %p8;" } else { "cvt.u64.u32 %rd30, %r8;" };
        let second = if operands.contains('|') { "selp.b64 %rd31, 1, 0, %p8;" } else { "" };
        let rows = rows(&opcode, ty);
        for members in MEMBERS {
            // Lanes that are no members go round the instruction.
            let body = format!(
                "mov.b32 %r31, {members};\nmov.u32 %r30, %laneid;\nshr.u32 %r30, %r31, %r30;\nand.b32 %r30, %r30, 1;\n\
                 setp.eq.u32 %p7, %r30, 0;\nmov.b64 %rd30, 77;\n@%p7 bra past;\n{text} {operands};\n{word}\n{second}\npast:"
            );
            let got = evaluate_in_ctas(32, &body, &rows);
            for (warp, results) in rows.chunks(32).zip(got.chunks(32)) {
                for (number, result) in results.iter().enumerate() {
                    let inside = members >> number & 1 != 0;
                    let (word, predicate) = if inside { lane(number, warp, members) } else { (77, 0) };
                    let wanted = [word, if second.is_empty() { 0 } else { predicate }];
                    assert_eq!(*result, wanted, "{text} in lane {number} of {members:#x}: {warp:#x?}");
                }
            }
        }
    }))
}

/// Rows for some warps; a few values each, so that lanes agree now and then.
fn rows(opcode: &str, ty: Type) -> Vec<Vec<u64>> {
    let mut random = Random::new(17);
    let list = values(if opcode == "vote" { Type::named("pred") } else { ty });
    let mut rows = Vec::new();
    for warp in 0..64 {
        let few = match warp % 4 {
            0 => 1,
            1 => 2,
            _ => list.len(),
        };
        let start = random.below(list.len());
        // The third operand of a shuffle: a clamp, and the mask of a segment.
        let width = 1u64 << random.below(6);
        let usual = (32 - width) << 8 | if warp % 2 == 0 { 0x1f } else { 0 };
        for _ in 0..32 {
            let value = if opcode == "shfl" {
                random.next() & 0xffff_ffff
            } else {
                list[(start + random.below(few)) % list.len()]
            };
            let control = if warp < 40 { usual } else { random.next() & 0xffff };
            rows.push(vec![value, random.next() & if warp % 3 == 0 { 0xffff_ffff } else { 31 }, control]);
        }
    }
    rows
}

/// The pseudo-code of `shfl.sync`. What a lane that takes no part would give is undefined: here
/// all ones.
fn shuffle(mode: &str, lane: usize, rows: &[Vec<u64>], members: u32) -> (u64, u64) {
    let (b, c) = (rows[lane][1] as i64 & 31, rows[lane][2] as i64);
    let (clamp, segment) = (c & 31, c >> 8 & 31);
    let lane = lane as i64;
    let max_lane = (lane & segment) | (clamp & !segment);
    let min_lane = lane & segment;
    let (mut j, inside) = match mode {
        "up" => (lane - b, lane - b >= max_lane),
        "down" => (lane + b, lane + b <= max_lane),
        "bfly" => (lane ^ b, (lane ^ b) <= max_lane),
        _ => (min_lane | (b & !segment), (min_lane | (b & !segment)) <= max_lane),
    };
    if !inside {
        j = lane;
    }
    let taken = if members >> j & 1 != 0 { rows[j as usize][0] } else { 0xffff_ffff };
    (taken, u64::from(inside))
}
