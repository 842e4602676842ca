//! The models of the examples, small and with random weights: on the norms of this crate they are the same models.

#[path = "../../examples/llama/decoders.rs"]
mod decoders;
#[path = "../../examples/minilm/encoders.rs"]
mod encoders;

use crate::oracle::{error, rows, values};
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use std::collections::HashMap;
use std::path::PathBuf;
use tokenizers::{Encoding, PaddingParams, Tokenizer};

/// Weights for whatever names and shapes a model asks for.
fn weights(build: impl Fn(VarBuilder<'_>) -> Result<()>) -> Result<HashMap<String, Tensor>> {
    let asked = VarMap::new();
    build(VarBuilder::from_varmap(&asked, DType::F32, &Device::Cpu))?;
    let asked = asked.data().lock().expect("one thread");
    let mut names: Vec<_> = asked.keys().cloned().collect();
    names.sort();
    names
        .into_iter()
        .enumerate()
        .map(|(seed, name)| {
            let shape = asked[&name].dims().to_vec();
            let (mean, scale) = if shape.len() == 1 { (1.0, 0.2) } else { (0.0, (shape[1] as f64).sqrt().recip()) };
            let drawn = (values(seed as u64 + 1, 0.0, &shape, DType::F32)? * scale)?;
            Ok((name, (drawn + mean)?))
        })
        .collect()
}

#[test]
fn a_bert_embeds_the_same() -> Result<()> {
    let config =
        encoders::Config { vocabulary: 50, positions: 16, hidden: 48, heads: 4, inner: 96, layers: 3, eps: 1e-12 };
    let all = encoders::all();
    let weights = weights(|vb| all[0].1(&config, vb).map(|_| ()))?;
    let tokens = Tensor::new(&[[1u32, 7, 49, 3, 0], [2, 2, 5, 8, 13]], &Device::Cpu)?;
    let mask = Tensor::new(&[[1u32, 1, 1, 0, 0], [1, 1, 1, 1, 1]], &Device::Cpu)?;
    let embed = |at: usize, dtype| {
        let vb = VarBuilder::from_tensors(weights.clone(), dtype, &Device::Cpu);
        all[at].1(&config, vb)?.embed(&tokens, &mask)
    };
    // candle's own ops, in f64, of which candle-nn has not all norms.
    let exact = rows(&embed(1, DType::F64)?)?;
    let stock = error(&embed(0, DType::F32)?, &exact)?;
    for (at, (name, _)) in all.iter().enumerate().skip(1) {
        let off = error(&embed(at, DType::F32)?, &exact)?;
        assert!(off <= 2.0 * stock, "{name}: {off:e} off, {stock:e} with candle-nn's norms");
    }
    Ok(())
}

#[test]
fn a_llama_has_the_same_logits() -> Result<()> {
    let config =
        decoders::Config { vocabulary: 40, hidden: 64, heads: 4, key_heads: 2, inner: 96, layers: 3, eps: 1e-5 };
    let all = decoders::all();
    let weights = weights(|vb| all[0].1(&config, vb).map(|_| ()))?;
    let tokens = Tensor::new(&[[1u32, 7, 39, 3, 0, 5], [2, 2, 5, 8, 13, 21]], &Device::Cpu)?;
    let logits = |at: usize, dtype| {
        let vb = VarBuilder::from_tensors(weights.clone(), dtype, &Device::Cpu);
        all[at].1(&config, vb)?.logits(&tokens)
    };
    let exact = rows(&logits(1, DType::F64)?)?;
    for dtype in [DType::F32, DType::BF16] {
        let stock = error(&logits(0, dtype)?, &exact)?;
        for (at, (name, _)) in all.iter().enumerate().skip(1) {
            let off = error(&logits(at, dtype)?, &exact)?;
            assert!(off <= 2.0 * stock, "{name} {dtype:?}: {off:e} off, {stock:e} with candle-nn's norms");
        }
    }
    Ok(())
}

/// all-MiniLM-L6-v2 on the example of its documentation, with the cosines that are printed there.
#[test]
#[ignore = "needs the weights: WARPNORM_MINILM=$(scripts/minilm_model.sh)"]
fn minilm_embeds_as_published() -> Result<()> {
    let folder = PathBuf::from(std::env::var_os("WARPNORM_MINILM").expect("WARPNORM_MINILM is set"));
    let config = encoders::Config {
        vocabulary: 30522,
        positions: 512,
        hidden: 384,
        heads: 12,
        inner: 1536,
        layers: 6,
        eps: 1e-12,
    };
    let mut tokenizer = Tokenizer::from_file(folder.join("tokenizer.json")).expect("a tokenizer");
    tokenizer.with_padding(Some(PaddingParams::default()));
    let sentences = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."];
    let encodings = tokenizer.encode_batch(sentences.to_vec(), true).expect("tokens");
    let stack = |of: fn(&Encoding) -> &[u32]| {
        let rows: Result<Vec<Tensor>> = encodings.iter().map(|one| Tensor::new(of(one), &Device::Cpu)).collect();
        Tensor::stack(&rows?, 0)
    };
    let (tokens, mask) = (stack(Encoding::get_ids)?, stack(Encoding::get_attention_mask)?);
    let weights = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu)?;
    for (name, encoder) in encoders::all() {
        let vb = VarBuilder::from_tensors(weights.clone(), DType::F32, &Device::Cpu);
        let embeddings = encoder(&config, vb)?.embed(&tokens, &mask)?;
        let cosines = embeddings.matmul(&embeddings.t()?)?.to_vec2::<f32>()?;
        for (a, b, published) in [(0, 1, 0.6660), (0, 2, 0.1046), (1, 2, 0.1411)] {
            assert!((cosines[a][b] - published).abs() <= 1e-4, "{name}: {} and {}: {}", a, b, cosines[a][b]);
        }
    }
    Ok(())
}
