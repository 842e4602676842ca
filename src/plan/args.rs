//! The kernel's parameter, mirrored field by field from `kernels/row/args.cuh`.

use super::{Spread, Team};
use crate::quantise::{CodeType, Quantisation, Scaling};
use crate::{Activation, Call, Family, Input, Parts, RawRows, RawVector, Scope};

/// Bits of [`RowArgs::flags`].
pub mod flags {
    /// A thread may read elements of its neighbours in a row with its own: no output lies over an input that is
    /// still being read when the first are written.
    pub const APART: u32 = 1 << 0;
    /// Weight and bias are f32 whatever the activations are, those of other heads and of an inner norm included.
    pub const PARAMETERS_F32: u32 = 1 << 1;
    /// The normalised value is rounded before the weight.
    pub const ROUND_BEFORE_WEIGHT: u32 = 1 << 2;
    /// The statistic sees R(h).
    pub const ROUND_STATISTIC: u32 = 1 << 3;
    /// The output is computed from R(h).
    pub const ROUND_OUTPUT: u32 = 1 << 4;
    /// The row waits in shared memory between the passes.
    pub const STAGED: u32 = 1 << 5;
    /// The codes of every chunk start at a multiple of their size in bytes.
    pub const WIDE_CODES: u32 = 1 << 6;
    /// What is rounded to codes are quotients by a scale.
    pub const QUOTIENTS: u32 = 1 << 7;
    /// f32 scales are rounded up to powers of two.
    pub const POWER_OF_TWO_SCALES: u32 = 1 << 8;
    /// The exponents of UE8M0 scales are rounded down rather than up.
    pub const FLOOR_OF_BLOCK_SCALES: u32 = 1 << 9;
    /// Scales lie in tiles of 128 rows × 4 groups.
    pub const TILED_SCALES: u32 = 1 << 10;
    /// A row whose sum of squares is 0 has an rstd of 0.
    pub const ZERO_STAYS_ZERO: u32 = 1 << 11;
    /// Of the residual add after the norm, norm, sum and product are each rounded to the activation type.
    pub const ROUND_EACH: u32 = 1 << 12;
    /// The rates are f32 whatever the activations are.
    pub const RATE_F32: u32 = 1 << 13;
    /// cos and sin are f32 whatever the activations are.
    pub const TABLES_F32: u32 = 1 << 14;
    /// Neighbours are rotated together rather than elements of the two halves.
    pub const INTERLEAVED: u32 = 1 << 15;
    /// Every operation of a rotation is rounded to the activation type.
    pub const ROUND_ROTATION: u32 = 1 << 16;
    /// Positions are of 64 bits.
    pub const POSITIONS_64: u32 = 1 << 17;
    /// Weights may be read before the launches in front of this one have completed.
    pub const PARAMETERS_FIRST: u32 = 1 << 18;
    /// v is not rounded before it is multiplied by the weights, and nothing is added to them.
    pub const BARE_WEIGHTS: u32 = 1 << 19;
}

/// The heads or groups of a row, and the heads beside them. Strides are in elements.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
#[allow(missing_docs, reason = "the fields carry the names of the tensors and options they stand for")]
pub struct PartArgs {
    pub count: u32,
    pub second: u32,
    /// With the shift, of both together: what an index of 31 bits is divided by, as a factor.
    pub reciprocal: u32,
    pub reciprocal_shift: u32,
    pub x_stride: u64,
    pub gate_stride: u64,
    pub y_stride: u64,
    /// 0: all share weight and bias.
    pub parameter_stride: u64,
    pub second_x: u64,
    pub second_y: u64,
    pub second_weight: u64,
    pub second_bias: u64,
    pub second_x_row_stride: u64,
    pub second_y_row_stride: u64,
    pub second_x_stride: u64,
    pub second_y_stride: u64,
}

/// The rotation of heads. Strides are in elements.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
#[allow(missing_docs, reason = "the fields carry the names of the tensors and options they stand for")]
pub struct RopeArgs {
    pub cos: u64,
    pub sin: u64,
    pub positions: u64,
    pub cos_stride: u64,
    pub sin_stride: u64,
    pub entries: u64,
    /// Elements that are rotated with another half; 0: none.
    pub half: u32,
    pub padding: u32,
}

/// How largest magnitudes become f32 scales: as quotients by the codes' largest magnitude, held to what is given.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
#[allow(missing_docs, reason = "the first comment names them")]
pub struct DynamicScale {
    pub largest: f32,
    /// 1 / largest.
    pub reciprocal: f32,
    pub floor: f32,
    pub upper: f32,
}

/// What a launch passes to the row kernel. Addresses are device addresses, 0 for an absent tensor;
/// strides are in elements.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
#[allow(missing_docs, reason = "the fields carry the names of the tensors and options they stand for")]
pub struct RowArgs {
    pub x: u64,
    pub residual: u64,
    pub weight: u64,
    pub bias: u64,
    pub y: u64,
    pub residual_out: u64,
    pub mean: u64,
    pub rstd: u64,
    pub x_stride: u64,
    pub residual_stride: u64,
    pub y_stride: u64,
    pub residual_out_stride: u64,
    pub rows: u64,
    pub hidden: u32,
    pub team_threads: u32,
    pub flags: u32,
    pub eps: f32,
    pub weight_offset: f32,
    pub residual_scale: f32,
    /// What a sum of squares is divided by: hidden, or 1 for the L2 norm.
    pub square_divisor: f32,
    pub square_divisor_reciprocal: f32,
    /// The power of two by which sums of values are scaled: at most 1 / 2·hidden and 1 / 256.
    pub count_scale: f32,
    pub scaled_hidden: f32,
    pub scaled_hidden_reciprocal: f32,
    /// Teams side by side in a CTA.
    pub rows_per_cta: u32,
    pub codes: u64,
    pub scales: u64,
    pub tensor_scale: u64,
    /// In bytes.
    pub codes_stride: u64,
    /// In scales; where they are tiled, the number of tiles side by side.
    pub scale_row_stride: u64,
    /// In scales.
    pub scale_group_stride: u64,
    pub code: u32,
    pub scaling: u32,
    /// Elements that share a scale; 0: all of a row, or of the tensor.
    pub scale_group: u32,
    /// log2 of them.
    pub scale_group_shift: u32,
    pub dynamic: DynamicScale,
    pub gate: u64,
    pub gate_stride: u64,
    pub activation: u32,
    pub activation_parameter: f32,
    pub linear_bias: u64,
    pub post_scale: f32,
    pub rate_scale: f32,
    pub inner_weight: u64,
    pub rate: u64,
    pub parts: PartArgs,
    pub rope: RopeArgs,
    pub cluster: u32,
    pub slabs: u32,
    pub cta_slabs: u32,
    pub stretch_shift: u32,
}

impl RowArgs {
    pub(super) fn new(
        call: &Call,
        (rows, hidden): (u64, u32),
        (team, rows_per_cta, spread): (Team, u32, Spread),
        flags: u32,
    ) -> Self {
        let address = |rows: Option<RawRows>| rows.map_or(0, |rows| rows.address);
        let vector = |vector: Option<RawVector>| vector.map_or(0, |vector| vector.address);
        let stride = |rows: Option<RawRows>| rows.map_or(0, |rows| rows.stride as u64);
        let count_scale = 0.5 / u64::from(hidden).next_power_of_two().max(128) as f32;
        let square_divisor = if call.norm.family == Family::L2Norm { 1.0 } else { hidden as f32 };
        let scaled_hidden = hidden as f32 * count_scale;
        let activation = match call.norm.input {
            Input::Gated(activation) => Some(activation),
            _ => call.norm.gate,
        };
        Self {
            x: call.x.address,
            residual: address(call.residual),
            weight: vector(call.weight),
            bias: vector(call.bias),
            y: address(call.y),
            residual_out: address(call.residual_out),
            mean: call.mean.unwrap_or(0),
            rstd: call.rstd.unwrap_or(0),
            x_stride: call.x.stride as u64,
            residual_stride: stride(call.residual),
            y_stride: stride(call.y),
            residual_out_stride: stride(call.residual_out),
            rows,
            hidden,
            team_threads: team.threads,
            flags,
            eps: call.norm.eps,
            weight_offset: call.norm.weight_offset,
            residual_scale: call.norm.residual_add().map_or(1.0, |add| add.scale),
            square_divisor,
            square_divisor_reciprocal: 1.0 / square_divisor,
            count_scale,
            scaled_hidden,
            scaled_hidden_reciprocal: 1.0 / scaled_hidden,
            rows_per_cta,
            gate: address(call.gate),
            gate_stride: stride(call.gate),
            activation: activation.map_or(0, Activation::code),
            activation_parameter: activation.map_or(0.0, Activation::parameter),
            linear_bias: vector(call.linear_bias),
            post_scale: match (call.norm.post_add, call.norm.input) {
                (Some(add), _) | (None, Input::PostNorm(add)) => add.scale,
                _ => 1.0,
            },
            rate_scale: match call.norm.input {
                Input::Interpolation(interpolation) => interpolation.rate_scale,
                _ => 1.0,
            },
            inner_weight: vector(call.inner_weight),
            rate: vector(call.rate),
            parts: parts(call),
            rope: rope(call),
            cluster: spread.cluster,
            slabs: spread.slabs,
            cta_slabs: spread.cta_slabs,
            stretch_shift: spread.stretch_shift,
            codes: call.codes.map_or(0, |codes| codes.address),
            scales: call.scales.unwrap_or(0),
            tensor_scale: call.tensor_scale.unwrap_or(0),
            codes_stride: call.codes.map_or(0, |codes| codes.stride as u64),
            ..quantisation(call)
        }
    }
}

/// How the parts of a row lie; one that is the whole row, where the norm is of rows.
fn parts(call: &Call) -> PartArgs {
    let Parts { count, x_stride, gate_stride, y_stride } = call.parts;
    let vector = |vector: Option<RawVector>| vector.map_or(0, |vector| vector.address);
    let second = call.second;
    let rows = second.map_or([(0, 0); 2], |heads| [heads.x, heads.y].map(|rows| (rows.address, rows.stride as u64)));
    let second_count = second.map_or(0, |heads| heads.count);
    let (reciprocal, reciprocal_shift) = reciprocal((count as u32).saturating_add(second_count as u32));
    PartArgs {
        count: count as u32,
        second: second_count as u32,
        reciprocal,
        reciprocal_shift,
        x_stride: x_stride as u64,
        gate_stride: gate_stride as u64,
        y_stride: y_stride as u64,
        parameter_stride: if call.norm.scope == Scope::Group { call.hidden as u64 } else { 0 },
        second_x: rows[0].0,
        second_y: rows[1].0,
        second_weight: vector(second.and_then(|heads| heads.weight)),
        second_bias: vector(second.and_then(|heads| heads.bias)),
        second_x_row_stride: rows[0].1,
        second_y_row_stride: rows[1].1,
        second_x_stride: second.map_or(0, |heads| heads.x_stride as u64),
        second_y_stride: second.map_or(0, |heads| heads.y_stride as u64),
    }
}

/// m and s such that n / divisor is the high word of 2·n·m, shifted down by s, for every n of 31 bits.
///
/// Granlund and Montgomery, *Division by invariant integers using multiplication*, 1994: m is 2^(31+s) / divisor rounded
/// up, where 2^s is at least the divisor. Times n it is too large by less than 2^(31+s) / divisor, which is too little to
/// reach the next quotient.
///
/// Of divisors that no index of 31 bits reaches, any will do.
fn reciprocal(divisor: u32) -> (u32, u32) {
    let divisor = divisor.clamp(1, 1 << 31);
    let shift = divisor.next_power_of_two().trailing_zeros();
    ((1u64 << (31 + shift)).div_ceil(divisor.into()) as u32, shift)
}

/// The rotation; all 0 where there is none.
fn rope(call: &Call) -> RopeArgs {
    let (Some(rope), Some(tables)) = (call.norm.rope, call.rope) else { return bytemuck::Zeroable::zeroed() };
    RopeArgs {
        cos: tables.cos.address,
        sin: tables.sin.address,
        positions: tables.positions.map_or(0, |positions| positions.address),
        cos_stride: tables.cos.stride as u64,
        sin_stride: tables.sin.stride as u64,
        entries: tables.entries as u64,
        half: (rope.dim / 2) as u32,
        padding: 0,
    }
}

/// The fields that say how y is quantised; the others are 0.
fn quantisation(call: &Call) -> RowArgs {
    let zeroed = bytemuck::Zeroable::zeroed();
    let Some(quantisation) = call.norm.quantisation else { return zeroed };
    let Quantisation { code, scaling } = quantisation;
    let (amax_floor, amax_upper) = quantisation.amax_bounds().unwrap_or((0.0, f32::INFINITY));
    let largest = code.largest();
    let (scale_row_stride, scale_group_stride) = quantisation.scale_strides(call.rows, call.hidden);
    RowArgs {
        scale_row_stride,
        scale_group_stride,
        code: match code {
            CodeType::E4m3 => 0,
            CodeType::E5m2 => 1,
            CodeType::Int8 => 2,
            CodeType::E2m1 => 3,
        },
        scaling: match scaling {
            Scaling::PerTensor | Scaling::PerTensorWide => 0,
            Scaling::PerToken { .. } => 1,
            Scaling::PerGroup { .. } => 2,
            Scaling::Mxfp8 { .. } => 3,
            Scaling::Nvfp4 { .. } => 4,
        },
        scale_group: scaling.group().unwrap_or(0) as u32,
        scale_group_shift: scaling.group().map_or(0, usize::trailing_zeros),
        // Dividing keeps the order, so that quotients may be held to quotients.
        dynamic: DynamicScale {
            largest,
            reciprocal: 1.0 / largest,
            floor: amax_floor / largest,
            upper: amax_upper / largest,
        },
        ..zeroed
    }
}

const _: () = assert!(size_of::<RowArgs>() == 472, "kernels/row/args.cuh has the same size");

#[cfg(test)]
mod tests {
    use super::reciprocal;

    #[test]
    fn an_index_is_divided_by_a_factor() {
        let largest = i32::MAX as u32;
        let divisors = (1..300).chain([511, 512, 513, 65_535, 65_537, 1 << 30, (1 << 30) + 1, largest, u32::MAX]);
        for divisor in divisors {
            let (factor, shift) = reciprocal(divisor);
            let times = [1, 2, 3, largest / divisor / 2, largest / divisor];
            let around = times.into_iter().flat_map(|times| {
                let multiple = divisor.saturating_mul(times);
                [multiple.saturating_sub(1), multiple, multiple.saturating_add(1)]
            });
            for index in around.chain([0, largest - 1, largest]).filter(|&index| index <= largest) {
                let quotient = (((2 * u64::from(index)) * u64::from(factor)) >> 32) as u32 >> shift;
                assert_eq!(quotient, index / divisor, "{index} / {divisor}");
            }
        }
    }
}
