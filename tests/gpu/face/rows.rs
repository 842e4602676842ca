//! Whole rows: gates, the bias of the Linear before, the residual after the norm and another norm before it.

use super::{parameter, read, upload, wanted};
use crate::support::case;
use crate::{elements, gpu};
use cudarc::driver::CudaSlice;
use half::bf16;
use warpnorm::cuda::{CodesMut, Cuda, Rows, RowsMut};
use warpnorm::parity::{Case, Values};
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{Activation, DType, Input, Interpolation, Norm, PostAdd, PostRounding, ResidualAdd};

const ROWS: usize = 37;
const HIDDEN: usize = 768;

fn case_of(norm: Norm) -> Case {
    case((norm, Some(DType::BF16), None), DType::BF16, ROWS, HIDDEN, Values::Unit, 11)
}

fn zeros(cuda: &Cuda) -> CudaSlice<bf16> {
    cuda.stream().alloc_zeros(ROWS * HIDDEN).expect("allocates")
}

fn rows(slice: &CudaSlice<bf16>) -> Rows<'_, bf16> {
    Rows::contiguous(slice, HIDDEN).expect("whole rows")
}

fn rows_mut(slice: &mut CudaSlice<bf16>) -> RowsMut<'_, bf16> {
    RowsMut::contiguous(slice, HIDDEN).expect("whole rows")
}

/// x, the residual and the weight of a case.
fn tensors(cuda: &Cuda, case: &Case) -> [CudaSlice<bf16>; 3] {
    let residual = case.residual.as_ref().expect("the norm takes one");
    [upload(cuda, &case.x), upload(cuda, residual), parameter(cuda, &case.weight)]
}

#[test]
#[ignore = "needs a GPU"]
fn a_residual_after_the_norm_is_the_new_stream() {
    let cuda = gpu();
    let norm = Norm::rms_norm(1e-6).with_post_add(PostAdd { scale: 1.0, rounding: PostRounding::Each });
    let case = case_of(norm);
    let wanted = elements::<u16>(&wanted(&cuda, &case).y);
    let [x, mut residual, weight] = tensors(&cuda, &case);

    let mut y = zeros(&cuda);
    let call = cuda.kernels().norm(&norm).weight(&weight).residual(&rows(&residual));
    call.run(cuda.stream(), &rows(&x), &mut rows_mut(&mut y)).expect("launches");
    assert!(read(&cuda, &y) == wanted, "apart");

    let call = cuda.kernels().norm(&norm).weight(&weight);
    call.run_over_residual(cuda.stream(), &rows(&x), &mut rows_mut(&mut residual)).expect("launches");
    assert!(read(&cuda, &residual) == wanted, "over the residual");
}

/// The new residual stream and its codes, in one pass.
#[test]
#[ignore = "needs a GPU"]
fn a_residual_after_the_norm_is_quantised_beside() {
    let cuda = gpu();
    let fp8 = Quantisation::per_token(CodeType::E4m3);
    let case = case_of(Norm::rms_norm(1e-6).with_post_add(PostAdd::default()).with_quantisation(fp8));
    let wanted = wanted(&cuda, &case);
    let [x, mut residual, weight] = tensors(&cuda, &case);
    let mut codes: CudaSlice<u8> = cuda.stream().alloc_zeros(ROWS * HIDDEN).expect("allocates");
    let mut scales: CudaSlice<f32> = cuda.stream().alloc_zeros(ROWS).expect("allocates");
    let mut code_rows = CodesMut::contiguous(&mut codes, HIDDEN).expect("whole rows");
    let call = cuda.kernels().norm(&case.norm).weight(&weight).codes(&mut code_rows).scales(&mut scales);
    call.run_over_residual(cuda.stream(), &rows(&x), &mut rows_mut(&mut residual)).expect("launches");
    assert!(read(&cuda, &residual) == elements::<u16>(&wanted.y), "the new residual stream");
    let codes = cuda.stream().clone_dtoh(&codes).expect("copies");
    cuda.stream().synchronize().expect("runs");
    assert_eq!(Some(codes), wanted.codes);
}

#[test]
#[ignore = "needs a GPU"]
fn a_norm_and_the_next_one_store_the_stream_between() {
    let cuda = gpu();
    let norm = Norm::rms_norm(1e-6).with_input(Input::PostNorm(PostAdd::default()));
    let case = case_of(norm).with_inner_weight(DType::BF16);
    let wanted = wanted(&cuda, &case);
    let (wanted_y, wanted_stream) = (elements::<u16>(&wanted.y), elements::<u16>(&wanted.residual.expect("stored")));
    let [mut x, mut residual, weight] = tensors(&cuda, &case);
    let inner: CudaSlice<bf16> = parameter(&cuda, &case.inner_weight);
    let call = || cuda.kernels().norm(&norm).weight(&weight).inner_weight(&inner);

    let (mut y, mut stream_out) = (zeros(&cuda), zeros(&cuda));
    let mut out = rows_mut(&mut stream_out);
    let stored = call().residual_out(&rows(&residual), &mut out);
    stored.run(cuda.stream(), &rows(&x), &mut rows_mut(&mut y)).expect("launches");
    assert!(read(&cuda, &y) == wanted_y && read(&cuda, &stream_out) == wanted_stream, "apart");

    let mut y = zeros(&cuda);
    call().residual(&rows(&residual)).run(cuda.stream(), &rows(&x), &mut rows_mut(&mut y)).expect("launches");
    assert!(read(&cuda, &y) == wanted_y, "not stored");

    let mut in_place = rows_mut(&mut residual);
    let stored = call().residual_in_place(&mut in_place);
    stored.run_in_place(cuda.stream(), &mut rows_mut(&mut x)).expect("launches");
    assert!(read(&cuda, &x) == wanted_y && read(&cuda, &residual) == wanted_stream, "in place");
}

#[test]
#[ignore = "needs a GPU"]
fn a_step_on_the_sphere_takes_the_place_of_the_stream() {
    let cuda = gpu();
    let norm = Norm::l2_norm().with_input(Input::Interpolation(Interpolation { rate_scale: 1.6 }));
    let mut case = case_of(norm);
    case.weight = None;
    let wanted = elements::<u16>(&wanted(&cuda, &case).y);
    let x: CudaSlice<bf16> = upload(&cuda, &case.x);
    let mut residual: CudaSlice<bf16> = upload(&cuda, case.residual.as_ref().expect("the stream"));
    let rate: CudaSlice<f32> = parameter(&cuda, &case.rate);

    let mut y = zeros(&cuda);
    let call = cuda.kernels().norm(&norm).rate(&rate).residual(&rows(&residual));
    call.run(cuda.stream(), &rows(&x), &mut rows_mut(&mut y)).expect("launches");
    assert!(read(&cuda, &y) == wanted, "apart");

    let call = cuda.kernels().norm(&norm).rate(&rate);
    call.run_over_residual(cuda.stream(), &rows(&x), &mut rows_mut(&mut residual)).expect("launches");
    assert!(read(&cuda, &residual) == wanted, "over the stream");
}

#[test]
#[ignore = "needs a GPU"]
fn the_bias_of_the_linear_before_is_added() {
    let cuda = gpu();
    let norm = Norm::layer_norm(1e-5).with_residual_add(ResidualAdd::default());
    let case = case_of(norm).with_linear_bias(DType::BF16);
    let wanted = wanted(&cuda, &case);
    let [x, mut residual, weight] = tensors(&cuda, &case);
    let linear_bias: CudaSlice<bf16> = parameter(&cuda, &case.linear_bias);
    let (mut y, mut stream) = (zeros(&cuda), rows_mut(&mut residual));
    let call = cuda.kernels().norm(&norm).weight(&weight).linear_bias(&linear_bias).residual_in_place(&mut stream);
    call.run(cuda.stream(), &rows(&x), &mut rows_mut(&mut y)).expect("launches");
    assert!(read(&cuda, &y) == elements::<u16>(&wanted.y));
    assert!(read(&cuda, &residual) == elements::<u16>(&wanted.residual.expect("stored")));
}

/// The halves of packed `[gate | up]` rows, and a gate of its own beside rows that are normalised in their place.
#[test]
#[ignore = "needs a GPU"]
fn gates_may_be_a_half_of_a_packed_row() {
    let cuda = gpu();
    let silu = Activation::SILU;
    for norm in [
        Norm::activation(silu),
        Norm::rms_norm(1e-6).with_gate(silu),
        Norm::rms_norm(1e-6).with_input(Input::Gated(silu)),
    ] {
        let case = case_of(norm);
        let wanted = elements::<u16>(&wanted(&cuda, &case).y);
        let (gate, row) = (case.gate.as_ref().expect("the op has one"), HIDDEN * 2);
        let weight: CudaSlice<bf16> = parameter(&cuda, &case.weight);
        let packed: CudaSlice<bf16> = upload(&cuda, &super::side_by_side(&[(gate, row), (&case.x, row)]));
        let gate_half = Rows::strided(&packed, ROWS, HIDDEN, 2 * HIDDEN).expect("long enough");
        let up_half = Rows::strided(packed.slice(HIDDEN..), ROWS, HIDDEN, 2 * HIDDEN).expect("long enough");
        let mut y = zeros(&cuda);
        let call = cuda.kernels().norm(&norm).weight(&weight).gate(&gate_half);
        call.run(cuda.stream(), &up_half, &mut rows_mut(&mut y)).expect("launches");
        assert!(read(&cuda, &y) == wanted, "{norm:?} packed");

        let (mut x, gate) = (upload(&cuda, &case.x), upload(&cuda, gate));
        let call = cuda.kernels().norm(&norm).weight(&weight).gate(&rows(&gate));
        call.run_in_place(cuda.stream(), &mut rows_mut(&mut x)).expect("launches");
        assert!(read(&cuda, &x) == wanted, "{norm:?} in place");
    }
}
