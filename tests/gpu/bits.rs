//! The GPU and the executor run the same PTX and plan: where no instruction is approximate, their results are the same
//! bits.

use crate::gpu;
use crate::support::ops::{ACTIVATIONS, groups, residual_after, ropes, rotated, steps, two_norms};
use crate::support::quantisations::quantisations;
use crate::support::{Failures, case, norms};
use warpnorm::cuda::Cuda;
use warpnorm::emulated::Emulated;
use warpnorm::host::{Device, Output, Placement};
use warpnorm::parity::{Case, Values};
use warpnorm::plan::Module;
use warpnorm::{Activation, DType, Family, Input, Norm, ResidualAdd, ptx};

/// The bits of every output. NaNs are one: which bits a NaN has is up to the hardware.
fn bits(dtype: DType, output: &Output) -> Vec<u32> {
    let f32_bits = |value: f32| if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() };
    let f32s = |bytes: &Vec<u8>| crate::elements::<f32>(bytes).into_iter().map(f32_bits).collect::<Vec<_>>();
    let halves = |bytes: &Vec<u8>| {
        let is_nan: fn(u16) -> bool = match dtype {
            DType::F16 => |bits| half::f16::from_bits(bits).is_nan(),
            _ => |bits| half::bf16::from_bits(bits).is_nan(),
        };
        let words: Vec<u16> = crate::elements(bytes);
        words.into_iter().map(|word| if is_nan(word) { u32::MAX } else { u32::from(word) }).collect()
    };
    let activations = |bytes| if dtype == DType::F32 { f32s(bytes) } else { halves(bytes) };
    let mut all = activations(&output.y);
    all.extend([&output.second_y, &output.residual].into_iter().flatten().flat_map(activations));
    let bytes = [&output.codes, &output.scales].into_iter().flatten().flatten();
    all.extend(bytes.map(|&byte| u32::from(byte)));
    all.extend([&output.mean, &output.rstd].into_iter().flatten().flatten().map(|&value| f32_bits(value)));
    all
}

/// The executor with this GPU's facts, which takes the same PTX.
fn emulated(cuda: &Cuda) -> Emulated {
    let kernels = cuda.kernels();
    let facts = kernels.facts();
    let emulated = Emulated::new(facts.clone());
    for module in Module::all() {
        let on_gpu = ptx::select(module, facts.compute_capability, Some(kernels.driver_version())).expect("loads");
        let target = emulated.target(module).expect("there is PTX");
        assert_eq!(on_gpu.target, target, "an old driver: it takes earlier PTX of {module} than the executor");
    }
    emulated
}

/// How many values differ, if any do.
fn difference(cuda: &Cuda, emulated: &Emulated, case: &Case) -> Option<String> {
    let problem = case.as_problem();
    let got = cuda.run(&problem, Placement::default()).expect("runs on the GPU");
    let wanted = emulated.run(&problem, Placement::default()).expect("runs in the executor");
    let (got, wanted) = (bits(case.dtype, &got), bits(case.dtype, &wanted));
    assert_eq!(got.len(), wanted.len(), "the outputs of one problem have one size");
    let differing = got.iter().zip(&wanted).filter(|(got, wanted)| got != wanted).count();
    (differing > 0).then(|| format!("{differing} of {} values differ", got.len()))
}

/// The activation of a norm's gate, before or after its statistic.
fn activation_of(norm: &Norm) -> Option<Activation> {
    match norm.input {
        Input::Gated(activation) => Some(activation),
        _ => norm.gate,
    }
}

#[test]
#[ignore = "needs a GPU"]
fn gpu_and_executor_agree_bit_for_bit() {
    let cuda = gpu();
    let emulated = emulated(&cuda);
    let mut failures = Failures::default();
    for family in Family::NORMS {
        for dtype in DType::ALL {
            for (index, norm) in norms(family, dtype).into_iter().enumerate() {
                for (size, hidden) in [1, 3, 31, 100, 257, 769, 4097, 16500].into_iter().enumerate() {
                    if (index + size) % 5 != 0 {
                        continue;
                    }
                    let values = Values::ALL[(index / 5 + size) % Values::ALL.len()];
                    let case = case(norm, dtype, 7, hidden, values, 33);
                    let found = difference(&cuda, &emulated, &case);
                    failures.record(found.map(|what| format!("{family} {dtype} {hidden} {values} {norm:?}: {what}")));
                }
            }
        }
    }
    failures.assert_none();
}

/// The ops around a norm.
#[test]
#[ignore = "needs a GPU"]
fn gpu_and_executor_agree_on_every_op() {
    let cuda = gpu();
    let emulated = emulated(&cuda);
    let mut failures = Failures::default();
    let mut compare = |case: &Case| {
        let found = difference(&cuda, &emulated, case);
        let what = format!("{:?} {} {} × {}", case.norm, case.dtype, case.rows, case.hidden);
        failures.record(found.map(|found| format!("{what}: {found}")));
    };
    let gates = ACTIVATIONS.into_iter().flat_map(|activation| {
        let rms = Norm::rms_norm(1e-6);
        [rms.with_gate(activation), rms.with_input(Input::Gated(activation)), Norm::activation(activation)]
    });
    let norms: Vec<Norm> = gates.chain(residual_after()).chain(two_norms()).chain(steps()).collect();
    let mut number = 0;
    for dtype in DType::ALL {
        let is_exact = |norm: &&Norm| !activation_of(norm).is_some_and(|activation| activation.is_approximate(dtype));
        for norm in norms.iter().filter(is_exact) {
            number += 1;
            let hidden = [100, 769, 4096, 16_500][number % 4];
            let values = Values::ALL[number / 4 % Values::ALL.len()];
            let case = case((*norm, Some(dtype), None), dtype, 3, hidden, values, 33);
            let two = matches!(norm.input, Input::PostNorm(_));
            compare(&if two { case.with_inner_weight(dtype) } else { case });
        }
        for rope in [64, 96, 512].into_iter().flat_map(ropes) {
            number += 1;
            let norm = Norm::new(Family::NORMS[number % 3], 1e-6).with_rope(rope);
            compare(&rotated(norm, dtype, [64, 96, 512][number % 3].max(rope.dim), number));
        }
        for norm in groups().iter().filter(is_exact) {
            let case = Case::of_parts(*norm, dtype, 5, 4, 100, Values::Unit, 33).expect("a shape");
            compare(&case.with_weight(dtype));
        }
    }
    failures.assert_none();
}

/// NaNs included: what code one becomes is stated, not up to the hardware.
#[test]
#[ignore = "needs a GPU"]
fn gpu_and_executor_quantise_alike() {
    let cuda = gpu();
    let emulated = emulated(&cuda);
    let mut failures = Failures::default();
    for (index, quantisation) in quantisations().into_iter().enumerate() {
        for (size, hidden) in [16, 64, 128, 384, 4096, 16_512].into_iter().enumerate() {
            if quantisation.validate(hidden).is_err() {
                continue;
            }
            let family = Family::NORMS[(index + size) % 2];
            let dtype = [DType::F16, DType::BF16][(index / 2 + size) % 2];
            let mut norm = Norm::new(family, 1e-5).with_quantisation(quantisation);
            norm.input = Input::from(((index + size / 2) % 2 == 0).then(ResidualAdd::default));
            let values = Values::ALL[(index + size) % Values::ALL.len()];
            let case = case((norm, Some(dtype), None), dtype, 7, hidden, values, 41);
            let found = difference(&cuda, &emulated, &case);
            failures.record(found.map(|what| format!("{dtype} {hidden} {values} {norm:?}: {what}")));
        }
    }
    failures.assert_none();
}
