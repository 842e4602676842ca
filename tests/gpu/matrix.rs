//! Parity with the f64 reference on the GPU: every op × type × option × choice of parameters, over the
//! hidden sizes of the grid and the longest rows.

use crate::support::{Failures, HIDDEN, bias, case, norms};
use crate::{gpu, judge, quick};
use warpnorm::host::Placement;
use warpnorm::parity::Values;
use warpnorm::{DType, Family, Input, Norm, ResidualAdd, ResidualRounding};

/// Rows past what stays in registers, past what a CTA can stage, and a million elements.
const LONG: [usize; 3] = [65536, 200_001, 1 << 20];

/// One size for each way a row is reduced: one thread, part of a warp, several warps, slabs.
const SIZES: [(usize, usize); 5] = [(9, 3), (9, 100), (6, 769), (6, 4096), (3, 16500)];

fn grid(family: Family, dtype: DType) {
    let cuda = gpu();
    let mut failures = Failures::default();
    for (index, norm) in norms(family, dtype).into_iter().enumerate() {
        for (size, hidden) in HIDDEN.into_iter().chain(LONG).enumerate() {
            // Every norm meets every short row; for the long ones, and in the quick matrix, a diagonal.
            let stride = if quick() {
                13
            } else if hidden > 20_000 {
                7
            } else {
                1
            };
            if (index + size) % stride != 0 || (quick() && hidden > 20_000) {
                continue;
            }
            let rows = if hidden <= 128 { 37 } else { 2 };
            let case = case(norm, dtype, rows, hidden, Values::Unit, (index * 100 + size) as u64);
            judge(&mut failures, &cuda, &case, Placement::default());
        }
    }
    failures.assert_none();
}

macro_rules! grids {
    ($($name:ident: $family:ident $dtype:ident;)*) => {$(
        #[test]
        #[ignore = "needs a GPU"]
        fn $name() {
            grid(Family::$family, DType::$dtype);
        }
    )*};
}

grids! {
    layer_norm_f32: LayerNorm F32;
    layer_norm_f16: LayerNorm F16;
    layer_norm_bf16: LayerNorm BF16;
    rms_norm_f32: RmsNorm F32;
    rms_norm_f16: RmsNorm F16;
    rms_norm_bf16: RmsNorm BF16;
}

#[test]
#[ignore = "needs a GPU"]
fn every_kind_of_values() {
    let cuda = gpu();
    let mut failures = Failures::default();
    for values in Values::ALL {
        for family in Family::NORMS {
            for dtype in DType::ALL {
                for residual in [None, Some(ResidualRounding::Stored), Some(ResidualRounding::Wide)] {
                    let mut norm = Norm::new(family, 1e-6);
                    norm.input = Input::from(residual.map(|rounding| ResidualAdd { scale: 1.0, rounding }));
                    for (rows, hidden) in SIZES {
                        let parameters = (norm, Some(dtype), bias(&norm, dtype));
                        let case = case(parameters, dtype, rows, hidden, values, hidden as u64);
                        judge(&mut failures, &cuda, &case, Placement::default());
                    }
                }
            }
        }
    }
    failures.assert_none();
}

/// Every misalignment, padded rows and in place. The memory around every tensor is checked for writes.
#[test]
#[ignore = "needs a GPU"]
fn every_placement() {
    let cuda = gpu();
    let mut failures = Failures::default();
    let placement = |padding, offset, in_place| Placement { padding, offset, in_place, ..Placement::default() };
    let mut placements: Vec<_> = (1..=8).map(|offset| placement(0, offset, false)).collect();
    placements.extend((1..=9).map(|padding| placement(padding, 0, false)));
    placements.extend([(0, 0), (8, 0), (0, 1), (3, 5)].map(|(padding, offset)| placement(padding, offset, true)));
    let hidden = if quick() { vec![7, 1000] } else { vec![1, 7, 64, 257, 1000, 4097, 16384, 16385, 33000, 200_001] };
    for family in Family::NORMS {
        for dtype in DType::ALL {
            for residual in [None, Some(ResidualAdd::default())] {
                let mut norm = Norm::new(family, 1e-5);
                norm.input = Input::from(residual);
                let parameter = if family == Family::LayerNorm { DType::F32 } else { dtype };
                for &hidden in &hidden {
                    let case = case((norm, Some(parameter), Some(parameter)), dtype, 5, hidden, Values::Unit, 9);
                    for &placement in &placements {
                        judge(&mut failures, &cuda, &case, placement);
                    }
                }
            }
        }
    }
    failures.assert_none();
}
