//! Numbers that are the same in every run and on every machine.

/// SplitMix64, after Steele, Lea and Flood, *Fast splittable pseudorandom number generators* (2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Any f32 pattern.
    pub fn f32(&mut self) -> f32 {
        f32::from_bits(self.bits() as u32)
    }

    /// A finite f32 of either sign whose exponent is one of these.
    pub fn with_exponent(&mut self, exponents: std::ops::Range<i32>) -> f32 {
        let span = (exponents.end - exponents.start) as u64;
        let exponent = exponents.start + ((self.bits() >> 32) % span) as i32;
        f32::from_bits((self.bits() as u32 & 0x807f_ffff) | ((exponent + 127) as u32) << 23)
    }
}
