//! Every op × type × rounding option × choice of parameters, over the hidden sizes of the grid.

use crate::judge;
use crate::support::{Failures, HIDDEN, case, emulated_devices, norms};
use warpnorm::host::Placement;
use warpnorm::parity::Values;
use warpnorm::{DType, Family};

fn grid(family: Family, dtype: DType) {
    let mut failures = Failures::default();
    let devices = emulated_devices();
    for (index, norm) in norms(family, dtype).into_iter().enumerate() {
        for (size, hidden) in HIDDEN.into_iter().enumerate() {
            // Small rows share a CTA: enough of them for more than one, and a last one that is not full.
            let rows = if hidden <= 128 { 37 } else { 2 };
            let seed = (index * HIDDEN.len() + size) as u64;
            let case = case(norm, dtype, rows, hidden, Values::Unit, seed);
            // Both targets see every size and every norm, though not every pair of them.
            judge(&mut failures, &devices[(index + size) % 2], &case, Placement::default());
        }
    }
    failures.assert_none();
}

macro_rules! grids {
    ($($name:ident: $family:ident $dtype:ident;)*) => {$(
        #[test]
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

/// The other options of the norms that stand: the L2 norm and the bias of a Linear, where the grid above is
/// wide enough already.
#[test]
fn l2_norms() {
    let mut failures = Failures::default();
    let devices = emulated_devices();
    for dtype in DType::ALL {
        for (index, norm) in norms(Family::L2Norm, dtype).into_iter().enumerate() {
            for (size, hidden) in [1, 7, 64, 384, 1000, 4096, 16385].into_iter().enumerate() {
                let case = case(norm, dtype, 3, hidden, Values::Unit, (index * 100 + size) as u64);
                judge(&mut failures, &devices[(index + size) % 2], &case, Placement::default());
            }
        }
    }
    failures.assert_none();
}

#[test]
fn linear_biases() {
    let mut failures = Failures::default();
    let devices = emulated_devices();
    for dtype in DType::ALL {
        for family in Family::NORMS {
            let adding = norms(family, dtype).into_iter().filter(|(norm, ..)| norm.residual_add().is_some());
            for (index, norm) in adding.enumerate() {
                for (size, hidden) in [3, 64, 769, 4096, 16385, 131_072].into_iter().enumerate() {
                    if hidden > 20_000 && index > 0 {
                        continue;
                    }
                    let case = case(norm, dtype, 2, hidden, Values::Unit, (index * 100 + size) as u64);
                    let case = case.with_linear_bias(dtype);
                    let placement = Placement { offset: index % 3, ..Placement::default() };
                    judge(&mut failures, &devices[(index + size) % 2], &case, placement);
                }
            }
        }
    }
    failures.assert_none();
}
