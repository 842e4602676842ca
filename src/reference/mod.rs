//! The CPU reference: what is right, in f64, with the same rounding points as the kernels.
//!
//! For every row, with h and weight + weight_offset in f32 as the op defines them and all else in f64:
//!
//! ```text
//! h = fma(α, r, x) + b                         one f32 rounding for each sum; h = x without a residual
//! gain = weight + weight_offset                one f32 rounding
//! residual = R(h)
//! LayerNorm   mean = Σh / N                    Ba, Kiros and Hinton, Layer Normalization (2016)
//!             rstd = 1/√(Σ(h − mean)² / N + eps)
//!             v    = (h − mean)·rstd
//! RMSNorm     rstd = 1/√(Σh² / N + eps)        Zhang and Sennrich, Root Mean Square Layer
//!             v    = h·rstd                    Normalization (2019)
//! L2 norm     rstd = 1/√(Σh² + eps)            0 where Σh² is 0
//!             v    = h·rstd
//! y = R(v·gain + bias)                         R(v) in place of v with WeightRounding::BeforeWeight
//! y = R((v·gain)·act(z))                       where there is a gate; v is 1 and z is h where z is not given
//! y = R((r + v·gain)·scale)                    where a residual is added after the norm
//! ```
//!
//! The other [inputs](crate::Input), and where f32 and the activation type round them:
//!
//! ```text
//! h = x·act(z)                                 Input::Gated, not rounded
//! h = R((r + norm(x)·inner gain)·scale)        Input::PostNorm
//! h = fma(lr, B − A, A)                        Input::Interpolation: A = R(norm(r)), B = R(norm(x)),
//!                                              lr = |rate·rate_scale|; in f32, a rounding for each operation
//! R(r + R(v·gain)), R(that·scale)              PostRounding::Each: sum and product are f32 operations
//! y' = R(fma(y, cos, ∓partner·sin))            rotary embedding, of R(y) and in f32
//! ```
//!
//! For f32 activations no step but the last is rounded, since the kernels' are not exact there.
//!
//! R rounds to the activation type, to nearest, ties to even. Which of h and R(h) the statistic and v
//! see is [`ResidualRounding`](crate::ResidualRounding).
//!
//! # The range of f32
//! The kernels, like PyTorch, hold statistics and values in f32, and where f32 ends is part of the
//! semantics, although its precision is not:
//! - a sum of squares (LayerNorm: of squared deviations) past the largest f32 is infinite, so rstd is 0
//!   and v is 0 where h is finite; a deviation past the largest f32 is infinite, and its v NaN;
//! - in front of a gate, v·gain past the largest f32 is infinite;
//! - a square below half the smallest f32 is 0 and vanishes beside eps; with eps 0 and nothing but such
//!   squares rstd is infinite, v infinite, and NaN where h (LayerNorm: the deviation) is 0.
//!
//! # NaN and infinities
//! - LayerNorm: a NaN or an infinity anywhere in a row makes mean, rstd and all of y NaN.
//! - RMSNorm: a NaN makes rstd and all of y NaN; an infinity makes rstd 0, v NaN where h is infinite and
//!   0 elsewhere.

mod activation;
pub mod columns;
mod quantise;
mod round;
mod row;
mod sum;

pub use activation::activate;
pub use quantise::{QuantisedRow, dequantise_row, narrow, quantise_row, quantise_wide, widen};
pub(crate) use quantise::{code_under, group_scale, packed};
pub(crate) use round::raw_bits;
pub use round::{decode, encode, from_bits, largest, overflow, round, smallest, smallest_normal, to_bits, ulp};
pub(crate) use row::Rounded;
pub use row::{Row, Value};

use crate::host::{BatchOutput, BatchProblem, Device, Output, Placement, Problem, Vector, filled};
use crate::quantise::{ScaleType, Scaling};
use crate::{CallError, Error, Input, Scope};
use row::{Inputs, Parameters, norm_row};

/// The result of a norm before its last rounding.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// Row after row. An element takes five times the memory of an f64; [`Rows`] goes row by row where
    /// that is too much.
    pub rows: Vec<Row>,
}

/// Computes a problem in f64.
///
/// # Errors
/// [`Error::Host`] where the bytes do not fit the shapes, [`Error::Call`] where no device could be
/// asked for this: the same refusals as [`Call::validate`](crate::Call::validate).
pub fn norm(problem: &Problem<'_>) -> Result<Reference, Error> {
    Ok(Reference { rows: Rows::new(problem)?.iter().collect() })
}

/// The rows of a result, each computed when it is asked for.
pub struct Rows<'a> {
    problem: Problem<'a>,
    parameters: Parameters,
}

impl<'a> Rows<'a> {
    /// Checks the problem and widens its parameters.
    ///
    /// # Errors
    /// As [`norm`].
    pub fn new(problem: &Problem<'a>) -> Result<Self, Error> {
        problem.validate()?;
        let widen = |vector: Vector<'_>| decode(vector.dtype, vector.bytes);
        // Weights are f32 values, so the cast is exact and the sum has one rounding. Without an offset there is no
        // sum, which would make 0 of -0.
        let offset = problem.norm.weight_offset;
        let with_offset = |weight: f64| if offset == 0.0 { weight } else { f64::from(weight as f32 + offset) };
        let gain = |weight| widen(weight).into_iter().map(with_offset).collect();
        let rate_scale = match problem.norm.input {
            Input::Interpolation(interpolation) => interpolation.rate_scale,
            _ => 1.0,
        };
        let rate = |rate| widen(rate).into_iter().map(|rate| f64::from((rate as f32 * rate_scale).abs())).collect();
        Ok(Self {
            problem: *problem,
            parameters: Parameters {
                gain: problem.weight.map(gain),
                bias: problem.bias.map(widen),
                linear_bias: problem.linear_bias.map(widen),
                inner_gain: problem.inner_weight.map(gain),
                rate: problem.rate.map(rate),
            },
        })
    }

    /// The rows in order; heads or groups of rows, each by itself, where the norm is of those.
    pub fn iter(&self) -> impl Iterator<Item = Row> {
        let Problem { norm, dtype, hidden, rows, parts, .. } = self.problem;
        let part_bytes = hidden * dtype.size();
        (0..rows * parts).map(move |at| {
            let values = |bytes: &[u8]| decode(dtype, &bytes[at * part_bytes..][..part_bytes]);
            let residual = self.problem.residual.map(values);
            let gate = self.problem.gate.map(values);
            let (row, part) = (at / parts, at % parts);
            let angles = norm.rope.zip(self.problem.rope).map(|(rope, tables)| tables.angles(rope, row));
            let inputs = Inputs {
                x: &values(self.problem.x),
                residual: residual.as_deref(),
                gate: gate.as_deref(),
                angles: angles.as_ref().map(|(cos, sin)| (&cos[..], &sin[..])),
                first: if norm.scope == Scope::Group { part * hidden } else { 0 },
            };
            norm_row(&norm, dtype, &inputs, &self.parameters)
        })
    }
}

/// Codes and scales as they lie in memory.
pub(crate) struct Quantised {
    pub(crate) codes: Option<Vec<u8>>,
    /// Bytes that no scale is written to are all ones.
    pub(crate) scales: Option<Vec<u8>>,
}

/// Quantises y, given in the activation type, or computed where it is not.
pub(crate) fn quantised(problem: &Problem<'_>, y: Option<&[u8]>) -> Result<Quantised, Error> {
    let Some(quantisation) = problem.norm.quantisation else { return Ok(Quantised { codes: None, scales: None }) };
    if quantisation.scaling == Scaling::PerTensorWide {
        let scale = problem.tensor_scale.unwrap_or(1.0);
        let rows = Rows::new(problem)?;
        let codes = rows.iter().flat_map(|row| quantise_wide(scale, row.y.into_iter().map(|value| value.exact)));
        return Ok(Quantised { codes: Some(codes.collect()), scales: None });
    }
    let computed;
    let y = match y {
        Some(y) => y,
        None => {
            let rows = Rows::new(problem)?;
            let values = rows.iter().flat_map(|row| row.y.into_iter().map(|value| value.exact));
            computed = encode(problem.dtype, values);
            &computed
        }
    };
    let size = quantisation.scaling.scale_type().map(ScaleType::size);
    let count = quantisation.scale_count(problem.rows, problem.hidden).unwrap_or(0);
    let mut codes = Vec::with_capacity(problem.rows * quantisation.row_bytes(problem.hidden));
    let mut scales = filled(0xff, count * size.unwrap_or(0), problem.rows)?;
    for (index, row) in y.chunks(problem.hidden * problem.dtype.size()).enumerate() {
        let values: Vec<f32> = decode(problem.dtype, row).into_iter().map(|value| value as f32).collect();
        let row = quantise_row(&quantisation, problem.tensor_scale.unwrap_or(1.0), &values).map_err(CallError::from)?;
        codes.extend(row.codes);
        for (group, scale) in row.scales.into_iter().enumerate() {
            let size = size.unwrap_or(0);
            let at = quantisation.scale_index(problem.rows, problem.hidden, index, group) * size;
            match &mut scales[at..at + size] {
                // The patterns of scales of one byte are in the lowest.
                [byte] => *byte = scale as u8,
                bytes => bytes.copy_from_slice(&scale.to_ne_bytes()),
            }
        }
    }
    Ok(Quantised { codes: Some(codes), scales: size.map(|_| scales) })
}

/// The reference as a device: host memory in, correctly rounded results out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

impl Device for Cpu {
    fn name(&self) -> String {
        "cpu reference (f64)".to_owned()
    }

    /// Placement makes no difference to the reference.
    fn run(&self, problem: &Problem<'_>, _placement: Placement) -> Result<Output, Error> {
        let mut output = Output {
            y: Vec::with_capacity(problem.x.len()),
            second_y: None,
            codes: None,
            scales: None,
            residual: problem.outputs.residual.then(Vec::new),
            mean: problem.outputs.mean.then(Vec::new),
            rstd: problem.outputs.rstd.then(Vec::new),
        };
        for row in Rows::new(problem)?.iter() {
            output.y.extend(encode(problem.dtype, row.y.iter().map(|value| value.exact)));
            if let Some(residual) = &mut output.residual {
                residual.extend(encode(problem.dtype, row.residual.iter().map(|value| value.exact)));
            }
            if let Some(mean) = &mut output.mean {
                mean.push(row.mean as f32);
            }
            if let Some(rstd) = &mut output.rstd {
                rstd.push(row.rstd as f32);
            }
        }
        if let Some(second) = problem.second_problem() {
            output.second_y = Some(self.run(&second, Placement::default())?.y);
        }
        if problem.norm.quantisation.is_some() {
            let Quantised { codes, scales } = quantised(problem, Some(&output.y))?;
            (output.codes, output.scales) = (codes, scales);
            if !problem.outputs.y {
                output.y = Vec::new();
            }
        }
        Ok(output)
    }

    fn run_batch(&self, problem: &BatchProblem<'_>, _placement: Placement) -> Result<BatchOutput, Error> {
        let columns = columns::of_problem(problem)?;
        let values = |value: fn(&columns::Column) -> f64| columns.iter().map(|column| value(column) as f32).collect();
        Ok(BatchOutput {
            mean: values(|column| column.mean),
            rstd: values(|column| column.rstd),
            scale: values(|column| column.scale),
            shift: values(|column| column.shift),
        })
    }
}
