//! Single- and double-precision instructions.

use super::Decoder;
use super::types::{Modifiers, Type};
use crate::error::ParseError;
use crate::exec::registers::{map1, map2, map3, test1};
use crate::ir::Op;
use crate::parse::ast::Instruction;
use crate::semantics::float::{
    Approximate, Approximations, NAN32, NAN64, Rounding, add32, approximate, canonical32, canonical64, div_approximate,
    div_full, div32, flush32, fma32, min_max, mul32, saturate32, sqrt32,
};
use crate::semantics::small::{BF16, F16};

type Decoded = Result<Op, ParseError>;

/// The rounding modifier of arithmetic.
pub(super) fn rounding(name: &str) -> Option<Rounding> {
    Some(match name {
        "rn" => Rounding::Nearest,
        "rz" => Rounding::Zero,
        "rm" => Rounding::Down,
        "rp" => Rounding::Up,
        _ => return None,
    })
}

/// `.ftz` and `.sat` of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Finish {
    ftz: bool,
    sat: bool,
}

impl Finish {
    fn input(self, x: f32) -> f32 {
        if self.ftz { flush32(x) } else { x }
    }

    fn output(self, x: f32) -> f32 {
        let x = canonical32(if self.ftz { flush32(x) } else { x });
        if self.sat { saturate32(x) } else { x }
    }

    fn plain(self) -> bool {
        !self.ftz && !self.sat
    }
}

impl<'a> Decoder<'_, 'a> {
    fn f32_1(&mut self, inst: &Instruction<'a>, f: impl Fn(f32) -> f32 + Send + Sync + 'static) -> Decoded {
        inst.expect_operands(2)?;
        let d = self.dest::<f32>(inst, Type::F32)?;
        let a = self.source::<f32>(inst, 1, Type::F32)?;
        Ok(Op::Alu(map1::<f32, f32>(d, a, f)))
    }

    fn f32_2(&mut self, inst: &Instruction<'a>, f: impl Fn(f32, f32) -> f32 + Send + Sync + 'static) -> Decoded {
        inst.expect_operands(3)?;
        let d = self.dest::<f32>(inst, Type::F32)?;
        let a = self.source::<f32>(inst, 1, Type::F32)?;
        let b = self.source::<f32>(inst, 2, Type::F32)?;
        Ok(Op::Alu(map2::<f32, f32, f32>(d, a, b, f)))
    }

    /// Lifts `plain` where nothing modifies the instruction, `general` with its ends otherwise.
    fn f32_arithmetic2(
        &mut self,
        inst: &Instruction<'a>,
        rounding: Rounding,
        finish: Finish,
        plain: impl Fn(f32, f32) -> f32 + Send + Sync + 'static,
        general: fn(f32, f32, Rounding) -> f32,
    ) -> Decoded {
        if rounding == Rounding::Nearest && finish.plain() {
            return self.f32_2(inst, move |a, b| canonical32(plain(a, b)));
        }
        self.f32_2(inst, move |a, b| finish.output(general(finish.input(a), finish.input(b), rounding)))
    }

    fn required_rounding(inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Result<Rounding, ParseError> {
        mods.take_map(rounding).ok_or_else(|| inst.operand_error("a rounding modifier is missing"))
    }

    pub(super) fn float32(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        let ftz = mods.take("ftz");
        match inst.opcode {
            "add" | "sub" | "mul" => {
                let mode = mods.take_map(rounding).unwrap_or(Rounding::Nearest);
                let finish = Finish { ftz, sat: mods.take("sat") };
                match inst.opcode {
                    "add" => self.f32_arithmetic2(inst, mode, finish, |a, b| a + b, add32),
                    "sub" => {
                        let general = |a, b: f32, mode| add32(a, -b, mode);
                        self.f32_arithmetic2(inst, mode, finish, |a, b| a - b, general)
                    }
                    _ => self.f32_arithmetic2(inst, mode, finish, |a, b| a * b, mul32),
                }
            }
            "fma" | "mad" => {
                let mode = Self::required_rounding(inst, mods)?;
                let finish = Finish { ftz, sat: mods.take("sat") };
                inst.expect_operands(4)?;
                let d = self.dest::<f32>(inst, Type::F32)?;
                let a = self.source::<f32>(inst, 1, Type::F32)?;
                let b = self.source::<f32>(inst, 2, Type::F32)?;
                let c = self.source::<f32>(inst, 3, Type::F32)?;
                if mode == Rounding::Nearest && finish.plain() {
                    let f = |a: f32, b, c| canonical32(a.mul_add(b, c));
                    return Ok(Op::Alu(map3::<f32, f32, f32, f32>(d, a, b, c, f)));
                }
                let f = move |a, b, c| {
                    let (a, b, c) = (finish.input(a), finish.input(b), finish.input(c));
                    finish.output(fma32(a, b, c, mode))
                };
                Ok(Op::Alu(map3::<f32, f32, f32, f32>(d, a, b, c, f)))
            }
            "div" => {
                let finish = Finish { ftz, sat: false };
                let approximate: Option<fn(f32, f32, Approximations) -> f32> = if mods.take("approx") {
                    Some(div_approximate)
                } else if mods.take("full") {
                    Some(div_full)
                } else {
                    None
                };
                if let Some(f) = approximate {
                    inst.expect_operands(3)?;
                    let d = self.dest::<f32>(inst, Type::F32)?;
                    let a = self.source::<f32>(inst, 1, Type::F32)?;
                    let b = self.source::<f32>(inst, 2, Type::F32)?;
                    return Ok(Op::Approximate(Approximations::ALL.map(|approximations| {
                        map2::<f32, f32, f32>(d, a, b, move |a, b| {
                            finish.output(f(finish.input(a), finish.input(b), approximations))
                        })
                    })));
                }
                let mode = Self::required_rounding(inst, mods)?;
                self.f32_arithmetic2(inst, mode, finish, |a, b| a / b, div32)
            }
            "min" | "max" => {
                let max = inst.opcode == "max";
                let propagate = mods.take("NaN");
                let xorsign = mods.take("xorsign");
                if xorsign && !mods.take("abs") {
                    return Err(inst.operand_error("`.xorsign` goes with `.abs`"));
                }
                let finish = Finish { ftz, sat: false };
                self.f32_2(inst, move |a, b| {
                    let (a, b) = (finish.input(a), finish.input(b));
                    let (x, y) = if xorsign { (a.abs(), b.abs()) } else { (a, b) };
                    match min_max(x, y, max, propagate) {
                        None => f32::from_bits(NAN32),
                        Some(value) if xorsign => {
                            let sign = (a.to_bits() ^ b.to_bits()) & 0x8000_0000;
                            f32::from_bits(value.to_bits() | sign)
                        }
                        Some(value) => value,
                    }
                })
            }
            "neg" => {
                let finish = Finish { ftz, sat: false };
                self.f32_1(inst, move |a| -finish.input(a))
            }
            "abs" => {
                let finish = Finish { ftz, sat: false };
                self.f32_1(inst, move |a| finish.input(a).abs())
            }
            _ => Err(inst.unknown()),
        }
    }

    fn f64_1(&mut self, inst: &Instruction<'a>, f: impl Fn(f64) -> f64 + Send + Sync + 'static) -> Decoded {
        inst.expect_operands(2)?;
        let d = self.dest::<f64>(inst, Type::F64)?;
        let a = self.source::<f64>(inst, 1, Type::F64)?;
        Ok(Op::Alu(map1::<f64, f64>(d, a, f)))
    }

    fn f64_2(&mut self, inst: &Instruction<'a>, f: impl Fn(f64, f64) -> f64 + Send + Sync + 'static) -> Decoded {
        inst.expect_operands(3)?;
        let d = self.dest::<f64>(inst, Type::F64)?;
        let a = self.source::<f64>(inst, 1, Type::F64)?;
        let b = self.source::<f64>(inst, 2, Type::F64)?;
        Ok(Op::Alu(map2::<f64, f64, f64>(d, a, b, f)))
    }

    /// Takes the rounding of an f64 instruction; only to nearest is implemented.
    fn nearest_only(inst: &Instruction<'a>, mods: &mut Modifiers<'a>, required: bool) -> Result<(), ParseError> {
        match mods.take_map(rounding) {
            Some(Rounding::Nearest) => Ok(()),
            None if !required => Ok(()),
            None => Err(inst.operand_error("a rounding modifier is missing")),
            Some(_) => Err(inst.unsupported("directed rounding of `.f64`")),
        }
    }

    pub(super) fn float64(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        match inst.opcode {
            "add" => {
                Self::nearest_only(inst, mods, false)?;
                self.f64_2(inst, |a, b| canonical64(a + b, &[a, b]))
            }
            "sub" => {
                Self::nearest_only(inst, mods, false)?;
                self.f64_2(inst, |a, b| canonical64(a - b, &[a, b]))
            }
            "mul" => {
                Self::nearest_only(inst, mods, false)?;
                self.f64_2(inst, |a, b| canonical64(a * b, &[a, b]))
            }
            "div" => {
                Self::nearest_only(inst, mods, true)?;
                self.f64_2(inst, |a, b| canonical64(a / b, &[a, b]))
            }
            "fma" | "mad" => {
                Self::nearest_only(inst, mods, true)?;
                inst.expect_operands(4)?;
                let d = self.dest::<f64>(inst, Type::F64)?;
                let a = self.source::<f64>(inst, 1, Type::F64)?;
                let b = self.source::<f64>(inst, 2, Type::F64)?;
                let c = self.source::<f64>(inst, 3, Type::F64)?;
                let f = |a: f64, b: f64, c: f64| canonical64(a.mul_add(b, c), &[a, b, c]);
                Ok(Op::Alu(map3::<f64, f64, f64, f64>(d, a, b, c, f)))
            }
            "min" | "max" => {
                let max = inst.opcode == "max";
                self.f64_2(inst, move |a, b| min_max(a, b, max, false).unwrap_or(f64::from_bits(NAN64)))
            }
            "neg" => self.f64_1(inst, |a| -a),
            "abs" => self.f64_1(inst, f64::abs),
            _ => Err(inst.unknown()),
        }
    }

    /// Reciprocals, roots, transcendental functions, and the tests and copies of signs.
    pub(super) fn float_special(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        let ty = mods.take_type(inst)?;
        let function = match inst.opcode {
            "copysign" => {
                return match ty {
                    // The sign comes from the first operand, the rest from the second.
                    Type::F32 => self.f32_2(inst, |a, b| b.copysign(a)),
                    Type::F64 => self.f64_2(inst, |a, b| b.copysign(a)),
                    _ => Err(inst.operand_error("this opcode takes `.f32` and `.f64`")),
                };
            }
            "testp" => return self.testp(inst, mods, ty),
            "rcp" => Approximate::Reciprocal,
            "sqrt" => Approximate::SquareRoot,
            "rsqrt" => Approximate::ReciprocalSquareRoot,
            "ex2" => Approximate::Exp2,
            "lg2" => Approximate::Log2,
            "sin" => Approximate::Sine,
            "cos" => Approximate::Cosine,
            _ => Approximate::Tanh,
        };
        let approx = mods.take("approx");
        let ftz = mods.take("ftz");
        if !approx && !matches!(function, Approximate::Reciprocal | Approximate::SquareRoot) {
            return Err(inst.operand_error("`.approx` is missing"));
        }
        match ty {
            Type::F32 if approx => {
                if ftz && function == Approximate::Tanh {
                    return Err(inst.unknown_modifier("ftz"));
                }
                let finish = Finish { ftz, sat: false };
                inst.expect_operands(2)?;
                let d = self.dest::<f32>(inst, Type::F32)?;
                let a = self.source::<f32>(inst, 1, Type::F32)?;
                Ok(Op::Approximate(Approximations::ALL.map(|approximations| {
                    map1::<f32, f32>(d, a, move |a| finish.output(function.f32(finish.input(a), approximations)))
                })))
            }
            Type::F32 => {
                let mode = Self::required_rounding(inst, mods)?;
                let finish = Finish { ftz, sat: false };
                if function == Approximate::SquareRoot {
                    self.f32_1(inst, move |a| finish.output(sqrt32(finish.input(a), mode)))
                } else {
                    self.f32_1(inst, move |a| finish.output(div32(1.0, finish.input(a), mode)))
                }
            }
            Type::F64 if approx && ftz => {
                if !matches!(function, Approximate::Reciprocal | Approximate::ReciprocalSquareRoot) {
                    return Err(inst.operand_error("this function does not take `.f64`"));
                }
                // The hardware reads the upper half of the operand, and gives that of the result.
                const UPPER: u64 = !0xffff_ffff;
                let flushed = |a: f64| if a.is_subnormal() { 0f64.copysign(a) } else { a };
                self.f64_1(inst, move |a| {
                    let upper = if a.is_nan() { a } else { flushed(f64::from_bits(a.to_bits() & UPPER)) };
                    let result = flushed(approximate(function, upper));
                    let bits = if result.is_nan() { 0x7fff_ffff << 32 } else { result.to_bits() };
                    f64::from_bits(bits & UPPER)
                })
            }
            Type::F64 if approx => Err(inst.unsupported("this approximation of `.f64`")),
            Type::F64 if ftz => Err(inst.unknown_modifier("ftz")),
            Type::F64 => {
                Self::nearest_only(inst, mods, true)?;
                if function == Approximate::SquareRoot {
                    self.f64_1(inst, |a| canonical64(a.sqrt(), &[a]))
                } else {
                    self.f64_1(inst, |a| canonical64(1.0 / a, &[a]))
                }
            }
            Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 => {
                let format = if matches!(ty, Type::F16 | Type::F16x2) { F16 } else { BF16 };
                // Of all, only the exponential of bf16 flushes, and always.
                let flushes = function == Approximate::Exp2 && format == BF16;
                if !approx || !matches!(function, Approximate::Exp2 | Approximate::Tanh) || ftz != flushes {
                    return Err(inst.operand_error("this function does not take this type"));
                }
                let f = move |code: u16| {
                    let code = if ftz { format.flush(code) } else { code };
                    let value = approximate(function, format.decode(code));
                    let code = format.encode(value, Rounding::Nearest, false);
                    if ftz { format.flush(code) } else { code }
                };
                self.half1(inst, ty, f)
            }
            _ => Err(inst.operand_error("this function does not take this type")),
        }
    }

    fn testp(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>, ty: Type) -> Decoded {
        inst.expect_operands(2)?;
        type Tests = (fn(f32) -> bool, fn(f64) -> bool);
        let tests: Option<Tests> = mods.take_map(|name| {
            let tests: Tests = match name {
                "finite" => (f32::is_finite, f64::is_finite),
                "infinite" => (f32::is_infinite, f64::is_infinite),
                "number" => (|x| !x.is_nan(), |x| !x.is_nan()),
                "notanumber" => (f32::is_nan, f64::is_nan),
                // Zeros are, too.
                "normal" => (|x| x.is_normal() || x == 0.0, |x| x.is_normal() || x == 0.0),
                "subnormal" => (f32::is_subnormal, f64::is_subnormal),
                _ => return None,
            };
            Some(tests)
        });
        let Some((test_f32, test_f64)) = tests else {
            return Err(inst.operand_error("a property is missing from the opcode"));
        };
        let Some(p) = self.pred_dest(inst, self.operand(inst, 0)?)? else {
            return Err(inst.operand_error("`_` cannot be this destination"));
        };
        match ty {
            Type::F32 => {
                let a = self.source::<f32>(inst, 1, ty)?;
                Ok(Op::Alu(test1::<f32>(a, test_f32, move |r, bits, mask| r.set_pred(p, bits, mask))))
            }
            Type::F64 => {
                let a = self.source::<f64>(inst, 1, ty)?;
                Ok(Op::Alu(test1::<f64>(a, test_f64, move |r, bits, mask| r.set_pred(p, bits, mask))))
            }
            _ => Err(inst.operand_error("this opcode takes `.f32` and `.f64`")),
        }
    }
}
