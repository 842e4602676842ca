//! Reads of memory that nothing has written: each planted fault is found, and its corrected twin
//! runs.

mod common;

use common::{launch, program};
use ptx_emu::{Access, AccessKind, Fault, FaultKind, LaunchConfig, LaunchError, LaunchReport, Memory, Space};

struct Uninitialised {
    fault: Fault,
    access: Access,
    byte: u64,
    name: String,
    offset: u64,
}

fn uninitialised(result: Result<LaunchReport, LaunchError>) -> Uninitialised {
    let Err(LaunchError::Fault(fault)) = result else { panic!("a fault is wanted, not {result:?}") };
    match fault.kind.clone() {
        FaultKind::Uninitialised { access, byte, name, offset } => {
            Uninitialised { fault: *fault, access, byte, name, offset }
        }
        _ => panic!("{fault}"),
    }
}

/// The line of the PTX text that holds `instruction`.
fn line_of(text: &str, instruction: &str) -> u32 {
    text.lines().position(|line| line.contains(instruction)).expect("the text holds it") as u32 + 1
}

/// Thread i of 64 does `access` at `data + 4 * i`, `data` being 256 bytes of
/// which the host has written the first `written`.
fn on_data(access: &str, written: usize) -> (String, u64, Result<LaunchReport, LaunchError>) {
    let body = format!(
        "ld.param.u64 %rd0, [data];\ncvta.to.global.u64 %rd0, %rd0;\nmov.u32 %r0, %tid.x;\n\
         mul.wide.u32 %rd1, %r0, 4;\nadd.s64 %rd0, %rd0, %rd1;\n.loc 1 31 0\n{access}"
    );
    let text = program(".param .u64 data", &body) + ".file 1 \"kernel.cu\"\n";
    let mut memory = Memory::new();
    let data = memory.allocate("data", 256);
    memory.write(data, &vec![1; written]).expect("inside");
    let result = launch(&text, &LaunchConfig::linear(1, 64), &[&data.to_le_bytes()], &mut memory);
    (text, data, result)
}

#[test]
fn global_loads() {
    for access in ["ld.global.u32 %r1, [%rd0];", "ld.u32 %r1, [%rd0];"] {
        on_data(access, 256).2.expect("every byte was written");
        // The host has written one byte of thread 40's word.
        let (text, data, result) = on_data(access, 161);
        let found = uninitialised(result);
        assert_eq!((found.name.as_str(), found.offset, found.byte), ("data", 161, data + 161));
        let wanted = Access { space: Space::Global, kind: AccessKind::Load, address: data + 160, bytes: 4 };
        assert_eq!(found.access, wanted);
        assert_eq!((found.fault.cta, found.fault.thread), ([0; 3], [40, 0, 0]));
        assert_eq!(found.fault.ptx_line, line_of(&text, access));
        assert_eq!(found.fault.source.as_ref().map(|source| source.line), Some(31));
        let message = found.fault.to_string();
        assert!(message.contains("byte 161 of `data`") && message.contains("kernel.cu:31"), "{message}");
    }
}

#[test]
fn what_the_kernel_stores_can_be_read() {
    on_data("st.global.u32 [%rd0], %r0;\nld.global.u32 %r1, [%rd0];", 0).2.expect("stored before");
    on_data("st.u16 [%rd0+2], %r0;\nst.global.u16 [%rd0], %r0;\nld.u32 %r1, [%rd0];", 0).2.expect("in halves");
    let (text, _, result) = on_data("st.global.u16 [%rd0], %r0;\nld.global.u32 %r1, [%rd0];", 0);
    let found = uninitialised(result);
    assert_eq!((found.offset, found.fault.thread), (2, [0; 3]));
    assert_eq!(found.fault.ptx_line, line_of(&text, "ld.global.u32"));
    // Only odd lanes store.
    let odd = "and.b32 %r2, %r0, 1;\nsetp.eq.u32 %p0, %r2, 1;\n@%p0 st.global.u32 [%rd0], %r0;\n";
    on_data(&format!("{odd}@%p0 ld.global.u32 %r1, [%rd0];"), 0).2.expect("those that stored");
    let found = uninitialised(on_data(&format!("{odd}ld.global.u32 %r1, [%rd0];"), 4).2);
    assert_eq!((found.offset, found.fault.thread), (8, [2, 0, 0]));
}

#[test]
fn atomics_read() {
    for atomic in ["red.global.add.u32 [%rd0], 1;", "atom.global.exch.b32 %r1, [%rd0], 1;"] {
        on_data(atomic, 256).2.expect("every byte was written");
        let found = uninitialised(on_data(atomic, 128).2);
        assert_eq!((found.access.kind, found.offset), (AccessKind::Atomic, 128));
        assert_eq!(found.fault.thread, [32, 0, 0]);
    }
}

/// Runs a body without parameters in two CTAs of 64 threads with 64 bytes of dynamic shared
/// memory.
fn run(body: &str) -> (String, Result<LaunchReport, LaunchError>) {
    let config = LaunchConfig { dynamic_shared_bytes: 64, ..LaunchConfig::linear(2, 64) };
    let text = program("", body);
    let result = launch(&text, &config, &[], &mut Memory::new());
    (text, result)
}

#[test]
fn shared_memory() {
    let body = |limit: u32| {
        format!(
            ".shared .align 4 .b8 s[256];\nmov.u32 %r0, %tid.x;\nshl.b32 %r1, %r0, 2;\nmov.u32 %r2, s;\n\
             add.u32 %r1, %r1, %r2;\nsetp.lt.u32 %p0, %r0, {limit};\n@%p0 st.shared.u32 [%r1], %r0;\n\
             bar.sync 0;\nld.shared.u32 %r3, [%r1];"
        )
    };
    run(&body(64)).1.expect("every thread has stored");
    let (text, result) = run(&body(63));
    let found = uninitialised(result);
    let wanted = Access { space: Space::Shared, kind: AccessKind::Load, address: 252, bytes: 4 };
    assert_eq!((found.access, found.byte, found.offset), (wanted, 252, 252));
    assert_eq!(found.name, "shared memory");
    assert_eq!((found.fault.thread, found.fault.ptx_line), ([63, 0, 0], line_of(&text, "ld.shared")));
}

#[test]
fn shared_memory_does_not_outlive_its_cta() {
    let body = |which: u32| {
        format!(
            ".shared .align 4 .b8 s[4];\nmov.u32 %r0, %tid.x;\nmov.u32 %r1, %ctaid.x;\n\
             setp.ge.u32 %p0, %r1, {which};\n@%p0 bra read;\nst.shared.u32 [s], 7;\nread:\nbar.sync 0;\n\
             ld.shared.u32 %r2, [s];"
        )
    };
    run(&body(2)).1.expect("both CTAs store");
    let found = uninitialised(run(&body(1)).1);
    assert_eq!((found.fault.cta, found.offset), ([1, 0, 0], 0));
    // Both warps read; either may come first.
    assert_eq!(found.fault.thread[0] % 32, 0);
}

#[test]
fn local_memory() {
    let body = |offset: u32| {
        format!(
            ".local .align 8 .b8 depot[16];\nmov.u64 %rd0, depot;\nmov.u32 %r0, %tid.x;\n\
             setp.ne.u32 %p0, %r0, 5;\nst.local.u64 [%rd0], %rd0;\n@%p0 st.local.u32 [%rd0+8], %r0;\n\
             ld.local.u32 %r1, [%rd0+{offset}];"
        )
    };
    run(&body(4)).1.expect("every thread has stored there");
    // Thread 5 alone has not; its neighbours' frames do not count for it.
    let (text, result) = run(&body(8));
    let found = uninitialised(result);
    assert_eq!((found.access.space, found.access.address), (Space::Local, 8));
    assert_eq!((found.name.as_str(), found.offset, found.byte), ("local memory", 8, 8));
    assert_eq!((found.fault.thread, found.fault.ptx_line), ([5, 0, 0], line_of(&text, "ld.local")));
}

#[test]
fn shared_memory_of_the_neighbour() {
    let body = |store: &str| {
        format!(
            ".shared .align 4 .b8 s[4];\nmov.u32 %r0, s;\nmov.u32 %r3, %cluster_ctarank;\nxor.b32 %r3, %r3, 1;\n\
             mapa.shared::cluster.u32 %r1, %r0, %r3;\n{store}\nbarrier.cluster.arrive;\nbarrier.cluster.wait;\n\
             ld.shared::cluster.u32 %r2, [%r1];\nbarrier.cluster.arrive;\nbarrier.cluster.wait;"
        )
    };
    let run = |store: &str| {
        let config = LaunchConfig { grid: [2, 1, 1], cluster: [2, 1, 1], ..LaunchConfig::linear(2, 32) };
        launch(&program("", &body(store)), &config, &[], &mut Memory::new())
    };
    run("st.shared.u32 [%r0], 7;").expect("both have stored in their own");
    run("st.shared::cluster.u32 [%r1], 7;").expect("both have stored in the other's");
    let found = uninitialised(run("setp.eq.u32 %p0, %r3, 1;\n@%p0 st.shared.u32 [%r0], 7;"));
    assert_eq!((found.name.as_str(), found.offset), ("shared memory of CTA rank 1", 0));
    assert_eq!(found.fault.cta, [0; 3]);
}

#[test]
fn variables_of_a_module_start_as_zero() {
    let text = program(".param .u64 out", "ld.param.u64 %rd0, [out];\nld.global.u32 %r0, [v];\nld.const.u32 %r1, [c];\nadd.u32 %r0, %r0, %r1;\nst.global.u32 [%rd0], %r0;")
        .replace(".visible .entry", ".global .align 4 .u32 v;\n.const .align 4 .u32 c;\n.visible .entry");
    let mut memory = Memory::new();
    let out = memory.allocate("out", 4);
    launch(&text, &LaunchConfig::linear(1, 1), &[&out.to_le_bytes()], &mut memory).expect("zeroes are a value");
    let mut word = [1; 4];
    memory.read(out, &mut word).expect("stored");
    assert_eq!(word, [0; 4]);
}
