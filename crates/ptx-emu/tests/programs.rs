//! Small programs: control flow, exchanges, barriers, state spaces, counters.

mod common;

use common::{launch, program};
use ptx_emu::{LaunchConfig, LaunchReport, Memory, Module};

/// Runs a body in which every thread leaves a word in `%r15`; returns the words.
fn words(body: &str, config: &LaunchConfig) -> (Vec<u32>, LaunchReport) {
    words_of(&body_with_store(body), config)
}

fn body_with_store(body: &str) -> String {
    let body = format!(
        "{body}\nmov.u32 %r20, %ctaid.x;\nmov.u32 %r21, %ntid.x;\nmov.u32 %r22, %tid.x;\n\
         mad.lo.u32 %r20, %r20, %r21, %r22;\nld.param.u64 %rd10, [out];\n\
         mul.wide.u32 %rd11, %r20, 4;\nadd.u64 %rd10, %rd10, %rd11;\nst.global.u32 [%rd10], %r15;"
    );
    program(".param .u64 out", &body)
}

fn words_of(text: &str, config: &LaunchConfig) -> (Vec<u32>, LaunchReport) {
    let count = (config.grid[0] * config.block[0]) as usize;
    let mut memory = Memory::new();
    let out = memory.allocate("out", count * 4);
    let report = launch(text, config, &[&out.to_le_bytes()], &mut memory).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let mut data = vec![0; count * 4];
    memory.read(out, &mut data).expect("inside");
    let words = data.chunks_exact(4).map(|chunk| u32::from_le_bytes(chunk.try_into().expect("4 bytes")));
    (words.collect(), report)
}

const WARP: LaunchConfig =
    LaunchConfig { grid: [1, 1, 1], block: [32, 1, 1], cluster: [1, 1, 1], dynamic_shared_bytes: 0 };

#[test]
fn shuffle_sum_in_segments() {
    // A butterfly over segments of eight lanes, and the predicate of the last shuffle.
    let body = "mov.u32 %r15, %laneid;\n\
                shfl.sync.bfly.b32 %r1, %r15, 1, 0x181f, -1;\nadd.u32 %r15, %r15, %r1;\n\
                shfl.sync.bfly.b32 %r1, %r15, 2, 0x181f, -1;\nadd.u32 %r15, %r15, %r1;\n\
                shfl.sync.bfly.b32 %r1|%p0, %r15, 4, 0x181f, -1;\n@%p0 add.u32 %r15, %r15, %r1;";
    let (got, report) = words(body, &WARP);
    let wanted: Vec<u32> = (0..32).map(|lane: u32| (lane / 8 * 8..lane / 8 * 8 + 8).sum()).collect();
    assert_eq!(got, wanted);
    assert_eq!(report.warp_exchanges, 3);
}

#[test]
fn shuffles_with_their_own_masks() {
    // The two halves of the warp execute the same instruction with different member masks.
    let body = "mov.u32 %r0, %laneid;\nsetp.lt.u32 %p0, %r0, 16;\nselp.b32 %r1, 0xffff, 0xffff0000, %p0;\n\
                shfl.sync.idx.b32 %r15, %r0, 5, 0x101f, %r1;";
    let (got, _) = words(body, &WARP);
    assert_eq!(got, (0..32).map(|lane| lane / 16 * 16 + 5).collect::<Vec<u32>>());
}

#[test]
fn lanes_wait_for_each_other() {
    // Odd lanes take a long way round to the same shuffle.
    let body = "mov.u32 %r0, %laneid;\nmov.u32 %r2, %r0;\nand.b32 %r1, %r0, 1;\nsetp.eq.u32 %p0, %r1, 0;\n\
                @%p0 bra meet;\nmov.u32 %r3, 0;\nround:\nadd.u32 %r3, %r3, 1;\nadd.u32 %r2, %r2, 100;\n\
                setp.lt.u32 %p1, %r3, %r0;\n@%p1 bra round;\nmeet:\n\
                shfl.sync.down.b32 %r15, %r2, 1, 31, -1;";
    let (got, _) = words(body, &WARP);
    let value = |lane: u32| if lane.is_multiple_of(2) { lane } else { lane * 101 };
    assert_eq!(got, (0..32).map(|lane| value((lane + 1).min(31))).collect::<Vec<u32>>());
}

#[test]
fn spinning_lanes_do_not_starve_the_others() {
    // Lane 0 spins, at the lower address, until lane 1 sets the flag.
    let body = ".shared .align 4 .b8 flag[4];\nmov.u32 %r0, %laneid;\nst.shared.u32 [flag], 0;\n\
                bar.sync 0;\nsetp.eq.u32 %p0, %r0, 1;\n@%p0 bra setter;\nspin:\n\
                ld.volatile.shared.u32 %r15, [flag];\nsetp.eq.u32 %p1, %r15, 0;\n@%p1 bra spin;\n\
                bra.uni done;\nsetter:\nst.volatile.shared.u32 [flag], 9;\nmov.u32 %r15, 9;\ndone:";
    let (got, _) = words(body, &LaunchConfig::linear(1, 2));
    assert_eq!(got, [9, 9]);
}

#[test]
fn votes_matches_and_reductions() {
    let run = |body: &str| words(body, &WARP).0;
    let ballot = "mov.u32 %r0, %laneid;\nsetp.gt.u32 %p0, %r0, 20;\nvote.sync.ballot.b32 %r15, %p0, -1;";
    assert_eq!(run(ballot), [0xffe0_0000; 32]);
    let any = "mov.u32 %r0, %laneid;\nsetp.eq.u32 %p0, %r0, 7;\nvote.sync.any.pred %p1, %p0, -1;\n\
               vote.sync.all.pred %p2, !%p0, -1;\nvote.sync.uni.pred %p3, %p0, -1;\n\
               selp.u32 %r1, 1, 0, %p1;\nselp.u32 %r2, 2, 0, %p2;\nselp.u32 %r3, 4, 0, %p3;\n\
               or.b32 %r15, %r1, %r2;\nor.b32 %r15, %r15, %r3;";
    assert_eq!(run(any), [1; 32]);
    let matched = "mov.u32 %r0, %laneid;\nand.b32 %r0, %r0, 3;\nmatch.any.sync.b32 %r15, %r0, -1;";
    assert_eq!(run(matched), (0..32).map(|lane| 0x1111_1111 << (lane & 3)).collect::<Vec<u32>>());
    let all = "match.all.sync.b32 %r15|%p0, 5, -1;\n@!%p0 mov.u32 %r15, 0;";
    assert_eq!(run(all), [u32::MAX; 32]);
    let sum = "mov.u32 %r0, %laneid;\nredux.sync.add.s32 %r15, %r0, -1;";
    assert_eq!(run(sum), [496; 32]);
    let active = "mov.u32 %r0, %laneid;\nsetp.lt.u32 %p0, %r0, 4;\nmov.u32 %r15, 0;\n@!%p0 bra done;\n\
                  activemask.b32 %r15;\ndone:";
    assert_eq!(run(active), (0..32).map(|lane| if lane < 4 { 15 } else { 0 }).collect::<Vec<u32>>());
}

#[test]
fn barriers_of_a_cta() {
    // Every thread reads what the last thread wrote before the barrier.
    let body = ".shared .align 4 .b8 s[384];\nmov.u32 %r0, %tid.x;\nshl.b32 %r1, %r0, 2;\nmov.u32 %r2, s;\n\
                add.u32 %r1, %r1, %r2;\nst.shared.u32 [%r1], %r0;\nbar.sync 0;\nmov.u32 %r3, %ntid.x;\n\
                sub.u32 %r3, %r3, 1;\nsub.u32 %r3, %r3, %r0;\nshl.b32 %r3, %r3, 2;\nadd.u32 %r3, %r3, %r2;\n\
                ld.shared.u32 %r15, [%r3];";
    let (got, report) = words(body, &LaunchConfig::linear(2, 96));
    let one: Vec<u32> = (0..96).rev().collect();
    assert_eq!(got, [one.clone(), one].concat());
    assert_eq!((report.cta_barriers, report.shared_stores.requests, report.shared_loads.requests), (2, 6, 6));
    // One warp only arrives, the other waits.
    let arrive = "mov.u32 %r0, %tid.x;\nmov.u32 %r15, 1;\nsetp.lt.u32 %p0, %r0, 32;\n@%p0 bra wait;\n\
                  bar.arrive 3, 64;\nbra.uni done;\nwait:\nbar.sync 3, 64;\nmov.u32 %r15, 2;\ndone:";
    assert_eq!(words(arrive, &LaunchConfig::linear(1, 64)).0, [[2; 32], [1; 32]].concat());
    let count = "mov.u32 %r0, %tid.x;\nsetp.lt.u32 %p0, %r0, 40;\nbar.red.popc.u32 %r15, 0, %p0;\n\
                 bar.red.and.pred %p1, 1, %p0;\nbar.red.or.pred %p2, 1, %p0;\n@%p1 add.u32 %r15, %r15, 100;\n\
                 @%p2 add.u32 %r15, %r15, 1000;";
    assert_eq!(words(count, &LaunchConfig::linear(1, 64)).0, [1040; 64]);
}

#[test]
fn indexed_branches() {
    let body = "mov.u32 %r0, %laneid;\nand.b32 %r0, %r0, 3;\nts: .branchtargets a, b, a, c;\n\
                brx.idx %r0, ts;\na:\nmov.u32 %r15, 10;\nbra.uni done;\nb:\nmov.u32 %r15, 20;\nbra.uni done;\n\
                c:\nmov.u32 %r15, 30;\ndone:";
    let wanted = [10, 20, 10, 30].repeat(8);
    assert_eq!(words(body, &WARP).0, wanted);
}

#[test]
fn special_registers() {
    let body = "mov.u32 %r0, %tid.x;\nmov.u32 %r1, %tid.y;\nmov.u32 %r2, %tid.z;\nmov.u32 %r3, %ntid.y;\n\
                mad.lo.u32 %r15, %r2, %r3, %r1;\nmov.u32 %r3, %ntid.x;\nmad.lo.u32 %r15, %r15, %r3, %r0;\n\
                mov.u32 %r4, %warpid;\nshl.b32 %r4, %r4, 5;\nmov.u32 %r5, %laneid;\nadd.u32 %r4, %r4, %r5;\n\
                sub.u32 %r15, %r15, %r4;\nld.param.u64 %rd0, [out];\nmul.wide.u32 %rd1, %r4, 4;\n\
                add.u64 %rd0, %rd0, %rd1;\nst.global.u32 [%rd0], %r15;";
    let mut memory = Memory::new();
    let out = memory.allocate("out", 60 * 4);
    let config = LaunchConfig { block: [5, 4, 3], ..WARP };
    launch(&program(".param .u64 out", body), &config, &[&out.to_le_bytes()], &mut memory).expect("runs");
    let mut data = vec![1; 240];
    memory.read(out, &mut data).expect("inside");
    // The linear thread index from %tid equals 32 · %warpid + %laneid.
    assert_eq!(data, vec![0; 240]);
    let masks = "mov.u32 %r0, %lanemask_lt;\nmov.u32 %r1, %lanemask_ge;\nxor.b32 %r15, %r0, %r1;\n\
                 mov.u32 %r2, %lanemask_eq;\nmov.u32 %r3, %lanemask_le;\nand.b32 %r2, %r2, %r3;\n\
                 mov.u32 %r4, %lanemask_gt;\nand.b32 %r4, %r4, %r3;\nadd.u32 %r15, %r15, 1;\nor.b32 %r15, %r15, %r2;\n\
                 or.b32 %r15, %r15, %r4;";
    assert_eq!(words(masks, &WARP).0, (0..32).map(|lane| 1 << lane).collect::<Vec<u32>>());
    let cluster = "mov.u32 %r0, %cluster_ctarank;\nmov.u32 %r1, %clusterid.x;\nmov.u32 %r2, %cluster_nctarank;\n\
                   mad.lo.u32 %r15, %r1, %r2, %r0;";
    let config = LaunchConfig { grid: [6, 1, 1], block: [1, 1, 1], cluster: [3, 1, 1], dynamic_shared_bytes: 0 };
    assert_eq!(words(cluster, &config).0, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn atomics() {
    let body = "ld.param.u64 %rd0, [out];\nmov.u32 %r0, %tid.x;\natom.shared.add.u32 %r15, [s], 2;\n\
                red.shared.max.s32 [s+4], %r0;\natom.shared.cas.b32 %r1, [s+8], 0, 7;\n\
                atom.shared.inc.u32 %r2, [s+12], 9;\nbar.sync 0;\nld.shared.v4.u32 {%r3, %r4, %r5, %r6}, [s];\n\
                setp.eq.u32 %p0, %r0, 0;\n@%p0 add.u32 %r15, %r3, %r4;\n@%p0 add.u32 %r15, %r15, %r5;\n\
                @%p0 add.u32 %r15, %r15, %r6;";
    let zeroed = format!(".shared .align 16 .b8 s[16];\nst.shared.v4.u32 [s], {{0, 0, 0, 0}};\nbar.sync 0;\n{body}");
    let (got, report) = words(&zeroed, &LaunchConfig::linear(1, 64));
    // Sum 128, maximum 63, swapped 7, and 64 increments modulo 10.
    assert_eq!(got[0], 128 + 63 + 7 + 4);
    // Every thread but the first still holds the sum it found: all different, in whatever order.
    let mut olds = got[1..].to_vec();
    olds.sort_unstable();
    olds.dedup();
    assert_eq!(olds.len(), 63);
    assert!(olds.iter().all(|old| old.is_multiple_of(2) && *old < 128));
    assert_eq!(report.shared_atomics.requests, 8);
    let float = "ld.param.u64 %rd0, [out];\nmov.u32 %r0, %tid.x;\nsetp.eq.u32 %p0, %r0, 0;\n\
                 @%p0 st.global.f32 [%rd0], 0f3F800000;\nbar.sync 0;\nred.global.add.f32 [%rd0], 0f3F000000;\n\
                 bar.sync 0;\nld.global.u32 %r15, [%rd0];\nbar.sync 0;";
    let (got, report) = words(float, &LaunchConfig::linear(1, 64));
    assert_eq!(got[5], 33f32.to_bits());
    assert_eq!((report.global_atomics.requests, report.global_atomics.sectors), (2, 2));
}

#[test]
fn generic_addresses_and_constants() {
    let text = ".version 8.2\n.target sm_75\n.address_size 64\n\
        .const .align 4 .b8 table[8] = {1, 0, 0, 0, 2, 1};\n\
        .global .align 4 .u32 counter = 40;\n.global .align 8 .u64 where = generic(counter);\n\
        .visible .entry k(.param .u64 out)\n{\n.reg .b32 %r<8>;\n.reg .b64 %rd<10>;\n\
        .local .align 4 .b8 depot[8];\n.shared .align 4 .b8 s[8];\n\
        ld.param.u64 %rd0, [out];\nld.const.u32 %r0, [table+4];\n\
        mov.u64 %rd1, table;\ncvta.const.u64 %rd1, %rd1;\nld.u32 %r1, [%rd1];\nadd.u32 %r0, %r0, %r1;\n\
        mov.u64 %rd2, depot;\ncvta.local.u64 %rd3, %rd2;\nst.u32 [%rd3+4], %r0;\nld.local.u32 %r2, [%rd2+4];\n\
        mov.u64 %rd4, s;\ncvta.shared.u64 %rd5, %rd4;\nst.u32 [%rd5], %r2;\nld.shared.u32 %r3, [s];\n\
        ld.global.u64 %rd6, [where];\nld.u32 %r4, [%rd6];\nadd.u32 %r4, %r4, 1;\nst.global.u32 [counter], %r4;\n\
        add.u32 %r3, %r3, %r4;\nst.global.u32 [%rd0], %r3;\nret;\n}\n";
    let module = Module::parse(text).expect("parses");
    let mut memory = Memory::new();
    let out = memory.allocate("out", 4);
    // The variable keeps its value from launch to launch in one memory.
    for counter in [41, 42] {
        module.launch("k", &LaunchConfig::linear(1, 1), &[&out.to_le_bytes()], &mut memory).expect("runs");
        let mut word = [0; 4];
        memory.read(out, &mut word).expect("inside");
        assert_eq!(u32::from_le_bytes(word), 258 + 1 + counter);
    }
    assert_eq!((module.isa(), module.target()), ((8, 2), "sm_75"));
    assert_eq!(module.kernels().collect::<Vec<_>>(), ["k"]);
}

#[test]
fn traffic_is_counted() {
    // 32 lanes load 16 bytes each at a stride of 16 from an address 8 bytes off: the stores of
    // four bytes each touch five sectors.
    let body = "ld.param.u64 %rd0, [in];\nmov.u32 %r0, %laneid;\nmul.wide.u32 %rd1, %r0, 16;\n\
                add.u64 %rd2, %rd0, %rd1;\nld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd2];\n\
                mul.wide.u32 %rd3, %r0, 4;\nld.param.u64 %rd4, [out];\nadd.u64 %rd4, %rd4, %rd3;\n\
                st.global.u32 [%rd4], %r1;\nsetp.lt.u32 %p0, %r0, 3;\n@%p0 ld.global.u16 %h0, [%rd4];";
    let mut memory = Memory::new();
    let input = memory.allocate("in", 512);
    memory.write(input, &[0; 512]).expect("inside");
    let out = memory.allocate_misaligned("out", 128, 8);
    let text = program(".param .u64 in, .param .u64 out", body);
    let report = launch(&text, &WARP, &[&input.to_le_bytes(), &out.to_le_bytes()], &mut memory).expect("runs");
    assert_eq!(report.global_loads.requests, 2);
    assert_eq!(report.global_loads.bytes, 512 + 6);
    assert_eq!(report.global_loads.sectors, 16 + 1);
    assert_eq!((report.global_stores.bytes, report.global_stores.sectors), (128, 5));
    // Eleven instructions and `ret` for all lanes, one for three of them.
    assert_eq!(report.warp_instructions, 12);
    assert_eq!(report.thread_instructions, 11 * 32 + 3);
}

#[test]
fn hints_and_fences_change_nothing() {
    let body = "ld.param.u64 %rd0, [out];\ncreatepolicy.fractional.L2::evict_first.b64 %rd1, 1.0;\n\
                griddepcontrol.wait;\nprefetch.global.L2 [%rd0];\n.pragma \"nounroll\";\n\
                st.global.cs.u32 [%rd0], 6;\nfence.acq_rel.gpu;\nmembar.gl;\n\
                ld.global.nc.L1::no_allocate.L2::128B.u32 %r0, [%rd0];\n\
                ld.global.L1::evict_first.L2::cache_hint.u32 %r1, [%rd0], %rd1;\n\
                ld.relaxed.gpu.global.u32 %r2, [%rd0];\nld.volatile.u32 %r3, [%rd0];\nnanosleep.u32 20;\n\
                add.u32 %r15, %r0, %r1;\nadd.u32 %r15, %r15, %r2;\nadd.u32 %r15, %r15, %r3;\n\
                st.release.sys.global.u32 [%rd0], 0;\ngriddepcontrol.launch_dependents;";
    assert_eq!(words(body, &LaunchConfig::linear(1, 1)).0, [24]);
}
