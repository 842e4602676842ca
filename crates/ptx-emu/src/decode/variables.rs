//! Variables at module level: global and constant memory, dynamic shared arrays.

use super::scope::{Location, Place};
use crate::error::ParseError;
use crate::ir::StateSpace;
use crate::module::GlobalVariable;
use crate::parse::ast::{DeclSpace, Initial, Variable};
use std::collections::HashMap;

/// Bytes of global variables that a module may declare.
const MAX_GLOBAL: u64 = 1 << 28;

/// Shared variables that the module declares outside its kernels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModuleShared {
    pub align: u64,
    pub bytes: u64,
    pub dynamic: bool,
}

/// What the module-level declarations amount to.
#[derive(Debug, Default)]
pub(crate) struct ModuleVariables<'a> {
    places: HashMap<&'a str, Place>,
    /// Shared variables: each kernel that uses one gets its own room for it.
    pub shared: HashMap<&'a str, ModuleShared>,
    pub constants: Vec<u8>,
    pub constant_variables: Vec<(String, u64, u64)>,
    pub globals: Vec<GlobalVariable>,
}

impl<'a> ModuleVariables<'a> {
    pub(crate) fn lookup(&self, name: &str) -> Option<Place> {
        self.places.get(name).copied()
    }

    pub(crate) fn collect(variables: &[Variable<'a>]) -> Result<ModuleVariables<'a>, ParseError> {
        let mut module = ModuleVariables::default();
        let mut pending = Vec::new();
        let mut global_bytes = 0;
        for variable in variables {
            let refuse = |what: &str| ParseError::Unsupported {
                line: variable.line,
                what: what.to_owned(),
                text: variable.name.to_owned(),
            };
            let redeclared = || ParseError::Redeclared { line: variable.line, name: variable.name.to_owned() };
            let place = match variable.space {
                DeclSpace::Shared => {
                    let shared =
                        ModuleShared { align: variable.align, bytes: variable.bytes, dynamic: variable.unsized_array };
                    if module.shared.insert(variable.name, shared).is_some() {
                        return Err(redeclared());
                    }
                    continue;
                }
                DeclSpace::Local | DeclSpace::Param => {
                    return Err(refuse("a local variable outside functions"));
                }
                _ if variable.is_extern => return Err(refuse("an external variable")),
                DeclSpace::Global => {
                    global_bytes += variable.bytes;
                    if global_bytes > MAX_GLOBAL {
                        return Err(refuse("more than 256 MiB of global variables"));
                    }
                    pending.push((variable, None));
                    let index = (pending.len() - 1) as u32;
                    Place { space: StateSpace::Global, location: Location::Global(index) }
                }
                DeclSpace::Const => {
                    let end = module.constants.len() as u64;
                    let offset = end.next_multiple_of(variable.align);
                    if offset + variable.bytes > 64 * 1024 {
                        return Err(refuse("more than 64 KiB of constants"));
                    }
                    module.constants.resize((offset + variable.bytes) as usize, 0);
                    let name = variable.name.to_owned();
                    module.constant_variables.push((name, offset, variable.bytes));
                    pending.push((variable, Some(offset)));
                    Place { space: StateSpace::Const, location: Location::Fixed(offset) }
                }
            };
            if module.places.insert(variable.name, place).is_some() {
                return Err(redeclared());
            }
        }
        module.initialise(&pending)?;
        Ok(module)
    }

    fn initialise(&mut self, pending: &[(&Variable<'a>, Option<u64>)]) -> Result<(), ParseError> {
        // Constants take a slot in `pending` too, so that indices of globals need mapping.
        let mut indices = Vec::with_capacity(pending.len());
        let mut next = 0u32;
        for (_, constant) in pending {
            indices.push(next);
            next += u32::from(constant.is_none());
        }
        for place in self.places.values_mut() {
            if let Location::Global(index) = &mut place.location {
                *index = indices[*index as usize];
            }
        }
        for (variable, constant) in pending {
            let element = variable.element_bytes as usize;
            // Up to the last value that is given.
            let given = variable.initial.iter().map(|(index, _)| index + 1).max().unwrap_or(0);
            let mut bytes = vec![0u8; given as usize * element];
            let mut addresses = Vec::new();
            for (index, initial) in &variable.initial {
                let at = *index as usize * element;
                match initial {
                    Initial::Bits(bits) => {
                        bytes[at..at + element].copy_from_slice(&bits.to_le_bytes()[..element]);
                    }
                    Initial::Address { name, offset, .. } => {
                        let place = self
                            .places
                            .get(name)
                            .ok_or_else(|| ParseError::Undeclared { line: variable.line, name: (*name).to_owned() })?;
                        match place.location {
                            Location::Global(target) if element == 8 && constant.is_none() => {
                                addresses.push((at, target, *offset));
                            }
                            _ => {
                                return Err(ParseError::Unsupported {
                                    line: variable.line,
                                    what: "this address as an initial value".to_owned(),
                                    text: variable.name.to_owned(),
                                });
                            }
                        }
                    }
                }
            }
            match constant {
                Some(offset) => {
                    let start = *offset as usize;
                    self.constants[start..start + bytes.len()].copy_from_slice(&bytes);
                }
                None => {
                    let (name, bytes, initial) = (variable.name.to_owned(), variable.bytes as usize, bytes);
                    self.globals.push(GlobalVariable { name, bytes, initial, addresses });
                }
            }
        }
        Ok(())
    }
}
