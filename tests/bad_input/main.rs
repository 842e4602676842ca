//! Every refusal of a call, by its type: what was given and what is wanted.

mod quantised;
mod sources;

use warpnorm::{
    Activation, ActivationError, Call, CallError, DType, Family, Input, MAX_HIDDEN, Norm, NormError, RawRows,
    RawVector, ResidualAdd, Role,
};

const X: u64 = 0x10_0000;
const RESIDUAL: u64 = 0x20_0000;
const Y: u64 = 0x30_0000;
const RESIDUAL_OUT: u64 = 0x40_0000;
const WEIGHT: u64 = 0x50_0000;
const BIAS: u64 = 0x60_0000;
const MEAN: u64 = 0x70_0000;
const RSTD: u64 = 0x80_0000;

const ROWS: usize = 4;
const HIDDEN: usize = 100;

/// A valid call with every tensor.
fn full(dtype: DType) -> Call {
    let rows = |address| RawRows { address, stride: HIDDEN };
    let norm = Norm::layer_norm(1e-5).with_residual_add(ResidualAdd::default());
    let mut call = Call::new(norm, dtype, ROWS, HIDDEN, rows(X), rows(Y));
    call.residual = Some(rows(RESIDUAL));
    call.residual_out = Some(rows(RESIDUAL_OUT));
    call.weight = Some(RawVector { address: WEIGHT, dtype });
    call.bias = Some(RawVector { address: BIAS, dtype });
    call.mean = Some(MEAN);
    call.rstd = Some(RSTD);
    call
}

fn y(call: &mut Call) -> &mut RawRows {
    call.y.as_mut().expect("set")
}

/// The refusal of the full f16 call after a change.
fn refusal(change: impl FnOnce(&mut Call)) -> CallError {
    let mut call = full(DType::F16);
    assert_eq!(call.validate(), Ok(()), "the call is valid before the change");
    change(&mut call);
    call.validate().expect_err("the change makes the call invalid")
}

#[test]
fn norm_values() {
    for eps in [-1e-9, f32::NAN, f32::INFINITY] {
        let error = refusal(|call| call.norm.eps = eps);
        assert!(matches!(error, CallError::Norm(NormError::Eps { given }) if given.to_bits() == eps.to_bits()));
    }
    assert_eq!(Norm::rms_norm(0.0).validate(), Ok(()));
    assert!(matches!(
        refusal(|call| call.norm.weight_offset = f32::NAN),
        CallError::Norm(NormError::WeightOffset { .. })
    ));
    let add = ResidualAdd { scale: f32::INFINITY, ..ResidualAdd::default() };
    assert!(matches!(
        refusal(|call| call.norm.input = Input::ResidualAdd(add)),
        CallError::Norm(NormError::ResidualScale { .. })
    ));
}

#[test]
fn shapes_and_strides() {
    assert_eq!(refusal(|call| call.hidden = 0), CallError::Hidden { given: 0 });
    assert_eq!(refusal(|call| call.hidden = MAX_HIDDEN + 1), CallError::Hidden { given: MAX_HIDDEN + 1 });
    for role in [Role::X, Role::Residual, Role::Y, Role::ResidualOut] {
        let error = refusal(|call| {
            let rows = match role {
                Role::X => &mut call.x,
                Role::Y => call.y.as_mut().expect("set"),
                Role::Residual => call.residual.as_mut().expect("set"),
                _ => call.residual_out.as_mut().expect("set"),
            };
            rows.stride = HIDDEN - 1;
        });
        assert_eq!(error, CallError::Stride { role, given: HIDDEN - 1, hidden: HIDDEN });
    }
    assert_eq!(
        refusal(|call| call.rows = usize::MAX / 2),
        CallError::TooLarge { rows: usize::MAX / 2, stride: HIDDEN }
    );
}

#[test]
fn residual_and_statistics() {
    assert_eq!(refusal(|call| call.residual = None), CallError::Residual { wanted: true });
    assert_eq!(refusal(|call| call.norm.input = Input::Plain), CallError::Residual { wanted: false });
    assert_eq!(
        refusal(|call| {
            call.norm.input = Input::Plain;
            call.residual = None;
        }),
        CallError::ResidualOut
    );
    assert_eq!(refusal(|call| call.norm.family = Family::RmsNorm), CallError::Mean { family: Family::RmsNorm });
}

#[test]
fn parameter_types() {
    assert_eq!(
        refusal(|call| call.weight = Some(RawVector { address: WEIGHT, dtype: DType::BF16 })),
        CallError::ParameterType { role: Role::Weight, given: DType::BF16, activation: DType::F16 }
    );
    assert_eq!(
        refusal(|call| call.bias = Some(RawVector { address: BIAS, dtype: DType::F32 })),
        CallError::ParameterTypes { weight: DType::F16, bias: DType::F32 }
    );
    assert_eq!(
        refusal(|call| {
            call.norm.weight_offset = 1.0;
            call.weight = None;
        }),
        CallError::OffsetWithoutWeight { offset: 1.0 }
    );
    let mut f32_parameters = full(DType::BF16);
    f32_parameters.weight = Some(RawVector { address: WEIGHT, dtype: DType::F32 });
    f32_parameters.bias = Some(RawVector { address: BIAS, dtype: DType::F32 });
    assert_eq!(f32_parameters.validate(), Ok(()));
}

#[test]
fn addresses() {
    assert_eq!(refusal(|call| call.x.address = 0), CallError::Null { role: Role::X });
    assert_eq!(refusal(|call| call.mean = Some(0)), CallError::Null { role: Role::Mean });
    assert_eq!(refusal(|call| y(call).address += 1), CallError::Misaligned { role: Role::Y, address: Y + 1, size: 2 });
    assert_eq!(
        refusal(|call| call.rstd = Some(RSTD + 2)),
        CallError::Misaligned { role: Role::Rstd, address: RSTD + 2, size: 4 }
    );
    // Nothing is read or written where there are no rows, so no address is looked at.
    let mut empty = full(DType::F16);
    empty.rows = 0;
    empty.x.address = 0;
    assert_eq!(empty.validate(), Ok(()));
}

#[test]
fn outputs_lie_exactly_over_an_input_or_apart() {
    let in_place = |change: fn(&mut Call)| {
        let mut call = full(DType::F16);
        change(&mut call);
        call.validate()
    };
    assert_eq!(in_place(|call| call.y = Some(call.x)), Ok(()));
    assert_eq!(in_place(|call| call.residual_out = call.residual), Ok(()));
    assert_eq!(in_place(|call| call.y = call.residual), Ok(()));

    let overlap = |output, other| CallError::Overlap { output, other };
    assert_eq!(refusal(|call| y(call).address = X + 2), overlap(Role::Y, Role::X));
    assert_eq!(refusal(|call| y(call).address = X - 2), overlap(Role::Y, Role::X));
    assert_eq!(refusal(|call| call.y = Some(RawRows { address: X, stride: HIDDEN + 1 })), overlap(Role::Y, Role::X));
    assert_eq!(refusal(|call| call.residual_out = call.y), overlap(Role::Y, Role::ResidualOut));
    assert_eq!(
        refusal(|call| call.weight = Some(RawVector { address: Y + 8, dtype: DType::F16 })),
        overlap(Role::Y, Role::Weight)
    );
    assert_eq!(refusal(|call| call.mean = Some(RSTD + 4)), overlap(Role::Mean, Role::Rstd));
    assert_eq!(refusal(|call| call.rstd = Some(X + 4)), overlap(Role::Rstd, Role::X));
}

#[test]
fn columns_of_one_packed_matrix_do_not_overlap() {
    let packed = |shift: usize| {
        let mut call = full(DType::F16);
        call.x = RawRows { address: X, stride: 3 * HIDDEN };
        call.y = Some(RawRows { address: X + (shift * 2) as u64, stride: 3 * HIDDEN });
        call.validate()
    };
    assert_eq!(packed(HIDDEN), Ok(()));
    assert_eq!(packed(2 * HIDDEN), Ok(()));
    let overlap = Err(CallError::Overlap { output: Role::Y, other: Role::X });
    assert_eq!(packed(HIDDEN - 1), overlap);
    assert_eq!(packed(2 * HIDDEN + 1), overlap);
}

#[test]
fn messages_say_what_was_given_and_what_is_wanted() {
    let stride = CallError::Stride { role: Role::X, given: 7, hidden: 8 };
    assert_eq!(stride.to_string(), "x has a row stride of 7 elements, wanted at least the hidden size, 8");
    let residual = CallError::Residual { wanted: true };
    assert_eq!(residual.to_string(), "the norm takes a residual, but none is given");
}

#[test]
fn gates() {
    let absent = refusal(|call| call.norm.gate = Some(Activation::SILU));
    assert_eq!(absent, CallError::Absent { role: Role::Gate });
    let rows = Some(RawRows { address: 0x90_0000, stride: HIDDEN });
    assert_eq!(refusal(|call| call.gate = rows), CallError::Unused { role: Role::Gate });
    let with_gate = |change: &dyn Fn(&mut Call)| {
        let mut call = full(DType::F16);
        call.norm.gate = Some(Activation::SILU);
        call.gate = rows;
        call.bias = None;
        change(&mut call);
        call.validate()
    };
    assert_eq!(with_gate(&|_| {}), Ok(()));
    assert_eq!(
        with_gate(&|call| call.bias = Some(RawVector { address: BIAS, dtype: DType::F16 })),
        Err(CallError::Unused { role: Role::Bias })
    );
    let slope = Activation::LeakyRelu { slope: f32::NAN };
    assert!(matches!(
        with_gate(&|call| call.norm.gate = Some(slope)),
        Err(CallError::Norm(NormError::Activation(ActivationError::Slope { .. })))
    ));
    let short = Some(RawRows { address: 0x90_0000, stride: HIDDEN - 1 });
    assert_eq!(
        with_gate(&|call| call.gate = short),
        Err(CallError::Stride { role: Role::Gate, given: HIDDEN - 1, hidden: HIDDEN })
    );
    // y may lie exactly over the gate, and no other way.
    assert_eq!(with_gate(&|call| call.y = rows), Ok(()));
    let off = Some(RawRows { address: 0x90_0000 + 2, stride: HIDDEN });
    assert_eq!(with_gate(&|call| call.y = off), Err(CallError::Overlap { output: Role::Y, other: Role::Gate }));
}

#[test]
fn linear_biases() {
    let bias = |dtype| Some(RawVector { address: 0x90_0000, dtype });
    let mut call = full(DType::F16);
    call.linear_bias = bias(DType::F16);
    assert_eq!(call.validate(), Ok(()));
    assert_eq!(
        refusal(|call| call.linear_bias = bias(DType::F32)),
        CallError::LinearBiasType { given: DType::F32, activation: DType::F16 }
    );
    let mut alone = Call::new(Norm::rms_norm(1e-6), DType::F16, ROWS, HIDDEN, call.x, *y(&mut call));
    alone.linear_bias = bias(DType::F16);
    assert_eq!(alone.validate(), Err(CallError::Unused { role: Role::LinearBias }));
}

/// What has no statistic stores none.
#[test]
fn identities() {
    let mut call = full(DType::F16);
    let mut affine = Call::new(Norm::affine(), DType::F16, ROWS, HIDDEN, call.x, *y(&mut call));
    assert_eq!(affine.validate(), Ok(()));
    affine.rstd = Some(RSTD);
    assert_eq!(affine.validate(), Err(CallError::Unused { role: Role::Rstd }));
    affine.rstd = None;
    affine.mean = Some(MEAN);
    assert_eq!(affine.validate(), Err(CallError::Mean { family: Family::Identity }));
}

/// A combination that no kernel computes is refused by the plan, by name.
#[test]
fn there_is_no_module_for_everything() {
    let mut call = full(DType::F16);
    call.norm.gate = Some(Activation::SILU);
    call.gate = Some(RawRows { address: 0x90_0000, stride: HIDDEN });
    call.bias = None;
    let refusal = warpnorm::plan::plan(&call, &warpnorm::DeviceFacts::h200()).expect_err("no such kernel");
    assert!(matches!(refusal, warpnorm::Error::Plan(warpnorm::PlanError::NoModule { .. })), "{refusal}");
    assert!(refusal.to_string().contains("LayerNorm ResidualAdd GatedStore f16"), "{refusal}");
}
