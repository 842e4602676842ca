//! The house tolerance: an error at most twice that of the plain computation.
//!
//! FlashAttention's tests hold a kernel's error against that of the same formula written down plainly
//! in the same types, both measured against an exact result: data that is hard for anyone is hard for
//! both.

use super::judge;
use crate::host::{Output, Problem, Vector};
use crate::reference::{activate, decode, encode, round};
use crate::{
    DType, Error, Family, Input, Interpolation, Norm, PostAdd, PostRounding, ResidualRounding, Rope, RopePairs,
    RopeRounding, Scope, WeightRounding,
};

/// How many times the plain computation's error is allowed.
const FACTOR: f64 = 2.0;

/// Whether a relative L2 error is within the house tolerance beside that of the plain computation.
///
/// An error below one rounding to f32 always is: the plain computation may be exact by luck.
pub fn within_house_tolerance(relative_l2: f64, plain: f64) -> bool {
    relative_l2 <= FACTOR * plain || relative_l2 <= f64::from(f32::EPSILON) / 2.0
}

/// The relative L2 error of the [plain computation](plain) against the reference.
///
/// # Errors
/// The problem is invalid.
pub fn plain_error(problem: &Problem<'_>) -> Result<f64, Error> {
    Ok(judge(problem, &plain(problem)?)?.relative_l2)
}

/// The norm written down plainly: f32 arithmetic, sums from first to last element, the variance in a
/// second pass, and the op's roundings to the activation type.
///
/// # Errors
/// The problem is invalid.
pub fn plain(problem: &Problem<'_>) -> Result<Output, Error> {
    problem.validate()?;
    let norm = problem.norm;
    let rows = widen(problem.dtype, problem.x);
    let matrix = |bytes: Option<&[u8]>| bytes.map(|bytes| widen(problem.dtype, bytes));
    let vector = |vector: Option<Vector<'_>>| vector.map(|vector| widen(vector.dtype, vector.bytes));
    let (residual, gate) = (matrix(problem.residual), matrix(problem.gate));
    let parameters = Plain {
        norm,
        dtype: problem.dtype,
        weight: vector(problem.weight),
        bias: vector(problem.bias),
        linear_bias: vector(problem.linear_bias),
        inner_weight: vector(problem.inner_weight),
        rate: vector(problem.rate),
    };
    let mut output = Output::default();
    let (mut y, mut stored, mut means, mut rstds) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (at, x) in rows.chunks(problem.hidden).enumerate() {
        let row = |matrix: &Option<Vec<f32>>| {
            matrix.as_ref().map(|matrix| matrix[at * problem.hidden..][..problem.hidden].to_vec())
        };
        let (row_of_tables, part) = (at / problem.parts, at % problem.parts);
        let first = if norm.scope == Scope::Group { part * problem.hidden } else { 0 };
        let angles = norm.rope.zip(problem.rope).map(|(rope, tables)| tables.angles(rope, row_of_tables));
        let plain = parameters.row(x, row(&residual), row(&gate), first, angles);
        y.extend(plain.y);
        stored.extend(plain.stored);
        means.push(plain.mean);
        rstds.push(plain.rstd);
    }
    output.y = encode(problem.dtype, y.into_iter().map(f64::from));
    output.residual = problem.outputs.residual.then(|| encode(problem.dtype, stored.into_iter().map(f64::from)));
    output.mean = problem.outputs.mean.then_some(means);
    output.rstd = problem.outputs.rstd.then_some(rstds);
    if let Some(second) = problem.second_problem() {
        output.second_y = Some(plain(&second)?.y);
    }
    Ok(output)
}

/// An op and its parameters.
struct Plain {
    norm: Norm,
    dtype: DType,
    weight: Option<Vec<f32>>,
    bias: Option<Vec<f32>>,
    linear_bias: Option<Vec<f32>>,
    inner_weight: Option<Vec<f32>>,
    rate: Option<Vec<f32>>,
}

struct PlainRow {
    y: Vec<f32>,
    stored: Vec<f32>,
    mean: f32,
    rstd: f32,
}

impl Plain {
    fn narrow(&self, value: f32) -> f32 {
        round(self.dtype, f64::from(value)) as f32
    }

    fn row(
        &self,
        x: &[f32],
        residual: Option<Vec<f32>>,
        gate: Option<Vec<f32>>,
        first: usize,
        angles: Option<(Vec<f64>, Vec<f64>)>,
    ) -> PlainRow {
        let norm = &self.norm;
        let wide = self.input(x, residual.as_deref(), gate.as_deref());
        let stored: Vec<f32> = wide.iter().map(|&h| self.narrow(h)).collect();
        let rounding = norm.residual_add().map_or(ResidualRounding::Wide, |add| add.rounding);
        let of_statistic = if rounding == ResidualRounding::Stored { &stored } else { &wide };
        let of_output = if rounding == ResidualRounding::Wide { &wide } else { &stored };
        let (mean, rstd) = self.statistic(of_statistic);
        let z = |column: usize| gate.as_ref().map_or(of_output[column], |gate| gate[column]);
        let mut y: Vec<f32> = Vec::with_capacity(x.len());
        for (column, h) in of_output.iter().enumerate() {
            // Where z takes the place of h, v is 1.
            let v = if norm.gate.is_some() && gate.is_none() { 1.0 } else { (h - mean) * rstd };
            let mut v = self.weighted(v, self.weight.as_deref(), first + column);
            if let Some(bias) = &self.bias {
                v += bias[first + column];
            }
            if let (Some(add), Some(residual)) = (norm.post_add, &residual) {
                v = self.post_added(add, v, residual[column]);
            }
            if let Some(gate) = norm.gate {
                v *= activate(gate, z(column)) as f32;
            }
            y.push(v);
        }
        if let (Some(rope), Some((cos, sin))) = (norm.rope, angles) {
            self.rotate(rope, &mut y, &cos, &sin);
        }
        PlainRow { y, stored, mean, rstd }
    }

    /// h.
    fn input(&self, x: &[f32], residual: Option<&[f32]>, gate: Option<&[f32]>) -> Vec<f32> {
        let columns = 0..x.len();
        match (self.norm.input, residual, gate) {
            (Input::ResidualAdd(add), Some(residual), _) => columns
                .map(|column| {
                    let sum = add.scale.mul_add(residual[column], x[column]);
                    self.linear_bias.as_ref().map_or(sum, |bias| sum + bias[column])
                })
                .collect(),
            (Input::Gated(activation), _, Some(z)) => {
                columns.map(|column| x[column] * activate(activation, z[column]) as f32).collect()
            }
            (Input::PostNorm(add), Some(residual), _) => {
                let v = self.normalised(x);
                columns
                    .map(|column| {
                        let v = self.weighted(v[column], self.inner_weight.as_deref(), column);
                        self.narrow(self.post_added(add, v, residual[column]))
                    })
                    .collect()
            }
            (Input::Interpolation(Interpolation { rate_scale }), Some(residual), _) => {
                let narrowed = |row| self.normalised(row).into_iter().map(|v| self.narrow(v)).collect::<Vec<_>>();
                let (from, to) = (narrowed(residual), narrowed(x));
                let rate = |column: usize| self.rate.as_ref().map_or(0.0, |rate| (rate[column] * rate_scale).abs());
                columns.map(|column| from[column] + rate(column) * (to[column] - from[column])).collect()
            }
            _ => x.to_vec(),
        }
    }

    fn statistic(&self, h: &[f32]) -> (f32, f32) {
        let (norm, count) = (&self.norm, h.len() as f32);
        let mean = match norm.family {
            Family::LayerNorm => h.iter().sum::<f32>() / count,
            Family::RmsNorm | Family::L2Norm | Family::Identity => 0.0,
        };
        let squares: f32 = h.iter().map(|h| (h - mean) * (h - mean)).sum();
        let rstd = match norm.family {
            Family::Identity => 1.0,
            Family::L2Norm if squares == 0.0 => 0.0,
            Family::L2Norm => 1.0 / (squares + norm.eps).sqrt(),
            Family::LayerNorm | Family::RmsNorm => 1.0 / (squares / count + norm.eps).sqrt(),
        };
        (mean, rstd)
    }

    fn normalised(&self, h: &[f32]) -> Vec<f32> {
        let (mean, rstd) = self.statistic(h);
        h.iter().map(|h| (h - mean) * rstd).collect()
    }

    fn weighted(&self, v: f32, weight: Option<&[f32]>, column: usize) -> f32 {
        let v = if self.norm.weight_rounding == WeightRounding::BeforeWeight { self.narrow(v) } else { v };
        weight.map_or(v, |weight| v * (weight[column] + self.norm.weight_offset))
    }

    fn post_added(&self, add: PostAdd, v: f32, residual: f32) -> f32 {
        match add.rounding {
            PostRounding::Single => (residual + v) * add.scale,
            PostRounding::Each => self.narrow(residual + self.narrow(v)) * add.scale,
        }
    }

    fn rotate(&self, rope: Rope, y: &mut [f32], cos: &[f64], sin: &[f64]) {
        let half = rope.dim / 2;
        for pair in 0..half {
            let (first, second) = match rope.pairs {
                RopePairs::HalfSplit => (pair, pair + half),
                RopePairs::Interleaved => (2 * pair, 2 * pair + 1),
            };
            let (cos, sin) = (cos[pair] as f32, sin[pair] as f32);
            let (a, b) = (self.narrow(y[first]), self.narrow(y[second]));
            let product = |a: f32, b: f32| if rope.rounding == RopeRounding::Each { self.narrow(a * b) } else { a * b };
            y[first] = product(a, cos) - product(b, sin);
            y[second] = product(b, cos) + product(a, sin);
        }
    }
}

fn widen(dtype: DType, bytes: &[u8]) -> Vec<f32> {
    decode(dtype, bytes).into_iter().map(|value| value as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ResidualAdd;
    use crate::parity::{Case, Values};

    #[test]
    fn the_plain_computation_errs_by_its_last_rounding_in_16_bits_and_by_its_sums_in_f32() {
        for norm in [Norm::layer_norm(1e-5), Norm::rms_norm(1e-6).with_residual_add(ResidualAdd::default())] {
            for dtype in DType::ALL {
                let case = Case::new(norm, dtype, 3, 4096, Values::Unit, 5).unwrap().with_weight(dtype);
                let error = plain_error(&case.as_problem()).unwrap();
                // One rounding to p bits is off by at most 2^-p, evenly spread: relative L2 of about
                // 2^-p / √3 over values spread over a binade. 4096 additions in f32 cost a few more.
                let rounding = 0.5f64.powi(dtype.significand_bits()) / 3f64.sqrt();
                let most = if dtype == DType::F32 { 30.0 } else { 1.5 };
                assert!(error > 0.5 * rounding && error < most * rounding, "{norm:?} {dtype}: {error:e}");
            }
        }
    }

    #[test]
    fn twice_the_plain_error_is_allowed_and_no_more() {
        assert!(within_house_tolerance(2e-3, 1e-3));
        assert!(!within_house_tolerance(2.1e-3, 1e-3));
        assert!(within_house_tolerance(5e-8, 0.0));
        assert!(!within_house_tolerance(1e-7, 0.0));
        assert!(!within_house_tolerance(f64::NAN, 1e-3));
    }

    #[test]
    fn a_large_mean_costs_the_plain_computation_four_digits() {
        let norm = Norm::layer_norm(1e-12);
        let case = Case::new(norm, DType::F32, 4, 4096, Values::LargeMean, 1).unwrap();
        let error = plain_error(&case.as_problem()).unwrap();
        assert!(error > 1e-4, "{error:e}");
    }

    #[test]
    fn no_rows_have_no_error() {
        let case = Case::new(Norm::rms_norm(0.0), DType::F16, 0, 8, Values::Unit, 0).unwrap();
        assert_eq!(plain_error(&case.as_problem()).unwrap(), 0.0);
    }
}
