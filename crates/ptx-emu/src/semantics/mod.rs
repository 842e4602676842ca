//! What instructions compute, as functions of scalar values.

pub(crate) mod float;
pub(crate) mod integer;
pub(crate) mod small;
