//! Cases for parity checks: problems that own their tensors, the same for the same seed, on every machine.

use super::Values;
use super::values::{Random, rows_of};
use crate::call::extent;
use crate::host::{Heads, Outputs, Problem, RopeTables, Vector};
use crate::quantise::{Quantisation, Scaling};
use crate::reference::encode;
use crate::{CallError, DType, Family, Input, MAX_HIDDEN, Norm, PositionType, ProgrammaticLaunch, Rope, Scope};

/// A problem that owns its tensors.
///
/// Beside y it asks for everything that the op has: the new residual stream with a residual add, mean
/// with LayerNorm, and rstd.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What is to be computed.
    pub norm: Norm,
    /// The type of x and residual.
    pub dtype: DType,
    /// Number of rows.
    pub rows: usize,
    /// Elements of a row.
    pub hidden: usize,
    /// `rows × hidden` elements.
    pub x: Vec<u8>,
    /// `rows × hidden` elements, where the norm adds a residual.
    pub residual: Option<Vec<u8>>,
    /// The type and the `hidden` elements of the weight.
    pub weight: Option<(DType, Vec<u8>)>,
    /// `rows × hidden` elements of the gate, where the norm has one.
    pub gate: Option<Vec<u8>>,
    /// The type and the `hidden` elements of the bias of the Linear before.
    pub linear_bias: Option<(DType, Vec<u8>)>,
    /// The type and the `hidden` elements of the bias.
    pub bias: Option<(DType, Vec<u8>)>,
    /// The scale that is given for all of a tensor, where the norm takes one.
    pub tensor_scale: Option<f32>,
    /// The type and the `hidden` elements of the weight of a first norm.
    pub inner_weight: Option<(DType, Vec<u8>)>,
    /// The type and the `hidden` elements of the rates, where the input interpolates.
    pub rate: Option<(DType, Vec<u8>)>,
    /// Heads or groups of a row.
    pub parts: usize,
    /// The heads beside those of x.
    pub second: Option<SecondHeads>,
    /// The tables of the rotary embedding, where the norm rotates.
    pub rope: Option<Rotation>,
    /// What is wanted beside y.
    pub outputs: Outputs,
    /// What the values were made from.
    pub seed: u64,
}

/// Heads beside those of x.
#[derive(Clone, Debug, PartialEq)]
pub struct SecondHeads {
    /// `rows × count × hidden` elements.
    pub x: Vec<u8>,
    /// Heads of a row.
    pub count: usize,
    /// The type and the `hidden` elements of their weight.
    pub weight: Option<(DType, Vec<u8>)>,
    /// The type and the `hidden` elements of their bias.
    pub bias: Option<(DType, Vec<u8>)>,
}

/// The tables of a rotary embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    /// The type of the tables.
    pub dtype: DType,
    /// The cosines, `dim / 2` elements for each position.
    pub cos: Vec<u8>,
    /// The sines, likewise.
    pub sin: Vec<u8>,
    /// The position of every row; its number where there are none.
    pub positions: Option<Vec<i64>>,
    /// The type in which the positions go to the device.
    pub position_type: PositionType,
}

impl Rotation {
    /// Tables of so many positions: angles of position · 10000^(−2i / dim), as RoFormer has them.
    pub fn new(rope: Rope, dtype: DType, entries: usize) -> Self {
        let angle = |at: usize| {
            let (position, pair) = (at / (rope.dim / 2), at % (rope.dim / 2));
            position as f64 * libm::pow(10000.0, -2.0 * pair as f64 / rope.dim as f64)
        };
        let angles = 0..entries * (rope.dim / 2);
        Self {
            dtype,
            cos: encode(dtype, angles.clone().map(|at| libm::cos(angle(at)))),
            sin: encode(dtype, angles.map(|at| libm::sin(angle(at)))),
            positions: None,
            position_type: PositionType::I64,
        }
    }
}

impl Case {
    /// x, and residual, gate, rates and rotation where the norm takes them, with no weight and no bias. Rates and
    /// the tables of a rotation are f32, and rows are their own positions.
    ///
    /// # Errors
    /// The hidden size is 0 or larger than [`MAX_HIDDEN`], or the tensors exceed the address space.
    pub fn new(
        norm: Norm,
        dtype: DType,
        rows: usize,
        hidden: usize,
        values: Values,
        seed: u64,
    ) -> Result<Case, CallError> {
        Self::of_parts(norm, dtype, rows, 1, hidden, values, seed)
    }

    /// The same for a norm of heads or groups, of which a row has `parts`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_parts(
        norm: Norm,
        dtype: DType,
        rows: usize,
        parts: usize,
        hidden: usize,
        values: Values,
        seed: u64,
    ) -> Result<Case, CallError> {
        if hidden == 0 || hidden > MAX_HIDDEN {
            return Err(CallError::Hidden { given: hidden });
        }
        // In the f64 that the values are made in.
        let count = rows.checked_mul(parts).ok_or(CallError::TooLarge { rows, stride: hidden })?;
        extent(count, hidden, hidden)
            .and_then(|elements| elements.checked_mul(size_of::<f64>()))
            .filter(|&bytes| isize::try_from(bytes).is_ok())
            .ok_or(CallError::TooLarge { rows, stride: hidden })?;
        let matrix = |stream| {
            let mut random = Random::new(seed, stream as u64);
            rows_of(dtype, count, hidden, values, &mut random)
        };
        let case = Case {
            norm,
            dtype,
            rows,
            hidden,
            x: matrix(Stream::X),
            residual: norm.takes_residual().then(|| matrix(Stream::Residual)),
            weight: None,
            bias: None,
            gate: norm.takes_gate().then(|| matrix(Stream::Gate)),
            linear_bias: None,
            tensor_scale: norm.quantisation.and_then(tensor_scale),
            outputs: Outputs {
                y: true,
                residual: norm.input.stores_residual(),
                mean: norm.family == Family::LayerNorm,
                rstd: norm.family != Family::Identity,
            },
            inner_weight: None,
            rate: None,
            parts,
            second: None,
            rope: norm.rope.map(|rope| Rotation::new(rope, DType::F32, rows)),
            seed,
        };
        Ok(if matches!(norm.input, Input::Interpolation(_)) { case.with_rate(DType::F32) } else { case })
    }

    /// With so many heads beside those of x, whose weight and bias have the types of the first ones'. No mean and
    /// no rstd is asked for any more.
    #[must_use]
    pub fn with_second(mut self, count: usize) -> Case {
        let mut random = Random::new(self.seed, Stream::SecondX as u64);
        let x = rows_of(self.dtype, self.rows * count, self.hidden, Values::Unit, &mut random);
        let vector = |from: &Option<(DType, Vec<u8>)>, stream, centre, spread| {
            let mut random = Random::new(self.seed, stream as u64);
            let values: Vec<f64> = (0..self.hidden).map(|_| centre + spread * random.unit()).collect();
            from.as_ref().map(|(dtype, _)| (*dtype, encode(*dtype, values)))
        };
        let weight = vector(&self.weight, Stream::SecondWeight, 1.0 - f64::from(self.norm.weight_offset), 0.2);
        let bias = vector(&self.bias, Stream::SecondBias, 0.0, 0.1);
        self.second = Some(SecondHeads { x, count, weight, bias });
        (self.outputs.mean, self.outputs.rstd) = (false, false);
        self
    }

    /// With a weight of this type for the first of two norms; weight + offset is between 0.5 and 1.5.
    #[must_use]
    pub fn with_inner_weight(mut self, dtype: DType) -> Case {
        let mut random = Random::new(self.seed, Stream::InnerWeight as u64);
        let centre = 0.5 - f64::from(self.norm.weight_offset);
        self.inner_weight = Some((dtype, encode(dtype, (0..self.hidden).map(|_| centre + random.uniform()))));
        self
    }

    /// With rates of this type: of either sign, up to 0.5.
    #[must_use]
    pub fn with_rate(mut self, dtype: DType) -> Case {
        let mut random = Random::new(self.seed, Stream::Rate as u64);
        self.rate = Some((dtype, encode(dtype, (0..self.hidden).map(|_| random.uniform() - 0.5))));
        self
    }

    /// With a weight of this type; weight + offset is between 0.5 and 1.5.
    #[must_use]
    pub fn with_weight(mut self, dtype: DType) -> Case {
        let mut random = Random::new(self.seed, Stream::Weight as u64);
        let centre = 0.5 - f64::from(self.norm.weight_offset);
        self.weight = Some((dtype, encode(dtype, (0..self.parameters()).map(|_| centre + random.uniform()))));
        self
    }

    /// With a bias of this type: mean 0, deviation 0.1.
    #[must_use]
    pub fn with_bias(mut self, dtype: DType) -> Case {
        let mut random = Random::new(self.seed, Stream::Bias as u64);
        self.bias = Some((dtype, encode(dtype, (0..self.parameters()).map(|_| 0.1 * random.unit()))));
        self
    }

    /// With a bias of the Linear before of this type: mean 0, deviation 0.1.
    #[must_use]
    pub fn with_linear_bias(mut self, dtype: DType) -> Case {
        let mut random = Random::new(self.seed, Stream::LinearBias as u64);
        self.linear_bias = Some((dtype, encode(dtype, (0..self.hidden).map(|_| 0.1 * random.unit()))));
        self
    }

    /// Elements of weight and bias.
    fn parameters(&self) -> usize {
        if self.norm.scope == Scope::Group { self.parts * self.hidden } else { self.hidden }
    }

    /// With other outputs beside y.
    #[must_use]
    pub fn with_outputs(mut self, outputs: Outputs) -> Case {
        self.outputs = outputs;
        self
    }

    /// The problem, on the case's memory.
    pub fn as_problem(&self) -> Problem<'_> {
        fn vector(parameter: &Option<(DType, Vec<u8>)>) -> Option<Vector<'_>> {
            parameter.as_ref().map(|(dtype, bytes)| Vector { dtype: *dtype, bytes })
        }
        Problem {
            norm: self.norm,
            dtype: self.dtype,
            rows: self.rows,
            hidden: self.hidden,
            x: &self.x,
            residual: self.residual.as_deref(),
            weight: vector(&self.weight),
            bias: vector(&self.bias),
            gate: self.gate.as_deref(),
            linear_bias: vector(&self.linear_bias),
            tensor_scale: self.tensor_scale,
            inner_weight: vector(&self.inner_weight),
            rate: vector(&self.rate),
            parts: self.parts,
            second: self.second.as_ref().map(|heads| Heads {
                x: &heads.x,
                count: heads.count,
                weight: vector(&heads.weight),
                bias: vector(&heads.bias),
            }),
            rope: self.rope.as_ref().map(|rotation| RopeTables {
                cos: &rotation.cos,
                sin: &rotation.sin,
                dtype: rotation.dtype,
                positions: rotation.positions.as_deref(),
                position_type: rotation.position_type,
            }),
            outputs: self.outputs,
            programmatic_launch: ProgrammaticLaunch::Off,
        }
    }
}

/// A scale for values about as large as normalised ones are: codes use most of their range, and some saturate.
fn tensor_scale(quantisation: Quantisation) -> Option<f32> {
    match quantisation.scaling {
        Scaling::PerTensor | Scaling::PerTensorWide => Some(3.5 / quantisation.code.largest()),
        Scaling::Nvfp4 { .. } => Some(448.0 * 6.0 / 3.5),
        Scaling::PerToken { .. } | Scaling::PerGroup { .. } | Scaling::Mxfp8 { .. } => None,
    }
}

/// Tensors draw from streams of their own, so that one more tensor changes no other.
#[derive(Clone, Copy)]
enum Stream {
    X,
    Residual,
    Weight,
    Bias,
    LinearBias,
    Gate,
    InnerWeight,
    Rate,
    SecondX,
    SecondWeight,
    SecondBias,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{decode, largest, smallest_normal};

    fn x(dtype: DType, rows: usize, hidden: usize, values: Values) -> Vec<f64> {
        let case = Case::new(Norm::rms_norm(1e-6), dtype, rows, hidden, values, 11).unwrap();
        decode(dtype, &case.x)
    }

    fn moments(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        (mean, variance.sqrt())
    }

    #[test]
    fn the_same_seed_gives_the_same_case_and_another_another() {
        let case = |seed| Case::new(Norm::rms_norm(1e-6), DType::F16, 2, 100, Values::Unit, seed).unwrap();
        assert_eq!(case(3), case(3));
        assert_ne!(case(3).x, case(4).x);
        let with = case(3).with_weight(DType::F32).with_bias(DType::F32);
        assert_eq!(with.x, case(3).x);
        assert_ne!(with.weight, with.bias);
    }

    #[test]
    fn means_and_deviations_are_as_described() {
        for dtype in DType::ALL {
            let (mean, deviation) = moments(&x(dtype, 1, 100_000, Values::Unit));
            assert!(mean.abs() < 0.02 && (deviation - 1.0).abs() < 0.02, "{dtype}: {mean} {deviation}");
        }
        for (dtype, wanted, spread) in [(DType::F32, 1e4, 1e-2), (DType::F16, 1e3, 1.0), (DType::BF16, 64.0, 1.0)] {
            let (mean, deviation) = moments(&x(dtype, 1, 100_000, Values::LargeMean));
            assert!((mean - wanted).abs() < 0.1 * spread, "{dtype}: {mean}");
            // bf16 has a spacing of half a deviation there, which adds a little.
            assert!((deviation / spread - 1.0).abs() < 0.05, "{dtype}: {deviation}");
        }
    }

    #[test]
    fn special_values_are_where_they_are_said_to_be() {
        for dtype in DType::ALL {
            let rows = |values| x(dtype, 3, 64, values).chunks(64).map(<[f64]>::to_vec).collect::<Vec<_>>();
            let count = |row: &[f64], test: fn(f64) -> bool| row.iter().filter(|&&value| test(value)).count();
            let infinities = rows(Values::Infinities);
            assert_eq!([0, 1, 2].map(|row| count(&infinities[row], f64::is_infinite)), [1, 2, 0]);
            let nans = rows(Values::Nans);
            assert_eq!([0, 1, 2].map(|row| count(&nans[row], f64::is_nan)), [1, 1, 0]);
            assert_eq!([0, 1, 2].map(|row| count(&nans[row], f64::is_infinite)), [0, 1, 0]);
            let denormals = rows(Values::Denormals);
            assert!(denormals.iter().flatten().all(|v| v.abs() < smallest_normal(dtype) && *v != 0.0));
            let extremes = rows(Values::Extremes);
            assert!(extremes[0].iter().all(|v| v.abs() == largest(dtype)));
            assert!(extremes[1].iter().all(|v| v.abs() == smallest_normal(dtype)));
            let zeros = rows(Values::Zeros).concat();
            assert!(zeros.iter().all(|v| *v == 0.0));
            assert!(zeros.iter().any(|v| v.is_sign_negative()) && zeros.iter().any(|v| v.is_sign_positive()));
            let outliers = rows(Values::OutlierChannel);
            assert!(outliers.iter().all(|row| count(row, |v| v.abs() > 4.0) <= 1));
            assert!(rows(Values::Constant).iter().all(|row| row.iter().all(|v| v == &row[0])));
        }
    }

    #[test]
    fn weights_are_near_one_after_the_offset() {
        for offset in [0.0, 1.0] {
            let norm = Norm::rms_norm(1e-6).with_weight_offset(offset);
            let case = Case::new(norm, DType::BF16, 1, 1000, Values::Unit, 2).unwrap().with_weight(DType::F32);
            let (dtype, bytes) = case.weight.unwrap();
            let gains = decode(dtype, &bytes).into_iter().map(|weight| weight + f64::from(offset));
            assert!(gains.clone().all(|gain| (0.49..=1.51).contains(&gain)));
            assert!(gains.clone().any(|gain| gain < 0.6) && gains.clone().any(|gain| gain > 1.4));
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let new = |rows, hidden| Case::new(Norm::rms_norm(1e-6), DType::F16, rows, hidden, Values::Unit, 0);
        assert_eq!(new(1, 0), Err(CallError::Hidden { given: 0 }));
        assert_eq!(new(1, MAX_HIDDEN + 1), Err(CallError::Hidden { given: MAX_HIDDEN + 1 }));
        assert!(matches!(new(usize::MAX, 2), Err(CallError::TooLarge { .. })));
        assert!(matches!(new(usize::MAX / 8, 2), Err(CallError::TooLarge { .. })));
    }
}
