//! The GPU and the executor run the same PTX and plan, and no kernel has an approximate instruction: their
//! results are the same bits.

use crate::gpu;
use crate::support::{Failures, case, norms};
use warpnorm::emulated::Emulated;
use warpnorm::host::{Device, Output, Placement};
use warpnorm::parity::Values;
use warpnorm::plan::Module;
use warpnorm::{DType, Family, ptx};

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
    all.extend(output.residual.iter().flat_map(activations));
    all.extend([&output.mean, &output.rstd].into_iter().flatten().flatten().map(|&value| f32_bits(value)));
    all
}

#[test]
#[ignore = "needs a GPU"]
fn gpu_and_executor_agree_bit_for_bit() {
    let cuda = gpu();
    let kernels = cuda.kernels();
    let emulated = Emulated::new(kernels.facts().clone());
    let facts = kernels.facts();
    for module in Module::all() {
        let on_gpu = ptx::select(module, facts.compute_capability, Some(kernels.driver_version())).expect("loads");
        let target = emulated.target(module).expect("there is PTX");
        assert_eq!(on_gpu.target, target, "an old driver: it takes earlier PTX of {module} than the executor");
    }
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
                    let problem = case.as_problem();
                    let got = cuda.run(&problem, Placement::default()).expect("runs on the GPU");
                    let wanted = emulated.run(&problem, Placement::default()).expect("runs in the executor");
                    let (got, wanted) = (bits(dtype, &got), bits(dtype, &wanted));
                    let differing = got.iter().zip(&wanted).filter(|(got, wanted)| got != wanted).count();
                    failures.record((got != wanted).then(|| {
                        format!(
                            "{family} {dtype} {hidden} {values} {norm:?}: {differing} of {} values differ",
                            got.len()
                        )
                    }));
                }
            }
        }
    }
    failures.assert_none();
}
