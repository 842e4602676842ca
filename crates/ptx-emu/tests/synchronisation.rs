//! Exchanges and barriers reached by the wrong threads: each planted fault is found and names who is
//! missing, and its corrected twin runs.

#[allow(dead_code, reason = "the single-instruction half of the harness is for other tests")]
mod common;

use common::{launch, program};
use ptx_emu::{Fault, FaultKind, LaunchConfig, LaunchError, LaunchReport, Memory, Whereabouts};

/// `%r0` is the thread, `%p0` holds in the lower half of the block's first warp, `%p1` in the first
/// warp.
fn run(body: &str, threads: u32) -> (String, Result<LaunchReport, LaunchError>) {
    let start = "mov.u32 %r0, %tid.x;\nsetp.lt.u32 %p0, %r0, 16;\nsetp.lt.u32 %p1, %r0, 32;\n";
    let text = program("", &format!("{start}{body}"));
    let result = launch(&text, &LaunchConfig::linear(2, threads), &[], &mut Memory::new());
    (text, result)
}

fn ends_well(body: &str, threads: u32) {
    if let Err(error) = run(body, threads).1 {
        panic!("{error}");
    }
}

fn fault(body: &str, threads: u32) -> (String, Fault) {
    match run(body, threads) {
        (text, Err(LaunchError::Fault(fault))) => (text, *fault),
        (_, other) => panic!("a fault is wanted, not {other:?}"),
    }
}

/// Who is missing from an exchange, at which line of the text it is, and the thread that waits.
fn absent(body: &str, threads: u32) -> (u32, Option<String>, u32) {
    let (text, fault) = fault(body, threads);
    let FaultKind::AbsentThread { absent, whereabouts, members } = &fault.kind else { panic!("{fault}") };
    assert!(fault.to_string().contains(&format!("{members:#010x}")), "{fault}");
    let elsewhere = match whereabouts {
        Whereabouts::Exited => None,
        Whereabouts::At { ptx_line, instruction, .. } => {
            let line = text.lines().nth(*ptx_line as usize - 1).expect("a line of the text");
            assert!(line.contains(instruction), "{line}: {instruction}");
            assert!(fault.to_string().contains(&format!("PTX line {ptx_line}")), "{fault}");
            Some(instruction.clone())
        }
        other => panic!("{other:?}"),
    };
    (absent[0], elsewhere, fault.thread[0])
}

/// One of every kind of exchange among all lanes of a warp.
const EXCHANGES: [&str; 6] = [
    "shfl.sync.down.b32 %r1, %r0, 1, 31, -1;",
    "vote.sync.ballot.b32 %r1, %p1, -1;",
    "match.any.sync.b32 %r1, %r0, -1;",
    "match.all.sync.b32 %r1, %r0, -1;",
    "redux.sync.add.u32 %r1, %r0, -1;",
    "bar.warp.sync -1;",
];

#[test]
fn a_named_lane_has_exited() {
    for exchange in EXCHANGES {
        ends_well(exchange, 64);
        // Those that leave go first, or last.
        assert_eq!(absent(&format!("@%p0 exit;\n{exchange}"), 64), (0, None, 16));
        let later = format!("@!%p0 bra leave;\n{exchange}\nbra.uni done;\nleave:\nadd.u32 %r2, %r0, 1;\ndone:");
        assert_eq!(absent(&later, 64), (16, None, 0));
        // The lanes that are left name themselves only.
        ends_well(&format!("@%p0 exit;\n@!%p1 exit;\n{}", exchange.replace("-1", "0xffff0000")), 64);
    }
    // Lanes that there never were have not exited.
    ends_well("shfl.sync.down.b32 %r1, %r0, 1, 31, -1;", 40);
}

#[test]
fn a_named_lane_is_elsewhere() {
    let other = "vote.sync.any.pred %p2, %p1, -1";
    for exchange in EXCHANGES {
        let split = format!("@!%p0 bra other;\n{exchange}\nbra.uni done;\nother:\n{other};\ndone:");
        assert_eq!(absent(&split, 32), (16, Some(other.to_owned()), 0), "{exchange}");
    }
    // The upper half waits for the first half's masks to match its own.
    let masks = "selp.b32 %r2, 0x0000ffff, 0xffffffff, %p0;\nshfl.sync.bfly.b32 %r1, %r0, 1, 31, %r2;\n@%p0 bar.warp.sync 0xffff;";
    let (who, _, thread) = absent(masks, 32);
    assert_eq!((who, thread), (0, 16));
    // Each half for itself, at its own instruction.
    ends_well(
        "@!%p0 bra other;\nshfl.sync.bfly.b32 %r1, %r0, 1, 31, 0xffff;\nbra.uni done;\nother:\n\
         shfl.sync.bfly.b32 %r1, %r0, 1, 31, 0xffff0000;\ndone:",
        32,
    );
}

#[test]
fn a_barrier_in_a_branch() {
    let (_, fault) = fault("@!%p0 bra other;\nbar.sync 0;\nbra.uni done;\nother:\nbar.sync 0;\ndone:", 64);
    let FaultKind::DivergentBarrier { waiting } = &fault.kind else { panic!("{fault}") };
    assert_eq!(waiting.len(), 2);
    ends_well("@!%p1 bra other;\nbar.sync 0;\nbra.uni done;\nother:\nbar.sync 0;\ndone:", 64);
    // One half passes by, to the next barrier.
    let (_, fault) = self::fault("@!%p0 bra after;\nbar.sync 0;\nafter:\nbar.sync 0;", 64);
    assert!(matches!(fault.kind, FaultKind::DivergentBarrier { .. }), "{fault}");
    // Barriers that need not be reached by whole warps.
    ends_well("@!%p0 bra other;\nbarrier.sync 0;\nbra.uni done;\nother:\nbarrier.sync 0;\ndone:", 64);
}

#[test]
fn a_barrier_for_more_threads_than_there_are() {
    let (_, fault) = fault("bar.sync 1, 96;", 64);
    let FaultKind::InvalidSync { reason } = &fault.kind else { panic!("{fault}") };
    assert!(reason.contains("96 threads in a CTA of 64"), "{reason}");
    ends_well("bar.sync 1, 64;", 64);
    // Warps count in full.
    ends_well("bar.sync 1, 64;", 40);
}

#[test]
fn a_barrier_for_more_threads_than_are_left() {
    let (_, fault) = fault("@%p1 exit;\nbar.sync 1, 96;", 96);
    let FaultKind::UnmetBarrier { id, threads, arrived, waiting } = &fault.kind else { panic!("{fault}") };
    assert_eq!((*id, *threads, *arrived, waiting.len()), (1, 96, 64, 1));
    assert_eq!((fault.thread, fault.instruction.as_str()), ([32, 0, 0], "bar.sync 1, 96"));
    assert!(fault.to_string().contains("barrier 1 for 96 threads, of which 64 have come"), "{fault}");
    ends_well("@%p1 exit;\nbar.sync 1, 64;", 96);
    // Those that have arrived may leave.
    ends_well("@!%p1 bra wait;\nbar.arrive 1, 64;\nexit;\nwait:\nbar.sync 1, 64;", 64);
    // There are enough, but the others wait elsewhere.
    let (_, fault) =
        self::fault("@!%p1 bra other;\nbar.sync 1, 64;\nbra.uni done;\nother:\nbar.sync 2, 64;\ndone:", 64);
    let FaultKind::Deadlock { waiting } = &fault.kind else { panic!("{fault}") };
    assert_eq!(waiting.len(), 2);
}
