//! Results are checked before they are timed.

use super::memory::DeviceBuffers;
use super::rotation::Rotation;
use crate::{BenchError, Workload};
use warpnorm::Call;
#[cfg(feature = "cublas")]
use warpnorm::DType;
use warpnorm::host::Output;
use warpnorm::parity::judge;
use warpnorm::quantise::ScaleLayout;
#[cfg(feature = "cublas")]
use warpnorm::reference::{self, decode};

/// What a composition of several rounded steps may be off by, as relative L2: about eight roundings.
#[cfg(feature = "cublas")]
fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 1e-4,
        DType::F16 => 4e-3,
        DType::BF16 => 3e-2,
    }
}

/// Holds the first rows of the first set against the reference, and the last ones against the first: they hold the
/// same values. Returns the relative L2 error.
///
/// # Errors
/// The result is wrong, or the device fails.
pub fn check(buffers: &DeviceBuffers, workload: &Workload, rotation: &Rotation) -> Result<f64, BenchError> {
    let (block, call) = (&workload.block, &rotation.calls()[0]);
    let problem = block.as_problem();
    let verdict = judge(&problem, &output(buffers, workload, call)?)?;
    if !verdict.passed {
        let what = format!("warpnorm's {} {}", workload.op, block.dtype);
        return Err(BenchError::Wrong { what, error: verdict.relative_l2, wanted: 0.0 });
    }
    if let Some(y) = call.y {
        let row = block.hidden * block.parts * block.dtype.size();
        let last = workload.rows.saturating_sub(1);
        let at = |index: usize| buffers.read(y.address + (index * row) as u64, row);
        let first = last % block.rows.max(1);
        if workload.rows > 0 && at(first)? != at(last)? {
            return Err(BenchError::Rows { first, second: last });
        }
    }
    Ok(verdict.relative_l2)
}

/// The results of the block's rows.
fn output(buffers: &DeviceBuffers, workload: &Workload, call: &Call) -> Result<Output, BenchError> {
    let block = &workload.block;
    let matrix = |parts: usize| block.rows * block.hidden * parts * block.dtype.size();
    let read = |address: Option<u64>, bytes| address.map(|address| buffers.read(address, bytes)).transpose();
    let quantisation = block.norm.quantisation;
    let layout = quantisation.map_or(ScaleLayout::RowMajor, |quantisation| quantisation.scaling.layout());
    let scales = match quantisation.and_then(|quantisation| quantisation.scaling.scale_type()) {
        // In other layouts, the scales of a block are not the first ones.
        Some(_) if block.rows != workload.rows && layout != ScaleLayout::RowMajor => {
            let reason = format!("scales in layout {layout:?} of more than {} rows cannot be checked", block.rows);
            return Err(BenchError::Unsupported(reason));
        }
        Some(scale) => {
            let count = quantisation.and_then(|one| one.scale_count(block.rows, block.hidden)).unwrap_or(0);
            read(call.scales, count * scale.size())?
        }
        None => None,
    };
    Ok(Output {
        y: read(call.y.map(|y| y.address), matrix(block.parts))?.unwrap_or_default(),
        second_y: match call.second {
            Some(heads) => Some(buffers.read(heads.y.address, matrix(heads.count))?),
            None => None,
        },
        codes: match (call.codes, quantisation) {
            (Some(codes), Some(one)) => Some(buffers.read(codes.address, block.rows * one.row_bytes(block.hidden))?),
            _ => None,
        },
        scales,
        residual: read(call.residual_out.map(|rows| rows.address), matrix(1))?,
        mean: None,
        rstd: None,
    })
}

/// Holds the y of a baseline, in the first set, against the reference. Returns its relative L2 error.
///
/// # Errors
/// It is past the tolerance, or the device fails.
#[cfg(feature = "cublas")]
pub fn baseline(
    buffers: &DeviceBuffers,
    workload: &Workload,
    rotation: &Rotation,
    name: &str,
) -> Result<f64, BenchError> {
    let (block, call) = (&workload.block, &rotation.calls()[0]);
    let y = call.y.ok_or_else(|| BenchError::Unsupported("nothing but codes to compare".to_owned()))?;
    let bytes = block.rows * block.hidden * block.parts * block.dtype.size();
    let got = decode(block.dtype, &buffers.read(y.address, bytes)?);
    let wanted = reference::norm(&block.as_problem())?;
    let wanted = wanted.rows.iter().flat_map(|row| row.y.iter().map(|value| value.exact));
    accept(name, block.dtype, relative_l2(got.into_iter(), wanted))
}

/// The error, where it is within the tolerance; a NaN is not.
///
/// # Errors
/// It is not.
#[cfg(feature = "cublas")]
pub(crate) fn accept(name: &str, dtype: DType, error: f64) -> Result<f64, BenchError> {
    let wanted = tolerance(dtype);
    if error <= wanted { Ok(error) } else { Err(BenchError::Wrong { what: name.to_owned(), error, wanted }) }
}

/// ‖got − wanted‖ / ‖wanted‖.
#[cfg(feature = "cublas")]
pub(crate) fn relative_l2(got: impl Iterator<Item = f64>, wanted: impl Iterator<Item = f64>) -> f64 {
    let (mut error, mut norm) = (0.0, 0.0);
    for (got, wanted) in got.zip(wanted) {
        error += (got - wanted) * (got - wanted);
        norm += wanted * wanted;
    }
    (error / norm).sqrt()
}
