//! What fuzzing has found, by the smallest input that shows it.

#[allow(dead_code, reason = "the single-instruction half of the harness is for other tests")]
mod common;

use common::program;
use ptx_emu::{FaultKind, LaunchConfig, LaunchError, LaunchOptions, LaunchReport, Memory, Module};

fn limited(text: &str, config: &LaunchConfig, instruction_limit: u64) -> Result<LaunchReport, LaunchError> {
    let module = Module::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    module.launch_with("k", config, &[], &mut Memory::new(), &LaunchOptions { instruction_limit })
}

/// The limit was looked at after 2^16 instructions of one warp without a wait, and so never in a loop
/// around a barrier.
#[test]
fn loops_around_barriers_are_stopped() {
    let text = program("", "AGAIN:\nbar.sync 0;\nbra AGAIN;");
    let result = limited(&text, &LaunchConfig::linear(1, 64), 1000);
    let Err(LaunchError::Fault(fault)) = result else { panic!("{result:?}") };
    assert_eq!(fault.kind, FaultKind::InstructionLimit { limit: 1000 });
}

/// Nor in a grid of many short CTAs.
#[test]
fn the_instruction_limit_is_exact() {
    // Two warps of three instructions and a return, in 100 CTAs.
    let text = program("", "mov.u32 %r0, 1;\nmov.u32 %r1, 2;\nmov.u32 %r2, 3;");
    let config = LaunchConfig::linear(100, 64);
    assert_eq!(limited(&text, &config, 800).expect("just enough").warp_instructions, 800);
    let result = limited(&text, &config, 799);
    let Err(LaunchError::Fault(fault)) = result else { panic!("{result:?}") };
    assert_eq!(fault.kind, FaultKind::InstructionLimit { limit: 799 });
    assert_eq!((fault.cta, fault.thread), ([99, 0, 0], [32, 0, 0]));
}
