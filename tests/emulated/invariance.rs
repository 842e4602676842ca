//! Batch invariance: a row's result is the same to the bit wherever the row stands.

use crate::support::catalogue::catalogue;
use crate::support::{HIDDEN, bias, case};
use warpnorm::emulated::Emulated;
use warpnorm::host::{Device, Heads, Output, Placement, Problem, RopeTables};
use warpnorm::parity::{Case, Values};
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::reference::{decode, encode};
use warpnorm::{DType, DeviceFacts, Family, Norm, ResidualAdd, ResidualRounding};

const ROWS: usize = 67;

/// The part of a matrix that belongs to one row.
fn part(matrix: &[u8], rows: usize, row: usize) -> &[u8] {
    let bytes = matrix.len() / rows;
    &matrix[row * bytes..][..bytes]
}

/// Holds the problem of one row of a case against the part of the batch's output that belongs to it.
fn hold_alone(device: &Emulated, case: &Case, batch: &Output, row: usize, what: &str) {
    let problem = case.as_problem();
    let single = Problem {
        rows: 1,
        x: part(problem.x, case.rows, row),
        residual: problem.residual.map(|matrix| part(matrix, case.rows, row)),
        gate: problem.gate.map(|matrix| part(matrix, case.rows, row)),
        second: problem.second.map(|heads| Heads { x: part(heads.x, case.rows, row), ..heads }),
        rope: problem
            .rope
            .map(|tables| RopeTables { positions: tables.positions.map(|positions| &positions[row..][..1]), ..tables }),
        ..problem
    };
    let output = device.run(&single, Placement::default()).expect("runs");
    // Of row-major scales, and of statistics, the parts of a row lie together as well.
    let bytes = |all: &Vec<u8>| part(all, case.rows, row).to_vec();
    let values = |all: &Vec<f32>| all[row * case.parts..][..case.parts].to_vec();
    let wanted = Output {
        y: bytes(&batch.y),
        second_y: batch.second_y.as_ref().map(bytes),
        codes: batch.codes.as_ref().map(bytes),
        scales: batch.scales.as_ref().map(bytes),
        residual: batch.residual.as_ref().map(bytes),
        mean: batch.mean.as_ref().map(values),
        rstd: batch.rstd.as_ref().map(values),
    };
    assert!(output == wanted, "{what}: row {row} alone differs");
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
        .map(|norm| case((norm, Some(dtype), bias(&norm, dtype)), dtype, rows, hidden, Values::Unit, 77))
        .collect()
}

/// The same bits alone, in every placement and on every device.
fn hold_case(case: &Case, what: &str) {
    let reference = Emulated::new(DeviceFacts::h200());
    let problem = case.as_problem();
    let batch = reference.run(&problem, Placement::default()).expect("runs");
    for row in [0, case.rows / 2, case.rows - 1] {
        hold_alone(&reference, case, &batch, row, what);
    }
    let placements = [
        Placement { offset: 1, ..Placement::default() },
        Placement { padding: 5, ..Placement::default() },
        Placement { padding: 8, offset: 3, in_place: false, ..Placement::default() },
        Placement { in_place: true, ..Placement::default() },
    ];
    for placement in placements {
        let other = reference.run(&problem, placement).expect("runs");
        assert!(other == batch, "{what}: {placement:?} differs");
    }
    // Other targets, and other places for rows that leave the registers.
    for device in [DeviceFacts::t4(), DeviceFacts::a100()] {
        let name = device.name.clone();
        let other = Emulated::new(device).run(&problem, Placement::default()).expect("runs");
        assert!(other == batch, "{what}: {name} differs");
    }
}

fn hold(family: Family, dtype: DType) {
    for hidden in HIDDEN {
        let rows = if hidden <= 1024 { ROWS } else { 3 };
        for case in cases(family, dtype, hidden, rows) {
            hold_case(&case, &format!("{family} {dtype} {hidden}"));
        }
    }
}

/// One size of each regime, and one whose rows end inside a chunk.
#[test]
fn every_other_op() {
    for dtype in DType::ALL {
        for (rows, hidden) in [(13, 64), (9, 100), (3, 769), (2, 9000), (1, 20_000)] {
            for (name, case) in catalogue(dtype, rows, hidden) {
                hold_case(&case, &format!("{name} {dtype} {hidden}"));
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

/// Rows whose mean is far from 0 are reduced again, together with those that share a warp or a thread block with them, of
/// which nothing may change; and rows of huge constants a third time.
#[test]
fn rows_do_not_depend_on_neighbours_that_are_reduced_again() {
    // Where threads have work of their own, and where they do the work of two.
    let devices = [132, 1].map(|multiprocessors| DeviceFacts { multiprocessors, ..DeviceFacts::h200() });
    for dtype in DType::ALL {
        let huge = if dtype == DType::F16 { 60_000.0 } else { 3e38 };
        for hidden in [8, 64, 100, 256, 512, 768, 1024, 1536, 2048, 4096, 4097, 20_000, 40_000] {
            let rows = if hidden <= 4097 { 11 } else { 4 };
            for mut case in cases(Family::LayerNorm, dtype, hidden, rows) {
                let moved = |(at, value): (usize, f64)| match at / hidden % 4 {
                    0 => value,
                    1 => value + 40.0,
                    2 => value - 5.0,
                    _ => huge,
                };
                case.x = encode(dtype, decode(dtype, &case.x).into_iter().enumerate().map(moved));
                for facts in devices.clone() {
                    let device = Emulated::new(facts);
                    let batch = device.run(&case.as_problem(), Placement::default()).expect("runs");
                    for row in 0..rows {
                        hold_alone(&device, &case, &batch, row, &format!("{dtype} {hidden}"));
                    }
                }
            }
        }
    }
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
