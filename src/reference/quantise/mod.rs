//! One row quantised: plain f32 operations, in the order that the [rules](crate::quantise) have them.

mod code;

pub use code::{narrow, widen};

use crate::quantise::{BlockRounding, CodeType, Quantisation, QuantiseError, ScaleType, Scaling};

/// The codes and the scales of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantisedRow {
    /// [`row_bytes`](Quantisation::row_bytes) bytes; of the two codes of a byte the first is in the lower half.
    pub codes: Vec<u8>,
    /// One for each [group](Quantisation::groups), from the first elements to the last; a pattern of the
    /// scales' [type](Scaling::scale_type) in its lower bits.
    pub scales: Vec<u32>,
}

/// Quantises a row of values of the activation type; where they were f32, as [`Scaling::PerTensorWide`] takes
/// them, there is [`quantise_wide`]. `tensor_scale` is the scale of
/// [`Scaling::PerTensor`] and the global scale of [`Scaling::Nvfp4`]; the others do not look at it.
///
/// # Errors
/// As [`Quantisation::validate`].
pub fn quantise_row(quantisation: &Quantisation, tensor_scale: f32, y: &[f32]) -> Result<QuantisedRow, QuantiseError> {
    quantisation.validate(y.len())?;
    let mut codes = Vec::with_capacity(y.len());
    let mut scales = Vec::with_capacity(quantisation.groups(y.len()));
    for group in y.chunks(quantisation.scaling.group().unwrap_or(y.len()).max(1)) {
        let amax = group.iter().fold(0.0, |amax: f32, y| amax.max(y.abs()));
        let scale = group_scale(quantisation, tensor_scale, amax);
        codes.extend(group.iter().map(|&y| code_under(quantisation, tensor_scale, scale, y)));
        scales.extend(scale);
    }
    Ok(QuantisedRow { codes: packed(quantisation.code, &codes), scales })
}

/// The pattern of the scale of a group whose largest magnitude is given; None where there is one scale for all.
pub(crate) fn group_scale(quantisation: &Quantisation, tensor_scale: f32, amax: f32) -> Option<u32> {
    match quantisation.scaling {
        Scaling::PerTensor | Scaling::PerTensorWide => None,
        Scaling::PerToken { .. } | Scaling::PerGroup { power_of_two: false, .. } => {
            Some(dynamic_scale(quantisation, amax).to_bits())
        }
        Scaling::PerGroup { power_of_two: true, .. } => {
            Some(next_power_of_two(dynamic_scale(quantisation, amax)).to_bits())
        }
        Scaling::Mxfp8 { rounding, .. } => Some((block_exponent(quantisation.code, rounding, amax) + 127) as u32),
        Scaling::Nvfp4 { .. } => Some(u32::from(narrow(CodeType::E4m3, f64::from(tensor_scale * (amax / 6.0))))),
    }
}

/// The code of an element under the scale of its group.
pub(crate) fn code_under(quantisation: &Quantisation, tensor_scale: f32, scale: Option<u32>, y: f32) -> u8 {
    let code = quantisation.code;
    match (quantisation.scaling, scale) {
        (Scaling::PerTensor | Scaling::PerTensorWide, _) | (_, None) => per_tensor(code, tensor_scale, y),
        (Scaling::PerToken { .. } | Scaling::PerGroup { .. }, Some(scale)) => dynamic(code, f32::from_bits(scale), y),
        (Scaling::Mxfp8 { .. }, Some(scale)) => narrow(code, f64::from(y) / 2f64.powi(scale as i32 - 127)),
        (Scaling::Nvfp4 { .. }, Some(scale)) => {
            let factor = match widen(CodeType::E4m3, scale as u8) as f32 {
                0.0 => 0.0,
                scale => tensor_scale / scale,
            };
            narrow(code, f64::from(y * factor))
        }
    }
}

/// The codes of a row of y before it is rounded, under a given scale: [`Scaling::PerTensorWide`].
pub fn quantise_wide(tensor_scale: f32, y: impl IntoIterator<Item = f64>) -> Vec<u8> {
    let factor = f64::from(1.0 / tensor_scale);
    y.into_iter().map(|y| narrow(CodeType::E4m3, y * factor)).collect()
}

/// The values that codes and scales stand for, rounded to f64.
pub fn dequantise_row(quantisation: &Quantisation, tensor_scale: f32, hidden: usize, row: &QuantisedRow) -> Vec<f64> {
    let code = quantisation.code;
    let group = quantisation.scaling.group().unwrap_or(hidden).max(1);
    let unpacked = row.codes.iter().flat_map(|&byte| match code.per_byte() {
        1 => vec![byte],
        _ => vec![byte & 0xf, byte >> 4],
    });
    let scale = |element: usize| {
        let tensor_scale = f64::from(tensor_scale);
        let stored = row.scales.get(element / group).copied().unwrap_or_default();
        match quantisation.scaling.scale_type() {
            None => tensor_scale,
            Some(ScaleType::F32) => f64::from(f32::from_bits(stored)),
            Some(ScaleType::Ue8m0) => 2f64.powi(stored as i32 - 127),
            Some(ScaleType::E4m3) => widen(CodeType::E4m3, stored as u8) / tensor_scale,
        }
    };
    unpacked.take(hidden).enumerate().map(|(element, byte)| widen(code, byte) * scale(element)).collect()
}

/// The code under a given scale.
fn per_tensor(code: CodeType, scale: f32, y: f32) -> u8 {
    match code {
        CodeType::Int8 => narrow(code, f64::from(y / scale)),
        CodeType::E4m3 | CodeType::E5m2 | CodeType::E2m1 => narrow(code, f64::from(y * (1.0 / scale))),
    }
}

/// The code under the scale of a row or group.
fn dynamic(code: CodeType, scale: f32, y: f32) -> u8 {
    match code {
        CodeType::Int8 => narrow(code, f64::from(y * (1.0 / scale))),
        CodeType::E4m3 | CodeType::E5m2 | CodeType::E2m1 => narrow(code, f64::from(y / scale)),
    }
}

/// The f32 scale of a row or group.
fn dynamic_scale(quantisation: &Quantisation, amax: f32) -> f32 {
    let (floor, upper) = quantisation.amax_bounds().unwrap_or((0.0, f32::INFINITY));
    amax.min(upper).max(floor) / quantisation.code.largest()
}

/// The least power of two that is no less than a scale; an infinite one stays so.
fn next_power_of_two(scale: f32) -> f32 {
    // Scales are 2^-80 or more.
    (-80..128).map(|exponent| 2f32.powi(exponent)).find(|&power| power >= scale).unwrap_or(f32::INFINITY)
}

/// The exponent of an MXFP8 scale, −127 to 127.
///
/// The quotients by `largest`, 1.75·2^k, are rounded to f64; that moves none to another side of a power of
/// two, since amax has 24 bits and so lies at least 2^-24 of itself away from 1.75·2^k where it is another.
fn block_exponent(code: CodeType, rounding: BlockRounding, amax: f32) -> i32 {
    if amax.is_infinite() {
        return 127;
    }
    let (amax, largest) = (f64::from(amax), f64::from(code.largest()));
    let mut exponents = -127..=127;
    match rounding {
        BlockRounding::Up => exponents.find(|&exponent| 2f64.powi(exponent) >= amax / largest).unwrap_or(127),
        BlockRounding::Floor => {
            let binade = largest.log2().floor() as i32;
            exponents.rfind(|&exponent| 2f64.powi(exponent + binade) <= amax).unwrap_or(-127)
        }
    }
}

/// Codes as bytes.
pub(crate) fn packed(code: CodeType, codes: &[u8]) -> Vec<u8> {
    match code.per_byte() {
        1 => codes.to_vec(),
        _ => codes.chunks(2).map(|pair| pair[0] | pair.get(1).map_or(0, |high| high << 4)).collect(),
    }
}
