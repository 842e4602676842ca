//! CUDA graphs: a warmed-up launch is captured and replayed; one that would load a module is refused and
//! leaves the capture intact.

use crate::support::case;
use crate::{bits, elements, gpu_alone};
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream};
use half::bf16;
use std::sync::Arc;
use warpnorm::cuda::{CodesMut, CudaError, Kernels, PartLayout, RopeTables, Rows, RowsMut};
use warpnorm::parity::{Case, Rotation, Values};
use warpnorm::plan::Module;
use warpnorm::quantise::Quantisation;
use warpnorm::{DType, Error, Input, Norm, PostAdd, ResidualAdd, Rope};

const ROWS: usize = 40;
const HIDDEN: usize = 1024;

struct Tensors {
    x: CudaSlice<bf16>,
    residual: CudaSlice<bf16>,
    weight: CudaSlice<f32>,
    y: CudaSlice<bf16>,
}

fn norm() -> Norm {
    Norm::rms_norm(1e-6).with_residual_add(ResidualAdd::default())
}

impl Tensors {
    fn new(stream: &Arc<CudaStream>) -> Self {
        let weight = vec![1.25f32; HIDDEN];
        Self {
            x: stream.alloc_zeros(ROWS * HIDDEN).expect("allocates"),
            residual: stream.alloc_zeros(ROWS * HIDDEN).expect("allocates"),
            weight: stream.clone_htod(&weight).expect("copies"),
            y: stream.alloc_zeros(ROWS * HIDDEN).expect("allocates"),
        }
    }

    fn fill(&mut self, stream: &Arc<CudaStream>, seed: u64) {
        let case = case((norm(), None, None), DType::BF16, ROWS, HIDDEN, Values::Unit, seed);
        let residual = case.residual.as_ref().expect("the norm adds one");
        stream.memcpy_htod(&elements::<bf16>(&case.x), &mut self.x).expect("copies");
        stream.memcpy_htod(&elements::<bf16>(residual), &mut self.residual).expect("copies");
    }

    fn run(&mut self, kernels: &Kernels, stream: &CudaStream) -> Result<(), Error> {
        kernels
            .norm(&norm())
            .weight(&self.weight)
            .residual_in_place(&mut RowsMut::contiguous(&mut self.residual, HIDDEN)?)
            .run(stream, &Rows::contiguous(&self.x, HIDDEN)?, &mut RowsMut::contiguous(&mut self.y, HIDDEN)?)
    }

    fn read(&self, stream: &Arc<CudaStream>) -> (Vec<u16>, Vec<u16>) {
        let y = stream.clone_dtoh(&self.y).expect("copies");
        let residual = stream.clone_dtoh(&self.residual).expect("copies");
        stream.synchronize().expect("runs");
        (bits(&y), bits(&residual))
    }
}

#[test]
#[ignore = "needs a GPU"]
fn a_captured_norm_replays() {
    // While a stream captures, nobody may synchronise its context.
    let _alone = gpu_alone();
    let context = CudaContext::new(0).expect("a GPU");
    // SAFETY: everything here is on one stream, and waited for before it is dropped.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().expect("a stream");
    let kernels = Kernels::new(&context).expect("kernels");
    let mut tensors = Tensors::new(&stream);
    stream.synchronize().expect("runs");
    let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    let flags = CUgraphInstantiate_flags(0);

    stream.begin_capture(mode).expect("captures");
    let module = Module::of(&norm(), DType::BF16);
    let error = tensors.run(&kernels, &stream).expect_err("the module is not loaded");
    let wanted = CudaError::NotLoaded { module };
    assert!(matches!(&error, Error::Cuda(error) if *error == wanted), "{error:?}");
    let empty = stream.end_capture(flags).expect("the refused launch leaves the capture valid");
    drop(empty);

    kernels.warm_up(&[module]).expect("loads");
    assert!(kernels.is_loaded(module));
    assert_eq!(Module::all().filter(|&other| kernels.is_loaded(other)).count(), 1);

    stream.begin_capture(mode).expect("captures");
    tensors.run(&kernels, &stream).expect("captures a launch");
    let graph = stream.end_capture(flags).expect("ends the capture").expect("is not empty");

    for seed in 0..5 {
        tensors.fill(&stream, seed);
        tensors.run(&kernels, &stream).expect("launches");
        let wanted = tensors.read(&stream);
        tensors.fill(&stream, seed);
        graph.launch().expect("replays");
        assert!(tensors.read(&stream) == wanted, "replay {seed} differs from a launch");
        assert!(wanted.0.iter().any(|&bits| bits != 0), "the norm wrote something");
    }
}

/// A quantised norm replays too, and takes the scale that its tensor holds at the replay.
#[test]
#[ignore = "needs a GPU"]
fn a_captured_quantised_norm_replays() {
    let _alone = gpu_alone();
    let context = CudaContext::new(0).expect("a GPU");
    // SAFETY: everything here is on one stream, and waited for before it is dropped.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().expect("a stream");
    let kernels = Kernels::new(&context).expect("kernels");
    let nvfp4 = Quantisation::nvfp4();
    let norm = Norm::rms_norm(1e-6).with_quantisation(nvfp4);
    let case = case((norm, None, None), DType::BF16, ROWS, HIDDEN, Values::Unit, 1);
    let x = stream.clone_htod(&elements::<bf16>(&case.x)).expect("copies");
    let mut global = stream.clone_htod(&[100.0f32]).expect("copies");
    let mut codes: CudaSlice<u8> = stream.alloc_zeros(ROWS * nvfp4.row_bytes(HIDDEN)).expect("allocates");
    let mut scales: CudaSlice<u8> = stream.alloc_zeros(ROWS * nvfp4.groups(HIDDEN)).expect("allocates");
    stream.synchronize().expect("runs");
    let run = |global: &CudaSlice<f32>, codes: &mut CudaSlice<u8>, scales: &mut CudaSlice<u8>| -> Result<(), Error> {
        let mut codes = CodesMut::contiguous(codes, nvfp4.row_bytes(HIDDEN))?;
        let call = kernels.norm(&norm).codes(&mut codes).scales(scales).tensor_scale(global);
        call.run_quantised(&stream, &Rows::contiguous(&x, HIDDEN)?)
    };
    let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    let flags = CUgraphInstantiate_flags(0);

    // The norm without its quantisation is another module.
    kernels.warm_up(&[Module::of(&Norm::rms_norm(1e-6), DType::BF16)]).expect("loads");
    stream.begin_capture(mode).expect("captures");
    let error = run(&global, &mut codes, &mut scales).expect_err("the module is not loaded");
    let module = Module::of(&norm, DType::BF16);
    assert!(matches!(&error, Error::Cuda(error) if *error == CudaError::NotLoaded { module }), "{error:?}");
    drop(stream.end_capture(flags).expect("the refused launch leaves the capture valid"));

    kernels.warm_up(&[module]).expect("loads");
    stream.begin_capture(mode).expect("captures");
    run(&global, &mut codes, &mut scales).expect("captures a launch");
    let graph = stream.end_capture(flags).expect("ends the capture").expect("is not empty");

    let mut results = Vec::new();
    for scale in [100.0f32, 700.0, 30.0] {
        let read = |codes: &CudaSlice<u8>, scales: &CudaSlice<u8>| {
            let read = (stream.clone_dtoh(codes).expect("copies"), stream.clone_dtoh(scales).expect("copies"));
            stream.synchronize().expect("runs");
            read
        };
        stream.memcpy_htod(&[scale], &mut global).expect("copies");
        run(&global, &mut codes, &mut scales).expect("launches");
        let wanted = read(&codes, &scales);
        stream.memset_zeros(&mut codes).expect("clears");
        stream.memset_zeros(&mut scales).expect("clears");
        graph.launch().expect("replays");
        assert!(read(&codes, &scales) == wanted, "a replay under {scale} differs from a launch");
        results.push(wanted);
    }
    assert!(results[0].1 != results[1].1 && results[1].1 != results[2].1, "the scale is read when it runs");
}

/// Heads of packed projections, rotated in their place, replay too: at the positions that their tensor holds then.
#[test]
#[ignore = "needs a GPU"]
fn captured_heads_replay() {
    let _alone = gpu_alone();
    let context = CudaContext::new(0).expect("a GPU");
    // SAFETY: everything here is on one stream, and waited for before it is dropped.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().expect("a stream");
    let kernels = Kernels::new(&context).expect("kernels");
    let (heads, hidden) = (4, 128);
    let rope = Rope::half_split(hidden);
    let norm = Norm::rms_norm(1e-6).with_rope(rope);
    let case = Case::of_parts(norm, DType::BF16, ROWS, 2 * heads, hidden, Values::Unit, 1).expect("a shape");
    let x = elements::<bf16>(&case.x);
    let rotation = Rotation::new(rope, DType::F32, 1000);
    let cos = stream.clone_htod(&elements::<f32>(&rotation.cos)).expect("copies");
    let sin = stream.clone_htod(&elements::<f32>(&rotation.sin)).expect("copies");
    let mut positions: CudaSlice<i32> = stream.alloc_zeros(ROWS).expect("allocates");
    let mut qk: CudaSlice<bf16> = stream.alloc_zeros(x.len()).expect("allocates");
    stream.synchronize().expect("runs");
    let run = |qk: &mut CudaSlice<bf16>, positions: &CudaSlice<i32>| -> Result<(), Error> {
        let q = PartLayout::packed(ROWS, heads, hidden).with_row_stride(2 * heads * hidden);
        let [mut q, mut k] = RowsMut::disjoint(qk, [q, q.starting_at(heads * hidden)])?;
        let table = |table| Rows::contiguous(table, hidden / 2);
        let tables = RopeTables::new(&table(&cos)?, &table(&sin)?)?.positions(positions);
        kernels.norm(&norm).second_in_place(&mut k).rope(&tables).run_in_place(&stream, &mut q)
    };
    let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    let flags = CUgraphInstantiate_flags(0);

    let module = Module::of(&norm, DType::BF16);
    stream.begin_capture(mode).expect("captures");
    let error = run(&mut qk, &positions).expect_err("the module is not loaded");
    assert!(matches!(&error, Error::Cuda(error) if *error == CudaError::NotLoaded { module }), "{error:?}");
    drop(stream.end_capture(flags).expect("the refused launch leaves the capture valid"));

    kernels.warm_up(&[module]).expect("loads");
    stream.begin_capture(mode).expect("captures");
    run(&mut qk, &positions).expect("captures a launch");
    let graph = stream.end_capture(flags).expect("ends the capture").expect("is not empty");

    let mut results = Vec::new();
    for start in [0, 500, 2000] {
        let read = |qk: &CudaSlice<bf16>| {
            let values = stream.clone_dtoh(qk).expect("copies");
            stream.synchronize().expect("runs");
            bits(&values)
        };
        let at: Vec<i32> = (start..).take(ROWS).collect();
        stream.memcpy_htod(&at, &mut positions).expect("copies");
        stream.memcpy_htod(&x, &mut qk).expect("copies");
        run(&mut qk, &positions).expect("launches");
        let wanted = read(&qk);
        stream.memcpy_htod(&x, &mut qk).expect("copies");
        graph.launch().expect("replays");
        assert!(read(&qk) == wanted, "a replay from position {start} differs from a launch");
        results.push(wanted);
    }
    assert!(results[0] != results[1] && results[1] != results[2], "positions are read when it runs");
}

/// Two norms and the residual stream between them.
#[test]
#[ignore = "needs a GPU"]
fn captured_norms_with_one_before_replay() {
    let _alone = gpu_alone();
    let context = CudaContext::new(0).expect("a GPU");
    // SAFETY: everything here is on one stream, and waited for before it is dropped.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().expect("a stream");
    let kernels = Kernels::new(&context).expect("kernels");
    let norm = Norm::rms_norm(1e-6).with_input(Input::PostNorm(PostAdd::default()));
    let mut tensors = Tensors::new(&stream);
    stream.synchronize().expect("runs");
    let run = |tensors: &mut Tensors| -> Result<(), Error> {
        kernels
            .norm(&norm)
            .weight(&tensors.weight)
            .inner_weight(&tensors.weight)
            .residual_in_place(&mut RowsMut::contiguous(&mut tensors.residual, HIDDEN)?)
            .run(&stream, &Rows::contiguous(&tensors.x, HIDDEN)?, &mut RowsMut::contiguous(&mut tensors.y, HIDDEN)?)
    };
    kernels.warm_up(&[Module::of(&norm, DType::BF16)]).expect("loads");
    stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).expect("captures");
    run(&mut tensors).expect("captures a launch");
    let graph = stream.end_capture(CUgraphInstantiate_flags(0)).expect("ends the capture").expect("is not empty");

    for seed in 0..3 {
        tensors.fill(&stream, seed);
        run(&mut tensors).expect("launches");
        let wanted = tensors.read(&stream);
        tensors.fill(&stream, seed);
        let before = tensors.read(&stream);
        graph.launch().expect("replays");
        assert!(tensors.read(&stream) == wanted, "replay {seed} differs from a launch");
        assert!(wanted.1 != before.1, "the residual stream is another");
    }
}
