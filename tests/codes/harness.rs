//! Launches the kernels of `kernels/codes.cu` in the executor.

use ptx_emu::{LaunchConfig, Memory, Module};

/// A target and the kernels compiled for it.
pub struct Target {
    pub name: &'static str,
    module: Module,
}

/// The shipped targets.
pub fn targets() -> [Target; 2] {
    let parse = |name, text| Target { name, module: Module::parse(text).expect("the kernels parse") };
    [parse("sm_75", include_str!("ptx/codes.sm_75.ptx")), parse("sm_90", include_str!("ptx/codes.sm_90.ptx"))]
}

impl Target {
    /// Runs a kernel of (input, output, count) on words; `words` of them come out. None of these may be left
    /// unwritten: the executor refuses to read what nothing has written.
    pub fn run(&self, kernel: &str, input: &[u32], words: usize, count: usize) -> Vec<u32> {
        let mut memory = Memory::new();
        let input = upload(&mut memory, "input", input);
        let output = memory.allocate("output", 4 * words);
        let args = [&input.to_le_bytes()[..], &output.to_le_bytes(), &(count as u32).to_le_bytes()];
        self.launch(kernel, &args, count, &mut memory);
        download(&memory, output, words)
    }

    /// Launches a thread for each of `count` pieces of work.
    pub fn launch(&self, kernel: &str, args: &[&[u8]], count: usize, memory: &mut Memory) {
        let config = LaunchConfig::linear((count as u32).div_ceil(256), 256);
        self.module
            .launch(kernel, &config, args, memory)
            .unwrap_or_else(|error| panic!("{} {kernel}: {error}", self.name));
    }
}

/// Read-only memory with these words.
pub fn upload(memory: &mut Memory, name: &str, words: &[u32]) -> u64 {
    let address = memory.allocate(name, 4 * words.len());
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    memory.write(address, &bytes).expect("fits the allocation");
    memory.set_read_only(address, true).expect("a live allocation");
    address
}

/// So many words from there on.
pub fn download(memory: &Memory, address: u64, words: usize) -> Vec<u32> {
    let mut bytes = vec![0; 4 * words];
    memory.read(address, &mut bytes).expect("inside the allocation, and written");
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
}

/// The patterns of these values.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
