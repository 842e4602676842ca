//! Programs that differ in their `use` lines alone.

mod candle_layer_norm;

use crate::oracle::{affine, assert_close, bits, error, normalise, rows, values, views, zip};
use candle_core::{DType, Result, Tensor};

mod norms_of_candle_nn {
    use candle_core::{Result, Tensor};
    use candle_nn::{
        LayerNorm, LayerNormConfig, Module, RmsNorm, VarBuilder, layer_norm, layer_norm_no_bias, ops, rms_norm,
    };

    include!("norms.rs");
}

mod norms_of_this_crate {
    use candle_core::{Result, Tensor};
    use warpnorm_candle::nn::{
        LayerNorm, LayerNormConfig, Module, RmsNorm, VarBuilder, layer_norm, layer_norm_no_bias, ops, rms_norm,
    };

    include!("norms.rs");
}

mod functions_of_candle_layer_norm {
    use super::candle_layer_norm::{fused_add_layer_norm, fused_add_rms_norm, layer_norm, rms_norm};
    use candle_core::{Result, Tensor};

    include!("functions.rs");
}

mod functions_of_this_crate {
    use candle_core::{Result, Tensor};
    use warpnorm_candle::{fused_add_layer_norm, fused_add_rms_norm, layer_norm, rms_norm};

    include!("functions.rs");
}

const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

#[test]
fn a_program_of_candle_nn_computes_the_same_on_every_view() -> Result<()> {
    let eps = 1e-5;
    for dtype in TYPES {
        for hidden in [1, 5, 64, 384] {
            let (weight, bias) = (values(11, 1.0, &[hidden], dtype)?, values(12, 0.0, &[hidden], dtype)?);
            for (view, x) in views(hidden, dtype)? {
                let stock = norms_of_candle_nn::run(&x, &weight, &bias, eps)?;
                let ours = norms_of_this_crate::run(&x, &weight, &bias, eps)?;
                assert_eq!(stock.len(), ours.len());
                for ((name, formula, stock), (_, _, ours)) in stock.iter().zip(&ours) {
                    assert_eq!((ours.dims(), ours.dtype()), (stock.dims(), stock.dtype()));
                    assert!(ours.is_contiguous());
                    let (remove_mean, with_bias) = *formula;
                    let normalised = normalise(&rows(&x)?, remove_mean, eps);
                    let exact = affine(&normalised, &weight, with_bias.then_some(&bias))?;
                    assert_close(&format!("{name} {dtype:?} {hidden} {view}"), ours, Some(stock), &exact)?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_program_of_candle_layer_norm_computes_the_same() -> Result<()> {
    let eps = 1e-5;
    for dtype in TYPES {
        // What candle-layer-norm has no kernels for, too: sizes that 8 does not divide.
        for hidden in [1, 5, 64, 384] {
            let (gamma, beta) = (values(11, 1.0, &[hidden], dtype)?, values(12, 0.0, &[hidden], dtype)?);
            let (x, res) = (values(13, 0.5, &[6, hidden], dtype)?, values(14, 0.0, &[6, hidden], dtype)?);
            let stock = functions_of_candle_layer_norm::run(&x, &res, &gamma, &beta, eps)?;
            let ours = functions_of_this_crate::run(&x, &res, &gamma, &beta, eps)?;
            assert_eq!(stock.len(), ours.len());
            for (stock, ours) in stock.iter().zip(&ours) {
                let ((remove_mean, add, with_bias), stock_y, stock_sum) = stock;
                let (_, y, sum) = ours;
                let h = if *add { zip(&rows(&x)?, &rows(&res)?, |x, r| x + r) } else { rows(&x)? };
                let exact = affine(&normalise(&h, *remove_mean, eps.into()), &gamma, with_bias.then_some(&beta))?;
                assert_close(&format!("{:?} {dtype:?} {hidden}", stock.0), y, Some(stock_y), &exact)?;
                let (Some(stock_sum), Some(sum)) = (stock_sum, sum) else { continue };
                // One correctly rounded addition in either.
                assert_eq!(bits(sum)?, bits(stock_sum)?);
                assert!(error(sum, &h)? <= crate::oracle::half_ulp(dtype));
            }
        }
    }
    Ok(())
}

/// candle-layer-norm takes its rows for contiguous whatever their stride, and returns others than were asked for.
#[test]
fn rows_that_lie_apart_are_the_rows_that_are_normalised() -> Result<()> {
    let packed = values(15, 0.5, &[6, 3 * 64], DType::BF16)?;
    let (x, res) = (packed.narrow(1, 64, 64)?, packed.narrow(1, 128, 64)?);
    let (gamma, beta) = (values(11, 1.0, &[64], DType::BF16)?, values(12, 0.0, &[64], DType::BF16)?);
    let strided = functions_of_this_crate::run(&x, &res, &gamma, &beta, 1e-5)?;
    let contiguous = functions_of_this_crate::run(&x.contiguous()?, &res.contiguous()?, &gamma, &beta, 1e-5)?;
    for ((_, y, sum), (_, wanted, wanted_sum)) in strided.iter().zip(&contiguous) {
        assert_eq!(bits(y)?, bits(wanted)?);
        assert_eq!(sum.as_ref().map(bits).transpose()?, wanted_sum.as_ref().map(bits).transpose()?);
    }
    Ok(())
}

/// The signatures of candle-layer-norm 0.0.1, as types.
#[test]
fn the_functions_have_the_signatures_of_candle_layer_norm() {
    type Plain = fn(&Tensor, &Tensor, Option<&Tensor>, f32) -> Result<Tensor>;
    type Add = fn(&Tensor, &Tensor, &Tensor, Option<&Tensor>, f32) -> Result<(Tensor, Tensor)>;
    let plain: [Plain; 2] = [warpnorm_candle::layer_norm, warpnorm_candle::rms_norm];
    let add: [Add; 2] = [warpnorm_candle::fused_add_layer_norm, warpnorm_candle::fused_add_rms_norm];
    assert_eq!((plain.len(), add.len()), (2, 2));
}

/// One import changes all of a model: everything else of candle-nn is there.
#[test]
fn the_rest_of_candle_nn_is_candle_nns() -> Result<()> {
    use warpnorm_candle::nn as candle_nn;
    let linear = candle_nn::Linear::new(values(1, 0.0, &[4, 8], DType::F32)?, None);
    let y = candle_nn::Module::forward(&linear, &values(2, 0.0, &[3, 8], DType::F32)?)?;
    assert_eq!(candle_nn::ops::softmax(&y, 1)?.dims(), [3, 4]);
    let norm: candle_nn::layer_norm::RmsNorm = candle_nn::RmsNorm::new(values(3, 1.0, &[4], DType::F32)?, 1e-6);
    assert_eq!(candle_nn::Module::forward(&norm, &y)?.dims(), [3, 4]);
    Ok(())
}
