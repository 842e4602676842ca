//! Post-norm: the norm after each block's sum, as the original transformer, BERT and DeepNorm have it.
//!
//! After Vaswani et al., *Attention Is All You Need* (2017), Hugging Face's `modeling_bert.py`, and Wang et al.,
//! *DeepNet: Scaling Transformers to 1,000 Layers* (2022), as torchscale's `encoder.py` has it. A layer is
//!
//! ```text
//! h = norm(α·h + attention(h))         α = 1 for BERT, (2·layers)^¼ for DeepNorm
//! h = norm(α·h + W₂·gelu(W₁·h + b₁) + b₂)
//! ```
//!
//! and each line's sum, the bias of the last Linear before it included, is taken in the pass of the norm.

use super::minilm::{Affine, MiniLm};
use super::{Attention, Batch, Chain, Machine, Result, Source, Tensor};
use warpnorm::host::Problem;
use warpnorm::{Activation, DType, Norm, presets};

pub struct Layer {
    /// `3·hidden × hidden`.
    pub qkv: Tensor,
    pub qkv_bias: Tensor,
    /// `hidden × hidden`.
    pub output: Tensor,
    pub output_bias: Tensor,
    pub attention_norm: Affine,
    /// `inner × hidden`.
    pub up: Tensor,
    pub up_bias: Tensor,
    /// `hidden × inner`.
    pub down: Tensor,
    pub down_bias: Tensor,
    pub output_norm: Affine,
}

impl Layer {
    /// Matrices at random, those that DeepNorm scales by its β times `gain`.
    fn new(source: &mut Source, gain: f64, (hidden, inner): (usize, usize), norms: [Affine; 2]) -> Self {
        let [attention_norm, output_norm] = norms;
        Self {
            qkv: source.matrix(3 * hidden, hidden, 1.0),
            qkv_bias: source.vector(3 * hidden, 0.0, 0.1),
            output: source.matrix(hidden, hidden, gain),
            output_bias: source.vector(hidden, 0.0, 0.2),
            attention_norm,
            up: source.matrix(inner, hidden, gain),
            up_bias: source.vector(inner, 0.0, 0.1),
            down: source.matrix(hidden, inner, gain),
            down_bias: source.vector(hidden, 0.0, 0.2),
            output_norm,
        }
    }
}

pub struct PostNorm {
    name: &'static str,
    pub batch: Batch,
    pub head: usize,
    pub norm: Norm,
    /// What enters, and where there is a norm of the embeddings, what is added in its pass, and its parameters.
    pub input: Tensor,
    pub embedding: Option<(Tensor, Affine)>,
    pub layers: Vec<Layer>,
}

impl PostNorm {
    /// BERT: MiniLM's embedded sentences, and the norms of its first layers. The fixture holds no matrices; they are
    /// random ones of the model's shapes.
    pub fn bert(dtype: DType, recorded: &MiniLm) -> Self {
        let mut source = Source::new(dtype, 5);
        let parameters = |index: usize| recorded.norms[index].affine.rounded(dtype);
        let embedding = &recorded.norms[0];
        let hidden = embedding.x.columns;
        let layers = (0..2).map(|layer| {
            let norms = [parameters(1 + 2 * layer), parameters(2 + 2 * layer)];
            Layer::new(&mut source, 1.0, (hidden, 4 * hidden), norms)
        });
        Self {
            name: "post-norm (BERT, MiniLM's norms)",
            batch: recorded.batch.clone(),
            head: 32,
            norm: presets::bert(),
            layers: layers.collect(),
            input: Tensor::of(dtype, hidden, &embedding.x.values()),
            embedding: Some((Tensor::of(dtype, hidden, &embedding.residual.values()), parameters(0))),
        }
    }

    /// DeepNorm: an encoder of two layers.
    pub fn deep_norm(dtype: DType) -> Self {
        let (hidden, layers) = (96, 2u32);
        let mut source = Source::new(dtype, 7);
        let batch = Batch { sequences: vec![4] };
        let gain = (8.0 * f64::from(layers)).powf(-0.25);
        let norm = |source: &mut Source| Affine {
            weight: source.vector(hidden, 1.0, 0.2),
            bias: source.vector(hidden, 0.0, 0.2),
        };
        let layer = |source: &mut Source| {
            let norms = [norm(source), norm(source)];
            Layer::new(source, gain, (hidden, 2 * hidden), norms)
        };
        Self {
            name: "post-norm, residual scaled up (DeepNorm)",
            head: 32,
            norm: presets::deep_norm(layers),
            input: source.activations(batch.rows(), hidden),
            embedding: None,
            layers: (0..layers).map(|_| layer(&mut source)).collect(),
            batch,
        }
    }

    /// norm(α·h + x + b), b the bias of the Linear that x comes from.
    fn add_and_norm(
        &self,
        machine: &Machine<'_>,
        h: &Tensor,
        (x, bias): (&Tensor, Option<&Tensor>),
        affine: &Affine,
    ) -> Result<Tensor> {
        machine.y(&Problem {
            residual: Some(&h.bytes),
            linear_bias: bias.map(Tensor::vector),
            weight: Some(affine.weight.vector()),
            bias: Some(affine.bias.vector()),
            ..x.problem(self.norm)
        })
    }
}

impl Chain for PostNorm {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, machine: &Machine<'_>) -> Result<Tensor> {
        let hidden = self.input.columns;
        let attention = Attention { head: self.head, scale: (self.head as f64).powf(-0.5), causal: false, cap: None };
        let mut h = match &self.embedding {
            Some((residual, affine)) => self.add_and_norm(machine, residual, (&self.input, None), affine)?,
            None => self.input.clone(),
        };
        for layer in &self.layers {
            let qkv = machine.linear(&h, &layer.qkv, &layer.qkv_bias)?;
            let part = |index: usize| qkv.columns(index * hidden..(index + 1) * hidden);
            let context = attention.of(&self.batch, &part(0), &part(1), &part(2));
            let projected = machine.product(&context, &layer.output)?;
            h = self.add_and_norm(machine, &h, (&projected, Some(&layer.output_bias)), &layer.attention_norm)?;

            let inner = machine.linear(&h, &layer.up, &layer.up_bias)?;
            let activated = machine.y(&inner.problem(Norm::activation(Activation::GeluExact)))?;
            let block = machine.product(&activated, &layer.down)?;
            h = self.add_and_norm(machine, &h, (&block, Some(&layer.down_bias)), &layer.output_norm)?;
        }
        Ok(h)
    }
}
