//! `bench` where there is no GPU, and `report`.

use crate::tool::{command, warpnorm};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use warpnorm_bench::report::Report;

/// Runs `bench` in the executor; what it printed and reported.
fn bench(folder: &Path, arguments: &[&str]) -> (String, Value) {
    let file = folder.join("bench.json");
    let all = [&["bench", "--device", "emulated", "--json", file.to_str().unwrap()], arguments].concat();
    let run = warpnorm(all).passed();
    let bytes = fs::read(file).unwrap();
    Report::from_json(&bytes).unwrap();
    (run.stdout, serde_json::from_slice(&bytes).unwrap())
}

/// A run that ends with an error keeps what there is by then, and says so in it; one that never began keeps nothing.
#[test]
fn what_ran_before_an_error_is_kept() {
    const ERROR: &str = "hidden size is 16777217, wanted 1 to 16777216";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench.json");
    let run = |hidden: &str| {
        let only = ["--op", "rms-norm", "--dtype", "f16", "--rows", "1", "--hidden", hidden];
        let all = [&["bench", "--device", "emulated", "--json", file.to_str().unwrap()], &only[..]].concat();
        warpnorm(all).failed(2, &[ERROR]);
    };
    run("16777217");
    assert!(!file.exists());
    run("64,16777217");
    let report = Report::from_json(&fs::read(&file).unwrap()).unwrap();
    assert!(!report.cells.is_empty() && report.cells.iter().all(|cell| cell.hidden == 64));
    let last = report.missing.last().unwrap();
    assert_eq!((last.baseline.as_str(), last.reason.clone()), ("warpnorm", format!("nothing ran after this: {ERROR}")));
}

/// A run that is killed leaves the cells before, in a report that says that it may not be all.
#[test]
fn what_ran_before_the_end_from_outside_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench.json");
    // Its first cell takes a moment, and its last one many times as long as a look at the file.
    let only = ["--op", "rms-norm", "--dtype", "f32", "--rows", "1,4000", "--hidden", "64,4096"];
    let all = [&["bench", "--device", "emulated", "--json", file.to_str().unwrap()], &only[..]].concat();
    let mut run = command().args(all).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !file.exists() && run.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let over = run.try_wait().unwrap();
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(over, None, "it ended by itself");
    let report = Report::from_json(&fs::read(&file).unwrap()).unwrap();
    assert!(!report.cells.is_empty());
    let last = &report.missing.last().unwrap().reason;
    assert_eq!(last, "nothing ran after this: the run was ended from outside");
}

/// Names and texts of the SVG files of a folder.
fn plots(folder: &Path) -> Vec<(String, String)> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(name).filter(|name| name.ends_with(".svg")).collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), fs::read_to_string(folder.join(name)).unwrap())).collect()
}

#[test]
fn without_a_gpu_everything_says_that_it_is_no_timing() {
    let folder = tempfile::tempdir().unwrap();
    let drawn = folder.path().join("plots");
    let arguments = ["--op", "rms-norm", "--dtype", "bf16", "--hidden", "64,768", "--plots", drawn.to_str().unwrap()];
    let (text, report) = bench(folder.path(), &[&arguments[..], &["--commit", "abc"]].concat());
    assert!(text.starts_with("# NVIDIA H200 (emulated): not a timing\n"), "{text}");
    for unit in ["µs", "GB/s", "speed-up"] {
        assert!(!text.contains(unit), "{unit}: {text}");
    }
    assert_eq!((&report["schema"], &report["timing"]), (&json!("warpnorm-bench/1"), &json!(false)));
    assert!(report["not_a_timing"].as_str().unwrap().contains("executor"));
    assert_eq!((&report["commit"], &report["copy"]), (&json!("abc"), &Value::Null));
    let missing: Vec<&str> =
        report["missing"].as_array().unwrap().iter().map(|one| one["baseline"].as_str().unwrap()).collect();
    assert_eq!(missing, ["copy", "cublas", "segment"]);
    let cells = report["cells"].as_array().unwrap();
    // The norm in both sizes, its codes a row in both, and its codes of 128 elements where they divide the row.
    assert_eq!(cells.len(), 5);
    for cell in cells {
        for unknown in ["time", "gb_per_s", "copy_share", "buffers"] {
            assert_eq!(cell[unknown], Value::Null, "{unknown}");
        }
        assert_eq!(cell["baselines"], json!([]));
        let (moved, floor) = (&cell["counters"]["distinct_bytes"], &cell["floor_bytes"]);
        assert!(moved.as_u64().unwrap() >= floor.as_u64().unwrap());
        assert!(cell["relative_l2"].as_f64().unwrap() < 1e-2);
    }
    // 2 rows of 64 bf16 read and written, and 64 weights.
    let plain = cells.iter().find(|cell| cell["hidden"] == 64 && cell["options"] == "").unwrap();
    assert_eq!(plain["floor_bytes"], 2 * 2 * 64 * 2 + 64 * 2);

    let plots = plots(&drawn);
    let names: Vec<&str> = plots.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["bench-instructions-bf16-2.svg", "bench-moved-bf16-2.svg"]);
    for (name, text) in &plots {
        let document = roxmltree::Document::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(text.contains("not a timing"), "{name}");
        let metadata = document.descendants().find(|node| node.has_tag_name("metadata")).unwrap();
        let drawn: Value = serde_json::from_str(metadata.text().unwrap()).unwrap();
        let mut points = 0;
        for series in drawn["series"].as_array().unwrap() {
            for point in series["points"].as_array().unwrap() {
                points += 1;
                let here = |cell: &&Value| {
                    let options = cell["options"].as_str().unwrap();
                    let title =
                        if options.is_empty() { "rms-norm".to_owned() } else { format!("rms-norm ({options})") };
                    series["name"] == title && cell["hidden"] == point[0]
                };
                let cell = cells.iter().find(here).unwrap();
                let number = |value: &Value| value.as_f64().unwrap();
                let counters = &cell["counters"];
                let wanted = match name.contains("moved") {
                    true => number(&counters["distinct_bytes"]) / number(&cell["floor_bytes"]),
                    false => number(&counters["instructions_per_element"]),
                };
                assert_eq!(number(&point[1]), wanted, "{name}");
            }
        }
        assert_eq!(points, cells.len());
    }
}

#[test]
fn every_op_that_is_timed_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (_, report) = bench(folder.path(), &["--dtype", "f16", "--hidden", "128", "--rows", "1", "--seed", "3"]);
    let ops: std::collections::BTreeSet<&str> =
        report["cells"].as_array().unwrap().iter().map(|cell| cell["op"].as_str().unwrap()).collect();
    for op in ["layer-norm", "rms-norm", "add-layer-norm", "add-rms-norm", "gated-rms-norm", "head-rms-norm"] {
        assert!(ops.contains(op), "{op}: {ops:?}");
    }
    assert_eq!(report["method"]["seed"], 3);
}

#[test]
fn a_cold_start_without_a_gpu_has_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let (text, report) = bench(folder.path(), &["--cold-start", "--op", "rms-norm", "layer-norm", "--dtype", "f16"]);
    let starts = report["cold_starts"].as_array().unwrap();
    let modules: Vec<&str> = starts.iter().map(|start| start["module"].as_str().unwrap()).collect();
    assert_eq!(modules, ["rms_norm f16", "rms_norm_quantise f16", "layer_norm f16", "layer_norm_quantise f16"]);
    assert!(starts.iter().all(|start| start["milliseconds"].is_null() && start["missing"] == "there is no GPU"));
    assert!(text.contains("| rms_norm f16 | - | there is no GPU |"), "{text}");
}

#[test]
fn bad_usage_is_refused() {
    let bench = |more: &[&str]| warpnorm(["bench"].iter().chain(more));
    bench(&["--rows", "0"]).failed(2, &["--rows", "0"]);
    bench(&["--hidden", "0"]).failed(2, &["--hidden", "0"]);
    bench(&["--samples", "0"]).failed(2, &["--samples"]);
    bench(&["--dtype", "f64"]).failed(2, &["f64", "f32, f16, bf16"]);
    bench(&["--device", "cpu"]).failed(2, &["cpu", "emulated"]);
    bench(&["--device", "cuda", "--emulate", "t4"]).failed(2, &["--emulate"]);
    bench(&["--op", "batch-norm"]).failed(2, &["batch-norm"]);
    bench(&["--emulate", "t4", "--rows", "65536", "--hidden", "65536"]).failed(2, &["65536x65536", "wanted at most"]);
    bench(&["--json", "Cargo.toml/report.json"]).failed(2, &["Cargo.toml/report.json", "cannot write"]);
    warpnorm(["report"]).failed(2, &["REPORT.json"]);
    warpnorm(["report", "missing.json"]).failed(2, &["missing.json", "cannot read"]);
}

/// A report of times that are made up: bf16 RMSNorm of 8 rows, 2 µs an element of hidden / 64.
fn timed(folder: &Path) -> Value {
    let (_, mut report) =
        bench(folder, &["--op", "rms-norm", "--dtype", "bf16", "--hidden", "64,768", "--commit", "abc"]);
    let time = |us: f64| json!({ "median_us": us, "q1_us": us, "q3_us": us, "min_us": us, "max_us": us, "samples": 1, "launches": 1 });
    report["timing"] = json!(true);
    report["not_a_timing"] = Value::Null;
    report["device"]["kind"] = json!("cuda");
    report["device"]["name"] = json!("A made-up GPU");
    report["copy"] = json!({ "bytes": 4_000_000, "time": time(1.0), "gb_per_s": 4000.0 });
    for cell in report["cells"].as_array_mut().unwrap() {
        let us = cell["hidden"].as_f64().unwrap() / 32.0;
        let speed = cell["floor_bytes"].as_f64().unwrap() / us / 1e3;
        cell["counters"] = Value::Null;
        cell["time"] = time(us);
        cell["gb_per_s"] = json!(speed);
        cell["copy_share"] = json!(speed / 4000.0);
        cell["baselines"] = json!([{ "name": "cublas", "time": time(3.0 * us), "speed_up": 3.0, "relative_l2": 1e-3, "missing": null }]);
    }
    report
}

#[test]
fn a_report_becomes_tables_plots_and_a_section_of_the_readme() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("gpu.json"), timed(folder.path()).to_string()).unwrap();
    fs::write(path("bench.txt"), "no report").unwrap();
    let (begin, end) = ("<!-- bench: generated by `warpnorm report`; do not edit -->", "<!-- bench: end -->");
    fs::write(path("README.md"), format!("# Before\n{begin}\nold\n{end}\nAfter.\n")).unwrap();

    let text = warpnorm(["report", &path("gpu.json")]).passed().stdout;
    assert!(text.contains("| rms-norm | bf16 | 2x64 | 2.00 | 0.0 |") && text.contains("| 3.00 |"), "{text}");
    let (markdown, readme, plots_folder) = (path("gpu.md"), path("README.md"), path("plots"));
    let options = ["--markdown", &markdown, "--readme", &readme, "--plots", &plots_folder];
    let run = warpnorm(["report", &path("gpu.json")].into_iter().chain(options)).passed();
    assert_eq!(run.stdout, "");
    assert_eq!(fs::read_to_string(&markdown).unwrap(), text);
    let readme_text = fs::read_to_string(&readme).unwrap();
    assert!(readme_text.starts_with("# Before\n") && readme_text.ends_with(&format!("{end}\nAfter.\n")));
    assert!(!readme_text.contains("old") && readme_text.contains("### A made-up GPU"), "{readme_text}");
    assert!(readme_text.contains("| cublas | 5 | 3.00 | 3.00 | 3.00 |"), "{readme_text}");
    let names: Vec<String> = plots(Path::new(&plots_folder)).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["gpu-bandwidth-bf16-2.svg", "gpu-over-cublas-bf16-2.svg"]);

    warpnorm(["report", &path("bench.txt")]).failed(2, &["bench.txt", "not a benchmark report"]);
}

#[test]
fn a_report_that_contradicts_itself_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gpu.json");
    type Change = fn(&mut Value);
    let changes: [(Change, &str); 4] = [
        (|report| report["cells"][0]["gb_per_s"] = json!(1e5), "gb_per_s"),
        (|report| report["cells"][0]["baselines"][0]["speed_up"] = json!(30.0), "speed-up over cublas"),
        (|report| report["not_a_timing"] = json!("no GPU"), "no timing"),
        (|report| report["hand"] = json!("written"), "hand"),
    ];
    let report = timed(folder.path());
    for (change, word) in changes {
        let mut report = report.clone();
        change(&mut report);
        fs::write(&file, report.to_string()).unwrap();
        warpnorm(["report", file.to_str().unwrap()]).failed(2, &["gpu.json", word]);
    }
}
