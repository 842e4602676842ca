//! Presets by their names in text, with numbers after colons where a preset takes them.

use crate::{Norm, NormError, presets};
use std::fmt;
use thiserror::Error;

/// A norm by name: what [`named`] finds. Displayed, it is the text again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preset {
    name: &'static str,
    /// The numbers that it was made from.
    numbers: [Option<u32>; 2],
    /// The norm.
    pub norm: Norm,
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        self.numbers.iter().flatten().try_for_each(|number| write!(f, ":{number}"))
    }
}

/// A text that names no preset.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PresetError {
    /// There is no preset of this name.
    #[error("there is no preset {given:?}, wanted one of {}", names())]
    Unknown {
        /// The name given.
        given: String,
    },
    /// The preset is made of other numbers.
    #[error("{given:?}: {wanted}")]
    Numbers {
        /// The text given.
        given: String,
        /// What is wanted after the name.
        wanted: String,
    },
    /// The numbers make no valid norm.
    #[error(transparent)]
    Norm(#[from] NormError),
}

fn names() -> String {
    let names: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

/// How a preset is made.
enum Make {
    Alone(fn() -> Norm),
    OfLayers(fn(u32) -> Norm),
    OfEncoderAndDecoder(fn(u32, u32) -> Norm),
    /// Elements of a head that are rotated.
    OfHeads(fn(usize) -> Norm),
}

use Make::{Alone, OfEncoderAndDecoder, OfHeads, OfLayers};

const PRESETS: &[(&str, Make)] = &[
    ("llama", Alone(presets::llama)),
    ("mistral", Alone(presets::mistral)),
    ("qwen3", Alone(presets::qwen3)),
    ("qwen3-heads", OfHeads(presets::qwen3_heads)),
    ("qwen3-next-gated", Alone(presets::qwen3_next_gated)),
    ("t5", Alone(presets::t5)),
    ("gemma", Alone(presets::gemma)),
    ("gemma2-add", Alone(presets::gemma2_add)),
    ("gemma2-sandwich", Alone(presets::gemma2_sandwich)),
    ("olmo2", Alone(presets::olmo2)),
    ("olmo2-add", Alone(presets::olmo2_add)),
    ("gpt2", Alone(presets::gpt2)),
    ("bert", Alone(presets::bert)),
    ("deep-norm", OfLayers(presets::deep_norm)),
    ("deep-norm-encoder", OfEncoderAndDecoder(presets::deep_norm_encoder)),
    ("deep-norm-decoder", OfLayers(presets::deep_norm_decoder)),
    ("n-gpt", Alone(presets::n_gpt)),
    // The factor is an option.
    ("n-gpt-step", Alone(|| presets::n_gpt_step(1.0))),
    ("mamba2", Alone(presets::mamba2)),
    ("mamba2-norm-before-gate", Alone(presets::mamba2_norm_before_gate)),
    ("vllm", Alone(presets::vllm)),
    ("vllm-static-fp8", Alone(presets::vllm_static_fp8)),
    ("vllm-dynamic", Alone(presets::vllm_dynamic)),
    ("flash-infer", Alone(presets::flash_infer)),
    ("flash-infer-gemma", Alone(presets::flash_infer_gemma)),
];

/// The preset of a text such as `llama` or `deep-norm:24`: the name of the function with hyphens, and the numbers
/// that it takes after colons. `n-gpt-step` has a rate scale of 1, where nGPT's repository has
/// 0.05 / `base_scale`.
///
/// ```
/// use warpnorm::presets;
///
/// assert_eq!(presets::named("deep-norm:24")?.norm, presets::deep_norm(24));
/// # Ok::<(), presets::PresetError>(())
/// ```
///
/// # Errors
/// There is no such preset, or it is made of other numbers.
pub fn named(text: &str) -> Result<Preset, PresetError> {
    let mut parts = text.split(':');
    let given = parts.next().unwrap_or_default();
    let Some((name, make)) = PRESETS.iter().find(|(name, _)| *name == given) else {
        return Err(PresetError::Unknown { given: given.to_owned() });
    };
    let parse = |part: &str| part.parse::<u32>().ok().filter(|&number| number > 0);
    let numbers: Option<Vec<u32>> = parts.map(parse).collect();
    let refuse = |wanted: String| Err(PresetError::Numbers { given: text.to_owned(), wanted });
    let (numbers, norm) = match (make, numbers.as_deref()) {
        (Alone(make), Some([])) => ([None; 2], make()),
        (Alone(_), _) => return refuse(format!("{name} takes no number")),
        (OfLayers(make), Some(&[layers])) => ([Some(layers), None], make(layers)),
        (OfLayers(_), _) => return refuse(format!("wanted the number of layers, as in {name}:24")),
        (OfEncoderAndDecoder(make), Some(&[encoder, decoder])) => {
            ([Some(encoder), Some(decoder)], make(encoder, decoder))
        }
        (OfEncoderAndDecoder(_), _) => {
            return refuse(format!("wanted the layers of encoder and decoder, as in {name}:6:6"));
        }
        (OfHeads(make), Some(&[dim])) => ([Some(dim), None], make(dim as usize)),
        (OfHeads(_), _) => {
            return refuse(format!("wanted the elements of a head that are rotated, as in {name}:128"));
        }
    };
    norm.validate()?;
    Ok(Preset { name, numbers, norm })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_the_librarys() {
        assert_eq!(named("gemma").map(|preset| preset.norm), Ok(presets::gemma()));
        assert_eq!(named("deep-norm:24").map(|preset| preset.norm), Ok(presets::deep_norm(24)));
        assert_eq!(named("deep-norm-encoder:6:3").map(|preset| preset.norm), Ok(presets::deep_norm_encoder(6, 3)));
        assert_eq!(named("qwen3-heads:64").map(|preset| preset.norm), Ok(presets::qwen3_heads(64)));
        assert_eq!(named("deep-norm-encoder:6:3").unwrap().to_string(), "deep-norm-encoder:6:3");
        // The name alone is what the module of that name has by default.
        assert_eq!(named("mamba2").map(|preset| preset.norm), Ok(presets::mamba2()));
        for (bad, word) in [
            ("bloom", "wanted one of llama, mistral"),
            ("llama:2", "llama takes no number"),
            ("deep-norm", "as in deep-norm:24"),
            ("deep-norm:0", "as in deep-norm:24"),
            ("deep-norm:6:6", "as in deep-norm:24"),
            ("qwen3-heads", "as in qwen3-heads:128"),
            ("qwen3-heads:127", "an even number"),
            ("deep-norm-encoder:6", "as in deep-norm-encoder:6:6"),
        ] {
            assert!(named(bad).is_err_and(|error| error.to_string().contains(word)), "{bad}");
        }
        for (name, _) in PRESETS {
            assert!(
                [name.to_string(), format!("{name}:4"), format!("{name}:4:4")].iter().any(|text| named(text).is_ok())
            );
        }
    }
}
