//! Value types of instructions, and the modifiers of an instruction being decoded.

use crate::error::ParseError;
use crate::isa::NOT_EXECUTED;
use crate::parse::ast::Instruction;

/// A fundamental type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Pred,
    B8,
    B16,
    B32,
    B64,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    F32,
    F64,
    Tf32,
    E4m3x2,
    E5m2x2,
}

impl Type {
    pub(crate) fn parse(name: &str) -> Option<Type> {
        Some(match name {
            "pred" => Type::Pred,
            "b8" => Type::B8,
            "b16" => Type::B16,
            "b32" => Type::B32,
            "b64" => Type::B64,
            "u8" => Type::U8,
            "u16" => Type::U16,
            "u32" => Type::U32,
            "u64" => Type::U64,
            "s8" => Type::S8,
            "s16" => Type::S16,
            "s32" => Type::S32,
            "s64" => Type::S64,
            "f16" => Type::F16,
            "f16x2" => Type::F16x2,
            "bf16" => Type::Bf16,
            "bf16x2" => Type::Bf16x2,
            "f32" => Type::F32,
            "f64" => Type::F64,
            "tf32" => Type::Tf32,
            "e4m3x2" => Type::E4m3x2,
            "e5m2x2" => Type::E5m2x2,
            _ => return None,
        })
    }

    /// Size in bytes; a predicate has none.
    pub(crate) fn bytes(self) -> u32 {
        match self {
            Type::Pred => 0,
            Type::B8 | Type::U8 | Type::S8 => 1,
            Type::B16 | Type::U16 | Type::S16 | Type::F16 | Type::Bf16 => 2,
            Type::E4m3x2 | Type::E5m2x2 => 2,
            Type::B32 | Type::U32 | Type::S32 | Type::F32 | Type::Tf32 | Type::F16x2 | Type::Bf16x2 => 4,
            Type::B64 | Type::U64 | Type::S64 | Type::F64 => 8,
        }
    }

    pub(crate) fn bits(self) -> u32 {
        self.bytes() * 8
    }

    pub(crate) fn is_signed(self) -> bool {
        matches!(self, Type::S8 | Type::S16 | Type::S32 | Type::S64)
    }

    pub(crate) fn is_unsigned(self) -> bool {
        matches!(self, Type::U8 | Type::U16 | Type::U32 | Type::U64)
    }

    pub(crate) fn is_integer(self) -> bool {
        self.is_signed() || self.is_unsigned()
    }

    /// Whether moves, loads and stores take it: integers, bits, f32 and f64.
    pub(crate) fn is_plain(self) -> bool {
        self.is_integer() || self.is_untyped() || matches!(self, Type::F32 | Type::F64)
    }

    pub(crate) fn is_untyped(self) -> bool {
        matches!(self, Type::B8 | Type::B16 | Type::B32 | Type::B64)
    }
}

/// The Rust types of the values that PTX types hold.
pub(crate) mod rust {
    pub(crate) type B16 = u16;
    pub(crate) type B32 = u32;
    pub(crate) type B64 = u64;
    pub(crate) type U16 = u16;
    pub(crate) type U32 = u32;
    pub(crate) type U64 = u64;
    pub(crate) type S16 = i16;
    pub(crate) type S32 = i32;
    pub(crate) type S64 = i64;
    pub(crate) type F32 = f32;
    pub(crate) type F64 = f64;
}

/// Evaluates an expression with `$T` standing for the Rust type of a PTX type, one of those given;
/// any other is an error.
macro_rules! with_type {
    ($inst:expr, $ty:expr, [$($known:ident)*], $T:ident => $body:expr) => {
        match $ty {
            $($crate::decode::types::Type::$known => {
                type $T = $crate::decode::types::rust::$known;
                $body
            })*
            _ => Err($inst.operand_error("this opcode does not take this type")),
        }
    };
}
pub(crate) use with_type;

/// Shorthand for the errors of an instruction.
impl Instruction<'_> {
    pub(crate) fn operand_error(&self, what: impl Into<String>) -> ParseError {
        ParseError::Operand { line: self.line, what: what.into(), text: self.text.to_owned() }
    }

    pub(crate) fn unsupported(&self, what: impl Into<String>) -> ParseError {
        ParseError::Unsupported { line: self.line, what: what.into(), text: self.text.to_owned() }
    }

    /// The opcode is none that this executor knows.
    pub(crate) fn unknown(&self) -> ParseError {
        if NOT_EXECUTED.contains(&self.opcode) {
            return self.unsupported(format!("`{}`", self.opcode));
        }
        ParseError::UnknownInstruction { line: self.line, opcode: self.opcode.to_owned(), text: self.text.to_owned() }
    }

    pub(crate) fn unknown_modifier(&self, modifier: &str) -> ParseError {
        ParseError::UnknownModifier { line: self.line, modifier: modifier.to_owned(), text: self.text.to_owned() }
    }

    /// Checks the number of operands.
    pub(crate) fn expect_operands(&self, wanted: usize) -> Result<(), ParseError> {
        if self.operands.len() == wanted {
            return Ok(());
        }
        let given = self.operands.len();
        Err(self.operand_error(format!("{given} operands, {wanted} wanted")))
    }
}

/// The modifiers of an instruction, taken one by one; [`Modifiers::finish`] refuses leftovers.
#[derive(Debug)]
pub(crate) struct Modifiers<'a> {
    rest: Vec<&'a str>,
}

impl<'a> Modifiers<'a> {
    pub(crate) fn new(instruction: &Instruction<'a>) -> Modifiers<'a> {
        Modifiers { rest: instruction.modifiers.clone() }
    }

    /// Takes a modifier wherever it stands.
    pub(crate) fn take(&mut self, name: &str) -> bool {
        match self.rest.iter().position(|modifier| *modifier == name) {
            Some(index) => {
                self.rest.remove(index);
                true
            }
            None => false,
        }
    }

    /// Takes the first modifier for which `parse` knows a meaning.
    pub(crate) fn take_map<T>(&mut self, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (index, value) =
            self.rest.iter().enumerate().find_map(|(index, modifier)| Some((index, parse(modifier)?)))?;
        self.rest.remove(index);
        Some(value)
    }

    /// Takes the first modifier that is among `names`.
    pub(crate) fn take_one(&mut self, names: &[&'static str]) -> Option<&'static str> {
        self.take_map(|modifier| names.iter().find(|name| **name == modifier).copied())
    }

    /// Takes the last modifier, which must be a type.
    pub(crate) fn take_type(&mut self, instruction: &Instruction<'_>) -> Result<Type, ParseError> {
        let Some(last) = self.rest.last() else {
            return Err(instruction.operand_error("a type is missing from the opcode"));
        };
        let ty = Type::parse(last).ok_or_else(|| instruction.unknown_modifier(last))?;
        self.rest.pop();
        Ok(ty)
    }

    /// Refuses modifiers that nothing has taken.
    pub(crate) fn finish(&self, instruction: &Instruction<'_>) -> Result<(), ParseError> {
        match self.rest.first() {
            None => Ok(()),
            Some(modifier) => Err(instruction.unknown_modifier(modifier)),
        }
    }
}
