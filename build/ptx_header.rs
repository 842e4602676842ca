//! The directives at the head of a PTX file.

/// PTX ISA version and target of a PTX text.
#[derive(Debug, PartialEq, Eq)]
pub struct PtxHeader {
    /// PTX ISA, (major, minor).
    pub isa: (u32, u32),
    /// Compute capability × 10.
    pub target: u32,
}

/// Reads `.version` and `.target`.
///
/// # Errors
/// One of the two is missing or malformed; the text says which.
pub fn parse(ptx: &str) -> Result<PtxHeader, String> {
    let directive = |name: &str| {
        ptx.lines()
            .find_map(|line| line.trim_start().strip_prefix(name))
            .map(|rest| rest.split("//").next().unwrap_or_default().trim())
            .ok_or_else(|| format!("it has no `{name}` directive"))
    };
    let version = directive(".version ")?;
    let target = directive(".target ")?;
    Ok(PtxHeader {
        isa: parse_isa(version).ok_or_else(|| format!("`.version {version}` is not <n>.<n>"))?,
        target: target
            .strip_prefix("sm_")
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| format!("`.target {target}` is not a plain sm_<n>"))?,
    })
}

/// Reads `<major>.<minor>`.
pub fn parse_isa(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
