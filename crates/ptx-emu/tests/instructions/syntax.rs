//! The ISA's notation for an instruction's modifiers, expanded to every spelling that it allows.
//!
//! `{.a|.b}` is optional, `(.a|.b)` is not. Modifiers stand in the order of the ISA; the decoder
//! takes them in any order.

use crate::exact::{Format, Rounding};

/// What the bits of a type mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Pred,
    Bits,
    Unsigned,
    Signed,
    Float,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type {
    pub name: &'static str,
    pub kind: Kind,
    /// Of the whole value, both halves of a packed one.
    pub bits: u32,
}

const TYPES: [Type; 22] = {
    const fn ty(name: &'static str, kind: Kind, bits: u32) -> Type {
        Type { name, kind, bits }
    }
    [
        ty("pred", Kind::Pred, 1),
        ty("b8", Kind::Bits, 8),
        ty("b16", Kind::Bits, 16),
        ty("b32", Kind::Bits, 32),
        ty("b64", Kind::Bits, 64),
        ty("u8", Kind::Unsigned, 8),
        ty("u16", Kind::Unsigned, 16),
        ty("u32", Kind::Unsigned, 32),
        ty("u64", Kind::Unsigned, 64),
        ty("s8", Kind::Signed, 8),
        ty("s16", Kind::Signed, 16),
        ty("s32", Kind::Signed, 32),
        ty("s64", Kind::Signed, 64),
        ty("f16", Kind::Float, 16),
        ty("f16x2", Kind::Float, 32),
        ty("bf16", Kind::Float, 16),
        ty("bf16x2", Kind::Float, 32),
        ty("f32", Kind::Float, 32),
        ty("f64", Kind::Float, 64),
        ty("tf32", Kind::Float, 32),
        ty("e4m3x2", Kind::Float, 16),
        ty("e5m2x2", Kind::Float, 16),
    ]
};

impl Type {
    pub fn parse(name: &str) -> Option<Type> {
        TYPES.iter().find(|ty| ty.name == name).copied()
    }

    pub fn named(name: &str) -> Type {
        Type::parse(name).expect("a type")
    }

    pub fn is_packed(self) -> bool {
        self.name.ends_with("x2")
    }

    /// Bits of one of the values that it packs.
    pub fn element_bits(self) -> u32 {
        if self.is_packed() { self.bits / 2 } else { self.bits }
    }

    pub fn is_signed(self) -> bool {
        self.kind == Kind::Signed
    }

    pub fn is_float(self) -> bool {
        self.kind == Kind::Float
    }

    pub fn format(self) -> Format {
        crate::edges::format(self.name)
    }

    pub fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }

    /// The integer that the low bits of a raw value are.
    pub fn integer(self, raw: u64) -> i128 {
        let value = i128::from(raw & self.mask());
        if self.is_signed() && value >> (self.bits - 1) != 0 { value - (1 << self.bits) } else { value }
    }

    /// The least and the largest integer of the type.
    pub fn range(self) -> (i128, i128) {
        let span = 1i128 << self.bits;
        if self.is_signed() { (-span / 2, span / 2 - 1) } else { (0, span - 1) }
    }

    /// The type of twice the width.
    pub fn wide(self) -> Type {
        Type::named(&format!("{}{}", &self.name[..1], self.bits * 2))
    }
}

/// An instruction without its operands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spelling {
    pub opcode: String,
    pub modifiers: Vec<String>,
}

impl Spelling {
    pub fn parse(text: &str) -> Spelling {
        let mut parts = text.split('.').map(str::to_owned);
        Spelling { opcode: parts.next().unwrap_or_default(), modifiers: parts.collect() }
    }

    pub fn has(&self, modifier: &str) -> bool {
        self.modifiers.iter().any(|own| own == modifier)
    }

    /// The first of the given modifiers that it has.
    pub fn one_of<'m>(&self, modifiers: &[&'m str]) -> Option<&'m str> {
        modifiers.iter().find(|modifier| self.has(modifier)).copied()
    }

    pub fn types(&self) -> Vec<Type> {
        self.modifiers.iter().filter_map(|modifier| Type::parse(modifier)).collect()
    }

    /// The last type.
    pub fn ty(&self) -> Type {
        *self.types().last().expect("a type")
    }

    pub fn rounding(&self) -> Option<Rounding> {
        self.modifiers.iter().find_map(|modifier| {
            Some(match modifier.as_str() {
                "rn" => Rounding::Nearest,
                "rna" => Rounding::Away,
                "rz" => Rounding::Zero,
                "rm" => Rounding::Down,
                "rp" => Rounding::Up,
                _ => return None,
            })
        })
    }

    /// Elements of a vector.
    pub fn count(&self) -> usize {
        match self.one_of(&["v2", "v4"]) {
            Some("v2") => 2,
            Some(_) => 4,
            None => 1,
        }
    }
}

impl std::fmt::Display for Spelling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.opcode)?;
        self.modifiers.iter().try_for_each(|modifier| write!(f, ".{modifier}"))
    }
}

const ABBREVIATIONS: &[(&str, &str)] = &[
    ("$int", ".u16|.u32|.u64|.s16|.s32|.s64"),
    ("$signedbyte", ".s8|.s16|.s32|.s64"),
    ("$signed", ".s16|.s32|.s64"),
    ("$bits", ".b16|.b32|.b64"),
    ("$word", ".u32|.u64|.s32|.s64"),
    ("$byteint", ".u8|.u16|.u32|.u64|.s8|.s16|.s32|.s64"),
    ("$any32", ".b8|.b16|.b32|.u8|.u16|.u32|.s8|.s16|.s32|.f32"),
    ("$any", ".b8|.b16|.b32|.b64|.u8|.u16|.u32|.u64|.s8|.s16|.s32|.s64|.f32|.f64"),
    ("$half", ".f16|.bf16|.f16x2|.bf16x2"),
    ("$rnd", ".rn|.rz|.rm|.rp"),
    ("$irnd", ".rni|.rzi|.rmi|.rpi"),
    ("$order", ".eq|.ne|.lt|.le|.gt|.ge"),
    ("$float", ".equ|.neu|.ltu|.leu|.gtu|.geu|.num|.nan"),
    ("$shared", ".shared|.shared::cta|.shared::cluster"),
    ("$scope", ".cta|.cluster|.gpu|.sys"),
    ("$priority", ".L1::evict_normal|.L1::evict_unchanged|.L1::evict_first|.L1::evict_last|.L1::no_allocate"),
    ("$policy", ".L2::evict_last|.L2::evict_normal|.L2::evict_first|.L2::evict_unchanged"),
    ("$prefetch", ".L2::64B|.L2::128B|.L2::256B"),
];

/// All spellings of a line of notation.
pub fn expand(notation: &str) -> Vec<Spelling> {
    let mut text = notation.to_owned();
    for (short, long) in ABBREVIATIONS {
        text = text.replace(short, long);
    }
    let mut spellings = vec![String::new()];
    let mut rest = text.as_str();
    while let Some(open) = rest.find(['{', '(']) {
        let optional = rest[open..].starts_with('{');
        let close = open + rest[open..].find(if optional { '}' } else { ')' }).expect("a bracket closes");
        let (head, alternatives) = (&rest[..open], &rest[open + 1..close]);
        spellings = spellings
            .iter()
            .flat_map(|start| {
                let none = optional.then_some("");
                none.into_iter().chain(alternatives.split('|')).map(move |choice| format!("{start}{head}{choice}"))
            })
            .collect();
        rest = &rest[close + 1..];
    }
    spellings.iter().map(|start| Spelling::parse(&format!("{start}{rest}"))).collect()
}

#[test]
fn notation_expands() {
    let all: Vec<_> = expand("op{.a|.b}.c(.d|.e)").iter().map(Spelling::to_string).collect();
    assert_eq!(all, ["op.c.d", "op.c.e", "op.a.c.d", "op.a.c.e", "op.b.c.d", "op.b.c.e"]);
}
