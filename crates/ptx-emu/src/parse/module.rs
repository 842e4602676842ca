//! Module-level directives: version, target, variables, functions.

use super::Cursor;
use super::ast::{DeclSpace, Function, Module, Variable};
use super::lexer::TokenKind;
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
            Some(TokenKind::Word(directive @ (".alias" | ".tex"))) => {
                Err(ParseError::Unsupported { line, what: "this directive".to_owned(), text: directive.to_owned() })
            }
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
