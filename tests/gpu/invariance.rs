//! A row's result is the same bits alone, in a batch, misaligned, strided and in place.

use crate::gpu;
use crate::support::{Failures, case};
use warpnorm::host::{Device, Output, Placement, Problem};
use warpnorm::parity::{Case, Values};
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{DType, Family, Input, Norm, ResidualAdd, ResidualRounding};

/// One row of a case, as a problem of its own.
fn row(case: &Case, index: usize) -> Problem<'_> {
    let bytes = case.hidden * case.dtype.size();
    let part = index * bytes..(index + 1) * bytes;
    let whole = case.as_problem();
    Problem { rows: 1, x: &whole.x[part.clone()], residual: whole.residual.map(|matrix| &matrix[part]), ..whole }
}

/// The same row of a batch's output.
fn row_of(output: &Output, case: &Case, index: usize) -> Output {
    let bytes = case.hidden * case.dtype.size();
    let part = |matrix: &Vec<u8>| matrix[index * bytes..][..bytes].to_vec();
    let value = |values: &Vec<f32>| vec![values[index]];
    // Rows of codes, and scales where they are row-major, divide their buffer evenly.
    let share = |all: &Vec<u8>| {
        let bytes = all.len() / case.rows;
        all[index * bytes..][..bytes].to_vec()
    };
    Output {
        second_y: None,
        codes: output.codes.as_ref().map(share),
        scales: output.scales.as_ref().map(share),
        y: part(&output.y),
        residual: output.residual.as_ref().map(part),
        mean: output.mean.as_ref().map(value),
        rstd: output.rstd.as_ref().map(value),
    }
}

#[test]
#[ignore = "needs a GPU"]
fn rows_do_not_depend_on_their_batch_or_placement() {
    let cuda = gpu();
    let mut failures = Failures::default();
    let placement = |padding, offset, in_place| Placement { padding, offset, in_place };
    let placements = [placement(0, 1, false), placement(5, 0, false), placement(8, 3, true), placement(0, 0, true)];
    for family in Family::NORMS {
        for dtype in DType::ALL {
            for residual in [None, Some(ResidualRounding::Wide)] {
                let mut norm = Norm::new(family, 1e-5);
                norm.input = Input::from(residual.map(|rounding| ResidualAdd { scale: 1.0, rounding }));
                for (rows, hidden) in [(301, 5), (301, 64), (77, 257), (33, 768), (9, 4096), (5, 16385), (3, 65536)] {
                    let case = case((norm, Some(dtype), Some(dtype)), dtype, rows, hidden, Values::Unit, 21);
                    let what = format!("{family} {dtype} {residual:?} {rows} × {hidden}");
                    let batch = cuda.run(&case.as_problem(), Placement::default()).expect("runs");
                    for index in [0, 1, rows / 2, rows - 1] {
                        let alone = cuda.run(&row(&case, index), Placement::default()).expect("runs");
                        let same = alone == row_of(&batch, &case, index);
                        failures.record((!same).then(|| format!("{what}: row {index} differs alone")));
                    }
                    for placement in placements {
                        let placed = cuda.run(&case.as_problem(), placement).expect("runs");
                        failures.record((placed != batch).then(|| format!("{what}: differs with {placement:?}")));
                    }
                }
            }
        }
    }
    failures.assert_none();
}

#[test]
#[ignore = "needs a GPU"]
fn codes_and_scales_do_not_depend_on_their_batch_or_placement() {
    let cuda = gpu();
    let mut failures = Failures::default();
    let placement = |padding, offset, in_place| Placement { padding, offset, in_place };
    let placements = [placement(0, 1, false), placement(5, 0, false), placement(16, 16, true)];
    for quantisation in [
        Quantisation::per_token(CodeType::E4m3),
        Quantisation::per_group(CodeType::Int8, 64),
        Quantisation::mxfp8(),
        Quantisation::nvfp4(),
    ] {
        for residual in [None, Some(ResidualAdd::default())] {
            for (rows, hidden) in [(301, 64), (33, 768), (9, 4096), (5, 16_448), (3, 65_536)] {
                let mut norm = Norm::layer_norm(1e-5).with_quantisation(quantisation);
                norm.input = Input::from(residual);
                let case = case((norm, Some(DType::BF16), None), DType::BF16, rows, hidden, Values::Unit, 21);
                let batch = cuda.run(&case.as_problem(), Placement::default()).expect("runs");
                for index in [0, rows / 2, rows - 1] {
                    let alone = cuda.run(&row(&case, index), Placement::default()).expect("runs");
                    let same = alone == row_of(&batch, &case, index);
                    failures.record((!same).then(|| format!("{norm:?} {rows} × {hidden}: row {index} differs alone")));
                }
                for placement in placements {
                    let placed = cuda.run(&case.as_problem(), placement).expect("runs");
                    let what = || format!("{norm:?} {rows} × {hidden}: differs with {placement:?}");
                    failures.record((placed != batch).then(what));
                }
            }
        }
    }
    failures.assert_none();
}
