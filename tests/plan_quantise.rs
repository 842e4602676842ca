//! Plans of norms that quantise: what the sink takes for granted of where elements are, and of alignment.

use proptest::prelude::*;
use warpnorm::plan::{Path, Place, Source, Team, flags, plan};
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{Call, DType, DeviceFacts, Norm, RawCodes, RawRows};

/// Elements of a chunk of 16-bit values.
const CHUNK: usize = 8;

const WARP: usize = 32;

fn halves() -> impl Strategy<Value = DType> {
    prop::sample::select(&[DType::F16, DType::BF16][..])
}

/// Sizes of every regime that this divides.
fn multiples_of(unit: usize) -> impl Strategy<Value = usize> {
    prop_oneof![1..=64 / (unit / 16), 1..=1024 / (unit / 16), 1..=16_384 / (unit / 16)].prop_map(move |n| n * unit)
}

fn groups_and_sizes() -> impl Strategy<Value = (usize, usize)> {
    prop::sample::select(&[16, 32, 64, 128][..]).prop_flat_map(|group| (Just(group), multiples_of(group)))
}

proptest! {
    /// Two neighbours of a warp exchange codes: each has both chunks of its own, or none.
    #[test]
    fn pairs_of_chunks_are_in_neighbouring_lanes(dtype in halves(), hidden in multiples_of(16)) {
        let team = Team::of_row(Source::Plain, dtype, hidden);
        prop_assert!(team.threads.is_multiple_of(2));
        for column in (0..hidden).step_by(2 * CHUNK) {
            let (even, odd) = (team.place(column), team.place(column + CHUNK));
            prop_assert!(even.rank.is_multiple_of(2), "{even:?}");
            prop_assert_eq!(odd, Place { rank: even.rank + 1, ..even });
        }
    }

    /// The elements that share a scale are in one slab, and in lanes of one warp that differ in their lowest
    /// bits alone: that many of them, and all lines of the slab where those lanes do not suffice.
    #[test]
    fn groups_are_in_lanes_that_can_reduce_them((group, hidden) in groups_and_sizes(), dtype in halves()) {
        let team = Team::of_row(Source::Plain, dtype, hidden);
        let lanes = (group / CHUNK).min(team.threads as usize);
        prop_assert!(lanes.is_power_of_two() && lanes <= WARP);
        let lines = group / CHUNK / lanes;
        prop_assert!(lines == 1 || lines == 2, "{} lines", lines);
        for first in (0..hidden).step_by(group) {
            let start = team.place(first);
            prop_assert!(start.rank.is_multiple_of(lanes) && (start.element / CHUNK).is_multiple_of(lines), "{start:?}");
            for (chunk, column) in (first..first + group).step_by(CHUNK).enumerate() {
                let element = start.element + chunk / lanes * CHUNK;
                let wanted = Place { rank: start.rank + chunk % lanes, element, ..start };
                prop_assert_eq!(team.place(column), wanted);
            }
        }
    }

    /// Codes leave in wider stores than bytes only where every row allows it, and a call is aligned only where they do.
    #[test]
    fn wide_stores_of_codes_are_planned_only_where_every_row_is_aligned(
        code in prop::sample::select(&CodeType::ALL[..]),
        rows in 1usize..100, hidden in 1usize..100, padding in 0usize..40, offset in 0u64..40,
    ) {
        let quantisation =
            if code == CodeType::E2m1 { Quantisation::nvfp4() } else { Quantisation::per_token(code) };
        let hidden = if code == CodeType::E2m1 { hidden.next_multiple_of(16) } else { hidden };
        let norm = Norm::rms_norm(1e-6).with_quantisation(quantisation);
        let x = RawRows { address: 1 << 45, stride: hidden };
        let mut call = Call::new(norm, DType::BF16, rows, hidden, x, x);
        let stride = quantisation.row_bytes(hidden) + padding;
        let address = (2 << 45) + offset;
        call.y = None;
        call.codes = Some(RawCodes { address, stride });
        call.scales = Some(3 << 45);
        call.tensor_scale = quantisation.scaling.takes_tensor_scale().then_some(4 << 45);
        let planned = plan(&call, &DeviceFacts::h200()).expect("a valid call").expect("rows to launch");

        let all_at = |unit| (0..rows as u64).all(|row| (address + row * stride as u64).is_multiple_of(unit));
        let chunk_bytes = if code == CodeType::E2m1 { 4 } else { 8 };
        prop_assert_eq!(planned.args.flags & flags::WIDE_CODES != 0, all_at(chunk_bytes));
        // Nothing else is misaligned.
        let is_aligned = hidden.is_multiple_of(8) && all_at(chunk_bytes);
        prop_assert_eq!(planned.kernel.form().path == Path::Aligned, is_aligned);
    }
}
