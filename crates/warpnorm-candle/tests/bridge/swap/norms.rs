// A program written against candle-nn. Whoever includes this has the `use` lines.

/// Which formula a result is of: whether the mean is removed, and whether there is a bias.
pub type Formula = (bool, bool);

pub fn run(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Vec<(&'static str, Formula, Tensor)>> {
    let size = weight.dim(0)?;
    let named = |weight: &str, bias: &str, tensors: [&Tensor; 2]| {
        let names = [format!("norm.{weight}"), format!("norm.{bias}")];
        names.into_iter().zip(tensors.map(Tensor::clone)).collect::<std::collections::HashMap<_, _>>()
    };
    let builder = |tensors| VarBuilder::from_tensors(tensors, weight.dtype(), weight.device()).pp("norm");
    let vb = || builder(named("weight", "bias", [weight, bias]));

    let with_bias = LayerNorm::new(weight.clone(), bias.clone(), eps);
    assert_eq!((with_bias.eps(), with_bias.remove_mean()), (eps, true));
    assert!(with_bias.bias().is_some() && with_bias.weight().dims() == [size]);
    let config = LayerNormConfig { eps, remove_mean: true, affine: true };
    let mean_kept = LayerNormConfig { remove_mean: false, ..eps.into() };
    let rms = rms_norm(size, eps, vb())?;
    assert_eq!((rms.eps(), rms.weight().dims()), (eps, &[size][..]));
    let inner: LayerNorm = rms.clone().into_inner();
    assert!(!inner.remove_mean() && inner.bias().is_none());
    let boxed: Box<dyn Module> = Box::new(rms.clone());
    let x_contiguous = x.contiguous()?;

    Ok(vec![
        ("LayerNorm::new", (true, true), with_bias.forward(x)?),
        ("apply", (true, true), x.apply(&with_bias)?),
        ("LayerNorm::new_no_bias", (true, false), LayerNorm::new_no_bias(weight.clone(), eps).forward(x)?),
        ("LayerNorm::rms_norm", (false, false), LayerNorm::rms_norm(weight.clone(), eps).forward(x)?),
        ("layer_norm, eps", (true, true), layer_norm(size, eps, vb())?.forward(x)?),
        ("layer_norm, config", (true, true), layer_norm(size, config, vb())?.forward(x)?),
        ("layer_norm, mean kept", (false, true), layer_norm(size, mean_kept, vb())?.forward(x)?),
        (
            "layer_norm, old names",
            (true, true),
            layer_norm(size, eps, builder(named("gamma", "beta", [weight, bias])))?.forward(x)?,
        ),
        ("layer_norm_no_bias", (true, false), layer_norm_no_bias(size, eps, vb())?.forward(x)?),
        ("RmsNorm::new", (false, false), RmsNorm::new(weight.clone(), eps).forward(x)?),
        ("rms_norm", (false, false), boxed.forward(x)?),
        ("forward_diff", (false, false), rms.forward_diff(x)?),
        ("into_inner", (false, false), inner.forward(x)?),
        ("ops::rms_norm", (false, false), ops::rms_norm(&x_contiguous, weight, eps as f32)?),
        ("ops::layer_norm", (true, true), ops::layer_norm(&x_contiguous, weight, bias, eps as f32)?),
    ])
}
