//! What candle has no one op for.

use crate::oracle::{affine, assert_close, bits, error, normalise, rows, values, zip};
use candle_core::{DType, Device, Result, Storage, Tensor};
use warpnorm::quantise::{CodeType, Quantisation, ScaleLayout, Scaling};
use warpnorm::reference::quantise_row;
use warpnorm::{Activation, Input, Norm, Rope, Scope, presets};
use warpnorm_candle::{
    RopeTables, add_layer_norm, add_rms_norm, fused_add_layer_norm, fused_add_rms_norm, gated_rms_norm, layer_norm,
    layer_norm_add, nn, norm, qk_norm, qk_norm_rope, rms_norm, rms_norm_add,
};

const EPS: f32 = 1e-5;
const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

/// Elements of the memory that a tensor keeps alive.
fn memory(tensor: &Tensor) -> usize {
    let (storage, layout) = tensor.storage_and_layout();
    assert_eq!(layout.start_offset(), 0);
    match &*storage {
        Storage::Cpu(candle_core::CpuStorage::F32(values)) => values.len(),
        Storage::Cpu(candle_core::CpuStorage::F16(values)) => values.len(),
        Storage::Cpu(candle_core::CpuStorage::BF16(values)) => values.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn add_and_norm_in_one_are_the_bits_of_the_two() -> Result<()> {
    for dtype in TYPES {
        let (weight, bias) = (values(1, 1.0, &[48], dtype)?, values(2, 0.0, &[48], dtype)?);
        let packed = values(3, 0.5, &[2, 3, 3 * 48], dtype)?;
        for (x, residual) in [
            (values(4, 0.5, &[2, 3, 48], dtype)?, values(5, 0.0, &[2, 3, 48], dtype)?),
            (packed.narrow(2, 0, 48)?, packed.narrow(2, 96, 48)?),
        ] {
            let sum = (&x + &residual)?;
            let (y, stored) = add_rms_norm(&x, &residual, &weight, Some(&bias), EPS)?;
            assert_eq!(bits(&stored)?, bits(&sum)?);
            assert_eq!(bits(&y)?, bits(&rms_norm(&sum, &weight, Some(&bias), EPS)?)?);
            let (y, stored) = add_layer_norm(&x, &residual, &weight, None, EPS)?;
            assert_eq!(bits(&stored)?, bits(&sum)?);
            assert_eq!(bits(&y)?, bits(&layer_norm(&sum, &weight, None, EPS)?)?);
            // Neither keeps the memory of the other alive.
            assert_eq!((memory(&y), memory(&stored)), (2 * 3 * 48, 2 * 3 * 48));

            let module = nn::LayerNorm::new(weight.clone(), bias.clone(), EPS.into());
            let (y, stored) = module.forward_add(&x, &residual)?;
            assert_eq!(bits(&stored)?, bits(&sum)?);
            assert_eq!(bits(&y)?, bits(&layer_norm(&sum, &weight, Some(&bias), EPS)?)?);
        }
    }
    Ok(())
}

#[test]
fn f32_weights_go_with_every_type() -> Result<()> {
    let (weight, bias) = (values(1, 1.0, &[48], DType::F32)?, values(2, 0.0, &[48], DType::F32)?);
    for dtype in TYPES {
        let x = values(3, 0.5, &[4, 48], dtype)?;
        let exact = affine(&normalise(&rows(&x)?, true, EPS.into()), &weight, Some(&bias))?;
        assert_close("function", &layer_norm(&x, &weight, Some(&bias), EPS)?, None, &exact)?;
        let module = nn::LayerNorm::new(weight.clone(), bias.clone(), EPS.into());
        assert_close("module", &nn::Module::forward(&module, &x)?, None, &exact)?;
    }
    Ok(())
}

#[test]
fn the_residual_is_added_after_the_norm() -> Result<()> {
    for dtype in TYPES {
        let weight = values(1, 1.0, &[48], dtype)?;
        let packed = values(3, 0.5, &[2, 3, 2 * 48], dtype)?;
        let (x, residual) = (packed.narrow(2, 0, 48)?, packed.narrow(2, 48, 48)?);
        for (remove_mean, y) in
            [(false, rms_norm_add(&x, &residual, &weight, EPS)?), (true, layer_norm_add(&x, &residual, &weight, EPS)?)]
        {
            let normalised = affine(&normalise(&rows(&x)?, remove_mean, EPS.into()), &weight, None)?;
            let exact = zip(&normalised, &rows(&residual)?, |y, r| y + r);
            assert_close(&format!("{dtype:?} {remove_mean}"), &y, None, &exact)?;
        }
    }
    Ok(())
}

#[test]
fn a_sandwich_is_two_norms() -> Result<()> {
    let (inner, weight) = (values(1, 0.0, &[48], DType::BF16)?, values(2, 0.0, &[48], DType::BF16)?);
    let (x, residual) = (values(3, 0.5, &[4, 48], DType::BF16)?, values(4, 0.0, &[4, 48], DType::BF16)?);
    let gemma = presets::gemma2_sandwich();
    let Input::PostNorm(add) = gemma.input else { panic!("Gemma 2 has a norm in front of the add") };
    let sandwich = norm(&gemma).inner_weight(&inner).weight(&weight).residual(&residual);
    let (y, stored) = sandwich.run_with_residual(&x)?;
    let post = Norm { input: Input::Plain, ..gemma }.with_post_add(add);
    let wanted = norm(&post).weight(&inner).residual(&residual).run(&x)?;
    assert_eq!(bits(&stored)?, bits(&wanted)?);
    let wanted = norm(&Norm { input: Input::Plain, ..gemma }).weight(&weight).run(&wanted)?;
    assert_eq!(bits(&y)?, bits(&wanted)?);
    Ok(())
}

fn silu(z: f64) -> f64 {
    z / (1.0 + (-z).exp())
}

#[test]
fn gates_before_and_after_the_norm() -> Result<()> {
    for dtype in TYPES {
        let weight = values(1, 1.0, &[48], DType::F32)?;
        let packed = values(3, 0.5, &[2, 3, 2 * 48], dtype)?;
        let (gate, x) = (packed.narrow(2, 0, 48)?, packed.narrow(2, 48, 48)?);
        let weighted = affine(&normalise(&rows(&x)?, false, EPS.into()), &weight, None)?;
        let exact = zip(&weighted, &rows(&gate)?, |y, z| y * silu(z));
        let y = gated_rms_norm(&x, &gate, &weight, Activation::SILU, EPS)?;
        assert_close(&format!("after {dtype:?}"), &y, None, &exact)?;

        // Mamba-2's groups: each of 16 channels has a statistic of its own.
        let mamba = presets::mamba2().with_eps(EPS);
        let y = norm(&mamba).groups(3).gate(&gate).weight(&weight).run(&x)?;
        let gated = zip(&rows(&x)?, &rows(&gate)?, |x, z| x * silu(z));
        let groups: Vec<Vec<f64>> = gated.iter().flat_map(|row| row.chunks(16).map(<[f64]>::to_vec)).collect();
        let normalised = normalise(&groups, false, EPS.into()).chunks(3).map(<[Vec<f64>]>::concat).collect::<Vec<_>>();
        assert_close(&format!("before {dtype:?}"), &y, None, &affine(&normalised, &weight, None)?)?;
    }
    Ok(())
}

#[test]
fn qk_norm_is_the_norm_of_every_head_wherever_it_lies() -> Result<()> {
    for dtype in TYPES {
        let (q_weight, k_weight) = (values(1, 1.0, &[16], dtype)?, values(2, 1.0, &[16], dtype)?);
        // 4 heads of Q, then 2 of K and 2 of V, of 16 elements each.
        let packed = values(3, 0.5, &[2, 3, 8, 16], dtype)?;
        let (q, k) = (packed.narrow(2, 0, 4)?, packed.narrow(2, 4, 2)?);
        let (q_y, k_y) = qk_norm(&q, &k, &q_weight, &k_weight, EPS)?;
        assert_eq!(bits(&q_y)?, bits(&rms_norm(&q.contiguous()?, &q_weight, None, EPS)?)?);
        assert_eq!(bits(&k_y)?, bits(&rms_norm(&k.contiguous()?, &k_weight, None, EPS)?)?);
        assert_eq!((q_y.dims(), k_y.dims()), (&[2, 3, 4, 16][..], &[2, 3, 2, 16][..]));
    }
    Ok(())
}

#[test]
fn heads_are_rotated_by_their_positions() -> Result<()> {
    let (tokens, half) = (6, 8);
    let angle = |position: usize, pair: usize| position as f64 / 100f64.powf(pair as f64 / half as f64);
    let table = |f: fn(f64) -> f64| {
        let values: Vec<f32> =
            (0..16).flat_map(|position| (0..half).map(move |pair| f(angle(position, pair)) as f32)).collect();
        Tensor::from_vec(values, (16, half), &Device::Cpu)
    };
    let (cos, sin) = (table(f64::cos)?, table(f64::sin)?);
    let weight = values(1, 1.0, &[20], DType::F32)?;
    // Two sequences of three tokens, at positions of their own; heads of 20, of which 16 are rotated.
    let positions = [3u32, 4, 5, 0, 1, 15];
    let (q, k) = (values(2, 0.5, &[2, 3, 4, 20], DType::F32)?, values(3, 0.5, &[2, 3, 1, 20], DType::F32)?);
    let u32s = Tensor::new(&positions, &Device::Cpu)?.reshape((2, 3))?;
    for positions_tensor in [u32s.clone(), u32s.to_dtype(DType::I64)?, u32s.to_dtype(DType::I32)?] {
        let tables = RopeTables { cos: &cos, sin: &sin, positions: Some(&positions_tensor) };
        let (q_y, k_y) = qk_norm_rope((&q, &weight), (&k, &weight), tables, EPS)?;
        for (x, y, heads) in [(&q, q_y, 4), (&k, k_y, 1)] {
            let mut exact = affine(&normalise(&rows(x)?, false, EPS.into()), &weight, None)?;
            for (at, row) in exact.iter_mut().enumerate() {
                let position = positions[at / heads] as usize;
                for pair in 0..half {
                    let (a, b) = (row[pair], row[pair + half]);
                    let (sin, cos) = angle(position, pair).sin_cos();
                    (row[pair], row[pair + half]) = (a * cos - b * sin, b * cos + a * sin);
                }
            }
            // cos, sin and y are rounded to f32 before they are multiplied.
            let off = crate::oracle::error(&y, &exact)?;
            assert!(off < 2e-7, "{off:e}");
        }
    }
    // A narrowed table has the positions of one sequence, row for row.
    let q = values(4, 0.5, &[tokens, 4, 20], DType::BF16)?;
    let narrowed = RopeTables { cos: &cos.narrow(0, 5, tokens)?, sin: &sin.narrow(0, 5, tokens)?, positions: None };
    let counted = Tensor::arange(5u32, 5 + tokens as u32, &Device::Cpu)?;
    let counted = RopeTables { cos: &cos, sin: &sin, positions: Some(&counted) };
    let rotated = Norm::rms_norm(EPS).with_rope(Rope::half_split(2 * half));
    assert_eq!(bits(&norm(&rotated).rope(narrowed).run(&q)?)?, bits(&norm(&rotated).rope(counted).run(&q)?)?);
    Ok(())
}

#[test]
fn codes_are_those_of_the_norm() -> Result<()> {
    let weight = values(1, 1.0, &[128], DType::BF16)?;
    let packed = values(2, 0.5, &[2, 3, 2 * 128], DType::BF16)?;
    let x = packed.narrow(2, 128, 128)?;
    let y = rms_norm(&x, &weight, None, EPS)?;
    let tensor_scale = Tensor::new(&[0.5f32], &Device::Cpu)?;
    let tiled = Scaling::PerGroup {
        size: 64,
        layout: ScaleLayout::ColumnMajor { alignment: 4 },
        power_of_two: false,
        floor: 1e-10,
    };
    for (quantisation, code_columns, scale_dims, given) in [
        (Quantisation::per_tensor(CodeType::E4m3), 128, None, true),
        (Quantisation::per_token(CodeType::Int8), 128, Some(vec![2, 3, 1]), false),
        (Quantisation::per_group(CodeType::E4m3, 64), 128, Some(vec![2, 3, 2]), false),
        (Quantisation { code: CodeType::E4m3, scaling: tiled }, 128, Some(vec![16]), false),
        (Quantisation::mxfp8(), 128, Some(vec![2, 3, 4]), false),
        (Quantisation::nvfp4(), 64, Some(vec![2, 3, 8]), true),
    ] {
        let call = norm(&Norm::rms_norm(EPS).with_quantisation(quantisation)).weight(&weight);
        let call = if given { call.tensor_scale(&tensor_scale) } else { call };
        let found = call.run_quantised(&x)?;
        assert_eq!(found.codes.dims(), [2, 3, code_columns], "{quantisation:?}");
        assert_eq!(found.scales.as_ref().map(|scales| scales.dims().to_vec()), scale_dims, "{quantisation:?}");
        let codes = found.codes.reshape((6, code_columns))?.to_vec2::<u8>()?;
        let scales = found.scales.map(|scales| bits(&scales)).transpose()?;
        let mut written = 0;
        for (at, row) in rows(&y)?.iter().enumerate() {
            let row: Vec<f32> = row.iter().map(|&value| value as f32).collect();
            let wanted = quantise_row(&quantisation, 0.5, &row).expect("a valid quantisation");
            assert_eq!(codes[at], wanted.codes, "{quantisation:?}");
            for (group, scale) in wanted.scales.iter().enumerate() {
                let place = quantisation.scale_index(6, 128, at, group);
                assert_eq!(scales.as_ref().map(|scales| scales[place]), Some(*scale), "{quantisation:?}");
                written += usize::from(*scale != 0);
            }
        }
        // Between those there is nothing but zeros.
        let nonzero = scales.map_or(0, |scales| scales.iter().filter(|&&scale| scale != 0).count());
        assert_eq!(nonzero, written, "{quantisation:?}");
    }
    Ok(())
}

#[test]
fn add_norm_and_quantise_are_one() -> Result<()> {
    let weight = values(1, 1.0, &[64], DType::F16)?;
    let (x, residual) = (values(2, 0.5, &[5, 64], DType::F16)?, values(3, 0.0, &[5, 64], DType::F16)?);
    let fp8 = Quantisation::per_tensor(CodeType::E4m3);
    let tensor_scale = Tensor::new(&[0.5f32], &Device::Cpu)?;
    let add = presets::vllm_static_fp8().with_eps(EPS).with_quantisation(fp8);
    let call = norm(&add).weight(&weight).tensor_scale(&tensor_scale);
    let found = call.residual(&residual).run_quantised_with_residual(&x)?;
    let sum = (&x + &residual)?;
    assert_eq!(bits(&found.residual.expect("asked for"))?, bits(&sum)?);
    let plain = Norm { input: Input::Plain, ..add };
    let wanted = norm(&plain).weight(&weight).tensor_scale(&tensor_scale).run_quantised(&sum)?;
    assert_eq!(bits(&found.codes)?, bits(&wanted.codes)?);
    assert!(wanted.residual.is_none());
    Ok(())
}

/// Rows that are computed in several tasks are where they belong.
#[test]
fn many_rows_are_the_rows_one_by_one() -> Result<()> {
    let weight = values(1, 1.0, &[40], DType::BF16)?;
    let x = values(2, 0.5, &[1000, 40], DType::BF16)?;
    let all = rms_norm(&x, &weight, None, EPS)?;
    for row in [0, 1, 204, 205, 777, 999] {
        assert_eq!(bits(&all.narrow(0, row, 1)?)?, bits(&rms_norm(&x.narrow(0, row, 1)?, &weight, None, EPS)?)?);
    }
    let heads = Norm::rms_norm(EPS).with_scope(Scope::Head);
    assert_eq!(bits(&norm(&heads).weight(&weight).run(&x.reshape((250, 4, 40))?)?)?, bits(&all)?);

    // Scales that are one tensor for all rows, and angles by the row's number.
    let layout = ScaleLayout::ColumnMajor { alignment: 1 };
    let scaling = Scaling::PerGroup { size: 64, layout, power_of_two: false, floor: 1e-10 };
    let fp8 = Norm::rms_norm(EPS).with_quantisation(Quantisation { code: CodeType::E4m3, scaling });
    let wide = values(3, 0.5, &[300, 128], DType::BF16)?;
    let scales = |x: &Tensor| norm(&fp8).run_quantised(x).map(|found| found.scales.expect("the norm makes scales"));
    // The second group of the first row, behind the first groups of all rows.
    assert_eq!(bits(&scales(&wide)?.narrow(0, 300, 1)?)?, bits(&scales(&wide.narrow(0, 0, 1)?)?.narrow(0, 1, 1)?)?);
    let x = wide.narrow(1, 64, 64)?;
    let rotated = Norm::rms_norm(EPS).with_rope(Rope::half_split(64));
    let table = values(4, 0.5, &[300, 32], DType::F32)?;
    let rotate = |x: &Tensor, table: &Tensor| {
        norm(&rotated).rope(RopeTables { cos: table, sin: table, positions: None }).run(&x.unsqueeze(1)?)
    };
    let last = rotate(&x.narrow(0, 299, 1)?, &table.narrow(0, 299, 1)?)?;
    assert_eq!(bits(&rotate(&x, &table)?.narrow(0, 299, 1)?)?, bits(&last)?);
    Ok(())
}

/// candle-nn's variance is E[x²] − E[x]², of which nothing is left where the mean is large.
#[test]
fn a_large_mean_costs_no_digits() -> Result<()> {
    let x = values(1, 1e4, &[4, 256], DType::F32)?;
    let (weight, bias) = (values(2, 1.0, &[256], DType::F32)?, values(3, 0.0, &[256], DType::F32)?);
    let exact = affine(&normalise(&rows(&x)?, true, EPS.into()), &weight, Some(&bias))?;
    let stock =
        error(&nn::Module::forward(&candle_nn::LayerNorm::new(weight.clone(), bias.clone(), EPS.into()), &x)?, &exact)?;
    let ours = error(&layer_norm(&x, &weight, Some(&bias), EPS)?, &exact)?;
    assert!(ours < 1e-6, "{ours:e}");
    // A variance below zero, even: where it is no longer so, the README is to say so.
    assert!(stock.is_nan() || stock > 1e-2, "{stock:e} by candle-nn");
    Ok(())
}

/// candle-layer-norm's functions take y from the sum in f32, those beside them from the sum that is stored.
#[test]
fn the_sum_is_rounded_before_y_or_after() -> Result<()> {
    let weight = values(1, 1.0, &[256], DType::BF16)?;
    let (x, residual) = (values(2, 0.5, &[8, 256], DType::BF16)?, values(3, 0.0, &[8, 256], DType::BF16)?);
    let wide = zip(&rows(&x)?, &rows(&residual)?, |x, r| x + r);
    let stored = rows(&(&x + &residual)?)?;
    for (remove_mean, add, fused) in [
        (
            false,
            add_rms_norm(&x, &residual, &weight, None, EPS)?,
            fused_add_rms_norm(&x, &residual, &weight, None, EPS)?,
        ),
        (
            true,
            add_layer_norm(&x, &residual, &weight, None, EPS)?,
            fused_add_layer_norm(&x, &residual, &weight, None, EPS)?,
        ),
    ] {
        assert_eq!(bits(&add.1)?, bits(&fused.1)?);
        let rounded = |h: &[Vec<f64>]| -> Result<Vec<u32>> {
            let y = affine(&normalise(h, remove_mean, EPS.into()), &weight, None)?.concat();
            bits(&Tensor::from_vec(y, (8, 256), &Device::Cpu)?.to_dtype(DType::BF16)?)
        };
        assert_eq!((bits(&add.0)?, bits(&fused.0)?), (rounded(&stored)?, rounded(&wide)?));
        assert_ne!(bits(&add.0)?, bits(&fused.0)?);
    }
    Ok(())
}
