//! The longest rows: one past each regime's limit, a million elements, and tensors past 2³¹ elements.

use crate::judge;
use crate::support::{Failures, case};
use ptx_emu::Memory;
use warpnorm::emulated::Emulated;
use warpnorm::host::{Output, Outputs, Placement, Problem};
use warpnorm::parity::{Values, judge as judge_output};
use warpnorm::plan::{EXCHANGE_BYTES, Regime};
use warpnorm::{Call, DType, DeviceFacts, Family, Input, MAX_HIDDEN, Norm, RawRows, ResidualAdd, ResidualRounding};

#[test]
fn one_past_each_regimes_limit() {
    let mut failures = Failures::default();
    // Of one CTA, where there are no clusters.
    let device = DeviceFacts::a100();
    let shared = (device.max_shared_bytes_per_block - EXCHANGE_BYTES) as usize;
    for family in Family::NORMS {
        for dtype in DType::ALL {
            for add in [false, true] {
                let mut norm = Norm::new(family, 1e-5);
                norm.input = Input::from(add.then_some(ResidualAdd { scale: 1.0, rounding: ResidualRounding::Wide }));
                let staged_bytes = if add { 4 } else { dtype.size() };
                // Whole chunks are staged: one element past a full stage needs another chunk.
                let chunk = 16 / dtype.size();
                let limit = shared / (chunk * staged_bytes) * chunk;
                for (hidden, regime) in [(limit, Regime::Staged), (limit + 1, Regime::Reread)] {
                    let case = case((norm, Some(DType::F32), None), dtype, 1, hidden, Values::Unit, 5);
                    let plan = case.as_problem().plan(&device).expect("valid").expect("rows to launch");
                    assert_eq!(plan.regime, regime, "{family} {dtype} {hidden}");
                    judge(&mut failures, &device, &case, Placement::default());
                }
            }
        }
    }
    failures.assert_none();
}

/// The shared memory of a cluster of eight CTAs holds rows of up to sixteen slabs in f32, and of thirty-two of f16.
#[test]
fn one_past_a_clusters_limit() {
    let mut failures = Failures::default();
    let device = DeviceFacts::h200();
    for (dtype, limit) in [(DType::F32, 16 * 16_384), (DType::F16, 32 * 16_384)] {
        for (hidden, regime, cluster) in [(limit, Regime::Staged, 8), (limit + 1, Regime::Reread, 2)] {
            let case = case((Norm::layer_norm(1e-5), Some(dtype), None), dtype, 1, hidden, Values::Unit, 5);
            let plan = case.as_problem().plan(&device).expect("valid").expect("rows to launch");
            assert_eq!((plan.regime, plan.cluster), (regime, cluster), "{dtype} {hidden}");
            judge(&mut failures, &device, &case, Placement::default());
        }
    }
    failures.assert_none();
}

#[test]
fn a_million_elements() {
    let mut failures = Failures::default();
    for (family, dtype) in
        [(Family::LayerNorm, DType::F32), (Family::LayerNorm, DType::BF16), (Family::RmsNorm, DType::F16)]
    {
        for hidden in [1 << 20, (1 << 20) + 3] {
            let case = case((Norm::new(family, 1e-5), Some(dtype), None), dtype, 1, hidden, Values::Unit, 6);
            judge(&mut failures, &DeviceFacts::h200(), &case, Placement::default());
        }
    }
    failures.assert_none();
}

/// The longest rows that are taken, where the mean and the sums of a thousand slabs have to hold.
#[test]
fn the_largest_hidden_size() {
    let mut failures = Failures::default();
    for family in Family::NORMS {
        for hidden in [MAX_HIDDEN, MAX_HIDDEN - 5] {
            let case = case((Norm::new(family, 1e-5), None, None), DType::F32, 1, hidden, Values::LargeMean, 7);
            judge(&mut failures, &DeviceFacts::h200(), &case, Placement::default());
        }
    }
    failures.assert_none();
}

/// The second row of one tensor starts past 2³¹ elements and 2³² bytes: an offset held in 32 bits would
/// fall on the first row or outside.
#[test]
fn rows_past_two_to_the_31_elements() {
    const HIDDEN: usize = 96;
    const FAR: usize = (1 << 31) + 64;
    let norm = Norm::layer_norm(1e-5).with_residual_add(ResidualAdd::default());
    let case = case((norm, None, None), DType::BF16, 2, HIDDEN, Values::Unit, 8);
    let row_bytes = HIDDEN * 2;
    // One tensor at a time: four of this size would fill the memory of a small machine.
    for far in ["x", "residual", "y", "residual_out"] {
        let mut memory = Memory::new();
        let mut tensor = |name: &str, contents: Option<&[u8]>| {
            let stride = if name == far { FAR } else { HIDDEN };
            let address = memory.allocate(name, (stride + HIDDEN) * 2);
            if let Some((first, second)) = contents.map(|contents| contents.split_at(row_bytes)) {
                memory.write(address, first).expect("in bounds");
                memory.write(address + (stride * 2) as u64, second).expect("in bounds");
            }
            RawRows { address, stride }
        };
        let x = tensor("x", Some(&case.x));
        let y = tensor("y", None);
        let mut call = Call::new(norm, DType::BF16, 2, HIDDEN, x, y);
        call.residual = Some(tensor("residual", case.residual.as_deref()));
        call.residual_out = Some(tensor("residual_out", None));
        Emulated::new(DeviceFacts::h200()).launch(&call, &mut memory).expect("runs");

        let gather = |rows: RawRows| {
            let mut bytes = vec![0; 2 * row_bytes];
            let (first, second) = bytes.split_at_mut(row_bytes);
            memory.read(rows.address, first).expect("in bounds");
            memory.read(rows.address + (rows.stride * 2) as u64, second).expect("in bounds");
            bytes
        };
        let output = Output { y: gather(y), residual: call.residual_out.map(gather), ..Output::default() };
        let outputs = Outputs { residual: true, ..Outputs::default() };
        let verdict = judge_output(&Problem { outputs, ..case.as_problem() }, &output).expect("sizes fit");
        assert!(verdict.passed, "{far}: {verdict:?}");
    }
}
