//! Values at which conversions to codes can go wrong.

use half::{bf16, f16};
use warpnorm::quantise::CodeType;

use super::random::Random;

/// The finite magnitudes of a code type from zero up, in the order of their codes. Worked out from other types
/// that share the layout, not from the reference.
pub fn magnitudes(code: CodeType) -> Vec<f64> {
    match code {
        CodeType::Int8 => (0..=127).map(f64::from).collect(),
        CodeType::E2m1 => vec![0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0],
        // The upper byte of an f16.
        CodeType::E5m2 => (0..=0x7b).map(|code| f16::from_bits(code << 8).to_f64()).collect(),
        // The exponent of an f16 has one bit more, and a bias that is larger by 8.
        CodeType::E4m3 => (0..=0x7e).map(|code| f16::from_bits(code << 7).to_f64() * 256.0).collect(),
    }
}

/// Every value of a code type, every middle between two of them and their neighbours in f32, of both signs;
/// where saturation starts; every f16 and every bf16; f32 at random.
pub fn interesting(code: CodeType, random: usize) -> Vec<f32> {
    let mut values = Vec::new();
    let mut around = |value: f64| {
        let value = value as f32;
        for near in [value.next_down(), value, value.next_up()] {
            values.extend([near, -near]);
        }
    };
    let magnitudes = magnitudes(code);
    magnitudes.iter().for_each(|&magnitude| around(magnitude));
    magnitudes.windows(2).for_each(|pair| around((pair[0] + pair[1]) / 2.0));
    let last = &magnitudes[magnitudes.len() - 2..];
    for steps in [0.5, 1.0, 1.5] {
        around(last[1] + steps * (last[1] - last[0]));
    }
    values.extend((0..=u16::MAX).map(|bits| f16::from_bits(bits).to_f32()));
    values.extend((0..=u16::MAX).map(|bits| bf16::from_bits(bits).to_f32()));
    let mut source = Random::new(code as u64);
    values.extend((0..random).map(|_| source.f32()));
    values.extend((0..random).map(|_| source.with_exponent(-20..20)));
    // Whole pieces of work for threads that take eight values.
    values.resize(values.len().next_multiple_of(8), 0.0);
    values
}
