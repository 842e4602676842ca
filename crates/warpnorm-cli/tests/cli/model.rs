//! The norms once more, in plain f64, independent of the library.

use crate::files::round;
use safetensors::Dtype;

/// What the tests vary.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    pub layer_norm: bool,
    pub eps: f64,
    /// The type of x.
    pub dtype: Dtype,
    pub residual_scale: f64,
    /// stored, wide or split.
    pub residual_rounding: &'a str,
    pub before_weight: bool,
    pub weight_offset: f64,
}

/// One row's results before their last rounding.
#[derive(Debug)]
pub struct Row {
    pub y: Vec<f64>,
    pub residual: Vec<f64>,
    pub mean: f64,
    pub rstd: f64,
}

impl Model<'_> {
    pub fn row(&self, x: &[f64], residual: Option<&[f64]>, weight: Option<&[f64]>, bias: Option<&[f64]>) -> Row {
        let wide: Vec<f64> = match residual {
            // The products and sums of the tests' values fit an f64; one rounding to f32 is left.
            Some(r) => x.iter().zip(r).map(|(x, r)| round(Dtype::F32, self.residual_scale * r + x)).collect(),
            None => x.to_vec(),
        };
        let stored: Vec<f64> = wide.iter().map(|&h| round(self.dtype, h)).collect();
        let statistic = if self.residual_rounding == "stored" { &stored } else { &wide };
        let output = if self.residual_rounding == "wide" { &wide } else { &stored };
        let n = x.len() as f64;
        let mean = if self.layer_norm { statistic.iter().sum::<f64>() / n } else { 0.0 };
        let power = statistic.iter().map(|h| (h - mean).powi(2)).sum::<f64>() / n;
        let rstd = 1.0 / (power + self.eps).sqrt();
        let y = output.iter().enumerate().map(|(column, h)| {
            let v = (h - mean) * rstd;
            let v = if self.before_weight { round(self.dtype, v) } else { v };
            let gain = weight.map_or(1.0, |weight| weight[column] + self.weight_offset);
            v * gain + bias.map_or(0.0, |bias| bias[column])
        });
        Row { y: y.collect(), residual: stored, mean, rstd }
    }
}
