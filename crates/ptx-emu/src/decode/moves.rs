//! Moves, packing and unpacking, and conversions of addresses between state spaces.

use super::Decoder;
use super::operand::Width;
use super::scope::Symbol;
use super::types::{Modifiers, Type};
use crate::error::ParseError;
use crate::exec::registers::{AnyReg, FULL, LANES, for_lanes, lanes_of, map1, map2};
use crate::ir::{
    CLUSTER_RANK_SHIFT, CONST_WINDOW, LOCAL_WINDOW, Op, PARAM_WINDOW, Preset, SHARED_WINDOW, Special, StateSpace,
};
use crate::parse::ast::{Instruction, Operand};

type Decoded = Result<Op, ParseError>;

/// The untyped element of a vector of `count` that fills `ty`.
fn element(ty: Type, count: usize) -> Option<Type> {
    match (ty.bits(), count) {
        (64, 2) => Some(Type::B32),
        (64, 4) | (32, 2) => Some(Type::B16),
        (64, 8) | (32, 4) | (16, 2) => Some(Type::B8),
        _ => None,
    }
}

impl<'a> Decoder<'_, 'a> {
    pub(super) fn mov(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        let ty = mods.take_type(inst)?;
        inst.expect_operands(2)?;
        let (dest, source) = (self.operand(inst, 0)?, self.operand(inst, 1)?);
        if ty == Type::Pred {
            let Some(d) = self.pred_dest(inst, dest)? else {
                return Ok(Op::Nop);
            };
            let a = self.pred_source(inst, 1)?;
            return Ok(Op::Alu(Box::new(move |registers, mask| {
                let bits = a.bits(registers);
                registers.set_pred(d, bits, mask);
            })));
        }
        if let Operand::Vector(parts) = source {
            return self.pack(inst, ty, parts);
        }
        if let Operand::Vector(parts) = dest {
            return self.unpack(inst, ty, parts);
        }
        match ty.bits() {
            bits if bits == 8 || !ty.is_plain() => Err(inst.operand_error("`mov` does not take this type")),
            64 => {
                let (d, a) = (self.dest::<u64>(inst, ty)?, self.source::<u64>(inst, 1, ty)?);
                Ok(Op::Alu(map1::<u64, u64>(d, a, |a| a)))
            }
            _ => {
                let (d, a) = (self.dest::<u32>(inst, ty)?, self.source::<u32>(inst, 1, ty)?);
                Ok(Op::Alu(map1::<u32, u32>(d, a, |a| a)))
            }
        }
    }

    fn pack(&mut self, inst: &Instruction<'a>, ty: Type, parts: &[Operand<'a>]) -> Decoded {
        let part_type = element(ty, parts.len()).ok_or_else(|| inst.operand_error("the parts do not fill the type"))?;
        let operand = self.operand(inst, 0)?;
        let d = self.dest_any(inst, operand, ty, Width::Exact)?;
        let parts: Vec<AnyReg> = parts
            .iter()
            .map(|part| self.source_any(inst, part, part_type, part_width(part_type)))
            .collect::<Result<_, _>>()?;
        let bits = part_type.bits();
        // The two common cases, worth loops of their own.
        match (&parts[..], d) {
            ([AnyReg::W32(low), AnyReg::W32(high)], AnyReg::W32(d)) if bits == 16 => {
                return Ok(Op::Alu(map2::<u32, u16, u16>(d, *low, *high, |low, high| {
                    u32::from(high) << 16 | u32::from(low)
                })));
            }
            ([AnyReg::W32(low), AnyReg::W32(high)], AnyReg::W64(d)) => {
                return Ok(Op::Alu(map2::<u64, u32, u32>(d, *low, *high, |low, high| {
                    u64::from(high) << 32 | u64::from(low)
                })));
            }
            _ => {}
        }
        Ok(Op::Alu(Box::new(move |registers, mask| {
            for lane in lanes_of(mask) {
                let value = parts.iter().rev().fold(0u64, |value, part| {
                    let low = part.get(registers, lane) & ((1 << bits) - 1);
                    value << bits | low
                });
                d.set(registers, lane, value);
            }
        })))
    }

    fn unpack(&mut self, inst: &Instruction<'a>, ty: Type, parts: &[Operand<'a>]) -> Decoded {
        let part_type = element(ty, parts.len()).ok_or_else(|| inst.operand_error("the parts do not fill the type"))?;
        let operand = self.operand(inst, 1)?;
        let a = self.source_any(inst, operand, ty, Width::Exact)?;
        let parts: Vec<Option<AnyReg>> = parts
            .iter()
            .map(|part| self.dest_or_sink(inst, part, part_type, part_width(part_type)))
            .collect::<Result<_, _>>()?;
        let bits = part_type.bits();
        if let (AnyReg::W32(a), [low, high], 16) = (a, &parts[..], bits) {
            let part = |part: &Option<AnyReg>| match part {
                Some(AnyReg::W32(reg)) => Some(*reg),
                _ => None,
            };
            let (low, high) = (part(low), part(high));
            return Ok(Op::Alu(Box::new(move |registers, mask| {
                let a = *a.read(registers);
                if let Some(low) = low {
                    let low = low.write(registers);
                    for_lanes!(mask, lane => low[lane] = a[lane] & 0xffff);
                }
                if let Some(high) = high {
                    let high = high.write(registers);
                    for_lanes!(mask, lane => high[lane] = a[lane] >> 16);
                }
            })));
        }
        Ok(Op::Alu(Box::new(move |registers, mask| {
            for lane in lanes_of(mask) {
                let mut value = a.get(registers, lane);
                for part in &parts {
                    if let Some(part) = part {
                        part.set(registers, lane, value & ((1 << bits) - 1));
                    }
                    value >>= bits;
                }
            }
        })))
    }

    /// `cvta`, `isspacep`, `mapa` and `getctarank`.
    pub(super) fn address_conversion(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        match inst.opcode {
            "cvta" => self.cvta(inst, mods),
            "isspacep" => {
                inst.expect_operands(2)?;
                let window = self.window(inst, mods)?;
                let Some(d) = self.pred_dest(inst, self.operand(inst, 0)?)? else {
                    return Ok(Op::Nop);
                };
                let a = self.source::<u64>(inst, 1, Type::U64)?;
                let in_window = move |address: u64| match window {
                    Some(window) => address >> 32 == window >> 32,
                    None => ![SHARED_WINDOW, LOCAL_WINDOW, CONST_WINDOW, PARAM_WINDOW]
                        .iter()
                        .any(|window| address >> 32 == window >> 32),
                };
                Ok(Op::Alu(crate::exec::registers::test1::<u64>(a, in_window, move |registers, bits, mask| {
                    registers.set_pred(d, bits, mask)
                })))
            }
            _ => self.cluster_address(inst, mods),
        }
    }

    /// The window of generic addresses of a state space; `None` for global memory, whose generic
    /// addresses are its own.
    fn window(&self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Result<Option<u64>, ParseError> {
        let inlined = !self.calls.is_empty();
        mods.take_map(|space| {
            Some(match space {
                "global" => None,
                "shared" | "shared::cta" | "shared::cluster" => Some(SHARED_WINDOW),
                "local" => Some(LOCAL_WINDOW),
                "const" => Some(CONST_WINDOW),
                "param" | "param::func" if inlined => Some(LOCAL_WINDOW),
                "param" | "param::entry" => Some(PARAM_WINDOW),
                _ => return None,
            })
        })
        .ok_or_else(|| inst.operand_error("a state space is missing from the opcode"))
    }

    fn cvta(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        let ty = mods.take_type(inst)?;
        if ty != Type::U64 {
            return Err(inst.operand_error("addresses have 64 bits: `.u64`"));
        }
        let to = mods.take("to");
        let window = self.window(inst, mods)?.unwrap_or(0);
        inst.expect_operands(2)?;
        let d = self.dest::<u64>(inst, ty)?;
        // `cvta.space` also takes a variable by name.
        if let Operand::Name(name) | Operand::NameOffset(name, _) = self.operand(inst, 1)?
            && let Some(Symbol::Variable(place)) = self.lookup(name)
            && place.space == StateSpace::Param
            && window != PARAM_WINDOW
        {
            return Err(inst.operand_error(format!("`{name}` is in another state space")));
        }
        let a = self.source::<u64>(inst, 1, ty)?;
        Ok(Op::Alu(if to {
            map1::<u64, u64>(d, a, move |a| a.wrapping_sub(window))
        } else {
            map1::<u64, u64>(d, a, move |a| a.wrapping_add(window))
        }))
    }

    fn cluster_address(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        let ty = mods.take_type(inst)?;
        let shared = mods.take("shared::cluster");
        let offset_mask = (1u64 << CLUSTER_RANK_SHIFT) - 1;
        if !matches!(ty, Type::U32 | Type::U64) || (ty == Type::U32 && !shared) {
            return Err(inst.operand_error("this opcode does not take this type"));
        }
        // A rank that no cluster has stays one: its address is nobody's.
        const NO_RANK: u32 = (u32::MAX >> CLUSTER_RANK_SHIFT) - 1;
        let map = move |a: u64, rank: u32| {
            (a & !0xffff_ffff) | (a & offset_mask) | (u64::from(rank.min(NO_RANK)) + 1) << CLUSTER_RANK_SHIFT
        };
        if inst.opcode == "mapa" {
            inst.expect_operands(3)?;
            let rank = self.source::<u32>(inst, 2, Type::U32)?;
            return Ok(Op::Alu(if ty == Type::U32 {
                let (d, a) = (self.dest::<u32>(inst, ty)?, self.source::<u32>(inst, 1, ty)?);
                map2::<u32, u32, u32>(d, a, rank, move |a, rank| map(u64::from(a), rank) as u32)
            } else {
                let (d, a) = (self.dest::<u64>(inst, ty)?, self.source::<u64>(inst, 1, ty)?);
                map2::<u64, u64, u32>(d, a, rank, map)
            }));
        }
        inst.expect_operands(2)?;
        let d = self.dest::<u32>(inst, Type::U32)?;
        let own = self.preset(Preset::Special(Special::ClusterCtaRank), Type::U32);
        let own = super::operand::narrow(own);
        let rank = move |a: u64, own: u32| match (a & 0xffff_ffff) >> CLUSTER_RANK_SHIFT {
            0 => own,
            mapped => mapped as u32 - 1,
        };
        Ok(Op::Alu(if ty == Type::U32 {
            let a = self.source::<u32>(inst, 1, ty)?;
            map2::<u32, u32, u32>(d, a, own, move |a, own| rank(u64::from(a), own))
        } else {
            let a = self.source::<u64>(inst, 1, ty)?;
            map2::<u32, u64, u32>(d, a, own, rank)
        }))
    }
}

/// No register has 8 bits: bytes are packed from and to wider ones.
fn part_width(part: Type) -> Width {
    if part == Type::B8 { Width::AtLeast } else { Width::Exact }
}
