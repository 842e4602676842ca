//! What the kernels move, by the executor's counters: the byte floor, in ideal sectors, and nothing
//! through local memory.

use crate::support::case;
use ptx_emu::LaunchReport;
use warpnorm::emulated::Emulated;
use warpnorm::host::{Outputs, Placement};
use warpnorm::parity::Values;
use warpnorm::plan::{Plan, Regime};
use warpnorm::{DType, DeviceFacts, Family, Norm, ResidualAdd};

struct Cell {
    family: Family,
    dtype: DType,
    add: bool,
    rows: usize,
    hidden: usize,
}

impl Cell {
    /// Plan and counters of an aligned launch with a weight and no statistics.
    fn run(&self, device: DeviceFacts) -> (Plan, LaunchReport) {
        let mut norm = Norm::new(self.family, 1e-5);
        norm.residual = self.add.then(ResidualAdd::default);
        let outputs = Outputs { residual: self.add, ..Outputs::default() };
        let case = case((norm, Some(self.dtype), None), self.dtype, self.rows, self.hidden, Values::Unit, 3)
            .with_outputs(outputs);
        let run = Emulated::new(device).run_counted(&case.as_problem(), Placement::default());
        run.expect("runs").1.expect("launched")
    }

    fn matrix_bytes(&self) -> u64 {
        (self.rows * self.hidden * self.dtype.size()) as u64
    }

    /// Matrices read, and as many written: x and y, residual and its sum.
    fn matrices(&self) -> u64 {
        if self.add { 2 } else { 1 }
    }
}

fn cells(sizes: &[(usize, usize)]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for family in Family::ALL {
        for dtype in DType::ALL {
            for add in [false, true] {
                for &(rows, hidden) in sizes {
                    cells.push(Cell { family, dtype, add, rows, hidden });
                }
            }
        }
    }
    cells
}

#[test]
fn rows_in_registers_move_the_byte_floor_in_whole_sectors() {
    // Hidden sizes that are whole sectors, with full and with partly filled teams.
    for cell in cells(&[(64, 64), (32, 128), (8, 768), (3, 5120), (2, 8192), (1, 16384)]) {
        let (plan, report) = cell.run(DeviceFacts::h200());
        let name = plan.kernel.name();
        assert_eq!(plan.regime, Regime::Registers, "{name}");
        let floor = cell.matrices() * cell.matrix_bytes();
        // Every row reads the weight; all but the first find it in the cache.
        let weights = cell.matrix_bytes();
        assert_eq!(report.global_loads.bytes, floor + weights, "{name}");
        assert_eq!(report.global_stores.bytes, floor, "{name}");
        assert_eq!(report.global_stores.sectors, floor / 32, "{name}");
        // Rows side by side in a warp read the same weights, so their sectors are shared.
        assert!(report.global_loads.sectors <= (floor + weights) / 32, "{name}");
        assert!(report.global_loads.sectors >= floor / 32, "{name}");
        assert_eq!(report.local_accesses, 0, "{name}");
    }
}

#[test]
fn full_teams_load_and_store_sixteen_bytes_a_thread() {
    for cell in cells(&[(64, 64), (16, 512), (2, 4096), (1, 16384)]) {
        let (plan, report) = cell.run(DeviceFacts::h200());
        let warp_bytes = 32 * 16;
        let name = plan.kernel.name();
        assert_eq!(report.global_stores.requests * warp_bytes, report.global_stores.bytes, "{name}");
        assert_eq!(report.global_loads.requests * warp_bytes, report.global_loads.bytes, "{name}");
    }
}

#[test]
fn staged_rows_are_read_once_and_others_twice() {
    for cell in cells(&[(1, 24_576)]) {
        let floor = cell.matrices() * cell.matrix_bytes();
        for (device, reads) in [(DeviceFacts::h200(), 1), (DeviceFacts::t4(), 2)] {
            let (plan, report) = cell.run(device);
            let name = plan.kernel.name();
            // 64 KiB hold 24 576 elements of 16 bits, but neither f32 nor sums in f32.
            let reads = if plan.regime == Regime::Staged { 1 } else { reads };
            assert_eq!(plan.regime == Regime::Reread, reads == 2, "{name}");
            assert_eq!(report.global_loads.bytes, reads * floor + cell.matrix_bytes(), "{name}");
            assert_eq!(report.global_stores.bytes, floor, "{name}");
            assert_eq!(report.local_accesses, 0, "{name}");
        }
    }
}

#[test]
fn statistics_cost_four_bytes_a_row() {
    let norm = Norm::layer_norm(1e-5);
    let run = |outputs| {
        let case = case((norm, None, None), DType::F16, 12, 384, Values::Unit, 3).with_outputs(outputs);
        let run = Emulated::new(DeviceFacts::h200()).run_counted(&case.as_problem(), Placement::default());
        run.expect("runs").1.expect("launched").1
    };
    let without = run(Outputs::default());
    let with = run(Outputs { mean: true, rstd: true, ..Outputs::default() });
    assert_eq!(with.global_stores.bytes, without.global_stores.bytes + 12 * 8);
    assert_eq!(with.global_loads, without.global_loads);
}

#[test]
fn misaligned_rows_move_the_same_bytes() {
    for dtype in DType::ALL {
        let case = case((Norm::rms_norm(1e-6), Some(dtype), None), dtype, 5, 1000, Values::Unit, 3);
        let run = |offset| {
            let placement = Placement { offset, ..Placement::default() };
            let run = Emulated::new(DeviceFacts::h200()).run_counted(&case.as_problem(), placement);
            run.expect("runs").1.expect("launched").1
        };
        let (aligned, misaligned) = (run(0), run(1));
        assert_eq!(aligned.global_loads.bytes, misaligned.global_loads.bytes, "{dtype}");
        assert_eq!(aligned.global_stores.bytes, misaligned.global_stores.bytes, "{dtype}");
    }
}
