//! Statistics of host memory, on the emulated device and the reference, and their verdicts.

use crate::devices;
use crate::harness::{Case, Values};
use warpnorm::emulated::Emulated;
use warpnorm::host::{BatchOutput, BatchProblem, Device, HostError, Placement, Problem, Vector};
use warpnorm::parity::{judge_batch_norm, judge_columns};
use warpnorm::reference::{Cpu, decode};
use warpnorm::{BatchStatistics, CallError, DType, Error, Norm, Role};

const PLACEMENTS: [Placement; 4] = [
    Placement { padding: 0, offset: 0, in_place: false, stagger: 0 },
    Placement { padding: 3, offset: 1, in_place: false, stagger: 0 },
    Placement { padding: 8, offset: 8, in_place: true, stagger: 0 },
    Placement { padding: 1, offset: 0, in_place: false, stagger: 0 },
];

/// A type, γ and β.
type Parameters = Option<(DType, Vec<u8>, Vec<u8>)>;

fn problem<'a>(case: &'a Case, parameters: &'a Parameters) -> BatchProblem<'a> {
    BatchProblem {
        weight: parameters.as_ref().map(|(dtype, gamma, _)| Vector { dtype: *dtype, bytes: gamma }),
        bias: parameters.as_ref().map(|(dtype, _, beta)| Vector { dtype: *dtype, bytes: beta }),
        ..BatchProblem::new(BatchStatistics::new(case.eps), case.dtype, case.rows, case.hidden, &case.x)
    }
}

#[test]
fn every_device_and_placement_is_right() {
    for dtype in DType::ALL {
        for (rows, hidden) in [(1, 1), (2, 7), (33, 100), (300, 24)] {
            for parameters in [None, Some(DType::F32), Some(dtype)] {
                let case = Case { parameters, ..Case::new(Values::Unit, dtype, rows, hidden) };
                let parameters = case.gamma_and_beta();
                let problem = problem(&case, &parameters);
                let results = |device: &dyn Device, placement| {
                    let output = device.run_batch(&problem, placement).expect("valid");
                    let verdict = judge_columns(&problem, &output).expect("sizes fit");
                    assert!(verdict.passed, "{} {dtype} {rows} × {hidden}, {placement:?}: {verdict:?}", device.name());
                    output
                };
                results(&Cpu, Placement::default());
                for facts in devices() {
                    let device = Emulated::new(facts);
                    let all = PLACEMENTS.map(|placement| results(&device, placement));
                    // The same bits wherever the tensors lie.
                    assert!(all.iter().all(|output| *output == all[0]));
                }
            }
        }
    }
}

#[test]
fn verdicts_see_a_wrong_result() {
    let case = Case { parameters: Some(DType::F32), ..Case::new(Values::Unit, DType::F16, 40, 10) };
    let parameters = case.gamma_and_beta();
    let problem = problem(&case, &parameters);
    let right = Cpu.run_batch(&problem, Placement::default()).expect("valid");
    let verdict = judge_columns(&problem, &right).expect("sizes fit");
    // Rounded once; of shift, what that may be off is half of all.
    assert!(verdict.passed && verdict.shares.iter().all(|&share| share <= 0.5), "{verdict:?}");
    for (at, role) in [Role::Mean, Role::Rstd, Role::Scale, Role::Shift].into_iter().enumerate() {
        for change in [|value: f32| value * (1.0 + 1e-4), |_: f32| f32::NAN, |_: f32| f32::INFINITY] {
            let mut wrong = right.clone();
            let BatchOutput { mean, rstd, scale, shift } = &mut wrong;
            let value = &mut [mean, rstd, scale, shift][at][7];
            *value = change(*value);
            let verdict = judge_columns(&problem, &wrong).expect("sizes fit");
            let worst = verdict.worst.expect("something is wrong");
            assert_eq!((verdict.passed, worst.column, worst.wanted.role), (false, 7, role));
            assert!(verdict.shares[at] > 1.0, "{verdict:?}");
        }
    }
    let mut short = right.clone();
    short.scale.pop();
    let refused = judge_columns(&problem, &short);
    let wanted = HostError::Bytes { role: Role::Scale, given: 36, wanted: 40 };
    assert!(matches!(&refused, Err(Error::Host(error)) if *error == wanted), "{refused:?}");
}

/// What the tool does: statistics, folded, then the affine op on the same device.
#[test]
fn batch_normalisation_is_judged_from_end_to_end() {
    for dtype in DType::ALL {
        for values in [Values::Unit, Values::LargeMean, Values::Constant, Values::Outlier, Values::Scaled] {
            let case = Case { parameters: Some(DType::F32), ..Case::new(values, dtype, 150, 24) };
            let parameters = case.gamma_and_beta();
            let problem = problem(&case, &parameters);
            let device = Emulated::new(devices()[1].clone());
            let output = device.run_batch(&problem, Placement::default()).expect("valid");
            let bytes = |values: &[f32]| bytemuck::cast_slice(values).to_vec();
            let (scale, shift) = (bytes(&output.scale), bytes(&output.shift));
            let vector = |bytes| Some(Vector { dtype: DType::F32, bytes });
            let affine = Problem {
                weight: vector(&scale[..]),
                bias: vector(&shift[..]),
                ..Problem::new(Norm::affine(), dtype, case.rows, case.hidden, &case.x)
            };
            let mut y = device.run(&affine, Placement::default()).expect("valid").y;
            let verdict = judge_batch_norm(&problem, &output, &y).expect("sizes fit");
            assert!(verdict.passed && verdict.elements == 150 * 24, "{dtype} {values:?}: {verdict:?}");
            // The top byte of the last element of row 2, its sign among it.
            y[3 * 24 * dtype.size() - 1] ^= 0x80;
            assert_ne!(decode(dtype, &y)[3 * 24 - 1], 0.0);
            let verdict = judge_batch_norm(&problem, &output, &y).expect("sizes fit");
            let worst = verdict.worst.expect("something is wrong");
            assert_eq!((verdict.passed, worst.row, worst.column), (false, 2, 23), "{dtype} {values:?}");
            let refused = judge_batch_norm(&problem, &output, &y[1..]);
            assert!(matches!(refused, Err(Error::Host(HostError::Bytes { role: Role::Y, .. }))), "{refused:?}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_by_all() {
    let x = [0; 4 * 6];
    let valid = BatchProblem::new(BatchStatistics::new(1e-5), DType::F16, 3, 4, &x);
    let floats = |bytes| Some(Vector { dtype: DType::F32, bytes });
    let emulated = Emulated::new(devices()[0].clone());
    let error = |problem: BatchProblem<'_>| {
        let refused = [&Cpu as &dyn Device, &emulated]
            .map(|device| device.run_batch(&problem, Placement::default()).expect_err("not valid").to_string());
        assert_eq!(refused[0], refused[1]);
        assert_eq!(problem.plan(&devices()[0]).expect_err("not valid").to_string(), refused[0]);
        problem.validate().expect_err("not valid")
    };
    assert!(valid.validate().is_ok());
    let bytes = error(BatchProblem { x: &x[1..], ..valid });
    let wanted = HostError::Bytes { role: Role::X, given: 23, wanted: 24 };
    assert!(matches!(&bytes, Error::Host(error) if *error == wanted), "{bytes}");
    for (problem, wanted) in [
        (BatchProblem { rows: 0, x: &[], ..valid }, CallError::NoRows),
        (BatchProblem { hidden: 0, x: &[], ..valid }, CallError::Hidden { given: 0 }),
        (BatchProblem { rows: usize::MAX, ..valid }, CallError::TooLarge { rows: usize::MAX, stride: 4 }),
        (
            BatchProblem { weight: floats(&x[..12]), ..valid },
            CallError::Length { role: Role::Weight, given: 3, wanted: 4 },
        ),
        (BatchProblem { bias: floats(&x[..20]), ..valid }, CallError::Length { role: Role::Bias, given: 5, wanted: 4 }),
        (
            BatchProblem {
                weight: floats(&x[..16]),
                bias: Some(Vector { dtype: DType::F16, bytes: &x[..8] }),
                ..valid
            },
            CallError::ParameterTypes { weight: DType::F32, bias: DType::F16 },
        ),
    ] {
        let error = error(problem);
        assert!(matches!(&error, Error::Call(error) if *error == wanted), "{error}, wanted {wanted}");
    }
}
