//! Runs an instruction on rows of operands and holds the results against its oracle.

use crate::approximate::touches;
use crate::edges;
use crate::syntax::{Spelling, Type};
use ptx_emu::{LaunchConfig, Memory, Module};

/// What an instruction must give.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted {
    Bits(u64),
    /// The bits, but where they are NaN, any NaN.
    UpToNan {
        bits: u64,
        ty: Type,
    },
    /// No further than `within` from `value`.
    Near {
        value: f64,
        within: f64,
        ty: Type,
    },
    /// The same of each half of a packed value: value and error.
    Both {
        halves: [(f64, f64); 2],
        ty: Type,
    },
}

impl Wanted {
    fn is(self, got: u64) -> bool {
        match self {
            Wanted::Bits(bits) => got == bits,
            Wanted::UpToNan { bits, ty } => {
                let width = ty.element_bits();
                let part = |raw: u64, shift: u32| raw >> shift & (u64::MAX >> (64 - width));
                (0..ty.bits).step_by(width as usize).all(|shift| {
                    let [got, bits] = [got, bits].map(|raw| part(raw, shift));
                    got == bits || ty.format().is_nan(bits) && ty.format().is_nan(got)
                })
            }
            Wanted::Near { value, within, ty } => touches(ty, got, value, within),
            Wanted::Both { halves, ty } => {
                let half = |i: usize| touches(ty, got >> (16 * i) & 0xffff, halves[i].0, halves[i].1);
                half(0) && half(1)
            }
        }
    }
}

/// The result of an instruction by its source operands, in order, each its register's bits.
/// A pair of results `d|p` has the second from bit 32 up, `p|q` from bit 1 up.
pub type Function = Box<dyn Fn(&[u64]) -> Wanted>;

/// How an instruction is tested.
pub enum Oracle {
    /// On edge values, against a function of them.
    Function(Function),
    /// By a test of its own.
    Test(Box<dyn Fn()>),
}

impl Oracle {
    pub fn bits(f: impl Fn(&[u64]) -> u64 + 'static) -> Oracle {
        Oracle::Function(Box::new(move |row| Wanted::Bits(f(row))))
    }

    pub fn wanted(f: impl Fn(&[u64]) -> Wanted + 'static) -> Oracle {
        Oracle::Function(Box::new(f))
    }

    pub fn test(f: impl Fn() + 'static) -> Oracle {
        Oracle::Test(Box::new(f))
    }
}

/// Instructions of one kind: lines of notation and operands, and the oracle of each spelling.
pub struct Family {
    pub lines: &'static [(&'static str, &'static str)],
    pub oracle: fn(&Spelling) -> Option<Oracle>,
}

/// An operand: `t` of the last type, `s` of the first, `w` of twice the last type's width; `r`,
/// `q`, `h` and `p` a register of 32, 64 and 16 bits and a predicate; `t|p` and `p|p` two results;
/// `[q]` an address, `{t}` a vector; anything else stands as it is.
pub fn operand(token: &str, spelling: &Spelling, index: usize) -> Option<String> {
    let types = spelling.types();
    let register = |letter: &str, index: usize| -> Option<String> {
        let prefix = match letter {
            "t" => prefix(*types.last()?),
            "s" => prefix(*types.first()?),
            "w" => prefix(Type { bits: types.last()?.bits * 2, ..*types.last()? }),
            "r" => "%r",
            "q" => "%rd",
            "h" => "%h",
            "p" => "%p",
            _ => return None,
        };
        Some(format!("{prefix}{index}"))
    };
    if let Some(operand) = register(token, index) {
        return Some(operand);
    }
    match token {
        "t" | "s" | "w" => None,
        "[q]" => Some(format!("[%rd{index}]")),
        "{t}" => {
            let elements: Option<Vec<_>> = (0..spelling.count()).map(|i| register("t", 4 * index + i)).collect();
            let elements = elements?;
            Some(if elements.len() == 1 { elements[0].clone() } else { format!("{{{}}}", elements.join(", ")) })
        }
        _ => match token.split_once('|') {
            Some((first, "p")) => Some(format!("{}|%p{}", register(first, index)?, index + 1)),
            _ => Some(token.to_owned()),
        },
    }
}

/// Registers of a type; those of 8 bits do not exist, so that bytes live in 16 bits.
fn prefix(ty: Type) -> &'static str {
    match ty.bits {
        1 => "%p",
        64 => "%rd",
        32 => "%r",
        _ => "%h",
    }
}

/// The text of an instruction with all its operands; the result is operand 8.
pub fn instruction(spelling: &Spelling, template: &str) -> Option<String> {
    let operands: Option<Vec<_>> = template
        .split_whitespace()
        .enumerate()
        .map(|(place, token)| operand(token, spelling, if place == 0 { 8 } else { place - 1 }))
        .collect();
    Some(format!("{spelling} {};", operands?.join(", ")).replace(" ;", ";"))
}

/// A module of one kernel `k`.
pub fn module(parameters: &str, body: &str) -> String {
    format!(
        ".version 8.2\n.target sm_90\n.address_size 64\n.visible .entry k({parameters})\n{{\n\
         .reg .pred %p<12>;\n.reg .b16 %h<40>;\n.reg .b32 %r<40>;\n.reg .b64 %rd<40>;\n{body}\nret;\n}}\n"
    )
}

/// The values of a source operand, and the type that its bits have.
fn source_values(token: &str, spelling: &Spelling) -> Option<(Type, Vec<u64>)> {
    let ty = match token {
        "t" => spelling.ty(),
        "s" => spelling.types()[0],
        "w" => spelling.ty().wide(),
        "r" => Type::named("u32"),
        "q" => Type::named("u64"),
        "h" => Type::named("u16"),
        "p" => Type::named("pred"),
        _ => return None,
    };
    let mut values = edges::values(ty);
    if ty.bits == 8 {
        // What stands above a byte in its register is nothing to the instruction.
        values.iter_mut().enumerate().for_each(|(i, value)| *value |= ((i as u64 * 37) & 0xff) << 8);
    }
    Some((ty, values))
}

/// Runs a body once per row, in a thread each: the row's values are in operands 0, 1, …, each in
/// registers of every width; two words are left in `%rd30` and, where `body` wants, `%rd31`.
pub fn evaluate(body: &str, rows: &[Vec<u64>]) -> Vec<[u64; 2]> {
    // 40 threads: a full warp, and one with lanes missing.
    evaluate_in_ctas(40, body, rows)
}

/// The same in CTAs of so many threads.
pub fn evaluate_in_ctas(threads: usize, body: &str, rows: &[Vec<u64>]) -> Vec<[u64; 2]> {
    let columns = rows.first().map_or(0, Vec::len);
    let mut text = String::from(
        "ld.param.u64 %rd32, [in];\nld.param.u64 %rd33, [out];\nmov.u32 %r32, %ctaid.x;\nmov.u32 %r33, %ntid.x;\n\
         mov.u32 %r34, %tid.x;\nmad.lo.u32 %r32, %r32, %r33, %r34;\nmov.b64 %rd31, 0;\n",
    );
    text += &format!("mul.wide.u32 %rd34, %r32, {};\nadd.u64 %rd32, %rd32, %rd34;\n", 8 * columns);
    text += "mul.wide.u32 %rd34, %r32, 16;\nadd.u64 %rd33, %rd33, %rd34;\n";
    for i in 0..columns {
        text += &format!("ld.global.b64 %rd{i}, [%rd32+{}];\ncvt.u32.u64 %r{i}, %rd{i};\n", 8 * i);
        text += &format!("cvt.u16.u64 %h{i}, %rd{i};\nsetp.ne.u64 %p{i}, %rd{i}, 0;\n");
    }
    text += body;
    text += "\nst.global.v2.b64 [%rd33], {%rd30, %rd31};\n";
    let text = module(".param .u64 in, .param .u64 out", &text);
    let ctas = rows.len().div_ceil(threads);
    let mut memory = Memory::new();
    let input = memory.allocate("in", ctas * threads * columns * 8);
    let output = memory.allocate("out", ctas * threads * 16);
    let mut data: Vec<u8> = rows.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    data.resize(ctas * threads * columns * 8, 0);
    memory.write(input, &data).expect("fits");
    let config = LaunchConfig::linear(ctas as u32, threads as u32);
    let module = Module::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let args: [&[u8]; 2] = [&input.to_le_bytes(), &output.to_le_bytes()];
    module.launch("k", &config, &args, &mut memory).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut data = vec![0; rows.len() * 16];
    memory.read(output, &mut data).expect("inside");
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
    data.chunks_exact(16).map(|pair| [word(&pair[..8]), word(&pair[8..])]).collect()
}

/// Moves the result in operand 8 to `%rd30`.
fn collect(token: &str, spelling: &Spelling) -> String {
    let select = |value: u32, p: &str| format!("selp.b64 %rd30, {value}, 0, {p};");
    match operand(token, spelling, 8) {
        Some(result) if token == "p|p" => {
            assert_eq!(result, "%p8|%p9");
            format!("{}\nselp.b64 %rd29, 2, 0, %p9;\nor.b64 %rd30, %rd30, %rd29;", select(1, "%p8"))
        }
        Some(result) if result.contains("|") => {
            format!("selp.b32 %r9, 1, 0, %p9;\nmov.b64 %rd30, {{{}, %r9}};", &result[..3])
        }
        Some(result) if result.starts_with("%rd") => format!("mov.b64 %rd30, {result};"),
        Some(result) if result.starts_with("%r") => format!("cvt.u64.u32 %rd30, {result};"),
        Some(result) if result.starts_with("%h") => format!("cvt.u64.u16 %rd30, {result};"),
        Some(result) if result.starts_with("%p") => select(1, &result),
        _ => panic!("{spelling}: no result"),
    }
}

/// Checks a spelling against its oracle, on edge values.
pub fn check(spelling: &Spelling, template: &str, function: &Function) {
    let tokens: Vec<&str> = template.split_whitespace().collect();
    let sources: Vec<_> = tokens[1..].iter().filter_map(|token| source_values(token, spelling)).collect();
    let lists: Vec<Vec<u64>> = sources.iter().map(|(_, values)| values.clone()).collect();
    check_rows(spelling, template, function, &edges::tuples(&lists));
}

/// The same on given rows.
pub fn check_rows(spelling: &Spelling, template: &str, function: &Function, rows: &[Vec<u64>]) {
    let result = template.split_whitespace().next().expect("a result");
    let text = instruction(spelling, template).expect("operands");
    let preset = "mov.b64 %rd8, -1;\nmov.b32 %r8, -1;\nmov.b16 %h8, -1;\n";
    let body = format!("{preset}{text}\n{}", collect(result, spelling));
    for ([got, _], row) in evaluate(&body, rows).into_iter().zip(rows) {
        let wanted = function(row);
        assert!(wanted.is(got), "`{text}` of {row:#x?} gives {got:#x}, wanted {wanted:x?}");
    }
}

impl Family {
    /// Runs every spelling of the family against its oracle.
    pub fn test(&self) {
        for (notation, template) in self.lines {
            for spelling in crate::syntax::expand(notation) {
                match (self.oracle)(&spelling) {
                    Some(Oracle::Function(function)) => check(&spelling, template, &function),
                    Some(Oracle::Test(test)) => test(),
                    None => panic!("`{spelling}` has no oracle"),
                }
            }
        }
    }
}
