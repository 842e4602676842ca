//! A segment of a transformer block: residual add, norm, matrix product.

use super::blas::{Blas, Matrix, Product};
use super::calls::CuBlas;
use super::{Composed, NAME};
use crate::gpu::{DeviceBuffers, GraphTimer, Memory, Rotation, UNWRITTEN, accept, check_baseline, launch, relative_l2};
use crate::measure::{Protocol, Stopwatch, measure};
use crate::report::{Baseline, Cell, Time};
use crate::{BenchError, Workload};
use cudarc::driver::CudaStream;
use std::sync::Arc;
use warpnorm::cuda::Cuda;
use warpnorm::plan::Module;
use warpnorm::reference::{decode, encode};
use warpnorm::{Call, Input};

/// The baseline that adds by cuBLAS, and then normalises by warpnorm's norm without the add.
pub const UNFUSED_ADD: &str = "unfused-add";

/// Queues the segment of this turn, one way or another.
type Run<'a> = &'a dyn Fn(u32, &Arc<CudaStream>) -> Result<(), BenchError>;

/// The matrix product at the end of the segment.
struct Projection<'a> {
    cublas: &'a CuBlas,
    weight: u64,
    out: u64,
    outputs: usize,
}

impl Projection<'_> {
    /// out = y·Wᵀ, with W of `outputs × hidden` as a Linear has it.
    fn queue(&self, call: &Call) -> Result<(), BenchError> {
        let Call { rows, hidden, dtype, .. } = *call;
        let y = call.y.map_or(0, |y| y.address);
        let product = Product {
            m: self.outputs,
            n: rows,
            k: hidden,
            batch: 1,
            a: Matrix { transposed: true, ..Matrix::new(self.weight, dtype, hidden) },
            b: Matrix::new(y, dtype, hidden),
            c: Matrix::new(self.out, dtype, self.outputs),
            alpha: 1.0,
            beta: 0.0,
        };
        // SAFETY: W, y and out have the sizes of the product, and everything is on one stream.
        unsafe { self.cublas.product(&product) }
    }
}

/// Times the segment, each way checked before: its norm against the reference, and its product against sums in f64
/// of a few outputs.
///
/// # Errors
/// The driver or cuBLAS fails, or a result is wrong.
pub fn segment(
    cuda: &Cuda,
    cublas: &CuBlas,
    buffers: &mut DeviceBuffers,
    (workload, rotation): (&Workload, &Rotation),
    outputs: usize,
    protocol: &Protocol,
    l2_bytes: u64,
) -> Result<Cell, BenchError> {
    let (kernels, stream, block) = (cuda.kernels(), cuda.stream(), &workload.block);
    let plain = block.norm.with_input(Input::Plain);
    kernels.warm_up(&[Module::of(&block.norm, block.dtype), Module::of(&plain, block.dtype)])?;
    // Any values of about the size that initialisations give: ±1/√hidden in a pattern.
    let size = 1.0 / (block.hidden as f64).sqrt();
    let row = |output: usize| {
        let sign = move |column: usize| (output * 31 + column * 17 + (output * column) % 7).is_multiple_of(2);
        (0..block.hidden).map(move |column| if sign(column) { size } else { -size })
    };
    let weight = buffers.upload(&encode(block.dtype, (0..outputs).flat_map(row)))?;
    let out = buffers.zeros((workload.rows * outputs * block.dtype.size()) as u64)?;
    let projection = Projection { cublas, weight, out, outputs };
    let composed = Composed::new(cublas, buffers, workload, rotation)?;
    let calls: Arc<[Call]> = rotation.calls().into();
    let at = |turn: u32| &calls[turn as usize % calls.len()];

    let fused = |turn: u32, stream: &Arc<CudaStream>| {
        launch(kernels, stream, at(turn))?;
        projection.queue(at(turn))
    };
    let composition = |turn: u32, _: &Arc<CudaStream>| {
        composed.queue(turn)?;
        projection.queue(at(turn))
    };
    let unfused = |turn: u32, stream: &Arc<CudaStream>| {
        let mut call = *at(turn);
        if let Some(residual) = call.residual_out.take() {
            let sign = if (turn as usize / calls.len()).is_multiple_of(2) { 1.0 } else { -1.0 };
            let count = (call.rows * call.hidden) as u64;
            // SAFETY: both are of the rotation, of so many elements, and everything is on one stream.
            unsafe { cublas.axpy(count, sign, call.x.address, residual.address, call.dtype) }?;
            call.x = residual;
        }
        (call.norm, call.residual) = (plain, None);
        launch(kernels, stream, &call)?;
        projection.queue(&call)
    };
    let check = |name: &str, run: Run<'_>| {
        let first = at(0);
        let bytes = outputs * block.dtype.size();
        buffers.fill(out, UNWRITTEN, bytes)?;
        let error = check_baseline(buffers, workload, first, name, || run(0, stream))?;
        // One output after the other of the first row, by the y that was given.
        let y = first.y.map_or(0, |y| y.address);
        let y = decode(block.dtype, &buffers.read(y, block.hidden * block.dtype.size())?);
        let got = decode(block.dtype, &buffers.read(out, bytes)?);
        let rounded = decode(block.dtype, &encode(block.dtype, [size]))[0] / size;
        let wanted = (0..outputs).map(|output| y.iter().zip(row(output)).map(|(y, w)| y * w * rounded).sum());
        accept(name, block.dtype, relative_l2(got.into_iter(), wanted)).map(|product| error.max(product))
    };
    // The composition first: it adds x to the residual as it came in.
    let composed_error = check(NAME, &composition)?;
    let fused_error = check("warpnorm", &fused)?;
    // Takes x away again.
    for call in calls.iter() {
        if let (Some(from), Some(to)) = (call.residual, call.residual_out) {
            // SAFETY: as above.
            unsafe { cublas.copy((call.rows * call.hidden) as u64, from.address, to.address, call.dtype) }?;
        }
    }
    let unfused_error = check(UNFUSED_ADD, &unfused)?;

    let round = rotation.round();
    let mut timers = [
        GraphTimer::new(stream, round, Box::new(fused)),
        GraphTimer::new(stream, round, Box::new(composition)),
        GraphTimer::new(stream, round, Box::new(unfused)),
    ];
    let mut subjects: Vec<&mut dyn Stopwatch> = timers.iter_mut().map(|timer| timer as _).collect();
    let mut times = measure(&mut subjects, protocol).into_iter();
    let time: Option<Time> = times.next().transpose()?.map(Into::into);
    let names = [(NAME, composed_error), (UNFUSED_ADD, unfused_error)];
    let baselines = names.into_iter().zip(times).map(|((name, error), times)| match times {
        Ok(times) => Baseline::timed(name, times.into(), Some(error)),
        Err(error) => Baseline::missing(name, error.to_string()),
    });
    let baselines: Vec<Baseline> = baselines.collect();
    let all = time.iter().copied().chain(baselines.iter().filter_map(|baseline| baseline.time));
    let fewest = all.map(|time| time.launches).min();
    let cell = Cell {
        op: format!("{}+gemm", workload.op),
        options: format!("{outputs} outputs"),
        dtype: block.dtype.name().to_owned(),
        rows: workload.rows as u64,
        parts: 1,
        hidden: block.hidden as u64,
        tensors: workload.tensors(),
        // Its time is that of the product's arithmetic as well.
        floor_bytes: None,
        time,
        gb_per_s: None,
        copy_share: None,
        relative_l2: Some(fused_error),
        buffers: fewest.map(|launches| rotation.buffers(launches, l2_bytes)),
        baselines,
        counters: None,
    };
    Ok(cell.derive(None))
}
