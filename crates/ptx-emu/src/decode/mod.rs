//! Syntax tree to executable form: names resolved, types checked, instructions lifted.

mod bits;
mod class;
mod compare;
mod control;
mod convert;
mod float;
mod half;
mod integer;
mod memory;
mod moves;
mod operand;
mod scope;
mod sync;
mod types;
mod variables;

use crate::error::ParseError;
use crate::exec::race::MAX_CODE;
use crate::exec::registers::{FIRST_PRED, PredOperand};
use crate::ir::{Inst, Kernel, Op, Origin, Parameter, Preset, StateSpace};
use crate::module::Module;
use crate::parse::ast::{DeclSpace, Function, Instruction, Module as Tree, Statement, Variable};
use crate::report::InstructionClass;
use scope::{Location, Place, Register, Scope, Symbol};
use std::collections::HashMap;
use types::{Modifiers, Type};
use variables::ModuleVariables;

/// Bytes of parameters that a kernel may have: the ISA's limit from version 8.1 on.
const MAX_PARAMETERS: u64 = 32_764;

/// Characters of an instruction's text that faults show.
const MAX_TEXT: usize = 200;

/// Decodes every kernel of a module.
pub(crate) fn module(tree: &Tree<'_>) -> Result<Module, ParseError> {
    let variables = ModuleVariables::collect(&tree.variables)?;
    let mut kernels: Vec<Kernel> = Vec::new();
    for function in tree.functions.iter().filter(|function| function.entry) {
        if kernels.iter().any(|kernel| kernel.name == function.name) {
            let (line, name) = (function.line, function.name.to_owned());
            return Err(ParseError::Redeclared { line, name });
        }
        if let Some(body) = &function.body {
            kernels.push(kernel(tree, &variables, function, body)?);
        }
    }
    Ok(Module {
        id: 0,
        isa: tree.version,
        target: tree.target.to_owned(),
        kernels,
        files: tree.files.iter().map(|(index, name)| (*index, (*name).to_owned())).collect(),
        constants: variables.constants,
        constant_variables: variables.constant_variables,
        globals: variables.globals,
    })
}

/// Decodes one kernel and the device functions that it calls.
struct Decoder<'m, 'a> {
    tree: &'m Tree<'a>,
    module: &'m ModuleVariables<'a>,
    scopes: Vec<Scope<'a>>,
    code: Vec<Inst>,
    origins: Vec<Origin>,
    /// Positions of the labels, by label number; branches hold numbers until the end.
    labels: Vec<Option<u32>>,
    w32_count: u32,
    w64_count: u32,
    pred_count: u32,
    presets32: HashMap<Preset, u32>,
    presets64: HashMap<Preset, u32>,
    static_shared: u64,
    dynamic_shared_align: u64,
    local_bytes: u64,
    /// Room given to shared variables declared outside this kernel's own text: by function (empty
    /// for the module) and name.
    shared_elsewhere: HashMap<(&'a str, &'a str), Place>,
    /// Device functions being inlined, outermost first, and the label each returns to.
    calls: Vec<(&'a str, usize)>,
}

fn kernel<'a>(
    tree: &Tree<'a>,
    module: &ModuleVariables<'a>,
    function: &Function<'a>,
    body: &[Statement<'a>],
) -> Result<Kernel, ParseError> {
    let mut decoder = Decoder {
        tree,
        module,
        scopes: vec![Scope::default()],
        code: Vec::new(),
        origins: Vec::new(),
        labels: Vec::new(),
        w32_count: 0,
        w64_count: 0,
        pred_count: FIRST_PRED,
        presets32: HashMap::new(),
        presets64: HashMap::new(),
        static_shared: 0,
        dynamic_shared_align: 16,
        local_bytes: 0,
        shared_elsewhere: HashMap::new(),
        calls: Vec::new(),
    };
    let mut parameters = Vec::new();
    let mut parameter_bytes = 0u64;
    for parameter in &function.parameters {
        let offset = parameter_bytes.next_multiple_of(parameter.align);
        parameter_bytes = offset + parameter.bytes;
        let name = parameter.name.to_owned();
        parameters.push(Parameter { name, offset, bytes: parameter.bytes });
        if parameter_bytes > MAX_PARAMETERS {
            return Err(ParseError::Unsupported {
                line: parameter.line,
                what: format!("more than {MAX_PARAMETERS} bytes of parameters"),
                text: parameter.name.to_owned(),
            });
        }
        let place = Place { space: StateSpace::Param, location: Location::Fixed(offset) };
        decoder.declare(parameter.name, Symbol::Variable(place), parameter.line)?;
    }
    decoder.block(body)?;
    decoder.emit_end(function.line);
    if decoder.code.len() > MAX_CODE {
        let what = format!("a kernel of more than {MAX_CODE} instructions");
        return Err(ParseError::Unsupported { line: function.line, what, text: function.name.to_owned() });
    }
    decoder.resolve_branches();
    let presets = |map: HashMap<Preset, u32>| {
        let mut list: Vec<_> = map.into_iter().collect();
        list.sort_by_key(|(_, index)| *index);
        list
    };
    Ok(Kernel {
        name: function.name.to_owned(),
        code: decoder.code,
        origins: decoder.origins,
        w32_count: decoder.w32_count,
        w64_count: decoder.w64_count,
        pred_count: decoder.pred_count,
        presets32: presets(decoder.presets32),
        presets64: presets(decoder.presets64),
        parameters,
        parameter_bytes,
        static_shared: decoder.static_shared,
        dynamic_shared_align: decoder.dynamic_shared_align,
        local_bytes: decoder.local_bytes.next_multiple_of(16),
        max_threads: function.max_threads,
        required_threads: function.required_threads,
        required_cluster: function.required_cluster,
    })
}

/// An instruction's text on one line. Inlining repeats it, so that its length has a limit.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_TEXT) {
        None => line,
        Some((end, _)) => format!("{}…", &line[..end]),
    }
}

impl<'a> Decoder<'_, 'a> {
    fn declare(&mut self, name: &'a str, symbol: Symbol<'a>, line: u32) -> Result<(), ParseError> {
        let fresh = match self.scopes.last_mut() {
            Some(scope) => scope.declare(name, symbol),
            None => false,
        };
        if fresh { Ok(()) } else { Err(ParseError::Redeclared { line, name: name.to_owned() }) }
    }

    /// The innermost meaning of a name.
    fn lookup(&self, name: &str) -> Option<Symbol<'a>> {
        self.scopes
            .iter()
            .rev()
            .find_map(|scope| scope.lookup(name))
            .or_else(|| self.module.lookup(name).map(Symbol::Variable))
    }

    fn new_label(&mut self) -> usize {
        self.labels.push(None);
        self.labels.len() - 1
    }

    fn position(&self) -> u32 {
        self.code.len() as u32
    }

    /// Decodes the statements of a block whose scope has been opened.
    fn block(&mut self, statements: &[Statement<'a>]) -> Result<(), ParseError> {
        for statement in statements {
            match statement {
                Statement::Label(name, line) => {
                    let label = self.new_label();
                    self.declare(name, Symbol::Label(label), *line)?;
                }
                Statement::BranchTargets { name, targets, line } => {
                    self.declare(name, Symbol::BranchTargets(targets.clone()), *line)?;
                }
                _ => {}
            }
        }
        for statement in statements {
            match statement {
                Statement::Label(name, _) => {
                    if let Some(Symbol::Label(label)) = self.lookup(name) {
                        self.labels[label] = Some(self.position());
                    }
                }
                Statement::BranchTargets { .. } => {}
                Statement::Registers { ty, names, line } => {
                    let ty = ty
                        .strip_prefix('.')
                        .and_then(Type::parse)
                        .ok_or_else(|| ParseError::syntax(*line, format!("`{ty}`"), "a register type"))?;
                    for register in names {
                        self.declare_registers(register.name, register.count, ty, *line)?;
                    }
                }
                Statement::Variable(variable) => self.declare_variable(variable)?,
                Statement::Block(inner) => {
                    self.scopes.push(Scope::default());
                    self.block(inner)?;
                    self.scopes.pop();
                }
                Statement::Instruction(instruction) => self.instruction(instruction)?,
            }
        }
        Ok(())
    }

    fn declare_registers(&mut self, name: &'a str, count: Option<u32>, ty: Type, line: u32) -> Result<(), ParseError> {
        let number = count.unwrap_or(1);
        let next = match ty.bytes() {
            0 => &mut self.pred_count,
            8 => &mut self.w64_count,
            _ => &mut self.w32_count,
        };
        let first = Register { ty, index: *next };
        *next = next
            .checked_add(number)
            .filter(|total| *total < 1 << 16)
            .ok_or_else(|| ParseError::syntax(line, format!("{number} registers"), "below 2^16 per kernel"))?;
        match count {
            None => self.declare(name, Symbol::Register(first), line),
            Some(count) => {
                let fresh = self.scopes.last_mut().is_some_and(|scope| scope.declare_range(name, first, count));
                let redeclared = ParseError::Redeclared { line, name: name.to_owned() };
                if fresh { Ok(()) } else { Err(redeclared) }
            }
        }
    }

    fn declare_variable(&mut self, variable: &Variable<'a>) -> Result<(), ParseError> {
        let refuse = |what: &str| ParseError::Unsupported {
            line: variable.line,
            what: what.to_owned(),
            text: variable.name.to_owned(),
        };
        if !variable.initial.is_empty() {
            return Err(refuse("an initialiser inside a function"));
        }
        let place = match variable.space {
            DeclSpace::Shared if variable.unsized_array => {
                self.dynamic_shared_align = self.dynamic_shared_align.max(variable.align);
                Place { space: StateSpace::Shared, location: Location::DynamicShared }
            }
            _ if variable.unsized_array => return Err(refuse("an array of unknown length")),
            DeclSpace::Shared => match self.calls.last() {
                None => self.static_shared_place(variable.align, variable.bytes),
                // Every inlined copy of a function shares the function's variable.
                Some((function, _)) => {
                    let key = (*function, variable.name);
                    match self.shared_elsewhere.get(&key) {
                        Some(place) => *place,
                        None => {
                            let place = self.static_shared_place(variable.align, variable.bytes);
                            self.shared_elsewhere.insert(key, place);
                            place
                        }
                    }
                }
            },
            DeclSpace::Local | DeclSpace::Param => self.local_place(variable),
            DeclSpace::Global | DeclSpace::Const => {
                return Err(refuse("a global or constant variable inside a function"));
            }
        };
        if self.local_bytes > 1 << 19 {
            return Err(refuse("more than 512 KiB of local memory"));
        }
        self.declare(variable.name, Symbol::Variable(place), variable.line)
    }

    fn static_shared_place(&mut self, align: u64, bytes: u64) -> Place {
        let offset = self.static_shared.next_multiple_of(align);
        self.static_shared = offset + bytes;
        Place { space: StateSpace::Shared, location: Location::Fixed(offset) }
    }

    /// This kernel's room for a shared variable that the module declares.
    fn claim_shared(&mut self, name: &str) -> Option<Place> {
        let (name, shared) = self.module.shared.get_key_value(name)?;
        if let Some(place) = self.shared_elsewhere.get(&("", *name)) {
            return Some(*place);
        }
        let place = if shared.dynamic {
            self.dynamic_shared_align = self.dynamic_shared_align.max(shared.align);
            Place { space: StateSpace::Shared, location: Location::DynamicShared }
        } else {
            self.static_shared_place(shared.align, shared.bytes)
        };
        self.shared_elsewhere.insert(("", name), place);
        Some(place)
    }

    /// Room in the thread's local memory: for `.local`, and for the parameters of calls.
    fn local_place(&mut self, variable: &Variable<'a>) -> Place {
        let offset = self.local_bytes.next_multiple_of(variable.align);
        self.local_bytes = offset + variable.bytes;
        Place { space: StateSpace::Local, location: Location::Fixed(offset) }
    }

    fn emit(&mut self, instruction: &Instruction<'a>, guard: PredOperand, op: Op) {
        self.code.push(Inst { guard, class: class::of(instruction, &op), op });
        self.origins.push(Origin {
            line: instruction.line,
            text: shortened(instruction.text),
            source: instruction.loc.map(|loc| (loc.file, loc.line)),
        });
    }

    /// Control that reaches the end of the text exits.
    fn emit_end(&mut self, line: u32) {
        self.code.push(Inst { guard: PredOperand::TRUE, class: InstructionClass::Control, op: Op::Exit });
        self.origins.push(Origin { line, text: "ret (end of kernel)".to_owned(), source: None });
    }

    /// Turns label numbers in branches into positions.
    fn resolve_branches(&mut self) {
        // Every label is placed when its block is decoded; the end is a safe stand-in.
        let end = self.position() - 1;
        let labels = &self.labels;
        let resolve = |label: &mut u32| *label = labels[*label as usize].unwrap_or(end);
        for inst in &mut self.code {
            match &mut inst.op {
                Op::Branch { target } => resolve(target),
                Op::BranchIndexed { targets, .. } => targets.iter_mut().for_each(resolve),
                _ => {}
            }
        }
    }

    fn instruction(&mut self, instruction: &Instruction<'a>) -> Result<(), ParseError> {
        let guard = match instruction.guard {
            None => PredOperand::TRUE,
            Some((name, negated)) => self.predicate(instruction, name, negated)?,
        };
        let mut modifiers = Modifiers::new(instruction);
        if instruction.opcode == "call" {
            return self.call(instruction, guard, &mut modifiers);
        }
        let op = self.operation(instruction, &mut modifiers)?;
        modifiers.finish(instruction)?;
        self.emit(instruction, guard, op);
        Ok(())
    }

    fn operation(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Result<Op, ParseError> {
        match inst.opcode {
            "add" | "sub" | "mul" | "mad" | "fma" | "div" | "min" | "max" | "neg" | "abs" => {
                match mods.take_type(inst)? {
                    Type::F32 => self.float32(inst, mods),
                    Type::F64 => self.float64(inst, mods),
                    ty @ (Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2) => self.half(inst, mods, ty),
                    ty => self.integer(inst, mods, ty),
                }
            }
            "rem" | "mul24" | "mad24" | "sad" | "addc" | "subc" | "madc" | "dp4a" | "dp2a" => {
                let ty = mods.take_type(inst)?;
                self.integer(inst, mods, ty)
            }
            "rcp" | "sqrt" | "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" | "copysign" | "testp" => {
                self.float_special(inst, mods)
            }
            "and" | "or" | "xor" | "not" | "cnot" | "shl" | "shr" | "popc" | "clz" | "bfind" | "brev" | "bfe"
            | "bfi" | "prmt" | "lop3" | "shf" => self.bits(inst, mods),
            "setp" => self.setp(inst, mods),
            "set" => self.set(inst, mods),
            "selp" | "slct" => self.select(inst, mods),
            "cvt" => self.convert(inst, mods),
            "mov" => self.mov(inst, mods),
            "cvta" | "isspacep" | "mapa" | "getctarank" => self.address_conversion(inst, mods),
            "ld" | "ldu" => self.load(inst, mods),
            "st" => self.store(inst, mods),
            "atom" | "red" => self.atomic(inst, mods),
            "prefetch" | "prefetchu" | "applypriority" | "createpolicy" => self.cache_hint(inst, mods),
            "bra" | "brx" | "exit" | "ret" | "trap" | "brkpt" | "nanosleep" | "pmevent" => self.control(inst, mods),
            "membar" | "fence" | "griddepcontrol" => self.ordering(inst, mods),
            "bar" | "barrier" => self.barrier(inst, mods),
            "shfl" | "vote" | "match" | "redux" | "activemask" => self.exchange(inst, mods),
            _ => Err(inst.unknown()),
        }
    }
}
