//! The kernel's parameter, mirrored field by field from `kernels/row/args.cuh`.

use super::Team;
use crate::Call;

/// Bits of [`RowArgs::flags`].
pub mod flags {
    /// Every row of x starts at a multiple of 16 bytes.
    pub const WIDE_X: u32 = 1 << 0;
    /// The same of the residual.
    pub const WIDE_RESIDUAL: u32 = 1 << 1;
    /// The weight starts at a multiple of 16 bytes.
    pub const WIDE_WEIGHT: u32 = 1 << 2;
    /// The same of the bias.
    pub const WIDE_BIAS: u32 = 1 << 3;
    /// Every row of y starts at a multiple of 16 bytes.
    pub const WIDE_Y: u32 = 1 << 4;
    /// The same of the residual that goes out.
    pub const WIDE_RESIDUAL_OUT: u32 = 1 << 5;
    /// Weight and bias are f32 whatever the activations are.
    pub const PARAMETERS_F32: u32 = 1 << 6;
    /// The normalised value is rounded before the weight.
    pub const ROUND_BEFORE_WEIGHT: u32 = 1 << 7;
    /// The statistic sees R(h).
    pub const ROUND_STATISTIC: u32 = 1 << 8;
    /// The output is computed from R(h).
    pub const ROUND_OUTPUT: u32 = 1 << 9;
    /// The row waits in shared memory between the passes.
    pub const STAGED: u32 = 1 << 10;
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
    pub hidden_float: f32,
    pub hidden_reciprocal: f32,
    /// The power of two by which sums of values are scaled: at most 1 / 2·hidden and 1 / 256.
    pub count_scale: f32,
    pub scaled_hidden: f32,
    pub scaled_hidden_reciprocal: f32,
    /// Teams side by side in a CTA.
    pub rows_per_cta: u32,
}

impl RowArgs {
    pub(super) fn new(call: &Call, hidden: u32, team: Team, rows_per_cta: u32, flags: u32) -> Self {
        let address = |rows: Option<crate::RawRows>| rows.map_or(0, |rows| rows.address);
        let stride = |rows: Option<crate::RawRows>| rows.map_or(0, |rows| rows.stride as u64);
        let count_scale = 0.5 / u64::from(hidden).next_power_of_two().max(128) as f32;
        let scaled_hidden = hidden as f32 * count_scale;
        Self {
            x: call.x.address,
            residual: address(call.residual),
            weight: call.weight.map_or(0, |vector| vector.address),
            bias: call.bias.map_or(0, |vector| vector.address),
            y: call.y.address,
            residual_out: address(call.residual_out),
            mean: call.mean.unwrap_or(0),
            rstd: call.rstd.unwrap_or(0),
            x_stride: call.x.stride as u64,
            residual_stride: stride(call.residual),
            y_stride: call.y.stride as u64,
            residual_out_stride: stride(call.residual_out),
            rows: call.rows as u64,
            hidden,
            team_threads: team.threads,
            flags,
            eps: call.norm.eps,
            weight_offset: call.norm.weight_offset,
            residual_scale: call.norm.residual.map_or(1.0, |add| add.scale),
            hidden_float: hidden as f32,
            hidden_reciprocal: 1.0 / hidden as f32,
            count_scale,
            scaled_hidden,
            scaled_hidden_reciprocal: 1.0 / scaled_hidden,
            rows_per_cta,
        }
    }
}

const _: () = assert!(size_of::<RowArgs>() == 152, "kernels/row/args.cuh has the same size");
