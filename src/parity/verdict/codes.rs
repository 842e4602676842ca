//! Verdicts on codes and scales.

use crate::host::{Output, Problem};
use crate::parity::Tolerance;
use crate::quantise::{CodeType, Quantisation, ScaleType, Scaling};
use crate::reference::{
    Quantised, Rounded, Rows, Value, code_under, group_scale, packed, quantise_wide, quantised, widen,
};
use crate::{DType, Error};

/// Bytes of codes and scales that differ from the right ones.
pub(super) fn mismatches(problem: &Problem<'_>, output: &Output) -> Result<usize, Error> {
    let Some(quantisation) = problem.norm.quantisation else { return Ok(0) };
    let wanted = if quantisation.scaling == Scaling::PerTensorWide {
        let factor = problem.tensor_scale.unwrap_or(1.0);
        let got = output.codes.as_deref().unwrap_or_default().iter();
        let rows = Rows::new(problem)?;
        let values = rows.iter().flat_map(|row| row.y).zip(got);
        let codes = values.map(|(value, &got)| wide(problem.dtype, factor, &value).nearest_to(got));
        Quantised { codes: Some(codes.collect()), scales: None }
    } else if problem.outputs.y {
        quantised(problem, Some(&output.y))?
    } else {
        of_unknown_y(problem, &quantisation, output)?
    };
    let differences = |got: &Option<Vec<u8>>, wanted: &Option<Vec<u8>>| {
        let (got, wanted) = (got.as_deref().unwrap_or_default(), wanted.as_deref().unwrap_or_default());
        got.iter().zip(wanted).filter(|(got, wanted)| got != wanted).count()
    };
    Ok(differences(&output.codes, &wanted.codes) + differences(&output.scales, &wanted.scales))
}

/// The code of an element, and those of the least and the largest value that it may have.
struct Codes {
    code_type: CodeType,
    right: u8,
    least: u8,
    most: u8,
}

impl Codes {
    /// What a device gave where it is one of these or between them, and else the right code.
    fn nearest_to(&self, got: u8) -> u8 {
        let [least, most, value] = [self.least, self.most, got].map(|code| widen(self.code_type, code));
        let between = least <= value && value <= most || most <= value && value <= least;
        if self.least != self.most && between { got } else { self.right }
    }
}

/// The codes of an element before its rounding, which one more f32 operation multiplies by the reciprocal scale.
fn wide(dtype: DType, tensor_scale: f32, &Value { exact, error, .. }: &Value) -> Codes {
    let error = error + Tolerance::error_of_rounding(dtype, 1.0, exact.abs());
    let code = |y: f64| quantise_wide(tensor_scale, [y]).into_iter().next().unwrap_or_default();
    // Where there is no error to speak of, a value may be infinite.
    let or_exact = |y: f64| if y.is_finite() { y } else { exact };
    let [right, least, most] = [exact, or_exact(exact - error), or_exact(exact + error)].map(code);
    Codes { code_type: CodeType::E4m3, right, least, most }
}

/// The reference's codes and scales of its own y, with the device's in their place where the error of y allows them:
/// a scale between those of the least and the largest magnitudes of its group, and a code between those of its
/// element's least and largest value under the scale that the device has.
fn of_unknown_y(problem: &Problem<'_>, quantisation: &Quantisation, output: &Output) -> Result<Quantised, Error> {
    let mut wanted = quantised(problem, None)?;
    let tensor_scale = problem.tensor_scale.unwrap_or(1.0);
    let scale_size = quantisation.scaling.scale_type().map_or(0, ScaleType::size);
    let (Some(got_codes), Some(codes)) = (&output.codes, &mut wanted.codes) else { return Ok(wanted) };
    let row_bytes = quantisation.row_bytes(problem.hidden);
    let group_size = quantisation.scaling.group().unwrap_or(problem.hidden).max(1);
    for (index, row) in Rows::new(problem)?.iter().enumerate() {
        let y: Vec<Rounded> = row.y.iter().map(|value| value.rounded(problem.dtype)).collect();
        // Zeros of either sign have codes of their own.
        if y.iter().all(|y| y.least.to_bits() == y.most.to_bits() || y.nearest.is_nan()) {
            continue;
        }
        let bytes = index * row_bytes..(index + 1) * row_bytes;
        let got = unpacked(quantisation.code, &got_codes[bytes.clone()]);
        let mut row_codes = Vec::with_capacity(problem.hidden);
        for (group, (y, got)) in y.chunks(group_size).zip(got.chunks(group_size)).enumerate() {
            let amax = |of: fn(&Rounded) -> f64| y.iter().map(of).fold(0.0, f64::max) as f32;
            let [right, least, most] = [amax(|y| y.nearest.abs()), amax(least_magnitude), amax(largest_magnitude)]
                .map(|amax| group_scale(quantisation, tensor_scale, amax));
            let mut scale = right;
            if let (Some(got), Some(wanted)) = (&output.scales, &mut wanted.scales) {
                let at = quantisation.scale_index(problem.rows, problem.hidden, index, group) * scale_size;
                let got = &got[at..at + scale_size];
                // Scales have no sign, so that their patterns are in the order of their values.
                if (least..=most).contains(&Some(pattern(got))) {
                    scale = Some(pattern(got));
                    wanted[at..at + scale_size].copy_from_slice(got);
                }
            }
            let code = |y: f64| code_under(quantisation, tensor_scale, scale, y as f32);
            row_codes.extend(y.iter().zip(got).map(|(y, &got)| {
                let [right, least, most] = [y.nearest, y.least, y.most].map(code);
                Codes { code_type: quantisation.code, right, least, most }.nearest_to(got)
            }));
        }
        codes[bytes].copy_from_slice(&packed(quantisation.code, &row_codes));
    }
    Ok(wanted)
}

fn least_magnitude(y: &Rounded) -> f64 {
    if y.least <= 0.0 && y.most >= 0.0 { 0.0 } else { y.least.abs().min(y.most.abs()) }
}

fn largest_magnitude(y: &Rounded) -> f64 {
    y.least.abs().max(y.most.abs())
}

/// The pattern of a scale of one byte, or of four.
fn pattern(bytes: &[u8]) -> u32 {
    match *bytes {
        [byte] => u32::from(byte),
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]),
        _ => 0,
    }
}

/// Codes of bytes; one more than there are elements where the last byte has one of padding.
fn unpacked(code: CodeType, bytes: &[u8]) -> Vec<u8> {
    match code.per_byte() {
        1 => bytes.to_vec(),
        _ => bytes.iter().flat_map(|byte| [byte & 0xf, byte >> 4]).collect(),
    }
}
