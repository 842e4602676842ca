//! Calls that cannot be made.

use warpnorm::plan::plan_columns;
use warpnorm::{
    BatchStatistics, CallError, ColumnCall, DType, DeviceFacts, Error, MAX_HIDDEN, NormError, PlanError, RawRows,
    RawVector, Role,
};

/// 10 rows of 64 bf16, all of a call's tensors far apart.
fn valid() -> ColumnCall {
    let address = |tensor: u64| tensor << 40;
    let vector = |tensor| Some(RawVector { address: address(tensor), dtype: DType::F32 });
    let x = RawRows { address: address(1), stride: 80 };
    ColumnCall {
        weight: vector(2),
        bias: vector(3),
        mean: Some(address(4)),
        rstd: Some(address(5)),
        scale: Some(address(6)),
        shift: Some(address(7)),
        ..ColumnCall::new(BatchStatistics::new(1e-5), DType::BF16, 10, 64, x)
    }
}

#[test]
fn what_is_wrong_is_said() {
    assert_eq!(valid().validate(), Ok(()));
    let vector = |address, dtype| Some(RawVector { address, dtype });
    type Change = fn(&mut ColumnCall);
    let with = |change: Change| {
        let mut call = valid();
        change(&mut call);
        call.validate().expect_err("not valid")
    };
    for eps in [-1e-5, f32::INFINITY] {
        let call = ColumnCall { statistics: BatchStatistics::new(eps), ..valid() };
        assert_eq!(call.validate(), Err(CallError::Norm(NormError::Eps { given: eps })));
    }
    assert_eq!(with(|call| call.rows = 0), CallError::NoRows);
    assert_eq!(with(|call| call.hidden = 0), CallError::Hidden { given: 0 });
    assert_eq!(with(|call| call.hidden = MAX_HIDDEN + 1), CallError::Hidden { given: MAX_HIDDEN + 1 });
    assert_eq!(with(|call| call.x.stride = 63), CallError::Stride { role: Role::X, given: 63, hidden: 64 });
    let too_large = CallError::TooLarge { rows: usize::MAX / 2, stride: 80 };
    assert_eq!(with(|call| call.rows = usize::MAX / 2), too_large);
    let nothing: Change = |call| (call.mean, call.rstd, call.scale, call.shift) = (None, None, None, None);
    assert_eq!(with(nothing), CallError::NoOutput);

    let unused = |role| CallError::Unused { role };
    assert_eq!(with(|call| (call.scale, call.shift) = (None, None)), unused(Role::Weight));
    assert_eq!(with(|call| call.shift = None), unused(Role::Bias));
    let (activation, given) = (DType::BF16, DType::F16);
    let call = ColumnCall { weight: vector(2 << 40, given), ..valid() };
    assert_eq!(call.validate(), Err(CallError::ParameterType { role: Role::Weight, given, activation }));
    let call = ColumnCall { weight: vector(2 << 40, DType::BF16), ..valid() };
    assert_eq!(call.validate(), Err(CallError::ParameterTypes { weight: DType::BF16, bias: DType::F32 }));

    assert_eq!(with(|call| call.x.address = 0), CallError::Null { role: Role::X });
    assert_eq!(with(|call| call.shift = Some(0)), CallError::Null { role: Role::Shift });
    let misaligned = |role, address, size| CallError::Misaligned { role, address, size };
    assert_eq!(with(|call| call.x.address += 1), misaligned(Role::X, (1 << 40) + 1, 2));
    assert_eq!(with(|call| call.scale = Some(2)), misaligned(Role::Scale, 2, 4));
}

#[test]
fn outputs_lie_apart_from_everything() {
    let overlap = |output, other| Err(CallError::Overlap { output, other });
    let with = |output: Role, address| {
        let mut call = valid();
        *match output {
            Role::Mean => &mut call.mean,
            Role::Rstd => &mut call.rstd,
            Role::Scale => &mut call.scale,
            _ => &mut call.shift,
        } = Some(address);
        call.validate()
    };
    for output in [Role::Mean, Role::Rstd, Role::Scale, Role::Shift] {
        assert_eq!(with(output, 1 << 40), overlap(output, Role::X));
        // The last element of γ, and of x, whose last row ends 64 elements after 9 strides.
        assert_eq!(with(output, (2 << 40) + 63 * 4), overlap(output, Role::Weight));
        let end = (1 << 40) + (9 * 80 + 64) * 2;
        assert_eq!(with(output, end - 4), overlap(output, Role::X));
        assert_eq!(with(output, end), Ok(()));
    }
    assert_eq!(with(Role::Shift, 6 << 40), overlap(Role::Shift, Role::Scale));
    assert_eq!(with(Role::Rstd, (4 << 40) + 4), overlap(Role::Rstd, Role::Mean));
}

#[test]
fn devices_that_are_too_small_refuse() {
    let refusal = |call: &ColumnCall, device: &DeviceFacts| match plan_columns(call, device) {
        Err(Error::Plan(error)) => error,
        other => panic!("{other:?}"),
    };
    let h200 = DeviceFacts::h200();
    let small = DeviceFacts { max_threads_per_block: 256, ..h200.clone() };
    let device = h200.name.clone();
    assert_eq!(refusal(&valid(), &small), PlanError::Threads { threads: 512, limit: 256, device: device.clone() });
    let narrow = DeviceFacts { max_grid_x: 3, ..h200.clone() };
    assert_eq!(refusal(&valid(), &narrow), PlanError::Grid { rows: 10, ctas: 4, limit: 3, device });
    // 2^40 rows of one element fit the address space, but not the 32 bits that a thread counts in.
    let x = RawRows { address: 1 << 44, stride: 1 };
    let rows = (1 << 40) + 1;
    let mut tall = ColumnCall::new(BatchStatistics::new(1e-5), DType::F32, rows, 1, x);
    tall.mean = Some(1 << 20);
    assert!(matches!(plan_columns(&tall, &h200), Err(Error::Call(CallError::TooLarge { .. }))));
    tall.rows = 1 << 39;
    assert!(plan_columns(&tall, &h200).is_ok());
}
