//! Values for parity checks: the same for the same seed, on every machine.

use crate::DType;
use crate::reference::{encode, largest, smallest, smallest_normal};

/// What the rows of x and residual are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Values {
    /// Mean 0, deviation 1.
    Unit,
    /// A mean that is large beside the deviation, as far as the type can tell them apart: f32 10 000
    /// with deviation 0.01, f16 1000 with 1, bf16 64 with 1. The sign changes from row to row.
    LargeMean,
    /// Unit, and one channel a thousand times larger, as in trained transformers.
    OutlierChannel,
    /// One value all along a row, another in the next row.
    Constant,
    /// Zeros of both signs.
    Zeros,
    /// Denormals of the type.
    Denormals,
    /// Unit, with one infinity in the row, two of opposite signs, or none, row by row.
    Infinities,
    /// Unit, with a NaN in the row, a NaN and an infinity, or none, row by row.
    Nans,
    /// The largest finite values of both signs, the smallest normal ones, or a mix with ±1 and
    /// denormals, row by row.
    Extremes,
}

impl Values {
    /// Every kind.
    pub const ALL: [Values; 9] = [
        Values::Unit,
        Values::LargeMean,
        Values::OutlierChannel,
        Values::Constant,
        Values::Zeros,
        Values::Denormals,
        Values::Infinities,
        Values::Nans,
        Values::Extremes,
    ];

    /// The name for tables and options.
    pub const fn name(self) -> &'static str {
        match self {
            Values::Unit => "unit",
            Values::LargeMean => "large-mean",
            Values::OutlierChannel => "outlier-channel",
            Values::Constant => "constant",
            Values::Zeros => "zeros",
            Values::Denormals => "denormals",
            Values::Infinities => "infinities",
            Values::Nans => "nans",
            Values::Extremes => "extremes",
        }
    }

    /// One row.
    fn row(self, dtype: DType, row: usize, hidden: usize, random: &mut Random) -> Vec<f64> {
        let mut values: Vec<f64> = (0..hidden).map(|_| self.element(dtype, row, random)).collect();
        // Two columns, far apart where there are two.
        let first = random.below(hidden);
        let second = (first + hidden / 2) % hidden;
        match self {
            Values::OutlierChannel => values[hidden / 3] *= 1000.0,
            Values::Infinities if row.is_multiple_of(3) => values[first] = f64::INFINITY.copysign(random.sign()),
            Values::Infinities if row % 3 == 1 => {
                values[first] = f64::INFINITY;
                values[second] = f64::NEG_INFINITY;
            }
            Values::Nans if row.is_multiple_of(3) => values[first] = f64::NAN,
            Values::Nans if row % 3 == 1 => {
                values[first] = f64::INFINITY;
                values[second] = f64::NAN;
            }
            _ => {}
        }
        values
    }

    fn element(self, dtype: DType, row: usize, random: &mut Random) -> f64 {
        match self {
            Values::Unit | Values::OutlierChannel | Values::Infinities | Values::Nans => random.unit(),
            Values::LargeMean => {
                let (mean, deviation) = match dtype {
                    DType::F32 => (1e4, 1e-2),
                    DType::F16 => (1000.0, 1.0),
                    DType::BF16 => (64.0, 1.0),
                };
                let value = mean + deviation * random.unit();
                if row.is_multiple_of(2) { value } else { -value }
            }
            Values::Constant => [1.0, -0.5, largest(dtype) / 1e10, 3.7, 0.1, 1000.0][row % 6],
            Values::Zeros => 0.0 * random.sign(),
            Values::Denormals => {
                let below_normal = (1usize << (dtype.significand_bits() - 1)) - 1;
                random.sign() * smallest(dtype) * (1 + random.below(below_normal)) as f64
            }
            Values::Extremes => {
                let magnitude = match row % 3 {
                    0 => largest(dtype),
                    1 => smallest_normal(dtype),
                    _ => [largest(dtype), smallest_normal(dtype), smallest(dtype), 1.0][random.below(4)],
                };
                random.sign() * magnitude
            }
        }
    }
}

impl std::fmt::Display for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// So many rows of values, encoded.
pub(super) fn rows_of(dtype: DType, rows: usize, hidden: usize, values: Values, random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rows * hidden * dtype.size());
    for row in 0..rows {
        bytes.extend(encode(dtype, values.row(dtype, row, hidden, random)));
    }
    bytes
}

/// SplitMix64 (Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators*, 2014).
pub(super) struct Random {
    state: u64,
}

impl Random {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    /// A stream of its own for every number.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self { state: seed };
        random.state = random.bits() ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03);
        random
    }

    fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(Self::STEP);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// In [0, 1).
    pub(super) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// In 0..bound, or 0 where that is empty.
    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    fn sign(&mut self) -> f64 {
        if self.bits() >> 63 == 0 { 1.0 } else { -1.0 }
    }

    /// Mean 0, deviation 1, bell-shaped within ±2√3: the sum of four uniforms, which needs no function
    /// that a mathematics library could round differently.
    pub(super) fn unit(&mut self) -> f64 {
        let sum: f64 = (0..4).map(|_| self.uniform()).sum();
        (sum - 2.0) * 1.732_050_807_568_877_2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // First output of the published generator for seed 1234567.
        assert_eq!(Random { state: 1_234_567 }.bits(), 6_457_827_717_110_365_317);
    }
}
