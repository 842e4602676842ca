//! Where there is a GPU: what is timed, loaded and launched there. `scripts/emulated_driver.sh` stands in for one.

use crate::tool::{fixture, warpnorm};
use std::fs;
use warpnorm_bench::report::Report;

#[test]
#[ignore = "needs a GPU"]
fn launches_are_timed_beside_copies_once_they_were_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (file, plots) = (path("bench.json"), path("plots"));
    let chosen = ["--op", "rms-norm", "add-layer-norm", "head-rms-norm", "--dtype", "f32", "bf16", "--rows", "2"];
    let few = ["--hidden", "100", "--samples", "3", "--json", &file, "--plots", &plots];
    let run = warpnorm([&["bench", "--device", "cuda"][..], &chosen, &few].concat());
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.contains("GB/s") && !run.stdout.contains("not a timing"), "{}", run.stdout);
    // Numbers are held against one another where they are read.
    let report = Report::from_json(&fs::read(&file).unwrap()).unwrap();
    assert!(report.timing && report.copy.is_some(), "{report:?}");
    assert!(report.cells.len() >= 3, "{report:?}");
    for cell in &report.cells {
        let time = cell.time.unwrap_or_else(|| panic!("{cell:?}"));
        assert!(time.min_us > 0.0 && time.samples == 3 && time.launches > 0, "{cell:?}");
        assert!(cell.relative_l2.is_some_and(|error| error < 1e-2), "{cell:?}");
        let buffers = cell.buffers.as_ref().unwrap_or_else(|| panic!("{cell:?}"));
        assert!(buffers.larger_than_l2, "{cell:?}");
        let is_timed =
            |name: &str| cell.baselines.iter().any(|baseline| baseline.name == name && baseline.time.is_some());
        assert!(is_timed("copy"), "{cell:?}");
        // Other machines may have no cuBLAS; and it is composed to the norms of rows, without codes.
        let composed = cell.parts == 1 && !cell.options.contains("e4m3");
        let emulated = report.device.name.contains("emulated");
        assert!(!(emulated && composed) || is_timed("cublas"), "{cell:?}");
    }
    assert!(fs::read_dir(&plots).unwrap().count() > 0);
    assert_eq!(warpnorm(["report", &file]).passed().stdout, run.stdout);
}

#[test]
#[ignore = "needs a GPU"]
fn first_launches_are_timed_in_processes_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cold.json");
    let run = warpnorm(["bench", "--cold-start", "--json", file.to_str().unwrap()]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let report = Report::from_json(&fs::read(&file).unwrap()).unwrap();
    assert!(report.cold_starts.len() > 50 && report.cells.is_empty(), "{report:?}");
}

/// The same bits as the executor has for the same GPU.
#[test]
#[ignore = "needs a GPU"]
fn results_are_those_of_the_executor() {
    let folder = tempfile::tempdir().unwrap();
    let input = fixture("minilm-output-norm.safetensors");
    let apply = |device: &str| {
        let output = folder.path().join(device);
        let (input, output) = (input.to_str().unwrap(), output.to_str().unwrap());
        let op = ["--op", "layer-norm", "--eps", "1e-12", "--device", device];
        let run = warpnorm([&["apply", "--input", input, "--output", output][..], &op].concat());
        assert_eq!(run.code, Some(0), "{run:?}");
        fs::read(output).unwrap()
    };
    assert!(apply("cuda") == apply("emulated"));
}

#[test]
#[ignore = "needs a GPU"]
fn every_module_loads() {
    let run = warpnorm(["info", "--load"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.lines().last().is_some_and(|all| all.starts_with("| all ")), "{}", run.stdout);
}
