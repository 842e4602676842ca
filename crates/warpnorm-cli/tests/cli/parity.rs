//! `parity`: every cell shown, every number in the report.

use crate::files::{Tensor, values, write};
use crate::tool::{fixture, warpnorm};
use safetensors::Dtype;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;
use warpnorm::ptx;

/// Runs `parity` with a report and returns what it printed and reported.
fn parity(arguments: &[&str]) -> (String, Value) {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let more = [OsStr::new("--json"), report.as_os_str()];
    let run = warpnorm([OsStr::new("parity")].into_iter().chain(arguments.iter().map(OsStr::new)).chain(more)).passed();
    (run.stdout, serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap())
}

/// Rows of the table, without its heading and its rule.
fn rows(table: &str) -> Vec<Vec<&str>> {
    let lines = table.lines().filter(|line| line.starts_with('|')).skip(2);
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn the_whole_grid_passes_and_is_reported() {
    let (table, report) = parity(&["--device", "emulated"]);
    assert_eq!(report["passed"], true);
    assert_eq!(report["warpnorm"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["seed"], 1);
    assert_eq!(report["device"]["kind"], "emulated");
    assert_eq!(report["device"]["compute_capability"], "9.0");
    assert_eq!(report["ptx"]["compiler"], ptx::provenance().compiler);
    assert_eq!(report["ptx"]["source_hash"], ptx::provenance().source_hash);
    let cells = report["cells"].as_array().unwrap();
    assert_eq!(rows(&table).len(), cells.len());
    for op in ["layer-norm", "rms-norm", "add-layer-norm", "add-rms-norm"] {
        for dtype in ["f32", "f16", "bf16"] {
            for hidden in [384, 4096, 16_385] {
                let here = |cell: &&Value| cell["op"] == op && cell["dtype"] == dtype && cell["hidden"] == hidden;
                assert!(cells.iter().any(|cell| here(&cell)), "{op} {dtype} {hidden}");
            }
        }
    }
    for cell in cells {
        let verdict = &cell["verdict"];
        let number = |name: &str| verdict[name].as_f64().unwrap();
        let limit = |name: &str| verdict["tolerance"][name].as_f64().unwrap();
        assert_eq!(verdict["passed"], true, "{cell}");
        assert_eq!(verdict["elements"], cell["rows"].as_u64().unwrap() * cell["hidden"].as_u64().unwrap());
        assert!(number("max_ulp") <= limit("max_ulp") && number("mean_ulp") <= number("max_ulp"), "{cell}");
        // Ties that f32 arithmetic decides are 2 of 10 000 elements in f16.
        assert!(cell["dtype"] == "f32" || number("correctly_rounded") >= 0.998, "{cell}");
        let share = number("misrounded") / number("elements").max(1.0);
        assert!(number("misrounded") <= 2.0 || share <= 1.0 - limit("correctly_rounded"), "{cell}");
        assert!(number("rstd_max_ulp") <= limit("statistic_ulp"), "{cell}");
        assert!(number("relative_l2") < 0.01, "{cell}");
        assert_eq!((&verdict["nonfinite_mismatches"], &verdict["residual_mismatches"]), (&0.into(), &0.into()));
        let kernel = cell["plan"]["kernel"].as_str().unwrap();
        assert!(kernel.contains(cell["dtype"].as_str().unwrap()), "{cell}");
        assert_eq!(cell["plan"]["target"], 90);
    }
    assert!(table.contains(&format!("all {} cells passed", cells.len())), "{table}");
}

#[test]
fn the_grid_is_what_was_asked_for() {
    let (table, report) = parity(&[
        "--op=rms-norm,add-layer-norm",
        "--dtype",
        "f32",
        "--shape",
        "3x65,0x7",
        "--shape",
        "1x1",
        "--values=unit,constant",
        "--seed=9",
        "--emulate=t4",
    ]);
    assert_eq!(report["seed"], 9);
    assert_eq!(report["device"]["name"], "emulated NVIDIA T4");
    let rows = rows(&table);
    // Two variants of each op that differ in f32, three shapes, two kinds of data.
    assert_eq!(rows.len(), 2 * 2 * 3 * 2);
    for row in rows {
        assert!(["rms-norm", "add-layer-norm"].contains(&row[0]), "{row:?}");
        assert_eq!(row[2], "f32");
        assert!(["3x65", "0x7", "1x1"].contains(&row[3]) && ["unit", "constant"].contains(&row[4]), "{row:?}");
        assert_eq!(row[10], "passed");
    }
}

#[test]
fn the_same_seed_gives_the_same_report() {
    let run = |seed| parity(&["--op", "layer-norm", "--shape", "2x100", "--device", "emulated", "--seed", seed]);
    assert_eq!(run("5"), run("5"));
    assert_ne!(run("5").1["cells"], run("6").1["cells"]);
}

#[test]
fn the_reference_is_exact_against_itself() {
    let (_, report) = parity(&["--device", "cpu", "--shape", "5x77"]);
    assert_eq!(report["device"]["kind"], "cpu");
    for cell in report["cells"].as_array().unwrap() {
        assert_eq!(cell["verdict"]["correctly_rounded"], 1.0, "{cell}");
        assert_eq!(cell["verdict"]["misrounded"], 0, "{cell}");
        assert!(cell["plan"].is_null());
    }
}

#[test]
fn the_norms_of_a_real_model() {
    let file = fixture("minilm-layer-norms.safetensors");
    let options = ["--op", "layer-norm", "--eps", "1e-12", "--residual-rounding", "wide", "--device", "emulated"];
    let (table, report) = parity(&[&["--input", file.to_str().unwrap()], &options[..]].concat());
    let rows = rows(&table);
    assert_eq!(rows.len(), 13);
    for (index, row) in rows.iter().enumerate() {
        assert!(row[4].starts_with(&format!("{index:02}.")), "{row:?}");
        assert_eq!([row[0], row[1], row[2], row[3], row[10]], ["add-layer-norm", "wide", "f32", "21x384", "passed"]);
    }
    assert!(report["seed"].is_null());
    assert_eq!(report["input"].as_str(), file.to_str());
    assert_eq!(report["cells"][12]["data"], "12.encoder.layer.5.output.LayerNorm");
    assert_eq!(report["cells"][12]["eps"].as_f64().map(|eps| eps as f32), Some(1e-12));
}

#[test]
fn a_file_without_prefixes_is_compared_under_both_norms() {
    let file = fixture("minilm-output-norm.safetensors");
    let (table, _) = parity(&["--input", file.to_str().unwrap()]);
    let ops: Vec<&str> = rows(&table).iter().map(|row| row[0]).collect();
    assert_eq!(ops, ["add-layer-norm", "add-rms-norm"]);
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.safetensors");
    let report = folder.path().join("report.json");
    let x = |name: &str, dtype| Tensor::new(name, dtype, &[2, 4], &values(1, 8));
    let refused = |tensors: &[Tensor], more: &[&str], words: &[&str]| {
        write(&input, tensors);
        let paths = [OsStr::new("--input"), input.as_os_str(), "--json".as_ref(), report.as_os_str()];
        warpnorm([OsStr::new("parity")].into_iter().chain(paths).chain(more.iter().map(OsStr::new))).failed(2, words);
        assert!(!Path::exists(&report));
    };
    refused(&[x("a.y", Dtype::F32)], &[], &["no tensor `x`", "a.y"]);
    refused(&[x("a.x", Dtype::F32), x("b.x", Dtype::F64)], &[], &["`b.x` is F64"]);
    refused(&[x("a.x", Dtype::F32)], &["--op", "add-rms-norm"], &["--op add-rms-norm", "`a.residual`"]);
    refused(&[x("a.x", Dtype::F32)], &["--residual-scale", "2"], &["--residual-scale", "`a.residual`"]);
    refused(&[x("a.x", Dtype::F32), x("a.weight", Dtype::F32)], &[], &["`a.weight`", "[2, 4]", "[4]"]);
    refused(&[x("x", Dtype::F32)], &["--eps", "-1"], &["eps is -1"]);
}

/// Lists may be given in one option or in several, with commas or with spaces.
#[test]
fn lists_are_given_as_one_likes() {
    let table = |arguments: &[&str]| {
        let all = [&["parity", "--device", "cpu"], arguments].concat();
        warpnorm(all).passed().stdout
    };
    let wanted = table(&["--op", "rms-norm", "layer-norm", "--dtype", "f16", "bf16", "--shape", "2x8", "1x9"]);
    assert_eq!(wanted.matches(" 2x8 |").count(), wanted.matches(" 1x9 |").count());
    assert!(wanted.contains(" 2x8 |") && wanted.contains("| layer-norm ") && wanted.contains(" bf16 |"));
    let commas = ["--op", "rms-norm,layer-norm", "--dtype", "f16,bf16", "--shape", "2x8,1x9"];
    assert_eq!(table(&commas), wanted);
    let repeated = ["--op", "rms-norm", "--op", "layer-norm", "--dtype", "f16", "--dtype", "bf16"];
    assert_eq!(table(&[&repeated[..], &["--shape", "2x8", "--shape", "1x9"]].concat()), wanted);
}
