//! Errors of parsing and of launching; faults of a running kernel are in [`crate::fault`].

use crate::fault::Fault;
use thiserror::Error;

/// Why a PTX text was refused. Every variant names the line of the PTX text (from 1).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// The text does not follow PTX's grammar.
    #[error("PTX line {line}: found {found}, expected {expected}")]
    Syntax {
        /// Line of the PTX text.
        line: u32,
        /// What stands there.
        found: String,
        /// What should stand there.
        expected: String,
    },
    /// The opcode is not known to this executor.
    #[error("PTX line {line}: unknown instruction `{opcode}` in `{text}`")]
    UnknownInstruction {
        /// Line of the PTX text.
        line: u32,
        /// The opcode without modifiers.
        opcode: String,
        /// The whole instruction.
        text: String,
    },
    /// The opcode is known, a modifier or type of it is not.
    #[error("PTX line {line}: unknown or misplaced modifier `.{modifier}` in `{text}`")]
    UnknownModifier {
        /// Line of the PTX text.
        line: u32,
        /// The modifier without its dot.
        modifier: String,
        /// The whole instruction.
        text: String,
    },
    /// A construct that is valid PTX but that this executor does not execute.
    #[error("PTX line {line}: {what} is not supported, in `{text}`")]
    Unsupported {
        /// Line of the PTX text.
        line: u32,
        /// The construct.
        what: String,
        /// The whole instruction or directive.
        text: String,
    },
    /// An operand does not fit the instruction.
    #[error("PTX line {line}: {what}, in `{text}`")]
    Operand {
        /// Line of the PTX text.
        line: u32,
        /// What is wrong with which operand.
        what: String,
        /// The whole instruction.
        text: String,
    },
    /// A name is used that no declaration in scope introduces.
    #[error("PTX line {line}: `{name}` is not declared")]
    Undeclared {
        /// Line of the PTX text.
        line: u32,
        /// The name.
        name: String,
    },
    /// A name is declared twice in one scope.
    #[error("PTX line {line}: `{name}` is declared twice")]
    Redeclared {
        /// Line of the PTX text.
        line: u32,
        /// The name.
        name: String,
    },
}

impl ParseError {
    pub(crate) fn syntax(line: u32, found: impl Into<String>, expected: impl Into<String>) -> ParseError {
        ParseError::Syntax { line, found: found.into(), expected: expected.into() }
    }
}

/// Why a launch did not complete.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The module has no kernel of that name.
    #[error("the module has no kernel `{name}`; it has: {available}")]
    UnknownKernel {
        /// The name asked for.
        name: String,
        /// The kernels there are, separated by commas.
        available: String,
    },
    /// A dimension of the grid, block or cluster is zero or too large.
    #[error("{what} is {given:?}; {wanted}")]
    Dimension {
        /// `grid`, `block` or `cluster`.
        what: &'static str,
        /// The dimensions asked for.
        given: [u32; 3],
        /// What is allowed.
        wanted: String,
    },
    /// Static and dynamic shared memory together exceed what a CTA can have.
    #[error("shared memory: {static_bytes} static + {dynamic_bytes} dynamic bytes; at most {limit} per CTA")]
    SharedMemory {
        /// Bytes declared in the PTX.
        static_bytes: u64,
        /// Bytes asked for at launch.
        dynamic_bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The number of arguments differs from the number of parameters.
    #[error("kernel `{kernel}` takes {wanted} arguments, {given} were given")]
    ArgumentCount {
        /// The kernel.
        kernel: String,
        /// Arguments given.
        given: usize,
        /// Parameters declared.
        wanted: usize,
    },
    /// An argument's size differs from its parameter's.
    #[error("argument {index} of kernel `{kernel}` (`{parameter}`) is {wanted} bytes, {given} were given")]
    ArgumentSize {
        /// The kernel.
        kernel: String,
        /// Position from 0.
        index: usize,
        /// The parameter's name in the PTX.
        parameter: String,
        /// Bytes given.
        given: usize,
        /// Bytes declared.
        wanted: usize,
    },
    /// The kernel did something wrong while running.
    #[error(transparent)]
    Fault(#[from] Box<Fault>),
}
