//! `apply` of norms of heads and groups, against their formulas.

use crate::apply::{applied, assert_close};
use crate::files::{Tensor, named, round, values};
use crate::formulas::{activation, l2_norm, layer_norm, rms_norm, rotated};
use safetensors::Dtype;

/// Two leading dimensions, four rows in all.
const LEADING: [usize; 2] = [2, 2];
const ROWS: usize = 4;
const HEADS: usize = 3;
const SECOND: usize = 2;
const HIDDEN: usize = 16;
const CLOSE: f64 = 1e-6;

/// Rows of so many parts.
fn matrix(name: &str, dtype: Dtype, seed: u64, parts: usize) -> Tensor {
    let shape = [&LEADING[..], &[parts * HIDDEN]].concat();
    Tensor::new(name, dtype, &shape, &values(seed, ROWS * parts * HIDDEN))
}

fn vector(name: &str, dtype: Dtype, seed: u64, length: usize) -> Tensor {
    Tensor::new(name, dtype, &[length], &values(seed, length))
}

/// cos and sin of so many positions and pairs. They are no circle's, so that each of the two shows.
fn tables(dtype: Dtype, positions: usize, pairs: usize) -> [Tensor; 2] {
    [("cos", 21), ("sin", 22)]
        .map(|(name, seed)| Tensor::new(name, dtype, &[positions, pairs], &values(seed, positions * pairs)))
}

/// Positions of the rows, as so many little-endian bytes each.
fn positions(dtype: Dtype, values: [i64; ROWS]) -> Tensor {
    let bytes = match dtype {
        Dtype::I32 => values.iter().flat_map(|&value| (value as i32).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    };
    Tensor { name: "positions".to_owned(), dtype, shape: LEADING.to_vec(), bytes }
}

/// What a function makes of each part of each row, given the numbers of the row and of the part.
fn each_part(matrix: &Tensor, formula: impl Fn(&[f64], usize, usize) -> Vec<f64>) -> Vec<f64> {
    let parts = matrix.shape[2] / HIDDEN;
    let values = matrix.values();
    values.chunks(HIDDEN).enumerate().flat_map(|(at, part)| formula(part, at / parts, at % parts)).collect()
}

fn times(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}

#[test]
fn each_head_has_its_own_statistic() {
    let all = [
        matrix("x", Dtype::F32, 1, HEADS),
        vector("weight", Dtype::F32, 2, HIDDEN),
        vector("bias", Dtype::F32, 3, HIDDEN),
    ];
    let (weight, bias) = (all[1].values(), all[2].values());
    let affine = |v: &[f64]| -> Vec<f64> { times(v, &weight).iter().zip(&bias).map(|(v, b)| v + b).collect() };
    let rms_eps = f64::from(1e-6f32);
    type Formula<'a> = &'a dyn Fn(&[f64]) -> Vec<f64>;
    let cases: [(&str, Formula<'_>); 4] = [
        ("head-layer-norm", &|h| layer_norm(h, f64::from(1e-5f32))),
        ("head-rms-norm", &|h| rms_norm(h, rms_eps)),
        ("rms-norm", &|h| rms_norm(h, rms_eps)),
        ("head-l2-norm", &l2_norm),
    ];
    for (op, norm) in cases {
        let got = applied(&all, &["--op", op, "--heads", "3", "--stats", "--device", "emulated"]);
        let y = named(&got, "y");
        assert_eq!(y.shape, all[0].shape);
        assert_close(&y.values(), &each_part(&all[0], |head, _, _| affine(&norm(head))), CLOSE);
        let rstd = named(&got, "rstd");
        assert_eq!(rstd.shape, [2, 2, HEADS]);
        let power = |head: &[f64]| head.iter().map(|h| h * h).sum::<f64>() / HIDDEN as f64;
        if op.contains("rms-norm") {
            let wanted = each_part(&all[0], |head, _, _| vec![1.0 / (power(head) + rms_eps).sqrt()]);
            assert_close(&rstd.values(), &wanted, CLOSE);
        }
    }
}

#[test]
fn heads_are_rotated_by_the_positions_of_their_rows() {
    let eps = f64::from(1e-6f32);
    let x = matrix("x", Dtype::F32, 1, HEADS);
    let weight = vector("weight", Dtype::F32, 2, HIDDEN);
    let normalised = |head: &[f64]| times(&rms_norm(head, eps), &weight.values());
    for (pairs, options, interleaved) in
        [(8, &[][..], false), (3, &["--rope-dim", "6"], false), (5, &["--rope-pairs", "interleaved"], true)]
    {
        for given in [None, Some(Dtype::I32), Some(Dtype::I64)] {
            let [cos, sin] = tables(Dtype::F32, 9, pairs);
            let mut all = vec![x.clone(), weight.clone(), cos.clone(), sin.clone()];
            let at = if given.is_some() { [8, 0, 3, 3] } else { [0, 1, 2, 3] };
            all.extend(given.map(|dtype| positions(dtype, at)));
            let command = [&["--op", "head-rms-norm", "--heads", "3", "--device", "emulated"], options].concat();
            let y = named(&applied(&all, &command), "y").values();
            let angles = |table: &Tensor, row: usize| table.values()[at[row] as usize * pairs..][..pairs].to_vec();
            let wanted = each_part(&x, |head, row, _| {
                rotated(&normalised(head), &angles(&cos, row), &angles(&sin, row), interleaved)
            });
            // Where the two products cancel, their own size counts.
            for (got, wanted) in y.iter().zip(&wanted) {
                assert!((got - wanted).abs() <= 3e-6, "{got}, wanted {wanted}, {options:?} {given:?}");
            }
        }
    }
}

#[test]
fn a_second_tensor_has_heads_and_parameters_of_its_own() {
    let [cos, sin] = tables(Dtype::F32, ROWS, HIDDEN / 2);
    let all = [
        matrix("x", Dtype::F32, 1, HEADS),
        vector("weight", Dtype::F32, 2, HIDDEN),
        matrix("second_x", Dtype::F32, 3, SECOND),
        vector("second_weight", Dtype::F32, 4, HIDDEN),
        cos.clone(),
        sin.clone(),
    ];
    let got = applied(&all, &["--op", "rms-norm", "--heads", "3", "--eps", "0.25", "--device", "emulated"]);
    assert_eq!(got.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>(), ["second_y", "y"]);
    for (x, y, weight) in [("x", "y", "weight"), ("second_x", "second_y", "second_weight")] {
        let (x, weight) = (named(&all, x), named(&all, weight).values());
        let angles = |table: &Tensor, row: usize| table.values()[row * HIDDEN / 2..][..HIDDEN / 2].to_vec();
        let wanted = each_part(x, |head, row, _| {
            rotated(&times(&rms_norm(head, 0.25), &weight), &angles(&cos, row), &angles(&sin, row), false)
        });
        let y = named(&got, y);
        assert_eq!(y.shape, x.shape);
        for (got, wanted) in y.values().iter().zip(&wanted) {
            assert!((got - wanted).abs() <= 5e-6, "{got}, wanted {wanted}");
        }
    }
}

/// Where a rotation is rounded shows in the bits of bf16, which the CPU's results have right.
#[test]
fn each_step_of_a_rotation_is_rounded() {
    let [cos, sin] = tables(Dtype::BF16, ROWS, HIDDEN / 2);
    let x = matrix("x", Dtype::BF16, 1, HEADS);
    let all = [x.clone(), cos.clone(), sin.clone()];
    let narrow = |value| round(Dtype::BF16, value);
    let single = |value| round(Dtype::F32, value);
    let mut seen = Vec::new();
    for rounding in ["single", "each"] {
        let options = ["--op", "head-rms-norm", "--heads", "3", "--rope-rounding", rounding, "--device", "cpu"];
        let got = named(&applied(&all, &options), "y").values();
        let wanted = each_part(&x, |head, row, _| {
            let y: Vec<f64> = rms_norm(head, f64::from(1e-6f32)).into_iter().map(narrow).collect();
            let half = HIDDEN / 2;
            let angle = |table: &Tensor, pair: usize| table.values()[row * half + pair];
            let element = |at: usize| {
                let pair = at % half;
                let (cos, sin) = (angle(&cos, pair), angle(&sin, pair));
                let (partner, sign) = if at < half { (y[at + half], -1.0) } else { (y[at - half], 1.0) };
                match rounding {
                    "single" => narrow(single(y[at] * cos + sign * single(partner * sin))),
                    _ => narrow(narrow(y[at] * cos) + sign * narrow(partner * sin)),
                }
            };
            (0..HIDDEN).map(element).collect()
        });
        assert_eq!(got, wanted, "{rounding}");
        seen.push(got);
    }
    assert_ne!(seen[0], seen[1]);
}

/// The preset's roundings stay where tables are given, and options count over them.
#[test]
fn presets_of_heads_and_groups() {
    let tables = tables(Dtype::BF16, ROWS, HIDDEN / 2);
    let heads = [&[matrix("x", Dtype::BF16, 1, HEADS)][..], &tables].concat();
    let y = |tensors: &[Tensor], options: &[&str]| {
        named(&applied(tensors, &[options, &["--device", "cpu"]].concat()), "y").bytes.clone()
    };
    let preset = ["--preset", "qwen3-heads:16", "--heads", "3"];
    let op = ["--op", "head-rms-norm", "--heads", "3", "--weight-rounding", "before-weight", "--rope-rounding"];
    assert_eq!(y(&heads, &preset), y(&heads, &[&op[..], &["each"]].concat()));
    let single = [&preset[..], &["--rope-rounding", "single"]].concat();
    assert_eq!(y(&heads, &single), y(&heads, &[&op[..], &["single"]].concat()));
    assert_ne!(y(&heads, &single), y(&heads, &preset));

    let groups = ["x", "gate"].map(|name| matrix(name, Dtype::BF16, name.len() as u64, HEADS));
    for (preset, op) in [("mamba2", "gated-input-group-rms-norm"), ("mamba2-norm-before-gate", "gated-group-rms-norm")]
    {
        let options = |option, name| [option, name, "--groups", "3", "--eps", "1e-5"];
        assert_eq!(y(&groups, &options("--preset", preset)), y(&groups, &options("--op", op)));
    }
}

#[test]
fn each_group_has_its_own_statistic_and_weights() {
    let all = [
        matrix("x", Dtype::F32, 1, HEADS),
        matrix("gate", Dtype::F32, 2, HEADS),
        vector("weight", Dtype::F32, 3, HEADS * HIDDEN),
    ];
    let (gate, weight) = (all[1].values(), all[2].values());
    let eps = f64::from(1e-6f32);
    let silu = |row: usize, group: usize| -> Vec<f64> {
        gate[(row * HEADS + group) * HIDDEN..][..HIDDEN].iter().map(|&z| activation("silu", z)).collect()
    };
    let of_group = |group: usize| &weight[group * HIDDEN..][..HIDDEN];
    let ungated: Vec<Tensor> = all.iter().filter(|tensor| tensor.name != "gate").cloned().collect();
    type Formula<'a> = &'a dyn Fn(&[f64], usize, usize) -> Vec<f64>;
    let plain: Formula<'_> = &|h, _, group| times(&rms_norm(h, eps), of_group(group));
    let layer: Formula<'_> = &|h, _, group| times(&layer_norm(h, f64::from(1e-5f32)), of_group(group));
    let after: Formula<'_> = &|h, row, group| times(&plain(h, row, group), &silu(row, group));
    let before: Formula<'_> = &|h, row, group| plain(&times(h, &silu(row, group)), row, group);
    let cases: [(&[Tensor], &[&str], Formula<'_>); 7] = [
        (&ungated, &["--op", "group-rms-norm"], plain),
        (&ungated, &["--op", "rms-norm"], plain),
        (&ungated, &["--op", "group-layer-norm"], layer),
        (&all, &["--op", "gated-group-rms-norm"], after),
        (&all, &["--op", "rms-norm", "--gate-activation", "silu"], after),
        (&all, &["--op", "gated-input-group-rms-norm"], before),
        (&all, &["--op", "gated-input-rms-norm"], before),
    ];
    for (tensors, options, formula) in cases {
        let got = applied(tensors, &[options, &["--groups", "3", "--device", "emulated"]].concat());
        assert_close(&named(&got, "y").values(), &each_part(&all[0], formula), CLOSE);
    }
}
