//! What is timed.

use warpnorm::parity::Case;

/// A norm with its data: a block of rows, which the matrices repeat.
///
/// Random numbers for gigabytes would take longer to make than to normalise. How fast a kernel is depends on the
/// values of a row only in which elements lie so near a tie that they are computed again, and a block has as many
/// of those as any other.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The op as options name it.
    pub op: String,
    /// What sets it apart from the plain one of its op.
    pub options: String,
    /// Rows of the matrices; at least those of the block.
    pub rows: usize,
    /// The first rows, and all that is not rows.
    pub block: Case,
}

impl Workload {
    /// Elements of a block at most, where a row has no more.
    pub const BLOCK_ELEMENTS: usize = 1 << 16;

    /// Rows of a block, for rows of so many elements.
    pub fn block_rows(rows: usize, row_elements: usize) -> usize {
        rows.min((Self::BLOCK_ELEMENTS / row_elements.max(1)).max(1))
    }

    /// Names of the tensors beside x, such as weight.
    pub fn tensors(&self) -> Vec<String> {
        let block = &self.block;
        let there = [
            ("residual", block.residual.is_some()),
            ("gate", block.gate.is_some()),
            ("weight", block.weight.is_some()),
            ("bias", block.bias.is_some()),
            ("linear_bias", block.linear_bias.is_some()),
            ("inner_weight", block.inner_weight.is_some()),
            ("rate", block.rate.is_some()),
            ("second_x", block.second.is_some()),
            ("cos", block.rope.is_some()),
        ];
        there.into_iter().filter(|(_, there)| *there).map(|(name, _)| name.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_small_and_never_empty() {
        assert_eq!(Workload::block_rows(8192, 4096), 16);
        assert_eq!(Workload::block_rows(8, 64), 8);
        assert_eq!(Workload::block_rows(8, 1 << 20), 1);
        assert_eq!(Workload::block_rows(0, 64), 0);
    }
}
