//! The tool as its users meet it: the binary, its exit codes, and the files that it reads and writes.

mod apply;
mod bad_input;
mod bars;
mod batch_norm;
mod bench;
mod corrupt;
mod files;
mod formulas;
mod gpu;
mod heads;
mod model;
mod op_grids;
mod op_refusals;
mod ops;
mod parity;
mod peers;
mod profile;
mod quantise;
mod tool;
mod usage;
mod written;
