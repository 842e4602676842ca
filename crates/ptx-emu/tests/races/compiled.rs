//! Races in kernels as the compiler made them.

use super::Race;
use ptx_emu::{AccessKind, LaunchConfig, Memory, Module};

/// A kernel as the compiler made it, with and without its barrier between zeroing a histogram and
/// counting into it.
#[test]
fn a_barrier_taken_out_of_a_compiled_kernel() {
    for text in [include_str!("../ptx/samples.sm_75.ptx"), include_str!("../ptx/samples.sm_90.ptx")] {
        let entry = text.find(".entry paths(").expect("the sample has it");
        let barrier = entry + text[entry..].find("bar.sync").expect("it has a barrier");
        let length = text[barrier..].find(';').expect("the end of the instruction") + 1;
        let without = format!("{}{}", &text[..barrier], &text[barrier + length..]);
        let run = |text: &str| {
            let module = Module::parse(text).expect("parses");
            let mut memory = Memory::new();
            let pointers = [("y", 4), ("x", 8), ("d", 8)].map(|(name, bytes)| memory.allocate(name, 64 * bytes));
            memory.write(pointers[0], &1u32.to_le_bytes().repeat(64)).expect("fits");
            let pointers = pointers.map(u64::to_le_bytes);
            let args: [&[u8]; 4] = [&pointers[0], &pointers[1], &pointers[2], &4i32.to_le_bytes()];
            module.launch("paths", &LaunchConfig::linear(1, 64), &args, &mut memory)
        };
        run(text).expect("no race");
        // All threads count one; thread 0 has zeroed what they count in, thread 1 is the first other.
        let result = run(&without);
        let Race { first, second, fault, .. } = Race::of(without, result);
        assert_eq!((first.kind, first.thread), (AccessKind::Store, [0; 3]), "{fault}");
        assert_eq!((second.kind, second.thread), (AccessKind::Atomic, [1, 0, 0]), "{fault}");
    }
}
