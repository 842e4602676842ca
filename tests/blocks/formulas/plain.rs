//! Steps of transformer networks in f64, each rounded to the activation type or to nothing: no use is made of the
//! crate under test but for the name of a type.

use crate::chains::{Batch, Tensor};
use half::{bf16, f16};
use warpnorm::DType;

/// The values of elements in memory.
pub fn values(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    let pairs = || bytes.as_chunks::<2>().0.iter().map(|&pair| u16::from_ne_bytes(pair));
    match dtype {
        DType::F32 => bytes.as_chunks::<4>().0.iter().map(|&word| f64::from(f32::from_ne_bytes(word))).collect(),
        DType::F16 => pairs().map(|bits| f16::from_bits(bits).to_f64()).collect(),
        DType::BF16 => pairs().map(|bits| bf16::from_bits(bits).to_f64()).collect(),
    }
}

/// Rows of values.
#[derive(Clone, Debug)]
pub struct Matrix {
    pub columns: usize,
    pub values: Vec<f64>,
}

impl Matrix {
    /// The values of a tensor.
    pub fn of(tensor: &Tensor) -> Self {
        Self { columns: tensor.columns, values: values(tensor.dtype, &tensor.bytes) }
    }

    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.columns)
    }

    /// The columns from one of them on.
    pub fn slice(&self, from: usize, columns: usize) -> Self {
        let values = self.rows().flat_map(|row| &row[from..from + columns]).copied().collect();
        Self { columns, values }
    }

    /// The same values in rows of another length: heads, say.
    pub fn cut(&self, columns: usize) -> Self {
        Self { columns, values: self.values.clone() }
    }
}

/// How scores become attention.
#[derive(Clone, Copy)]
pub struct Scores {
    pub head: usize,
    pub scale: f64,
    pub causal: bool,
    pub cap: Option<f64>,
}

/// The arithmetic: f64, or f64 with every step rounded to a type, as a framework stores it between two kernels.
#[derive(Clone, Copy)]
pub struct Plain {
    pub dtype: Option<DType>,
}

impl Plain {
    fn round(self, value: f64) -> f64 {
        match self.dtype {
            None => value,
            Some(DType::F32) => f64::from(value as f32),
            Some(DType::F16) => f16::from_f64(value).to_f64(),
            Some(DType::BF16) => bf16::from_f64(value).to_f64(),
        }
    }

    /// Every element on its own.
    pub fn map(self, x: &Matrix, function: impl Fn(f64) -> f64) -> Matrix {
        Matrix { columns: x.columns, values: x.values.iter().map(|&x| self.round(function(x))).collect() }
    }

    /// Two matrices element by element; the second is repeated where it is one row.
    pub fn zip(self, x: &Matrix, y: &Matrix, function: impl Fn(f64, f64) -> f64) -> Matrix {
        let pairs = x.values.iter().zip(y.values.iter().cycle());
        Matrix { columns: x.columns, values: pairs.map(|(&x, &y)| self.round(function(x, y))).collect() }
    }

    pub fn add(self, x: &Matrix, y: &Matrix) -> Matrix {
        self.zip(x, y, |x, y| x + y)
    }

    pub fn multiply(self, x: &Matrix, y: &Matrix) -> Matrix {
        self.zip(x, y, |x, y| x * y)
    }

    /// x·Wᵀ + b.
    pub fn linear(self, x: &Matrix, weight: &Tensor, bias: Option<&Tensor>) -> Matrix {
        let (outputs, weight, bias) = (weight.rows, Matrix::of(weight), bias.map(Matrix::of));
        let mut values = Vec::new();
        for row in x.rows() {
            for (output, weights) in weight.rows().enumerate() {
                let sum: f64 = row.iter().zip(weights).map(|(x, w)| x * w).sum();
                values.push(self.round(sum + bias.as_ref().map_or(0.0, |bias| bias.values[output])));
            }
        }
        Matrix { columns: outputs, values }
    }

    /// Every row on its own.
    fn each_row(self, x: &Matrix, of_row: impl Fn(&[f64]) -> Vec<f64>) -> Matrix {
        let values = x.rows().flat_map(of_row).map(|value| self.round(value)).collect();
        Matrix { columns: x.columns, values }
    }

    /// x/√(mean square + eps).
    pub fn rms_norm(self, x: &Matrix, eps: f64) -> Matrix {
        self.each_row(x, |row| {
            let mean_square = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
            row.iter().map(|x| x / (mean_square + eps).sqrt()).collect()
        })
    }

    /// x/‖x‖.
    pub fn unit(self, x: &Matrix) -> Matrix {
        self.each_row(x, |row| {
            let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.iter().map(|x| x / length).collect()
        })
    }

    /// (x − mean)/√(variance + eps)·γ + β, one rounding.
    pub fn layer_norm(self, x: &Matrix, eps: f64, weight: &Tensor, bias: &Tensor) -> Matrix {
        let (weight, bias) = (Matrix::of(weight).values, Matrix::of(bias).values);
        self.each_row(x, |row| {
            let mean = row.iter().sum::<f64>() / row.len() as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
            let normalised = row.iter().map(|x| (x - mean) / (variance + eps).sqrt());
            normalised.zip(&weight).zip(&bias).map(|((v, w), b)| v * w + b).collect()
        })
    }

    /// Heads rotated by their positions, in halves: the tables, both products and their sum are rounded.
    pub fn rope(self, batch: &Batch, x: &Matrix, head: usize, base: f64) -> Matrix {
        let mut values = Vec::new();
        let positions: Vec<usize> = batch.sequences.iter().flat_map(|&tokens| 0..tokens).collect();
        for (row, &position) in x.rows().zip(&positions) {
            for part in row.chunks_exact(head) {
                for (index, &own) in part.iter().enumerate() {
                    let pair = index % (head / 2);
                    let angle = position as f64 / base.powf((2 * pair) as f64 / head as f64);
                    // (x₀, x₁) → (x₀·cos − x₁·sin, x₁·cos + x₀·sin).
                    let other = if index < head / 2 { -part[index + head / 2] } else { part[pair] };
                    let (cos, sin) = (self.round(angle.cos()), self.round(angle.sin()));
                    values.push(self.round(self.round(own * cos) + self.round(other * sin)));
                }
            }
        }
        Matrix { columns: x.columns, values }
    }

    /// Attention step by step, as "eager" implementations have it: scores, shares and their sums are rounded.
    pub fn attention(self, batch: &Batch, [q, k, v]: [&Matrix; 3], how: Scores) -> Matrix {
        let (head, q_heads, k_heads) = (how.head, q.columns / how.head, k.columns / how.head);
        let of = |x: &Matrix, row: usize, head_of: usize| -> Vec<f64> {
            x.values[row * x.columns + head_of * head..][..head].to_vec()
        };
        let mut out = Matrix { columns: q.columns, values: vec![0.0; q.values.len()] };
        let mut start = 0;
        for &tokens in &batch.sequences {
            for (row, number) in (start..start + tokens).flat_map(|row| (0..q_heads).map(move |number| (row, number))) {
                let group = number / (q_heads / k_heads);
                let seen: Vec<usize> = (start..start + tokens).filter(|&other| !how.causal || other <= row).collect();
                let mut scores: Vec<f64> = Vec::new();
                for &other in &seen {
                    let dot: f64 = of(q, row, number).iter().zip(of(k, other, group)).map(|(q, k)| q * k).sum();
                    let mut score = self.round(self.round(dot) * how.scale);
                    if let Some(cap) = how.cap {
                        score = self.round(self.round(self.round(score / cap).tanh()) * cap);
                    }
                    scores.push(score);
                }
                let total: f64 = scores.iter().map(|score| score.exp()).sum();
                for column in 0..head {
                    let terms = seen.iter().zip(&scores);
                    let sum = terms.map(|(&other, s)| self.round(s.exp() / total) * of(v, other, group)[column]);
                    out.values[row * q.columns + number * head + column] = self.round(sum.sum());
                }
            }
            start += tokens;
        }
        out
    }
}

/// x·σ(x).
pub fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// GELU by tanh: Hendrycks and Gimpel (2016).
pub fn gelu_tanh(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
}

/// x·Φ(x), with erf z = 2/√π·e^(−z²)·Σ 2ⁿz²ⁿ⁺¹/(2n+1)!! (Abramowitz and Stegun, 7.1.6), whose terms have one sign.
pub fn gelu(x: f64) -> f64 {
    let z = x / std::f64::consts::SQRT_2;
    if z.abs() > 6.0 {
        // erf is ±1 to f64's last digit.
        return x.max(0.0);
    }
    let (mut term, mut sum) = (z, z);
    for n in 1..200 {
        term *= 2.0 * z * z / f64::from(2 * n + 1);
        sum += term;
    }
    let erf = 2.0 / std::f64::consts::PI.sqrt() * (-z * z).exp() * sum;
    0.5 * x * (1.0 + erf)
}

#[test]
fn functions_have_their_published_values() {
    // erf 0.5 = 0.520 499 877 8, erf 1 = 0.842 700 792 9 (Abramowitz and Stegun, table 7.1).
    for (z, erf) in [(0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (-1.0, -0.842_700_792_9)] {
        let x = z * std::f64::consts::SQRT_2;
        assert!((gelu(x) - 0.5 * x * (1.0 + erf)).abs() < 1e-10, "{z}");
    }
    // Φ(1) = 0.841 344 746 1 (table 26.1), which the form by tanh comes close to but is not; σ(1) = 1/(1 + 1/e).
    assert!((gelu(1.0) - 0.841_344_746_1).abs() < 1e-10);
    assert!((1e-6..2e-4).contains(&(gelu_tanh(1.0) - 0.841_344_746_1).abs()));
    assert!((silu(1.0) - 1.0 / (1.0 + 1.0 / std::f64::consts::E)).abs() < 1e-15);
}
