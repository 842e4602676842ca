//! What is committed under `results/bench` and what the README says of it.

use std::fs;
use std::path::PathBuf;
use warpnorm_bench::render::{BEGIN, END, plots, readme_section, replace_section, svg};
use warpnorm_bench::report::Report;

const FOLDER: &str = "results/bench";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The committed reports by their paths, in the order of these; each is checked as it is read.
fn reports() -> Vec<(String, Report)> {
    let Ok(entries) = fs::read_dir(root().join(FOLDER)) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".json")).collect();
    names.sort();
    let read = |name: String| {
        let path = format!("{FOLDER}/{name}");
        let report = Report::from_json(&fs::read(root().join(&path)).unwrap()).unwrap();
        (path, report)
    };
    names.into_iter().map(read).collect()
}

#[test]
fn the_readme_says_what_the_reports_do() {
    let (readme, reports) = (fs::read_to_string(root().join("README.md")).unwrap(), reports());
    if reports.is_empty() {
        assert!(!readme.contains(BEGIN) && !readme.contains(END), "a section of the README without a report");
        return;
    }
    let wanted = replace_section(&readme, &readme_section(&reports)).unwrap();
    assert!(readme == wanted, "run: warpnorm report {FOLDER}/*.json --readme README.md --plots {FOLDER}");
}

#[test]
fn reports_are_of_gpus_with_commit_and_plots() {
    for (path, report) in reports() {
        assert!(report.timing, "{path}: only times are committed");
        let commit = report.commit.as_deref().unwrap_or("none");
        assert!(commit.len() == 40 && commit.bytes().all(|c| c.is_ascii_hexdigit()), "{path}: commit {commit}");
        assert!(report.device.cuda_driver.is_some(), "{path}: no driver");
        // As crates/emulated-driver calls itself: its times are the executor's.
        assert!(!report.device.name.contains("emulated"), "{path}: of no GPU");
        for plot in plots(&report) {
            let file = format!("{}-{}.svg", path.strip_suffix(".json").unwrap(), plot.name);
            let drawn = fs::read_to_string(root().join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(drawn == svg(&plot).unwrap(), "{file} is not what {path} gives");
        }
    }
}
