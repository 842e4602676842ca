//! Races on global memory: in a CTA, between the CTAs of a cluster, and across the grid.

use super::{Race, silent};
use crate::common::{launch, program};
use ptx_emu::{AccessKind, LaunchConfig, LaunchError, LaunchReport, Memory, Space};

use AccessKind::{Atomic, Load, Store};

/// `%r0` is the thread, `%r1` the CTA, `%rd0` the address of `data`, which holds zeroes; `%p0` holds
/// in thread 0, `%p1` in CTA 0, `%p2` in thread 0 of CTA 0, `%p3` in thread 0 of CTA 1.
fn text(body: &str) -> String {
    program(
        ".param .u64 data",
        &format!(
            "ld.param.u64 %rd0, [data];\nmov.u32 %r0, %tid.x;\nmov.u32 %r1, %ctaid.x;\nsetp.eq.u32 %p0, %r0, 0;\n\
             setp.eq.u32 %p1, %r1, 0;\nor.b32 %r2, %r0, %r1;\nsetp.eq.u32 %p2, %r2, 0;\nshl.b32 %r2, %r0, 4;\n\
             or.b32 %r2, %r2, %r1;\nsetp.eq.u32 %p3, %r2, 1;\n{body}"
        ),
    )
}

fn run_with(body: &str, config: &LaunchConfig) -> (u64, Result<LaunchReport, LaunchError>) {
    let mut memory = Memory::new();
    // Not a multiple of sixteen, as that of a view need not be.
    let data = memory.allocate_misaligned("data", 1 << 16, 4);
    memory.write(data, &[0; 1 << 16]).expect("inside");
    (data, launch(&text(body), config, &[&data.to_le_bytes()], &mut memory))
}

fn grid() -> LaunchConfig {
    LaunchConfig::linear(4, 64)
}

fn ends_well(body: &str) {
    silent(run_with(body, &grid()).1);
}

/// A race in `data`: and how far from its start.
fn race_with(body: &str, config: &LaunchConfig) -> (Race, u64) {
    let (data, result) = run_with(body, config);
    let found = Race::of(text(body), result);
    assert_eq!((found.space, found.name.as_str()), (Space::Global, "data"));
    let offset = found.address - data;
    (found, offset)
}

fn race(body: &str) -> (Race, u64) {
    race_with(body, &grid())
}

#[test]
fn ctas_that_write_one_word() {
    let (found, offset) = race("@%p0 st.global.u32 [%rd0+8], %r1;");
    assert_eq!((found.ctas(), offset, found.bytes), ([(Store, 0), (Store, 1)], 8, 4));
    // Two agree, the third does not.
    let (found, _) = race("max.u32 %r3, %r1, 1;\n@%p0 st.global.u32 [%rd0+8], %r3;");
    assert_eq!(found.second.cta, [2, 0, 0]);
    // The same value, and words of their own.
    ends_well("@%p0 st.global.u32 [%rd0+8], 5;");
    ends_well("mul.wide.u32 %rd1, %r1, 4;\nadd.u64 %rd1, %rd0, %rd1;\n@%p0 st.global.u32 [%rd1], %r1;");
}

#[test]
fn a_cta_that_reads_what_another_writes() {
    let (found, _) = race("@%p2 st.global.u32 [%rd0], 1;\n@%p3 ld.global.u32 %r8, [%rd0];");
    assert_eq!(found.ctas(), [(Store, 0), (Load, 1)]);
    let (found, _) = race("@%p2 ld.global.u32 %r8, [%rd0];\n@%p3 st.global.u32 [%rd0], 1;");
    assert_eq!(found.ctas(), [(Load, 0), (Store, 1)]);
    // No barrier of a CTA reaches another.
    race("@%p2 st.global.u32 [%rd0], 1;\nbar.sync 0;\n@%p3 ld.u32 %r8, [%rd0];");
    ends_well("ld.global.u32 %r8, [%rd0];");
    ends_well("@%p1 st.global.u32 [%rd0], 1;\nbar.sync 0;\n@%p1 ld.global.u32 %r8, [%rd0];");
    // The last CTA writes what all others, and itself, have read.
    let (found, _) =
        race("ld.global.u32 %r8, [%rd0];\nbar.sync 0;\nsetp.eq.u32 %p4, %r1, 3;\n@%p4 st.global.u32 [%rd0], 1;");
    assert_eq!(found.second.cta, [3, 0, 0]);
    assert_eq!(found.ctas()[1], (Store, 3));
}

#[test]
fn launches_are_ordered() {
    let mut memory = Memory::new();
    let data = memory.allocate("data", 64);
    for body in ["@%p2 st.global.u32 [%rd0], 1;", "ld.global.u32 %r8, [%rd0];", "@%p3 st.global.u32 [%rd0], 2;"] {
        silent(launch(&text(body), &grid(), &[&data.to_le_bytes()], &mut memory));
    }
}

#[test]
fn threads_of_one_cta() {
    let alone = LaunchConfig::linear(1, 64);
    let body = |barrier: &str| {
        format!(
            "mul.wide.u32 %rd1, %r0, 4;\nadd.u64 %rd1, %rd0, %rd1;\nst.global.u32 [%rd1], %r0;\n{barrier}\n\
             xor.b32 %r3, %r0, 32;\nmul.wide.u32 %rd1, %r3, 4;\nadd.u64 %rd1, %rd0, %rd1;\n\
             bar.sync 1;\nld.global.u32 %r8, [%rd1];\n{barrier}\nst.global.u32 [%rd1], 7;"
        )
    };
    silent(run_with(&body("bar.sync 0;"), &alone).1);
    let lanes = "st.global.u32 [%rd0], %r0;";
    let (found, _) = race_with(&format!("setp.lt.u32 %p4, %r0, 32;\n@%p4 {lanes}"), &alone);
    assert_eq!(found.sides().map(|(kind, thread, _)| (kind, thread)), [(Store, 0), (Store, 1)]);
    let (found, offset) = race_with(
        "mul.wide.u32 %rd1, %r0, 4;\nadd.u64 %rd1, %rd0, %rd1;\nsetp.lt.u32 %p4, %r0, 32;\n\
         @%p4 st.global.u32 [%rd1], %r0;\nbar.warp.sync -1;\n@!%p4 ld.global.u32 %r8, [%rd1+-128];",
        &alone,
    );
    assert_eq!(found.sides().map(|(kind, thread, _)| (kind, thread)), [(Store, 0), (Load, 32)]);
    assert_eq!(offset, 0);
}

#[test]
fn ctas_of_one_cluster() {
    let config = LaunchConfig { cluster: [2, 1, 1], ..grid() };
    let body = |between: &str| format!("@%p2 st.global.u32 [%rd0], 1;\n{between}\n@%p3 ld.global.u32 %r8, [%rd0];");
    let barrier = "barrier.cluster.arrive;\nbarrier.cluster.wait;";
    silent(run_with(&body(barrier), &config).1);
    assert_eq!(race_with(&body("bar.sync 0;"), &config).0.ctas(), [(Store, 0), (Load, 1)]);
    // The cluster's barrier does not reach the next cluster, which runs the same code.
    race_with(&body(barrier), &grid());
}

#[test]
fn accesses_of_different_widths() {
    // Sixteen bytes of which the other CTA reads two; the allocation starts in mid-chunk.
    let body = |offset: u32| {
        format!("@%p2 st.global.v4.u32 [%rd0+12], {{1, 2, 3, 4}};\n@%p3 ld.global.u16 %h0, [%rd0+{offset}];")
    };
    let (found, offset) = race(&body(22));
    assert_eq!((found.ctas(), offset, found.bytes), ([(Store, 0), (Load, 1)], 22, 2));
    ends_well(&body(10));
    ends_well(&body(28));
    // Neighbouring bytes are no race, even where they were once part of a wide access.
    ends_well(
        "ld.global.v4.u32 {%r3, %r4, %r5, %r6}, [%rd0+12];\nbar.sync 0;\ncvt.u64.u32 %rd1, %r1;\n\
         add.u64 %rd1, %rd0, %rd1;\n@%p0 st.global.u8 [%rd1+32], 7;",
    );
}

#[test]
fn atomics_of_all_ctas() {
    ends_well("red.global.add.u32 [%rd0], 1;\natom.global.add.u32 %r8, [%rd0], 1;");
    ends_well("red.global.add.u32 [%rd0], 1;\nld.relaxed.gpu.global.u32 %r8, [%rd0];");
    let (found, _) = race("@%p2 red.global.add.u32 [%rd0], 1;\n@%p3 ld.global.u32 %r8, [%rd0];");
    assert_eq!(found.ctas(), [(Atomic, 0), (Load, 1)]);
    // Of the CTA's own scope: good there, a race across the grid.
    silent(run_with("red.global.cta.add.u32 [%rd0], 1;", &LaunchConfig::linear(1, 64)).1);
    let (found, _) = race("red.relaxed.cta.global.add.u32 [%rd0], 1;");
    assert_eq!(found.ctas(), [(Atomic, 0), (Atomic, 1)]);
}

/// The last CTA to come adds up what the others have left: the pattern of every reduction in one
/// launch.
#[test]
fn the_last_cta_reads_what_the_others_wrote() {
    let body = |fence: &str| {
        format!(
            "mul.wide.u32 %rd1, %r1, 4;\nadd.u64 %rd1, %rd0, %rd1;\n@!%p0 bra done;\nst.global.u32 [%rd1+64], %r1;\n\
             {fence}\natom.global.add.u32 %r8, [%rd0], 1;\nsetp.ne.u32 %p4, %r8, 3;\n@%p4 bra done;\n{fence}\n\
             ld.global.v4.u32 {{%r3, %r4, %r5, %r6}}, [%rd0+76];\nld.global.u32 %r7, [%rd0+64];\ndone:"
        )
    };
    for fence in ["membar.gl;", "fence.acq_rel.gpu;", "fence.sc.sys;"] {
        ends_well(&body(fence));
    }
    let released = body("").replace("atom.global", "atom.acq_rel.gpu.global");
    ends_well(&released);
    for fence in ["", "membar.cta;", "fence.acq_rel.cluster;"] {
        let (found, _) = race(&body(fence));
        assert_eq!((found.first.kind, found.second.kind, found.second.cta), (Store, Load, [3, 0, 0]), "{fence}");
    }
}

#[test]
fn read_only_memory_has_no_races() {
    let mut memory = Memory::new();
    let data = memory.allocate("data", 1 << 10);
    memory.write(data, &[0; 1 << 10]).expect("inside");
    memory.set_read_only(data, true).expect("live");
    silent(launch(&text("ld.global.u32 %r8, [%rd0];"), &grid(), &[&data.to_le_bytes()], &mut memory));
}
