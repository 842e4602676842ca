//! Comparisons and selections.

use super::Decoder;
use super::types::{Modifiers, Type, with_type};
use crate::error::ParseError;
use crate::exec::registers::{FULL, LANES, Lane, PredOperand, Registers, for_lanes, lanes_of, map3, test2};
use crate::ir::Op;
use crate::parse::ast::{Instruction, Operand};
use crate::semantics::float::flush32;
use crate::semantics::small::{BF16, F16, Format};
use std::cmp::Ordering;

type Decoded = Result<Op, ParseError>;

/// A comparison: which orderings satisfy it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Comparison {
    less: bool,
    equal: bool,
    greater: bool,
    unordered: bool,
    /// `lo`, `ls`, `hi`, `hs`: unsigned types only.
    unsigned_only: bool,
    /// Comparisons that ask about NaN: floats only.
    float_only: bool,
}

impl Comparison {
    fn parse(name: &str) -> Option<Comparison> {
        let (less, equal, greater, unordered) = match name {
            "eq" => (false, true, false, false),
            "ne" => (true, false, true, false),
            "lt" | "lo" => (true, false, false, false),
            "le" | "ls" => (true, true, false, false),
            "gt" | "hi" => (false, false, true, false),
            "ge" | "hs" => (false, true, true, false),
            "equ" => (false, true, false, true),
            "neu" => (true, false, true, true),
            "ltu" => (true, false, false, true),
            "leu" => (true, true, false, true),
            "gtu" => (false, false, true, true),
            "geu" => (false, true, true, true),
            "num" => (true, true, true, false),
            "nan" => (false, false, false, true),
            _ => return None,
        };
        let unsigned_only = matches!(name, "lo" | "ls" | "hi" | "hs");
        let float_only = unordered || name == "num";
        Some(Comparison { less, equal, greater, unordered, unsigned_only, float_only })
    }

    fn holds(self, ordering: Option<Ordering>) -> bool {
        match ordering {
            Some(Ordering::Less) => self.less,
            Some(Ordering::Equal) => self.equal,
            Some(Ordering::Greater) => self.greater,
            None => self.unordered,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Combine {
    And,
    Or,
    Xor,
}

impl Combine {
    fn parse(name: &str) -> Option<Combine> {
        Some(match name {
            "and" => Combine::And,
            "or" => Combine::Or,
            "xor" => Combine::Xor,
            _ => return None,
        })
    }

    fn apply(self, a: u32, b: u32) -> u32 {
        match self {
            Combine::And => a & b,
            Combine::Or => a | b,
            Combine::Xor => a ^ b,
        }
    }
}

/// The comparison as a test of two lanes' values, by its satisfied orderings: the loops over
/// lanes are specialised for the six plain ones.
macro_rules! compare_lanes {
    ($comparison:expr, $T:ty, $a:expr, $b:expr, $set:expr) => {{
        let (a, b, set, c) = ($a, $b, $set, $comparison);
        match (c.less, c.equal, c.greater, c.unordered) {
            (false, true, false, false) => test2::<$T, $T>(a, b, |a, b| a == b, set),
            (true, false, true, false) if <$T as Value>::ORDERED => test2::<$T, $T>(a, b, |a, b| a != b, set),
            (true, false, false, false) => test2::<$T, $T>(a, b, |a, b| a < b, set),
            (true, true, false, false) => test2::<$T, $T>(a, b, |a, b| a <= b, set),
            (false, false, true, false) => test2::<$T, $T>(a, b, |a, b| a > b, set),
            (false, true, true, false) => test2::<$T, $T>(a, b, |a, b| a >= b, set),
            _ => test2::<$T, $T>(a, b, move |a, b| c.holds(a.partial_cmp(&b)), set),
        }
    }};
}

/// Whether all values of a type compare.
trait Value {
    const ORDERED: bool;
}

macro_rules! values {
    ($($ty:ty => $ordered:expr),*) => {$(impl Value for $ty { const ORDERED: bool = $ordered; })*};
}

values!(u16 => true, i16 => true, u32 => true, i32 => true, u64 => true, i64 => true,
        f32 => false, f64 => false);

fn half_format(ty: Type) -> Option<Format> {
    match ty {
        Type::F16 | Type::F16x2 => Some(F16),
        Type::Bf16 | Type::Bf16x2 => Some(BF16),
        _ => None,
    }
}

impl<'a> Decoder<'_, 'a> {
    /// Decodes the comparison of operands 1 and 2; `set` receives the lanes where it holds.
    fn comparison(
        &mut self,
        inst: &Instruction<'a>,
        mods: &mut Modifiers<'a>,
        ty: Type,
        set: impl Fn(&mut Registers, u32, u32) + Send + Sync + 'static,
    ) -> Decoded {
        let comparison = mods
            .take_map(Comparison::parse)
            .ok_or_else(|| inst.operand_error("a comparison is missing from the opcode"))?;
        let is_float = !ty.is_integer() && !ty.is_untyped();
        if comparison.float_only && !is_float
            || comparison.unsigned_only && !ty.is_unsigned()
            || ty.is_untyped() && comparison.less != comparison.greater
        {
            return Err(inst.operand_error("this comparison does not take this type"));
        }
        let ftz = mods.take("ftz");
        if ftz && !matches!(ty, Type::F32 | Type::F16 | Type::F16x2) {
            return Err(inst.unknown_modifier("ftz"));
        }
        match ty {
            Type::F32 if ftz => {
                let (a, b) = (self.source::<f32>(inst, 1, ty)?, self.source::<f32>(inst, 2, ty)?);
                let f = move |a: f32, b: f32| comparison.holds(flush32(a).partial_cmp(&flush32(b)));
                Ok(Op::Alu(test2::<f32, f32>(a, b, f, set)))
            }
            Type::F16 | Type::Bf16 => {
                let format = half_format(ty).unwrap_or(F16);
                let (a, b) = (self.source::<u16>(inst, 1, ty)?, self.source::<u16>(inst, 2, ty)?);
                let f = move |a, b| comparison.holds(compare_half(format, ftz, a, b));
                Ok(Op::Alu(test2::<u16, u16>(a, b, f, set)))
            }
            _ => with_type!(inst, ty, [B16 U16 S16 B32 U32 S32 F32 B64 U64 S64 F64], T => {
                let (a, b) = (self.source::<T>(inst, 1, ty)?, self.source::<T>(inst, 2, ty)?);
                Ok(Op::Alu(compare_lanes!(comparison, T, a, b, set)))
            }),
        }
    }

    pub(super) fn setp(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        let ty = mods.take_type(inst)?;
        let combine = mods.take_map(Combine::parse);
        inst.expect_operands(if combine.is_some() { 4 } else { 3 })?;
        let combined = match combine {
            Some(_) => self.pred_source(inst, 3)?,
            None => PredOperand::TRUE,
        };
        let combine = combine.unwrap_or(Combine::And);
        let (p, q) = match self.operand(inst, 0)? {
            Operand::Pair(p, q) => (self.pred_dest(inst, p)?, self.pred_dest(inst, q)?),
            operand => (self.pred_dest(inst, operand)?, None),
        };
        if q.is_some() && matches!(ty, Type::F16 | Type::Bf16) {
            return Err(inst.operand_error("comparisons of 16-bit floats give one predicate"));
        }
        if matches!(ty, Type::F16x2 | Type::Bf16x2) {
            return self.setp_packed(inst, mods, ty, (p, q), combine, combined);
        }
        self.comparison(inst, mods, ty, move |registers, bits, mask| {
            let other = combined.bits(registers);
            if let Some(p) = p {
                registers.set_pred(p, combine.apply(bits, other), mask);
            }
            if let Some(q) = q {
                registers.set_pred(q, combine.apply(!bits, other), mask);
            }
        })
    }

    /// The packed form compares halves: the low ones into the first predicate, the high ones
    /// into the second.
    fn setp_packed(
        &mut self,
        inst: &Instruction<'a>,
        mods: &mut Modifiers<'a>,
        ty: Type,
        (p, q): (Option<u32>, Option<u32>),
        combine: Combine,
        combined: PredOperand,
    ) -> Decoded {
        let (comparison, ftz) = self.packed_comparison(inst, mods, ty)?;
        let format = half_format(ty).unwrap_or(F16);
        let (a, b) = (self.source::<u32>(inst, 1, ty)?, self.source::<u32>(inst, 2, ty)?);
        Ok(Op::Alu(Box::new(move |registers, mask| {
            let (a, b) = (*a.read(registers), *b.read(registers));
            let other = combined.bits(registers);
            for (half, pred) in [p, q].into_iter().enumerate() {
                let Some(pred) = pred else { continue };
                let mut bits = 0;
                for lane in lanes_of(mask) {
                    let (x, y) = ((a[lane] >> (16 * half)) as u16, (b[lane] >> (16 * half)) as u16);
                    let holds = comparison.holds(compare_half(format, ftz, x, y));
                    bits |= u32::from(holds) << lane;
                }
                registers.set_pred(pred, combine.apply(bits, other), mask);
            }
        })))
    }

    fn packed_comparison(
        &mut self,
        inst: &Instruction<'a>,
        mods: &mut Modifiers<'a>,
        ty: Type,
    ) -> Result<(Comparison, bool), ParseError> {
        let comparison = mods
            .take_map(Comparison::parse)
            .filter(|comparison| !comparison.unsigned_only)
            .ok_or_else(|| inst.operand_error("a comparison is missing from the opcode"))?;
        let ftz = mods.take("ftz");
        if ftz && ty == Type::Bf16x2 {
            return Err(inst.unknown_modifier("ftz"));
        }
        Ok((comparison, ftz))
    }

    pub(super) fn set(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        let source_type = mods.take_type(inst)?;
        let dest_type = mods.take_type(inst)?;
        let combine = mods.take_map(Combine::parse);
        inst.expect_operands(if combine.is_some() { 4 } else { 3 })?;
        let combined = match combine {
            Some(_) => self.pred_source(inst, 3)?,
            None => PredOperand::TRUE,
        };
        let combine = combine.unwrap_or(Combine::And);
        if matches!(source_type, Type::F16x2 | Type::Bf16x2) {
            if combined.flip != 0 || combined.pred != PredOperand::TRUE.pred {
                return Err(inst.unsupported("combining a packed comparison with a predicate"));
            }
            return self.set_packed(inst, mods, dest_type, source_type);
        }
        let truth: u32 = match (dest_type, source_type) {
            (Type::U32 | Type::S32, _) => u32::MAX,
            (Type::U16 | Type::S16, Type::F16 | Type::Bf16) => 0xffff,
            (Type::F16, Type::F16) => 0x3c00,
            (Type::Bf16, Type::Bf16) => 0x3f80,
            (Type::F32, ty) if !matches!(ty, Type::F16 | Type::Bf16) => 1f32.to_bits(),
            _ => return Err(inst.operand_error("`set` cannot give this type")),
        };
        let d = self.dest::<u32>(inst, dest_type)?;
        self.comparison(inst, mods, source_type, move |registers, bits, mask| {
            let result = combine.apply(bits, combined.bits(registers));
            let d = d.write(registers);
            for_lanes!(mask, lane => d[lane] = if result >> lane & 1 != 0 { truth } else { 0 });
        })
    }

    fn set_packed(
        &mut self,
        inst: &Instruction<'a>,
        mods: &mut Modifiers<'a>,
        dest_type: Type,
        source_type: Type,
    ) -> Decoded {
        let (comparison, ftz) = self.packed_comparison(inst, mods, source_type)?;
        let truth: u32 = match dest_type {
            Type::F16x2 if source_type == dest_type => 0x3c00,
            Type::Bf16x2 if source_type == dest_type => 0x3f80,
            Type::U32 | Type::S32 => 0xffff,
            _ => return Err(inst.operand_error("`set` cannot give this type")),
        };
        let format = half_format(source_type).unwrap_or(F16);
        let d = self.dest::<u32>(inst, dest_type)?;
        let a = self.source::<u32>(inst, 1, source_type)?;
        let b = self.source::<u32>(inst, 2, source_type)?;
        let f = move |a: u32, b: u32| {
            let half = |shift: u32| {
                let (x, y) = ((a >> shift) as u16, (b >> shift) as u16);
                if comparison.holds(compare_half(format, ftz, x, y)) { truth << shift } else { 0 }
            };
            half(0) | half(16)
        };
        Ok(Op::Alu(crate::exec::registers::map2::<u32, u32, u32>(d, a, b, f)))
    }

    pub(super) fn select(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        if inst.opcode == "slct" {
            return self.slct(inst, mods);
        }
        let ty = mods.take_type(inst)?;
        inst.expect_operands(4)?;
        with_type!(inst, ty, [B16 U16 S16 B32 U32 S32 F32 B64 U64 S64 F64], T => self.selp_of::<T>(inst, ty))
    }

    fn selp_of<T: Lane>(&mut self, inst: &Instruction<'a>, ty: Type) -> Decoded {
        let d = self.dest::<T>(inst, ty)?;
        let (a, b) = (self.source::<T>(inst, 1, ty)?, self.source::<T>(inst, 2, ty)?);
        let p = self.pred_source(inst, 3)?;
        Ok(Op::Alu(Box::new(move |registers, mask| {
            let (a, b) = (*a.read(registers), *b.read(registers));
            let p = p.bits(registers);
            let d = d.write(registers);
            for_lanes!(mask, lane => {
                d[lane] = if p >> lane & 1 != 0 { a[lane] } else { b[lane] };
            });
        })))
    }

    fn slct(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        let selector = mods.take_type(inst)?;
        let ty = mods.take_type(inst)?;
        let ftz = mods.take("ftz");
        inst.expect_operands(4)?;
        // With `.ftz` a negative subnormal selects as -0 would: the first.
        let first: fn(u32) -> bool = match (selector, ftz) {
            (Type::S32, false) => |c| c as i32 >= 0,
            (Type::F32, false) => |c| f32::from_bits(c) >= 0.0,
            (Type::F32, true) => |c| flush32(f32::from_bits(c)) >= 0.0,
            _ => return Err(inst.operand_error("the selector must be `.s32` or `.f32`")),
        };
        with_type!(inst, ty, [B16 U16 S16 B32 U32 S32 F32 B64 U64 S64 F64], T => {
            self.slct_of::<T>(inst, ty, selector, first)
        })
    }

    fn slct_of<T: Lane>(
        &mut self,
        inst: &Instruction<'a>,
        ty: Type,
        selector: Type,
        first: fn(u32) -> bool,
    ) -> Decoded {
        let d = self.dest::<T>(inst, ty)?;
        let (a, b) = (self.source::<T>(inst, 1, ty)?, self.source::<T>(inst, 2, ty)?);
        let c = self.source::<u32>(inst, 3, selector)?;
        let f = move |a: T, b: T, c: u32| if first(c) { a } else { b };
        Ok(Op::Alu(map3::<T, T, T, u32>(d, a, b, c, f)))
    }
}

fn compare_half(format: Format, ftz: bool, a: u16, b: u16) -> Option<Ordering> {
    let value = |code| format.decode(if ftz { format.flush(code) } else { code });
    value(a).partial_cmp(&value(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_of_floats() {
        let holds = |name: &str, a: f32, b: f32| Comparison::parse(name).is_some_and(|c| c.holds(a.partial_cmp(&b)));
        let nan = f32::NAN;
        for (name, less, equal, greater, unordered) in [
            ("eq", false, true, false, false),
            ("ne", true, false, true, false),
            ("lt", true, false, false, false),
            ("geu", false, true, true, true),
            ("neu", true, false, true, true),
            ("num", true, true, true, false),
            ("nan", false, false, false, true),
        ] {
            assert_eq!(holds(name, 1.0, 2.0), less, "{name}");
            assert_eq!(holds(name, 0.0, -0.0), equal, "{name}");
            assert_eq!(holds(name, 2.0, 1.0), greater, "{name}");
            assert_eq!(holds(name, nan, 1.0), unordered, "{name}");
        }
    }
}
