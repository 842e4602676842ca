//! Conversions between f32 and codes.

use crate::harness::{bits, targets};
use crate::values::interesting;
use warpnorm::quantise::CodeType;
use warpnorm::reference::{narrow, widen};

/// The code that word after word holds at this place.
fn code_at(code: CodeType, words: &[u32], place: usize) -> u8 {
    let per_word = 32 / code.bits();
    (words[place / per_word] >> (place % per_word * code.bits())) as u8 & (u8::MAX >> (8 - code.bits()))
}

#[test]
fn instructions_and_arithmetic_agree_with_the_reference() {
    for code in CodeType::ALL {
        let values = interesting(code, 1 << 16);
        let wanted: Vec<u8> = values.iter().map(|&value| narrow(code, value.into())).collect();
        for target in targets() {
            let words = target.run(
                &format!("narrow_{code}"),
                &bits(&values),
                values.len() * code.bits() / 32,
                values.len() / 8,
            );
            for (place, (&value, &wanted)) in values.iter().zip(&wanted).enumerate() {
                let got = code_at(code, &words, place);
                assert_eq!(got, wanted, "{} {code} of {value:e} ({:#010x})", target.name, value.to_bits());
            }
            if code == CodeType::Int8 {
                continue;
            }
            let words = target.run(&format!("arithmetic_{code}"), &bits(&values), values.len(), values.len());
            for ((&value, &wanted), got) in values.iter().zip(&wanted).zip(words) {
                let wanted = u32::from(wanted);
                assert_eq!(got, wanted, "{} arithmetic, {code} of {value:e} ({:#010x})", target.name, value.to_bits());
            }
        }
    }
}

#[test]
fn e4m3_codes_widen_exactly() {
    let codes: Vec<u32> = (0..=0xff).collect();
    for target in targets() {
        for (&code, got) in codes.iter().zip(target.run("widen_e4m3", &codes, codes.len(), codes.len())) {
            let wanted = widen(CodeType::E4m3, code as u8) as f32;
            let got = f32::from_bits(got);
            assert!(
                got.to_bits() == wanted.to_bits() || (got.is_nan() && wanted.is_nan()),
                "{code:#04x}: {got} for {wanted}"
            );
        }
    }
}
