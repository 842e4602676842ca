//! Runs a kernel of `functions.cu`, which `scripts/test_ptx.sh` compiles, on an array of arguments.

use half::{bf16, f16};
use ptx_emu::{Approximations, LaunchConfig, LaunchOptions, Memory, Module};
use std::sync::LazyLock;
use warpnorm::Activation;

static MODULE: LazyLock<Module> =
    LazyLock::new(|| Module::parse(include_str!("ptx/functions.sm_75.ptx")).expect("the executor knows all of it"));

/// Applies a kernel to every argument.
pub fn run(kernel: &str, activation: Activation, x: &[f32]) -> Vec<f32> {
    run_with(kernel, activation, x, Approximations::Nearest)
}

/// The same where approximate instructions return what is given.
pub fn run_with(kernel: &str, activation: Activation, x: &[f32], approximations: Approximations) -> Vec<f32> {
    let mut memory = Memory::new();
    let x_at = memory.allocate("x", 4 * x.len());
    memory.write(x_at, &x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()).expect("fits");
    memory.set_read_only(x_at, true).expect("live");
    let value = memory.allocate("value", 4 * x.len());
    // struct Arguments of functions.cu.
    let mut args: Vec<u8> = [x_at, value].into_iter().flat_map(u64::to_le_bytes).collect();
    args.extend((x.len() as u32).to_le_bytes());
    args.extend(activation.code().to_le_bytes());
    args.extend(activation.parameter().to_le_bytes());
    args.extend([0; 4]);
    let config = LaunchConfig::linear(x.len().div_ceil(256) as u32, 256);
    let options = LaunchOptions { approximations, ..LaunchOptions::default() };
    MODULE.launch_with(kernel, &config, &[&args], &mut memory, &options).expect("runs");
    let mut read = vec![0; 4 * x.len()];
    memory.read(value, &mut read).expect("written");
    read.as_chunks().0.iter().map(|&word| f32::from_le_bytes(word)).collect()
}

/// Every f16 and every bf16, NaNs and infinities among them, and f32 that are neither: of every magnitude, and
/// as many of those at which the functions bend.
pub fn arguments() -> Vec<f32> {
    let bits = 0..=u16::MAX;
    let mut x: Vec<f32> = bits.clone().map(|bits| f16::from_bits(bits).to_f32()).collect();
    x.extend(bits.map(|bits| bf16::from_bits(bits).to_f32()));
    let mut random = Random(1);
    for _ in 0..60_000 {
        x.push(f32::from_bits(random.bits() as u32));
        x.push((random.uniform() * 44.0 - 22.0) as f32);
        x.push((random.uniform() * 8.0 - 4.0) as f32);
    }
    x
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// In [0, 1).
    fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}
