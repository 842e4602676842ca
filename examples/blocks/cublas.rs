//! Matrix products on the GPU: cuBLAS, which cudarc loads at run time.

use crate::chains::machine::MatMul;
use crate::chains::{Result, Tensor};
use bytemuck::Pod;
use cudarc::cublas::sys::{cublasOperation_t, is_culib_present};
use cudarc::cublas::{CudaBlas, Gemm, GemmConfig};
use cudarc::driver::{CudaStream, DeviceRepr};
use half::{bf16, f16};
use std::sync::Arc;
use warpnorm::DType;

/// cuBLAS on a stream: sums in f32, for f32 without TF32.
pub struct CuBlas {
    blas: CudaBlas,
    stream: Arc<CudaStream>,
}

impl CuBlas {
    /// A handle on this stream.
    ///
    /// # Errors
    /// There is no cuBLAS where the loader looks for libraries, or it refuses the device.
    pub fn new(stream: &Arc<CudaStream>) -> Result<Self> {
        // SAFETY: the probe opens cuBLAS by its well-known names and closes it; running the initialisers of the
        // installed library is what using it means. Everything else in cudarc panics where it is not there.
        if !unsafe { is_culib_present() } {
            return Err("cuBLAS was not found where the loader looks for libraries".into());
        }
        Ok(Self { blas: CudaBlas::new(Arc::clone(stream))?, stream: Arc::clone(stream) })
    }

    fn linear_of<T: Pod + DeviceRepr>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        [zero, one]: [T; 2],
    ) -> Result<Tensor>
    where
        CudaBlas: Gemm<T>,
    {
        let (rows, inputs, outputs) = (x.rows, x.columns, weight.rows);
        if weight.columns != inputs || bias.is_some_and(|bias| bias.columns != outputs) {
            return Err(format!("{rows} × {inputs} rows do not fit {outputs} × {} weights", weight.columns).into());
        }
        let upload = |bytes: &[u8]| {
            let elements = bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned);
            self.stream.clone_htod(&elements.collect::<Vec<T>>())
        };
        let (device_x, device_weight) = (upload(&x.bytes)?, upload(&weight.bytes)?);
        // The product is added to what is there: the bias in every row, or nothing.
        let (mut y, beta) = match bias {
            Some(bias) => (upload(&bias.bytes.repeat(rows))?, one),
            None => (self.stream.clone_htod(&vec![zero; rows * outputs])?, zero),
        };
        // To cuBLAS, matrices lie column by column: ours are their transposes, and Yᵀ = W·Xᵀ.
        let config = GemmConfig {
            transa: cublasOperation_t::CUBLAS_OP_T,
            transb: cublasOperation_t::CUBLAS_OP_N,
            m: i32::try_from(outputs)?,
            n: i32::try_from(rows)?,
            k: i32::try_from(inputs)?,
            alpha: one,
            lda: i32::try_from(inputs)?,
            ldb: i32::try_from(inputs)?,
            beta,
            ldc: i32::try_from(outputs)?,
        };
        // SAFETY: W has outputs × inputs elements, X rows × inputs, Y rows × outputs, as their slices are long, and
        // the leading dimensions are those of contiguous rows. All are on the handle's stream.
        unsafe { self.blas.gemm(config, &device_weight, &device_x, &mut y) }?;
        let y: Vec<T> = self.stream.clone_dtoh(&y)?;
        Ok(Tensor { dtype: x.dtype, rows, columns: outputs, bytes: bytemuck::cast_slice(&y).to_vec() })
    }
}

impl MatMul for CuBlas {
    fn name(&self) -> String {
        "cuBLAS, sums in f32".to_owned()
    }

    fn linear(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        match x.dtype {
            DType::F32 => self.linear_of(x, weight, bias, [0.0f32, 1.0]),
            DType::F16 => self.linear_of(x, weight, bias, [f16::ZERO, f16::ONE]),
            DType::BF16 => self.linear_of(x, weight, bias, [bf16::ZERO, bf16::ONE]),
        }
    }
}
