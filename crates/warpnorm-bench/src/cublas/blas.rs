//! What the compositions ask of a BLAS, whose matrices are column-major.

use crate::BenchError;
use warpnorm::DType;

/// The calls of BLAS that a norm is composed of.
///
/// # Safety
/// Of every call: the tensors are allocated, and nothing else writes them until the stream has run the call.
pub trait Blas {
    /// y += alpha·x, of so many elements.
    ///
    /// # Safety
    /// As the trait says.
    ///
    /// # Errors
    /// cuBLAS refuses.
    unsafe fn axpy(&self, count: u64, alpha: f32, x: u64, y: u64, dtype: DType) -> Result<(), BenchError>;

    /// y = x, of so many elements.
    ///
    /// # Safety
    /// As the trait says.
    ///
    /// # Errors
    /// cuBLAS refuses.
    unsafe fn copy(&self, count: u64, x: u64, y: u64, dtype: DType) -> Result<(), BenchError>;

    /// A product, or a batch of them.
    ///
    /// # Safety
    /// As the trait says, and c overlaps neither factor.
    ///
    /// # Errors
    /// cuBLAS refuses, or a size is past an int.
    unsafe fn product(&self, product: &Product) -> Result<(), BenchError>;

    /// out = alpha·Aᵀ·x: of every row of f32s, its product with a vector.
    ///
    /// # Safety
    /// As the trait says.
    ///
    /// # Errors
    /// cuBLAS refuses, or a size is past an int.
    unsafe fn gemv(&self, shape: (usize, usize), alpha: f32, vectors: (u64, u64, u64)) -> Result<(), BenchError>;

    /// A += alpha·x·yᵀ, of f32s: x has `hidden` elements, y has `rows`.
    ///
    /// # Safety
    /// As the trait says.
    ///
    /// # Errors
    /// cuBLAS refuses, or a size is past an int.
    unsafe fn ger(&self, shape: (usize, usize), alpha: f32, vectors: (u64, u64, u64)) -> Result<(), BenchError>;

    /// C = A·diag(x) where `by_row`, else diag(x)·A, of f32s; C may be A.
    ///
    /// # Safety
    /// As the trait says.
    ///
    /// # Errors
    /// cuBLAS refuses, or a size is past an int.
    unsafe fn dgmm(&self, shape: (usize, usize), by_row: bool, vectors: (u64, u64, u64)) -> Result<(), BenchError>;

    /// out = 1/√(sum·scale + eps), in this type.
    ///
    /// # Safety
    /// As the trait says.
    ///
    /// # Errors
    /// The driver refuses.
    unsafe fn rsqrt(
        &self,
        rows: usize,
        vectors: (u64, u64),
        factors: (f32, f32),
        dtype: DType,
    ) -> Result<(), BenchError>;
}

/// A matrix in a product, column-major.
#[derive(Clone, Copy)]
pub struct Matrix {
    pub address: u64,
    pub dtype: DType,
    /// Elements from one column to the next.
    pub leading: usize,
    /// Elements from one matrix of a batch to the next.
    pub stride: usize,
    pub transposed: bool,
}

impl Matrix {
    /// One whose columns are so many elements apart.
    pub fn new(address: u64, dtype: DType, leading: usize) -> Self {
        Self { address, dtype, leading, stride: 0, transposed: false }
    }
}

/// `c = alpha·a·b + beta·c`, of `m × k` and `k × n`, so many times.
#[derive(Clone, Copy)]
pub struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub batch: usize,
    pub a: Matrix,
    pub b: Matrix,
    pub c: Matrix,
    pub alpha: f32,
    pub beta: f32,
}
