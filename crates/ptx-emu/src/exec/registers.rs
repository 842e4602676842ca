//! A warp's register file, and the lifting of scalar functions to all its lanes.
//!
//! Registers live in two files by width (up to 32 bits, 64 bits), each laid out
//! `[register][lane]`; predicates are one bit per lane. Constants and special registers occupy
//! registers of their own, filled once, so that every operand is just an index.

use std::marker::PhantomData;

/// Lanes of a warp.
pub(crate) const LANES: usize = 32;
/// The mask of a full warp.
pub(crate) const FULL: u32 = u32::MAX;

/// Predicate that is always true.
pub(crate) const PRED_TRUE: u32 = 0;
/// Predicate that is always false.
pub(crate) const PRED_FALSE: u32 = 1;
/// The carry flag `CC.CF`.
pub(crate) const PRED_CARRY: u32 = 2;
/// First predicate register that a kernel can declare.
pub(crate) const FIRST_PRED: u32 = 3;

/// The registers of one warp.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registers {
    pub w32: Vec<[u32; LANES]>,
    pub w64: Vec<[u64; LANES]>,
    pub pred: Vec<u32>,
}

impl Registers {
    /// Sets the bits of `mask` in a predicate to those of `value`.
    pub(crate) fn set_pred(&mut self, pred: u32, value: u32, mask: u32) {
        let slot = &mut self.pred[pred as usize];
        *slot = (*slot & !mask) | (value & mask);
    }
}

/// A storage width: `u32` or `u64`.
pub(crate) trait Word: Copy + Send + Sync + 'static {
    fn lanes(registers: &Registers, index: u32) -> &[Self; LANES];
    fn lanes_mut(registers: &mut Registers, index: u32) -> &mut [Self; LANES];
    fn to_raw(self) -> u64;
    fn from_raw(raw: u64) -> Self;
}

impl Word for u32 {
    fn lanes(registers: &Registers, index: u32) -> &[u32; LANES] {
        &registers.w32[index as usize]
    }
    fn lanes_mut(registers: &mut Registers, index: u32) -> &mut [u32; LANES] {
        &mut registers.w32[index as usize]
    }
    fn to_raw(self) -> u64 {
        u64::from(self)
    }
    fn from_raw(raw: u64) -> u32 {
        raw as u32
    }
}

impl Word for u64 {
    fn lanes(registers: &Registers, index: u32) -> &[u64; LANES] {
        &registers.w64[index as usize]
    }
    fn lanes_mut(registers: &mut Registers, index: u32) -> &mut [u64; LANES] {
        &mut registers.w64[index as usize]
    }
    fn to_raw(self) -> u64 {
        self
    }
    fn from_raw(raw: u64) -> u64 {
        raw
    }
}

/// A register of known width.
#[derive(Debug)]
pub(crate) struct Reg<W> {
    pub index: u32,
    width: PhantomData<fn() -> W>,
}

impl<W> Clone for Reg<W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Reg<W> {}

impl<W: Word> Reg<W> {
    pub(crate) fn new(index: u32) -> Reg<W> {
        Reg { index, width: PhantomData }
    }

    pub(crate) fn read(self, registers: &Registers) -> &[W; LANES] {
        W::lanes(registers, self.index)
    }

    pub(crate) fn write(self, registers: &mut Registers) -> &mut [W; LANES] {
        W::lanes_mut(registers, self.index)
    }
}

/// A register of either width.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AnyReg {
    W32(Reg<u32>),
    W64(Reg<u64>),
}

impl AnyReg {
    /// One lane's value, zero-extended.
    pub(crate) fn get(self, registers: &Registers, lane: usize) -> u64 {
        match self {
            AnyReg::W32(reg) => u64::from(reg.read(registers)[lane]),
            AnyReg::W64(reg) => reg.read(registers)[lane],
        }
    }

    /// Sets one lane's value, truncating it to the register's width.
    pub(crate) fn set(self, registers: &mut Registers, lane: usize, value: u64) {
        match self {
            AnyReg::W32(reg) => reg.write(registers)[lane] = value as u32,
            AnyReg::W64(reg) => reg.write(registers)[lane] = value,
        }
    }
}

/// A PTX value type as a Rust type, stored in a [`Word`] with unused high bits zero.
pub(crate) trait Lane: Copy + Send + Sync + 'static {
    type Word: Word;
    fn from_word(word: Self::Word) -> Self;
    fn to_word(self) -> Self::Word;
}

macro_rules! integer_lane {
    ($($ty:ty => $unsigned:ty, $word:ty;)*) => {$(
        impl Lane for $ty {
            type Word = $word;
            fn from_word(word: $word) -> $ty {
                word as $ty
            }
            fn to_word(self) -> $word {
                self as $unsigned as $word
            }
        }
    )*};
}

integer_lane! {
    u8 => u8, u32;
    i8 => u8, u32;
    u16 => u16, u32;
    i16 => u16, u32;
    u32 => u32, u32;
    i32 => u32, u32;
    u64 => u64, u64;
    i64 => u64, u64;
}

impl Lane for f32 {
    type Word = u32;
    fn from_word(word: u32) -> f32 {
        f32::from_bits(word)
    }
    fn to_word(self) -> u32 {
        self.to_bits()
    }
}

impl Lane for f64 {
    type Word = u64;
    fn from_word(word: u64) -> f64 {
        f64::from_bits(word)
    }
    fn to_word(self) -> u64 {
        self.to_bits()
    }
}

/// A decoded arithmetic instruction: applies itself to the lanes of a mask.
pub(crate) type Alu = Box<dyn Fn(&mut Registers, u32) + Send + Sync>;

/// The indices of the set bits of a mask.
pub(crate) fn lanes_of(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        let lane = rest.trailing_zeros() as usize;
        (rest != 0).then(|| {
            rest &= rest - 1;
            lane
        })
    })
}

/// Runs `$body` for every lane of the mask; the full warp gets a loop without branches, which
/// the compiler can vectorise.
macro_rules! for_lanes {
    ($mask:expr, $lane:ident => $body:expr) => {
        if $mask == FULL {
            for $lane in 0..LANES {
                $body;
            }
        } else {
            for $lane in lanes_of($mask) {
                $body;
            }
        }
    };
}
pub(crate) use for_lanes;

/// Lifts a function of one value.
pub(crate) fn map1<D: Lane, A: Lane>(
    d: Reg<D::Word>,
    a: Reg<A::Word>,
    f: impl Fn(A) -> D + Send + Sync + 'static,
) -> Alu {
    Box::new(move |registers, mask| {
        let a = *a.read(registers);
        let d = d.write(registers);
        for_lanes!(mask, lane => d[lane] = f(A::from_word(a[lane])).to_word());
    })
}

/// Lifts a function of two values.
pub(crate) fn map2<D: Lane, A: Lane, B: Lane>(
    d: Reg<D::Word>,
    a: Reg<A::Word>,
    b: Reg<B::Word>,
    f: impl Fn(A, B) -> D + Send + Sync + 'static,
) -> Alu {
    Box::new(move |registers, mask| {
        let a = *a.read(registers);
        let b = *b.read(registers);
        let d = d.write(registers);
        for_lanes!(mask, lane => {
            d[lane] = f(A::from_word(a[lane]), B::from_word(b[lane])).to_word();
        });
    })
}

/// Lifts a function of three values.
pub(crate) fn map3<D: Lane, A: Lane, B: Lane, C: Lane>(
    d: Reg<D::Word>,
    a: Reg<A::Word>,
    b: Reg<B::Word>,
    c: Reg<C::Word>,
    f: impl Fn(A, B, C) -> D + Send + Sync + 'static,
) -> Alu {
    Box::new(move |registers, mask| {
        let a = *a.read(registers);
        let b = *b.read(registers);
        let c = *c.read(registers);
        let d = d.write(registers);
        for_lanes!(mask, lane => {
            let (a, b, c) = (A::from_word(a[lane]), B::from_word(b[lane]), C::from_word(c[lane]));
            d[lane] = f(a, b, c).to_word();
        });
    })
}

/// A predicate operand: a register and whether to negate it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PredOperand {
    pub pred: u32,
    /// All ones to negate, zero not to.
    pub flip: u32,
}

impl PredOperand {
    pub(crate) const TRUE: PredOperand = PredOperand { pred: PRED_TRUE, flip: 0 };

    pub(crate) fn bits(self, registers: &Registers) -> u32 {
        registers.pred[self.pred as usize] ^ self.flip
    }
}

/// Lifts a test of one value; `set` receives the result's bits and the mask.
pub(crate) fn test1<A: Lane>(
    a: Reg<A::Word>,
    f: impl Fn(A) -> bool + Send + Sync + 'static,
    set: impl Fn(&mut Registers, u32, u32) + Send + Sync + 'static,
) -> Alu {
    Box::new(move |registers, mask| {
        let mut bits = 0;
        let a = a.read(registers);
        for_lanes!(mask, lane => bits |= u32::from(f(A::from_word(a[lane]))) << lane);
        set(registers, bits, mask);
    })
}

/// Lifts a comparison of two values; `set` receives the result's bits and the mask.
pub(crate) fn test2<A: Lane, B: Lane>(
    a: Reg<A::Word>,
    b: Reg<B::Word>,
    f: impl Fn(A, B) -> bool + Send + Sync + 'static,
    set: impl Fn(&mut Registers, u32, u32) + Send + Sync + 'static,
) -> Alu {
    Box::new(move |registers, mask| {
        let mut bits = 0;
        let (a, b) = (a.read(registers), b.read(registers));
        for_lanes!(mask, lane => {
            bits |= u32::from(f(A::from_word(a[lane]), B::from_word(b[lane]))) << lane;
        });
        set(registers, bits, mask);
    })
}
