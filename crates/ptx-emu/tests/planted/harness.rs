//! Runs a planted fault and its corrected twin.

use crate::wanted::Found;
use ptx_emu::{Fault, Kernel, LaunchConfig, LaunchError, LaunchOptions, LaunchReport, Memory, Module, Schedule};

/// Warp instructions after which a launch is given up.
pub const LIMIT: u64 = 1 << 18;

/// A file of kernels, in both versions.
pub struct File {
    /// Name of the CUDA source, as line information has it.
    pub name: &'static str,
    pub source: &'static str,
    pub faulty: &'static str,
    pub correct: &'static str,
}

/// The file of kernels of that name.
#[macro_export]
macro_rules! kernels {
    ($name:literal) => {
        $crate::harness::File {
            name: concat!($name, ".cu"),
            source: include_str!(concat!("../kernels/", $name, ".cu")),
            faulty: include_str!(concat!("../ptx/", $name, ".faulty.ptx")),
            correct: include_str!(concat!("../ptx/", $name, ".correct.ptx")),
        }
    };
}

impl File {
    /// The lines marked `//@ mark` (anything, for no mark) in a kernel, or between it and the kernel
    /// before it.
    pub fn marked(&self, kernel: &str, mark: &str) -> Vec<u32> {
        let (mut found, mut inside) = (Vec::new(), None);
        for (line, number) in self.source.lines().zip(1..) {
            if line.contains("KERNEL(") || line.contains("__global__ void ") {
                inside = Some(line.contains(&format!("({kernel})")) || line.contains(&format!(" {kernel}(")));
            }
            if line.split_once("//@ ").is_some_and(|(_, name)| mark.is_empty() || name == mark) {
                found.push(number);
            }
            if line.starts_with('}') {
                match inside.take() {
                    Some(true) => return found,
                    Some(false) => found.clear(),
                    None => {}
                }
            }
        }
        panic!("{} has no kernel `{kernel}`", self.name);
    }
}

/// An array of words, perhaps of rows with gaps between.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    words: usize,
    /// Words of a row, and from the start of one to that of the next.
    rows: Option<(usize, usize)>,
}

/// An array of words.
pub const fn words(words: usize) -> Buffer {
    Buffer { words, rows: None }
}

/// So many rows of so many words, so many apart; the words between them are out of use.
pub const fn rows(count: usize, row: usize, stride: usize) -> Buffer {
    Buffer { words: count * stride, rows: Some((row, stride)) }
}

impl Buffer {
    fn allocate(self, memory: &mut Memory, name: &str) -> u64 {
        let address = memory.allocate(name, self.words * 4);
        if let Some((row, stride)) = self.rows {
            for start in (0..self.words).step_by(stride) {
                memory.forbid(address + 4 * (start + row) as u64, 4 * (stride - row)).expect("inside");
            }
        }
        address
    }

    /// First word and length of each stretch without gaps.
    fn stretches(self) -> Vec<(usize, usize)> {
        match self.rows {
            None => vec![(0, self.words)],
            Some((row, stride)) => (0..self.words).step_by(stride).map(|start| (start, row)).collect(),
        }
    }
}

/// What the third argument points to.
#[derive(Clone, Copy, Debug)]
pub enum Spare {
    /// Nothing: it is null.
    Null,
    /// So many words, all zero.
    Zeroed(usize),
    /// So many words that nobody has written.
    Unwritten(usize),
    /// So many words that have been freed.
    Freed(usize),
}

/// A planted fault: a row of the table.
pub struct Case {
    /// Kernels to launch one after another. The fault is in the first.
    pub kernels: &'static [&'static str],
    pub ctas: u32,
    pub threads: u32,
    pub dynamic_shared: u32,
    /// Read-only; word `i` is [`input`] of `i`.
    pub input: Buffer,
    /// Nothing is written there before.
    pub output: Buffer,
    pub spare: Spare,
    /// Whether the launches before may still be writing the input and reading the output.
    pub dependent: bool,
    /// Whether a thread waits in a loop for another, so that the counts depend on the schedule.
    pub polls: bool,
    /// The fault. More than one, where it depends on the schedule which of them is met; none, where
    /// the fault is that the output depends on the schedule.
    pub found: &'static [Found],
    /// What the twin leaves in the output, from the input: row after row, without the gaps.
    pub result: fn(&[u32]) -> Vec<u32>,
}

impl Case {
    /// What most rows of the table have: two CTAs of 64 threads, a word each.
    pub const PLAIN: Case = Case {
        kernels: &[],
        ctas: 2,
        threads: 64,
        dynamic_shared: 0,
        input: words(128),
        output: words(128),
        spare: Spare::Null,
        dependent: false,
        polls: false,
        found: &[],
        result: <[u32]>::to_vec,
    };

    /// One CTA of so many threads.
    pub const fn one_cta(threads: u32) -> Case {
        let words = words(threads as usize);
        Case { ctas: 1, threads, input: words, output: words, ..Case::PLAIN }
    }

    /// Two CTAs of 32 threads.
    pub const SMALL: Case = Case { threads: 32, input: words(64), output: words(64), ..Case::PLAIN };
}

/// Words of the input: all different, and in most of them no byte is zero.
fn input(index: usize) -> u32 {
    (index as u32 + 1).wrapping_mul(0x0101_0101)
}

/// The sum of some words, modulo 2^32.
pub fn sum(words: &[u32]) -> u32 {
    words.iter().fold(0, |sum, word| sum.wrapping_add(*word))
}

/// A launch that has ended: the addresses of its arguments, and what came of it.
pub struct Launch {
    pub input: u64,
    pub output: u64,
    pub spare: u64,
    memory: Memory,
    result: Result<Vec<LaunchReport>, LaunchError>,
}

impl Launch {
    /// Launches the kernels of a case on memory made for it.
    fn run(module: &Module, case: &Case, options: &LaunchOptions) -> Launch {
        let mut memory = Memory::new();
        let input_at = case.input.allocate(&mut memory, "in");
        let data: Vec<u8> = (0..case.input.words).flat_map(|index| input(index).to_le_bytes()).collect();
        memory.write(input_at, &data).expect("fits");
        memory.set_read_only(input_at, true).expect("live");
        let output_at = case.output.allocate(&mut memory, "out");
        let spare_at = match case.spare {
            Spare::Null => 0,
            Spare::Zeroed(count) | Spare::Unwritten(count) | Spare::Freed(count) => {
                words(count).allocate(&mut memory, "spare")
            }
        };
        match case.spare {
            Spare::Zeroed(count) => memory.write(spare_at, &vec![0; count * 4]).expect("fits"),
            Spare::Freed(_) => memory.free(spare_at).expect("live"),
            Spare::Null | Spare::Unwritten(_) => {}
        }
        let extent = |start: u64, buffer: Buffer| start..start + 4 * buffer.words as u64;
        let in_use =
            if case.dependent { vec![extent(input_at, case.input), extent(output_at, case.output)] } else { vec![] };
        let options = &LaunchOptions { unready: in_use, ..options.clone() };
        let args = [input_at, output_at, spare_at].map(u64::to_le_bytes);
        let args: Vec<&[u8]> = args.iter().map(<[u8; 8]>::as_slice).collect();
        let launches = case.kernels.iter().map(|kernel| {
            let config = LaunchConfig {
                cluster: module.kernel(kernel).and_then(Kernel::required_cluster).unwrap_or([1; 3]),
                dynamic_shared_bytes: case.dynamic_shared,
                ..LaunchConfig::linear(case.ctas, case.threads)
            };
            module.launch_with(kernel, &config, &args, &mut memory, options)
        });
        let result = launches.collect();
        Launch { input: input_at, output: output_at, spare: spare_at, memory, result }
    }

    /// The words of the output, row after row, if there was no fault.
    fn output(&self, case: &Case) -> Result<Vec<u32>, String> {
        self.result.as_ref().map_err(|error| format!("not silent: {error}"))?;
        let mut words = Vec::new();
        for (start, length) in case.output.stretches() {
            let mut data = vec![0; length * 4];
            self.memory.read(self.output + 4 * start as u64, &mut data).map_err(|error| error.to_string())?;
            words.extend(data.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes"))));
        }
        Ok(words)
    }

    fn fault(&self) -> Result<&Fault, String> {
        match &self.result {
            Err(LaunchError::Fault(fault)) => Ok(fault),
            Err(error) => Err(format!("not launched: {error}")),
            Ok(_) => Err("not found".to_owned()),
        }
    }
}

fn schedules() -> impl Iterator<Item = LaunchOptions> {
    let shuffled = (0..12).map(|seed| Schedule::Shuffled { seed });
    let all = std::iter::once(Schedule::InOrder).chain(shuffled);
    all.map(|schedule| LaunchOptions { schedule, instruction_limit: LIMIT, ..LaunchOptions::default() })
}

/// Whether every schedule meets one of the faults, and every fault is met by some schedule.
fn check_faulty(file: &File, module: &Module, case: &Case) -> Result<(), String> {
    let mut met = vec![false; case.found.len()];
    for options in schedules() {
        let launch = Launch::run(module, case, &options);
        let in_schedule = |what: String| format!("{what}\n    {:?}", options.schedule);
        let fault = launch.fault().map_err(in_schedule)?;
        let differ = |what: Vec<String>| in_schedule(format!("{}\n    in: {fault}", what.join("\n    or: ")));
        let mut wrong = Vec::new();
        for (found, met) in case.found.iter().zip(&mut met) {
            match found.check(fault, file, case, &launch) {
                Ok(()) => *met = true,
                Err(what) => wrong.push(what),
            }
        }
        if wrong.len() == case.found.len() {
            return Err(differ(wrong));
        }
    }
    match case.found.iter().zip(met).find(|(_, met)| !met) {
        Some((found, _)) => Err(format!("no schedule meets {found:?}")),
        None => Ok(()),
    }
}

/// Whether there is no fault, but more than one output.
fn check_order(module: &Module, case: &Case) -> Result<(), String> {
    let run = |options| Launch::run(module, case, &options).output(case);
    let mut outputs = schedules().map(run).collect::<Result<Vec<_>, _>>()?;
    outputs.sort();
    outputs.dedup();
    if outputs.len() > 1 { Ok(()) } else { Err("the output does not depend on the schedule".to_owned()) }
}

/// Whether under every schedule there is no fault, the output is right, and the counts are the same.
fn check_correct(module: &Module, case: &Case) -> Result<(), String> {
    let wanted = (case.result)(&(0..case.input.words).map(input).collect::<Vec<_>>());
    let mut counted = None;
    for options in schedules() {
        let launch = Launch::run(module, case, &options);
        let found = launch.output(case).map_err(|what| format!("{what}\n    {:?}", options.schedule))?;
        if found != wanted {
            return Err(format!("{found:?} in place of {wanted:?}\n    {:?}", options.schedule));
        }
        let reports = launch.result.unwrap_or_default();
        let first = counted.get_or_insert_with(|| reports.clone());
        if *first != reports && !case.polls {
            return Err(format!("{reports:?} in place of {first:?}\n    {:?}", options.schedule));
        }
    }
    Ok(())
}

/// Runs every row of a file, and says what is wrong with any of them.
pub fn check(file: &File, cases: &[Case]) {
    let faulty = Module::parse(file.faulty).expect("parses");
    let correct = Module::parse(file.correct).expect("parses");
    let mut wrong = Vec::new();
    for case in cases {
        let found = if case.found.is_empty() { check_order(&faulty, case) } else { check_faulty(file, &faulty, case) };
        let of = |version: &str, what| format!("  {} ({version}): {what}", case.kernels[0]);
        wrong.extend(found.map_err(|what| of("faulty", what)).err());
        wrong.extend(check_correct(&correct, case).map_err(|what| of("correct", what)).err());
    }
    let run: Vec<&str> = cases.iter().flat_map(|case| case.kernels).copied().collect();
    for module in [&faulty, &correct] {
        wrong.extend(module.kernels().filter(|name| !run.contains(name)).map(|name| format!("  {name}: in no row")));
    }
    assert!(wrong.is_empty(), "{}:\n{}", file.name, wrong.join("\n"));
}
