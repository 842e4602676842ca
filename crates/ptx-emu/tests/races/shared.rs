//! Races on the shared memory of a CTA.

use super::Race;
use crate::common::{launch, program};
use ptx_emu::{AccessKind, LaunchConfig, LaunchError, LaunchReport, Memory, Space};

/// `%r0` is the thread, `%r1` the lane, `%r2` the warp, `%r3` the address of the thread's word in
/// `s`, `%r4` that of the word of the thread with the lowest index bit flipped, `%r5` that of the
/// thread in the other warp; `%p0` holds in thread 0, `%p1` in warp 0, `%p2` in even lanes.
const START: &str = ".shared .align 16 .b8 s[512];\nmov.u32 %r0, %tid.x;\nmov.u32 %r1, %laneid;\n\
    shr.u32 %r2, %r0, 5;\nmov.u32 %r6, s;\nshl.b32 %r3, %r0, 2;\nxor.b32 %r4, %r3, 4;\n\
    xor.b32 %r5, %r3, 128;\nadd.u32 %r3, %r3, %r6;\nadd.u32 %r4, %r4, %r6;\nadd.u32 %r5, %r5, %r6;\n\
    setp.eq.u32 %p0, %r0, 0;\nsetp.eq.u32 %p1, %r2, 0;\nand.b32 %r7, %r1, 1;\nsetp.eq.u32 %p2, %r7, 0;\n";

fn run_with(threads: u32, body: &str) -> (String, Result<LaunchReport, LaunchError>) {
    let text = program("", &format!("{START}{body}"));
    let result = launch(&text, &LaunchConfig::linear(3, threads), &[], &mut Memory::new());
    (text, result)
}

fn silent(body: &str) {
    super::silent(run_with(64, body).1);
}

fn race_with(threads: u32, body: &str) -> Race {
    let (text, result) = run_with(threads, body);
    let race = Race::of(text, result);
    assert_eq!((race.space, race.name.as_str(), race.fault.cta), (Space::Shared, "shared memory", [0; 3]));
    race
}

fn race(body: &str) -> Race {
    race_with(64, body)
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
    assert_eq!(found.sides().map(|(kind, thread, _)| (kind, thread)), [(Store, 0), (Store, 32)]);
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
}

/// Warp 1 arrives at a barrier at which warp 0 waits.
#[test]
fn halves_of_a_barrier() {
    let body = |consumer: &str, before: &str, after: &str, consumes: &str| {
        format!(
            "@%p1 bra wait;\n{before}\nbar.arrive 3, 64;\n{after}\nbra.uni done;\nwait:\n{consumer}\n\
             bar.sync 3, 64;\n{consumes}\ndone:"
        )
    };
    let (store, load) = ("st.shared.u32 [%r3], %r0;", "ld.shared.u32 %r8, [%r5];");
    silent(&body("", store, "", load));
    // What comes after the arrival is not covered.
    let found = race(&body("", store, "st.shared.u32 [%r3], 7;", load));
    assert_eq!(found.sides().map(|(kind, thread, _)| (kind, thread)), [(Load, 0), (Store, 32)]);
    // Nor does the side that only arrives learn anything.
    let found = race(&body(store, "", load, ""));
    assert_eq!(found.sides().map(|(kind, thread, _)| (kind, thread)), [(Store, 0), (Load, 32)]);
}

#[test]
fn a_barrier_for_some_orders_those() {
    // Warps 0 and 1 meet; warp 2 does not.
    let body = |reader: u32| {
        format!(
            "@%p1 st.shared.u32 [%r6+256], 1;\nsetp.lt.u32 %p3, %r2, 2;\n@%p3 bar.sync 1, 64;\n\
             setp.eq.u32 %p3, %r0, {reader};\n@%p3 ld.shared.u32 %r8, [%r6+256];"
        )
    };
    super::silent(run_with(96, &body(32)).1);
    let found = race_with(96, &body(64));
    assert_eq!(found.sides().map(|(kind, thread, _)| (kind, thread)), [(Store, 0), (Load, 64)]);
    // Through a third party: 0 and 1 meet, then 1 and 2.
    let chain = "@%p1 st.shared.u32 [%r6+256], 1;\nsetp.lt.u32 %p3, %r2, 2;\n@%p3 bar.sync 1, 64;\n\
                 setp.gt.u32 %p3, %r2, 0;\n@%p3 bar.sync 2, 64;\n\
                 setp.eq.u32 %p3, %r2, 2;\n@%p3 ld.shared.u32 %r8, [%r6+256];";
    super::silent(run_with(96, chain).1);
}

#[test]
fn an_exchange_among_some_lanes_orders_those() {
    // Each half of the warp exchanges for itself.
    let halves = "setp.lt.u32 %p3, %r1, 16;\nselp.b32 %r9, 0x0000ffff, 0xffff0000, %p3;\n";
    let shuffle = "shfl.sync.bfly.b32 %r10, %r0, 1, 31, %r9;\n";
    let start = format!("{halves}st.shared.u32 [%r3], %r0;\n{shuffle}");
    silent(&format!("{start}ld.shared.u32 %r8, [%r4];"));
    let across = "xor.b32 %r11, %r1, 16;\nshl.b32 %r11, %r11, 2;\nshl.b32 %r12, %r2, 7;\n\
                  add.u32 %r11, %r11, %r12;\nadd.u32 %r11, %r11, %r6;\nld.shared.u32 %r8, [%r11];";
    let found = race(&format!("{start}{across}"));
    assert_eq!(found.sides().map(|(kind, thread, _)| (kind, thread)), [(Load, 0), (Store, 16)]);
    // One lane of each half meets the other, and hands on what it knows.
    let bridge = "and.b32 %r13, %r1, 15;\nsetp.eq.u32 %p4, %r13, 3;\n@%p4 bar.warp.sync 0x00080008;\n";
    silent(&format!("{start}{bridge}{shuffle}{across}"));
    // Without the last step only the bridge itself knows.
    let found = race(&format!("{start}{bridge}{across}"));
    assert_eq!(found.sides().map(|(kind, thread, _)| (kind, thread)), [(Load, 0), (Store, 16)]);
    // Of lanes that read together, the one that does not know is named: 16 met 0, and 17 nobody.
    let together = "@%p0 st.shared.u32 [s], 1;\nsetp.eq.u32 %p4, %r0, 0;\nsetp.eq.or.u32 %p4, %r0, 16, %p4;\n\
                    @%p4 bar.warp.sync 0x00010001;\nsetp.eq.u32 %p4, %r0, 16;\nsetp.eq.or.u32 %p4, %r0, 17, %p4;\n\
                    @%p4 ld.shared.u32 %r8, [s];";
    assert_eq!(race(together).sides().map(|(kind, thread, _)| (kind, thread)), [(Store, 0), (Load, 17)]);
    // Votes, matches and reductions order as shuffles do.
    for exchange in [
        "vote.sync.ballot.b32 %r10, %p0, -1;",
        "match.any.sync.b32 %r10, %r0, -1;",
        "redux.sync.add.u32 %r10, %r0, -1;",
    ] {
        silent(&format!("st.shared.u32 [%r3], %r0;\n{exchange}\n{across}"));
    }
}

#[test]
fn a_fence_orders_only_who_makes_it() {
    let body = |who: u32| {
        format!(
            "@%p0 st.shared.u32 [s], 9;\nsetp.eq.u32 %p3, %r2, {who};\n@%p3 membar.cta;\n\
             setp.eq.u32 %p3, %r0, 64;\n@%p3 membar.cta;\n@%p3 ld.shared.u32 %r8, [s];"
        )
    };
    super::silent(run_with(96, &body(0)).1);
    assert_eq!(race_with(96, &body(1)).sides().map(|(kind, thread, _)| (kind, thread)), [(Store, 0), (Load, 64)]);
}

#[test]
fn threads_that_leave() {
    // The barrier waits for those that exit, and then covers what they did.
    let exits = "@%p1 st.shared.u32 [%r3], %r0;\n@%p1 exit;\nbar.sync 0;\nld.shared.u32 %r8, [%r5];";
    silent(exits);
    race("@%p1 st.shared.u32 [%r3], %r0;\n@%p1 exit;\nld.shared.u32 %r8, [%r5];");
}

/// A race with a read that others came after, and with one of many writes of the same value.
#[test]
fn every_access_counts() {
    let store = "setp.eq.u32 %p4, %r0, 64;\n@%p4 st.shared.u32 [s], 2;";
    let start = "@%p0 st.shared.u32 [s], 1;\nbar.sync 0;\n";
    // Warps 0 and 1 read, and warp 2, which writes, has met warp 1 only.
    let body = |meets: u32| {
        format!(
            "{start}setp.lt.u32 %p3, %r2, 2;\n@%p3 ld.shared.u32 %r8, [s];\nsetp.ge.u32 %p3, %r2, {meets};\n\
             @%p3 bar.sync 1, {};\n{store}",
            96 - 32 * meets
        )
    };
    super::silent(run_with(96, &body(0)).1);
    assert_eq!(race_with(96, &body(1)).sides().map(|(kind, thread, _)| (kind, thread)), [(Load, 0), (Store, 64)]);
    // Warps 0 and 1 write the same, and a reader in warp 2 has met warp 1 only.
    let same = |meets: u32| {
        format!(
            "{start}setp.lt.u32 %p3, %r2, 2;\n@%p3 st.shared.u32 [s], 3;\nsetp.ge.u32 %p3, %r2, {meets};\n\
             @%p3 bar.sync 1, {};\nsetp.eq.u32 %p4, %r0, 64;\n@%p4 ld.shared.u32 %r8, [s];",
            96 - 32 * meets
        )
    };
    super::silent(run_with(96, &same(0)).1);
    assert_eq!(race_with(96, &same(1)).sides().map(|(kind, thread, _)| (kind, thread)), [(Store, 0), (Load, 64)]);
}

#[test]
fn ctas_share_nothing() {
    // Each CTA has its own bytes at the same address.
    silent("mov.u32 %r9, %ctaid.x;\n@%p0 st.shared.u32 [s], %r9;\n@%p0 ld.shared.u32 %r8, [s];");
}
