//! Sentence embeddings by all-MiniLM-L6-v2: sentences in, a table of similarities out. The encoder is written once and
//! built three times: with candle-nn's norms, with those of this crate, and with residual add and norm as one.
//!
//! ```sh
//! cargo run --release -p warpnorm-candle --example minilm -- "$(scripts/minilm_model.sh)" [sentence]...
//! ```
//!
//! On the first GPU, where there is one and the feature `cuda` is on.

mod encoders;

use candle_core::{DType, Device, Error, Result, Tensor};
use candle_nn::VarBuilder;
use encoders::Config;
use std::path::Path;
use std::time::Instant;
use tokenizers::{PaddingParams, Tokenizer};

/// The example of the sentence-transformers documentation.
const SENTENCES: [&str; 3] = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."];

fn config(folder: &Path) -> Result<Config> {
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("config.json"))?).map_err(Error::wrap)?;
    let number = |name: &str| {
        let value = json[name].as_u64().ok_or_else(|| Error::msg(format!("config.json has no {name}")))?;
        Ok::<_, Error>(value as usize)
    };
    Ok(Config {
        vocabulary: number("vocab_size")?,
        positions: number("max_position_embeddings")?,
        hidden: number("hidden_size")?,
        heads: number("num_attention_heads")?,
        inner: number("intermediate_size")?,
        layers: number("num_hidden_layers")?,
        eps: json["layer_norm_eps"].as_f64().unwrap_or(1e-12),
    })
}

/// Tokens and mask, [sentences, tokens of the longest].
fn encode(folder: &Path, sentences: &[String], device: &Device) -> Result<(Tensor, Tensor)> {
    let mut tokenizer = Tokenizer::from_file(folder.join("tokenizer.json")).map_err(Error::msg)?;
    tokenizer.with_padding(Some(PaddingParams::default()));
    let encodings = tokenizer.encode_batch(sentences.to_vec(), true).map_err(Error::msg)?;
    let rows = |of: fn(&tokenizers::Encoding) -> &[u32]| {
        let rows: Vec<Tensor> =
            encodings.iter().map(|encoding| Tensor::new(of(encoding), device)).collect::<Result<_>>()?;
        Tensor::stack(&rows, 0)
    };
    Ok((rows(tokenizers::Encoding::get_ids)?, rows(tokenizers::Encoding::get_attention_mask)?))
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next() else {
        return Err(Error::msg("usage: minilm FOLDER [SENTENCE]...; scripts/minilm_model.sh prints the folder"));
    };
    let folder = Path::new(&folder);
    let mut sentences: Vec<String> = arguments.collect();
    if sentences.is_empty() {
        sentences = SENTENCES.map(str::to_owned).to_vec();
    }
    let device = Device::cuda_if_available(0)?;
    let config = config(folder)?;
    let weights = candle_core::safetensors::load(folder.join("model.safetensors"), &device)?;
    let (tokens, mask) = encode(folder, &sentences, &device)?;

    let mut embeddings = Vec::new();
    for (name, encoder) in encoders::all() {
        let encoder = encoder(&config, VarBuilder::from_tensors(weights.clone(), DType::F32, &device))?;
        encoder.embed(&tokens, &mask)?;
        let start = Instant::now();
        let embedding = encoder.embed(&tokens, &mask)?.to_device(&Device::Cpu)?;
        println!("{name:<32} {:8.2} ms", start.elapsed().as_secs_f64() * 1e3);
        embeddings.push((name, embedding));
    }

    let (_, stock) = &embeddings[0];
    for (name, embedding) in &embeddings[1..] {
        let off = (embedding - stock)?.abs()?.max_all()?.to_scalar::<f32>()?;
        println!("{name}: the embeddings are those of candle-nn's norms to within {off:.1e}");
    }
    let (name, embedding) = &embeddings[embeddings.len() - 1];
    println!("\ncosines, {name}:");
    let cosines = embedding.matmul(&embedding.t()?)?.to_vec2::<f32>()?;
    for (sentence, row) in sentences.iter().zip(&cosines) {
        let row: Vec<String> = row.iter().map(|cosine| format!("{cosine:7.4}")).collect();
        println!("{}  {sentence}", row.join(" "));
    }
    Ok(())
}
