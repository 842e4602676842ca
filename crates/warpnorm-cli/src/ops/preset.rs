//! Presets on the command line: the library's names, and the layers after colons where a preset takes them.

use std::fmt;
use warpnorm::{Norm, presets};

/// A norm by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preset {
    name: &'static str,
    /// The numbers of layers that it was made from.
    layers: [Option<u32>; 2],
    /// The norm.
    pub norm: Norm,
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        self.layers.iter().flatten().try_for_each(|layers| write!(f, ":{layers}"))
    }
}

/// How a preset is made.
enum Make {
    Alone(fn() -> Norm),
    OfLayers(fn(u32) -> Norm),
    OfEncoderAndDecoder(fn(u32, u32) -> Norm),
}

use Make::{Alone, OfEncoderAndDecoder, OfLayers};

const PRESETS: &[(&str, Make)] = &[
    ("llama", Alone(presets::llama)),
    ("mistral", Alone(presets::mistral)),
    ("qwen3", Alone(presets::qwen3)),
    ("t5", Alone(presets::t5)),
    ("gemma", Alone(presets::gemma)),
    ("olmo2", Alone(presets::olmo2)),
    ("gpt2", Alone(presets::gpt2)),
    ("bert", Alone(presets::bert)),
    ("deep-norm", OfLayers(presets::deep_norm)),
    ("deep-norm-encoder", OfEncoderAndDecoder(presets::deep_norm_encoder)),
    ("deep-norm-decoder", OfLayers(presets::deep_norm_decoder)),
    ("n-gpt", Alone(presets::n_gpt)),
    ("vllm", Alone(presets::vllm)),
    ("flash-infer", Alone(presets::flash_infer)),
    ("flash-infer-gemma", Alone(presets::flash_infer_gemma)),
];

/// The preset of a text such as `llama` or `deep-norm:24`.
///
/// # Errors
/// There is no such preset, or it is made of other numbers of layers; in words for clap.
pub fn parse(text: &str) -> Result<Preset, String> {
    let mut parts = text.split(':');
    let given = parts.next().unwrap_or_default();
    let Some((name, make)) = PRESETS.iter().find(|(name, _)| *name == given) else {
        let names: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
        return Err(format!("wanted one of {}", names.join(", ")));
    };
    let parse = |part: &str| part.parse::<u32>().ok().filter(|&layers| layers > 0);
    let layers: Option<Vec<u32>> = parts.map(parse).collect();
    let preset = |layers, norm| Ok(Preset { name, layers, norm });
    match (make, layers.as_deref()) {
        (Alone(make), Some([])) => preset([None; 2], make()),
        (Alone(_), _) => Err(format!("{name} takes no number")),
        (OfLayers(make), Some(&[layers])) => preset([Some(layers), None], make(layers)),
        (OfLayers(_), _) => Err(format!("wanted the number of layers, as in {name}:24")),
        (OfEncoderAndDecoder(make), Some(&[encoder, decoder])) => {
            preset([Some(encoder), Some(decoder)], make(encoder, decoder))
        }
        (OfEncoderAndDecoder(_), _) => Err(format!("wanted the layers of encoder and decoder, as in {name}:6:6")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_the_librarys() {
        assert_eq!(parse("gemma").map(|preset| preset.norm), Ok(presets::gemma()));
        assert_eq!(parse("deep-norm:24").map(|preset| preset.norm), Ok(presets::deep_norm(24)));
        assert_eq!(parse("deep-norm-encoder:6:3").map(|preset| preset.norm), Ok(presets::deep_norm_encoder(6, 3)));
        assert_eq!(parse("deep-norm-encoder:6:3").unwrap().to_string(), "deep-norm-encoder:6:3");
        for (bad, word) in [
            ("bloom", "wanted one of llama, mistral"),
            ("llama:2", "llama takes no number"),
            ("deep-norm", "as in deep-norm:24"),
            ("deep-norm:0", "as in deep-norm:24"),
            ("deep-norm:6:6", "as in deep-norm:24"),
            ("deep-norm-encoder:6", "as in deep-norm-encoder:6:6"),
        ] {
            assert!(parse(bad).is_err_and(|error| error.contains(word)), "{bad}");
        }
        for (name, _) in PRESETS {
            assert!(
                [name.to_string(), format!("{name}:4"), format!("{name}:4:4")].iter().any(|text| parse(text).is_ok())
            );
        }
    }
}
