//! What is expected of each kernel; a file for each file of kernels.

pub mod alignment;
pub mod bounds;
pub mod cluster_races;
pub mod dependent_launch;
pub mod distributed;
pub mod endings;
pub mod global_races;
pub mod order;
pub mod read_only;
pub mod shared_races;
pub mod synchronisation;
pub mod uninitialised;
