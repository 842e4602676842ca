//! Activations and gates: the functions of feed-forward layers, and the gate after a norm.

use crate::judge;
use crate::support::ops::{ACTIVATIONS, ROUNDINGS};
use crate::support::{Failures, case, emulated_devices};
use ptx_emu::{Approximations, LaunchOptions};
use warpnorm::emulated::Emulated;
use warpnorm::host::{Device, Outputs, Placement};
use warpnorm::parity::{Values, check};
use warpnorm::plan::Regime;
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{Activation, DType, DeviceFacts, Family, Input, Norm};

/// Every 16-bit value there is, infinities and NaNs too.
#[test]
fn every_16_bit_value() {
    let mut failures = Failures::default();
    for dtype in [DType::F16, DType::BF16] {
        for (index, activation) in ACTIVATIONS.into_iter().enumerate() {
            let mut case = case((Norm::activation(activation), None, None), dtype, 64, 1024, Values::Unit, 0);
            case.x = (0..=u16::MAX).flat_map(u16::to_ne_bytes).collect();
            case.gate = None;
            judge(&mut failures, &emulated_devices()[index % 2], &case, Placement::default());
        }
    }
    failures.assert_none();
}

/// Whatever a GPU makes of approximate instructions, results are within the tolerance, and nearly all are the correctly
/// rounded ones: the values of a gate as they come, and h of a norm behind a gate.
#[test]
fn approximations() {
    let mut differing = 0;
    for (dtype, share) in [(DType::F16, 0.998), (DType::BF16, 0.9995)] {
        for activation in ACTIVATIONS {
            let rms = Norm::rms_norm(1e-6);
            let norms =
                [Norm::activation(activation), rms.with_gate(activation), rms.with_input(Input::Gated(activation))];
            for norm in norms {
                let case = case((norm, Some(dtype), None), dtype, 16, 1024, Values::Unit, 5);
                let mut outputs = Vec::new();
                for approximations in Approximations::ALL {
                    let options = LaunchOptions { approximations, ..LaunchOptions::default() };
                    let device = Emulated::new(DeviceFacts::h200()).with_options(options);
                    let verdict = check(&device, &case, Placement::default()).expect("runs");
                    let held = verdict.passed && verdict.misrounded == 0 && verdict.correctly_rounded >= share;
                    assert!(held, "{norm:?} {dtype} {approximations:?}: {verdict:?}");
                    outputs.push(device.run(&case.as_problem(), Placement::default()).expect("runs").y);
                }
                let same = outputs.iter().all(|y| *y == outputs[0]);
                assert!(same || activation.is_approximate(dtype), "{norm:?} {dtype}");
                differing += usize::from(!same);
            }
        }
    }
    assert!(differing >= 20, "only {differing} ops have results that approximations show in");
}

/// act(z)⊙x over the kinds of values and of rows, with and without a weight.
#[test]
fn gated_rows() {
    let mut failures = Failures::default();
    let devices = emulated_devices();
    for dtype in DType::ALL {
        for (index, activation) in ACTIVATIONS.into_iter().enumerate() {
            for (size, hidden) in [1, 7, 64, 769, 4096, 16_385, 40_000].into_iter().enumerate() {
                let rows = if hidden < 1000 { 5 } else { 1 };
                let weight = (index % 2 == 1).then_some(dtype);
                let norm = Norm::activation(activation);
                let case = case((norm, weight, None), dtype, rows, hidden, Values::Unit, (index * 10 + size) as u64);
                let padding = [0, 8, 3][(index + size) % 3];
                let placement =
                    Placement { padding, offset: size % 2, in_place: index % 3 == 0, ..Placement::default() };
                judge(&mut failures, &devices[(index + size) % 2], &case, placement);
            }
        }
    }
    failures.assert_none();
}

#[test]
fn adversarial_values() {
    let mut failures = Failures::default();
    for dtype in DType::ALL {
        for values in Values::ALL {
            for (index, activation) in ACTIVATIONS.into_iter().enumerate() {
                for norm in [Norm::activation(activation), Norm::rms_norm(1e-6).with_gate(activation)] {
                    // Where v or act(z) is an infinity and the other 0, rounding decides between NaN and not.
                    let case = case((norm, None, None), dtype, 4, 200, values, 3);
                    judge(&mut failures, &emulated_devices()[index % 2], &case, Placement::default());
                }
            }
        }
    }
    failures.assert_none();
}

/// Gated RMSNorm of Qwen3-Next, and of Mamba-2 where its `norm_before_gate` is true: y·silu(z) after the norm.
#[test]
fn gated_rms_norms() {
    let mut failures = Failures::default();
    let devices = emulated_devices();
    for dtype in DType::ALL {
        for (index, weight_rounding) in ROUNDINGS.into_iter().enumerate() {
            for (weight, offset) in [(None, 0.0), (Some(dtype), 0.0), (Some(DType::F32), 1.0)] {
                for (size, hidden) in [1, 64, 128, 500, 2048, 4097, 20_000, 131_072].into_iter().enumerate() {
                    let norm = Norm::rms_norm(1e-5)
                        .with_weight_rounding(weight_rounding)
                        .with_weight_offset(offset)
                        .with_gate(Activation::SILU);
                    let rows = if hidden < 1000 { 9 } else { 1 };
                    let case = case((norm, weight, None), dtype, rows, hidden, Values::Unit, (index + size) as u64);
                    let placement = Placement { in_place: size % 2 == 1, ..Placement::default() };
                    judge(&mut failures, &devices[(index + size) % 2], &case, placement);
                }
            }
        }
    }
    failures.assert_none();
}

#[test]
fn quantised_activations() {
    let mut failures = Failures::default();
    let quantisations = [
        Quantisation::per_tensor(CodeType::E4m3),
        Quantisation::per_token(CodeType::E4m3),
        Quantisation::per_token(CodeType::Int8),
        Quantisation::per_group(CodeType::E4m3, 128),
        Quantisation::mxfp8(),
        Quantisation::nvfp4(),
    ];
    for dtype in [DType::F16, DType::BF16] {
        for (index, quantisation) in quantisations.into_iter().enumerate() {
            for activation in [Activation::SILU, Activation::GeluTanh, Activation::Relu] {
                for hidden in [128, 4096, 18_432] {
                    let norm = Norm::activation(activation).with_quantisation(quantisation);
                    let mut case = case((norm, None, None), dtype, 2, hidden, Values::Unit, index as u64);
                    case.outputs.y = index % 2 == 0;
                    if activation == Activation::Relu {
                        case.gate = None;
                    }
                    for device in &emulated_devices() {
                        judge(&mut failures, device, &case, Placement::default());
                    }
                }
            }
        }
    }
    failures.assert_none();
}

/// Batch normalisation at inference, folded to a scale and a shift.
#[test]
fn scale_and_shift() {
    let mut failures = Failures::default();
    for dtype in DType::ALL {
        for hidden in [1, 64, 769, 4096, 20_000] {
            for values in [Values::Unit, Values::LargeMean, Values::Extremes] {
                let case = case((Norm::affine(), Some(DType::F32), Some(DType::F32)), dtype, 3, hidden, values, 7);
                for device in &emulated_devices() {
                    judge(&mut failures, device, &case, Placement::default());
                }
            }
        }
    }
    failures.assert_none();
}

/// What is moved is what must be: six bytes for each element of a gated row of 16 bits.
#[test]
fn bytes_moved_are_the_floor() {
    let mut failures = Failures::default();
    let gated = Norm::activation(Activation::SILU);
    for device in emulated_devices() {
        for norm in [gated, Norm::rms_norm(1e-5).with_gate(Activation::SILU), Norm::affine()] {
            for (rows, hidden) in [(16, 128), (2, 4096), (2, 14_336), (1, 28_672)] {
                let case = case((norm, None, None), DType::BF16, rows, hidden, Values::Unit, 3);
                let case = case.with_outputs(Outputs::default());
                let problem = case.as_problem();
                let run = Emulated::new(device.clone()).run_counted(&problem, Placement::default());
                let (plan, report) = run.expect("runs").1.expect("launched");
                let floor = problem.byte_floor();
                // What has no statistic is read once, however long.
                let streamed = norm.family == Family::Identity && hidden > 16_384;
                let streams = if norm.gate.is_some() { 2 } else { 1 };
                let right = report.global_stores.bytes == floor.stores
                    && report.global_loads.distinct_bytes == Some(floor.loads)
                    && floor.loads == (streams * 2 * rows * hidden) as u64
                    && report.global_loads.accesses_by_width[4] * 16 == floor.loads
                    && report.global_stores.accesses_by_width[4] * 16 == floor.stores
                    && report.local_accesses == 0
                    && (plan.regime == Regime::Streamed) == streamed;
                let what = || format!("{} {}: {report:?}", device.name, plan.kernel.name());
                failures.record((!right).then(what));
            }
        }
    }
    failures.assert_none();
}

#[test]
fn packed_rows_are_two_views() {
    use ptx_emu::Memory;
    use warpnorm::{Call, RawRows};

    let (rows, hidden) = (3, 200);
    let gate = case((Norm::activation(Activation::SILU), None, None), DType::F16, rows, hidden, Values::Unit, 9);
    let row = hidden * 2;
    let packed: Vec<u8> = gate
        .gate
        .as_deref()
        .expect("there is a gate")
        .chunks(row)
        .zip(gate.x.chunks(row))
        .flat_map(|(gate, up)| [gate, up].concat())
        .collect();
    let mut memory = Memory::new();
    let input = memory.allocate("packed", packed.len());
    memory.write(input, &packed).expect("fits");
    let output = memory.allocate("y", rows * row);
    let up = RawRows { address: input + row as u64, stride: 2 * hidden };
    let y = RawRows { address: output, stride: hidden };
    let mut call = Call::new(gate.norm, DType::F16, rows, hidden, up, y);
    call.gate = Some(RawRows { address: input, stride: 2 * hidden });
    let device = Emulated::new(DeviceFacts::h200());
    device.launch(&call, &mut memory).expect("runs");
    let mut got = vec![0; rows * row];
    memory.read(output, &mut got).expect("fits");

    use warpnorm::host::Device;
    let wanted = device.run(&gate.as_problem(), Placement::default()).expect("runs").y;
    assert_eq!(got, wanted);
}
