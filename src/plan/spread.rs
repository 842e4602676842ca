//! Spreads: how the team of a row that registers do not hold is divided over CTAs.
//!
//! Such a row is divided into stretches of whole slabs, by its hidden size, type and source alone. Their sums are merged by themselves
//! and then with one another, in one order, so that a CTA can walk all of them, or each CTA of a cluster some, and
//! the row's bits are the same.

use super::Team;
use super::constants::{GROUP_ELEMENTS, MAX_STRETCHES};

/// Where the slabs of a long row are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// CTAs of the cluster that shares the row.
    pub cluster: u32,
    /// Slabs of the row.
    pub slabs: u32,
    /// Slabs that a CTA walks, of whole stretches; the last CTA those that are left.
    pub cta_slabs: u32,
    /// log2 of the slabs of a stretch.
    pub stretch_shift: u32,
}

impl Spread {
    /// A row of so many slabs in one CTA.
    pub(super) fn whole(slabs: u32) -> Spread {
        let stretch_slabs = slabs.div_ceil(MAX_STRETCHES).next_power_of_two();
        Spread {
            cluster: 1,
            slabs,
            cta_slabs: slabs.next_multiple_of(stretch_slabs),
            stretch_shift: stretch_slabs.ilog2(),
        }
    }

    /// The same row over clusters of 1, 2, 4 and 8 CTAs, as far as there are stretches for all.
    pub(super) fn over_clusters(slabs: u32) -> impl Iterator<Item = Spread> {
        let whole = Spread::whole(slabs);
        [1, 2, 4, 8].into_iter().filter_map(move |cluster| {
            let stretches = whole.stretches();
            let cta_stretches = stretches.div_ceil(cluster);
            let divided = stretches.div_ceil(cta_stretches) == cluster;
            divided.then_some(Spread { cluster, cta_slabs: cta_stretches << whole.stretch_shift, ..whole })
        })
    }

    /// Stretches of the row.
    pub const fn stretches(self) -> u32 {
        self.slabs.div_ceil(1 << self.stretch_shift)
    }

    /// Elements of a row that a CTA walks at most.
    pub fn columns(self, team: Team, hidden: usize) -> usize {
        hidden.min(self.cta_slabs as usize * GROUP_ELEMENTS * team.threads as usize)
    }
}
