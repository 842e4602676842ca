//! In which order clusters and warps run.
//!
//! A kernel is right only if its results do not depend on it. The default is the simplest order; a
//! shuffled one finds what depends on it.

/// The order in which the parts of a grid run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Schedule {
    /// Clusters one after another by their index, the warps of a cluster in turn, each until it waits.
    #[default]
    InOrder,
    /// Clusters in an order drawn by the seed, the warps of a cluster interleaved in another: each
    /// turn is a few instructions long and goes to a warp drawn afresh. The same seed gives the same
    /// run on every machine.
    Shuffled {
        /// Any number.
        seed: u64,
    },
}

/// Warp instructions that a warp runs before the next one gets its turn.
pub(super) const TIME_SLICE: u32 = 1 << 16;
/// The longest turn of a shuffled schedule: long enough that most of the time goes into
/// instructions, short enough that warps meet in the middle of what a barrier should keep apart.
const SHORT_SLICE: u64 = 48;

/// Draws the order of a launch.
#[derive(Clone, Debug)]
pub(crate) struct Scheduler {
    /// State of the generator; none for the order by index.
    random: Option<u64>,
}

impl Scheduler {
    pub(crate) fn new(schedule: Schedule) -> Scheduler {
        Scheduler {
            random: match schedule {
                Schedule::InOrder => None,
                Schedule::Shuffled { seed } => Some(seed),
            },
        }
    }

    /// A number below `bound`, by SplitMix64; the order by index draws zeros.
    fn below(&mut self, bound: u64) -> u64 {
        let Some(state) = &mut self.random else { return 0 };
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((u128::from(z) * u128::from(bound)) >> 64) as u64
    }

    /// The order of `count` clusters: a function from position to index.
    pub(crate) fn clusters(&mut self, count: u64) -> impl Fn(u64) -> u64 + use<> {
        // An affine map rather than a list, which would not fit for the largest grids. Any step
        // without a common divisor reaches every cluster once.
        let (mut step, mut start) = (1, 0);
        if self.random.is_some() {
            step = 1 + self.below(count);
            while gcd(step, count) != 1 {
                step += 1;
            }
            start = self.below(count);
        }
        move |position| ((u128::from(position) * u128::from(step) + u128::from(start)) % u128::from(count)) as u64
    }

    /// Puts the numbers below `count` into the order in which the warps get their next turns.
    pub(crate) fn warps(&mut self, order: &mut Vec<usize>, count: usize) {
        if order.len() != count {
            order.clear();
            order.extend(0..count);
        }
        if self.random.is_some() {
            for left in (1..count).rev() {
                order.swap(left, self.below(left as u64 + 1) as usize);
            }
        }
    }

    /// How many warp instructions the next turn lasts.
    pub(crate) fn slice(&mut self) -> u32 {
        if self.random.is_none() { TIME_SLICE } else { 1 + self.below(SHORT_SLICE) as u32 }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cluster_once() {
        for count in [1u64, 2, 12, 97, 360] {
            for seed in 0..50 {
                let order = Scheduler::new(Schedule::Shuffled { seed }).clusters(count);
                let mut seen: Vec<u64> = (0..count).map(&order).collect();
                seen.sort_unstable();
                assert!(seen.into_iter().eq(0..count), "{count} {seed}");
            }
            let order = Scheduler::new(Schedule::InOrder).clusters(count);
            assert!((0..count).all(|position| order(position) == position));
        }
        let largest = (1 << 31) * 65_535 * 65_535;
        let order = Scheduler::new(Schedule::Shuffled { seed: 7 }).clusters(largest);
        assert_ne!(order(largest - 1), order(0));
    }

    #[test]
    fn both_orders_of_any_two() {
        let before = |seed| {
            let mut scheduler = Scheduler::new(Schedule::Shuffled { seed });
            let clusters = scheduler.clusters(2);
            let mut warps = Vec::new();
            scheduler.warps(&mut warps, 2);
            (clusters(0) == 0, warps[0] == 0)
        };
        let drawn: Vec<_> = (0..20).map(before).collect();
        for clusters in [true, false] {
            for warps in [true, false] {
                assert!(drawn.contains(&(clusters, warps)));
            }
        }
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let draw = |seed| {
            let mut scheduler = Scheduler::new(Schedule::Shuffled { seed });
            let mut warps = Vec::new();
            scheduler.warps(&mut warps, 32);
            (warps, (0..10).map(|_| scheduler.slice()).collect::<Vec<_>>())
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
        // Pinned, so that a seed in a report stays good from machine to machine.
        let mut scheduler = Scheduler::new(Schedule::Shuffled { seed: 0 });
        assert_eq!(scheduler.below(u64::MAX), 0xe220_a839_7b1d_cdae);
    }
}
