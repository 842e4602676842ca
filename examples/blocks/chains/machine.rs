//! What a chain runs on: a device for the row ops, and something that multiplies matrices.

use super::{Result, Tensor};
use warpnorm::host::{Device, Outputs, Placement, Problem};

/// Products of matrices.
pub trait MatMul {
    /// For tables.
    #[allow(dead_code, reason = "tests print no table")]
    fn name(&self) -> String;

    /// x·Wᵀ + b, as PyTorch's Linear: x is `rows × inputs`, W `outputs × inputs`, b `outputs`, and the result
    /// `rows × outputs`; all of one type, in which the result is rounded once.
    ///
    /// # Errors
    /// The device failed.
    fn linear(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor>;
}

/// The triple loop, with sums in f64: what a GEMM with f32 sums is an approximation of.
pub struct CpuMatMul;

impl MatMul for CpuMatMul {
    fn name(&self) -> String {
        "plain loops on the CPU, sums in f64".to_owned()
    }

    fn linear(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let (rows, matrix) = (x.values(), weight.values());
        let bias = bias.map_or_else(|| vec![0.0; weight.rows], Tensor::values);
        let mut product = Vec::with_capacity(x.rows * weight.rows);
        for row in rows.chunks_exact(x.columns) {
            for (output, bias) in matrix.chunks_exact(weight.columns).zip(&bias) {
                product.push(bias + row.iter().zip(output).map(|(x, w)| x * w).sum::<f64>());
            }
        }
        Ok(Tensor::of(x.dtype, weight.rows, &product))
    }
}

/// Both of them.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    pub device: &'a dyn Device,
    pub matmul: &'a dyn MatMul,
}

impl Machine<'_> {
    /// y of a row op.
    pub fn y(&self, problem: &Problem<'_>) -> Result<Tensor> {
        let output = self.device.run(problem, Placement::default())?;
        Ok(like(problem, problem.parts, output.y))
    }

    /// y of a row op, and the residual stream that it stores.
    pub fn y_and_residual(&self, problem: Problem<'_>) -> Result<(Tensor, Tensor)> {
        let problem = Problem { outputs: Outputs { residual: true, ..problem.outputs }, ..problem };
        let output = self.device.run(&problem, Placement::default())?;
        let residual = output.residual.ok_or("the device gave no residual")?;
        Ok((like(&problem, 1, output.y), like(&problem, 1, residual)))
    }

    /// y of heads, and of the other heads beside them.
    pub fn both_heads(&self, problem: &Problem<'_>) -> Result<(Tensor, Tensor)> {
        let output = self.device.run(problem, Placement::default())?;
        let count = problem.second.map_or(0, |heads| heads.count);
        let second = output.second_y.ok_or("the device gave no second heads")?;
        Ok((like(problem, problem.parts, output.y), like(problem, count, second)))
    }

    /// x·Wᵀ.
    pub fn product(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        self.matmul.linear(x, weight, None)
    }

    /// x·Wᵀ + b.
    pub fn linear(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        self.matmul.linear(x, weight, Some(bias))
    }
}

fn like(problem: &Problem<'_>, parts: usize, bytes: Vec<u8>) -> Tensor {
    Tensor { dtype: problem.dtype, rows: problem.rows, columns: parts * problem.hidden, bytes }
}
