//! Races: each planted one is found, and its corrected twin runs.

#[allow(dead_code, reason = "the single-instruction half of the harness is for other tests")]
#[path = "../common/mod.rs"]
mod common;

mod cluster;
mod compiled;
mod global;
mod shared;

use ptx_emu::{AccessKind, Fault, FaultKind, LaunchError, LaunchReport, RaceAccess, Space};

/// A race that was found.
struct Race {
    text: String,
    fault: Fault,
    first: RaceAccess,
    second: RaceAccess,
    space: Space,
    address: u64,
    bytes: u32,
    name: String,
}

impl Race {
    /// Takes the fault of a launch apart, and checks what every race's fault must say.
    fn of(text: String, result: Result<LaunchReport, LaunchError>) -> Race {
        let Err(LaunchError::Fault(fault)) = result else { panic!("a fault is wanted, not {result:?}") };
        let FaultKind::Race { first, second, space, address, bytes, name } = fault.kind.clone() else {
            panic!("{fault}")
        };
        assert_eq!((fault.ptx_line, fault.cta, fault.thread), (second.ptx_line, second.cta, second.thread));
        let message = fault.to_string();
        for part in [format!("race on {bytes} bytes at {space} address {address:#x} of `{name}`"), first.to_string()] {
            assert!(message.contains(&part), "{message}");
        }
        Race { text, fault: *fault, first, second, space, address, bytes, name }
    }

    /// Kinds, threads and instructions of both accesses, the lower thread's first: which of them
    /// runs first is the executor's choice. That the lines are those of the instructions is checked
    /// here.
    fn sides(&self) -> [(AccessKind, u32, &str); 2] {
        let mut sides = [&self.first, &self.second].map(|side| {
            let line = self.text.lines().nth(side.ptx_line as usize - 1).expect("a line of the text");
            assert!(line.contains(&side.instruction), "{line}: {}", side.instruction);
            assert_eq!(side.thread[1..], [0, 0]);
            (side.kind, side.thread[0], side.instruction.as_str())
        });
        sides.sort_by_key(|(_, thread, _)| *thread);
        sides
    }

    /// Kinds and CTAs of both accesses, the lower CTA's first.
    fn ctas(&self) -> [(AccessKind, u32); 2] {
        let mut sides = [&self.first, &self.second].map(|side| (side.kind, side.cta[0]));
        sides.sort_by_key(|(_, cta)| *cta);
        sides
    }
}

/// Fails unless a launch has ended well.
#[track_caller]
fn silent(result: Result<LaunchReport, LaunchError>) {
    if let Err(error) = result {
        panic!("{error}");
    }
}
