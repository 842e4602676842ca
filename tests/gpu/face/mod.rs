//! The safe face: what it writes are the bits that the road of host memory has, which the reference judges.

mod errors;
mod parts;
mod rows;

use crate::elements;
use cudarc::driver::{CudaSlice, DeviceRepr};
use half::bf16;
use warpnorm::cuda::Cuda;
use warpnorm::host::{Device, Output, Placement};
use warpnorm::parity::Case;

/// The elements of a case's tensor in device memory.
fn upload<E: bytemuck::Pod + DeviceRepr>(cuda: &Cuda, bytes: &[u8]) -> CudaSlice<E> {
    cuda.stream().clone_htod(&elements::<E>(bytes)).expect("copies")
}

/// A parameter of this case, which has one of this type.
fn parameter<E: bytemuck::Pod + DeviceRepr>(
    cuda: &Cuda,
    parameter: &Option<(warpnorm::DType, Vec<u8>)>,
) -> CudaSlice<E> {
    let (dtype, bytes) = parameter.as_ref().expect("the case has it");
    assert_eq!(dtype.size(), size_of::<E>());
    upload(cuda, bytes)
}

/// The bits of a tensor in device memory.
fn read(cuda: &Cuda, slice: &CudaSlice<bf16>) -> Vec<u16> {
    let values = cuda.stream().clone_dtoh(slice).expect("copies");
    cuda.stream().synchronize().expect("runs");
    crate::bits(&values)
}

/// What the road of host memory has.
fn wanted(cuda: &Cuda, case: &Case) -> Output {
    cuda.run(&case.as_problem(), Placement::default()).expect("a valid problem")
}

/// The rows of several matrices side by side: `(matrix, bytes of its rows)`.
fn side_by_side(matrices: &[(&[u8], usize)]) -> Vec<u8> {
    let rows = matrices[0].0.len() / matrices[0].1;
    (0..rows)
        .flat_map(|row| matrices.iter().flat_map(move |(matrix, bytes)| matrix[row * bytes..][..*bytes].to_vec()))
        .collect()
}
