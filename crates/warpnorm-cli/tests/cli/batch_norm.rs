//! `--op batch-norm`: the statistics of a batch's columns, and what they make of the batch.

use crate::apply::{applied, apply, folder_with};
use crate::files::{TYPES, Tensor, named, values};
use crate::tool::warpnorm;
use safetensors::Dtype;
use serde_json::Value;

/// x of this shape, of different mean and deviation in every column, and γ and β of `parameters` type.
fn tensors(dtype: Dtype, parameters: Dtype, shape: &[usize]) -> Vec<Tensor> {
    let hidden = *shape.last().unwrap();
    let spread = values(1, shape.iter().product());
    let column = |at: usize| (at % hidden) as f64;
    let x: Vec<f64> =
        spread.iter().enumerate().map(|(at, v)| v * (1.0 + column(at) / 9.0) + column(at) - 3.0).collect();
    vec![
        Tensor::new("x", dtype, shape, &x),
        Tensor::new("weight", parameters, &[hidden], &values(3, hidden)),
        Tensor::new("bias", parameters, &[hidden], &values(4, hidden)),
    ]
}

/// Mean and 1/√(variance + eps) of every column.
fn statistics(x: &[f64], hidden: usize, eps: f64) -> (Vec<f64>, Vec<f64>) {
    let rows = (x.len() / hidden) as f64;
    (0..hidden)
        .map(|column| {
            let values = || x.iter().skip(column).step_by(hidden);
            let mean = values().sum::<f64>() / rows;
            let variance = values().map(|x| (x - mean).powi(2)).sum::<f64>() / rows;
            (mean, 1.0 / (variance + eps).sqrt())
        })
        .unzip()
}

#[track_caller]
fn assert_close(got: &[f64], wanted: &[f64], error: impl Fn(f64) -> f64) {
    assert_eq!(got.len(), wanted.len());
    for (at, (&got, &wanted)) in got.iter().zip(wanted).enumerate() {
        assert!((got - wanted).abs() <= error(wanted), "{at}: {got} for {wanted}");
    }
}

#[test]
fn apply_is_the_formula() {
    for dtype in TYPES {
        for (device, shape, eps) in
            [("emulated", &[5, 8, 13][..], None), ("cpu", &[33, 10], Some(0.5)), ("emulated", &[33, 10], Some(0.5))]
        {
            for with in [3, 2, 1] {
                let input = tensors(dtype, Dtype::F32, shape);
                let mut options = vec!["--op", "batch-norm", "--stats", "--device", device];
                if eps.is_some() {
                    options.extend(["--eps", "0.5"]);
                }
                // Bias, then weight as well, left out.
                let output = applied(&input[..with], &options);
                let names: Vec<&str> = output.iter().map(|tensor| tensor.name.as_str()).collect();
                assert_eq!(names, ["mean", "rstd", "y"]);
                let (y, mean, rstd) = (named(&output, "y"), named(&output, "mean"), named(&output, "rstd"));
                let hidden = *shape.last().unwrap();
                assert_eq!((y.dtype, &y.shape[..]), (dtype, shape));
                assert_eq!((mean.dtype, &mean.shape[..], &rstd.shape[..]), (Dtype::F32, &[hidden][..], &[hidden][..]));

                let x = input[0].values();
                let (means, rstds) = statistics(&x, hidden, eps.unwrap_or(1e-5));
                let largest = x.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
                assert_close(&mean.values(), &means, |_| 1e-6 * largest);
                assert_close(&rstd.values(), &rstds, |rstd| 1e-6 * rstd);
                let parameter = |name: &str, default: f64| {
                    let there = input[..with].iter().find(|tensor| tensor.name == name);
                    there.map_or(vec![default; hidden], Tensor::values)
                };
                let (weight, bias) = (parameter("weight", 1.0), parameter("bias", 0.0));
                let exact = x.iter().enumerate().map(|(at, x)| {
                    let column = at % hidden;
                    (x - means[column]) * rstds[column] * weight[column] + bias[column]
                });
                let exact: Vec<f64> = exact.collect();
                // Half an ULP of rounding, and what x·scale and shift cancel in f32.
                let (relative, cancelled) = match dtype {
                    Dtype::F32 => (1e-6, 1e-5),
                    Dtype::F16 => (2f64.powi(-11), 1e-5),
                    _ => (2f64.powi(-8), 1e-5),
                };
                assert_close(&y.values(), &exact, |y| relative * y.abs() + cancelled);
            }
        }
    }
}

#[test]
fn the_summary_says_what_ran_and_how_far_it_is_off() {
    let (folder, input) = folder_with(&tensors(Dtype::BF16, Dtype::F32, &[40, 24]));
    let output = folder.path().join("out.safetensors");
    let run = apply(&input, &output, &["--op", "batch-norm", "--emulate", "t4"]).passed();
    for words in [
        "batch_statistics_bf16: 16 columns a block, 2 blocks of 512 threads",
        "affine_bf16_registers",
        "40 rows of 24 columns, weight f32, bias f32",
        "batch-norm, eps 1e-5",
        "mean 0.",
        "correctly rounded",
        ": passed",
        "out.safetensors: y\n",
    ] {
        assert!(run.stdout.contains(words), "wanted {words:?} in {}", run.stdout);
    }
    let quiet = apply(&input, &output, &["--op", "batch-norm", "--quiet", "--device", "cpu"]).passed();
    assert_eq!(quiet.stdout, "");
}

#[test]
fn what_it_does_not_take_is_refused() {
    let all = tensors(Dtype::F16, Dtype::F32, &[6, 12]);
    let with = |more: Tensor| [&all[..], &[more]].concat();
    let other = |name: &str, shape: &[usize]| Tensor::new(name, Dtype::F16, shape, &values(7, shape.iter().product()));
    let refused = |tensors: &[Tensor], options: &[&str], words: &[&str]| {
        let (folder, input) = folder_with(tensors);
        let output = folder.path().join("out.safetensors");
        apply(&input, &output, &[&["--op", "batch-norm"], options].concat()).failed(2, words);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    };
    for name in ["residual", "gate", "second_x"] {
        let tensor = format!("`{name}`");
        refused(&with(other(name, &[6, 12])), &[], &[&tensor, "--op batch-norm does not use"]);
    }
    for options in [
        &["--heads", "2"][..],
        &["--groups", "2"],
        &["--quantise", "per-token"],
        &["--weight-offset", "1"],
        &["--weight-rounding", "single"],
        &["--activation", "relu"],
        &["--rope-dim", "4"],
    ] {
        refused(&all, options, &[options[0], "does not go with --op batch-norm"]);
    }
    refused(&all, &["--eps", "-1"], &["eps"]);
    refused(&[other("x", &[0, 12])], &[], &["no rows"]);
    refused(&[other("x", &[6, 12]), other("weight", &[11])], &[], &["`weight`", "[11]", "[12]"]);
    refused(&[&all[..2], &[other("bias", &[12])]].concat(), &[], &["bias", "f16"]);
    for command in ["parity", "profile"] {
        warpnorm([command, "--op", "batch-norm", "--heads", "2"]).failed(2, &["--heads does not go with"]);
        warpnorm([command, "--op", "batch-norm", "--dtype", "f16", "--quantise", "per-token"])
            .failed(2, &["--quantise does not go with"]);
    }
    warpnorm(["parity", "--op", "batch-norm", "--shape", "0x12"]).failed(2, &["no rows"]);
}

fn report(arguments: &[&str]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    warpnorm([&[arguments[0], "--json", report.to_str().unwrap()], &arguments[1..]].concat()).passed();
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    report["cells"].as_array().unwrap().clone()
}

#[test]
fn parity_of_generated_data_and_of_a_file() {
    let grid = ["parity", "--op", "batch-norm", "--values", "unit,large-mean,nans,extremes", "--device", "emulated"];
    let cells = report(&grid);
    assert_eq!(cells.len(), 3 * 2 * 4);
    for cell in &cells {
        assert_eq!((&cell["op"], &cell["scope"], &cell["eps"]), (&"batch-norm".into(), &"column".into(), &1e-5.into()));
        let kernel = format!("batch_statistics_{}", cell["dtype"].as_str().unwrap());
        assert_eq!((&cell["statistics_plan"]["kernel"], &cell["weight_dtype"]), (&kernel.into(), &cell["dtype"]));
        assert!(cell["plan"]["kernel"].as_str().unwrap().starts_with("affine"));
        let [mean, rstd] = ["mean_max_ulp", "rstd_max_ulp"].map(|field| cell["verdict"][field].as_f64().unwrap());
        assert!(mean <= 4.0 && rstd <= 4.0 && cell["verdict"]["passed"] == true, "{cell}");
        let elements = cell["rows"].as_u64().unwrap() * cell["hidden"].as_u64().unwrap();
        assert_eq!(cell["verdict"]["elements"], elements);
    }
    let (_folder, input) = folder_with(&tensors(Dtype::F16, Dtype::F32, &[6, 12]));
    let cells = report(&[
        "parity",
        "--op",
        "batch-norm,layer-norm",
        "--input",
        input.to_str().unwrap(),
        "--eps",
        "0.25",
        "--device",
        "cpu",
    ]);
    let ops: Vec<&Value> = cells.iter().map(|cell| &cell["op"]).collect();
    assert_eq!(ops, ["layer-norm", "batch-norm"]);
    assert_eq!((&cells[1]["eps"], &cells[1]["rows"]), (&0.25.into(), &6.into()));
    assert!(cells[1]["statistics_plan"].is_null() && cells[0]["statistics_plan"].is_null());
}

#[test]
fn profile_counted_by_hand_and_held_to_a_baseline() {
    let arguments = ["profile", "--op", "batch-norm", "--shape", "512x64"];
    let cells = report(&arguments);
    let dtypes: Vec<&str> = cells.iter().map(|cell| cell["dtype"].as_str().unwrap()).collect();
    assert_eq!(dtypes, ["f32", "f16", "bf16"]);
    for (cell, size) in cells.iter().zip([4, 2, 2]) {
        // x, γ and β once; four results of f32 for each column.
        assert_eq!(cell["loads"]["floor_bytes"], (512 * 64 + 2 * 64) * size);
        assert_eq!(cell["stores"]["floor_bytes"], 4 * 64 * 4);
        for direction in ["loads", "stores"] {
            assert_eq!(cell[direction]["distinct_bytes"], cell[direction]["floor_bytes"], "{cell}");
            assert_eq!(cell[direction]["sectors"], cell[direction]["ideal_sectors"], "{cell}");
        }
        // A block takes a sector of every row.
        assert_eq!((&cell["grid"], &cell["block"]), (&(64 * size / 32).into(), &512.into()));
        assert!(cell["instructions_per_element"].as_f64().unwrap() < 100.0, "{cell}");
    }

    let folder = tempfile::tempdir().unwrap();
    let baseline = folder.path().join("baseline.json");
    let path = baseline.to_str().unwrap();
    warpnorm([&arguments[..], &["--json", path]].concat()).passed();
    let same = warpnorm([&arguments[..], &["--baseline", path]].concat()).passed();
    assert!(same.stdout.contains("3 cells compared") && same.stdout.contains("0 costs are worse"), "{}", same.stdout);
    // A cell of a type that is asked for and that the profile has not is missed, no other is.
    let text = std::fs::read_to_string(&baseline).unwrap();
    std::fs::write(&baseline, text.replace("\"rows\":512", "\"rows\":513")).unwrap();
    let compare = |more: &[&str]| warpnorm([&["profile", "--baseline", path, "--dtype", "f16"], more].concat());
    let missed = compare(&["--op", "batch-norm"]);
    assert_eq!(missed.code, Some(1));
    assert_eq!(missed.stdout.matches("not in this profile").count(), 1, "{}", missed.stdout);
    compare(&["--op", "affine", "--shape", "2x64"]).passed();
}
