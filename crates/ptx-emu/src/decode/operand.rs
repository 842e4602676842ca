//! Operands: registers of the right width, constants, predicates and addresses.

use super::Decoder;
use super::scope::{Location, Place, Register, Symbol, special_register};
use super::types::Type;
use crate::error::ParseError;
use crate::exec::registers::{AnyReg, Lane, PRED_FALSE, PRED_TRUE, PredOperand, Reg, Word};
use crate::ir::{AddressOperand, Preset, StateSpace};
use crate::parse::ast::{AddressBase, Instruction, Operand};

/// How the width of a register must relate to the instruction's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    Exact,
    /// Loads, stores and conversions take registers wider than the type.
    AtLeast,
}

/// That registers of the instruction's type are those that lanes of `T` live in.
fn check_word<T: Lane>(inst: &Instruction<'_>, ty: Type) -> Result<(), ParseError> {
    let wide = size_of::<T::Word>() == 8;
    if wide == (ty.bytes() == 8) { Ok(()) } else { Err(inst.operand_error("this opcode does not take this type")) }
}

/// A register of known width out of one of either, by the Rust type of its lanes.
pub(crate) fn narrow<W: Word>(reg: AnyReg) -> Reg<W> {
    // `Reg` is an index; the callers have checked the type's width against the register's.
    match reg {
        AnyReg::W32(reg) => Reg::new(reg.index),
        AnyReg::W64(reg) => Reg::new(reg.index),
    }
}

impl<'a> Decoder<'_, 'a> {
    fn any_reg(register: Register) -> AnyReg {
        if register.ty.bytes() == 8 {
            AnyReg::W64(Reg::new(register.index))
        } else {
            AnyReg::W32(Reg::new(register.index))
        }
    }

    /// The register that holds a preset from the start, of the width of `ty`.
    pub(crate) fn preset(&mut self, preset: Preset, ty: Type) -> AnyReg {
        if ty.bytes() == 8 {
            let next = &mut self.w64_count;
            let index = *self.presets64.entry(preset).or_insert_with(|| {
                *next += 1;
                *next - 1
            });
            AnyReg::W64(Reg::new(index))
        } else {
            let next = &mut self.w32_count;
            let index = *self.presets32.entry(preset).or_insert_with(|| {
                *next += 1;
                *next - 1
            });
            AnyReg::W32(Reg::new(index))
        }
    }

    /// The register that holds a constant.
    pub(crate) fn constant(&mut self, bits: u64, ty: Type) -> AnyReg {
        let mask = if ty.bytes() >= 8 { u64::MAX } else { (1 << ty.bits()) - 1 };
        self.preset(Preset::Bits(bits & mask), ty)
    }

    /// The operand at a position.
    pub(crate) fn operand<'i>(&self, inst: &'i Instruction<'a>, index: usize) -> Result<&'i Operand<'a>, ParseError> {
        inst.operands.get(index).ok_or_else(|| inst.operand_error(format!("operand {} is missing", index + 1)))
    }

    fn check_width(
        inst: &Instruction<'a>,
        name: &str,
        register: Register,
        ty: Type,
        width: Width,
    ) -> Result<(), ParseError> {
        let (have, want) = (register.ty.bytes(), ty.bytes());
        let fits = match width {
            Width::Exact => have == want,
            Width::AtLeast => have >= want,
        };
        if fits && have != 0 && want != 0 {
            return Ok(());
        }
        let have = if have == 0 { "a predicate".to_owned() } else { format!("{} bits", have * 8) };
        Err(inst.operand_error(format!("`{name}` is {have}, the type wants {} bits", want * 8)))
    }

    /// A destination register. `None` for the sink `_`.
    pub(crate) fn dest_or_sink(
        &mut self,
        inst: &Instruction<'a>,
        operand: &Operand<'a>,
        ty: Type,
        width: Width,
    ) -> Result<Option<AnyReg>, ParseError> {
        match operand {
            Operand::Name("_") => Ok(None),
            Operand::Name(name) => match self.lookup(name) {
                Some(Symbol::Register(register)) => {
                    Self::check_width(inst, name, register, ty, width)?;
                    Ok(Some(Self::any_reg(register)))
                }
                Some(_) => Err(inst.operand_error(format!("`{name}` is not a register"))),
                None => Err(ParseError::Undeclared { line: inst.line, name: (*name).to_owned() }),
            },
            _ => Err(inst.operand_error("the destination must be a register")),
        }
    }

    /// A destination register.
    pub(crate) fn dest_any(
        &mut self,
        inst: &Instruction<'a>,
        operand: &Operand<'a>,
        ty: Type,
        width: Width,
    ) -> Result<AnyReg, ParseError> {
        self.dest_or_sink(inst, operand, ty, width)?.ok_or_else(|| inst.operand_error("`_` cannot be this destination"))
    }

    /// The destination operand, first of the instruction, as lanes of `T`.
    pub(crate) fn dest<T: Lane>(&mut self, inst: &Instruction<'a>, ty: Type) -> Result<Reg<T::Word>, ParseError> {
        let operand = self.operand(inst, 0)?;
        let dest = self.dest_any(inst, operand, ty, Width::Exact)?;
        check_word::<T>(inst, ty)?;
        Ok(narrow(dest))
    }

    /// The source operand at a position, as lanes of `T`.
    pub(crate) fn source<T: Lane>(
        &mut self,
        inst: &Instruction<'a>,
        index: usize,
        ty: Type,
    ) -> Result<Reg<T::Word>, ParseError> {
        let operand = self.operand(inst, index)?;
        let source = self.source_any(inst, operand, ty, Width::Exact)?;
        check_word::<T>(inst, ty)?;
        Ok(narrow(source))
    }

    /// A source: register, special register, constant or address of a variable.
    pub(crate) fn source_any(
        &mut self,
        inst: &Instruction<'a>,
        operand: &Operand<'a>,
        ty: Type,
        width: Width,
    ) -> Result<AnyReg, ParseError> {
        let is_float = matches!(ty, Type::F32 | Type::F64 | Type::F16 | Type::Bf16);
        match operand {
            Operand::Int(value) if !is_float => Ok(self.constant(*value, ty)),
            Operand::F32(bits) => match ty {
                Type::F32 | Type::B32 => Ok(self.constant(u64::from(*bits), ty)),
                Type::F64 => {
                    let value = f64::from(f32::from_bits(*bits));
                    Ok(self.constant(value.to_bits(), ty))
                }
                _ => Err(inst.operand_error("a float constant does not fit the type")),
            },
            Operand::F64(bits) => match ty {
                Type::F64 | Type::B64 => Ok(self.constant(*bits, ty)),
                Type::F32 => {
                    let value = f64::from_bits(*bits) as f32;
                    Ok(self.constant(u64::from(value.to_bits()), ty))
                }
                _ => Err(inst.operand_error("a float constant does not fit the type")),
            },
            Operand::Name(name) => self.source_name(inst, name, 0, ty, width),
            Operand::NameOffset(name, offset) => self.source_name(inst, name, *offset, ty, width),
            _ => Err(inst.operand_error("a source must be a register, a constant or an address")),
        }
    }

    fn source_name(
        &mut self,
        inst: &Instruction<'a>,
        name: &str,
        offset: i64,
        ty: Type,
        width: Width,
    ) -> Result<AnyReg, ParseError> {
        if name == "WARP_SZ" {
            return Ok(self.constant(32u64.wrapping_add(offset as u64), ty));
        }
        match self.lookup(name) {
            Some(Symbol::Register(register)) if offset == 0 => {
                Self::check_width(inst, name, register, ty, width)?;
                Ok(Self::any_reg(register))
            }
            Some(Symbol::Variable(place)) if ty.bytes() >= 4 => Ok(self.place_address(place, offset, ty)),
            Some(_) => Err(inst.operand_error(format!("`{name}` cannot be a source here"))),
            None => self.source_special(inst, name, offset, ty),
        }
    }

    fn source_special(
        &mut self,
        inst: &Instruction<'a>,
        name: &str,
        offset: i64,
        ty: Type,
    ) -> Result<AnyReg, ParseError> {
        if let Some(place) = self.claim_shared(name) {
            if ty.bytes() < 4 {
                return Err(inst.operand_error(format!("an address in {} bits", ty.bits())));
            }
            return Ok(self.place_address(place, offset, ty));
        }
        match special_register(name) {
            Some((_, Type::Pred)) => Err(inst.operand_error(format!("`{name}` is a predicate"))),
            Some((special, special_ty)) if offset == 0 => {
                if special_ty.bytes() != ty.bytes() {
                    let bits = special_ty.bits();
                    return Err(inst.operand_error(format!("`{name}` has {bits} bits")));
                }
                Ok(self.preset(Preset::Special(special), ty))
            }
            _ if name.starts_with('%') && is_unsupported_special(name) => {
                Err(inst.unsupported(format!("the special register `{name}`")))
            }
            _ => Err(ParseError::Undeclared { line: inst.line, name: name.to_owned() }),
        }
    }

    /// The address of a variable in its space, in a register.
    pub(crate) fn place_address(&mut self, place: Place, offset: i64, ty: Type) -> AnyReg {
        match place.location {
            Location::Fixed(address) => self.constant(address.wrapping_add(offset as u64), ty),
            Location::DynamicShared => self.preset(Preset::DynamicShared { offset, generic: false }, ty),
            Location::Global(variable) => self.preset(Preset::Global { variable, offset }, ty),
        }
    }

    /// A predicate register by name.
    pub(crate) fn predicate(
        &mut self,
        inst: &Instruction<'a>,
        name: &str,
        negated: bool,
    ) -> Result<PredOperand, ParseError> {
        match self.lookup(name) {
            Some(Symbol::Register(Register { ty: Type::Pred, index })) => {
                Ok(PredOperand { pred: index, flip: if negated { u32::MAX } else { 0 } })
            }
            Some(_) => Err(inst.operand_error(format!("`{name}` is not a predicate"))),
            None if special_register(name).is_some() => Err(inst.unsupported(format!("`{name}` as a predicate"))),
            None => Err(ParseError::Undeclared { line: inst.line, name: name.to_owned() }),
        }
    }

    /// A predicate source: `%p`, `!%p`, 0 or 1.
    pub(crate) fn pred_source(&mut self, inst: &Instruction<'a>, index: usize) -> Result<PredOperand, ParseError> {
        match self.operand(inst, index)? {
            Operand::Name(name) => self.predicate(inst, name, false),
            Operand::Not(name) => self.predicate(inst, name, true),
            Operand::Int(0) => Ok(PredOperand { pred: PRED_FALSE, flip: 0 }),
            Operand::Int(_) => Ok(PredOperand { pred: PRED_TRUE, flip: 0 }),
            _ => Err(inst.operand_error("a predicate is wanted")),
        }
    }

    /// A predicate destination; `None` for the sink `_`.
    pub(crate) fn pred_dest(
        &mut self,
        inst: &Instruction<'a>,
        operand: &Operand<'a>,
    ) -> Result<Option<u32>, ParseError> {
        match operand {
            Operand::Name("_") => Ok(None),
            Operand::Name(name) => Ok(Some(self.predicate(inst, name, false)?.pred)),
            _ => Err(inst.operand_error("the destination must be a predicate")),
        }
    }

    /// An address operand. With a variable as its base, the space is the variable's: `given` must
    /// agree with it.
    pub(crate) fn address(
        &mut self,
        inst: &Instruction<'a>,
        index: usize,
        given: StateSpace,
    ) -> Result<(AddressOperand, StateSpace), ParseError> {
        let Operand::Address { base, offset } = self.operand(inst, index)? else {
            return Err(inst.operand_error("an address in brackets is wanted"));
        };
        let offset = *offset;
        let AddressBase::Name(name) = *base else {
            let base = self.constant(offset as u64, Type::B64);
            return Ok((AddressOperand { base, offset: 0 }, given));
        };
        let place = match self.lookup(name) {
            Some(Symbol::Register(register)) => {
                if register.ty.bytes() < 4 {
                    return Err(inst.operand_error(format!("`{name}` cannot hold an address")));
                }
                // Parameters of an inlined function live in local memory.
                let inlined = given == StateSpace::Param && !self.calls.is_empty();
                let space = if inlined { StateSpace::Local } else { given };
                return Ok((AddressOperand { base: Self::any_reg(register), offset }, space));
            }
            Some(Symbol::Variable(place)) => place,
            Some(_) => return Err(inst.operand_error(format!("`{name}` is not an address"))),
            None => self
                .claim_shared(name)
                .ok_or_else(|| ParseError::Undeclared { line: inst.line, name: name.to_owned() })?,
        };
        let agrees = given == place.space
            || (given == StateSpace::SharedCluster && place.space == StateSpace::Shared)
            || (given == StateSpace::Param && place.space == StateSpace::Local);
        if !agrees {
            return Err(inst.operand_error(format!("`{name}` is in another state space")));
        }
        let base = self.place_address(place, offset, Type::B64);
        let space = if given == StateSpace::Param { place.space } else { given };
        Ok((AddressOperand { base, offset: 0 }, space))
    }
}

/// Special registers that exist but whose value no emulation can give.
fn is_unsupported_special(name: &str) -> bool {
    let base = name.split('.').next().unwrap_or(name);
    ["%clock", "%globaltimer", "%pm", "%envreg", "%reserved_smem", "%aggr_smem"]
        .iter()
        .any(|known| base.starts_with(known))
}
