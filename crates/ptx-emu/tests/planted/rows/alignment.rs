use crate::harness::{Case, File, Spare, sum, words};
use crate::kernels;
use crate::wanted::Wanted::Misaligned;
use crate::wanted::{Found, Hit, at, thread};
use ptx_emu::AccessKind::{Atomic, Load, Store};
use ptx_emu::Space::{Global, Local, Shared};

pub const FILE: File = kernels!("alignment");

pub const ROWS: &[Case] = &[
    Case {
        kernels: &["scalar"],
        found: &[Found(thread(1, 6), "fault", Misaligned(Hit(Global, Load, 4, at("in", 282))))],
        ..Case::PLAIN
    },
    Case {
        kernels: &["half_at_an_odd_byte"],
        found: &[Found(thread(1, 6), "fault", Misaligned(Hit(Global, Load, 2, at("in", 281))))],
        result: |input| input.iter().map(|word| word & 0xffff).collect(),
        ..Case::PLAIN
    },
    Case {
        kernels: &["vector_of_a_row"],
        threads: 8,
        input: words(64),
        output: words(16),
        found: &[Found(thread(1, 0), "fault", Misaligned(Hit(Global, Load, 16, at("in", 120))))],
        result: |input| input.chunks(4).map(sum).collect(),
        ..Case::PLAIN
    },
    Case {
        kernels: &["vector_store"],
        input: words(256),
        output: words(256),
        found: &[Found(thread(1, 6), "fault", Misaligned(Hit(Global, Store, 8, at("out", 556))))],
        ..Case::PLAIN
    },
    Case {
        kernels: &["shared_vector"],
        found: &[Found(thread(1, 6), "fault", Misaligned(Hit(Shared, Load, 8, at("", 28))))],
        result: |input| (0..input.len()).map(|i| sum(&[input[i], input[i ^ 1]])).collect(),
        ..Case::PLAIN
    },
    Case {
        kernels: &["local_vector"],
        found: &[Found(thread(1, 6), "fault", Misaligned(Hit(Local, Load, 8, at("", 20))))],
        result: |input| (0..).zip(input).map(|(i, word)| sum(&[*word, *word, 4 * (i % 4) + 1])).collect(),
        ..Case::PLAIN
    },
    Case {
        kernels: &["atomic"],
        spare: Spare::Zeroed(2),
        found: &[Found(thread(1, 6), "fault", Misaligned(Hit(Global, Atomic, 4, at("spare", 2))))],
        result: |input| vec![1; input.len()],
        ..Case::PLAIN
    },
];
