//! Long rows over clusters: the same bits as in one CTA, each byte moved once, whatever the op.

use crate::support::catalogue::catalogue;
use crate::support::{Failures, case};
use warpnorm::emulated::Emulated;
use warpnorm::host::{Device, Placement};
use warpnorm::parity::{Case, Values};
use warpnorm::plan::Regime;
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{DType, DeviceFacts, Norm, ResidualAdd, ResidualRounding};

/// An H200 of so many multiprocessors, and so clusters of as many CTAs for one row.
fn device(multiprocessors: u32) -> DeviceFacts {
    DeviceFacts { multiprocessors, ..DeviceFacts::h200() }
}

/// The plain norms, and one of every op beyond them.
fn cases(dtype: DType, hidden: usize) -> Vec<(&'static str, Case)> {
    let add = ResidualAdd { scale: 1.25, rounding: ResidualRounding::Wide };
    let mut norms = vec![
        ("layer norm", Norm::layer_norm(1e-5)),
        ("rms norm", Norm::rms_norm(1e-6)),
        ("add layer norm", Norm::layer_norm(1e-5).with_residual_add(add)),
        ("add rms norm", Norm::rms_norm(1e-6).with_residual_add(add)),
    ];
    if dtype != DType::F32 {
        let per_token = Quantisation::per_token(CodeType::E4m3);
        norms.extend([
            ("layer norm per token", Norm::layer_norm(1e-5).with_quantisation(per_token)),
            ("add rms norm per token", Norm::rms_norm(1e-6).with_residual_add(add).with_quantisation(per_token)),
        ]);
        if hidden.is_multiple_of(128) {
            let groups = Quantisation::per_group(CodeType::Int8, 128);
            norms.push(("layer norm per group", Norm::layer_norm(1e-5).with_quantisation(groups)));
        }
    }
    let plain = norms
        .into_iter()
        .map(|(name, norm)| (name, case((norm, Some(dtype), None), dtype, 1, hidden, Values::LargeMean, 17)));
    plain.chain(catalogue(dtype, 1, hidden)).collect()
}

/// Eight slabs of the larger teams and sixteen of the smaller; and six with five elements more, which the last CTA has
/// to itself.
const SIZES: [usize; 2] = [131_072, 98_309];

fn hold_the_same_bits(dtype: DType) {
    let mut failures = Failures::default();
    for hidden in SIZES {
        for (name, case) in cases(dtype, hidden) {
            let problem = case.as_problem();
            let run = |multiprocessors: u32| {
                let device = device(multiprocessors);
                let cluster = problem.plan(&device).expect("valid").expect("a row").cluster;
                (cluster, Emulated::new(device).run(&problem, Placement::default()).expect("runs"))
            };
            let (fewest, wanted) = run(1);
            for multiprocessors in [2, 4, 8] {
                let (cluster, output) = run(multiprocessors);
                let what = || format!("{name} {dtype} {hidden}: cluster of {cluster} differs from {fewest}");
                failures.record((output != wanted).then(what));
            }
        }
    }
    failures.assert_none();
}

#[test]
fn same_bits_f32() {
    hold_the_same_bits(DType::F32);
}

#[test]
fn same_bits_f16() {
    hold_the_same_bits(DType::F16);
}

#[test]
fn same_bits_bf16() {
    hold_the_same_bits(DType::BF16);
}

/// Every size of cluster is among those that the tests above compare.
#[test]
fn clusters_of_every_size_are_tried() {
    let of = |hidden| {
        let (_, case) = cases(DType::BF16, hidden).swap_remove(0);
        let plan = |multiprocessors| case.as_problem().plan(&device(multiprocessors)).expect("valid").expect("a row");
        [1, 2, 4, 8].map(|multiprocessors| plan(multiprocessors).cluster)
    };
    assert_eq!(SIZES.map(of), [[2, 2, 4, 8], [1, 2, 4, 4]]);
}

/// What one CTA would read twice, a cluster reads once.
#[test]
fn a_cluster_reads_once_what_one_cta_would_read_twice() {
    for norm in [Norm::layer_norm(1e-5), Norm::rms_norm(1e-6)] {
        let (rows, hidden, dtype) = (2, 262_144, DType::F16);
        let case = case((norm, Some(dtype), None), dtype, rows, hidden, Values::Unit, 23);
        let run = |device| {
            let run = Emulated::new(device).run_counted(&case.as_problem(), Placement::default());
            let (plan, report) = run.expect("runs").1.expect("launched");
            (plan.regime, plan.cluster, report.global_loads.bytes)
        };
        let row = (hidden * dtype.size()) as u64;
        // Each row reads the weight.
        assert_eq!(run(device(1)), (Regime::Staged, 4, 2 * 2 * row));
        assert_eq!(run(DeviceFacts::a100()), (Regime::Reread, 1, 3 * 2 * row));
    }
}
