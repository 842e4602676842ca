//! Where there is no GPU: the same cells on the executor, with its counters in the place of times.

use crate::report::{Cell, Counters};
use crate::{BenchError, Workload};
use warpnorm::emulated::Emulated;
use warpnorm::host::Placement;
use warpnorm::parity::judge;

/// What every output of such a run says.
pub const LABEL: &str = "counted by the executor, and timed by nothing: no GPU ran";

/// Runs the block of a workload, and checks its result as on a GPU.
///
/// # Errors
/// The workload is not possible, the executor found a fault, or the result is wrong.
pub fn count(device: &Emulated, workload: &Workload) -> Result<Cell, BenchError> {
    let problem = workload.block.as_problem();
    let (output, launched) = device.run_counted(&problem, Placement::default())?;
    let verdict = judge(&problem, &output)?;
    if !verdict.passed {
        let what = format!("{} {}", workload.op, problem.dtype);
        return Err(BenchError::Wrong { what, error: verdict.relative_l2, wanted: 0.0 });
    }
    let second = problem.second.map_or(0, |heads| heads.count);
    let elements = problem.rows * (problem.parts + second) * problem.hidden;
    let counters = launched.map(|(plan, report)| {
        let instructions = report.thread_instructions;
        let (loads, stores) = (&report.global_loads, &report.global_stores);
        Counters {
            kernel: plan.kernel.name().to_owned(),
            distinct_bytes: loads.distinct_bytes.unwrap_or(0) + stores.distinct_bytes.unwrap_or(0),
            sectors: loads.sectors + stores.sectors,
            instructions,
            instructions_per_element: instructions as f64 / elements.max(1) as f64,
        }
    });
    Ok(Cell {
        op: workload.op.clone(),
        options: workload.options.clone(),
        dtype: problem.dtype.name().to_owned(),
        rows: problem.rows as u64,
        parts: problem.parts as u64,
        hidden: problem.hidden as u64,
        tensors: workload.tensors(),
        floor_bytes: Some(problem.byte_floor().total()),
        time: None,
        gb_per_s: None,
        copy_share: None,
        relative_l2: Some(verdict.relative_l2),
        buffers: None,
        baselines: Vec::new(),
        counters,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use warpnorm::parity::{Case, Values};
    use warpnorm::{DType, DeviceFacts, Norm};

    /// 4 rows of 64 bf16 read and written, and 64 weights.
    #[test]
    fn what_is_counted_is_the_launch() {
        let case = Case::new(Norm::rms_norm(1e-6), DType::BF16, 4, 64, Values::Unit, 1).unwrap();
        let mut block = case.with_weight(DType::BF16);
        block.outputs = Default::default();
        let workload = Workload { op: "rms-norm".to_owned(), options: String::new(), rows: 4, block };
        let cell = count(&Emulated::new(DeviceFacts::h200()), &workload).unwrap();
        assert_eq!(cell.floor_bytes, Some(2 * 4 * 64 * 2 + 64 * 2));
        let counters = cell.counters.unwrap();
        assert_eq!(Some(counters.distinct_bytes), cell.floor_bytes);
        assert!(counters.instructions > 4 * 64 && counters.kernel.starts_with("rms_norm_bf16"));
        assert!(cell.relative_l2.unwrap() < 4e-3);
        assert_eq!((cell.time, cell.gb_per_s, cell.copy_share), (None, None, None));
    }
}
