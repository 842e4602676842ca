//! Races through the shared memory of other CTAs, and CTAs that leave too early.

use super::{Race, silent};
use crate::common::{launch, program};
use ptx_emu::{
    AccessKind, FaultKind, LaunchConfig, LaunchError, LaunchOptions, LaunchReport, Memory, Module, Schedule, Space,
};

use AccessKind::{Atomic, Load, Store};

const CLUSTER: &str = "barrier.cluster.arrive;\nbarrier.cluster.wait;\n";

/// Two clusters of two CTAs of 64 threads. `%r0` is the thread, `%r1` the CTA's rank, `%r2` the
/// address of the CTA's own word, which is 1, `%r3` that of the other CTA's; `%p0` holds in thread 0
/// of rank 0, `%p1` in that of rank 1.
fn text(body: &str) -> String {
    program(
        "",
        &format!(
            ".shared .align 4 .b8 s[8];\nmov.u32 %r0, %tid.x;\nmov.u32 %r1, %cluster_ctarank;\nmov.u32 %r2, s;\n\
             xor.b32 %r4, %r1, 1;\nmapa.shared::cluster.u32 %r3, %r2, %r4;\nor.b32 %r5, %r0, %r1;\n\
             setp.eq.u32 %p0, %r5, 0;\nshl.b32 %r5, %r0, 1;\nor.b32 %r5, %r5, %r1;\nsetp.eq.u32 %p1, %r5, 1;\n\
             setp.eq.u32 %p2, %r0, 0;\n@%p2 st.shared.u32 [%r2], 1;\n{CLUSTER}{body}"
        ),
    )
}

fn config() -> LaunchConfig {
    LaunchConfig { cluster: [2, 1, 1], ..LaunchConfig::linear(4, 64) }
}

fn run(body: &str) -> Result<LaunchReport, LaunchError> {
    launch(&text(body), &config(), &[], &mut Memory::new())
}

/// The race of a body that ends with a meeting of the cluster.
fn race(body: &str) -> Race {
    let body = format!("{body}\n{CLUSTER}");
    let found = Race::of(text(&body), run(&body));
    assert_eq!(found.space, Space::Shared);
    found
}

#[test]
fn a_store_to_another_cta() {
    let body =
        |between: &str| format!("@%p0 st.shared::cluster.u32 [%r3], 5;\n{between}\n@%p1 ld.shared.u32 %r8, [%r2];");
    silent(run(&body(CLUSTER)));
    let found = race(&body(""));
    assert_eq!(found.ctas(), [(Store, 0), (Load, 1)]);
    assert_eq!((found.address, found.bytes), (0, 4));
    assert_eq!(found.sides().map(|(_, thread, _)| thread), [0, 0]);
    // A barrier of each CTA orders nothing between them.
    assert_eq!(race(&body("bar.sync 0;")).ctas(), [(Store, 0), (Load, 1)]);
}

#[test]
fn a_load_from_another_cta() {
    let body =
        |between: &str| format!("@%p0 ld.shared::cluster.u32 %r8, [%r3];\n{between}\n@%p1 st.shared.u32 [%r2], 5;");
    silent(run(&body(CLUSTER)));
    let found = race(&body(""));
    assert_eq!(found.ctas(), [(Load, 0), (Store, 1)]);
    assert_eq!(found.name, "shared memory of CTA rank 1");
}

#[test]
fn both_write_one_of_them() {
    let body =
        |between: &str| format!("@%p0 st.shared.u32 [%r2], 5;\n{between}\n@%p1 st.shared::cluster.u32 [%r3], 6;");
    silent(run(&format!("{}{CLUSTER}", body(CLUSTER))));
    let found = race(&body(""));
    assert_eq!((found.ctas(), found.name.as_str()), ([(Store, 0), (Store, 1)], "shared memory of CTA rank 0"));
}

#[test]
fn arriving_gives_and_waiting_takes() {
    let (arrive, wait) = ("barrier.cluster.arrive;\n", "barrier.cluster.wait;\n");
    let store = "@%p0 st.shared.u32 [%r2], 5;\n";
    let load = "@%p1 ld.shared::cluster.u32 %r8, [%r3];\n";
    silent(run(&format!("{store}{arrive}{wait}{load}{CLUSTER}")));
    assert_eq!(race(&format!("{arrive}{store}{wait}{load}")).ctas(), [(Store, 0), (Load, 1)]);
    assert_eq!(race(&format!("{store}{arrive}{load}{wait}")).ctas(), [(Store, 0), (Load, 1)]);
    // What lies between does not concern the other.
    silent(run(&format!("{arrive}@%p0 st.shared.u32 [%r2+4], 5;\n{wait}{load}{CLUSTER}")));
}

#[test]
fn relaxed_arrival_gives_nothing() {
    let body = |fence: &str| {
        format!(
            "@%p0 st.shared.u32 [%r2], 5;\n{fence}\nbarrier.cluster.arrive.relaxed;\nbarrier.cluster.wait;\n\
             @%p1 ld.shared::cluster.u32 %r8, [%r3];"
        )
    };
    assert_eq!(race(&body("")).ctas(), [(Store, 0), (Load, 1)]);
    silent(run(&format!("{}\n{CLUSTER}", body("fence.acq_rel.cluster;"))));
    // A fence that does not reach the other CTA.
    race(&body("fence.acq_rel.cta;"));
}

#[test]
fn messages_between_ctas() {
    // Rank 0 raises a flag in rank 1's memory once the data are there.
    let body = |release: &str, acquire: &str| {
        format!(
            "@%p1 st.shared.u32 [%r2+4], 0;\n{CLUSTER}@%p0 st.shared::cluster.u32 [%r3], 9;\n\
             @%p0 st.{release}.shared::cluster.u32 [%r3+4], 1;\n@!%p1 bra done;\nwait:\n\
             ld.{acquire}.shared.u32 %r8, [%r2+4];\nsetp.eq.u32 %p3, %r8, 0;\n@%p3 bra wait;\n\
             ld.shared.u32 %r8, [%r2];\ndone:"
        )
    };
    silent(run(&format!("{}\n{CLUSTER}", body("release.cluster", "acquire.cluster"))));
    assert_eq!(race(&body("relaxed.cluster", "relaxed.cluster")).ctas(), [(Store, 0), (Load, 1)]);
    // Scopes that do not reach the other make the flag itself a race.
    assert_eq!(race(&body("release.cta", "acquire.cta")).ctas(), [(Store, 0), (Load, 1)]);
}

#[test]
fn atomics_reach_as_far_as_their_scope() {
    let body = |scope: &str| {
        format!(
            "@%p0 atom.{scope}shared::cluster.add.u32 %r8, [%r3], 1;\n@%p1 atom.{scope}shared.add.u32 %r8, [%r2], 1;"
        )
    };
    for scope in ["", "cluster.", "gpu."] {
        silent(run(&format!("{}\n{CLUSTER}", body(scope))));
    }
    assert_eq!(race(&body("cta.")).ctas(), [(Atomic, 0), (Atomic, 1)]);
}

/// What a launch says under some schedule: the kind of its fault, if any.
fn said(body: &str, schedule: Schedule) -> Option<FaultKind> {
    let module = Module::parse(&text(body)).expect("parses");
    let options = LaunchOptions { schedule, ..LaunchOptions::default() };
    match module.launch_with("k", &config(), &[], &mut Memory::new(), &options) {
        Ok(_) => None,
        Err(LaunchError::Fault(fault)) => Some(fault.kind),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_cta_that_leaves_too_early() {
    let load = |who: &str| format!("@%{who} ld.shared::cluster.u32 %r8, [%r3];\n");
    for reader in ["p0", "p1"] {
        let (mut late, mut early) = (0, 0);
        for seed in 0..20 {
            let schedule = Schedule::Shuffled { seed };
            assert_eq!(said(&format!("{}{CLUSTER}", load(reader)), schedule), None);
            match said(&load(reader), schedule).expect("nothing keeps the owner") {
                FaultKind::InvalidAccess { access, reason } => {
                    assert_eq!(access.kind, Load);
                    assert!(reason.contains("has exited"), "{reason}");
                    late += 1;
                }
                FaultKind::EarlyExit { access } => {
                    assert_eq!((access.kind, access.thread), (Load, [0; 3]));
                    assert_eq!(format!("p{}", access.cta[0] % 2), reader);
                    assert_eq!(access.instruction, load(reader).trim_end_matches(";\n"));
                    early += 1;
                }
                other => panic!("{other}"),
            }
        }
        // Both happen; which does is the schedule's choice.
        assert!(late > 0 && early > 0, "{late} and {early}");
    }
    // Whoever runs first reads in time here, and is still told.
    let Some(FaultKind::EarlyExit { .. }) = said(&load("p0"), Schedule::InOrder) else { panic!("not found") };
}
