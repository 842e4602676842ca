//! The fuzz targets on inputs that follow from their numbers alone: the same ones on every machine, which a search that
//! coverage guides does not have.

use arbitrary::{Arbitrary, Unstructured};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use warpnorm_fuzz::op::Op;
use warpnorm_fuzz::random::Random;
use warpnorm_fuzz::{mutate, ptx};

/// Inputs of each target.
const OPS: u64 = 10_000;
const TEXTS: u64 = 20_000;

/// Runs what the inputs become, and says what that was where it panics.
fn each<T: Debug>(inputs: u64, make: impl Fn(&mut Random) -> Option<T>, run: impl Fn(&T)) {
    for number in 0..inputs {
        // What is too short for one is none.
        let Some(made) = make(&mut Random::new(number)) else { continue };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&made))) {
            eprintln!("that was input {number}: {made:#?}");
            resume_unwind(panic);
        }
    }
}

#[test]
fn ops_hold() {
    let make = |random: &mut Random| {
        let bytes: Vec<u8> = (0..16).flat_map(|_| random.bits().to_le_bytes()).collect();
        Op::arbitrary(&mut Unstructured::new(&bytes)).ok()
    };
    each(OPS, make, Op::hold);
}

/// Up to ten changes to one of the seeds: few, and it runs; many, and it is hardly PTX.
#[test]
fn changed_ptx_is_parsed_or_refused() {
    let make = |random: &mut Random| {
        let seed = mutate::SEEDS[random.below(mutate::SEEDS.len())].to_owned();
        Some((0..=random.below(10)).fold(seed, |text, _| mutate::change(&text, random)))
    };
    each(TEXTS, make, |text| ptx::parse_and_launch(text));
}
