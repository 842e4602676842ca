//! Races on shared memory: each planted one is found, and its corrected twin runs.

mod common;

use common::{launch, program};
use ptx_emu::{AccessKind, FaultKind, LaunchConfig, LaunchError, LaunchReport, Memory, Module, RaceAccess};

/// `%r0` is the thread, `%r1` the lane, `%r2` the warp, `%r3` the address of the thread's word in
/// `s`, `%r4` that of the word of the thread with the lowest index bit flipped, `%r5` that of the
/// thread in the other warp; `%p0` holds in thread 0, `%p1` in warp 0, `%p2` in even lanes.
const START: &str = ".shared .align 16 .b8 s[512];\nmov.u32 %r0, %tid.x;\nmov.u32 %r1, %laneid;\n\
    shr.u32 %r2, %r0, 5;\nmov.u32 %r6, s;\nshl.b32 %r3, %r0, 2;\nxor.b32 %r4, %r3, 4;\n\
    xor.b32 %r5, %r3, 128;\nadd.u32 %r3, %r3, %r6;\nadd.u32 %r4, %r4, %r6;\nadd.u32 %r5, %r5, %r6;\n\
    setp.eq.u32 %p0, %r0, 0;\nsetp.eq.u32 %p1, %r2, 0;\nand.b32 %r7, %r1, 1;\nsetp.eq.u32 %p2, %r7, 0;\n";

fn run(body: &str) -> (String, Result<LaunchReport, LaunchError>) {
    let text = program("", &format!("{START}{body}"));
    let result = launch(&text, &LaunchConfig::linear(3, 64), &[], &mut Memory::new());
    (text, result)
}

fn silent(body: &str) {
    if let Err(error) = run(body).1 {
        panic!("{error}");
    }
}

struct Race {
    text: String,
    first: RaceAccess,
    second: RaceAccess,
    address: u64,
    bytes: u32,
}

impl Race {
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
}

fn race(body: &str) -> Race {
    let (text, result) = run(body);
    let Err(LaunchError::Fault(fault)) = result else { panic!("a fault is wanted, not {result:?}") };
    let FaultKind::Race { first, second, address, bytes } = fault.kind.clone() else { panic!("{fault}") };
    assert_eq!((fault.ptx_line, fault.thread), (second.ptx_line, second.thread));
    assert_eq!(fault.cta, [0; 3]);
    assert!(fault.to_string().starts_with("race on "), "{fault}");
    Race { text, first, second, address, bytes }
}

use AccessKind::{Atomic, Load, Store};

#[test]
fn a_read_of_what_another_warp_wrote() {
    let body = |barrier: &str| format!("st.shared.u32 [%r3], %r0;\n{barrier}\nld.shared.u32 %r8, [%r5];");
    silent(&body("bar.sync 0;"));
    silent(&body("barrier.cluster.arrive;\nbarrier.cluster.wait;"));
    // What all have stored once, warp 0 stores again, while warp 1 may read it.
    let found =
        race("st.shared.u32 [%r3], %r0;\nbar.sync 0;\n@%p1 st.shared.u32 [%r3], 7;\n@!%p1 ld.shared.u32 %r8, [%r5];");
    assert_eq!(
        found.sides(),
        [(Store, 0, "@%p1 st.shared.u32 [%r3], 7"), (Load, 32, "@!%p1 ld.shared.u32 %r8, [%r5]")]
    );
    assert_eq!((found.address, found.bytes), (0, 4));
}

#[test]
fn a_write_over_what_another_warp_reads() {
    let body = |barrier: &str, value: u32| {
        format!(
            "st.shared.u32 [%r3], 5;\nbar.sync 0;\n@%p1 ld.shared.u32 %r8, [%r5];\n{barrier}\n\
             @!%p1 st.shared.u32 [%r3], {value};"
        )
    };
    silent(&body("bar.sync 1;", 6));
    // A value that happens to be there already does not excuse the write.
    for value in [6, 5] {
        let found = race(&body("", value));
        let store = format!("@!%p1 st.shared.u32 [%r3], {value}");
        assert_eq!(found.sides(), [(Load, 0, "@%p1 ld.shared.u32 %r8, [%r5]"), (Store, 32, store.as_str())]);
        assert_eq!(found.address, 128);
    }
}

#[test]
fn two_warps_write_one_word() {
    silent("st.shared.u32 [s], 3;");
    let found = race("st.shared.u32 [s], %r2;");
    assert_eq!(found.sides().map(|(kind, thread, _)| (kind, thread)), [(Store, 31), (Store, 32)]);
    silent("@%p1 st.shared.u32 [s], %r2;\nbar.sync 0;\n@!%p1 st.shared.u32 [s], %r2;");
}

#[test]
fn lanes_of_one_instruction() {
    let found = race("@%p1 st.shared.u32 [s+8], %r1;");
    assert_eq!(found.sides().map(|(kind, thread, _)| (kind, thread)), [(Store, 0), (Store, 1)]);
    assert_eq!(found.address, 8);
    // Neighbouring bytes of a word are no race.
    silent("add.u32 %r9, %r6, %r0;\nst.shared.u8 [%r9], %r0;");
}

#[test]
fn lanes_of_one_warp() {
    let body = |sync: &str| format!("st.shared.u32 [%r3], %r0;\n{sync}\nld.shared.u32 %r8, [%r4];");
    silent(&body("bar.warp.sync -1;"));
    silent(&body("shfl.sync.down.b32 %r9, %r0, 1, 31, -1;"));
    let found = race(&body(""));
    assert_eq!(found.sides(), [(Load, 0, "ld.shared.u32 %r8, [%r4]"), (Store, 1, "st.shared.u32 [%r3], %r0")]);
    assert_eq!(found.address, 4);
    // All lanes read a word that one of them then writes; its own read is no obstacle.
    let all = |sync: &str| {
        format!(
            "@%p0 st.shared.u32 [s], 1;\nbar.sync 0;\n@%p1 ld.shared.u32 %r8, [s];\n{sync}\n\
             @%p0 ld.shared.u32 %r9, [s];\n@%p0 st.shared.u32 [s], 2;"
        )
    };
    silent(&all("bar.warp.sync -1;"));
    let found = race(&all(""));
    assert_eq!(found.sides()[0], (Store, 0, "@%p0 st.shared.u32 [s], 2"));
    assert_eq!((found.sides()[1].0, found.sides()[1].2), (Load, "@%p1 ld.shared.u32 %r8, [s]"));
}

#[test]
fn meeting_in_a_warp_does_not_order_others() {
    let body = |sync: &str| format!("@%p1 st.shared.u32 [%r3], %r0;\n{sync}\n@!%p1 ld.shared.u32 %r8, [%r5];");
    silent(&body("bar.sync 0;"));
    let found = race(&body("bar.warp.sync -1;"));
    assert_eq!(found.sides().map(|(kind, thread, _)| (kind, thread)), [(Store, 0), (Load, 32)]);
}

#[test]
fn wide_and_narrow_accesses() {
    // Thread 0 writes sixteen bytes of which thread 32 reads two.
    let body = |barrier: &str| {
        format!(
            "@%p0 st.shared.v4.u32 [s+16], {{%r0, %r0, %r0, %r0}};\n{barrier}\n\
             setp.eq.u32 %p3, %r0, 32;\n@%p3 ld.shared.u16 %h0, [s+26];"
        )
    };
    silent(&body("bar.sync 0;"));
    let found = race(&body(""));
    assert_eq!((found.address, found.bytes), (26, 2));
    assert_eq!(found.sides().map(|(kind, thread, _)| (kind, thread)), [(Store, 0), (Load, 32)]);
}

#[test]
fn atomics_and_volatile_accesses() {
    let zeroed = |body: &str| format!("@%p0 st.shared.u32 [s], 0;\nbar.sync 0;\n{body}");
    silent(&zeroed("red.shared.add.u32 [s], %r0;\natom.shared.add.u32 %r8, [s], 1;"));
    silent(&zeroed("st.volatile.shared.u32 [s], %r0;\nld.volatile.shared.u32 %r8, [s];"));
    silent(&zeroed("red.shared.add.u32 [s], %r0;\nbar.sync 0;\nld.shared.u32 %r8, [s];"));
    let pair = |first: &str, second: &str| {
        let body = zeroed(&format!("setp.eq.u32 %p3, %r0, 32;\n@%p0 {first};\n@%p3 {second};"));
        race(&body).sides().map(|(kind, thread, _)| (kind, thread))
    };
    let (add, load, store) = ("atom.shared.add.u32 %r8, [s], 1", "ld.shared.u32 %r8, [s]", "st.shared.u32 [s], 4");
    assert_eq!(pair(add, load), [(Atomic, 0), (Load, 32)]);
    assert_eq!(pair(store, add), [(Store, 0), (Atomic, 32)]);
    assert_eq!(pair("ld.volatile.shared.u32 %r8, [s]", store), [(Load, 0), (Store, 32)]);
    assert_eq!(pair(load, "st.volatile.shared.u32 [s], 4"), [(Load, 0), (Store, 32)]);
}

#[test]
fn messages_between_warps() {
    // Warp 0 waits for a flag that warp 1 sets once its data are there.
    let body = |fence: &str| {
        format!(
            "@%p0 st.shared.u32 [s+4], 0;\nbar.sync 0;\n@%p1 bra wait;\nsetp.ne.u32 %p3, %r1, 0;\n@%p3 bra done;\n\
             st.shared.u32 [s], 9;\n{fence}\nst.volatile.shared.u32 [s+4], 1;\nbra.uni done;\nwait:\n\
             ld.volatile.shared.u32 %r8, [s+4];\nsetp.eq.u32 %p3, %r8, 0;\n@%p3 bra wait;\n{fence}\n\
             ld.shared.u32 %r8, [s];\ndone:"
        )
    };
    silent(&body("membar.cta;"));
    silent(&body("fence.acq_rel.cta;"));
    let found = race(&body(""));
    assert_eq!(found.sides(), [(Load, 0, "ld.shared.u32 %r8, [s]"), (Store, 32, "st.shared.u32 [s], 9")]);
    // Half a barrier on each side: the one arrives, the other waits.
    silent(
        "@%p1 bra wait;\nst.shared.u32 [%r3], %r0;\nbar.arrive 3, 64;\nbra.uni done;\nwait:\n\
         bar.sync 3, 64;\nld.shared.u32 %r8, [%r5];\ndone:",
    );
}

#[test]
fn ctas_share_nothing() {
    // Each CTA has its own bytes at the same address.
    silent("mov.u32 %r9, %ctaid.x;\n@%p0 st.shared.u32 [s], %r9;\n@%p0 ld.shared.u32 %r8, [s];");
}

/// A kernel as the compiler made it, with and without its barrier between zeroing a histogram and
/// counting into it.
#[test]
fn a_barrier_taken_out_of_a_compiled_kernel() {
    for text in [include_str!("ptx/samples.sm_75.ptx"), include_str!("ptx/samples.sm_90.ptx")] {
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
        let Err(LaunchError::Fault(fault)) = result else { panic!("a fault is wanted, not {result:?}") };
        let FaultKind::Race { first, second, .. } = &fault.kind else { panic!("{fault}") };
        assert_eq!((first.kind, first.thread), (Store, [0; 3]), "{fault}");
        assert_eq!((second.kind, second.thread), (Atomic, [1, 0, 0]), "{fault}");
    }
}
