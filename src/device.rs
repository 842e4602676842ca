//! What planning knows of a GPU.

/// The facts of a device that a plan depends on.
///
/// The constants are those of NVIDIA's documentation (CUDA C++ Programming Guide, table of technical
/// specifications per compute capability, and the data sheets), so that plans for a GPU can be made
/// and tested where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFacts {
    /// The name, for messages.
    pub name: String,
    /// Compute capability, major and minor.
    pub compute_capability: (u32, u32),
    /// Number of streaming multiprocessors.
    pub multiprocessors: u32,
    /// Threads in a thread block at most.
    pub max_threads_per_block: u32,
    /// Threads resident on a multiprocessor at most.
    pub max_threads_per_multiprocessor: u32,
    /// 32-bit registers of a multiprocessor.
    pub registers_per_multiprocessor: u32,
    /// Thread blocks resident on a multiprocessor at most.
    pub max_blocks_per_multiprocessor: u32,
    /// Bytes of shared memory that a thread block can have when it opts in.
    pub max_shared_bytes_per_block: u32,
    /// Bytes of shared memory of a multiprocessor.
    pub shared_bytes_per_multiprocessor: u32,
    /// Bytes of shared memory that the system keeps for itself with every resident thread block.
    pub reserved_shared_bytes_per_block: u32,
    /// Thread blocks in the x dimension of a grid at most.
    pub max_grid_x: u32,
}

impl DeviceFacts {
    fn documented(
        name: &str,
        compute_capability: (u32, u32),
        multiprocessors: u32,
        (max_threads_per_multiprocessor, max_blocks_per_multiprocessor): (u32, u32),
        (shared_kib, reserved_kib): (u32, u32),
    ) -> Self {
        Self {
            name: name.to_owned(),
            compute_capability,
            multiprocessors,
            max_threads_per_block: 1024,
            max_threads_per_multiprocessor,
            registers_per_multiprocessor: 65536,
            max_blocks_per_multiprocessor,
            max_shared_bytes_per_block: (shared_kib - reserved_kib) * 1024,
            shared_bytes_per_multiprocessor: shared_kib * 1024,
            reserved_shared_bytes_per_block: reserved_kib * 1024,
            max_grid_x: i32::MAX as u32,
        }
    }

    /// NVIDIA T4 (Turing).
    pub fn t4() -> Self {
        Self::documented("NVIDIA T4", (7, 5), 40, (1024, 16), (64, 0))
    }

    /// NVIDIA A100 (Ampere).
    pub fn a100() -> Self {
        Self::documented("NVIDIA A100", (8, 0), 108, (2048, 32), (164, 1))
    }

    /// NVIDIA L4 (Ada Lovelace).
    pub fn l4() -> Self {
        Self::documented("NVIDIA L4", (8, 9), 58, (1536, 24), (100, 1))
    }

    /// NVIDIA H100 (Hopper), the SXM5 board; the PCIe board has 114 multiprocessors.
    pub fn h100() -> Self {
        Self { name: "NVIDIA H100".to_owned(), ..Self::h200() }
    }

    /// NVIDIA H200 (Hopper).
    pub fn h200() -> Self {
        Self::documented("NVIDIA H200", (9, 0), 132, (2048, 32), (228, 1))
    }

    /// NVIDIA B200 (Blackwell).
    pub fn b200() -> Self {
        Self::documented("NVIDIA B200", (10, 0), 148, (2048, 32), (228, 1))
    }

    /// Whether thread blocks can be launched in clusters, and kernels before the one in front of them has completed
    /// (CUDA C++ Programming Guide, features per compute capability: from 9.0 on).
    pub const fn has_clusters(&self) -> bool {
        self.compute_capability.0 >= 9
    }

    /// The GPUs that every plan is tested for. The H100 is not among them: to a plan it is an H200.
    pub fn documented_gpus() -> Vec<Self> {
        vec![Self::t4(), Self::a100(), Self::l4(), Self::h200(), Self::b200()]
    }

    /// The GPUs that have a short name, by it: the last word of theirs.
    fn by_short_name() -> impl Iterator<Item = (String, Self)> {
        // In the order of their generations; the H100 is of the H200's.
        let all = [Self::t4(), Self::a100(), Self::l4(), Self::h100(), Self::h200(), Self::b200()];
        all.into_iter().map(|facts| (facts.name.rsplit(' ').next().unwrap_or_default().to_ascii_lowercase(), facts))
    }

    /// The short names that [`named`](Self::named) knows, for messages: `t4, a100, …`.
    pub fn short_names() -> String {
        Self::by_short_name().map(|(short, _)| short).collect::<Vec<_>>().join(", ")
    }

    /// The facts of a documented GPU by its short name, such as `h200`.
    pub fn named(name: &str) -> Option<Self> {
        Self::by_short_name().find_map(|(short, facts)| short.eq_ignore_ascii_case(name).then_some(facts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The programming guide's table: thread block clusters from compute capability 9.0 on.
    #[test]
    fn devices_from_9_0_on_have_clusters() {
        let has = |name: &str| DeviceFacts::named(name).expect("documented").has_clusters();
        assert_eq!(["t4", "a100", "l4", "h100", "h200", "b200"].map(has), [false, false, false, true, true, true]);
    }
}
