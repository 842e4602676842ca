//! Several streams, and several threads that share one [`Kernels`].

use crate::support::case;
use crate::{bits, elements, gpu, quick};
use cudarc::driver::{CudaContext, CudaSlice};
use half::bf16;
use std::sync::Barrier;
use warpnorm::cuda::{Kernels, Rows, RowsMut};
use warpnorm::parity::Values;
use warpnorm::{Call, DType, Norm, RawRows, ResidualAdd, ResidualRounding};

const ROWS: usize = 2000;
const HIDDEN: usize = 2048;

fn input(seed: u64) -> Vec<bf16> {
    let norm = Norm::layer_norm(1e-5);
    elements(&case((norm, None, None), DType::BF16, ROWS, HIDDEN, Values::Unit, seed).x)
}

/// Copies in on one stream, normalises on another and copies out on the first, with nothing between them but
/// the events that the slices carry.
#[test]
#[ignore = "needs a GPU"]
fn streams_wait_for_each_other() {
    let _shared = gpu();
    let context = CudaContext::new(0).expect("a GPU");
    let (copies, norms) = (context.new_stream().expect("a stream"), context.new_stream().expect("a stream"));
    let kernels = Kernels::new(&context).expect("kernels");
    let norm = Norm::layer_norm(1e-5);
    let mut x: CudaSlice<bf16> = copies.alloc_zeros(ROWS * HIDDEN).expect("allocates");
    let mut y: CudaSlice<bf16> = copies.alloc_zeros(ROWS * HIDDEN).expect("allocates");

    let inputs: Vec<_> = (0..3).map(input).collect();
    let mut wanted: Vec<Vec<u16>> = Vec::new();
    for input in &inputs {
        copies.memcpy_htod(input, &mut x).expect("copies");
        context.synchronize().expect("runs");
        let rows = Rows::contiguous(&x, HIDDEN).expect("whole rows");
        let mut out = RowsMut::contiguous(&mut y, HIDDEN).expect("whole rows");
        kernels.norm(&norm).run(&norms, &rows, &mut out).expect("launches");
        context.synchronize().expect("runs");
        wanted.push(bits(&copies.clone_dtoh(&y).expect("copies")));
    }
    context.synchronize().expect("runs");
    assert!(wanted[0] != wanted[1], "the inputs differ");

    for turn in 0..if quick() { 3 } else { 60 } {
        copies.memcpy_htod(&inputs[turn % 3], &mut x).expect("copies");
        let rows = Rows::contiguous(&x, HIDDEN).expect("whole rows");
        let mut out = RowsMut::contiguous(&mut y, HIDDEN).expect("whole rows");
        kernels.norm(&norm).run(&norms, &rows, &mut out).expect("launches");
        let got = copies.clone_dtoh(&y).expect("copies");
        copies.synchronize().expect("runs");
        assert!(bits(&got) == wanted[turn % 3], "turn {turn}: the streams overtook one another");
    }
}

/// Threads race for the first use of one module.
#[test]
#[ignore = "needs a GPU"]
fn threads_share_kernels() {
    let _shared = gpu();
    let context = CudaContext::new(0).expect("a GPU");
    let kernels = Kernels::new(&context).expect("kernels");
    let norm = Norm::layer_norm(1e-5);
    let host = input(7);
    let barrier = Barrier::new(8);
    let results: Vec<Vec<u16>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let stream = context.new_stream().expect("a stream");
                    let x = stream.clone_htod(&host).expect("copies");
                    let mut y: CudaSlice<bf16> = stream.alloc_zeros(ROWS * HIDDEN).expect("allocates");
                    let rows = Rows::contiguous(&x, HIDDEN).expect("whole rows");
                    let mut out = RowsMut::contiguous(&mut y, HIDDEN).expect("whole rows");
                    barrier.wait();
                    kernels.norm(&norm).run(&stream, &rows, &mut out).expect("launches");
                    let y = stream.clone_dtoh(&y).expect("copies");
                    stream.synchronize().expect("runs");
                    bits(&y)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(results.iter().all(|result| *result == results[0]), "every thread has the same bits");
    assert!(results[0].iter().any(|&bits| bits != 0), "the norm wrote something");
}

/// The raw face, with the two outputs over the two inputs crosswise: y over the residual, and the new
/// residual over x.
#[test]
#[ignore = "needs a GPU"]
fn raw_outputs_may_lie_over_either_input() {
    let cuda = gpu();
    let (kernels, stream) = (cuda.kernels(), cuda.stream());
    let (rows, hidden) = (37, 768);
    let add = ResidualAdd { scale: 1.0, rounding: ResidualRounding::Wide };
    let norm = Norm::rms_norm(1e-6).with_residual_add(add);
    let case = case((norm, None, None), DType::BF16, rows, hidden, Values::Unit, 3);
    let host_x: Vec<bf16> = elements(&case.x);
    let host_residual: Vec<bf16> = elements(case.residual.as_ref().expect("the norm adds one"));
    let read = |slice: &CudaSlice<bf16>| {
        let values = stream.clone_dtoh(slice).expect("copies");
        stream.synchronize().expect("runs");
        bits(&values)
    };

    let x = stream.clone_htod(&host_x).expect("copies");
    let mut residual = stream.clone_htod(&host_residual).expect("copies");
    let mut y: CudaSlice<bf16> = stream.alloc_zeros(rows * hidden).expect("allocates");
    kernels
        .norm(&norm)
        .residual_in_place(&mut RowsMut::contiguous(&mut residual, hidden).expect("whole rows"))
        .run(
            stream,
            &Rows::contiguous(&x, hidden).expect("whole rows"),
            &mut RowsMut::contiguous(&mut y, hidden).expect("whole rows"),
        )
        .expect("launches");
    let (wanted_y, wanted_residual) = (read(&y), read(&residual));

    let mut x = stream.clone_htod(&host_x).expect("copies");
    let mut residual = stream.clone_htod(&host_residual).expect("copies");
    {
        use cudarc::driver::DevicePtrMut;
        let (x_address, _x) = x.device_ptr_mut(stream);
        let (residual_address, _residual) = residual.device_ptr_mut(stream);
        let at = |address| RawRows { address, stride: hidden };
        let mut call = Call::new(norm, DType::BF16, rows, hidden, at(x_address), at(residual_address));
        call.residual = Some(at(residual_address));
        call.residual_out = Some(at(x_address));
        // SAFETY: both slices have rows × hidden elements, were written on this stream, and are borrowed
        // mutably until after the launch.
        unsafe { kernels.launch_raw(stream, &call) }.expect("launches");
    }
    assert!(read(&residual) == wanted_y, "y lies over the residual");
    assert!(read(&x) == wanted_residual, "the new residual lies over x");
}
