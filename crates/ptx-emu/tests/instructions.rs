//! Single instructions on edge values. Expectations come from the ISA's definitions: written out,
//! or computed by Rust's own arithmetic and by the `half` crate.

#[allow(dead_code, reason = "shared with tests that use other parts of it")]
mod common;

use common::evaluate;
use half::{bf16, f16};
use proptest::prelude::*;

const NAN32: u64 = 0x7fff_ffff;

fn f(x: f32) -> u64 {
    u64::from(x.to_bits())
}

fn d(x: f64) -> u64 {
    x.to_bits()
}

/// Runs an instruction with a 32-bit result in `%r15`.
fn eval32<const N: usize>(instruction: &str, inputs: &[[u64; N]]) -> Vec<u64> {
    evaluate(&format!("{instruction}\ncvt.u64.u32 %rd15, %r15;"), inputs)
}

/// Runs an instruction with a 16-bit result in `%h7`.
fn eval16<const N: usize>(instruction: &str, inputs: &[[u64; N]]) -> Vec<u64> {
    evaluate(&format!("{instruction}\ncvt.u64.u16 %rd15, %h7;"), inputs)
}

/// Checks a table of inputs and the result of each.
fn check<const N: usize>(eval: fn(&str, &[[u64; N]]) -> Vec<u64>, instruction: &str, table: &[([u64; N], u64)]) {
    let inputs: Vec<_> = table.iter().map(|(inputs, _)| *inputs).collect();
    for (got, (inputs, wanted)) in eval(instruction, &inputs).into_iter().zip(table) {
        assert_eq!(got, *wanted, "{instruction} of {inputs:#x?}: {got:#x}, {wanted:#x} wanted");
    }
}

const LOW: u64 = 0xffff_ffff;

#[test]
fn integer_arithmetic() {
    check(eval32, "add.u32 %r15, %r0, %r1;", &[([LOW, 1], 0), ([3, 4], 7)]);
    check(eval32, "add.sat.s32 %r15, %r0, %r1;", &[([0x7fff_ffff, 1], 0x7fff_ffff), ([0x8000_0000, LOW], 0x8000_0000)]);
    check(eval32, "sub.s32 %r15, %r0, %r1;", &[([0, 1], LOW)]);
    check(eval32, "mul.hi.u32 %r15, %r0, %r1;", &[([LOW, LOW], 0xffff_fffe)]);
    check(eval32, "mul.hi.s32 %r15, %r0, %r1;", &[([LOW, LOW], 0), ([0x8000_0000, 2], LOW)]);
    check(eval32, "mad.lo.s32 %r15, %r0, %r1, %r2;", &[([LOW, 5, 7], 2)]);
    check(eval32, "mul24.lo.s32 %r15, %r0, %r1;", &[([0xff_ffff, 2], 0xffff_fffe)]);
    check(eval32, "div.s32 %r15, %r0, %r1;", &[([0xffff_fff9, 2], 0xffff_fffd)]);
    check(eval32, "rem.s32 %r15, %r0, %r1;", &[([0xffff_fff9, 2], LOW), ([7, 0xffff_fffe], 1)]);
    check(eval32, "sad.s32 %r15, %r0, %r1, %r2;", &[([LOW, 2, 10], 13)]);
    check(eval32, "min.s32 %r15, %r0, %r1;", &[([LOW, 1], LOW)]);
    check(eval32, "min.u32 %r15, %r0, %r1;", &[([LOW, 1], 1)]);
    check(eval32, "abs.s32 %r15, %r0;", &[([LOW], 1), ([0x8000_0000], 0x8000_0000)]);
    check(eval32, "dp4a.s32.u32 %r15, %r0, %r1, %r2;", &[([0xff01_02fe, 0x0203_04ff, 1], 0xffff_fe0c)]);
    check(evaluate, "mul.wide.s32 %rd15, %r0, %r1;", &[([LOW, 3], -3i64 as u64)]);
    check(evaluate, "mad.wide.u32 %rd15, %r0, %r1, %rd2;", &[([LOW, LOW, 1], 0xffff_fffe_0000_0002)]);
    check(evaluate, "mul.lo.s64 %rd15, %rd0, %rd1;", &[([1 << 40, 1 << 30], 0), ([u64::MAX, 5], -5i64 as u64)]);
    check(evaluate, "mul.hi.u64 %rd15, %rd0, %rd1;", &[([u64::MAX, u64::MAX], u64::MAX - 1)]);
    check(eval16, "sub.s16 %h7, %h0, %h1;", &[([0, 1], 0xffff)]);
    check(eval16, "shr.s16 %h7, %h0, 3;", &[([0x8000], 0xf000)]);
    check(eval32, "mul.wide.u16 %r15, %h0, %h1;", &[([0xffff, 0xffff], 0xfffe_0001)]);
    // A 128-bit sum and difference in two halves.
    let sum = "add.cc.u64 %rd4, %rd0, %rd2;\naddc.u64 %rd15, %rd1, %rd3;";
    check(evaluate, sum, &[([u64::MAX, 1, 1, 2], 4), ([1, 1, 1, 2], 3)]);
    let difference = "sub.cc.u32 %r4, %r0, %r2;\nsubc.u32 %r15, %r1, %r3;";
    check(eval32, difference, &[([0, 5, 1, 2], 2), ([1, 5, 1, 2], 3)]);
    let product = "mad.lo.cc.u32 %r4, %r0, %r1, %r2;\nmadc.hi.u32 %r15, %r0, %r1, 0;";
    check(eval32, product, &[([LOW, LOW, LOW], LOW), ([LOW, LOW, 0], 0xffff_fffe)]);
}

#[test]
fn bits_and_shifts() {
    check(eval32, "shl.b32 %r15, %r0, %r1;", &[([1, 31], 1 << 31), ([1, 32], 0), ([1, LOW], 0)]);
    check(eval32, "shr.u32 %r15, %r0, %r1;", &[([LOW, 31], 1), ([LOW, 32], 0)]);
    check(eval32, "shr.s32 %r15, %r0, %r1;", &[([0x8000_0000, 99], LOW)]);
    check(evaluate, "shr.s64 %rd15, %rd0, %r1;", &[([1 << 63, 63], u64::MAX)]);
    check(eval32, "cnot.b32 %r15, %r0;", &[([0], 1), ([7], 0)]);
    check(eval32, "clz.b32 %r15, %r0;", &[([0], 32), ([1], 31)]);
    check(eval32, "clz.b64 %r15, %rd0;", &[([0], 64), ([1], 63)]);
    check(eval32, "popc.b64 %r15, %rd0;", &[([u64::MAX], 64)]);
    check(eval32, "brev.b32 %r15, %r0;", &[([1], 1 << 31)]);
    check(eval32, "bfe.s32 %r15, %r0, 4, 4;", &[([0x80], 0xffff_fff8), ([0x70], 7)]);
    check(eval32, "bfi.b32 %r15, %r0, %r1, 8, 8;", &[([0xab, LOW], 0xffff_abff)]);
    check(eval32, "prmt.b32 %r15, %r0, %r1, 0x5410;", &[([0x1234_5678, 0x9abc_def0], 0xdef0_5678)]);
    check(eval32, "prmt.b32.f4e %r15, %r0, %r1, %r2;", &[([0x3322_1100, 0x7766_5544, 2], 0x5544_3322)]);
    check(eval32, "lop3.b32 %r15, %r0, %r1, %r2, 0x6a;", &[([0xff00, 0xf0f0, 0xcccc], (0xff00 & 0xf0f0) ^ 0xcccc)]);
    check(eval32, "shf.l.wrap.b32 %r15, %r0, %r1, 8;", &[([0xaabb_ccdd, 0x1122_3344], 0x2233_44aa)]);
    check(eval32, "shf.r.clamp.b32 %r15, %r0, %r1, 40;", &[([1, 2], 2)]);
    check(evaluate, "and.b64 %rd15, %rd0, -16;", &[([0x1f], 0x10)]);
    let packed = "mov.b64 %rd4, {%r0, %r1};\nmov.b64 {_, %r15}, %rd4;";
    check(eval32, packed, &[([3, 9], 9)]);
    let halves = "mov.b32 {%h2, %h3}, %r0;\nmov.b32 %r15, {%h3, %h2};";
    check(eval32, halves, &[([0x1234_abcd], 0xabcd_1234)]);
    check(eval32, "mov.b32 %r15, {0, %h0};", &[([0xbeef], 0xbeef_0000)]);
}

#[test]
fn comparisons_and_selections() {
    let setp = |comparison: &str, ty: &str, registers: &str| {
        format!("setp.{comparison}.{ty} %p0, {registers};\nselp.u32 %r15, 1, 0, %p0;")
    };
    let floats = |comparison| {
        let moves = "mov.b32 %f0, %r0;\nmov.b32 %f1, %r1;\n";
        moves.to_owned() + &setp(comparison, "f32", "%f0, %f1")
    };
    let (one, nan) = (f(1.0), f(f32::NAN));
    check(eval32, &floats("lt"), &[([one, f(2.0)], 1), ([one, one], 0), ([one, nan], 0)]);
    check(eval32, &floats("ltu"), &[([one, f(2.0)], 1), ([one, one], 0), ([one, nan], 1)]);
    check(eval32, &floats("ne"), &[([one, f(2.0)], 1), ([one, one], 0), ([one, nan], 0)]);
    check(eval32, &floats("neu"), &[([one, nan], 1)]);
    check(eval32, &floats("eq"), &[([f(0.0), f(-0.0)], 1), ([nan, nan], 0)]);
    check(eval32, &floats("nan"), &[([one, nan], 1), ([one, one], 0)]);
    check(eval32, &floats("num"), &[([one, nan], 0), ([one, one], 1)]);
    check(eval32, &setp("lt", "s32", "%r0, %r1"), &[([LOW, 0], 1)]);
    check(eval32, &setp("lo", "u32", "%r0, %r1"), &[([LOW, 0], 0), ([0, 1], 1)]);
    check(eval32, &setp("ge", "s64", "%rd0, %rd1"), &[([u64::MAX, 0], 0), ([0, u64::MAX], 1)]);
    let subnormal = floats("gt").replace("setp.gt", "setp.gt.ftz");
    check(eval32, &subnormal, &[([1, 0], 0), ([one, 0], 1)]);
    // p = (a < b) and c; q = !(a < b) and c.
    let both = "setp.ne.u32 %p2, %r2, 0;\nsetp.lt.and.u32 %p0|%p1, %r0, %r1, %p2;\n\
                selp.u32 %r3, 1, 0, %p0;\nselp.u32 %r4, 2, 0, %p1;\nor.b32 %r15, %r3, %r4;";
    check(eval32, both, &[([1, 2, 1], 1), ([2, 1, 1], 2), ([1, 2, 0], 0)]);
    check(eval32, "set.gt.u32.s32 %r15, %r0, %r1;", &[([1, LOW], LOW), ([LOW, 1], 0)]);
    check(eval32, "slct.u32.s32 %r15, %r0, %r1, %r2;", &[([7, 8, 0], 7), ([7, 8, LOW], 8)]);
    // Packed halves: low ones decide the first predicate, high ones the second.
    let pair = "setp.lt.f16x2 %p0|%p1, %r0, %r1;\nselp.u32 %r3, 1, 0, %p0;\nselp.u32 %r4, 2, 0, %p1;\n\
                or.b32 %r15, %r3, %r4;";
    check(eval32, pair, &[([0x3c00_3c00, 0x4000_3c00], 2), ([0x3c00_3c00, 0x3c00_4000], 1)]);
    let predicates = "setp.ne.u32 %p0, %r0, 0;\nsetp.ne.u32 %p1, %r1, 0;\nxor.pred %p2, %p0, %p1;\n\
                      @!%p2 mov.u32 %r15, 5;\n@%p2 mov.u32 %r15, 6;";
    check(eval32, predicates, &[([0, 0], 5), ([0, 1], 6), ([1, 1], 5)]);
}

/// An f32 instruction on `%f0`…`%f2` with its result in `%f7`.
fn float(instruction: &str) -> String {
    format!("mov.b32 %f0, %r0;\nmov.b32 %f1, %r1;\nmov.b32 %f2, %r2;\n{instruction}\nmov.b32 %r15, %f7;")
}

#[test]
fn single_precision() {
    let (inf, max, tiny, nan) = (f(f32::INFINITY), f(f32::MAX), 1u64, 0xffc0_1234u64);
    let table3 = |instruction: &str, table: &[([u64; 3], u64)]| check(eval32, &float(instruction), table);
    table3("add.f32 %f7, %f0, %f1;", &[([f(1.0), f(2.0), 0], f(3.0)), ([nan, 0, 0], NAN32), ([tiny, tiny, 0], 2)]);
    table3("sub.f32 %f7, %f0, %f1;", &[([inf, inf, 0], NAN32)]);
    table3("add.ftz.f32 %f7, %f0, %f1;", &[([tiny, tiny, 0], 0), ([0x8000_0001, 0x8000_0001, 0], 0x8000_0000)]);
    table3("add.rz.f32 %f7, %f0, %f1;", &[([max, max, 0], max)]);
    table3("add.sat.f32 %f7, %f0, %f1;", &[([f(2.0), 0, 0], f(1.0)), ([f(-2.0), 0, 0], 0), ([nan, 0, 0], 0)]);
    table3("mul.rn.f32 %f7, %f0, %f1;", &[([inf, 0, 0], NAN32), ([max, f(2.0), 0], inf)]);
    // One rounding: 1 - (1 + 2^-23)(1 - 2^-23) = 2^-46.
    let (up, down) = (f(1.0 + f32::EPSILON), f(-1.0 + f32::EPSILON));
    table3("fma.rn.f32 %f7, %f0, %f1, %f2;", &[([up, down, f(1.0)], f(2f32.powi(-46)))]);
    table3("fma.rm.f32 %f7, %f0, %f1, %f2;", &[([f(1.0), f(1.0), 0x8000_0001], f(1.0 - f32::EPSILON / 2.0))]);
    table3(
        "div.rn.f32 %f7, %f0, %f1;",
        &[([f(1.0), f(3.0), 0], 0x3eaa_aaab), ([0, 0, 0], NAN32), ([f(-1.0), 0, 0], f(f32::NEG_INFINITY))],
    );
    table3("rcp.rn.f32 %f7, %f0;", &[([f(3.0), 0, 0], 0x3eaa_aaab), ([f(-0.0), 0, 0], f(f32::NEG_INFINITY))]);
    table3(
        "sqrt.rn.f32 %f7, %f0;",
        &[([f(2.0), 0, 0], 0x3fb5_04f3), ([f(-1.0), 0, 0], NAN32), ([f(-0.0), 0, 0], f(-0.0))],
    );
    table3("min.f32 %f7, %f0, %f1;", &[([nan, f(1.0), 0], f(1.0)), ([0, f(-0.0), 0], f(-0.0)), ([nan, nan, 0], NAN32)]);
    table3("max.NaN.f32 %f7, %f0, %f1;", &[([nan, f(1.0), 0], NAN32), ([f(-0.0), 0, 0], 0)]);
    table3("min.xorsign.abs.f32 %f7, %f0, %f1;", &[([f(-3.0), f(2.0), 0], f(-2.0)), ([f(-3.0), f(-4.0), 0], f(3.0))]);
    table3("neg.f32 %f7, %f0;", &[([0, 0, 0], f(-0.0)), ([f(5.0), 0, 0], f(-5.0))]);
    table3("abs.ftz.f32 %f7, %f0;", &[([0x8000_0001, 0, 0], 0), ([f(-5.0), 0, 0], f(5.0))]);
    table3("copysign.f32 %f7, %f0, %f1;", &[([f(-1.0), f(5.0), 0], f(-5.0))]);
    table3("ex2.approx.ftz.f32 %f7, %f0;", &[([f(3.0), 0, 0], f(8.0)), ([f(f32::NEG_INFINITY), 0, 0], 0)]);
    table3("lg2.approx.f32 %f7, %f0;", &[([f(8.0), 0, 0], f(3.0)), ([0, 0, 0], f(f32::NEG_INFINITY))]);
    table3("rsqrt.approx.f32 %f7, %f0;", &[([f(4.0), 0, 0], f(0.5)), ([0, 0, 0], inf), ([f(-1.0), 0, 0], NAN32)]);
    table3("tanh.approx.f32 %f7, %f0;", &[([inf, 0, 0], f(1.0)), ([0, 0, 0], 0)]);
    let test = |property: &str| format!("mov.b32 %f0, %r0;\ntestp.{property}.f32 %p0, %f0;\nselp.u32 %r15, 1, 0, %p0;");
    check(eval32, &test("subnormal"), &[([tiny], 1), ([f(1.0)], 0), ([0], 0)]);
    check(eval32, &test("finite"), &[([inf], 0), ([max], 1)]);
}

#[test]
fn double_precision() {
    let double =
        |instruction: &str| format!("mov.b64 %fd0, %rd0;\nmov.b64 %fd1, %rd1;\n{instruction}\nmov.b64 %rd15, %fd7;");
    check(evaluate, &double("add.f64 %fd7, %fd0, %fd1;"), &[([d(1.0), d(f64::EPSILON)], d(1.0 + f64::EPSILON))]);
    check(evaluate, &double("fma.rn.f64 %fd7, %fd0, %fd0, %fd1;"), &[([d(3.0), d(1.0)], d(10.0))]);
    check(evaluate, &double("div.rn.f64 %fd7, %fd0, %fd1;"), &[([d(1.0), d(3.0)], d(1.0 / 3.0))]);
    check(evaluate, &double("sqrt.rn.f64 %fd7, %fd0;"), &[([d(2.0), 0], d(std::f64::consts::SQRT_2))]);
    check(evaluate, &double("max.f64 %fd7, %fd0, %fd1;"), &[([d(f64::NAN), d(3.0)], d(3.0))]);
}

#[test]
fn conversions_between_integers() {
    check(evaluate, "cvt.s64.s8 %rd15, %r0;", &[([0xff80], -128i64 as u64)]);
    check(evaluate, "cvt.u64.u8 %rd15, %r0;", &[([0xff80], 0x80)]);
    check(eval32, "cvt.s32.s16 %r15, %h0;", &[([0x8000], 0xffff_8000)]);
    check(eval32, "cvt.u32.s16 %r15, %h0;", &[([0xffff], LOW)]);
    check(eval32, "cvt.sat.u8.s32 %r15, %r0;", &[([LOW], 0), ([300], 255), ([77], 77)]);
    check(eval32, "cvt.sat.s8.u32 %r15, %r0;", &[([LOW], 127)]);
    check(eval32, "cvt.u32.u64 %r15, %rd0;", &[([0x1_0000_0005], 5)]);
}

#[test]
fn conversions_from_float_to_integer() {
    let from = |instruction: &str| format!("mov.b32 %f0, %r0;\n{instruction}");
    let cases = [2.5, 3.5, -2.5, 1e10, -1e10, 0.999_999_9, -0.5];
    for (mode, round) in
        [("rni", f32::round_ties_even as fn(f32) -> f32), ("rzi", f32::trunc), ("rmi", f32::floor), ("rpi", f32::ceil)]
    {
        let table: Vec<_> = cases.iter().map(|x| ([f(*x)], u64::from(round(*x) as i32 as u32))).collect();
        check(eval32, &from(&format!("cvt.{mode}.s32.f32 %r15, %f0;")), &table);
        let table: Vec<_> = cases.iter().map(|x| ([f(*x)], u64::from(round(*x) as u32))).collect();
        check(eval32, &from(&format!("cvt.{mode}.u32.f32 %r15, %f0;")), &table);
    }
    let nan = f(f32::NAN);
    check(eval32, &from("cvt.rzi.s32.f32 %r15, %f0;"), &[([nan], 0)]);
    check(eval32, &from("cvt.rzi.u32.f32 %r15, %f0;"), &[([nan], 0), ([f(-1.0)], 0)]);
    check(evaluate, &from("cvt.rzi.s64.f32 %rd15, %f0;"), &[([nan], 1 << 63), ([f(-3.7)], -3i64 as u64)]);
    check(eval32, &from("cvt.rni.s8.f32 %r15, %f0;"), &[([f(200.0)], 127), ([f(-200.0)], 0xffff_ff80)]);
    check(eval32, &from("cvt.rni.ftz.f32.f32 %r15, %f0;"), &[([f(2.5)], f(2.0)), ([f(-0.4)], f(-0.0))]);
    check(eval32, &from("cvt.sat.f32.f32 %r15, %f0;"), &[([f(7.0)], f(1.0)), ([nan], 0), ([f(0.25)], f(0.25))]);
    let wide = "mov.b64 %fd0, %rd0;\ncvt.rzi.s32.f64 %r15, %fd0;";
    check(eval32, wide, &[([d(-7.9)], -7i32 as u32 as u64), ([d(1e300)], 0x7fff_ffff), ([d(f64::NAN)], 0x8000_0000)]);
}

#[test]
fn conversions_from_integer_to_float() {
    check(eval32, "cvt.rn.f32.s32 %r15, %r0;", &[([LOW], f(-1.0)), ([16_777_217], f(16_777_216.0))]);
    check(eval32, "cvt.rp.f32.s32 %r15, %r0;", &[([16_777_217], f(16_777_218.0))]);
    check(eval32, "cvt.rz.f32.u32 %r15, %r0;", &[([LOW], f(4_294_967_040.0))]);
    check(eval32, "cvt.rn.f32.u64 %r15, %rd0;", &[([u64::MAX], f(18_446_744_073_709_551_616.0))]);
    // 2^60 + 2^36 + 1 lies just above the midpoint of two f32: rounding through f64 would miss it.
    let above = (1u64 << 60) + (1 << 36) + 1;
    check(eval32, "cvt.rn.f32.u64 %r15, %rd0;", &[([above], f((above as f32).max(0.0)))]);
    check(evaluate, "cvt.rn.f64.s64 %rd15, %rd0;", &[([u64::MAX], d(-1.0))]);
    check(evaluate, "cvt.rm.f64.u64 %rd15, %rd0;", &[([u64::MAX], d(18_446_744_073_709_549_568.0))]);
    check(eval16, "cvt.rn.f16.s32 %h7, %r0;", &[([2049], 0x6800), ([100_000], 0x7c00)]);
    check(eval16, "cvt.rz.f16.u32 %h7, %r0;", &[([100_000], 0x7bff)]);
}

#[test]
fn conversions_between_floats() {
    let to = |instruction: &str| format!("mov.b32 %f0, %r0;\nmov.b32 %f1, %r1;\n{instruction}");
    let values = [0.0f32, -0.0, 1.0, 65504.0, 65520.0, 1e-8, 3e-8, 5.97e-8, -1e-6, 1e30, 0.1, f32::INFINITY, 1e-40];
    let table: Vec<_> = values.iter().map(|x| ([f(*x), 0], u64::from(f16::from_f32(*x).to_bits()))).collect();
    check(eval16, &to("cvt.rn.f16.f32 %h7, %f0;"), &table);
    let table: Vec<_> = values.iter().map(|x| ([f(*x), 0], u64::from(bf16::from_f32(*x).to_bits()))).collect();
    check(eval16, &to("cvt.rn.bf16.f32 %h7, %f0;"), &table);
    check(eval16, &to("cvt.rn.f16.f32 %h7, %f0;"), &[([0xffc0_0000, 0], 0x7fff)]);
    check(eval16, &to("cvt.rn.bf16.f32 %h7, %f0;"), &[([0xffc0_0000, 0], 0x7fff)]);
    check(eval16, &to("cvt.rz.bf16.f32 %h7, %f0;"), &[([0x3fff_ffff, 0], 0x3fff)]);
    check(eval16, &to("cvt.rn.relu.f16.f32 %h7, %f0;"), &[([f(-1.0), 0], 0), ([f(1.0), 0], 0x3c00)]);
    // The first source goes to the high half.
    check(eval32, &to("cvt.rn.f16x2.f32 %r15, %f0, %f1;"), &[([f(1.0), f(2.0)], 0x3c00_4000)]);
    check(eval32, &to("cvt.rn.bf16x2.f32 %r15, %f0, %f1;"), &[([f(1.0), f(2.0)], 0x3f80_4000)]);
    check(eval16, &to("cvt.rn.satfinite.e4m3x2.f32 %h7, %f0, %f1;"), &[([f(1e6), f(-1.0)], 0x7eb8)]);
    check(eval16, &to("cvt.rn.satfinite.e5m2x2.f32 %h7, %f0, %f1;"), &[([f(1e6), f(-1.0)], 0x7bbc)]);
    check(eval32, "cvt.rn.f16x2.e4m3x2 %r15, %h0;", &[([0x7e38], 0x5f00_3c00)]);
    for code in [0u16, 1, 0x03ff, 0x0400, 0x7bff, 0x7c00, 0x8001, 0xfc00, 0x3555] {
        let wanted = f(f16::from_bits(code).to_f32());
        check(eval32, "cvt.f32.f16 %r15, %h0;", &[([u64::from(code)], wanted)]);
        let wanted = f(bf16::from_bits(code).to_f32());
        check(eval32, "cvt.f32.bf16 %r15, %h0;", &[([u64::from(code)], wanted)]);
    }
    let narrow = "mov.b64 %fd0, %rd0;\ncvt.MODE.f32.f64 %r15, %fd0;";
    check(eval32, &narrow.replace("MODE", "rn"), &[([d(0.1)], f(0.1))]);
    check(eval32, &narrow.replace("MODE", "rz"), &[([d(1e39)], f(f32::MAX)), ([d(-1e-50)], f(-0.0))]);
    check(evaluate, &to("cvt.f64.f32 %fd0, %f0;\nmov.b64 %rd15, %fd0;"), &[([f(0.1), 0], d(f64::from(0.1f32)))]);
}

#[test]
fn half_precision() {
    check(eval16, "add.f16 %h7, %h0, %h1;", &[([0x3c00, 0x3c00], 0x4000), ([0x7bff, 0x7bff], 0x7c00)]);
    check(eval16, "mul.bf16 %h7, %h0, %h1;", &[([0x4040, 0x4040], 0x4110), ([0x7f80, 0], 0x7fff)]);
    check(
        eval16,
        "fma.rn.relu.f16 %h7, %h0, %h1, %h2;",
        &[([0x3c00, 0xbc00, 0], 0), ([0x3c00, 0x3c00, 0x3c00], 0x4000)],
    );
    check(eval32, "fma.rn.f16x2 %r15, %r0, %r1, %r2;", &[([0x4000_3c00, 0x4000_4200, 0x3c00_3c00], 0x4500_4400)]);
    check(eval32, "max.bf16x2 %r15, %r0, %r1;", &[([0x3f80_7fc0, 0x4000_3f80], 0x4000_3f80)]);
    check(eval16, "min.NaN.f16 %h7, %h0, %h1;", &[([0x7e00, 0x3c00], 0x7fff)]);
    check(eval16, "neg.f16 %h7, %h0;", &[([0], 0x8000)]);
    check(eval16, "add.ftz.f16 %h7, %h0, %h1;", &[([1, 1], 0), ([0x3c00, 1], 0x3c00)]);
    check(eval16, "ex2.approx.f16 %h7, %h0;", &[([0x4200], 0x4800)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The operations that Rust has too, on any bits: only NaN differs, where PTX has just one.
    #[test]
    fn f32_arithmetic_matches_the_host(bits in prop::collection::vec(any::<[u32; 3]>(), 40)) {
        let inputs: Vec<[u64; 3]> = bits.iter().map(|row| row.map(u64::from)).collect();
        let same = |instruction: &str, host: fn(f32, f32, f32) -> f32| {
            for (got, row) in eval32(&float(instruction), &inputs).into_iter().zip(&bits) {
                let [a, b, c] = row.map(f32::from_bits);
                let result = host(a, b, c);
                let wanted = if result.is_nan() { NAN32 } else { f(result) };
                assert_eq!(got, wanted, "{instruction} of {row:x?}");
            }
        };
        same("add.rn.f32 %f7, %f0, %f1;", |a, b, _| a + b);
        same("mul.f32 %f7, %f0, %f1;", |a, b, _| a * b);
        same("fma.rn.f32 %f7, %f0, %f1, %f2;", f32::mul_add);
        same("div.rn.f32 %f7, %f0, %f1;", |a, b, _| a / b);
        same("sqrt.rn.f32 %f7, %f0;", |a, _, _| a.sqrt());
    }

    /// Directed roundings enclose the value rounded to nearest, at most one step apart.
    #[test]
    fn directed_roundings_enclose(bits in prop::collection::vec(any::<[u32; 3]>(), 40)) {
        let inputs: Vec<[u64; 3]> = bits.iter().map(|row| row.map(u64::from)).collect();
        let operands = ["add.MODE.f32 %f7, %f0, %f1;", "mul.MODE.f32 %f7, %f0, %f1;",
            "fma.MODE.f32 %f7, %f0, %f1, %f2;", "div.MODE.f32 %f7, %f0, %f1;"];
        for instruction in operands {
            let mode = |mode: &str| -> Vec<f32> {
                let results = eval32(&float(&instruction.replace("MODE", mode)), &inputs);
                results.into_iter().map(|bits| f32::from_bits(bits as u32)).collect()
            };
            let (down, near, up, zero) = (mode("rm"), mode("rn"), mode("rp"), mode("rz"));
            for i in 0..near.len() {
                if near[i].is_nan() {
                    prop_assert!(down[i].is_nan() && up[i].is_nan() && zero[i].is_nan());
                    continue;
                }
                prop_assert!(down[i] <= near[i] && near[i] <= up[i]);
                prop_assert!(down[i] == up[i] || down[i].next_up() == up[i]);
                prop_assert_eq!(zero[i], if down[i] >= 0.0 { down[i] } else { up[i] });
            }
        }
    }

    /// f16 sums and products are exact in f64, so converting those rounds once.
    #[test]
    fn f16_arithmetic_rounds_once(bits in prop::collection::vec(any::<[u16; 2]>(), 40)) {
        let inputs: Vec<[u64; 2]> = bits.iter().map(|row| row.map(u64::from)).collect();
        for (instruction, host) in [
            ("add.f16 %h7, %h0, %h1;", (|a, b| a + b) as fn(f64, f64) -> f64),
            ("sub.f16 %h7, %h0, %h1;", |a, b| a - b),
            ("mul.f16 %h7, %h0, %h1;", |a, b| a * b),
        ] {
            for (got, row) in eval16(instruction, &inputs).into_iter().zip(&bits) {
                let [a, b] = row.map(|bits| f16::from_bits(bits).to_f64());
                let result = f16::from_f64(host(a, b));
                let wanted = if result.is_nan() { 0x7fff } else { result.to_bits() };
                assert_eq!(got, u64::from(wanted), "{instruction} of {row:x?}");
            }
        }
    }
}
