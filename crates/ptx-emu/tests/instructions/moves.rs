//! Moves, packing, addresses between state spaces, and hints that change no value.

use crate::harness::{Family, Oracle};
use crate::memory::{data, run};
use crate::syntax::Spelling;

pub const FAMILY: Family = Family {
    lines: &[
        ("mov(.pred|$bits|$int|.f32|.f64)", "t t"),
        ("cvta{.to}(.global|$shared|.local|.const|.param|.param::entry).u64", "q q"),
        ("isspacep(.global|$shared|.local|.const|.param|.param::entry)", "p q"),
        ("prefetch{.global|.local}(.L1|.L2)", "[q]"),
        ("prefetch.global(.L2::evict_last|.L2::evict_normal)", "[q]"),
        ("prefetchu.L1", "[q]"),
        ("applypriority{.global}.L2::evict_normal", "[q] 128"),
        ("createpolicy.fractional($policy){.L2::evict_first|.L2::evict_unchanged}.b64", "q 0f3F000000"),
        ("createpolicy.range{.global}($policy){.L2::evict_first|.L2::evict_unchanged}.b64", "q [q] r r"),
        ("createpolicy.cvt.L2.b64", "q q"),
    ],
    oracle,
};

fn oracle(spelling: &Spelling) -> Option<Oracle> {
    let text = spelling.to_string();
    match spelling.opcode.as_str() {
        "mov" => Some(Oracle::bits(|row| row[0])),
        "cvta" => {
            let generic = !spelling.has("to");
            let spelling = spelling.clone();
            Some(Oracle::test(move || address_windows(&spelling, generic)))
        }
        "isspacep" => {
            let spelling = spelling.clone();
            Some(Oracle::test(move || spaces(&spelling)))
        }
        _ => {
            // Hints: what they name is loaded afterwards, unchanged, and a policy can be used.
            let operands = match (spelling.opcode.as_str(), spelling.one_of(&["fractional", "range", "cvt"])) {
                ("createpolicy", Some("fractional")) => "%rd22, 0f3F000000",
                ("createpolicy", Some("range")) => "%rd22, [%rd20], %r0, %r1",
                ("createpolicy", _) => "%rd22, %rd0",
                ("applypriority", _) => "[%rd20], 128",
                _ => "[%rd20]",
            };
            Some(Oracle::test(move || {
                let data = data(5);
                let body = format!(
                    "mov.b32 %r0, 16;\nmov.b32 %r1, 32;\nmov.b64 %rd0, 0;\n{text} {operands};\n\
                     ld.global.L2::cache_hint.v2.b64 {{%rd24, %rd25}}, [%rd20], %rd22;\n\
                     st.global.L2::cache_hint.v2.b64 [%rd21], {{%rd24, %rd25}}, %rd22;\n"
                );
                assert_eq!(run(&body, &data)[..16], data, "{text}");
            }))
        }
    }
}

/// What an address in `space` is declared as, and the text that makes it.
fn named(space: &str) -> (&'static str, &'static str) {
    match space {
        "global" => ("", "%rd20"),
        "local" => (".local .align 16 .b8 stack[16];", "stack"),
        "const" => ("", "table"),
        "param" | "param::entry" => ("", "bytes"),
        _ => (".shared .align 16 .b8 buffer[16];", "buffer"),
    }
}

const SPACES: [&str; 8] =
    ["global", "shared", "shared::cta", "shared::cluster", "local", "const", "param", "param::entry"];

/// A generic load finds what a load in the space does; and the way back is the inverse.
fn address_windows(spelling: &Spelling, generic: bool) {
    let space = spelling.one_of(&SPACES).expect("a space");
    let (declaration, name) = named(space);
    let data = data(9);
    let fill = match space {
        "global" | "const" | "param" | "param::entry" => String::new(),
        _ => {
            let plain = if space == "local" { "local" } else { "shared" };
            format!("ld.global.b64 %rd24, [%rd20];\nst.{plain}.b64 [{name}], %rd24;\n")
        }
    };
    let there = if generic { spelling.to_string() } else { spelling.to_string().replace(".to", "") };
    let load = if generic {
        "ld.b64 %rd25, [%rd23];".to_owned()
    } else {
        format!("{spelling} %rd23, %rd23;\nld.{space}.b64 %rd25, [%rd23];")
    };
    let body = format!(
        "{declaration}\n{fill}mov.b64 %rd23, {name};\n{there} %rd23, %rd23;\n{load}\nst.global.b64 [%rd21], %rd25;\n"
    );
    assert_eq!(run(&body, &data)[..8], data[..8], "{body}");
}

/// Of generic addresses in each space, `isspacep` knows those of its own.
fn spaces(spelling: &Spelling) {
    let own = spelling.one_of(&SPACES).expect("a space");
    let kind = |space: &str| space.split("::").next().map(str::to_owned);
    for space in SPACES {
        let (declaration, name) = named(space);
        let body = format!(
            "{declaration}\nmov.b64 %rd23, {name};\ncvta.{space}.u64 %rd23, %rd23;\n{spelling} %p0, %rd23;\n\
             selp.b64 %rd24, 1, 0, %p0;\nst.global.b64 [%rd21], %rd24;\n"
        );
        assert_eq!(run(&body, &data(2))[0] == 1, kind(space) == kind(own), "{body}");
    }
}

/// Vectors of narrower elements to and from one register, the first element lowest.
#[test]
fn packing() {
    let data = data(21);
    let word = u64::from_le_bytes(data[..8].try_into().expect("8 bytes"));
    for (outer, parts, register) in
        [(64, 2, "%r"), (64, 4, "%h"), (64, 8, "%h"), (32, 2, "%h"), (32, 4, "%h"), (16, 2, "%h")]
    {
        let whole = match outer {
            64 => "%rd0",
            32 => "%r30",
            _ => "%h30",
        };
        let list = |order: &dyn Fn(usize) -> usize| {
            (0..parts).map(|i| format!("{register}{}", order(i))).collect::<Vec<_>>().join(", ")
        };
        let body = format!(
            "ld.global.b{outer} {whole}, [%rd20];\nmov.b{outer} {{{}}}, {whole};\nmov.b{outer} {whole}, {{{}}};\n\
             st.global.b{outer} [%rd21], {whole};\n",
            list(&|i| i),
            list(&|i| parts - 1 - i)
        );
        let bits = outer / parts as u32;
        let part = |i: usize| word >> (i as u32 * bits) & (u64::MAX >> (64 - bits));
        let wanted = (0..parts).fold(0, |all, i| all | part(parts - 1 - i) << (i as u32 * bits));
        let bytes = outer as usize / 8;
        assert_eq!(run(&body, &data)[..bytes], wanted.to_le_bytes()[..bytes], "{body}");
    }
    // The sink takes what nobody wants.
    let body = "ld.global.b32 %r0, [%rd20];\nmov.b32 {_, %h1}, %r0;\nst.global.b16 [%rd21], %h1;";
    assert_eq!(run(body, &data)[..2], data[2..4]);
}
