//! The command line itself.

use crate::tool::{command, fixture, warpnorm};
use std::process::Stdio;
use warpnorm::ptx;

#[test]
fn bad_usage_is_one_line_and_exit_code_2() {
    let none: [&str; 0] = [];
    warpnorm(none).failed(2, &["subcommand", "info", "apply", "parity"]);
    warpnorm(["frobnicate"]).failed(2, &["frobnicate"]);
    warpnorm(["info", "--verbose"]).failed(2, &["--verbose"]);
    warpnorm(["apply"]).failed(2, &["--op", "--input", "--output"]);
    let files = ["--input", "in", "--output", "out"];
    let apply = |more: &[&str]| warpnorm(["apply"].iter().chain(&files).chain(more));
    apply(&["--op", "weight-norm"]).failed(2, &["weight-norm", "layer-norm", "rms-norm"]);
    apply(&["--op", "all"]).failed(2, &["all", "layer-norm", "rms-norm"]);
    apply(&["--preset", "bloom"]).failed(2, &["bloom", "--preset", "llama", "deep-norm"]);
    apply(&["--preset", "llama", "--op", "rms-norm"]).failed(2, &["--preset", "--op"]);
    let rms = |more: &[&str]| apply(&[&["--op", "rms-norm"], more].concat());
    rms(&["--eps", "many"]).failed(2, &["many", "--eps"]);
    rms(&["--device", "tpu"]).failed(2, &["tpu", "auto", "cuda", "emulated", "cpu"]);
    rms(&["--emulate", "gtx"]).failed(2, &["gtx", "wanted one of t4, a100, l4, h100, h200, b200"]);
    rms(&["--weight-rounding", "twice"]).failed(2, &["twice", "single", "before-weight"]);
    rms(&["--residual-rounding", "x"]).failed(2, &["stored", "wide", "split"]);
    rms(&["--eps", "1", "--eps", "2"]).failed(2, &["--eps"]);
    rms(&["--gate-activation", "elu"]).failed(2, &["elu", "relu, leaky-relu, sigmoid, silu, swish, gelu, gelu-tanh"]);
    rms(&["--gate-activation", "relu:1"]).failed(2, &["relu takes no parameter"]);
    rms(&["--heads", "2", "--groups", "2"]).failed(2, &["--heads", "--groups"]);
    rms(&["a\nb"]).failed(2, &["a b"]);
}

#[test]
fn bad_usage_of_parity_is_refused() {
    let parity = |more: &[&str]| warpnorm(["parity"].iter().chain(more));
    parity(&["--shape", "4x0"]).failed(2, &["4x0", "hidden size is 0"]);
    parity(&["--shape", "4096"]).failed(2, &["4096", "ROWSxHIDDEN"]);
    parity(&["--shape", "4294967296x4294967296"]).failed(2, &["at most"]);
    parity(&["--dtype", "f64"]).failed(2, &["f64", "f32, f16, bf16"]);
    parity(&["--values", "odd"]).failed(2, &["odd", "unit", "extremes"]);
    parity(&["--seed", "-1"]).failed(2, &["-1"]);
    parity(&["--eps", "1e-5"]).failed(2, &["--eps", "--input"]);
    parity(&["--residual-scale", "2"]).failed(2, &["--residual-scale", "--input"]);
    parity(&["--input", "in", "--shape", "1x1"]).failed(2, &["--shape", "--input"]);
    parity(&["--input", "in", "--seed", "1"]).failed(2, &["--seed", "--input"]);
    parity(&["--json", "Cargo.toml/report.json"]).failed(2, &["Cargo.toml/report.json", "cannot write"]);
}

#[test]
fn an_emulated_gpu_goes_with_emulation_alone() {
    for device in ["cpu", "cuda"] {
        let output = "never.safetensors";
        let input = fixture("minilm-output-norm.safetensors");
        let arguments = ["--op", "rms-norm", "--output", output, "--device", device, "--emulate", "t4", "--input"];
        warpnorm(["apply"].iter().chain(&arguments).map(std::ffi::OsStr::new).chain([input.as_os_str()]))
            .failed(2, &["--emulate", "--device"]);
    }
}

#[test]
fn help_and_version_succeed() {
    let help = warpnorm(["--help"]).passed();
    for word in ["info", "apply", "parity", "Exit codes"] {
        assert!(help.stdout.contains(word), "{word}");
    }
    assert!(warpnorm(["apply", "--help"]).passed().stdout.contains("--residual-rounding"));
    // Values that clap does not list by itself.
    for command in ["parity", "profile", "bench"] {
        let help = warpnorm([command, "--help"]).passed().stdout;
        for values in ["f32, f16, bf16", "t4, a100, l4, h100, h200 or b200"] {
            assert!(help.contains(values), "{command}: {values}");
        }
    }
    assert!(warpnorm(["--version"]).passed().stdout.contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn info_shows_this_build() {
    let info = warpnorm(["info"]).passed().stdout;
    let provenance = ptx::provenance();
    for fact in [provenance.compiler, provenance.source_hash] {
        assert!(info.contains(fact), "{fact} in {info}");
    }
    let size = |bytes: usize| match bytes as f64 / 1024.0 {
        kib if kib < 1024.0 => format!("{kib:.1} KiB"),
        kib => format!("{:.1} MiB", kib / 1024.0),
    };
    for module in ptx::modules() {
        let row = |line: &&str| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            cells.starts_with(&["", module.name(), module.module().dtype.name(), &format!("sm_{}", module.target)])
        };
        let rows: Vec<&str> = info.lines().filter(row).collect();
        assert_eq!(rows.len(), 1, "{module} in {info}");
        let sizes = rows[0].split('|').map(str::trim).skip(6).take(2);
        assert!(sizes.eq([size(module.ptx().len()), size(module.file_bytes())]), "{}", rows[0]);
    }
    let (modules, kernels) = (ptx::modules().len(), ptx::modules().iter().flat_map(|module| module.kernels()).count());
    let text = size(ptx::modules().iter().map(|module| module.ptx().len()).sum());
    let embedded = size(ptx::embedded_bytes());
    let in_all = format!("{modules} modules, {kernels} kernels, {text} of PTX, {embedded} in the binary");
    assert!(info.contains(&in_all), "{in_all} in {info}");
    let auto = if warpnorm::cuda::devices().is_ok_and(|devices| !devices.is_empty()) { "NVIDIA" } else { "emulated" };
    assert!(info.lines().any(|line| line.starts_with("auto") && line.contains(auto)), "{info}");
}

#[test]
fn a_missing_driver_is_exit_code_3() {
    if warpnorm::cuda::devices().is_ok_and(|devices| !devices.is_empty()) {
        eprintln!("skipped: there is a GPU");
        return;
    }
    let input = fixture("minilm-output-norm.safetensors");
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.safetensors");
    let run = command()
        .args(["apply", "--op", "layer-norm", "--device", "cuda", "--input"])
        .arg(input)
        .arg("--output")
        .arg(&output)
        .output()
        .unwrap();
    let stderr = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(3), "{stderr}");
    assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{stderr}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    warpnorm(["parity", "--device", "cuda"]).failed(3, &[]);
    warpnorm(["info", "--load"]).failed(3, &["--load needs a GPU", "no NVIDIA driver"]);
    assert!(warpnorm(["info"]).passed().stdout.contains("driver"));
}

#[test]
fn a_reader_that_has_gone_away_is_no_error() {
    for arguments in [vec!["info"], vec!["--help"], vec!["parity", "--shape", "1x8", "--device", "cpu"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run = command().args(&arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((run.status.code(), run.stderr.as_slice()), (Some(0), &b""[..]), "{arguments:?}");
    }
    // With stderr gone as well, the exit code is all that is left.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = command().arg("frobnicate").stdout(Stdio::null()).stderr(writer).status().unwrap();
    assert_eq!(run.code(), Some(2));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_stdout_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = command().arg("info").stdout(full).output().unwrap();
    let stderr = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(2), "{stderr}");
    assert!(stderr.starts_with("error: cannot write to standard output") && stderr.lines().count() == 1, "{stderr}");
}
