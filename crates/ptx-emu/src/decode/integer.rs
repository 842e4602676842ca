//! Integer arithmetic.

use super::Decoder;
use super::operand::narrow;
use super::types::{Modifiers, Type, with_type};
use crate::error::ParseError;
use crate::exec::registers::{FULL, LANES, PRED_CARRY, Reg, Word, for_lanes, lanes_of, map1, map2, map3};
use crate::ir::Op;
use crate::parse::ast::Instruction;
use crate::semantics::integer::{Int, Widen, add_with_carry, sub_with_borrow};

type Decoded = Result<Op, ParseError>;

macro_rules! with_int {
    ($inst:expr, $ty:expr, $T:ident => $body:expr) => {
        with_type!($inst, $ty, [U16 S16 U32 S32 U64 S64], $T => $body)
    };
}

/// The type of twice the width.
fn wide(ty: Type) -> Type {
    match ty {
        Type::U16 => Type::U32,
        Type::S16 => Type::S32,
        Type::U32 => Type::U64,
        _ => Type::S64,
    }
}

/// Which part of a product an instruction keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Low,
    High,
    Wide,
}

fn part(inst: &Instruction<'_>, mods: &mut Modifiers<'_>) -> Result<Part, ParseError> {
    mods.take_map(|modifier| match modifier {
        "lo" => Some(Part::Low),
        "hi" => Some(Part::High),
        "wide" => Some(Part::Wide),
        _ => None,
    })
    .ok_or_else(|| inst.operand_error("`.lo`, `.hi` or `.wide` is missing"))
}

/// Two factors of 24 bits: the low 32 bits of their product, or bits 16 to 47.
fn mul24(a: u32, b: u32, signed: bool, high: bool) -> u32 {
    let extend = |x: u32| {
        if signed { i64::from((x << 8) as i32 >> 8) } else { i64::from(x & 0xff_ffff) }
    };
    let product = extend(a) * extend(b);
    (if high { product >> 16 } else { product }) as u32
}

impl<'a> Decoder<'_, 'a> {
    fn int1<T: Int>(
        &mut self,
        inst: &Instruction<'a>,
        ty: Type,
        f: impl Fn(T) -> T + Send + Sync + 'static,
    ) -> Decoded {
        inst.expect_operands(2)?;
        let (d, a) = (self.dest::<T>(inst, ty)?, self.source::<T>(inst, 1, ty)?);
        Ok(Op::Alu(map1::<T, T>(d, a, f)))
    }

    fn int2<T: Int>(
        &mut self,
        inst: &Instruction<'a>,
        ty: Type,
        f: impl Fn(T, T) -> T + Send + Sync + 'static,
    ) -> Decoded {
        inst.expect_operands(3)?;
        let d = self.dest::<T>(inst, ty)?;
        let (a, b) = (self.source::<T>(inst, 1, ty)?, self.source::<T>(inst, 2, ty)?);
        Ok(Op::Alu(map2::<T, T, T>(d, a, b, f)))
    }

    fn int3<T: Int>(
        &mut self,
        inst: &Instruction<'a>,
        ty: Type,
        f: impl Fn(T, T, T) -> T + Send + Sync + 'static,
    ) -> Decoded {
        inst.expect_operands(4)?;
        let d = self.dest::<T>(inst, ty)?;
        let (a, b) = (self.source::<T>(inst, 1, ty)?, self.source::<T>(inst, 2, ty)?);
        let c = self.source::<T>(inst, 3, ty)?;
        Ok(Op::Alu(map3::<T, T, T, T>(d, a, b, c, f)))
    }

    pub(super) fn integer(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>, ty: Type) -> Decoded {
        let carry_in = matches!(inst.opcode, "addc" | "subc" | "madc");
        let carry_out = (carry_in || matches!(inst.opcode, "add" | "sub" | "mad")) && mods.take("cc");
        if carry_in || carry_out {
            return self.with_carry(inst, mods, ty);
        }
        match inst.opcode {
            "add" | "sub" if mods.take("sat") => {
                if ty != Type::S32 {
                    return Err(inst.operand_error("`.sat` takes `.s32`"));
                }
                if inst.opcode == "add" {
                    self.int2::<i32>(inst, ty, i32::saturating_add)
                } else {
                    self.int2::<i32>(inst, ty, i32::saturating_sub)
                }
            }
            "add" => with_int!(inst, ty, T => self.int2::<T>(inst, ty, Int::add)),
            "sub" => with_int!(inst, ty, T => self.int2::<T>(inst, ty, Int::sub)),
            "div" => with_int!(inst, ty, T => self.int2::<T>(inst, ty, Int::div)),
            "rem" => with_int!(inst, ty, T => self.int2::<T>(inst, ty, Int::rem)),
            "min" | "max" if mods.take("relu") => {
                if ty != Type::S32 {
                    return Err(inst.operand_error("`.relu` takes `.s32`"));
                }
                if inst.opcode == "min" {
                    self.int2::<i32>(inst, ty, |a, b| a.min(b).max(0))
                } else {
                    self.int2::<i32>(inst, ty, |a, b| a.max(b).max(0))
                }
            }
            "min" => with_int!(inst, ty, T => self.int2::<T>(inst, ty, T::min)),
            "max" => with_int!(inst, ty, T => self.int2::<T>(inst, ty, T::max)),
            "neg" | "abs" if !ty.is_signed() => Err(inst.operand_error("this opcode takes signed types")),
            "neg" => with_int!(inst, ty, T => self.int1::<T>(inst, ty, Int::neg)),
            "abs" => with_int!(inst, ty, T => self.int1::<T>(inst, ty, Int::abs)),
            "sad" => with_int!(inst, ty, T => {
                self.int3::<T>(inst, ty, |a, b, c| Int::add(c, Int::abs_diff(a, b)))
            }),
            "mul" => match part(inst, mods)? {
                Part::Low => with_int!(inst, ty, T => self.int2::<T>(inst, ty, Int::mul_lo)),
                Part::High => with_int!(inst, ty, T => self.int2::<T>(inst, ty, Int::mul_hi)),
                Part::Wide => with_type!(inst, ty, [U16 S16 U32 S32], T => self.mul_wide::<T>(inst, ty)),
            },
            "mad" => self.mad(inst, mods, ty),
            "mul24" | "mad24" => self.mul24(inst, mods, ty),
            "dp4a" | "dp2a" => self.dot_product(inst, mods, ty),
            _ => Err(inst.unknown()),
        }
    }

    fn mul_wide<T: Widen>(&mut self, inst: &Instruction<'a>, ty: Type) -> Decoded {
        inst.expect_operands(3)?;
        let d = self.dest::<T::Wide>(inst, wide(ty))?;
        let (a, b) = (self.source::<T>(inst, 1, ty)?, self.source::<T>(inst, 2, ty)?);
        Ok(Op::Alu(map2::<T::Wide, T, T>(d, a, b, T::mul_wide)))
    }

    fn mad_wide<T: Widen>(&mut self, inst: &Instruction<'a>, ty: Type) -> Decoded {
        inst.expect_operands(4)?;
        let d = self.dest::<T::Wide>(inst, wide(ty))?;
        let (a, b) = (self.source::<T>(inst, 1, ty)?, self.source::<T>(inst, 2, ty)?);
        let c = self.source::<T::Wide>(inst, 3, wide(ty))?;
        let f = |a: T, b: T, c: T::Wide| a.mul_wide(b).add(c);
        Ok(Op::Alu(map3::<T::Wide, T, T, T::Wide>(d, a, b, c, f)))
    }

    fn mad(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>, ty: Type) -> Decoded {
        match part(inst, mods)? {
            Part::Low => with_int!(inst, ty, T => {
                self.int3::<T>(inst, ty, |a, b, c| Int::add(a.mul_lo(b), c))
            }),
            Part::High if mods.take("sat") => {
                if ty != Type::S32 {
                    return Err(inst.operand_error("`.sat` takes `.s32`"));
                }
                self.int3::<i32>(inst, ty, |a, b, c| a.mul_hi(b).saturating_add(c))
            }
            Part::High => with_int!(inst, ty, T => {
                self.int3::<T>(inst, ty, |a, b, c| Int::add(a.mul_hi(b), c))
            }),
            Part::Wide => with_type!(inst, ty, [U16 S16 U32 S32], T => self.mad_wide::<T>(inst, ty)),
        }
    }

    fn mul24(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>, ty: Type) -> Decoded {
        let high = match part(inst, mods)? {
            Part::Low => false,
            Part::High => true,
            Part::Wide => return Err(inst.unknown_modifier("wide")),
        };
        if !matches!(ty, Type::U32 | Type::S32) {
            return Err(inst.operand_error("this opcode takes `.u32` and `.s32`"));
        }
        let signed = ty.is_signed();
        if inst.opcode == "mul24" {
            self.int2::<u32>(inst, ty, move |a, b| mul24(a, b, signed, high))
        } else {
            let f = move |a, b, c: u32| c.wrapping_add(mul24(a, b, signed, high));
            self.int3::<u32>(inst, ty, f)
        }
    }

    fn dot_product(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>, b_type: Type) -> Decoded {
        let a_type = mods.take_type(inst)?;
        let is_32 = |ty| matches!(ty, Type::U32 | Type::S32);
        if !is_32(a_type) || !is_32(b_type) {
            return Err(inst.operand_error("this opcode takes `.u32` and `.s32`"));
        }
        let (a_signed, b_signed) = (a_type.is_signed(), b_type.is_signed());
        let byte = |x: u32, index: u32, signed: bool| {
            let byte = (x >> (8 * index)) as u8;
            if signed { i32::from(byte as i8) } else { i32::from(byte) }
        };
        if inst.opcode == "dp4a" {
            return self.int3::<u32>(inst, Type::B32, move |a, b, c| {
                (0..4).fold(c, |sum, i| sum.wrapping_add((byte(a, i, a_signed) * byte(b, i, b_signed)) as u32))
            });
        }
        let high = match part(inst, mods)? {
            Part::Low => 0,
            Part::High => 2,
            Part::Wide => return Err(inst.unknown_modifier("wide")),
        };
        let half = |x: u32, index: u32, signed: bool| {
            let half = (x >> (16 * index)) as u16;
            if signed { i32::from(half as i16) } else { i32::from(half) }
        };
        self.int3::<u32>(inst, Type::B32, move |a, b, c| {
            (0..2).fold(c, |sum, i| {
                let product = half(a, i, a_signed) * byte(b, i + high, b_signed);
                sum.wrapping_add(product as u32)
            })
        })
    }

    /// Additions, subtractions and multiply-adds that read or write the carry flag.
    fn with_carry(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>, ty: Type) -> Decoded {
        match ty {
            Type::U32 | Type::S32 => self.with_carry_of::<u32>(inst, mods, ty),
            Type::U64 | Type::S64 => self.with_carry_of::<u64>(inst, mods, ty),
            _ => Err(inst.operand_error("carries take types of 32 and 64 bits")),
        }
    }

    fn with_carry_of<W: Word>(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>, ty: Type) -> Decoded {
        let multiply = matches!(inst.opcode, "mad" | "madc");
        let subtract = matches!(inst.opcode, "sub" | "subc");
        let carry_in = matches!(inst.opcode, "addc" | "subc" | "madc");
        // `.cc` was taken already where it stood: without it, only `addc` and its like get here,
        // and those leave the flag alone.
        let carry_out = inst.modifiers.contains(&"cc");
        let high = multiply
            && match part(inst, mods)? {
                Part::Low => false,
                Part::High => true,
                Part::Wide => return Err(inst.unknown_modifier("wide")),
            };
        inst.expect_operands(if multiply { 4 } else { 3 })?;
        let operand = self.operand(inst, 0)?;
        let d: Reg<W> = narrow(self.dest_any(inst, operand, ty, super::operand::Width::Exact)?);
        let mut sources = [d; 3];
        for (index, source) in sources.iter_mut().enumerate().take(inst.operands.len() - 1) {
            let operand = self.operand(inst, index + 1)?;
            *source = narrow(self.source_any(inst, operand, ty, super::operand::Width::Exact)?);
        }
        let (bits, signed) = (ty.bits(), ty.is_signed());
        let product = move |a: u64, b: u64| match (bits, high, signed) {
            (_, false, _) => a.wrapping_mul(b),
            (32, true, false) => (a as u32).mul_hi(b as u32).raw(),
            (32, true, true) => (a as i32).mul_hi(b as i32).raw(),
            (_, true, false) => a.mul_hi(b),
            (_, true, true) => (a as i64).mul_hi(b as i64).raw(),
        };
        let mask_bits = if bits == 64 { u64::MAX } else { u64::from(u32::MAX) };
        Ok(Op::Alu(Box::new(move |registers, mask| {
            let [a, b, c] = sources.map(|source| *source.read(registers));
            let carry = if carry_in { registers.pred[PRED_CARRY as usize] } else { 0 };
            let mut carries = 0;
            let d = d.write(registers);
            for_lanes!(mask, lane => {
                let carry = carry >> lane & 1 != 0;
                let (a, b) = (a[lane].to_raw(), b[lane].to_raw());
                let (value, out) = if subtract {
                    sub_with_borrow(a, b, carry, bits)
                } else if multiply {
                    add_with_carry(product(a, b) & mask_bits, c[lane].to_raw(), carry, bits)
                } else {
                    add_with_carry(a, b, carry, bits)
                };
                d[lane] = W::from_raw(value);
                carries |= u32::from(out) << lane;
            });
            if carry_out {
                registers.set_pred(PRED_CARRY, carries, mask);
            }
        })))
    }
}
