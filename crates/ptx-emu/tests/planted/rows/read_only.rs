use crate::harness::{Case, File, Spare};
use crate::kernels;
use crate::wanted::Wanted::ReadOnly;
use crate::wanted::{Found, Hit, at, thread};
use ptx_emu::AccessKind::{Atomic, Store};
use ptx_emu::Space::{Const, Global, Param};

pub const FILE: File = kernels!("read_only");

pub const ROWS: &[Case] = &[
    Case {
        kernels: &["store_to_the_input"],
        found: &[Found(thread(1, 0), "fault", ReadOnly(Hit(Global, Store, 4, at("in", 256)), "in"))],
        result: |input| input.iter().map(|word| word + 1).collect(),
        ..Case::PLAIN
    },
    Case {
        kernels: &["atomic_on_the_input"],
        spare: Spare::Zeroed(128),
        found: &[Found(thread(1, 6), "fault", ReadOnly(Hit(Global, Atomic, 4, at("in", 280)), "in"))],
        result: |input| vec![0; input.len()],
        ..Case::PLAIN
    },
    Case {
        kernels: &["store_to_constants"],
        found: &[Found(thread(1, 6), "fault", ReadOnly(Hit(Const, Store, 4, at("", 8)), "table"))],
        ..Case::PLAIN
    },
    Case {
        kernels: &["store_to_a_parameter"],
        found: &[Found(
            thread(1, 6),
            "fault",
            ReadOnly(Hit(Param, Store, 4, at("", 20)), "store_to_a_parameter_param_2"),
        )],
        ..Case::PLAIN
    },
];
