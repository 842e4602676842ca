//! Running whatever parses.

use ptx_emu::{Kernel, LaunchConfig, LaunchError, LaunchOptions, Memory, Module};

/// Bytes of each buffer that a kernel may be handed.
const BUFFER: usize = 4096;
/// Kernels of a module that are launched.
const KERNELS: usize = 4;
/// Enough for every seed to end, and for a loop that does not to be given up at once.
const INSTRUCTION_LIMIT: u64 = 20_000;

/// Parses a text and launches its kernels.
pub fn parse_and_launch(text: &str) {
    let module = match Module::parse(text) {
        Ok(module) => module,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    for kernel in module.kernels().filter_map(|name| module.kernel(name)).take(KERNELS) {
        for config in shapes(kernel) {
            launch(&module, kernel, &config);
        }
    }
}

/// One warp in part, several warps, a plane of threads, and a cluster; or what the kernel asks for.
fn shapes(kernel: &Kernel) -> Vec<LaunchConfig> {
    if let Some(cluster) = kernel.required_cluster() {
        let block = kernel.required_threads().unwrap_or([64, 1, 1]);
        return vec![LaunchConfig { grid: cluster, block, cluster, dynamic_shared_bytes: 256 }];
    }
    if let Some(block) = kernel.required_threads() {
        return vec![LaunchConfig { grid: [2, 1, 1], block, cluster: [1; 3], dynamic_shared_bytes: 256 }];
    }
    vec![
        LaunchConfig::linear(1, 1),
        LaunchConfig { dynamic_shared_bytes: 1024, ..LaunchConfig::linear(2, 72) },
        LaunchConfig { grid: [1, 2, 1], block: [5, 3, 2], cluster: [1; 3], dynamic_shared_bytes: 0 },
        LaunchConfig { grid: [2, 1, 1], block: [32, 1, 1], cluster: [2, 1, 1], dynamic_shared_bytes: 64 },
    ]
}

fn launch(module: &Module, kernel: &Kernel, config: &LaunchConfig) {
    let mut memory = Memory::new();
    let pattern: Vec<u8> = (0..BUFFER).map(|i| (i * 31 % 251) as u8).collect();
    let mut buffer = |name, written: bool, read_only| {
        let address = memory.allocate(name, BUFFER);
        if written {
            memory.write(address, &pattern).expect("just allocated");
        }
        memory.set_read_only(address, read_only).expect("just allocated");
        address
    };
    let buffers = [buffer("in", true, true), buffer("out", false, false), buffer("data", true, false)];
    // Pointers where they fit, and small counts after the first few words of a structure.
    let mut word = 0;
    let arguments: Vec<Vec<u8>> = kernel
        .parameter_sizes()
        .map(|size| {
            let mut bytes = Vec::with_capacity(size);
            while bytes.len() < size {
                let pointer = size >= 8 && bytes.len() < 32;
                let value = if pointer { buffers[word % buffers.len()] } else { 8 };
                word += usize::from(pointer);
                bytes.extend(value.to_le_bytes());
            }
            bytes.truncate(size);
            bytes
        })
        .collect();
    let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
    let options = LaunchOptions { instruction_limit: INSTRUCTION_LIMIT, ..LaunchOptions::default() };
    match module.launch_with(kernel.name(), config, &arguments, &mut memory, &options) {
        Ok(report) => assert!(report.warp_instructions <= INSTRUCTION_LIMIT),
        Err(error @ LaunchError::Fault(_)) => assert!(!error.to_string().is_empty()),
        Err(LaunchError::Dimension { .. } | LaunchError::SharedMemory { .. }) => {}
        Err(error) => panic!("arguments were made to fit: {error}"),
    }
}
