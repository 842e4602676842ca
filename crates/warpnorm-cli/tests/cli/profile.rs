//! `profile` and `assemble`: what is counted, what ptxas says, and what a baseline makes of it.

use crate::tool::{Run, command, warpnorm};
use serde_json::Value;
use std::path::{Path, PathBuf};
use warpnorm::{DType, ptx};

/// Runs the tool with no ptxas but the one that is given.
fn run(arguments: &[&str]) -> Run {
    let output = command()
        .args(arguments)
        .env_remove("CUDA_HOME")
        .env_remove("CUDA_PATH")
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs `profile` with a report and returns what it printed and reported.
fn profile(arguments: &[&str]) -> (String, Value) {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("profile.json");
    let all = [&["profile", "--json", report.to_str().unwrap()], arguments].concat();
    let run = run(&all).passed();
    (run.stdout, serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap())
}

/// The cells of the table by heading.
fn rows(table: &str) -> Vec<Vec<(String, String)>> {
    let split = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let mut lines = table.lines().filter(|line| line.starts_with('|'));
    let headings = split(lines.next().unwrap());
    lines.skip(1).map(|line| headings.iter().cloned().zip(split(line)).collect()).collect()
}

fn column<'a>(row: &'a [(String, String)], heading: &str) -> &'a str {
    &row.iter().find(|(name, _)| name == heading).unwrap_or_else(|| panic!("no column {heading}")).1
}

/// An executable that answers as ptxas does, with these numbers for every kernel of every module.
#[cfg(unix)]
fn fake_ptxas(folder: &Path, registers: u32, spilled: u32) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(format!("ptxas-{registers}-{spilled}"));
    let text = format!(
        "#!/bin/sh\n\
         if [ \"$1\" = --version ]; then echo 'Cuda compilation tools, release 99.1, V99.1.2'; exit; fi\n\
         for file; do :; done\n\
         sed -n 's/^\\.visible \\.entry \\(.*\\)($/\\1/p' \"$file\" | while read -r kernel; do\n\
         echo \"ptxas info    : Function properties for $kernel\"\n\
         echo '    {spilled} bytes stack frame, {spilled} bytes spill stores, 0 bytes spill loads'\n\
         echo 'ptxas info    : Used {registers} registers, used 1 barriers, 640 bytes smem'\n\
         done\n"
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn the_whole_grid_is_at_the_floor_and_is_reported() {
    let (table, report) = profile(&[]);
    assert_eq!(report["gpu"], "NVIDIA H200");
    assert_eq!(report["compute_capability"], "9.0");
    assert_eq!(report["ptx"]["source_hash"], ptx::provenance().source_hash);
    assert!(report["ptxas"].is_null());
    let cells = report["cells"].as_array().unwrap();
    let rows = rows(&table);
    assert_eq!(rows.len(), cells.len());
    for op in ["layer-norm", "rms-norm", "add-layer-norm", "add-rms-norm"] {
        for dtype in ["f32", "f16", "bf16"] {
            let here = cells.iter().filter(|cell| cell["op"] == op && cell["dtype"] == dtype);
            let regimes: Vec<&str> = here.map(|cell| cell["regime"].as_str().unwrap()).collect();
            for (regime, there) in [("registers", true), ("staged", true), ("reread", false)] {
                assert_eq!(regimes.contains(&regime), there, "{op} {dtype} {regime}");
            }
        }
    }
    // Every module is somewhere in the grid, with f16 at least.
    for module in ptx::modules().iter().filter(|module| module.module().dtype == DType::F16) {
        let mut kernels = module.module().kernels().unwrap();
        assert!(kernels.any(|kernel| cells.iter().any(|cell| cell["kernel"] == kernel.name())), "{module}");
    }
    for (row, cell) in rows.iter().zip(cells) {
        for direction in ["loads", "stores"] {
            assert_eq!(cell[direction]["distinct_bytes"], cell[direction]["floor_bytes"], "{cell}");
        }
        assert_eq!(column(row, "moved / floor"), "1.000");
        assert_eq!(column(row, "regime").contains("one read more"), cell["regime"] == "reread");
        assert_eq!(column(row, "kernel"), cell["kernel"].as_str().unwrap());
        let parts = if cell["parts"] == 1 { String::new() } else { format!("{}x", cell["parts"]) };
        let shape = format!("{}x{parts}{}", cell["rows"], cell["hidden"]);
        assert_eq!(column(row, "shape"), shape);
        let by_class = cell["thread_instructions_by_class"].as_object().unwrap();
        let total: u64 = by_class.values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(Some(total), cell["thread_instructions"].as_u64(), "{cell}");
        assert!(cell["assembled"].is_null() && column(row, "registers") == "-" && column(row, "occupancy") == "-");
    }
}

#[test]
fn one_launch_counted_by_hand() {
    let (table, report) = profile(&["--op", "add-rms-norm", "--dtype", "f32", "--shape", "3x1024", "--gpu", "a100"]);
    assert_eq!(report["gpu"], "NVIDIA A100");
    let first = table.lines().next().unwrap();
    assert!(first.ends_with("NVIDIA A100, by the executor") && table.contains("ptxas  not found"), "{table}");
    let cell = &report["cells"][0];
    // x and residual, 12 KiB each, and 4 KiB of weight, which each of three rows asks for.
    assert_eq!(cell["loads"]["floor_bytes"], 2 * 12_288 + 4096);
    assert_eq!(cell["loads"]["bytes"], 3 * 12_288);
    assert_eq!(cell["stores"]["bytes"], 2 * 12_288);
    // 512 bytes and sixteen sectors a request.
    assert_eq!((&cell["loads"]["requests"], &cell["loads"]["sectors"]), (&72.into(), &1152.into()));
    assert_eq!(cell["loads"]["accesses_by_width"], serde_json::json!([0, 0, 0, 0, 72 * 32]));
    let row = &rows(&table)[0];
    assert_eq!(column(row, "moved"), "52.0 KiB");
    assert_eq!(column(row, "requested"), "60.0 KiB");
    assert_eq!((column(row, "sectors / request"), column(row, "ideal")), ("16.00", "16.00"));
    // Before one warp merges what all have summed, and before all take what it makes of it.
    assert_eq!(column(row, "barriers"), "2");
}

#[cfg(unix)]
#[test]
fn ptxas_says_registers_spills_and_occupancy() {
    let folder = tempfile::tempdir().unwrap();
    let ptxas = fake_ptxas(folder.path(), 40, 0);
    let cell = ["--op", "rms-norm", "--dtype", "bf16", "--shape", "4x4096", "--ptxas", ptxas.to_str().unwrap()];
    let (table, report) = profile(&cell);
    assert_eq!(report["ptxas"], "99.1.2");
    assert!(table.lines().next().unwrap().ends_with("NVIDIA H200, by the executor and by ptxas"), "{table}");
    let on_chip = &report["cells"][0]["assembled"];
    assert_eq!((&on_chip["registers"], &on_chip["shared_bytes"]), (&40.into(), &640.into()));
    // 256 threads of 40 registers: six blocks of eight warps, by NVIDIA's calculator.
    assert_eq!((&on_chip["resident_blocks"], &on_chip["resident_warps"]), (&6.into(), &48.into()));
    let row = &rows(&table)[0];
    assert_eq!((column(row, "registers"), column(row, "spilled"), column(row, "occupancy")), ("40", "0", "75 %"));
}

/// A baseline of one op on two shapes; with ptxas, if one is given.
fn write_baseline(path: &Path, ptxas: &[&str]) {
    let arguments = ["profile", "--op", "rms-norm", "--dtype", "f16", "--shape", "8x128,2x4096"];
    run(&[&arguments[..], &["--json", path.to_str().unwrap()], ptxas].concat()).passed();
}

/// Compares with a baseline and returns the exit code and what is said after the table.
fn compare(baseline: &Path, more: &[&str]) -> (Option<i32>, String) {
    let arguments = ["profile", "--op", "rms-norm", "--dtype", "f16", "--baseline", baseline.to_str().unwrap()];
    let run = run(&[&arguments[..], more].concat());
    assert_eq!(run.stderr, "");
    let said = run.stdout.lines().skip_while(|line| !line.contains(" compared with ")).collect::<Vec<_>>().join("\n");
    (run.code, said)
}

#[test]
fn a_baseline_says_what_is_worse_and_what_is_better() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baseline.json");
    let shapes = ["--shape", "8x128,2x4096"];
    write_baseline(&path, &[]);
    let (code, said) = compare(&path, &shapes);
    assert_eq!(code, Some(0));
    assert!(said.contains("12 cells compared") && said.contains("0 costs are worse, 0 are better"), "{said}");

    // A baseline that had it better in one cell, and worse in another.
    let mut baseline: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let change = |cell: &mut Value, direction: &str, name: &str, by: i64| {
        let number = &mut cell[direction][name];
        *number = (number.as_i64().unwrap() + by).into();
    };
    change(&mut baseline["cells"][0], "loads", "distinct_bytes", 32);
    std::fs::write(&path, baseline.to_string()).unwrap();
    let (code, said) = compare(&path, &shapes);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("better  rms-norm f16 8x128, with weight: distinct bytes loaded"), "{said}");
    assert!(said.contains("update the baseline"), "{said}");
    change(&mut baseline["cells"][1], "stores", "sectors", -1);
    std::fs::write(&path, baseline.to_string()).unwrap();
    let (code, said) = compare(&path, &shapes);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("WORSE  rms-norm f16 2x4096, with weight: sectors of stores"), "{said}");
    assert!(said.contains("1 costs are worse, 1 are better"), "{said}");
}

#[test]
fn a_part_of_the_grid_is_compared_with_that_part() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baseline.json");
    write_baseline(&path, &[]);
    let (code, said) = compare(&path, &["--shape", "8x128"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("6 cells compared"), "{said}");
    // All shapes of the grid are asked for here, but 8x128 is not one of them.
    let (code, said) = compare(&path, &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("WORSE  rms-norm f16 8x128, with weight: not in this profile"), "{said}");
}

#[cfg(unix)]
#[test]
fn spills_and_steps_of_occupancy_are_worse() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baseline.json");
    let fake = |registers, spilled| fake_ptxas(folder.path(), registers, spilled).to_str().unwrap().to_owned();
    let options = |ptxas: String| ["--shape".to_owned(), "2x4096".to_owned(), "--ptxas".to_owned(), ptxas];
    let compared = |ptxas: String| {
        let options = options(ptxas);
        compare(&path, &options.each_ref().map(String::as_str))
    };
    write_baseline(&path, &["--ptxas", &fake(33, 0)]);
    // 33 to 40 registers are one step: six blocks of eight warps.
    assert_eq!(compared(fake(40, 0)).0, Some(0));
    let (code, said) = compared(fake(41, 0));
    assert_eq!(code, Some(1));
    assert!(said.contains("share of the warps left empty"), "{said}");
    let (code, said) = compared(fake(33, 16));
    assert_eq!(code, Some(1));
    assert!(said.contains("16 bytes spilled"), "{said}");
    // Without ptxas there is nothing to compare.
    assert_eq!(compare(&path, &["--shape", "2x4096"]).0, Some(0));
}

#[test]
fn bad_baselines_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baseline.json");
    let name = path.to_str().unwrap();
    let refused = |more: &[&str], words: &[&str]| {
        let arguments = ["profile", "--shape", "1x8", "--baseline", name];
        run(&[&arguments[..], more].concat()).failed(2, words);
    };
    refused(&[], &[name, "cannot read"]);
    std::fs::write(&path, "{\"cells\": 1}").unwrap();
    refused(&[], &[name, "not a profile"]);
    write_baseline(&path, &[]);
    refused(&["--gpu", "t4"], &[name, "NVIDIA H200", "NVIDIA T4"]);
    refused(&["--ptxas", "/no/such/ptxas"], &["/no/such/ptxas"]);
    refused(&["--ptxas", "/bin/true"], &["/bin/true", "version"]);
    refused(&["--gpu", "gtx"], &["gtx", "t4, a100, l4, h100, h200, b200"]);
}

#[test]
fn no_rows_are_no_launch() {
    let (table, report) = profile(&["--shape", "0x64"]);
    assert_eq!((rows(&table).len(), report["cells"].as_array().unwrap().len()), (0, 0));
}

#[cfg(unix)]
#[test]
fn assemble_lists_every_module_and_fails_on_local_memory() {
    let folder = tempfile::tempdir().unwrap();
    let assemble = |spilled, more: &[&str]| {
        let ptxas = fake_ptxas(folder.path(), 61, spilled);
        run(&[&["assemble", "--ptxas", ptxas.to_str().unwrap()], more].concat())
    };
    let all = assemble(0, &[]).passed().stdout;
    for module in ptx::modules() {
        assert!(all.contains(&module.to_string()), "{module:?}");
    }
    let mut kernels = 0;
    for row in rows(&all) {
        assert_eq!((column(&row, "registers"), column(&row, "static shared")), ("61", "640"));
        let module = ptx::modules().iter().find(|module| module.to_string() == column(&row, "module")).unwrap();
        assert_eq!(column(&row, "kernels"), module.kernels().len().to_string());
        kernels += module.kernels().len();
    }
    assert_eq!(rows(&assemble(0, &["--all"]).passed().stdout).len(), kernels);
    let spilling = assemble(24, &[]);
    assert_eq!((spilling.code, spilling.stderr.as_str()), (Some(1), ""));
    assert!(spilling.stdout.contains("24 bytes of stack, 24 bytes spilled"), "{}", spilling.stdout);
    run(&["assemble"]).failed(2, &["ptxas", "CUDA_HOME"]);
}

#[test]
fn help_names_the_options() {
    let help = warpnorm(["profile", "--help"]).passed().stdout;
    for option in ["--op", "--dtype", "--shape", "--gpu", "--json", "--baseline", "--ptxas"] {
        assert!(help.contains(option), "{option}");
    }
}
