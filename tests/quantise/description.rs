//! Descriptions: what goes together, and what is stored where.

use std::collections::BTreeSet;
use warpnorm::host::{Device, Placement};
use warpnorm::parity::{Case, Values};
use warpnorm::quantise::{BlockRounding, CodeType, Quantisation, QuantiseError, ScaleLayout, ScaleType, Scaling};
use warpnorm::reference::Cpu;
use warpnorm::{CallError, DType, Error, Norm};

const ROW_MAJOR: ScaleLayout = ScaleLayout::RowMajor;

fn per_group(size: usize, layout: ScaleLayout, floor: f32) -> Scaling {
    Scaling::PerGroup { size, layout, power_of_two: false, floor }
}

fn refused(code: CodeType, scaling: Scaling, hidden: usize) -> QuantiseError {
    Quantisation { code, scaling }.validate(hidden).expect_err("must be refused")
}

#[test]
fn code_types_go_with_the_scalings_that_are_made_for_them() {
    let scalings = [
        Scaling::PerTensor,
        Scaling::PerTensorWide,
        Scaling::PerToken { upper_bound: None },
        per_group(128, ROW_MAJOR, 1e-10),
        Scaling::Mxfp8 { rounding: BlockRounding::Up, layout: ROW_MAJOR },
        Scaling::Nvfp4 { layout: ROW_MAJOR },
    ];
    // By the order of CodeType::ALL: e4m3, e5m2, int8, e2m1.
    let wanted = [
        [true, true, true, false],
        [true, false, false, false],
        [true, true, true, false],
        [true, true, true, false],
        [true, true, false, false],
        [false, false, false, true],
    ];
    for (scaling, wanted) in scalings.into_iter().zip(wanted) {
        for (code, wanted) in CodeType::ALL.into_iter().zip(wanted) {
            let validated = Quantisation { code, scaling }.validate(1024);
            let refusal = QuantiseError::CodeType { scaling: scaling.name(), given: code };
            assert_eq!(validated, if wanted { Ok(()) } else { Err(refusal) }, "{scaling:?} {code}");
        }
    }
    let said = [
        (CodeType::E2m1, "per-tensor scaling is asked for e2m1 codes, wanted e4m3, e5m2 or int8"),
        (CodeType::Int8, "per-tensor-wide scaling is asked for int8 codes, wanted e4m3"),
        (CodeType::E2m1, "per-token scaling is asked for e2m1 codes, wanted e4m3, e5m2 or int8"),
        (CodeType::E2m1, "per-group scaling is asked for e2m1 codes, wanted e4m3, e5m2 or int8"),
        (CodeType::Int8, "mxfp8 scaling is asked for int8 codes, wanted e4m3 or e5m2"),
        (CodeType::E4m3, "nvfp4 scaling is asked for e4m3 codes, wanted e2m1"),
    ];
    for (scaling, (code, message)) in scalings.into_iter().zip(said) {
        assert_eq!(refused(code, scaling, 1024).to_string(), message);
    }
}

#[test]
fn what_cannot_be_is_refused_with_what_was_given() {
    let fp8 = CodeType::E4m3;
    assert_eq!(refused(fp8, per_group(32, ROW_MAJOR, 1.0), 128), QuantiseError::GroupSize { given: 32 });
    for (scaling, code, group) in [
        (per_group(64, ROW_MAJOR, 1.0), fp8, 64),
        (Scaling::Mxfp8 { rounding: BlockRounding::Up, layout: ROW_MAJOR }, fp8, 32),
        (Scaling::Nvfp4 { layout: ROW_MAJOR }, CodeType::E2m1, 16),
    ] {
        let hidden = group * 3 + 8;
        assert_eq!(refused(code, scaling, hidden), QuantiseError::Hidden { hidden, group });
        assert_eq!(Quantisation { code, scaling }.validate(group * 3), Ok(()));
    }
    for given in [0.0, -1.0, f32::INFINITY] {
        let scaling = Scaling::PerToken { upper_bound: Some(given) };
        assert_eq!(refused(fp8, scaling, 128), QuantiseError::UpperBound { given });
    }
    let nan = Scaling::PerToken { upper_bound: Some(f32::NAN) };
    assert!(matches!(refused(fp8, nan, 128), QuantiseError::UpperBound { .. }));
    let bound = Scaling::PerToken { upper_bound: Some(1.0) };
    assert_eq!(refused(CodeType::Int8, bound, 128), QuantiseError::UpperBoundOfInt8);
    for given in [0.0, Scaling::LEAST_FLOOR.next_down(), f32::INFINITY] {
        assert_eq!(refused(fp8, per_group(64, ROW_MAJOR, given), 128), QuantiseError::Floor { given });
    }
    let least = per_group(64, ROW_MAJOR, 2f32.powi(-64));
    assert_eq!(Quantisation { code: fp8, scaling: least }.validate(128), Ok(()));
}

#[test]
fn scales_lie_where_their_readers_want_them() {
    let column_major = ScaleLayout::ColumnMajor { alignment: 4 };
    let none = ScaleLayout::ColumnMajor { alignment: 0 };
    let fp8 = CodeType::E4m3;
    assert_eq!(refused(fp8, per_group(64, none, 1.0), 128), QuantiseError::Alignment { given: 0 });
    assert!(matches!(refused(fp8, per_group(64, ScaleLayout::Tiled, 1.0), 128), QuantiseError::Layout { .. }));
    let mxfp8 = Scaling::Mxfp8 { rounding: BlockRounding::Up, layout: column_major };
    let message = refused(fp8, mxfp8, 128).to_string();
    assert_eq!(message, "scales of mxfp8 scaling are asked for column-major, aligned to 4, wanted row-major or tiled");

    // Five rows of three groups.
    let grouped = Quantisation { code: fp8, scaling: per_group(64, column_major, 1.0) };
    assert_eq!(grouped.scale_count(5, 192), Some(24));
    assert_eq!(grouped.scale_index(5, 192, 4, 2), 2 * 8 + 4);
    let plain = Quantisation { scaling: per_group(64, ScaleLayout::ColumnMajor { alignment: 1 }, 1.0), ..grouped };
    assert_eq!((plain.scale_count(5, 192), plain.scale_index(5, 192, 4, 2)), (Some(15), 14));
    let row_major = Quantisation { scaling: per_group(64, ROW_MAJOR, 1.0), ..grouped };
    assert_eq!((row_major.scale_count(5, 192), row_major.scale_index(5, 192, 4, 2)), (Some(15), 14));
    assert_eq!(row_major.scale_index(5, 192, 1, 2), 5);

    // Two tiles down and two across: cuBLAS's figure of a tile has row 32 beside row 0, four scales further.
    let tiled = Quantisation { code: CodeType::E2m1, scaling: Scaling::Nvfp4 { layout: ScaleLayout::Tiled } };
    assert_eq!(tiled.scale_count(130, 16 * 5), Some(4 * 512));
    for (row, group, wanted) in
        [(0, 0, 0), (0, 3, 3), (1, 0, 16), (31, 0, 496), (32, 0, 4), (127, 3, 511), (0, 4, 512), (128, 0, 1024)]
    {
        assert_eq!(tiled.scale_index(130, 16 * 5, row, group), wanted, "row {row}, group {group}");
    }
    assert_eq!(tiled.scale_count(usize::MAX, 16), None);
}

#[test]
fn every_scale_has_a_place_of_its_own() {
    for layout in [ROW_MAJOR, ScaleLayout::ColumnMajor { alignment: 4 }, ScaleLayout::Tiled] {
        let quantisation = Quantisation { code: CodeType::E4m3, scaling: per_group(64, layout, 1.0) };
        for (rows, groups) in [(1, 1), (5, 3), (129, 5), (200, 9)] {
            let hidden = 64 * groups;
            let places: BTreeSet<usize> = (0..rows)
                .flat_map(|row| (0..groups).map(move |group| quantisation.scale_index(rows, hidden, row, group)))
                .collect();
            assert_eq!(places.len(), rows * groups, "{layout}");
            let count = quantisation.scale_count(rows, hidden).expect("a possible size");
            assert!(places.last().is_some_and(|&last| last < count), "{layout}");
        }
    }
}

#[test]
fn sizes_of_rows() {
    for (quantisation, bytes, groups, stored, given) in [
        (Quantisation::per_tensor(CodeType::Int8), 4096, 0, None, true),
        (Quantisation::per_token(CodeType::E5m2), 4096, 1, Some(ScaleType::F32), false),
        (Quantisation::per_group(CodeType::E4m3, 128), 4096, 32, Some(ScaleType::F32), false),
        (Quantisation::mxfp8(), 4096, 128, Some(ScaleType::Ue8m0), false),
        (Quantisation::nvfp4(), 2048, 256, Some(ScaleType::E4m3), true),
    ] {
        assert_eq!(quantisation.validate(4096), Ok(()));
        assert_eq!((quantisation.row_bytes(4096), quantisation.groups(4096)), (bytes, groups), "{quantisation:?}");
        assert_eq!(quantisation.scaling.scale_type(), stored, "{quantisation:?}");
        assert_eq!(quantisation.scaling.takes_tensor_scale(), given, "{quantisation:?}");
    }
}

/// Sizes are asked for before anything is checked.
#[test]
fn groups_of_nothing_are_none() {
    let nothing = Quantisation { code: CodeType::E4m3, scaling: per_group(0, ROW_MAJOR, 1.0) };
    assert_eq!(nothing.validate(128), Err(QuantiseError::GroupSize { given: 0 }));
    assert_eq!((nothing.groups(128), nothing.scale_count(3, 128)), (0, Some(0)));
}

/// Rows that are rounded up to more than memory holds, or can be counted.
#[test]
fn scales_that_no_memory_holds_are_refused() {
    for alignment in [1 << 50, 1 << 61, usize::MAX] {
        let scaling = per_group(64, ScaleLayout::ColumnMajor { alignment }, 1.0);
        let norm = Norm::rms_norm(1e-6).with_quantisation(Quantisation { code: CodeType::E4m3, scaling });
        let case = Case::new(norm, DType::BF16, 2, 128, Values::Unit, 1).expect("a possible size");
        let refused = Cpu.run(&case.as_problem(), Placement::default()).expect_err("too many scales");
        assert!(matches!(refused, Error::Call(CallError::TooLarge { rows: 2, .. })), "{alignment}: {refused}");
    }
}
