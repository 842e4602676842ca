//! What `apply` refuses, and that a refusal leaves everything as it was.

use crate::files::{Tensor, values, write};
use crate::tool::{Run, fixture, warpnorm};
use safetensors::Dtype;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder with an input and nothing else.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new(tensors: &[Tensor]) -> Bench {
        let bench = Bench { folder: tempfile::tempdir().unwrap() };
        write(&bench.input(), tensors);
        bench
    }

    fn of_bytes(bytes: &[u8]) -> Bench {
        let bench = Bench { folder: tempfile::tempdir().unwrap() };
        std::fs::write(bench.input(), bytes).unwrap();
        bench
    }

    fn input(&self) -> PathBuf {
        self.folder.path().join("in.safetensors")
    }

    fn apply_to(&self, output: &Path, more: &[&str]) -> Run {
        let mut arguments = vec![OsStr::new("apply"), OsStr::new("--op"), OsStr::new("layer-norm")];
        let input = self.input();
        arguments.extend([OsStr::new("--input"), input.as_os_str(), OsStr::new("--output"), output.as_os_str()]);
        arguments.extend(more.iter().map(OsStr::new));
        warpnorm(arguments)
    }

    /// Runs `apply`, which must refuse and leave the input alone in its folder.
    #[track_caller]
    fn refused(&self, more: &[&str], words: &[&str]) {
        let before = std::fs::read(self.input()).unwrap();
        self.apply_to(&self.folder.path().join("out.safetensors"), more).failed(2, words);
        self.alone();
        assert_eq!(std::fs::read(self.input()).unwrap(), before);
    }

    #[track_caller]
    fn alone(&self) {
        let names: Vec<_> = std::fs::read_dir(self.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["in.safetensors"]);
    }
}

fn tensor(name: &str, dtype: Dtype, shape: &[usize]) -> Tensor {
    Tensor::new(name, dtype, shape, &values(1, shape.iter().product()))
}

fn x() -> Tensor {
    tensor("x", Dtype::F16, &[2, 8])
}

#[test]
fn tensors_that_do_not_fit() {
    use Dtype::{BF16, F16, F32, F64, U8};
    let cases: &[(&[Tensor], &[&str])] = &[
        (&[], &["no tensor `x`", "none"]),
        (&[tensor("input", F16, &[2, 8]), tensor("weight", F16, &[8])], &["no tensor `x`", "input, weight"]),
        (&[tensor("x", F64, &[2, 8])], &["`x` is F64", "F32, F16 or BF16"]),
        (&[tensor("x", U8, &[2, 8])], &["`x` is U8", "F32, F16 or BF16"]),
        (&[tensor("x", F32, &[])], &["`x` is a scalar"]),
        (&[tensor("x", F32, &[3, 0])], &["hidden size is 0"]),
        (&[tensor("x", F32, &[0])], &["hidden size is 0"]),
        (&[x(), tensor("residual", F16, &[1, 8])], &["`residual`", "[1, 8]", "[2, 8]"]),
        (&[x(), tensor("residual", F16, &[16])], &["`residual`", "[16]", "[2, 8]"]),
        (&[x(), tensor("residual", F32, &[2, 8])], &["`residual` is f32", "f16"]),
        (&[x(), tensor("residual", F64, &[2, 8])], &["`residual` is F64"]),
        (&[x(), tensor("weight", F16, &[7])], &["`weight`", "[7]", "[8]"]),
        (&[x(), tensor("weight", F16, &[1, 8])], &["`weight`", "[1, 8]", "[8]"]),
        (&[x(), tensor("weight", F64, &[8])], &["`weight` is F64"]),
        (&[x(), tensor("weight", BF16, &[8])], &["weight is bf16", "f16 or f32"]),
        (&[x(), tensor("bias", F16, &[9])], &["`bias`", "[9]", "[8]"]),
        (&[x(), tensor("bias", BF16, &[8])], &["bias is bf16", "f16 or f32"]),
        (&[x(), tensor("weight", F32, &[8]), tensor("bias", F16, &[8])], &["weight is f32 and bias f16"]),
    ];
    for (tensors, words) in cases {
        for device in ["cpu", "emulated"] {
            Bench::new(tensors).refused(&["--device", device], words);
        }
    }
}

#[test]
fn a_hidden_size_past_the_limit() {
    let bench = Bench::new(&[tensor("x", Dtype::F32, &[0, 1 << 32])]);
    bench.refused(&["--device", "cpu"], &["hidden size is 4294967296"]);
    bench.refused(&["--device", "emulated"], &["hidden size is 4294967296"]);
}

#[test]
fn options_that_are_never_valid() {
    let with_all = [x(), tensor("residual", Dtype::F16, &[2, 8]), tensor("weight", Dtype::F16, &[8])];
    let bench = Bench::new(&with_all);
    for eps in ["-1e-5", "-0.5", "NaN", "inf", "-inf", "1e39"] {
        bench.refused(&["--eps", eps], &["eps is"]);
        bench.refused(&[&format!("--eps={eps}")], &["eps is"]);
    }
    bench.refused(&["--weight-offset", "NaN"], &["weight offset is NaN"]);
    bench.refused(&["--residual-scale", "-inf"], &["residual scale is -inf"]);
}

#[test]
fn options_without_their_tensor() {
    let bench = Bench::new(&[x()]);
    bench.refused(&["--residual-scale", "2"], &["--residual-scale", "`residual`"]);
    bench.refused(&["--weight-offset", "1"], &["--weight-offset", "`weight`"]);
    // These do nothing without the tensor.
    let harmless = ["--residual-scale=1", "--weight-offset=0", "--residual-rounding=wide", "--weight-rounding=single"];
    bench.apply_to(&bench.folder.path().join("out.safetensors"), &harmless).passed();
}

#[test]
fn files_that_are_not_in_the_format() {
    let small = std::fs::read(fixture("minilm-output-norm.safetensors")).unwrap();
    Bench::of_bytes(b"").refused(&[], &["not a safetensors file"]);
    Bench::of_bytes(b"1234567").refused(&[], &["not a safetensors file"]);
    Bench::of_bytes(&[0xff; 64]).refused(&[], &["not a safetensors file"]);
    Bench::of_bytes(&small[..100]).refused(&[], &["not a safetensors file"]);
    Bench::of_bytes(&small[..small.len() - 1]).refused(&[], &["truncated", "`x`"]);
    Bench::of_bytes(&[small.as_slice(), b"more"].concat()).refused(&[], &["not a safetensors file"]);
}

#[test]
fn inputs_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.safetensors");
    for input in [folder.path().join("missing.safetensors"), folder.path().to_owned()] {
        let arguments = [OsStr::new("apply"), "--op".as_ref(), "rms-norm".as_ref(), "--input".as_ref()];
        let paths = [input.as_os_str(), OsStr::new("--output"), output.as_os_str()];
        warpnorm(arguments.into_iter().chain(paths)).failed(2, &["cannot read", input.to_str().unwrap()]);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn outputs_that_cannot_be_written() {
    let bench = Bench::new(&[x()]);
    let folder = bench.folder.path();
    for output in [folder.to_owned(), folder.join("in.safetensors/out"), folder.join("in.safetensors/folder/out")] {
        let run = bench.apply_to(&output, &[]).failed(2, &["cannot write", output.to_str().unwrap()]);
        assert!(!run.stderr.contains(".warpnorm-"), "{run:?}");
    }
    bench.apply_to(Path::new(""), &[]).failed(2, &["--output"]);
    bench.apply_to(Path::new("/"), &[]).failed(2, &["cannot write"]);
    bench.alone();
}

#[cfg(unix)]
#[test]
fn a_device_file_is_not_replaced() {
    let bench = Bench::new(&[x()]);
    bench.apply_to(Path::new("/dev/null"), &[]).failed(2, &["/dev/null", "not a regular file"]);
}

#[test]
fn a_refusal_leaves_an_old_output_as_it_was() {
    let bench = Bench::new(&[x(), tensor("weight", Dtype::F16, &[9])]);
    let output = bench.folder.path().join("out.safetensors");
    std::fs::write(&output, b"of old").unwrap();
    bench.apply_to(&output, &[]).failed(2, &["weight"]);
    assert_eq!(std::fs::read(&output).unwrap(), b"of old");
    assert_eq!(std::fs::read_dir(bench.folder.path()).unwrap().count(), 2);
}
