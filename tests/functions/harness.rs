//! Runs a kernel of `functions.cu`, which `scripts/test_ptx.sh` compiles, on an array of arguments.

use half::{bf16, f16};
use ptx_emu::{Approximations, LaunchConfig, LaunchOptions, Memory, Module};
use std::sync::LazyLock;
use warpnorm::Activation;

static MODULE: LazyLock<Module> =
    LazyLock::new(|| Module::parse(include_str!("ptx/functions.sm_75.ptx")).expect("the executor knows all of it"));

/// What a kernel leaves for an element; 0 for what it does not write.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub value: f32,
    pub wide: f64,
    /// A result in 16 bits; whether the value lacks digits.
    pub bits: u32,
}

/// Applies a kernel to every argument.
pub fn run(kernel: &str, activation: Activation, factor: f32, x: &[f32]) -> Vec<Output> {
    run_with(kernel, activation, factor, x, Approximations::Nearest)
}

/// The same with what approximate instructions are to return.
pub fn run_with(
    kernel: &str,
    activation: Activation,
    factor: f32,
    x: &[f32],
    approximations: Approximations,
) -> Vec<Output> {
    let mut memory = Memory::new();
    let x_at = memory.allocate("x", 4 * x.len());
    memory.write(x_at, &x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()).expect("fits");
    memory.set_read_only(x_at, true).expect("live");
    let outputs = [("value", 4), ("wide", 8), ("bits", 4)].map(|(name, bytes)| {
        let address = memory.allocate(name, bytes * x.len());
        memory.write(address, &vec![0; bytes * x.len()]).expect("fits");
        address
    });
    // struct Arguments of functions.cu.
    let mut args: Vec<u8> = [x_at, outputs[0], outputs[1], outputs[2]].into_iter().flat_map(u64::to_le_bytes).collect();
    args.extend((x.len() as u32).to_le_bytes());
    args.extend(activation.code().to_le_bytes());
    args.extend(activation.parameter().to_le_bytes());
    args.extend(factor.to_le_bytes());
    let config = LaunchConfig::linear(x.len().div_ceil(256) as u32, 256);
    let options = LaunchOptions { approximations, ..LaunchOptions::default() };
    MODULE.launch_with(kernel, &config, &[&args], &mut memory, &options).expect("runs");
    let read = |address: u64, bytes: usize| {
        let mut read = vec![0; bytes * x.len()];
        memory.read(address, &mut read).expect("written");
        read
    };
    let [value, wide, bits] = [read(outputs[0], 4), read(outputs[1], 8), read(outputs[2], 4)];
    let word = |bytes: &[u8], i: usize| u32::from_le_bytes(bytes[4 * i..][..4].try_into().expect("four bytes"));
    (0..x.len())
        .map(|i| Output {
            value: f32::from_bits(word(&value, i)),
            wide: f64::from_le_bytes(wide[8 * i..][..8].try_into().expect("eight bytes")),
            bits: word(&bits, i),
        })
        .collect()
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
