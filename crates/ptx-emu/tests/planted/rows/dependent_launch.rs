use crate::harness::{Case, File, Spare};
use crate::kernels;
use crate::wanted::Wanted::Unready;
use crate::wanted::{Found, Hit, among, at, one_of, thread};
use ptx_emu::AccessKind::{Load, Store};
use ptx_emu::Space::Global;

pub const FILE: File = kernels!("dependent_launch");

const DEPENDENT: Case = Case { dependent: true, ..Case::PLAIN };

/// A fault of the first lane of whichever warp runs first.
const FIRST_LOAD: Found = Found(among(0..2, 0..64), "fault", Unready(Hit(Global, Load, 4, one_of("in", 0..512)), "in"));

pub const ROWS: &[Case] = &[
    Case { kernels: &["reads_before_the_wait"], found: &[FIRST_LOAD], ..DEPENDENT },
    Case {
        kernels: &["writes_before_the_wait"],
        found: &[Found(among(0..2, 0..64), "fault", Unready(Hit(Global, Store, 4, one_of("out", 0..512)), "out"))],
        ..DEPENDENT
    },
    Case {
        kernels: &["some_threads_do_not_wait"],
        found: &[Found(thread(1, 6), "fault", Unready(Hit(Global, Load, 4, at("in", 280)), "in"))],
        ..DEPENDENT
    },
    Case {
        kernels: &["only_the_input_has_to_wait"],
        spare: Spare::Zeroed(128),
        found: &[Found(among(0..2, 16..64), "fault", Unready(Hit(Global, Load, 4, one_of("in", 64..512)), "in"))],
        ..DEPENDENT
    },
];
