//! The driver of other libraries, `benches/peers`: its reports are those that `report` reads.

use crate::tool::warpnorm;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn peers() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../benches/peers")
}

/// Runs Python, which CI has; none where the machine has not.
fn python(arguments: &[&Path]) -> Option<Output> {
    let mut command = Command::new("python3");
    // No library but Python's own: as on a machine that has none of the peers.
    command.args(["-I", "-S", "-B"]).args(arguments).env_remove("WARPNORM_LIBRARY");
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("skipped: python3 cannot be run: {error}");
            None
        }
    }
}

#[test]
fn without_any_peer_there_is_a_report_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("peers.json");
    let (peers, json, none) = (peers(), Path::new("--json"), Path::new("/missing/libwarpnorm.so"));
    let Some(output) = python(&[&peers, json, &report, Path::new("--library"), none]) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    assert_eq!((&found["timing"], &found["device"]["kind"]), (&Value::from(false), &Value::from("none")));
    let missing = found["missing"].as_array().unwrap();
    let names: Vec<&str> = missing.iter().map(|one| one["baseline"].as_str().unwrap()).collect();
    for name in ["torch-eager", "torch-compile", "liger", "fla", "flashinfer", "quack", "warpnorm"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let text = warpnorm([Path::new("report"), &report]).passed().stdout;
    assert!(text.contains("not a timing") && text.contains("torch"), "{text}");
}

/// Whatever follows from times is worked out on either side, and compared when a report is read.
#[test]
fn reports_of_times_are_read_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("peers.json");
    let Some(output) = python(&[&peers().join("tests/made_up.py"), &report]) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let plots = folder.path().join("plots");
    warpnorm([Path::new("report"), &report, Path::new("--plots"), &plots]).passed();
    let text = warpnorm([Path::new("report"), &report]).passed().stdout;
    assert!(text.starts_with("# A made-up GPU: warpnorm beside other libraries\n"), "{text}");
    // 2 + 8192·4096/10⁶ µs; quartiles at 0.95 and 1.1 of the median; another library takes three times as long.
    let line = text.lines().find(|line| line.starts_with("| add-rms-norm (stored) | bf16 | 8192x4096 |")).unwrap();
    assert!(line.contains("| 35.55 | 15.0 | 7550 |") && line.contains("| 3.00 | - |"), "{line}");
    for name in ["peers-bandwidth-bf16-8192.svg", "peers-over-slow-bf16-1.svg", "peers-over-other-bf16-8192.svg"] {
        let drawn = fs::read_to_string(plots.join(name)).unwrap();
        roxmltree::Document::parse(&drawn).unwrap();
    }
}

/// Names, tensors and byte floors of the same op are the same in both reports, so that they can be laid side by side.
#[test]
fn cells_are_those_of_the_tool() {
    let folder = tempfile::tempdir().unwrap();
    let (theirs, ours) = (folder.path().join("peers.json"), folder.path().join("bench.json"));
    let Some(output) = python(&[&peers().join("tests/made_up.py"), &theirs]) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let arguments = "bench --device emulated --dtype bf16 --rows 1 --hidden 64,4096 \
                     --op layer-norm,rms-norm,add-layer-norm,add-rms-norm,gated-rms-norm --json";
    warpnorm(arguments.split_whitespace().map(Path::new).chain([ours.as_path()])).passed();
    let cells = |path: &Path| {
        let report: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        report["cells"].as_array().unwrap().clone()
    };
    let (theirs, ours) = (cells(&theirs), cells(&ours));
    let here: Vec<&Value> = theirs.iter().filter(|cell| cell["rows"] == 1).collect();
    assert_eq!(here.len(), 10);
    for cell in here {
        let fields = ["op", "options", "dtype", "rows", "parts", "hidden", "tensors", "floor_bytes"];
        let same = |one: &&Value| fields.iter().all(|field| one[field] == cell[field]);
        assert!(ours.iter().any(|one| same(&one)), "{cell}");
    }
}
