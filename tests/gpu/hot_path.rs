//! A launch allocates nothing, neither on the device nor on the heap of this process.

use crate::gpu_alone;
use cudarc::driver::CudaSlice;
use half::bf16;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use warpnorm::cuda::{CodesMut, Cuda, PartLayout, RopeTables, Rows, RowsMut};
use warpnorm::plan::Module;
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{DType, Input, Norm, PostAdd, ResidualAdd, Rope};

/// The system's allocator, which counts what each thread asks of it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // At the end of a thread its counter may be gone; nothing is measured there.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call goes to the system's allocator as it came; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(Box::new(1u64)));
    assert_eq!(ALLOCATIONS.get(), before + 1);
}

#[test]
#[ignore = "needs a GPU"]
fn launches_allocate_nothing() {
    let cuda = gpu_alone();
    let (kernels, stream) = (cuda.kernels(), cuda.stream());
    // One of each kind of kernel: registers and looped, plain, with a residual and quantised.
    for (rows, hidden) in [(64, 4096), (4, 20_000), (2, 300_000)] {
        let x: CudaSlice<bf16> = stream.alloc_zeros(rows * hidden).expect("allocates");
        let mut residual: CudaSlice<bf16> = stream.alloc_zeros(rows * hidden).expect("allocates");
        let mut y: CudaSlice<bf16> = stream.alloc_zeros(rows * hidden).expect("allocates");
        let mut rstd: CudaSlice<f32> = stream.alloc_zeros(rows).expect("allocates");
        let weight: CudaSlice<f32> = stream.alloc_zeros(hidden).expect("allocates");
        let plain = Norm::rms_norm(1e-6);
        let add = plain.with_residual_add(ResidualAdd::default());
        let fp8 = Quantisation::per_token(CodeType::E4m3);
        let quantised = plain.with_quantisation(fp8);
        let mut codes: CudaSlice<u8> = stream.alloc_zeros(rows * hidden).expect("allocates");
        let mut scales: CudaSlice<f32> = stream.alloc_zeros(rows).expect("allocates");
        let mut launch = || {
            let x = Rows::contiguous(&x, hidden).expect("whole rows");
            let mut y = RowsMut::contiguous(&mut y, hidden).expect("whole rows");
            kernels.norm(&plain).weight(&weight).rstd(&mut rstd).run(stream, &x, &mut y).expect("launches");
            let mut residual = RowsMut::contiguous(&mut residual, hidden).expect("whole rows");
            let call = kernels.norm(&add).weight(&weight).residual_in_place(&mut residual);
            call.run(stream, &x, &mut y).expect("launches");
            let mut codes = CodesMut::contiguous(&mut codes, fp8.row_bytes(hidden)).expect("whole rows");
            let call = kernels.norm(&quantised).codes(&mut codes).scales(&mut scales);
            call.run_quantised(stream, &x).expect("launches");
        };
        kernels.warm_up(&[plain, add, quantised].map(|norm| Module::of(&norm, DType::BF16))).expect("loads");
        assert_no_allocations(&cuda, &mut launch, &format!("launches of {hidden}"));
    }
}

/// Heads of packed projections and their rotation, and two norms: the calls with the most tensors.
#[test]
#[ignore = "needs a GPU"]
fn launches_of_heads_and_of_two_norms_allocate_nothing() {
    let cuda = gpu_alone();
    let (kernels, stream) = (cuda.kernels(), cuda.stream());
    let (rows, heads, hidden) = (64, 8, 128);
    let row = heads * hidden;
    let mut qk: CudaSlice<bf16> = stream.alloc_zeros(rows * 2 * row).expect("allocates");
    let cache: CudaSlice<f32> = stream.alloc_zeros(100 * hidden).expect("allocates");
    let positions: CudaSlice<i64> = stream.alloc_zeros(rows).expect("allocates");
    let weight: CudaSlice<f32> = stream.alloc_zeros(row).expect("allocates");
    let mut residual: CudaSlice<bf16> = stream.alloc_zeros(rows * row).expect("allocates");
    let mut x: CudaSlice<bf16> = stream.alloc_zeros(rows * row).expect("allocates");
    let rotated = Norm::rms_norm(1e-6).with_rope(Rope::half_split(hidden));
    let two = Norm::rms_norm(1e-6).with_input(Input::PostNorm(PostAdd::default()));
    let mut launch = || {
        let q = PartLayout::packed(rows, heads, hidden).with_row_stride(2 * row);
        let [mut q, mut k] = RowsMut::disjoint(&mut qk, [q, q.starting_at(row)]).expect("side by side");
        let tables = RopeTables::cache(&cache, hidden).expect("whole rows").positions(&positions);
        let weights = weight.slice(..hidden);
        let call = kernels.norm(&rotated).weight(&weights).second_weight(&weights).second_in_place(&mut k);
        call.rope(&tables).run_in_place(stream, &mut q).expect("launches");
        let mut residual = RowsMut::contiguous(&mut residual, row).expect("whole rows");
        let call = kernels.norm(&two).weight(&weight).inner_weight(&weight).residual_in_place(&mut residual);
        call.run_in_place(stream, &mut RowsMut::contiguous(&mut x, row).expect("whole rows")).expect("launches");
    };
    kernels.warm_up(&[rotated, two].map(|norm| Module::of(&norm, DType::BF16))).expect("loads");
    assert_no_allocations(&cuda, &mut launch, "launches");
}

fn assert_no_allocations(cuda: &Cuda, launch: &mut dyn FnMut(), what: &str) {
    for _ in 0..10 {
        launch();
    }
    cuda.stream().synchronize().expect("runs");
    let free = || cuda.kernels().context().mem_get_info().expect("memory info").0;
    let free_before = free();
    let allocations = ALLOCATIONS.get();
    for _ in 0..500 {
        launch();
    }
    assert_eq!(ALLOCATIONS.get(), allocations, "{what} allocate on the heap");
    cuda.stream().synchronize().expect("runs");
    // The driver itself may take a few of its pages for queues; each launch's tensors are more than a hundred KiB.
    let taken = free_before.saturating_sub(free());
    assert!(taken <= 8 << 20, "{what} allocate on the device: {taken} bytes");
}
