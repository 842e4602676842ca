//! Logic, shifts and bit fields.

use super::Decoder;
use super::types::{Modifiers, Type, with_type};
use crate::error::ParseError;
use crate::exec::registers::{Registers, map1, map2, map3};
use crate::ir::Op;
use crate::parse::ast::{Instruction, Operand};
use crate::semantics::integer::{
    Int, PermuteMode, bit_field_extract, bit_field_insert, find_leading, funnel_shift, logic3, permute, shift_left,
};

type Decoded = Result<Op, ParseError>;

#[derive(Clone, Copy)]
enum Logic {
    And,
    Or,
    Xor,
}

impl Logic {
    fn apply(self, a: u64, b: u64) -> u64 {
        match self {
            Logic::And => a & b,
            Logic::Or => a | b,
            Logic::Xor => a ^ b,
        }
    }
}

macro_rules! with_bits {
    ($inst:expr, $ty:expr, $T:ident => $body:expr) => {
        with_type!($inst, $ty, [B16 B32 B64], $T => $body)
    };
}

impl<'a> Decoder<'_, 'a> {
    pub(super) fn bits(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        // The mode of `prmt` follows its type.
        let mode = if inst.opcode == "prmt" { mods.take_map(permute_mode) } else { None };
        let ty = mods.take_type(inst)?;
        match inst.opcode {
            "and" => self.logic(inst, ty, Logic::And),
            "or" => self.logic(inst, ty, Logic::Or),
            "xor" => self.logic(inst, ty, Logic::Xor),
            "not" if ty == Type::Pred => {
                inst.expect_operands(2)?;
                let a = self.pred_source(inst, 1)?;
                self.pred_result(inst, move |registers| !a.bits(registers))
            }
            "not" => with_bits!(inst, ty, T => self.bits1::<T>(inst, ty, |a| !a)),
            "cnot" => with_bits!(inst, ty, T => self.bits1::<T>(inst, ty, |a| T::from(a == 0))),
            "shl" => with_bits!(inst, ty, T => {
                self.shift::<T>(inst, ty, |a, n| T::from_raw(shift_left(a.raw(), n, T::BITS)))
            }),
            "shr" => with_type!(inst, ty, [B16 B32 B64 U16 U32 U64 S16 S32 S64], T => {
                self.shift::<T>(inst, ty, Int::shr)
            }),
            "popc" | "clz" if !ty.is_untyped() => Err(inst.operand_error("this opcode takes `.b32` and `.b64`")),
            "popc" => self.count(inst, ty, |a, _| a.count_ones()),
            "clz" => self.count(inst, ty, |a, bits| a.leading_zeros() + bits - 64),
            "bfind" => {
                let shift_amount = mods.take("shiftamt");
                let signed = ty.is_signed();
                if !ty.is_integer() {
                    return Err(inst.operand_error("`bfind` takes signed and unsigned types"));
                }
                let f = move |a, bits| find_leading(a, bits, signed, shift_amount);
                self.count(inst, ty, f)
            }
            "brev" => with_type!(inst, ty, [B32 B64], T => self.bits1::<T>(inst, ty, T::reverse_bits)),
            "bfe" => with_type!(inst, ty, [U32 S32 U64 S64], T => self.extract::<T>(inst, ty)),
            "bfi" => with_type!(inst, ty, [B32 B64], T => self.insert::<T>(inst, ty)),
            "prmt" => self.prmt(inst, mode.unwrap_or(PermuteMode::Index), ty),
            "lop3" => self.lop3(inst, ty),
            "shf" => self.funnel(inst, mods, ty),
            _ => Err(inst.unsupported(format!("`{}`", inst.opcode))),
        }
    }

    /// Writes a predicate computed from other predicates.
    fn pred_result(
        &mut self,
        inst: &Instruction<'a>,
        f: impl Fn(&Registers) -> u32 + Send + Sync + 'static,
    ) -> Decoded {
        let Some(d) = self.pred_dest(inst, self.operand(inst, 0)?)? else {
            return Err(inst.operand_error("`_` cannot be this destination"));
        };
        Ok(Op::Alu(Box::new(move |registers, mask| {
            let bits = f(registers);
            registers.set_pred(d, bits, mask);
        })))
    }

    fn logic(&mut self, inst: &Instruction<'a>, ty: Type, logic: Logic) -> Decoded {
        inst.expect_operands(3)?;
        if ty == Type::Pred {
            let (a, b) = (self.pred_source(inst, 1)?, self.pred_source(inst, 2)?);
            return self.pred_result(inst, move |registers| {
                let (a, b) = (u64::from(a.bits(registers)), u64::from(b.bits(registers)));
                logic.apply(a, b) as u32
            });
        }
        with_bits!(inst, ty, T => {
            let d = self.dest::<T>(inst, ty)?;
            let (a, b) = (self.source::<T>(inst, 1, ty)?, self.source::<T>(inst, 2, ty)?);
            Ok(Op::Alu(match logic {
                Logic::And => map2::<T, T, T>(d, a, b, |a, b| a & b),
                Logic::Or => map2::<T, T, T>(d, a, b, |a, b| a | b),
                Logic::Xor => map2::<T, T, T>(d, a, b, |a, b| a ^ b),
            }))
        })
    }

    fn bits1<T: Int>(
        &mut self,
        inst: &Instruction<'a>,
        ty: Type,
        f: impl Fn(T) -> T + Send + Sync + 'static,
    ) -> Decoded {
        inst.expect_operands(2)?;
        let (d, a) = (self.dest::<T>(inst, ty)?, self.source::<T>(inst, 1, ty)?);
        Ok(Op::Alu(map1::<T, T>(d, a, f)))
    }

    fn shift<T: Int>(
        &mut self,
        inst: &Instruction<'a>,
        ty: Type,
        f: impl Fn(T, u32) -> T + Send + Sync + 'static,
    ) -> Decoded {
        inst.expect_operands(3)?;
        let (d, a) = (self.dest::<T>(inst, ty)?, self.source::<T>(inst, 1, ty)?);
        let amount = self.source::<u32>(inst, 2, Type::U32)?;
        Ok(Op::Alu(map2::<T, T, u32>(d, a, amount, f)))
    }

    /// Operations on 32 or 64 bits that give a `u32`.
    fn count(
        &mut self,
        inst: &Instruction<'a>,
        ty: Type,
        f: impl Fn(u64, u32) -> u32 + Send + Sync + 'static,
    ) -> Decoded {
        inst.expect_operands(2)?;
        let d = self.dest::<u32>(inst, Type::U32)?;
        match ty.bits() {
            32 => {
                let a = self.source::<u32>(inst, 1, ty)?;
                Ok(Op::Alu(map1::<u32, u32>(d, a, move |a| f(u64::from(a), 32))))
            }
            64 => {
                let a = self.source::<u64>(inst, 1, ty)?;
                Ok(Op::Alu(map1::<u32, u64>(d, a, move |a| f(a, 64))))
            }
            _ => Err(inst.operand_error("this opcode takes types of 32 and 64 bits")),
        }
    }

    fn extract<T: Int>(&mut self, inst: &Instruction<'a>, ty: Type) -> Decoded {
        inst.expect_operands(4)?;
        let (d, a) = (self.dest::<T>(inst, ty)?, self.source::<T>(inst, 1, ty)?);
        let start = self.source::<u32>(inst, 2, Type::U32)?;
        let length = self.source::<u32>(inst, 3, Type::U32)?;
        let (bits, signed) = (ty.bits(), ty.is_signed());
        Ok(Op::Alu(map3::<T, T, u32, u32>(d, a, start, length, move |a, start, length| {
            T::from_raw(bit_field_extract(a.raw(), start, length, bits, signed))
        })))
    }

    fn insert<T: Int>(&mut self, inst: &Instruction<'a>, ty: Type) -> Decoded {
        inst.expect_operands(5)?;
        let d = self.dest::<T>(inst, ty)?;
        let (field, base) = (self.source::<T>(inst, 1, ty)?, self.source::<T>(inst, 2, ty)?);
        let start = self.source::<u32>(inst, 3, Type::U32)?;
        let length = self.source::<u32>(inst, 4, Type::U32)?;
        Ok(Op::Alu(Box::new(move |registers, mask| {
            // The start and length are needed beside two wide operands: four sources.
            let (start, length) = (*start.read(registers), *length.read(registers));
            let (field, base) = (*field.read(registers), *base.read(registers));
            let d = d.write(registers);
            for lane in crate::exec::registers::lanes_of(mask) {
                let (field, base) = (T::from_word(field[lane]), T::from_word(base[lane]));
                let value = bit_field_insert(field.raw(), base.raw(), start[lane], length[lane], T::BITS);
                d[lane] = T::from_raw(value).to_word();
            }
        })))
    }

    fn prmt(&mut self, inst: &Instruction<'a>, mode: PermuteMode, ty: Type) -> Decoded {
        if ty != Type::B32 {
            return Err(inst.operand_error("this opcode takes `.b32`"));
        }
        inst.expect_operands(4)?;
        let d = self.dest::<u32>(inst, ty)?;
        let (a, b) = (self.source::<u32>(inst, 1, ty)?, self.source::<u32>(inst, 2, ty)?);
        let c = self.source::<u32>(inst, 3, ty)?;
        let f = move |a, b, c| permute(a, b, c, mode);
        Ok(Op::Alu(map3::<u32, u32, u32, u32>(d, a, b, c, f)))
    }

    fn lop3(&mut self, inst: &Instruction<'a>, ty: Type) -> Decoded {
        if ty != Type::B32 {
            return Err(inst.operand_error("this opcode takes `.b32`"));
        }
        inst.expect_operands(5)?;
        let Operand::Int(table @ 0..=255) = *self.operand(inst, 4)? else {
            return Err(inst.operand_error("the truth table must be a constant from 0 to 255"));
        };
        let d = self.dest::<u32>(inst, ty)?;
        let (a, b) = (self.source::<u32>(inst, 1, ty)?, self.source::<u32>(inst, 2, ty)?);
        let c = self.source::<u32>(inst, 3, ty)?;
        let f = move |a, b, c| logic3(a, b, c, table as u32);
        Ok(Op::Alu(map3::<u32, u32, u32, u32>(d, a, b, c, f)))
    }

    fn funnel(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>, ty: Type) -> Decoded {
        let left = mods.take("l");
        if !left && !mods.take("r") {
            return Err(inst.operand_error("`.l` or `.r` is missing"));
        }
        let clamp = mods.take("clamp");
        if !clamp && !mods.take("wrap") {
            return Err(inst.operand_error("`.clamp` or `.wrap` is missing"));
        }
        if ty != Type::B32 {
            return Err(inst.operand_error("this opcode takes `.b32`"));
        }
        inst.expect_operands(4)?;
        let d = self.dest::<u32>(inst, ty)?;
        let (a, b) = (self.source::<u32>(inst, 1, ty)?, self.source::<u32>(inst, 2, ty)?);
        let amount = self.source::<u32>(inst, 3, Type::U32)?;
        let f = move |a, b, amount| funnel_shift(a, b, amount, left, clamp);
        Ok(Op::Alu(map3::<u32, u32, u32, u32>(d, a, b, amount, f)))
    }
}

fn permute_mode(name: &str) -> Option<PermuteMode> {
    Some(match name {
        "f4e" => PermuteMode::Forward4,
        "b4e" => PermuteMode::Backward4,
        "rc8" => PermuteMode::Replicate8,
        "ecl" => PermuteMode::EdgeClampLeft,
        "ecr" => PermuteMode::EdgeClampRight,
        "rc16" => PermuteMode::Replicate16,
        _ => return None,
    })
}
