//! Shuffled schedules: what is right does not depend on them, and what depends on them is found.

#[allow(dead_code, reason = "the single-instruction half of the harness is for other tests")]
mod common;

use common::program;
use ptx_emu::{LaunchConfig, LaunchOptions, LaunchReport, Memory, Module, Schedule};

const SAMPLES: &str = include_str!("ptx/samples.sm_90.ptx");

/// Bytes of the memory that every kernel here is given.
const BYTES: usize = 1 << 14;

/// Launches a kernel that takes the address of zeroed memory and then `rest`.
fn run(
    module: &Module,
    kernel: &str,
    config: &LaunchConfig,
    rest: &[&[u8]],
    schedule: Schedule,
) -> (Vec<u8>, LaunchReport) {
    let mut memory = Memory::new();
    let data = memory.allocate("data", BYTES);
    memory.write(data, &[0; BYTES]).expect("inside");
    let address = data.to_le_bytes();
    let args: Vec<&[u8]> = [&address[..]].into_iter().chain(rest.iter().copied()).collect();
    let options = LaunchOptions { schedule, ..LaunchOptions::default() };
    let report = module
        .launch_with(kernel, config, &args, &mut memory, &options)
        .unwrap_or_else(|error| panic!("{schedule:?}: {error}"));
    let mut bytes = vec![0; BYTES];
    memory.read(data, &mut bytes).expect("written");
    (bytes, report)
}

/// How many of the seeds give another result than the order by index, and whether the counts of all
/// are the same.
fn differing(body: &str, config: &LaunchConfig) -> (usize, bool) {
    let start = "ld.param.u64 %rd0, [data];\nmov.u32 %r0, %tid.x;\nmov.u32 %r1, %ctaid.x;\nshr.u32 %r2, %r0, 5;\n\
                 mov.u32 %r3, %ntid.x;\nmad.lo.u32 %r3, %r1, %r3, %r0;\n";
    let text = program(".param .u64 data", &format!("{start}{body}"));
    let module = Module::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    let (wanted, counts) = run(&module, "k", config, &[], Schedule::InOrder);
    let runs: Vec<_> = (0..40).map(|seed| run(&module, "k", config, &[], Schedule::Shuffled { seed })).collect();
    for (seed, before) in runs.iter().enumerate() {
        let again = run(&module, "k", config, &[], Schedule::Shuffled { seed: seed as u64 });
        assert!(again == *before, "seed {seed} gives two runs");
    }
    let differing = runs.iter().filter(|(bytes, _)| *bytes != wanted).count();
    (differing, runs.iter().all(|(_, report)| *report == counts))
}

/// Every CTA, or warp, leaves its number where the last one stays.
#[test]
fn the_last_to_write_wins() {
    let body = |number: &str| {
        format!("and.b32 %r4, %r0, 31;\nsetp.eq.u32 %p0, %r4, 0;\n@%p0 atom.global.exch.b32 %r5, [%rd0], {number};")
    };
    let (ctas, warps) = (LaunchConfig::linear(6, 32), LaunchConfig::linear(1, 192));
    let clusters = LaunchConfig { cluster: [2, 1, 1], ..ctas };
    for (number, config) in [("%r1", ctas), ("%r2", warps), ("%r1", clusters)] {
        let (differing, same_counts) = differing(&body(number), &config);
        assert!(differing >= 20, "{differing} of 40 seeds");
        assert!(same_counts);
        // The largest number wins in every order.
        let fixed = body(number).replace("exch.b32", "max.u32");
        assert_eq!(self::differing(&fixed, &config), (0, true));
    }
}

/// Threads draw tickets and put their numbers at the tickets' places.
#[test]
fn places_by_ticket() {
    let body = "atom.global.add.u32 %r4, [%rd0], 1;\nand.b32 %r5, %r0, 31;\nsetp.ne.u32 %p0, %r5, 0;\n@%p0 bra done;\n\
                mul.wide.u32 %rd1, TICKET, 4;\nadd.u64 %rd1, %rd0, %rd1;\nst.global.u32 [%rd1+64], %r3;\ndone:";
    let config = LaunchConfig::linear(3, 128);
    let (differing, same_counts) = differing(&body.replace("TICKET", "%r4"), &config);
    assert!(differing >= 30 && same_counts, "{differing} of 40 seeds");
    assert_eq!(self::differing(&body.replace("TICKET", "%r3"), &config), (0, true));
}

/// Warp 1 looks whether warp 0 is through with a loop, without a race: what it sees depends on how
/// far the other got, and only a barrier makes it sure.
#[test]
fn how_far_another_warp_got() {
    let body = |barrier: &str| {
        format!(
            "setp.ne.u32 %p1, %r2, 0;\n@%p1 bra look;\nmov.u32 %r4, 0;\nround:\nadd.u32 %r4, %r4, 1;\n\
             setp.lt.u32 %p0, %r4, 4;\n@%p0 bra round;\nred.global.max.u32 [%rd0], 1;\nlook:\n{barrier}\n\
             setp.ne.u32 %p0, %r0, 32;\n@%p0 bra done;\nld.relaxed.gpu.global.u32 %r5, [%rd0];\n\
             st.global.u32 [%rd0+4], %r5;\ndone:"
        )
    };
    let config = LaunchConfig::linear(1, 64);
    let (differing, _) = differing(&body(""), &config);
    assert!((1..40).contains(&differing), "{differing} of 40 seeds");
    assert_eq!(self::differing(&body("bar.sync 0;"), &config), (0, true));
}

/// Kernels as the compiler made them: barriers, shuffles, atomics and a cluster.
#[test]
fn compiled_kernels() {
    let module = Module::parse(SAMPLES).expect("parses");
    let (x, n) = ((0..1000).map(|i| (i % 64) as f32 - 20.0), 1000i32);
    let x: Vec<u8> = x.flat_map(f32::to_le_bytes).collect();
    let config = LaunchConfig { grid: [8, 1, 1], block: [64, 1, 1], cluster: [4, 1, 1], dynamic_shared_bytes: 64 * 4 };
    let sums = |schedule| {
        let mut memory = Memory::new();
        let [from, to] = [("x", x.len()), ("y", 8 * 4)].map(|(name, bytes)| memory.allocate(name, bytes));
        memory.write(from, &x).expect("inside");
        let options = LaunchOptions { schedule, ..LaunchOptions::default() };
        let args: [&[u8]; 3] = [&from.to_le_bytes(), &to.to_le_bytes(), &n.to_le_bytes()];
        let report = module.launch_with("cluster_sum", &config, &args, &mut memory, &options).expect("runs");
        let mut bytes = [0; 32];
        memory.read(to, &mut bytes).expect("written");
        (bytes, report)
    };
    let rms = |schedule| {
        let (rows, hidden) = (9usize, 1024usize);
        let mut memory = Memory::new();
        let [x, y, weight] = [("x", rows * hidden * 2), ("y", rows * hidden * 2), ("weight", hidden * 4)]
            .map(|(name, bytes)| memory.allocate(name, bytes));
        let values: Vec<u8> = (0..rows * hidden).flat_map(|i| (0x3c01 + i as u16 % 512).to_le_bytes()).collect();
        memory.write(x, &values).expect("inside");
        memory.write(weight, &1f32.to_le_bytes().repeat(hidden)).expect("inside");
        let mut args: Vec<u8> =
            [x, y, weight, rows as u64, hidden as u64 / 8].into_iter().flat_map(u64::to_le_bytes).collect();
        args.extend((hidden as u32).to_le_bytes());
        args.extend(1e-6f32.to_le_bytes());
        let options = LaunchOptions { schedule, ..LaunchOptions::default() };
        let config = LaunchConfig::linear(rows as u32, 128);
        let report = module.launch_with("rms_f16", &config, &[&args], &mut memory, &options).expect("runs");
        let mut bytes = vec![0; rows * hidden * 2];
        memory.read(y, &mut bytes).expect("written");
        (bytes, report)
    };
    let wanted = (sums(Schedule::InOrder), rms(Schedule::InOrder));
    for seed in 0..25 {
        let schedule = Schedule::Shuffled { seed };
        assert!((sums(schedule), rms(schedule)) == wanted, "seed {seed}");
    }
}
