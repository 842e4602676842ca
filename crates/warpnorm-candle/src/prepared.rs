//! A norm whose tensors were checked against one another.

use crate::call::{NormCall, SecondHeads};
use crate::checks::{Checks, element};
use crate::error::{TensorError, of_library};
use crate::layout::{Form, Rows, rows};
use crate::run::Wanted;
use candle_core::{Result, Tensor};
use warpnorm::quantise::ScaleType;
use warpnorm::{
    Call, CallError, DType, Input, Norm, Parts, PositionType, ProgrammaticLaunch, RawCodes, RawHeads, RawPositions,
    RawRope, RawRows, RawVector, Role, Scope,
};

/// A matrix and how its rows lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    pub(crate) tensor: &'a Tensor,
    pub(crate) rows: Rows,
}

/// A vector, and where it starts in its storage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vector<'a> {
    pub(crate) tensor: &'a Tensor,
    pub(crate) dtype: DType,
    pub(crate) offset: usize,
    pub(crate) length: usize,
}

/// Heads beside those of x.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Second<'a> {
    pub(crate) x: Matrix<'a>,
    pub(crate) weight: Option<Vector<'a>>,
    pub(crate) bias: Option<Vector<'a>>,
}

/// The tables of the rotary embedding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rope<'a> {
    pub(crate) cos: Matrix<'a>,
    pub(crate) sin: Matrix<'a>,
    pub(crate) dtype: DType,
    /// The tensor, and where it starts in its storage.
    pub(crate) positions: Option<(&'a Tensor, usize, PositionType)>,
}

/// What a result is a buffer of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Buffer {
    /// Elements of the type of x.
    Activations,
    /// Bytes.
    Bytes,
    /// f32.
    F32,
}

/// A norm whose tensors are of one device, fit one another, and can be walked.
#[derive(Clone, Debug)]
pub(crate) struct Prepared<'a> {
    /// As it was asked for, but of heads where x is rows of parts.
    pub(crate) norm: Norm,
    pub(crate) dtype: DType,
    pub(crate) x: Matrix<'a>,
    pub(crate) residual: Option<Matrix<'a>>,
    pub(crate) gate: Option<Matrix<'a>>,
    pub(crate) weight: Option<Vector<'a>>,
    pub(crate) bias: Option<Vector<'a>>,
    pub(crate) linear_bias: Option<Vector<'a>>,
    pub(crate) inner_weight: Option<Vector<'a>>,
    pub(crate) rate: Option<Vector<'a>>,
    pub(crate) second: Option<Second<'a>>,
    pub(crate) rope: Option<Rope<'a>>,
    pub(crate) tensor_scale: Option<Vector<'a>>,
    pub(crate) wanted: Wanted,
    pub(crate) programmatic_launch: ProgrammaticLaunch,
}

impl<'a> Prepared<'a> {
    pub(crate) fn new(call: &NormCall<'a>, x: &'a Tensor, wanted: Wanted) -> Result<Self> {
        let mut norm = call.norm;
        norm.validate().map_err(|error| of_library(CallError::from(error).into()))?;
        let checks = Checks { x, dtype: element(Role::X, x)? };

        let form = match (norm.scope, call.groups) {
            (Scope::Group, Some(groups)) => Form::Groups(groups),
            (Scope::Group, None) => Form::Groups(1),
            (Scope::Head, _) => Form::Heads,
            // Where a row is all there is to it, parts of rows are rows, too.
            (Scope::Row, _) if alone(call) => Form::RowsOrParts,
            (Scope::Row, _) => Form::Rows,
        };
        if call.groups.is_some() && norm.scope != Scope::Group {
            let (asked, wanted) = ("groups are given", "a norm of groups");
            return Err(TensorError::Results { asked, wanted }.into());
        }
        let x = Matrix { tensor: x, rows: rows(Role::X, x.layout(), form)? };
        if x.rows.parts > 1 && norm.scope == Scope::Row {
            norm.scope = Scope::Head;
        }
        let hidden = x.rows.hidden;
        if hidden == 0 {
            return Err(of_library(CallError::Hidden { given: 0 }.into()));
        }
        let parameters = if norm.scope == Scope::Group { x.rows.parts * hidden } else { hidden };
        let vector = |role, tensor: Option<&'a Tensor>, length| checks.vector(role, tensor, length);
        let second = match call.second {
            Some(SecondHeads { x: heads, weight }) => Some(Second {
                x: checks.heads(heads, &x)?,
                weight: vector(Role::SecondWeight, weight, hidden)?,
                bias: vector(Role::SecondBias, call.second_bias, hidden)?,
            }),
            None if call.second_bias.is_some() => {
                let (asked, wanted) = ("a bias of second heads is given", "heads beside those of x, given by second()");
                return Err(TensorError::Results { asked, wanted }.into());
            }
            None => None,
        };
        if wanted.residual && !norm.input.stores_residual() {
            return Err(of_library(CallError::ResidualOut.into()));
        }
        Ok(Self {
            norm,
            dtype: checks.dtype,
            residual: call.residual.map(|residual| checks.matrix(Role::Residual, residual, Form::Rows)).transpose()?,
            gate: call.gate.map(|gate| checks.matrix(Role::Gate, gate, form)).transpose()?,
            weight: vector(Role::Weight, call.weight, parameters)?,
            bias: vector(Role::Bias, call.bias, parameters)?,
            linear_bias: vector(Role::LinearBias, call.linear_bias, hidden)?,
            inner_weight: vector(Role::InnerWeight, call.inner_weight, hidden)?,
            rate: vector(Role::Rate, call.rate, hidden)?,
            rope: call.rope.map(|tables| checks.rope(tables, &norm, x.rows.count)).transpose()?,
            tensor_scale: checks.tensor_scale(call.tensor_scale)?,
            second,
            x,
            wanted,
            programmatic_launch: call.programmatic_launch,
        })
    }

    /// Every tensor that is read, by role.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = (Role, &'a Tensor, usize)> {
        let matrix = |role, matrix: Option<Matrix<'a>>| matrix.map(|one| (role, one.tensor, one.rows.offset));
        let vector = |role, vector: Option<Vector<'a>>| vector.map(|one| (role, one.tensor, one.offset));
        let (second, rope) = (self.second, self.rope);
        [
            matrix(Role::X, Some(self.x)),
            matrix(Role::Residual, self.residual),
            matrix(Role::Gate, self.gate),
            vector(Role::Weight, self.weight),
            vector(Role::Bias, self.bias),
            vector(Role::LinearBias, self.linear_bias),
            vector(Role::InnerWeight, self.inner_weight),
            vector(Role::Rate, self.rate),
            matrix(Role::SecondX, second.map(|second| second.x)),
            vector(Role::SecondWeight, second.and_then(|second| second.weight)),
            vector(Role::SecondBias, second.and_then(|second| second.bias)),
            matrix(Role::Cos, rope.map(|rope| rope.cos)),
            matrix(Role::Sin, rope.map(|rope| rope.sin)),
            rope.and_then(|rope| rope.positions).map(|(tensor, offset, _)| (Role::Positions, tensor, offset)),
            vector(Role::TensorScale, self.tensor_scale),
        ]
        .into_iter()
        .flatten()
    }

    /// Scales that the norm makes, those between and after the rows' own included.
    pub(crate) fn scale_count(&self) -> usize {
        let scales = self.norm.quantisation.filter(|quantisation| quantisation.scaling.scale_type().is_some());
        // None where there are more than can be counted, and so no memory for them.
        scales.and_then(|one| one.scale_count(self.x.rows.count, self.x.rows.hidden)).unwrap_or(0)
    }

    /// The results: what each is a buffer of, and of how many elements. A launch writes all of them, but for scales of
    /// no row.
    #[cfg_attr(not(any(feature = "cuda", test)), allow(dead_code, reason = "the CPU path's are the library's"))]
    pub(crate) fn results(&self) -> impl Iterator<Item = (Role, Buffer, usize)> {
        let Rows { count, parts, hidden, .. } = self.x.rows;
        let quantisation = self.norm.quantisation;
        let matrix = |role, parts: usize| (role, Buffer::Activations, count * parts * hidden);
        let scales = quantisation.and_then(|quantisation| match quantisation.scaling.scale_type()? {
            ScaleType::F32 => Some(Buffer::F32),
            ScaleType::Ue8m0 | ScaleType::E4m3 => Some(Buffer::Bytes),
        });
        [
            quantisation.is_none().then(|| matrix(Role::Y, parts)),
            quantisation.map(|one| (Role::Codes, Buffer::Bytes, count * one.row_bytes(hidden))),
            scales.map(|buffer| (Role::Scales, buffer, self.scale_count())),
            self.wanted.residual.then(|| matrix(Role::ResidualOut, 1)),
            self.second.map(|second| matrix(Role::SecondY, second.x.rows.parts)),
        ]
        .into_iter()
        .flatten()
    }

    /// The call, for tensors at these addresses: of inputs the first element that is read, of results, which are
    /// packed, the first that is written.
    pub(crate) fn call(&self, address: impl Fn(Role) -> u64) -> Call {
        let Rows { count, parts, hidden, .. } = self.x.rows;
        let input = |role, matrix: Matrix<'_>| RawRows { address: address(role), stride: matrix.rows.row_stride };
        let packed = |role, parts: usize| RawRows { address: address(role), stride: parts * hidden };
        let vector = |role, vector: Option<Vector<'_>>| {
            vector.map(|vector| RawVector { address: address(role), dtype: vector.dtype })
        };
        let x = input(Role::X, self.x);
        let mut call = Call::new(self.norm, self.dtype, count, hidden, x, x);
        call.y = self.norm.quantisation.is_none().then(|| packed(Role::Y, parts));
        call.parts = Parts {
            count: parts,
            x_stride: self.x.rows.part_stride,
            gate_stride: self.gate.map_or(hidden, |gate| gate.rows.part_stride),
            y_stride: hidden,
        };
        call.residual = self.residual.map(|residual| input(Role::Residual, residual));
        call.gate = self.gate.map(|gate| input(Role::Gate, gate));
        call.weight = vector(Role::Weight, self.weight);
        call.bias = vector(Role::Bias, self.bias);
        call.linear_bias = vector(Role::LinearBias, self.linear_bias);
        call.inner_weight = vector(Role::InnerWeight, self.inner_weight);
        call.rate = vector(Role::Rate, self.rate);
        call.residual_out = self.wanted.residual.then(|| packed(Role::ResidualOut, 1));
        call.tensor_scale = self.tensor_scale.map(|_| address(Role::TensorScale));
        if let Some(quantisation) = self.norm.quantisation {
            call.codes = Some(RawCodes { address: address(Role::Codes), stride: quantisation.row_bytes(hidden) });
            call.scales = quantisation.scaling.scale_type().map(|_| address(Role::Scales));
        }
        call.second = self.second.map(|Second { x, weight, bias }| RawHeads {
            x: input(Role::SecondX, x),
            y: packed(Role::SecondY, x.rows.parts),
            count: x.rows.parts,
            x_stride: x.rows.part_stride,
            y_stride: hidden,
            weight: vector(Role::SecondWeight, weight),
            bias: vector(Role::SecondBias, bias),
        });
        call.programmatic_launch = self.programmatic_launch;
        call.rope = self.rope.map(|rope| RawRope {
            cos: input(Role::Cos, rope.cos),
            sin: input(Role::Sin, rope.sin),
            dtype: rope.dtype,
            entries: rope.cos.rows.count,
            positions: rope.positions.map(|(_, _, kind)| RawPositions { address: address(Role::Positions), kind }),
        });
        call
    }
}

/// Whether x is the only matrix of the norm, and y the only result: heads of rows are the same to it as rows.
fn alone(call: &NormCall<'_>) -> bool {
    let norm = &call.norm;
    norm.input == Input::Plain
        && !norm.takes_gate()
        && norm.post_add.is_none()
        && norm.quantisation.is_none()
        && warpnorm::Family::NORMS.contains(&norm.family)
}
