//! Module-level directives: version, target, variables, functions.

use super::ast::{DeclSpace, Function, Initial, Module, Variable};
use super::lexer::TokenKind;
use super::{Cursor, Number, parse_number};
use crate::error::ParseError;

/// Parses a whole PTX text.
pub(crate) fn parse_module(source: &str) -> Result<Module<'_>, ParseError> {
    let mut cursor = Cursor::new(source)?;
    let mut module = Module::default();
    while cursor.peek().is_some() {
        cursor.module_item(&mut module)?;
    }
    if module.version == (0, 0) {
        return Err(ParseError::syntax(1, "no `.version` directive", "`.version major.minor`"));
    }
    Ok(module)
}

impl<'a> Cursor<'a> {
    fn module_item(&mut self, module: &mut Module<'a>) -> Result<(), ParseError> {
        let line = self.line();
        match self.peek() {
            Some(TokenKind::Word(".version")) => {
                self.advance();
                module.version = self.version()?;
                Ok(())
            }
            Some(TokenKind::Word(".target")) => {
                self.advance();
                module.target = self.word("a target such as `sm_75`")?;
                while self.accept(',') {
                    self.word("a target option")?;
                }
                Ok(())
            }
            Some(TokenKind::Word(".address_size")) => {
                self.advance();
                match self.integer("an address size")? {
                    64 => Ok(()),
                    size => Err(ParseError::Unsupported {
                        line,
                        what: format!("an address size of {size} bits"),
                        text: format!(".address_size {size}"),
                    }),
                }
            }
            Some(TokenKind::Word(".file")) => {
                self.advance();
                let index = self.integer32("a file index")?;
                if let Some(TokenKind::Text(name)) = self.peek() {
                    module.files.push((index, name));
                }
                self.skip_line(line);
                Ok(())
            }
            Some(TokenKind::Word(".section")) => {
                self.advance();
                while self.peek() != Some(TokenKind::Punct('{')) {
                    self.word("a section name")?;
                }
                self.skip_braces()
            }
            Some(TokenKind::Word(".pragma")) => self.skip_statement(),
            Some(TokenKind::Word(_)) => self.declaration(module),
            _ => Err(self.unexpected("a directive")),
        }
    }

    fn skip_statement(&mut self) -> Result<(), ParseError> {
        while self.peek().is_some() {
            if self.accept(';') {
                return Ok(());
            }
            self.advance();
        }
        Err(self.unexpected("`;`"))
    }

    fn version(&mut self) -> Result<(u32, u32), ParseError> {
        let Some(TokenKind::Number(text)) = self.peek() else {
            return Err(self.unexpected("a version such as `8.2`"));
        };
        let parsed = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        let version = parsed.ok_or_else(|| self.unexpected("a version such as `8.2`"))?;
        self.advance();
        Ok(version)
    }

    fn declaration(&mut self, module: &mut Module<'a>) -> Result<(), ParseError> {
        let mut is_extern = false;
        loop {
            if self.accept_word(".extern") {
                is_extern = true;
            } else if !(self.accept_word(".visible") || self.accept_word(".weak") || self.accept_word(".common")) {
                break;
            }
        }
        if self.accept_word(".entry") {
            let function = self.function(true)?;
            module.functions.push(function);
            Ok(())
        } else if self.accept_word(".func") {
            let function = self.function(false)?;
            module.functions.push(function);
            Ok(())
        } else if let Some(space) = self.decl_space() {
            let variables = self.variables(space, is_extern)?;
            module.variables.extend(variables);
            Ok(())
        } else {
            Err(self.unexpected("`.entry`, `.func` or a variable"))
        }
    }

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
    fn variable(&mut self, space: DeclSpace, is_extern: bool) -> Result<Variable<'a>, ParseError> {
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
                    let scalar = scalar_bytes(word)
                        .ok_or_else(|| ParseError::syntax(line, format!("`{word}`"), "a fundamental type"))?;
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

    /// Parses `name`, its array dimensions and its initialiser into `variable`.
    fn declarator(&mut self, variable: &mut Variable<'a>) -> Result<(), ParseError> {
        variable.name = self.word("a variable's name")?;
        variable.bytes = variable.element_bytes;
        variable.unsized_array = false;
        while self.accept('[') {
            if self.accept(']') {
                variable.unsized_array = true;
                variable.bytes = 0;
                continue;
            }
            let line = self.line();
            let count = self.integer("an array length")?;
            let total = variable.bytes.checked_mul(count).filter(|total| *total < 1 << 40);
            variable.bytes =
                total.ok_or_else(|| ParseError::syntax(line, count.to_string(), "an array below 2^40 bytes"))?;
            self.expect(']')?;
        }
        variable.initial.clear();
        if self.accept('=') {
            self.initialiser(&mut variable.initial)?;
            if variable.unsized_array {
                variable.unsized_array = false;
                variable.bytes = variable.element_bytes * variable.initial.len() as u64;
            }
            if variable.initial.len() as u64 * variable.element_bytes > variable.bytes {
                return Err(ParseError::syntax(
                    variable.line,
                    format!("{} initial values", variable.initial.len()),
                    format!("at most {}", variable.bytes / variable.element_bytes),
                ));
            }
        }
        Ok(())
    }

    fn initialiser(&mut self, values: &mut Vec<Initial<'a>>) -> Result<(), ParseError> {
        if self.accept('{') {
            while !self.accept('}') {
                self.nested(|inner| inner.initialiser(values))?;
                if !self.accept(',') {
                    self.expect('}')?;
                    break;
                }
            }
            return Ok(());
        }
        let negative = self.accept('-');
        match self.peek() {
            Some(TokenKind::Number(text)) => {
                let bits = match parse_number(text) {
                    Some(Number::Int(value)) if negative => value.wrapping_neg(),
                    Some(Number::Int(value)) => value,
                    Some(Number::F32(bits)) => u64::from(bits) ^ (u64::from(negative) << 31),
                    Some(Number::F64(bits)) => bits ^ (u64::from(negative) << 63),
                    None => return Err(self.unexpected("a number")),
                };
                self.advance();
                values.push(Initial::Bits(bits));
            }
            Some(TokenKind::Word(word)) if !negative => {
                self.advance();
                let generic = word == "generic" && self.accept('(');
                let name = if generic { self.word("a variable's name")? } else { word };
                if generic {
                    self.expect(')')?;
                }
                let offset = if self.accept('+') { self.integer("an offset")? as i64 } else { 0 };
                values.push(Initial::Address { name, offset });
            }
            _ => return Err(self.unexpected("an initial value")),
        }
        Ok(())
    }

    fn parameter_list(&mut self) -> Result<Vec<Variable<'a>>, ParseError> {
        let mut parameters = Vec::new();
        if !self.accept('(') {
            return Ok(parameters);
        }
        while !self.accept(')') {
            let line = self.line();
            if self.accept_word(".reg") {
                return Err(ParseError::Unsupported {
                    line,
                    what: "a function parameter in a register".to_owned(),
                    text: ".reg".to_owned(),
                });
            }
            if !self.accept_word(".param") {
                return Err(self.unexpected("`.param`"));
            }
            parameters.push(self.variable(DeclSpace::Param, false)?);
            if !self.accept(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(parameters)
    }

    fn dimensions(&mut self) -> Result<[u32; 3], ParseError> {
        let mut dims = [1; 3];
        dims[0] = self.integer32("a dimension")?;
        for dim in &mut dims[1..] {
            if !self.accept(',') {
                break;
            }
            *dim = self.integer32("a dimension")?;
        }
        Ok(dims)
    }

    fn function(&mut self, entry: bool) -> Result<Function<'a>, ParseError> {
        let line = self.line();
        let returns = if entry { Vec::new() } else { self.parameter_list()? };
        let name = self.word("a function's name")?;
        let parameters = self.parameter_list()?;
        let mut function = Function {
            name,
            entry,
            parameters,
            returns,
            body: None,
            max_threads: None,
            required_threads: None,
            required_cluster: None,
            line,
        };
        loop {
            match self.peek() {
                Some(TokenKind::Punct('{')) => {
                    self.advance();
                    function.body = Some(self.block()?);
                    return Ok(function);
                }
                Some(TokenKind::Punct(';')) => {
                    self.advance();
                    return Ok(function);
                }
                Some(TokenKind::Word(directive)) => {
                    self.advance();
                    match directive {
                        ".maxntid" => function.max_threads = Some(self.dimensions()?),
                        ".reqntid" => function.required_threads = Some(self.dimensions()?),
                        ".reqnctapercluster" => {
                            function.required_cluster = Some(self.dimensions()?);
                        }
                        ".maxnreg" | ".minnctapersm" | ".maxnctapersm" | ".maxclusterrank" => {
                            self.integer("a number")?;
                        }
                        ".explicitcluster" | ".noreturn" => {}
                        ".pragma" => self.skip_statement()?,
                        ".attribute" => {
                            return Err(ParseError::Unsupported {
                                line: self.line(),
                                what: "a function attribute".to_owned(),
                                text: directive.to_owned(),
                            });
                        }
                        _ => {
                            self.at -= 1;
                            return Err(self.unexpected("a performance directive or `{`"));
                        }
                    }
                }
                _ => return Err(self.unexpected("`{` or `;`")),
            }
        }
    }
}

/// Size in bytes of a fundamental type's directive (`.u32`), `None` for anything else.
pub(crate) fn scalar_bytes(word: &str) -> Option<u64> {
    Some(match word {
        ".b8" | ".u8" | ".s8" => 1,
        ".b16" | ".u16" | ".s16" | ".f16" | ".bf16" => 2,
        ".b32" | ".u32" | ".s32" | ".f32" | ".f16x2" | ".bf16x2" => 4,
        ".b64" | ".u64" | ".s64" | ".f64" => 8,
        _ => return None,
    })
}
