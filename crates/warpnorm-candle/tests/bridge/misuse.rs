//! Whatever does not fit is an error that says what was given and what is wanted.

use crate::oracle::values;
use candle_core::{DType, Device, Error, Result, Tensor};
use candle_nn::Module;
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{Norm, ResidualAdd, Scope};
use warpnorm_candle::{RopeTables, add_rms_norm, layer_norm, nn, norm, qk_norm, rms_norm};

const EPS: f32 = 1e-5;

fn bf16(shape: &[usize]) -> Tensor {
    values(1, 1.0, shape, DType::BF16).expect("a tensor")
}

fn f32(shape: &[usize]) -> Tensor {
    values(1, 1.0, shape, DType::F32).expect("a tensor")
}

/// Fails unless the result is an error whose text holds all of these.
#[track_caller]
fn refused<T>(result: Result<T>, wanted: &[&str]) {
    let Err(error) = result else { panic!("no error; wanted {wanted:?}") };
    let text = error.to_string();
    for wanted in wanted {
        assert!(text.contains(wanted), "{text:?} does not say {wanted:?}");
    }
}

#[test]
fn shapes_that_have_no_rows_of_elements() {
    let weight = bf16(&[8]);
    refused(rms_norm(&bf16(&[]), &weight, None, EPS), &["x", "scalar"]);
    refused(rms_norm(&bf16(&[3, 0]), &bf16(&[0]), None, EPS), &["hidden size is 0"]);
    refused(nn::RmsNorm::new(weight.clone(), 1e-5).forward(&bf16(&[])), &["x", "scalar"]);
    refused(add_rms_norm(&bf16(&[]), &bf16(&[]), &weight, None, EPS), &["x", "scalar"]);
}

#[test]
fn no_rows_are_no_error() -> Result<()> {
    let weight = bf16(&[8]);
    for shape in [&[0, 8][..], &[2, 0, 8]] {
        let x = bf16(shape);
        assert_eq!(rms_norm(&x, &weight, None, EPS)?.dims(), shape);
        let (y, residual) = add_rms_norm(&x, &x, &weight, None, EPS)?;
        assert_eq!((y.dims(), residual.dims(), y.dtype()), (shape, shape, DType::BF16));
        assert_eq!(nn::RmsNorm::new(weight.clone(), 1e-5).forward(&x)?.dims(), shape);
        let fp8 = Norm::rms_norm(EPS).with_quantisation(Quantisation::per_token(CodeType::E4m3));
        let quantised = norm(&fp8).weight(&weight).run_quantised(&x)?;
        assert_eq!((quantised.codes.dims(), quantised.codes.dtype()), (shape, DType::U8));
        let mut scales = shape.to_vec();
        *scales.last_mut().expect("a dimension") = 1;
        assert_eq!(quantised.scales.expect("scales").dims(), scales);
        // What does not fit does not fit there, either.
        refused(rms_norm(&x, &bf16(&[7]), None, EPS), &["weight", "[7]", "[8]"]);
        refused(norm(&Norm::rms_norm(EPS)).residual(&x).run(&x), &["residual"]);
    }
    Ok(())
}

#[test]
fn parameters_of_another_length_rank_or_type() {
    let x = bf16(&[3, 8]);
    for length in [7, 9, 1] {
        refused(rms_norm(&x, &bf16(&[length]), None, EPS), &["weight", &format!("[{length}]"), "[8]"]);
        refused(layer_norm(&x, &bf16(&[8]), Some(&bf16(&[length])), EPS), &["bias", &format!("[{length}]"), "[8]"]);
    }
    refused(rms_norm(&x, &bf16(&[1, 8]), None, EPS), &["weight", "[1, 8]", "[8]"]);
    refused(rms_norm(&x, &bf16(&[]), None, EPS), &["weight", "[]", "[8]"]);
    let f16 = values(1, 1.0, &[8], DType::F16).expect("a tensor");
    refused(rms_norm(&x, &f16, None, EPS), &["weight is f16", "bf16"]);
    refused(
        rms_norm(&x, &f32(&[8]).to_dtype(DType::F64).expect("f64"), None, EPS),
        &["weight is F64", "f32, f16 or bf16"],
    );
    refused(rms_norm(&f32(&[3, 8]), &bf16(&[8]), None, EPS), &["weight is bf16", "f32"]);
    refused(layer_norm(&x, &bf16(&[8]), Some(&f32(&[8])), EPS), &["weight is bf16 and bias f32"]);
    let strided = bf16(&[16]).reshape((8, 2)).and_then(|pairs| pairs.narrow(1, 0, 1)?.squeeze(1)).expect("a view");
    refused(rms_norm(&x, &strided, None, EPS), &["weight", "stride of 2"]);
}

#[test]
fn activations_of_a_type_that_has_no_kernels() {
    for dtype in [DType::F64, DType::U8, DType::I64, DType::U32] {
        let x = Tensor::ones((3, 8), dtype, &Device::Cpu).expect("ones");
        refused(rms_norm(&x, &f32(&[8]), None, EPS), &["x is", &format!("{dtype:?}"), "f32, f16 or bf16"]);
    }
}

#[test]
fn a_residual_that_is_not_as_x_is() {
    let (x, weight) = (bf16(&[3, 8]), bf16(&[8]));
    let add = |residual: &Tensor| add_rms_norm(&x, residual, &weight, None, EPS);
    refused(add(&bf16(&[4, 8])), &["residual", "[4, 8]", "[3, 8]"]);
    refused(add(&bf16(&[3, 7])), &["residual", "[3, 7]"]);
    refused(add(&bf16(&[24])), &["residual", "[24]"]);
    refused(add(&f32(&[3, 8])), &["residual is F32", "BF16"]);
    refused(norm(&Norm::rms_norm(EPS).with_residual_add(ResidualAdd::default())).run(&x), &["residual"]);
    refused(norm(&Norm::rms_norm(EPS)).residual(&x).run(&x), &["residual", "takes none"]);
    refused(norm(&Norm::rms_norm(EPS)).run_with_residual(&x), &["residual_out"]);
}

#[test]
fn views_that_one_launch_does_not_walk() -> Result<()> {
    let weight = bf16(&[8]);
    let transposed = bf16(&[8, 3]).t()?;
    refused(rms_norm(&transposed, &weight, None, EPS), &["last dimension of x", "stride of 3", ".contiguous()"]);
    let broadcast = bf16(&[1, 8]).broadcast_as((3, 8))?;
    refused(rms_norm(&broadcast, &weight, None, EPS), &["rows of x", "[0, 1]", ".contiguous()"]);
    let swapped = bf16(&[2, 3, 4, 8]).transpose(1, 2)?;
    refused(rms_norm(&swapped, &weight, None, EPS), &["rows of x", ".contiguous()"]);
    // Two nested strides will do for x alone, but not beside a residual.
    let narrowed = bf16(&[2, 4, 8]).narrow(1, 1, 3)?;
    rms_norm(&narrowed, &weight, None, EPS)?;
    refused(add_rms_norm(&narrowed, &narrowed, &weight, None, EPS), &["rows of x", ".contiguous()"]);
    refused(add_rms_norm(&bf16(&[2, 3, 8]), &narrowed, &weight, None, EPS), &["rows of residual", ".contiguous()"]);
    // The modules copy instead, as candle-nn does.
    let module = nn::RmsNorm::new(weight, 1e-5);
    for x in [transposed, broadcast, swapped] {
        assert_eq!(module.forward(&x)?.dims(), x.dims());
        module.forward_add(&x, &x)?;
    }
    module.forward_add(&narrowed, &narrowed)?;
    Ok(())
}

#[test]
fn ops_that_are_no_ops() {
    let (x, weight) = (bf16(&[3, 8]), bf16(&[8]));
    for eps in [-1.0, f32::NAN, f32::INFINITY] {
        refused(rms_norm(&x, &weight, None, eps), &["eps is"]);
        refused(nn::RmsNorm::new(weight.clone(), eps.into()).forward(&x), &["eps is"]);
    }
    let gated = Norm::rms_norm(EPS).with_gate(warpnorm::Activation::SILU);
    refused(norm(&gated).run(&x), &["gate"]);
    refused(norm(&gated.with_scope(Scope::Head)).gate(&x).run(&x), &["norm of heads", "no gate"]);
    refused(norm(&Norm::rms_norm(EPS).with_weight_offset(1.0)).run(&x), &["weight offset", "no weight"]);
    refused(norm(&Norm::rms_norm(EPS)).groups(2).run(&x), &["groups"]);
    let grouped = Norm::rms_norm(EPS).with_scope(Scope::Group);
    refused(norm(&grouped).groups(3).weight(&weight).run(&x), &["rows of 8 elements", "3 groups"]);
    refused(norm(&grouped).groups(0).weight(&weight).run(&x), &["0 groups"]);
}

#[test]
fn results_that_the_op_does_not_have() {
    let x = bf16(&[3, 64]);
    let fp8 = Norm::rms_norm(EPS).with_quantisation(Quantisation::per_token(CodeType::E4m3));
    refused(norm(&fp8).run(&x), &["run_quantised"]);
    refused(norm(&Norm::rms_norm(EPS)).run_quantised(&x), &["a norm with a quantisation"]);
    refused(norm(&fp8).run_quantised(&f32(&[3, 64])), &["f32 activations", "f16 or bf16"]);
    let nvfp4 = Norm::rms_norm(EPS).with_quantisation(Quantisation::nvfp4());
    refused(norm(&nvfp4).run_quantised(&x), &["tensor_scale"]);
    refused(norm(&nvfp4).tensor_scale(&f32(&[2])).run_quantised(&x), &["tensor_scale", "[2]"]);
    refused(norm(&nvfp4).tensor_scale(&bf16(&[1])).run_quantised(&x), &["tensor_scale is BF16", "f32"]);
    let scale = f32(&[1]);
    refused(norm(&nvfp4).tensor_scale(&scale).run_quantised(&bf16(&[3, 60])), &["60", "16"]);
    refused(norm(&Norm::rms_norm(EPS).with_scope(Scope::Head)).run_pair(&x), &["heads beside those of x"]);
}

#[test]
fn heads_that_do_not_fit() {
    let (q, weight) = (bf16(&[3, 4, 8]), bf16(&[8]));
    let k = |shape: &[usize]| qk_norm(&q, &bf16(shape), &weight, &weight, EPS);
    assert!(k(&[3, 2, 8]).is_ok());
    refused(k(&[4, 2, 8]), &["second_x", "[4, 2, 8]", "[3, 2, 8]"]);
    refused(k(&[3, 2, 4]), &["second_x"]);
    refused(k(&[3, 8]), &["second_x"]);
    refused(qk_norm(&q, &q, &weight, &bf16(&[4]), EPS), &["second_weight", "[4]", "[8]"]);
    refused(qk_norm(&weight, &weight, &weight, &weight, EPS), &["x has the shape [8]", "heads"]);
    refused(norm(&Norm::rms_norm(EPS)).second(&q, None).run_pair(&q), &["second_x"]);
    let heads = Norm::rms_norm(EPS).with_scope(Scope::Head);
    refused(norm(&heads).second(&q, None).run(&q), &["run_pair"]);
    refused(norm(&heads).second_bias(&weight).run(&q), &["a bias of second heads", "second()"]);
    refused(norm(&heads).weight(&weight).second(&q, None).run_pair(&q), &["second_weight"]);
}

#[test]
fn rows_of_no_heads() -> Result<()> {
    let (q, none, weight) = (bf16(&[5, 4, 64]), bf16(&[5, 0, 64]), bf16(&[64]));
    let heads = Norm::rms_norm(EPS).with_scope(Scope::Head);
    refused(norm(&heads).weight(&weight).run(&none), &["x has the shape [5, 0, 64]", "0 heads", "at least 1"]);
    refused(qk_norm(&none, &q, &weight, &weight, EPS), &["x has the shape [5, 0, 64]", "0 heads"]);
    refused(qk_norm(&q, &none, &weight, &weight, EPS), &["second_x has the shape [5, 0, 64]", "0 heads"]);
    // No rows of heads are no error, as no rows of anything else are none.
    let (q, k) = qk_norm(&bf16(&[0, 4, 64]), &bf16(&[0, 2, 64]), &weight, &weight, EPS)?;
    assert_eq!((q.dims(), k.dims()), (&[0, 4, 64][..], &[0, 2, 64][..]));
    Ok(())
}

#[test]
fn tables_that_do_not_fit() {
    let q = bf16(&[3, 4, 8]);
    let rotated = Norm::rms_norm(EPS).with_rope(warpnorm::Rope::half_split(8));
    let positions = |dtype| Tensor::zeros(3, dtype, &Device::Cpu).expect("zeros");
    let run = |cos: &Tensor, sin: &Tensor, positions: Option<&Tensor>| {
        norm(&rotated).rope(RopeTables { cos, sin, positions }).run(&q)
    };
    let table = f32(&[3, 4]);
    assert!(run(&table, &table, None).is_ok());
    assert!(run(&table, &table, Some(&positions(DType::U32))).is_ok());
    refused(norm(&rotated).run(&q), &["cos"]);
    refused(run(&f32(&[3, 8]), &table, None), &["cos", "[3, 8]", "[3, 4]"]);
    refused(run(&table, &f32(&[2, 4]), None), &["sin", "[2, 4]", "[3, 4]"]);
    refused(run(&f32(&[2, 4]), &f32(&[2, 4]), None), &["2", "3"]);
    refused(run(&table, &bf16(&[3, 4]), None), &["sin is BF16"]);
    let f16 = values(1, 0.0, &[3, 4], DType::F16).expect("a tensor");
    refused(run(&f16, &f16, None), &["cos is f16"]);
    refused(run(&table, &table, Some(&positions(DType::F32))), &["positions is F32", "u32, i32 or i64"]);
    let four = Tensor::zeros(4, DType::I64, &Device::Cpu).expect("zeros");
    refused(run(&table, &table, Some(&four)), &["positions", "[4]", "[3]"]);
    let apart =
        Tensor::zeros((3, 2), DType::I64, &Device::Cpu).and_then(|pairs| pairs.narrow(1, 0, 1)).expect("a view");
    refused(run(&table, &table, Some(&apart)), &["positions", ".contiguous()"]);
}

#[test]
fn errors_are_candles_with_the_text_of_what_was_refused() {
    let Err(error) = rms_norm(&bf16(&[3, 8]), &bf16(&[7]), None, EPS) else { panic!("no error") };
    assert!(matches!(error, Error::Wrapped(_) | Error::WithBacktrace { .. }));
    assert_eq!(error.to_string().lines().next(), Some("weight has the shape [7], wanted [8]"));
}
