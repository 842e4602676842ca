//! Conversions between types.

use super::Decoder;
use super::float::rounding;
use super::operand::Width;
use super::types::{Modifiers, Type};
use crate::error::ParseError;
use crate::exec::registers::{Alu, AnyReg, Lane, Reg, Word, lanes_of, map1};
use crate::ir::Op;
use crate::parse::ast::Instruction;
use crate::semantics::float::{
    NAN64, Rounding, canonical32, flush32, from_integer, round_to_f32, round_to_integral, to_integer,
};
use crate::semantics::small::{
    BF16, E4M3, E5M2, F16, Format, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16, f32_to_tf32,
};

type Decoded = Result<Op, ParseError>;

fn is_float(ty: Type) -> bool {
    matches!(ty, Type::F16 | Type::Bf16 | Type::F32 | Type::F64)
}

/// Rounding to an integral value, for results of float type too.
fn integral_rounding(name: &str) -> Option<Rounding> {
    Some(match name {
        "rni" => Rounding::Nearest,
        "rzi" => Rounding::Zero,
        "rmi" => Rounding::Down,
        "rpi" => Rounding::Up,
        _ => return None,
    })
}

fn tf32_rounding(name: &str) -> Option<Rounding> {
    if name == "rna" { Some(Rounding::NearestAway) } else { rounding(name) }
}

/// Sign- or zero-extends the low bits of a raw value.
fn extend(raw: u64, ty: Type) -> u64 {
    let shift = 64 - ty.bits();
    if ty.is_signed() { (((raw << shift) as i64) >> shift) as u64 } else { raw << shift >> shift }
}

/// The value of a float's bits; exact.
fn decode(raw: u64, ty: Type) -> f64 {
    match ty {
        Type::F16 => F16.decode(raw as u16),
        Type::Bf16 => BF16.decode(raw as u16),
        Type::F32 => f64::from(f32::from_bits(raw as u32)),
        _ => f64::from_bits(raw),
    }
}

/// The bits of a float of type `ty`, from a value that is exact or rounded to odd.
fn encode(value: f64, ty: Type, rounding: Rounding, saturate: bool) -> u64 {
    match ty {
        Type::F16 => u64::from(F16.encode(value, rounding, saturate)),
        Type::Bf16 => u64::from(BF16.encode(value, rounding, saturate)),
        Type::F32 => u64::from(canonical32(round_to_f32(value, rounding)).to_bits()),
        _ if value.is_nan() => NAN64,
        _ => value.to_bits(),
    }
}

/// Lifts a function of raw bits between registers of any widths.
fn raw_map(d: AnyReg, a: AnyReg, f: impl Fn(u64) -> u64 + Send + Sync + 'static) -> Alu {
    fn lift<D: Word + Lane<Word = D>, A: Word + Lane<Word = A>>(
        d: Reg<D>,
        a: Reg<A>,
        f: impl Fn(u64) -> u64 + Send + Sync + 'static,
    ) -> Alu {
        map1::<D, A>(d, a, move |a| Word::from_raw(f(Word::to_raw(a))))
    }
    match (d, a) {
        (AnyReg::W32(d), AnyReg::W32(a)) => lift(d, a, f),
        (AnyReg::W32(d), AnyReg::W64(a)) => lift(d, a, f),
        (AnyReg::W64(d), AnyReg::W32(a)) => lift(d, a, f),
        (AnyReg::W64(d), AnyReg::W64(a)) => lift(d, a, f),
    }
}

/// The modifiers of a conversion.
#[derive(Clone, Copy, Debug, Default)]
struct Conversion {
    integral: Option<Rounding>,
    rounding: Option<Rounding>,
    ftz: bool,
    sat: bool,
    satfinite: bool,
    relu: bool,
}

impl<'a> Decoder<'_, 'a> {
    pub(super) fn convert(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        let source_type = mods.take_type(inst)?;
        let dest_type = mods.take_type(inst)?;
        let conversion = Conversion {
            integral: mods.take_map(integral_rounding),
            rounding: if dest_type == Type::Tf32 { mods.take_map(tf32_rounding) } else { mods.take_map(rounding) },
            ftz: mods.take("ftz"),
            sat: mods.take("sat"),
            satfinite: mods.take("satfinite"),
            relu: mods.take("relu"),
        };
        let packs = |ty| matches!(ty, Type::F16x2 | Type::Bf16x2 | Type::E4m3x2 | Type::E5m2x2);
        if packs(dest_type) || packs(source_type) {
            return self.convert_packed(inst, conversion, dest_type, source_type);
        }
        inst.expect_operands(2)?;
        if dest_type == Type::Tf32 {
            return self.convert_tf32(inst, conversion, source_type);
        }
        let known = |ty: Type| ty.is_integer() || is_float(ty);
        if !known(dest_type) || !known(source_type) {
            return Err(inst.operand_error("`cvt` does not take this type"));
        }
        // bf16 converts neither with `.sat` nor from or to bytes.
        let other = if dest_type == Type::Bf16 { source_type } else { dest_type };
        let bf16 = dest_type == Type::Bf16 || source_type == Type::Bf16;
        if bf16 && (conversion.sat || other.bits() == 8) {
            return Err(inst.operand_error("`cvt` of `.bf16` takes neither `.sat` nor bytes"));
        }
        if conversion.ftz && dest_type != Type::F32 && source_type != Type::F32 {
            return Err(inst.unknown_modifier("ftz"));
        }
        let operand = self.operand(inst, 0)?;
        let d = self.dest_any(inst, operand, dest_type, Width::AtLeast)?;
        let operand = self.operand(inst, 1)?;
        let a = self.source_any(inst, operand, source_type, Width::AtLeast)?;
        Ok(Op::Alu(match (is_float(dest_type), is_float(source_type)) {
            (false, false) => integer_to_integer(inst, conversion, d, dest_type, a, source_type)?,
            (false, true) => float_to_integer(inst, conversion, d, dest_type, a, source_type)?,
            (true, false) => integer_to_float(inst, conversion, d, dest_type, a, source_type)?,
            (true, true) => float_to_float(inst, conversion, d, dest_type, a, source_type)?,
        }))
    }

    /// The result is an f32 with the mantissa of a TF32.
    fn convert_tf32(&mut self, inst: &Instruction<'a>, conversion: Conversion, source_type: Type) -> Decoded {
        let Conversion { integral, rounding, ftz, sat, satfinite, relu } = conversion;
        let Some(mode @ (Rounding::NearestAway | Rounding::Nearest | Rounding::Zero)) = rounding else {
            return Err(inst.operand_error("`.rna`, `.rn` or `.rz` is missing"));
        };
        let away = mode == Rounding::NearestAway;
        if source_type != Type::F32 || integral.is_some() || ftz || sat || (away && relu) || (!away && satfinite) {
            return Err(inst.operand_error("this conversion to `.tf32` does not exist"));
        }
        let (d, a) = (self.dest::<f32>(inst, Type::Tf32)?, self.source::<f32>(inst, 1, Type::F32)?);
        Ok(Op::Alu(map1::<f32, f32>(d, a, move |a| {
            let a = if relu && a <= 0.0 { 0.0 } else { a };
            f32_to_tf32(a, mode, satfinite)
        })))
    }

    /// Conversions to and from two values in one register. Of two sources, the first goes to the
    /// high half.
    fn convert_packed(
        &mut self,
        inst: &Instruction<'a>,
        conversion: Conversion,
        dest_type: Type,
        source_type: Type,
    ) -> Decoded {
        let Conversion { integral, rounding, ftz, sat, satfinite, relu } = conversion;
        if integral.is_some() || ftz || sat {
            return Err(inst.unsupported("this modifier of a packed conversion"));
        }
        let format = |ty| match ty {
            Type::F16x2 => Some((F16, 16)),
            Type::Bf16x2 => Some((BF16, 16)),
            Type::E4m3x2 => Some((E4M3, 8)),
            Type::E5m2x2 => Some((E5M2, 8)),
            _ => None,
        };
        let rounding = match rounding {
            Some(mode @ (Rounding::Nearest | Rounding::Zero)) => mode,
            _ => return Err(inst.operand_error("`.rn` or `.rz` is missing")),
        };
        let Some((dest_format, dest_bits)) = format(dest_type) else {
            return Err(inst.operand_error("`cvt` does not take this type"));
        };
        let is_byte = |ty| matches!(ty, Type::E4m3x2 | Type::E5m2x2);
        if is_byte(dest_type) && !satfinite {
            return Err(inst.operand_error("`.satfinite` is missing"));
        }
        if is_byte(source_type) && satfinite {
            return Err(inst.unknown_modifier("satfinite"));
        }
        if (is_byte(dest_type) || is_byte(source_type)) && rounding != Rounding::Nearest {
            return Err(inst.operand_error("conversions of 8 bits round with `.rn`"));
        }
        let encode = move |value: f64| {
            let value = if relu && value <= 0.0 { 0.0 } else { value };
            u32::from(dest_format.encode(value, rounding, satfinite))
        };
        let operand = self.operand(inst, 0)?;
        let d = self.dest_any(inst, operand, dest_type, Width::Exact)?;
        if source_type == Type::F32 {
            inst.expect_operands(3)?;
            let high = self.source::<f32>(inst, 1, Type::F32)?;
            let low = self.source::<f32>(inst, 2, Type::F32)?;
            return Ok(Op::Alu(Box::new(move |registers, mask| {
                let (high, low) = (*high.read(registers), *low.read(registers));
                for lane in lanes_of(mask) {
                    let [high, low] = [high[lane], low[lane]].map(|bits| encode(f64::from(f32::from_bits(bits))));
                    d.set(registers, lane, u64::from(high << dest_bits | low));
                }
            })));
        }
        let pairing = |a: Type, b: Type| is_byte(a) && b == Type::F16x2;
        let Some((source_format, source_bits)) = format(source_type) else {
            return Err(inst.operand_error("`cvt` does not take this type"));
        };
        if !pairing(dest_type, source_type) && !pairing(source_type, dest_type) {
            return Err(inst.operand_error("`cvt` does not convert between these types"));
        }
        inst.expect_operands(2)?;
        let operand = self.operand(inst, 1)?;
        let a = self.source_any(inst, operand, source_type, Width::Exact)?;
        let source_mask = (1u64 << source_bits) - 1;
        Ok(Op::Alu(raw_map(d, a, move |raw| {
            let value = |raw: u64| {
                let format: Format = source_format;
                encode(format.decode((raw & source_mask) as u16))
            };
            u64::from(value(raw >> source_bits) << dest_bits | value(raw))
        })))
    }
}

type Converted = Result<Alu, ParseError>;

fn integer_to_integer(
    inst: &Instruction<'_>,
    conversion: Conversion,
    d: AnyReg,
    dest_type: Type,
    a: AnyReg,
    source_type: Type,
) -> Converted {
    let Conversion { integral, rounding, satfinite, relu, ftz, sat } = conversion;
    if integral.is_some() || rounding.is_some() || satfinite || relu || ftz {
        return Err(inst.operand_error("integers convert without rounding"));
    }
    if sat {
        let ((least, most), (lowest, highest)) = (integer_range(dest_type), integer_range(source_type));
        if least <= lowest && highest <= most {
            return Err(inst.operand_error("every value fits: there is nothing to saturate"));
        }
        return Ok(raw_map(d, a, move |raw| {
            let raw = extend(raw, source_type);
            let value = if source_type.is_signed() { i128::from(raw as i64) } else { i128::from(raw) };
            value.clamp(least, most) as u64
        }));
    }
    Ok(raw_map(d, a, move |raw| extend(extend(raw, source_type), dest_type)))
}

fn integer_range(ty: Type) -> (i128, i128) {
    if ty.is_signed() { (-(1 << (ty.bits() - 1)), (1 << (ty.bits() - 1)) - 1) } else { (0, (1 << ty.bits()) - 1) }
}

fn float_to_integer(
    inst: &Instruction<'_>,
    conversion: Conversion,
    d: AnyReg,
    dest_type: Type,
    a: AnyReg,
    source_type: Type,
) -> Converted {
    let Conversion { integral, rounding, satfinite, relu, ftz, sat: _ } = conversion;
    let Some(mode) = integral else {
        return Err(inst.operand_error("a rounding to integer such as `.rzi` is missing"));
    };
    if rounding.is_some() || satfinite || relu {
        return Err(inst.operand_error("this modifier does not go with a conversion to integer"));
    }
    if let (Type::F32, Type::S32, Rounding::Zero, AnyReg::W32(d), AnyReg::W32(a)) = (source_type, dest_type, mode, d, a)
    {
        return Ok(map1::<i32, f32>(d, a, |a| a as i32));
    }
    let (least, most) = integer_range(dest_type);
    let wide = source_type == Type::F64 || dest_type.bits() == 64;
    // The ISA gives NaN the value zero, or for 64-bit conversions only the highest bit set.
    let nan = match (wide, dest_type.is_signed()) {
        (false, _) => 0,
        (true, true) => least,
        (true, false) => 1 << (dest_type.bits() - 1),
    };
    Ok(raw_map(d, a, move |raw| {
        let value = decode(raw, source_type);
        let tiny = ftz && source_type == Type::F32 && (value as f32).is_subnormal();
        let value = if tiny { 0.0 } else { value };
        to_integer(round_to_integral(value, mode)).map_or(nan, |value| value.clamp(least, most)) as u64
    }))
}

fn integer_to_float(
    inst: &Instruction<'_>,
    conversion: Conversion,
    d: AnyReg,
    dest_type: Type,
    a: AnyReg,
    source_type: Type,
) -> Converted {
    let Conversion { integral, rounding, satfinite, relu, ftz: _, sat } = conversion;
    let Some(mode) = rounding else {
        return Err(inst.operand_error("a rounding modifier is missing"));
    };
    if integral.is_some() || satfinite || relu {
        return Err(inst.operand_error("this modifier does not go with a conversion from integer"));
    }
    if let (Type::F32, Rounding::Nearest, false, AnyReg::W32(d), AnyReg::W32(a)) = (dest_type, mode, sat, d, a) {
        match source_type {
            Type::S32 => return Ok(map1::<f32, i32>(d, a, |a| a as f32)),
            Type::U32 => return Ok(map1::<f32, u32>(d, a, |a| a as f32)),
            _ => {}
        }
    }
    Ok(raw_map(d, a, move |raw| {
        let raw = extend(raw, source_type);
        let value = if source_type.is_signed() { i128::from(raw as i64) } else { i128::from(raw) };
        let value = if sat { value.clamp(0, 1) } else { value };
        if dest_type == Type::F64 {
            return from_integer(value, mode).to_bits();
        }
        encode(crate::semantics::float::from_integer_odd(value), dest_type, mode, false)
    }))
}

fn float_to_float(
    inst: &Instruction<'_>,
    conversion: Conversion,
    d: AnyReg,
    dest_type: Type,
    a: AnyReg,
    source_type: Type,
) -> Converted {
    let Conversion { integral, rounding, satfinite, relu, ftz, sat } = conversion;
    let narrows =
        dest_type.bits() < source_type.bits() || (dest_type != source_type && dest_type.bits() == source_type.bits());
    if narrows && rounding.is_none() {
        return Err(inst.operand_error("a rounding modifier is missing"));
    }
    if !narrows && rounding.is_some() {
        return Err(inst.operand_error("this conversion is exact and takes no rounding modifier"));
    }
    if integral.is_some() && dest_type != source_type {
        return Err(inst.operand_error("rounding to integer keeps the type"));
    }
    let to_16_bits = dest_type.bits() == 16 && source_type == Type::F32 && !ftz && !sat;
    if (satfinite || relu) && !(to_16_bits && matches!(rounding, Some(Rounding::Nearest | Rounding::Zero))) {
        return Err(inst.operand_error("`.satfinite` and `.relu` go with `.rn` or `.rz` from `.f32` to 16 bits"));
    }
    let plain = !ftz && !sat && !satfinite && !relu && integral.is_none();
    if let (true, AnyReg::W32(d), AnyReg::W32(a)) = (plain, d, a) {
        match (dest_type, source_type, rounding) {
            (Type::F32, Type::F16, None) => return Ok(map1::<f32, u16>(d, a, f16_to_f32)),
            (Type::F32, Type::Bf16, None) => return Ok(map1::<f32, u16>(d, a, bf16_to_f32)),
            (Type::F16, Type::F32, Some(Rounding::Nearest)) => {
                return Ok(map1::<u16, f32>(d, a, f32_to_f16));
            }
            (Type::Bf16, Type::F32, Some(Rounding::Nearest)) => {
                return Ok(map1::<u16, f32>(d, a, f32_to_bf16));
            }
            _ => {}
        }
    }
    let mode = rounding.unwrap_or(Rounding::Nearest);
    Ok(raw_map(d, a, move |raw| {
        let mut value = decode(raw, source_type);
        if ftz && source_type == Type::F32 {
            value = f64::from(flush32(value as f32));
        }
        if let Some(mode) = integral {
            value = round_to_integral(value, mode);
        }
        if sat {
            value = crate::semantics::float::saturate64(value);
        }
        if relu && value <= 0.0 {
            value = 0.0;
        }
        let bits = encode(value, dest_type, mode, satfinite);
        if ftz && dest_type == Type::F32 { u64::from(flush32(f32::from_bits(bits as u32)).to_bits()) } else { bits }
    }))
}
