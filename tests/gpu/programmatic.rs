//! Launches that begin before those in front of them have completed: the same bits as in order, queued and replayed.

use crate::support::case;
use crate::{bits, elements, gpu_alone, quick};
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream};
use half::bf16;
use std::sync::Arc;
use warpnorm::cuda::{Kernels, NormCall, Rows, RowsMut};
use warpnorm::parity::Values;
use warpnorm::plan::Module;
use warpnorm::{DType, Error, Norm, ResidualAdd};

const ROWS: usize = 200;
const HIDDEN: usize = 4096;
/// Norms of a chain, each of which reads what the one before it has just written.
const LENGTH: usize = 8;

struct Chain<'a> {
    kernels: &'a Kernels,
    stream: &'a CudaStream,
    weight: &'a CudaSlice<bf16>,
}

impl Chain<'_> {
    /// By turns y ← norm(x + r) and x ← norm(y + r), the residual stream r in its place.
    fn run(&self, tensors: &mut [CudaSlice<bf16>; 3], early: bool) -> Result<(), Error> {
        let norm = Norm::rms_norm(1e-6).with_residual_add(ResidualAdd::default());
        let [x, y, residual] = tensors;
        for step in 0..LENGTH {
            let (from, to) = if step % 2 == 0 { (&*x, &mut *y) } else { (&*y, &mut *x) };
            let mut residual = RowsMut::contiguous(&mut *residual, HIDDEN)?;
            let mut call: NormCall<'_, bf16> = self.kernels.norm(&norm).weight(self.weight);
            if early {
                // SAFETY: the weight was written, and its copy waited for, before the first of these launches.
                call = unsafe { call.programmatic_launch().parameters_first() };
            }
            let call = call.residual_in_place(&mut residual);
            call.run(self.stream, &Rows::contiguous(from, HIDDEN)?, &mut RowsMut::contiguous(to, HIDDEN)?)?;
        }
        Ok(())
    }
}

/// Where cudarc tracks events, a wait and a record of them stand between two launches, and none begins early.
fn untracked_context() -> Arc<CudaContext> {
    let context = CudaContext::new(0).expect("a GPU");
    // SAFETY: every test here has all of its work on one stream, and waits for it before it drops anything.
    unsafe { context.disable_event_tracking() };
    context
}

#[test]
#[ignore = "needs a GPU"]
fn a_chain_of_early_launches_has_the_bits_of_one_in_order() {
    let _alone = gpu_alone();
    let context = untracked_context();
    let stream = context.new_stream().expect("a stream");
    let kernels = Kernels::new(&context).expect("kernels");
    let norm = Norm::rms_norm(1e-6).with_residual_add(ResidualAdd::default());
    let case = case((norm, Some(DType::BF16), None), DType::BF16, ROWS, HIDDEN, Values::Unit, 3);
    let copy = |bytes: &[u8]| stream.clone_htod(&elements::<bf16>(bytes)).expect("copies");
    let weight = copy(&case.weight.as_ref().expect("it has one").1);
    let fresh = || [copy(&case.x), copy(&case.x), copy(case.residual.as_ref().expect("it has one"))];
    let read = |tensors: &[CudaSlice<bf16>; 3]| {
        stream.synchronize().expect("runs");
        tensors.each_ref().map(|tensor| bits(&stream.clone_dtoh(tensor).expect("copies")))
    };
    kernels.warm_up(&[Module::of(&norm, DType::BF16)]).expect("loads");
    let chain = Chain { kernels: &kernels, stream: &stream, weight: &weight };

    let mut tensors = fresh();
    stream.synchronize().expect("runs");
    chain.run(&mut tensors, false).expect("launches");
    let wanted = read(&tensors);
    assert!(wanted[1] != read(&fresh())[1], "the chain wrote something");

    let rounds = if quick() { 2 } else { 20 };
    for round in 0..rounds {
        let mut tensors = fresh();
        chain.run(&mut tensors, true).expect("launches");
        assert!(read(&tensors) == wanted, "round {round} differs");
    }

    // Programmatic edges of graphs came with CUDA 12.3.
    if kernels.driver_version() < (12, 3) {
        println!("not captured: the driver is of CUDA {:?}", kernels.driver_version());
        return;
    }
    let mut tensors = fresh();
    let start = fresh();
    stream.synchronize().expect("runs");
    stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).expect("captures");
    chain.run(&mut tensors, true).expect("captures launches");
    let graph = stream.end_capture(CUgraphInstantiate_flags(0)).expect("ends the capture").expect("is not empty");
    for replay in 0..rounds {
        for (tensor, start) in tensors.iter_mut().zip(&start) {
            stream.memcpy_dtod(start, tensor).expect("copies");
        }
        graph.launch().expect("replays");
        assert!(read(&tensors) == wanted, "replay {replay} differs");
    }
}

/// Rows that are spread over clusters, by launches with either attribute and with both.
#[test]
#[ignore = "needs a GPU"]
fn early_launches_in_clusters() {
    let _alone = gpu_alone();
    let context = untracked_context();
    let stream = &context.new_stream().expect("a stream");
    let kernels = Kernels::new(&context).expect("kernels");
    let hidden = 70_000;
    let norm = Norm::rms_norm(1e-6);
    let case = case((norm, None, None), DType::BF16, 2, hidden, Values::Unit, 4);
    let run = |early: bool| {
        let mut x = stream.clone_htod(&elements::<bf16>(&case.x)).expect("copies");
        for _ in 0..4 {
            let call = kernels.norm(&norm);
            let call = if early { call.programmatic_launch() } else { call };
            call.run_in_place(stream, &mut RowsMut::contiguous(&mut x, hidden).expect("whole rows")).expect("launches");
        }
        stream.synchronize().expect("runs");
        bits(&stream.clone_dtoh(&x).expect("copies"))
    };
    assert!(run(true) == run(false));
}
