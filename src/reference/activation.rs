//! Activations in f64.

use crate::Activation;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// The activation of an f32 value, with a relative error of at most 1e-15 in the tails too.
///
/// A product with the slope of leaky ReLU past f32's range is infinite. NaN gives NaN. An infinity gives what the
/// formula gives: 0 or 1 for [`Activation::Sigmoid`], and for the others ∞, 0, or NaN where it is −∞·0.
pub fn activate(activation: Activation, x: f32) -> f64 {
    let wide = f64::from(x);
    match activation {
        Activation::Identity => wide,
        // NaN is not at most 0.
        Activation::Relu if x <= 0.0 => 0.0,
        Activation::LeakyRelu { slope } if x <= 0.0 => {
            let product = wide * f64::from(slope);
            if (x * slope).is_infinite() { f64::from(x * slope) } else { product }
        }
        Activation::Relu | Activation::LeakyRelu { .. } => wide,
        Activation::Sigmoid => times_sigmoid(1.0, wide, 0.0),
        // The product of two f32 is exact.
        Activation::Swish { beta } => times_sigmoid(wide, wide * f64::from(beta), 0.0),
        Activation::GeluTanh => gelu_tanh(wide),
        Activation::GeluExact => gelu(wide),
    }
}

/// factor·σ(t + low), where `low` is what t was rounded by.
fn times_sigmoid(factor: f64, t: f64, low: f64) -> f64 {
    // Of an infinite t it is no number.
    let low = if low.is_nan() { 0.0 } else { low };
    if t < 0.0 {
        let e = libm::exp(t) * (1.0 + low);
        factor * (e / (1.0 + e))
    } else {
        factor / (1.0 + libm::exp(-t) * (1.0 - low))
    }
}

/// x·(1 + tanh u)/2 = x·σ(2u), where 2u = x·(√(8/π) + √(8/π)·0.044715·x²) is taken in two f64: it is an exponent,
/// and its absolute error the relative one of the result.
fn gelu_tanh(x: f64) -> f64 {
    // √(8/π) and 0.044715 times that, each to 106 bits.
    const LINEAR: [f64; 2] = [1.595_769_121_605_730_8, -9.969_308_809_110_92e-17];
    const CUBIC: [f64; 2] = [0.071_354_816_272_600_25, -6.175_149_918_155_315e-19];
    // The square of an f32 is exact.
    let square = x * x;
    let cubic = CUBIC[0] * square;
    let cubic_low = CUBIC[0].mul_add(square, -cubic) + CUBIC[1] * square;
    let sum = LINEAR[0] + cubic;
    // Knuth's sum: what the addition has rounded away.
    let part = sum - LINEAR[0];
    let sum_low = (LINEAR[0] - (sum - part)) + (cubic - part) + (LINEAR[1] + cubic_low);
    let t = sum * x;
    times_sigmoid(x, t, sum.mul_add(x, -t) + sum_low * x)
}

/// x·Φ(x) = x·erfc(z)/2 with z = −x/√2.
fn gelu(x: f64) -> f64 {
    /// What 1/√2 is more than its nearest f64.
    const FRAC_1_SQRT_2_LOW: f64 = -4.833_646_656_726_457e-17;
    if x.is_infinite() {
        return if x > 0.0 { x } else { f64::NAN };
    }
    let z = -x * FRAC_1_SQRT_2;
    // In the tail erfc magnifies what z was rounded by.
    let low = (-x).mul_add(FRAC_1_SQRT_2, -z) - x * FRAC_1_SQRT_2_LOW;
    let erfc = libm::erfc(z) - FRAC_2_SQRT_PI * libm::exp(-z * z) * low;
    x * erfc / 2.0
}
