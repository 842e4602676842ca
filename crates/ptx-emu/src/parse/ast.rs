//! The syntax tree of a PTX module: what the text says, before names are resolved.

/// A state space named in a declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeclSpace {
    Global,
    Const,
    Shared,
    Local,
    Param,
}

/// A value of a variable's initialiser.
#[derive(Clone, Debug)]
pub(crate) enum Initial<'a> {
    /// The element's bit pattern; only the low bytes of the element's size count.
    Bits(u64),
    /// The address of another variable plus an offset.
    Address { name: &'a str, offset: i64 },
}

/// A variable or parameter declaration.
#[derive(Clone, Debug)]
pub(crate) struct Variable<'a> {
    pub space: DeclSpace,
    pub name: &'a str,
    pub align: u64,
    /// The type's directive: `.u32`.
    pub scalar: &'a str,
    /// Size of an element in bytes: of the type, or of a vector of it.
    pub element_bytes: u64,
    /// Size in bytes; zero for an array of unknown length (`.extern .shared x[]`).
    pub bytes: u64,
    pub unsized_array: bool,
    pub is_extern: bool,
    /// Initial values and the elements they are for; all others are zero.
    pub initial: Vec<(u64, Initial<'a>)>,
    pub line: u32,
}

/// A position in the CUDA source, from `.loc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loc {
    pub file: u32,
    pub line: u32,
}

/// An operand as written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand<'a> {
    /// A register, special register, variable, label or function.
    Name(&'a str),
    /// A variable's address plus a constant, outside brackets.
    NameOffset(&'a str, i64),
    /// `!%p`.
    Not(&'a str),
    /// An integer constant, in two's complement.
    Int(u64),
    /// A single-precision constant's bits (`0f...`).
    F32(u32),
    /// A double-precision constant's bits (`0d...` or decimal).
    F64(u64),
    /// `[base + offset]`.
    Address { base: AddressBase<'a>, offset: i64 },
    /// `{a, b, ...}`.
    Vector(Vec<Operand<'a>>),
    /// `p|q`.
    Pair(Box<Operand<'a>>, Box<Operand<'a>>),
    /// `(a, b, ...)`, in a call.
    List(Vec<Operand<'a>>),
}

/// What an address is relative to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum AddressBase<'a> {
    Name(&'a str),
    Absolute,
}

/// An instruction as written.
#[derive(Clone, Debug)]
pub(crate) struct Instruction<'a> {
    /// The guard's predicate register and whether it is negated.
    pub guard: Option<(&'a str, bool)>,
    pub opcode: &'a str,
    /// Modifiers in order, without their leading dots.
    pub modifiers: Vec<&'a str>,
    pub operands: Vec<Operand<'a>>,
    pub line: u32,
    pub loc: Option<Loc>,
    /// The instruction's text, as in the source.
    pub text: &'a str,
}

/// A group of registers declared together: `%r<12>` or a single name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RegisterNames<'a> {
    pub name: &'a str,
    /// `Some(n)` declares `name0` to `name{n-1}`.
    pub count: Option<u32>,
}

/// A statement of a function body.
#[derive(Clone, Debug)]
pub(crate) enum Statement<'a> {
    Label(&'a str, u32),
    Registers { ty: &'a str, names: Vec<RegisterNames<'a>>, line: u32 },
    Variable(Variable<'a>),
    Block(Vec<Statement<'a>>),
    BranchTargets { name: &'a str, targets: Vec<&'a str>, line: u32 },
    Instruction(Instruction<'a>),
}

/// A kernel (`.entry`) or device function (`.func`).
#[derive(Clone, Debug)]
pub(crate) struct Function<'a> {
    pub name: &'a str,
    pub entry: bool,
    pub parameters: Vec<Variable<'a>>,
    pub returns: Vec<Variable<'a>>,
    /// `None` for a declaration without a body.
    pub body: Option<Vec<Statement<'a>>>,
    pub max_threads: Option<[u32; 3]>,
    pub required_threads: Option<[u32; 3]>,
    pub required_cluster: Option<[u32; 3]>,
    pub line: u32,
}

/// A whole module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Module<'a> {
    pub version: (u32, u32),
    pub target: &'a str,
    pub variables: Vec<Variable<'a>>,
    pub functions: Vec<Function<'a>>,
    pub files: Vec<(u32, &'a str)>,
}
