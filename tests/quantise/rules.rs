//! Scales and codes of whole rows, against numbers from elsewhere.

use crate::random::Random;
use warpnorm::quantise::{BlockRounding, CodeType, Quantisation, ScaleLayout, Scaling};
use warpnorm::reference::{QuantisedRow, dequantise_row, quantise_row};

/// Rows quantised by numpy and ml_dtypes; see `scripts/quantise_fixture.py`.
const FIXTURE: &str = include_str!("../../fixtures/quantised-rows.txt");

fn quantise(quantisation: Quantisation, tensor_scale: f32, y: &[f32]) -> QuantisedRow {
    quantise_row(&quantisation, tensor_scale, y).expect("a possible quantisation")
}

fn mxfp8(code: CodeType, rounding: BlockRounding) -> Quantisation {
    Quantisation { code, scaling: Scaling::Mxfp8 { rounding, layout: ScaleLayout::RowMajor } }
}

/// The quantisation that a case of the fixture names.
fn named(scaling: &str, code: &str) -> Quantisation {
    let code = CodeType::ALL.into_iter().find(|known| known.name() == code).expect("a code type");
    let layout = ScaleLayout::RowMajor;
    match scaling {
        "per-tensor" => Quantisation::per_tensor(code),
        "per-token" => Quantisation::per_token(code),
        "per-token-at-most-2.5" => Quantisation { code, scaling: Scaling::PerToken { upper_bound: Some(2.5) } },
        "per-group-64" => Quantisation::per_group(code, 64),
        "per-group-128" => Quantisation::per_group(code, 128),
        "per-group-64-power-of-two" => {
            Quantisation { code, scaling: Scaling::PerGroup { size: 64, layout, power_of_two: true, floor: 1e-10 } }
        }
        "mxfp8-up" => mxfp8(code, BlockRounding::Up),
        "mxfp8-floor" => mxfp8(code, BlockRounding::Floor),
        "nvfp4" => Quantisation::nvfp4(),
        other => panic!("the fixture has an unknown scaling, {other}"),
    }
}

fn pattern(text: &str) -> u32 {
    u32::from_str_radix(text, 16).expect("hexadecimal digits")
}

#[test]
fn rows_are_what_numpy_and_ml_dtypes_make_of_them() {
    let mut rows: Vec<Vec<f32>> = Vec::new();
    let mut cases = 0;
    for line in FIXTURE.lines() {
        match *line.split(' ').collect::<Vec<_>>() {
            ["row", ref values @ ..] => rows.push(values.iter().map(|text| f32::from_bits(pattern(text))).collect()),
            ["case", row, scaling, code, tensor_scale, scales, codes] => {
                let y = &rows[row.parse::<usize>().expect("a number")];
                let got = quantise(named(scaling, code), f32::from_bits(pattern(tensor_scale)), y);
                let scales = if scales == "-" { Vec::new() } else { scales.split(',').map(pattern).collect() };
                let codes = (0..codes.len()).step_by(2).map(|at| pattern(&codes[at..at + 2]) as u8).collect();
                assert_eq!(got, QuantisedRow { codes, scales }, "{scaling} {code}, row {row}");
                cases += 1;
            }
            _ => assert!(line.starts_with('#'), "{line}"),
        }
    }
    assert_eq!((rows.len(), cases), (8, 8 * 23));
}

#[test]
fn fp8_per_token() {
    let fp8 = Quantisation::per_token(CodeType::E4m3);
    // Times 448/3: 149⅓, −298⅔, 448 and 74⅔; next to them are 144, −288, 448 and 72.
    let row = quantise(fp8, 0.0, &[1.0, -2.0, 3.0, 0.5]);
    assert_eq!(row, QuantisedRow { codes: vec![0x71, 0xf9, 0x7e, 0x69], scales: vec![(3.0f32 / 448.0).to_bits()] });
    let zeros = quantise(fp8, 0.0, &[0.0, -0.0]);
    assert_eq!(zeros, QuantisedRow { codes: vec![0, 0x80], scales: vec![(1.0f32 / 229_376.0).to_bits()] });
    // With an infinity, all else is as nothing beside it; with a bound, it is 448 and a NaN alone has no number.
    let unbounded = quantise(fp8, 0.0, &[f32::INFINITY, -5.0, f32::NAN]);
    assert_eq!(unbounded, QuantisedRow { codes: vec![0x7f, 0x80, 0x7f], scales: vec![f32::INFINITY.to_bits()] });
    let bounded = Quantisation { scaling: Scaling::PerToken { upper_bound: Some(448.0) }, ..fp8 };
    let row = quantise(bounded, 0.0, &[f32::INFINITY, -5.0, f32::NAN]);
    assert_eq!(row, QuantisedRow { codes: vec![0x7e, 0xca, 0x7f], scales: vec![1f32.to_bits()] });
}

#[test]
fn int8_rounds_ties_to_even_and_saturates() {
    let given = quantise(Quantisation::per_tensor(CodeType::Int8), 2.0, &[1.0, 3.0, 5.0, -5.0, 300.0, -300.0, -255.0]);
    assert_eq!(given.codes, [0, 2, 2, 0xfe, 127, 0x80, 0x80]);
    // The inverse of the scale is not the scale's quotient: half of amax, 63.5 to the letter, becomes 64 or 63 as
    // the inverse has it, where a division has 63 and 64. Computed by numpy.
    for (amax, half) in [(2.25, 64), (2.34375, 63)] {
        let row = quantise(Quantisation::per_token(CodeType::Int8), 0.0, &[amax, amax / 2.0, -amax]);
        assert_eq!(row, QuantisedRow { codes: vec![127, half, 0x81], scales: vec![(amax / 127.0).to_bits()] });
    }
    let zeros = quantise(Quantisation::per_token(CodeType::Int8), 0.0, &[0.0, -0.0]);
    assert_eq!(zeros, QuantisedRow { codes: vec![0, 0], scales: vec![f32::EPSILON.to_bits()] });
}

#[test]
fn mxfp8_by_both_rules() {
    let row = |code, rounding, largest: f32| {
        let mut y = [0.0; 32];
        y[0] = largest;
        let row = quantise(mxfp8(code, rounding), 0.0, &y);
        (row.scales[0], row.codes[0])
    };
    let (e4m3, e5m2) = (CodeType::E4m3, CodeType::E5m2);
    let (up, floor) = (BlockRounding::Up, BlockRounding::Floor);
    // 448 fits as it is. What is larger is halved, or saturates: 500 / 2 is next to 256.
    assert_eq!((row(e4m3, up, 448.0), row(e4m3, floor, 448.0)), ((127, 0x7e), (127, 0x7e)));
    assert_eq!((row(e4m3, up, 500.0), row(e4m3, floor, 500.0)), ((128, 0x78), (127, 0x7e)));
    assert_eq!((row(e4m3, up, 448f32.next_up()), row(e4m3, up, 512.0)), ((128, 0x76), (128, 0x78)));
    assert_eq!((row(e4m3, up, 1.0), row(e4m3, floor, 1.0)), ((119, 0x78), (119, 0x78)));
    assert_eq!((row(e5m2, up, 57344.0), row(e5m2, up, 60000.0)), ((127, 0x7b), (128, 0x77)));
    // The ends of the scales: 448·2⁻¹²⁷ is the largest for 2⁻¹²⁷.
    let least = (448.0 * 2f64.powi(-127)) as f32;
    assert_eq!((row(e4m3, up, least), row(e4m3, up, least.next_up())), ((0, 0x7e), (1, 0x76)));
    assert_eq!((row(e4m3, up, 0.0), row(e4m3, floor, 0.0), row(e4m3, up, 1e-45)), ((0, 0), (0, 0), (0, 0)));
    assert_eq!((row(e4m3, up, f32::MAX), row(e4m3, floor, f32::MAX)), ((247, 0x78), (246, 0x7e)));
    assert_eq!((row(e4m3, up, f32::INFINITY), row(e4m3, floor, f32::INFINITY)), ((254, 0x7e), (254, 0x7e)));
    assert_eq!(row(e4m3, up, f32::NAN), (0, 0x7f));
}

#[test]
fn nvfp4_in_two_levels() {
    let block = |first: &[f32]| {
        let mut y = [0.0; 16];
        y[..first.len()].copy_from_slice(first);
        y
    };
    // amax 6: the block scale is 1, and codes are values.
    let row = quantise(Quantisation::nvfp4(), 1.0, &block(&[6.0, -6.0, 0.5, 0.25, 0.75, 2.5, -3.5, 5.0]));
    assert_eq!(row, QuantisedRow { codes: vec![0xf7, 0x01, 0x42, 0x6e, 0, 0, 0, 0], scales: vec![0x38] });
    // 448·6/amax as the global scale makes the block of the tensor's amax 448.
    let global = 448.0 * 6.0 / 3.0;
    let row = quantise(Quantisation::nvfp4(), global, &block(&[3.0, 1.0, -0.5]));
    assert_eq!(row, QuantisedRow { codes: vec![0x47, 0x0a, 0, 0, 0, 0, 0, 0], scales: vec![0x7e] });
    // A block scale below half of 2⁻⁹ is 0, and so is the block. Signs stay.
    let row = quantise(Quantisation::nvfp4(), 1.0, &block(&[0.0058, -0.0058]));
    assert_eq!(row, QuantisedRow { codes: vec![0x80, 0, 0, 0, 0, 0, 0, 0], scales: vec![0] });
    let row = quantise(Quantisation::nvfp4(), 1.0, &block(&[f32::INFINITY, -2000.0, f32::NAN]));
    assert_eq!(row, QuantisedRow { codes: vec![0xe7, 0x07, 0, 0, 0, 0, 0, 0], scales: vec![0x7e] });
}

#[test]
fn power_of_two_scales_are_rounded_up() {
    let scaling = Scaling::PerGroup { size: 64, layout: ScaleLayout::RowMajor, power_of_two: true, floor: 1e-10 };
    let scale = |largest: f32| {
        let mut y = [0.0; 64];
        y[9] = -largest;
        f32::from_bits(quantise(Quantisation { code: CodeType::E4m3, scaling }, 0.0, &y).scales[0])
    };
    assert_eq!((scale(448.0), scale(449.0), scale(896.0)), (1.0, 2.0, 2.0));
    assert_eq!((scale(7.0), scale(7f32.next_up())), (1.0 / 64.0, 1.0 / 32.0));
    // 1e-10/448 is 0.98·2⁻⁴².
    assert_eq!((scale(0.0), scale(f32::INFINITY)), (2f32.powi(-42), f32::INFINITY));
}

/// Values so near a tie that another order of operations, or a product in place of a quotient, has another
/// code. Found and computed by numpy.
#[test]
fn near_ties_show_the_order_of_operations() {
    // y·(1/scale): 0x5a with y / scale.
    assert_eq!(quantise(Quantisation::per_tensor(CodeType::E4m3), 1.95, &[37.05]).codes, [0x59]);
    // y / scale: 125 with y·(1/scale).
    assert_eq!(quantise(Quantisation::per_tensor(CodeType::Int8), 0.881_889_76, &[110.677_16]).codes, [126]);
    // global·(amax / 6): 0x59 with (global·amax) / 6.
    let mut block = [0.0; 16];
    block[0] = 0.072_340_43;
    assert_eq!(quantise(Quantisation::nvfp4(), 1410.0, &block).scales, [0x58]);
    // y·(global / scale): 5 with either of y·(global·(1/scale)) and y·(1/(scale·(1/global))).
    (block[0], block[1]) = (1.612_692_5, 0.671_955_2);
    let row = quantise(Quantisation::nvfp4(), 714.333_3, &block);
    assert_eq!((row.scales[0], row.codes[0] >> 4), (0x74, 4));
}

/// However a row is quantised, its values come back to within what its codes can tell apart.
#[test]
fn codes_and_scales_stand_for_the_row() {
    let mut source = Random::new(7);
    let y: Vec<f32> = (0..1024).map(|_| source.with_exponent(-3..3)).collect();
    let global = 448.0 * 6.0 / 8.0;
    for (quantisation, tensor_scale, relative, absolute) in [
        // Half a step: 2⁻⁴ or 2⁻³ of the value; 1/254 or 1/6 of the group's largest, which is below 8.
        (Quantisation::per_tensor(CodeType::E4m3), 8.0 / 448.0, 0.0625, 1e-4),
        (Quantisation::per_tensor(CodeType::Int8), 8.0 / 127.0, 0.0, 4.0 / 127.0),
        (Quantisation::per_token(CodeType::E5m2), 0.0, 0.125, 1e-4),
        (Quantisation::per_token(CodeType::Int8), 0.0, 0.0, 4.0 / 127.0),
        (Quantisation::per_group(CodeType::E4m3, 64), 0.0, 0.0625, 1e-4),
        (Quantisation::mxfp8(), 0.0, 0.0625, 1e-4),
        (mxfp8(CodeType::E5m2, BlockRounding::Floor), 0.0, 0.125, 1e-4),
        (Quantisation::nvfp4(), global, 0.0, 8.0 / 6.0 * 1.07),
    ] {
        let row = quantise(quantisation, tensor_scale, &y);
        assert_eq!(row.codes.len(), quantisation.row_bytes(y.len()), "{quantisation:?}");
        assert_eq!(row.scales.len(), quantisation.groups(y.len()), "{quantisation:?}");
        for (&y, back) in y.iter().zip(dequantise_row(&quantisation, tensor_scale, y.len(), &row)) {
            let y = f64::from(y);
            assert!((back - y).abs() <= relative * y.abs() * 1.0001 + absolute, "{quantisation:?}: {back} for {y}");
        }
    }
}
