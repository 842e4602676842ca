//! What the fuzz targets share: how an input becomes a run, and what must hold of it.

pub mod mutate;
pub mod op;
pub mod ptx;
pub mod random;
