//! Values of eleven significant bits, which are the most that 16-bit types have: of any exponent that f32 has.

/// Bits of an f32 that such values leave.
const LEFT: u32 = 13;

/// One next to an f32.
pub fn of_eleven_bits(value: f32) -> f32 {
    if value.is_finite() { f32::from_bits(value.to_bits() >> LEFT << LEFT) } else { value }
}

/// The value and its neighbours of eleven bits, towards zero and away from it.
pub fn around(value: f32) -> [f32; 3] {
    let value = of_eleven_bits(value);
    let bits = value.to_bits();
    [f32::from_bits(bits.wrapping_sub(1 << LEFT)), value, f32::from_bits(bits.wrapping_add(1 << LEFT))]
}
