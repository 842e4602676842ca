//! Properties of plans, for the facts of every documented GPU.

use proptest::prelude::*;
use std::collections::HashSet;
use warpnorm::plan::{
    EXCHANGE_BYTES, Form, GROUP_ELEMENTS, MAX_STRETCHES, Path, Plan, Regime, Source, Team, Threads, flags, plan,
};
use warpnorm::{
    Activation, Call, DType, DeviceFacts, Error, Family, Input, Norm, Parts, PlanError, PostAdd, RawHeads, RawRows,
    RawVector, ResidualAdd, Scope, WeightRounding,
};

const BASE: u64 = 1 << 45;

/// A call whose tensors lie terabytes apart, each `offset` elements past a multiple of 256 bytes.
fn call(family: Family, dtype: DType, add: bool, rows: usize, hidden: usize, stride: usize, offset: usize) -> Call {
    let mut norm = Norm::new(family, 1e-5);
    if add {
        norm = norm.with_residual_add(ResidualAdd::default());
    }
    let at = |place: u64| RawRows { address: BASE * place + (offset * dtype.size()) as u64, stride };
    let mut call = Call::new(norm, dtype, rows, hidden, at(1), at(2));
    if add {
        call.residual = Some(at(3));
        call.residual_out = Some(at(4));
    }
    call.weight = Some(RawVector { address: BASE * 5, dtype });
    call
}

fn planned(call: &Call, device: &DeviceFacts) -> Plan {
    plan(call, device).expect("a valid call").expect("rows to launch")
}

fn dtypes() -> impl Strategy<Value = DType> {
    prop::sample::select(&DType::ALL[..])
}

fn families() -> impl Strategy<Value = Family> {
    prop::sample::select(&Family::NORMS[..])
}

fn devices() -> impl Strategy<Value = DeviceFacts> {
    prop::sample::select(DeviceFacts::documented_gpus())
}

/// Hidden sizes over all regimes, small ones as often as large ones.
fn hidden_sizes() -> impl Strategy<Value = usize> {
    prop_oneof![1usize..=64, 1usize..=1024, 1usize..=20_000, 1usize..=300_000]
}

proptest! {
    #[test]
    fn every_element_has_one_owner(hidden in hidden_sizes(), dtype in dtypes()) {
        let team = Team::of_row(Source::Plain, dtype, hidden);
        let slabs = team.slabs(hidden);
        let mut taken = HashSet::with_capacity(hidden);
        for column in 0..hidden {
            let place = team.place(column);
            prop_assert!(place.slab < slabs, "{place:?}");
            prop_assert!(place.rank < team.threads as usize, "{place:?}");
            prop_assert!(place.element < GROUP_ELEMENTS, "{place:?}");
            prop_assert!(taken.insert(place), "{place:?} is owned twice");
        }
    }

    #[test]
    fn neighbouring_threads_own_neighbouring_chunks(hidden in hidden_sizes(), dtype in dtypes()) {
        let team = Team::of_row(Source::Plain, dtype, hidden);
        let chunk = 16 / dtype.size();
        for start in (0..hidden.saturating_sub(chunk)).step_by(chunk) {
            let (here, next) = (team.place(start), team.place(start + chunk));
            let wraps = here.rank + 1 == team.threads as usize;
            prop_assert_eq!(next.rank, if wraps { 0 } else { here.rank + 1 });
        }
    }

    #[test]
    fn plans_keep_within_the_device(
        family in families(), dtype in dtypes(), add: bool, rows in 1usize..1_000_000,
        hidden in hidden_sizes(), padding in 0usize..9, offset in 0usize..9, device in devices(),
    ) {
        let plan = planned(&call(family, dtype, add, rows, hidden, hidden + padding, offset), &device);
        let [width, teams] = plan.block;
        prop_assert!(width * teams <= device.max_threads_per_block && (width * teams).is_multiple_of(32));
        // Whose work they do. The last of an odd number of warps may have nothing beside it.
        let groups = plan.kernel.form().threads.groups();
        prop_assert!((plan.team.threads..plan.team.threads + 32 * groups).contains(&(width * groups)));
        prop_assert!(groups == 2 || width == plan.team.threads);
        prop_assert!(plan.shared_bytes + EXCHANGE_BYTES <= device.max_shared_bytes_per_block);
        prop_assert!(plan.grid <= device.max_grid_x);
        prop_assert_eq!(plan.args.team_threads, plan.team.threads);
        // Every row has a team, and no CTA is without a row.
        let per_cta = u64::from(plan.args.rows_per_cta);
        prop_assert!(teams == plan.args.rows_per_cta || plan.grid == 1 && teams > plan.args.rows_per_cta);
        prop_assert!(plan.grid.is_multiple_of(plan.cluster));
        let clusters = plan.grid / plan.cluster;
        prop_assert!(u64::from(clusters) * per_cta >= rows as u64);
        prop_assert!(u64::from(clusters - 1) * per_cta < rows as u64);
        // The registers regime is one slab; a team that walks in slabs is a whole CTA.
        prop_assert_eq!(plan.regime == Regime::Registers, plan.team.slabs(hidden) == 1);
        prop_assert!(plan.regime == Regime::Registers || plan.block == [plan.team.threads, 1]);
    }

    #[test]
    fn the_team_depends_on_hidden_and_type_alone(
        dtype in dtypes(), hidden in hidden_sizes(), add: bool,
        rows in 1usize..100_000, padding in 0usize..9, offset in 0usize..9, device in devices(),
    ) {
        let one = planned(&call(Family::RmsNorm, dtype, add, 1, hidden, hidden, 0), &DeviceFacts::h200());
        let other = planned(&call(Family::RmsNorm, dtype, add, rows, hidden, hidden + padding, offset), &device);
        prop_assert_eq!(one.team, other.team);
        let kind = |plan: &Plan| (plan.kernel.module(), plan.kernel.form().looped);
        prop_assert_eq!(kind(&one), kind(&other));
    }
}

proptest! {
    #[test]
    fn stretches_follow_from_the_hidden_size_and_ctas_share_all_of_them(
        family in families(), dtype in dtypes(), add: bool, rows in 1usize..2000, hidden in 16_385usize..1_500_000,
        device in devices(),
    ) {
        let plan = planned(&call(family, dtype, add, rows, hidden, hidden, 0), &device);
        let slabs = plan.team.slabs(hidden) as u32;
        let (args, stretch) = (plan.args, 1 << plan.args.stretch_shift);
        let other = planned(&call(family, dtype, add, 1, hidden, hidden, 0), &DeviceFacts::t4());
        prop_assert_eq!((args.slabs, args.stretch_shift), (other.args.slabs, other.args.stretch_shift));
        prop_assert_eq!(args.slabs, slabs);
        // In as few slabs as the largest team would walk over it in, and no warp of the team could be missed.
        prop_assert_eq!(slabs as usize, hidden.div_ceil(GROUP_ELEMENTS * 1024));
        prop_assert!(slabs as usize * GROUP_ELEMENTS * (plan.team.threads as usize - 32) < hidden);
        prop_assert!(slabs.div_ceil(stretch) <= MAX_STRETCHES);
        // Every CTA of a cluster has slabs, of whole stretches.
        prop_assert_eq!(args.cluster, plan.cluster);
        prop_assert!(args.cta_slabs.is_multiple_of(stretch));
        prop_assert_eq!(slabs.div_ceil(args.cta_slabs), plan.cluster);
        prop_assert!(plan.cluster == 1 || device.compute_capability >= (9, 0));
    }
}

#[test]
fn long_rows_are_spread_over_clusters() {
    let spread = |dtype, add, rows, hidden, device: DeviceFacts| {
        let plan = planned(&call(Family::LayerNorm, dtype, add, rows, hidden, hidden, 0), &device);
        (plan.cluster, plan.regime)
    };
    let h200 = DeviceFacts::h200;
    // 512 KiB of x fit in no CTA's shared memory, but in four.
    assert_eq!(spread(DType::BF16, false, 1000, 262_144, h200()), (4, Regime::Staged));
    assert_eq!(spread(DType::F32, false, 1000, 262_144, h200()), (8, Regime::Staged));
    assert_eq!(spread(DType::F32, false, 1000, 1 << 20, h200()), (1, Regime::Reread));
    // A row that one CTA holds is spread where multiprocessors would idle, and only there.
    assert_eq!(spread(DType::BF16, false, 1000, 65_536, h200()), (1, Regime::Staged));
    assert_eq!(spread(DType::BF16, false, 33, 65_536, h200()), (4, Regime::Staged));
    assert_eq!(spread(DType::BF16, false, 34, 65_536, h200()), (2, Regime::Staged));
    assert_eq!(spread(DType::BF16, false, 1, 65_536, h200()), (4, Regime::Staged));
    assert_eq!(spread(DType::BF16, false, 1, 131_072, h200()), (8, Regime::Staged));
    assert_eq!(spread(DType::BF16, false, 1, 16_384, h200()), (1, Regime::Registers));
    // Without clusters, a row past the shared memory is read again.
    assert_eq!(spread(DType::BF16, false, 1, 262_144, DeviceFacts::a100()), (1, Regime::Reread));
}

/// Neighbours' elements are read with a thread's own unless somebody may be writing them.
#[test]
fn windows_are_read_where_no_output_lies_over_what_is_still_read() {
    let windows = |norm: Norm, hidden: usize, change: fn(&mut Call)| {
        let at = |place: u64| RawRows { address: BASE * place, stride: hidden };
        let mut call = Call::new(norm, DType::F16, 3, hidden, at(1), at(2));
        change(&mut call);
        planned(&call, &DeviceFacts::a100()).args.flags & flags::APART != 0
    };
    let over_x: fn(&mut Call) = |call| call.y = Some(call.x);
    let apart: fn(&mut Call) = |_| {};
    let norm = Norm::layer_norm(1e-5);
    assert!(windows(norm, 1001, apart) && windows(norm, 300_001, apart));
    // All is in registers or staged before the first output is stored.
    assert!(windows(norm, 1001, over_x) && windows(norm, 30_001, over_x));
    assert!(!windows(norm, 300_001, over_x));
    // No thread waits for others where nothing is reduced.
    let identity = Norm::activation(Activation::SILU);
    assert!(windows(identity, 1001, apart) && !windows(identity, 1001, over_x));
    // z is read when outputs are written already.
    let gated: fn(&mut Call) = |call| call.gate = call.y;
    assert!(!windows(Norm::rms_norm(1e-5).with_gate(Activation::SILU), 1001, gated));
    // The residual that is added after the norm is read beside the outputs, unless another norm follows.
    let add = PostAdd::default();
    let sum_over_residual: fn(&mut Call) = |call| {
        call.residual = Some(RawRows { address: BASE * 3, stride: call.hidden });
        call.residual_out = call.residual;
    };
    let y_over_residual: fn(&mut Call) = |call| call.residual = Some(call.y.expect("set"));
    let two_norms = Norm::rms_norm(1e-5).with_input(Input::PostNorm(add));
    assert!(windows(two_norms, 1001, sum_over_residual) && windows(two_norms, 30_001, sum_over_residual));
    assert!(!windows(two_norms, 300_001, sum_over_residual));
    assert!(!windows(Norm::rms_norm(1e-5).with_post_add(add), 1001, y_over_residual));
}

/// What the aligned paths of the kernels rely on is looked at in every tensor.
#[test]
fn calls_are_aligned_where_every_chunk_of_every_tensor_is_whole() {
    let aligned = |hidden: usize, change: fn(&mut Call)| {
        let mut call = call(Family::RmsNorm, DType::F16, true, 3, hidden, hidden + 8, 0);
        call.linear_bias = Some(RawVector { address: BASE * 7, dtype: DType::F16 });
        change(&mut call);
        planned(&call, &DeviceFacts::h200()).kernel.form().path != Path::General
    };
    assert!(aligned(4096, |_| {}) && aligned(8, |_| {}) && aligned(768, |_| {}));
    assert!(!aligned(4097, |_| {}) && !aligned(4, |_| {}));
    assert!(aligned(32_768, |_| {}) && !aligned(32_769, |_| {}));
    // GPUs with slower memory have no such kernels.
    let of_f16 = call(Family::RmsNorm, DType::F16, true, 3, 4096, 4096, 0);
    assert_eq!(planned(&of_f16, &DeviceFacts::a100()).kernel.form().path, Path::General);
    // Four elements of f32 are 16 bytes. That they are rounded before the weight changes nothing.
    let mut of_f32 = call(Family::RmsNorm, DType::F32, true, 3, 4092, 4092, 0);
    assert_eq!(planned(&of_f32, &DeviceFacts::h200()).kernel.form().path, Path::Aligned);
    of_f32.norm.weight_rounding = WeightRounding::BeforeWeight;
    assert_eq!(planned(&of_f32, &DeviceFacts::h200()).kernel.form().path, Path::Aligned);
    let moved: [fn(&mut Call); 7] = [
        |call| call.x.address += 2,
        |call| call.residual.as_mut().expect("set").address += 8,
        |call| call.y.as_mut().expect("set").address += 4,
        |call| call.residual_out.as_mut().expect("set").address += 2,
        |call| call.weight.as_mut().expect("set").address += 2,
        |call| {
            call.norm.family = Family::LayerNorm;
            call.bias = Some(RawVector { address: BASE * 6 + 2, dtype: DType::F16 });
        },
        |call| call.linear_bias.as_mut().expect("set").address += 2,
    ];
    let strides: [fn(&mut Call); 4] = [
        |call| call.x.stride += 4,
        |call| call.residual.as_mut().expect("set").stride += 4,
        |call| call.y.as_mut().expect("set").stride += 4,
        |call| call.residual_out.as_mut().expect("set").stride += 4,
    ];
    for (number, change) in moved.into_iter().chain(strides).enumerate() {
        assert!(!aligned(4096, change), "change {number}");
    }
    // Of norms without a mean few have a bias.
    assert!(aligned(4096, |call| {
        call.norm.family = Family::LayerNorm;
        call.bias = Some(RawVector { address: BASE * 6, dtype: DType::F16 });
    }));
    assert!(!aligned(4096, |call| call.bias = Some(RawVector { address: BASE * 6, dtype: DType::F16 })));
    // Bytes from row to row are counted in 32 bits, of a single row not at all; and rows in 31.
    assert!(aligned(4096, |call| call.x.stride = (1 << 31) - 8));
    assert!(!aligned(4096, |call| call.x.stride = 1 << 31));
    assert!(aligned(4096, |call| (call.rows, call.x.stride) = (1, (1 << 31) + 1)));
    assert!(aligned(8, |call| call.rows = (1 << 31) - 1));
    assert!(!aligned(8, |call| call.rows = 1 << 31));
    // Weights of another type, and those that are added to after a rounding, are read by the general path.
    assert!(!aligned(4096, |call| call.weight.as_mut().expect("set").dtype = DType::F32));
    assert!(aligned(4096, |call| call.norm = call.norm.with_weight_offset(1.0)));
    assert!(aligned(4096, |call| call.norm = call.norm.with_weight_rounding(WeightRounding::BeforeWeight)));
    assert!(!aligned(4096, |call| {
        call.norm = call.norm.with_weight_offset(1.0).with_weight_rounding(WeightRounding::BeforeWeight);
    }));
}

/// The same of heads, of their parts in every tensor, and of gates.
#[test]
fn calls_of_heads_are_aligned_where_every_head_is() {
    let path = |change: fn(&mut Call)| {
        let at = |place: u64| RawRows { address: BASE * place, stride: 4096 };
        let weight = |place: u64| Some(RawVector { address: BASE * place, dtype: DType::F16 });
        let norm = Norm::rms_norm(1e-6).with_scope(Scope::Head);
        let mut call = Call::new(norm, DType::F16, 100, 128, at(1), at(2));
        call.parts = Parts::packed(8, 128);
        call.weight = weight(3);
        let (x, y) = (at(4), at(5));
        call.second = Some(RawHeads { count: 2, x, y, x_stride: 128, y_stride: 128, weight: weight(6), bias: None });
        change(&mut call);
        planned(&call, &DeviceFacts::h200()).kernel.form().path
    };
    assert_eq!(path(|_| {}), Path::Aligned);
    assert_eq!(
        path(|call| call.norm = call.norm.with_weight_rounding(WeightRounding::BeforeWeight)),
        Path::AlignedRounded
    );
    assert_eq!(path(|call| call.norm = call.norm.with_weight_offset(1.0)), Path::AlignedWithOffset);
    let general: [fn(&mut Call); 11] = [
        |call| call.parts.x_stride += 4,
        |call| call.parts.y_stride += 4,
        |call| (call.rows, call.x.stride, call.parts.x_stride) = (1, 1 << 34, 1 << 31),
        |call| call.second.as_mut().expect("set").x.address += 2,
        |call| call.second.as_mut().expect("set").y.stride += 4,
        |call| call.second.as_mut().expect("set").x_stride += 4,
        |call| call.second.as_mut().expect("set").y_stride += 4,
        |call| call.second.as_mut().expect("set").weight.as_mut().expect("set").address += 2,
        |call| {
            call.bias = Some(RawVector { address: BASE * 7, dtype: DType::F16 });
            call.second.as_mut().expect("set").bias = call.bias;
        },
        |call| call.rows = 1 << 28,
        |call| call.hidden = 124,
    ];
    for (number, change) in general.into_iter().enumerate() {
        assert_eq!(path(change), Path::General, "change {number}");
    }
    // From one head to the next there is nothing to go where there is one.
    assert_eq!(path(|call| (call.parts.count, call.parts.x_stride) = (1, 1)), Path::Aligned);
    assert_eq!(path(|call| call.rows = (1 << 31) / 10), Path::Aligned);

    let gated = |change: fn(&mut Call)| {
        let at = |place: u64| RawRows { address: BASE * place, stride: 4096 };
        let mut call = Call::new(Norm::activation(Activation::SILU), DType::BF16, 100, 4096, at(1), at(2));
        call.gate = Some(at(3));
        change(&mut call);
        planned(&call, &DeviceFacts::h200()).kernel.form().path
    };
    assert_eq!(gated(|_| {}), Path::Aligned);
    assert_eq!(gated(|call| call.gate = None), Path::Aligned);
    assert_eq!(gated(|call| call.gate.as_mut().expect("set").address += 2), Path::General);
    assert_eq!(gated(|call| call.gate.as_mut().expect("set").stride += 4), Path::General);
}

/// Threads are paired where a wave of them does not do, and where a row has more than a warp.
#[test]
fn threads_are_paired_where_they_are_many() {
    let planned = |rows, hidden, dtype, residual| {
        let call = call(Family::LayerNorm, dtype, residual, rows, hidden, hidden, 0);
        let plan = planned(&call, &DeviceFacts::h200());
        (plan.kernel.form(), plan.block[0] * plan.block[1], plan.args.rows_per_cta, plan.grid)
    };
    let single = Form::registers(Path::Aligned, Threads::Single);
    let paired = Form::registers(Path::Aligned, Threads::Paired);
    let paired_full = Form::registers(Path::Aligned, Threads::PairedFull);
    let paired_lines = Form::registers(Path::Aligned, Threads::PairedLines);
    let paired_lanes = Form::registers(Path::Aligned, Threads::PairedLanes);
    let shifted = Form::registers(Path::Shifted, Threads::Paired);
    // 132 multiprocessors hold 1024 threads each at a time, four rows of 4096 elements.
    assert_eq!(planned(528, 4096, DType::F16, false), (single, 256, 1, 528));
    assert_eq!(planned(529, 4096, DType::F16, false), (paired_full, 128, 1, 529));
    assert_eq!(planned(529, 4096, DType::F16, true).0, single);
    assert_eq!(planned(529, 4096, DType::F32, false).0, paired_full);
    assert_eq!(planned(65_536, 640, DType::F32, false).0, paired_lines);
    assert_eq!(planned(529, 4096, DType::F32, true).0, single);
    // Rows that begin anywhere are moved by paired threads, or by the general kernel.
    assert_eq!(planned(529, 4097, DType::F16, false).0, shifted);
    assert_eq!(planned(529, 4097, DType::F16, true).0, shifted);
    assert_eq!(planned(529, 4097, DType::F32, false).0, shifted);
    assert_eq!(planned(529, 4097, DType::F32, true).0, Form::GENERAL);
    assert_eq!(planned(100, 4097, DType::F16, false).0, Form::GENERAL);
    assert_eq!(planned(65_536, 1535, DType::BF16, false), (shifted, 64, 1, 65_536));
    assert_eq!(planned(65_536, 511, DType::BF16, false).0, Form::GENERAL);
    // Of an odd number of warps the last has nothing beside it, which is too much for three, and for seven, unless rows
    // fill their warps.
    assert_eq!(planned(65_536, 1528, DType::BF16, false), (single, 96, 1, 65_536));
    assert_eq!(planned(65_536, 3576, DType::BF16, false), (single, 224, 1, 65_536));
    assert_eq!(planned(65_536, 4600, DType::BF16, false), (paired, 160, 1, 65_536));
    assert_eq!(planned(65_536, 16_376, DType::BF16, false), (paired, 512, 1, 65_536));
    assert_eq!(planned(65_536, 768, DType::BF16, false), (paired_lines, 128, 4, 16_384));
    assert_eq!(planned(65_537, 1280, DType::BF16, false), (paired_lines, 128, 2, 32_769));
    assert_eq!(planned(65_536, 1536, DType::BF16, false), (paired_full, 128, 2, 32_768));
    assert_eq!(planned(65_536, 2048, DType::BF16, false), (paired_full, 128, 2, 32_768));
    assert_eq!(planned(65_536, 2560, DType::BF16, false), (paired_full, 96, 1, 65_536));
    assert_eq!(planned(65_536, 3584, DType::BF16, false), (paired_full, 128, 1, 65_536));
    assert_eq!(planned(65_536, 4608, DType::BF16, false), (paired_full, 160, 1, 65_536));
    assert_eq!(planned(65_536, 16_384, DType::BF16, false), (paired_full, 512, 1, 65_536));
    assert_eq!(planned(65_536, 520, DType::BF16, false), (paired, 128, 4, 16_384));
    // Teams within a warp lie side by side in blocks of 128 threads, of two lanes at least.
    assert_eq!(planned(65_536, 512, DType::BF16, false), (paired_lanes, 128, 8, 8192));
    assert_eq!(planned(65_536, 64, DType::BF16, false), (paired_lanes, 128, 64, 1024));
    assert_eq!(planned(65_536, 40, DType::BF16, false), (paired_lanes, 128, 64, 1024));
    assert_eq!(planned(1 << 20, 32, DType::BF16, false), (single, 128, 64, 16_384));
    assert_eq!(planned(4224, 512, DType::BF16, false), (single, 128, 4, 1056));
    assert_eq!(planned(65_536, 512, DType::BF16, true), (single, 128, 4, 16_384));
}

/// What else the path of rows that begin anywhere relies on.
#[test]
fn calls_are_shifted_where_their_parameters_are_aligned() {
    let form = |change: fn(&mut Call)| {
        let mut call = call(Family::RmsNorm, DType::F16, false, 1000, 4097, 4097, 0);
        call.weight = Some(RawVector { address: BASE * 6, dtype: DType::F16 });
        change(&mut call);
        planned(&call, &DeviceFacts::h200()).kernel.form()
    };
    let bare: [fn(&mut Call); 5] = [
        |_| {},
        |call| call.weight = None,
        |call| call.x.address += 6,
        |call| call.y.as_mut().expect("set").stride += 1,
        |call| call.norm.family = Family::L2Norm,
    ];
    for (number, change) in bare.into_iter().enumerate() {
        assert_eq!(form(change), Form::registers(Path::Shifted, Threads::Paired), "change {number}");
    }
    let others: [fn(&mut Call); 5] = [
        |call| call.weight.as_mut().expect("set").address += 2,
        |call| call.weight.as_mut().expect("set").dtype = DType::F32,
        |call| call.norm = call.norm.with_weight_offset(1.0),
        |call| call.norm = call.norm.with_weight_rounding(WeightRounding::BeforeWeight),
        |call| call.x.stride = 1 << 31,
    ];
    for (number, change) in others.into_iter().enumerate() {
        assert_eq!(form(change), Form::GENERAL, "change {number}");
    }
}

#[test]
fn no_rows_is_no_launch() {
    let call = call(Family::LayerNorm, DType::F16, true, 0, 100, 100, 0);
    for device in DeviceFacts::documented_gpus() {
        assert_eq!(plan(&call, &device).expect("valid"), None);
    }
}

#[test]
fn more_rows_than_a_grid_holds_are_refused() {
    let rows = 1usize << 33;
    let call = call(Family::RmsNorm, DType::F16, false, rows, 1024, 1024, 0);
    let error = plan(&call, &DeviceFacts::h200()).expect_err("too many thread blocks");
    assert!(
        matches!(error, Error::Plan(PlanError::Grid { rows: given, limit, .. })
            if given == rows as u64 && limit == i32::MAX as u32),
        "{error}"
    );
}

#[test]
fn a_device_with_small_thread_blocks_is_refused() {
    let mut device = DeviceFacts::t4();
    device.max_threads_per_block = 512;
    let call = call(Family::RmsNorm, DType::F16, false, 1, 16384, 16384, 0);
    let error = plan(&call, &device).expect_err("1024 threads");
    assert!(matches!(error, Error::Plan(PlanError::Threads { threads: 1024, limit: 512, .. })), "{error}");
}

/// Found by fuzzing: teams of a few threads shared a block of 128 whatever the device runs.
#[test]
fn small_teams_share_no_more_threads_than_a_block_may_have() {
    let call = call(Family::RmsNorm, DType::F16, false, 40, 33, 33, 0);
    let mut device = DeviceFacts::t4();
    for (limit, block) in [(1024, 128), (100, 96), (64, 64), (32, 32)] {
        device.max_threads_per_block = limit;
        let plan = plan(&call, &device).expect("a team of 4 threads fits").expect("there are rows");
        assert_eq!((plan.block, plan.grid), ([4, block / 4], 40u32.div_ceil(block / 4)));
    }
    device.max_threads_per_block = 31;
    let error = plan(&call, &device).expect_err("less than a warp");
    assert!(matches!(error, Error::Plan(PlanError::Threads { threads: 32, limit: 31, .. })), "{error}");
}

#[test]
fn rows_stay_in_registers_up_to_16384_elements_and_are_staged_as_far_as_shared_memory_goes() {
    // Capacity of a CTA in elements: (opt-in bytes − exchange) / bytes that an element is staged in.
    let capacity = |device: &DeviceFacts, bytes: u32| (device.max_shared_bytes_per_block - EXCHANGE_BYTES) / bytes;
    for device in DeviceFacts::documented_gpus() {
        for (dtype, add, staged_bytes) in
            [(DType::F32, false, 4), (DType::BF16, false, 2), (DType::F32, true, 4), (DType::BF16, true, 4)]
        {
            let regime = |hidden| planned(&call(Family::LayerNorm, dtype, add, 3, hidden, hidden, 0), &device).regime;
            assert_eq!(regime(16384), Regime::Registers);
            let limit = capacity(&device, staged_bytes) as usize / 8 * 8;
            if limit > 16384 {
                assert_eq!(regime(16385), Regime::Staged);
                assert_eq!(regime(limit), Regime::Staged);
            }
            // What no CTA holds, two of a cluster do.
            let beyond = if device.compute_capability >= (9, 0) { Regime::Staged } else { Regime::Reread };
            assert_eq!(regime(limit.max(16384) + 8), beyond);
        }
    }
}

#[test]
fn kernel_names_say_module_type_and_regime_or_path() {
    let device = DeviceFacts::h200();
    let name =
        |family, dtype, add, hidden| planned(&call(family, dtype, add, 1, hidden, hidden, 0), &device).kernel.name();
    assert_eq!(name(Family::LayerNorm, DType::F32, false, 63), "layer_norm_f32_registers");
    assert_eq!(name(Family::LayerNorm, DType::F32, false, 64), "layer_norm_f32_aligned");
    assert_eq!(name(Family::RmsNorm, DType::BF16, true, 8191), "add_rms_norm_bf16_registers");
    assert_eq!(name(Family::RmsNorm, DType::BF16, true, 8192), "add_rms_norm_bf16_aligned");
    assert_eq!(name(Family::LayerNorm, DType::F16, true, 20000), "add_layer_norm_f16_aligned_looped");
    assert_eq!(name(Family::LayerNorm, DType::F16, true, 20001), "add_layer_norm_f16_looped");
    assert_eq!(name(Family::RmsNorm, DType::F32, false, 20_001), "rms_norm_f32_looped");
}

#[test]
fn documented_gpus_are_found_by_their_short_names() {
    assert_eq!(DeviceFacts::named("H200"), Some(DeviceFacts::h200()));
    assert_eq!(DeviceFacts::named("t4"), Some(DeviceFacts::t4()));
    assert_eq!(DeviceFacts::named("h"), None);
    // What a message offers is taken, and is all that there is.
    assert_eq!(DeviceFacts::short_names(), "t4, a100, l4, h100, h200, b200");
    let named: Vec<DeviceFacts> = DeviceFacts::short_names().split(", ").filter_map(DeviceFacts::named).collect();
    assert_eq!(named.len(), 6);
    assert!(DeviceFacts::documented_gpus().iter().all(|facts| named.contains(facts)));
}
