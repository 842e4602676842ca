//! Division by the scale, against `div.rn` and against Rust's.

use crate::harness::{bits, targets};
use crate::random::Random;
use crate::significant::{around, of_eleven_bits};
use crate::values::magnitudes;
use warpnorm::quantise::CodeType;
use warpnorm::reference::narrow;

/// (y, scale), from all that a scale and y of eleven significant bits may be.
fn pairs() -> Vec<(f32, f32)> {
    let mut source = Random::new(11);
    let mut scales: Vec<f32> = (0..24).map(|_| source.with_exponent(-126..128).abs()).collect();
    // The ends of a binade, and of what is far from 1.
    for exponent in [-81, -80, -20, 0, 99, 100, 119] {
        let power = 2f32.powi(exponent);
        let top = f32::from_bits((power * 2.0).to_bits() - 1);
        scales.extend([power, power.next_up(), top, top.next_down(), f32::from_bits(power.to_bits() | 0x0035_04f3)]);
    }
    scales.extend([2f32.powi(120), 1.0 / 3.0, 1.0 / 448.0, 1.0 / 229_376.0, 1e-10 / 448.0]);
    // What only somebody else would choose.
    scales.extend([f32::from_bits(1), 1e-38, f32::MAX, f32::INFINITY, f32::NAN, 0.0, -0.0, -0.5, -3e-30, -1.7e35]);
    let mut pairs = Vec::new();
    for scale in scales {
        let mut add = |y: f32| pairs.extend([(y, scale), (-y, scale)]);
        for code in CodeType::ALL {
            let magnitudes = magnitudes(code);
            let middles = magnitudes.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0);
            // Quotients next to every code and every middle between two.
            for target in middles.chain(magnitudes.iter().copied()) {
                around((target * f64::from(scale)) as f32).into_iter().for_each(&mut add);
            }
        }
        // Any y; those with quotients of a sane size; the ends of f32, and those around what saturates or becomes zero.
        (0..500).for_each(|_| add(of_eleven_bits(source.f32())));
        (0..2000).for_each(|_| add(of_eleven_bits(source.with_exponent(-24..18) * scale)));
        [0.0, f32::from_bits(1), f32::MIN_POSITIVE, of_eleven_bits(f32::MAX), f32::INFINITY, f32::NAN]
            .into_iter()
            .for_each(&mut add);
        for limit in [2f32.powi(-18), 2f32.powi(-17), 2f32.powi(17), 2f32.powi(18)] {
            around(limit * scale).into_iter().for_each(&mut add);
        }
    }
    pairs
}

/// (y, scale, middle) for every y of eleven bits and every odd middle of eight: with the scales that make y / scale one of
/// the ends of what is rounded to the middle, and the next ones. Powers of two left out, there are no others where what is
/// computed could be on another side of a middle than y / scale is.
fn pairs_next_to_ends() -> Vec<(f32, f32, f32)> {
    let mut pairs = Vec::new();
    for middle in (1u64..256).step_by(2) {
        // In quarters of its last place, when it is an f32: what is rounded to it begins and ends two away from it, or one
        // below a power of two.
        let quarters = middle << (26 - (64 - middle.leading_zeros()));
        for end in [quarters - if middle == 1 { 1 } else { 2 }, quarters + 2] {
            for y in 1u64 << 10..1 << 11 {
                // As many bits as a scale of 24 takes.
                let shift = 38 + u32::from((y << 38) / end < 1 << 23);
                let scale = (y << shift) / end;
                // Further away from the end than the computation is off, but for one case that it is made for.
                for scale in [scale, scale + 1] {
                    let (quotient, product) = (u128::from(y << shift), u128::from(scale) * u128::from(end));
                    let is_far = quotient.abs_diff(product) << 40 > quotient;
                    let is_the_case = (middle, y, scale) == (1, 1 << 10, (1 << 24) - 1) && quotient > product;
                    assert!(is_far || is_the_case, "{y} / {scale} is next to an end of {middle}");
                }
                for scale in scale.saturating_sub(1).max(1 << 23)..=(scale + 2).min((1 << 24) - 1) {
                    let quotient = y as f64 / scale as f64;
                    let unit = 2f32.powi((middle as f64 / quotient).log2().round() as i32);
                    pairs.push((y as f32 * unit, scale as f32, middle as f32));
                }
            }
        }
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
        let results = target.run("quotients", &bits(&input), 3 * pairs.len(), pairs.len());
        for (&(y, scale), results) in pairs.iter().zip(results.chunks_exact(3)) {
            let wanted = y / scale;
            let [true_one, got, beside_far] = [0, 1, 2].map(|at| f32::from_bits(results[at]));
            let what =
                || format!("{} {y:e} / {scale:e} ({:#010x}, {:#010x})", target.name, y.to_bits(), scale.to_bits());
            assert!(same(true_one, wanted), "{}: div.rn {true_one:e} for {wanted:e}", what());
            for code in CodeType::ALL {
                let codes = [got, wanted].map(|value| narrow(code, value.into()));
                assert_eq!(codes[0], codes[1], "{}: divide gives {got:e} for {wanted:e}, {code}", what());
            }
            assert!(same(beside_far, got), "{}: {got:e}, but {beside_far:e} beside a far scale", what());
        }
    }
}

#[test]
fn quotients_next_to_middles_are_on_the_right_side() {
    let pairs = pairs_next_to_ends();
    assert!(pairs.len() > 1 << 19, "{} are there", pairs.len());
    let input: Vec<f32> = pairs.iter().flat_map(|&(y, scale, _)| [y, scale]).collect();
    let mut on_middles = 0;
    for target in targets() {
        let results = target.run("quotients", &bits(&input), 3 * pairs.len(), pairs.len());
        for (&(y, scale, middle), results) in pairs.iter().zip(results.chunks_exact(3)) {
            let wanted = y / scale;
            let got = f32::from_bits(results[1]);
            assert!((wanted / middle - 1.0).abs() < 1e-6, "{y:e} / {scale:e} is not next to {middle}");
            on_middles += usize::from(wanted == middle);
            let sides = [got, wanted].map(|quotient| quotient.total_cmp(&middle));
            assert_eq!(sides[0], sides[1], "{} {y:e} / {scale:e} is {got:e}, not {wanted:e}", target.name);
        }
    }
    assert!((pairs.len() / 4..pairs.len() * 2).contains(&on_middles), "{on_middles} of {} are middles", pairs.len());
}
