//! `apply`: right results under the right names, in files that are whole.

use crate::files::{TYPES, Tensor, named, read, round, values, write};
use crate::model::Model;
use crate::tool::{Run, fixture, warpnorm};
use safetensors::Dtype;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub fn apply(input: &Path, output: &Path, more: &[&str]) -> Run {
    let files = [OsStr::new("apply"), "--input".as_ref(), input.as_os_str(), "--output".as_ref(), output.as_os_str()];
    warpnorm(files.into_iter().chain(more.iter().map(OsStr::new)))
}

/// Applies a norm to tensors and returns those of the output.
pub fn applied(tensors: &[Tensor], more: &[&str]) -> Vec<Tensor> {
    let (folder, input) = folder_with(tensors);
    let output = folder.path().join("out.safetensors");
    apply(&input, &output, more).passed();
    read(&output)
}

pub fn folder_with(tensors: &[Tensor]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.safetensors");
    write(&input, tensors);
    (folder, input)
}

/// x, residual, weight and bias for `rows` rows of `hidden`, the parameters of `parameters` type.
fn tensors(dtype: Dtype, parameters: Dtype, shape: &[usize]) -> Vec<Tensor> {
    let hidden = *shape.last().unwrap();
    let count = shape.iter().product();
    vec![
        Tensor::new("x", dtype, shape, &values(1, count)),
        Tensor::new("residual", dtype, shape, &values(2, count)),
        Tensor::new("weight", parameters, &[hidden], &values(3, hidden)),
        Tensor::new("bias", parameters, &[hidden], &values(4, hidden)),
    ]
}

/// The model's rows for these tensors, as far as they are there.
fn expected(model: &Model<'_>, tensors: &[Tensor]) -> Vec<crate::model::Row> {
    let find = |name: &str| tensors.iter().find(|tensor| tensor.name == name).map(Tensor::values);
    let (x, residual, weight, bias) = (find("x").unwrap(), find("residual"), find("weight"), find("bias"));
    let hidden = *named(tensors, "x").shape.last().unwrap();
    let row = |index: usize| {
        let range = index * hidden..(index + 1) * hidden;
        let residual = residual.as_ref().map(|values| &values[range.clone()]);
        model.row(&x[range.clone()], residual, weight.as_deref(), bias.as_deref())
    };
    (0..x.len() / hidden).map(row).collect()
}

/// Twice the half ULP of correct rounding, relative; and a little for what f32 arithmetic loses.
fn tolerance(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F32 => 1e-6,
        Dtype::F16 => 2f64.powi(-10),
        _ => 2f64.powi(-7),
    }
}

#[track_caller]
pub fn assert_close(got: &[f64], wanted: &[f64], relative: f64) {
    assert_eq!(got.len(), wanted.len());
    for (index, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        // Values are of order 1; the absolute term is for those that cancel.
        assert!((got - wanted).abs() <= relative * wanted.abs() + 1e-6, "{index}: {got}, wanted {wanted}");
    }
}

/// But for the device, which the machine decides, and the path of the output.
#[test]
fn readme_shows_what_its_first_command_prints() {
    let readme = include_str!("../../../../README.md");
    let (_, printed) = readme.split_once("The first prints, on a machine without a GPU:\n\n```text\n").unwrap();
    let (printed, _) = printed.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("normalised.safetensors");
    let options = ["--op", "layer-norm", "--eps", "1e-12", "--device", "emulated"];
    let run = apply(&fixture("minilm-output-norm.safetensors"), &output, &options).passed();
    let compared = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with("device") && !line.starts_with("written"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(compared(printed), compared(&run.stdout));
    assert_eq!(printed.lines().count(), 6);
}

#[test]
fn the_output_norm_of_a_real_model() {
    let expected = read(&fixture("minilm-layer-norms.safetensors"));
    let norm = "12.encoder.layer.5.output.LayerNorm";
    let of = |field: &str| named(&expected, &format!("{norm}.{field}"));
    let sum: Vec<f64> =
        of("x").values().iter().zip(of("residual").values()).map(|(x, r)| round(Dtype::F32, x + r)).collect();
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.safetensors");
    for device in ["emulated", "cpu"] {
        let options = ["--op", "layer-norm", "--eps", "1e-12", "--residual-rounding", "wide", "--device", device];
        let run = apply(&fixture("minilm-output-norm.safetensors"), &output, &options).passed();
        assert!(run.stdout.contains("passed"), "{}", run.stdout);

        let got = read(&output);
        assert_eq!(got.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>(), ["residual", "y"]);
        let y = named(&got, "y");
        assert_eq!((y.dtype, y.shape.as_slice()), (Dtype::F32, &[21, 384][..]));
        for (index, (got, wanted)) in y.values().iter().zip(of("y").values()).enumerate() {
            assert!((got - wanted).abs() <= 5e-6, "{device}, {index}: {got}, wanted {wanted}");
        }
        assert_eq!(named(&got, "residual").values(), sum, "{device}");
    }
}

#[test]
fn every_type_and_op_comes_back_right() {
    for dtype in TYPES {
        for parameters in [dtype, Dtype::F32] {
            for layer_norm in [true, false] {
                let tensors = tensors(dtype, parameters, &[2, 3, 40]);
                let op = if layer_norm { "layer-norm" } else { "rms-norm" };
                let got = applied(&tensors, &["--op", op, "--stats", "--device", "emulated"]);
                let model = Model {
                    layer_norm,
                    eps: f64::from(if layer_norm { 1e-5f32 } else { 1e-6f32 }),
                    dtype,
                    residual_scale: 1.0,
                    residual_rounding: "stored",
                    before_weight: false,
                    weight_offset: 0.0,
                };
                let rows = expected(&model, &tensors);

                let y = named(&got, "y");
                assert_eq!((y.dtype, y.shape.as_slice()), (dtype, &[2, 3, 40][..]));
                let wanted: Vec<f64> = rows.iter().flat_map(|row| row.y.clone()).collect();
                assert_close(&y.values(), &wanted, tolerance(dtype));
                let residual = named(&got, "residual");
                assert_eq!((residual.dtype, residual.shape.as_slice()), (dtype, &[2, 3, 40][..]));
                assert_eq!(residual.values(), rows.iter().flat_map(|row| row.residual.clone()).collect::<Vec<_>>());

                let rstd = named(&got, "rstd");
                assert_eq!((rstd.dtype, rstd.shape.as_slice()), (Dtype::F32, &[2, 3][..]));
                assert_close(&rstd.values(), &rows.iter().map(|row| row.rstd).collect::<Vec<_>>(), 1e-6);
                if layer_norm {
                    let mean = named(&got, "mean");
                    assert_eq!((mean.dtype, mean.shape.as_slice()), (Dtype::F32, &[2, 3][..]));
                    assert_close(&mean.values(), &rows.iter().map(|row| row.mean).collect::<Vec<_>>(), 1e-6);
                }
                assert_eq!(got.len(), if layer_norm { 4 } else { 3 });
            }
        }
    }
}

#[test]
fn tensors_may_be_absent() {
    let all = tensors(Dtype::F32, Dtype::F32, &[4, 17]);
    for absent in [&["residual", "weight", "bias"][..], &["residual", "bias"], &["residual", "weight"], &["weight"]] {
        let some: Vec<Tensor> = all.iter().filter(|tensor| !absent.contains(&tensor.name.as_str())).cloned().collect();
        let model = Model {
            layer_norm: true,
            eps: 0.5,
            dtype: Dtype::F32,
            residual_scale: 1.0,
            residual_rounding: "stored",
            before_weight: false,
            weight_offset: 0.0,
        };
        let wanted: Vec<f64> = expected(&model, &some).into_iter().flat_map(|row| row.y).collect();
        let got = applied(&some, &["--op", "layer-norm", "--eps", "0.5"]);
        assert_close(&named(&got, "y").values(), &wanted, 1e-6);
        assert_eq!(got.iter().any(|tensor| tensor.name == "residual"), !absent.contains(&"residual"));
    }
}

#[test]
fn every_option_reaches_the_norm() {
    let mut all = tensors(Dtype::BF16, Dtype::F32, &[3, 64]);
    all.retain(|tensor| tensor.name != "bias");
    let default = Model {
        layer_norm: false,
        eps: f64::from(1e-6f32),
        dtype: Dtype::BF16,
        residual_scale: 1.0,
        residual_rounding: "stored",
        before_weight: false,
        weight_offset: 0.0,
    };
    let cases: [(&[&str], Model<'_>); 7] = [
        (&[], default),
        (&["--eps", "3"], Model { eps: 3.0, ..default }),
        (&["--weight-offset", "-0.75"], Model { weight_offset: -0.75, ..default }),
        (&["--residual-scale", "-2.5"], Model { residual_scale: -2.5, ..default }),
        (&["--weight-rounding", "before-weight"], Model { before_weight: true, ..default }),
        (&["--residual-rounding", "wide"], Model { residual_rounding: "wide", ..default }),
        (&["--residual-rounding", "split"], Model { residual_rounding: "split", ..default }),
    ];
    let mut seen = Vec::new();
    for (options, model) in cases {
        // The CPU rounds correctly, so each option shows in the very bits of y.
        let got = applied(&all, &[&["--op", "rms-norm", "--device", "cpu"], options].concat());
        let rows = expected(&model, &all);
        let y = named(&got, "y").values();
        let wanted: Vec<f64> = rows.iter().flat_map(|row| &row.y).map(|&y| round(Dtype::BF16, y)).collect();
        assert_eq!(y, wanted, "{options:?}");
        assert!(!seen.contains(&y), "{options:?} changes nothing");
        seen.push(y);
        let emulated = applied(&all, &[&["--op", "rms-norm", "--device", "emulated"], options].concat());
        assert_close(&named(&emulated, "y").values(), &wanted, tolerance(Dtype::BF16));
    }
}

#[test]
fn one_row_needs_no_leading_dimension() {
    let x = Tensor::new("x", Dtype::F32, &[9], &values(5, 9));
    let got = applied(&[x], &["--op", "layer-norm", "--stats"]);
    assert_eq!(named(&got, "y").shape, [9]);
    for name in ["mean", "rstd"] {
        let statistic = named(&got, name);
        assert_eq!((statistic.shape.as_slice(), statistic.bytes.len()), (&[][..], 4), "{name}");
    }
}

#[test]
fn no_rows_are_no_work() {
    for device in ["emulated", "cpu"] {
        let tensors = tensors(Dtype::F16, Dtype::F16, &[0, 3, 5]);
        let got = applied(&tensors, &["--op", "rms-norm", "--stats", "--device", device]);
        for (name, shape) in [("y", &[0, 3, 5][..]), ("residual", &[0, 3, 5]), ("rstd", &[0, 3])] {
            let tensor = named(&got, name);
            assert_eq!((tensor.shape.as_slice(), tensor.bytes.len()), (shape, 0), "{name} on {device}");
        }
    }
}

#[test]
fn the_output_may_be_the_input() {
    let tensors = tensors(Dtype::F16, Dtype::F16, &[4, 33]);
    let (folder, input) = folder_with(&tensors);
    let apart = folder.path().join("out.safetensors");
    apply(&input, &apart, &["--op", "rms-norm"]).passed();
    apply(&input, &input, &["--op", "rms-norm"]).passed();
    assert_eq!(std::fs::read(&input).unwrap(), std::fs::read(&apart).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn the_same_input_gives_the_same_file() {
    let (folder, input) = folder_with(&tensors(Dtype::BF16, Dtype::F32, &[4, 33]));
    let outputs = ["a", "b"].map(|name| folder.path().join(name));
    for output in &outputs {
        apply(&input, output, &["--op", "layer-norm", "--stats"]).passed();
    }
    assert_eq!(std::fs::read(&outputs[0]).unwrap(), std::fs::read(&outputs[1]).unwrap());
}

#[cfg(unix)]
#[test]
fn links_and_permissions_stay() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, input) = folder_with(&tensors(Dtype::F32, Dtype::F32, &[1, 4]));
    let file = folder.path().join("out.safetensors");
    let link = folder.path().join("link.safetensors");
    std::fs::write(&file, b"of old").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    apply(&input, &link, &["--op", "rms-norm"]).passed();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(named(&read(&file), "y").shape, [1, 4]);

    // A new file is as open as the input, which the test made the ordinary way.
    let new = folder.path().join("new.safetensors");
    apply(&input, &new, &["--op", "rms-norm"]).passed();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&new), mode(&input));
}

#[test]
fn the_file_says_what_made_it() {
    let (folder, input) = folder_with(&tensors(Dtype::F32, Dtype::F32, &[1, 4]));
    let output = folder.path().join("out.safetensors");
    apply(&input, &output, &["--op", "rms-norm", "--eps", "0.25"]).passed();
    let bytes = std::fs::read(&output).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let made_by = &header.metadata().as_ref().unwrap()["warpnorm"];
    for fact in [env!("CARGO_PKG_VERSION"), "add-rms-norm", "eps 2.5e-1"] {
        assert!(made_by.contains(fact), "{fact} in {made_by}");
    }
    let (_folder, input) = folder_with(&[Tensor::new("x", Dtype::F32, &[1, 4], &values(1, 4))]);
    apply(&input, &output, &["--op", "l2-norm", "--heads", "2"]).passed();
    let bytes = std::fs::read(&output).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let made_by = &header.metadata().as_ref().unwrap()["warpnorm"];
    assert!(made_by.contains("head-l2-norm of 2 heads"), "{made_by}");
}

#[test]
fn the_summary_says_what_ran_and_how_far_off_it_is() {
    let mut tensors = tensors(Dtype::F16, Dtype::F32, &[5, 100]);
    tensors.push(Tensor::new("gamma\u{1b}[2J", Dtype::F32, &[1], &[0.0]));
    let (folder, input) = folder_with(&tensors);
    let output = folder.path().join("out.safetensors");
    let summary = apply(&input, &output, &["--op", "rms-norm", "--emulate", "t4", "--stats"]).passed().stdout;
    for fact in [
        "emulated NVIDIA T4",
        "add_rms_norm_f16_registers",
        "[5, 100] f16",
        "5 rows of 100",
        "weight f32",
        "add-rms-norm, eps 1e-6",
        "residual rounding stored",
        "gamma",
        "correctly rounded",
        "relative L2",
        ": passed",
        "y, residual, rstd",
    ] {
        assert!(summary.contains(fact), "{fact} in {summary}");
    }
    assert!(!summary.contains('\u{1b}'), "{summary}");
    let quiet = apply(&input, &output, &["--op", "rms-norm", "--quiet"]).passed();
    assert_eq!(quiet.stdout, "");
}

#[test]
fn on_every_emulated_gpu_the_bits_are_the_same() {
    let (folder, input) = folder_with(&tensors(Dtype::F32, Dtype::F32, &[3, 5000]));
    let files: Vec<Vec<u8>> = ["t4", "a100", "l4", "h200", "b200"]
        .iter()
        .map(|gpu| {
            let output = folder.path().join(gpu);
            apply(&input, &output, &["--op", "layer-norm", "--emulate", gpu, "--stats", "--quiet"]).passed();
            std::fs::read(output).unwrap()
        })
        .collect();
    assert!(files.iter().all(|file| file == &files[0]));
}
