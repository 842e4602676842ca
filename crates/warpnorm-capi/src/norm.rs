//! The op description of the header, to and from the library's.

use crate::enums::{self, ActivationKind, InputKind, ScaleLayout, ScalingKind, decode, encode};
use crate::error::Failure;
use crate::structs::Sized32;
use warpnorm::quantise::{self, Scaling};
use warpnorm::{Interpolation, Norm, ResidualAdd};

/// An activation, with the number that it takes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Activation {
    /// A warpnorm_activation_kind.
    pub kind: u32,
    /// The slope of leaky ReLU, β of Swish; of all others it is not looked at.
    pub parameter: f32,
}

/// What the values of a row are made of. What its kind does not name is not looked at.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Input {
    /// A warpnorm_input_kind.
    pub kind: u32,
    /// Of WARPNORM_INPUT_KIND_RESIDUAL_ADD, what the residual is multiplied by; of _POST_NORM, the sum; of
    /// _INTERPOLATION, the rates.
    pub scale: f32,
    /// Of _RESIDUAL_ADD, a warpnorm_residual_rounding; of _POST_NORM, a warpnorm_post_rounding.
    pub rounding: u32,
    /// Of _GATED: that of the gate.
    pub activation: Activation,
}

/// The residual add after a norm: y = R((residual + v·w)·scale).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PostAdd {
    /// 1 if there is one, 0 if there is none. The rest is then not looked at.
    pub present: u32,
    /// What the sum is multiplied by.
    pub scale: f32,
    /// A warpnorm_post_rounding.
    pub rounding: u32,
}

/// The rotation of heads by their positions.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Rope {
    /// The first elements of a head that are rotated, an even number; 0 for none. The rest is then not looked at.
    pub dim: usize,
    /// A warpnorm_rope_pairs.
    pub pairs: u32,
    /// A warpnorm_rope_rounding.
    pub rounding: u32,
}

/// What y is quantised to. What its scaling does not name is not looked at.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Quantisation {
    /// A warpnorm_scaling_kind.
    pub scaling: u32,
    /// A warpnorm_code_type.
    pub code: u32,
    /// Of _PER_TOKEN and fp8 codes: the largest magnitude of a row counts as no more; 0 for no bound.
    pub upper_bound: f32,
    /// Of _PER_GROUP: the largest magnitude of a group counts as no less. warpnorm_norm_init has 1e-10.
    pub floor: f32,
    /// Of _PER_GROUP: elements that share a scale, 64 or 128.
    pub group_size: usize,
    /// Of _COLUMN_MAJOR: see there. 1, or 4 for DeepGEMM.
    pub layout_alignment: usize,
    /// Of _PER_GROUP, _MXFP8 and _NVFP4: a warpnorm_scale_layout.
    pub layout: u32,
    /// Of _PER_GROUP: 1 if scales are rounded up to powers of two, else 0.
    pub power_of_two: u32,
    /// Of _MXFP8: a warpnorm_block_rounding.
    pub block_rounding: u32,
}

/// A normalisation over the last dimension, with all that surrounds it in the same pass:
///
///     h = x                                    or what `input` says
///     v = (h - mean)·rstd                      by the statistic of `family`
///     y = R(v·(weight + weight_offset) + bias) R rounds to the activation type, to nearest even
///     y = R(v·(weight + weight_offset)·act(z)) where there is a gate
///     y = R((residual + v·(weight + weight_offset))·scale) where there is a post_add
///     y = rotated(y)                           where there is a rope
///     codes, scales = quantise(y)              where there is a quantisation
///
/// Fill it by warpnorm_norm_init or warpnorm_norm_preset, then change what is to be other. What does not go together
/// is refused when it is run.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Description {
    /// sizeof(warpnorm_norm).
    pub size: u32,
    /// A warpnorm_family.
    pub family: u32,
    /// Added to the variance or the mean square, inside the root. At least 0.
    pub eps: f32,
    /// Added to every weight, in f32; 1 for Gemma.
    pub weight_offset: f32,
    /// A warpnorm_weight_rounding.
    pub weight_rounding: u32,
    /// A warpnorm_scope.
    pub scope: u32,
    /// What h is made of.
    pub input: Input,
    /// The activation of the gate after the norm; of WARPNORM_FAMILY_IDENTITY without a gate, that of x.
    pub gate: Activation,
    /// The residual add after the norm.
    pub post_add: PostAdd,
    /// The rotation of heads.
    pub rope: Rope,
    /// Codes of y.
    pub quantisation: Quantisation,
}

// SAFETY: `repr(C)`, starts with `size`, and holds numbers alone.
unsafe impl Sized32 for Description {
    const NAME: &'static str = "warpnorm_norm";
    const INITIALISER: &'static str = "warpnorm_norm_init";
}

impl Description {
    /// The library's norm. Whether its values make sense is for the library to say.
    pub(crate) fn decode(&self) -> Result<Norm, Failure> {
        Ok(Norm {
            family: decode("family", self.family, enums::FAMILIES)?,
            eps: self.eps,
            weight_offset: self.weight_offset,
            weight_rounding: decode("weight_rounding", self.weight_rounding, enums::WEIGHT_ROUNDINGS)?,
            input: self.input.decode()?,
            gate: self.gate.decode("gate.kind")?,
            post_add: self.post_add.decode()?,
            scope: decode("scope", self.scope, enums::SCOPES)?,
            rope: self.rope.decode()?,
            quantisation: self.quantisation.decode()?,
        })
    }

    pub(crate) fn encode(norm: &Norm) -> Self {
        let none = Activation { kind: ActivationKind::None as u32, parameter: 0.0 };
        Self {
            size: size_of::<Self>() as u32,
            family: encode(norm.family, enums::FAMILIES),
            eps: norm.eps,
            weight_offset: norm.weight_offset,
            weight_rounding: encode(norm.weight_rounding, enums::WEIGHT_ROUNDINGS),
            scope: encode(norm.scope, enums::SCOPES),
            input: Input::encode(norm.input),
            gate: norm.gate.map_or(none, Activation::encode),
            post_add: PostAdd::encode(norm.post_add),
            rope: Rope::encode(norm.rope),
            quantisation: Quantisation::encode(norm.quantisation),
        }
    }
}

const KINDS: enums::Table<InputKind> = &[
    (InputKind::Plain as u32, InputKind::Plain),
    (InputKind::ResidualAdd as u32, InputKind::ResidualAdd),
    (InputKind::Gated as u32, InputKind::Gated),
    (InputKind::PostNorm as u32, InputKind::PostNorm),
    (InputKind::Interpolation as u32, InputKind::Interpolation),
];

impl Input {
    fn decode(self) -> Result<warpnorm::Input, Failure> {
        let (scale, rounding) = (self.scale, self.rounding);
        Ok(match decode("input.kind", self.kind, KINDS)? {
            InputKind::Plain => warpnorm::Input::Plain,
            InputKind::ResidualAdd => {
                let rounding = decode("input.rounding", rounding, enums::RESIDUAL_ROUNDINGS)?;
                warpnorm::Input::ResidualAdd(ResidualAdd { scale, rounding })
            }
            InputKind::Gated => {
                let activation = self.activation.decode("input.activation.kind")?;
                warpnorm::Input::Gated(activation.ok_or(Failure::NoActivation)?)
            }
            InputKind::PostNorm => {
                let rounding = decode("input.rounding", rounding, enums::POST_ROUNDINGS)?;
                warpnorm::Input::PostNorm(warpnorm::PostAdd { scale, rounding })
            }
            InputKind::Interpolation => warpnorm::Input::Interpolation(Interpolation { rate_scale: scale }),
        })
    }

    fn encode(input: warpnorm::Input) -> Self {
        let none = Activation { kind: ActivationKind::None as u32, parameter: 0.0 };
        let of = |kind: InputKind, scale, rounding| Self { kind: kind as u32, scale, rounding, activation: none };
        match input {
            warpnorm::Input::Plain => of(InputKind::Plain, 1.0, 0),
            warpnorm::Input::ResidualAdd(add) => {
                of(InputKind::ResidualAdd, add.scale, encode(add.rounding, enums::RESIDUAL_ROUNDINGS))
            }
            warpnorm::Input::Gated(activation) => {
                Self { activation: Activation::encode(activation), ..of(InputKind::Gated, 1.0, 0) }
            }
            warpnorm::Input::PostNorm(add) => {
                of(InputKind::PostNorm, add.scale, encode(add.rounding, enums::POST_ROUNDINGS))
            }
            warpnorm::Input::Interpolation(step) => of(InputKind::Interpolation, step.rate_scale, 0),
        }
    }
}

impl Activation {
    fn decode(self, field: &'static str) -> Result<Option<warpnorm::Activation>, Failure> {
        use ActivationKind as Kind;
        use warpnorm::Activation as To;
        let parameter = self.parameter;
        let table = [
            (Kind::None as u32, None),
            (Kind::Identity as u32, Some(To::Identity)),
            (Kind::Relu as u32, Some(To::Relu)),
            (Kind::LeakyRelu as u32, Some(To::LeakyRelu { slope: parameter })),
            (Kind::Sigmoid as u32, Some(To::Sigmoid)),
            (Kind::Swish as u32, Some(To::Swish { beta: parameter })),
            (Kind::GeluTanh as u32, Some(To::GeluTanh)),
            (Kind::Gelu as u32, Some(To::GeluExact)),
            (Kind::Silu as u32, Some(To::SILU)),
        ];
        let found = table.iter().find(|(kind, _)| *kind == self.kind).map(|(_, activation)| *activation);
        found.ok_or(Failure::Enumeration { field, given: self.kind, largest: Kind::Silu as u32 })
    }

    fn encode(activation: warpnorm::Activation) -> Self {
        use warpnorm::Activation as From;
        let kind = match activation {
            From::Identity => ActivationKind::Identity,
            From::Relu => ActivationKind::Relu,
            From::LeakyRelu { .. } => ActivationKind::LeakyRelu,
            From::Sigmoid => ActivationKind::Sigmoid,
            From::Swish { .. } => ActivationKind::Swish,
            From::GeluTanh => ActivationKind::GeluTanh,
            From::GeluExact => ActivationKind::Gelu,
        };
        Self { kind: kind as u32, parameter: activation.parameter() }
    }
}

impl PostAdd {
    fn decode(self) -> Result<Option<warpnorm::PostAdd>, Failure> {
        if !truth("post_add.present", self.present)? {
            return Ok(None);
        }
        let rounding = decode("post_add.rounding", self.rounding, enums::POST_ROUNDINGS)?;
        Ok(Some(warpnorm::PostAdd { scale: self.scale, rounding }))
    }

    fn encode(add: Option<warpnorm::PostAdd>) -> Self {
        let warpnorm::PostAdd { scale, rounding } = add.unwrap_or_default();
        Self { present: add.is_some().into(), scale, rounding: encode(rounding, enums::POST_ROUNDINGS) }
    }
}

impl Rope {
    fn decode(self) -> Result<Option<warpnorm::Rope>, Failure> {
        if self.dim == 0 {
            return Ok(None);
        }
        let pairs = decode("rope.pairs", self.pairs, enums::ROPE_PAIRS)?;
        let rounding = decode("rope.rounding", self.rounding, enums::ROPE_ROUNDINGS)?;
        Ok(Some(warpnorm::Rope { dim: self.dim, pairs, rounding }))
    }

    fn encode(rope: Option<warpnorm::Rope>) -> Self {
        let warpnorm::Rope { dim, pairs, rounding } = rope.unwrap_or(warpnorm::Rope::half_split(0));
        Self { dim, pairs: encode(pairs, enums::ROPE_PAIRS), rounding: encode(rounding, enums::ROPE_ROUNDINGS) }
    }
}

/// What is not looked at, as it is initialised.
const NOT_QUANTISED: Quantisation = Quantisation {
    scaling: ScalingKind::None as u32,
    code: 0,
    upper_bound: 0.0,
    floor: 1e-10,
    group_size: 128,
    layout_alignment: 1,
    layout: 0,
    power_of_two: 0,
    block_rounding: 0,
};

impl Quantisation {
    fn decode(self) -> Result<Option<quantise::Quantisation>, Failure> {
        use ScalingKind as Kind;
        let table: enums::Table<fn(Self) -> Result<Scaling, Failure>> = &[
            (Kind::PerTensor as u32, |_| Ok(Scaling::PerTensor)),
            (Kind::PerTensorWide as u32, |_| Ok(Scaling::PerTensorWide)),
            (Kind::PerToken as u32, |given| {
                Ok(Scaling::PerToken { upper_bound: (given.upper_bound != 0.0).then_some(given.upper_bound) })
            }),
            (Kind::PerGroup as u32, |given| {
                Ok(Scaling::PerGroup {
                    size: given.group_size,
                    layout: given.decode_layout()?,
                    power_of_two: truth("quantisation.power_of_two", given.power_of_two)?,
                    floor: given.floor,
                })
            }),
            (Kind::Mxfp8 as u32, |given| {
                let field = "quantisation.block_rounding";
                let rounding = decode(field, given.block_rounding, enums::BLOCK_ROUNDINGS)?;
                Ok(Scaling::Mxfp8 { rounding, layout: given.decode_layout()? })
            }),
            (Kind::Nvfp4 as u32, |given| Ok(Scaling::Nvfp4 { layout: given.decode_layout()? })),
        ];
        if self.scaling == Kind::None as u32 {
            return Ok(None);
        }
        let scaling = decode("quantisation.scaling", self.scaling, table)?(self)?;
        let code = decode("quantisation.code", self.code, enums::CODE_TYPES)?;
        Ok(Some(quantise::Quantisation { code, scaling }))
    }

    fn decode_layout(self) -> Result<quantise::ScaleLayout, Failure> {
        let table = [
            (ScaleLayout::RowMajor as u32, quantise::ScaleLayout::RowMajor),
            (ScaleLayout::ColumnMajor as u32, quantise::ScaleLayout::ColumnMajor { alignment: self.layout_alignment }),
            (ScaleLayout::Tiled as u32, quantise::ScaleLayout::Tiled),
        ];
        let found = table.iter().find(|(layout, _)| *layout == self.layout).map(|(_, layout)| *layout);
        let (field, largest) = ("quantisation.layout", ScaleLayout::Tiled as u32);
        found.ok_or(Failure::Enumeration { field, given: self.layout, largest })
    }

    fn encode(quantisation: Option<quantise::Quantisation>) -> Self {
        let Some(quantise::Quantisation { code, scaling }) = quantisation else { return NOT_QUANTISED };
        let (layout, layout_alignment) = match scaling.layout() {
            quantise::ScaleLayout::RowMajor => (ScaleLayout::RowMajor, 1),
            quantise::ScaleLayout::ColumnMajor { alignment } => (ScaleLayout::ColumnMajor, alignment),
            quantise::ScaleLayout::Tiled => (ScaleLayout::Tiled, 1),
        };
        let of = |kind: ScalingKind| Self {
            scaling: kind as u32,
            code: encode(code, enums::CODE_TYPES),
            layout: layout as u32,
            layout_alignment,
            ..NOT_QUANTISED
        };
        match scaling {
            Scaling::PerTensor => of(ScalingKind::PerTensor),
            Scaling::PerTensorWide => of(ScalingKind::PerTensorWide),
            Scaling::PerToken { upper_bound } => {
                Self { upper_bound: upper_bound.unwrap_or(0.0), ..of(ScalingKind::PerToken) }
            }
            Scaling::PerGroup { size, power_of_two, floor, .. } => {
                Self { group_size: size, power_of_two: power_of_two.into(), floor, ..of(ScalingKind::PerGroup) }
            }
            Scaling::Mxfp8 { rounding, .. } => {
                Self { block_rounding: encode(rounding, enums::BLOCK_ROUNDINGS), ..of(ScalingKind::Mxfp8) }
            }
            Scaling::Nvfp4 { .. } => of(ScalingKind::Nvfp4),
        }
    }
}

fn truth(field: &'static str, given: u32) -> Result<bool, Failure> {
    match given {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Failure::Truth { field, given }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warpnorm::quantise::{BlockRounding, CodeType};
    use warpnorm::{PostRounding, ResidualRounding, Scope, WeightRounding, presets};

    /// There and back again, for a value other than the default in every field.
    #[test]
    fn every_norm_has_a_description_and_is_what_it_describes() {
        let column_major = quantise::ScaleLayout::ColumnMajor { alignment: 4 };
        let post = warpnorm::PostAdd { scale: 0.5, rounding: PostRounding::Each };
        let scalings = [
            (CodeType::E4m3, Scaling::PerTensor),
            (CodeType::E4m3, Scaling::PerTensorWide),
            (CodeType::Int8, Scaling::PerToken { upper_bound: None }),
            (CodeType::E5m2, Scaling::PerToken { upper_bound: Some(3.0) }),
            (CodeType::E4m3, Scaling::PerGroup { size: 64, layout: column_major, power_of_two: true, floor: 0.5 }),
            (CodeType::E5m2, Scaling::Mxfp8 { rounding: BlockRounding::Floor, layout: quantise::ScaleLayout::Tiled }),
            (CodeType::E2m1, Scaling::Nvfp4 { layout: quantise::ScaleLayout::Tiled }),
        ];
        let quantised = scalings
            .map(|(code, scaling)| Norm::rms_norm(1e-5).with_quantisation(quantise::Quantisation { code, scaling }));
        let activations = [
            warpnorm::Activation::Identity,
            warpnorm::Activation::Relu,
            warpnorm::Activation::LeakyRelu { slope: 0.25 },
            warpnorm::Activation::Sigmoid,
            warpnorm::Activation::Swish { beta: 1.5 },
            warpnorm::Activation::GeluTanh,
            warpnorm::Activation::GeluExact,
        ];
        let gated = activations.iter().flat_map(|&activation| {
            [Norm::activation(activation), Norm::rms_norm(1e-6).with_input(warpnorm::Input::Gated(activation))]
        });
        let residuals = [ResidualRounding::Stored, ResidualRounding::Wide, ResidualRounding::Split]
            .map(|rounding| Norm::layer_norm(1e-5).with_residual_add(ResidualAdd { scale: 3.0, rounding }));
        let others = [
            presets::qwen3_heads(64),
            Norm::l2_norm().with_rope(warpnorm::Rope::interleaved(32)),
            presets::n_gpt_step(0.5),
            Norm::rms_norm(1e-6).with_post_add(post).with_weight_offset(1.0),
            Norm::rms_norm(1e-6).with_input(warpnorm::Input::PostNorm(post)),
            Norm::affine().with_scope(Scope::Group).with_weight_rounding(WeightRounding::BeforeWeight),
        ];
        for norm in quantised.into_iter().chain(gated).chain(residuals).chain(others) {
            assert_eq!(Description::encode(&norm).decode().expect("a description of a norm"), norm);
        }
    }
}
