//! `parity` and `profile` of every op.

use crate::files::{Tensor, values, write};
use crate::tool::warpnorm;
use safetensors::Dtype;
use serde_json::Value;

const OPS: [&str; 25] = [
    "layer-norm",
    "rms-norm",
    "add-layer-norm",
    "add-rms-norm",
    "l2-norm",
    "add-l2-norm",
    "layer-norm-add",
    "rms-norm-add",
    "l2-norm-add",
    "rms-norm-add-rms-norm",
    "l2-norm-add-l2-norm",
    "interpolate-l2-norm",
    "interpolate-rms-norm",
    "head-layer-norm",
    "head-rms-norm",
    "head-l2-norm",
    "group-layer-norm",
    "group-rms-norm",
    "gated-rms-norm",
    "gated-group-rms-norm",
    "gated-input-rms-norm",
    "gated-input-group-rms-norm",
    "activation",
    "affine",
    "batch-norm",
];

fn report(command: &str, arguments: &[&str]) -> (String, Vec<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let run = warpnorm([&[command, "--json", report.to_str().unwrap()], arguments].concat()).passed();
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    (run.stdout, report["cells"].as_array().unwrap().clone())
}

#[test]
fn parity_of_all_is_one_case_of_every_op_and_type() {
    let (table, cells) = report("parity", &["--op", "all", "--device", "emulated"]);
    let wanted: Vec<(&str, &str)> =
        OPS.iter().flat_map(|&op| ["f32", "f16", "bf16"].map(|dtype| (op, dtype))).collect();
    let got: Vec<(&str, &str)> =
        cells.iter().map(|cell| (cell["op"].as_str().unwrap(), cell["dtype"].as_str().unwrap())).collect();
    assert_eq!(got, wanted);
    assert!(table.contains("all 75 cells passed"), "{table}");
    for cell in &cells {
        let op = cell["op"].as_str().unwrap();
        let null = |field: &str| cell.get(field).unwrap_or_else(|| panic!("{op} has no {field}")).is_null();
        // What an op has not is there, as null.
        assert_eq!(null("residual_rounding"), !op.starts_with("add-"), "{op}");
        assert_eq!(null("residual_scale"), !op.starts_with("add-"), "{op}");
        let adds_after = op.contains("norm-add");
        assert_eq!((null("post_rounding"), null("post_scale")), (!adds_after, !adds_after), "{op}");
        assert_eq!(null("inner_weight_dtype"), !op.contains("norm-add-"), "{op}");
        let interpolates = op.starts_with("interpolate-");
        assert_eq!((null("rate_scale"), null("rate_dtype")), (!interpolates, !interpolates), "{op}");
        let gated = op.contains("gated") || op == "activation";
        assert_eq!((null("activation"), null("gate_dtype")), (!gated, !gated), "{op}");
        assert!(
            null("activation_parameter") && null("rope") && null("second_parts") && null("positions_dtype"),
            "{op}"
        );
        assert!(null("linear_bias_dtype") && null("tables_dtype") && null("quantisation"), "{op}");
        assert_eq!(null("eps"), ["activation", "affine"].contains(&op), "{op}");
        let scope = ["head", "group"].into_iter().find(|scope| op.contains(scope));
        let whole = if op == "batch-norm" { "column" } else { "row" };
        assert_eq!(cell["scope"], scope.unwrap_or(whole), "{op}");
        assert_eq!(null("statistics_plan"), op != "batch-norm", "{op}");
        assert_eq!(cell["parts"] == 1, scope.is_none(), "{op}");
        let elements = ["rows", "parts", "hidden"].iter().map(|field| cell[field].as_u64().unwrap()).product::<u64>();
        assert!(cell["verdict"]["elements"].as_u64().unwrap() >= elements, "{op}");
    }
}

#[test]
fn parity_of_an_op_has_its_options_one_by_one() {
    let of = |op: &str, shape: &str| {
        report("parity", &["--op", op, "--dtype", "f16", "--shape", shape, "--heads", "5", "--device", "emulated"]).1
    };
    let cells = of("head-rms-norm", "2x128");
    assert_eq!(cells.len(), 4);
    let rotations: Vec<&Value> = cells.iter().map(|cell| &cell["rope"]).collect();
    assert!(rotations[0].is_null());
    assert_eq!(*rotations[1], serde_json::json!({ "dim": 128, "pairs": "half-split", "rounding": "single" }));
    assert_eq!(*rotations[2], serde_json::json!({ "dim": 64, "pairs": "half-split", "rounding": "each" }));
    assert_eq!(*rotations[3], serde_json::json!({ "dim": 32, "pairs": "interleaved", "rounding": "single" }));
    assert_eq!(cells.iter().map(|cell| &cell["parts"]).collect::<Vec<_>>(), [5; 4]);
    // Two heads of keys beside five of queries; both are compared.
    assert_eq!((&cells[1]["second_parts"], &cells[1]["tables_dtype"]), (&2.into(), &"f32".into()));
    assert_eq!(cells[1]["verdict"]["elements"], 2 * (5 + 2) * 128);
    assert_eq!((&cells[2]["positions_dtype"], &cells[1]["positions_dtype"]), (&"i32".into(), &Value::Null));
    // Heads smaller than a rotation go without it, and so do those that are larger than any rotated one.
    assert_eq!(of("head-rms-norm", "2x16").len(), 1);
    assert_eq!(of("head-rms-norm", "2x600").len(), 1);
    // Any norm of x alone has heads.
    let cells = of("l2-norm", "2x16");
    assert!(cells.iter().all(|cell| cell["op"] == "head-l2-norm" && cell["parts"] == 5));
    warpnorm(["parity", "--op", "add-rms-norm", "--heads", "2"]).failed(2, &["--heads goes with", "head-rms-norm"]);
    warpnorm(["parity", "--op", "rms-norm", "--heads", "0"]).failed(2, &["0 times", "at least 1"]);
    let much = ["parity", "--op", "rms-norm", "--heads", "99999", "--shape", "999x4096"];
    warpnorm(much).failed(2, &["99999 times 4096", "at most"]);
}

#[test]
fn parity_of_a_preset() {
    let (table, cells) = report("parity", &["--preset", "gemma", "--shape", "2x64", "--device", "cpu"]);
    assert!(table.contains("weight + 1") && cells.iter().all(|cell| cell["op"] == "add-rms-norm"), "{table}");
    // All types, though roundings do nothing to f32; two sizes of heads are smaller than the rotation.
    let (_, cells) = report("parity", &["--preset", "qwen3-heads:128", "--device", "emulated"]);
    let dtypes: Vec<&Value> = cells.iter().map(|cell| &cell["dtype"]).collect();
    assert_eq!(dtypes, ["f32", "f16", "bf16"]);
    assert_eq!(
        (&cells[0]["rope"]["rounding"], &cells[0]["weight_rounding"]),
        (&"each".into(), &"before-weight".into())
    );
    warpnorm(["parity", "--preset", "gemma", "--op", "rms-norm"]).failed(2, &["--preset", "--op"]);
}

#[test]
fn parity_of_files_takes_the_ops_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.safetensors");
    let tensor = |name: &str, shape: &[usize]| Tensor::new(name, Dtype::F16, shape, &values(1, shape.iter().product()));
    write(&input, &[tensor("q.x", &[3, 32]), tensor("q.gate", &[3, 32]), tensor("q.weight", &[32])]);
    let input = ["--input", input.to_str().unwrap(), "--device", "emulated"];
    let options = ["--op", "gated-rms-norm,gated-input-rms-norm,activation"];
    let (_, cells) = report("parity", &[&input[..], &options].concat());
    let ops: Vec<&Value> = cells.iter().map(|cell| &cell["op"]).collect();
    assert_eq!(ops, ["gated-rms-norm", "gated-input-rms-norm", "activation"]);
    let groups = ["--op", "rms-norm", "--groups", "4", "--gate-activation", "swish:2"];
    let (_, cells) = report("parity", &[&input[..], &groups].concat());
    assert_eq!((&cells[0]["op"], &cells[0]["hidden"]), (&"gated-group-rms-norm".into(), &8.into()));
    assert_eq!((&cells[0]["activation"], &cells[0]["activation_parameter"]), (&"swish".into(), &2.0.into()));
    warpnorm([&["parity"], &input[..]].concat()).failed(2, &["`q.gate`", "--op layer-norm", "--gate-activation"]);
    warpnorm([&["parity", "--op", "all"], &input[..]].concat()).failed(2, &["--op all", "--input"]);
}

#[test]
fn profile_of_all_is_one_launch_of_every_op() {
    // Small heads and rows: the executor is slow, and the grid's own test has the shapes of the grid.
    let (table, cells) = report("profile", &["--op", "all", "--dtype", "f16", "--shape", "2x256"]);
    assert_eq!(cells.iter().map(|cell| cell["op"].as_str().unwrap()).collect::<Vec<_>>(), OPS);
    for cell in &cells {
        for direction in ["loads", "stores"] {
            assert_eq!(cell[direction]["distinct_bytes"], cell[direction]["floor_bytes"], "{cell}");
        }
    }
    assert!(table.contains("2x32x256") && table.contains("weight, inner_weight"), "{table}");
}

#[test]
fn profile_of_heads_counted_by_hand() {
    let arguments = ["--op", "head-rms-norm", "--shape", "4x128", "--heads", "8", "--dtype", "f16"];
    let (_, cells) = report("profile", &arguments);
    let rotated = cells.iter().find(|cell| cell["options"] == "rotated 128 half-split").unwrap();
    assert_eq!((&rotated["parts"], &rotated["tensors"]), (&8.into(), &serde_json::json!(["second_x", "cos"])));
    // Eight heads of queries and two of keys, a weight for each of the two, and f32 tables of a row's 64 pairs.
    let heads = 4 * 10 * 128 * 2;
    assert_eq!(rotated["loads"]["floor_bytes"], heads + 2 * 128 * 2 + 2 * 4 * 64 * 4);
    assert_eq!(rotated["stores"]["floor_bytes"], heads);
    assert_eq!(rotated["loads"]["distinct_bytes"], rotated["loads"]["floor_bytes"]);
}

/// Profiles of before there were heads have no parts and no other tensors.
#[test]
fn old_baselines_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baseline.json");
    let arguments = ["--op", "rms-norm", "--dtype", "f16", "--shape", "2x64"];
    let file = ["--json", path.to_str().unwrap()];
    warpnorm([&["profile"], &arguments[..], &file].concat()).passed();
    let mut report: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for cell in report["cells"].as_array_mut().unwrap() {
        let cell = cell.as_object_mut().unwrap();
        assert!(cell.remove("parts").is_some() && cell.remove("tensors").is_some());
    }
    std::fs::write(&path, report.to_string()).unwrap();
    let compared = warpnorm([&["profile"], &arguments[..], &["--baseline", path.to_str().unwrap()]].concat()).passed();
    assert!(compared.stdout.contains("0 costs are worse, 0 are better"), "{}", compared.stdout);
}
