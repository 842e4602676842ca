use crate::harness::{Case, File, words};
use crate::kernels;
use crate::wanted::Wanted::{AbsentThread, Deadlock, DivergentBarrier, InvalidSync, UnmetBarrier};
use crate::wanted::{Found, among, thread};

pub const FILE: File = kernels!("synchronisation");

pub const ROWS: &[Case] = &[
    Case {
        kernels: &["shuffle_without_itself"],
        found: &[Found(thread(0, 31), "fault", InvalidSync("mask 0x7fffffff does not name the lane itself"))],
        result: |input| (0..32).map(|i| input[i ^ 1]).collect(),
        ..Case::one_cta(32)
    },
    Case {
        kernels: &["vote_without_itself"],
        found: &[Found(thread(0, 31), "fault", InvalidSync("mask 0x7fffffff does not name the lane itself"))],
        result: |input| vec![lanes(&input[..32], |word| word % 2 == 1); 32],
        ..Case::one_cta(32)
    },
    Case { kernels: &["shuffle_with_exited_lanes"], result: |input| (0..16).map(|i| input[i ^ 1]).collect(), ..EXITED },
    Case {
        kernels: &["vote_with_exited_lanes"],
        result: |input| vec![lanes(&input[..16], |word| word % 2 == 1); 16],
        ..EXITED
    },
    Case {
        kernels: &["match_with_exited_lanes"],
        result: |input| input[..16].iter().map(|word| lanes(&input[..16], |other| other % 3 == word % 3)).collect(),
        ..EXITED
    },
    Case { kernels: &["warp_barrier_with_exited_lanes"], result: |input| input[..16].to_vec(), ..EXITED },
    Case {
        kernels: &["shuffle_with_lanes_that_exit"],
        found: EXITED.found,
        result: |input| {
            let steps = |word: &u32| (0..word % 8).fold(*word, |v, _| v.wrapping_mul(3).wrapping_add(1));
            (0..16).map(|i| input[i ^ 1]).chain(input[16..].iter().map(steps)).collect()
        },
        ..Case::one_cta(32)
    },
    Case {
        kernels: &["shuffle_with_lanes_elsewhere"],
        found: &[Found(
            among(0..1, 0..32),
            "fault",
            DivergentBarrier(&[
                "lanes 0x0000ffff wait at PTX line",
                "`shfl.sync.bfly.b32",
                "lanes 0xffff0000 wait at PTX line",
                "`bar.sync 0`",
            ]),
        )],
        result: |input| (0..32).map(|i| if i < 16 { input[i ^ 1] } else { input[i] }).collect(),
        ..Case::one_cta(32)
    },
    Case {
        kernels: &["shuffles_of_different_branches"],
        found: &[Found(among(0..1, 0..32), "fault", AbsentThread(u32::MAX, 16, Some("fault")))],
        result: |input| (0..32).map(|i| input[i ^ if i < 16 { 1 } else { 2 }]).collect(),
        ..Case::one_cta(32)
    },
    Case {
        kernels: &["masks_that_differ"],
        found: &[Found(thread(0, 16), "fault", AbsentThread(u32::MAX, 0, None))],
        result: |input| (0..32).map(|i| input[i ^ 1]).collect(),
        ..Case::one_cta(32)
    },
    Case {
        kernels: &["barrier_in_divergent_code"],
        found: &[Found(
            among(0..1, 0..32),
            "fault",
            DivergentBarrier(&["lanes 0x0000ffff wait at PTX line", "lanes 0xffff0000 wait at PTX line"]),
        )],
        ..Case::one_cta(32)
    },
    Case {
        kernels: &["barriers_of_half_a_warp"],
        found: &[Found(
            among(0..1, 0..32),
            "fault",
            DivergentBarrier(&["lanes 0x0000ffff wait at PTX line", "lanes 0xffff0000 wait at PTX line"]),
        )],
        ..Case::one_cta(32)
    },
    Case {
        kernels: &["lanes_that_name_different_barriers"],
        found: &[Found(thread(0, 0), "fault", InvalidSync("lanes of a warp name different barriers"))],
        ..Case::one_cta(32)
    },
    Case {
        kernels: &["count_that_is_no_multiple_of_32"],
        found: &[Found(among(0..1, 0..64), "fault", InvalidSync("a barrier of 48 threads"))],
        ..Case::one_cta(64)
    },
    Case {
        kernels: &["counts_that_differ"],
        found: &[
            Found(thread(0, 32), "fault", InvalidSync("barrier 1 is for 96 threads here, but was for 64 threads")),
            Found(thread(0, 0), "fault", InvalidSync("barrier 1 is for 64 threads here, but was for 96 threads")),
        ],
        ..Case::one_cta(96)
    },
    Case {
        kernels: &["barrier_of_warps_that_have_exited"],
        found: &[Found(among(0..1, 0..64), "fault", UnmetBarrier(1, 96, 64))],
        result: |input| (0..96).map(|i| if i < 64 { input[i ^ 32] } else { input[i] }).collect(),
        ..Case::one_cta(96)
    },
    Case {
        kernels: &["count_beyond_the_cta"],
        found: &[Found(among(0..1, 0..64), "fault", InvalidSync("a barrier of 96 threads in a CTA of 64"))],
        ..Case::one_cta(64)
    },
    Case {
        kernels: &["barrier_number_16"],
        found: &[Found(thread(0, 32), "fault", InvalidSync("barrier 16; a CTA has barriers 0 to 15"))],
        ..Case::one_cta(64)
    },
    Case {
        kernels: &["barriers_of_different_numbers"],
        found: &[Found(
            among(0..1, 0..64),
            "fault",
            Deadlock(&["warp 0 lanes 0xffffffff wait at PTX line", "warp 1 lanes 0xffffffff wait at PTX line"]),
        )],
        ..Case::one_cta(64)
    },
];

/// The upper half of a warp has exited, the lower names it.
const EXITED: Case = Case {
    output: words(16),
    found: &[Found(thread(0, 0), "fault", AbsentThread(u32::MAX, 16, None))],
    ..Case::one_cta(32)
};

/// The lanes whose words are so.
fn lanes(words: &[u32], so: impl Fn(u32) -> bool) -> u32 {
    (0..).zip(words).fold(0, |mask, (lane, word)| mask | u32::from(so(*word)) << lane)
}
