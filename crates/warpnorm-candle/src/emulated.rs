//! What a launch on CUDA tensors reads and writes, in the executor: the calls that the bridge makes, on copies of whole
//! storages, whatever no view has of them put out of use. The results are those of the CPU path, which walks the views
//! by itself.

use crate::call::{NormCall, RopeTables, norm};
use crate::prepared::{Buffer, Prepared};
use crate::run::{self, Wanted};
use candle_core::{CpuStorage, DType as CandleDType, Device, Result, Storage, Tensor};
use ptx_emu::Memory;
use std::collections::BTreeSet;
use warpnorm::emulated::Emulated;
use warpnorm::quantise::{CodeType, Quantisation, ScaleLayout, Scaling};
use warpnorm::reference::decode;
use warpnorm::{Activation, DType, DeviceFacts, Norm, ProgrammaticLaunch, ResidualAdd, Role, Rope, Scope, presets};

/// The bytes of a tensor's whole storage.
fn storage(tensor: &Tensor) -> Vec<u8> {
    let (storage, _) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => bytemuck::cast_slice(values).to_vec(),
        Storage::Cpu(CpuStorage::F16(values)) => bytemuck::cast_slice(values).to_vec(),
        Storage::Cpu(CpuStorage::BF16(values)) => bytemuck::cast_slice(values).to_vec(),
        Storage::Cpu(CpuStorage::U8(values)) => values.clone(),
        Storage::Cpu(CpuStorage::U32(values)) => bytemuck::cast_slice(values).to_vec(),
        Storage::Cpu(CpuStorage::I64(values)) => bytemuck::cast_slice(values).to_vec(),
        other => panic!("{other:?}"),
    }
}

/// The elements of its storage that a tensor has.
fn elements(tensor: &Tensor) -> BTreeSet<usize> {
    let mut elements = BTreeSet::from([tensor.layout().start_offset()]);
    for (&dim, &stride) in tensor.dims().iter().zip(tensor.stride()) {
        elements = elements.iter().flat_map(|&at| (0..dim).map(move |step| at + step * stride)).collect();
    }
    elements
}

/// Runs a call in the executor. Returns the results by role.
fn emulate(prepared: &Prepared<'_>) -> Vec<(Role, Buffer, Vec<u8>)> {
    let mut memory = Memory::new();
    let mut addresses = Vec::new();
    for (role, tensor, offset) in prepared.inputs() {
        let (bytes, size) = (storage(tensor), tensor.dtype().size_in_bytes());
        let address = memory.allocate(role.name(), bytes.len());
        memory.write(address, &bytes).expect("allocated");
        memory.set_read_only(address, true).expect("allocated");
        let mine = elements(tensor);
        for element in (0..bytes.len() / size).filter(|element| !mine.contains(element)) {
            memory.forbid(address + (element * size) as u64, size).expect("allocated");
        }
        addresses.push((role, address + (offset * size) as u64));
    }
    let mut results = Vec::new();
    for (role, buffer, length) in prepared.results() {
        let size = match buffer {
            Buffer::Activations => prepared.dtype.size(),
            Buffer::Bytes => 1,
            Buffer::F32 => 4,
        };
        let address = memory.allocate(role.name(), length * size);
        if role == Role::Scales {
            memory.write(address, &vec![0; length * size]).expect("allocated");
        }
        addresses.push((role, address));
        results.push((role, buffer, address, length * size));
    }
    let address = |role| addresses.iter().find(|(one, _)| *one == role).expect("a tensor of the call").1;
    let call = prepared.call(address);
    Emulated::new(DeviceFacts::h200()).launch(&call, &mut memory).expect("a launch without a fault");
    let read = |(role, buffer, address, bytes)| {
        let mut result = vec![0; bytes];
        // Memory that nothing has written cannot be read.
        memory.read(address, &mut result).expect("a result that is written");
        (role, buffer, result)
    };
    results.into_iter().map(read).collect()
}

/// Fails where the launch does not compute what the CPU path does: codes to the bit, y but for near ties, f32 but for its last few.
#[track_caller]
fn check(what: &str, call: NormCall<'_>, x: &Tensor, wanted: Wanted) -> Result<()> {
    let prepared = Prepared::new(&call, x, wanted)?;
    let (mut tensors, quantises) = (Vec::new(), call.norm.quantisation.is_some());
    if quantises {
        let (codes, scales, residual) = run::quantised(&prepared)?;
        tensors.push((Role::Codes, codes));
        tensors.extend(scales.map(|scales| (Role::Scales, scales)));
        tensors.extend(residual.map(|residual| (Role::ResidualOut, residual)));
    } else {
        let outputs = run::outputs(&prepared)?;
        tensors.push((Role::Y, outputs.y));
        tensors.extend(outputs.residual.map(|residual| (Role::ResidualOut, residual)));
        tensors.extend(outputs.second.map(|second| (Role::SecondY, second)));
    }
    let results = emulate(&prepared);
    assert_eq!(results.len(), tensors.len(), "{what}");
    for (role, tensor) in tensors {
        let (_, buffer, found) = results.iter().find(|(one, ..)| *one == role).expect("a result");
        let cpu = storage(&tensor);
        if *buffer != Buffer::Activations {
            assert!(*found == cpu, "{what}: {role} differs");
            continue;
        }
        let (found, cpu) = (decode(prepared.dtype, found), decode(prepared.dtype, &cpu));
        assert_eq!(found.len(), cpu.len(), "{what}: {role}");
        // A step of the type, which near ties are rounded by; in f32, a few.
        let (step, least) = match prepared.dtype {
            DType::F32 => (1e-6, 1.0),
            DType::F16 => (0.5f64.powi(10), 1e-3),
            DType::BF16 => (0.5f64.powi(7), 1e-3),
        };
        for (found, cpu) in found.iter().zip(&cpu) {
            assert!((found - cpu).abs() <= step * cpu.abs().max(least), "{what}: {role} is {found}, wanted {cpu}");
        }
        let differing = found.iter().zip(&cpu).filter(|(found, cpu)| found != cpu).count();
        let are_few = prepared.dtype == DType::F32 || differing <= 1 + found.len() / 1000;
        assert!(are_few, "{what}: {differing} of {role} differ");
    }
    Ok(())
}

/// Values that differ from element to element.
fn values(seed: u32, shape: &[usize], dtype: CandleDType) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let value = |at: usize| ((at as u32).wrapping_mul(2_654_435_761).wrapping_add(seed * 97_531) >> 20) as f32 / 2048.0;
    let values: Vec<f32> = (0..count).map(|at| value(at) - 0.75).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)
}

const TYPES: [CandleDType; 3] = [CandleDType::F32, CandleDType::F16, CandleDType::BF16];
const RESIDUAL: Wanted = Wanted { residual: true };

#[test]
fn views_of_every_kind() -> Result<()> {
    for dtype in TYPES {
        // 37 keeps rows from being aligned.
        for hidden in [37, 48] {
            let (weight, bias) = (values(1, &[hidden], CandleDType::F32)?, values(2, &[3 * hidden], dtype)?);
            let bias = bias.narrow(0, hidden, hidden)?.to_dtype(CandleDType::F32)?;
            let packed = values(3, &[2, 3, 3 * hidden], dtype)?;
            for (what, x) in [
                ("a row", values(4, &[hidden], dtype)?),
                ("rows", values(5, &[2, 3, hidden], dtype)?),
                ("columns", packed.narrow(2, hidden, hidden)?),
                ("later rows", packed.narrow(0, 1, 1)?.narrow(2, 2 * hidden, hidden)?),
                ("nested", values(6, &[2, 4, hidden], dtype)?.narrow(1, 1, 3)?),
                ("nested and apart", values(7, &[2, 4, hidden + 5], dtype)?.narrow(1, 1, 3)?.narrow(2, 2, hidden)?),
                ("heads", packed.reshape((2, 3, 3, hidden))?.narrow(2, 1, 2)?),
            ] {
                let what = format!("{what} {dtype:?} {hidden}");
                check(&what, norm(&Norm::rms_norm(1e-5)).weight(&weight), &x, Wanted::default())?;
                let layer_norm = norm(&Norm::layer_norm(1e-5)).weight(&weight).bias(&bias);
                check(&what, layer_norm, &x, Wanted::default())?;
            }
        }
    }
    Ok(())
}

#[test]
fn residuals_before_after_and_between() -> Result<()> {
    for dtype in TYPES {
        let packed = values(3, &[2, 3, 3 * 40], dtype)?;
        let (x, residual) = (packed.narrow(2, 0, 40)?, packed.narrow(2, 80, 40)?);
        let vectors = values(4, &[3 * 40], dtype)?;
        let (weight, inner) = (vectors.narrow(0, 0, 40)?, vectors.narrow(0, 40, 40)?);
        let linear_bias = vectors.narrow(0, 80, 40)?;
        let add = Norm::rms_norm(1e-5).with_residual_add(ResidualAdd::default());
        let call = norm(&add).weight(&weight).residual(&residual).linear_bias(&linear_bias);
        check("add", call, &x, RESIDUAL)?;
        check("add, residual not stored", call, &x, Wanted::default())?;
        let olmo = norm(&presets::olmo2_add()).weight(&weight).residual(&residual);
        check("post-norm", olmo, &x, Wanted::default())?;
        let gemma = norm(&presets::gemma2_sandwich()).weight(&weight).inner_weight(&inner).residual(&residual);
        check("sandwich", gemma, &x, RESIDUAL)?;
        let step = norm(&presets::n_gpt_step(0.5)).rate(&weight).residual(&residual);
        check("nGPT's step", step, &x, Wanted::default())?;
    }
    Ok(())
}

#[test]
fn gates_and_groups() -> Result<()> {
    for dtype in TYPES {
        let packed = values(3, &[5, 3 * 48], dtype)?;
        let (x, gate) = (packed.narrow(1, 0, 48)?, packed.narrow(1, 96, 48)?);
        let weight = values(4, &[48], CandleDType::F32)?;
        let gated = Norm::rms_norm(1e-5).with_gate(Activation::SILU);
        check("gated", norm(&gated).weight(&weight).gate(&gate), &x, Wanted::default())?;
        for mamba in [presets::mamba2(), presets::mamba2_norm_before_gate()] {
            check("groups", norm(&mamba).weight(&weight).gate(&gate).groups(3), &x, Wanted::default())?;
        }
        check("SwiGLU", norm(&Norm::activation(Activation::SILU)).gate(&gate), &x, Wanted::default())?;
    }
    Ok(())
}

/// A launch that begins early is told which tensors are not there yet, and touches none of them before it has waited.
#[test]
fn launches_that_begin_early() -> Result<()> {
    for dtype in TYPES {
        let (x, residual) = (values(3, &[5, 40], dtype)?, values(4, &[5, 40], dtype)?);
        let weight = values(5, &[40], dtype)?;
        let add = Norm::rms_norm(1e-5).with_residual_add(ResidualAdd::default());
        let call = norm(&add).weight(&weight).residual(&residual).programmatic_launch();
        // SAFETY: nothing else runs in the executor.
        let parameters_first = unsafe { call.parameters_first() };
        for (call, held) in
            [(call, ProgrammaticLaunch::WaitFirst), (parameters_first, ProgrammaticLaunch::ParametersFirst)]
        {
            let launched = Prepared::new(&call, &x, RESIDUAL)?.call(|role| (role as u64 + 1) << 52);
            assert_eq!(launched.programmatic_launch, held);
            check("early", call, &x, RESIDUAL)?;
        }
        assert_eq!(parameters_first.programmatic_launch().programmatic_launch, ProgrammaticLaunch::ParametersFirst);
    }
    Ok(())
}

#[test]
fn heads_of_one_packed_projection() -> Result<()> {
    for dtype in TYPES {
        // Of every head, its first elements.
        let packed = values(3, &[2, 3, 8, 20], dtype)?.narrow(3, 0, 16)?;
        let (q, k) = (packed.narrow(2, 0, 4)?, packed.narrow(2, 4, 2)?);
        let (q_weight, k_weight) = (values(4, &[16], dtype)?, values(5, &[16], dtype)?);
        let heads = Norm::rms_norm(1e-5).with_scope(Scope::Head);
        let call = norm(&heads).weight(&q_weight).second(&k, Some(&k_weight));
        check("QK-norm", call, &q, Wanted::default())?;

        // A cache of [cos | sin], as vLLM has it, and positions that are part of a longer tensor.
        let cache = values(6, &[9, 16], CandleDType::F32)?;
        let (cos, sin) = (cache.narrow(1, 0, 8)?, cache.narrow(1, 8, 8)?);
        let positions = Tensor::new(&[9u32, 0, 3, 1, 8, 2, 2, 7], &Device::Cpu)?.narrow(0, 1, 6)?;
        let rotated = norm(&Norm::rms_norm(1e-5).with_rope(Rope::half_split(16)));
        let call = rotated.weight(&q_weight).second(&k, Some(&k_weight));
        for positions in [positions.clone(), positions.to_dtype(CandleDType::I64)?] {
            let tables = RopeTables { cos: &cos, sin: &sin, positions: Some(&positions) };
            check("with positions", call.rope(tables), &q, Wanted::default())?;
        }
        let (cos, sin) = (cos.narrow(0, 2, 6)?, sin.narrow(0, 2, 6)?);
        let tables = RopeTables { cos: &cos, sin: &sin, positions: None };
        check("row by row", call.rope(tables), &q, Wanted::default())?;
    }
    Ok(())
}

#[test]
fn codes_and_scales() -> Result<()> {
    let dtype = CandleDType::BF16;
    let packed = values(3, &[2, 3, 2 * 128], dtype)?;
    let (x, residual) = (packed.narrow(2, 128, 128)?, packed.narrow(2, 0, 128)?);
    let (weight, scale) = (values(4, &[128], dtype)?, values(5, &[3], CandleDType::F32)?.narrow(0, 1, 1)?);
    let layout = ScaleLayout::ColumnMajor { alignment: 4 };
    let column_major = Scaling::PerGroup { size: 64, layout, power_of_two: false, floor: 1e-10 };
    for (quantisation, given) in [
        (Quantisation::per_tensor(CodeType::Int8), true),
        (Quantisation::per_token(CodeType::E4m3), false),
        (Quantisation { code: CodeType::E4m3, scaling: column_major }, false),
        (Quantisation::mxfp8(), false),
        (Quantisation::nvfp4(), true),
    ] {
        let what = format!("{quantisation:?}");
        let add = Norm::rms_norm(1e-5).with_residual_add(ResidualAdd::default()).with_quantisation(quantisation);
        let call = norm(&add).weight(&weight).residual(&residual);
        check(&what, if given { call.tensor_scale(&scale) } else { call }, &x, RESIDUAL)?;
    }
    Ok(())
}
