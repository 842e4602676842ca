//! Every instruction that the decoder accepts, on edge values, against the ISA's definition.
//!
//! The instructions are listed by family, in the ISA's notation. Each spelling has an oracle that
//! shares nothing with the executor: integers of 128 bits, exact rounding ([`exact`]), the `half`
//! crate, the ISA's pseudo-code. [`coverage`] holds that the lists are complete.

mod approximate;
mod atomics;
mod bits;
mod compare;
mod control;
mod convert;
mod coverage;
mod edges;
mod exact;
mod exchange;
mod float;
mod harness;
mod integer;
mod memory;
mod moves;
mod syntax;

use harness::Family;

/// Lists the families, and makes a test of each.
macro_rules! families {
    ($($test:ident => $family:expr,)*) => {
        const FAMILIES: &[Family] = &[$($family),*];
        $(
            #[test]
            fn $test() {
                $family.test();
            }
        )*
    };
}

families! {
    integer_arithmetic => integer::FAMILY,
    carries => integer::CARRY,
    logic_shifts_and_bit_fields => bits::FAMILY,
    comparisons_and_selections => compare::FAMILY,
    single_precision => float::SINGLE,
    double_precision => float::DOUBLE,
    half_precision => float::HALF,
    approximate_functions => approximate::FAMILY,
    conversions => convert::FAMILY,
    conversions_with_eight_bits => convert::EIGHT_BITS,
    loads_and_stores => memory::FAMILY,
    moves_and_hints => moves::FAMILY,
    atomic_updates => atomics::FAMILY,
    exchanges_in_a_warp => exchange::FAMILY,
    control_and_barriers => control::FAMILY,
}
