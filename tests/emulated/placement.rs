//! Where the tensors lie: padded rows, every misalignment, in place. The executor ends the launch at an
//! access past a tensor, at a misaligned wide one, and at one that touches the padding between rows.

use crate::judge;
use crate::support::{Failures, case};
use warpnorm::host::Placement;
use warpnorm::parity::Values;
use warpnorm::{DType, DeviceFacts, Family, Norm, ResidualAdd, ResidualRounding};

fn norms() -> Vec<Norm> {
    let add = |norm: Norm, rounding| norm.with_residual_add(ResidualAdd { scale: 1.0, rounding });
    let (layer, rms) = (Norm::layer_norm(1e-5), Norm::rms_norm(1e-6));
    vec![layer, rms, add(layer, ResidualRounding::Wide), add(rms, ResidualRounding::Stored)]
}

fn hold(placements: &[Placement], hidden: &[usize]) {
    let mut failures = Failures::default();
    // T4 reads long rows again, H200 stages them: in place, the two differ in what they may overwrite.
    for device in [DeviceFacts::t4(), DeviceFacts::h200()] {
        for norm in norms() {
            for dtype in DType::ALL {
                for &hidden in hidden {
                    let parameter = if norm.family == Family::LayerNorm { DType::F32 } else { dtype };
                    let case = case((norm, Some(parameter), Some(parameter)), dtype, 5, hidden, Values::Unit, 9);
                    for &placement in placements {
                        judge(&mut failures, &device, &case, placement);
                    }
                }
            }
        }
    }
    failures.assert_none();
}

#[test]
fn every_offset_from_alignment() {
    let placements: Vec<_> = (0..=8).map(|offset| Placement { offset, ..Placement::default() }).collect();
    hold(&placements, &[7, 64, 257, 1000]);
}

#[test]
fn every_padding_between_rows() {
    let placements: Vec<_> = (1..=9).map(|padding| Placement { padding, ..Placement::default() }).collect();
    hold(&placements, &[7, 64, 257, 1000]);
}

#[test]
fn in_place() {
    let in_place = |padding, offset| Placement { padding, offset, in_place: true, ..Placement::default() };
    hold(&[in_place(0, 0), in_place(8, 0), in_place(0, 1), in_place(3, 5)], &[1, 8, 111, 768, 4097, 16400, 33000]);
}

#[test]
fn long_rows_misaligned_and_padded() {
    let placements = [(0, 1), (8, 8), (1, 3)].map(|(padding, offset)| Placement {
        padding,
        offset,
        in_place: false,
        ..Placement::default()
    });
    hold(&placements, &[16384, 16385, 33000]);
}
