//! Integer and bit operations.

use crate::exec::registers::Lane;

/// An integer type of the ISA: wrapping arithmetic, and what depends on signedness.
pub(crate) trait Int: Lane + PartialEq + PartialOrd + Ord {
    const BITS: u32;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul_lo(self, other: Self) -> Self;
    fn mul_hi(self, other: Self) -> Self;
    /// Division by zero gives all ones: the ISA leaves it open.
    fn div(self, other: Self) -> Self;
    /// The remainder by zero is the dividend: the ISA leaves it open.
    fn rem(self, other: Self) -> Self;
    fn neg(self) -> Self;
    fn abs(self) -> Self;
    fn abs_diff(self, other: Self) -> Self;
    /// Amounts of the width or more give zero, or the sign.
    fn shr(self, amount: u32) -> Self;
    /// The bits, zero-extended.
    fn raw(self) -> u64;
    fn from_raw(raw: u64) -> Self;
}

macro_rules! impl_int {
    ($($ty:ty, $unsigned:ty, $wide:ty, $signed:expr;)*) => {$(
        impl Int for $ty {
            const BITS: u32 = <$ty>::BITS;
            fn add(self, other: $ty) -> $ty {
                self.wrapping_add(other)
            }
            fn sub(self, other: $ty) -> $ty {
                self.wrapping_sub(other)
            }
            fn mul_lo(self, other: $ty) -> $ty {
                self.wrapping_mul(other)
            }
            fn mul_hi(self, other: $ty) -> $ty {
                ((self as $wide * other as $wide) >> <$ty>::BITS) as $ty
            }
            fn div(self, other: $ty) -> $ty {
                if other == 0 { !0 } else { self.wrapping_div(other) }
            }
            fn rem(self, other: $ty) -> $ty {
                if other == 0 { self } else { self.wrapping_rem(other) }
            }
            fn neg(self) -> $ty {
                (0 as $ty).wrapping_sub(self)
            }
            fn abs(self) -> $ty {
                if $signed && (self as $wide) < (0 as $wide) { self.neg() } else { self }
            }
            fn abs_diff(self, other: $ty) -> $ty {
                if self < other { other.wrapping_sub(self) } else { self.wrapping_sub(other) }
            }
            fn shr(self, amount: u32) -> $ty {
                if amount < <$ty>::BITS {
                    self >> amount
                } else if $signed {
                    self >> (<$ty>::BITS - 1)
                } else {
                    0
                }
            }
            fn raw(self) -> u64 {
                self as $unsigned as u64
            }
            fn from_raw(raw: u64) -> $ty {
                raw as $ty
            }
        }
    )*};
}

impl_int! {
    u16, u16, u32, false;
    i16, u16, i32, true;
    u32, u32, u64, false;
    i32, u32, i64, true;
    u64, u64, u128, false;
    i64, u64, i128, true;
}

/// An integer type with one of twice its width.
pub(crate) trait Widen: Int {
    type Wide: Int;
    fn mul_wide(self, other: Self) -> Self::Wide;
}

macro_rules! impl_widen {
    ($($ty:ty => $wide:ty;)*) => {$(
        impl Widen for $ty {
            type Wide = $wide;
            fn mul_wide(self, other: $ty) -> $wide {
                // The product of two values of half the width always fits.
                self as $wide * other as $wide
            }
        }
    )*};
}

impl_widen! {
    u16 => u32;
    i16 => i32;
    u32 => u64;
    i32 => i64;
}

fn low_mask(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// `a + b + carry` in `bits` bits, and the carry out.
pub(crate) fn add_with_carry(a: u64, b: u64, carry: bool, bits: u32) -> (u64, bool) {
    let sum = u128::from(a) + u128::from(b) + u128::from(carry);
    (sum as u64 & low_mask(bits), sum >> bits != 0)
}

/// `a - b - borrow` in `bits` bits, and the borrow out.
pub(crate) fn sub_with_borrow(a: u64, b: u64, borrow: bool, bits: u32) -> (u64, bool) {
    let (a, b) = (i128::from(a), i128::from(b) + i128::from(borrow));
    ((a - b) as u64 & low_mask(bits), a < b)
}

/// `bfe`: the `length` bits of `value` from `start` up, sign-extended where `signed`.
///
/// A signed field that reaches past the value takes its missing bits from the value's sign.
pub(crate) fn bit_field_extract(value: u64, start: u32, length: u32, bits: u32, signed: bool) -> u64 {
    let (start, length) = (start & 0xff, length & 0xff);
    if length == 0 {
        return 0;
    }
    let msb = bits - 1;
    let sign_at = (u64::from(start) + u64::from(length) - 1).min(u64::from(msb)) as u32;
    let sign = signed && value >> sign_at & 1 != 0;
    let field = if start > msb { 0 } else { value >> start & low_mask(length) };
    let taken = if start > msb { 0 } else { length.min(bits - start) };
    let fill = if sign { !low_mask(taken) } else { 0 };
    (field | fill) & low_mask(bits)
}

/// `bfi`: `base` with the low `length` bits of `field` put at `start`.
pub(crate) fn bit_field_insert(field: u64, base: u64, start: u32, length: u32, bits: u32) -> u64 {
    let (start, length) = (start & 0xff, length & 0xff);
    if start >= bits {
        return base;
    }
    let mask = (low_mask(length) << start) & low_mask(bits);
    (base & !mask) | ((field << start) & mask)
}

/// `bfind`: position of the highest bit that is not a copy of the sign, or all ones.
pub(crate) fn find_leading(value: u64, bits: u32, signed: bool, shift_amount: bool) -> u32 {
    let negative = signed && value >> (bits - 1) & 1 != 0;
    let value = if negative { !value & low_mask(bits) } else { value };
    if value == 0 {
        return u32::MAX;
    }
    let position = 63 - value.leading_zeros();
    if shift_amount { bits - 1 - position } else { position }
}

/// How `prmt` picks bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PermuteMode {
    Index,
    Forward4,
    Backward4,
    Replicate8,
    EdgeClampLeft,
    EdgeClampRight,
    Replicate16,
}

/// `prmt`: four bytes picked from the eight of `{b, a}`.
pub(crate) fn permute(a: u32, b: u32, control: u32, mode: PermuteMode) -> u32 {
    let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
    let at = control & 3;
    let picks: [u32; 4] = match mode {
        PermuteMode::Index => {
            let byte = |selector: u32| {
                let value = bytes[selector as usize & 7];
                let sign = if value & 0x80 != 0 { 0xff } else { 0 };
                if selector & 8 != 0 { sign } else { value }
            };
            return u32::from_le_bytes(std::array::from_fn(|i| byte(control >> (4 * i))));
        }
        PermuteMode::Forward4 => [at, at + 1, at + 2, at + 3],
        PermuteMode::Backward4 => [at, at.wrapping_sub(1), at.wrapping_sub(2), at.wrapping_sub(3)],
        PermuteMode::Replicate8 => [at; 4],
        PermuteMode::EdgeClampLeft => [at, at.max(1), at.max(2), 3],
        PermuteMode::EdgeClampRight => [0, at.min(1), at.min(2), at],
        PermuteMode::Replicate16 => {
            let half = (at & 1) * 2;
            [half, half + 1, half, half + 1]
        }
    };
    u32::from_le_bytes(picks.map(|pick| bytes[pick as usize & 7]))
}

/// `lop3`: the bitwise function whose truth table is `table`, bit `a·4 + b·2 + c`.
pub(crate) fn logic3(a: u32, b: u32, c: u32, table: u32) -> u32 {
    let mut result = 0;
    for row in 0..8 {
        if table >> row & 1 != 0 {
            let a = if row & 4 != 0 { a } else { !a };
            let b = if row & 2 != 0 { b } else { !b };
            let c = if row & 1 != 0 { c } else { !c };
            result |= a & b & c;
        }
    }
    result
}

/// `shf`: the 64-bit value `{b, a}` shifted, one half kept.
pub(crate) fn funnel_shift(a: u32, b: u32, amount: u32, left: bool, clamp: bool) -> u32 {
    let amount = if clamp { amount.min(32) } else { amount & 31 };
    let value = u64::from(b) << 32 | u64::from(a);
    if left { ((value << amount) >> 32) as u32 } else { (value >> amount) as u32 }
}

/// `shl` of a value of `bits` bits; amounts of the width or more give zero.
pub(crate) fn shift_left(value: u64, amount: u32, bits: u32) -> u64 {
    if amount >= bits { 0 } else { (value << amount) & low_mask(bits) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carries() {
        assert_eq!(add_with_carry(0xffff_ffff, 1, false, 32), (0, true));
        assert_eq!(add_with_carry(0xffff_fffe, 1, true, 32), (0, true));
        assert_eq!(add_with_carry(u64::MAX, 0, false, 64), (u64::MAX, false));
        assert_eq!(add_with_carry(u64::MAX, 0, true, 64), (0, true));
        assert_eq!(sub_with_borrow(0, 1, false, 32), (0xffff_ffff, true));
        assert_eq!(sub_with_borrow(5, 4, true, 32), (0, false));
        assert_eq!(sub_with_borrow(5, u64::MAX, true, 64), (5, true));
    }

    #[test]
    fn bit_fields() {
        assert_eq!(bit_field_extract(0xabcd_1234, 8, 8, 32, false), 0x12);
        assert_eq!(bit_field_extract(0xabcd_1234, 24, 8, 32, true), 0xffff_ffab);
        assert_eq!(bit_field_extract(0x8000_0000, 28, 8, 32, false), 8);
        assert_eq!(bit_field_extract(0x8000_0000, 28, 8, 32, true), 0xffff_fff8);
        assert_eq!(bit_field_extract(0x8000_0000, 40, 8, 32, true), 0xffff_ffff);
        assert_eq!(bit_field_extract(0xffff_ffff, 4, 0, 32, true), 0);
        assert_eq!(bit_field_extract(u64::MAX, 0, 64, 64, false), u64::MAX);
        assert_eq!(bit_field_insert(0x5a, 0xffff_ffff, 8, 8, 32), 0xffff_5aff);
        assert_eq!(bit_field_insert(0x5a, 0, 28, 8, 32), 0xa000_0000);
        assert_eq!(bit_field_insert(0x5a, 7, 32, 8, 32), 7);
        assert_eq!(bit_field_insert(u64::MAX, 0, 0, 64, 64), u64::MAX);
    }

    #[test]
    fn leading_bits() {
        assert_eq!(find_leading(1, 32, false, false), 0);
        assert_eq!(find_leading(0x8000_0000, 32, false, false), 31);
        assert_eq!(find_leading(0x8000_0000, 32, false, true), 0);
        assert_eq!(find_leading(0xffff_ffff, 32, true, false), u32::MAX);
        assert_eq!(find_leading(0xffff_fffe, 32, true, false), 0);
        assert_eq!(find_leading(0, 64, false, false), u32::MAX);
    }

    #[test]
    fn byte_permutations() {
        let (a, b) = (0x8372_6150, 0x4736_2514);
        assert_eq!(permute(a, b, 0x5410, PermuteMode::Index), 0x2514_6150);
        assert_eq!(permute(a, b, 0x7632, PermuteMode::Index), 0x4736_8372);
        assert_eq!(permute(a, b, 0xbaaa, PermuteMode::Index), 0xff00_0000);
        assert_eq!(permute(a, b, 1, PermuteMode::Forward4), 0x1483_7261);
        assert_eq!(permute(a, b, 1, PermuteMode::Backward4), 0x3647_5061);
        assert_eq!(permute(a, b, 2, PermuteMode::Replicate8), 0x7272_7272);
        assert_eq!(permute(a, b, 2, PermuteMode::EdgeClampLeft), 0x8372_7272);
        assert_eq!(permute(a, b, 2, PermuteMode::EdgeClampRight), 0x7272_6150);
        assert_eq!(permute(a, b, 1, PermuteMode::Replicate16), 0x8372_8372);
    }

    #[test]
    fn three_input_logic() {
        let (a, b, c) = (0xf0f0_1234, 0xcccc_5678, 0xaaaa_9abc);
        assert_eq!(logic3(a, b, c, 0x80), a & b & c);
        assert_eq!(logic3(a, b, c, 0xfe), a | b | c);
        assert_eq!(logic3(a, b, c, 0x96), a ^ b ^ c);
        assert_eq!(logic3(a, b, c, 0xca), (a & b) | (!a & c));
        assert_eq!(logic3(a, b, c, 0xff), u32::MAX);
    }

    #[test]
    fn shifts_past_the_width() {
        assert_eq!(funnel_shift(0x8000_0001, 1, 4, true, false), 0x18);
        assert_eq!(funnel_shift(0x8000_0001, 1, 4, false, false), 0x1800_0000);
        assert_eq!(funnel_shift(7, 9, 32, true, true), 7);
        assert_eq!(funnel_shift(7, 9, 40, false, true), 9);
        assert_eq!(funnel_shift(7, 9, 32, false, false), 7);
        assert_eq!(shift_left(1, 31, 32), 0x8000_0000);
        assert_eq!(shift_left(1, 32, 32), 0);
        assert_eq!(shift_left(0xffff, 8, 16), 0xff00);
        assert_eq!(Int::shr(-8i32, 40), -1);
        assert_eq!(Int::shr(8u32, 32), 0);
        assert_eq!(Int::abs(i32::MIN), i32::MIN);
        assert_eq!(Int::mul_hi(-1i64, 2), -1);
        assert_eq!(Int::div(i32::MIN, -1), i32::MIN);
    }
}
