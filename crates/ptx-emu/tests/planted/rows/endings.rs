use crate::harness::{Case, File, LIMIT, Spare};
use crate::kernels;
use crate::wanted::Wanted::{BranchIndex, InstructionLimit, Trap};
use crate::wanted::{Found, among, thread};

pub const FILE: File = kernels!("endings");

pub const ROWS: &[Case] = &[
    Case { kernels: &["trap"], found: &[Found(thread(1, 6), "fault", Trap)], ..Case::PLAIN },
    Case { kernels: &["assertion"], found: &[Found(thread(1, 6), "fault", Trap)], ..Case::PLAIN },
    Case {
        kernels: &["endless_loop"],
        polls: true,
        spare: Spare::Zeroed(1),
        found: &[Found(among(0..2, 0..64), "fault", InstructionLimit(LIMIT))],
        ..Case::PLAIN
    },
    Case {
        kernels: &["branch_beyond_its_table"],
        found: &[Found(thread(1, 6), "fault", BranchIndex(3, 3))],
        result: |input| (0..).zip(input).map(|(i, word)| [*word, word / 2, 0][i % 3]).collect(),
        ..Case::PLAIN
    },
];
