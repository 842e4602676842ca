//! Fused norms are for inference: a gradient through one is an error, never a wrong number.

use crate::oracle::values;
use candle_core::{DType, Error, Result, Tensor, Var};
use candle_nn::Module;
use warpnorm_candle::{add_layer_norm, nn, rms_norm};

fn variable(seed: u64, shape: &[usize]) -> Result<Var> {
    Var::from_tensor(&values(seed, 1.0, shape, DType::F32)?)
}

#[track_caller]
fn refuses_backward(result: &Tensor) -> Result<()> {
    let Err(error) = result.sqr()?.sum_all()?.backward() else { panic!("a gradient went through a fused norm") };
    let text = error.to_string();
    assert!(text.contains("inference") && text.contains("forward_diff"), "{text}");
    let not_supported = |error: &Error| matches!(error, Error::BackwardNotSupported { .. });
    assert!(not_supported(&error) || matches!(&error, Error::WithBacktrace { inner, .. } if not_supported(inner)));
    Ok(())
}

#[test]
fn backward_through_a_fused_norm_is_an_error() -> Result<()> {
    let (x, weight) = (variable(1, &[3, 8])?, variable(2, &[8])?);
    let constant = values(3, 1.0, &[3, 8], DType::F32)?;
    refuses_backward(&rms_norm(&x, &weight, None, 1e-5)?)?;
    // Whichever it is that has a gradient, and behind other ops.
    refuses_backward(&rms_norm(&constant, &weight, None, 1e-5)?)?;
    refuses_backward(&nn::RmsNorm::new(weight.as_tensor().clone(), 1e-5).forward(&(constant.clone() * 2.0)?)?)?;
    refuses_backward(
        &nn::LayerNorm::new_no_bias(values(4, 1.0, &[8], DType::F32)?, 1e-5).forward(&(x.as_tensor() * 2.0)?)?,
    )?;
    // Both results, and through the residual alone.
    let (y, residual) = add_layer_norm(&constant, &x, &weight, None, 1e-5)?;
    refuses_backward(&y)?;
    refuses_backward(&residual)?;
    Ok(())
}

/// What is there without a gradient is not slowed down by a graph.
#[test]
fn constants_make_constants() -> Result<()> {
    let (x, weight) = (values(1, 1.0, &[3, 8], DType::F32)?, values(2, 1.0, &[8], DType::F32)?);
    assert!(!rms_norm(&x, &weight, None, 1e-5)?.track_op());
    let (y, residual) = add_layer_norm(&x, &x, &weight, None, 1e-5)?;
    assert!(!y.track_op() && !residual.track_op());
    Ok(())
}

/// Against differences of the loss in f64: f(w) is Σ y², whose gradient candle's own ops compute here.
#[test]
fn forward_diff_is_differentiable() -> Result<()> {
    let (x, weight, bias) = (variable(1, &[3, 8])?, variable(2, &[8])?, variable(3, &[8])?);
    let tensor = |variable: &Var| variable.as_tensor().clone();
    let layer = nn::LayerNorm::new(tensor(&weight), tensor(&bias), 1e-5);
    let grads = layer.forward_diff(&x)?.sqr()?.sum_all()?.backward()?;
    let rms = nn::RmsNorm::new(tensor(&weight), 1e-5);
    let rms_grads = rms.forward_diff(&x)?.sqr()?.sum_all()?.backward()?;

    for (grads, removes_mean, variables) in
        [(&grads, true, vec![&x, &weight, &bias]), (&rms_grads, false, vec![&x, &weight])]
    {
        for (at, variable) in variables.into_iter().enumerate() {
            let grad = grads.get(variable).expect("a gradient").flatten_all()?.to_vec1::<f32>()?;
            let loss = |element: usize, step: f64| -> Result<f64> {
                let moved = |which: usize, variable: &Var| -> Result<Vec<Vec<f64>>> {
                    let mut rows = crate::oracle::rows(variable)?;
                    if which == at {
                        let columns = rows[0].len();
                        rows[element / columns][element % columns] += step;
                    }
                    Ok(rows)
                };
                let normalised = crate::oracle::normalise(&moved(0, &x)?, removes_mean, 1e-5);
                let (w, b) = (moved(1, &weight)?, if removes_mean { moved(2, &bias)? } else { vec![vec![0.0; 8]] });
                let y = normalised.iter().flat_map(|row| row.iter().zip(&w[0]).zip(&b[0]).map(|((x, w), b)| x * w + b));
                Ok(y.map(|y| y * y).sum())
            };
            for (element, &found) in grad.iter().enumerate() {
                let wanted = (loss(element, 1e-5)? - loss(element, -1e-5)?) / 2e-5;
                assert!(
                    (f64::from(found) - wanted).abs() <= 1e-3 * wanted.abs().max(1.0),
                    "{at} {element}: {found} {wanted}"
                );
            }
        }
    }
    Ok(())
}
