//! Refusals of calls that quantise.

use super::{BIAS, HIDDEN, RESIDUAL, RESIDUAL_OUT, ROWS, RSTD, WEIGHT, X, Y, full, refusal};
use warpnorm::quantise::{BlockRounding, CodeType, Quantisation, QuantiseError, ScaleLayout, ScaleType, Scaling};
use warpnorm::{Call, CallError, DType, RawCodes, Role};

const CODES: u64 = 0x90_0000;
const SCALES: u64 = 0xa0_0000;
const TENSOR_SCALE: u64 = 0xb0_0000;
/// A multiple of every group.
const WIDE: usize = 256;

/// A valid call with every tensor, y among them.
fn quantised(quantisation: Quantisation) -> Call {
    let mut call = full(DType::F16);
    call.norm = call.norm.with_quantisation(quantisation);
    call.hidden = WIDE;
    for rows in [Some(&mut call.x), call.residual.as_mut(), call.y.as_mut(), call.residual_out.as_mut()] {
        rows.expect("set").stride = WIDE;
    }
    call.codes = Some(RawCodes { address: CODES, stride: quantisation.row_bytes(WIDE) });
    call.scales = quantisation.scaling.scale_type().map(|_| SCALES);
    call.tensor_scale = quantisation.scaling.takes_tensor_scale().then_some(TENSOR_SCALE);
    call
}

/// The refusal of a valid call after a change.
fn refused(quantisation: Quantisation, change: impl FnOnce(&mut Call)) -> CallError {
    let mut call = quantised(quantisation);
    assert_eq!(call.validate(), Ok(()), "the call is valid before the change");
    change(&mut call);
    call.validate().expect_err("the change makes the call invalid")
}

const PER_TENSOR: Quantisation = Quantisation::per_tensor(CodeType::E4m3);
const PER_TOKEN: Quantisation = Quantisation::per_token(CodeType::E4m3);
const PER_GROUP: Quantisation = Quantisation::per_group(CodeType::Int8, 128);
const ALL: [Quantisation; 5] = [PER_TENSOR, PER_TOKEN, PER_GROUP, Quantisation::mxfp8(), Quantisation::nvfp4()];

fn codes(call: &mut Call) -> &mut RawCodes {
    call.codes.as_mut().expect("set")
}

#[test]
fn what_the_scaling_needs_is_there_and_nothing_else() {
    for quantisation in ALL {
        let absent = |role| CallError::Absent { role };
        let unused = |role| CallError::Unused { role };
        assert_eq!(refused(quantisation, |call| call.codes = None), absent(Role::Codes));
        // y may be there or not.
        let mut without_y = quantised(quantisation);
        without_y.y = None;
        assert_eq!(without_y.validate(), Ok(()));
        let made = quantisation != PER_TENSOR;
        let scales = refused(quantisation, |call| call.scales = if made { None } else { Some(SCALES) });
        assert_eq!(scales, if made { absent(Role::Scales) } else { unused(Role::Scales) });
        let takes = [PER_TENSOR, Quantisation::nvfp4()].contains(&quantisation);
        let given = refused(quantisation, |call| call.tensor_scale = if takes { None } else { Some(TENSOR_SCALE) });
        assert_eq!(given, if takes { absent(Role::TensorScale) } else { unused(Role::TensorScale) });
    }
}

#[test]
fn a_norm_that_does_not_quantise_has_y_and_no_more() {
    assert_eq!(refusal(|call| call.y = None), CallError::Absent { role: Role::Y });
    let codes = RawCodes { address: CODES, stride: HIDDEN };
    assert_eq!(refusal(|call| call.codes = Some(codes)), CallError::Unused { role: Role::Codes });
    assert_eq!(refusal(|call| call.scales = Some(SCALES)), CallError::Unused { role: Role::Scales });
    assert_eq!(refusal(|call| call.tensor_scale = Some(TENSOR_SCALE)), CallError::Unused { role: Role::TensorScale });
}

#[test]
fn f32_is_not_quantised() {
    let mut call = quantised(PER_TOKEN);
    call.dtype = DType::F32;
    for parameter in [call.weight.as_mut(), call.bias.as_mut()] {
        parameter.expect("set").dtype = DType::F32;
    }
    assert_eq!(call.validate(), Err(CallError::QuantisedType { given: DType::F32 }));
}

/// A rule of the description and of the hidden size, by what breaks it.
#[test]
fn the_description_is_checked() {
    let refused = |code, scaling| match refused(PER_TOKEN, |call| {
        call.norm.quantisation = Some(Quantisation { code, scaling });
    }) {
        CallError::Quantise(error) => error,
        other => panic!("{other}"),
    };
    let given = CodeType::E2m1;
    let layout = ScaleLayout::RowMajor;
    for (scaling, name) in [
        (Scaling::PerTensor, "per-tensor"),
        (Scaling::PerToken { upper_bound: None }, "per-token"),
        (PER_GROUP.scaling, "per-group"),
        (Scaling::Mxfp8 { rounding: BlockRounding::Up, layout }, "mxfp8"),
    ] {
        assert_eq!(refused(given, scaling), QuantiseError::CodeType { scaling: name, given });
    }
    let given = CodeType::Int8;
    let nvfp4 = Scaling::Nvfp4 { layout };
    assert_eq!(refused(given, nvfp4), QuantiseError::CodeType { scaling: "nvfp4", given });

    let bounded = |given| Scaling::PerToken { upper_bound: Some(given) };
    for given in [0.0, -1.0, f32::INFINITY] {
        assert_eq!(refused(CodeType::E4m3, bounded(given)), QuantiseError::UpperBound { given });
    }
    let nan = refused(CodeType::E4m3, bounded(f32::NAN));
    assert!(matches!(nan, QuantiseError::UpperBound { given } if given.is_nan()));
    assert_eq!(refused(CodeType::Int8, bounded(1.0)), QuantiseError::UpperBoundOfInt8);

    let groups = |size, layout, floor| Scaling::PerGroup { size, layout, power_of_two: false, floor };
    for given in [0, 32, 256] {
        let scaling = groups(given, layout, 1e-10);
        assert_eq!(refused(CodeType::E4m3, scaling), QuantiseError::GroupSize { given });
    }
    for given in [0.0, Scaling::LEAST_FLOOR / 2.0, f32::INFINITY] {
        let scaling = groups(128, layout, given);
        assert_eq!(refused(CodeType::E4m3, scaling), QuantiseError::Floor { given });
    }

    let given = ScaleLayout::Tiled;
    let (scaling, wanted) = ("per-group", "row-major or column-major");
    let tiled = refused(CodeType::E4m3, groups(128, given, 1e-10));
    assert_eq!(tiled, QuantiseError::Layout { scaling, given, wanted });
    let given = ScaleLayout::ColumnMajor { alignment: 1 };
    let (scaling, wanted) = ("mxfp8", "row-major or tiled");
    let column_major = Scaling::Mxfp8 { rounding: BlockRounding::Up, layout: given };
    assert_eq!(refused(CodeType::E4m3, column_major), QuantiseError::Layout { scaling, given, wanted });
    let unaligned = groups(128, ScaleLayout::ColumnMajor { alignment: 0 }, 1e-10);
    assert_eq!(refused(CodeType::E4m3, unaligned), QuantiseError::Alignment { given: 0 });
}

#[test]
fn rows_are_whole_groups() {
    for (quantisation, group) in [(PER_GROUP, 128), (Quantisation::mxfp8(), 32), (Quantisation::nvfp4(), 16)] {
        let hidden = WIDE - group / 2;
        let error = refused(quantisation, |call| call.hidden = hidden);
        assert_eq!(error, CallError::Quantise(QuantiseError::Hidden { hidden, group }));
    }
}

#[test]
fn strides_of_codes_are_at_least_a_row_of_bytes() {
    for quantisation in ALL {
        let row = if quantisation.code == CodeType::E2m1 { WIDE / 2 } else { WIDE };
        let error = refused(quantisation, |call| codes(call).stride = row - 1);
        assert_eq!(error, CallError::Stride { role: Role::Codes, given: row - 1, hidden: row });
    }
    let stride = usize::MAX / 2;
    let error = refused(PER_TOKEN, |call| codes(call).stride = stride);
    assert_eq!(error, CallError::TooLarge { rows: ROWS, stride });
}

#[test]
fn scales_that_cannot_be_counted_are_too_large() {
    let error = refused(PER_GROUP, |call| {
        let layout = ScaleLayout::ColumnMajor { alignment: usize::MAX };
        let scaling = Scaling::PerGroup { size: 128, layout, power_of_two: false, floor: 1e-10 };
        call.norm.quantisation = Some(Quantisation { code: CodeType::Int8, scaling });
    });
    assert_eq!(error, CallError::TooLarge { rows: ROWS, stride: 1 });
}

#[test]
fn addresses_of_codes_and_scales() {
    let null = |role| CallError::Null { role };
    assert_eq!(refused(PER_TOKEN, |call| codes(call).address = 0), null(Role::Codes));
    assert_eq!(refused(PER_TOKEN, |call| call.scales = Some(0)), null(Role::Scales));
    assert_eq!(refused(PER_TENSOR, |call| call.tensor_scale = Some(0)), null(Role::TensorScale));
    for quantisation in ALL {
        // Any address does for codes, and for scales of a byte.
        let mut moved = quantised(quantisation);
        codes(&mut moved).address += 1;
        assert_eq!(moved.validate(), Ok(()));
        let Some(scale_type) = quantisation.scaling.scale_type() else { continue };
        moved.scales = Some(SCALES + 1);
        let misaligned = CallError::Misaligned { role: Role::Scales, address: SCALES + 1, size: 4 };
        let wanted = if scale_type == ScaleType::F32 { Err(misaligned) } else { Ok(()) };
        assert_eq!(moved.validate(), wanted);
    }
    let address = TENSOR_SCALE + 2;
    let error = refused(PER_TENSOR, |call| call.tensor_scale = Some(address));
    assert_eq!(error, CallError::Misaligned { role: Role::TensorScale, address, size: 4 });
    // No rows, no addresses.
    let mut empty = quantised(PER_TOKEN);
    empty.rows = 0;
    codes(&mut empty).address = 0;
    empty.scales = Some(1);
    assert_eq!(empty.validate(), Ok(()));
}

/// Not even element for element: a code is narrower than what it would lie over.
#[test]
fn codes_and_scales_lie_apart_from_all_else() {
    // Outputs are asked in the order of the call's tensors, so y and residual_out speak before codes.
    for (address, output, other) in [
        (X, Role::Codes, Role::X),
        (RESIDUAL, Role::Codes, Role::Residual),
        (Y, Role::Y, Role::Codes),
        (RESIDUAL_OUT, Role::ResidualOut, Role::Codes),
        (WEIGHT, Role::Codes, Role::Weight),
        (RSTD, Role::Codes, Role::Rstd),
        (SCALES, Role::Codes, Role::Scales),
    ] {
        let error = refused(PER_TOKEN, |call| codes(call).address = address);
        assert_eq!(error, CallError::Overlap { output, other });
    }
    let over_x = refused(PER_TOKEN, |call| *codes(call) = RawCodes { address: X, stride: 2 * WIDE });
    assert_eq!(over_x, CallError::Overlap { output: Role::Codes, other: Role::X });
    for (address, output, other) in [
        (X + 4, Role::Scales, Role::X),
        (RESIDUAL, Role::Scales, Role::Residual),
        (Y, Role::Y, Role::Scales),
        (CODES, Role::Codes, Role::Scales),
        (BIAS, Role::Scales, Role::Bias),
    ] {
        let error = refused(PER_TOKEN, |call| call.scales = Some(address));
        assert_eq!(error, CallError::Overlap { output, other });
    }
    // The last row's last byte, and the first past it.
    let end = CODES + (ROWS * WIDE) as u64;
    let overlap = CallError::Overlap { output: Role::Codes, other: Role::Scales };
    assert_eq!(refused(PER_TOKEN, |call| call.scales = Some(end - 4)), overlap);
    let mut beside = quantised(PER_TOKEN);
    beside.scales = Some(end);
    assert_eq!(beside.validate(), Ok(()));
    let overlap = CallError::Overlap { output: Role::Codes, other: Role::TensorScale };
    assert_eq!(refused(PER_TENSOR, |call| call.tensor_scale = Some(CODES)), overlap);
}

/// Padding of column-major scales and of tiles is part of the buffer, whether it is written or not.
#[test]
fn the_padding_of_scales_belongs_to_them() {
    let layout = ScaleLayout::ColumnMajor { alignment: 8 };
    let scaling = Scaling::PerGroup { size: 128, layout, power_of_two: false, floor: 1e-10 };
    let columns = Quantisation { code: CodeType::E4m3, scaling };
    let tiled = Scaling::Mxfp8 { rounding: BlockRounding::Up, layout: ScaleLayout::Tiled };
    let tiles = Quantisation { code: CodeType::E4m3, scaling: tiled };
    // Two groups of eight floats; two tiles of 512 bytes.
    for (quantisation, bytes) in [(columns, 64), (tiles, 1024)] {
        let overlap = CallError::Overlap { output: Role::Scales, other: Role::Rstd };
        let rstd = |call: &mut Call, at: u64| call.rstd = Some(SCALES + at);
        assert_eq!(refused(quantisation, |call| rstd(call, bytes - 4)), overlap);
        let mut beside = quantised(quantisation);
        rstd(&mut beside, bytes);
        assert_eq!(beside.validate(), Ok(()));
    }
}
