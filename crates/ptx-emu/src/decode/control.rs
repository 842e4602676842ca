//! Control flow: branches, calls (by inlining), exits; and instructions that only order.

use super::Decoder;
use super::scope::{Location, Place, Scope, Symbol};
use super::types::{Modifiers, Type};
use crate::error::ParseError;
use crate::exec::race::MAX_CODE;
use crate::exec::registers::PredOperand;
use crate::ir::{MemoryScope, Op, StateSpace};
use crate::parse::ast::{Instruction, Operand, Statement, Variable};

type Decoded = Result<Op, ParseError>;

/// Calls nest at most this deep.
const MAX_CALL_DEPTH: usize = 32;

impl<'a> Decoder<'_, 'a> {
    fn label(&self, inst: &Instruction<'a>, name: &str) -> Result<u32, ParseError> {
        match self.lookup(name) {
            Some(Symbol::Label(label)) => Ok(label as u32),
            Some(_) => Err(inst.operand_error(format!("`{name}` is not a label"))),
            None => Err(ParseError::Undeclared { line: inst.line, name: name.to_owned() }),
        }
    }

    pub(super) fn control(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        match inst.opcode {
            "bra" => {
                mods.take("uni");
                inst.expect_operands(1)?;
                let Operand::Name(name) = self.operand(inst, 0)? else {
                    return Err(inst.operand_error("a label is wanted"));
                };
                Ok(Op::Branch { target: self.label(inst, name)? })
            }
            "brx" => {
                if !mods.take("idx") {
                    return Err(inst.operand_error("`.idx` is missing"));
                }
                mods.take("uni");
                inst.expect_operands(2)?;
                let index = self.source::<u32>(inst, 0, Type::U32)?;
                let Operand::Name(name) = self.operand(inst, 1)? else {
                    return Err(inst.operand_error("a list of branch targets is wanted"));
                };
                let Some(Symbol::BranchTargets(names)) = self.lookup(name) else {
                    return Err(inst.operand_error(format!("`{name}` lists no branch targets")));
                };
                let targets = names.iter().map(|name| self.label(inst, name)).collect::<Result<_, _>>()?;
                Ok(Op::BranchIndexed { index, targets })
            }
            "ret" => {
                mods.take("uni");
                Ok(match self.calls.last() {
                    Some((_, end)) => Op::Branch { target: *end as u32 },
                    None => Op::Exit,
                })
            }
            "exit" => Ok(Op::Exit),
            "trap" | "brkpt" => Ok(Op::Trap),
            "nanosleep" => {
                if !mods.take("u32") {
                    return Err(inst.operand_error("`.u32` is missing"));
                }
                Ok(Op::Nop)
            }
            _ => Ok(Op::Nop),
        }
    }

    /// Fences, and the dependence between launches: threads run one after another, and so do launches, so these
    /// have nothing left to do but to tell the searches for races and for accesses that come before the wait.
    pub(super) fn ordering(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        inst.expect_operands(0)?;
        let names: &[&str] = match inst.opcode {
            "membar" => &["cta", "gl", "sys"],
            "fence" => {
                mods.take_one(&["sc", "acq_rel", "acquire", "release"]);
                &["cta", "cluster", "gpu", "sys"]
            }
            _ => {
                return match mods.take_one(&["wait", "launch_dependents"]) {
                    Some("wait") => Ok(Op::GridWait),
                    Some(_) => Ok(Op::Nop),
                    None => Err(inst.operand_error("`.wait` or `.launch_dependents` is missing")),
                };
            }
        };
        let scope = match mods.take_one(names) {
            Some("cta") => MemoryScope::Cta,
            Some("cluster") => MemoryScope::Cluster,
            Some(_) => MemoryScope::Gpu,
            None => return Err(inst.operand_error(format!("one of {names:?} is missing"))),
        };
        Ok(Op::Fence { scope })
    }

    /// Decodes a call by decoding the function's body in its place.
    pub(super) fn call(
        &mut self,
        inst: &Instruction<'a>,
        guard: PredOperand,
        mods: &mut Modifiers<'a>,
    ) -> Result<(), ParseError> {
        mods.take("uni");
        mods.finish(inst)?;
        let mut operands = inst.operands.iter();
        let mut next = operands.next();
        let empty: &[Operand<'a>] = &[];
        let mut returns = empty;
        if let Some(Operand::List(list)) = next {
            returns = list;
            next = operands.next();
        }
        let Some(Operand::Name(name)) = next else {
            return Err(inst.operand_error("a function's name is wanted"));
        };
        let arguments = match operands.next() {
            Some(Operand::List(list)) => list,
            Some(_) => return Err(inst.unsupported("an indirect call")),
            None => empty,
        };
        if operands.next().is_some() {
            return Err(inst.unsupported("an indirect call"));
        }
        if *name == "__assertfail" {
            self.emit(inst, guard, Op::Trap);
            return Ok(());
        }
        let tree = self.tree;
        // A declaration may come before the definition under the same name.
        let Some((function, body)) = tree
            .functions
            .iter()
            .filter(|function| !function.entry && function.name == *name)
            .find_map(|function| Some((function, function.body.as_ref()?)))
        else {
            return Err(inst.unsupported(format!("a call of `{name}`, which has no body here,")));
        };
        if self.calls.iter().any(|(caller, _)| *caller == function.name) {
            return Err(inst.unsupported("recursion"));
        }
        if self.calls.len() >= MAX_CALL_DEPTH {
            return Err(inst.unsupported(format!("a nest of more than {MAX_CALL_DEPTH} calls")));
        }
        if self.code.len() >= MAX_CODE {
            return Err(
                inst.unsupported(format!("a kernel of more than {MAX_CODE} instructions with its calls inlined"))
            );
        }
        let mut scope = Scope::default();
        self.bind(inst, &mut scope, &function.parameters, arguments)?;
        self.bind(inst, &mut scope, &function.returns, returns)?;
        let end = self.new_label();
        if guard.pred != PredOperand::TRUE.pred {
            let flip = !guard.flip;
            let skip = PredOperand { pred: guard.pred, flip };
            self.emit(inst, skip, Op::Branch { target: end as u32 });
        }
        let outer = std::mem::replace(&mut self.scopes, vec![scope]);
        self.calls.push((function.name, end));
        let decoded = self.inlined(body);
        self.calls.pop();
        self.scopes = outer;
        decoded?;
        self.labels[end] = Some(self.position());
        // A place for the label to stand, should the call be the last thing in a block.
        self.emit(inst, PredOperand::TRUE, Op::Nop);
        Ok(())
    }

    fn inlined(&mut self, body: &[Statement<'a>]) -> Result<(), ParseError> {
        self.scopes.push(Scope::default());
        self.block(body)
    }

    /// Lets a function's parameters name the caller's argument variables.
    fn bind(
        &mut self,
        inst: &Instruction<'a>,
        scope: &mut Scope<'a>,
        parameters: &[Variable<'a>],
        arguments: &[Operand<'a>],
    ) -> Result<(), ParseError> {
        if parameters.len() != arguments.len() {
            let (given, wanted) = (arguments.len(), parameters.len());
            return Err(inst.operand_error(format!("{given} arguments, {wanted} wanted")));
        }
        for (parameter, argument) in parameters.iter().zip(arguments) {
            let place = match argument {
                Operand::Name(name) => match self.lookup(name) {
                    Some(Symbol::Variable(place)) if place.space == StateSpace::Local => place,
                    _ => {
                        return Err(inst.unsupported(format!("`{name}` as an argument: no `.param`")));
                    }
                },
                _ => return Err(inst.unsupported("an argument that is not a variable")),
            };
            debug_assert!(matches!(place, Place { location: Location::Fixed(_), .. }));
            if !scope.declare(parameter.name, Symbol::Variable(place)) {
                let (line, name) = (parameter.line, parameter.name.to_owned());
                return Err(ParseError::Redeclared { line, name });
            }
        }
        Ok(())
    }
}
