//! What ops refuse: tensors that are missing, that would do nothing or that do not fit, and options likewise.

use crate::apply::{apply, folder_with};
use crate::files::{Tensor, values};
use safetensors::Dtype::{self, BF16, F16, F32, I32};

fn tensor(name: &str, dtype: Dtype, shape: &[usize]) -> Tensor {
    let count = shape.iter().product();
    let mut tensor = Tensor::new(name, F32, shape, &values(1, count));
    if [F16, BF16].contains(&dtype) {
        tensor = Tensor::new(name, dtype, shape, &values(1, count));
    }
    tensor.dtype = dtype;
    tensor
}

/// f16 tensors of rows of 12, vectors of 12, and tables of 3 pairs.
fn of(names: &[&str]) -> Vec<Tensor> {
    let shape = |name: &str| match name {
        "x" | "residual" | "gate" => vec![2, 12],
        "second_x" => vec![2, 6],
        "second_weight" | "second_bias" => vec![6],
        "cos" | "sin" => vec![2, 3],
        _ => vec![12],
    };
    names.iter().map(|name| tensor(name, F16, &shape(name))).collect()
}

#[track_caller]
fn refused(tensors: &[Tensor], options: &[&str], words: &[&str]) {
    let (folder, input) = folder_with(tensors);
    let output = folder.path().join("out.safetensors");
    apply(&input, &output, options).failed(2, words);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn tensors_that_an_op_needs() {
    let x = of(&["x"]);
    for (op, tensor) in [
        ("add-rms-norm", "residual"),
        ("rms-norm-add", "residual"),
        ("rms-norm-add-rms-norm", "residual"),
        ("interpolate-l2-norm", "residual"),
        ("gated-rms-norm", "gate"),
        ("gated-input-rms-norm", "gate"),
    ] {
        refused(&x, &["--op", op], &[&format!("--op {op} needs the tensor `{tensor}`")]);
    }
    refused(&x, &["--op", "rms-norm", "--gate-activation", "silu"], &["needs the tensor `gate`"]);
    refused(&of(&["x", "residual"]), &["--op", "interpolate-l2-norm"], &["needs the tensor `rate`"]);
    let two = of(&["x", "residual", "weight"]);
    refused(&two, &["--op", "rms-norm-add-rms-norm"], &["--op rms-norm-add-rms-norm needs the tensor `inner_weight`"]);
    let heads = ["--op", "rms-norm", "--heads", "2"];
    refused(&of(&["x", "cos"]), &heads, &["needs the tensor `sin`"]);
    let second = [of(&["x", "second_x"]), vec![tensor("weight", F16, &[6])]].concat();
    refused(&second, &heads, &["needs the tensor `second_weight`"]);
}

#[test]
fn tensors_that_would_do_nothing() {
    for (names, options, words) in [
        (&["x", "gate"][..], &["--op", "rms-norm"][..], &["`gate`", "--op rms-norm", "--gate-activation makes"][..]),
        (&["x", "gate"], &["--op", "affine"], &["`gate`", "--op affine"]),
        (&["x", "linear_bias"], &["--op", "rms-norm"], &["`linear_bias`", "--op rms-norm does not use"]),
        (&["x", "gate", "bias"], &["--op", "gated-rms-norm"], &["`bias`", "--op gated-rms-norm"]),
        (
            &["x", "gate", "bias"],
            &["--op", "rms-norm", "--gate-activation", "silu"],
            &["`bias`", "--op rms-norm (gated-rms-norm)"],
        ),
        (&["x", "residual", "bias"], &["--op", "rms-norm-add"], &["`bias`", "--op rms-norm-add"]),
        (&["x", "residual"], &["--op", "activation"], &["`residual`", "--op activation"]),
        (&["x", "residual"], &["--op", "rms-norm", "--heads", "2"], &["`residual`", "(head-rms-norm)"]),
        (&["x", "residual"], &["--preset", "olmo2"], &["`residual`", "--preset olmo2 (rms-norm)"]),
        (&["x", "residual", "inner_weight"], &["--op", "rms-norm-add-rms-norm"], &["`inner_weight`"]),
        (&["x", "inner_weight"], &["--op", "rms-norm"], &["`inner_weight`"]),
        (&["x", "rate"], &["--op", "l2-norm"], &["`rate`", "--op l2-norm"]),
        (&["x", "second_x"], &["--op", "rms-norm"], &["`second_x`", "--heads makes use of it"]),
        (&["x", "second_weight"], &["--op", "rms-norm", "--heads", "2"], &["`second_weight`"]),
        (&["x", "cos", "sin"], &["--op", "rms-norm"], &["`cos`", "--heads makes use of it"]),
        (&["x", "positions"], &["--op", "rms-norm", "--heads", "2"], &["`positions`"]),
    ] {
        refused(&of(names), options, words);
    }
}

#[test]
fn tensors_that_do_not_fit() {
    let with = |names: &[&str], more: Tensor| [of(names), vec![more]].concat();
    let x = &["x"][..];
    let gated = ["--op", "gated-rms-norm"];
    refused(&with(x, tensor("gate", F16, &[2, 11])), &gated, &["`gate`", "[2, 11]", "[2, 12]"]);
    refused(&with(x, tensor("gate", F32, &[2, 12])), &gated, &["`gate` is f32", "f16 as x is"]);
    let add = ["--op", "rms-norm"];
    let linear_bias = with(&["x", "residual"], tensor("linear_bias", F32, &[12]));
    refused(&linear_bias, &add, &["linear_bias is f32", "f16"]);
    let step = ["--op", "interpolate-l2-norm"];
    refused(&with(&["x", "residual"], tensor("rate", F16, &[11])), &step, &["`rate`", "[11]", "[12]"]);
    refused(&with(&["x", "residual"], tensor("rate", BF16, &[12])), &step, &["rate is bf16", "f16 or f32"]);
    refused(
        &with(&["x", "residual", "weight"], tensor("inner_weight", F32, &[12])),
        &["--op", "rms-norm-add-rms-norm"],
        &["inner_weight is f32", "f16"],
    );
    let heads = ["--op", "rms-norm", "--heads", "2"];
    refused(&of(&["x", "weight"]), &heads, &["`weight`", "[12]", "[6]"]);
    refused(&with(x, tensor("second_x", F16, &[2, 7])), &heads, &["`second_x`", "7", "heads of 6"]);
    refused(&with(x, tensor("second_x", F16, &[3, 6])), &heads, &["`second_x`", "[3, 6]", "[2, 6]"]);
    refused(&with(x, tensor("second_x", F32, &[2, 6])), &heads, &["`second_x` is f32", "f16"]);
    refused(&with(&["x", "cos"], tensor("sin", F16, &[2, 2])), &heads, &["`sin`", "[2, 2]", "[2, 3]"]);
    refused(&with(&["x", "cos"], tensor("sin", F32, &[2, 3])), &heads, &["`sin` is f32", "f16 as cos is"]);
    let tables =
        |dtype, shape: &[usize]| [of(x), vec![tensor("cos", dtype, shape), tensor("sin", dtype, shape)]].concat();
    refused(&tables(F16, &[3]), &heads, &["`cos`", "[3]", "[positions, 3]"]);
    refused(&tables(F16, &[2, 4]), &heads, &["8 elements of heads of 6"]);
    refused(&tables(BF16, &[2, 3]), &heads, &["cos is bf16", "f16 or f32"]);
    refused(&tables(F16, &[1, 3]), &heads, &["1 positions, wanted at least 2"]);
    refused(&tables(F16, &[2, 0]), &heads, &["0 elements of a head"]);
    let rope = [&heads[..], &["--rope-dim", "4"]].concat();
    refused(&of(&["x", "cos", "sin"]), &rope, &["`cos`", "[2, 3]", "[positions, 2]"]);
    let positions = |dtype, shape: &[usize]| with(&["x", "cos", "sin"], tensor("positions", dtype, shape));
    refused(&positions(F32, &[2]), &heads, &["`positions` is F32", "I32 or I64"]);
    refused(&positions(I32, &[3]), &heads, &["`positions`", "[3]", "[2]"]);
    refused(&of(x), &["--op", "rms-norm", "--heads", "5"], &["`x`", "12", "5 heads"]);
    refused(&of(x), &["--op", "rms-norm", "--groups", "5"], &["`x`", "12", "5 groups"]);
    refused(&of(x), &["--op", "rms-norm", "--heads", "0"], &["`x`", "0 heads"]);
}

#[test]
fn options_that_would_do_nothing() {
    let x = of(&["x"]);
    let add = of(&["x", "residual"]);
    for (tensors, options, words) in [
        (&x, &["--op", "head-rms-norm"][..], &["--op head-rms-norm needs --heads"][..]),
        (&x, &["--op", "group-rms-norm"], &["--op group-rms-norm needs --groups"]),
        (&x, &["--op", "group-rms-norm", "--heads", "2"], &["--heads goes with --op layer-norm", "head-rms-norm"]),
        (&x, &["--op", "head-rms-norm", "--groups", "2"], &["--groups goes with", "group-rms-norm"]),
        (&x, &["--op", "affine", "--groups", "2"], &["--groups goes with"]),
        (&x, &["--op", "rms-norm", "--activation", "relu"], &["--activation goes with --op activation"]),
        (&x, &["--op", "activation", "--gate-activation", "relu"], &["--gate-activation goes with"]),
        (&x, &["--op", "affine", "--activation", "relu"], &["--activation goes with --op activation"]),
        (&x, &["--op", "activation", "--eps", "1"], &["--eps goes with"]),
        (&x, &["--op", "affine", "--stats"], &["--stats", "normalises nothing"]),
        (&add, &["--op", "rms-norm-add", "--residual-scale", "2"], &["--residual-scale goes with", "add-rms-norm"]),
        (&add, &["--op", "rms-norm", "--post-scale", "2"], &["--post-scale goes with", "rms-norm-add-rms-norm"]),
        (&add, &["--op", "rms-norm", "--post-rounding", "each"], &["--post-rounding goes with", "rms-norm-add"]),
        (&add, &["--op", "rms-norm", "--rate-scale", "2"], &["--rate-scale goes with", "interpolate-l2-norm"]),
        (&x, &["--op", "rms-norm", "--rope-dim", "4"], &["--rope-dim goes with", "head-rms-norm"]),
        (&x, &["--op", "rms-norm", "--heads", "2", "--rope-pairs", "interleaved"], &["--rope-pairs", "`cos`"]),
        (&x, &["--op", "rms-norm", "--heads", "2", "--quantise", "per-token"], &["is not quantised"]),
        (&of(&["x", "second_x"]), &["--op", "rms-norm", "--heads", "2", "--stats"], &["--stats", "second tensor"]),
        // The library's own words.
        (&add, &["--op", "rms-norm-add", "--post-scale", "0"], &["scale of the residual add after the norm is 0"]),
        (&of(&["x", "cos", "sin"]), &["--op", "rms-norm", "--heads", "2", "--rope-dim", "3"], &["3 elements"]),
    ] {
        refused(tensors, options, words);
    }
}
