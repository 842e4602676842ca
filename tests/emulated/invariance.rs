//! Batch invariance: a row's result is the same to the bit wherever the row stands.

use crate::support::{HIDDEN, case};
use warpnorm::emulated::Emulated;
use warpnorm::host::{Device, Output, Placement, Problem};
use warpnorm::parity::{Case, Values};
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{DType, DeviceFacts, Family, Norm, ResidualAdd, ResidualRounding};

const ROWS: usize = 67;

/// The problem of one row of a case.
fn alone(case: &Case, row: usize) -> Problem<'_> {
    let bytes = case.hidden * case.dtype.size();
    let of = |matrix: &'_ [u8]| -> std::ops::Range<usize> {
        assert!(matrix.len() >= (row + 1) * bytes);
        row * bytes..(row + 1) * bytes
    };
    let problem = case.as_problem();
    Problem {
        rows: 1,
        x: &problem.x[of(problem.x)],
        residual: problem.residual.map(|residual| &residual[of(residual)]),
        ..problem
    }
}

/// The part of an output that belongs to one row.
fn row_of(output: &Output, case: &Case, row: usize) -> Output {
    let bytes = case.hidden * case.dtype.size();
    let matrix = |matrix: &[u8]| matrix[row * bytes..(row + 1) * bytes].to_vec();
    Output {
        second_y: None,
        y: matrix(&output.y),
        codes: output.codes.as_ref().map(|codes| {
            let bytes = codes.len() / case.rows;
            codes[row * bytes..(row + 1) * bytes].to_vec()
        }),
        // Of row-major scales.
        scales: output.scales.as_ref().map(|scales| {
            let bytes = scales.len() / case.rows;
            scales[row * bytes..(row + 1) * bytes].to_vec()
        }),
        residual: output.residual.as_deref().map(matrix),
        mean: output.mean.as_ref().map(|mean| vec![mean[row]]),
        rstd: output.rstd.as_ref().map(|rstd| vec![rstd[row]]),
    }
}

fn cases(family: Family, dtype: DType, hidden: usize, rows: usize) -> Vec<Case> {
    let norm = Norm::new(family, 1e-5);
    let add = norm.with_residual_add(ResidualAdd { scale: 1.0, rounding: ResidualRounding::Wide });
    let mut norms = vec![norm, add];
    if dtype != DType::F32 {
        norms.push(norm.with_quantisation(Quantisation::per_token(CodeType::E4m3)));
        if hidden.is_multiple_of(128) {
            norms.push(add.with_quantisation(Quantisation::per_group(CodeType::Int8, 128)));
        }
    }
    norms
        .into_iter()
        .map(|norm| case((norm, Some(dtype), Some(dtype)), dtype, rows, hidden, Values::Unit, 77))
        .collect()
}

fn hold(family: Family, dtype: DType) {
    let reference = Emulated::new(DeviceFacts::h200());
    for hidden in HIDDEN {
        let rows = if hidden <= 1024 { ROWS } else { 3 };
        for case in cases(family, dtype, hidden, rows) {
            let problem = case.as_problem();
            let batch = reference.run(&problem, Placement::default()).expect("runs");

            for row in [0, rows / 2, rows - 1] {
                let single = reference.run(&alone(&case, row), Placement::default()).expect("runs");
                assert!(single == row_of(&batch, &case, row), "{family} {dtype} {hidden}: row {row} alone differs");
            }
            let placements = [
                Placement { offset: 1, ..Placement::default() },
                Placement { padding: 5, ..Placement::default() },
                Placement { padding: 8, offset: 3, in_place: false },
                Placement { in_place: true, ..Placement::default() },
            ];
            for placement in placements {
                let other = reference.run(&problem, placement).expect("runs");
                assert!(other == batch, "{family} {dtype} {hidden}: {placement:?} differs");
            }
            // Other targets, and other places for rows that leave the registers.
            for device in [DeviceFacts::t4(), DeviceFacts::a100()] {
                let name = device.name.clone();
                let other = Emulated::new(device).run(&problem, Placement::default()).expect("runs");
                assert!(other == batch, "{family} {dtype} {hidden}: {name} differs");
            }
        }
    }
}

macro_rules! families {
    ($($name:ident: $family:ident $dtype:ident;)*) => {$(
        #[test]
        fn $name() {
            hold(Family::$family, DType::$dtype);
        }
    )*};
}

families! {
    layer_norm_f32: LayerNorm F32;
    layer_norm_f16: LayerNorm F16;
    layer_norm_bf16: LayerNorm BF16;
    rms_norm_f32: RmsNorm F32;
    rms_norm_f16: RmsNorm F16;
    rms_norm_bf16: RmsNorm BF16;
}

/// Staged on one device, read again on the other: the same bits.
#[test]
fn long_rows_do_not_depend_on_shared_memory() {
    for dtype in DType::ALL {
        for case in cases(Family::LayerNorm, dtype, 40_000, 1) {
            let problem = case.as_problem();
            let [h200, t4] = [DeviceFacts::h200(), DeviceFacts::t4()].map(|device| {
                let (output, counted) =
                    Emulated::new(device).run_counted(&problem, Placement::default()).expect("runs");
                (output, counted.expect("launched").0.regime)
            });
            assert_ne!(h200.1, t4.1, "the regimes differ, or this tests nothing");
            assert!(h200.0 == t4.0, "{dtype}: the results differ");
        }
    }
}
