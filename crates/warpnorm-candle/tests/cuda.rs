//! CUDA tensors, on a GPU. Every test here is ignored by default; on a machine with a GPU and a CUDA toolkit, run
//! `cargo test --release -p warpnorm-candle --features cuda --test cuda -- --ignored`, or `scripts/gpu_tests.sh` to take
//! them there.
//!
//! But for those in `with_candles_kernels`, the tests have candle only move tensors, so that they also run where
//! candle's own kernels were not compiled.

use candle_core::backend::BackendDevice;
use candle_core::cuda_backend::CudaStorageSlice;
use candle_core::{CudaDevice, DType, Device, Result, Storage, Tensor};
use std::sync::Arc;
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{Activation, Norm, ResidualAdd, Scope};
use warpnorm_candle::nn::Module;
use warpnorm_candle::{RopeTables, add_layer_norm, add_rms_norm, kernels, nn, norm, qk_norm, rms_norm, warm_up};

const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

fn gpu() -> Result<Device> {
    Device::new_cuda(0)
}

/// Values that differ from element to element, on the CPU.
fn values(seed: u32, shape: &[usize], dtype: DType) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let value = |at: usize| ((at as u32).wrapping_mul(2_654_435_761).wrapping_add(seed * 97_531) >> 20) as f32 / 2048.0;
    let values: Vec<f32> = (0..count).map(|at| value(at) - 0.75).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)
}

/// Fails where results of the GPU are not those of the CPU: 16-bit ones to the bit but for one in a thousand, f32 ones
/// to the last few bits of values that sums may have cancelled. The shapes differ where values would not be comparable.
#[track_caller]
fn same(what: &str, gpu: &Tensor, cpu: &Tensor) -> Result<()> {
    assert!(gpu.device().is_cuda() && gpu.is_contiguous(), "{what}");
    assert_eq!((gpu.dims(), gpu.dtype()), (cpu.dims(), cpu.dtype()), "{what}");
    let of = |tensor: &Tensor| tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let (found, wanted) = (of(gpu)?, of(cpu)?);
    let (relative, least) = match cpu.dtype() {
        DType::F32 => (1e-6, 1.0),
        DType::F16 => (2f64.powi(-10), 1e-3),
        DType::BF16 => (2f64.powi(-7), 1e-3),
        _ => (0.0, 0.0),
    };
    let mut differing = 0;
    for (found, wanted) in found.iter().zip(&wanted) {
        differing += usize::from(found != wanted);
        assert!((found - wanted).abs() <= relative * wanted.abs().max(least), "{what}: {found}, wanted {wanted}");
    }
    assert!(cpu.dtype() == DType::F32 || differing <= wanted.len() / 1000, "{what}: {differing} differ");
    Ok(())
}

/// Runs something on the CPU, and on the GPU with what it was given there.
#[track_caller]
fn check<const N: usize>(
    what: &str,
    tensors: &[Tensor],
    run: impl Fn(&[Tensor]) -> Result<[Tensor; N]>,
    views: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
) -> Result<()> {
    let device = gpu()?;
    let moved: Vec<Tensor> = tensors.iter().map(|tensor| tensor.to_device(&device)).collect::<Result<_>>()?;
    for (gpu, cpu) in run(&views(&moved)?)?.iter().zip(&run(&views(tensors)?)?) {
        same(what, gpu, cpu)?;
    }
    Ok(())
}

fn as_they_are(tensors: &[Tensor]) -> Result<Vec<Tensor>> {
    Ok(tensors.to_vec())
}

/// Two devices of one GPU may have a stream each, and neither waits for the other's.
#[test]
#[ignore = "needs a GPU"]
fn tensors_of_another_device_of_the_same_gpu_are_refused() -> Result<()> {
    let (device, other) = (gpu()?, gpu()?);
    let (x, weight) = (values(1, &[3, 64], DType::BF16)?, values(2, &[64], DType::BF16)?);
    let (x, weight) = (x.to_device(&device)?, weight.to_device(&other)?);
    let refused = rms_norm(&x, &weight, None, 1e-6).expect_err("two devices").to_string();
    assert!(refused.contains("weight is of another Device"), "{refused}");
    rms_norm(&x, &weight.to_device(&Device::Cpu)?.to_device(&device.clone())?, None, 1e-6)?;
    Ok(())
}

#[test]
#[ignore = "needs a GPU"]
fn norms_are_those_of_the_cpu_on_every_view() -> Result<()> {
    for dtype in TYPES {
        for hidden in [37, 768, 5000] {
            let packed = values(1, &[2, 3, 3 * hidden], dtype)?;
            let tensors = [packed, values(2, &[hidden], DType::F32)?, values(3, &[hidden], dtype)?];
            let what = format!("{dtype:?} {hidden}");
            let columns = |tensors: &[Tensor]| -> Result<Vec<Tensor>> {
                let [x, residual] = [0, 2].map(|at| tensors[0].narrow(2, at * hidden, hidden));
                Ok(vec![x?, residual?, tensors[1].clone(), tensors[2].clone()])
            };
            let plain = |t: &[Tensor]| Ok([rms_norm(&t[0], &t[2], None, 1e-5)?]);
            check(&what, &tensors, plain, columns)?;
            let add = |t: &[Tensor]| add_layer_norm(&t[0], &t[1], &t[3], Some(&t[3]), 1e-5).map(<[Tensor; 2]>::from);
            check(&what, &tensors, add, columns)?;
            let module = |t: &[Tensor]| Ok([nn::RmsNorm::new(t[2].clone(), 1e-5).forward(&t[0])?]);
            check(&what, &tensors, module, columns)?;
            let nested = |t: &[Tensor]| Ok(vec![t[0].narrow(1, 1, 2)?.narrow(2, hidden, hidden)?, t[1].clone()]);
            check(&what, &tensors, |t| Ok([rms_norm(&t[0], &t[1], None, 1e-5)?]), nested)?;
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs a GPU"]
fn heads_gates_and_codes_are_those_of_the_cpu() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        let heads = [values(1, &[5, 8, 128], dtype)?, values(2, &[128], dtype)?, values(3, &[5, 64], DType::F32)?];
        let split = |t: &[Tensor]| Ok(vec![t[0].narrow(1, 0, 4)?, t[0].narrow(1, 4, 2)?, t[1].clone(), t[2].clone()]);
        check("QK-norm", &heads, |t| qk_norm(&t[0], &t[1], &t[2], &t[2], 1e-6).map(<[Tensor; 2]>::from), split)?;
        let rotated = Norm::rms_norm(1e-6).with_rope(warpnorm::Rope::half_split(128));
        let rotate = |t: &[Tensor]| {
            let tables = RopeTables { cos: &t[3], sin: &t[3], positions: None };
            let call = norm(&rotated).weight(&t[2]).second(&t[1], Some(&t[2])).rope(tables);
            call.run_pair(&t[0]).map(<[Tensor; 2]>::from)
        };
        check("QK-norm with RoPE", &heads, rotate, split)?;

        let rows = [values(4, &[7, 1024], dtype)?, values(5, &[7, 1024], dtype)?, values(6, &[1024], DType::F32)?];
        let gated = Norm::rms_norm(1e-6).with_gate(Activation::SILU);
        let gate = |t: &[Tensor]| Ok([norm(&gated).weight(&t[2]).gate(&t[1]).run(&t[0])?]);
        check("gated", &rows, gate, as_they_are)?;
        for quantisation in [Quantisation::per_token(CodeType::E4m3), Quantisation::mxfp8()] {
            let add = Norm::rms_norm(1e-6).with_residual_add(ResidualAdd::default()).with_quantisation(quantisation);
            let quantise = |t: &[Tensor]| {
                let call = norm(&add).weight(&t[2]).residual(&t[1]);
                let found = call.run_quantised_with_residual(&t[0])?;
                let scales = found.scales.expect("the norm makes scales");
                Ok([found.codes, scales, found.residual.expect("asked for")])
            };
            check("quantised", &rows, quantise, as_they_are)?;
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs a GPU"]
fn tensors_of_two_devices_are_an_error() -> Result<()> {
    let (x, weight) = (values(1, &[3, 64], DType::BF16)?, values(2, &[64], DType::BF16)?);
    let device = gpu()?;
    let (gpu_x, gpu_weight) = (x.to_device(&device)?, weight.to_device(&device)?);
    for result in [
        rms_norm(&gpu_x, &weight, None, 1e-5).map(|_| ()),
        rms_norm(&x, &gpu_weight, None, 1e-5).map(|_| ()),
        add_rms_norm(&gpu_x, &x, &gpu_weight, None, 1e-5).map(|_| ()),
    ] {
        let Err(error) = result else { panic!("tensors of two devices went together") };
        let text = error.to_string();
        assert!(text.contains(" is on ") && text.contains("as x is"), "{text}");
    }
    Ok(())
}

#[test]
#[ignore = "needs a GPU"]
fn results_lie_in_memory_of_their_own() -> Result<()> {
    let device = gpu()?;
    let x = values(1, &[6, 64], DType::BF16)?.to_device(&device)?;
    let weight = values(2, &[64], DType::BF16)?.to_device(&device)?;
    let (y, residual) = add_rms_norm(&x, &x, &weight, None, 1e-5)?;
    for tensor in [y, residual] {
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cuda(storage) = &*storage else { panic!("not on the GPU") };
        let CudaStorageSlice::BF16(slice) = &storage.slice else { panic!("not bf16") };
        assert_eq!((slice.len(), layout.start_offset()), (6 * 64, 0));
    }
    Ok(())
}

#[test]
#[ignore = "needs a GPU"]
fn kernels_are_made_once_and_modules_loaded_once() -> Result<()> {
    let devices = [CudaDevice::new(0)?, CudaDevice::new(0)?, CudaDevice::new_with_stream(0)?];
    let all: Vec<Arc<_>> = devices.iter().map(kernels).collect::<Result<_>>()?;
    assert!(all.iter().all(|one| Arc::ptr_eq(one, &all[0])));
    let head = Norm::layer_norm(1e-5).with_scope(Scope::Head);
    warm_up(&Device::Cuda(devices[0].clone()), &[head], DType::F16)?;
    assert!(all[0].is_loaded(warpnorm::plan::Module::of(&head, warpnorm::DType::F16)));
    warm_up(&Device::Cpu, &[head], DType::F64)?;
    assert!(warm_up(&Device::Cuda(devices[0].clone()), &[head], DType::F64).is_err());
    Ok(())
}

mod with_candles_kernels {
    use super::*;

    /// Views of one storage are read while another thread waits to write it, and many threads share the kernels.
    #[test]
    #[ignore = "needs a GPU, and candle's kernels"]
    fn threads_share_devices_and_storages() -> Result<()> {
        let device = Device::Cuda(CudaDevice::new_with_stream(0)?);
        let packed = values(1, &[64, 3 * 256], DType::BF16)?;
        let weight = values(2, &[256], DType::BF16)?;
        let wanted = add_rms_norm(&packed.narrow(1, 0, 256)?, &packed.narrow(1, 256, 256)?, &weight, None, 1e-5)?;
        let (packed, weight) = (packed.to_device(&device)?, weight.to_device(&device)?);
        let spare = packed.narrow(0, 0, 1)?;
        std::thread::scope(|scope| -> Result<()> {
            let norms: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| -> Result<()> {
                        for _ in 0..200 {
                            let (x, residual) = (packed.narrow(1, 0, 256)?, packed.narrow(1, 256, 256)?);
                            let (y, stored) = add_rms_norm(&x, &residual, &weight, None, 1e-5)?;
                            same("y", &y, &wanted.0)?;
                            same("residual", &stored, &wanted.1)?;
                        }
                        Ok(())
                    })
                })
                .collect();
            // Writes what is there already.
            let writer =
                scope.spawn(|| (0..200).try_for_each(|_| packed.slice_set(&spare.to_device(&device)?.copy()?, 0, 0)));
            norms.into_iter().try_for_each(|thread| thread.join().expect("no panic"))?;
            writer.join().expect("no panic")
        })
    }

    /// Our launches and candle's are on one stream, in the order of the program.
    #[test]
    #[ignore = "needs a GPU, and candle's kernels"]
    fn norms_are_in_order_with_candles_ops() -> Result<()> {
        for device in [gpu()?, Device::Cuda(CudaDevice::new_with_stream(0)?)] {
            let weight = values(2, &[1024], DType::BF16)?.to_device(&device)?;
            let mut x = values(1, &[512, 1024], DType::BF16)?.to_device(&device)?;
            let mut wanted = x.to_device(&Device::Cpu)?;
            let cpu_weight = weight.to_device(&Device::Cpu)?;
            for _ in 0..20 {
                x = rms_norm(&(&x + &x)?, &weight, None, 1e-5)?;
                wanted = rms_norm(&(&wanted + &wanted)?, &cpu_weight, None, 1e-5)?;
            }
            let off = (x.to_device(&Device::Cpu)?.to_dtype(DType::F32)? - wanted.to_dtype(DType::F32)?)?;
            assert!(off.abs()?.max_all()?.to_scalar::<f32>()? <= 0.05);
        }
        Ok(())
    }

    /// The modules on a transposed view, which candle copies for us, and the modules of candle-nn beside them.
    #[test]
    #[ignore = "needs a GPU, and candle's kernels"]
    fn modules_are_as_exact_as_candle_nns() -> Result<()> {
        let device = gpu()?;
        for dtype in TYPES {
            let x = values(1, &[4, 6, 5, 96], dtype)?.to_device(&device)?.transpose(1, 2)?;
            let (weight, bias) =
                (values(2, &[96], dtype)?.to_device(&device)?, values(3, &[96], dtype)?.to_device(&device)?);
            let stock = candle_nn::LayerNorm::new(weight.clone(), bias.clone(), 1e-5).forward(&x.contiguous()?)?;
            let ours = nn::LayerNorm::new(weight, bias, 1e-5).forward(&x)?;
            let off =
                (ours.to_dtype(DType::F32)? - stock.to_dtype(DType::F32)?)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(off <= if dtype == DType::F32 { 1e-5 } else { 0.05 }, "{dtype:?}: {off}");
        }
        Ok(())
    }
}
