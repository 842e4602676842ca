//! Launches that begin before those in front of them have completed: the same bits, and nothing but parameters is
//! touched before the wait, which the executor sees to.

use crate::support::case;
use crate::support::catalogue::catalogue;
use crate::support::ops::two_norms;
use warpnorm::emulated::Emulated;
use warpnorm::host::{Output, Placement, Problem};
use warpnorm::parity::{Case, Values};
use warpnorm::plan::Regime;
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{DType, DeviceFacts, Norm, ProgrammaticLaunch, ResidualAdd};

/// Many teams in a CTA, one team over several warps, and a row in slabs.
const SHAPES: [(usize, usize); 3] = [(9, 72), (2, 4099), (1, 17_000)];

fn cases(dtype: DType, rows: usize, hidden: usize) -> Vec<(&'static str, Case)> {
    let mut norms = vec![("layer norm", Norm::layer_norm(1e-5)), ("rms norm", Norm::rms_norm(1e-6))];
    norms.extend([
        ("add layer norm", Norm::layer_norm(1e-5).with_residual_add(ResidualAdd::default())),
        ("add rms norm", Norm::rms_norm(1e-6).with_residual_add(ResidualAdd::default())),
    ]);
    if dtype != DType::F32 {
        let quantised = Norm::rms_norm(1e-6).with_quantisation(Quantisation::per_token(CodeType::Int8));
        norms.push(("quantised rms norm", quantised));
    }
    let plain = norms.into_iter().map(|(name, norm)| {
        let bias = (norm.post_add.is_none()).then_some(dtype);
        (name, case((norm, Some(dtype), bias), dtype, rows, hidden, Values::Unit, 5))
    });
    plain.chain(catalogue(dtype, rows, hidden)).collect()
}

/// The results, and whether the plan lets the launch begin early.
fn run(
    device: &Emulated,
    case: &Case,
    placement: Placement,
    programmatic_launch: ProgrammaticLaunch,
) -> (Output, bool) {
    let problem = Problem { programmatic_launch, ..case.as_problem() };
    let (output, launched) = device.run_counted(&problem, placement).expect("touches nothing too early");
    (output, launched.expect("has rows").0.programmatic)
}

fn hold(dtype: DType) {
    let device = Emulated::new(DeviceFacts::h200());
    for (number, (rows, hidden)) in SHAPES.into_iter().enumerate() {
        for (name, case) in cases(dtype, rows, hidden) {
            let placement =
                Placement { padding: 3 * number, offset: number % 2, in_place: number == 1, ..Placement::default() };
            let wanted = run(&device, &case, placement, ProgrammaticLaunch::Off);
            assert!(!wanted.1, "{name}");
            for launch in [ProgrammaticLaunch::WaitFirst, ProgrammaticLaunch::ParametersFirst] {
                let (output, early) = run(&device, &case, placement, launch);
                assert!(early, "{name} {launch:?}");
                assert!(output == wanted.0, "{name} {dtype} {rows} × {hidden} {launch:?}: other bits");
            }
        }
    }
}

#[test]
fn f32() {
    hold(DType::F32);
}

#[test]
fn f16() {
    hold(DType::F16);
}

#[test]
fn bf16() {
    hold(DType::BF16);
}

/// All of the small vectors at once: bias of the Linear before, weights of both norms, in f32 beside 16 bits.
#[test]
fn parameters_of_other_types() {
    let device = Emulated::new(DeviceFacts::h200());
    let add = Norm::layer_norm(1e-5).with_residual_add(ResidualAdd::default());
    let beside = case((add, Some(DType::F32), Some(DType::F32)), DType::BF16, 3, 500, Values::Unit, 7)
        .with_linear_bias(DType::BF16);
    let two = case((two_norms()[0], Some(DType::F32), None), DType::F16, 3, 500, Values::Unit, 7);
    for case in [beside, two.with_inner_weight(DType::F32)] {
        let run = |launch| run(&device, &case, Placement::default(), launch);
        let (output, early) = run(ProgrammaticLaunch::ParametersFirst);
        assert!(early && output == run(ProgrammaticLaunch::Off).0, "{:?}", case.norm);
    }
}

/// A team over the CTAs of a cluster.
#[test]
fn clusters() {
    let device = Emulated::new(DeviceFacts::h200());
    let case = case((Norm::rms_norm(1e-6), Some(DType::F16), None), DType::F16, 1, 70_000, Values::Unit, 3);
    let launch = |programmatic_launch| {
        let problem = Problem { programmatic_launch, ..case.as_problem() };
        let (output, launched) = device.run_counted(&problem, Placement::default()).expect("runs");
        let (plan, _) = launched.expect("has rows");
        assert!(plan.cluster > 1 && plan.regime != Regime::Registers, "{plan:?}");
        (output, plan.programmatic)
    };
    let (output, early) = launch(ProgrammaticLaunch::WaitFirst);
    assert!(early && output == launch(ProgrammaticLaunch::Off).0);
}

/// Where kernels do not wait, they begin when their turn has come.
#[test]
fn elsewhere_it_has_no_effect() {
    for device in [DeviceFacts::t4(), DeviceFacts::a100(), DeviceFacts::l4()] {
        let device = Emulated::new(device);
        let case = case((Norm::rms_norm(1e-6), Some(DType::F16), None), DType::F16, 3, 100, Values::Unit, 3);
        let run = |launch| run(&device, &case, Placement::default(), launch);
        let (output, early) = run(ProgrammaticLaunch::ParametersFirst);
        assert!(!early && output == run(ProgrammaticLaunch::Off).0);
    }
}
