//! CUDA graphs: a warmed-up launch is captured and replayed; one that would load a module is refused and
//! leaves the capture intact.

use crate::support::case;
use crate::{bits, elements, gpu_alone};
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream};
use half::bf16;
use std::sync::Arc;
use warpnorm::cuda::{CudaError, Kernels, Rows, RowsMut};
use warpnorm::parity::Values;
use warpnorm::plan::Module;
use warpnorm::{DType, Error, Norm, ResidualAdd};

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
