//! The calls of cuBLAS that the compositions are made of, on device addresses.

use super::blas::{Blas, Matrix, Product};
use crate::BenchError;
use crate::error::During;
use cudarc::cublas::CudaBlas;
use cudarc::cublas::sys::{
    self, cublasComputeType_t, cublasGemmAlgo_t, cublasOperation_t, cublasSideMode_t, cudaDataType,
};
use cudarc::driver::sys::{CUfunction, CUmodule};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, result};
use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::Arc;
use warpnorm::DType;

/// What NVIDIA recommends for Hopper: given, so that nothing is allocated while a stream captures.
const WORKSPACE_BYTES: usize = 32 << 20;

/// Elements of one call of a BLAS-1 routine at most: its count is an `int`.
const CHUNK: u64 = 1 << 30;

/// Matrices of one batched product at most. Kernels of cuBLAS have had a place in the third dimension of a grid for
/// each, which has no more than 65535. A power of 2, so that batches begin as aligned as the first.
const BATCH: usize = 1 << 15;

/// Threads of a block of the kernel of reciprocal roots.
const RSQRT_BLOCK: u32 = 128;

/// cuBLAS on a stream: sums in f32, for f32 without TF32.
pub struct CuBlas {
    blas: CudaBlas,
    rsqrt: Rsqrt,
    stream: Arc<CudaStream>,
    /// cuBLAS's own, for as long as the handle is there.
    _workspace: CudaSlice<u8>,
}

/// The kernels of reciprocal roots, loaded.
struct Rsqrt {
    context: Arc<CudaContext>,
    module: CUmodule,
    functions: [CUfunction; 3],
}

impl Rsqrt {
    fn load(stream: &CudaStream) -> Result<Self, BenchError> {
        let context = Arc::clone(stream.context());
        context.bind_to_thread().during("bind the context")?;
        let text =
            CString::new(super::RSQRT_PTX).map_err(|_| BenchError::Unsupported("a zero in the PTX".to_owned()))?;
        // SAFETY: the text ends in a zero.
        let module = unsafe { result::module::load_data(text.as_ptr().cast()) }.during("load the kernels of rsqrt")?;
        // From here on, a failure unloads the module by dropping it.
        let mut loaded = Self { context, module, functions: [ptr::null_mut(); 3] };
        for (function, name) in loaded.functions.iter_mut().zip([c"rsqrt_f32", c"rsqrt_f16", c"rsqrt_bf16"]) {
            // SAFETY: the module is loaded.
            *function =
                unsafe { result::module::get_function(module, name.to_owned()) }.during("find a kernel of rsqrt")?;
        }
        Ok(loaded)
    }
}

impl Drop for Rsqrt {
    fn drop(&mut self) {
        if self.context.synchronize().is_ok() {
            // SAFETY: loaded into this context, which is current, unloaded nowhere else, and no launch of it runs.
            self.context.record_err(unsafe { result::module::unload(self.module) });
        }
    }
}

fn int(value: usize) -> Result<i32, BenchError> {
    i32::try_from(value).map_err(|_| BenchError::Unsupported(format!("{value} is past the int of a cuBLAS call")))
}

fn data_type(dtype: DType) -> cudaDataType {
    match dtype {
        DType::F32 => cudaDataType::CUDA_R_32F,
        DType::F16 => cudaDataType::CUDA_R_16F,
        DType::BF16 => cudaDataType::CUDA_R_16BF,
    }
}

fn operation(matrix: &Matrix) -> cublasOperation_t {
    if matrix.transposed { cublasOperation_t::CUBLAS_OP_T } else { cublasOperation_t::CUBLAS_OP_N }
}

impl CuBlas {
    /// A handle on this stream.
    ///
    /// # Errors
    /// There is no cuBLAS where the loader looks for libraries, or it refuses the device.
    pub fn new(stream: &Arc<CudaStream>) -> Result<Self, BenchError> {
        // SAFETY: the probe opens cuBLAS by its well-known names and closes it; running the initialisers of the
        // installed library is what using it means. All else in cudarc panics where it is not there.
        if !unsafe { sys::is_culib_present() } {
            let code = "it was not found where the loader looks for libraries".to_owned();
            return Err(BenchError::Cublas { what: "load the library", code });
        }
        let blas = CudaBlas::new(Arc::clone(stream)).during("make a handle")?;
        let workspace = stream.alloc_zeros::<u8>(WORKSPACE_BYTES).during("allocate the workspace of cuBLAS")?;
        let (address, _) = workspace.device_ptr(stream);
        // SAFETY: the workspace is as long as is said, and lives as long as the handle, whose stream it is used on.
        unsafe { sys::cublasSetWorkspace_v2(*blas.handle(), address as *mut c_void, WORKSPACE_BYTES) }
            .result()
            .during("set the workspace")?;
        Ok(Self { blas, rsqrt: Rsqrt::load(stream)?, stream: Arc::clone(stream), _workspace: workspace })
    }

    /// A product of at most [`BATCH`] matrices.
    ///
    /// # Safety
    /// As that of [`Blas::product`].
    unsafe fn batch(&self, product: &Product) -> Result<(), BenchError> {
        let Product { m, n, k, batch, a, b, c, alpha, beta } = product;
        let (alpha, beta): (*const f32, *const f32) = (alpha, beta);
        // SAFETY: as the caller promises; the factors are read before the call returns.
        unsafe {
            sys::cublasGemmStridedBatchedEx(
                *self.blas.handle(),
                operation(a),
                operation(b),
                int(*m)?,
                int(*n)?,
                int(*k)?,
                alpha.cast(),
                a.address as *const c_void,
                data_type(a.dtype),
                int(a.leading)?,
                a.stride as i64,
                b.address as *const c_void,
                data_type(b.dtype),
                int(b.leading)?,
                b.stride as i64,
                beta.cast(),
                c.address as *mut c_void,
                data_type(c.dtype),
                int(c.leading)?,
                c.stride as i64,
                int(*batch)?,
                cublasComputeType_t::CUBLAS_COMPUTE_32F,
                cublasGemmAlgo_t::CUBLAS_GEMM_DFALT,
            )
        }
        .result()
        .during("multiply")
    }
}

impl Blas for CuBlas {
    unsafe fn axpy(&self, count: u64, alpha: f32, x: u64, y: u64, dtype: DType) -> Result<(), BenchError> {
        let (of, float) = (data_type(dtype), cudaDataType::CUDA_R_32F);
        let alpha = (&raw const alpha).cast();
        chunks(count).try_for_each(|(start, length)| {
            let offset = start * dtype.size() as u64;
            let (x, y) = ((x + offset) as *const c_void, (y + offset) as *mut c_void);
            // SAFETY: as the caller promises; alpha is read before the call returns, as it is on the host.
            unsafe { sys::cublasAxpyEx(*self.blas.handle(), length, alpha, float, x, of, 1, y, of, 1, float) }
                .result()
                .during("add")
        })
    }

    unsafe fn copy(&self, count: u64, x: u64, y: u64, dtype: DType) -> Result<(), BenchError> {
        // cuBLAS documents no copy of 16-bit elements, and a copy is a copy.
        let bytes = count as usize * dtype.size();
        // SAFETY: as the caller promises.
        unsafe { result::memcpy_dtod_async(y, x, bytes, self.stream.cu_stream()) }.during("copy in device memory")
    }

    unsafe fn product(&self, product: &Product) -> Result<(), BenchError> {
        // SAFETY: as the caller promises of the whole.
        product.batches(BATCH).try_for_each(|batch| unsafe { self.batch(&batch) })
    }

    unsafe fn gemv(
        &self,
        (hidden, rows): (usize, usize),
        alpha: f32,
        (a, x, out): (u64, u64, u64),
    ) -> Result<(), BenchError> {
        let (m, n, zero) = (int(hidden)?, int(rows)?, 0.0f32);
        let (transposed, handle) = (cublasOperation_t::CUBLAS_OP_T, *self.blas.handle());
        let (a, x, out) = (a as *const f32, x as *const f32, out as *mut f32);
        // SAFETY: as the caller promises.
        unsafe { sys::cublasSgemv_v2(handle, transposed, m, n, &raw const alpha, a, m, x, 1, &raw const zero, out, 1) }
            .result()
            .during("sum rows")
    }

    unsafe fn ger(
        &self,
        (hidden, rows): (usize, usize),
        alpha: f32,
        (x, y, a): (u64, u64, u64),
    ) -> Result<(), BenchError> {
        let (m, n) = (int(hidden)?, int(rows)?);
        let (x, y, a) = (x as *const f32, y as *const f32, a as *mut f32);
        // SAFETY: as the caller promises.
        unsafe { sys::cublasSger_v2(*self.blas.handle(), m, n, &raw const alpha, x, 1, y, 1, a, m) }
            .result()
            .during("add a product of vectors")
    }

    unsafe fn dgmm(
        &self,
        (hidden, rows): (usize, usize),
        by_row: bool,
        (a, x, c): (u64, u64, u64),
    ) -> Result<(), BenchError> {
        let side = if by_row { cublasSideMode_t::CUBLAS_SIDE_RIGHT } else { cublasSideMode_t::CUBLAS_SIDE_LEFT };
        let (m, n) = (int(hidden)?, int(rows)?);
        let (a, x, c) = (a as *const f32, x as *const f32, c as *mut f32);
        // SAFETY: as the caller promises; cuBLAS allows the result over A.
        unsafe { sys::cublasSdgmm(*self.blas.handle(), side, m, n, a, m, x, 1, c, m) }.result().during("scale")
    }

    unsafe fn rsqrt(
        &self,
        rows: usize,
        (sums, out): (u64, u64),
        (mut scale, mut eps): (f32, f32),
        dtype: DType,
    ) -> Result<(), BenchError> {
        let function = match dtype {
            DType::F32 => self.rsqrt.functions[0],
            DType::F16 => self.rsqrt.functions[1],
            DType::BF16 => self.rsqrt.functions[2],
        };
        let mut rows = int(rows)?.unsigned_abs();
        let (mut sums, mut out) = (sums, out);
        let grid = rows.div_ceil(RSQRT_BLOCK).max(1);
        let mut arguments: [*mut c_void; 5] = [
            (&raw mut sums).cast(),
            (&raw mut out).cast(),
            (&raw mut scale).cast(),
            (&raw mut eps).cast(),
            (&raw mut rows).cast(),
        ];
        // SAFETY: the kernel has these five parameters, and stays within `rows` elements of both.
        unsafe {
            result::launch_kernel(
                function,
                (grid, 1, 1),
                (RSQRT_BLOCK, 1, 1),
                0,
                self.stream.cu_stream(),
                &mut arguments,
            )
        }
        .during("launch the kernel of rsqrt")
    }
}

/// Start and length of the pieces of so many elements.
fn chunks(count: u64) -> impl Iterator<Item = (u64, i32)> {
    (0..count.div_ceil(CHUNK)).map(move |chunk| {
        let start = chunk * CHUNK;
        (start, (count - start).min(CHUNK) as i32)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_all_of_it() {
        assert_eq!(chunks(0).count(), 0);
        assert_eq!(chunks(5).collect::<Vec<_>>(), [(0, 5)]);
        assert_eq!(chunks(2 * CHUNK + 3).map(|(_, length)| length as u64).sum::<u64>(), 2 * CHUNK + 3);
        assert_eq!(chunks(CHUNK + 1).last(), Some((CHUNK, 1)));
    }
}
