// A program written against candle-layer-norm. Whoever includes this has the `use` lines.

/// Whether the mean is removed, a residual added and a bias there; y, and the sum.
pub type Results = Vec<((bool, bool, bool), Tensor, Option<Tensor>)>;

pub fn run(x: &Tensor, res: &Tensor, gamma: &Tensor, beta: &Tensor, eps: f32) -> Result<Results> {
    let mut results = Vec::new();
    for bias in [None, Some(beta)] {
        let there = bias.is_some();
        results.push(((true, false, there), layer_norm(x, gamma, bias, eps)?, None));
        results.push(((false, false, there), rms_norm(x, gamma, bias, eps)?, None));
        let (y, sum) = fused_add_layer_norm(x, res, gamma, bias, eps)?;
        results.push(((true, true, there), y, Some(sum)));
        let (y, sum) = fused_add_rms_norm(x, res, gamma, bias, eps)?;
        results.push(((false, true, there), y, Some(sum)));
    }
    Ok(results)
}
