//! Tensor files for the tests.

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

/// The element types that norms take.
pub const TYPES: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::BF16];

/// A tensor with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// The bytes of values rounded to a type, by `half` and by the compiler.
pub fn encode(dtype: Dtype, values: &[f64]) -> Vec<u8> {
    match dtype {
        Dtype::F64 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Dtype::F32 => values.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect(),
        Dtype::F16 => values.iter().flat_map(|&v| f16::from_f64(v).to_le_bytes()).collect(),
        Dtype::BF16 => values.iter().flat_map(|&v| bf16::from_f64(v).to_le_bytes()).collect(),
        _ => values.iter().map(|&v| v as u8).collect(),
    }
}

/// The values of bytes.
pub fn decode(dtype: Dtype, bytes: &[u8]) -> Vec<f64> {
    let pairs = || bytes.chunks_exact(2).map(|b| u16::from_le_bytes(b.try_into().unwrap()));
    match dtype {
        Dtype::F64 => bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
        Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect(),
        Dtype::F16 => pairs().map(|bits| f16::from_bits(bits).into()).collect(),
        Dtype::BF16 => pairs().map(|bits| bf16::from_bits(bits).into()).collect(),
        _ => panic!("{dtype} is not for these tests"),
    }
}

/// A value rounded to a type.
pub fn round(dtype: Dtype, value: f64) -> f64 {
    decode(dtype, &encode(dtype, &[value]))[0]
}

impl Tensor {
    pub fn new(name: &str, dtype: Dtype, shape: &[usize], values: &[f64]) -> Tensor {
        assert_eq!(shape.iter().product::<usize>(), values.len());
        Tensor { name: name.to_owned(), dtype, shape: shape.to_vec(), bytes: encode(dtype, values) }
    }

    pub fn values(&self) -> Vec<f64> {
        decode(self.dtype, &self.bytes)
    }
}

/// Writes a file of these tensors.
pub fn write(path: &Path, tensors: &[Tensor]) {
    let views = tensors.iter().map(|tensor| {
        (tensor.name.as_str(), TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes).unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// The tensors of a file, by name.
pub fn read(path: &Path) -> Vec<Tensor> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<Tensor> = file
        .iter()
        .map(|(name, view)| Tensor {
            name: name.to_owned(),
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            bytes: view.data().to_vec(),
        })
        .collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    tensors
}

/// The tensor of this name.
#[track_caller]
pub fn named<'a>(tensors: &'a [Tensor], name: &str) -> &'a Tensor {
    tensors.iter().find(|tensor| tensor.name == name).unwrap_or_else(|| panic!("no {name}"))
}

/// Uneven values of both signs between −2 and 2, the same on every run (a linear congruential
/// generator; the constants are Knuth's).
pub fn values(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1u64 << 29) as f64 - 2.0
    };
    (0..count).map(|_| next()).collect()
}
