//! Function bodies: statements, instructions and their operands.

use super::ast::{AddressBase, Instruction, Loc, Operand, RegisterNames, Statement};
use super::lexer::TokenKind;
use super::{Cursor, Number, parse_number};
use crate::error::ParseError;

impl<'a> Cursor<'a> {
    /// Parses statements up to and including the closing brace of a block already opened.
    pub(super) fn block(&mut self) -> Result<Vec<Statement<'a>>, ParseError> {
        let mut loc = None;
        self.statements(&mut loc)
    }

    fn statements(&mut self, loc: &mut Option<Loc>) -> Result<Vec<Statement<'a>>, ParseError> {
        let mut statements = Vec::new();
        loop {
            let line = self.line();
            match self.peek() {
                Some(TokenKind::Punct('}')) => {
                    self.advance();
                    return Ok(statements);
                }
                Some(TokenKind::Punct('{')) => {
                    self.advance();
                    statements.push(Statement::Block(self.nested(|inner| inner.statements(loc))?));
                }
                Some(TokenKind::Punct(';')) => self.advance(),
                Some(TokenKind::Punct('@')) => {
                    statements.push(Statement::Instruction(self.instruction(*loc)?));
                }
                Some(TokenKind::Word(word)) => match word {
                    ".loc" => {
                        self.advance();
                        let file = self.integer32("a file index")?;
                        let source_line = self.integer32("a line")?;
                        *loc = (source_line > 0).then_some(Loc { file, line: source_line });
                        self.skip_line(line);
                    }
                    ".reg" => {
                        self.advance();
                        statements.push(self.registers()?);
                    }
                    ".pragma" => {
                        while !self.accept(';') {
                            if self.peek().is_none() {
                                return Err(self.unexpected("`;`"));
                            }
                            self.advance();
                        }
                    }
                    _ if self.peek_second() == Some(TokenKind::Punct(':')) => {
                        self.advance();
                        self.advance();
                        statements.push(self.labelled(word, line)?);
                    }
                    _ => {
                        if let Some(space) = self.decl_space() {
                            let variables = self.variables(space, false)?;
                            statements.extend(variables.into_iter().map(Statement::Variable));
                        } else if word.starts_with('.') {
                            return Err(self.unexpected("a statement"));
                        } else {
                            statements.push(Statement::Instruction(self.instruction(*loc)?));
                        }
                    }
                },
                _ => return Err(self.unexpected("a statement or `}`")),
            }
        }
    }

    /// What follows a label: branch targets, or nothing that belongs to it.
    fn labelled(&mut self, name: &'a str, line: u32) -> Result<Statement<'a>, ParseError> {
        if self.accept_word(".branchtargets") {
            let mut targets = vec![self.word("a label")?];
            while self.accept(',') {
                targets.push(self.word("a label")?);
            }
            self.expect(';')?;
            return Ok(Statement::BranchTargets { name, targets, line });
        }
        if let Some(TokenKind::Word(word @ (".callprototype" | ".calltargets"))) = self.peek() {
            return Err(ParseError::Unsupported { line, what: "an indirect call".to_owned(), text: word.to_owned() });
        }
        Ok(Statement::Label(name, line))
    }

    fn registers(&mut self) -> Result<Statement<'a>, ParseError> {
        let line = self.line();
        let ty = self.word("a register type")?;
        if matches!(ty, ".v2" | ".v4") {
            return Err(ParseError::Unsupported {
                line,
                what: "a vector register".to_owned(),
                text: format!(".reg {ty}"),
            });
        }
        let mut names = Vec::new();
        loop {
            let name = self.word("a register's name")?;
            let count = if self.accept('<') {
                let count_line = self.line();
                let count = self.integer32("a register count")?;
                if count > 1 << 16 {
                    return Err(ParseError::syntax(count_line, count.to_string(), "at most 2^16 registers"));
                }
                self.expect('>')?;
                Some(count)
            } else {
                None
            };
            names.push(RegisterNames { name, count });
            if !self.accept(',') {
                break;
            }
        }
        self.expect(';')?;
        Ok(Statement::Registers { ty, names, line })
    }

    fn instruction(&mut self, loc: Option<Loc>) -> Result<Instruction<'a>, ParseError> {
        let line = self.line();
        let start = self.tokens[self.at].start;
        let guard = if self.accept('@') {
            let negated = self.accept('!');
            Some((self.word("a predicate register")?, negated))
        } else {
            None
        };
        let mut parts = self.word("an instruction")?.split('.');
        let opcode = parts.next().unwrap_or_default();
        let modifiers = parts.collect();
        let mut operands = Vec::new();
        if self.peek() != Some(TokenKind::Punct(';')) {
            loop {
                operands.push(self.operand()?);
                if !self.accept(',') {
                    break;
                }
            }
        }
        self.expect(';')?;
        let end = self.tokens[self.at - 1].start;
        let text = self.source[start..end].trim_end();
        Ok(Instruction { guard, opcode, modifiers, operands, line, loc, text })
    }

    fn operand(&mut self) -> Result<Operand<'a>, ParseError> {
        let operand = self.simple_operand()?;
        if self.accept('|') {
            let second = self.simple_operand()?;
            return Ok(Operand::Pair(Box::new(operand), Box::new(second)));
        }
        Ok(operand)
    }

    fn operand_list(&mut self, close: char) -> Result<Vec<Operand<'a>>, ParseError> {
        let mut list = Vec::new();
        while !self.accept(close) {
            list.push(self.operand()?);
            if !self.accept(',') {
                self.expect(close)?;
                break;
            }
        }
        Ok(list)
    }

    fn simple_operand(&mut self) -> Result<Operand<'a>, ParseError> {
        match self.peek() {
            Some(TokenKind::Punct('{')) => {
                self.advance();
                Ok(Operand::Vector(self.nested(|inner| inner.operand_list('}'))?))
            }
            Some(TokenKind::Punct('(')) => {
                self.advance();
                Ok(Operand::List(self.nested(|inner| inner.operand_list(')'))?))
            }
            Some(TokenKind::Punct('[')) => {
                self.advance();
                self.address()
            }
            Some(TokenKind::Punct('!')) => {
                self.advance();
                Ok(Operand::Not(self.word("a predicate register")?))
            }
            Some(TokenKind::Word(name)) => {
                self.advance();
                match self.offset()? {
                    Some(offset) => Ok(Operand::NameOffset(name, offset)),
                    None => Ok(Operand::Name(name)),
                }
            }
            _ => self.constant(),
        }
    }

    fn constant(&mut self) -> Result<Operand<'a>, ParseError> {
        let negative = self.accept('-');
        let inverted = !negative && self.accept('~');
        let Some(TokenKind::Number(text)) = self.peek() else {
            return Err(self.unexpected("an operand"));
        };
        let operand = match parse_number(text) {
            Some(Number::Int(value)) if negative => Operand::Int(value.wrapping_neg()),
            Some(Number::Int(value)) if inverted => Operand::Int(!value),
            Some(Number::Int(value)) => Operand::Int(value),
            Some(Number::F32(bits)) if !inverted => Operand::F32(bits ^ (u32::from(negative) << 31)),
            Some(Number::F64(bits)) if !inverted => Operand::F64(bits ^ (u64::from(negative) << 63)),
            _ => return Err(self.unexpected("a number")),
        };
        self.advance();
        Ok(operand)
    }

    /// Consumes `+ n`, `- n` or `+ -n` where one follows.
    fn offset(&mut self) -> Result<Option<i64>, ParseError> {
        let negative = match self.peek() {
            Some(TokenKind::Punct('+')) => {
                self.advance();
                self.accept('-')
            }
            Some(TokenKind::Punct('-')) => {
                self.advance();
                true
            }
            _ => return Ok(None),
        };
        let value = self.integer("a byte offset")? as i64;
        Ok(Some(if negative { value.wrapping_neg() } else { value }))
    }

    fn address(&mut self) -> Result<Operand<'a>, ParseError> {
        let line = self.line();
        let operand = match self.peek() {
            Some(TokenKind::Word(name)) => {
                self.advance();
                let offset = self.offset()?.unwrap_or(0);
                Operand::Address { base: AddressBase::Name(name), offset }
            }
            _ => {
                let offset = self.integer("an address")? as i64;
                Operand::Address { base: AddressBase::Absolute, offset }
            }
        };
        if self.peek() == Some(TokenKind::Punct(',')) {
            let what = "an address of several parts, as textures and tensors have,".to_owned();
            return Err(ParseError::Unsupported { line, what, text: "[…, …]".to_owned() });
        }
        self.expect(']')?;
        Ok(operand)
    }
}
