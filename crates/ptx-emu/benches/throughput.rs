//! `cargo bench -p ptx-emu`: thread instructions per second on one core with all checks on, and the
//! time that parsing takes.

#[path = "../tests/common/row_kernel.rs"]
mod row_kernel;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ptx_emu::Module;
use row_kernel::{RowKernel, SHAPES};

/// Criterion's elements are thread instructions: "Melem/s" reads as million instructions per second.
fn launches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("thread_instructions");
    for shape @ (threads, hidden, rows) in SHAPES {
        let mut kernel = RowKernel::new(shape);
        group.throughput(Throughput::Elements(kernel.launch().thread_instructions));
        let name = BenchmarkId::new("rms_norm_f16", format!("{rows}x{hidden} by {threads}"));
        group.bench_function(name, |bencher| bencher.iter(|| kernel.launch()));
    }
    group.finish();
}

fn parsing(criterion: &mut Criterion) {
    let text = include_str!("../tests/ptx/samples.sm_90.ptx");
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("samples", |bencher| bencher.iter(|| Module::parse(text).expect("the sample parses")));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = launches, parsing
}
criterion_main!(benches);
