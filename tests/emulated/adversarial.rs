//! Values that break careless kernels: large means, outliers, constants, zeros, denormals, infinities,
//! NaN and the ends of the range.

use crate::judge;
use crate::support::{Failures, case, emulated_devices};
use warpnorm::emulated::Emulated;
use warpnorm::host::{Device, Placement};
use warpnorm::parity::Values;
use warpnorm::{DType, Family, Input, Norm, ResidualAdd, ResidualRounding};

/// One size for each way a row is reduced: one thread, part of a warp, several warps, and slabs.
const SIZES: [(usize, usize); 5] = [(9, 3), (9, 100), (6, 769), (6, 4096), (3, 16500)];

fn hold(values: Values) {
    let mut failures = Failures::default();
    for (index, device) in emulated_devices().iter().enumerate() {
        for family in Family::NORMS {
            for dtype in DType::ALL {
                for residual in [None, Some(ResidualRounding::Stored), Some(ResidualRounding::Wide)] {
                    let mut norm = Norm::new(family, 1e-6);
                    norm.input = Input::from(residual.map(|rounding| ResidualAdd { scale: 1.0, rounding }));
                    for (rows, hidden) in SIZES {
                        let seed = (index + hidden) as u64;
                        let parameter = Some(if hidden == 100 { DType::F32 } else { dtype });
                        let with_both = case((norm, parameter, parameter), dtype, rows, hidden, values, seed);
                        let bare = case((norm, None, None), dtype, rows, hidden, values, seed);
                        judge(&mut failures, device, &with_both, Placement::default());
                        judge(&mut failures, device, &bare, Placement::default());
                    }
                }
            }
        }
    }
    failures.assert_none();
}

macro_rules! kinds {
    ($($name:ident: $values:ident;)*) => {
        $(
            #[test]
            fn $name() {
                hold(Values::$values);
            }
        )*

        #[test]
        fn every_kind_is_tested() {
            // The unit kind is what the grid is made of.
            assert_eq!(Values::ALL.len(), 1 + [$(Values::$values),*].len());
        }
    };
}

kinds! {
    large_mean: LargeMean;
    outlier_channel: OutlierChannel;
    constant: Constant;
    zeros: Zeros;
    denormals: Denormals;
    infinities: Infinities;
    nans: Nans;
    extremes: Extremes;
}

#[test]
fn eps_zero_follows_ieee() {
    let mut failures = Failures::default();
    for device in &emulated_devices() {
        for family in Family::NORMS {
            for dtype in DType::ALL {
                for values in [Values::Unit, Values::Zeros, Values::Constant] {
                    let case = case((Norm::new(family, 0.0), Some(dtype), None), dtype, 5, 384, values, 4);
                    judge(&mut failures, device, &case, Placement::default());
                }
            }
        }
    }
    failures.assert_none();
}

/// Constant rows at the very end of the range, of groups that are full and of groups that are not: the
/// mean is the constant, and nothing but the bias is left of y.
#[test]
fn constants_at_the_end_of_the_range() {
    for device in emulated_devices() {
        for (value, hidden) in [(f32::MAX, 7), (-f32::MAX, 100), (f32::MAX, 777), (3e37, 1000), (-1e34, 16_500)] {
            let mut case = case((Norm::layer_norm(1e-5), None, None), DType::F32, 1, hidden, Values::Unit, 2);
            case.x = value.to_le_bytes().repeat(hidden);
            let output = Emulated::new(device.clone()).run(&case.as_problem(), Placement::default()).expect("runs");
            assert!(output.y.as_chunks().0.iter().all(|&y| f32::from_le_bytes(y) == 0.0), "{value:e} × {hidden}");
            assert_eq!(output.mean, Some(vec![value]), "{value:e} × {hidden}");
        }
    }
}
