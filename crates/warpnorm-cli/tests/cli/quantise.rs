//! Quantised outputs: what is asked for arrives, is named rightly in files and reports, or is refused.

use crate::files::{Tensor, named, read, values, write};
use crate::tool::{Run, warpnorm};
use half::f16;
use safetensors::Dtype;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn folder_with(dtype: Dtype, shape: &[usize]) -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let [input, output] = ["in.safetensors", "out.safetensors"].map(|name| folder.path().join(name));
    write(&input, &[Tensor::new("x", dtype, shape, &values(1, shape.iter().product()))]);
    (folder, input, output)
}

fn apply(input: &Path, output: &Path, more: &[&str]) -> Run {
    let files = [OsStr::new("--input"), input.as_os_str(), "--output".as_ref(), output.as_os_str()];
    let op = ["apply", "--op", "rms-norm"].map(OsStr::new);
    warpnorm(op.into_iter().chain(files).chain(more.iter().map(OsStr::new)))
}

/// Options, the type and the bytes of a row of codes, the type and the shape of the scales.
type Expected = (&'static [&'static str], Dtype, usize, Option<(Dtype, Vec<usize>)>);

/// Types and shapes of codes and scales, as files for servers have them.
#[test]
fn codes_and_scales_have_the_types_and_shapes_of_the_format() {
    let (_folder, input, output) = folder_with(Dtype::F16, &[2, 3, 256]);
    let rows = |last| vec![2usize, 3, last];
    let all: [Expected; 10] = [
        (&["per-tensor", "--tensor-scale", "0.01"], Dtype::F8_E4M3, 256, None),
        (&["per-tensor-wide", "--tensor-scale", "0.01"], Dtype::F8_E4M3, 256, None),
        (&["per-token"], Dtype::F8_E4M3, 256, Some((Dtype::F32, rows(1)))),
        (&["per-token", "--code", "int8"], Dtype::I8, 256, Some((Dtype::F32, rows(1)))),
        (&["per-group", "--code", "e5m2", "--power-of-two"], Dtype::F8_E5M2, 256, Some((Dtype::F32, rows(2)))),
        (
            &["per-group", "--group", "64", "--scale-layout", "column-major", "--scale-alignment", "4"],
            Dtype::F8_E4M3,
            256,
            Some((Dtype::F32, vec![4, 8])),
        ),
        (&["mxfp8", "--block-rounding", "floor"], Dtype::F8_E4M3, 256, Some((Dtype::F8_E8M0, rows(8)))),
        (&["mxfp8", "--scale-layout", "tiled"], Dtype::F8_E4M3, 256, Some((Dtype::F8_E8M0, vec![1, 2, 32, 4, 4]))),
        (&["nvfp4", "--tensor-scale", "700"], Dtype::U8, 128, Some((Dtype::F8_E4M3, rows(16)))),
        (&["per-token", "--upper-bound", "0.5"], Dtype::F8_E4M3, 256, Some((Dtype::F32, rows(1)))),
    ];
    for (options, code, bytes, scales) in all {
        let summary = apply(&input, &output, &[&["--device", "emulated", "--quantise"], options].concat()).passed();
        assert!(summary.stdout.contains("0 mismatching bytes of codes and scales: passed"), "{}", summary.stdout);
        let got = read(&output);
        let codes = named(&got, "codes");
        assert_eq!((codes.dtype, &codes.shape), (code, &rows(bytes)), "{options:?}");
        let found = got.iter().find(|tensor| tensor.name == "scales");
        assert_eq!(found.map(|scales| (scales.dtype, scales.shape.clone())), scales, "{options:?}");
        assert!(got.iter().all(|tensor| tensor.name != "y"), "{options:?}");
    }
}

/// int8 codes of a row by its definition: the largest magnitude becomes ±127.
#[test]
fn codes_times_scales_are_y() {
    let (_folder, input, output) = folder_with(Dtype::F16, &[5, 100]);
    for device in ["emulated", "cpu"] {
        let options = ["--quantise", "per-token", "--code", "int8", "--with-y", "--device", device];
        apply(&input, &output, &options).passed();
        let got = read(&output);
        assert_eq!(got.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>(), ["codes", "scales", "y"]);
        let (y, scales) = (named(&got, "y"), named(&got, "scales").values());
        assert_eq!(y.dtype, Dtype::F16);
        let codes: Vec<i8> = named(&got, "codes").bytes.iter().map(|&byte| byte as i8).collect();
        for (row, y) in y.values().chunks(100).enumerate() {
            let codes = &codes[row * 100..][..100];
            assert_eq!(codes.iter().map(|code| code.unsigned_abs()).max(), Some(127), "{device}, row {row}");
            for (code, y) in codes.iter().zip(y) {
                let error = (f64::from(*code) * scales[row] - y).abs();
                // Half a step, and what scale and quotient lost of their last bits.
                assert!(error <= 0.5 * scales[row] * (1.0 + 1e-4), "{device}: {code} × {}, wanted {y}", scales[row]);
            }
        }
    }
}

#[test]
fn a_given_scale_is_used_and_named() {
    let (_folder, input, output) = folder_with(Dtype::F16, &[1, 64]);
    // Codes are clamped at 127: a scale of 2^-6 holds values up to 127/64.
    apply(&input, &output, &["--quantise", "per-tensor", "--code=int8", "--tensor-scale=0.015625", "--with-y"])
        .passed();
    let got = read(&output);
    for (code, y) in named(&got, "codes").bytes.iter().zip(named(&got, "y").bytes.chunks(2)) {
        let y = f64::from(f16::from_le_bytes(y.try_into().unwrap()));
        let wanted = (y * 64.0).round_ties_even().clamp(-128.0, 127.0);
        assert_eq!(f64::from(*code as i8), wanted);
    }
    let bytes = std::fs::read(&output).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let made_by = &header.metadata().as_ref().unwrap()["warpnorm"];
    assert!(made_by.ends_with("quantised to int8 per-tensor, tensor scale 0.015625"), "{made_by}");
}

#[test]
fn no_rows_have_no_codes() {
    let (_folder, input, output) = folder_with(Dtype::BF16, &[0, 128]);
    apply(&input, &output, &["--quantise", "per-group"]).passed();
    let got = read(&output);
    for (name, shape) in [("codes", [0, 128]), ("scales", [0, 1])] {
        assert_eq!((named(&got, name).shape.as_slice(), named(&got, name).bytes.len()), (&shape[..], 0));
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let (_folder, input, output) = folder_with(Dtype::F16, &[2, 100]);
    let refused = |options: &[&str], words: &[&str]| {
        apply(&input, &output, options).failed(2, words);
        assert!(!output.exists(), "{options:?}");
    };
    let quantise = |scaling: &str, more: &[&str], words: &[&str]| {
        refused(&[&["--quantise", scaling], more].concat(), words);
    };
    for option in [&["--code", "e4m3"][..], &["--group", "64"], &["--power-of-two"], &["--with-y"]] {
        refused(option, &["--quantise"]);
    }
    quantise("per-tile", &[], &["per-tile", "per-tensor, per-tensor-wide, per-token, per-group, mxfp8, nvfp4"]);
    quantise("per-token", &["--group", "64"], &["--group", "--quantise per-group"]);
    quantise("per-group", &["--group", "32"], &["32", "64, 128"]);
    quantise("per-token", &["--power-of-two"], &["--power-of-two", "--quantise per-group"]);
    quantise("mxfp8", &["--upper-bound", "1"], &["--upper-bound", "--quantise per-token"]);
    quantise("per-group", &["--block-rounding", "up"], &["--block-rounding", "--quantise mxfp8"]);
    quantise("per-token", &["--scale-layout", "tiled"], &["--scale-layout", "per-group or mxfp8 or nvfp4"]);
    quantise("per-group", &["--scale-alignment", "4"], &["--scale-alignment", "column-major"]);
    quantise("per-token", &["--tensor-scale", "1"], &["--tensor-scale", "per-tensor or per-tensor-wide or nvfp4"]);
    quantise("per-tensor", &[], &["per-tensor needs --tensor-scale"]);
    quantise("nvfp4", &[], &["nvfp4 needs --tensor-scale"]);
    quantise("per-tensor-wide", &[], &["per-tensor-wide needs --tensor-scale"]);
    quantise("per-tensor-wide", &["--tensor-scale", "1", "--with-y"], &["--with-y goes with", "per-tensor or"]);
    // No kernel makes both, whatever the device: usage, and no failure of the device.
    let wide = ["--op", "layer-norm", "--quantise", "per-tensor-wide", "--tensor-scale", "1", "--input"];
    let files = [input.to_str().unwrap(), "--output", output.to_str().unwrap()];
    warpnorm(["apply"].iter().chain(&wide).chain(&files)).failed(2, &["this build has no module", "QuantiseWide"]);
    assert!(!output.exists());
    // The library's own words.
    quantise("nvfp4", &["--code", "e4m3", "--tensor-scale", "1"], &["e4m3 codes", "wanted e2m1"]);
    quantise("mxfp8", &["--code", "int8"], &["int8 codes", "wanted e4m3 or e5m2"]);
    quantise("per-token", &["--upper-bound", "-1"], &["upper bound is -1", "above 0"]);
    quantise("per-token", &["--upper-bound", "1", "--code", "int8"], &["int8", "wanted none"]);
    quantise("per-group", &["--scale-layout", "tiled"], &["per-group", "tiled", "row-major or column-major"]);
    quantise("mxfp8", &["--scale-layout", "column-major"], &["mxfp8", "column-major", "row-major or tiled"]);
    let unaligned = ["--scale-layout", "column-major", "--scale-alignment", "0"];
    quantise("per-group", &unaligned, &["alignment of 0", "at least 1"]);
    quantise("per-group", &[], &["hidden size is 100", "multiple of 128"]);
    write(&input, &[Tensor::new("x", Dtype::F32, &[2, 128], &values(1, 256))]);
    quantise("per-token", &[], &["f32 activations", "wanted f16 or bf16"]);
}

fn report(command: &str, arguments: &[&str]) -> (String, Value) {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let run = warpnorm([&[command, "--json", report.to_str().unwrap()], arguments].concat()).passed();
    (run.stdout, serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap())
}

#[test]
fn parity_of_a_quantisation() {
    let options = ["--quantise", "mxfp8", "--code", "e5m2", "--block-rounding", "floor", "--scale-layout", "tiled"];
    let grid = ["--op", "add-layer-norm", "--device", "emulated", "--shape", "3x96,2x64"];
    let (table, json) = report("parity", &[&options[..], &grid].concat());
    let cells = json["cells"].as_array().unwrap();
    // Four variants of the op, two types, two shapes.
    assert_eq!(cells.len(), 16);
    for cell in cells {
        let quantisation = &cell["quantisation"];
        assert_eq!((&quantisation["scaling"], &quantisation["code"]), (&"mxfp8".into(), &"e5m2".into()));
        assert_eq!((&quantisation["group"], &quantisation["scale_type"]), (&32.into(), &"ue8m0".into()));
        assert_eq!(
            (&quantisation["scale_layout"], &quantisation["block_rounding"]),
            (&"tiled".into(), &"floor".into())
        );
        assert_eq!(cell["verdict"]["code_mismatches"], 0);
        assert_ne!(cell["dtype"], "f32");
        assert!(cell["plan"]["kernel"].as_str().unwrap().contains("quantise"), "{cell}");
    }
    assert_eq!(table.matches("e5m2 mxfp8, rounded floor, scales tiled").count(), 16);
    warpnorm(["parity", "--quantise", "per-token", "--dtype", "f32"]).failed(2, &["f32", "f16 or bf16"]);
    warpnorm(["parity", "--quantise", "mxfp8", "--shape", "2x100"]).failed(2, &["100", "multiple of 32"]);
}

#[test]
fn codes_of_unrounded_y_are_those_of_rms_norms() {
    let options = ["--quantise", "per-tensor-wide", "--device", "emulated", "--shape", "2x96"];
    let (_, json) = report("parity", &options);
    let cells = json["cells"].as_array().unwrap();
    // Three variants of rms-norm, four of add-rms-norm, two types.
    assert_eq!(cells.len(), 14);
    for cell in cells {
        assert!(cell["op"].as_str().unwrap().contains("rms-norm"), "{cell}");
        assert_eq!(cell["quantisation"]["scaling"], "per-tensor-wide");
        assert_eq!(cell["verdict"]["code_mismatches"], 0, "{cell}");
    }
}

#[test]
fn parity_of_every_op_quantises_as_well() {
    let (_, json) = report("parity", &["--device", "cpu", "--shape", "2x128"]);
    for op in ["layer-norm", "rms-norm", "add-layer-norm", "add-rms-norm"] {
        for dtype in ["f16", "bf16"] {
            for (scaling, code) in [("per-token", "e4m3"), ("per-group", "int8")] {
                let here = |cell: &&Value| {
                    cell["op"] == op
                        && cell["dtype"] == dtype
                        && cell["quantisation"]["scaling"] == scaling
                        && cell["quantisation"]["code"] == code
                };
                assert_eq!(json["cells"].as_array().unwrap().iter().filter(here).count(), 1, "{op} {dtype} {scaling}");
            }
        }
    }
}

#[test]
fn profile_counts_codes_and_scales() {
    let arguments = ["--quantise", "per-group", "--op", "rms-norm", "--dtype", "bf16", "--shape", "4x4096"];
    let (table, json) = report("profile", &arguments);
    let cell = &json["cells"][0];
    assert_eq!(cell["options"], "e4m3 per-group 128");
    // A byte for every element, and a float for every 128 of them; eight codes leave at a time.
    assert_eq!(cell["stores"]["floor_bytes"], 4 * 4096 + 4 * 32 * 4);
    assert_eq!(cell["stores"]["bytes"], cell["stores"]["floor_bytes"]);
    assert_eq!(cell["stores"]["accesses_by_width"][3], 4 * 4096 / 8);
    assert!(table.contains("e4m3 per-group 128"), "{table}");
    let (_, json) = report("profile", &[&arguments[..], &["--with-y"]].concat());
    assert_eq!(json["cells"][0]["stores"]["floor_bytes"], 3 * 4 * 4096 + 4 * 32 * 4);
    assert_eq!(json["cells"][0]["options"], "e4m3 per-group 128, with y");
}
