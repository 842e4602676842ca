//! Names: registers, variables and labels, by lexical scope.

use super::types::Type;
use crate::ir::{Special, StateSpace};
use std::collections::HashMap;

/// Digits of 2^16, the most registers that are declared together.
const MAX_DIGITS: usize = 5;

/// A declared register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Register {
    pub ty: Type,
    /// Index in the file of its width, or among the predicates.
    pub index: u32,
}

/// Where a variable lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// At a fixed address of its space.
    Fixed(u64),
    /// At the start of the CTA's dynamic shared memory.
    DynamicShared,
    /// Wherever the launch places the module's global variable of this index.
    Global(u32),
}

/// A declared variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub space: StateSpace,
    pub location: Location,
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub(crate) enum Symbol<'a> {
    Register(Register),
    Variable(Place),
    Label(usize),
    BranchTargets(Vec<&'a str>),
}

/// The names of one block.
#[derive(Debug, Default)]
pub(crate) struct Scope<'a> {
    names: HashMap<&'a str, Symbol<'a>>,
    /// Registers declared as `name<count>`: their first one, and the count.
    ranges: HashMap<&'a str, (Register, u32)>,
}

impl<'a> Scope<'a> {
    /// Declares a name; false where the scope already has it.
    pub(crate) fn declare(&mut self, name: &'a str, symbol: Symbol<'a>) -> bool {
        self.names.insert(name, symbol).is_none()
    }

    pub(crate) fn declare_range(&mut self, prefix: &'a str, first: Register, count: u32) -> bool {
        self.ranges.insert(prefix, (first, count)).is_none()
    }

    pub(crate) fn lookup(&self, name: &str) -> Option<Symbol<'a>> {
        if let Some(symbol) = self.names.get(name) {
            return Some(symbol.clone());
        }
        let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let digits = &name[prefix.len()..];
        // `%r01` is not `%r1`; and `x1<4>` declares `x10` to `x13`, whose prefix ends in a digit.
        // No register's number has more digits than the largest count.
        for split in digits.len().saturating_sub(MAX_DIGITS)..digits.len() {
            let (head, number) = digits.split_at(split);
            if number.len() > 1 && number.starts_with('0') {
                continue;
            }
            let Some((first, count)) = self.ranges.get(&name[..prefix.len() + head.len()]) else {
                continue;
            };
            match number.parse::<u32>() {
                Ok(number) if number < *count => {
                    let register = Register { ty: first.ty, index: first.index + number };
                    return Some(Symbol::Register(register));
                }
                _ => {}
            }
        }
        None
    }
}

/// The special register of that name; `None` for one that is unknown or not a constant.
pub(crate) fn special_register(name: &str) -> Option<(Special, Type)> {
    let (base, axis) = match name.rsplit_once('.') {
        Some((base, "x")) => (base, Some(0)),
        Some((base, "y")) => (base, Some(1)),
        Some((base, "z")) => (base, Some(2)),
        Some(_) => return None,
        None => (name, None),
    };
    if let Some(axis) = axis {
        let special = match base {
            "%tid" => Special::Tid(axis),
            "%ntid" => Special::Ntid(axis),
            "%ctaid" => Special::Ctaid(axis),
            "%nctaid" => Special::Nctaid(axis),
            "%clusterid" => Special::ClusterId(axis),
            "%nclusterid" => Special::ClusterCount(axis),
            "%cluster_ctaid" => Special::ClusterCtaid(axis),
            "%cluster_nctaid" => Special::ClusterNctaid(axis),
            _ => return None,
        };
        return Some((special, Type::U32));
    }
    let special = match base {
        "%laneid" => Special::LaneId,
        "%warpid" => Special::WarpId,
        "%nwarpid" => Special::WarpCount,
        "%smid" => Special::SmId,
        "%nsmid" => Special::SmCount,
        "%gridid" => return Some((Special::GridId, Type::U64)),
        "%cluster_ctarank" => Special::ClusterCtaRank,
        "%cluster_nctarank" => Special::ClusterCtaCount,
        "%is_explicit_cluster" => return Some((Special::IsExplicitCluster, Type::Pred)),
        "%lanemask_eq" => Special::LaneMaskEq,
        "%lanemask_le" => Special::LaneMaskLe,
        "%lanemask_lt" => Special::LaneMaskLt,
        "%lanemask_ge" => Special::LaneMaskGe,
        "%lanemask_gt" => Special::LaneMaskGt,
        "%total_smem_size" => Special::TotalShared,
        "%dynamic_smem_size" => Special::DynamicShared,
        _ => return None,
    };
    Some((special, Type::U32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn register_ranges() {
        let mut scope = Scope::default();
        let first = Register { ty: Type::B32, index: 100 };
        assert!(scope.declare_range("%r", first, 12));
        assert!(scope.declare_range("x1", Register { ty: Type::B64, index: 0 }, 4));
        let index = |name: &str| match scope.lookup(name) {
            Some(Symbol::Register(register)) => Some(register.index),
            _ => None,
        };
        assert_eq!(index("%r0"), Some(100));
        assert_eq!(index("%r11"), Some(111));
        assert_eq!(index("%r12"), None);
        assert_eq!(index("%r01"), None);
        assert_eq!(index("%r"), None);
        assert_eq!(index("x13"), Some(3));
    }
}
