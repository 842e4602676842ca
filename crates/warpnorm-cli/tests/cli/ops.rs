//! `apply` of every op whose rows are whole, against its formula.

use crate::apply::{applied, assert_close};
use crate::files::{Tensor, named, round, values};
use crate::formulas::{ACTIVATIONS, activation, l2_norm, layer_norm, rms_norm};
use safetensors::Dtype;

const ROWS: usize = 3;
const HIDDEN: usize = 40;
/// Of f32 results, relative: some ULP.
const CLOSE: f64 = 1e-6;

/// A norm of h with an eps.
type Statistic<'a> = &'a dyn Fn(&[f64], f64) -> Vec<f64>;

/// Tensors of these names, f32: vectors of the hidden size, and matrices where the name says so.
fn tensors(names: &[&str]) -> Vec<Tensor> {
    of_type(Dtype::F32, names)
}

fn of_type(dtype: Dtype, names: &[&str]) -> Vec<Tensor> {
    let tensor = |name: &&str| {
        let shape = if ["x", "residual", "gate"].contains(name) { &[ROWS, HIDDEN][..] } else { &[HIDDEN] };
        let seed = name.bytes().map(u64::from).sum();
        Tensor::new(name, dtype, shape, &values(seed, shape.iter().product()))
    };
    names.iter().map(tensor).collect()
}

/// The values of a row, or of a vector.
fn row(tensors: &[Tensor], name: &str, row: usize) -> Vec<f64> {
    let tensor = named(tensors, name);
    let values = tensor.values();
    if tensor.shape.len() == 1 { values } else { values[row * HIDDEN..][..HIDDEN].to_vec() }
}

/// Applies with these options and compares y with what a function makes of each row's tensors.
#[track_caller]
fn hold(tensors: &[Tensor], options: &[&str], formula: impl Fn(&dyn Fn(&str) -> Vec<f64>) -> Vec<f64>) -> Vec<Tensor> {
    let got = applied(tensors, &[options, &["--device", "emulated"]].concat());
    let of_row = |at: usize| formula(&|name| row(tensors, name, at));
    let wanted: Vec<f64> = (0..ROWS).flat_map(of_row).collect();
    assert_close(&named(&got, "y").values(), &wanted, CLOSE);
    got
}

/// Element by element.
fn zip(a: &[f64], b: &[f64], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()
}

fn times(a: &[f64], b: &[f64]) -> Vec<f64> {
    zip(a, b, |a, b| a * b)
}

fn plus(a: &[f64], b: &[f64]) -> Vec<f64> {
    zip(a, b, |a, b| a + b)
}

#[test]
fn l2_norm_divides_by_the_length() {
    let all = tensors(&["x", "weight", "bias"]);
    hold(&all, &["--op", "l2-norm"], |of| plus(&times(&l2_norm(&of("x")), &of("weight")), &of("bias")));
    hold(&tensors(&["x"]), &["--op", "l2-norm"], |of| l2_norm(&of("x")));
    // The sum is a f32, as the stored residual is.
    let all = tensors(&["x", "residual"]);
    let sum = |of: &dyn Fn(&str) -> Vec<f64>| zip(&of("residual"), &of("x"), |r, x| round(Dtype::F32, r + x));
    for op in ["l2-norm", "add-l2-norm"] {
        let got = hold(&all, &["--op", op], |of| l2_norm(&sum(of)));
        assert_eq!(row(&got, "residual", 1), sum(&|name| row(&all, name, 1)));
    }
}

#[test]
fn the_bias_of_the_linear_is_added_after_the_residual() {
    let all = tensors(&["x", "residual", "linear_bias", "weight"]);
    let sum = |of: &dyn Fn(&str) -> Vec<f64>| {
        let sum = zip(&of("residual"), &of("x"), |r, x| round(Dtype::F32, r + x));
        zip(&sum, &of("linear_bias"), |h, b| round(Dtype::F32, h + b))
    };
    for (op, norm) in [("add-rms-norm", rms_norm as fn(&[f64], f64) -> Vec<f64>), ("layer-norm", layer_norm)] {
        let got = hold(&all, &["--op", op, "--eps", "0.5"], |of| times(&norm(&sum(of), 0.5), &of("weight")));
        assert_eq!(row(&got, "residual", 2), sum(&|name| row(&all, name, 2)));
    }
}

#[test]
fn every_activation_is_its_formula() {
    for name in ACTIVATIONS {
        let options = ["--op", "activation", "--activation", name];
        hold(&tensors(&["x"]), &options, |of| of("x").iter().map(|&x| activation(name, x)).collect());
        hold(&tensors(&["x", "gate"]), &options, |of| zip(&of("x"), &of("gate"), |x, z| x * activation(name, z)));
    }
    // SwiGLU is the default.
    hold(&tensors(&["x", "gate"]), &["--op", "activation"], |of| {
        zip(&of("x"), &of("gate"), |x, z| x * activation("silu", z))
    });
}

#[test]
fn affine_scales_and_shifts() {
    let all = tensors(&["x", "weight", "bias"]);
    hold(&all, &["--op", "affine"], |of| plus(&times(&of("x"), &of("weight")), &of("bias")));
    hold(&tensors(&["x", "weight"]), &["--op", "affine", "--weight-offset", "1"], |of| {
        zip(&of("x"), &of("weight"), |x, w| x * (w + 1.0))
    });
}

#[test]
fn a_gate_multiplies_the_norm_or_x() {
    let all = tensors(&["x", "gate", "weight"]);
    let of_gate = |of: &dyn Fn(&str) -> Vec<f64>, name: &str| -> Vec<f64> {
        of("gate").iter().map(|&z| activation(name, z)).collect()
    };
    let after = |name: &'static str, eps: f64| {
        move |of: &dyn Fn(&str) -> Vec<f64>| times(&times(&rms_norm(&of("x"), eps), &of("weight")), &of_gate(of, name))
    };
    let eps = f64::from(1e-6f32);
    hold(&all, &["--op", "gated-rms-norm"], after("silu", eps));
    hold(&all, &["--op", "rms-norm", "--gate-activation", "gelu", "--eps", "0.25"], after("gelu", 0.25));
    hold(&all, &["--op", "gated-input-rms-norm"], |of| {
        times(&rms_norm(&times(&of("x"), &of_gate(of, "silu")), eps), &of("weight"))
    });
    hold(&all, &["--op", "gated-input-rms-norm", "--gate-activation", "sigmoid"], |of| {
        times(&rms_norm(&times(&of("x"), &of_gate(of, "sigmoid")), eps), &of("weight"))
    });
}

#[test]
fn a_residual_is_added_after_the_norm() {
    let all = tensors(&["x", "residual", "weight"]);
    let layer_eps = f64::from(1e-5f32);
    let rms_eps = f64::from(1e-6f32);
    let l2 = |h: &[f64], _: f64| l2_norm(h);
    let cases: [(&str, Statistic<'_>, f64); 3] =
        [("layer-norm-add", &layer_norm, layer_eps), ("rms-norm-add", &rms_norm, rms_eps), ("l2-norm-add", &l2, 0.0)];
    for (op, norm, eps) in cases {
        for (options, scale) in [(&[][..], 1.0), (&["--post-scale", "0.375"], 0.375)] {
            let got = hold(&all, &[&["--op", op], options].concat(), |of| {
                let sum = plus(&of("residual"), &times(&norm(&of("x"), eps), &of("weight")));
                sum.iter().map(|sum| sum * scale).collect()
            });
            // y is the new residual stream.
            assert_eq!(got.len(), 1);
        }
    }
}

/// Where the sum is rounded shows in the bits of bf16, which the CPU's results have right.
#[test]
fn each_step_of_the_add_after_the_norm_is_rounded() {
    let all = of_type(Dtype::BF16, &["x", "residual", "weight"]);
    let narrow = |value| round(Dtype::BF16, value);
    let mut seen = Vec::new();
    for rounding in ["single", "each"] {
        let options = ["--op", "rms-norm-add", "--post-rounding", rounding, "--post-scale", "0.7", "--device", "cpu"];
        let got = named(&applied(&all, &options), "y").values();
        let wanted: Vec<f64> = (0..ROWS)
            .flat_map(|at| {
                let v = times(&rms_norm(&row(&all, "x", at), f64::from(1e-6f32)), &row(&all, "weight", at));
                let scale = f64::from(0.7f32);
                zip(&row(&all, "residual", at), &v, |r, v| match rounding {
                    "single" => narrow((r + v) * scale),
                    _ => narrow(round(Dtype::F32, narrow(r + narrow(v)) * scale)),
                })
            })
            .collect();
        assert_eq!(got, wanted, "{rounding}");
        seen.push(got);
    }
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn two_norms_with_an_add_between_them() {
    let all = tensors(&["x", "residual", "weight", "inner_weight"]);
    let l2 = |h: &[f64], _: f64| l2_norm(h);
    let cases: [(&str, Statistic<'_>, f64); 2] =
        [("rms-norm-add-rms-norm", &rms_norm, f64::from(1e-6f32)), ("l2-norm-add-l2-norm", &l2, 0.0)];
    for (op, norm, eps) in cases {
        let sum = |of: &dyn Fn(&str) -> Vec<f64>| -> Vec<f64> {
            let sum = plus(&of("residual"), &times(&norm(&of("x"), eps), &of("inner_weight")));
            sum.iter().map(|sum| 0.5 * sum).collect()
        };
        let options = ["--op", op, "--post-scale", "0.5"];
        let got = hold(&all, &options, |of| times(&norm(&sum(of), eps), &of("weight")));
        let residual: Vec<f64> = (0..ROWS).flat_map(|at| sum(&|name| row(&all, name, at))).collect();
        assert_close(&named(&got, "residual").values(), &residual, CLOSE);
    }
}

#[test]
fn a_step_between_two_normalised_rows() {
    let all = tensors(&["x", "residual", "rate"]);
    let step = |a: &[f64], b: &[f64], rates: &[f64], scale: f64| -> Vec<f64> {
        (0..HIDDEN).map(|at| a[at] + (rates[at] * scale).abs() * (b[at] - a[at])).collect()
    };
    hold(&all, &["--op", "interpolate-l2-norm"], |of| {
        l2_norm(&step(&l2_norm(&of("residual")), &l2_norm(&of("x")), &of("rate"), 1.0))
    });
    let eps = f64::from(1e-6f32);
    hold(&all, &["--op", "interpolate-rms-norm", "--rate-scale", "-0.25"], |of| {
        rms_norm(&step(&rms_norm(&of("residual"), eps), &rms_norm(&of("x"), eps), &of("rate"), -0.25), eps)
    });
}

#[test]
fn presets_are_norms_by_name() {
    let all = of_type(Dtype::BF16, &["x", "weight"]);
    let with_residual = of_type(Dtype::BF16, &["x", "residual", "weight"]);
    let y = |tensors: &[Tensor], options: &[&str]| {
        named(&applied(tensors, &[options, &["--device", "cpu"]].concat()), "y").bytes.clone()
    };
    let narrow = |value| round(Dtype::BF16, value);
    // Gemma's formula: y = R((x·s)·(1 + w)), and its sum.
    let gemma: Vec<f64> = (0..ROWS)
        .flat_map(|at| {
            let sum = zip(&row(&with_residual, "residual", at), &row(&with_residual, "x", at), |r, x| narrow(r + x));
            let v = rms_norm(&sum, f64::from(1e-6f32));
            zip(&v, &row(&with_residual, "weight", at), |v, w| narrow(v * round(Dtype::F32, 1.0 + w)))
        })
        .collect();
    let got = applied(&with_residual, &["--preset", "gemma", "--device", "cpu"]);
    assert_eq!(named(&got, "y").values(), gemma);
    // Without a residual there is no add; options count over the preset's.
    let before_weight = ["--op", "rms-norm", "--weight-rounding", "before-weight"];
    assert_eq!(y(&all, &["--preset", "llama"]), y(&all, &before_weight));
    assert_ne!(y(&all, &["--preset", "llama"]), y(&all, &["--op", "rms-norm"]));
    let eps = [&before_weight[..], &["--eps", "1e-5"]].concat();
    assert_eq!(y(&with_residual, &["--preset", "llama", "--eps", "1e-5"]), y(&with_residual, &eps));
    // (2·18)^(1/4) is 2.449….
    let deep = ["--op", "layer-norm", "--residual-scale", "2.4494897"];
    assert_eq!(y(&with_residual, &["--preset", "deep-norm:18"]), y(&with_residual, &deep));
}

#[test]
fn codes_of_an_activation() {
    let all = of_type(Dtype::F16, &["x", "gate"]);
    let options = ["--op", "activation", "--quantise", "per-token", "--code", "int8", "--with-y"];
    let got = applied(&all, &[&options[..], &["--device", "emulated"]].concat());
    let (y, scales) = (named(&got, "y").values(), named(&got, "scales").values());
    for (at, &code) in named(&got, "codes").bytes.iter().enumerate() {
        let scale = scales[at / HIDDEN];
        assert!((f64::from(code as i8) * scale - y[at]).abs() <= 0.5 * scale * (1.0 + 1e-4), "{at}");
    }
}
