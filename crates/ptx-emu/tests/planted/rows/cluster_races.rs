use crate::harness::{Case, File, sum};
use crate::kernels;
use crate::wanted::Wanted::Race;
use crate::wanted::{At, Found, Side, among, at, one_of, thread};
use ptx_emu::AccessKind::{Load, Store};
use ptx_emu::Space::Shared;

pub const FILE: File = kernels!("cluster_races");

pub const ROWS: &[Case] = &[
    Case {
        kernels: &["barrier_missing"],
        found: &[race(
            one_of("", 0..128),
            "shared memory of CTA rank 0",
            Side(Store, among(0..1, 0..32), "write"),
            Side(Load, among(1..2, 0..32), "read"),
        )],
        result: |input| [vec![0; 32], (0..32).map(|i| input[i ^ 1]).collect()].concat(),
        ..Case::SMALL
    },
    Case { kernels: &["arrive_without_wait"], ..EXCHANGE },
    Case { kernels: &["barrier_of_the_cta_only"], ..EXCHANGE },
    Case { kernels: &["relaxed_arrival"], ..EXCHANGE },
    Case {
        kernels: &["store_to_the_peer"],
        found: &[race(
            at("", 0),
            "shared memory of CTA rank 0",
            Side(Store, thread(0, 4), "both"),
            Side(Store, thread(1, 4), "both"),
        )],
        result: |input| (0..64).map(|i| [input[4], input[36]][i % 2]).collect(),
        ..Case::SMALL
    },
    Case {
        kernels: &["slots_used_again"],
        found: &[
            race(
                at("", 0),
                "shared memory of CTA rank 0",
                Side(Store, thread(0, 0), "write"),
                Side(Load, among(1..2, 0..32), "read"),
            ),
            race(
                at("", 0),
                "shared memory of CTA rank 1",
                Side(Store, thread(1, 0), "write"),
                Side(Load, among(0..1, 0..32), "read"),
            ),
        ],
        result: |input| {
            let squares: Vec<u32> = input.iter().map(|word| word.wrapping_mul(*word)).collect();
            vec![sum(&[sum(input), sum(&squares)]); 64]
        },
        ..Case::SMALL
    },
];

/// Each CTA reads what the other has written.
const EXCHANGE: Case = Case {
    found: &[
        race(
            one_of("", 0..128),
            "shared memory of CTA rank 0",
            Side(Store, among(0..1, 0..32), "write"),
            Side(Load, among(1..2, 0..32), "read"),
        ),
        race(
            one_of("", 0..128),
            "shared memory of CTA rank 1",
            Side(Store, among(1..2, 0..32), "write"),
            Side(Load, among(0..1, 0..32), "read"),
        ),
    ],
    result: |input| [&input[32..], &input[..32]].concat(),
    ..Case::SMALL
};

const fn race(address: At, name: &'static str, one: Side, other: Side) -> Found {
    Found(among(0..2, 0..32), "", Race(Shared, address, 4, name, [one, other]))
}
