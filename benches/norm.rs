//! `cargo bench --bench norm`: the CPU reference by the wall clock, the kernels by CUDA events.
//!
//! Throughput of the kernels is in bytes of the op's floor: what is read and written once, weights left
//! out. Every launch of a measurement takes the next of several sets of tensors, together four times the
//! size of the L2 cache where memory allows it, so that a set has left the cache when its turn comes again.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use cudarc::driver::sys::{CUdevice_attribute, CUevent_flags};
use cudarc::driver::{CudaSlice, CudaStream, DriverError};
use half::bf16;
use std::sync::Arc;
use std::time::Duration;
use warpnorm::cuda::{CodesMut, Cuda, Kernels, Rows, RowsMut};
use warpnorm::parity::{Case, Values};
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{DType, Error, Norm, ResidualAdd, reference};

fn reference(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reference");
    group.sample_size(10);
    for (rows, hidden) in [(64, 768), (16, 4096)] {
        for (name, norm) in ops() {
            let case = Case::new(norm, DType::BF16, rows, hidden, Values::Unit, 1).expect("a possible size");
            let case = case.with_weight(DType::BF16);
            group.throughput(Throughput::Elements((rows * hidden) as u64));
            group.bench_function(BenchmarkId::new(name, format!("{rows}x{hidden}")), |bencher| {
                bencher.iter(|| reference::norm(&case.as_problem()).expect("a valid problem"));
            });
        }
    }
    group.finish();
}

fn ops() -> [(&'static str, Norm); 5] {
    let fp8_groups = Quantisation::per_group(CodeType::E4m3, 128);
    [
        ("layer_norm", Norm::layer_norm(1e-5)),
        ("rms_norm", Norm::rms_norm(1e-6)),
        ("add_rms_norm", Norm::rms_norm(1e-6).with_residual_add(ResidualAdd::default())),
        ("rms_norm_fp8_token", Norm::rms_norm(1e-6).with_quantisation(Quantisation::per_token(CodeType::E4m3))),
        (
            "add_rms_norm_fp8_group",
            Norm::rms_norm(1e-6).with_residual_add(ResidualAdd::default()).with_quantisation(fp8_groups),
        ),
    ]
}

/// bf16 tensors of one call. The new residual lies over the old one, as servers have it.
struct Tensors {
    x: CudaSlice<bf16>,
    residual: Option<CudaSlice<bf16>>,
    output: Output,
}

/// y, or its codes and their scales alone.
enum Output {
    Y(CudaSlice<bf16>),
    Quantised { codes: CudaSlice<u8>, row_bytes: usize, scales: CudaSlice<f32> },
}

impl Tensors {
    fn new(stream: &Arc<CudaStream>, values: &[bf16], norm: &Norm, hidden: usize) -> Result<Self, DriverError> {
        let rows = values.len() / hidden;
        let output = match norm.quantisation {
            None => Output::Y(stream.alloc_zeros(values.len())?),
            Some(quantisation) => {
                let row_bytes = quantisation.row_bytes(hidden);
                let scales = stream.alloc_zeros(rows * quantisation.groups(hidden))?;
                Output::Quantised { codes: stream.alloc_zeros(rows * row_bytes)?, row_bytes, scales }
            }
        };
        let residual = norm.residual_add().map(|_| stream.clone_htod(values)).transpose()?;
        Ok(Self { x: stream.clone_htod(values)?, residual, output })
    }

    fn run(
        &mut self,
        (kernels, stream): (&Kernels, &CudaStream),
        norm: &Norm,
        weight: &CudaSlice<bf16>,
        hidden: usize,
    ) -> Result<(), Error> {
        let x = Rows::contiguous(&self.x, hidden)?;
        let mut residual = self.residual.as_mut().map(|residual| RowsMut::contiguous(residual, hidden)).transpose()?;
        let mut call = kernels.norm(norm).weight(weight);
        if let Some(residual) = &mut residual {
            call = call.residual_in_place(residual);
        }
        match &mut self.output {
            Output::Y(y) => call.run(stream, &x, &mut RowsMut::contiguous(y, hidden)?),
            Output::Quantised { codes, row_bytes, scales } => {
                let mut codes = CodesMut::contiguous(codes, *row_bytes)?;
                call.codes(&mut codes).scales(scales).run_quantised(stream, &x)
            }
        }
    }
}

/// Bytes of a set of tensors, and those that a launch moves: x and the output, and the residual twice.
fn bytes(norm: &Norm, rows: usize, hidden: usize) -> (usize, usize) {
    let matrix = rows * hidden * size_of::<bf16>();
    let output = norm.quantisation.map_or(matrix, |quantisation| {
        rows * (quantisation.row_bytes(hidden) + quantisation.groups(hidden) * size_of::<f32>())
    });
    let residual = if norm.residual_add().is_some() { matrix } else { 0 };
    (matrix + output + residual, matrix + output + 2 * residual)
}

/// The time of `launches` launches on the device.
fn timed(
    cuda: &Cuda,
    launches: u64,
    mut launch: impl FnMut() -> Result<(), Error>,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let stream = cuda.stream();
    let timing = Some(CUevent_flags::CU_EVENT_DEFAULT);
    let start = stream.record_event(timing)?;
    for _ in 0..launches {
        launch()?;
    }
    let end = stream.record_event(timing)?;
    Ok(Duration::from_secs_f64(f64::from(start.elapsed_ms(&end)?) / 1e3))
}

fn kernels(criterion: &mut Criterion) {
    let cuda = match Cuda::new(0) {
        Ok(cuda) => cuda,
        Err(error) => {
            println!("kernels: skipped: {error}");
            return;
        }
    };
    if let Err(error) = on(&cuda, criterion) {
        panic!("kernels: {error}");
    }
}

fn on(cuda: &Cuda, criterion: &mut Criterion) -> Result<(), Box<dyn std::error::Error>> {
    let context = cuda.kernels().context();
    // Everything is on one stream: its order is all that is needed, and events would be timed too.
    // SAFETY: no slice is used on another stream.
    unsafe { context.disable_event_tracking() };
    let cache = context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?.unsigned_abs() as usize;
    let (facts, driver) = (cuda.kernels().facts(), cuda.kernels().driver_version());
    println!("kernels: on {}, driver for CUDA {}.{}, L2 cache of {cache} bytes", facts.name, driver.0, driver.1);

    let mut group = criterion.benchmark_group("kernels");
    for (rows, hidden) in
        [(1, 7168), (64, 4096), (65_536, 128), (16_384, 1024), (8192, 4096), (2048, 16_384), (512, 65_536)]
    {
        for (name, norm) in ops() {
            let (_, moved) = bytes(&norm, rows, hidden);
            group.throughput(Throughput::Bytes(moved as u64));
            group.bench_function(BenchmarkId::new(name, format!("{rows}x{hidden}")), |bencher| {
                let mut sets = Sets::new(cuda, norm, rows, hidden, 4 * cache).expect("the tensors fit");
                sets.launch(cuda).expect("the first launch runs");
                bencher.iter_custom(|launches| timed(cuda, launches, || sets.launch(cuda)).expect("the launches run"));
            });
        }
    }
    group.finish();
    Ok(())
}

/// Tensors for one op and shape, several times over.
struct Sets {
    norm: Norm,
    hidden: usize,
    weight: CudaSlice<bf16>,
    sets: Vec<Tensors>,
    turn: usize,
}

impl Sets {
    /// As many sets as take `bytes` together, as far as half of the free memory has room for them.
    fn new(
        cuda: &Cuda,
        norm: Norm,
        rows: usize,
        hidden: usize,
        bytes: usize,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let stream = cuda.stream();
        let case = Case::new(norm, DType::BF16, rows, hidden, Values::Unit, 1)?;
        let values: Vec<bf16> = case.x.chunks_exact(size_of::<bf16>()).map(bytemuck::pod_read_unaligned).collect();
        let (set, _) = self::bytes(&norm, rows, hidden);
        let (free, _) = cuda.kernels().context().mem_get_info()?;
        let count = bytes.div_ceil(set).min(free / 2 / set).clamp(1, 1024);
        let sets = (0..count).map(|_| Tensors::new(stream, &values, &norm, hidden)).collect::<Result<_, _>>()?;
        Ok(Self { norm, hidden, weight: stream.clone_htod(&values[..hidden])?, sets, turn: 0 })
    }

    fn launch(&mut self, cuda: &Cuda) -> Result<(), Error> {
        self.turn = (self.turn + 1) % self.sets.len();
        self.sets[self.turn].run((cuda.kernels(), cuda.stream()), &self.norm, &self.weight, self.hidden)
    }
}

criterion_group!(benches, reference, kernels);
criterion_main!(benches);
