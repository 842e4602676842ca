//! A kernel as compilers make it, at the sizes that it is used at: what the executor's speed is
//! measured with.

use ptx_emu::{LaunchConfig, LaunchReport, Memory, Module};

/// RMSNorm of f16 rows, one row per CTA: vector loads and stores, conversions and fused multiply-adds,
/// shuffles, shared memory and barriers.
pub struct RowKernel {
    module: Module,
    memory: Memory,
    config: LaunchConfig,
    arguments: Vec<u8>,
}

/// Threads of a CTA, elements of a row, rows.
pub const SHAPES: [(u32, u32, u32); 3] = [(128, 4096, 64), (256, 8192, 64), (32, 256, 512)];

impl RowKernel {
    /// The kernel with its rows in memory.
    pub fn new((threads, hidden, rows): (u32, u32, u32)) -> RowKernel {
        let module = Module::parse(include_str!("../ptx/samples.sm_75.ptx")).expect("the sample parses");
        let mut memory = Memory::new();
        let elements = (rows * hidden) as usize;
        let x = memory.allocate("x", 2 * elements);
        // 0x3c01, 0x3c02 …: f16 values from 1 up.
        let data: Vec<u8> = (0..elements).flat_map(|i| (0x3c01 + i as u16 % 512).to_le_bytes()).collect();
        memory.write(x, &data).expect("fits");
        memory.set_read_only(x, true).expect("live");
        let y = memory.allocate("y", 2 * elements);
        let weight = memory.allocate("weight", 4 * hidden as usize);
        memory.write(weight, &1f32.to_le_bytes().repeat(hidden as usize)).expect("fits");
        let words = [x, y, weight, u64::from(rows), u64::from(hidden / 8)];
        let mut arguments: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        arguments.extend(hidden.to_le_bytes());
        arguments.extend(1e-6f32.to_le_bytes());
        RowKernel { module, memory, config: LaunchConfig::linear(rows, threads), arguments }
    }

    /// One launch, all checks on.
    pub fn launch(&mut self) -> LaunchReport {
        self.module.launch("rms_f16", &self.config, &[&self.arguments], &mut self.memory).expect("no fault")
    }
}
