//! Splits PTX text into tokens, each with its line and byte range.

use crate::error::ParseError;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind<'a> {
    /// An identifier, directive, opcode with its modifiers, or register name.
    Word(&'a str),
    /// A number in any of PTX's notations, not yet interpreted.
    Number(&'a str),
    /// A quoted string, without its quotes.
    Text(&'a str),
    /// A single punctuation character.
    Punct(char),
}

impl TokenKind<'_> {
    /// The token as it should appear in a message.
    pub(crate) fn describe(&self) -> String {
        match self {
            TokenKind::Word(text) | TokenKind::Number(text) => format!("`{text}`"),
            TokenKind::Text(text) => format!("\"{text}\""),
            TokenKind::Punct(c) => format!("`{c}`"),
        }
    }
}

/// One token of the source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub kind: TokenKind<'a>,
    pub line: u32,
    pub start: usize,
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$' | b'%' | b'.')
}

fn continues_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.')
}

/// Tokenises a whole PTX text.
pub(crate) fn tokenize(source: &str) -> Result<Vec<Token<'_>>, ParseError> {
    let bytes = source.as_bytes();
    let mut tokens = Vec::with_capacity(bytes.len() / 4);
    let mut line = 1u32;
    let mut at = 0usize;
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        match byte {
            b'\n' => {
                line += 1;
                at += 1;
            }
            // NVRTC ends its text with a NUL, which callers may leave in.
            b' ' | b'\t' | b'\r' | 0 => at += 1,
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                while bytes.get(at).is_some_and(|b| *b != b'\n') {
                    at += 1;
                }
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                at += 2;
                loop {
                    match bytes.get(at) {
                        None => return Err(ParseError::syntax(line, "end of text", "`*/`")),
                        Some(b'*') if bytes.get(at + 1) == Some(&b'/') => break,
                        Some(b'\n') => line += 1,
                        Some(_) => {}
                    }
                    at += 1;
                }
                at += 2;
            }
            b'"' => {
                at += 1;
                while bytes.get(at).is_some_and(|b| !matches!(b, b'"' | b'\n')) {
                    at += 1;
                }
                if bytes.get(at) != Some(&b'"') {
                    return Err(ParseError::syntax(line, "end of line", "`\"`"));
                }
                at += 1;
                let kind = TokenKind::Text(&source[start + 1..at - 1]);
                tokens.push(Token { kind, line, start });
            }
            _ if byte.is_ascii_digit() => {
                at = number_end(bytes, at);
                let kind = TokenKind::Number(&source[start..at]);
                tokens.push(Token { kind, line, start });
            }
            _ if starts_word(byte) => {
                at += 1;
                // Directives may be written without a space between: `.reg.b16`.
                let directive = byte == b'.';
                loop {
                    if bytes.get(at).is_some_and(|b| continues_word(*b) && !(directive && *b == b'.')) {
                        at += 1;
                    } else if bytes[at..].starts_with(b"::") && bytes.get(at + 2).is_some_and(|b| continues_word(*b)) {
                        at += 3;
                    } else {
                        break;
                    }
                }
                let kind = TokenKind::Word(&source[start..at]);
                tokens.push(Token { kind, line, start });
            }
            _ if byte.is_ascii_punctuation() => {
                at += 1;
                tokens.push(Token { kind: TokenKind::Punct(byte as char), line, start });
            }
            _ => {
                let found = source[at..].chars().next().unwrap_or('\u{fffd}');
                return Err(ParseError::syntax(line, format!("{found:?}"), "PTX (ASCII) text"));
            }
        }
    }
    Ok(tokens)
}

fn number_end(bytes: &[u8], mut at: usize) -> usize {
    let start = at;
    let radix_prefix =
        bytes[at] == b'0' && bytes.get(at + 1).is_some_and(|b| matches!(b | 0x20, b'x' | b'f' | b'd' | b'b'));
    while let Some(&byte) = bytes.get(at) {
        let exponent_sign = !radix_prefix
            && matches!(byte, b'+' | b'-')
            && at > start
            && matches!(bytes[at - 1], b'e' | b'E')
            && bytes[start..at].contains(&b'.');
        if byte.is_ascii_alphanumeric() || byte == b'.' || exponent_sign {
            at += 1;
        } else {
            break;
        }
    }
    at
}
