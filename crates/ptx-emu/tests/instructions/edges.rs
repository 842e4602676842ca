//! The values that instructions are tried on.

use crate::exact::{BF16, E4M3, E5M2, F16, F32, F64, Format};
use crate::syntax::{Kind, Type};

/// A small generator, the same in every run (Steele, Lea and Flood's SplitMix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }
}

/// Values of a type that operands take, the most telling first.
pub fn values(ty: Type) -> Vec<u64> {
    let mut random = Random::new(u64::from(ty.bits));
    let mut list = match ty.kind {
        Kind::Pred => return vec![0, 1],
        Kind::Float => floats(ty.format()),
        Kind::Unsigned | Kind::Signed | Kind::Bits => integers(ty.element_bits()),
    };
    let mask = u64::MAX >> (64 - ty.element_bits());
    list.extend((0..12).map(|_| random.next() & mask));
    if ty.is_float() {
        // Of any exponent, sums seldom do more than pick one term: some whose exponents are near.
        let format = ty.format();
        let one = (format.infinity() >> 1 >> format.mantissa_bits) << format.mantissa_bits;
        let span = 8 << format.mantissa_bits;
        list.extend((0..16).map(|_| (one - span / 2 + random.next() % span) | random.next() & format.sign()));
    }
    match ty.bits / ty.element_bits() {
        1 => list,
        // Packed: every value in the low half, beside another in the high half.
        _ => {
            let count = list.len();
            let other = |i: usize| list[(i * 7 + 3) % count];
            (0..count).map(|i| list[i] | other(i) << ty.element_bits()).collect()
        }
    }
}

fn integers(bits: u32) -> Vec<u64> {
    let mask = u64::MAX >> (64 - bits);
    let mut list = vec![0, 1, mask, 1 << (bits - 1), mask >> 1, 2, mask - 1, (1 << (bits - 1)) + 1, 3, 5, 7, 8];
    for width in [8u32, 16, 24, 32, 64] {
        let width = width.min(bits);
        // Widths as amounts to shift by, then the ends of each width's range.
        list.extend([u64::from(width), u64::from(width) - 1, u64::from(width) + 1]);
        list.extend([1 << (width - 1), (1 << (width - 1)) - 1, u64::MAX >> (64 - width)]);
    }
    list.extend([
        0xff,
        0x100,
        0x104,
        0x5555_5555_5555_5555,
        0x0123_4567_89ab_cdef,
        16_777_217,
        (1 << 60) + (1 << 36) + 1,
    ]);
    let mut seen = std::collections::HashSet::new();
    list.into_iter().map(|value| value & mask).filter(|value| seen.insert(*value)).collect()
}

fn floats(format: Format) -> Vec<u64> {
    let one = (format.infinity() >> 1 >> format.mantissa_bits) << format.mantissa_bits;
    let normal = 1u64 << format.mantissa_bits;
    let positive = [
        0,
        1,
        normal - 1,
        normal,
        one,
        format.max(),
        if format.infinities { format.infinity() } else { format.max() + 1 },
        format.sign() - 1,
        one + 1,
        one - 1,
        2,
        3,
        normal + 1,
        format.max() - 1,
        one + normal,
        one - normal,
        one + normal / 2,
        one + normal + normal / 4,
        one + (normal << 1) + normal / 4,
        // Far below one: it only breaks ties.
        one / 2,
    ];
    let mut list: Vec<u64> = positive.iter().flat_map(|code| [*code, code | format.sign()]).collect();
    if format.infinities && format.mantissa_bits > 3 {
        // NaN, signalling and with a payload.
        list.extend([
            format.infinity() + 1,
            format.infinity() + normal / 2 + 5,
            format.sign() + format.infinity() + normal / 2,
        ]);
    }
    // Around the ends of integers and of narrower formats.
    for value in [
        0.1,
        0.499_999_97,
        0.500_000_06,
        2.5,
        3.5,
        6.5,
        127.5,
        128.5,
        255.5,
        256.0,
        448.0,
        464.0,
        479.0,
        57344.0,
        61440.0,
        65504.0,
        65519.0,
        65520.0,
        32767.5,
        65535.5,
        8_388_607.5,
        16_777_216.0,
        2_147_483_520.0,
        2_147_483_647.5,
        2_147_483_648.0,
        4_294_967_040.0,
        4_294_967_295.5,
        4_294_967_296.0,
        9.2e18,
        9_223_372_036_854_775_808.0,
        1.84e19,
        18_446_744_073_709_551_616.0,
        1e30,
        1e-30,
        1e-7,
        5.96e-8,
        2.98e-8,
        6.1e-5,
        1e-40,
        3e38,
        1e39,
        1e300,
        1e-300,
        std::f64::consts::PI,
        0.0009765625,
        0.001953125,
        0.00146484375,
    ] {
        let code = format.encode(&F64.decode(f64::to_bits(value)), crate::exact::Rounding::Nearest, true);
        list.extend([code, code | format.sign()]);
        if format.mantissa_bits > 10 {
            list.extend([code + 1, code.saturating_sub(1)]);
        }
    }
    let mut seen = std::collections::HashSet::new();
    list.retain(|value| seen.insert(*value));
    list
}

/// The formats by name.
pub fn format(name: &str) -> Format {
    match name {
        "f64" => F64,
        "f32" => F32,
        "f16" | "f16x2" => F16,
        "bf16" | "bf16x2" => BF16,
        "tf32" => crate::exact::TF32,
        "e4m3x2" => E4M3,
        "e5m2x2" => E5M2,
        _ => panic!("{name} is no float"),
    }
}

/// Tuples of the given lists: every combination of their first values, then a sample of the rest.
pub fn tuples(lists: &[Vec<u64>]) -> Vec<Vec<u64>> {
    let first = match lists.len() {
        0 => return vec![Vec::new()],
        1 => return lists[0].iter().map(|value| vec![*value]).collect(),
        2 => 24,
        3 => 10,
        _ => 5,
    };
    let mut rows: Vec<Vec<u64>> = vec![Vec::new()];
    for list in lists {
        let values = &list[..list.len().min(first)];
        rows = rows.iter().flat_map(|row| values.iter().map(|value| [&row[..], &[*value]].concat())).collect();
    }
    let mut random = Random::new(lists.len() as u64);
    rows.extend((0..1200).map(|_| lists.iter().map(|list| list[random.below(list.len())]).collect::<Vec<_>>()));
    rows
}
