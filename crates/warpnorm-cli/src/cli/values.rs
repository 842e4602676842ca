//! Values of options that the library has no words for.

use std::str::FromStr;
use warpnorm::parity::Values;
use warpnorm::{DType, DeviceFacts};

/// Rows and hidden size of generated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of rows.
    pub rows: usize,
    /// Elements of a row.
    pub hidden: usize,
}

/// Elements of generated data at most. The reference of a row takes 40 bytes an element, and a row
/// may be all of it.
pub const MAX_GENERATED: usize = 1 << 26;

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = text
            .split_once(['x', '×'])
            .and_then(|(rows, hidden)| Some(Shape { rows: rows.parse().ok()?, hidden: hidden.parse().ok()? }))
            .ok_or("wanted ROWSxHIDDEN, such as 4x4096")?;
        if shape.hidden == 0 {
            return Err("the hidden size is 0, wanted at least 1".to_owned());
        }
        match shape.rows.checked_mul(shape.hidden) {
            Some(elements) if elements.max(shape.hidden) <= MAX_GENERATED => Ok(shape),
            _ => Err(format!("wanted at most {MAX_GENERATED} elements")),
        }
    }
}

fn named<T: Copy>(text: &str, all: &[T], name: impl Fn(T) -> String) -> Result<T, String> {
    let found = all.iter().copied().find(|&value| name(value) == text);
    found
        .ok_or_else(|| format!("wanted one of {}", all.iter().map(|&value| name(value)).collect::<Vec<_>>().join(", ")))
}

pub(super) fn dtype(text: &str) -> Result<DType, String> {
    named(text, &DType::ALL, |dtype| dtype.name().to_owned())
}

pub(super) fn values(text: &str) -> Result<Values, String> {
    named(text, &Values::ALL, |values| values.name().to_owned())
}

pub(super) fn gpu(text: &str) -> Result<DeviceFacts, String> {
    DeviceFacts::named(text).ok_or_else(|| format!("wanted one of {}", DeviceFacts::short_names()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        assert_eq!("4x4096".parse(), Ok(Shape { rows: 4, hidden: 4096 }));
        assert_eq!("0x1".parse(), Ok(Shape { rows: 0, hidden: 1 }));
        for bad in ["", "4", "x", "4x", "x4", "4x0", "-1x4", "4x4x4", "99999999999999999999x1"] {
            assert!(bad.parse::<Shape>().is_err(), "{bad}");
        }
        assert!(format!("2x{MAX_GENERATED}").parse::<Shape>().is_err());
        assert!(format!("0x{}", MAX_GENERATED + 1).parse::<Shape>().is_err());
        assert!(format!("{}x4", usize::MAX).parse::<Shape>().is_err());
    }
}
