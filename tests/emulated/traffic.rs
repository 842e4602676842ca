//! What the kernels move, by the executor's counters: the byte floor, sixteen bytes a thread, in ideal
//! sectors, without bank conflicts, and nothing through local memory.

use crate::support::catalogue::catalogue;
use crate::support::{Failures, case};
use ptx_emu::{LaunchReport, SharedTraffic, Traffic};
use warpnorm::emulated::Emulated;
use warpnorm::host::{Outputs, Placement};
use warpnorm::parity::Values;
use warpnorm::plan::{ByteFloor, Plan, Regime};
use warpnorm::{DType, DeviceFacts, Family, Input, Norm, PostAdd, ResidualAdd};

/// Sixteen bytes, as the place in [`Traffic::accesses_by_width`].
const SIXTEEN_BYTES: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Cell {
    family: Family,
    dtype: DType,
    add: bool,
    bias: bool,
    rows: usize,
    hidden: usize,
}

struct Measured {
    plan: Plan,
    report: LaunchReport,
    floor: ByteFloor,
}

impl Cell {
    /// A launch with a weight, and with the residual stream stored where there is one.
    fn run(&self, device: DeviceFacts, placement: Placement, statistics: bool) -> Measured {
        let mut norm = Norm::new(self.family, 1e-5);
        norm.input = Input::from(self.add.then(ResidualAdd::default));
        let mean = statistics && self.family == Family::LayerNorm;
        let outputs = Outputs { y: true, residual: self.add, mean, rstd: statistics };
        let parameters = (norm, Some(self.dtype), self.bias.then_some(self.dtype));
        let case = case(parameters, self.dtype, self.rows, self.hidden, Values::Unit, 3).with_outputs(outputs);
        let problem = case.as_problem();
        let run = Emulated::new(device).run_counted(&problem, placement);
        let (plan, report) = run.expect("runs").1.expect("launched");
        Measured { plan, report, floor: problem.byte_floor() }
    }

    /// Bytes of x, and of each other matrix.
    fn matrix_bytes(&self) -> u64 {
        (self.rows * self.hidden * self.dtype.size()) as u64
    }

    /// Matrices read, and as many written: x and y, residual and its sum.
    fn matrices(&self) -> u64 {
        if self.add { 2 } else { 1 }
    }
}

impl Measured {
    /// What is wrong with the launch of an aligned call whose rows are made of whole chunks.
    fn faults(&self) -> Vec<String> {
        let LaunchReport { global_loads: loads, global_stores: stores, .. } = self.report;
        let mut faults = Vec::new();
        let mut hold = |right: bool, what: String| faults.extend((!right).then_some(what));
        for (name, traffic, floor) in [("loads", loads, self.floor.loads), ("stores", stores, self.floor.stores)] {
            let Traffic { bytes, distinct_bytes, accesses_by_width, .. } = traffic;
            hold(distinct_bytes == Some(floor), format!("{name}: {distinct_bytes:?} distinct bytes of {floor}"));
            hold(accesses_by_width[SIXTEEN_BYTES] * 16 == bytes, format!("{name} by width: {accesses_by_width:?}"));
        }
        hold(stores.bytes == self.floor.stores, format!("{} bytes stored of {}", stores.bytes, self.floor.stores));
        for (name, SharedTraffic { bank_conflicts, .. }) in
            [("loads", self.report.shared_loads), ("stores", self.report.shared_stores)]
        {
            hold(bank_conflicts == 0, format!("{bank_conflicts} bank conflicts of shared {name}"));
        }
        hold(self.report.local_accesses == 0, format!("{} accesses to local memory", self.report.local_accesses));
        faults
    }

    fn uncoalesced(&self) -> Vec<String> {
        let both = [("loads", self.report.global_loads), ("stores", self.report.global_stores)];
        let wrong = both.into_iter().filter(|(_, traffic)| traffic.sectors != traffic.ideal_sectors);
        wrong
            .map(|(name, Traffic { sectors, ideal_sectors, .. })| {
                format!("{name}: {sectors} sectors of {ideal_sectors}")
            })
            .collect()
    }
}

fn cells(sizes: &[(usize, usize)]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for family in Family::NORMS {
        for dtype in DType::ALL {
            for add in [false, true] {
                for &(rows, hidden) in sizes {
                    let bias = family == Family::LayerNorm;
                    cells.push(Cell { family, dtype, add, bias, rows, hidden });
                }
            }
        }
    }
    cells
}

/// Runs every cell on GPUs that take the PTX of either target.
fn hold(cells: &[Cell], faults: impl Fn(&Cell, &Measured) -> Vec<String>) {
    let mut failures = Failures::default();
    for device in [DeviceFacts::t4(), DeviceFacts::h200()] {
        for cell in cells {
            let measured = cell.run(device.clone(), Placement::default(), false);
            let faults = faults(cell, &measured);
            let describe =
                || format!("{} {} {cell:?}: {}", device.name, measured.plan.kernel.name(), faults.join("; "));
            failures.record((!faults.is_empty()).then(describe));
        }
    }
    failures.assert_none();
}

/// Full teams of every kind, within a warp and of up to 32 warps, and teams that the row fills in part;
/// rows of whole sectors, several of them in a warp where they are short.
const WHOLE_SECTORS: [(usize, usize); 15] = [
    (130, 16),
    (65, 32),
    (40, 48),
    (64, 64),
    (33, 80),
    (32, 128),
    (17, 256),
    (16, 512),
    (8, 768),
    (3, 1024),
    (2, 4096),
    (2, 5120),
    (2, 8192),
    (1, 12_288),
    (1, 16_384),
];

#[test]
fn rows_in_registers_move_the_byte_floor_in_ideal_sectors() {
    hold(&cells(&WHOLE_SECTORS), |_, measured| {
        assert_eq!(measured.plan.regime, Regime::Registers);
        [measured.faults(), measured.uncoalesced()].concat()
    });
}

#[test]
fn rows_of_whole_chunks_move_the_byte_floor_sixteen_bytes_at_a_time() {
    // Every count of chunks up to a few, and rows that end within a sector.
    let sizes: Vec<(usize, usize)> = (1..=9).map(|chunks| (21, 8 * chunks)).chain([(3, 1000), (2, 5128)]).collect();
    hold(&cells(&sizes), |_, measured| measured.faults());
}

#[test]
fn rows_past_the_registers_are_read_once_more_at_most() {
    hold(&cells(&[(2, 24_576), (1, 73_728)]), |cell, measured| {
        let mut faults = [measured.faults(), measured.uncoalesced()].concat();
        let reads = match measured.plan.regime {
            Regime::Registers => panic!("{cell:?} fits in registers"),
            Regime::Staged | Regime::Streamed => 1,
            Regime::Reread => 2,
        };
        // Every row reads the weight and the bias, which all but the first find in a cache.
        let parameters = cell.matrix_bytes() * if cell.bias { 2 } else { 1 };
        let bytes = measured.report.global_loads.bytes;
        let wanted = reads * cell.matrices() * cell.matrix_bytes() + parameters;
        if bytes != wanted {
            faults.push(format!("{bytes} bytes loaded, wanted {wanted}"));
        }
        faults
    });
}

#[test]
fn long_rows_are_staged_where_they_fit() {
    let regime = |device, dtype, add| {
        let cell = Cell { family: Family::RmsNorm, dtype, add, bias: false, rows: 1, hidden: 24_576 };
        cell.run(device, Placement::default(), false).plan.regime
    };
    // 64 KiB hold 24 576 elements of 16 bits, but neither f32 nor sums in f32; 227 KiB hold all of them.
    assert_eq!(regime(DeviceFacts::t4(), DType::BF16, false), Regime::Staged);
    assert_eq!(regime(DeviceFacts::t4(), DType::BF16, true), Regime::Reread);
    assert_eq!(regime(DeviceFacts::t4(), DType::F32, false), Regime::Reread);
    assert_eq!(regime(DeviceFacts::h200(), DType::F32, true), Regime::Staged);
}

#[test]
fn statistics_cost_four_bytes_a_row() {
    for cell in cells(&[(12, 384), (2, 24_576)]) {
        let run = |statistics| cell.run(DeviceFacts::h200(), Placement::default(), statistics);
        let (without, with) = (run(false), run(true));
        let statistics = if cell.family == Family::LayerNorm { 2 } else { 1 };
        let (before, after) = (without.report.global_stores, with.report.global_stores);
        assert_eq!(after.bytes, before.bytes + 4 * statistics * cell.rows as u64, "{cell:?}");
        assert_eq!(after.distinct_bytes, Some(with.floor.stores), "{cell:?}");
        assert_eq!(with.report.global_loads, without.report.global_loads, "{cell:?}");
    }
}

#[test]
fn the_floor_holds_wherever_the_tensors_lie() {
    let placements = [(0, 1, false), (3, 0, false), (8, 8, true), (1, 5, true)]
        .map(|(padding, offset, in_place)| Placement { padding, offset, in_place, ..Placement::default() });
    for cell in cells(&[(5, 1000), (5, 111), (2, 16_385)]) {
        for placement in placements {
            let Measured { report, floor, .. } = cell.run(DeviceFacts::h200(), placement, true);
            assert_eq!(report.global_loads.distinct_bytes, Some(floor.loads), "{cell:?} {placement:?}");
            assert_eq!(report.global_stores.distinct_bytes, Some(floor.stores), "{cell:?} {placement:?}");
            assert_eq!(report.global_stores.bytes, floor.stores, "{cell:?} {placement:?}");
        }
    }
}

/// Rows of odd lengths, and the residual that is added to a norm: but for what a thread has to leave to another warp, all
/// moves sixteen bytes at a time wherever rows begin.
#[test]
fn rows_that_begin_anywhere_move_through_windows() {
    let mut failures = Failures::default();
    let rms = Norm::rms_norm(1e-6);
    let norms = [
        ("layer norm", Norm::layer_norm(1e-5)),
        ("add", rms.with_residual_add(ResidualAdd::default())),
        ("post add", rms.with_post_add(PostAdd::default())),
        ("two norms", rms.with_input(Input::PostNorm(PostAdd::default()))),
    ];
    for device in [DeviceFacts::t4(), DeviceFacts::h200()] {
        for dtype in DType::ALL {
            for hidden in [4097, 20_001, 75_001] {
                for (name, norm) in norms {
                    const ROWS: usize = 3;
                    let mut case = case((norm, None, None), dtype, ROWS, hidden, Values::Unit, 3);
                    (case.outputs.mean, case.outputs.rstd) = (false, false);
                    let run = Emulated::new(device.clone()).run_counted(&case.as_problem(), Placement::default());
                    let (plan, report) = run.expect("runs").1.expect("launched");
                    // Loads: a chunk at either end of a row, in every pass over it. Stores: at either end of a warp,
                    // too, what lies in a window with elements of another.
                    let chunk = 16 / dtype.size();
                    let chunks = hidden.div_ceil(chunk);
                    let tensors = [2, 3][usize::from(name == "two norms")];
                    let loads = ROWS * 3 * tensors * 2 * chunk + ROWS * hidden / 100;
                    let stores = ROWS * 2 * (chunks.div_ceil(32) + 1) * 2 * chunk;
                    let narrow = |traffic: Traffic| traffic.accesses_by_width[..SIXTEEN_BYTES].iter().sum::<u64>();
                    for (which, traffic, most) in
                        [("loads", report.global_loads, loads), ("stores", report.global_stores, stores)]
                    {
                        let found = narrow(traffic);
                        failures.record((found > most as u64).then(|| {
                            let kernel = plan.kernel.name();
                            format!(
                                "{} {name} {dtype} {hidden} {kernel}: {found} narrow {which} of {most}",
                                device.name
                            )
                        }));
                    }
                }
            }
        }
    }
    failures.assert_none();
}

/// Every op beyond the plain norms moves its byte floor, wherever its rows are kept, and sixteen bytes at a time: but
/// for the tables of a rotation, codes, and the few elements whose gated result is computed again in more digits.
#[test]
fn every_other_op_moves_the_byte_floor() {
    let mut failures = Failures::default();
    for dtype in DType::ALL {
        for (rows, hidden) in [(12, 64), (6, 128), (6, 512), (3, 4096), (2, 8192), (2, 12_288)] {
            for (name, mut case) in catalogue(dtype, rows, hidden) {
                (case.outputs.mean, case.outputs.rstd) = (false, false);
                for device in [DeviceFacts::t4(), DeviceFacts::h200()] {
                    let problem = case.as_problem();
                    let run = Emulated::new(device.clone()).run_counted(&problem, Placement::default());
                    let (plan, report) = run.expect("runs").1.expect("launched");
                    let mut floor = problem.byte_floor();
                    if let Some(rotation) = &case.rope {
                        // The floor counts one position of those that are given; here each is another.
                        let angles = (problem.norm.rope.expect("set").dim * rotation.dtype.size()) as u64;
                        floor.loads += (rows as u64 - 1) * angles;
                    }
                    let measured = Measured { plan, report, floor };
                    let narrow = case.rope.is_some() || case.norm.quantisation.is_some() || case.norm.gate.is_some();
                    let mut faults = measured.faults();
                    faults.retain(|fault| !(narrow && fault.contains("by width")));
                    let what = || format!("{} {name} {dtype} {rows} × {hidden}: {}", device.name, faults.join("; "));
                    failures.record((!faults.is_empty()).then(what));
                }
            }
        }
    }
    failures.assert_none();
}
