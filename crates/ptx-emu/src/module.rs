//! A parsed and decoded module.

use crate::decode;
use crate::error::ParseError;
use crate::ir::Kernel;
use crate::memory::Memory;
use crate::parse;
use std::sync::atomic::{AtomicU64, Ordering};

/// A variable in global memory that the module declares.
#[derive(Clone, Debug)]
pub(crate) struct GlobalVariable {
    pub name: String,
    /// Its size.
    pub bytes: usize,
    /// Its first bytes; those after are zero.
    pub initial: Vec<u8>,
    /// Places (byte offset, width) that hold the address of another global variable plus an offset.
    pub addresses: Vec<(usize, u32, i64)>,
}

/// A PTX module: parsed, every kernel of it decoded.
#[derive(Debug)]
pub struct Module {
    pub(crate) id: u64,
    pub(crate) isa: (u32, u32),
    pub(crate) target: String,
    pub(crate) kernels: Vec<Kernel>,
    /// Names of the source files that `.loc` directives refer to.
    pub(crate) files: Vec<(u32, String)>,
    pub(crate) constants: Vec<u8>,
    /// Name, offset and size of each constant variable, by offset.
    pub(crate) constant_variables: Vec<(String, u64, u64)>,
    pub(crate) globals: Vec<GlobalVariable>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl Module {
    /// Parses a PTX text and decodes every kernel in it.
    ///
    /// # Errors
    /// [`ParseError`] where the text is not PTX, or has an instruction or modifier that this
    /// executor does not know: nothing is ever guessed.
    pub fn parse(ptx: &str) -> Result<Module, ParseError> {
        let tree = parse::parse_module(ptx)?;
        let mut module = decode::module(&tree)?;
        module.id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Ok(module)
    }

    /// Major and minor version of the PTX ISA the text is written in.
    #[must_use]
    pub fn isa(&self) -> (u32, u32) {
        self.isa
    }

    /// The target architecture, such as `sm_75`.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Names of the kernels, in the order of the text.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.kernels.iter().map(|kernel| kernel.name.as_str())
    }

    /// The kernel of that name.
    #[must_use]
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.iter().find(|kernel| kernel.name == name)
    }

    /// Addresses of the module's global variables, which come to be at the first launch with a
    /// memory and keep their contents across launches with it.
    pub(crate) fn place_variables(&self, memory: &mut Memory) -> Vec<u64> {
        if self.globals.is_empty() {
            return Vec::new();
        }
        if let Some(addresses) = memory.module_variables(self.id) {
            return addresses.to_vec();
        }
        let addresses: Vec<u64> =
            self.globals.iter().map(|global| memory.allocate_zeroed(&global.name, global.bytes)).collect();
        for (global, address) in self.globals.iter().zip(&addresses) {
            let mut bytes = global.initial.clone();
            for (place, variable, offset) in &global.addresses {
                let value = addresses[*variable as usize].wrapping_add(*offset as u64);
                bytes[*place..*place + 8].copy_from_slice(&value.to_le_bytes());
            }
            // The allocation was made to hold them above, so the write cannot fail.
            let written = memory.write(*address, &bytes);
            debug_assert!(written.is_ok());
        }
        memory.set_module_variables(self.id, addresses.clone());
        addresses
    }
}
