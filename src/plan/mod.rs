//! Plans: how a call runs on a device. Pure, total, and free of allocations on success.
//!
//! A row is reduced by a [`Team`]. The team follows from the hidden size, the activation type and the
//! source alone, never from the number of rows, alignment, strides or the device; so do the bits of the
//! result. The device decides where the team lives and what is kept between the passes over a row.
//!
//! [`plan_columns`] is the same for the statistics of columns, which have no team: a thread block takes some columns
//! through all rows.

mod args;
mod columns;
pub mod constants;
mod floor;
mod form;
mod module;
mod occupancy;
mod spread;
mod team;

pub use args::{DynamicScale, PartArgs, RopeArgs, RowArgs, flags};
pub use columns::{ColumnArgs, ColumnPlan, column_byte_floor, column_flags, plan_columns};
pub use constants::{CHUNK_BYTES, COLUMN_THREADS, EXCHANGE_BYTES, GROUP_ELEMENTS, MAX_STRETCHES};
pub use floor::{ByteFloor, byte_floor};
pub use form::{Form, Path, Threads};
pub(crate) use module::Instance;
pub use module::{Kernel, Module, Sink, Source};
pub use occupancy::{Limit, Occupancy, Resources, occupancy};
pub use spread::Spread;
pub use team::{Place, Team};

use constants::{FEWEST_ODD_WARPS, SHARED_CTA_THREADS, SINGLE_THREADS};
use team::WARP;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use crate::quantise::{BlockRounding, ScaleLayout, Scaling};
use crate::{
    Call, CallError, DType, DeviceFacts, Error, Family, Input, PlanError, PositionType, PostRounding,
    ProgrammaticLaunch, RawRows, RawVector, ResidualRounding, RopePairs, RopeRounding, WeightRounding,
};

/// The first target, compute capability × 10, whose code knows of clusters of thread blocks and of programmatic
/// launches.
pub(crate) const FIRST_WITH_CLUSTERS: u32 = 90;

/// Where a row stays between its statistic and its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Regime {
    /// In the team's registers: the row is read once.
    Registers,
    /// In shared memory: the row is read once.
    Staged,
    /// Nowhere: the row is read a second time.
    Reread,
    /// Nowhere, and the row is read once: it has no statistic.
    Streamed,
}

impl Regime {
    /// The name that messages use.
    pub const fn name(self) -> &'static str {
        match self {
            Regime::Registers => "registers",
            Regime::Staged => "staged",
            Regime::Reread => "reread",
            Regime::Streamed => "streamed",
        }
    }
}

/// A launch, ready for the driver or the executor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// The kernel; it says which module it is in.
    pub kernel: Kernel,
    /// Where rows stay between statistic and output.
    pub regime: Regime,
    /// The threads that share a row.
    pub team: Team,
    /// Thread blocks.
    pub grid: u32,
    /// Threads in a thread block: those of a team, and teams.
    pub block: [u32; 2],
    /// Thread blocks of a cluster that share a row.
    pub cluster: u32,
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
    /// Whether the launch [may begin](ProgrammaticLaunch) before those in front of it have completed.
    pub programmatic: bool,
    /// The kernel's one parameter.
    pub args: RowArgs,
}

impl Plan {
    /// Threads of a thread block.
    pub const fn block_threads(&self) -> u32 {
        self.block[0] * self.block[1]
    }
}

/// Plans a call for a device. `None` where there are no rows and so nothing to launch.
///
/// # Errors
/// [`Error::Call`] where the call is invalid on any device, [`Error::Plan`] where this device cannot
/// run it or this build has no kernel for it.
pub fn plan(call: &Call, device: &DeviceFacts) -> Result<Option<Plan>, Error> {
    plan_among(call, device, |_| true)
}

/// The same with the best of the kernels that may be used, where there is one of them: of those that a call can run on,
/// all give the same bits.
pub(crate) fn plan_among(
    call: &Call,
    device: &DeviceFacts,
    may_be_used: impl Fn(Kernel) -> bool,
) -> Result<Option<Plan>, Error> {
    call.validate()?;
    if call.rows == 0 {
        return Ok(None);
    }
    let hidden = u32::try_from(call.hidden).map_err(|_| CallError::Hidden { given: call.hidden })?;
    let module = Module::of(&call.norm, call.dtype);
    let team = Team::of_row(module.source, call.dtype, call.hidden);
    // Teams reduce rows, or heads or groups of rows, which are rows of their own to them.
    let rows = call.teams().ok_or(CallError::TooLarge { rows: call.rows, stride: call.x.stride })?;
    let whole_warps = device.max_threads_per_block / WARP * WARP;
    let (regime, spread) = regime_and_spread(call, device, module, team, rows);
    let kernel = kernel_for(call, device, module, (regime, team, rows), may_be_used)?;
    let groups = kernel.form().threads.groups();
    let rows_per_cta = team.per_cta(SHARED_CTA_THREADS.min(whole_warps) * groups, rows, kernel.shares_blocks());
    // Whole warps: shuffles name all lanes of a warp.
    let block = team.block(groups, rows_per_cta);
    let threads = block[0] * block[1];
    if threads > device.max_threads_per_block {
        return Err(
            PlanError::Threads { threads, limit: device.max_threads_per_block, device: device.name.clone() }.into()
        );
    }
    let columns = spread.columns(team, call.hidden);
    let shared_bytes =
        if regime == Regime::Staged { stage_bytes(call.dtype, module.source, columns as u32) as u32 } else { 0 };
    let ctas = rows.div_ceil(u64::from(rows_per_cta)) * u64::from(spread.cluster);
    let grid = u32::try_from(ctas).ok().filter(|&ctas| ctas <= device.max_grid_x).ok_or_else(|| PlanError::Grid {
        rows,
        ctas,
        limit: device.max_grid_x,
        device: device.name.clone(),
    })?;

    Ok(Some(Plan {
        kernel,
        regime,
        team,
        grid,
        block,
        cluster: spread.cluster,
        shared_bytes,
        programmatic: call.programmatic_launch.begins_early() && runs_hopper_code(device),
        args: RowArgs::new(call, (rows, hidden), (team, rows_per_cta, spread), launch_flags(call, module, regime)),
    }))
}

/// Where a row is kept between its statistic and its output, and over which CTAs its team is spread.
///
/// Over as few as hold the row in their shared memory: a row that is read once is read at half the cost. Over more, as
/// long as there is a multiprocessor for each: what moves a row is then their bandwidth, not that of one.
fn regime_and_spread(call: &Call, device: &DeviceFacts, module: Module, team: Team, rows: u64) -> (Regime, Spread) {
    let slabs = team.slabs(call.hidden) as u32;
    let whole = Spread::whole(slabs);
    if slabs == 1 {
        return (Regime::Registers, whole);
    }
    let regime = |spread: &Spread| {
        if module.statistic == Family::Identity {
            // Nothing is to be known of a row before it is put out, unless it is the scale of its codes.
            let scaling = call.norm.quantisation.map(|quantisation| quantisation.scaling);
            return if matches!(scaling, Some(Scaling::PerToken { .. })) { Regime::Reread } else { Regime::Streamed };
        }
        let columns = spread.columns(team, call.hidden) as u32;
        let bytes = stage_bytes(call.dtype, module.source, columns) + u64::from(EXCHANGE_BYTES);
        if bytes <= u64::from(device.max_shared_bytes_per_block) { Regime::Staged } else { Regime::Reread }
    };
    let spreads = || Spread::over_clusters(slabs).take(if runs_hopper_code(device) { usize::MAX } else { 1 });
    let fewest = spreads().find(|spread| regime(spread) == Regime::Staged).unwrap_or(whole);
    let fits = |spread: &Spread| rows * u64::from(spread.cluster) <= u64::from(device.multiprocessors);
    let spread = spreads().filter(|spread| spread.cluster > fewest.cluster && fits(spread)).last().unwrap_or(fewest);
    (regime(&spread), spread)
}

/// Whether the code that the device runs knows of clusters and of programmatic launches. Every module has the same
/// targets.
fn runs_hopper_code(device: &DeviceFacts) -> bool {
    static TARGETS: LazyLock<BTreeSet<u32>> =
        LazyLock::new(|| crate::ptx::modules().iter().map(|module| module.target).collect());
    let (major, minor) = device.compute_capability;
    let latest = TARGETS.range(..=major * 10 + minor).next_back();
    device.has_clusters() && latest.is_some_and(|&target| target >= FIRST_WITH_CLUSTERS)
}

/// Shared memory that a staged row takes: the row as it is, that and the residual, or what they make in f32.
fn stage_bytes(dtype: DType, source: Source, hidden: u32) -> u64 {
    let elements = (CHUNK_BYTES / dtype.size()) as u64;
    let chunk_bytes = match source {
        Source::Plain | Source::PostAdd | Source::PostNorm | Source::Parts | Source::Columns => CHUNK_BYTES as u64,
        Source::Interpolation => 2 * CHUNK_BYTES as u64,
        Source::ResidualAdd | Source::Gated => 4 * elements,
    };
    u64::from(hidden).div_ceil(elements) * chunk_bytes
}

/// Whether no thread reads what others may be writing, where it reads its neighbours' elements with its own. Outputs
/// that lie over an input do so exactly, and a thread writes its own elements after it has read them; its
/// neighbours' it has read in time only where the team has met in between: where all inputs are read for the
/// statistic, and no later.
fn reads_apart_from_writes(call: &Call, module: Module, regime: Regime) -> bool {
    let outputs = [call.y, call.residual_out, call.second.map(|heads| heads.y)];
    let inputs = [Some(call.x), call.residual, call.gate, call.second.map(|heads| heads.x)];
    let over = |output: RawRows| inputs.iter().flatten().any(|input| input.address == output.address);
    let in_place = outputs.into_iter().flatten().any(over);
    let read_for_statistic = matches!(regime, Regime::Registers | Regime::Staged)
        && module.statistic != Family::Identity
        && matches!(
            module.source,
            Source::Plain | Source::ResidualAdd | Source::PostNorm | Source::Interpolation | Source::Parts
        )
        && call.gate.is_none();
    !in_place || read_for_statistic
}

/// The kernel of a call: the best of those that may be used.
fn kernel_for(
    call: &Call,
    device: &DeviceFacts,
    module: Module,
    (regime, team, rows): (Regime, Team, u64),
    may_be_used: impl Fn(Kernel) -> bool,
) -> Result<Kernel, PlanError> {
    let path = path(call, device);
    let kernels = module.kernels()?;
    let of_form = |form| kernels.clone().find(|kernel| kernel.form() == form);
    let by_rank = if regime == Regime::Registers {
        let of_threads = |threads| of_form(Form::registers(path, threads));
        let [single, general] = [of_threads(Threads::Single), of_form(Form::GENERAL)];
        let [first, second, third] = Threads::paired(team, call.hidden).map(|threads| threads.and_then(of_threads));
        if are_paired(team, rows, path, first.or(second).or(third), device) {
            [first, second, third, single, general]
        } else {
            [single, general, first, second, third]
        }
    } else {
        [of_form(Form::looped(path)), of_form(Form::LOOPED), None, None, None]
    };
    let mut candidates = by_rank.into_iter().flatten().peekable();
    let best = candidates.peek().copied();
    candidates.find(|&kernel| may_be_used(kernel)).or(best).ok_or(PlanError::NoModule { module })
}

/// Whether paired threads take less time: where there are more than the multiprocessors hold at a time, it is
/// instructions that count, and before that how long a row takes. The last of an odd number of warps has nothing beside
/// it, which in small teams costs more than the pairs save; but for rows that fill their warps or lines, and those that
/// begin anywhere, which have nothing better.
fn are_paired(team: Team, rows: u64, path: Path, best: Option<Kernel>, device: &DeviceFacts) -> bool {
    let at_a_time = u64::from(device.multiprocessors) * u64::from(SINGLE_THREADS);
    let warps = team.threads / WARP;
    let pays = team.threads <= WARP
        || path == Path::Shifted
        || best.is_some_and(|kernel| kernel.form().threads != Threads::Paired)
        || warps.is_multiple_of(2)
        || warps >= FEWEST_ODD_WARPS;
    rows.saturating_mul(u64::from(team.threads)) > at_a_time && pays
}

/// Whether v is rounded before it is multiplied by the weights, which changes nothing of f32.
fn rounds_before_weight(call: &Call) -> bool {
    call.norm.weight_rounding == WeightRounding::BeforeWeight && call.dtype != DType::F32
}

/// What a kernel may know of a call.
fn path(call: &Call, device: &DeviceFacts) -> Path {
    let aligned = has_aligned_rows(call);
    match (rounds_before_weight(call), call.norm.weight_offset != 0.0) {
        _ if !has_aligned_parameters(call) || !has_32_bit_rows(call) || !runs_hopper_code(device) => Path::General,
        _ if call.bias.is_some() && !matches!(call.norm.family, Family::LayerNorm | Family::Identity) => Path::General,
        (false, false) if !aligned => Path::Shifted,
        _ if !aligned => Path::General,
        (false, false) => Path::Aligned,
        (true, false) => Path::AlignedRounded,
        (false, true) => Path::AlignedWithOffset,
        (true, true) => Path::General,
    }
}

fn of_chunks(bytes: u128) -> bool {
    bytes.is_multiple_of(CHUNK_BYTES as u128)
}

/// The tensors of rows that are read or written in chunks, and the elements from one part of a row to the next, if there is
/// one.
fn tensors_of_rows(call: &Call) -> impl Iterator<Item = (RawRows, usize)> {
    let parts = call.parts;
    let stride_of = |count, stride| if count == 1 { 0 } else { stride };
    let in_parts = |rows: Option<RawRows>, stride| rows.map(|rows| (rows, stride_of(parts.count, stride)));
    let whole = |rows: Option<RawRows>| rows.map(|rows| (rows, 0));
    let first = [
        in_parts(Some(call.x), parts.x_stride),
        in_parts(call.gate, parts.gate_stride),
        in_parts(call.y, parts.y_stride),
        whole(call.residual),
        whole(call.residual_out),
    ];
    let second = call.second.map(|heads| {
        [(heads.x, heads.x_stride), (heads.y, heads.y_stride)]
            .map(|(rows, stride)| (rows, stride_of(heads.count, stride)))
    });
    first.into_iter().flatten().chain(second.into_iter().flatten())
}

/// Bytes from one row of a tensor to the next, if there is one.
fn stride_bytes(call: &Call, rows: RawRows) -> u128 {
    if call.rows == 1 { 0 } else { bytes(call, rows.stride) }
}

fn bytes(call: &Call, elements: usize) -> u128 {
    elements as u128 * call.dtype.size() as u128
}

/// Whether rows, and parts of them, are made of whole chunks that begin at multiples of 16 bytes, as [`Path`] says.
fn has_aligned_rows(call: &Call) -> bool {
    has_aligned_codes(call)
        && of_chunks(bytes(call, call.hidden))
        && tensors_of_rows(call).all(|(rows, part_stride)| {
            of_chunks(rows.address.into()) && of_chunks(stride_bytes(call, rows)) && of_chunks(bytes(call, part_stride))
        })
}

/// Whether the codes of every chunk, if there are any, begin at a multiple of their size.
fn has_aligned_codes(call: &Call) -> bool {
    let (Some(quantisation), Some(codes)) = (call.norm.quantisation, call.codes) else { return true };
    let size = CHUNK_BYTES / call.dtype.size() / quantisation.code.per_byte();
    codes.address.is_multiple_of(size as u64) && (call.rows == 1 || codes.stride.is_multiple_of(size))
}

/// Whether teams are counted in 31 bits, for those of the last CTA that have no row are counted on past them, and the
/// bytes between rows, and between parts of them, in 32.
fn has_32_bit_rows(call: &Call) -> bool {
    let in_32_bits = |bytes: u128| bytes <= u32::MAX.into();
    call.teams().is_some_and(|teams| teams <= i32::MAX as u64)
        && tensors_of_rows(call)
            .all(|(rows, part_stride)| in_32_bits(stride_bytes(call, rows)) && in_32_bits(bytes(call, part_stride)))
}

/// Whether parameters are of the activation type and begin at multiples of 16 bytes. Rates may be f32.
fn has_aligned_parameters(call: &Call) -> bool {
    let of_second = call.second.map_or([None; 2], |heads| [heads.weight, heads.bias]);
    let vectors = [call.linear_bias, call.weight, call.bias, call.inner_weight].into_iter().chain(of_second);
    let is_aligned = |vector: RawVector| of_chunks(vector.address.into());
    vectors.flatten().all(|vector| is_aligned(vector) && vector.dtype == call.dtype) && call.rate.is_none_or(is_aligned)
}

fn launch_flags(call: &Call, module: Module, regime: Regime) -> u32 {
    let mut set = 0;
    let mut add = |flag, condition| set |= if condition { flag } else { 0 };

    add(flags::APART, reads_apart_from_writes(call, module, regime));
    let is_f32 = |vector: Option<RawVector>| vector.is_some_and(|vector| vector.dtype == DType::F32);
    add(flags::PARAMETERS_F32, is_f32(call.weight.or(call.bias)));
    add(flags::RATE_F32, is_f32(call.rate));

    let rounds_before_weight = rounds_before_weight(call);
    add(flags::ROUND_BEFORE_WEIGHT, rounds_before_weight);
    add(flags::BARE_WEIGHTS, !rounds_before_weight && call.norm.weight_offset == 0.0);
    let rounding = call.norm.residual_add().map(|add| add.rounding);
    add(flags::ROUND_STATISTIC, rounding == Some(ResidualRounding::Stored));
    add(flags::ROUND_OUTPUT, rounding == Some(ResidualRounding::Split));
    let post = match call.norm.input {
        Input::PostNorm(add) => Some(add),
        _ => call.norm.post_add,
    };
    add(flags::ROUND_EACH, post.is_some_and(|post| post.rounding == PostRounding::Each));
    if let (Some(rope), Some(tables)) = (call.norm.rope, call.rope) {
        add(flags::TABLES_F32, tables.dtype == DType::F32);
        add(flags::INTERLEAVED, rope.pairs == RopePairs::Interleaved);
        add(flags::ROUND_ROTATION, rope.rounding == RopeRounding::Each);
        add(flags::POSITIONS_64, tables.positions.is_some_and(|positions| positions.kind == PositionType::I64));
    }
    add(flags::ZERO_STAYS_ZERO, call.norm.family == Family::L2Norm);
    add(flags::STAGED, regime == Regime::Staged);
    add(flags::PARAMETERS_FIRST, call.programmatic_launch == ProgrammaticLaunch::ParametersFirst);

    if let Some(quantisation) = call.norm.quantisation {
        let scaling = quantisation.scaling;
        add(flags::WIDE_CODES, has_aligned_codes(call));
        add(flags::QUOTIENTS, quantisation.divides());
        add(flags::POWER_OF_TWO_SCALES, matches!(scaling, Scaling::PerGroup { power_of_two: true, .. }));
        add(flags::FLOOR_OF_BLOCK_SCALES, matches!(scaling, Scaling::Mxfp8 { rounding: BlockRounding::Floor, .. }));
        add(flags::TILED_SCALES, scaling.layout() == ScaleLayout::Tiled);
    }
    set
}
