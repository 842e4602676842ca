//! Kernels as NVRTC 12.2 (sm_75) and nvcc 13.0 (sm_90) compile them, against plain Rust.

use half::{bf16, f16};
use ptx_emu::{LaunchConfig, Memory, Module};

const TEXTS: [&str; 2] = [include_str!("ptx/samples.sm_75.ptx"), include_str!("ptx/samples.sm_90.ptx")];

fn modules() -> impl Iterator<Item = Module> {
    TEXTS.iter().map(|text| Module::parse(text).expect("the sample parses"))
}

fn bytes<T: Copy, const N: usize>(values: &[T], to_le: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|value| to_le(*value)).collect()
}

fn upload(memory: &mut Memory, name: &str, data: &[u8]) -> u64 {
    let address = memory.allocate(name, data.len());
    memory.write(address, data).expect("fits the allocation");
    address
}

fn download<const N: usize>(memory: &Memory, address: u64, count: usize) -> Vec<[u8; N]> {
    let mut data = vec![0; count * N];
    memory.read(address, &mut data).expect("inside the allocation");
    data.chunks_exact(N).map(|chunk| chunk.try_into().expect("N bytes")).collect()
}

/// Values spread over several binades, both signs, the same in every run.
fn wave(i: usize) -> f32 {
    let x = (i as f32 * 12.9898).sin() * 43758.547;
    (x - x.floor() - 0.5) * if i.is_multiple_of(7) { 16.0 } else { 2.0 }
}

#[test]
fn rms_norm_of_f16_rows() {
    let (rows, hidden, threads) = (5usize, 1000usize, 64u32);
    let stride = 1024usize;
    let eps = 1e-6f32;
    let x: Vec<f16> = (0..rows * stride).map(|i| f16::from_f32(wave(i))).collect();
    let weight: Vec<f32> = (0..hidden).map(|i| 0.5 + (i % 17) as f32 / 16.0).collect();
    for module in modules() {
        let mut memory = Memory::new();
        let x_at = upload(&mut memory, "x", &bytes(&x, f16::to_le_bytes));
        memory.set_read_only(x_at, true).expect("a live allocation");
        let y_at = upload(&mut memory, "y", &vec![0xff; rows * stride * 2]);
        let w_at = upload(&mut memory, "weight", &bytes(&weight, f32::to_le_bytes));
        let mut args = bytes(&[x_at, y_at, w_at, rows as u64, (stride / 8) as u64], u64::to_le_bytes);
        args.extend((hidden as u32).to_le_bytes());
        args.extend(eps.to_le_bytes());
        // More CTAs than rows: the last ones leave at once.
        let config = LaunchConfig::linear(rows as u32 + 2, threads);
        let report = module.launch("rms_f16", &config, &[&args], &mut memory).expect("runs");
        let y = download::<2>(&memory, y_at, rows * stride);
        for row in 0..rows {
            let values: Vec<f64> = x[row * stride..][..hidden].iter().map(|v| v.to_f64()).collect();
            let mean_square = values.iter().map(|v| v * v).sum::<f64>() / hidden as f64;
            let rstd = 1.0 / (mean_square + f64::from(eps)).sqrt();
            for (i, value) in values.iter().enumerate() {
                let wanted = value * rstd * f64::from(weight[i]);
                let got = f16::from_le_bytes(y[row * stride + i]).to_f64();
                let tolerance = wanted.abs() * 2f64.powi(-10) + 1e-7;
                assert!((got - wanted).abs() <= tolerance, "row {row}, {i}: {got} for {wanted}");
            }
            for i in hidden..stride {
                assert_eq!(y[row * stride + i], [0xff; 2], "the padding is untouched");
            }
        }
        // 125 chunks of 16 bytes per row, read twice, and two f32 of weight per pair of elements.
        let chunk_bytes = (rows * hidden * 2 * 2) as u64;
        let weight_bytes = (rows * hidden * 4) as u64;
        assert_eq!(report.global_loads.bytes, chunk_bytes + weight_bytes);
        assert_eq!(report.global_stores.bytes, (rows * hidden * 2) as u64);
        // Full warps store whole sectors: 2000 bytes a row are 62.5 of them, from an aligned start.
        assert_eq!(report.global_stores.sectors, rows as u64 * 63);
        assert_eq!(report.cta_barriers, 2 * rows as u64);
        assert_eq!(report.ctas, rows as u64 + 2);
    }
}

/// sin of the f32 product, by reduction in f64.
fn sine(v: f32) -> f64 {
    f64::from(v * 100.0).sin()
}

/// erf by its series, for arguments from 0 up; accurate far beyond f32.
fn erf(x: f64) -> f64 {
    // 1 - erf(4) is below half of f32's spacing at 1.
    if x > 4.0 {
        return 1.0;
    }
    let mut term = x;
    let mut sum = x;
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

#[test]
fn maths_library_and_local_arrays() {
    let n = 100usize;
    let a: Vec<f32> = (0..n).map(|i| 0.01 + wave(i).abs()).collect();
    let c: Vec<bf16> = (0..n).map(|i| bf16::from_f32(wave(i + 50))).collect();
    let index: Vec<i32> = (0..n as i32).map(|i| i * 37 % 64).collect();
    for module in modules() {
        let mut memory = Memory::new();
        let a_at = upload(&mut memory, "a", &bytes(&a, f32::to_le_bytes));
        let b_at = memory.allocate("b", n * 8 * 4);
        let c_at = upload(&mut memory, "c", &bytes(&c, bf16::to_le_bytes));
        let index_at = upload(&mut memory, "index", &bytes(&index, i32::to_le_bytes));
        let config = LaunchConfig { dynamic_shared_bytes: 64 * 4, ..LaunchConfig::linear(2, 64) };
        let pointers = [a_at, b_at, c_at, index_at].map(u64::to_le_bytes);
        let count = (n as i32).to_le_bytes();
        let args: [&[u8]; 5] = [&pointers[0], &pointers[1], &pointers[2], &pointers[3], &count];
        module.launch("maths", &config, &args, &mut memory).expect("runs");
        let b = download::<4>(&memory, b_at, n * 8);
        let products = download::<2>(&memory, c_at, n);
        for i in 0..n {
            let v = f64::from(a[i]);
            let slot = (index[i] & 7) as usize;
            let read = (index[i] >> 3 & 7) as usize;
            let wanted = [
                v.exp(),
                v.ln(),
                v.tanh(),
                f64::from(a[i] / 3.0),
                if read == slot { 3.0 } else { f64::from(a[i] * read as f32) },
                1.0 / v.sqrt(),
                erf(v),
                sine(a[i]) + v,
            ];
            for (k, wanted) in wanted.into_iter().enumerate() {
                let got = f64::from(f32::from_le_bytes(b[i * 8 + k]));
                let tolerance = (wanted.abs() * 4.0 + if k == 7 { 4.0 } else { 0.1 }) * f64::from(f32::EPSILON);
                assert!((got - wanted).abs() <= tolerance, "{i}, function {k}: {got} for {wanted}");
            }
            let wanted = bf16::from_f32(a[i] * c[i].to_f32());
            assert_eq!(bf16::from_le_bytes(products[i]), wanted, "{i}");
        }
    }
}

#[test]
fn divergent_paths() {
    let threads = 96usize;
    let y: Vec<u32> = (0..threads as u32).map(|i| i.wrapping_mul(2_654_435_761) % 10_007 + 1).collect();
    let steps: Vec<u32> = y
        .iter()
        .map(|v| {
            let (mut c, mut steps) = (*v, 0);
            while c != 1 && steps < 1000 {
                c = if c & 1 != 0 { 3 * c + 1 } else { c / 2 };
                steps += 1;
            }
            steps
        })
        .collect();
    let n = 4i32;
    for module in modules() {
        let mut memory = Memory::new();
        let y_at = upload(&mut memory, "y", &bytes(&y, u32::to_le_bytes));
        let x_at = memory.allocate("x", threads * 8);
        let d_at = memory.allocate("d", threads * 8);
        let pointers = [y_at, x_at, d_at].map(u64::to_le_bytes);
        let args: [&[u8]; 4] = [&pointers[0], &pointers[1], &pointers[2], &n.to_le_bytes()];
        module.launch("paths", &LaunchConfig::linear(1, threads as u32), &args, &mut memory).expect("runs");
        let y_out = download::<4>(&memory, y_at, threads);
        let x_out = download::<8>(&memory, x_at, threads);
        let d_out = download::<8>(&memory, d_at, threads);
        let taller = steps.iter().filter(|steps| **steps > 20).count() as u32;
        for i in 0..threads {
            let v = y[i];
            let warp = i / 32 * 32..i / 32 * 32 + 32;
            let lanes = |f: &dyn Fn(u32) -> bool| {
                y[warp.clone()].iter().enumerate().fold(0u32, |set, (lane, v)| set | u32::from(f(*v)) << lane)
            };
            let same = lanes(&|other| other & 3 == v & 3);
            let odd = lanes(&|other| other & 1 != 0);
            let y_wanted = (same ^ odd).wrapping_add(taller);
            assert_eq!(u32::from_le_bytes(y_out[i]), y_wanted, "y[{i}]");
            let histogram = steps.iter().filter(|steps| **steps & 15 == v & 15).count() as i64;
            let x_wanted = match v % 7 {
                0 => i64::from(steps[i]),
                1 => i64::from(v) * i64::from(v) / 7,
                2 => -i64::from(v % 13),
                3 => i64::from(v.count_ones() + v.leading_zeros()),
                4 => i64::from(v.reverse_bits()),
                5 => histogram,
                _ => ((u64::from(v) * 0x8000_0001) >> 32) as i64,
            };
            assert_eq!(i64::from_le_bytes(x_out[i]), x_wanted, "x[{i}], case {}", v % 7);
            let partner = y[i / 32 * 32 + ((i % 32) ^ 3)];
            let d_wanted = f64::from(v).sqrt() / 3.0 + (-f64::from(steps[i])).exp() + f64::from(partner);
            let d_got = f64::from_le_bytes(d_out[i]);
            assert!((d_got - d_wanted).abs() <= d_wanted.abs() * 1e-15, "d[{i}]: {d_got} for {d_wanted}");
        }
    }
}

#[test]
fn device_functions() {
    let a: Vec<f32> = (0..40).map(wave).collect();
    let b: Vec<i32> = (0..40).collect();
    for module in modules() {
        let mut memory = Memory::new();
        let a_at = upload(&mut memory, "a", &bytes(&a, f32::to_le_bytes));
        let b_at = upload(&mut memory, "b", &bytes(&b, i32::to_le_bytes));
        let args: [&[u8]; 2] = [&a_at.to_le_bytes(), &b_at.to_le_bytes()];
        module.launch("calls", &LaunchConfig::linear(1, 40), &args, &mut memory).expect("runs");
        let helper = |a: f32| if a > 0.0 { a * 3.0 } else { a / 7.0 };
        for (i, got) in download::<4>(&memory, a_at, 40).into_iter().enumerate() {
            assert_eq!(f32::from_le_bytes(got), helper(a[i]) + helper(a[i] * 2.0), "a[{i}]");
        }
        for (i, got) in download::<4>(&memory, b_at, 40).into_iter().enumerate() {
            assert_eq!(i32::from_le_bytes(got), i as i32 + 2, "b[{i}]");
        }
    }
}

#[test]
fn sums_across_a_cluster() {
    let n = 1000usize;
    let x: Vec<f32> = (0..n).map(|i| (i % 64) as f32 - 20.0).collect();
    // Sums of small integers: exact in f32 in any order.
    let total: f32 = x.iter().sum();
    let module = Module::parse(TEXTS[1]).expect("the sample parses");
    let mut memory = Memory::new();
    let x_at = upload(&mut memory, "x", &bytes(&x, f32::to_le_bytes));
    let y_at = memory.allocate("y", 8 * 4);
    let config = LaunchConfig { grid: [8, 1, 1], block: [64, 1, 1], cluster: [4, 1, 1], dynamic_shared_bytes: 64 * 4 };
    let args: [&[u8]; 3] = [&x_at.to_le_bytes(), &y_at.to_le_bytes(), &(n as i32).to_le_bytes()];
    let report = module.launch("cluster_sum", &config, &args, &mut memory).expect("runs");
    for got in download::<4>(&memory, y_at, 8) {
        assert_eq!(f32::from_le_bytes(got), total);
    }
    assert_eq!(report.cluster_barriers, 2 * 2);
    assert_eq!(module.kernel("cluster_sum").and_then(|kernel| kernel.required_cluster()), Some([4, 1, 1]));
}

#[test]
fn launches_in_parallel_share_a_module() {
    let module = Module::parse(TEXTS[0]).expect("the sample parses");
    let run = |offset: usize| {
        let a: Vec<f32> = (offset..offset + 32).map(wave).collect();
        let mut memory = Memory::new();
        let a_at = upload(&mut memory, "a", &bytes(&a, f32::to_le_bytes));
        let b_at = upload(&mut memory, "b", &[0; 128]);
        let args: [&[u8]; 2] = [&a_at.to_le_bytes(), &b_at.to_le_bytes()];
        module.launch("calls", &LaunchConfig::linear(1, 32), &args, &mut memory).expect("runs");
        download::<4>(&memory, a_at, 32)
    };
    let alone: Vec<_> = (0..4).map(run).collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..4).map(|offset| scope.spawn(move || run(offset))).collect();
        handles.into_iter().map(|handle| handle.join().expect("no panic")).collect()
    });
    assert_eq!(alone, together);
}
