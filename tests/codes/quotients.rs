//! Division by the scale, against `div.rn` and against Rust's.

use crate::harness::{bits, targets};
use crate::random::Random;
use crate::values::magnitudes;
use warpnorm::quantise::CodeType;
use warpnorm::reference::narrow;

/// (y, scale), from all that a scale in [2⁻⁸⁰, 2¹²⁰] may meet.
fn pairs() -> Vec<(f32, f32)> {
    let mut source = Random::new(11);
    let scales = |source: &mut Random| -> Vec<f32> {
        let mut scales: Vec<f32> = (0..24).map(|_| source.with_exponent(-80..120).abs()).collect();
        // The ends of a binade, where the reciprocal is least exact, and where it is exact.
        for exponent in [-80, -20, 0, 119] {
            let power = 2f32.powi(exponent);
            let top = f32::from_bits((power * 2.0).to_bits() - 1);
            scales.extend([
                power,
                power.next_up(),
                top,
                top.next_down(),
                f32::from_bits(power.to_bits() | 0x0035_04f3),
            ]);
        }
        scales.extend([2f32.powi(120), 1.0 / 3.0, 1.0 / 448.0, 1.0 / 229_376.0, 1e-10 / 448.0]);
        scales
    };
    let mut pairs = Vec::new();
    for scale in scales(&mut source) {
        for code in CodeType::ALL {
            let magnitudes = magnitudes(code);
            let middles = magnitudes.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0);
            // Quotients on and next to every code and every middle between two.
            for target in middles.chain(magnitudes.iter().copied()) {
                let y = (target * f64::from(scale)) as f32;
                for near in [y.next_down().next_down(), y.next_down(), y, y.next_up(), y.next_up().next_up()] {
                    pairs.extend([(near, scale), (-near, scale)]);
                }
            }
        }
        // Any y; those with quotients of a sane size; the ends of f32, and those of what is divided exactly.
        pairs.extend((0..500).map(|_| (source.f32(), scale)));
        pairs.extend((0..2000).map(|_| (source.with_exponent(-24..18) * scale, scale)));
        for y in [0.0, f32::from_bits(1), f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, f32::NAN] {
            pairs.extend([(y, scale), (-y, scale)]);
        }
        for limit in [2f32.powi(-18), 2f32.powi(-17), 2f32.powi(17), 2f32.powi(18)] {
            let y = limit * scale;
            pairs.extend([(y, scale), (y.next_up(), scale), (y.next_down(), scale), (-y, scale)]);
        }
    }
    for y in [0.0, 1.0, f32::from_bits(1), f32::MAX, f32::INFINITY, f32::NAN] {
        pairs.extend([(y, f32::INFINITY), (-y, f32::INFINITY)]);
    }
    pairs
}

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

#[test]
fn codes_are_those_of_a_true_division() {
    let pairs = pairs();
    let input: Vec<f32> = pairs.iter().flat_map(|&(y, scale)| [y, scale]).collect();
    for target in targets() {
        let results = target.run("quotients", &bits(&input), 2 * pairs.len(), pairs.len());
        for (&(y, scale), results) in pairs.iter().zip(results.chunks_exact(2)) {
            let wanted = y / scale;
            let [true_one, got] = [0, 1].map(|at| f32::from_bits(results[at]));
            let what =
                || format!("{} {y:e} / {scale:e} ({:#010x}, {:#010x})", target.name, y.to_bits(), scale.to_bits());
            assert!(same(true_one, wanted), "{}: div.rn {true_one:e} for {wanted:e}", what());
            for code in CodeType::ALL {
                let codes = [got, wanted].map(|value| narrow(code, value.into()));
                assert_eq!(codes[0], codes[1], "{}: divide gives {got:e} for {wanted:e}, {code}", what());
            }
            // Where the proof says so, it is the quotient itself.
            if (2f32.powi(-18)..=2f32.powi(16)).contains(&wanted.abs()) {
                assert!(same(got, wanted), "{}: divide gives {got:e} for {wanted:e}", what());
            }
        }
    }
}

#[test]
fn scales_of_others_are_covered_where_the_proof_holds() {
    let (least, most) = (2f32.powi(-80), 2f32.powi(120));
    let scales = [
        (least, true),
        (1.0, true),
        (most, true),
        (least.next_down(), false),
        (most.next_up(), false),
        (0.0, false),
        (-1.0, false),
        (f32::INFINITY, false),
        (f32::NAN, false),
    ];
    let input: Vec<f32> = scales.iter().map(|&(scale, _)| scale).collect();
    for target in targets() {
        let got = target.run("covers", &bits(&input), scales.len(), scales.len());
        for ((scale, wanted), got) in scales.into_iter().zip(got) {
            assert_eq!(got != 0, wanted, "{} {scale:e}", target.name);
        }
    }
}
