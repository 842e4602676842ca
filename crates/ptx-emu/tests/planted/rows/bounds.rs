use crate::harness::{Case, File, Spare, rows, sum, words};
use crate::kernels;
use crate::wanted::Wanted::{Forbidden, OutOfBounds};
use crate::wanted::{Found, Hit, among, at, thread};
use ptx_emu::AccessKind::{Atomic, Load, Store};
use ptx_emu::Space::{Const, Global, Local, Param, Shared};

pub const FILE: File = kernels!("bounds");

pub const ROWS: &[Case] = &[
    Case {
        kernels: &["load_past_the_end"],
        found: &[Found(thread(1, 63), "fault", OutOfBounds(Hit(Global, Load, 4, at("in", 512)), "in", 512, false))],
        ..Case::PLAIN
    },
    Case {
        kernels: &["store_before_the_start"],
        found: &[Found(thread(0, 0), "fault", OutOfBounds(Hit(Global, Store, 4, at("out", -4)), "out", 512, false))],
        ..Case::PLAIN
    },
    Case {
        kernels: &["atomic_past_the_end"],
        spare: Spare::Zeroed(32),
        found: &[Found(
            thread(1, 60),
            "fault",
            OutOfBounds(Hit(Global, Atomic, 4, at("spare", 128)), "spare", 128, false),
        )],
        ..Case::PLAIN
    },
    Case {
        kernels: &["one_byte_past"],
        found: &[Found(thread(1, 63), "fault", OutOfBounds(Hit(Global, Load, 1, at("in", 512)), "in", 512, false))],
        result: |input| input.iter().map(|word| word >> 24).collect(),
        ..Case::PLAIN
    },
    Case {
        kernels: &["vector_past_the_end"],
        ctas: 1,
        threads: 32,
        input: words(126),
        output: words(32),
        found: &[Found(thread(0, 31), "fault", OutOfBounds(Hit(Global, Load, 16, at("in", 496)), "in", 504, false))],
        result: |input| input.chunks(4).map(sum).collect(),
        ..Case::PLAIN
    },
    Case {
        kernels: &["load_in_the_gap_of_a_row"],
        threads: 8,
        input: rows(2, 22, 32),
        output: words(16),
        found: &[Found(thread(1, 5), "fault", Forbidden(Hit(Global, Load, 16, at("in", 208)), 216, "in"))],
        result: |input| {
            let of_row = |row: &[u32]| row[..22].chunks(4).map(sum).chain([0, 0]).collect::<Vec<_>>();
            input.chunks(32).flat_map(of_row).collect()
        },
        ..Case::PLAIN
    },
    Case {
        kernels: &["store_in_the_gap_of_a_row"],
        output: rows(2, 22, 32),
        found: &[Found(thread(1, 22), "fault", Forbidden(Hit(Global, Store, 4, at("out", 216)), 216, "out"))],
        result: |input| input.chunks(32).flat_map(|row| &row[..22]).copied().collect(),
        ..Case::SMALL
    },
    Case {
        kernels: &["shared_past_the_end"],
        found: &[Found(
            among(0..2, 63..64),
            "fault",
            OutOfBounds(Hit(Shared, Load, 4, at("", 256)), "shared memory", 256, false),
        )],
        ..Case::PLAIN
    },
    Case {
        kernels: &["dynamic_shared_past_the_end"],
        dynamic_shared: 256,
        found: &[Found(
            among(0..2, 63..64),
            "fault",
            OutOfBounds(Hit(Shared, Store, 4, at("", 256)), "shared memory", 256, false),
        )],
        ..Case::PLAIN
    },
    Case {
        kernels: &["shared_one_byte_past"],
        found: &[Found(
            thread(1, 59),
            "fault",
            OutOfBounds(Hit(Shared, Load, 1, at("", 61)), "shared memory", 61, false),
        )],
        result: |input| {
            let of_cta = |cta: &[u32]| cta[1..61].iter().map(|word| word & 0xff).chain([0; 4]).collect::<Vec<_>>();
            input.chunks(64).flat_map(of_cta).collect()
        },
        ..Case::PLAIN
    },
    Case {
        kernels: &["shared_before_the_start"],
        found: &[Found(
            among(0..2, 0..1),
            "fault",
            OutOfBounds(Hit(Shared, Store, 4, at("", -4)), "shared memory", 256, false),
        )],
        ..Case::PLAIN
    },
    Case {
        kernels: &["local_past_the_end"],
        found: &[Found(
            thread(1, 13),
            "fault",
            OutOfBounds(Hit(Local, Load, 4, at("", 32)), "local memory", 32, false),
        )],
        result: |input| (0..).zip(input).map(|(i, word)| word + if i == 77 { 7 } else { i % 8 }).collect(),
        ..Case::PLAIN
    },
    Case {
        kernels: &["local_before_the_start"],
        found: &[Found(
            thread(1, 13),
            "fault",
            OutOfBounds(Hit(Local, Load, 4, at("", -4)), "local memory", 32, false),
        )],
        result: |input| (0..).zip(input).map(|(i, word)| word + if i == 77 { 0 } else { i % 8 }).collect(),
        ..Case::PLAIN
    },
    Case {
        kernels: &["constant_past_the_end"],
        found: &[Found(
            among(0..2, 63..64),
            "fault",
            OutOfBounds(Hit(Const, Load, 4, at("", 256)), "table", 256, false),
        )],
        ..Case::PLAIN
    },
    Case {
        kernels: &["parameter_past_the_end"],
        found: &[Found(
            thread(1, 6),
            "fault",
            OutOfBounds(Hit(Param, Load, 4, at("", 24)), "parameter_past_the_end_param_2", 8, false),
        )],
        ..Case::PLAIN
    },
    Case {
        kernels: &["freed"],
        spare: Spare::Freed(1),
        found: &[Found(thread(1, 6), "fault", OutOfBounds(Hit(Global, Load, 4, at("spare", 0)), "spare", 4, true))],
        ..Case::PLAIN
    },
    Case {
        kernels: &["null_pointer"],
        found: &[Found(thread(1, 6), "fault", OutOfBounds(Hit(Global, Load, 4, at("null", 0)), "in", 512, false))],
        ..Case::PLAIN
    },
];
