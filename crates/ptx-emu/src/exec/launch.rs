//! Validating a launch, and running its clusters one after another.

use super::barrier::BarrierState;
use super::race::{Clock, Clocks, Shadow};
use super::registers::{LANES, Registers, lanes_of};
use super::schedule::{Schedule, Scheduler};
use super::warp::{Warp, lanes_in_warp};
use super::{Cta, Grid, Machine, clear_registers, thread_coordinates};
use crate::error::LaunchError;
use crate::ir::{Kernel, Preset, SHARED_WINDOW, Special};
use crate::memory::Memory;
use crate::module::Module;
use crate::report::{LaunchReport, Traffic};
use crate::semantics::float::Approximations;
use crate::written::ByteSet;
use std::ops::Range;

/// The most threads a CTA may have.
const MAX_THREADS: u64 = 1024;
/// The most shared memory a CTA may have in bytes: 227 KiB, as on sm_90.
const MAX_SHARED: u64 = 227 * 1024;
/// The most CTAs a cluster may have, non-portable sizes included.
const MAX_CLUSTER: u64 = 16;

/// The shape of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchConfig {
    /// CTAs of the grid, in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a CTA, in x, y and z.
    pub block: [u32; 3],
    /// CTAs of a cluster, in x, y and z; `[1, 1, 1]` for a launch without clusters.
    pub cluster: [u32; 3],
    /// Bytes of dynamic shared memory per CTA.
    pub dynamic_shared_bytes: u32,
}

impl LaunchConfig {
    /// A one-dimensional launch without clusters or dynamic shared memory.
    #[must_use]
    pub fn linear(ctas: u32, threads: u32) -> LaunchConfig {
        LaunchConfig { grid: [ctas, 1, 1], block: [threads, 1, 1], cluster: [1, 1, 1], dynamic_shared_bytes: 0 }
    }
}

/// How a launch runs, when it is given up, and what is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchOptions {
    /// Warp instructions that a launch may take: one that needs more is given up with
    /// [`FaultKind::InstructionLimit`](crate::FaultKind::InstructionLimit).
    pub instruction_limit: u64,
    /// Whether to count distinct bytes of global memory, which takes a bit for every byte touched.
    pub distinct_bytes: bool,
    /// The order in which clusters and warps run. Neither a kernel's results nor the report depend
    /// on it, unless the kernel is wrong, or waits in a loop until another thread has got somewhere.
    pub schedule: Schedule,
    /// What approximate instructions return. A kernel's results depend on it where they may differ between GPUs.
    pub approximations: Approximations,
    /// Addresses of global memory that launches before this one may still be using: for a programmatic launch,
    /// which begins before they have completed. A thread that touches them before its `griddepcontrol.wait` is at
    /// fault ([`FaultKind::Unready`](crate::FaultKind::Unready)).
    pub unready: Vec<Range<u64>>,
}

impl Default for LaunchOptions {
    /// 2^40 warp instructions (hours, for kernels that never end), in order. No distinct bytes. Nothing unready.
    fn default() -> LaunchOptions {
        LaunchOptions {
            instruction_limit: 1 << 40,
            distinct_bytes: false,
            schedule: Schedule::InOrder,
            approximations: Approximations::Nearest,
            unready: Vec::new(),
        }
    }
}

fn product(dims: [u32; 3]) -> u64 {
    dims.iter().fold(1u64, |total, dim| total.saturating_mul(u64::from(*dim)))
}

fn dimension(what: &'static str, given: [u32; 3], wanted: impl Into<String>) -> LaunchError {
    LaunchError::Dimension { what, given, wanted: wanted.into() }
}

fn check_shape(kernel: &Kernel, config: &LaunchConfig) -> Result<(), LaunchError> {
    let LaunchConfig { grid, block, cluster, .. } = *config;
    if product(grid) == 0 {
        return Err(dimension("grid", grid, "no dimension may be zero"));
    }
    if grid[0] > i32::MAX as u32 || grid[1] > 65_535 || grid[2] > 65_535 {
        return Err(dimension("grid", grid, "at most 2^31 - 1, 65535 and 65535"));
    }
    let threads = product(block);
    if threads == 0 || threads > MAX_THREADS || block[2] > 64 {
        return Err(dimension("block", block, "1 to 1024 threads, z at most 64"));
    }
    if let Some(limit) = kernel.max_threads
        && threads > product(limit)
    {
        let wanted = format!("at most {} threads (.maxntid)", product(limit));
        return Err(dimension("block", block, wanted));
    }
    if let Some(required) = kernel.required_threads
        && required != block
    {
        return Err(dimension("block", block, format!("exactly {required:?} (.reqntid)")));
    }
    if product(cluster) == 0 || product(cluster) > MAX_CLUSTER {
        return Err(dimension("cluster", cluster, format!("1 to {MAX_CLUSTER} CTAs")));
    }
    if let Some(required) = kernel.required_cluster
        && required != cluster
    {
        let wanted = format!("exactly {required:?} (.reqnctapercluster)");
        return Err(dimension("cluster", cluster, wanted));
    }
    if (0..3).any(|axis| !grid[axis].is_multiple_of(cluster[axis])) {
        return Err(dimension("cluster", cluster, format!("a divisor of the grid {grid:?}")));
    }
    Ok(())
}

fn check_arguments(kernel: &Kernel, args: &[&[u8]]) -> Result<Vec<u8>, LaunchError> {
    if args.len() != kernel.parameters.len() {
        return Err(LaunchError::ArgumentCount {
            kernel: kernel.name.clone(),
            given: args.len(),
            wanted: kernel.parameters.len(),
        });
    }
    let mut bytes = vec![0; kernel.parameter_bytes as usize];
    for (index, (arg, parameter)) in args.iter().zip(&kernel.parameters).enumerate() {
        if arg.len() as u64 != parameter.bytes {
            return Err(LaunchError::ArgumentSize {
                kernel: kernel.name.clone(),
                index,
                parameter: parameter.name.clone(),
                given: arg.len(),
                wanted: parameter.bytes as usize,
            });
        }
        let start = parameter.offset as usize;
        bytes[start..start + arg.len()].copy_from_slice(arg);
    }
    Ok(bytes)
}

/// Everything about a launch that presets may need.
struct Presets<'a> {
    config: &'a LaunchConfig,
    dynamic_shared: u64,
    total_shared: u64,
    globals: &'a [u64],
}

impl Presets<'_> {
    /// A preset's value in each lane of a warp.
    fn values(&self, preset: Preset, cta: [u32; 3], warp: u32) -> [u64; LANES] {
        match preset {
            Preset::Bits(bits) => [bits; LANES],
            Preset::DynamicShared { offset, generic } => {
                let window = if generic { SHARED_WINDOW } else { 0 };
                [self.dynamic_shared.wrapping_add(offset as u64).wrapping_add(window); LANES]
            }
            Preset::Global { variable, offset } => {
                let base = self.globals.get(variable as usize).copied().unwrap_or(0);
                [base.wrapping_add(offset as u64); LANES]
            }
            Preset::Special(special) => std::array::from_fn(|lane| self.special(special, cta, warp, lane as u32)),
        }
    }

    fn special(&self, special: Special, cta: [u32; 3], warp: u32, lane: u32) -> u64 {
        let LaunchConfig { grid, block, cluster, .. } = *self.config;
        let axis = |dims: [u32; 3], axis: u8| dims[usize::from(axis)];
        let in_cluster: [u32; 3] = std::array::from_fn(|axis| cta[axis] % cluster[axis]);
        let threads = product(block) as u32;
        let value = match special {
            Special::Tid(a) => axis(thread_coordinates(warp * 32 + lane, block), a),
            Special::Ntid(a) => axis(block, a),
            Special::Ctaid(a) => axis(cta, a),
            Special::Nctaid(a) => axis(grid, a),
            Special::LaneId => lane,
            Special::WarpId => warp,
            Special::WarpCount => threads.div_ceil(32),
            Special::SmId => 0,
            Special::SmCount => 1,
            Special::GridId => 1,
            Special::ClusterId(a) => axis(cta, a) / axis(cluster, a),
            Special::ClusterCount(a) => axis(grid, a) / axis(cluster, a),
            Special::ClusterCtaid(a) => axis(in_cluster, a),
            Special::ClusterNctaid(a) => axis(cluster, a),
            Special::ClusterCtaRank => rank_in_cluster(in_cluster, cluster),
            Special::ClusterCtaCount => product(cluster) as u32,
            Special::IsExplicitCluster => u32::from(product(cluster) > 1),
            Special::LaneMaskEq => 1 << lane,
            Special::LaneMaskLt => (1 << lane) - 1,
            Special::LaneMaskLe => u32::MAX >> (31 - lane),
            Special::LaneMaskGe => u32::MAX << lane,
            Special::LaneMaskGt => !(u32::MAX >> (31 - lane)),
            Special::TotalShared => self.total_shared as u32,
            Special::DynamicShared => self.config.dynamic_shared_bytes,
        };
        u64::from(value)
    }
}

fn rank_in_cluster(position: [u32; 3], cluster: [u32; 3]) -> u32 {
    position[0] + cluster[0] * (position[1] + cluster[1] * position[2])
}

impl Module {
    /// Runs a kernel to its end on the calling thread, one cluster of CTAs after another.
    ///
    /// `args` holds the bytes of each parameter, in order and in the device's (little-endian)
    /// layout.
    ///
    /// # Errors
    /// [`LaunchError::Fault`] where the kernel did something wrong, with the instruction and the
    /// thread; the other variants where the launch itself does not fit the kernel, in which case
    /// nothing has run. After a fault, memory holds whatever had been written until then.
    pub fn launch(
        &self,
        kernel: &str,
        config: &LaunchConfig,
        args: &[&[u8]],
        memory: &mut Memory,
    ) -> Result<LaunchReport, LaunchError> {
        self.launch_with(kernel, config, args, memory, &LaunchOptions::default())
    }

    /// [`Module::launch`] with options of one's own.
    ///
    /// # Errors
    /// As [`Module::launch`].
    pub fn launch_with(
        &self,
        kernel: &str,
        config: &LaunchConfig,
        args: &[&[u8]],
        memory: &mut Memory,
        options: &LaunchOptions,
    ) -> Result<LaunchReport, LaunchError> {
        let kernel = self.kernel(kernel).ok_or_else(|| LaunchError::UnknownKernel {
            name: kernel.to_owned(),
            available: self.kernels().collect::<Vec<_>>().join(", "),
        })?;
        check_shape(kernel, config)?;
        let parameters = check_arguments(kernel, args)?;
        let dynamic_bytes = u64::from(config.dynamic_shared_bytes);
        let dynamic_shared = kernel.static_shared.next_multiple_of(kernel.dynamic_shared_align);
        // Without dynamic memory there is no padding before it either.
        let total_shared = if dynamic_bytes == 0 { kernel.static_shared } else { dynamic_shared + dynamic_bytes };
        let static_bytes = kernel.static_shared;
        if total_shared > MAX_SHARED {
            return Err(LaunchError::SharedMemory { static_bytes, dynamic_bytes, limit: MAX_SHARED });
        }
        let globals = self.place_variables(memory);
        let presets = Presets { config, dynamic_shared, total_shared, globals: &globals };
        let clusters = std::array::from_fn(|axis| config.grid[axis] / config.cluster[axis]);
        let warps_per_cta = product(config.block).div_ceil(LANES as u64) as usize;
        let mut machine = Machine {
            kernel,
            files: &self.files,
            constants: &self.constants,
            constant_variables: &self.constant_variables,
            memory,
            parameters,
            block: config.block,
            grid: Grid { clusters, cluster: config.cluster },
            ctas: Vec::new(),
            cluster_barrier: Default::default(),
            report: LaunchReport {
                global_loads: Traffic::new(options.distinct_bytes),
                global_stores: Traffic::new(options.distinct_bytes),
                global_atomics: Traffic::new(options.distinct_bytes),
                ..LaunchReport::default()
            },
            footprints: options.distinct_bytes.then(Default::default),
            instruction_limit: options.instruction_limit,
            scheduler: Scheduler::new(options.schedule),
            approximations: options.approximations,
            last_hit: Default::default(),
            clocks: Clocks::new(product(config.cluster) as usize, warps_per_cta),
            shadow: Shadow::default(),
            unready: &options.unready,
        };
        run_grid(&mut machine, &presets)?;
        Ok(machine.report)
    }
}

fn run_grid(machine: &mut Machine<'_>, presets: &Presets<'_>) -> Result<(), LaunchError> {
    let LaunchConfig { block, cluster, .. } = *presets.config;
    let kernel = machine.kernel;
    let threads = product(block) as u32;
    let cluster_size = product(cluster) as usize;
    machine.ctas = (0..cluster_size)
        .map(|_| Cta {
            id: [0; 3],
            shared: vec![0; presets.total_shared as usize],
            written: ByteSet::new(presets.total_shared as usize),
            shadow: Shadow::default(),
            exited: Clock::default(),
            live_threads: 0,
            barriers: Default::default(),
        })
        .collect();
    let registers = Registers {
        w32: vec![[0; LANES]; kernel.w32_count as usize],
        w64: vec![[0; LANES]; kernel.w64_count as usize],
        pred: vec![0; kernel.pred_count as usize],
    };
    let mut warps: Vec<Warp> = (0..cluster_size)
        .flat_map(|cta| (0..threads.div_ceil(32)).map(move |index| (cta, index)))
        .enumerate()
        .map(|(id, (cta, index))| {
            let local = kernel.local_bytes as usize * LANES;
            Warp::new(cta, index, id, registers.clone(), local)
        })
        .collect();
    let clusters = product(machine.grid.clusters);
    let order = machine.scheduler.clusters(clusters);
    for linear in (0..clusters).map(order) {
        let time = machine.begin_cluster(linear);
        for (rank, cta) in machine.ctas.iter_mut().enumerate() {
            cta.id = machine.grid.cta(linear, rank as u32);
            cta.written.clear();
            cta.shadow.begin(time);
            cta.exited.clear();
            cta.live_threads = threads;
            cta.barriers.iter_mut().for_each(BarrierState::restart);
        }
        machine.cluster_barrier = Default::default();
        for warp in &mut warps {
            let cta = machine.ctas[warp.cta].id;
            clear_registers(&mut warp.registers);
            for (preset, index) in &kernel.presets32 {
                let values = presets.values(*preset, cta, warp.index);
                warp.registers.w32[*index as usize] = values.map(|value| value as u32);
            }
            for (preset, index) in &kernel.presets64 {
                let values = presets.values(*preset, cta, warp.index);
                warp.registers.w64[*index as usize] = values;
            }
            warp.restart(lanes_in_warp(threads, warp.index));
            debug_assert!(lanes_of(warp.live).count() > 0);
        }
        machine.run(&mut warps)?;
        machine.report.ctas += cluster_size as u64;
    }
    Ok(())
}
