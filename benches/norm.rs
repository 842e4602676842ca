//! `cargo bench --bench norm`: the CPU reference by the wall clock, the kernels by CUDA events.
//!
//! Throughput of the kernels is in bytes of the op's floor. Launches are replayed from captured graphs, and take the
//! sets of tensors of a rotation in turn, together four times the size of the L2 cache where memory allows it.
//! `warpnorm bench` has the baselines too.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use warpnorm::host::Outputs;
use warpnorm::parity::{Case, Values};
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{DType, Norm, ResidualAdd, reference};
use warpnorm_bench::gpu::Gpu;
use warpnorm_bench::measure::{MAX_LAUNCHES, Stopwatch, whole_rounds};
use warpnorm_bench::{BenchError, Workload};

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

/// The time of so many launches: their share of replays of a graph, which has whole rounds of the sets of tensors and
/// at most as many launches as `warpnorm bench` has in one.
fn timed(kernel: &mut dyn Stopwatch, launches: u64) -> Result<Duration, BenchError> {
    let graph = whole_rounds(u32::try_from(launches).unwrap_or(u32::MAX), kernel.round(), MAX_LAUNCHES);
    let replays = launches.div_ceil(graph.into()).max(1);
    kernel.prepare(graph)?;
    let mut seconds = 0.0;
    for _ in 0..replays {
        seconds += kernel.sample()?;
    }
    Ok(Duration::from_secs_f64(seconds * launches as f64 / (replays * u64::from(graph)) as f64))
}

fn kernels(criterion: &mut Criterion) {
    let gpu = match Gpu::open() {
        Ok(gpu) => gpu,
        Err(error) => {
            println!("kernels: skipped: {error}");
            return;
        }
    };
    if let Err(error) = on(&gpu, criterion) {
        panic!("kernels: {error}");
    }
}

fn on(gpu: &Gpu, criterion: &mut Criterion) -> Result<(), BenchError> {
    let kernels = gpu.cuda().kernels();
    let (facts, driver) = (kernels.facts(), kernels.driver_version());
    let l2 = gpu.l2_bytes();
    println!("kernels: on {}, driver for CUDA {}.{}, L2 cache of {l2} bytes", facts.name, driver.0, driver.1);

    let mut group = criterion.benchmark_group("kernels");
    for (rows, hidden) in
        [(1, 7168), (64, 4096), (65_536, 128), (16_384, 1024), (8192, 4096), (2048, 16_384), (512, 65_536)]
    {
        for (name, norm) in ops() {
            let workload = workload(norm, rows, hidden)?;
            group.throughput(Throughput::Bytes(Gpu::floor_bytes(&workload)?));
            gpu.with_kernel(&workload, |kernel| {
                group.bench_function(BenchmarkId::new(name, format!("{rows}x{hidden}")), |bencher| {
                    bencher.iter_custom(|launches| timed(kernel, launches).expect("the launches run"));
                });
            })?;
        }
    }
    group.finish();
    Ok(())
}

/// bf16 rows with a weight; of what there is beside y, the new residual is wanted, and codes in the place of y.
fn workload(norm: Norm, rows: usize, hidden: usize) -> Result<Workload, BenchError> {
    let block = Workload::block_rows(rows, hidden);
    let case = Case::new(norm, DType::BF16, block, hidden, Values::Unit, 1).map_err(warpnorm::Error::from)?;
    let outputs = Outputs { residual: norm.residual_add().is_some(), ..Outputs::default() };
    let block = case.with_weight(DType::BF16).with_outputs(outputs);
    Ok(Workload { op: norm.family.to_string(), options: String::new(), rows, block })
}

criterion_group!(benches, reference, kernels);
criterion_main!(benches);
