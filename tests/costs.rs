//! What plans say of costs before anything runs: the byte floor and the occupancy.

use warpnorm::plan::{ByteFloor, Limit, Resources, byte_floor, occupancy};
use warpnorm::{Call, DType, DeviceFacts, Norm, RawRows, RawVector, ResidualAdd};

fn rows(place: u64, stride: usize) -> RawRows {
    RawRows { address: place << 40, stride }
}

#[test]
fn the_floor_of_a_norm_is_one_read_and_one_write() {
    let mut call = Call::new(Norm::rms_norm(1e-6), DType::F16, 7, 384, rows(1, 384), rows(2, 384));
    // 7 · 384 · 2 bytes.
    assert_eq!(byte_floor(&call), ByteFloor { loads: 5376, stores: 5376 });
    // Padding between rows is not moved.
    call.x.stride = 400;
    assert_eq!(byte_floor(&call).total(), 10_752);
    call.dtype = DType::F32;
    assert_eq!(byte_floor(&call), ByteFloor { loads: 10_752, stores: 10_752 });
    call.rows = 0;
    call.weight = Some(RawVector { address: 3 << 40, dtype: DType::F32 });
    assert_eq!(byte_floor(&call), ByteFloor::default());
}

#[test]
fn weights_count_once_and_statistics_four_bytes_a_row() {
    let mut call = Call::new(Norm::layer_norm(1e-5), DType::BF16, 100, 1000, rows(1, 1000), rows(2, 1000));
    call.weight = Some(RawVector { address: 3 << 40, dtype: DType::F32 });
    call.bias = Some(RawVector { address: 4 << 40, dtype: DType::F32 });
    assert_eq!(byte_floor(&call), ByteFloor { loads: 200_000 + 8000, stores: 200_000 });
    call.bias = None;
    call.weight = Some(RawVector { address: 3 << 40, dtype: DType::BF16 });
    call.mean = Some(5 << 40);
    call.rstd = Some(6 << 40);
    assert_eq!(byte_floor(&call), ByteFloor { loads: 200_000 + 2000, stores: 200_000 + 800 });
}

#[test]
fn a_residual_is_one_more_read_and_its_sum_one_more_write() {
    let norm = Norm::rms_norm(1e-6).with_residual_add(ResidualAdd::default());
    let mut call = Call::new(norm, DType::F16, 3, 4096, rows(1, 4096), rows(2, 4096));
    call.residual = Some(rows(3, 4096));
    assert_eq!(byte_floor(&call), ByteFloor { loads: 2 * 24_576, stores: 24_576 });
    call.residual_out = Some(rows(4, 4096));
    assert_eq!(byte_floor(&call), ByteFloor { loads: 2 * 24_576, stores: 2 * 24_576 });
    // In place, what is read is still read, and what is written written.
    call.residual_out = call.residual;
    call.y = Some(call.x);
    assert_eq!(byte_floor(&call), ByteFloor { loads: 2 * 24_576, stores: 2 * 24_576 });
}

#[test]
fn the_floor_of_the_largest_calls_does_not_overflow() {
    let norm = Norm::layer_norm(1e-5).with_residual_add(ResidualAdd::default());
    let mut call = Call::new(norm, DType::F32, 1 << 39, 1 << 22, rows(1, 1 << 22), rows(2, 1 << 22));
    call.residual = Some(rows(3, 1 << 22));
    assert_eq!(byte_floor(&call), ByteFloor { loads: u64::MAX, stores: 1 << 63 });
}

/// Registers of a thread, threads of a block, bytes of shared memory, resident blocks.
type Point = (u32, u32, u32, u32);

fn hold(device: &DeviceFacts, points: &[Point]) {
    for &(registers, block, shared_bytes, blocks) in points {
        let found = occupancy(device, Resources { block, registers, shared_bytes });
        let name = &device.name;
        assert_eq!(found.blocks, blocks, "{name}: {registers} registers, {block} threads, {shared_bytes} bytes");
        assert_eq!(found.warps, blocks * block.div_ceil(32));
    }
}

/// Blocks as NVIDIA's occupancy calculator computes them (`cuda_occupancy.h` of CUDA 13.0, with the
/// carve-out of the L1 cache that gives the most shared memory).
#[test]
fn occupancy_is_what_nvidias_calculator_says() {
    hold(
        &DeviceFacts::t4(),
        &[
            (16, 160, 0, 6),
            (16, 160, 65536, 1),
            (16, 512, 0, 2),
            (32, 256, 640, 4),
            (40, 320, 5120, 3),
            (48, 64, 20480, 3),
            (48, 64, 49152, 1),
            (56, 1024, 49152, 1),
            (64, 32, 5120, 12),
            (64, 96, 0, 10),
            (72, 512, 49152, 1),
            (128, 128, 65536, 1),
            (168, 128, 49152, 1),
            (255, 32, 0, 8),
        ],
    );
    hold(
        &DeviceFacts::a100(),
        &[
            (16, 512, 65536, 2),
            (32, 32, 102400, 1),
            (32, 96, 49152, 3),
            (33, 64, 49152, 3),
            (40, 128, 20480, 7),
            (40, 128, 131072, 1),
            (40, 160, 65536, 2),
            (40, 256, 640, 6),
            (56, 256, 98304, 1),
            (64, 1024, 131072, 1),
            (72, 320, 131072, 1),
            (168, 320, 640, 1),
            (255, 64, 20480, 4),
            (255, 160, 5120, 1),
        ],
    );
    hold(
        &DeviceFacts::l4(),
        &[
            (16, 1024, 98304, 1),
            (33, 64, 20480, 4),
            (33, 96, 640, 16),
            (33, 128, 98304, 1),
            (33, 160, 49152, 2),
            (40, 320, 98304, 1),
            (48, 256, 49152, 2),
            (64, 128, 0, 8),
            (64, 256, 20480, 4),
            (72, 512, 20480, 1),
            (128, 32, 65536, 1),
            (168, 32, 640, 12),
            (168, 96, 49152, 2),
            (255, 160, 5120, 1),
        ],
    );
    hold(
        &DeviceFacts::h200(),
        &[
            (16, 160, 5120, 12),
            (16, 1024, 49152, 2),
            (32, 64, 49152, 4),
            (32, 1024, 0, 2),
            (33, 32, 0, 32),
            (33, 64, 102400, 2),
            (33, 96, 232448, 1),
            (33, 128, 49152, 4),
            (56, 96, 98304, 2),
            (64, 32, 102400, 2),
            (72, 160, 5120, 5),
            (72, 320, 65536, 2),
            (128, 512, 640, 1),
            (168, 320, 200000, 1),
        ],
    );
    hold(
        &DeviceFacts::b200(),
        &[
            (16, 1024, 232448, 1),
            (33, 64, 232448, 1),
            (48, 128, 20480, 10),
            (48, 320, 0, 4),
            (56, 128, 98304, 2),
            (64, 320, 131072, 1),
            (64, 512, 640, 2),
            (72, 256, 640, 3),
            (128, 160, 0, 3),
            (128, 512, 20480, 1),
            (168, 32, 65536, 3),
            (168, 96, 102400, 2),
            (255, 32, 49152, 4),
            (255, 64, 102400, 2),
        ],
    );
}

#[test]
fn what_runs_out_first_is_named() {
    let h200 = DeviceFacts::h200();
    let limit = |block, registers, shared_bytes| {
        let found = occupancy(&h200, Resources { block, registers, shared_bytes });
        (found.limit, found.share())
    };
    assert_eq!(limit(256, 32, 0), (Limit::Warps, 1.0));
    assert_eq!(limit(32, 32, 0), (Limit::Blocks, 0.5));
    assert_eq!(limit(1024, 64, 0), (Limit::Registers, 0.5));
    // 1280 registers a warp: twelve warps in each quarter of the multiprocessor, six blocks of eight.
    assert_eq!(limit(256, 40, 0), (Limit::Registers, 0.75));
    assert_eq!(limit(128, 16, 100 * 1024), (Limit::Shared, 0.125));
}

#[test]
fn what_cannot_run_has_no_occupancy() {
    let blocks = |block, registers, shared_bytes| {
        occupancy(&DeviceFacts::t4(), Resources { block, registers, shared_bytes }).blocks
    };
    assert_eq!(blocks(1024, 64, 65_536), 1);
    assert_eq!(blocks(1024, 65, 0), 0);
    assert_eq!(blocks(32, 256, 0), 0);
    assert_eq!(blocks(1025, 16, 0), 0);
    assert_eq!(blocks(32, 16, 65_537), 0);
    assert_eq!(blocks(u32::MAX, u32::MAX, u32::MAX), 0);
}
