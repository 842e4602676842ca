//! What is refused of residuals after the norm, of two norms, of heads and groups, and of rotations.

use warpnorm::{
    Activation, Call, CallError, DType, Family, Input, Interpolation, Norm, NormError, Parts, PositionType, PostAdd,
    RawHeads, RawPositions, RawRope, RawRows, RawVector, Role, Rope, Scope,
};

const ROWS: usize = 4;
const HIDDEN: usize = 64;
const HEADS: usize = 3;

fn place(number: u64) -> u64 {
    number * 0x10_0000
}

fn vector(number: u64) -> RawVector {
    RawVector { address: place(number), dtype: DType::F16 }
}

fn rows(number: u64, stride: usize) -> RawRows {
    RawRows { address: place(number), stride }
}

/// A call of whole rows.
fn whole(norm: Norm) -> Call {
    Call::new(norm, DType::F16, ROWS, HIDDEN, rows(1, HIDDEN), rows(2, HIDDEN))
}

fn post_add() -> Call {
    let norm = Norm::rms_norm(1e-6).with_post_add(PostAdd::default());
    Call { residual: Some(rows(3, HIDDEN)), weight: Some(vector(4)), ..whole(norm) }
}

fn two_norms() -> Call {
    let norm = Norm::rms_norm(1e-6).with_input(Input::PostNorm(PostAdd::default()));
    Call {
        residual: Some(rows(3, HIDDEN)),
        residual_out: Some(rows(5, HIDDEN)),
        weight: Some(vector(4)),
        inner_weight: Some(vector(6)),
        ..whole(norm)
    }
}

fn step() -> Call {
    let norm = Norm::l2_norm().with_input(Input::Interpolation(Interpolation::default()));
    Call { residual: Some(rows(3, HIDDEN)), rate: Some(vector(7)), ..whole(norm) }
}

/// Q and K in one packed tensor, in place, with their positions.
fn heads() -> Call {
    let norm = Norm::rms_norm(1e-6).with_rope(Rope::half_split(HIDDEN));
    let stride = 2 * HEADS * HIDDEN;
    let q = rows(1, stride);
    let k = RawRows { address: place(1) + (HEADS * HIDDEN * 2) as u64, stride };
    Call {
        weight: Some(vector(4)),
        parts: Parts::packed(HEADS, HIDDEN),
        second: Some(RawHeads {
            x: k,
            y: k,
            count: 2,
            x_stride: HIDDEN,
            y_stride: HIDDEN,
            weight: Some(vector(8)),
            bias: None,
        }),
        rope: Some(RawRope {
            cos: rows(9, HIDDEN),
            sin: RawRows { address: place(9) + (HIDDEN / 2 * 4) as u64, stride: HIDDEN },
            dtype: DType::F32,
            entries: 100,
            positions: Some(RawPositions { address: place(10), kind: PositionType::I64 }),
        }),
        ..Call::new(norm, DType::F16, ROWS, HIDDEN, q, q)
    }
}

fn groups() -> Call {
    let norm = Norm::rms_norm(1e-6).with_scope(Scope::Group).with_gate(Activation::SILU);
    let stride = HEADS * HIDDEN;
    Call {
        gate: Some(rows(3, stride)),
        weight: Some(vector(4)),
        parts: Parts::packed(HEADS, HIDDEN),
        ..Call::new(norm, DType::F16, ROWS, HIDDEN, rows(1, stride), rows(2, stride))
    }
}

/// The refusal of a call that was valid before the change.
fn refusal(mut call: Call, change: impl FnOnce(&mut Call)) -> CallError {
    assert_eq!(call.validate(), Ok(()), "the call is valid before the change");
    change(&mut call);
    call.validate().expect_err("the change makes the call invalid")
}

#[test]
fn values_of_the_description() {
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let add = PostAdd { scale, ..PostAdd::default() };
        for call in [post_add(), two_norms()] {
            let error = refusal(call, |call| match &mut call.norm.input {
                Input::PostNorm(inner) => *inner = add,
                _ => call.norm.post_add = Some(add),
            });
            assert!(matches!(error, CallError::Norm(NormError::PostScale { .. })), "{scale}: {error}");
        }
    }
    let error = refusal(step(), |call| {
        call.norm.input = Input::Interpolation(Interpolation { rate_scale: f32::INFINITY });
    });
    assert_eq!(error, CallError::Norm(NormError::RateScale { given: f32::INFINITY }));
    for given in [0, 1, 63, 514] {
        let error = refusal(heads(), |call| call.norm.rope = Some(Rope::half_split(given)));
        assert_eq!(error, CallError::Norm(NormError::RopeDim { given }));
    }
}

#[test]
fn what_does_not_go_together() {
    let combination = |call: Call, change: &dyn Fn(&mut Norm), words: &str| {
        let error = refusal(call, |call| change(&mut call.norm));
        assert!(matches!(error, CallError::Norm(NormError::Combination { .. })), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    combination(post_add(), &|norm| norm.gate = Some(Activation::SILU), "a residual add after the norm");
    combination(post_add(), &|norm| norm.scope = Scope::Head, "a residual add after the norm");
    combination(two_norms(), &|norm| norm.gate = Some(Activation::SILU), "a gate after the norm");
    combination(two_norms(), &|norm| norm.family = Family::LayerNorm, "is an RMS norm or an L2 norm");
    combination(step(), &|norm| norm.scope = Scope::Group, "a norm of heads or groups");
    combination(heads(), &|norm| norm.gate = Some(Activation::SILU), "a norm of heads has no gate");
    combination(heads(), &|norm| norm.scope = Scope::Group, "rotary embedding");
    let quantisation = Some(warpnorm::quantise::Quantisation::per_tensor_wide());
    combination(groups(), &|norm| norm.quantisation = quantisation, "is not quantised");
}

#[test]
fn tensors_that_are_missing_or_of_no_use() {
    assert_eq!(refusal(post_add(), |call| call.residual = None), CallError::Residual { wanted: true });
    assert_eq!(refusal(step(), |call| call.residual = None), CallError::Residual { wanted: true });
    assert_eq!(refusal(step(), |call| call.residual_out = Some(rows(5, HIDDEN))), CallError::ResidualOut);
    assert_eq!(refusal(post_add(), |call| call.residual_out = Some(rows(5, HIDDEN))), CallError::ResidualOut);
    for (call, role, change) in [
        (step(), Role::Rate, (|call| call.rate = None) as fn(&mut Call)),
        (two_norms(), Role::InnerWeight, |call| call.inner_weight = None),
        (heads(), Role::Cos, |call| call.rope = None),
        (groups(), Role::Gate, |call| call.gate = None),
        (heads(), Role::SecondWeight, |call| call.second.as_mut().expect("set").weight = None),
    ] {
        assert_eq!(refusal(call, change), CallError::Absent { role });
    }
    for (call, role, change) in [
        (post_add(), Role::Rate, (|call| call.rate = Some(vector(7))) as fn(&mut Call)),
        (post_add(), Role::InnerWeight, |call| call.inner_weight = Some(vector(6))),
        (post_add(), Role::Bias, |call| call.bias = Some(vector(11))),
        (two_norms(), Role::InnerWeight, |call| call.weight = None),
        (groups(), Role::SecondX, |call| call.second = heads().second),
        (groups(), Role::Cos, |call| call.rope = heads().rope),
        (heads(), Role::SecondBias, |call| call.second.as_mut().expect("set").bias = Some(vector(11))),
        (heads(), Role::Rstd, |call| call.rstd = Some(place(12))),
    ] {
        assert_eq!(refusal(call, change), CallError::Unused { role });
    }
}

#[test]
fn types() {
    let bf16 = RawVector { dtype: DType::BF16, ..vector(7) };
    let error = refusal(step(), |call| call.rate = Some(bf16));
    assert_eq!(error, CallError::ParameterType { role: Role::Rate, given: DType::BF16, activation: DType::F16 });
    let f32 = RawVector { dtype: DType::F32, ..vector(6) };
    let error = refusal(two_norms(), |call| call.inner_weight = Some(f32));
    assert_eq!(error, CallError::SecondType { role: Role::InnerWeight, given: DType::F32, wanted: DType::F16 });
    let error = refusal(heads(), |call| call.second.as_mut().expect("set").weight = Some(f32));
    assert_eq!(error, CallError::SecondType { role: Role::SecondWeight, given: DType::F32, wanted: DType::F16 });
    let error = refusal(heads(), |call| call.rope.as_mut().expect("set").dtype = DType::BF16);
    assert_eq!(error, CallError::ParameterType { role: Role::Cos, given: DType::BF16, activation: DType::F16 });
}

#[test]
fn heads_and_groups() {
    for scope in [Scope::Head, Scope::Group] {
        let call = if scope == Scope::Head { heads() } else { groups() };
        assert_eq!(refusal(call, |call| call.parts.count = 0), CallError::Parts { given: 0, scope });
    }
    let parts = Parts::packed(2, HIDDEN);
    let error = refusal(post_add(), |call| call.parts = parts);
    assert_eq!(error, CallError::Parts { given: 2, scope: Scope::Row });
    let error = refusal(heads(), |call| call.parts.x_stride = HIDDEN - 1);
    assert_eq!(error, CallError::PartStride { role: Role::X, given: HIDDEN - 1, hidden: HIDDEN });
    // Three heads take 3 · 64 elements.
    let error = refusal(groups(), |call| call.gate = Some(rows(3, 191)));
    assert_eq!(error, CallError::Stride { role: Role::Gate, given: 191, hidden: 192 });
    let error = refusal(heads(), |call| call.norm.rope = Some(Rope::half_split(HIDDEN + 2)));
    assert_eq!(error, CallError::RotatedHead { dim: HIDDEN + 2, hidden: HIDDEN });
    let error = refusal(heads(), |call| {
        let rope = call.rope.as_mut().expect("set");
        (rope.positions, rope.entries) = (None, ROWS - 1);
    });
    assert_eq!(error, CallError::RopeEntries { given: ROWS - 1, wanted: ROWS });
}

/// Heads of one packed tensor may interleave in any way that shares no byte; and only in such.
#[test]
fn heads_that_share_memory() {
    // One head of K starts where the last of Q is.
    let error = refusal(heads(), |call| {
        let second = call.second.as_mut().expect("set");
        let k = RawRows { address: place(1) + ((HEADS - 1) * HIDDEN * 2) as u64, ..second.x };
        (second.x, second.y) = (k, k);
    });
    assert_eq!(error, CallError::Overlap { output: Role::Y, other: Role::SecondX });
    // By turns: a head of Q, one of K, one of V.
    let mut call = heads();
    let (stride, turn) = (3 * HEADS * HIDDEN, 3 * HIDDEN);
    let at = |head: usize| RawRows { address: place(1) + (head * HIDDEN * 2) as u64, stride };
    call.parts = Parts { count: HEADS, x_stride: turn, gate_stride: 0, y_stride: turn };
    (call.x, call.y) = (at(0), Some(at(0)));
    let second = call.second.as_mut().expect("set");
    (second.x, second.y, second.x_stride, second.y_stride, second.count) = (at(1), at(1), turn, turn, HEADS);
    assert_eq!(call.validate(), Ok(()));
    // y of K over x of Q.
    call.second.as_mut().expect("set").y = at(0);
    assert!(matches!(call.validate(), Err(CallError::Overlap { .. })));
}

#[test]
fn outputs_over_tables_and_positions() {
    for (change, other) in [
        ((|call| call.y = Some(rows(9, 2 * HEADS * HIDDEN))) as fn(&mut Call), Role::Cos),
        (|call| call.y = Some(rows(10, 2 * HEADS * HIDDEN)), Role::Positions),
        (|call| call.y = Some(rows(8, 2 * HEADS * HIDDEN)), Role::SecondWeight),
    ] {
        assert_eq!(refusal(heads(), change), CallError::Overlap { output: Role::Y, other });
    }
}
