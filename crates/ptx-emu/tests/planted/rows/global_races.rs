use crate::harness::{Case, File, Spare, words};
use crate::kernels;
use crate::wanted::Wanted::Race;
use crate::wanted::{At, Found, Side, among, at, one_of, thread};
use ptx_emu::AccessKind::{Atomic, Load, Store};
use ptx_emu::Space::Global;

pub const FILE: File = kernels!("global_races");

pub const ROWS: &[Case] = &[
    Case {
        kernels: &["neighbouring_rows"],
        input: words(2),
        found: &[race(at("out", 256), "out", Side(Store, thread(0, 0), "both"), Side(Store, thread(1, 0), "both"))],
        result: |input| [[input[0]; 64], [input[1]; 64]].concat(),
        output: words(128),
        ..Case::SMALL
    },
    Case {
        kernels: &["counter"],
        spare: Spare::Zeroed(1),
        found: &[
            race(at("spare", 0), "spare", Side(Store, thread(0, 7), "both"), Side(Load, thread(1, 7), "both")),
            race(at("spare", 0), "spare", Side(Store, thread(1, 7), "both"), Side(Load, thread(0, 7), "both")),
        ],
        result: |_| vec![1; 64],
        ..Case::SMALL
    },
    Case {
        kernels: &["atomic_and_load"],
        output: words(2),
        spare: Spare::Zeroed(1),
        found: &[race(at("spare", 0), "spare", Side(Atomic, thread(0, 7), "write"), Side(Load, thread(1, 7), "read"))],
        result: |_| vec![1; 2],
        ..Case::SMALL
    },
    Case {
        kernels: &["atomic_of_a_narrow_scope"],
        spare: Spare::Zeroed(1),
        found: &[race(at("spare", 0), "spare", Side(Atomic, thread(0, 7), "both"), Side(Atomic, thread(1, 7), "both"))],
        result: |_| vec![1; 64],
        ..Case::SMALL
    },
    Case {
        kernels: &["rows", "columns"],
        spare: Spare::Zeroed(128),
        found: &[
            race(
                one_of("spare", 0..256),
                "spare",
                Side(Store, among(0..1, 0..64), "write"),
                Side(Load, among(1..2, 0..64), "read"),
            ),
            race(
                one_of("spare", 256..512),
                "spare",
                Side(Store, among(1..2, 0..64), "write"),
                Side(Load, among(0..1, 0..64), "read"),
            ),
        ],
        result: |input| input.iter().rev().copied().collect(),
        ..Case::PLAIN
    },
    Case {
        kernels: &["within_a_cta"],
        spare: Spare::Zeroed(128),
        found: &[race(
            one_of("spare", 0..512),
            "spare",
            Side(Store, among(0..2, 0..64), "write"),
            Side(Load, among(0..2, 0..64), "read"),
        )],
        result: |input| (0..input.len()).map(|i| input[i ^ 32]).collect(),
        ..Case::PLAIN
    },
    Case { kernels: &["last_cta_without_a_fence"], ..LAST_CTA },
    Case { kernels: &["last_cta_with_a_narrow_fence"], ..LAST_CTA },
];

/// The CTA that comes last adds up the words of both.
const LAST_CTA: Case = Case {
    output: words(1),
    spare: Spare::Zeroed(3),
    found: &[
        race(at("spare", 4), "spare", Side(Store, thread(0, 7), "write"), Side(Load, thread(1, 7), "read")),
        race(at("spare", 8), "spare", Side(Store, thread(1, 7), "write"), Side(Load, thread(0, 7), "read")),
    ],
    result: |input| vec![input[0] + input[1]],
    ..Case::SMALL
};

const fn race(address: At, name: &'static str, one: Side, other: Side) -> Found {
    Found(among(0..2, 0..64), "", Race(Global, address, 4, name, [one, other]))
}
