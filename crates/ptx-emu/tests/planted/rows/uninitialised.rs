use crate::harness::{Case, File, Spare, sum};
use crate::kernels;
use crate::wanted::Wanted::Uninitialised;
use crate::wanted::{Found, Hit, among, at, thread};
use ptx_emu::AccessKind::{Atomic, Load};
use ptx_emu::Space::{Global, Local, Shared};

pub const FILE: File = kernels!("uninitialised");

pub const ROWS: &[Case] = &[
    Case {
        kernels: &["global"],
        spare: Spare::Unwritten(128),
        found: &[Found(thread(1, 6), "fault", Uninitialised(Hit(Global, Load, 4, at("spare", 280)), 280, "spare"))],
        ..Case::PLAIN
    },
    Case {
        kernels: &["half_of_a_word"],
        spare: Spare::Unwritten(128),
        found: &[Found(thread(1, 6), "fault", Uninitialised(Hit(Global, Load, 4, at("spare", 280)), 282, "spare"))],
        result: |input| input.iter().map(|word| word & 0xffff).collect(),
        ..Case::PLAIN
    },
    Case {
        kernels: &["shared"],
        found: &[Found(
            among(0..2, 62..63),
            "fault",
            Uninitialised(Hit(Shared, Load, 4, at("", 252)), 252, "shared memory"),
        )],
        result: |input| (0..input.len()).map(|i| input[i ^ 1]).collect(),
        ..Case::PLAIN
    },
    Case {
        kernels: &["counter_in_shared"],
        found: &[Found(
            among(0..2, 0..64),
            "fault",
            Uninitialised(Hit(Shared, Atomic, 4, at("", 0)), 0, "shared memory"),
        )],
        result: |input| input.chunks(64).flat_map(|cta| vec![sum(cta); 64]).collect(),
        ..Case::PLAIN
    },
    Case {
        kernels: &["left_by_another_cta"],
        found: &[Found(
            among(1..2, 0..64),
            "fault",
            Uninitialised(Hit(Shared, Load, 4, at("", 0)), 0, "shared memory"),
        )],
        result: |input| input.chunks(64).flat_map(|cta| vec![cta[0]; 64]).collect(),
        ..Case::PLAIN
    },
    Case {
        kernels: &["local"],
        found: &[Found(thread(1, 6), "fault", Uninitialised(Hit(Local, Load, 4, at("", 20)), 20, "local memory"))],
        result: |input| (0..).zip(input).map(|(i, word)| word + if i == 70 { 5 } else { i % 8 }).collect(),
        ..Case::PLAIN
    },
];
