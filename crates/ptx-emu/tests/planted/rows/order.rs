use crate::harness::{Case, File, Spare, sum, words};
use crate::kernels;

pub const FILE: File = kernels!("order");

pub const ROWS: &[Case] = &[
    Case { kernels: &["tickets_of_ctas"], spare: Spare::Zeroed(1), ..Case::PLAIN },
    Case { kernels: &["tickets_of_warps"], ..Case::PLAIN },
    Case {
        kernels: &["sum_by_atomics", "what_has_been_summed"],
        ctas: 5,
        threads: 32,
        input: words(160),
        output: words(1),
        spare: Spare::Zeroed(1),
        result: |input| vec![sum(&input.iter().step_by(32).copied().collect::<Vec<_>>())],
        ..Case::PLAIN
    },
];
