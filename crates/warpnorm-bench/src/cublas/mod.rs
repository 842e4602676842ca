//! The same ops, composed of cuBLAS calls: what one has without fused kernels.
//!
//! Rows lie one after the other, so to cuBLAS a tensor is a column-major matrix of `hidden × rows`. What is composed
//! of what:
//!
//! | step | f32 | f16, bf16 |
//! |---|---|---|
//! | residual += x | `AxpyEx` | `AxpyEx`, computed in f32 |
//! | y ← residual, or x (LayerNorm; RMSNorm scales from there) | a copy in device memory | the same |
//! | mean of every row (LayerNorm) | `Sgemv` with a vector of ones | `GemmEx` of one row of ones; the means in 16 bits |
//! | y −= mean | `Sger` | `GemmEx` of rank 1 |
//! | sum of squares of every row | `GemmStridedBatchedEx` of 1 × 1: batched dot products | the same, sums in f32 |
//! | 1/√(sum/N + eps) | a kernel of one thread a row: cuBLAS has none | the same, rounded to 16 bits |
//! | y ·= rstd of its row | `Sdgmm` from the right | `GemmStridedBatchedEx`, a batch of rows: rank 1 |
//! | y ·= weight | `Sdgmm` from the left | `GemmStridedBatchedEx`, a batch of columns: rank 1 |
//! | y += bias | `Sger` | `GemmEx` of rank 1 |
//!
//! BLAS-1 has 16-bit forms of axpy, dot, nrm2, rot and scal alone (`cublasAxpyEx` and its like), and `dgmm`, `gemv`, `ger`
//! and `geam` have none: there, products of matrices of one row or column take their places. Each step rounds to the
//! activation type, which is why the result is held to eight roundings and not to warpnorm's tolerance.

mod blas;
mod calls;
#[cfg(test)]
mod host;
mod norm;
mod segment;

pub(crate) use calls::CuBlas;
pub(crate) use norm::Composed;
pub use segment::UNFUSED_ADD;
pub(crate) use segment::segment;

/// The baseline's name.
pub const NAME: &str = "cublas";

/// Outputs of the QKV projection of a model of 7 · 10⁹ parameters, whose hidden size is 4096.
pub const QKV_OUTPUTS: usize = 3 * 4096;

/// The kernel of the reciprocal roots.
pub const RSQRT_PTX: &str = include_str!("rsqrt.ptx");

#[cfg(test)]
mod tests {
    use super::*;
    use ptx_emu::{LaunchConfig, Memory, Module};
    use warpnorm::DType;
    use warpnorm::reference::{decode, encode};

    /// ptxas and the driver refuse a text that has any other character, in comments too.
    #[test]
    fn the_text_is_ascii() {
        let other = RSQRT_PTX.lines().find(|line| !line.is_ascii());
        assert_eq!(other, None);
    }

    /// The nearest value of the type to 1/√(sum/N + eps), which f64 has with digits to spare.
    #[test]
    fn reciprocal_roots_are_within_their_rounding() {
        let module = Module::parse(RSQRT_PTX).unwrap();
        let sums = [0.0f32, 1.0, 63.9, 64.0, 1e-12, 3e8, 127.3];
        let (scale, eps) = (1.0f32 / 64.0, 1e-6f32);
        for (dtype, name) in [(DType::F32, "rsqrt_f32"), (DType::F16, "rsqrt_f16"), (DType::BF16, "rsqrt_bf16")] {
            let mut memory = Memory::new();
            let from = memory.allocate("sums", sums.len() * 4);
            let to = memory.allocate("out", sums.len() * dtype.size());
            memory.write(from, &sums.map(f32::to_le_bytes).concat()).unwrap();
            let config = LaunchConfig { grid: [2, 1, 1], block: [4, 1, 1], cluster: [1; 3], dynamic_shared_bytes: 0 };
            let rows = sums.len() as u32;
            let arguments: [&[u8]; 5] =
                [&from.to_le_bytes(), &to.to_le_bytes(), &scale.to_le_bytes(), &eps.to_le_bytes(), &rows.to_le_bytes()];
            module.launch(name, &config, &arguments, &mut memory).unwrap();
            let mut bytes = vec![0; sums.len() * dtype.size()];
            memory.read(to, &mut bytes).unwrap();
            for (got, sum) in decode(dtype, &bytes).into_iter().zip(sums) {
                let exact = 1.0 / (f64::from(sum) * f64::from(scale) + f64::from(eps)).sqrt();
                let nearest = decode(dtype, &encode(dtype, [exact]))[0];
                // f32 rounds three times on the way: sum, root and quotient.
                let units = if dtype == DType::F32 { 1.5 } else { 0.501 };
                let unit = (nearest - decode(dtype, &encode(dtype, [nearest * (1.0 + 1.5 * epsilon(dtype))]))[0]).abs();
                assert!((got - exact).abs() <= units * unit, "{dtype} {sum}: {got}, wanted {exact}");
            }
        }
    }

    fn epsilon(dtype: DType) -> f64 {
        match dtype {
            DType::F32 => f64::from(f32::EPSILON),
            DType::F16 => 2f64.powi(-10),
            DType::BF16 => 2f64.powi(-7),
        }
    }
}
