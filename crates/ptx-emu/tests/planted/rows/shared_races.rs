use crate::harness::{Case, File, sum};
use crate::kernels;
use crate::wanted::Wanted::Race;
use crate::wanted::{At, Found, Side, Who, among, at, one_of, thread};
use ptx_emu::AccessKind::{Atomic, Load, Store};
use ptx_emu::Space::Shared;

pub const FILE: File = kernels!("shared_races");

const NAME: &str = "shared memory";

pub const ROWS: &[Case] = &[
    Case {
        kernels: &["two_threads"],
        found: &[race(at("", 0), 4, Side(Store, thread(0, 5), "write"), Side(Load, thread(0, 40), "read"))],
        result: |input| only(40, input[1]),
        ..Case::one_cta(64)
    },
    Case {
        kernels: &["reduction"],
        found: &[race(one_of("", 0..16), 4, Side(Store, ANY, "write"), Side(Load, ANY, "read"))],
        result: |input| vec![sum(input); 128],
        ..Case::one_cta(128)
    },
    Case {
        kernels: &["slots_used_again"],
        found: &[race(one_of("", 0..16), 4, Side(Store, ANY, "write"), Side(Load, ANY, "read"))],
        result: |input| {
            let squares: Vec<u32> = input.iter().map(|word| word.wrapping_mul(*word)).collect();
            vec![sum(&[sum(input), sum(&squares)]); 128]
        },
        ..Case::one_cta(128)
    },
    Case {
        kernels: &["two_writers"],
        found: &[race(at("", 0), 4, Side(Store, thread(0, 3), "both"), Side(Store, thread(0, 35), "both"))],
        result: |input| vec![input[3]; 64],
        ..Case::one_cta(64)
    },
    Case {
        kernels: &["lanes_of_one_store"],
        found: &[race(at("", 0), 4, Side(Store, thread(0, 0), "both"), Side(Store, thread(0, 1), "both"))],
        result: |input| (0..64).map(|i| input[i % 2]).collect(),
        ..Case::one_cta(64)
    },
    Case {
        kernels: &["within_a_warp"],
        found: &[race(one_of("", 0..256), 4, Side(Store, ANY, "write"), Side(Load, ANY, "read"))],
        result: |input| (0..64).map(|i| input[i ^ 1]).collect(),
        ..Case::one_cta(64)
    },
    Case {
        kernels: &["half_a_warp_meets"],
        found: &[race(
            one_of("", 0..64),
            4,
            Side(Store, among(0..1, 0..16), "write"),
            Side(Load, among(0..1, 16..32), "read"),
        )],
        result: |input| [&[0; 16], &input[..16]].concat(),
        ..Case::one_cta(32)
    },
    Case {
        kernels: &["reader_outside_the_barrier"],
        found: &[race(
            one_of("", 0..128),
            4,
            Side(Store, among(0..1, 0..32), "write"),
            Side(Load, among(0..1, 64..96), "read"),
        )],
        result: |input| [&[0; 64], &input[..32]].concat(),
        ..Case::one_cta(96)
    },
    Case {
        kernels: &["arrival_in_place_of_a_wait"],
        found: &[race(
            one_of("", 0..128),
            4,
            Side(Store, among(0..1, 0..32), "write"),
            Side(Load, among(0..1, 32..64), "read"),
        )],
        result: |input| [&[0; 32], &input[..32]].concat(),
        ..Case::one_cta(64)
    },
    Case {
        kernels: &["message_without_a_fence"],
        polls: true,
        found: &[race(one_of("", 0..8), 4, Side(Store, thread(0, 0), "write"), Side(Load, thread(0, 32), "read"))],
        result: |input| only(32, input[0]),
        ..Case::one_cta(64)
    },
    Case {
        kernels: &["load_of_an_atomic_counter"],
        found: &[race(at("", 0), 4, Side(Atomic, ANY, "write"), Side(Load, thread(0, 40), "read"))],
        result: |input| only(40, sum(input)),
        ..Case::one_cta(64)
    },
    Case {
        kernels: &["count_without_an_atomic"],
        found: &[
            race(at("", 0), 4, Side(Store, thread(0, 3), "both"), Side(Load, thread(0, 35), "both")),
            race(at("", 0), 4, Side(Load, thread(0, 3), "both"), Side(Store, thread(0, 35), "both")),
        ],
        result: |input| vec![input[3] + input[35]; 64],
        ..Case::one_cta(64)
    },
    Case {
        kernels: &["wide_and_narrow"],
        found: &[race(at("", 26), 2, Side(Store, thread(0, 1), "write"), Side(Load, thread(0, 33), "read"))],
        result: |input| only(33, input[2] >> 16),
        ..Case::one_cta(64)
    },
];

/// Any thread of the only CTA.
const ANY: Who = among(0..1, 0..1024);

const fn race(address: At, bytes: u32, one: Side, other: Side) -> Found {
    Found(ANY, "", Race(Shared, address, bytes, NAME, [one, other]))
}

/// So many words, but for one all zero.
fn only(index: usize, word: u32) -> Vec<u32> {
    let mut words = vec![0; 64];
    words[index] = word;
    words
}
