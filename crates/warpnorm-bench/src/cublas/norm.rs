//! A norm as a sequence of cuBLAS calls.

use super::blas::{Blas, Matrix, Product};
use crate::gpu::{DeviceBuffers, Rotation};
use crate::{BenchError, Workload};
use warpnorm::reference::encode;
use warpnorm::{Call, DType, Family, Input, Norm, ResidualRounding, Scope, WeightRounding};

/// The composition for a rotation.
pub struct Composed<'a, B> {
    blas: &'a B,
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

impl<'a, B: Blas> Composed<'a, B> {
    /// The composition of this workload on the tensors of a rotation. Of the residual it writes what warpnorm writes,
    /// the new residual, to which it adds x and from which it takes x away in turn.
    ///
    /// # Errors
    /// cuBLAS has no calls for it, or the driver fails.
    pub fn new(
        blas: &'a B,
        buffers: &mut DeviceBuffers,
        workload: &Workload,
        rotation: &Rotation,
    ) -> Result<Self, BenchError> {
        supported(workload)?;
        let block = &workload.block;
        let rows = workload.rows * block.parts;
        let ones = vec![1.0; block.hidden.max(rows)];
        let composed = Self {
            blas,
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
                unsafe { blas.copy(count, from.address, to.address, call.dtype) }?;
            }
        }
        Ok(composed)
    }

    /// Queues all calls of one norm.
    ///
    /// # Errors
    /// cuBLAS or the driver refuses one.
    pub fn queue(&self, turn: u32) -> Result<(), BenchError> {
        let sets = self.calls.len() as u32;
        let call = &self.calls[(turn % sets) as usize];
        let sign = if (turn / sets).is_multiple_of(2) { 1.0 } else { -1.0 };
        // SAFETY: all tensors are of the rotation or of this, with the sizes of the call, and everything is on one
        // stream.
        unsafe {
            let x = self.add(call, sign)?;
            self.normalise(call, x)
        }
    }

    /// The residual add, where there is one. Returns what is to be normalised.
    unsafe fn add(&self, call: &Call, sign: f32) -> Result<u64, BenchError> {
        let Some(residual) = call.residual_out else { return Ok(call.x.address) };
        let count = (call.rows * call.hidden) as u64;
        // SAFETY: as the caller promises.
        unsafe { self.blas.axpy(count, sign, call.x.address, residual.address, call.dtype) }?;
        Ok(residual.address)
    }

    unsafe fn normalise(&self, call: &Call, x: u64) -> Result<(), BenchError> {
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
                self.blas.copy((rows * hidden) as u64, x, centred, dtype)?;
                self.sum(all, scale, centred, dtype)?;
                self.outer(all, -1.0, (self.ones, self.mean, centred), dtype)?;
                from = centred;
            }
            self.squares(all, from, dtype)?;
            self.blas.rsqrt(rows, (self.sums, self.rstd), (scale, call.norm.eps), dtype)?;
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
                return self.blas.gemv((hidden, rows), scale, (y, self.ones, self.mean));
            }
            self.blas.product(&Product {
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
                return self.blas.ger((hidden, rows), alpha, (column, row, y));
            }
            self.blas.product(&Product {
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
            self.blas.product(&Product {
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
                return self.blas.dgmm((hidden, rows), true, (from, self.rstd, to));
            }
            self.blas.product(&Product {
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
                return self.blas.dgmm((hidden, rows), false, (from, weight, to));
            }
            self.blas.product(&Product {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cublas::host::Host;
    use warpnorm::host::Outputs;
    use warpnorm::parity::{Case, Values};
    use warpnorm::reference::{self, decode};
    use warpnorm::{RawRows, RawVector, ResidualAdd};

    const ROWS: usize = 5;
    const HIDDEN: usize = 48;

    fn case(norm: Norm, dtype: DType, weight: bool) -> Case {
        let outputs = Outputs { residual: norm.residual_add().is_some(), ..Outputs::default() };
        let case = Case::new(norm, dtype, ROWS, HIDDEN, Values::Unit, 5).unwrap().with_outputs(outputs);
        let case = if weight { case.with_weight(dtype) } else { case };
        if norm.family == Family::LayerNorm { case.with_bias(dtype) } else { case }
    }

    /// Relative L2 errors of y, and of the residual after the first and after the second launch.
    fn run(case: &Case, host: &Host) -> [f64; 3] {
        let (dtype, matrix) = (case.dtype, ROWS * HIDDEN * case.dtype.size());
        let rows = |bytes: &[u8]| RawRows { address: host.upload(bytes), stride: HIDDEN };
        let (x, y) = (rows(&case.x), rows(&vec![0xff; matrix]));
        let mut call = Call::new(case.norm, dtype, ROWS, HIDDEN, x, y);
        let vector = |vector: &Option<(DType, Vec<u8>)>| {
            vector.as_ref().map(|(dtype, bytes)| RawVector { address: host.upload(bytes), dtype: *dtype })
        };
        (call.weight, call.bias) = (vector(&case.weight), vector(&case.bias));
        // Where the composition starts from, the new residual is the old one.
        call.residual_out = case.residual.as_deref().map(rows);
        let blank = || host.upload(&[0xff; 4 * ROWS]);
        let composed = Composed {
            blas: host,
            calls: vec![call],
            ones: host.upload(&encode(dtype, vec![1.0; HIDDEN.max(ROWS)])),
            sums: blank(),
            mean: blank(),
            rstd: blank(),
            scratch: host.upload(&vec![0xff; matrix]),
        };
        composed.queue(0).unwrap();
        let read = |rows: RawRows| (0..ROWS * HIDDEN).map(|i| host.get(rows.address, dtype, i)).collect::<Vec<_>>();
        let wanted = reference::norm(&case.as_problem()).unwrap();
        let exact = |of: fn(&reference::Row) -> &Vec<reference::Value>| {
            wanted.rows.iter().flat_map(move |row| of(row).iter().map(|value| value.exact)).collect::<Vec<_>>()
        };
        let error = |got: Vec<f64>, wanted: Vec<f64>| crate::gpu::relative_l2(got.into_iter(), wanted.into_iter());
        let y = error(read(y), exact(|row| &row.y));
        let Some(residual) = call.residual_out else { return [y, 0.0, 0.0] };
        let first = error(read(residual), exact(|row| &row.residual));
        composed.queue(1).unwrap();
        let before = decode(dtype, case.residual.as_ref().unwrap());
        [y, first, error(read(residual), before)]
    }

    #[test]
    fn the_composition_is_the_norm() {
        for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F16, 2e-3), (DType::BF16, 1.5e-2)] {
            for norm in [Norm::layer_norm(1e-5), Norm::rms_norm(1e-6)] {
                for norm in [norm, norm.with_residual_add(ResidualAdd::default())] {
                    for weight in [true, false] {
                        let host = Host::default();
                        let [y, first, second] = run(&case(norm, dtype, weight), &host);
                        assert!(y <= tolerance, "{norm:?} {dtype}, weight {weight}: y is off by {y:e}");
                        assert_eq!(first, 0.0, "{norm:?} {dtype}: the new residual");
                        // Taken away again, but for what the sum rounded away.
                        assert!(second <= tolerance, "{norm:?} {dtype}: the residual is off by {second:e}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_calls_are_those_that_the_documentation_names() {
        let calls = |dtype| {
            let host = Host::default();
            let norm = Norm::layer_norm(1e-5).with_residual_add(ResidualAdd::default());
            let mut of = case(norm, dtype, true);
            of.outputs.residual = true;
            run(&of, &host);
            let calls = host.calls.borrow();
            calls[..calls.len() / 2].join(" ")
        };
        assert_eq!(calls(DType::F32), "axpy copy gemv ger product rsqrt dgmm dgmm ger");
        assert_eq!(calls(DType::BF16), "axpy copy product product product rsqrt product product product");
    }

    #[test]
    fn what_cublas_has_no_calls_for_is_refused() {
        let refused = |norm: Norm| {
            let case = Case::new(norm, DType::F16, 1, 64, Values::Unit, 1).unwrap().with_weight(DType::F16);
            let workload = Workload { op: String::new(), options: String::new(), rows: 1, block: case };
            supported(&workload).is_err()
        };
        assert!(!refused(Norm::rms_norm(1e-6)));
        assert!(refused(Norm::l2_norm()) && refused(Norm::rms_norm(1e-6).with_weight_offset(1.0)));
        assert!(refused(Norm::rms_norm(1e-6).with_gate(warpnorm::Activation::SILU)));
        assert!(refused(Norm::rms_norm(1e-6).with_quantisation(warpnorm::quantise::Quantisation::mxfp8())));
    }
}
