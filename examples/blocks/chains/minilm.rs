//! The norms of a real network: all-MiniLM-L6-v2, a BERT encoder of six layers.
//!
//! `fixtures/minilm-layer-norms.safetensors` holds, for each of its 13 LayerNorms over three sentences, what entered,
//! weight and bias, and the result in f64; of the matrices between them it holds the results alone. So
//! [`Recorded`] is the network's residual stream from the embeddings to the output, carried by the norms, with what
//! attention and feed-forward blocks put out in the recording in their place.

use super::{Batch, Chain, Machine, Result, Tensor};
use safetensors::SafeTensors;
use warpnorm::host::Problem;
use warpnorm::{DType, presets};

/// From the root of the package.
pub const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/minilm-layer-norms.safetensors");

/// Weight and bias of a norm.
#[derive(Clone)]
pub struct Affine {
    pub weight: Tensor,
    pub bias: Tensor,
}

impl Affine {
    /// In another type.
    pub fn rounded(&self, dtype: DType) -> Self {
        let rounded = |vector: &Tensor| Tensor::of(dtype, vector.columns, &vector.values());
        Self { weight: rounded(&self.weight), bias: rounded(&self.bias) }
    }
}

/// One LayerNorm of the recording.
pub struct RecordedNorm {
    /// What the block before it put out, its bias added, f32.
    pub x: Tensor,
    /// What is added to it: the result of the norm before, rounded to f32.
    pub residual: Tensor,
    pub affine: Affine,
    /// The result in f64.
    pub y: Vec<f64>,
}

/// The recording.
pub struct MiniLm {
    pub batch: Batch,
    /// In the order of execution: that of the embeddings, then two a layer.
    pub norms: Vec<RecordedNorm>,
}

impl MiniLm {
    /// Reads the fixture.
    pub fn load() -> Result<Self> {
        let file = std::fs::read(FIXTURE)?;
        let tensors = SafeTensors::deserialize(&file)?;
        let mut names: Vec<&str> = tensors.names().iter().filter_map(|name| name.strip_suffix(".y")).collect();
        names.sort_unstable();
        let norms = names.iter().map(|name| -> Result<RecordedNorm> {
            let tensor = |field| tensors.tensor(&format!("{name}.{field}"));
            let f32s = |field| -> Result<Tensor> {
                let view = tensor(field)?;
                let columns = *view.shape().last().ok_or("a tensor without a shape")?;
                let values = view.data().as_chunks().0.iter().map(|&bytes| f64::from(f32::from_le_bytes(bytes)));
                Ok(Tensor::of(DType::F32, columns, &values.collect::<Vec<f64>>()))
            };
            Ok(RecordedNorm {
                x: f32s("x")?,
                residual: f32s("residual")?,
                affine: Affine { weight: f32s("weight")?, bias: f32s("bias")? },
                y: tensor("y")?.data().as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect(),
            })
        });
        let norms = norms.collect::<Result<_>>()?;
        let (_, header) = SafeTensors::read_metadata(&file)?;
        let sentences = header.metadata().as_ref().and_then(|metadata| metadata.get("sentence_rows"));
        let sentences = sentences.ok_or("the fixture does not say how long its sentences are")?;
        let lengths = sentences.trim_matches(['[', ']']).split(", ").map(str::parse);
        Ok(Self { batch: Batch { sequences: lengths.collect::<std::result::Result<_, _>>()? }, norms })
    }
}

/// The residual stream of the recording, in a type.
pub struct Recorded {
    /// The embeddings of position and token type.
    pub input: Tensor,
    /// What each block put out, and the norm behind it.
    pub blocks: Vec<(Tensor, Affine)>,
}

impl Recorded {
    pub fn new(dtype: DType, recorded: &MiniLm) -> Self {
        let rounded = |tensor: &Tensor| Tensor::of(dtype, tensor.columns, &tensor.values());
        Self {
            input: rounded(&recorded.norms[0].residual),
            blocks: recorded.norms.iter().map(|norm| (rounded(&norm.x), norm.affine.rounded(dtype))).collect(),
        }
    }
}

impl Chain for Recorded {
    fn name(&self) -> &'static str {
        "post-norm (MiniLM, blocks as recorded)"
    }

    fn forward(&self, machine: &Machine<'_>) -> Result<Tensor> {
        let mut h = self.input.clone();
        for (x, affine) in &self.blocks {
            h = machine.y(&Problem {
                residual: Some(&h.bytes),
                weight: Some(affine.weight.vector()),
                bias: Some(affine.bias.vector()),
                ..x.problem(presets::bert())
            })?;
        }
        Ok(h)
    }
}
