//! Choices that lean towards the edges.

use super::{Fill, MAX_ELEMENTS};
use arbitrary::{Result, Unstructured};
use warpnorm::parity::Values;
use warpnorm::quantise::{BlockRounding, CodeType, Quantisation, ScaleLayout, Scaling};
use warpnorm::{Activation, DeviceFacts, MAX_HIDDEN};

/// One of the usual values, or now and then any value at all.
pub fn real(u: &mut Unstructured<'_>, usual: &[f32]) -> Result<f32> {
    if u.ratio(1, 16)? { u.arbitrary() } else { Ok(*u.choose(usual)?) }
}

/// Hidden sizes: small ones, those around the edges of chunks, warps, slabs and stages, whole chunks that leave places of
/// threads empty, any, and impossible ones.
pub fn hidden(u: &mut Unstructured<'_>) -> Result<usize> {
    const EDGES: [usize; 13] = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 12_288, 16_384, 20_000];
    Ok(match u.int_in_range(0..=32)? {
        0 => *u.choose(&[0, MAX_HIDDEN + 1, usize::MAX])?,
        1..=10 => u.int_in_range(1..=40)?,
        11..=18 => u.choose(&EDGES)? + u.int_in_range(0..=6)? - 3,
        19..=24 => 8 * u.int_in_range(1..=300)?,
        // Every order of magnitude alike: small ones run more often.
        bits => u.int_in_range(1..=MAX_ELEMENTS >> (bits % 8))?,
    })
}

/// A quantisation: mostly one that there is, now and then any that can be written down.
pub fn quantisation(u: &mut Unstructured<'_>) -> Result<Quantisation> {
    let any = u.ratio(1, 16)?;
    let column_major =
        ScaleLayout::ColumnMajor { alignment: if any { *u.choose(&[0, 3, usize::MAX])? } else { *u.choose(&[1, 4])? } };
    let mut layout = |there: [ScaleLayout; 2]| -> Result<ScaleLayout> {
        let all = [ScaleLayout::RowMajor, column_major, ScaleLayout::Tiled];
        if any { Ok(*u.choose(&all)?) } else { Ok(*u.choose(&there)?) }
    };
    let blocks = layout([ScaleLayout::RowMajor, ScaleLayout::Tiled])?;
    let groups = layout([ScaleLayout::RowMajor, column_major])?;
    let scaling = match u.int_in_range(0..=5)? {
        0 => Scaling::PerTensor,
        1 => Scaling::PerToken { upper_bound: if u.ratio(1, 4)? { Some(real(u, &[1.5, 448.0, 1e-3])?) } else { None } },
        2 => Scaling::PerGroup {
            size: if any { *u.choose(&[0, 1, 32, 64, 128, 256])? } else { *u.choose(&[64, 128])? },
            layout: groups,
            power_of_two: u.arbitrary()?,
            floor: real(u, &[1e-10, 1.0 / 512.0, Scaling::LEAST_FLOOR])?,
        },
        3 => Scaling::Mxfp8 { rounding: *u.choose(&[BlockRounding::Up, BlockRounding::Floor])?, layout: blocks },
        4 => Scaling::PerTensorWide,
        _ => Scaling::Nvfp4 { layout: blocks },
    };
    let codes: Vec<CodeType> = CodeType::ALL.into_iter().filter(|&code| any || scaling.takes(code)).collect();
    Ok(Quantisation { code: *u.choose(&codes)?, scaling })
}

/// An activation, with usual parameters or any.
pub fn activation(u: &mut Unstructured<'_>) -> Result<Activation> {
    Ok(match u.int_in_range(0..=6)? {
        0 => Activation::Identity,
        1 => Activation::Relu,
        2 => Activation::LeakyRelu { slope: real(u, &[0.01, 0.0, -1.0])? },
        3 => Activation::Sigmoid,
        4 => Activation::Swish { beta: real(u, &[1.0, 1.702, 0.0, -1.0])? },
        5 => Activation::GeluTanh,
        _ => Activation::GeluExact,
    })
}

/// Values of a kind, or any bits.
pub fn values(u: &mut Unstructured<'_>) -> Result<Fill> {
    Ok(match u.int_in_range(0..=15)? {
        0 => Fill::Bits,
        1..=3 => Fill::Band { exponent: u.int_in_range(0..=255)? },
        _ => Fill::Kind(*u.choose(&Values::ALL)?),
    })
}

/// A GPU that exists, or one that could.
pub fn device(u: &mut Unstructured<'_>) -> Result<DeviceFacts> {
    let mut facts = u.choose(&DeviceFacts::documented_gpus())?.clone();
    if u.ratio(1, 8)? {
        facts.name = "odd".to_owned();
        facts.compute_capability = (u.int_in_range(0..=13)?, u.int_in_range(0..=9)?);
        facts.max_threads_per_block = u.int_in_range(0..=1024)?;
        facts.max_shared_bytes_per_block = u.int_in_range(0..=227 * 1024)?;
        facts.max_grid_x = *u.choose(&[0, 1, 7, 65_535])?;
        facts.multiprocessors = u.int_in_range(0..=200)?;
    }
    // So few that rows are many, which have kernels of their own.
    if u.ratio(1, 2)? {
        facts.multiprocessors = u.int_in_range(0..=1)?;
    }
    Ok(facts)
}
