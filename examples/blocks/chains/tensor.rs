//! Matrices on the host, and where the parameters of the networks come from.

use std::ops::Range;
use warpnorm::host::{Problem, Vector};
use warpnorm::reference::{decode, encode};
use warpnorm::{DType, Norm};

/// A contiguous row-major matrix; a vector where it has one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub dtype: DType,
    pub rows: usize,
    pub columns: usize,
    /// `rows × columns` elements in the machine's byte order.
    pub bytes: Vec<u8>,
}

impl Tensor {
    /// These values, row after row, each rounded to the type.
    pub fn of(dtype: DType, columns: usize, values: &[f64]) -> Self {
        Self { dtype, rows: values.len() / columns, columns, bytes: encode(dtype, values.iter().copied()) }
    }

    /// Its elements, row after row.
    pub fn values(&self) -> Vec<f64> {
        decode(self.dtype, &self.bytes)
    }

    /// Some of its columns as a matrix of their own. On a GPU this is a strided view of the same memory: see
    /// `warpnorm::cuda::Rows::strided`.
    pub fn columns(&self, range: Range<usize>) -> Self {
        let size = self.dtype.size();
        let rows = self.bytes.chunks_exact(self.columns * size);
        let bytes = rows.flat_map(|row| &row[range.start * size..range.end * size]).copied().collect();
        Self { dtype: self.dtype, rows: self.rows, columns: range.len(), bytes }
    }

    /// As the x of a norm of its rows.
    pub fn problem(&self, norm: Norm) -> Problem<'_> {
        Problem::new(norm, self.dtype, self.rows, self.columns, &self.bytes)
    }

    /// As the x of a norm of the heads or groups of its rows, so many elements each.
    pub fn parts_problem(&self, norm: Norm, hidden: usize) -> Problem<'_> {
        Problem { parts: self.columns / hidden, ..Problem::new(norm, self.dtype, self.rows, hidden, &self.bytes) }
    }

    /// As a parameter.
    pub fn vector(&self) -> Vector<'_> {
        Vector { dtype: self.dtype, bytes: &self.bytes }
    }
}

/// Parameters at random: the same values for every type, but for their rounding.
pub struct Source {
    state: u64,
    /// The type of matrices and of the parameters beside them.
    dtype: DType,
}

impl Source {
    pub fn new(dtype: DType, seed: u64) -> Self {
        Self { state: seed, dtype }
    }

    /// Uniform in [-√3, √3): mean 0, variance 1. The generator is Steele, Lea and Flood's SplitMix64 (2014).
    fn next(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        ((bits >> 11) as f64 / (1u64 << 52) as f64 - 1.0) * 3f64.sqrt()
    }

    /// `rows × columns` values of this standard deviation, not rounded yet.
    pub fn raw(&mut self, rows: usize, columns: usize, deviation: f64) -> Vec<f64> {
        (0..rows * columns).map(|_| deviation * self.next()).collect()
    }

    /// Activations of variance 1.
    pub fn activations(&mut self, rows: usize, columns: usize) -> Tensor {
        Tensor::of(self.dtype, columns, &self.raw(rows, columns, 1.0))
    }

    /// The weight of a Linear, `outputs × inputs`, which multiplies the deviation of rows by `gain`.
    pub fn matrix(&mut self, outputs: usize, inputs: usize, gain: f64) -> Tensor {
        Tensor::of(self.dtype, inputs, &self.raw(outputs, inputs, gain / (inputs as f64).sqrt()))
    }

    /// A parameter per feature.
    pub fn vector(&mut self, length: usize, mean: f64, deviation: f64) -> Tensor {
        self.vector_of(self.dtype, length, mean, deviation)
    }

    /// The same in a type of its own.
    pub fn vector_of(&mut self, dtype: DType, length: usize, mean: f64, deviation: f64) -> Tensor {
        let values: Vec<f64> = self.raw(1, length, deviation).into_iter().map(|value| mean + value).collect();
        Tensor::of(dtype, length, &values)
    }
}
