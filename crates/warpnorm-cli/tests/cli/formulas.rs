//! The formulas of the ops in plain f64, independent of the library.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

/// (h − mean) / √(variance + eps).
pub fn layer_norm(h: &[f64], eps: f64) -> Vec<f64> {
    let n = h.len() as f64;
    let mean = h.iter().sum::<f64>() / n;
    let centred: Vec<f64> = h.iter().map(|h| h - mean).collect();
    rms_norm(&centred, eps)
}

/// h / √(mean square + eps).
pub fn rms_norm(h: &[f64], eps: f64) -> Vec<f64> {
    let power = h.iter().map(|h| h * h).sum::<f64>() / h.len() as f64;
    h.iter().map(|h| h / (power + eps).sqrt()).collect()
}

/// h / ‖h‖.
pub fn l2_norm(h: &[f64]) -> Vec<f64> {
    let length = h.iter().map(|h| h * h).sum::<f64>().sqrt();
    h.iter().map(|h| h / length).collect()
}

/// The activation that options name so, without its parameter.
pub fn activation(name: &str, x: f64) -> f64 {
    match name {
        "identity" => x,
        "relu" => x.max(0.0),
        "leaky-relu" => x.max(0.01 * x),
        "leaky-relu:0.25" => x.max(0.25 * x),
        "sigmoid" => sigmoid(x),
        "silu" | "swish" => x * sigmoid(x),
        "swish:1.75" => x * sigmoid(1.75 * x),
        "gelu" => 0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2)),
        "gelu-tanh" => 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh()),
        _ => panic!("no formula for {name}"),
    }
}

/// The names, as far as options differ in them.
pub const ACTIVATIONS: [&str; 10] = [
    "identity",
    "relu",
    "leaky-relu",
    "leaky-relu:0.25",
    "sigmoid",
    "silu",
    "swish",
    "swish:1.75",
    "gelu",
    "gelu-tanh",
];

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The error function by its Maclaurin series, which is exact for the tests' values below 2.
fn erf(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    for n in 1..60 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    FRAC_2_SQRT_PI * sum
}

/// A head whose first `2·cos.len()` elements are rotated: element i with i + cos.len(), or 2i with 2i + 1.
pub fn rotated(y: &[f64], cos: &[f64], sin: &[f64], interleaved: bool) -> Vec<f64> {
    let mut out = y.to_vec();
    for pair in 0..cos.len() {
        let (a, b) = if interleaved { (2 * pair, 2 * pair + 1) } else { (pair, pair + cos.len()) };
        out[a] = y[a] * cos[pair] - y[b] * sin[pair];
        out[b] = y[b] * cos[pair] + y[a] * sin[pair];
    }
    out
}
