//! Division of largest magnitudes by those of codes, against Rust's.

use crate::harness::{bits, targets};
use half::{bf16, f16};
use warpnorm::quantise::CodeType;

/// Every magnitude that is a number of the 16-bit types, infinities among them.
fn magnitudes() -> Vec<f32> {
    let f16s = (0..=f16::INFINITY.to_bits()).map(|bits| f16::from_bits(bits).to_f32());
    let bf16s = (0..=bf16::INFINITY.to_bits()).map(|bits| bf16::from_bits(bits).to_f32());
    f16s.chain(bf16s).collect()
}

#[test]
fn scales_of_all_16_bit_magnitudes_are_the_rounded_quotients() {
    let magnitudes = magnitudes();
    let codes = [CodeType::E4m3, CodeType::E5m2, CodeType::Int8];
    for target in targets() {
        let scales = target.run("dynamic_scales", &bits(&magnitudes), codes.len() * magnitudes.len(), magnitudes.len());
        for (magnitude, scales) in magnitudes.iter().zip(scales.chunks_exact(codes.len())) {
            let wanted = codes.map(|code| (magnitude / code.largest()).to_bits());
            assert_eq!(scales, wanted, "{} {magnitude:e}", target.name);
        }
    }
}
