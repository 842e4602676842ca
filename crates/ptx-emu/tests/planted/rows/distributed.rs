use crate::harness::{Case, File};
use crate::kernels;
use crate::wanted::Wanted::{
    Deadlock, DivergentBarrier, EarlyExit, InvalidAccess, InvalidSync, OutOfBounds, Uninitialised,
};
use crate::wanted::{Found, Hit, Side, among, at, thread};
use ptx_emu::AccessKind::{Load, Store};
use ptx_emu::Space::Shared;

pub const FILE: File = kernels!("distributed");

pub const ROWS: &[Case] = &[
    Case {
        kernels: &["load_from_a_peer_that_has_exited"],
        found: &[
            Found(thread(1, 0), "fault", InvalidAccess(Hit(Shared, Load, 4, at("", 0)), "CTA rank 0 has exited")),
            Found(among(0..1, 0..32), "exit", EarlyExit(Side(Load, among(1..2, 0..32), "fault"))),
        ],
        result: |input| [&[0; 32], &input[..32]].concat(),
        ..Case::SMALL
    },
    Case {
        kernels: &["store_to_a_peer_that_has_exited"],
        found: &[
            Found(thread(1, 0), "fault", InvalidAccess(Hit(Shared, Store, 4, at("", 0)), "CTA rank 0 has exited")),
            Found(among(0..1, 0..32), "exit", EarlyExit(Side(Store, among(1..2, 0..32), "fault"))),
        ],
        result: |input| [&input[32..], &[0; 32]].concat(),
        ..Case::SMALL
    },
    Case {
        kernels: &["rank_beyond_the_cluster"],
        found: &[Found(
            thread(1, 8),
            "fault",
            InvalidAccess(Hit(Shared, Load, 4, at("", 32)), "CTA rank 2 is beyond the cluster of 2"),
        )],
        ..EXCHANGE
    },
    Case {
        kernels: &["past_the_end_of_the_peer"],
        found: &[Found(
            thread(1, 31),
            "fault",
            OutOfBounds(Hit(Shared, Load, 4, at("", 128)), "shared memory of CTA rank 0", 128, false),
        )],
        result: |input| [&[0; 32], &input[..32]].concat(),
        ..Case::SMALL
    },
    Case {
        kernels: &["uninitialised_in_the_peer"],
        found: &[Found(
            thread(1, 9),
            "fault",
            Uninitialised(Hit(Shared, Load, 4, at("", 36)), 36, "shared memory of CTA rank 0"),
        )],
        result: |input| [&[0; 32], &input[..32]].concat(),
        ..Case::SMALL
    },
    Case {
        kernels: &["address_for_another_window"],
        found: &[Found(
            thread(1, 8),
            "fault",
            InvalidAccess(Hit(Shared, Load, 4, at("", 32)), "shared memory of another CTA needs `.shared::cluster`"),
        )],
        ..EXCHANGE
    },
    Case {
        kernels: &["wait_without_arrive"],
        found: &[Found(among(0..2, 0..1), "fault", InvalidSync("`barrier.cluster.wait` without an arrive"))],
        ..Case::SMALL
    },
    Case {
        kernels: &["second_arrive"],
        found: &[Found(among(0..2, 0..1), "fault", InvalidSync("a second `barrier.cluster.arrive`"))],
        ..Case::SMALL
    },
    Case {
        kernels: &["barrier_in_divergent_code"],
        found: &[Found(
            among(0..2, 0..32),
            "fault",
            DivergentBarrier(&["lanes 0x0000ffff wait at PTX line", "lanes 0xffff0000 wait at PTX line"]),
        )],
        ..Case::SMALL
    },
    Case {
        kernels: &["barriers_that_wait_for_each_other"],
        found: &[Found(
            among(0..2, 0..64),
            "fault",
            Deadlock(&[
                "CTA [0, 0, 0] warp 0 lanes 0xffffffff wait at PTX line",
                "CTA [1, 0, 0] warp 1 lanes 0xffffffff wait at PTX line",
                "`barrier.cluster.wait`",
                "`bar.sync 0`",
            ]),
        )],
        ..Case::PLAIN
    },
];

/// Each CTA reads what the other has written.
const EXCHANGE: Case = Case { result: |input| [&input[32..], &input[..32]].concat(), ..Case::SMALL };
