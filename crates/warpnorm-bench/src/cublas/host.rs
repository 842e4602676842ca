//! A BLAS for tests.

use super::blas::{Blas, Matrix, Product};
use crate::BenchError;
use std::cell::RefCell;
use warpnorm::DType;
use warpnorm::reference::{decode, encode};

/// The definitions of the BLAS calls, in f64, on memory of the host. Addresses are places in it.
#[derive(Default)]
pub struct Host {
    memory: RefCell<Vec<u8>>,
    /// The calls so far.
    pub calls: RefCell<Vec<&'static str>>,
}

impl Host {
    /// Puts bytes where nothing else is.
    pub fn upload(&self, bytes: &[u8]) -> u64 {
        let mut memory = self.memory.borrow_mut();
        let start = memory.len().next_multiple_of(256).max(256);
        memory.resize(start, 0xff);
        memory.extend_from_slice(bytes);
        start as u64
    }

    /// An element of a tensor.
    pub fn get(&self, address: u64, dtype: DType, index: usize) -> f64 {
        let start = address as usize + index * dtype.size();
        decode(dtype, &self.memory.borrow()[start..start + dtype.size()])[0]
    }

    fn set(&self, address: u64, dtype: DType, index: usize, value: f64) {
        let start = address as usize + index * dtype.size();
        self.memory.borrow_mut()[start..start + dtype.size()].copy_from_slice(&encode(dtype, [value]));
    }

    fn element(&self, matrix: &Matrix, batch: usize, row: usize, column: usize) -> f64 {
        let (row, column) = if matrix.transposed { (column, row) } else { (row, column) };
        self.get(matrix.address, matrix.dtype, batch * matrix.stride + column * matrix.leading + row)
    }
}

impl Blas for Host {
    unsafe fn axpy(&self, count: u64, alpha: f32, x: u64, y: u64, dtype: DType) -> Result<(), BenchError> {
        self.calls.borrow_mut().push("axpy");
        for i in 0..count as usize {
            self.set(y, dtype, i, self.get(y, dtype, i) + f64::from(alpha) * self.get(x, dtype, i));
        }
        Ok(())
    }

    unsafe fn copy(&self, count: u64, x: u64, y: u64, dtype: DType) -> Result<(), BenchError> {
        self.calls.borrow_mut().push("copy");
        (0..count as usize).for_each(|i| self.set(y, dtype, i, self.get(x, dtype, i)));
        Ok(())
    }

    unsafe fn product(&self, product: &Product) -> Result<(), BenchError> {
        self.calls.borrow_mut().push("product");
        let Product { m, n, k, batch, a, b, c, alpha, beta } = product;
        assert!(c.address != a.address && c.address != b.address, "a product over its own factor");
        for index in 0..*batch {
            for (i, j) in (0..*m).flat_map(|i| (0..*n).map(move |j| (i, j))) {
                let terms = (0..*k).map(|l| self.element(a, index, i, l) * self.element(b, index, l, j));
                let sum = f64::from(*alpha) * terms.sum::<f64>();
                let before = if *beta == 0.0 { 0.0 } else { f64::from(*beta) * self.element(c, index, i, j) };
                self.set(c.address, c.dtype, index * c.stride + j * c.leading + i, sum + before);
            }
        }
        Ok(())
    }

    unsafe fn gemv(&self, shape: (usize, usize), alpha: f32, (a, x, out): (u64, u64, u64)) -> Result<(), BenchError> {
        self.calls.borrow_mut().push("gemv");
        let f32 = |address, index| self.get(address, DType::F32, index);
        for row in 0..shape.1 {
            let sum: f64 = (0..shape.0).map(|i| f32(a, row * shape.0 + i) * f32(x, i)).sum();
            self.set(out, DType::F32, row, f64::from(alpha) * sum);
        }
        Ok(())
    }

    unsafe fn ger(&self, shape: (usize, usize), alpha: f32, (x, y, a): (u64, u64, u64)) -> Result<(), BenchError> {
        self.calls.borrow_mut().push("ger");
        let f32 = |address, index| self.get(address, DType::F32, index);
        for (row, i) in (0..shape.1).flat_map(|row| (0..shape.0).map(move |i| (row, i))) {
            let at = row * shape.0 + i;
            self.set(a, DType::F32, at, f32(a, at) + f64::from(alpha) * f32(x, i) * f32(y, row));
        }
        Ok(())
    }

    unsafe fn dgmm(&self, shape: (usize, usize), by_row: bool, (a, x, c): (u64, u64, u64)) -> Result<(), BenchError> {
        self.calls.borrow_mut().push("dgmm");
        let f32 = |address, index| self.get(address, DType::F32, index);
        for (row, i) in (0..shape.1).flat_map(|row| (0..shape.0).map(move |i| (row, i))) {
            let at = row * shape.0 + i;
            self.set(c, DType::F32, at, f32(a, at) * f32(x, if by_row { row } else { i }));
        }
        Ok(())
    }

    unsafe fn rsqrt(
        &self,
        rows: usize,
        (sums, out): (u64, u64),
        (scale, eps): (f32, f32),
        dtype: DType,
    ) -> Result<(), BenchError> {
        self.calls.borrow_mut().push("rsqrt");
        for row in 0..rows {
            let square = self.get(sums, DType::F32, row) * f64::from(scale) + f64::from(eps);
            self.set(out, dtype, row, 1.0 / square.sqrt());
        }
        Ok(())
    }
}
