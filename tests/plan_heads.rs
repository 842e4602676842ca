//! Plans of heads and groups: a team for each, and wide accesses where all of them are aligned.

use proptest::prelude::*;
use warpnorm::plan::{Module, Plan, Regime, Sink, Source, plan};
use warpnorm::{
    Call, CallError, DType, DeviceFacts, Error, Family, Input, Norm, Parts, PlanError, PositionType, PostAdd, RawHeads,
    RawPositions, RawRope, RawRows, RawVector, Rope, Scope,
};

const BASE: u64 = 1 << 46;

/// Q's and K's heads in packed rows, each tensor so many bytes past a multiple of 256.
fn heads(rows: usize, (q, k): (usize, usize), hidden: usize, (x_past, k_past): (u64, u64)) -> Call {
    let norm = Norm::rms_norm(1e-6).with_scope(Scope::Head);
    let stride = (q + 2 * k) * hidden;
    let at = |place: u64, past: u64| RawRows { address: BASE * place + past, stride };
    let vector = |place: u64| Some(RawVector { address: BASE * place, dtype: DType::BF16 });
    let (x, second) = (at(1, x_past), at(2, k_past));
    let mut call = Call::new(norm, DType::BF16, rows, hidden, x, x);
    call.parts = Parts::packed(q, hidden);
    call.weight = vector(3);
    call.second = Some(RawHeads {
        x: second,
        y: second,
        count: k,
        x_stride: hidden,
        y_stride: hidden,
        weight: vector(4),
        bias: None,
    });
    call
}

fn planned(call: &Call, device: &DeviceFacts) -> Plan {
    plan(call, device).expect("a valid call").expect("rows to launch")
}

proptest! {
    #[test]
    fn every_head_has_a_team(
        rows in 1usize..5000, q in 1usize..64, k in 1usize..9, hidden in 1usize..=600,
        device in prop::sample::select(DeviceFacts::documented_gpus()),
    ) {
        let plan = planned(&heads(rows, (q, k), hidden, (0, 0)), &device);
        let (teams, per_cta) = ((rows * (q + k)) as u64, u64::from(plan.args.rows_per_cta));
        prop_assert_eq!(plan.args.rows, teams);
        prop_assert!(u64::from(plan.grid) * per_cta >= teams && u64::from(plan.grid - 1) * per_cta < teams);
        prop_assert_eq!((plan.args.parts.count as usize, plan.args.parts.second as usize), (q, k));
        // The team follows from the head alone.
        let other = planned(&heads(1, (1, 1), hidden, (2, 6)), &DeviceFacts::t4());
        prop_assert_eq!(plan.team, other.team);
    }
}

#[test]
fn groups_have_parameters_one_after_the_other() {
    let group = |hidden: usize, dtype: DType| {
        let norm = Norm::rms_norm(1e-6).with_scope(Scope::Group);
        let rows = |place: u64| RawRows { address: BASE * place, stride: 4 * hidden };
        let mut call = Call::new(norm, DType::F16, 7, hidden, rows(1), rows(2));
        call.parts = Parts::packed(4, hidden);
        call.weight = Some(RawVector { address: BASE * 3, dtype });
        planned(&call, &DeviceFacts::h200()).args
    };
    for (hidden, dtype) in [(64, DType::F16), (61, DType::F32)] {
        assert_eq!(group(hidden, dtype).parts.parameter_stride, hidden as u64);
    }
    assert_eq!(planned(&heads(3, (2, 1), 64, (0, 0)), &DeviceFacts::h200()).args.parts.parameter_stride, 0);
}

#[test]
fn tables_are_as_long_as_they_are_said_to_be() {
    for (dim, dtype) in [(128, DType::F32), (8, DType::BF16)] {
        let mut call = heads(5, (2, 1), 128, (0, 0));
        call.norm = call.norm.with_rope(Rope::half_split(dim));
        let table = |place: u64| RawRows { address: BASE * place, stride: dim / 2 };
        let positions = Some(RawPositions { address: BASE * 7, kind: PositionType::I32 });
        call.rope = Some(RawRope { cos: table(5), sin: table(6), dtype, entries: 100, positions });
        let rope = planned(&call, &DeviceFacts::h200()).args.rope;
        assert_eq!((rope.half as usize, rope.entries, rope.cos_stride as usize), (dim / 2, 100, dim / 2));
    }
}

#[test]
fn more_heads_than_a_grid_holds_are_refused() {
    let mut call = heads(1 << 31, (32, 8), 128, (0, 0));
    assert!(matches!(plan(&call, &DeviceFacts::h200()), Err(Error::Plan(PlanError::Grid { .. }))));
    call.parts.count = 1 << 33;
    call.parts.x_stride = 0;
    assert!(plan(&call, &DeviceFacts::h200()).is_err());
    // No stride holds so many heads of a row.
    call.parts = Parts::packed(usize::MAX / 2, 128);
    let refused = plan(&call, &DeviceFacts::h200()).expect_err("it cannot be laid out");
    assert!(matches!(refused, Error::Call(CallError::TooLarge { .. })), "{refused:?}");
}

#[test]
fn rows_past_the_registers_of_512_threads_are_walked() {
    let norm = Norm::rms_norm(1e-6).with_post_add(PostAdd::default());
    let regime = |hidden: usize| {
        let rows = |place: u64| RawRows { address: BASE * place, stride: hidden };
        let mut call = Call::new(norm, DType::F16, 2, hidden, rows(1), rows(2));
        call.residual = Some(rows(3));
        let plan = planned(&call, &DeviceFacts::h200());
        (plan.regime, plan.team.threads)
    };
    assert_eq!(regime(8192), (Regime::Registers, 512));
    // In two slabs, with as few threads.
    assert_eq!(regime(8193), (Regime::Staged, 288));
    assert_eq!(regime(12_288), (Regime::Staged, 384));
}

#[test]
fn every_source_and_what_lacks_a_module() {
    let silu = warpnorm::Activation::SILU;
    let rms = Norm::rms_norm(1e-6);
    for (norm, source, sink) in [
        (rms.with_scope(Scope::Head), Source::Parts, Sink::Rotate),
        (rms.with_scope(Scope::Group), Source::Parts, Sink::Rotate),
        (rms.with_gate(silu), Source::Parts, Sink::GatedStore),
        (rms.with_scope(Scope::Group).with_gate(silu), Source::Parts, Sink::GatedStore),
        (rms.with_input(Input::Gated(silu)), Source::Gated, Sink::Store),
        (rms.with_post_add(PostAdd::default()), Source::PostAdd, Sink::Store),
        (rms.with_input(Input::PostNorm(PostAdd::default())), Source::PostNorm, Sink::Store),
        (Norm::activation(silu), Source::Plain, Sink::GatedStore),
    ] {
        let module = Module::of(&norm, DType::BF16);
        assert_eq!((module.source, module.sink), (source, sink), "{norm:?}");
        assert!(module.kernels().is_ok(), "{module}");
    }
    let none = Module::of(&Norm::new(Family::LayerNorm, 1e-5).with_gate(silu), DType::F16);
    let message = none.name().expect_err("LayerNorm has no gate").to_string();
    assert!(message.contains("LayerNorm Parts GatedStore f16") && message.contains("ResidualAdd Store"), "{message}");
}
