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
    /// The one of this number in a batch.
    fn at(self, index: usize) -> Self {
        Self { address: self.address + (index * self.stride * self.dtype.size()) as u64, ..self }
    }

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

impl Product {
    /// Batches of at most `most` that together are this one.
    pub fn batches(self, most: usize) -> impl Iterator<Item = Product> {
        let Product { batch, a, b, c, .. } = self;
        (0..batch).step_by(most.max(1)).map(move |start| Product {
            batch: most.max(1).min(batch - start),
            a: a.at(start),
            b: b.at(start),
            c: c.at(start),
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cublas::host::Host;
    use warpnorm::reference::encode;

    /// Rows of 3 times a value each, into one of another type: 7 of them, 7 by 7, by threes and one by one.
    #[test]
    fn batches_together_are_the_product() {
        const ROWS: usize = 7;
        let products = |most: usize| {
            let host = Host::default();
            let (rows, factors) = ((0..3 * ROWS).map(|i| i as f64), (0..ROWS).map(|i| 1.0 - i as f64));
            let matrix = |address, dtype, stride| Matrix { stride, ..Matrix::new(address, dtype, stride) };
            let product = Product {
                m: 3,
                n: 1,
                k: 1,
                batch: ROWS,
                a: matrix(host.upload(&encode(DType::F16, rows)), DType::F16, 3),
                b: matrix(host.upload(&encode(DType::F16, factors)), DType::F16, 1),
                c: matrix(host.upload(&[0xff; 3 * ROWS * 4]), DType::F32, 3),
                alpha: 1.0,
                beta: 0.0,
            };
            for batch in product.batches(most) {
                assert!(batch.batch <= most);
                // SAFETY: addresses of the host are places in a vector.
                unsafe { host.product(&batch) }.unwrap();
            }
            let calls = host.calls.borrow().len();
            (calls, (0..3 * ROWS).map(|i| host.get(product.c.address, DType::F32, i)).collect::<Vec<_>>())
        };
        let wanted: Vec<f64> = (0..3 * ROWS).map(|i| i as f64 * (1.0 - (i / 3) as f64)).collect();
        for (most, calls) in [(ROWS, 1), (3, 3), (1, ROWS)] {
            assert_eq!(products(most), (calls, wanted.clone()), "{most}");
        }
    }
}
