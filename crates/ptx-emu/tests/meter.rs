//! The counters, against patterns counted by hand.

#[allow(dead_code, reason = "shared with tests that use other parts of it")]
mod common;

use common::program;
use ptx_emu::{InstructionClass, LaunchConfig, LaunchOptions, LaunchReport, Memory, Module, SharedTraffic, Traffic};

/// Runs a body in which `%r0` is the thread's index in the grid, `%r1` its lane, `%rd0` and `%rd1` are
/// two allocations of 64 KiB, `%r2` is the start of 32 KiB of shared memory in which every word that
/// the body loads must have been written.
fn run(config: &LaunchConfig, body: &str) -> LaunchReport {
    let text = format!(
        ".shared .align 16 .b8 s[32768];\nld.param.u64 %rd0, [in];\nld.param.u64 %rd1, [out];\n\
         mov.u32 %r0, %ctaid.x;\nmov.u32 %r1, %ntid.x;\nmul.lo.u32 %r0, %r0, %r1;\nmov.u32 %r1, %tid.x;\n\
         add.u32 %r0, %r0, %r1;\nmov.u32 %r1, %laneid;\nmov.u32 %r2, s;\n{body}"
    );
    let text = program(".param .u64 in, .param .u64 out", &text);
    let module = Module::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut memory = Memory::new();
    let [input, output] = ["in", "out"].map(|name| {
        let address = memory.allocate(name, 1 << 16);
        memory.write(address, &[0; 1 << 16]).expect("inside");
        address
    });
    let options = LaunchOptions { distinct_bytes: true, ..LaunchOptions::default() };
    let args: [&[u8]; 2] = [&input.to_le_bytes(), &output.to_le_bytes()];
    module.launch_with("k", config, &args, &mut memory, &options).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// `%rd2` = `%rd<base>` + `%r0` · stride.
fn address(base: u32, stride: u32) -> String {
    format!("mul.wide.u32 %rd2, %r0, {stride};\nadd.u64 %rd2, %rd2, %rd{base};\n")
}

/// `%r3` = shared memory + lane · stride.
fn shared(stride: u32) -> String {
    format!("mad.lo.u32 %r3, %r1, {stride}, %r2;\n")
}

const WARP: LaunchConfig =
    LaunchConfig { grid: [1, 1, 1], block: [32, 1, 1], cluster: [1, 1, 1], dynamic_shared_bytes: 0 };

#[test]
fn words_side_by_side_are_ideal() {
    let report = run(&LaunchConfig::linear(2, 64), &format!("{}ld.global.u32 %r3, [%rd2];", address(0, 4)));
    let wanted = Traffic {
        requests: 4,
        bytes: 512,
        sectors: 16,
        ideal_sectors: 16,
        accesses_by_width: [0, 0, 128, 0, 0],
        distinct_bytes: Some(512),
    };
    assert_eq!(report.global_loads, wanted);
    assert_eq!(report.global_stores, Traffic { distinct_bytes: Some(0), ..Traffic::default() });
}

#[test]
fn every_other_word_touches_twice_the_sectors() {
    let report = run(&WARP, &format!("{}st.global.u32 [%rd2], 1;", address(1, 8)));
    let traffic = report.global_stores;
    assert_eq!((traffic.sectors, traffic.ideal_sectors, traffic.bytes), (8, 4, 128));
    assert_eq!(traffic.distinct_bytes, Some(128));
}

#[test]
fn vectors_of_sixteen_bytes() {
    let body = format!("{}ld.global.v4.u32 {{%r3, %r4, %r5, %r6}}, [%rd2];", address(0, 16));
    let traffic = run(&WARP, &body).global_loads;
    assert_eq!((traffic.requests, traffic.sectors, traffic.ideal_sectors), (1, 16, 16));
    assert_eq!(traffic.accesses_by_width, [0, 0, 0, 0, 32]);
    // Eight bytes off, as `ld.v2` allows: one sector more at either end than needed.
    let body = format!("{}ld.global.v2.u32 {{%r3, %r4}}, [%rd2+8];", address(0, 8));
    let traffic = run(&WARP, &body).global_loads;
    assert_eq!((traffic.sectors, traffic.ideal_sectors), (9, 8));
    assert_eq!(traffic.accesses_by_width, [0, 0, 0, 32, 0]);
}

#[test]
fn bytes_that_all_ask_for_count_once() {
    // Four CTAs read the same 128 words, and write a word of their own for every thread.
    let body = format!(
        "mov.u32 %r4, %tid.x;\nmul.wide.u32 %rd3, %r4, 4;\nadd.u64 %rd3, %rd3, %rd0;\nld.global.u32 %r3, [%rd3];\n\
         ld.global.u16 %h0, [%rd0+2];\n{}st.global.u32 [%rd2], %r3;\nst.global.u32 [%rd2], %r3;",
        address(1, 4)
    );
    let report = run(&LaunchConfig::linear(4, 128), &body);
    assert_eq!(report.global_loads.bytes, 4 * 128 * 4 + 4 * 128 * 2);
    assert_eq!(report.global_loads.distinct_bytes, Some(512));
    // Of the two loads of a warp, one has four sectors and the other, a broadcast, has one.
    assert_eq!((report.global_loads.sectors, report.global_loads.ideal_sectors), (16 * 5, 16 * 5));
    assert_eq!(report.global_loads.accesses_by_width, [0, 512, 512, 0, 0]);
    assert_eq!((report.global_stores.bytes, report.global_stores.distinct_bytes), (4096, Some(2048)));
}

#[test]
fn generic_accesses_and_atomics_are_traffic_too() {
    let body = format!("{}ld.u32 %r3, [%rd2];\nred.global.add.u32 [%rd1+4], 1;", address(0, 4));
    let report = run(&WARP, &body);
    assert_eq!((report.global_loads.sectors, report.global_loads.distinct_bytes), (4, Some(128)));
    assert_eq!((report.global_atomics.sectors, report.global_atomics.distinct_bytes), (1, Some(4)));
    assert_eq!(report.global_stores.requests, 0);
}

#[test]
fn distinct_bytes_are_counted_where_asked_for() {
    let text = program(".param .u64 in", "ld.param.u64 %rd0, [in];\nld.global.u32 %r0, [%rd0];");
    let module = Module::parse(&text).expect("parses");
    let mut memory = Memory::new();
    let input = memory.allocate("in", 4);
    memory.write(input, &[0; 4]).expect("inside");
    let report = module.launch("k", &WARP, &[&input.to_le_bytes()], &mut memory).expect("runs");
    assert_eq!((report.global_loads.bytes, report.global_loads.distinct_bytes), (128, None));
}

/// Stores and loads of `%r4` (or a vector) at lane · stride.
fn through_shared(stride: u32, kind: &str, value: &str) -> (SharedTraffic, SharedTraffic) {
    let body = format!(
        "{}st.shared.{kind} [%r3], {value};\nbar.warp.sync -1;\nld.shared.{kind} {value}, [%r3];",
        shared(stride)
    );
    let report = run(&WARP, &body);
    (report.shared_stores, report.shared_loads)
}

#[test]
fn shared_memory_is_served_bank_by_bank() {
    let traffic = |bytes, wavefronts, bank_conflicts| SharedTraffic { requests: 1, bytes, wavefronts, bank_conflicts };
    let both = |traffic| (traffic, traffic);
    assert_eq!(through_shared(4, "u32", "%r4"), both(traffic(128, 1, 0)));
    assert_eq!(through_shared(8, "u32", "%r4"), both(traffic(128, 2, 1)));
    // Structures of five words: an odd stride.
    assert_eq!(through_shared(20, "u32", "%r4"), both(traffic(128, 1, 0)));
    assert_eq!(through_shared(128, "u32", "%r4"), both(traffic(128, 32, 31)));
    // The same column with rows padded by a word.
    assert_eq!(through_shared(132, "u32", "%r4"), both(traffic(128, 1, 0)));
    assert_eq!(through_shared(8, "v2.u32", "{%r4, %r5}"), both(traffic(256, 2, 0)));
    assert_eq!(through_shared(16, "v4.u32", "{%r4, %r5, %r6, %r7}"), both(traffic(512, 4, 0)));
    assert_eq!(through_shared(32, "v4.u32", "{%r4, %r5, %r6, %r7}"), both(traffic(512, 8, 4)));
    assert_eq!(through_shared(2, "u16", "%h0"), both(traffic(64, 1, 0)));
    // One lane writes a word that all read.
    let body =
        "setp.eq.u32 %p0, %r1, 9;\n@%p0 st.shared.u32 [%r2+64], 1;\nbar.warp.sync -1;\nld.shared.u32 %r4, [%r2+64];";
    let report = run(&WARP, body);
    assert_eq!((report.shared_stores, report.shared_loads), (traffic(4, 1, 0), traffic(128, 1, 0)));
}

#[test]
fn the_cluster_is_not_the_own_memory() {
    // Every CTA writes its own word, then reads that of the other CTA, 256 bytes apart each lane.
    let body = format!(
        "{}st.shared.u32 [%r3], %r0;\nbarrier.cluster.arrive;\nbarrier.cluster.wait;\n\
         mov.u32 %r4, %cluster_ctarank;\nxor.b32 %r4, %r4, 1;\nmapa.shared::cluster.u32 %r5, %r3, %r4;\n\
         ld.shared::cluster.u32 %r6, [%r5];\nbarrier.cluster.arrive;\nbarrier.cluster.wait;",
        shared(256)
    );
    let config = LaunchConfig { grid: [2, 1, 1], cluster: [2, 1, 1], ..WARP };
    let report = run(&config, &body);
    assert_eq!((report.shared_stores.requests, report.shared_stores.bank_conflicts), (2, 62));
    assert_eq!((report.shared_loads, report.cluster_accesses), (SharedTraffic::default(), 2));
}

#[test]
fn every_instruction_has_one_class() {
    use InstructionClass::*;
    // Each by one thread, beside what `run` puts before it (two loads of parameters; seven moves and
    // integers) and the `ret` after it.
    let cases: [(InstructionClass, u64, &str); 9] = [
        (
            GlobalMemory,
            5,
            "ld.global.u8 %r3, [%rd0];\nst.global.f32 [%rd0], 0f3F800000;\nprefetch.global.L2 [%rd0];\n\
                           atom.global.add.u32 %r4, [%rd0], 1;\nred.global.add.f32 [%rd0], 0f3F800000;",
        ),
        (SharedMemory, 3, "st.shared.u32 [%r2], 1;\nld.shared.f32 %f0, [%r2];\natom.shared.add.u32 %r3, [%r2], 1;"),
        (OtherMemory, 2, "ld.param.u32 %r3, [in];\nld.u32 %r4, [%rd0];"),
        (
            Float,
            9,
            "add.f32 %f0, %f1, %f2;\nfma.rn.f32 %f0, %f0, %f1, %f2;\nmul.f64 %fd0, %fd0, %fd1;\n\
                    rsqrt.approx.f32 %f1, %f0;\nmax.f32 %f0, %f0, %f1;\nadd.rn.bf16x2 %r3, %r3, %r4;\n\
                    neg.f32 %f0, %f0;\ndiv.rn.f32 %f0, %f0, %f1;\nfma.rn.f16 %h0, %h0, %h1, %h2;",
        ),
        (Conversion, 3, "cvt.rn.f16.f32 %h0, %f0;\ncvt.u32.u16 %r3, %h0;\ncvt.rzi.s32.f32 %r3, %f0;"),
        (
            Integer,
            9,
            "add.u32 %r3, %r3, %r4;\nlop3.b32 %r3, %r3, %r4, %r5, 0x96;\nsetp.lt.f32 %p0, %f0, %f1;\n\
                      selp.f32 %f0, %f0, %f1, %p0;\nmov.f32 %f0, %f1;\nshl.b32 %r3, %r3, 2;\n\
                      cvta.to.global.u64 %rd3, %rd0;\nmad.wide.u32 %rd3, %r3, %r4, %rd0;\nprmt.b32 %r3, %r4, %r5, 0;",
        ),
        (Control, 3, "bra.uni next;\nnext:\nnanosleep.u32 1;\ngriddepcontrol.wait;"),
        (
            Exchange,
            4,
            "shfl.sync.idx.b32 %r3, %r1, 0, 31, 1;\nvote.sync.ballot.b32 %r3, %p0, 1;\n\
                       redux.sync.add.s32 %r3, %r1, 1;\nactivemask.b32 %r3;",
        ),
        (Barrier, 4, "bar.sync 0;\nbar.warp.sync 1;\nmembar.cta;\nfence.acq_rel.gpu;"),
    ];
    let surroundings = |class| match class {
        OtherMemory => 2,
        Integer => 7,
        Control => 1,
        _ => 0,
    };
    for (class, count, body) in cases {
        let report = run(&LaunchConfig::linear(1, 1), body);
        for other in InstructionClass::ALL {
            let wanted = surroundings(other) + if other == class { count } else { 0 };
            assert_eq!(report.instructions[other].thread, wanted, "{other:?} in {class:?}");
            assert_eq!(report.instructions[other].warp, wanted, "{other:?} in {class:?}");
        }
    }
}

#[test]
fn classes_add_up_in_threads_and_in_warps() {
    // Of 40 threads, the first five take a path of their own, with one addition.
    let body = "setp.ge.u32 %p0, %r0, 5;\n@%p0 bra done;\nadd.f32 %f0, %f0, %f1;\ndone:\n@!%p0 mul.f32 %f0, %f0, %f0;";
    let report = run(&LaunchConfig::linear(1, 40), body);
    let float = report.instructions[InstructionClass::Float];
    // The second warp goes around the addition, and passes the multiplication with no lane active.
    assert_eq!((float.thread, float.warp), (5 + 5, 1 + 2));
    let all = InstructionClass::ALL.map(|class| report.instructions[class]);
    assert_eq!(all.iter().map(|count| count.thread).sum::<u64>(), report.thread_instructions);
    assert_eq!(all.iter().map(|count| count.warp).sum::<u64>(), report.warp_instructions);
}
