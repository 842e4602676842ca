//! The quantisations that emulated and real GPUs are tested with.

use warpnorm::quantise::{BlockRounding, CodeType, Quantisation, ScaleLayout, Scaling};
use warpnorm::{ResidualAdd, ResidualRounding};

/// Every scaling with every code type that it takes, in every layout and with every option.
pub fn quantisations() -> Vec<Quantisation> {
    let column_major = |alignment| ScaleLayout::ColumnMajor { alignment };
    let mut scalings = vec![
        Scaling::PerTensor,
        Scaling::PerToken { upper_bound: None },
        Scaling::PerToken { upper_bound: Some(1.5) },
        Scaling::Nvfp4 { layout: ScaleLayout::RowMajor },
        Scaling::Nvfp4 { layout: ScaleLayout::Tiled },
    ];
    for size in [64, 128] {
        for layout in [ScaleLayout::RowMajor, column_major(1), column_major(4)] {
            for power_of_two in [false, true] {
                scalings.push(Scaling::PerGroup { size, layout, power_of_two, floor: 1e-10 });
            }
        }
    }
    for rounding in [BlockRounding::Up, BlockRounding::Floor] {
        for layout in [ScaleLayout::RowMajor, ScaleLayout::Tiled] {
            scalings.push(Scaling::Mxfp8 { rounding, layout });
        }
    }
    let mut quantisations = Vec::new();
    for scaling in scalings {
        for code in CodeType::ALL {
            let quantisation = Quantisation { code, scaling };
            if quantisation.validate(128).is_ok() {
                quantisations.push(quantisation);
            }
        }
    }
    quantisations
}

/// Without and with a residual add.
pub fn sources() -> [Option<ResidualAdd>; 2] {
    [None, Some(ResidualAdd { scale: 1.0, rounding: ResidualRounding::Wide })]
}
