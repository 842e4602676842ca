//! Ops beyond the norm and its residual add in front: random descriptions that are valid but for a few, through the
//! emulated device and the reference.

use super::choices::{activation, device, quantisation, real};
use super::verdict::kept_but_for_extremes;
use super::{MAX_ELEMENTS, MAX_ROWS};
use arbitrary::{Arbitrary, Result, Unstructured};
use warpnorm::emulated::Emulated;
use warpnorm::host::{Device, Heads, Placement, Problem, RopeTables};
use warpnorm::parity::{Case, Rotation, Values};
use warpnorm::plan::Module;
use warpnorm::{
    DType, DeviceFacts, Error, Family, Input, Interpolation, Norm, PositionType, PostAdd, PostRounding, Rope,
    RopePairs, RopeRounding, Scope, WeightRounding,
};

/// An op with its tensors, and where it is to run.
#[derive(Debug)]
pub struct Description {
    norm: Norm,
    dtype: DType,
    rows: usize,
    parts: usize,
    hidden: usize,
    second: Option<usize>,
    values: Values,
    seed: u64,
    weight: Option<DType>,
    bias: Option<DType>,
    rate: DType,
    tables: DType,
    positions: Option<(i64, PositionType)>,
    placement: Placement,
    device: DeviceFacts,
}

impl<'a> Arbitrary<'a> for Description {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mut norm = Norm::new(*u.choose(&Family::ALL)?, *u.choose(&[1e-5, 1e-6, 1e-12, 1.0])?);
        norm.weight_rounding = *u.choose(&[WeightRounding::Single, WeightRounding::BeforeWeight])?;
        norm.weight_offset = *u.choose(&[0.0, 0.0, 1.0])?;
        let add = PostAdd {
            scale: real(u, &[1.0, 0.7, 2.632_148])?,
            rounding: *u.choose(&[PostRounding::Single, PostRounding::Each])?,
        };
        norm.input = match u.int_in_range(0..=4)? {
            0 => Input::Gated(activation(u)?),
            1 => Input::PostNorm(add),
            2 => Input::Interpolation(Interpolation { rate_scale: real(u, &[1.0, -0.3, 1.6])? }),
            _ => Input::Plain,
        };
        match u.int_in_range(0..=5)? {
            0 | 1 => norm.post_add = Some(add),
            2 => norm.scope = Scope::Head,
            3 => norm.scope = Scope::Group,
            4 if u.ratio(1, 4)? => norm.gate = Some(activation(u)?),
            _ => {}
        }
        if u.ratio(1, 8)? {
            norm.quantisation = Some(quantisation(u)?);
        }
        let mut hidden = u.choose(&[16, 32, 64, 96, 128, 256, 512, 1024, 4096, 8192])? + u.int_in_range(0..=6)? - 3;
        if u.ratio(1, 2)? {
            hidden = (hidden / 16 * 16).max(16);
        }
        let mut parts = 1;
        if norm.scope != Scope::Row {
            parts = u.int_in_range(1..=5)?;
            if norm.scope == Scope::Head && u.ratio(1, 2)? {
                hidden = hidden.min(512);
                norm.rope = Some(Rope {
                    dim: (2 * u.int_in_range(1..=256)?).min(hidden / 2 * 2),
                    pairs: *u.choose(&[RopePairs::HalfSplit, RopePairs::Interleaved])?,
                    rounding: *u.choose(&[RopeRounding::Single, RopeRounding::Each])?,
                });
            }
        }
        let rows = u.int_in_range(0..=MAX_ROWS.min(MAX_ELEMENTS / (hidden * parts)).max(1))?;
        let dtype = *u.choose(&DType::ALL)?;
        let parameter = |u: &mut Unstructured<'a>| -> Result<DType> { Ok(*u.choose(&[dtype, DType::F32])?) };
        let weight = if norm.weight_offset != 0.0 || u.ratio(2, 3)? { Some(parameter(u)?) } else { None };
        let bias = if norm.post_add.is_none() && u.ratio(1, 4)? { weight.or(Some(parameter(u)?)) } else { None };
        Ok(Description {
            norm,
            dtype,
            rows,
            parts,
            hidden,
            second: if norm.scope == Scope::Head && u.ratio(1, 2)? { Some(u.int_in_range(1..=4)?) } else { None },
            values: *u.choose(&Values::ALL)?,
            seed: u.arbitrary()?,
            weight,
            bias,
            rate: parameter(u)?,
            tables: parameter(u)?,
            positions: if u.ratio(1, 2)? {
                Some((u.int_in_range(-3..=60)?, *u.choose(&[PositionType::I32, PositionType::I64])?))
            } else {
                None
            },
            placement: Placement {
                padding: *u.choose(&[0, 0, 0, 1, 3, 4, 8, 16])?,
                offset: *u.choose(&[0, 0, 0, 1, 3, 4, 8])?,
                stagger: *u.choose(&[0, 0, 0, 1, 3, 8])?,
                in_place: u.arbitrary()?,
            },
            device: device(u)?,
        })
    }
}

impl Description {
    fn case(&self) -> Case {
        let Description { norm, dtype, rows, parts, hidden, .. } = *self;
        let mut case = Case::of_parts(norm, dtype, rows, parts, hidden, self.values, self.seed).expect("a shape");
        if let Some(dtype) = self.weight {
            case = case.with_weight(dtype);
            if matches!(norm.input, Input::PostNorm(_)) {
                case = case.with_inner_weight(dtype);
            }
        }
        if let Some(dtype) = self.bias {
            case = case.with_bias(dtype);
        }
        if matches!(norm.input, Input::Interpolation(_)) {
            case = case.with_rate(self.rate);
        }
        if let Some(count) = self.second {
            case = case.with_second(count);
        }
        if let Some(rope) = norm.rope {
            let mut rotation = Rotation::new(rope, self.tables, rows.max(50));
            if let Some((first, kind)) = self.positions {
                rotation.positions = Some((0..rows as i64).map(|row| first + 2 * row).collect());
                rotation.position_type = kind;
            }
            case.rope = Some(rotation);
        }
        case
    }

    /// Runs the description and checks all that must hold of it.
    pub fn hold(&self) {
        let case = self.case();
        let problem = case.as_problem();
        let device = Emulated::new(self.device.clone());
        let ran = device.run_counted(&problem, self.placement);
        if let Err(refusal) = problem.validate() {
            let error = ran.expect_err("an invalid problem");
            assert_eq!(format!("{error:?}"), format!("{refusal:?}"));
            return;
        }
        let there = Module::all().any(|module| module == Module::of(&self.norm, self.dtype));
        match ran {
            // A device that has no room for it, or a module that this build does not have.
            Err(Error::Plan(_)) => {}
            Err(error) => panic!("{error}\n{error:?}"),
            Ok((output, _)) => {
                assert!(there || self.rows == 0, "a module that is not there ran");
                kept_but_for_extremes(&problem, &output, self.values);
                self.alone(&problem, &output.y);
            }
        }
    }

    /// The last row alone, aligned and on another device, has the same bits.
    fn alone(&self, problem: &Problem<'_>, y: &[u8]) {
        let Some(last) = self.rows.checked_sub(1) else { return };
        let part = |matrix: &'_ [u8]| -> std::ops::Range<usize> {
            let bytes = matrix.len() / problem.rows;
            last * bytes..(last + 1) * bytes
        };
        let row = [last as i64];
        let single = Problem {
            rows: 1,
            x: &problem.x[part(problem.x)],
            residual: problem.residual.map(|matrix| &matrix[part(matrix)]),
            gate: problem.gate.map(|matrix| &matrix[part(matrix)]),
            second: problem.second.map(|heads| Heads { x: &heads.x[part(heads.x)], ..heads }),
            rope: problem.rope.map(|tables| RopeTables {
                positions: Some(tables.positions.map_or(&row[..], |positions| &positions[last..])),
                ..tables
            }),
            ..*problem
        };
        let alone = Emulated::new(DeviceFacts::h200()).run(&single, Placement::default());
        let alone = alone.expect("what runs in a batch runs alone");
        let values = |bytes: &[u8]| -> Vec<u64> {
            let canonical = |value: f64| if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
            warpnorm::reference::decode(self.dtype, bytes).into_iter().map(canonical).collect()
        };
        if !y.is_empty() {
            assert_eq!(values(&alone.y), values(&y[part(y)]));
        }
    }
}
