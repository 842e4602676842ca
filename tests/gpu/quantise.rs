//! Quantised outputs on the GPU: codes and scales equal the reference's to the bit, by either face.

use crate::support::quantisations::{quantisations, sources};
use crate::support::{Failures, case};
use crate::{elements, gpu, judge, quick};
use cudarc::driver::CudaSlice;
use half::bf16;
use warpnorm::cuda::{CodesMut, Cuda, Rows, RowsMut};
use warpnorm::host::{Device, Placement};
use warpnorm::parity::{Case, Values};
use warpnorm::quantise::{CodeType, Quantisation, ScaleType};
use warpnorm::reference::Cpu;
use warpnorm::{DType, Family, Input, Norm};

/// Rows that fill a part of a warp, a warp, a CTA in part and in whole, and loop, staged and read again.
const SIZES: [(usize, usize); 8] =
    [(301, 16), (77, 64), (133, 128), (9, 256), (5, 640), (4, 4096), (2, 18_432), (1, 131_072)];

fn hold(failures: &mut Failures, cuda: &Cuda, (rows, hidden): (usize, usize), values: Values, placement: Placement) {
    for quantisation in quantisations().into_iter().filter(|quantisation| quantisation.validate(hidden).is_ok()) {
        for family in Family::NORMS {
            for dtype in [DType::F16, DType::BF16] {
                for residual in sources() {
                    let mut norm = Norm::new(family, 1e-5).with_quantisation(quantisation);
                    norm.input = Input::from(residual);
                    let mut case = case((norm, Some(dtype), None), dtype, rows, hidden, values, 5);
                    // Where the mean is not exact y is not, and codes are those of the y that there is.
                    case.outputs.y = residual.is_some() || values == Values::Denormals;
                    judge(failures, cuda, &case, placement);
                }
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn every_quantisation_in_every_regime() {
    let cuda = gpu();
    let mut failures = Failures::default();
    for (index, size) in SIZES.into_iter().enumerate() {
        if !quick() || index % 3 == 1 {
            hold(&mut failures, &cuda, size, Values::Unit, Placement::default());
        }
    }
    failures.assert_none();
}

/// Sizes that no chunk divides, strides and addresses that nothing wider than a byte fits. The memory around
/// every tensor is checked for writes.
#[test]
#[ignore = "needs a GPU"]
fn ragged_and_misaligned_rows() {
    let cuda = gpu();
    let mut failures = Failures::default();
    let placements = [(0, 0), (1, 0), (0, 1), (3, 5), (8, 8), (16, 16)];
    let sizes = [(3, 1), (3, 7), (3, 20), (5, 128), (2, 257), (2, 4097), (2, 16_390)];
    let (placements, sizes) = if quick() { (&placements[3..4], &sizes[2..5]) } else { (&placements[..], &sizes[..]) };
    for &(padding, offset) in placements {
        for &size in sizes {
            hold(
                &mut failures,
                &cuda,
                size,
                Values::Unit,
                Placement { padding, offset, in_place: offset == 5, ..Placement::default() },
            );
        }
    }
    failures.assert_none();
}

#[test]
#[ignore = "needs a GPU"]
fn every_kind_of_values() {
    let cuda = gpu();
    let mut failures = Failures::default();
    for values in Values::ALL {
        hold(&mut failures, &cuda, (4, 384), values, Placement::default());
    }
    failures.assert_none();
}

/// What the safe face is to write.
struct Wanted {
    case: Case,
    quantisation: Quantisation,
    y: Vec<u8>,
    codes: Vec<u8>,
    scales: Vec<u8>,
}

impl Wanted {
    /// Of the reference. The norm is an RMSNorm without a residual, whose y is exact.
    fn new(quantisation: Quantisation, rows: usize, hidden: usize) -> Self {
        let norm = Norm::rms_norm(1e-5).with_quantisation(quantisation);
        let case = case((norm, Some(DType::BF16), None), DType::BF16, rows, hidden, Values::Unit, 17);
        let output = Cpu.run(&case.as_problem(), Placement::default()).expect("a valid problem");
        let (codes, scales) = (output.codes.expect("quantised"), output.scales.unwrap_or_default());
        Self { case, quantisation, y: output.y, codes, scales }
    }

    /// Runs the norm by the safe face with y and without, codes in rows `padding` bytes apart; what differs.
    fn differences(&self, cuda: &Cuda, padding: usize) -> Vec<&'static str> {
        let (kernels, stream) = (cuda.kernels(), cuda.stream());
        let Case { norm, rows, hidden, .. } = self.case;
        let row_bytes = self.quantisation.row_bytes(hidden);
        let x: CudaSlice<bf16> = stream.clone_htod(&elements::<bf16>(&self.case.x)).expect("copies");
        let (_, weight) = self.case.weight.as_ref().expect("a weight");
        let weight: CudaSlice<bf16> = stream.clone_htod(&elements::<bf16>(weight)).expect("copies");
        let x = Rows::contiguous(&x, hidden).expect("whole rows");
        let tensor_scale = self.case.tensor_scale.map(|scale| stream.clone_htod(&[scale]).expect("copies"));

        let mut found = Vec::new();
        for with_y in [false, true] {
            let stride = row_bytes + padding;
            // What is not to be written holds what it held.
            let blank = vec![0xffu8; rows * stride];
            let mut bytes = stream.clone_htod(&blank).expect("copies");
            let mut signed =
                stream.clone_htod(&blank.iter().map(|&byte| byte as i8).collect::<Vec<_>>()).expect("copies");
            let mut codes = if self.quantisation.code == CodeType::Int8 {
                CodesMut::strided(&mut signed, rows, row_bytes, stride).expect("long enough")
            } else {
                CodesMut::strided(&mut bytes, rows, row_bytes, stride).expect("long enough")
            };
            let count = self.quantisation.scale_count(rows, hidden).expect("countable");
            let mut f32_scales = stream.clone_htod(&vec![f32::from_bits(u32::MAX); count.max(1)]).expect("copies");
            let mut byte_scales = stream.clone_htod(&vec![0xffu8; count.max(1)]).expect("copies");
            let mut y: CudaSlice<bf16> = stream.alloc_zeros(rows * hidden).expect("allocates");

            let mut call = kernels.norm(&norm).weight(&weight).codes(&mut codes);
            call = match self.quantisation.scaling.scale_type() {
                None => call,
                Some(ScaleType::F32) => call.scales(f32_scales.slice_mut(..count)),
                Some(ScaleType::Ue8m0 | ScaleType::E4m3) => call.scales(byte_scales.slice_mut(..count)),
            };
            if let Some(scale) = &tensor_scale {
                call = call.tensor_scale(scale);
            }
            if with_y {
                call.run(stream, &x, &mut RowsMut::contiguous(&mut y, hidden).expect("whole rows")).expect("launches");
            } else {
                call.run_quantised(stream, &x).expect("launches");
            }

            let codes: Vec<u8> = if self.quantisation.code == CodeType::Int8 {
                stream.clone_dtoh(&signed).expect("copies").into_iter().map(|code| code as u8).collect()
            } else {
                stream.clone_dtoh(&bytes).expect("copies")
            };
            let scales: Vec<u8> = match self.quantisation.scaling.scale_type() {
                None => Vec::new(),
                Some(ScaleType::F32) => {
                    let scales = stream.clone_dtoh(&f32_scales).expect("copies");
                    scales.into_iter().flat_map(f32::to_ne_bytes).collect()
                }
                Some(ScaleType::Ue8m0 | ScaleType::E4m3) => stream.clone_dtoh(&byte_scales).expect("copies"),
            };
            let y = stream.clone_dtoh(&y).expect("copies");
            stream.synchronize().expect("runs");

            let mut of_rows = codes.chunks(stride).zip(self.codes.chunks(row_bytes));
            if !of_rows.all(|(got, wanted)| got[..row_bytes] == *wanted) {
                found.push("codes");
            }
            if codes.chunks(stride).any(|row| row[row_bytes..].iter().any(|&byte| byte != 0xff)) {
                found.push("bytes between the rows of codes");
            }
            if scales != self.scales {
                found.push("scales");
            }
            if with_y && y != elements::<bf16>(&self.y) {
                found.push("y");
            }
        }
        found
    }
}

/// Every quantisation by the safe face, with y and without, codes side by side and apart, int8 as `i8`.
#[test]
#[ignore = "needs a GPU"]
fn the_safe_face_writes_what_the_reference_does() {
    let cuda = gpu();
    let mut failures = Failures::default();
    for quantisation in quantisations() {
        let wanted = Wanted::new(quantisation, 37, 256);
        for padding in [0, 3, 16] {
            let found = wanted.differences(&cuda, padding);
            let what = || format!("{quantisation:?}, {padding} bytes apart: {} differ", found.join(", "));
            failures.record((!found.is_empty()).then(what));
        }
    }
    failures.assert_none();
}
