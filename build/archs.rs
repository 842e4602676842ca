//! `WARPNORM_ARCHS`: the virtual architectures that nvcc compiles for.

use super::{BuildError, Env};

const NAME: &str = "WARPNORM_ARCHS";

/// The architectures to compile for, and whether they were asked for.
#[derive(Debug)]
pub struct ArchList {
    targets: Vec<u32>,
    given: Option<String>,
}

impl ArchList {
    /// The list in `WARPNORM_ARCHS`, or else `default`.
    ///
    /// # Errors
    /// The list is empty, or has an entry that is not a plain number.
    pub fn read(env: &Env, default: &[u32]) -> Result<Self, BuildError> {
        let given = env.text(NAME)?;
        let targets = match &given {
            Some(list) => parse(NAME, list)?,
            None => default.to_vec(),
        };
        Ok(Self { targets, given })
    }

    /// Compute capabilities × 10, ascending.
    pub fn targets(&self) -> &[u32] {
        &self.targets
    }

    /// What to tell someone whose list leaves GPUs out that the crate supports.
    pub fn warning(&self) -> Option<String> {
        let base = *self.targets.first()?;
        (base >= 80).then(|| {
            format!(
                "cargo::warning={NAME} has no entry below 80: \
                 the crate will refuse GPUs below compute capability {}.{}",
                base / 10,
                base % 10
            )
        })
    }

    /// What to tell someone whose list has no effect.
    pub fn ignored_warning(&self) -> Option<String> {
        self.given.as_ref().map(|list| {
            format!(
                "cargo::warning={NAME}={list} has no effect on prebuilt PTX; \
                 set WARPNORM_PTX=nvcc to compile for a list"
            )
        })
    }
}

/// The numbers in the list that a variable of this name holds, ascending.
///
/// # Errors
/// The list is empty, or has an entry that is not a plain number.
pub fn parse(name: &'static str, list: &str) -> Result<Vec<u32>, BuildError> {
    let mut targets = list
        .split(',')
        .map(|entry| {
            parse_entry(entry.trim()).map_err(|reason| BuildError::Archs {
                name,
                given: list.to_owned(),
                entry: entry.trim().to_owned(),
                reason,
            })
        })
        .collect::<Result<Vec<u32>, _>>()?;
    targets.sort_unstable();
    targets.dedup();
    Ok(targets)
}

fn parse_entry(entry: &str) -> Result<u32, &'static str> {
    let digits = entry.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let is_number = |text: &str| matches!(text.len(), 2 | 3) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(digits) {
        return Err("two or three digits are wanted, as in 75 for compute capability 7.5");
    }
    match &entry[digits.len()..] {
        "" => digits.parse().map_err(|_| "it is not a number"),
        "a" => Err("code for an `a` target runs on that very chip and on no later one; \
             give the plain number"),
        "f" => Err("code for an `f` target runs on that family of chips and on no later one; \
             give the plain number"),
        _ => Err("digits alone are wanted"),
    }
}
