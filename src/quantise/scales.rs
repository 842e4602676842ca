//! How scales are stored.

use super::Quantisation;
use std::fmt;

/// The type of a stored scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleType {
    /// IEEE 754 binary32.
    F32,
    /// A byte e that stands for 2^(e − 127); 255 is NaN. OCP Microscaling Formats v1.0, section 5.4.1.
    Ue8m0,
    /// An e4m3 byte. Tensor cores ignore its sign bit.
    E4m3,
}

impl ScaleType {
    /// Bytes a scale takes.
    pub const fn size(self) -> usize {
        match self {
            ScaleType::F32 => 4,
            ScaleType::Ue8m0 | ScaleType::E4m3 => 1,
        }
    }

    /// The name that messages use.
    pub const fn name(self) -> &'static str {
        match self {
            ScaleType::F32 => "f32",
            ScaleType::Ue8m0 => "ue8m0",
            ScaleType::E4m3 => "e4m3",
        }
    }
}

impl fmt::Display for ScaleType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where the scale of a group of a row lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ScaleLayout {
    /// `scales[row][group]`, without gaps.
    #[default]
    RowMajor,
    /// `scales[group][row]`. From one group to the next lie as many scales as there are rows, rounded up
    /// to a multiple of `alignment`; those past the last row are not written. 1 for CUTLASS, as vLLM and
    /// SGLang call it; 4 for DeepGEMM, whose TMA wants 16 bytes.
    ColumnMajor {
        /// At least 1.
        alignment: usize,
    },
    /// Tiles of 128 rows × 4 groups, 512 scales, as cuBLAS and the tensor cores of Blackwell read them:
    /// `scales[row / 128][group / 4][row % 32][row / 32 % 4][group % 4]`. Scales of tiles that rows or groups
    /// do not fill are not written.
    Tiled,
}

impl fmt::Display for ScaleLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScaleLayout::RowMajor => f.write_str("row-major"),
            ScaleLayout::ColumnMajor { alignment } => write!(f, "column-major, aligned to {alignment}"),
            ScaleLayout::Tiled => f.write_str("tiled"),
        }
    }
}

const TILE_ROWS: usize = 128;
const TILE_GROUPS: usize = 4;

impl Quantisation {
    /// Scales that a buffer for so many rows must hold, those between and after the rows' own included.
    /// None where there are more than can be counted.
    pub fn scale_count(&self, rows: usize, hidden: usize) -> Option<usize> {
        let groups = self.groups(hidden);
        match self.scaling.layout() {
            ScaleLayout::RowMajor => rows.checked_mul(groups),
            ScaleLayout::ColumnMajor { alignment } => rows.checked_next_multiple_of(alignment)?.checked_mul(groups),
            ScaleLayout::Tiled => {
                let groups = groups.checked_next_multiple_of(TILE_GROUPS)?;
                rows.checked_next_multiple_of(TILE_ROWS)?.checked_mul(groups)
            }
        }
    }

    /// Scales from a row's to the next row's, and from a group's to the next group's; tiles side by side, and
    /// 0, where scales are tiled.
    pub(crate) const fn scale_strides(&self, rows: usize, hidden: usize) -> (u64, u64) {
        let groups = self.groups(hidden);
        match self.scaling.layout() {
            ScaleLayout::RowMajor => (groups as u64, 1),
            ScaleLayout::ColumnMajor { alignment: 0 } => (1, rows as u64),
            ScaleLayout::ColumnMajor { alignment } => (1, rows.next_multiple_of(alignment) as u64),
            ScaleLayout::Tiled => (groups.div_ceil(TILE_GROUPS) as u64, 0),
        }
    }

    /// The place of a scale in a buffer of [`scale_count`](Self::scale_count) scales.
    pub const fn scale_index(&self, rows: usize, hidden: usize, row: usize, group: usize) -> usize {
        let groups = self.groups(hidden);
        match self.scaling.layout() {
            ScaleLayout::RowMajor => row * groups + group,
            // An alignment of 0 is refused elsewhere; here it must not be divided by.
            ScaleLayout::ColumnMajor { alignment: 0 } => group * rows + row,
            ScaleLayout::ColumnMajor { alignment } => group * rows.next_multiple_of(alignment) + row,
            ScaleLayout::Tiled => {
                let tile = row / TILE_ROWS * groups.div_ceil(TILE_GROUPS) + group / TILE_GROUPS;
                tile * (TILE_ROWS * TILE_GROUPS) + row % 32 * 16 + row / 32 % 4 * 4 + group % 4
            }
        }
    }
}
