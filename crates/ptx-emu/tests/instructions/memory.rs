//! Loads and stores: every state space, width, vector, order and cache hint.

use crate::edges::Random;
use crate::harness::{Family, Oracle, module};
use crate::syntax::Spelling;
use ptx_emu::{LaunchConfig, Memory, Module};

pub const FAMILY: Family = Family {
    lines: &[
        ("ld{.global|$shared|.local|.const|.param|.param::entry|.param::func}($any)", "t [q]"),
        ("ld{.global|$shared|.local|.const|.param|.param::entry|.param::func}.v2($any)", "{t} [q]"),
        ("ld{.global|$shared|.local|.const|.param|.param::entry|.param::func}.v4($any32)", "{t} [q]"),
        ("st{.global|$shared|.local}($any)", "[q] t"),
        ("st{.global|$shared|.local}.v2($any)", "[q] {t}"),
        ("st{.global|$shared|.local}.v4($any32)", "[q] {t}"),
        ("ldu{.global}($any)", "t [q]"),
        ("ldu{.global}.v2($any)", "{t} [q]"),
        ("ldu{.global}.v4($any32)", "{t} [q]"),
        ("st(.param|.param::func)($any)", "[argument] t"),
        ("st(.param|.param::func).v2($any)", "[argument] {t}"),
        ("st(.param|.param::func).v4($any32)", "[argument] {t}"),
        // Order.
        ("ld.volatile{.global|$shared}.u32", "t [q]"),
        ("ld.weak($shared).u32", "t [q]"),
        ("ld(.relaxed|.acquire)($scope)($shared).u32", "t [q]"),
        ("ld.mmio.relaxed.sys{.global}.u32", "t [q]"),
        ("st.volatile{.global|$shared}.u32", "[q] t"),
        ("st.weak($shared).u32", "[q] t"),
        ("st(.relaxed|.release)($scope)($shared).u32", "[q] t"),
        ("st.mmio.relaxed.sys{.global}.u32", "[q] t"),
        // Caches.
        ("ld{.weak}{.global}{.ca|.cg|.cs|.lu|.cv}{$prefetch}.v4.f32", "{t} [q]"),
        ("ld{.weak}{.global}{.ca|.cg|.cs|.lu|.cv}.L2::cache_hint{$prefetch}.v4.f32", "{t} [q] q"),
        ("ld{.weak}{.global}($priority){$prefetch}.v4.f32", "{t} [q]"),
        ("ld{.weak}{.global}($priority).L2::cache_hint{$prefetch}.v4.f32", "{t} [q] q"),
        ("ld.global{.ca|.cg|.cs}.nc{$prefetch}.v4.f32", "{t} [q]"),
        ("ld.global{.ca|.cg|.cs}.nc.L2::cache_hint{$prefetch}.v4.f32", "{t} [q] q"),
        ("ld.global.nc($priority){$prefetch}.v4.f32", "{t} [q]"),
        ("ld.global.nc($priority).L2::cache_hint{$prefetch}.v4.f32", "{t} [q] q"),
        ("ld(.relaxed|.acquire)($scope){.global}{$priority}{$prefetch}.u32", "t [q]"),
        ("ld(.relaxed|.acquire)($scope){.global}{$priority}.L2::cache_hint{$prefetch}.u32", "t [q] q"),
        ("st{.weak}{.global}{.wb|.cg|.cs|.wt}.v4.f32", "[q] {t}"),
        ("st{.weak}{.global}{.wb|.cg|.cs|.wt}.L2::cache_hint.v4.f32", "[q] {t} q"),
        ("st{.weak}{.global}($priority).v4.f32", "[q] {t}"),
        ("st{.weak}{.global}($priority).L2::cache_hint.v4.f32", "[q] {t} q"),
        ("st(.relaxed|.release)($scope){.global}{$priority}.u32", "[q] t"),
        ("st(.relaxed|.release)($scope){.global}{$priority}.L2::cache_hint.u32", "[q] t q"),
    ],
    oracle,
};

/// Where the bytes of a test live: declaration, address, and whether they must be copied there.
struct Home {
    declaration: &'static str,
    address: &'static str,
    /// The space of plain copies to and from there; `None` for memory that comes filled.
    copies: Option<&'static str>,
}

fn home(spelling: &Spelling) -> Home {
    let spaces = ["shared", "shared::cta", "shared::cluster", "local", "const", "param", "param::entry", "param::func"];
    let (declaration, address, copies) = match spelling.one_of(&spaces) {
        Some("local") => (".local .align 16 .b8 stack[16];", "stack", Some("local")),
        Some("const") => ("", "table", None),
        // A call's argument, loaded back by the caller.
        Some(space) if space.starts_with("param") && spelling.opcode == "st" => {
            (".param .align 16 .b8 argument[16];", "argument", Some("param"))
        }
        Some(space) if space.starts_with("param") => ("", "bytes", None),
        Some(_) => (".shared .align 16 .b8 buffer[16];", "buffer", Some("shared")),
        None => ("", "%rd20", None),
    };
    Home { declaration, address, copies }
}

/// Runs a body in one thread, with 16 bytes in each space and 64 bytes of results at `%rd21`.
pub fn run(body: &str, data: &[u8; 16]) -> Vec<u8> {
    let list = data.map(|byte| byte.to_string()).join(", ");
    let body = format!("ld.param.u64 %rd20, [in];\nld.param.u64 %rd21, [out];\nmov.b64 %rd22, 0;\n{body}");
    let text = module(".param .u64 in, .param .u64 out, .param .align 16 .b8 bytes[16]", &body)
        .replace(".visible", &format!(".const .align 16 .b8 table[16] = {{{list}}};\n.visible"));
    let mut memory = Memory::new();
    let (input, output) = (memory.allocate("in", 16), memory.allocate("out", 64));
    memory.write(input, data).expect("fits");
    memory.write(output, &[0xa5; 64]).expect("fits");
    let module = Module::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let args: [&[u8]; 3] = [&input.to_le_bytes(), &output.to_le_bytes(), data];
    module.launch("k", &LaunchConfig::linear(1, 1), &args, &mut memory).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let mut results = vec![0; 80];
    memory.read(output, &mut results[..64]).expect("inside");
    memory.read(input, &mut results[64..]).expect("inside");
    results
}

pub fn data(seed: u64) -> [u8; 16] {
    let mut random = Random::new(seed);
    // Signs of both kinds.
    std::array::from_fn(|i| (random.next() as u8 & 0x7f) | if i % 3 == 0 { 0x80 } else { 0 })
}

fn oracle(spelling: &Spelling) -> Option<Oracle> {
    let spelling = spelling.clone();
    match spelling.opcode.as_str() {
        "ld" | "ldu" => Some(Oracle::test(move || loads(&spelling))),
        "st" => Some(Oracle::test(move || stores(&spelling))),
        _ => None,
    }
}

fn policy(spelling: &Spelling) -> &'static str {
    if spelling.has("L2::cache_hint") { ", %rd22" } else { "" }
}

/// Loads from every aligned offset, into registers of the type's width and of 64 bits.
fn loads(spelling: &Spelling) {
    let (ty, count) = (spelling.ty(), spelling.count());
    let bytes = ty.bits as usize / 8;
    let Home { declaration, address, copies } = home(spelling);
    let fill = copies.map_or(String::new(), |space| {
        format!("ld.global.v2.b64 {{%rd24, %rd25}}, [%rd20];\nst.{space}.v2.b64 [{address}], {{%rd24, %rd25}};\n")
    });
    let data = data(u64::from(ty.bits));
    let narrow = match ty.bits {
        64 => "%rd",
        32 => "%r",
        _ => "%h",
    };
    for (register, width) in [(narrow, ty.bits.max(16)), ("%rd", 64)] {
        for offset in (0..=16 - bytes * count).step_by(bytes * count) {
            let list: Vec<_> = (0..count).map(|i| format!("{register}{}", 10 + i)).collect();
            let dest = if count == 1 { list[0].clone() } else { format!("{{{}}}", list.join(", ")) };
            let mut body =
                format!("{declaration}\n{fill}{spelling} {dest}, [{address}+{offset}]{};\n", policy(spelling));
            for (i, register) in list.iter().enumerate() {
                body += &match width {
                    64 => format!("st.global.b64 [%rd21+{}], {register};\n", 8 * i),
                    32 => format!("st.global.b32 [%rd21+{}], {register};\n", 8 * i),
                    _ => format!("st.global.b16 [%rd21+{}], {register};\n", 8 * i),
                };
            }
            let results = run(&body, &data);
            for i in 0..count {
                let at = offset + i * bytes;
                let raw = (0..bytes).fold(0u64, |raw, byte| raw | u64::from(data[at + byte]) << (8 * byte));
                // Signed types are extended by their sign, all others by zeroes.
                let wanted = (ty.integer(raw) as u64).to_le_bytes();
                let width = width as usize / 8;
                assert_eq!(results[8 * i..8 * i + width], wanted[..width], "{body} of {data:x?}");
            }
        }
    }
}

/// Stores at every aligned offset, from registers of the type's width and of 64 bits; the bytes
/// around stay.
fn stores(spelling: &Spelling) {
    let (ty, count) = (spelling.ty(), spelling.count());
    let bytes = ty.bits as usize / 8;
    let Home { declaration, address, copies } = home(spelling);
    let copy = |from: &str, at: &str, to: &str, there: &str| {
        format!("ld.{from}.v2.b64 {{%rd24, %rd25}}, [{at}];\nst.{to}.v2.b64 [{there}], {{%rd24, %rd25}};\n")
    };
    let (fill, back) = match copies {
        Some(space) => (copy("global", "%rd20", space, address), copy(space, address, "global", "%rd20")),
        None => (String::new(), String::new()),
    };
    let data = data(u64::from(ty.bits) + 1);
    let values = [0x8182_8384_8586_8788u64, 0x0102_0304_0506_0708, u64::MAX, 0x7fff_0000_7fff_0001];
    let narrow = match ty.bits {
        64 => "%rd",
        32 => "%r",
        _ => "%h",
    };
    for register in [narrow, "%rd"] {
        for offset in (0..=16 - bytes * count).step_by(bytes * count) {
            let list: Vec<_> = (0..count).map(|i| format!("{register}{}", 10 + i)).collect();
            let source = if count == 1 { list[0].clone() } else { format!("{{{}}}", list.join(", ")) };
            let mut body = format!("{declaration}\n{fill}");
            for (name, value) in list.iter().zip(values) {
                body += &match register {
                    "%rd" => format!("mov.b64 {name}, {value};\n"),
                    "%r" => format!("mov.b32 {name}, {};\n", value as u32),
                    _ => format!("mov.b16 {name}, {};\n", value as u16),
                };
            }
            body += &format!("{spelling} [{address}+{offset}], {source}{};\n{back}", policy(spelling));
            let mut wanted = data;
            for (i, value) in values.iter().take(count).enumerate() {
                let at = offset + i * bytes;
                wanted[at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
            }
            assert_eq!(run(&body, &data)[64..], wanted, "{body}");
        }
    }
}
