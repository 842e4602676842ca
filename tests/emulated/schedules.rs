//! The order in which CTAs and warps run is nobody's business: the same bits and the same counts under
//! every schedule.

use crate::support::catalogue::catalogue;
use crate::support::{bias, case};
use ptx_emu::{LaunchOptions, Schedule};
use warpnorm::emulated::Emulated;
use warpnorm::host::{Outputs, Placement};
use warpnorm::parity::Values;
use warpnorm::plan::{Regime, Threads};
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{DType, DeviceFacts, Family, Input, Norm, ResidualAdd, ResidualRounding};

/// Several teams in a warp and in a CTA, one team over the warps of a CTA, rows staged and read again,
/// each with its number of rows and its regime.
const SHAPES: [(usize, usize, Regime); 5] = [
    (37, 24, Regime::Registers),
    (19, 200, Regime::Registers),
    (3, 4099, Regime::Registers),
    (2, 20_000, Regime::Staged),
    (1, 120_000, Regime::Reread),
];

fn hold(family: Family) {
    for dtype in DType::ALL {
        for add in [None, Some(ResidualAdd { scale: 1.0, rounding: ResidualRounding::Wide })] {
            let mut norm = Norm::new(family, 1e-5);
            norm.input = Input::from(add);
            for (rows, hidden, regime) in SHAPES {
                let outputs =
                    Outputs { y: true, residual: add.is_some(), mean: family == Family::LayerNorm, rstd: true };
                let parameters = (norm, Some(dtype), bias(&norm, dtype));
                let case = case(parameters, dtype, rows, hidden, Values::Unit, 21).with_outputs(outputs);
                for placement in
                    [Placement::default(), Placement { padding: 3, offset: 1, in_place: true, ..Placement::default() }]
                {
                    let run = |schedule| {
                        let options = LaunchOptions { schedule, ..LaunchOptions::default() };
                        // Where there are clusters, none of these rows is read again.
                        let facts = if regime == Regime::Reread { DeviceFacts::a100() } else { DeviceFacts::h200() };
                        let device = Emulated::new(facts).with_options(options);
                        let (output, counted) = device.run_counted(&case.as_problem(), placement).expect("runs");
                        let (plan, report) = counted.expect("launched");
                        assert_eq!(plan.regime, regime, "{}", plan.kernel.name());
                        (output, report)
                    };
                    let wanted = run(Schedule::InOrder);
                    for seed in 0..3 {
                        let shuffled = run(Schedule::Shuffled { seed });
                        assert!(shuffled == wanted, "{family} {dtype} {rows} × {hidden} {placement:?}: seed {seed}");
                    }
                }
            }
        }
    }
}

/// Threads that do the work of two, of rows that begin at chunks and anywhere, and with codes.
#[test]
fn pairs_of_threads() {
    let facts = DeviceFacts { multiprocessors: 1, ..DeviceFacts::h200() };
    let norms = [Norm::layer_norm(1e-5), Norm::rms_norm(1e-6)];
    let add = ResidualAdd { scale: 1.0, rounding: ResidualRounding::Wide };
    let mut cases = Vec::new();
    for norm in norms {
        cases.extend([(norm, 10, 4096), (norm, 9, 4097), (norm, 90, 200), (norm.with_residual_add(add), 9, 4097)]);
    }
    for quantisation in [Quantisation::per_token(CodeType::E4m3), Quantisation::per_group(CodeType::E4m3, 128)] {
        cases.push((norms[1].with_quantisation(quantisation), 10, 4096));
    }
    for (norm, rows, hidden) in cases {
        let dtype = DType::BF16;
        let case = case((norm, Some(dtype), bias(&norm, dtype)), dtype, rows, hidden, Values::Unit, 22);
        let run = |schedule| {
            let options = LaunchOptions { schedule, ..LaunchOptions::default() };
            let device = Emulated::new(facts.clone()).with_options(options);
            let (output, counted) = device.run_counted(&case.as_problem(), Placement::default()).expect("runs");
            let (plan, report) = counted.expect("launched");
            assert_ne!(plan.kernel.form().threads, Threads::Single, "{}", plan.kernel.name());
            (output, report)
        };
        let wanted = run(Schedule::InOrder);
        for seed in 0..3 {
            assert!(run(Schedule::Shuffled { seed }) == wanted, "{norm:?} {rows} × {hidden}: seed {seed}");
        }
    }
}

#[test]
fn layer_norm() {
    hold(Family::LayerNorm);
}

#[test]
fn rms_norm() {
    hold(Family::RmsNorm);
}

#[test]
fn every_other_op() {
    for dtype in DType::ALL {
        for (rows, hidden) in [(19, 24), (5, 400), (2, 9000)] {
            for (name, case) in catalogue(dtype, rows, hidden) {
                let run = |schedule| {
                    let options = LaunchOptions { schedule, ..LaunchOptions::default() };
                    let device = Emulated::new(DeviceFacts::h200()).with_options(options);
                    let (output, counted) = device
                        .run_counted(&case.as_problem(), Placement { in_place: true, ..Placement::default() })
                        .expect("runs");
                    (output, counted.expect("launched").1)
                };
                let wanted = run(Schedule::InOrder);
                for seed in 0..3 {
                    assert!(
                        run(Schedule::Shuffled { seed }) == wanted,
                        "{name} {dtype} {rows} × {hidden}: seed {seed}"
                    );
                }
            }
        }
    }
}
