//! A norm as a sequence of cuBLAS calls.

use super::CuBlas;
use super::calls::{Matrix, Product};
use crate::gpu::{DeviceBuffers, Rotation};
use crate::{BenchError, Workload};
use cudarc::driver::CudaStream;
use std::sync::Arc;
use warpnorm::reference::encode;
use warpnorm::{Call, DType, Family, Input, Norm, ResidualRounding, Scope, WeightRounding};

/// The composition for a rotation.
pub struct Composed<'a> {
    cublas: &'a CuBlas,
    calls: Vec<Call>,
    /// Ones of the activation type, as many as a row or a column has.
    ones: u64,
    /// A value for every row: f32, or of the activation type where it is to be multiplied with.
    sums: u64,
    mean: u64,
    rstd: u64,
    /// As large as y, in 16 bits.
    scratch: u64,
}

/// Whether cuBLAS has what a norm needs.
///
/// # Errors
/// It has not; says what is missing.
pub fn supported(workload: &Workload) -> Result<(), BenchError> {
    let refuse = |what: &str| Err(BenchError::Unsupported(format!("no cuBLAS calls do {what}")));
    let block = &workload.block;
    let Norm { family, input, weight_rounding, weight_offset, .. } = block.norm;
    if !matches!(family, Family::LayerNorm | Family::RmsNorm) {
        return refuse("this statistic");
    }
    if block.norm.takes_gate() {
        return refuse("the activation of a gate");
    }
    if block.norm.quantisation.is_some() {
        return refuse("codes and scales");
    }
    if block.rope.is_some() || block.second.is_some() || block.norm.scope == Scope::Group {
        return refuse("a rotation, heads of two tensors or groups");
    }
    match input {
        Input::Plain => {}
        Input::ResidualAdd(add) if add.scale == 1.0 && add.rounding == ResidualRounding::Stored => {}
        _ => return refuse("this input"),
    }
    if block.norm.post_add.is_some() || block.linear_bias.is_some() {
        return refuse("this residual add");
    }
    if weight_rounding != WeightRounding::Single || weight_offset != 0.0 {
        return refuse("this weight");
    }
    let other = |vector: &Option<(DType, Vec<u8>)>| vector.as_ref().is_some_and(|(dtype, _)| *dtype != block.dtype);
    if other(&block.weight) || other(&block.bias) {
        return refuse("parameters of another type than x");
    }
    Ok(())
}

impl<'a> Composed<'a> {
    /// The composition of this workload on the tensors of a rotation. Of the residual it writes what warpnorm writes,
    /// the new residual, to which it adds x and from which it takes x away in turn.
    ///
    /// # Errors
    /// cuBLAS has no calls for it, or the driver fails.
    pub fn new(
        cublas: &'a CuBlas,
        buffers: &mut DeviceBuffers,
        workload: &Workload,
        rotation: &Rotation,
    ) -> Result<Self, BenchError> {
        supported(workload)?;
        let block = &workload.block;
        let rows = workload.rows * block.parts;
        let ones = vec![1.0; block.hidden.max(rows)];
        let composed = Self {
            cublas,
            calls: rotation.calls().to_vec(),
            ones: buffers.upload(&encode(block.dtype, ones))?,
            sums: buffers.zeros(4 * rows as u64)?,
            mean: buffers.zeros(4 * rows as u64)?,
            rstd: buffers.zeros(4 * rows as u64)?,
            scratch: if block.dtype == DType::F32 { 0 } else { buffers.zeros((2 * rows * block.hidden) as u64)? },
        };
        // The stream that comes in, where the one that goes out will be.
        for call in &composed.calls {
            if let (Some(from), Some(to)) = (call.residual, call.residual_out) {
                let count = (call.rows * call.hidden) as u64;
                // SAFETY: both are of the rotation, of so many elements.
                unsafe { cublas.copy(count, from.address, to.address, call.dtype) }?;
            }
        }
        Ok(composed)
    }

    /// Queues all calls of one norm.
    ///
    /// # Errors
    /// cuBLAS or the driver refuses one.
    pub fn queue(&self, turn: u32, stream: &Arc<CudaStream>) -> Result<(), BenchError> {
        let sets = self.calls.len() as u32;
        let call = &self.calls[(turn % sets) as usize];
        let sign = if (turn / sets).is_multiple_of(2) { 1.0 } else { -1.0 };
        // SAFETY: all tensors are of the rotation or of this, with the sizes of the call, and everything is on one
        // stream.
        unsafe {
            let x = self.add(call, sign)?;
            self.normalise(call, x, stream)
        }
    }

    /// The residual add, where there is one. Returns what is to be normalised.
    unsafe fn add(&self, call: &Call, sign: f32) -> Result<u64, BenchError> {
        let Some(residual) = call.residual_out else { return Ok(call.x.address) };
        let count = (call.rows * call.hidden) as u64;
        // SAFETY: as the caller promises.
        unsafe { self.cublas.axpy(count, sign, call.x.address, residual.address, call.dtype) }?;
        Ok(residual.address)
    }

    unsafe fn normalise(&self, call: &Call, x: u64, stream: &Arc<CudaStream>) -> Result<(), BenchError> {
        let (rows, hidden, dtype) = (call.rows * call.parts.count, call.hidden, call.dtype);
        let y = call.y.map_or(0, |y| y.address);
        let all = (hidden, rows);
        let scale = 1.0 / hidden as f32;
        // A product must not lie over its factors, a dgmm may.
        let in_place = dtype == DType::F32;
        let scaled = if in_place || call.weight.is_none() { y } else { self.scratch };
        let centred = if in_place || scaled != y { y } else { self.scratch };
        // SAFETY: as the caller promises.
        unsafe {
            let mut from = x;
            if call.norm.family == Family::LayerNorm {
                self.cublas.copy((rows * hidden) as u64, x, centred, dtype)?;
                self.sum(all, scale, centred, dtype)?;
                self.outer(all, -1.0, (self.ones, self.mean, centred), dtype)?;
                from = centred;
            }
            self.squares(all, from, dtype)?;
            self.cublas.rsqrt(stream.cu_stream(), rows, (self.sums, self.rstd), (scale, call.norm.eps), dtype)?;
            self.scale_rows(all, (from, scaled), dtype)?;
            if let Some(weight) = call.weight {
                self.scale_columns(all, (scaled, weight.address, y), dtype)?;
            }
            match call.bias {
                Some(bias) => self.outer(all, 1.0, (bias.address, self.ones, y), dtype),
                None => Ok(()),
            }
        }
    }

    /// The means of rows.
    unsafe fn sum(&self, (hidden, rows): (usize, usize), scale: f32, y: u64, dtype: DType) -> Result<(), BenchError> {
        // SAFETY: as the caller promises.
        unsafe {
            if dtype == DType::F32 {
                return self.cublas.gemv((hidden, rows), scale, (y, self.ones, self.mean));
            }
            self.cublas.product(&Product {
                m: 1,
                n: rows,
                k: hidden,
                batch: 1,
                a: Matrix::new(self.ones, dtype, 1),
                b: Matrix::new(y, dtype, hidden),
                c: Matrix::new(self.mean, dtype, 1),
                alpha: scale,
                beta: 0.0,
            })
        }
    }

    /// y += alpha·column·rowᵀ.
    unsafe fn outer(
        &self,
        (hidden, rows): (usize, usize),
        alpha: f32,
        (column, row, y): (u64, u64, u64),
        dtype: DType,
    ) -> Result<(), BenchError> {
        // SAFETY: as the caller promises.
        unsafe {
            if dtype == DType::F32 {
                return self.cublas.ger((hidden, rows), alpha, (column, row, y));
            }
            self.cublas.product(&Product {
                m: hidden,
                n: rows,
                k: 1,
                batch: 1,
                a: Matrix::new(column, dtype, hidden),
                b: Matrix::new(row, dtype, 1),
                c: Matrix::new(y, dtype, hidden),
                alpha,
                beta: 1.0,
            })
        }
    }

    /// The sums of squares of rows, in f32.
    unsafe fn squares(&self, (hidden, rows): (usize, usize), y: u64, dtype: DType) -> Result<(), BenchError> {
        let row = Matrix { stride: hidden, ..Matrix::new(y, dtype, hidden) };
        // SAFETY: as the caller promises.
        unsafe {
            self.cublas.product(&Product {
                m: 1,
                n: 1,
                k: hidden,
                batch: rows,
                a: Matrix { transposed: true, ..row },
                b: row,
                c: Matrix { stride: 1, ..Matrix::new(self.sums, DType::F32, 1) },
                alpha: 1.0,
                beta: 0.0,
            })
        }
    }

    /// Every row times its rstd.
    unsafe fn scale_rows(
        &self,
        (hidden, rows): (usize, usize),
        (from, to): (u64, u64),
        dtype: DType,
    ) -> Result<(), BenchError> {
        let row = |address| Matrix { stride: hidden, ..Matrix::new(address, dtype, hidden) };
        // SAFETY: as the caller promises.
        unsafe {
            if dtype == DType::F32 {
                return self.cublas.dgmm((hidden, rows), true, (from, self.rstd, to));
            }
            self.cublas.product(&Product {
                m: hidden,
                n: 1,
                k: 1,
                batch: rows,
                a: row(from),
                b: Matrix { stride: 1, ..Matrix::new(self.rstd, dtype, 1) },
                c: row(to),
                alpha: 1.0,
                beta: 0.0,
            })
        }
    }

    /// Every column times its weight.
    unsafe fn scale_columns(
        &self,
        (hidden, rows): (usize, usize),
        (from, weight, to): (u64, u64, u64),
        dtype: DType,
    ) -> Result<(), BenchError> {
        let column = |address| Matrix { stride: 1, ..Matrix::new(address, dtype, hidden) };
        // SAFETY: as the caller promises.
        unsafe {
            if dtype == DType::F32 {
                return self.cublas.dgmm((hidden, rows), false, (from, weight, to));
            }
            self.cublas.product(&Product {
                m: 1,
                n: rows,
                k: 1,
                batch: hidden,
                a: Matrix { stride: 1, ..Matrix::new(weight, dtype, 1) },
                b: column(from),
                c: column(to),
                alpha: 1.0,
                beta: 0.0,
            })
        }
    }
}
