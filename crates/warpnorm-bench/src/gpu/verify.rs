//! Results are checked before they are timed.

use super::memory::Memory;
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

/// In every byte of an output before the check of who is to write it, so that no check passes by what another has
/// written: NaNs, in each type.
pub(crate) const UNWRITTEN: u8 = 0xff;

/// Has warpnorm's kernel run on a set of tensors, and holds its first rows against the reference, and the last ones
/// against the first: they hold the same values. Returns the relative L2 error.
///
/// # Errors
/// The result is wrong, or the device fails.
pub fn check(
    memory: &impl Memory,
    workload: &Workload,
    call: &Call,
    run: impl FnOnce() -> Result<(), BenchError>,
) -> Result<f64, BenchError> {
    let (block, problem) = (&workload.block, workload.block.as_problem());
    unwrite(memory, call)?;
    run()?;
    let verdict = judge(&problem, &output(memory, workload, call)?)?;
    if !verdict.passed {
        let what = format!("warpnorm's {} {}", workload.op, block.dtype);
        return Err(BenchError::Wrong { what, error: verdict.relative_l2, wanted: 0.0 });
    }
    if let Some(y) = call.y {
        let row = block.hidden * block.parts * block.dtype.size();
        let last = workload.rows.saturating_sub(1);
        let at = |index: usize| memory.read(y.address + (index * row) as u64, row);
        let first = last % block.rows.max(1);
        if workload.rows > 0 && at(first)? != at(last)? {
            return Err(BenchError::Rows { first, second: last });
        }
    }
    Ok(verdict.relative_l2)
}

/// Takes from a set of tensors whatever y it has.
fn unwrite(memory: &impl Memory, call: &Call) -> Result<(), BenchError> {
    let bytes = call.rows * call.parts.count * call.hidden * call.dtype.size();
    call.y.map_or(Ok(()), |y| memory.fill(y.address, UNWRITTEN, bytes))
}

/// The results of the block's rows.
fn output(memory: &impl Memory, workload: &Workload, call: &Call) -> Result<Output, BenchError> {
    let block = &workload.block;
    let matrix = |parts: usize| block.rows * block.hidden * parts * block.dtype.size();
    let read = |address: Option<u64>, bytes| address.map(|address| memory.read(address, bytes)).transpose();
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
            Some(heads) => Some(memory.read(heads.y.address, matrix(heads.count))?),
            None => None,
        },
        codes: match (call.codes, quantisation) {
            (Some(codes), Some(one)) => Some(memory.read(codes.address, block.rows * one.row_bytes(block.hidden))?),
            _ => None,
        },
        scales,
        residual: read(call.residual_out.map(|rows| rows.address), matrix(1))?,
        mean: None,
        rstd: None,
    })
}

/// Has a baseline run on a set of tensors, and holds its y against the reference. Returns its relative L2 error.
///
/// # Errors
/// It is past the tolerance, or the device fails.
#[cfg(feature = "cublas")]
pub fn baseline(
    memory: &impl Memory,
    workload: &Workload,
    call: &Call,
    name: &str,
    run: impl FnOnce() -> Result<(), BenchError>,
) -> Result<f64, BenchError> {
    let block = &workload.block;
    let y = call.y.ok_or_else(|| BenchError::Unsupported("nothing but codes to compare".to_owned()))?;
    let bytes = block.rows * block.hidden * block.parts * block.dtype.size();
    unwrite(memory, call)?;
    run()?;
    let got = decode(block.dtype, &memory.read(y.address, bytes)?);
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

#[cfg(all(test, feature = "cublas"))]
mod tests {
    use super::*;
    use crate::cublas::NAME;
    use std::cell::RefCell;
    use warpnorm::host::Outputs;
    use warpnorm::parity::{Case, Values};
    use warpnorm::reference::encode;
    use warpnorm::{Norm, RawRows};

    /// Memory of the host, whose addresses are places in it.
    struct Host(RefCell<Vec<u8>>);

    impl Memory for Host {
        fn read(&self, address: u64, bytes: usize) -> Result<Vec<u8>, BenchError> {
            Ok(self.0.borrow()[address as usize..][..bytes].to_vec())
        }

        fn fill(&self, address: u64, value: u8, bytes: usize) -> Result<(), BenchError> {
            self.0.borrow_mut()[address as usize..][..bytes].fill(value);
            Ok(())
        }
    }

    /// A workload, its call, and the y that is right.
    fn right(dtype: DType) -> (Workload, Call, Vec<u8>) {
        let (rows, hidden) = (3, 16);
        let block = Case::new(Norm::rms_norm(1e-6), dtype, rows, hidden, Values::Unit, 4).unwrap();
        let block = block.with_outputs(Outputs::default());
        let y = reference::norm(&block.as_problem()).unwrap();
        let y = encode(dtype, y.rows.iter().flat_map(|row| row.y.iter().map(|value| value.exact)));
        let at = RawRows { address: 0, stride: hidden };
        let call = Call::new(block.norm, dtype, rows, hidden, at, at);
        (Workload { op: "rms-norm".to_owned(), options: String::new(), rows, block }, call, y)
    }

    #[test]
    fn what_writes_nothing_is_wrong_whatever_lies_there() {
        for dtype in DType::ALL {
            let (workload, call, y) = right(dtype);
            let memory = Host(RefCell::new(y.clone()));
            let write = || {
                memory.0.borrow_mut().copy_from_slice(&y);
                Ok(())
            };
            check(&memory, &workload, &call, write).unwrap();
            let wrong = |result| matches!(result, Err(BenchError::Wrong { .. }));
            assert!(wrong(check(&memory, &workload, &call, || Ok(()))), "{dtype}");
            baseline(&memory, &workload, &call, NAME, write).unwrap();
            assert!(wrong(baseline(&memory, &workload, &call, NAME, || Ok(()))), "{dtype}");
        }
    }

    /// The block of a workload of more rows is written, and the rest is not.
    #[test]
    fn rows_that_are_left_out_are_seen() {
        let (mut workload, mut call, y) = right(DType::F16);
        (workload.rows, call.rows) = (6, 6);
        let memory = Host(RefCell::new([&y[..], &y[..]].concat()));
        let write = |bytes: usize| {
            let both = [&y[..], &y[..]].concat();
            memory.0.borrow_mut()[..bytes].copy_from_slice(&both[..bytes]);
            Ok(())
        };
        check(&memory, &workload, &call, || write(2 * y.len())).unwrap();
        let result = check(&memory, &workload, &call, || write(y.len()));
        assert!(matches!(result, Err(BenchError::Rows { first: 2, second: 5 })), "{result:?}");
    }
}
