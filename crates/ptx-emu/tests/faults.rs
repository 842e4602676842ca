//! What kernels do wrong, and that the fault says so.

mod common;

use common::{launch, program};
use ptx_emu::{
    AccessKind, Fault, FaultKind, LaunchConfig, LaunchError, LaunchOptions, Memory, Module, ParseError, Space,
};

fn fault(result: Result<ptx_emu::LaunchReport, LaunchError>) -> Fault {
    match result {
        Err(LaunchError::Fault(fault)) => *fault,
        other => panic!("a fault is wanted, not {other:?}"),
    }
}

/// Thread i of 64 does `access` at `data + i * scale + shift`, in an allocation of 64 * 4 bytes.
fn access(access: &str, scale: u32, shift: i64, read_only: bool) -> Fault {
    let body = format!(
        "ld.param.u64 %rd0, [data];\ncvta.to.global.u64 %rd0, %rd0;\nmov.u32 %r0, %tid.x;\n\
         mul.wide.u32 %rd1, %r0, {scale};\nadd.s64 %rd0, %rd0, %rd1;\n.loc 1 77 0\n{access}"
    )
    .replace("SHIFT", &shift.to_string());
    let text = program(".param .u64 data", &body) + ".file 1 \"kernel.cu\"\n";
    let mut memory = Memory::new();
    let data = memory.allocate("data", 64 * 4);
    memory.write(data, &[0; 64 * 4]).expect("live");
    memory.set_read_only(data, read_only).expect("live");
    fault(launch(&text, &LaunchConfig::linear(2, 64), &[&data.to_le_bytes()], &mut memory))
}

#[test]
fn one_past_the_end() {
    let fault = access("ld.global.u32 %r1, [%rd0+SHIFT];", 4, 4, false);
    let FaultKind::OutOfBounds { access, nearest: Some(nearest) } = &fault.kind else { panic!("{fault}") };
    assert_eq!((access.space, access.kind, access.bytes), (Space::Global, AccessKind::Load, 4));
    assert_eq!((nearest.name.as_str(), nearest.bytes, nearest.offset), ("data", 256, 256));
    assert_eq!((fault.cta, fault.thread), ([0; 3], [63, 0, 0]));
    assert_eq!(fault.instruction, "ld.global.u32 %r1, [%rd0+4]");
    let source = fault.source.as_ref().expect("a `.loc` stands before it");
    assert_eq!((source.file.as_str(), source.line), ("kernel.cu", 77));
    let message = fault.to_string();
    for part in ["out of bounds", "byte 256 of the allocation `data` of 256 bytes", "kernel.cu:77", "[63, 0, 0]"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_vector_that_sticks_out() {
    // The last thread's four bytes lie inside, its sixteen do not.
    let fault = access("ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd0];", 16, 0, false);
    assert!(matches!(fault.kind, FaultKind::OutOfBounds { .. }), "{fault}");
    assert_eq!(fault.thread, [16, 0, 0]);
}

#[test]
fn before_the_start() {
    let fault = access("st.global.u32 [%rd0+SHIFT], %r0;", 4, -4, false);
    let FaultKind::OutOfBounds { nearest: Some(nearest), .. } = &fault.kind else { panic!("{fault}") };
    assert_eq!(nearest.offset, -4);
    assert_eq!(fault.thread, [0; 3]);
}

#[test]
fn misaligned_vector() {
    let fault = access("ld.global.v2.u32 {%r1, %r2}, [%rd0];", 4, 0, false);
    let FaultKind::Misaligned { access } = &fault.kind else { panic!("{fault}") };
    assert_eq!((access.bytes, access.address % 8), (8, 4));
    assert_eq!(fault.thread, [1, 0, 0]);
}

#[test]
fn null_and_high_addresses() {
    for address in ["0", "-4", "4294967296"] {
        let fault = access(&format!("mov.u64 %rd2, {address};\nld.u32 %r1, [%rd2];"), 0, 0, false);
        assert!(matches!(fault.kind, FaultKind::OutOfBounds { .. }), "{fault}");
    }
}

#[test]
fn writes_to_read_only_memory() {
    for instruction in ["st.global.u32 [%rd0], %r0;", "red.global.add.u32 [%rd0], %r0;"] {
        let fault = access(instruction, 4, 0, true);
        let FaultKind::ReadOnly { name, .. } = &fault.kind else { panic!("{fault}") };
        assert_eq!(name, "data");
    }
}

#[test]
fn use_after_free() {
    let text = program(".param .u64 data", "ld.param.u64 %rd0, [data];\nld.global.u32 %r0, [%rd0];");
    let mut memory = Memory::new();
    let data = memory.allocate("data", 4);
    memory.write(data, &[0; 4]).expect("live");
    launch(&text, &LaunchConfig::linear(1, 1), &[&data.to_le_bytes()], &mut memory).expect("live memory");
    memory.free(data).expect("live");
    let fault = fault(launch(&text, &LaunchConfig::linear(1, 1), &[&data.to_le_bytes()], &mut memory));
    assert!(fault.to_string().contains("freed allocation `data`"), "{fault}");
}

/// Runs a body without parameters in one CTA.
fn run(body: &str, threads: u32) -> Result<ptx_emu::LaunchReport, LaunchError> {
    let config = LaunchConfig { dynamic_shared_bytes: 64, ..LaunchConfig::linear(1, threads) };
    launch(&program("", body), &config, &[], &mut Memory::new())
}

#[test]
fn shared_memory_out_of_range() {
    let body = |offset: u32| {
        format!(
            ".shared .align 16 .b8 s[96];\nmov.u32 %r0, s;\n@%p0 bra done;\n\
             st.shared.u32 [%r0+{offset}], %r0;\ndone:"
        )
    };
    // 96 static and 64 dynamic bytes.
    run(&body(156), 1).expect("the last word");
    let fault = fault(run(&body(160), 1));
    let FaultKind::OutOfBounds { access, nearest: Some(nearest) } = &fault.kind else { panic!("{fault}") };
    assert_eq!((access.space, access.address, nearest.bytes), (Space::Shared, 160, 160));
}

#[test]
fn local_and_parameter_bounds() {
    let fault_of = |body: &str| fault(run(body, 1)).kind;
    let local = ".local .align 4 .b8 depot[16];\nmov.u64 %rd0, depot;\nst.local.u32 [%rd0+16], %r0;";
    assert!(matches!(fault_of(local), FaultKind::OutOfBounds { access, .. } if access.space == Space::Local));
    let text = program(".param .align 8 .b8 args[24]", "mov.u64 %rd0, args;\nld.param.u64 %rd1, [%rd0+24];");
    let fault = fault(launch(&text, &LaunchConfig::linear(1, 1), &[&[0; 24]], &mut Memory::new()));
    assert!(matches!(&fault.kind, FaultKind::OutOfBounds { access, .. } if access.space == Space::Param), "{fault}");
}

#[test]
fn barrier_that_only_some_threads_reach() {
    // Half of the warp waits at one barrier, half at another: neither can ever be complete.
    let split = "mov.u32 %r0, %tid.x;\nsetp.lt.u32 %p0, %r0, 16;\n@%p0 bra low;\n\
                 bar.sync 0;\nbra.uni done;\nlow:\nbar.sync 1;\ndone:";
    let fault_split = fault(run(split, 32));
    let FaultKind::DivergentBarrier { waiting } = &fault_split.kind else { panic!("{fault_split}") };
    assert_eq!(waiting.len(), 2);
    assert!(waiting.iter().any(|text| text.contains("0x0000ffff")), "{waiting:?}");
    // Half of a warp waits, the other half waits for that half in a shuffle.
    let shuffle = "mov.u32 %r0, %tid.x;\nsetp.lt.u32 %p0, %r0, 16;\n@%p0 bra low;\n\
                   bar.sync 0;\nbra.uni done;\nlow:\nshfl.sync.idx.b32 %r1, %r0, 0, 31, -1;\ndone:";
    assert!(matches!(fault(run(shuffle, 32)).kind, FaultKind::DivergentBarrier { .. }));
    // Whole warps at different barriers.
    let warps = "mov.u32 %r0, %tid.x;\nsetp.lt.u32 %p0, %r0, 32;\n@%p0 bra low;\n\
                 bar.sync 0, 64;\nbra.uni done;\nlow:\nbar.sync 1, 64;\ndone:";
    assert!(matches!(fault(run(warps, 64)).kind, FaultKind::Deadlock { .. }));
}

#[test]
fn exited_threads_are_not_waited_for() {
    let body = "mov.u32 %r0, %tid.x;\nsetp.ge.u32 %p0, %r0, 40;\n@%p0 exit;\nbar.sync 0;\n\
                activemask.b32 %r2;\nshfl.sync.down.b32 %r1, %r0, 1, 31, %r2;";
    let report = run(body, 96).expect("nobody waits for those that left");
    assert_eq!(report.cta_barriers, 1);
}

#[test]
fn misused_synchronisation() {
    let invalid = |body: &str| {
        let fault = fault(run(body, 32));
        assert!(matches!(fault.kind, FaultKind::InvalidSync { .. }), "{fault}");
    };
    invalid("shfl.sync.idx.b32 %r1, %r0, 0, 31, 0x7fffffff;");
    invalid("bar.sync 0, 48;");
    invalid("bar.sync 16;");
    invalid("barrier.cluster.wait;");
    invalid("barrier.cluster.arrive;\nbarrier.cluster.arrive;");
    invalid("mov.u32 %r0, %tid.x;\nand.b32 %r0, %r0, 1;\nbarrier.sync %r0;");
}

#[test]
fn traps_and_endless_loops() {
    assert_eq!(fault(run("trap;", 1)).kind, FaultKind::Trap);
    let module = Module::parse(&program("", "again:\nbra again;")).expect("parses");
    let options = LaunchOptions { instruction_limit: 100_000, ..LaunchOptions::default() };
    let config = LaunchConfig::linear(1, 1);
    let fault = fault(module.launch_with("k", &config, &[], &mut Memory::new(), &options));
    assert_eq!(fault.kind, FaultKind::InstructionLimit { limit: 100_000 });
    let table = "ts: .branchtargets a, b;\nmov.u32 %r0, 2;\nbrx.idx %r0, ts;\na:\nb:";
    assert!(matches!(run(table, 1), Err(LaunchError::Fault(_))));
}

#[test]
fn shared_memory_of_other_ctas() {
    let body = |access: &str, rank: u32| {
        format!(
            ".shared .align 4 .b8 s[4];\nmov.u32 %r0, s;\nmapa.shared::cluster.u32 %r1, %r0, {rank};\n\
             st.shared.u32 [%r0], 7;\nbarrier.cluster.arrive;\nbarrier.cluster.wait;\n{access}\n\
             barrier.cluster.arrive;\nbarrier.cluster.wait;"
        )
    };
    let run = |access: &str, rank| {
        let config = LaunchConfig { grid: [2, 1, 1], cluster: [2, 1, 1], ..LaunchConfig::linear(2, 32) };
        launch(&program("", &body(access, rank)), &config, &[], &mut Memory::new())
    };
    run("ld.shared::cluster.u32 %r2, [%r1];", 1).expect("the neighbour's memory");
    let invalid = |result| matches!(fault(result).kind, FaultKind::InvalidAccess { .. });
    assert!(invalid(run("ld.shared::cluster.u32 %r2, [%r1];", 2)));
    assert!(invalid(run("ld.shared.u32 %r2, [%r1];", 1)));
    assert!(matches!(fault(run("ld.shared::cluster.u32 %r2, [%r1+4];", 1)).kind, FaultKind::OutOfBounds { .. }));
}

#[test]
fn unknown_things_are_refused() {
    let error = |body: &str| Module::parse(&program("", body)).expect_err("must not parse");
    let is = |body: &str, kind: fn(&ParseError) -> bool| {
        let error = error(body);
        assert!(kind(&error), "{error:?}");
        assert!(error.to_string().contains("PTX line "), "{error}");
    };
    is("frobnicate.u32 %r0, %r1;", |e| matches!(e, ParseError::UnknownInstruction { .. }));
    is("add.wrong.u32 %r0, %r1, %r2;", |e| matches!(e, ParseError::UnknownModifier { .. }));
    is("add.ftz.u32 %r0, %r1, %r2;", |e| matches!(e, ParseError::UnknownModifier { .. }));
    is("ld.global.L1::evict_sometimes.u32 %r0, [%rd0];", |e| matches!(e, ParseError::UnknownModifier { .. }));
    is("add.u32 %r0, %r1, %r99;", |e| matches!(e, ParseError::Undeclared { .. }));
    is("bra nowhere;", |e| matches!(e, ParseError::Undeclared { .. }));
    is("add.u32 %r0, %rd1, %r2;", |e| matches!(e, ParseError::Operand { .. }));
    is("add.u32 %r0, %r1;", |e| matches!(e, ParseError::Operand { .. }));
    is("fma.f32 %f0, %f1, %f2, %f3;", |e| matches!(e, ParseError::Operand { .. }));
    is("cvt.f16.f32 %h0, %f0;", |e| matches!(e, ParseError::Operand { .. }));
    is("mov.u32 %r0, %clock;", |e| matches!(e, ParseError::Unsupported { .. }));
    is("add.rz.f64 %fd0, %fd1, %fd2;", |e| matches!(e, ParseError::Unsupported { .. }));
    is("call.uni helper, (%r0);", |e| matches!(e, ParseError::Unsupported { .. }));
    is(".reg .b32 %x; .reg .b32 %x;", |e| matches!(e, ParseError::Redeclared { .. }));
    is("add.u32 %r0, %r1 %r2;", |e| matches!(e, ParseError::Syntax { .. }));
    is(&"{".repeat(1000), |e| matches!(e, ParseError::Syntax { .. }));
    assert!(Module::parse("").is_err());
    assert!(Module::parse("\u{7f}é").is_err());
}

#[test]
fn launches_that_do_not_fit() {
    let text = program(".param .u64 a, .param .u32 b", "");
    let text = text.replace(")\n{", ")\n.maxntid 64, 1, 1\n{");
    let module = Module::parse(&text).expect("parses");
    let try_with = |config: LaunchConfig, args: &[&[u8]]| {
        module.launch("k", &config, args, &mut Memory::new()).expect_err("must not launch")
    };
    let good: [&[u8]; 2] = [&[0; 8], &[0; 4]];
    let linear = LaunchConfig::linear;
    assert!(module.launch("k", &linear(1, 64), &good, &mut Memory::new()).is_ok());
    assert!(matches!(try_with(linear(1, 65), &good), LaunchError::Dimension { what: "block", .. }));
    assert!(matches!(try_with(linear(0, 1), &good), LaunchError::Dimension { what: "grid", .. }));
    let cluster = LaunchConfig { cluster: [2, 1, 1], ..linear(3, 1) };
    assert!(matches!(try_with(cluster, &good), LaunchError::Dimension { what: "cluster", .. }));
    let shared = LaunchConfig { dynamic_shared_bytes: 227 * 1024 + 1, ..linear(1, 1) };
    assert!(matches!(try_with(shared, &good), LaunchError::SharedMemory { .. }));
    assert!(matches!(try_with(linear(1, 1), &good[..1]), LaunchError::ArgumentCount { given: 1, wanted: 2, .. }));
    let wrong: [&[u8]; 2] = [&[0; 8], &[0; 8]];
    assert!(matches!(try_with(linear(1, 1), &wrong), LaunchError::ArgumentSize { index: 1, given: 8, wanted: 4, .. }));
    let unknown = module.launch("other", &linear(1, 1), &good, &mut Memory::new());
    assert!(matches!(unknown, Err(LaunchError::UnknownKernel { .. })));
}

#[test]
fn damaged_text_never_panics() {
    let text = include_str!("ptx/samples.sm_90.ptx");
    let start = text.find(".visible .entry").expect("a kernel");
    // Cut anywhere: an unfinished text is refused, but for cuts between functions.
    for end in (start..text.len()).step_by(211) {
        let _ = Module::parse(&text[..end]);
    }
    // Drop, double or swap a stretch of characters: whatever comes out, it is an answer.
    let mut seed = 12345u64;
    for _ in 0..300 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = start + (seed >> 33) as usize % (text.len() - start - 40);
        let length = 1 + (seed >> 20) as usize % 24;
        let (head, tail) = text.split_at(at);
        let damaged = match seed >> 62 {
            0 => format!("{head}{}", &tail[length..]),
            1 => format!("{head}{}{tail}", &tail[..length]),
            2 => format!("{head}{}{}", "{[(,;%.0x"[..length % 9].to_owned(), &tail[1..]),
            _ => format!("{head}{}{}", tail[..length].chars().rev().collect::<String>(), &tail[length..]),
        };
        if let Err(error) = Module::parse(&damaged) {
            assert!(error.to_string().starts_with("PTX line "), "{error}");
        }
    }
    let cut_inside = &text[..start + 400];
    assert!(matches!(Module::parse(cut_inside), Err(ParseError::Syntax { .. })));
}

#[test]
fn forbidden_bytes() {
    // Rows of 60 bytes, 64 apart; thread i reads or writes the word at 4 * i + 56.
    let run = |access: &str, read_only: bool, padded: bool| {
        let body = format!(
            "ld.param.u64 %rd0, [data];\nmov.u32 %r0, %tid.x;\nmul.wide.u32 %rd1, %r0, 4;\n\
             add.s64 %rd0, %rd0, %rd1;\n{access}"
        );
        let mut memory = Memory::new();
        let data = memory.allocate("rows", 4 * 64);
        memory.write(data, &[0; 4 * 64]).expect("live");
        memory.set_read_only(data, read_only).expect("live");
        for row in (0..4).filter(|_| padded) {
            memory.forbid(data + row * 64 + 60, 4).expect("inside");
        }
        let text = program(".param .u64 data", &body);
        let result = launch(&text, &LaunchConfig::linear(1, 2), &[&data.to_le_bytes()], &mut memory);
        // The host is not concerned.
        memory.write(data, &[1; 4 * 64]).expect("the host may");
        memory.read(data, &mut [0; 4 * 64]).expect("the host may");
        (data, result)
    };
    for (access, kind, read_only) in [
        ("ld.global.u32 %r1, [%rd0+56];", AccessKind::Load, true),
        ("ld.u32 %r1, [%rd0+56];", AccessKind::Load, false),
        ("st.global.u32 [%rd0+56], %r0;", AccessKind::Store, false),
        ("red.global.add.u32 [%rd0+56], %r0;", AccessKind::Atomic, false),
    ] {
        run(access, read_only, false).1.expect("nothing is forbidden");
        let (data, result) = run(access, read_only, true);
        let fault = fault(result);
        let FaultKind::Forbidden { access, byte, name, offset } = &fault.kind else { panic!("{fault}") };
        assert_eq!((access.kind, *byte, *offset, name.as_str()), (kind, data + 60, 60, "rows"));
        assert_eq!(fault.thread, [1, 0, 0]);
        assert!(fault.to_string().contains("byte 60 of `rows`, is out of use"), "{fault}");
    }
    // The last word before the gap is fine, one byte into it is not.
    run("ld.global.u32 %r1, [%rd0+52];", true, true).1.expect("in the row");
    let (data, result) =
        run("mul.wide.u32 %rd1, %r0, 3;\nsub.u64 %rd0, %rd0, %rd1;\nst.global.u8 [%rd0+59], %r0;", false, true);
    assert!(matches!(fault(result).kind, FaultKind::Forbidden { byte, .. } if byte == data + 60));
    let mut memory = Memory::new();
    let data = memory.allocate("data", 16);
    assert!(memory.forbid(data + 8, 9).is_err());
}

/// Of an access that is ready in part, the first byte that is not is named.
#[test]
fn what_the_launches_before_still_use() {
    let body = |wait: &str| {
        format!(
            "ld.param.u64 %rd0, [data];\nmov.u32 %r0, %tid.x;\nmul.wide.u32 %rd1, %r0, 8;\n\
             add.s64 %rd0, %rd0, %rd1;\nsetp.lt.u32 %p0, %r0, 6;\n{wait}\nld.v2.u32 {{%r1, %r2}}, [%rd0];"
        )
    };
    let run = |wait: &str| {
        let module = Module::parse(&program(".param .u64 data", &body(wait))).expect("parses");
        let mut memory = Memory::new();
        let data = memory.allocate("data", 64 * 8);
        memory.write(data, &[0; 64 * 8]).expect("live");
        // Words 9 to 20: of threads 4 (the second half) to 10 (the first).
        let options =
            LaunchOptions { unready: std::iter::once(data + 36..data + 84).collect(), ..LaunchOptions::default() };
        module.launch_with("k", &LaunchConfig::linear(1, 64), &[&data.to_le_bytes()], &mut memory, &options)
    };
    run("griddepcontrol.wait;").expect("all have waited");
    let found = |wait| match fault(run(wait)) {
        Fault { kind: FaultKind::Unready { access, name, offset, byte }, thread, .. } => {
            assert_eq!((access.kind, access.bytes, name.as_str()), (AccessKind::Load, 8, "data"));
            (thread[0], offset, byte - access.address)
        }
        other => panic!("{other}"),
    };
    assert_eq!(found("griddepcontrol.launch_dependents;"), (4, 36, 4));
    assert_eq!(found("@%p0 griddepcontrol.wait;"), (6, 48, 0));
    assert_eq!(found("@!%p0 griddepcontrol.wait;"), (4, 36, 4));
}
