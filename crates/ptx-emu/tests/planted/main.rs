//! Planted faults: for each kind of fault small kernels that have it, each with a corrected twin.
//! The fault is found in the one, with all that it should say, under every schedule; the other is
//! silent, and its results are right.
//!
//! `kernels/` holds the CUDA sources, `ptx/` what `scripts/test_ptx.sh` makes of them, `rows/` what
//! is expected of each kernel.

mod harness;
mod rows;
mod wanted;

use harness::check;
use ptx_emu::FaultKind;

macro_rules! tests {
    ($($name:ident),*) => {
        $(
            #[test]
            fn $name() {
                check(&rows::$name::FILE, rows::$name::ROWS);
            }
        )*

        /// Every file and its rows.
        const ALL: &[(&harness::File, &[harness::Case])] = &[$((&rows::$name::FILE, rows::$name::ROWS)),*];
    };
}

tests!(
    alignment,
    bounds,
    cluster_races,
    dependent_launch,
    distributed,
    endings,
    global_races,
    order,
    read_only,
    shared_races,
    synchronisation,
    uninitialised
);

/// A new variant of [`FaultKind`] needs a name, or `FaultKind::name` does not compile, and with the
/// name it needs a row here. That each row is met by some schedule, `check` sees to.
#[test]
fn every_kind_of_fault_is_planted() {
    let cases = ALL.iter().flat_map(|(_, rows)| *rows);
    let planted: Vec<&str> = cases.flat_map(|case| case.found).map(|found| found.2.name()).collect();
    for name in FaultKind::NAMES {
        assert!(planted.contains(name), "no kernel is planted for `{name}`");
    }
}

#[test]
fn every_source_is_in_the_list() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/planted/kernels");
    let names = std::fs::read_dir(folder).expect("there").map(|entry| entry.expect("there").file_name());
    let mut sources: Vec<_> = names.filter_map(|name| name.into_string().ok()).collect();
    sources.retain(|name| name.ends_with(".cu"));
    sources.sort();
    assert_eq!(sources, ALL.iter().map(|(file, _)| file.name).collect::<Vec<_>>());
}
