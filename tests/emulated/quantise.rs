//! Quantised outputs: codes and scales equal the reference's to the bit, however rows lie.

use crate::judge;
use crate::support::quantisations::{quantisations, sources};
use crate::support::{Failures, case, emulated_devices};
use warpnorm::emulated::Emulated;
use warpnorm::host::{Device, Outputs, Placement};
use warpnorm::parity::Values;
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::reference::{decode, encode};
use warpnorm::{Activation, DType, DeviceFacts, Family, Input, Norm, ResidualAdd, WeightRounding};

/// Runs all quantisations that `hidden` can be divided for, with all families, types and sources; on the
/// devices by turns.
fn hold(failures: &mut Failures, rows: usize, hidden: usize, values: Values, placement: Placement) {
    let devices = emulated_devices();
    let mut turns = devices.iter().cycle();
    for quantisation in quantisations().into_iter().filter(|quantisation| quantisation.validate(hidden).is_ok()) {
        for family in Family::NORMS {
            for dtype in [DType::F16, DType::BF16] {
                for residual in sources() {
                    let mut norm = Norm::new(family, 1e-5).with_quantisation(quantisation);
                    norm.input = Input::from(residual);
                    let mut case = case((norm, Some(dtype), None), dtype, rows, hidden, values, 5);
                    // Half of the cases store y as well. It is asked for where the mean is not exact, and y
                    // with it: codes are those of the y that there is.
                    case.outputs.y = residual.is_some() || values == Values::Denormals;
                    judge(failures, turns.next().expect("two devices"), &case, placement);
                }
            }
        }
    }
}

/// Rows that fill a part of a warp, a warp, a CTA in part and in whole, and loop, staged or read again.
#[test]
fn every_quantisation_in_every_regime() {
    let mut failures = Failures::default();
    for (rows, hidden) in [(5, 16), (9, 64), (3, 128), (2, 256), (2, 640), (2, 4096), (1, 18_432)] {
        hold(&mut failures, rows, hidden, Values::Unit, Placement::default());
    }
    failures.assert_none();
}

#[test]
fn rows_that_are_read_again() {
    let mut failures = Failures::default();
    for quantisation in [Quantisation::per_token(CodeType::E4m3), Quantisation::per_group(CodeType::Int8, 128)] {
        for residual in sources() {
            let mut norm = Norm::rms_norm(1e-5).with_quantisation(quantisation);
            norm.input = Input::from(residual);
            let mut case = case((norm, None, None), DType::BF16, 1, 131_072, Values::OutlierChannel, 5);
            case.outputs.y = true;
            for device in &emulated_devices() {
                for in_place in [false, true] {
                    judge(&mut failures, device, &case, Placement { in_place, ..Placement::default() });
                }
            }
        }
    }
    failures.assert_none();
}

/// Sizes that no chunk divides, strides and addresses that nothing wider than a byte fits.
#[test]
fn ragged_and_misaligned_rows() {
    let mut failures = Failures::default();
    for (padding, offset) in [(0, 0), (1, 0), (0, 1), (3, 5), (8, 8), (16, 16)] {
        for (rows, hidden) in [(3, 1), (3, 7), (3, 20), (2, 128), (2, 257), (2, 4097), (1, 16_390)] {
            hold(
                &mut failures,
                rows,
                hidden,
                Values::Unit,
                Placement { padding, offset, in_place: offset == 5, ..Placement::default() },
            );
        }
    }
    failures.assert_none();
}

#[test]
fn adversarial_values() {
    let mut failures = Failures::default();
    for values in Values::ALL {
        for hidden in [128, 384] {
            hold(&mut failures, 4, hidden, values, Placement::default());
        }
    }
    failures.assert_none();
}

/// y is rounded before it is quantised, in either order of weight and rounding, with bias and offset.
#[test]
fn every_option_of_the_norm() {
    let mut failures = Failures::default();
    for weight_rounding in [WeightRounding::Single, WeightRounding::BeforeWeight] {
        for (weight, bias) in [(None, None), (Some(DType::F32), Some(DType::F32)), (Some(DType::F16), None)] {
            for residual in crate::support::residuals() {
                for family in Family::NORMS {
                    let mut norm = Norm::new(family, 1e-5)
                        .with_weight_rounding(weight_rounding)
                        .with_quantisation(Quantisation::per_token(CodeType::E4m3));
                    norm.input = Input::from(residual);
                    if weight.is_some() {
                        norm = norm.with_weight_offset(1.0);
                    }
                    let case = case((norm, weight, bias), DType::F16, 3, 768, Values::Unit, 11);
                    for device in &emulated_devices() {
                        judge(&mut failures, device, &case, Placement::default());
                    }
                }
            }
        }
    }
    failures.assert_none();
}

/// What a norm or an activation makes of places outside the row, −mean·rstd or σ(0), may be larger than all that it makes of
/// the row: no scale has a part of it, whether a chunk, a line or a second warp is not there.
#[test]
fn scales_are_of_the_row_alone() {
    let mut failures = Failures::default();
    let scaled = |norm: Norm| norm.with_quantisation(Quantisation::per_token(CodeType::E4m3));
    let layer_norm = Norm::layer_norm(1e-5);
    let norms = [
        (layer_norm, 20.0),
        (layer_norm.with_residual_add(ResidualAdd::default()), 20.0),
        (Norm::activation(Activation::Sigmoid), -8.0),
    ];
    // So few multiprocessors that rows are many, and more than all rows need.
    let few = DeviceFacts { multiprocessors: 1, ..DeviceFacts::h200() };
    let [t4, h200] = emulated_devices();
    for dtype in [DType::F16, DType::BF16] {
        for (norm, mean) in norms {
            for (rows, hidden) in [(2, 8), (2, 192), (3, 200), (40, 768), (40, 1536), (2, 18_440)] {
                for bias in [None, (norm.family == Family::LayerNorm).then_some(dtype)] {
                    let mut case = case((scaled(norm), None, bias), dtype, rows, hidden, Values::Unit, 13);
                    case.gate = None;
                    case.outputs.y = true;
                    case.x = encode(dtype, decode(dtype, &case.x).into_iter().map(|value| value + mean));
                    for device in [&t4, &h200, &few] {
                        judge(&mut failures, device, &case, Placement::default());
                    }
                }
            }
        }
    }
    failures.assert_none();
}

/// What is moved is what must be, and codes leave a chunk at a time.
#[test]
fn bytes_moved_are_the_floor() {
    let mut failures = Failures::default();
    for device in emulated_devices() {
        for quantisation in quantisations() {
            for (family, residual) in [(Family::LayerNorm, sources()[0]), (Family::RmsNorm, sources()[1])] {
                for (rows, hidden) in [(8, 128), (2, 4096), (1, 18_432)] {
                    let mut norm = Norm::new(family, 1e-5).with_quantisation(quantisation);
                    norm.input = Input::from(residual);
                    let parameters = (norm, Some(DType::BF16), None);
                    let outputs = Outputs { residual: residual.is_some(), ..Outputs::default() };
                    let case = case(parameters, DType::BF16, rows, hidden, Values::Unit, 3).with_outputs(outputs);
                    let problem = case.as_problem();
                    let run = Emulated::new(device.clone()).run_counted(&problem, Placement::default());
                    let (plan, report) = run.expect("runs").1.expect("launched");
                    let floor = problem.byte_floor();
                    let mut faults = Vec::new();
                    for (name, traffic, floor) in
                        [("loads", report.global_loads, floor.loads), ("stores", report.global_stores, floor.stores)]
                    {
                        if traffic.distinct_bytes != Some(floor) {
                            faults.push(format!("{name}: {:?} distinct bytes of {floor}", traffic.distinct_bytes));
                        }
                    }
                    if report.global_stores.bytes != floor.stores {
                        faults.push(format!("{} bytes stored of {}", report.global_stores.bytes, floor.stores));
                    }
                    let scales = quantisation.groups(hidden) * rows;
                    let stores = report.global_stores.accesses_by_width;
                    let chunks = (rows * hidden / 8) as u64;
                    let sum = if residual.is_some() { chunks } else { 0 };
                    // Of a chunk, eight bytes or four.
                    let codes = if quantisation.code == CodeType::E2m1 { stores[2] } else { stores[3] };
                    if (stores[4], codes) != (sum, chunks) {
                        faults.push(format!("stores by width {stores:?}, {scales} scales"));
                    }
                    if report.shared_loads.bank_conflicts + report.shared_stores.bank_conflicts != 0 {
                        faults.push("bank conflicts".to_owned());
                    }
                    let what = || format!("{} {} {norm:?}: {}", device.name, plan.kernel.name(), faults.join("; "));
                    failures.record((!faults.is_empty()).then(what));
                }
            }
        }
    }
    failures.assert_none();
}

#[test]
fn y_beside_the_codes_is_the_y_of_the_norm_alone() {
    let device = Emulated::new(DeviceFacts::h200());
    for family in Family::NORMS {
        let norm = Norm::new(family, 1e-5);
        let run = |norm| {
            let case = case((norm, Some(DType::F16), None), DType::F16, 3, 1000, Values::Unit, 21);
            device.run(&case.as_problem(), Placement::default()).expect("runs")
        };
        let alone = run(norm);
        let beside = run(norm.with_quantisation(Quantisation::per_token(CodeType::Int8)));
        assert!(alone.codes.is_none() && beside.codes.is_some());
        assert_eq!((alone.y, alone.rstd), (beside.y, beside.rstd));
    }
}
