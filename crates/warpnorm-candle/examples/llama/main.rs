//! A small Llama-type decoder with random weights: how long a forward pass takes with candle-nn's norms, with those of
//! this crate, and with residual add and norm as one, and how far the logits are apart.
//!
//! ```sh
//! cargo run --release -p warpnorm-candle --example llama [-- BATCH TOKENS LAYERS]
//! ```
//!
//! On the first GPU and in bf16, where there is one and the feature `cuda` is on; else on the CPU and in f32. There,
//! norms are computed in f64, correctly rounded: what they cost says nothing of a GPU.

mod decoders;

use candle_core::{D, DType, Device, Error, Result, Tensor};
use candle_nn::VarBuilder;
use decoders::Config;
use std::collections::HashMap;
use std::time::Instant;

/// Passes that are timed.
const PASSES: u32 = 5;

/// Weights of unit rows, and norms near one: the same ones every time.
fn weights(config: &Config, dtype: DType, device: &Device) -> Result<HashMap<String, Tensor>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    // Evenly from [-1, 1): xorshift64* (Vigna, 2016).
    let mut uniform = move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut tensors = HashMap::new();
    let mut add = |name: String, rows: Option<usize>, columns: usize| {
        let count = rows.unwrap_or(1) * columns;
        let values: Vec<f32> = match rows {
            Some(_) => (0..count).map(|_| uniform() * (3.0 / columns as f32).sqrt()).collect(),
            None => (0..count).map(|_| 1.0 + 0.25 * uniform()).collect(),
        };
        let shape = rows.into_iter().chain([columns]).collect::<Vec<_>>();
        tensors.insert(name, Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?);
        Ok::<_, Error>(())
    };
    let Config { vocabulary, hidden, key_heads, inner, layers, .. } = *config;
    let keys = key_heads * config.head();
    add("model.embed_tokens.weight".to_owned(), Some(vocabulary), hidden)?;
    for layer in 0..layers {
        let layer = |name: &str| format!("model.layers.{layer}.{name}.weight");
        for (name, rows, columns) in [
            ("self_attn.q_proj", hidden, hidden),
            ("self_attn.k_proj", keys, hidden),
            ("self_attn.v_proj", keys, hidden),
            ("self_attn.o_proj", hidden, hidden),
            ("mlp.gate_proj", inner, hidden),
            ("mlp.up_proj", inner, hidden),
            ("mlp.down_proj", hidden, inner),
        ] {
            add(layer(name), Some(rows), columns)?;
        }
        add(layer("input_layernorm"), None, hidden)?;
        add(layer("post_attention_layernorm"), None, hidden)?;
    }
    add("model.norm.weight".to_owned(), None, hidden)?;
    add("lm_head.weight".to_owned(), Some(vocabulary), hidden)?;
    Ok(tensors)
}

fn main() -> Result<()> {
    let numbers: Vec<usize> = std::env::args()
        .skip(1)
        .map(|argument| argument.parse().map_err(|_| Error::msg(format!("{argument} is no number"))))
        .collect::<Result<_>>()?;
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    let (batch, tokens, layers) = (number(0, 2), number(1, 64), number(2, 4));
    let device = Device::cuda_if_available(0)?;
    let dtype = if device.is_cuda() { DType::BF16 } else { DType::F32 };
    let config = Config { vocabulary: 1024, hidden: 512, heads: 8, key_heads: 2, inner: 1408, layers, eps: 1e-5 };
    let weights = weights(&config, dtype, &device)?;
    let input: Vec<u32> = (0..batch * tokens).map(|at| (at * at % config.vocabulary) as u32).collect();
    let input = Tensor::from_vec(input, (batch, tokens), &device)?;
    println!("{config:?}\n{batch} × {tokens} tokens, {dtype:?}, {:?}", device.location());

    let mut all: Vec<Tensor> = Vec::new();
    for (name, decoder) in decoders::all() {
        let decoder = decoder(&config, VarBuilder::from_tensors(weights.clone(), dtype, &device))?;
        let logits = decoder.logits(&input)?.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        let start = Instant::now();
        for _ in 0..PASSES {
            decoder.logits(&input)?;
        }
        device.synchronize()?;
        let took = start.elapsed().as_secs_f64() * 1e3 / f64::from(PASSES);
        let first = all.first().unwrap_or(&logits);
        let off = (&logits - first)?.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt();
        let length = first.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt();
        let same = logits.argmax(D::Minus1)?.eq(&first.argmax(D::Minus1)?)?;
        let same = same.to_dtype(DType::F32)?.mean_all()?.to_scalar::<f32>()?;
        println!(
            "{name:<32} {took:8.2} ms a pass, logits {:.1e} off, {:.1} % of tokens the same",
            off / length,
            same * 100.0
        );
        all.push(logits);
    }
    Ok(())
}
