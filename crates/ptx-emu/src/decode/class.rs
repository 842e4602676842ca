//! What class an instruction is counted in.

use crate::ir::{Op, StateSpace};
use crate::parse::ast::Instruction;
use crate::report::InstructionClass;

/// Whether a modifier names a floating-point type.
fn is_float(modifier: &str) -> bool {
    matches!(modifier, "f16" | "f16x2" | "bf16" | "bf16x2" | "f32" | "f32x2" | "f64")
}

/// The class of a decoded instruction.
pub(super) fn of(instruction: &Instruction<'_>, op: &Op) -> InstructionClass {
    let memory = |space| match space {
        StateSpace::Global => InstructionClass::GlobalMemory,
        StateSpace::Shared | StateSpace::SharedCluster => InstructionClass::SharedMemory,
        StateSpace::Generic | StateSpace::Local | StateSpace::Const | StateSpace::Param => {
            InstructionClass::OtherMemory
        }
    };
    match op {
        Op::Load(load) => memory(load.space),
        Op::Store(store) => memory(store.space),
        Op::Atomic(atomic) => memory(atomic.space),
        _ => of_opcode(instruction),
    }
}

/// The class of an instruction that accesses no memory.
fn of_opcode(instruction: &Instruction<'_>) -> InstructionClass {
    let float = || instruction.modifiers.iter().any(|modifier| is_float(modifier));
    match instruction.opcode {
        "add" | "sub" | "mul" | "mad" | "fma" | "div" | "min" | "max" | "neg" | "abs" if float() => {
            InstructionClass::Float
        }
        "rcp" | "sqrt" | "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" | "copysign" => InstructionClass::Float,
        "cvt" => InstructionClass::Conversion,
        "prefetch" | "prefetchu" | "discard" | "applypriority" => {
            if instruction.modifiers.contains(&"global") {
                InstructionClass::GlobalMemory
            } else {
                InstructionClass::OtherMemory
            }
        }
        "bra" | "brx" | "call" | "exit" | "ret" | "trap" | "brkpt" | "nanosleep" | "pmevent" | "griddepcontrol" => {
            InstructionClass::Control
        }
        "shfl" | "vote" | "match" | "redux" | "activemask" => InstructionClass::Exchange,
        "bar" | "barrier" | "membar" | "fence" => InstructionClass::Barrier,
        _ => InstructionClass::Integer,
    }
}
