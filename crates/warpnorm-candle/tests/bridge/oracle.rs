//! The formulas in f64, on elements in the tensor's order, and tensors to try them on.

use candle_core::{DType, Device, Result, Tensor};

/// The rows of a tensor over its last dimension. candle itself walks the view.
pub fn rows(tensor: &Tensor) -> Result<Vec<Vec<f64>>> {
    let hidden = tensor.dims().last().copied().unwrap_or(1);
    let values = tensor.contiguous()?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    Ok(values.chunks(hidden).map(<[f64]>::to_vec).collect())
}

/// A norm of rows: (x − mean)/√(variance + eps), or x/√(mean square + eps).
pub fn normalise(rows: &[Vec<f64>], remove_mean: bool, eps: f64) -> Vec<Vec<f64>> {
    let of = |row: &Vec<f64>| {
        let count = row.len() as f64;
        let mean = if remove_mean { row.iter().sum::<f64>() / count } else { 0.0 };
        let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
        row.iter().map(|x| (x - mean) / (variance + eps).sqrt()).collect()
    };
    rows.iter().map(of).collect()
}

/// Rows times a weight, plus a bias.
pub fn affine(rows: &[Vec<f64>], weight: &Tensor, bias: Option<&Tensor>) -> Result<Vec<Vec<f64>>> {
    let weight = &self::rows(weight)?[0];
    let bias = bias.map(self::rows).transpose()?.map_or(vec![0.0; weight.len()], |rows| rows[0].clone());
    let of = |row: &Vec<f64>| row.iter().zip(weight).zip(&bias).map(|((x, w), b)| x * w + b).collect();
    Ok(rows.iter().map(of).collect())
}

/// Element by element.
pub fn zip(a: &[Vec<f64>], b: &[Vec<f64>], f: impl Fn(f64, f64) -> f64) -> Vec<Vec<f64>> {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()).collect()
}

/// The relative L2 error of a result.
pub fn error(result: &Tensor, exact: &[Vec<f64>]) -> Result<f64> {
    let found = rows(result)?;
    assert_eq!(found.len(), exact.len(), "rows");
    let off: f64 = zip(&found, exact, |a, b| (a - b) * (a - b)).iter().flatten().sum();
    let length: f64 = exact.iter().flatten().map(|x| x * x).sum();
    Ok(if length > 0.0 { (off / length).sqrt() } else { off.sqrt() })
}

/// Largest error that rounding once to the type alone makes, relative: half an ULP.
pub fn half_ulp(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        _ => 2f64.powi(-24),
    }
}

/// Fails where a result is further off than twice what the stock computation is, or than one rounding explains.
#[track_caller]
pub fn assert_close(what: &str, ours: &Tensor, stock: Option<&Tensor>, exact: &[Vec<f64>]) -> Result<()> {
    let ours_off = error(ours, exact)?;
    let once = half_ulp(ours.dtype());
    let allowed = match stock {
        Some(stock) => (2.0 * error(stock, exact)?).max(once),
        // In f32, sums are computed in f32.
        None => {
            if ours.dtype() == DType::F32 {
                2.0 * once
            } else {
                once
            }
        }
    };
    assert!(ours_off <= allowed, "{what}: {ours_off:e} off, at most {allowed:e} wanted");
    Ok(())
}

/// The bits of a tensor, in its order.
pub fn bits(tensor: &Tensor) -> Result<Vec<u32>> {
    let tensor = tensor.flatten_all()?;
    Ok(match tensor.dtype() {
        DType::F16 => tensor.to_vec1::<half::f16>()?.into_iter().map(|value| value.to_bits().into()).collect(),
        DType::BF16 => tensor.to_vec1::<half::bf16>()?.into_iter().map(|value| value.to_bits().into()).collect(),
        DType::F32 => tensor.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect(),
        DType::U8 => tensor.to_vec1::<u8>()?.into_iter().map(u32::from).collect(),
        other => panic!("no bits of {other:?}"),
    })
}

/// Values around a mean, the same for the same seed: sums of uniform ones, nearly normal.
pub fn values(seed: u64, mean: f32, shape: &[usize], dtype: DType) -> Result<Tensor> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| mean + uniform() + uniform() + uniform()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)
}

/// Views of `hidden` elements a row, of every kind that a model has, with their names.
pub fn views(hidden: usize, dtype: DType) -> Result<Vec<(&'static str, Tensor)>> {
    let h = hidden;
    let wide = values(2, 0.5, &[2, 3, 3 * h], dtype)?;
    Ok(vec![
        ("one row", values(1, 0.5, &[h], dtype)?),
        ("two dimensions", values(3, 0.5, &[5, h], dtype)?),
        ("three dimensions", values(4, 0.5, &[2, 3, h], dtype)?),
        ("four dimensions", values(5, 0.5, &[2, 2, 3, h], dtype)?),
        ("columns of a packed projection", wide.narrow(2, h, h)?),
        ("rows of a longer tensor", values(6, 0.5, &[7, h], dtype)?.narrow(0, 2, 4)?),
        ("a sequence without its first token", values(7, 0.5, &[2, 4, h], dtype)?.narrow(1, 1, 3)?),
        ("heads of a packed projection", wide.reshape((2, 3, 3, h))?.narrow(2, 0, 2)?),
        ("heads before tokens", values(8, 0.5, &[2, 3, 4, h], dtype)?.transpose(1, 2)?),
        ("columns, transposed", values(9, 0.5, &[h, 4], dtype)?.t()?),
        ("one row, broadcast", values(10, 0.5, &[1, h], dtype)?.broadcast_as((3, h))?),
    ])
}
