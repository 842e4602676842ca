//! The statistics of columns under the executor: against the f64 reference, for every type, and whatever the
//! shape, the placement and the schedule; what they move; and batch normalisation from end to end.

#[path = "../support/random.rs"]
#[allow(dead_code, reason = "bits are all that is wanted here")]
mod random;

mod end_to_end;
mod harness;
mod host;
mod refused;

use harness::{Case, Values};
use ptx_emu::{LaunchOptions, LaunchReport, Memory, Schedule};
use warpnorm::emulated::Emulated;
use warpnorm::reference::{decode, encode, ulp};
use warpnorm::{ColumnCall, DType, DeviceFacts, ProgrammaticLaunch};

/// GPUs of both targets.
fn devices() -> [DeviceFacts; 2] {
    [DeviceFacts::t4(), DeviceFacts::h200()]
}

const ROWS: [usize; 7] = [1, 2, 31, 33, 257, 1000, 1030];
const HIDDEN: [usize; 7] = [1, 7, 8, 64, 100, 768, 1537];

#[track_caller]
fn assert_none(failures: Vec<String>, cases: usize) {
    assert!(cases > 0);
    let shown = failures.iter().take(6).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {cases} cases failed:\n{shown}", failures.len());
}

/// Runs cases against the reference. Devices, γ and β, and where the tensors lie, go through all there is.
fn hold(values: Values, dtype: DType, rows: &[usize], hidden: &[usize]) {
    let (mut failures, mut cases) = (Vec::new(), 0);
    for &rows in rows {
        for &hidden in hidden {
            let (padding, offset) = [(0, 0), (3, 0), (8, 8), (0, 1), (1, 5)][cases % 5];
            let mut case = Case::new(values, dtype, rows, hidden).placed(padding, offset);
            case.parameters = [None, Some(dtype), Some(DType::F32)][cases % 3];
            failures.extend(case.judge(&case.run(&devices()[cases % 2])));
            cases += 1;
        }
    }
    assert_none(failures, cases);
}

macro_rules! shapes {
    ($($name:ident: $dtype:ident;)*) => {$(
        #[test]
        fn $name() {
            hold(Values::Unit, DType::$dtype, &ROWS, &HIDDEN);
        }
    )*};
}

shapes! {
    every_shape_in_f32: F32;
    every_shape_in_f16: F16;
    every_shape_in_bf16: BF16;
}

/// f32 tells 1e4 ± 1e-2 apart by a tenth of that: one f32 of the mean would not do.
#[test]
fn large_means() {
    for dtype in DType::ALL {
        hold(Values::LargeMean, dtype, &[2, 33, 1000, 5000], &[1, 24]);
    }
}

#[test]
fn outliers_and_every_magnitude() {
    for values in [Values::Outlier, Values::Scaled] {
        for dtype in DType::ALL {
            hold(values, dtype, &[3, 257, 3000], &[24, 100]);
        }
    }
}

/// A column's first row is no more to it than any other: were deviations taken from it, one that is far out would
/// cost digits.
#[test]
fn the_first_row_may_be_an_outlier() {
    for dtype in DType::ALL {
        let mut case = Case { eps: 0.0, ..Case::new(Values::Unit, dtype, 1024, 100) };
        let first = encode(dtype, (0..100).map(|column| 3000.0 + 7.3 * f64::from(column)));
        case.x[..first.len()].copy_from_slice(&first);
        for (column, (rstd, wanted)) in case.run(&devices()[0]).values(1).iter().zip(case.reference()).enumerate() {
            let ulps = (f64::from(*rstd) - wanted.rstd).abs() / ulp(DType::F32, wanted.rstd);
            assert!(ulps < 1.5, "{dtype}, column {column}: {ulps} ULP");
        }
    }
}

/// Beside a large mean, y = x·scale + shift lives on what the product and shift leave of each other: shift is
/// β − mean·scale for the scale that is stored, rounded once.
#[test]
fn shift_goes_with_the_scale_that_is_stored() {
    let mut case = Case::new(Values::LargeMean, DType::F32, 1000, 100);
    case.parameters = Some(DType::F32);
    let run = case.run(&devices()[1]);
    let (_, _, beta) = case.gamma_and_beta().expect("given");
    let beta = decode(DType::F32, &beta);
    for (column, reference) in case.reference().iter().enumerate() {
        let (scale, shift) = (f64::from(run.values(2)[column]), f64::from(run.values(3)[column]));
        let wanted = beta[column] - reference.mean * scale;
        let ulps = (shift - wanted).abs() / ulp(DType::F32, wanted);
        assert!(ulps <= 0.501, "column {column}: {ulps} ULP");
    }
}

/// So many rows that a thread's sums are long.
#[test]
fn tall_matrices() {
    for dtype in [DType::F32, DType::BF16] {
        for values in [Values::Unit, Values::LargeMean, Values::Square] {
            hold(values, dtype, &[200_003], &[3]);
        }
    }
}

/// The mean is the value, to the bit, and the variance is nothing.
#[test]
fn constant_columns_are_exact() {
    for dtype in DType::ALL {
        for rows in [1, 3, 31, 257, 1030, 2500] {
            for eps in [0.0, 0.25] {
                let case = Case { eps, ..Case::new(Values::Constant, dtype, rows, 33) };
                let run = case.run(&DeviceFacts::h200());
                let wanted: Vec<f32> = case.reference().iter().map(|column| column.mean as f32).collect();
                assert_eq!(run.values(0), wanted, "{rows} {dtype}");
                // 1/√0.25; without eps there is nothing in the root.
                let rstd = if eps == 0.0 { f32::INFINITY } else { 2.0 };
                assert_eq!((run.values(1), run.values(2)), (vec![rstd; 33], vec![rstd; 33]), "{rows} {dtype}");
                let shift: Vec<f32> = wanted.iter().map(|mean| -mean * rstd).collect();
                assert_eq!(run.values(3), shift, "{rows} {dtype}");
            }
        }
    }
}

/// They spoil their own column alone: all others have the bits that they have without.
#[test]
fn infinities_and_nan_stay_in_their_column() {
    for dtype in DType::ALL {
        for rows in [1, 2, 5, 40, 1030] {
            let clean = Case::new(Values::Unit, dtype, rows, 40);
            let wanted = clean.run(&DeviceFacts::t4());
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                for row in [0, rows / 2, rows - 1] {
                    let (mut case, column) = (clean.clone(), (row * 7 + 3) % 40);
                    let (at, size) = (row * 40 + column, dtype.size());
                    let bytes = encode(dtype, [bad]);
                    case.x[at * size..][..size].copy_from_slice(&bytes);
                    let run = case.run(&DeviceFacts::t4());
                    for output in 0..4 {
                        let mut bits = run.bits[output].clone();
                        assert!(f32::from_bits(bits[column]).is_nan(), "{bad} {dtype} {rows} {row}: output {output}");
                        bits[column] = wanted.bits[output][column];
                        assert_eq!(bits, wanted.bits[output], "{bad} {dtype} {rows} {row}: output {output}");
                    }
                }
            }
        }
    }
}

/// Where squared deviations pass f32's range there is no standard deviation to speak of, but a mean.
#[test]
fn squares_past_the_range_make_rstd_zero() {
    let mut case = Case::new(Values::Unit, DType::F32, 700, 2);
    let values = (0..1400).map(|at| if at % 4 == 0 { 3e20 } else { -1e20 });
    case.x = values.flat_map(|value: f32| value.to_ne_bytes()).collect();
    let run = case.run(&DeviceFacts::h200());
    // Column 0 is 3e20 and -1e20 in turn; column 1 is -1e20.
    assert_eq!((run.values(0)[0], run.values(1)[0]), (1e20, 0.0));
    assert_eq!((run.values(2)[0], run.values(3)[0]), (0.0, 0.0));
    assert_eq!(run.values(0)[1], -1e20);
    assert_eq!(case.judge(&run), None);
}

/// Most threads have no row: their mean, which is none, is not merged.
#[test]
fn few_rows_at_the_end_of_the_range() {
    for rows in [1, 3, 40] {
        let mut case = Case { eps: 0.25, ..Case::new(Values::Unit, DType::F32, rows, 2) };
        case.x = [f32::MAX, -1e30].iter().flat_map(|value| value.to_ne_bytes()).collect::<Vec<u8>>().repeat(rows);
        let run = case.run(&DeviceFacts::h200());
        assert_eq!((run.values(0), run.values(1)), (vec![f32::MAX, -1e30], vec![2.0, 2.0]), "{rows} rows");
    }
}

#[test]
fn eps_zero_is_no_special_case() {
    for dtype in DType::ALL {
        let case = Case { eps: 0.0, ..Case::new(Values::Unit, dtype, 300, 50) };
        assert_eq!(case.judge(&case.run(&DeviceFacts::h200())), None);
    }
}

/// A column is the same bits misaligned and strided, in a wider matrix and at another place of it.
#[test]
fn bits_do_not_depend_on_where_a_column_lies() {
    for dtype in DType::ALL {
        for rows in [5, 300, 1030] {
            let case = Case { parameters: Some(DType::F32), ..Case::new(Values::Unit, dtype, rows, 37) };
            let wanted = case.run(&DeviceFacts::h200()).bits;
            for (padding, offset) in [(0, 1), (3, 0), (8, 8), (11, 5), (27, 0)] {
                let placed = case.clone().placed(padding, offset).run(&DeviceFacts::h200());
                assert!(placed.bits == wanted, "{dtype} {rows} rows, padding {padding}, offset {offset}");
            }
            // Columns 13 to 29 alone: their tile is another, and so is their lane.
            let row = |row: &[u8]| row[13 * dtype.size()..30 * dtype.size()].to_vec();
            let x = case.x.chunks(37 * dtype.size()).flat_map(row).collect();
            let part = Case { hidden: 17, x, parameters: None, ..case.clone() }.run(&DeviceFacts::t4());
            for (part, whole) in part.bits.iter().zip(&wanted).take(2) {
                assert_eq!(*part, whole[13..30], "{dtype} {rows} rows");
            }
        }
    }
}

#[test]
fn bits_and_counts_do_not_depend_on_the_schedule() {
    for dtype in DType::ALL {
        for (rows, hidden) in [(40, 33), (1100, 64)] {
            let case = Case { parameters: Some(dtype), ..Case::new(Values::Unit, dtype, rows, hidden) };
            let run = |schedule| {
                let run = case.run_with(&DeviceFacts::h200(), LaunchOptions { schedule, ..LaunchOptions::default() });
                (run.bits, run.report)
            };
            let wanted = run(Schedule::InOrder);
            for seed in 0..3 {
                assert!(run(Schedule::Shuffled { seed }) == wanted, "{dtype} {rows} × {hidden}: seed {seed}");
            }
        }
    }
}

/// Every element of x is read once, 16 bytes at a time, in whole sectors; γ and β are read once; nothing but the
/// outputs is written, shared memory has no bank conflict, and local memory is not used.
#[test]
fn the_byte_floor_in_ideal_sectors() {
    for device in devices() {
        for dtype in DType::ALL {
            for parameters in [None, Some(dtype), Some(DType::F32)] {
                for (rows, hidden) in [(1, 16), (33, 64), (300, 768), (1030, 112)] {
                    let case = Case { parameters, ..Case::new(Values::Unit, dtype, rows, hidden) };
                    let run = case.run(&device);
                    let what = format!("{} {dtype} γ {parameters:?} {rows} × {hidden}", device.name);
                    let LaunchReport { global_loads: loads, global_stores: stores, .. } = run.report;
                    assert_eq!((loads.bytes, loads.distinct_bytes), (run.floor.loads, Some(run.floor.loads)), "{what}");
                    assert_eq!(
                        (stores.bytes, stores.distinct_bytes),
                        (run.floor.stores, Some(run.floor.stores)),
                        "{what}"
                    );
                    assert_eq!((loads.sectors, stores.sectors), (loads.ideal_sectors, stores.ideal_sectors), "{what}");
                    let x = (rows * hidden * dtype.size()) as u64;
                    assert_eq!(loads.accesses_by_width[4] * 16, x, "{what}");
                    let conflicts = [run.report.shared_loads, run.report.shared_stores].map(|of| of.bank_conflicts);
                    assert_eq!((conflicts, run.report.local_accesses), ([0, 0], 0), "{what}");
                }
            }
        }
    }
}

#[test]
fn the_floor_holds_wherever_x_lies_and_whatever_is_wanted() {
    for dtype in DType::ALL {
        for wanted in 1..16 {
            let outputs = [1, 2, 4, 8].map(|bit| wanted & bit != 0);
            let case = Case { outputs, parameters: Some(dtype), ..Case::new(Values::Unit, dtype, 70, 27) };
            let run = case.clone().placed(wanted % 5, wanted % 3).run(&DeviceFacts::h200());
            let LaunchReport { global_loads: loads, global_stores: stores, .. } = run.report;
            assert_eq!((loads.bytes, loads.distinct_bytes), (run.floor.loads, Some(run.floor.loads)), "{outputs:?}");
            assert_eq!(
                (stores.bytes, stores.distinct_bytes),
                (run.floor.stores, Some(run.floor.stores)),
                "{outputs:?}"
            );
            assert_eq!(case.judge(&run), None);
        }
    }
}

/// A tile is a sector of a row.
#[test]
fn there_are_as_many_blocks_as_a_row_has_sectors() {
    for dtype in DType::ALL {
        for (hidden, sectors_of_f32) in [(1, 1), (8, 1), (9, 2), (768, 96), (4096, 512)] {
            let case = Case::new(Values::Constant, dtype, 1, hidden);
            let plan = case.run(&DeviceFacts::h200()).plan;
            let wanted = if dtype == DType::F32 { sectors_of_f32 } else { hidden.div_ceil(16) as u32 };
            assert_eq!((plan.grid, plan.block), (wanted, 512), "{dtype} {hidden}");
        }
    }
}

/// A launch that begins before those in front of it have completed waits for them before it touches a tensor, which
/// the executor sees to.
#[test]
fn an_early_launch_waits_first() {
    for dtype in DType::ALL {
        let case = Case { parameters: Some(dtype), ..Case::new(Values::Unit, dtype, 300, 33) };
        for (device, early) in [(DeviceFacts::h200(), true), (DeviceFacts::l4(), false)] {
            let mut memory = Memory::new();
            let call = case.lay_out(&mut memory);
            let call = ColumnCall { programmatic_launch: ProgrammaticLaunch::ParametersFirst, ..call };
            let (plan, _) =
                Emulated::new(device.clone()).launch_columns(&call, &mut memory).expect("touches nothing too early");
            assert_eq!(plan.programmatic, early, "{}", device.name);
            let mut scale = vec![0u32; case.hidden];
            memory.read(call.scale.expect("asked for"), bytemuck::cast_slice_mut(&mut scale)).expect("written");
            assert_eq!(scale, case.run(&device).bits[2], "{dtype} on {}", device.name);
        }
    }
}
