//! PTX text to syntax tree.

pub(crate) mod ast;
mod body;
mod lexer;
mod module;
mod variable;

pub(crate) use module::parse_module;

use crate::error::ParseError;
use lexer::{Token, TokenKind};

/// A cursor over the tokens of a module, with the source they came from.
pub(crate) struct Cursor<'a> {
    source: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
    depth: u32,
}

/// Braces and parentheses may nest this deep; parsing recurses once per level.
const MAX_NESTING: u32 = 64;

impl<'a> Cursor<'a> {
    fn new(source: &'a str) -> Result<Cursor<'a>, ParseError> {
        Ok(Cursor { source, tokens: lexer::tokenize(source)?, at: 0, depth: 0 })
    }

    fn peek(&self) -> Option<TokenKind<'a>> {
        self.tokens.get(self.at).map(|token| token.kind)
    }

    fn peek_second(&self) -> Option<TokenKind<'a>> {
        self.tokens.get(self.at + 1).map(|token| token.kind)
    }

    fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |token| token.line)
    }

    fn advance(&mut self) {
        self.at += 1;
    }

    /// Runs `parse` one nesting level deeper, refusing text nested beyond reason.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.depth >= MAX_NESTING {
            return Err(self.unexpected(&format!("at most {MAX_NESTING} levels of nesting")));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    fn unexpected(&self, expected: &str) -> ParseError {
        let found = self.peek().map_or("end of text".to_owned(), |kind| kind.describe());
        ParseError::syntax(self.line(), found, expected)
    }

    fn accept(&mut self, punct: char) -> bool {
        let hit = self.peek() == Some(TokenKind::Punct(punct));
        self.at += usize::from(hit);
        hit
    }

    fn expect(&mut self, punct: char) -> Result<(), ParseError> {
        if self.accept(punct) { Ok(()) } else { Err(self.unexpected(&format!("`{punct}`"))) }
    }

    fn accept_word(&mut self, word: &str) -> bool {
        let hit = self.peek() == Some(TokenKind::Word(word));
        self.at += usize::from(hit);
        hit
    }

    fn word(&mut self, expected: &str) -> Result<&'a str, ParseError> {
        match self.peek() {
            Some(TokenKind::Word(word)) => {
                self.advance();
                Ok(word)
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    fn integer(&mut self, expected: &str) -> Result<u64, ParseError> {
        match self.peek() {
            Some(TokenKind::Number(text)) => match parse_number(text) {
                Some(Number::Int(value)) => {
                    self.advance();
                    Ok(value)
                }
                _ => Err(self.unexpected(expected)),
            },
            _ => Err(self.unexpected(expected)),
        }
    }

    fn integer32(&mut self, expected: &str) -> Result<u32, ParseError> {
        let line = self.line();
        let value = self.integer(expected)?;
        u32::try_from(value).map_err(|_| ParseError::syntax(line, value.to_string(), expected))
    }

    /// Skips to the end of the current line's tokens, for directives that end with the line.
    fn skip_line(&mut self, line: u32) {
        while self.tokens.get(self.at).is_some_and(|token| token.line == line) {
            self.advance();
        }
    }

    /// Skips a balanced `{ ... }`, the cursor standing on the opening brace.
    fn skip_braces(&mut self) -> Result<(), ParseError> {
        self.expect('{')?;
        let mut depth = 1;
        while depth > 0 {
            match self.peek() {
                None => return Err(self.unexpected("`}`")),
                Some(TokenKind::Punct('{')) => depth += 1,
                Some(TokenKind::Punct('}')) => depth -= 1,
                Some(_) => {}
            }
            self.advance();
        }
        Ok(())
    }
}

/// A numeric literal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Int(u64),
    F32(u32),
    F64(u64),
}

/// Interprets a numeric literal in any of PTX's notations.
pub(crate) fn parse_number(text: &str) -> Option<Number> {
    let lower = text.to_ascii_lowercase();
    if let Some(hex) = lower.strip_prefix("0f") {
        return (hex.len() == 8).then(|| u32::from_str_radix(hex, 16).ok()).flatten().map(Number::F32);
    }
    if let Some(hex) = lower.strip_prefix("0d") {
        return (hex.len() == 16).then(|| u64::from_str_radix(hex, 16).ok()).flatten().map(Number::F64);
    }
    let digits = lower.strip_suffix('u').unwrap_or(&lower);
    if let Some(hex) = digits.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(Number::Int);
    }
    if let Some(binary) = digits.strip_prefix("0b") {
        return u64::from_str_radix(binary, 2).ok().map(Number::Int);
    }
    if digits.contains('.') || digits.contains('e') {
        return digits.parse::<f64>().ok().map(|value| Number::F64(value.to_bits()));
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return u64::from_str_radix(digits, 8).ok().map(Number::Int);
    }
    digits.parse::<u64>().ok().map(Number::Int)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_notation() {
        assert_eq!(parse_number("42"), Some(Number::Int(42)));
        assert_eq!(parse_number("0x1F"), Some(Number::Int(31)));
        assert_eq!(parse_number("017"), Some(Number::Int(15)));
        assert_eq!(parse_number("0b101"), Some(Number::Int(5)));
        assert_eq!(parse_number("7U"), Some(Number::Int(7)));
        assert_eq!(parse_number("18446744073709551615"), Some(Number::Int(u64::MAX)));
        assert_eq!(parse_number("0f3F800000"), Some(Number::F32(0x3f80_0000)));
        assert_eq!(parse_number("0d3FF0000000000000"), Some(Number::F64(0x3ff0 << 48)));
        assert_eq!(parse_number("1.5"), Some(Number::F64(1.5f64.to_bits())));
        assert_eq!(parse_number("0f3F8"), None);
        assert_eq!(parse_number("9x"), None);
    }
}
