//! Random op descriptions: through plan, emulated device and reference, valid or not.

mod call;
mod choices;
mod problem;
mod source;
mod verdict;

use crate::random::Random;
use arbitrary::{Arbitrary, Result, Unstructured};
use choices::{activation, device, hidden, quantisation, real, values};
use warpnorm::host::{Outputs, Problem, Vector};
use warpnorm::parity::{Case, Values};
use warpnorm::{DType, DeviceFacts, Family, Input, Norm, ResidualAdd, ResidualRounding, WeightRounding};

/// Elements of a matrix at most: a run then takes milliseconds.
const MAX_ELEMENTS: usize = 20_480;
/// Rows at most.
const MAX_ROWS: usize = 40;

/// What the elements of a problem are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// Values as in the crate's own checks.
    Kind(Values),
    /// Any bits: every exponent, NaN and infinity is likely.
    Bits,
    /// Any bits of a few exponents, so that sums stay finite.
    Band {
        /// The exponent's field is below this.
        exponent: u32,
    },
}

/// Any op.
#[derive(Debug)]
pub enum Op {
    /// A norm or an activation, with a residual add in front.
    Plain(Box<Description>),
    /// What else there is.
    Source(Box<source::Description>),
}

impl<'a> Arbitrary<'a> for Op {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(if u.ratio(1, 2)? { Op::Source(Box::arbitrary(u)?) } else { Op::Plain(Box::arbitrary(u)?) })
    }
}

impl Op {
    /// Runs the op and checks all that must hold of it.
    pub fn hold(&self) {
        match self {
            Op::Plain(description) => description.hold(),
            Op::Source(description) => description.hold(),
        }
    }
}

/// An op with its tensors, and where it is to run.
#[derive(Debug)]
pub struct Description {
    norm: Norm,
    dtype: DType,
    rows: usize,
    hidden: usize,
    fill: Fill,
    seed: u64,
    has_residual: bool,
    has_gate: bool,
    has_linear_bias: bool,
    weight: Option<DType>,
    bias: Option<DType>,
    tensor_scale: Option<f32>,
    outputs: Outputs,
    device: DeviceFacts,
    road: Road,
}

/// How the op goes to the device.
#[derive(Debug)]
enum Road {
    Problem(problem::Road),
    Call(call::Road),
}

impl<'a> Arbitrary<'a> for Description {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mut norm = Norm::new(*u.choose(&Family::NORMS)?, real(u, &[1e-5, 1e-6, 1e-12, 0.0, 1.0])?);
        norm.weight_rounding = *u.choose(&[WeightRounding::Single, WeightRounding::BeforeWeight])?;
        if u.ratio(1, 2)? {
            let roundings = [ResidualRounding::Stored, ResidualRounding::Wide, ResidualRounding::Split];
            let scale = real(u, &[1.0, 2.632_148, -1.0, 0.0])?;
            norm.input = Input::ResidualAdd(ResidualAdd { scale, rounding: *u.choose(&roundings)? });
        }
        if u.ratio(1, 2)? {
            norm.quantisation = Some(quantisation(u)?);
        }
        let quantised = norm.quantisation.is_some();
        let narrow = quantised && u.ratio(31, 32)?;
        let dtype = if narrow { *u.choose(&[DType::F16, DType::BF16])? } else { *u.choose(&DType::ALL)? };
        let parameter = |u: &mut Unstructured<'a>| -> Result<Option<DType>> {
            let types = [None, Some(dtype), Some(DType::F32), Some(DType::F16), Some(DType::BF16)];
            Ok(types[*u.choose(&[0, 0, 1, 1, 1, 2, 2, 3, 4])?])
        };
        let (weight, bias) = (parameter(u)?, parameter(u)?);
        if u.ratio(1, 3)? {
            norm.weight_offset = real(u, &[1.0, 0.0])?;
        }
        let mut hidden = hidden(u)?;
        let group = norm.quantisation.and_then(|quantisation| quantisation.scaling.group()).unwrap_or(1);
        if group > 0 && hidden <= MAX_ELEMENTS && u.ratio(15, 16)? {
            hidden = hidden / group * group;
            hidden = if hidden == 0 { group } else { hidden };
        }
        let rows = u.int_in_range(0..=MAX_ROWS.min(MAX_ELEMENTS / hidden.clamp(1, MAX_ELEMENTS)).max(1))?;
        // What the op does not have is asked for now and then.
        let unlikely = |u: &mut Unstructured<'a>| u.ratio(1, 32);
        let has_residual = norm.residual_add().is_some() != unlikely(u)?;
        let outputs = Outputs {
            y: !quantised || u.ratio(1, 2)?,
            residual: u.ratio(1, 2)? && (norm.residual_add().is_some() || unlikely(u)?),
            mean: u.ratio(1, 2)? && (norm.family == Family::LayerNorm || unlikely(u)?),
            rstd: u.ratio(1, 2)?,
        };
        let takes = norm.quantisation.is_some_and(|quantisation| quantisation.scaling.takes_tensor_scale());
        let tensor_scale =
            if takes != unlikely(u)? { Some(real(u, &[1.0, 0.007_812_5, 768.0, 0.1, 0.0])?) } else { None };
        let device = device(u)?;
        let road = if u.ratio(1, 2)? {
            Road::Problem(problem::Road::arbitrary(u)?)
        } else {
            Road::Call(call::Road::arbitrary(u)?)
        };
        // What the other road does not lay out.
        let (mut has_gate, mut has_linear_bias, mut bias) = (false, false, bias);
        if matches!(road, Road::Problem(_)) {
            if u.ratio(1, 3)? {
                norm.gate = Some(activation(u)?);
                has_gate = !unlikely(u)?;
                bias = if unlikely(u)? { bias } else { None };
            }
            if u.ratio(1, 6)? {
                norm.family = Family::Identity;
                has_gate = has_gate && u.ratio(2, 3)?;
            }
            has_linear_bias = norm.residual_add().is_some() && u.ratio(1, 4)? || unlikely(u)?;
        }
        let fill = values(u)?;
        let seed = u.arbitrary()?;
        Ok(Description {
            norm,
            dtype,
            rows,
            hidden,
            fill,
            seed,
            has_residual,
            has_gate,
            has_linear_bias,
            weight,
            bias,
            tensor_scale,
            outputs,
            device,
            road,
        })
    }
}

impl Description {
    /// Runs the description and checks all that must hold of it.
    pub fn hold(&self) {
        let tensors = self.tensors();
        let problem = self.problem(&tensors);
        match &self.road {
            Road::Problem(road) => road.hold(self, &problem),
            Road::Call(road) if self.is_small() && self.hidden > 0 => road.hold(self, &problem),
            // Nothing to lay out: the other road asks whether it is refused.
            Road::Call(_) => {}
        }
    }

    /// Whether there can be tensors of the description's size.
    fn is_small(&self) -> bool {
        self.hidden <= MAX_ELEMENTS && self.rows * self.hidden <= MAX_ELEMENTS
    }

    /// The tensors' bytes. Sizes too large to be real ones are left to be refused: no bytes.
    fn tensors(&self) -> Tensors {
        let (rows, hidden) = if self.is_small() { (self.rows, self.hidden) } else { (0, 0) };
        let typical = match self.fill {
            Fill::Kind(values) if hidden > 0 => {
                let mut norm = self.norm;
                norm.input = Input::from(self.has_residual.then(ResidualAdd::default));
                let mut case = Case::new(norm, self.dtype, rows, hidden, values, self.seed).expect("a possible size");
                if let Some(dtype) = self.weight {
                    case = case.with_weight(dtype);
                }
                if let Some(dtype) = self.bias {
                    case = case.with_bias(dtype);
                }
                if self.has_linear_bias {
                    case = case.with_linear_bias(self.dtype);
                }
                return Tensors {
                    x: case.x,
                    residual: case.residual,
                    weight: case.weight.map(|(_, bytes)| bytes),
                    bias: case.bias.map(|(_, bytes)| bytes),
                    gate: case.gate.filter(|_| self.has_gate),
                    linear_bias: case.linear_bias.map(|(_, bytes)| bytes),
                };
            }
            Fill::Kind(_) => Fill::Bits,
            fill => fill,
        };
        let mut random = Random::new(self.seed);
        let mut bytes = |dtype: DType, count: usize| -> Vec<u8> {
            (0..count)
                .flat_map(|_| element(dtype, typical, &mut random).to_le_bytes().into_iter().take(dtype.size()))
                .collect()
        };
        Tensors {
            x: bytes(self.dtype, rows * hidden),
            residual: self.has_residual.then(|| bytes(self.dtype, rows * hidden)),
            weight: self.weight.map(|dtype| bytes(dtype, hidden)),
            bias: self.bias.map(|dtype| bytes(dtype, hidden)),
            gate: self.has_gate.then(|| bytes(self.dtype, rows * hidden)),
            linear_bias: self.has_linear_bias.then(|| bytes(self.dtype, hidden)),
        }
    }

    fn problem<'t>(&self, tensors: &'t Tensors) -> Problem<'t> {
        fn vector(dtype: Option<DType>, bytes: &Option<Vec<u8>>) -> Option<Vector<'_>> {
            Some(Vector { dtype: dtype?, bytes: bytes.as_deref()? })
        }
        Problem {
            residual: tensors.residual.as_deref(),
            weight: vector(self.weight, &tensors.weight),
            bias: vector(self.bias, &tensors.bias),
            gate: tensors.gate.as_deref(),
            linear_bias: vector(Some(self.dtype), &tensors.linear_bias),
            tensor_scale: self.tensor_scale,
            outputs: self.outputs,
            ..Problem::new(self.norm, self.dtype, self.rows, self.hidden, &tensors.x)
        }
    }
}

struct Tensors {
    x: Vec<u8>,
    residual: Option<Vec<u8>>,
    weight: Option<Vec<u8>>,
    bias: Option<Vec<u8>>,
    gate: Option<Vec<u8>>,
    linear_bias: Option<Vec<u8>>,
}

/// An element's bits, in the low bytes.
fn element(dtype: DType, fill: Fill, random: &mut Random) -> u32 {
    let bits = random.bits() as u32;
    let Fill::Band { exponent } = fill else { return bits };
    let (exponent_bits, stored) = match dtype {
        DType::F32 => (8, 23),
        DType::F16 => (5, 10),
        DType::BF16 => (8, 7),
    };
    let least = exponent % ((1 << exponent_bits) - 4);
    let field = least + (bits >> 25) % 4;
    let sign = bits >> 24 & 1;
    sign << (exponent_bits + stored) | field << stored | bits & ((1 << stored) - 1)
}
