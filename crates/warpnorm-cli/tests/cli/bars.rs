//! What the committed profile, `results/profile.json`, has to hold: every kernel at its floor, on every hidden size that
//! the benchmark has. That the profile is what the kernels do, `scripts/profile_baseline.sh --check` says.

use serde_json::Value;
use warpnorm::plan::GROUP_ELEMENTS;
use warpnorm::plan::Source;
use warpnorm::plan::constants::{CHUNK_BYTES, loads_in_flight};
use warpnorm::{DType, DeviceFacts};

/// Hidden sizes of the benchmark.
const HIDDEN: [u64; 13] = [64, 128, 512, 768, 1536, 4096, 4097, 5120, 7168, 8192, 16_384, 65_536, 262_144];

const PLAIN: [&str; 4] = ["layer-norm", "rms-norm", "add-layer-norm", "add-rms-norm"];

/// Bytes of loads that the resident threads of an H200's multiprocessor keep in flight at least. By Little's law it
/// takes some 13 KiB: half of 4.3 TB/s is read, by 132 multiprocessors, within a latency of 0.8 µs, which is an
/// estimate.
const BYTES_IN_FLIGHT: u64 = 16 << 10;

struct Cell(Value);

impl Cell {
    fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_else(|| panic!("{field} of {}", self.0))
    }

    fn number(&self, path: &str) -> u64 {
        self.0.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path} of {}", self.0))
    }

    fn dtype(&self) -> DType {
        DType::ALL.into_iter().find(|dtype| dtype.name() == self.text("dtype")).expect("a type")
    }

    fn is_plain(&self) -> bool {
        PLAIN.contains(&self.text("op")) && matches!(self.text("options"), "" | "stored")
    }

    fn source(&self) -> Source {
        let kernel = self.text("kernel");
        let two = kernel.starts_with("add_") || kernel.starts_with("interpolate") || kernel.starts_with("gated_input");
        if two { Source::ResidualAdd } else { Source::Plain }
    }

    /// Threads of the team that a thread does the work of.
    fn groups(&self) -> u64 {
        if self.text("kernel").contains("_paired") { 2 } else { 1 }
    }

    fn name(&self) -> String {
        ["kernel", "options"].map(|field| self.text(field)).join(" ") + &format!(" {}", self.number("/hidden"))
    }
}

fn cells() -> Vec<Cell> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../results/profile.json");
    let text = std::fs::read_to_string(path).expect("a committed profile");
    let profile: Value = serde_json::from_str(&text).expect("JSON");
    profile["cells"].as_array().expect("cells").iter().cloned().map(Cell).collect()
}

#[test]
fn the_profile_has_the_grid_of_the_benchmark() {
    let cells = cells();
    for op in PLAIN {
        for dtype in DType::ALL {
            for hidden in HIDDEN {
                let is_this = |cell: &Cell| {
                    cell.is_plain()
                        && cell.text("op") == op
                        && cell.dtype() == dtype
                        && cell.number("/hidden") == hidden
                };
                assert!(cells.iter().any(is_this), "{op} {dtype} {hidden}");
            }
        }
    }
    let count = |kernel: &str| cells.iter().filter(|cell| cell.text("kernel") == kernel).count();
    for dtype in ["f16", "bf16"] {
        for op in ["layer_norm", "rms_norm"] {
            for (path, least) in [
                ("aligned_paired_full", 3),
                ("aligned_paired_lines", 1),
                ("aligned_paired", 1),
                ("aligned_paired_lanes", 2),
            ] {
                assert!(count(&format!("{op}_{dtype}_{path}")) >= least, "{op}_{dtype}_{path}");
            }
        }
        for op in ["layer_norm", "rms_norm", "add_layer_norm", "add_rms_norm"] {
            for (path, least) in [("aligned_looped", 3), ("shifted_paired", 1)] {
                assert!(count(&format!("{op}_{dtype}_{path}")) >= least, "{op}_{dtype}_{path}");
            }
        }
        for kernel in ["layer_norm_quantise even", "rms_norm_quantise even", "rms_norm_quantise_wide full"] {
            let (op, filled) = kernel.split_once(' ').expect("two words");
            assert!(count(&format!("{op}_{dtype}_aligned_paired_{filled}")) >= 1, "{kernel} {dtype}");
        }
    }
    for form in ["per-token", "per-group", "per-tensor-wide", "rotated", "silu"] {
        assert!(cells.iter().any(|cell| cell.text("options").contains(form)), "{form}");
    }
}

#[test]
fn every_byte_is_moved_once_and_nothing_spills() {
    for cell in cells() {
        let name = cell.name();
        for way in ["loads", "stores"] {
            let bytes = |what: &str| cell.number(&format!("/{way}/{what}_bytes"));
            assert_eq!(bytes("distinct"), bytes("floor"), "{name}: {way}");
        }
        assert_ne!((cell.is_plain(), cell.text("regime")), (true, "reread"), "{name}");
        for nothing in ["/assembled/spill_bytes", "/assembled/stack_bytes", "/local_accesses", "/bank_conflicts"] {
            assert_eq!(cell.number(nothing), 0, "{name}: {nothing}");
        }
    }
}

/// Whole sectors where rows are made of them. Rows that begin anywhere are accessed through windows, but for a chunk at
/// either end and one between two warps: as good as whole. What is ideal is counted request by request, of which those
/// chunks have some of their own.
#[test]
fn accesses_are_of_whole_sectors() {
    for cell in cells().into_iter().filter(Cell::is_plain) {
        let whole = (cell.number("/hidden") * cell.dtype().size() as u64).is_multiple_of(32);
        for way in ["loads", "stores"] {
            let sectors = |what: &str| cell.number(&format!("/{way}/{what}"));
            let (found, ideal) = (sectors("sectors"), sectors("ideal_sectors"));
            let most = if whole { ideal } else { ideal + ideal / 32 };
            assert!((ideal..=most).contains(&found), "{}: {found} sectors of {way}, ideally {ideal}", cell.name());
        }
        // A sector that two warps share is stored in pieces.
        let (stored, bytes) = (cell.number("/stores/sectors") * 32, cell.number("/stores/floor_bytes"));
        assert!(stored * 2 <= bytes * 3 + 192, "{}: {stored} bytes of sectors for {bytes}", cell.name());
    }
}

/// Half of the warps are resident, or enough bytes are in flight all the same. Fewer are where teams do not divide a
/// multiprocessor's registers evenly (7168 elements are 448 threads, of which two fit where 1024 would), where a
/// source of more inputs takes more than 64 registers, and where threads do the work of two with as many.
#[test]
fn enough_is_in_flight() {
    let max_warps = u64::from(DeviceFacts::h200().max_threads_per_multiprocessor / 32);
    for cell in cells().into_iter().filter(|cell| cell.text("regime") == "registers") {
        let warps = cell.number("/assembled/resident_warps");
        let loads = cell.groups() * loads_in_flight(cell.source(), cell.dtype()) as u64;
        let bytes = warps * 32 * loads * CHUNK_BYTES as u64;
        let enough = 2 * warps >= max_warps || bytes >= BYTES_IN_FLIGHT;
        assert!(enough, "{}: {warps} warps with {bytes} bytes in flight", cell.name());
    }
}

/// The loads of a full team are those of the table of constants, and its parameters'.
#[test]
fn a_thread_loads_what_the_table_of_constants_says() {
    let mut seen = 0;
    for cell in cells().into_iter().filter(Cell::is_plain) {
        let hidden = cell.number("/hidden");
        if hidden != cell.number("/team_threads") * GROUP_ELEMENTS as u64 || cell.text("regime") != "registers" {
            continue;
        }
        let (dtype, threads) = (cell.dtype(), cell.number("/rows") * cell.number("/team_threads"));
        let parameters = ["weight", "bias"].iter().filter(|which| !cell.0[**which].is_null()).count();
        let of_parameters = parameters * GROUP_ELEMENTS * dtype.size() / CHUNK_BYTES;
        let wanted = threads * (loads_in_flight(cell.source(), dtype) + of_parameters) as u64;
        assert_eq!(cell.number("/loads/accesses_by_width/4"), wanted, "{}", cell.name());
        seen += 1;
    }
    assert!(seen > 60, "{seen}");
}
