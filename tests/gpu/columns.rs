//! The statistics of columns on the GPU, through the safe face: against the f64 reference, and batch normalisation.

use crate::gpu;
use crate::support::Failures;
use cudarc::driver::{CudaSlice, DeviceRepr, ValidAsZeroBits};
use half::{bf16, f16};
use warpnorm::cuda::{Cuda, Rows, RowsMut};
use warpnorm::host::{BatchProblem, Device, Placement, Vector};
use warpnorm::parity::{Case, Values, judge_columns, judge_results};
use warpnorm::reference::columns::batch_statistics;
use warpnorm::{BatchStatistics, CallError, DType, Element, Error, Norm, ParameterOf, Role};

fn judge<E>(failures: &mut Failures, cuda: &Cuda, values: Values, shape: [usize; 3])
where
    E: Element + DeviceRepr + ValidAsZeroBits + bytemuck::Pod,
    f32: ParameterOf<E>,
{
    let [rows, hidden, stride] = shape;
    let (kernels, stream) = (cuda.kernels(), cuda.stream());
    let statistics = BatchStatistics::new(1e-5);
    let case = Case::new(Norm::affine(), E::DTYPE, rows, hidden, values, (rows + hidden) as u64);
    let case = case.expect("a possible size").with_weight(DType::F32).with_bias(DType::F32);
    let (gamma, beta) = (&case.weight.as_ref().expect("given").1, &case.bias.as_ref().expect("given").1);

    let contiguous: Vec<E> = crate::elements(&case.x);
    let mut spread = vec![contiguous[0]; rows * stride];
    for (row, elements) in contiguous.chunks(hidden).enumerate() {
        spread[row * stride..][..hidden].copy_from_slice(elements);
    }
    let x = stream.clone_htod(&spread).expect("copies");
    let rows_of_x = Rows::strided(&x, rows, hidden, stride).expect("long enough");
    let upload = |bytes: &[u8]| stream.clone_htod(&crate::elements::<f32>(bytes)).expect("copies");
    let (weight, bias) = (upload(gamma), upload(beta));
    let vector = || -> CudaSlice<f32> { stream.alloc_zeros(hidden).expect("allocates") };
    let (mut mean, mut rstd, mut scale, mut shift) = (vector(), vector(), vector(), vector());
    let call = kernels.batch_statistics(&statistics).weight(&weight).bias(&bias).mean(&mut mean).rstd(&mut rstd);
    call.fold(&mut scale, &mut shift).run(stream, &rows_of_x).expect("launches");
    let mut y: CudaSlice<E> = stream.alloc_zeros(rows * hidden).expect("allocates");
    let mut rows_of_y = RowsMut::contiguous(&mut y, hidden).expect("whole rows");
    kernels
        .norm(&Norm::affine())
        .weight(&scale)
        .bias(&shift)
        .run(stream, &rows_of_x, &mut rows_of_y)
        .expect("launches");

    let download = |slice: &CudaSlice<f32>| stream.clone_dtoh(slice).expect("copies");
    let got = [download(&mean), download(&rstd), download(&scale), download(&shift)];
    let y: Vec<E> = stream.clone_dtoh(&y).expect("copies");
    let f32s = |bytes| Some(Vector { dtype: DType::F32, bytes });
    let shape = (E::DTYPE, rows, hidden);
    let wanted = batch_statistics(&statistics, shape, &case.x, f32s(gamma), f32s(beta)).expect("a valid problem");
    let y = warpnorm::reference::decode(E::DTYPE, bytemuck::cast_slice(&y));
    let x = warpnorm::reference::decode(E::DTYPE, &case.x);
    let verdict = judge_results(&wanted, got.each_ref().map(Vec::as_slice));
    failures.record((!verdict.passed).then(|| format!("{rows} × {hidden} {} {values}: {verdict:?}", E::DTYPE)));
    for (at, column) in wanted.iter().enumerate() {
        for row in 0..rows {
            let (x, y) = (x[row * hidden + at], y[row * hidden + at]);
            let exact = x.mul_add(column.scale, column.shift);
            let ulp = warpnorm::reference::ulp(E::DTYPE, exact);
            let right = (y - exact).abs() <= column.scale_error * x.abs() + column.shift_error + ulp;
            let what = || format!("{rows} × {hidden} {} {values}: y is {y:e}, wanted {exact:e}", E::DTYPE);
            failures.record((!right).then(what));
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn statistics_are_within_their_tolerance_and_fold_to_batch_normalisation() {
    let cuda = gpu();
    let mut failures = Failures::default();
    for values in [Values::Unit, Values::LargeMean, Values::Constant] {
        for shape in [[1, 8, 8], [33, 100, 100], [257, 768, 776], [1000, 1537, 1540], [5000, 4096, 4096]] {
            judge::<f32>(&mut failures, &cuda, values, shape);
            judge::<f16>(&mut failures, &cuda, values, shape);
            judge::<bf16>(&mut failures, &cuda, values, shape);
        }
    }
    failures.assert_none();
}

/// By the road of host memory, whose guards see writes past an output.
#[test]
#[ignore = "needs a GPU"]
fn statistics_of_host_memory_are_the_same_wherever_it_lies() {
    let cuda = gpu();
    let mut failures = Failures::default();
    for dtype in DType::ALL {
        for (rows, hidden) in [(1, 1), (33, 100), (1000, 1537)] {
            let case = Case::new(Norm::affine(), dtype, rows, hidden, Values::Unit, 7).expect("a possible size");
            let case = case.with_weight(dtype).with_bias(dtype);
            let affine = case.as_problem();
            let statistics = BatchStatistics::new(1e-5);
            let problem = BatchProblem {
                weight: affine.weight,
                bias: affine.bias,
                ..BatchProblem::new(statistics, dtype, rows, hidden, &case.x)
            };
            let results = [(0, 0), (3, 1), (8, 8)].map(|(padding, offset)| {
                let placement = Placement { padding, offset, in_place: false, ..Placement::default() };
                cuda.run_batch(&problem, placement).expect("valid")
            });
            assert!(results.iter().all(|output| *output == results[0]), "{dtype} {rows} × {hidden}");
            let verdict = judge_columns(&problem, &results[0]).expect("sizes fit");
            failures.record((!verdict.passed).then(|| format!("{dtype} {rows} × {hidden}: {verdict:?}")));
        }
    }
    failures.assert_none();
}

#[test]
#[ignore = "needs a GPU"]
fn statistics_that_do_not_fit_are_refused() {
    let cuda = gpu();
    let (kernels, stream) = (cuda.kernels(), cuda.stream());
    let x: CudaSlice<bf16> = stream.alloc_zeros(640).expect("allocates");
    let x = Rows::contiguous(&x, 64).expect("whole rows");
    let mut short: CudaSlice<f32> = stream.alloc_zeros(63).expect("allocates");
    let statistics = BatchStatistics::new(1e-5);
    let refused = |result| match result {
        Err(Error::Call(error)) => error,
        other => panic!("wanted a call error, got {other:?}"),
    };
    let result = kernels.batch_statistics(&statistics).mean(&mut short).run(stream, &x);
    assert_eq!(refused(result), CallError::Length { role: Role::Mean, given: 63, wanted: 64 });
    assert_eq!(refused(kernels.batch_statistics(&statistics).run(stream, &x)), CallError::NoOutput);
}
