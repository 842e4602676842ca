//! The house tolerance: an error at most twice that of the plain computation.
//!
//! FlashAttention's tests hold a kernel's error against that of the same formula written down plainly
//! in the same types, both measured against an exact result: data that is hard for anyone is hard for
//! both.

use super::judge;
use crate::host::{Output, Problem};
use crate::reference::{decode, encode, round};
use crate::{DType, Error, Family, ResidualRounding, WeightRounding};

/// How many times the plain computation's error is allowed.
const FACTOR: f64 = 2.0;

/// Whether a relative L2 error is within the house tolerance beside that of the plain computation.
///
/// An error below one rounding to f32 always is: the plain computation may be exact by luck.
pub fn within_house_tolerance(relative_l2: f64, plain: f64) -> bool {
    relative_l2 <= FACTOR * plain || relative_l2 <= f64::from(f32::EPSILON) / 2.0
}

/// The relative L2 error of the [plain computation](plain) against the reference.
///
/// # Errors
/// The problem is invalid.
pub fn plain_error(problem: &Problem<'_>) -> Result<f64, Error> {
    Ok(judge(problem, &plain(problem)?)?.relative_l2)
}

/// The norm written down plainly: f32 arithmetic, sums from first to last element, the variance in a
/// second pass, and the op's roundings to the activation type.
///
/// # Errors
/// The problem is invalid.
pub fn plain(problem: &Problem<'_>) -> Result<Output, Error> {
    problem.validate()?;
    let norm = problem.norm;
    let narrow = |value: f32| round(problem.dtype, f64::from(value)) as f32;
    let x = widen(problem.dtype, problem.x);
    let (mut wide, mut stored) = (x.clone(), x);
    if let (Some(add), Some(residual)) = (norm.residual_add(), problem.residual) {
        for (h, r) in wide.iter_mut().zip(widen(problem.dtype, residual)) {
            *h = add.scale.mul_add(r, *h);
        }
        if let Some(bias) = problem.linear_bias.map(|bias| widen(bias.dtype, bias.bytes)) {
            wide.iter_mut().zip(bias.iter().cycle()).for_each(|(h, bias)| *h += bias);
        }
        stored = wide.iter().copied().map(narrow).collect();
    }
    let rounding = norm.residual_add().map_or(ResidualRounding::Wide, |add| add.rounding);
    let statistic_input = if rounding == ResidualRounding::Stored { &stored } else { &wide };
    let output_input = if rounding == ResidualRounding::Wide { &wide } else { &stored };
    let weight = problem.weight.map(|weight| widen(weight.dtype, weight.bytes));
    let bias = problem.bias.map(|bias| widen(bias.dtype, bias.bytes));

    let mut y = Vec::with_capacity(wide.len());
    let mut means = Vec::with_capacity(problem.rows);
    let mut rstds = Vec::with_capacity(problem.rows);
    for (statistic_row, row) in statistic_input.chunks(problem.hidden).zip(output_input.chunks(problem.hidden)) {
        let count = problem.hidden as f32;
        let mean = match norm.family {
            Family::LayerNorm => statistic_row.iter().sum::<f32>() / count,
            Family::RmsNorm | Family::L2Norm | Family::Identity => 0.0,
        };
        let squares: f32 = statistic_row.iter().map(|h| (h - mean) * (h - mean)).sum();
        let rstd = match norm.family {
            Family::Identity => 1.0,
            Family::L2Norm if squares == 0.0 => 0.0,
            Family::L2Norm => 1.0 / (squares + norm.eps).sqrt(),
            Family::LayerNorm | Family::RmsNorm => 1.0 / (squares / count + norm.eps).sqrt(),
        };
        means.push(mean);
        rstds.push(rstd);
        for (column, h) in row.iter().enumerate() {
            let mut v = (h - mean) * rstd;
            if norm.weight_rounding == WeightRounding::BeforeWeight {
                v = narrow(v);
            }
            if let Some(weight) = &weight {
                v *= weight[column] + norm.weight_offset;
            }
            if let Some(bias) = &bias {
                v += bias[column];
            }
            y.push(f64::from(v));
        }
    }
    Ok(Output {
        codes: None,
        scales: None,
        y: encode(problem.dtype, y),
        residual: problem.outputs.residual.then(|| encode(problem.dtype, stored.into_iter().map(f64::from))),
        mean: problem.outputs.mean.then_some(means),
        rstd: problem.outputs.rstd.then_some(rstds),
    })
}

fn widen(dtype: DType, bytes: &[u8]) -> Vec<f32> {
    decode(dtype, bytes).into_iter().map(|value| value as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity::{Case, Values};
    use crate::{Norm, ResidualAdd};

    #[test]
    fn the_plain_computation_errs_by_its_last_rounding_in_16_bits_and_by_its_sums_in_f32() {
        for norm in [Norm::layer_norm(1e-5), Norm::rms_norm(1e-6).with_residual_add(ResidualAdd::default())] {
            for dtype in DType::ALL {
                let case = Case::new(norm, dtype, 3, 4096, Values::Unit, 5).unwrap().with_weight(dtype);
                let error = plain_error(&case.as_problem()).unwrap();
                // One rounding to p bits is off by at most 2^-p, evenly spread: relative L2 of about
                // 2^-p / √3 over values spread over a binade. 4096 additions in f32 cost a few more.
                let rounding = 0.5f64.powi(dtype.significand_bits()) / 3f64.sqrt();
                let most = if dtype == DType::F32 { 30.0 } else { 1.5 };
                assert!(error > 0.5 * rounding && error < most * rounding, "{norm:?} {dtype}: {error:e}");
            }
        }
    }

    #[test]
    fn twice_the_plain_error_is_allowed_and_no_more() {
        assert!(within_house_tolerance(2e-3, 1e-3));
        assert!(!within_house_tolerance(2.1e-3, 1e-3));
        assert!(within_house_tolerance(5e-8, 0.0));
        assert!(!within_house_tolerance(1e-7, 0.0));
        assert!(!within_house_tolerance(f64::NAN, 1e-3));
    }

    #[test]
    fn a_large_mean_costs_the_plain_computation_four_digits() {
        let norm = Norm::layer_norm(1e-12);
        let case = Case::new(norm, DType::F32, 4, 4096, Values::LargeMean, 1).unwrap();
        let error = plain_error(&case.as_problem()).unwrap();
        assert!(error > 1e-4, "{error:e}");
    }

    #[test]
    fn no_rows_have_no_error() {
        let case = Case::new(Norm::rms_norm(0.0), DType::F16, 0, 8, Values::Unit, 0).unwrap();
        assert_eq!(plain_error(&case.as_problem()).unwrap(), 0.0);
    }
}
