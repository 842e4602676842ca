//! Tensors past 2³¹ elements, and more rows than 16 bits count.

use crate::support::case;
use crate::{bits, elements, gpu};
use cudarc::driver::CudaSlice;
use half::bf16;
use warpnorm::cuda::{Rows, RowsMut};
use warpnorm::host::{Output, Outputs, Problem};
use warpnorm::parity::{Values, judge};
use warpnorm::{DType, Norm};

/// Runs `rows` rows of which all but the first and the last are zero, and judges those two.
fn first_and_last(norm: Norm, rows: usize, hidden: usize, in_place: bool) {
    let cuda = gpu();
    let (kernels, stream) = (cuda.kernels(), cuda.stream());
    let (free, _) = kernels.context().mem_get_info().expect("memory info");
    let wanted = rows * hidden * 2 * if in_place { 1 } else { 2 };
    if free < wanted + (1 << 28) {
        println!("skipped: {wanted} bytes are wanted and {free} free");
        return;
    }

    let case = case((norm, None, None), DType::BF16, 2, hidden, Values::Unit, 12);
    let ends: Vec<bf16> = elements(&case.x);
    let last = (rows - 1) * hidden;
    let mut x: CudaSlice<bf16> = stream.alloc_zeros(rows * hidden).expect("allocates");
    stream.memcpy_htod(&ends[..hidden], &mut x.slice_mut(..hidden)).expect("copies");
    stream.memcpy_htod(&ends[hidden..], &mut x.slice_mut(last..)).expect("copies");

    let read = |slice: &CudaSlice<bf16>| {
        let mut y = stream.clone_dtoh(&slice.slice(..hidden)).expect("copies");
        y.extend(stream.clone_dtoh(&slice.slice(last..)).expect("copies"));
        let middle = stream.clone_dtoh(&slice.slice(last - hidden..last)).expect("copies");
        stream.synchronize().expect("runs");
        (y, middle)
    };
    let (y, middle) = if in_place {
        let mut rows = RowsMut::contiguous(&mut x, hidden).expect("whole rows");
        kernels.norm(&norm).run_in_place(stream, &mut rows).expect("launches");
        read(&x)
    } else {
        let mut y: CudaSlice<bf16> = stream.alloc_zeros(rows * hidden).expect("allocates");
        // Ones where the row before the last is to become zeros.
        let ones = vec![bf16::ONE; hidden];
        stream.memcpy_htod(&ones, &mut y.slice_mut(last - hidden..last)).expect("copies");
        let mut out = RowsMut::contiguous(&mut y, hidden).expect("whole rows");
        kernels
            .norm(&norm)
            .run(stream, &Rows::contiguous(&x, hidden).expect("whole rows"), &mut out)
            .expect("launches");
        read(&y)
    };

    assert!(bits(&middle).iter().all(|&bits| bits & 0x7fff == 0), "a row of zeros stays one");
    let output = Output { y: bytemuck::cast_slice(&y).to_vec(), ..Output::default() };
    let problem = Problem { outputs: Outputs::default(), ..case.as_problem() };
    let verdict = judge(&problem, &output).expect("sizes fit");
    assert!(verdict.passed, "{verdict:?}");
}

#[test]
#[ignore = "needs a GPU"]
fn past_two_to_the_31_elements() {
    let hidden = 4096;
    first_and_last(Norm::rms_norm(1e-6), (1 << 31) / hidden + 3, hidden, false);
}

#[test]
#[ignore = "needs a GPU"]
fn past_two_to_the_31_elements_in_place() {
    // An odd size: chunks of most rows are misaligned.
    let hidden = 4099;
    first_and_last(Norm::layer_norm(1e-5), (1 << 31) / hidden + 3, hidden, true);
}

#[test]
#[ignore = "needs a GPU"]
fn past_two_to_the_31_elements_in_long_rows() {
    let hidden = (1 << 20) + 5;
    first_and_last(Norm::layer_norm(1e-5), (1 << 31) / hidden + 3, hidden, true);
}

#[test]
#[ignore = "needs a GPU"]
fn millions_of_rows() {
    first_and_last(Norm::rms_norm(1e-6), 5_000_001, 24, false);
}
