//! Refusals of the safe face, which needs slices and so a GPU to be refused on.

use crate::gpu;
use cudarc::driver::{CudaContext, CudaSlice};
use half::{bf16, f16};
use warpnorm::cuda::{CodesMut, Cuda, CudaError, Kernels, Rows, RowsMut, devices};
use warpnorm::plan::Module;
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{CallError, DType, Error, Norm, ResidualAdd, Role};

fn call_error(result: Result<(), Error>) -> CallError {
    match result {
        Err(Error::Call(error)) => error,
        other => panic!("wanted a call error, got {other:?}"),
    }
}

#[test]
#[ignore = "needs a GPU"]
fn tensors_that_do_not_fit_are_refused() {
    let cuda = gpu();
    let (kernels, stream) = (cuda.kernels(), cuda.stream());
    let x: CudaSlice<f16> = stream.alloc_zeros(640).expect("allocates");
    let mut y: CudaSlice<f16> = stream.alloc_zeros(640).expect("allocates");
    let mut other: CudaSlice<f16> = stream.alloc_zeros(640).expect("allocates");
    let short: CudaSlice<f16> = stream.alloc_zeros(63).expect("allocates");
    let mut mean: CudaSlice<f32> = stream.alloc_zeros(11).expect("allocates");
    let (layer, rms) = (Norm::layer_norm(1e-5), Norm::rms_norm(1e-6));
    let add = rms.with_residual_add(ResidualAdd::default());
    let x = Rows::contiguous(&x, 64).expect("whole rows");

    let mut wide = RowsMut::contiguous(&mut y, 128).expect("whole rows");
    let (wanted_rows, wanted_hidden) = (10, 64);
    let shape = |role| CallError::Shape { role, rows: 5, hidden: 128, wanted_rows, wanted_hidden };
    assert_eq!(call_error(kernels.norm(&rms).run(stream, &x, &mut wide)), shape(Role::Y));
    let mut out = RowsMut::contiguous(&mut other, 64).expect("whole rows");
    let result = kernels.norm(&add).residual_in_place(&mut wide).run(stream, &x, &mut out);
    assert_eq!(call_error(result), shape(Role::Residual));
    let result = kernels.norm(&add).residual_out(&x, &mut wide).run(stream, &x, &mut out);
    assert_eq!(call_error(result), shape(Role::ResidualOut));

    let mut y = RowsMut::contiguous(&mut y, 64).expect("whole rows");
    let length = |role, given, wanted| CallError::Length { role, given, wanted };
    assert_eq!(call_error(kernels.norm(&rms).weight(&short).run(stream, &x, &mut y)), length(Role::Weight, 63, 64));
    assert_eq!(call_error(kernels.norm(&rms).bias(&short).run(stream, &x, &mut y)), length(Role::Bias, 63, 64));
    assert_eq!(call_error(kernels.norm(&layer).mean(&mut mean).run(stream, &x, &mut y)), length(Role::Mean, 11, 10));
    let result = kernels.norm(&rms).rstd(mean.slice_mut(..9)).run(stream, &x, &mut y);
    assert_eq!(call_error(result), length(Role::Rstd, 9, 10));

    assert_eq!(call_error(kernels.norm(&add).run(stream, &x, &mut y)), CallError::Residual { wanted: true });
    let result = kernels.norm(&rms).residual(&x).run(stream, &x, &mut y);
    assert_eq!(call_error(result), CallError::Residual { wanted: false });
    let result = kernels.norm(&rms).mean(mean.slice_mut(..10)).run(stream, &x, &mut y);
    assert!(matches!(call_error(result), CallError::Mean { .. }));

    let overlapping = RowsMut::strided(&mut other, 10, 64, 63);
    let result = kernels.norm(&rms).run(stream, &x, &mut overlapping.expect("the buffer is long enough"));
    assert_eq!(call_error(result), CallError::Stride { role: Role::Y, given: 63, hidden: 64 });
}

#[test]
#[ignore = "needs a GPU"]
fn parameters_of_two_types_are_refused() {
    let cuda = gpu();
    let (kernels, stream) = (cuda.kernels(), cuda.stream());
    let mut x: CudaSlice<bf16> = stream.alloc_zeros(64).expect("allocates");
    let weight: CudaSlice<f32> = stream.alloc_zeros(64).expect("allocates");
    let bias: CudaSlice<bf16> = stream.alloc_zeros(64).expect("allocates");
    let mut x = RowsMut::contiguous(&mut x, 64).expect("whole rows");
    let result = kernels.norm(&Norm::layer_norm(1e-5)).weight(&weight).bias(&bias).run_in_place(stream, &mut x);
    assert_eq!(call_error(result), CallError::ParameterTypes { weight: DType::F32, bias: DType::BF16 });
}

#[test]
#[ignore = "needs a GPU"]
fn codes_and_scales_that_do_not_fit_are_refused() {
    let cuda = gpu();
    let (kernels, stream) = (cuda.kernels(), cuda.stream());
    let x: CudaSlice<f16> = stream.alloc_zeros(640).expect("allocates");
    let mut bytes: CudaSlice<u8> = stream.alloc_zeros(640).expect("allocates");
    let mut signed: CudaSlice<i8> = stream.alloc_zeros(640).expect("allocates");
    let mut scales: CudaSlice<f32> = stream.alloc_zeros(11).expect("allocates");
    let mut byte_scales: CudaSlice<u8> = stream.alloc_zeros(40).expect("allocates");
    let x = Rows::contiguous(&x, 64).expect("whole rows");
    let plain = Norm::rms_norm(1e-6);
    let fp8 = plain.with_quantisation(Quantisation::per_token(CodeType::E4m3));
    let fp4 = plain.with_quantisation(Quantisation::nvfp4());
    let given = plain.with_quantisation(Quantisation::per_tensor(CodeType::Int8));

    let mut codes = CodesMut::contiguous(&mut signed, 64).expect("whole rows");
    let result = kernels.norm(&fp8).codes(&mut codes).scales(scales.slice_mut(..10)).run_quantised(stream, &x);
    let stored = |role, stored, given, wanted| CallError::StoredType { role, stored, given, wanted };
    assert_eq!(call_error(result), stored(Role::Codes, "e4m3", "i8", "u8"));

    let mut codes = CodesMut::contiguous(&mut bytes, 64).expect("whole rows");
    let result = kernels.norm(&fp8).codes(&mut codes).scales(byte_scales.slice_mut(..10)).run_quantised(stream, &x);
    assert_eq!(call_error(result), stored(Role::Scales, "f32", "u8", "f32"));
    let result = kernels.norm(&fp8).codes(&mut codes).scales(&mut scales).run_quantised(stream, &x);
    let length = |role, given, wanted| CallError::Length { role, given, wanted };
    assert_eq!(call_error(result), length(Role::Scales, 11, 10));
    let absent = |role| CallError::Absent { role };
    let result = kernels.norm(&fp8).codes(&mut codes).run_quantised(stream, &x);
    assert_eq!(call_error(result), absent(Role::Scales));
    let result = kernels.norm(&fp8).scales(scales.slice_mut(..10)).run_quantised(stream, &x);
    assert_eq!(call_error(result), absent(Role::Codes));
    assert_eq!(call_error(kernels.norm(&plain).run_quantised(stream, &x)), absent(Role::Y));
    assert_eq!(call_error(kernels.norm(&given).codes(&mut codes).run_quantised(stream, &x)), absent(Role::TensorScale));
    let one = scales.slice(..2);
    let result = kernels.norm(&given).codes(&mut codes).tensor_scale(&one).run_quantised(stream, &x);
    assert_eq!(call_error(result), length(Role::TensorScale, 2, 1));

    // Two codes in a byte.
    let result = kernels.norm(&fp4).codes(&mut codes).scales(&mut byte_scales).run_quantised(stream, &x);
    let (rows, hidden, wanted_rows, wanted_hidden) = (10, 64, 10, 32);
    let shape = CallError::Shape { role: Role::Codes, rows, hidden, wanted_rows, wanted_hidden };
    assert_eq!(call_error(result), shape);
    let mut overlapping = CodesMut::strided(&mut bytes, 10, 64, 63).expect("the buffer is long enough");
    let call = kernels.norm(&fp8).codes(&mut overlapping).scales(scales.slice_mut(..10));
    let wanted = CallError::Stride { role: Role::Codes, given: 63, hidden: 64 };
    assert_eq!(call_error(call.run_quantised(stream, &x)), wanted);

    let mut y: CudaSlice<f16> = stream.alloc_zeros(640).expect("allocates");
    let mut y = RowsMut::contiguous(&mut y, 64).expect("whole rows");
    let mut codes = CodesMut::contiguous(&mut bytes, 64).expect("whole rows");
    let result = kernels.norm(&plain).codes(&mut codes).run(stream, &x, &mut y);
    assert_eq!(call_error(result), CallError::Unused { role: Role::Codes });
}

#[test]
#[ignore = "needs a GPU"]
fn no_rows_are_nothing_to_do() {
    let cuda = gpu();
    let (kernels, stream) = (cuda.kernels(), cuda.stream());
    let mut x: CudaSlice<bf16> = stream.alloc_zeros(64).expect("allocates");
    let mut none = x.slice_mut(..0);
    let mut none = RowsMut::contiguous(&mut none, 64).expect("no rows");
    assert_eq!(none.rows(), 0);
    kernels.norm(&Norm::layer_norm(1e-5)).run_in_place(stream, &mut none).expect("does nothing");
}

#[test]
#[ignore = "needs a GPU"]
fn devices_are_listed_and_unknown_ones_refused() {
    let devices = devices().expect("a driver");
    assert!(!devices.is_empty());
    for (ordinal, device) in devices.iter().enumerate() {
        assert_eq!(device.ordinal, ordinal);
        assert!(device.memory_bytes > 1 << 30, "{device:?}");
        assert!(device.facts.compute_capability >= (5, 0), "{device:?}");
        assert!(device.facts.max_threads_per_block == 1024, "{device:?}");
        assert!((48 * 1024..1 << 20).contains(&device.facts.max_shared_bytes_per_block), "{device:?}");
        assert!(device.driver >= (11, 4), "{device:?}");
    }
    assert_eq!(gpu().kernels().facts(), &devices[0].facts);
    let error = Cuda::new(devices.len()).expect_err("no such device");
    let wanted = CudaError::NoDevice { ordinal: devices.len(), count: devices.len() };
    assert!(matches!(&error, Error::Cuda(error) if *error == wanted), "{error:?}");
}

#[test]
#[ignore = "needs a GPU"]
fn every_module_loads() {
    let _shared = gpu();
    let context = CudaContext::new(0).expect("a GPU");
    let kernels = Kernels::new(&context).expect("kernels");
    for module in Module::all() {
        assert!(!kernels.is_loaded(module), "{module} is loaded before it is needed");
    }
    kernels.warm_up_all().expect("loads");
    for module in Module::all() {
        assert!(kernels.is_loaded(module), "{module}");
    }
}

/// cudarc makes streams wait for what another has to do with a slice only where its own context object knows of
/// several streams, so that slices of a second object would be written while they are read.
#[test]
#[ignore = "needs a GPU"]
fn a_second_context_object_of_the_device_is_refused() {
    let cuda = gpu();
    let (kernels, stream) = (cuda.kernels(), cuda.stream());
    let again = CudaContext::new(stream.context().ordinal()).expect("the same GPU");
    let other = again.new_stream().expect("a stream");
    let ordinal = again.ordinal();
    let norm = Norm::rms_norm(1e-6);
    let x: CudaSlice<f32> = stream.alloc_zeros(64).expect("allocates");
    let mut y: CudaSlice<f32> = stream.alloc_zeros(64).expect("allocates");
    let weight: CudaSlice<f32> = other.alloc_zeros(64).expect("allocates");
    let x = Rows::contiguous(&x, 64).expect("whole rows");
    let mut y = RowsMut::contiguous(&mut y, 64).expect("whole rows");
    let refused = |result: Result<(), Error>, role| {
        let wanted = CudaError::OtherContext { role, ordinal };
        assert!(matches!(&result, Err(Error::Cuda(error)) if *error == wanted), "{result:?}");
    };
    refused(kernels.norm(&norm).weight(&weight).run(stream, &x, &mut y), Role::Weight);
    refused(kernels.norm(&norm).run(&other, &x, &mut y), Role::X);
    let mut mean: CudaSlice<f32> = stream.alloc_zeros(64).expect("allocates");
    let statistics = warpnorm::BatchStatistics::new(1e-5);
    refused(kernels.batch_statistics(&statistics).mean(&mut mean).run(&other, &x), Role::X);

    // The kernels themselves are the context's, whichever object it is reached by.
    let x: CudaSlice<f32> = other.alloc_zeros(64).expect("allocates");
    let mut y: CudaSlice<f32> = other.alloc_zeros(64).expect("allocates");
    let x = Rows::contiguous(&x, 64).expect("whole rows");
    let mut y = RowsMut::contiguous(&mut y, 64).expect("whole rows");
    kernels.norm(&norm).run(&other, &x, &mut y).expect("all of one object");
    other.synchronize().expect("the launch succeeds");
}

#[test]
#[ignore = "needs a GPU"]
fn other_devices_are_refused() {
    if devices().expect("a driver").len() < 2 {
        println!("skipped: this machine has one GPU");
        return;
    }
    let cuda = gpu();
    let (kernels, stream) = (cuda.kernels(), cuda.stream());
    let second = CudaContext::new(1).expect("a second GPU");
    let second_stream = second.default_stream();
    let norm = Norm::rms_norm(1e-6);
    let x: CudaSlice<f32> = stream.alloc_zeros(64).expect("allocates");
    let mut y: CudaSlice<f32> = stream.alloc_zeros(64).expect("allocates");
    let weight: CudaSlice<f32> = second_stream.alloc_zeros(64).expect("allocates");
    let x = Rows::contiguous(&x, 64).expect("whole rows");
    let mut y = RowsMut::contiguous(&mut y, 64).expect("whole rows");
    let refused = |result: Result<(), Error>, wanted: CudaError| {
        assert!(matches!(&result, Err(Error::Cuda(error)) if *error == wanted), "{result:?}");
    };
    let result = kernels.norm(&norm).weight(&weight).run(stream, &x, &mut y);
    refused(result, CudaError::WrongDevice { role: Role::Weight, tensor: 1, stream: 0 });
    let result = kernels.norm(&norm).run(&second_stream, &x, &mut y);
    refused(result, CudaError::WrongContext { kernels: 0, stream: 1 });
}
