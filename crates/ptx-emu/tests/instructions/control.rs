//! Control flow, barriers, fences, addresses within a cluster, and special registers: small programs,
//! in each of which the instruction makes the difference.

use crate::harness::{Family, Oracle, module};
use crate::syntax::Spelling;
use ptx_emu::{FaultKind, LaunchConfig, LaunchError, Memory, Module};

pub const FAMILY: Family = Family {
    lines: &[
        ("bra{.uni}", "label"),
        ("brx.idx{.uni}", "r targets"),
        ("call{.uni}", "(result) function (argument)"),
        ("ret{.uni}", ""),
        ("exit", ""),
        ("trap", ""),
        ("brkpt", ""),
        ("nanosleep.u32", "r"),
        ("pmevent", "1"),
        ("membar(.cta|.gl|.sys)", ""),
        ("fence{.sc|.acq_rel|.acquire|.release}(.cta|.cluster|.gpu|.sys)", ""),
        ("griddepcontrol(.wait|.launch_dependents)", ""),
        ("bar{.cta}.sync", "0"),
        ("bar{.cta}.arrive", "1 64"),
        ("bar{.cta}.red.popc.u32", "r 0 p"),
        ("bar{.cta}.red(.and|.or).pred", "p 0 p"),
        ("barrier{.cta}.sync{.aligned}", "0"),
        ("barrier{.cta}.arrive{.aligned}", "1 64"),
        ("barrier{.cta}.red.popc{.aligned}.u32", "r 0 p"),
        ("barrier{.cta}.red(.and|.or){.aligned}.pred", "p 0 p"),
        ("bar.warp.sync", "-1"),
        ("barrier.cluster.arrive{.release|.relaxed}{.aligned}", ""),
        ("barrier.cluster.wait{.acquire}{.aligned}", ""),
        ("activemask.b32", "r"),
        ("mapa.shared::cluster(.u32|.u64)", "t t r"),
        ("mapa.u64", "q q r"),
        ("getctarank.shared::cluster(.u32|.u64)", "r t"),
        ("getctarank.u64", "r q"),
    ],
    oracle,
};

/// Launches a body in which every thread leaves a word in `%r15`; returns the words, by linear index.
fn words(body: &str, config: &LaunchConfig) -> Result<Vec<u32>, LaunchError> {
    let body = format!(
        ".shared .align 16 .b8 buffer[512];\nld.param.u64 %rd10, [out];\nmov.u32 %r20, %ctaid.x;\nmov.u32 %r21, %ntid.x;\n\
         mov.u32 %r22, %tid.x;\nmad.lo.u32 %r20, %r20, %r21, %r22;\nmul.wide.u32 %rd11, %r20, 4;\n\
         add.u64 %rd10, %rd10, %rd11;\nmov.u32 %r15, 7;\nst.global.u32 [%rd10], %r15;\n{body}\nst.global.u32 [%rd10], %r15;"
    );
    let text = module(".param .u64 out", &body).replace(
        ".visible",
        ".func (.param .b32 result) twice(.param .b32 argument)\n{\n.reg .b32 %r<2>;\nld.param.b32 %r0, [argument];\n\
         add.u32 %r0, %r0, %r0;\nst.param.b32 [result], %r0;\nret;\n}\n.visible",
    );
    let module = Module::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let count = (config.grid[0] * config.block[0]) as usize;
    let mut memory = Memory::new();
    let out = memory.allocate("out", count * 4);
    module.launch("k", config, &[&out.to_le_bytes()], &mut memory)?;
    let mut data = vec![0; count * 4];
    memory.read(out, &mut data).expect("inside");
    Ok(data.chunks_exact(4).map(|chunk| u32::from_le_bytes(chunk.try_into().expect("4 bytes"))).collect())
}

fn expect(body: &str, config: &LaunchConfig, wanted: impl Fn(u32) -> u32) {
    let got = words(body, config).unwrap_or_else(|error| panic!("{error}\n{body}"));
    let wanted: Vec<u32> = (0..got.len() as u32).map(wanted).collect();
    assert_eq!(got, wanted, "{body}");
}

const PAIR: LaunchConfig =
    LaunchConfig { grid: [4, 1, 1], block: [32, 1, 1], cluster: [2, 1, 1], dynamic_shared_bytes: 0 };

fn oracle(spelling: &Spelling) -> Option<Oracle> {
    let (name, text) = (spelling.opcode.clone(), spelling.to_string());
    let spelling = spelling.clone();
    let warp = LaunchConfig::linear(1, 32);
    let two = LaunchConfig::linear(1, 64);
    Some(match name.as_str() {
        "bra" => Oracle::test(move || {
            let body =
                format!("mov.u32 %r15, 1;\nsetp.lt.u32 %p0, %r22, 9;\n@%p0 {text} over;\nmov.u32 %r15, 2;\nover:");
            expect(&body, &warp, |lane| if lane < 9 { 1 } else { 2 });
        }),
        "brx" => Oracle::test(move || {
            let body = format!(
                "targets: .branchtargets a, b, c;\nrem.u32 %r0, %r22, 3;\n{text} %r0, targets;\na:\nmov.u32 %r15, 10;\n\
                 bra.uni done;\nb:\nmov.u32 %r15, 20;\nbra.uni done;\nc:\nmov.u32 %r15, 30;\ndone:"
            );
            expect(&body, &warp, |lane| 10 * (lane % 3 + 1));
        }),
        "call" => Oracle::test(move || {
            let body = format!(
                "{{\n.param .b32 argument;\n.param .b32 result;\nst.param.b32 [argument], %r22;\n\
                 {text} (result), twice, (argument);\nld.param.b32 %r15, [result];\n}}"
            );
            expect(&body, &warp, |lane| 2 * lane);
        }),
        "ret" | "exit" => Oracle::test(move || {
            // Who leaves does not store.
            let body = format!("setp.lt.u32 %p0, %r22, 5;\n@%p0 {text};\nmov.u32 %r15, 8;");
            expect(&body, &warp, |lane| if lane < 5 { 7 } else { 8 });
        }),
        "trap" | "brkpt" => Oracle::test(move || {
            let body = format!("setp.eq.u32 %p0, %r22, 5;\n@%p0 {text};");
            match words(&body, &warp) {
                Err(LaunchError::Fault(fault)) => {
                    assert_eq!((&fault.kind, fault.thread), (&FaultKind::Trap, [5, 0, 0]));
                }
                other => panic!("{text} gives {other:?}"),
            }
        }),
        // Nothing that a thread could see.
        "nanosleep" => Oracle::test(move || expect(&format!("{text} %r22;"), &warp, |_| 7)),
        "pmevent" => Oracle::test(move || expect(&format!("{text} 3;"), &warp, |_| 7)),
        "griddepcontrol" => Oracle::test(move || expect(&format!("{text};"), &warp, |_| 7)),
        // Among threads that run one after another, every order is kept.
        "membar" | "fence" => Oracle::test(move || expect(&format!("{text};\nadd.u32 %r15, %r15, 1;"), &warp, |_| 8)),
        "activemask" => Oracle::test(move || {
            let body = format!("setp.ge.u32 %p0, %r22, 4;\n@%p0 bra over;\n{text} %r15;\nover:");
            expect(&body, &warp, |lane| if lane < 4 { 15 } else { 7 });
            // The same where lanes are kept out by a predicate.
            let body = format!("setp.lt.u32 %p0, %r22, 4;\n@%p0 {text} %r15;");
            expect(&body, &warp, |lane| if lane < 4 { 15 } else { 7 });
        }),
        "bar" if spelling.has("warp") => Oracle::test(move || {
            let body = format!("{}{text} -1;\n{}", put("%r22"), get("xor.b32 %r0, %r22, 1;"));
            expect(&body, &warp, |lane| lane ^ 1);
        }),
        "barrier" if spelling.has("cluster") => Oracle::test(move || cluster_barrier(&spelling)),
        "bar" | "barrier" => match spelling.one_of(&["sync", "arrive", "popc", "and", "or"])? {
            "sync" => Oracle::test(move || {
                for operands in ["0", "3, 64"] {
                    let body = format!("{}{text} {operands};\n{}", put("%r22"), get("xor.b32 %r0, %r22, 63;"));
                    expect(&body, &two, |thread| thread ^ 63);
                }
            }),
            "arrive" => Oracle::test(move || {
                // The second warp writes and arrives; the first waits and reads.
                let body = format!(
                    "setp.lt.u32 %p0, %r22, 32;\n@%p0 bra wait;\n{}{text} 3, 64;\nbra.uni done;\nwait:\nbar.sync 3, 64;\n{}done:",
                    put("%r22"),
                    get("xor.b32 %r0, %r22, 63;")
                );
                expect(&body, &two, |thread| if thread < 32 { thread ^ 63 } else { 7 });
            }),
            operation => {
                let operation = operation.to_owned();
                Oracle::test(move || {
                    // The predicate holds in so many threads of 64.
                    for count in [0, 1, 40, 64] {
                        for threads in ["", ", 64"] {
                            let set = format!("setp.lt.u32 %p0, %r22, {count};\n");
                            let body = if operation == "popc" {
                                format!("{set}{text} %r15, 2{threads}, %p0;")
                            } else {
                                format!("{set}{text} %p1, 2{threads}, %p0;\nselp.u32 %r15, 1, 0, %p1;")
                            };
                            let wanted = match operation.as_str() {
                                "popc" => count,
                                "and" => u32::from(count == 64),
                                _ => u32::from(count > 0),
                            };
                            expect(&body, &two, |_| wanted);
                        }
                    }
                })
            }
        },
        "mapa" | "getctarank" => Oracle::test(move || cluster_addresses(&spelling)),
        _ => return None,
    })
}

/// Stores a word at this thread's place in shared memory.
fn put(register: &str) -> String {
    format!("mov.u32 %r1, buffer;\nmad.lo.u32 %r2, %r22, 4, %r1;\nst.shared.u32 [%r2], {register};\n")
}

/// Loads to `%r15` the word of the thread whose index `index` leaves in `%r0`.
fn get(index: &str) -> String {
    format!("{index}\nmov.u32 %r1, buffer;\nmad.lo.u32 %r2, %r0, 4, %r1;\nld.shared.u32 %r15, [%r2];\n")
}

/// Every CTA of a pair reads what the other wrote before the barrier.
fn cluster_barrier(spelling: &Spelling) {
    let other = |own: &str, opposite: &str| if spelling.has(own) { spelling.to_string() } else { opposite.to_owned() };
    // A plain `.relaxed` arrival orders nothing on the device; the fence before it does.
    let arrive = other("arrive", "barrier.cluster.arrive.aligned");
    let wait = other("wait", "barrier.cluster.wait.aligned");
    let body = format!(
        "{}fence.acq_rel.cluster;\n{arrive};\n{wait};\nmov.u32 %r3, %cluster_ctarank;\nxor.b32 %r3, %r3, 1;\n\
         mapa.shared::cluster.u32 %r4, %r2, %r3;\nld.shared::cluster.u32 %r15, [%r4];\n\
         barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;",
        put("%r20")
    );
    expect(&body, &PAIR, |thread| thread ^ 32);
}

/// An address mapped to the other CTA reaches its memory, and names its rank.
fn cluster_addresses(spelling: &Spelling) {
    let generic = !spelling.has("shared::cluster");
    let wide = spelling.ty().bits == 64;
    let (prefix, space) = (if wide { "%rd" } else { "%r" }, if generic { "" } else { ".shared::cluster" });
    let mut body = format!(
        "{}mov.u32 %r3, %cluster_ctarank;\nxor.b32 %r3, %r3, 1;\nbarrier.cluster.arrive.aligned;\n\
         barrier.cluster.wait.aligned;\ncvt.u64.u32 %rd2, %r2;\n",
        put("%r20")
    );
    if generic {
        body += "cvta.shared.u64 %rd2, %rd2;\n";
    }
    let map = format!("mapa{space}.{} {prefix}4, {prefix}2, %r3;\n", spelling.ty().name);
    body += &map;
    if spelling.opcode == "mapa" {
        body += &format!("ld{space}.u32 %r15, [{prefix}4];\n");
    } else {
        // The rank of the mapped address, and of one that was never mapped.
        body += &format!("{spelling} %r5, {prefix}4;\n{spelling} %r6, {prefix}2;\nmad.lo.u32 %r15, %r5, 16, %r6;\n");
    }
    body += "barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;";
    let mapa = spelling.opcode == "mapa";
    expect(&body, &PAIR, |thread| {
        let rank = thread / 32 % 2;
        if mapa { thread ^ 32 } else { (rank ^ 1) * 16 + rank }
    });
}

#[test]
fn special_registers() {
    let (grid, block, cluster) = ([4u32, 6, 2], [5u32, 4, 3], [2u32, 3, 1]);
    type Value = fn([u32; 3], [u32; 3], u32) -> u32;
    let registers: &[(&str, Value)] = &[
        ("%tid.x", |_, tid, _| tid[0]),
        ("%tid.y", |_, tid, _| tid[1]),
        ("%tid.z", |_, tid, _| tid[2]),
        ("%ntid.x", |_, _, _| 5),
        ("%ntid.y", |_, _, _| 4),
        ("%ntid.z", |_, _, _| 3),
        ("%ctaid.x", |ctaid, _, _| ctaid[0]),
        ("%ctaid.y", |ctaid, _, _| ctaid[1]),
        ("%ctaid.z", |ctaid, _, _| ctaid[2]),
        ("%nctaid.x", |_, _, _| 4),
        ("%nctaid.y", |_, _, _| 6),
        ("%nctaid.z", |_, _, _| 2),
        ("%laneid", |_, _, linear| linear % 32),
        ("%warpid", |_, _, linear| linear / 32),
        ("%lanemask_eq", |_, _, linear| 1 << (linear % 32)),
        ("%lanemask_lt", |_, _, linear| (1 << (linear % 32)) - 1),
        ("%lanemask_le", |_, _, linear| ((2u64 << (linear % 32)) - 1) as u32),
        ("%lanemask_gt", |_, _, linear| !((2u64 << (linear % 32)) - 1) as u32),
        ("%lanemask_ge", |_, _, linear| !((1 << (linear % 32)) - 1)),
        ("%clusterid.x", |ctaid, _, _| ctaid[0] / 2),
        ("%clusterid.y", |ctaid, _, _| ctaid[1] / 3),
        ("%clusterid.z", |ctaid, _, _| ctaid[2]),
        ("%nclusterid.x", |_, _, _| 2),
        ("%nclusterid.y", |_, _, _| 2),
        ("%nclusterid.z", |_, _, _| 2),
        ("%cluster_ctaid.x", |ctaid, _, _| ctaid[0] % 2),
        ("%cluster_ctaid.y", |ctaid, _, _| ctaid[1] % 3),
        ("%cluster_ctaid.z", |_, _, _| 0),
        ("%cluster_nctaid.x", |_, _, _| 2),
        ("%cluster_nctaid.y", |_, _, _| 3),
        ("%cluster_nctaid.z", |_, _, _| 1),
        ("%cluster_ctarank", |ctaid, _, _| ctaid[0] % 2 + ctaid[1] % 3 * 2),
        ("%cluster_nctarank", |_, _, _| 6),
        ("%dynamic_smem_size", |_, _, _| 48),
        ("%total_smem_size", |_, _, _| 48 + 16),
        ("WARP_SZ", |_, _, _| 32),
    ];
    for (register, value) in registers {
        // Linear indices of the thread in its CTA and of the CTA in the grid.
        let body = ".shared .align 16 .b8 own[16];\nld.param.u64 %rd10, [out];\nmov.u32 %r0, %tid.z;\nmul.lo.u32 %r0, %r0, 4;\n"
            .to_owned()
            + "mov.u32 %r1, %tid.y;\nadd.u32 %r0, %r0, %r1;\nmov.u32 %r1, %tid.x;\nmad.lo.u32 %r0, %r0, 5, %r1;\n\
               mov.u32 %r1, %ctaid.z;\nmov.u32 %r2, %ctaid.y;\nmad.lo.u32 %r1, %r1, 6, %r2;\nmov.u32 %r2, %ctaid.x;\n\
               mad.lo.u32 %r1, %r1, 4, %r2;\nmad.lo.u32 %r0, %r1, 60, %r0;\nmul.wide.u32 %rd1, %r0, 4;\n\
               add.u64 %rd10, %rd10, %rd1;\n"
            + &format!("mov.u32 %r3, {register};\nst.global.u32 [%rd10], %r3;");
        let module = Module::parse(&module(".param .u64 out", &body)).expect("parses");
        let threads = 48 * 60;
        let mut memory = Memory::new();
        let out = memory.allocate("out", threads * 4);
        let config = LaunchConfig { grid, block, cluster, dynamic_shared_bytes: 48 };
        module.launch("k", &config, &[&out.to_le_bytes()], &mut memory).expect("runs");
        let mut data = vec![0; threads * 4];
        memory.read(out, &mut data).expect("inside");
        for (i, chunk) in data.chunks_exact(4).enumerate() {
            let got = u32::from_le_bytes(chunk.try_into().expect("4 bytes"));
            let (cta, thread) = (i as u32 / 60, i as u32 % 60);
            let ctaid = [cta % 4, cta / 4 % 6, cta / 24];
            let tid = [thread % 5, thread / 5 % 4, thread / 20];
            assert_eq!(got, value(ctaid, tid, thread), "{register} of {ctaid:?} {tid:?}");
        }
    }
}
