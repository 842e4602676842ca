//! Declarations of variables, and their initial values.

use super::ast::{DeclSpace, Initial, Variable};
use super::lexer::TokenKind;
use super::{Cursor, Number, parse_number};
use crate::error::ParseError;

impl<'a> Cursor<'a> {
    /// Consumes a state space that opens a variable declaration, if one stands here.
    pub(super) fn decl_space(&mut self) -> Option<DeclSpace> {
        let space = match self.peek() {
            Some(TokenKind::Word(".global")) => DeclSpace::Global,
            Some(TokenKind::Word(".const")) => DeclSpace::Const,
            Some(TokenKind::Word(".shared")) => DeclSpace::Shared,
            Some(TokenKind::Word(".local")) => DeclSpace::Local,
            Some(TokenKind::Word(".param")) => DeclSpace::Param,
            _ => return None,
        };
        self.advance();
        Some(space)
    }

    /// Parses declarators up to and including the `;`, the space already consumed.
    pub(super) fn variables(&mut self, space: DeclSpace, is_extern: bool) -> Result<Vec<Variable<'a>>, ParseError> {
        let mut variables = vec![self.variable(space, is_extern)?];
        while self.accept(',') {
            let mut next = variables[0].clone();
            next.line = self.line();
            self.declarator(&mut next)?;
            variables.push(next);
        }
        self.expect(';')?;
        Ok(variables)
    }

    /// Parses `.align`, type and one declarator, without terminator.
    pub(super) fn variable(&mut self, space: DeclSpace, is_extern: bool) -> Result<Variable<'a>, ParseError> {
        let mut align = None;
        let mut vector = 1;
        let line = self.line();
        loop {
            let word = self.word("`.align`, a vector size or a type")?;
            match word {
                ".align" => align = Some(self.integer("an alignment")?),
                ".v2" => vector = 2,
                ".v4" => vector = 4,
                // Attributes of pointer parameters, which say nothing about how to execute.
                ".ptr" | ".global" | ".const" | ".shared" | ".local" => {}
                _ => {
                    let scalar = scalar_bytes(word).ok_or_else(|| not_a_type(word, line))?;
                    // `.u64 .ptr .global .align 16 name`: attributes may follow the type.
                    let mut align = align;
                    while let Some(TokenKind::Word(attribute)) = self.peek() {
                        match attribute {
                            ".ptr" | ".global" | ".const" | ".shared" | ".local" => self.advance(),
                            // The pointee's alignment, not the parameter's.
                            ".align" => {
                                self.advance();
                                self.integer("an alignment")?;
                            }
                            _ => break,
                        }
                    }
                    let element_bytes = scalar * vector;
                    let given = align.get_or_insert(element_bytes);
                    if !given.is_power_of_two() || *given > 1 << 20 {
                        return Err(ParseError::syntax(
                            line,
                            format!("`.align {given}`"),
                            "a power of two of at most 2^20",
                        ));
                    }
                    let mut variable = Variable {
                        space,
                        name: "",
                        align: *given,
                        scalar: word,
                        element_bytes,
                        bytes: 0,
                        unsized_array: false,
                        is_extern,
                        initial: Vec::new(),
                        line,
                    };
                    self.declarator(&mut variable)?;
                    return Ok(variable);
                }
            }
        }
    }

    /// Parses `name`, its array dimensions and its initial values into `variable`.
    fn declarator(&mut self, variable: &mut Variable<'a>) -> Result<(), ParseError> {
        variable.name = self.word("a variable's name")?;
        variable.unsized_array = false;
        let mut dimensions = Vec::new();
        while self.accept('[') {
            if dimensions.is_empty() && self.accept(']') {
                variable.unsized_array = true;
                dimensions.push(0);
                continue;
            }
            dimensions.push(self.integer("an array length")?);
            self.expect(']')?;
        }
        // How many elements each dimension's part has, the whole first.
        let too_large = ParseError::syntax(variable.line, format!("{dimensions:?}"), "an array below 2^40 bytes");
        let mut parts = vec![1u64];
        for length in dimensions.iter().rev() {
            let part = parts[parts.len() - 1].checked_mul(*length).filter(|part| *part < 1 << 40);
            parts.push(part.ok_or_else(|| too_large.clone())?);
        }
        parts.reverse();
        let bytes_of = |elements: u64| {
            elements.checked_mul(variable.element_bytes).filter(|bytes| *bytes < 1 << 40).ok_or(too_large)
        };
        variable.initial.clear();
        if !self.accept('=') {
            variable.bytes = bytes_of(parts[0])?;
            return Ok(());
        }
        if Some(variable.element_bytes) != scalar_bytes(variable.scalar) {
            return Err(ParseError::Unsupported {
                line: variable.line,
                what: "an initial value of a vector".to_owned(),
                text: variable.name.to_owned(),
            });
        }
        if !dimensions.is_empty() && self.peek() != Some(TokenKind::Punct('{')) {
            return Err(self.unexpected("`{`"));
        }
        if !dimensions.is_empty() {
            // Only a variable that is no array takes a value in braces.
            parts.pop();
        }
        if variable.unsized_array {
            parts[0] = u64::MAX;
        }
        let end = self.initialiser(variable.scalar, &parts, 0, &mut variable.initial)?;
        variable.unsized_array = false;
        variable.bytes = bytes_of(if parts[0] == u64::MAX { end } else { parts[0] })?;
        Ok(())
    }

    /// Parses a value for the element at `at`, or a list for the part that starts there; `parts` are
    /// the sizes of that part and of those inside. Returns the element after it.
    fn initialiser(
        &mut self,
        scalar: &str,
        parts: &[u64],
        at: u64,
        values: &mut Vec<(u64, Initial<'a>)>,
    ) -> Result<u64, ParseError> {
        if self.peek() != Some(TokenKind::Punct('{')) {
            let value = self.initial_value(scalar)?;
            values.push((at, value));
            return Ok(at + 1);
        }
        let Some((room, inner)) = parts.split_first() else {
            return Err(self.unexpected("a value: the array has no more dimensions"));
        };
        self.advance();
        // Values that a list leaves out are zero.
        let mut next = at;
        while !self.accept('}') {
            if next - at >= *room {
                return Err(self.unexpected(&format!("at most {room} initial values")));
            }
            let starts_part = (next - at).is_multiple_of(inner.first().copied().unwrap_or(1).max(1));
            if !starts_part && self.peek() == Some(TokenKind::Punct('{')) {
                return Err(self.unexpected("a value: the list before it is not full"));
            }
            next = self.nested(|cursor| cursor.initialiser(scalar, inner, next, values))?;
            if !self.accept(',') {
                self.expect('}')?;
                break;
            }
        }
        if *room != u64::MAX {
            return Ok(at + room);
        }
        let part = inner.first().copied().unwrap_or(1).max(1);
        Ok(at + (next - at).next_multiple_of(part))
    }

    fn initial_value(&mut self, scalar: &str) -> Result<Initial<'a>, ParseError> {
        let negative = self.accept('-');
        match self.peek() {
            Some(TokenKind::Number(text)) => {
                let sign = |bit: u32| u64::from(negative) << bit;
                let float = matches!(scalar, ".f16" | ".bf16" | ".f16x2" | ".bf16x2" | ".f32" | ".f64");
                let bits = match (parse_number(text), scalar) {
                    (Some(Number::Int(value)), _) if !float => {
                        Some(if negative { value.wrapping_neg() } else { value })
                    }
                    (Some(Number::F32(bits)), ".f32" | ".b32") => Some(u64::from(bits) ^ sign(31)),
                    (Some(Number::F32(bits)), ".f64") => Some(f64::from(f32::from_bits(bits)).to_bits() ^ sign(63)),
                    (Some(Number::F64(bits)), ".f64" | ".b64") => Some(bits ^ sign(63)),
                    (Some(Number::F64(bits)), ".f32") => {
                        Some(u64::from((f64::from_bits(bits) as f32).to_bits()) ^ sign(31))
                    }
                    _ => None,
                };
                let bits = bits.ok_or_else(|| self.unexpected(&format!("a constant of type `{scalar}`")))?;
                self.advance();
                Ok(Initial::Bits(bits))
            }
            Some(TokenKind::Word(word)) if !negative => {
                self.advance();
                let generic = word == "generic" && self.accept('(');
                let name = if generic { self.word("a variable's name")? } else { word };
                if generic {
                    self.expect(')')?;
                }
                let offset = if self.accept('+') { self.integer("an offset")? as i64 } else { 0 };
                Ok(Initial::Address { name, offset })
            }
            _ => Err(self.unexpected("an initial value")),
        }
    }
}

/// The error of a declaration whose type is none of those that [`scalar_bytes`] knows.
fn not_a_type(word: &str, line: u32) -> ParseError {
    let what = match word {
        ".texref" | ".surfref" | ".samplerref" => "a texture, surface or sampler",
        ".attribute" => "an attribute of a variable",
        ".b128" => "a type of 128 bits",
        _ => return ParseError::syntax(line, format!("`{word}`"), "a fundamental type"),
    };
    ParseError::Unsupported { line, what: what.to_owned(), text: word.to_owned() }
}

/// Size in bytes of a fundamental type's directive (`.u32`), `None` for anything else.
fn scalar_bytes(word: &str) -> Option<u64> {
    Some(match word {
        ".b8" | ".u8" | ".s8" => 1,
        ".b16" | ".u16" | ".s16" | ".f16" | ".bf16" => 2,
        ".b32" | ".u32" | ".s32" | ".f32" | ".f16x2" | ".bf16x2" => 4,
        ".b64" | ".u64" | ".s64" | ".f64" => 8,
        _ => return None,
    })
}
