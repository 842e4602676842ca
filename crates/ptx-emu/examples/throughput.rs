//! How fast kernels run: prints thread instructions per second for a normalisation kernel.

use ptx_emu::{LaunchConfig, Memory, Module};
use std::error::Error;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let module = Module::parse(include_str!("../tests/ptx/samples.sm_75.ptx"))?;
    for (threads, hidden, rows) in [(128u32, 4096u32, 64u32), (256, 8192, 64), (32, 256, 512)] {
        let mut memory = Memory::new();
        let bytes = (rows * hidden * 2) as usize;
        let x = memory.allocate("x", bytes);
        // 0x3c01, 0x3c02 …: f16 values from 1 up.
        let data: Vec<u8> = (0..bytes / 2).flat_map(|i| (0x3c01 + i as u16 % 512).to_le_bytes()).collect();
        memory.write(x, &data)?;
        let y = memory.allocate("y", bytes);
        let weight = memory.allocate("weight", hidden as usize * 4);
        memory.write(weight, &1f32.to_le_bytes().repeat(hidden as usize))?;
        let mut args = Vec::new();
        for word in [x, y, weight, u64::from(rows), u64::from(hidden / 8)] {
            args.extend(word.to_le_bytes());
        }
        args.extend(hidden.to_le_bytes());
        args.extend(1e-6f32.to_le_bytes());
        let config = LaunchConfig::linear(rows, threads);
        module.launch("rms_f16", &config, &[&args], &mut memory)?;
        let start = Instant::now();
        let report = module.launch("rms_f16", &config, &[&args], &mut memory)?;
        let seconds = start.elapsed().as_secs_f64();
        let rate = report.thread_instructions as f64 / seconds / 1e6;
        println!(
            "{rows} rows of {hidden}, {threads} threads: {} thread instructions in {:.1} ms, {rate:.0} M/s",
            report.thread_instructions,
            seconds * 1e3,
        );
    }
    Ok(())
}
