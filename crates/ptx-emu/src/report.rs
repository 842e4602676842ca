//! What a launch did, counted.

/// Requests, bytes and sectors of one direction of global-memory traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Warp instructions with at least one active lane.
    pub requests: u64,
    /// Bytes that the lanes asked for.
    pub bytes: u64,
    /// Distinct 32-byte sectors touched, summed over requests.
    pub sectors: u64,
}

/// Counts of one launch. The same on every machine and in every run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaunchReport {
    /// CTAs executed.
    pub ctas: u64,
    /// Instructions issued, once per warp (divergent parts of a warp issue separately).
    pub warp_instructions: u64,
    /// Instructions executed by threads: the active lanes, guard predicate true, of every issue.
    pub thread_instructions: u64,
    /// Loads from global memory.
    pub global_loads: Traffic,
    /// Stores to global memory.
    pub global_stores: Traffic,
    /// Atomics and reductions on global memory.
    pub global_atomics: Traffic,
    /// Warp-wide loads from shared memory, own or of the cluster.
    pub shared_loads: u64,
    /// Warp-wide stores to shared memory, own or of the cluster.
    pub shared_stores: u64,
    /// Warp-wide atomics on shared memory.
    pub shared_atomics: u64,
    /// Warp-wide loads and stores of local memory: spills, and arrays not kept in registers.
    pub local_accesses: u64,
    /// Shuffles, votes, matches and reductions across a warp.
    pub warp_exchanges: u64,
    /// CTA barriers completed.
    pub cta_barriers: u64,
    /// Cluster barriers completed.
    pub cluster_barriers: u64,
}
