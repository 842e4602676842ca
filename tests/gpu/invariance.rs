//! A row's result is the same bits alone, in a batch, misaligned, strided and in place.

use crate::gpu;
use crate::support::{Failures, bias, case};
use warpnorm::host::{Device, Heads, Output, Placement, Problem, RopeTables};
use warpnorm::parity::{Case, Values};
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{
    Activation, DType, Family, Input, Interpolation, Norm, PostAdd, ResidualAdd, ResidualRounding, Rope, Scope,
};

/// One row of a case, as a problem of its own.
fn row(case: &Case, index: usize) -> Problem<'_> {
    let share = |matrix: &'_ [u8]| -> std::ops::Range<usize> {
        let bytes = matrix.len() / case.rows;
        index * bytes..(index + 1) * bytes
    };
    let whole = case.as_problem();
    let rows = |matrix: Option<&'_ [u8]>| -> Option<std::ops::Range<usize>> { matrix.map(share) };
    let (residual, gate) = (rows(whole.residual), rows(whole.gate));
    Problem {
        rows: 1,
        x: &whole.x[share(whole.x)],
        residual: whole.residual.zip(residual).map(|(matrix, part)| &matrix[part]),
        gate: whole.gate.zip(gate).map(|(matrix, part)| &matrix[part]),
        second: whole.second.map(|heads| Heads { x: &heads.x[share(heads.x)], ..heads }),
        rope: whole.rope.map(|tables| {
            let positions = tables.positions.expect("a row alone has another number");
            RopeTables { positions: Some(&positions[index..=index]), ..tables }
        }),
        ..whole
    }
}

/// The same row of a batch's output.
fn row_of(output: &Output, case: &Case, index: usize) -> Output {
    // Rows divide their buffer evenly; scales do where they are row-major.
    fn share<T: Clone>(all: &[T], rows: usize, index: usize) -> Vec<T> {
        let of_row = all.len() / rows;
        all[index * of_row..][..of_row].to_vec()
    }
    let bytes = |all: &Vec<u8>| share(all, case.rows, index);
    let values = |all: &Vec<f32>| share(all, case.rows, index);
    Output {
        y: bytes(&output.y),
        second_y: output.second_y.as_ref().map(bytes),
        codes: output.codes.as_ref().map(bytes),
        scales: output.scales.as_ref().map(bytes),
        residual: output.residual.as_ref().map(bytes),
        mean: output.mean.as_ref().map(values),
        rstd: output.rstd.as_ref().map(values),
    }
}

#[test]
#[ignore = "needs a GPU"]
fn rows_do_not_depend_on_their_batch_or_placement() {
    let cuda = gpu();
    let mut failures = Failures::default();
    let placement = |padding, offset, in_place| Placement { padding, offset, in_place, ..Placement::default() };
    let placements = [placement(0, 1, false), placement(5, 0, false), placement(8, 3, true), placement(0, 0, true)];
    for family in Family::NORMS {
        for dtype in DType::ALL {
            for residual in [None, Some(ResidualRounding::Wide)] {
                let mut norm = Norm::new(family, 1e-5);
                norm.input = Input::from(residual.map(|rounding| ResidualAdd { scale: 1.0, rounding }));
                // Of many rows threads do the work of two, of one alone they do not.
                let few = [(301, 5), (301, 64), (77, 257), (33, 768), (9, 4096), (5, 16_385), (3, 65_536)];
                for (rows, hidden) in few.into_iter().chain([(700, 4096), (700, 4097), (50_000, 64)]) {
                    let case = case((norm, Some(dtype), bias(&norm, dtype)), dtype, rows, hidden, Values::Unit, 21);
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
    let placement = |padding, offset, in_place| Placement { padding, offset, in_place, ..Placement::default() };
    let placements = [placement(0, 1, false), placement(5, 0, false), placement(16, 16, true)];
    for quantisation in [
        Quantisation::per_token(CodeType::E4m3),
        Quantisation::per_group(CodeType::Int8, 64),
        Quantisation::mxfp8(),
        Quantisation::nvfp4(),
    ] {
        for residual in [None, Some(ResidualAdd::default())] {
            for (turn, (rows, hidden)) in
                [(301, 64), (33, 768), (9, 4096), (700, 4096), (5, 16_448), (3, 65_536)].into_iter().enumerate()
            {
                let mut norm = [Norm::layer_norm(1e-5), Norm::rms_norm(1e-6)][turn % 2].with_quantisation(quantisation);
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

/// The ops around a norm: gates, two norms, steps, heads with others beside them and positions, groups.
#[test]
#[ignore = "needs a GPU"]
fn rows_of_every_op_do_not_depend_on_their_batch_or_placement() {
    let cuda = gpu();
    let mut failures = Failures::default();
    let placement = |padding, offset, in_place| Placement { padding, offset, in_place, ..Placement::default() };
    let placements = [placement(0, 1, false), placement(5, 0, false), placement(8, 3, true), placement(0, 0, true)];
    let rms = Norm::rms_norm(1e-6);
    for dtype in DType::ALL {
        let mut cases = Vec::new();
        for norm in [
            rms.with_gate(Activation::SILU),
            rms.with_input(Input::Gated(Activation::SILU)),
            rms.with_post_add(PostAdd::default()),
            rms.with_input(Input::PostNorm(PostAdd::default())),
            Norm::l2_norm().with_input(Input::Interpolation(Interpolation::default())),
        ] {
            for (rows, hidden) in [(301, 5), (77, 257), (33, 768), (9, 4096), (5, 16_385), (3, 65_536)] {
                let case = case((norm, Some(dtype), None), dtype, rows, hidden, Values::Unit, 21);
                let two = matches!(norm.input, Input::PostNorm(_));
                cases.push(if two { case.with_inner_weight(dtype) } else { case });
            }
        }
        for (rows, hidden) in [(301, 64), (77, 80), (33, 128), (9, 512)] {
            let case = |norm, parts| Case::of_parts(norm, dtype, rows, parts, hidden, Values::Unit, 22);
            let mut heads = case(rms.with_rope(Rope::half_split(hidden)), 6).expect("a shape").with_weight(dtype);
            let mut rotation = heads.rope.take().expect("the norm rotates");
            rotation.positions = Some((0..rows as i64).map(|row| row * 7 % rows as i64).collect());
            heads.rope = Some(rotation);
            cases.push(heads.with_second(2));
            cases.push(case(Norm::layer_norm(1e-5).with_scope(Scope::Head), 3).expect("a shape").with_bias(dtype));
            let groups = rms.with_scope(Scope::Group).with_input(Input::Gated(Activation::SILU));
            cases.push(case(groups, 4).expect("a shape").with_weight(dtype));
        }
        for case in cases {
            let what = format!("{:?} {dtype} {} × {} × {}", case.norm, case.rows, case.parts, case.hidden);
            let batch = cuda.run(&case.as_problem(), Placement::default()).expect("runs");
            for index in [0, 1, case.rows / 2, case.rows - 1] {
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
    failures.assert_none();
}
