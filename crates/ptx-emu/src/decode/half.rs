//! Arithmetic on f16 and bf16, single and packed.

use super::Decoder;
use super::types::{Modifiers, Type};
use crate::error::ParseError;
use crate::exec::registers::{map1, map2, map3};
use crate::ir::Op;
use crate::parse::ast::Instruction;
use crate::semantics::float::{Rounding, min_max};
use crate::semantics::small::{BF16, F16, Format};

type Decoded = Result<Op, ParseError>;

fn packed(ty: Type) -> bool {
    matches!(ty, Type::F16x2 | Type::Bf16x2)
}

fn halves(x: u32) -> (u16, u16) {
    (x as u16, (x >> 16) as u16)
}

fn join(low: u16, high: u16) -> u32 {
    u32::from(high) << 16 | u32::from(low)
}

/// What modifies the result of an instruction on half-precision values.
#[derive(Clone, Copy, Debug)]
struct Finish {
    format: Format,
    ftz: bool,
    sat: bool,
    relu: bool,
}

impl Finish {
    fn input(self, code: u16) -> u16 {
        if self.ftz { self.format.flush(code) } else { code }
    }

    fn output(self, code: u16) -> u16 {
        let code = if self.ftz { self.format.flush(code) } else { code };
        if !self.sat && !self.relu {
            return code;
        }
        let value = self.format.decode(code);
        if self.sat {
            let value = if value > 0.0 { value.min(1.0) } else { 0.0 };
            self.format.encode(value, Rounding::Nearest, false)
        } else if value <= 0.0 {
            // Negative zero too: the result of `.relu` has no sign. NaN stays.
            0
        } else {
            code
        }
    }
}

impl<'a> Decoder<'_, 'a> {
    pub(super) fn half1(
        &mut self,
        inst: &Instruction<'a>,
        ty: Type,
        f: impl Fn(u16) -> u16 + Send + Sync + 'static,
    ) -> Decoded {
        inst.expect_operands(2)?;
        if packed(ty) {
            let (d, a) = (self.dest::<u32>(inst, ty)?, self.source::<u32>(inst, 1, ty)?);
            return Ok(Op::Alu(map1::<u32, u32>(d, a, move |a| {
                let (low, high) = halves(a);
                join(f(low), f(high))
            })));
        }
        let (d, a) = (self.dest::<u16>(inst, ty)?, self.source::<u16>(inst, 1, ty)?);
        Ok(Op::Alu(map1::<u16, u16>(d, a, f)))
    }

    fn half2(
        &mut self,
        inst: &Instruction<'a>,
        ty: Type,
        f: impl Fn(u16, u16) -> u16 + Send + Sync + 'static,
    ) -> Decoded {
        inst.expect_operands(3)?;
        if packed(ty) {
            let d = self.dest::<u32>(inst, ty)?;
            let (a, b) = (self.source::<u32>(inst, 1, ty)?, self.source::<u32>(inst, 2, ty)?);
            return Ok(Op::Alu(map2::<u32, u32, u32>(d, a, b, move |a, b| {
                let ((a0, a1), (b0, b1)) = (halves(a), halves(b));
                join(f(a0, b0), f(a1, b1))
            })));
        }
        let d = self.dest::<u16>(inst, ty)?;
        let (a, b) = (self.source::<u16>(inst, 1, ty)?, self.source::<u16>(inst, 2, ty)?);
        Ok(Op::Alu(map2::<u16, u16, u16>(d, a, b, f)))
    }

    fn half3(
        &mut self,
        inst: &Instruction<'a>,
        ty: Type,
        f: impl Fn(u16, u16, u16) -> u16 + Send + Sync + 'static,
    ) -> Decoded {
        inst.expect_operands(4)?;
        if packed(ty) {
            let d = self.dest::<u32>(inst, ty)?;
            let (a, b) = (self.source::<u32>(inst, 1, ty)?, self.source::<u32>(inst, 2, ty)?);
            let c = self.source::<u32>(inst, 3, ty)?;
            return Ok(Op::Alu(map3::<u32, u32, u32, u32>(d, a, b, c, move |a, b, c| {
                let ((a0, a1), (b0, b1), (c0, c1)) = (halves(a), halves(b), halves(c));
                join(f(a0, b0, c0), f(a1, b1, c1))
            })));
        }
        let d = self.dest::<u16>(inst, ty)?;
        let (a, b) = (self.source::<u16>(inst, 1, ty)?, self.source::<u16>(inst, 2, ty)?);
        let c = self.source::<u16>(inst, 3, ty)?;
        Ok(Op::Alu(map3::<u16, u16, u16, u16>(d, a, b, c, f)))
    }

    pub(super) fn half(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>, ty: Type) -> Decoded {
        let is_f16 = matches!(ty, Type::F16 | Type::F16x2);
        let format = if is_f16 { F16 } else { BF16 };
        let arithmetic = matches!(inst.opcode, "add" | "sub" | "mul" | "fma");
        // bf16 has neither `.ftz` nor `.sat`, and the only rounding is to nearest.
        let finish = Finish {
            format,
            ftz: is_f16 && mods.take("ftz"),
            sat: is_f16 && arithmetic && mods.take("sat"),
            relu: inst.opcode == "fma" && mods.take("relu"),
        };
        if finish.sat && finish.relu {
            return Err(inst.unknown_modifier("relu"));
        }
        let rounded = arithmetic && mods.take("rn");
        match inst.opcode {
            "add" | "sub" | "mul" => {
                let f: fn(Format, u16, u16) -> u16 = match inst.opcode {
                    "add" => Format::add,
                    "sub" => Format::sub,
                    _ => Format::mul,
                };
                self.half2(inst, ty, move |a, b| finish.output(f(format, finish.input(a), finish.input(b))))
            }
            "fma" => {
                if !rounded {
                    return Err(inst.operand_error("a rounding modifier is missing"));
                }
                self.half3(inst, ty, move |a, b, c| {
                    let (a, b, c) = (finish.input(a), finish.input(b), finish.input(c));
                    finish.output(format.fma(a, b, c))
                })
            }
            "min" | "max" => {
                let max = inst.opcode == "max";
                let propagate = mods.take("NaN");
                let xorsign = mods.take("xorsign");
                if xorsign && !mods.take("abs") {
                    return Err(inst.operand_error("`.xorsign` goes with `.abs`"));
                }
                self.half2(inst, ty, move |a, b| {
                    let (a, b) = (finish.input(a), finish.input(b));
                    let strip = if xorsign { 0x7fff } else { 0xffff };
                    let (x, y) = (format.decode(a & strip), format.decode(b & strip));
                    match min_max(x, y, max, propagate) {
                        None => 0x7fff,
                        Some(value) => {
                            let sign = if xorsign { (a ^ b) & 0x8000 } else { 0 };
                            format.encode(value, Rounding::Nearest, false) | sign
                        }
                    }
                })
            }
            "neg" => self.half1(inst, ty, move |a| finish.input(a) ^ 0x8000),
            "abs" => self.half1(inst, ty, move |a| finish.input(a) & 0x7fff),
            _ => Err(inst.unknown_modifier("f16")),
        }
    }
}
