//! Presets against the frameworks' formulas, step by step as their modelling files have them, in f64 with
//! every rounding written out.

use half::bf16;
use warpnorm::host::{Device, Outputs, Placement, Problem, RopeTables, Vector};
use warpnorm::reference::Cpu;
use warpnorm::{DType, Input, Norm, PositionType, Scope, presets};

const HIDDEN: usize = 96;

fn round(value: f64) -> f64 {
    bf16::from_f64(value).to_f64()
}

/// bf16 values that fill the binades around 1, without an order that a sum could profit from.
fn values(seed: u64, scale: f64) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1u64 << 31) as f64 - 0.5
    };
    (0..HIDDEN).map(|_| round(scale * next())).collect()
}

fn bytes(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|&value| bf16::from_f64(value).to_bits().to_ne_bytes()).collect()
}

fn decode(bytes: &[u8]) -> Vec<f64> {
    bytes.chunks(2).map(|pair| bf16::from_bits(u16::from_ne_bytes([pair[0], pair[1]])).to_f64()).collect()
}

struct Inputs {
    x: Vec<f64>,
    residual: Vec<f64>,
    weight: Vec<f64>,
    bias: Vec<f64>,
}

/// Runs a preset with a weight, a bias for LayerNorm, and holds y and the residual against these formulas of
/// h, the sum before any rounding, and of the inputs.
fn hold(name: &str, norm: Norm, bias: bool, y: impl Fn(&Inputs, &[f64], usize) -> f64) {
    let mut differing = 0;
    for seed in 0..20 {
        let inputs = Inputs {
            x: values(seed, 4.0),
            residual: values(seed + 100, 30.0),
            weight: values(seed + 200, 2.0),
            bias: values(seed + 300, 1.0),
        };
        let (x, residual) = (bytes(&inputs.x), bytes(&inputs.residual));
        let (weight, bias_bytes) = (bytes(&inputs.weight), bytes(&inputs.bias));
        let vector = |bytes| Some(Vector { dtype: DType::BF16, bytes });
        let adds = norm.residual_add().is_some();
        let mut problem = Problem::new(norm, DType::BF16, 1, HIDDEN, &x);
        problem.residual = adds.then_some(&residual);
        problem.weight = vector(&weight);
        problem.bias = if bias { vector(&bias_bytes) } else { None };
        problem.outputs = Outputs { residual: adds, ..Outputs::default() };
        let output = Cpu.run(&problem, Placement::default()).expect("a valid problem");

        let scale = norm.residual_add().map_or(0.0, |add| f64::from(add.scale));
        let h: Vec<f64> = inputs.x.iter().zip(&inputs.residual).map(|(x, r)| scale * r + x).collect();
        if adds {
            let stored: Vec<f64> = h.iter().map(|&h| round(f64::from(h as f32))).collect();
            assert_eq!(decode(&output.residual.expect("asked for")), stored, "{name}");
        }
        let wanted: Vec<f64> = (0..HIDDEN).map(|column| y(&inputs, &h, column)).collect();
        differing += decode(&output.y).iter().zip(&wanted).filter(|(got, wanted)| got != wanted).count();
    }
    // h is rounded to f32 in between where it is wide, which may turn a tie.
    assert!(differing <= 2, "{name}: {differing} of {} differ", 20 * HIDDEN);
}

fn mean_square(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>() / HIDDEN as f64
}

fn stored(h: &[f64]) -> Vec<f64> {
    h.iter().map(|&h| round(h)).collect()
}

/// `self.weight * hidden_states.to(input_dtype)`: both factors and the product are bf16.
#[test]
fn llama_mistral_qwen_t5_and_vllms_static_fp8_round_before_the_weight() {
    for (name, norm) in [
        ("llama", presets::llama()),
        ("mistral", presets::mistral()),
        ("qwen3", presets::qwen3()),
        ("t5", presets::t5()),
        ("vllm_static_fp8", presets::vllm_static_fp8()),
    ] {
        hold(name, norm, false, |inputs, h, column| {
            let h = stored(h);
            let normed = round(h[column] / (mean_square(&h) + f64::from(1e-6f32)).sqrt());
            round(inputs.weight[column] * normed)
        });
    }
}

/// `scalar_t(x * s_variance * w)`, of the sum as it is stored.
#[test]
fn vllm_rounds_the_sum_and_then_once() {
    hold("vllm", presets::vllm(), false, |inputs, h, column| {
        let h = stored(h);
        round(h[column] / (mean_square(&h) + f64::from(1e-6f32)).sqrt() * inputs.weight[column])
    });
}

/// `scalar_t(x * rms) * weight`, of `float(x) + float(residual)`.
#[test]
fn vllms_dynamic_quantisation_takes_the_sum_in_f32() {
    hold("vllm_dynamic", presets::vllm_dynamic(), false, |inputs, h, column| {
        let normed = round(h[column] / (mean_square(h) + f64::from(1e-6f32)).sqrt());
        round(inputs.weight[column] * normed)
    });
}

/// `output * (1.0 + self.weight.float())`, then `type_as(x)`.
#[test]
fn gemma_adds_one_to_the_weight_in_f32() {
    hold("gemma", presets::gemma(), false, |inputs, h, column| {
        let h = stored(h);
        let normed = h[column] / (mean_square(&h) + f64::from(1e-6f32)).sqrt();
        round(normed * (1.0 + inputs.weight[column]))
    });
}

/// `(self.weight * hidden_states).to(input_dtype)`, of x alone.
#[test]
fn olmo2_rounds_once() {
    hold("olmo2", presets::olmo2(), false, |inputs, _, column| {
        let normed = inputs.x[column] / (mean_square(&inputs.x) + f64::from(1e-5f32)).sqrt();
        round(inputs.weight[column] * normed)
    });
}

fn layer_norm(inputs: &Inputs, h: &[f64], column: usize, eps: f32) -> f64 {
    let h = stored(h);
    let mean = h.iter().sum::<f64>() / HIDDEN as f64;
    let variance = h.iter().map(|h| (h - mean) * (h - mean)).sum::<f64>() / HIDDEN as f64;
    let normed = (h[column] - mean) / (variance + f64::from(eps)).sqrt();
    round(normed * inputs.weight[column] + inputs.bias[column])
}

#[test]
fn layer_norms_differ_in_eps_and_scale() {
    hold("gpt2", presets::gpt2(), true, |inputs, h, column| layer_norm(inputs, h, column, 1e-5));
    hold("bert", presets::bert(), true, |inputs, h, column| layer_norm(inputs, h, column, 1e-12));
    let deep = presets::deep_norm(12);
    hold("deep_norm", deep, true, |inputs, h, column| layer_norm(inputs, h, column, 1e-5));
}

/// The table of DeepNet's figure 2, worked out by hand: 24^¼, 0.81·(18⁴·6)^(1/16), 18^¼.
#[test]
fn deep_norm_scales_are_the_papers() {
    let scale = |norm: Norm| f64::from(norm.residual_add().expect("it adds").scale);
    assert!((scale(presets::deep_norm(12)) - 2.213_363_839_4).abs() < 1e-6);
    assert!((scale(presets::deep_norm_encoder(18, 6)) - 1.866_111_538_9).abs() < 1e-6);
    assert!((scale(presets::deep_norm_decoder(6)) - 2.059_767_144_1).abs() < 1e-6);
}

#[test]
fn n_gpt_divides_by_the_length() {
    hold("n_gpt", presets::n_gpt(), false, |inputs, _, column| {
        let length = inputs.x.iter().map(|x| x * x).sum::<f64>().sqrt();
        round(inputs.x[column] / length * inputs.weight[column])
    });
}

/// x·rsqrt(ms + eps)·(c + w) with all of it, h too, in f32.
#[test]
fn flash_infer_rounds_once_and_not_the_sum() {
    for (norm, offset) in [(presets::flash_infer(), 0.0), (presets::flash_infer_gemma(), 1.0)] {
        hold("flash_infer", norm, false, |inputs, h, column| {
            let normed = h[column] / (mean_square(h) + f64::from(1e-6f32)).sqrt();
            round(normed * (offset + inputs.weight[column]))
        });
    }
}

/// A norm of one row in bf16 with everything that a preset may take, on the reference.
struct Step {
    x: Vec<f64>,
    residual: Vec<f64>,
    gate: Vec<f64>,
    weight: Vec<f64>,
    inner_weight: Vec<f64>,
    rate: Vec<f64>,
}

impl Step {
    fn new(seed: u64) -> Self {
        let [x, residual, gate, weight, inner_weight, rate] =
            [(0, 4.0), (100, 30.0), (200, 6.0), (300, 2.0), (400, 2.0), (500, 0.2)]
                .map(|(stream, scale)| values(seed + stream, scale));
        Self { x, residual, gate, weight, inner_weight, rate }
    }

    fn y(&self, norm: Norm, parts: usize) -> (Vec<f64>, Option<Vec<f64>>) {
        let [x, residual, gate, weight, inner, rate] =
            [&self.x, &self.residual, &self.gate, &self.weight, &self.inner_weight, &self.rate].map(|v| bytes(v));
        let hidden = HIDDEN / parts;
        fn vector(bytes: &[u8]) -> Option<Vector<'_>> {
            Some(Vector { dtype: DType::BF16, bytes })
        }
        let two_norms = matches!(norm.input, Input::PostNorm(_));
        let step = matches!(norm.input, Input::Interpolation(_));
        let problem = Problem {
            residual: norm.takes_residual().then_some(&residual[..]),
            gate: norm.takes_gate().then_some(&gate[..]),
            weight: if step { None } else { vector(&weight) },
            inner_weight: if two_norms { vector(&inner) } else { None },
            rate: if step { vector(&rate) } else { None },
            parts,
            outputs: Outputs { residual: two_norms, ..Outputs::default() },
            ..Problem::new(norm, DType::BF16, 1, hidden, &x)
        };
        let output = Cpu.run(&problem, Placement::default()).expect("a valid problem");
        (decode(&output.y), output.residual.map(|residual| decode(&residual)))
    }
}

/// Holds y against a formula, over rows enough for every rounding to matter.
fn hold_step(name: &str, norm: Norm, parts: usize, wanted: impl Fn(&Step) -> Vec<f64>) {
    let mut differing = 0;
    for seed in 0..20 {
        let step = Step::new(seed);
        let (y, _) = step.y(norm, parts);
        differing += y.iter().zip(wanted(&step)).filter(|&(got, wanted)| *got != wanted).count();
    }
    // Where the formula leaves a value in f32, this one has it in f64.
    assert!(differing <= 2, "{name}: {differing} of {} differ", 20 * HIDDEN);
}

fn rms(h: &[f64], eps: f32) -> f64 {
    (h.iter().map(|h| h * h).sum::<f64>() / h.len() as f64 + f64::from(eps)).sqrt()
}

/// `residual + norm(x)` in bf16: the norm is rounded, and so is the sum.
fn after(x: &[f64], residual: &[f64], gain: impl Fn(usize) -> f64, eps: f32) -> Vec<f64> {
    let length = rms(x, eps);
    (0..x.len()).map(|column| round(residual[column] + round(x[column] / length * gain(column)))).collect()
}

#[test]
fn what_follows_a_block_is_normed_and_added() {
    hold_step("olmo2_add", presets::olmo2_add(), 1, |step| {
        after(&step.x, &step.residual, |column| step.weight[column], 1e-5)
    });
    hold_step("gemma2_add", presets::gemma2_add(), 1, |step| {
        after(&step.x, &step.residual, |column| 1.0 + step.weight[column], 1e-6)
    });
}

#[test]
fn gemma_2_norms_the_sum_again() {
    let stream = |step: &Step| after(&step.x, &step.residual, |column| 1.0 + step.inner_weight[column], 1e-6);
    hold_step("gemma2_sandwich", presets::gemma2_sandwich(), 1, |step| {
        let h = stream(step);
        let length = rms(&h, 1e-6);
        (0..HIDDEN).map(|column| round(h[column] / length * (1.0 + step.weight[column]))).collect()
    });
    let step = Step::new(5);
    assert_eq!(step.y(presets::gemma2_sandwich(), 1).1, Some(stream(&step)));
}

fn silu(z: f64) -> f64 {
    z / (1.0 + (-z).exp())
}

#[test]
fn gates_before_and_after_the_norm_of_a_group() {
    fn groups(step: &Step, parts: usize, of: impl Fn(&[f64], &[f64], &[f64]) -> Vec<f64>) -> Vec<f64> {
        let size = HIDDEN / parts;
        let rows = step.x.chunks(size).zip(step.gate.chunks(size)).zip(step.weight.chunks(size));
        rows.flat_map(|((x, z), w)| of(x, z, w)).collect()
    }
    for parts in [1, 3] {
        hold_step("mamba2_norm_before_gate", presets::mamba2_norm_before_gate(), parts, |step| {
            groups(step, parts, |x, z, w| {
                let length = rms(x, 1e-5);
                x.iter().zip(z).zip(w).map(|((x, z), w)| round(x / length * w * silu(*z))).collect()
            })
        });
        hold_step("mamba2", presets::mamba2(), parts, |step| {
            groups(step, parts, |x, z, w| {
                let h: Vec<f64> = x.iter().zip(z).map(|(x, z)| x * silu(*z)).collect();
                let length = rms(&h, 1e-5);
                h.iter().zip(w).map(|(h, w)| round(h / length * w)).collect()
            })
        });
        // Heads are rows, or, with the weight once a head, groups of one.
        let scope = if parts == 1 { Scope::Row } else { Scope::Group };
        hold_step("qwen3_next_gated", presets::qwen3_next_gated().with_scope(scope), parts, |step| {
            groups(step, parts, |x, z, w| {
                let length = rms(x, 1e-6);
                x.iter().zip(z).zip(w).map(|((x, z), w)| round(w * round(x / length) * silu(*z))).collect()
            })
        });
    }
}

/// `justnorm` of both in bf16, the step in f32, and `justnorm` of that.
#[test]
fn n_gpt_steps_on_the_sphere() {
    let justnorm = |h: &[f64]| {
        let length = h.iter().map(|h| h * h).sum::<f64>().sqrt();
        h.iter().map(|h| h / length).collect::<Vec<_>>()
    };
    hold_step("n_gpt_step", presets::n_gpt_step(3.0), 1, |step| {
        let rounded = |h: Vec<f64>| h.into_iter().map(round).collect::<Vec<_>>();
        let (a, b) = (rounded(justnorm(&step.residual)), rounded(justnorm(&step.x)));
        let h: Vec<f64> =
            (0..HIDDEN).map(|column| a[column] + (3.0 * step.rate[column]).abs() * (b[column] - a[column])).collect();
        rounded(justnorm(&h))
    });
}

/// `q_norm`, then `q·cos + rotate_half(q)·sin`, every product and the sum in bf16.
#[test]
fn qwen3_rotates_what_it_normed() {
    const HEAD: usize = HIDDEN / 2;
    let mut differing = 0;
    for seed in 0..20 {
        let step = Step::new(seed);
        let (cos, sin) = (values(seed + 600, 2.0), values(seed + 700, 2.0));
        let (x, weight) = (bytes(&step.x), bytes(&step.weight[..HEAD]));
        let (cos_bytes, sin_bytes) = (bytes(&cos[..HEAD / 2]), bytes(&sin[..HEAD / 2]));
        let problem = Problem {
            weight: Some(Vector { dtype: DType::BF16, bytes: &weight }),
            parts: 2,
            rope: Some(RopeTables {
                cos: &cos_bytes,
                sin: &sin_bytes,
                dtype: DType::BF16,
                positions: None,
                position_type: PositionType::I64,
            }),
            ..Problem::new(presets::qwen3_heads(HEAD), DType::BF16, 1, HEAD, &x)
        };
        let y = decode(&Cpu.run(&problem, Placement::default()).expect("a valid problem").y);
        let mut wanted = Vec::new();
        for head in step.x.chunks(HEAD) {
            let length = rms(head, 1e-6);
            let normed: Vec<f64> = (0..HEAD).map(|i| round(step.weight[i] * round(head[i] / length))).collect();
            for i in 0..HEAD {
                let (pair, turned) = match i < HEAD / 2 {
                    true => (i, -normed[i + HEAD / 2]),
                    false => (i - HEAD / 2, normed[i - HEAD / 2]),
                };
                wanted.push(round(round(normed[i] * cos[pair]) + round(turned * sin[pair])));
            }
        }
        differing += y.iter().zip(&wanted).filter(|(got, wanted)| got != wanted).count();
    }
    assert!(differing <= 2, "{differing} of {} differ", 20 * HIDDEN);
}

/// The guide for authors of servers names presets that there are, and leaves none of them out.
#[test]
fn the_guide_names_every_preset() {
    let guide = include_str!("../docs/servers.md");
    let table = guide.split("## Which preset").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let column = rows.map(|row| row.split('|').nth(2).expect("a column of presets").to_owned());
    let told: Vec<String> =
        column.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect();
    assert!(told.len() > 15, "{told:?}");
    for name in &told {
        let preset = name.replace("LAYERS", "24").replace("DIM", "64");
        assert!(presets::named(&preset).is_ok(), "{name}");
    }
    // An unknown name is answered with all that there are.
    let all = presets::named("none").expect_err("no preset").to_string();
    for name in all.rsplit("wanted one of ").next().expect("names").split(", ") {
        let of_encoder = name.starts_with("deep-norm-");
        assert!(of_encoder || told.iter().any(|one| one.split(':').next() == Some(name)), "{name} is not in the guide");
    }
}
