//! The emulated device: the PTX of this build, run by the executor on any machine.

use crate::host::{BatchOutput, BatchProblem, Device, DeviceMemory, Output, Placement, Problem, run_batch_on, run_on};
use crate::plan::{ColumnPlan, Kernel, Module, Plan, plan, plan_columns};
use crate::ptx;
use crate::{Call, ColumnCall, DeviceFacts, Error, PlanError, Role};
use ptx_emu::{LaunchConfig, LaunchError, LaunchOptions, LaunchReport, Memory, MemoryError, ParseError};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error as ThisError;

/// A failure of the executor.
#[derive(Debug, ThisError)]
pub enum EmulatedError {
    /// The module's PTX holds something that the executor does not know.
    #[error("module {module} for sm_{target}: {source}")]
    Parse {
        /// The module.
        module: Module,
        /// The module's target.
        target: u32,
        /// What it does not know.
        source: ParseError,
    },
    /// The launch was refused, or a thread did something that it must not.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// A copy to or from emulated memory was out of bounds.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// Kernels parsed so far, each in a module of its own as a driver has it: parsing takes far longer than a small launch.
static PARSED: Mutex<Option<Parsed>> = Mutex::new(None);

/// By module and target.
type Parsed = HashMap<(Kernel, u32), Arc<ptx_emu::Module>>;

fn parsed(kernel: Kernel, capability: (u32, u32)) -> Result<Arc<ptx_emu::Module>, Error> {
    let module = kernel.module();
    let embedded = ptx::select(module, capability, None)?;
    let target = embedded.target;
    if !kernel.is_on(target) {
        return Err(PlanError::NoModule { module }.into());
    }
    let mut all = PARSED.lock().unwrap_or_else(PoisonError::into_inner);
    let all = all.get_or_insert_default();
    if let Some(parsed) = all.get(&(kernel, target)) {
        return Ok(Arc::clone(parsed));
    }
    let parsed = ptx_emu::Module::parse(&embedded.ptx_of(kernel)).map_err(|source| EmulatedError::Parse {
        module,
        target,
        source,
    })?;
    Ok(Arc::clone(all.entry((kernel, target)).or_insert(Arc::new(parsed))))
}

/// A GPU that is not there: plans are made for its facts and run by the executor.
///
/// Of a [programmatic](crate::ProgrammaticLaunch) launch, an access to a tensor that comes before the wait is a fault;
/// but to parameters, where they are read first.
#[derive(Clone, Debug)]
pub struct Emulated {
    facts: DeviceFacts,
    options: LaunchOptions,
}

impl Emulated {
    /// An emulated device with these facts.
    pub fn new(facts: DeviceFacts) -> Self {
        Self { facts, options: LaunchOptions::default() }
    }

    /// The device with these options of the executor.
    #[must_use]
    pub fn with_options(self, options: LaunchOptions) -> Self {
        Self { options, ..self }
    }

    /// The facts that plans are made for.
    pub fn facts(&self) -> &DeviceFacts {
        &self.facts
    }

    /// Plans a call on emulated memory and runs it. Returns the plan and the executor's counters, or
    /// None where there was nothing to launch.
    ///
    /// # Errors
    /// The call is invalid, no PTX of this build runs on the device, or the executor found a fault.
    pub fn launch(&self, call: &Call, memory: &mut Memory) -> Result<Option<(Plan, LaunchReport)>, Error> {
        let Some(plan) = plan(call, &self.facts)? else { return Ok(None) };
        let config = config_of(&plan, plan.block);
        // What launches in front of this one may still be using; where it begins behind them, nothing.
        let unready = if plan.programmatic { call.unready()? } else { Vec::new() };
        let report = self.execute(plan.kernel, &config, bytemuck::bytes_of(&plan.args), unready, memory)?;
        Ok(Some((plan, report)))
    }

    /// Plans a call for the statistics of columns on emulated memory and runs it. Returns the plan and the
    /// executor's counters.
    ///
    /// # Errors
    /// As [`launch`](Self::launch).
    pub fn launch_columns(&self, call: &ColumnCall, memory: &mut Memory) -> Result<(ColumnPlan, LaunchReport), Error> {
        let plan = plan_columns(call, &self.facts)?;
        let config = LaunchConfig {
            grid: [plan.grid, 1, 1],
            block: [plan.block, 1, 1],
            cluster: [1; 3],
            dynamic_shared_bytes: 0,
        };
        let unready = if plan.programmatic { call.unready()? } else { Vec::new() };
        let report = self.execute(plan.kernel, &config, bytemuck::bytes_of(&plan.args), unready, memory)?;
        Ok((plan, report))
    }

    fn execute(
        &self,
        kernel: Kernel,
        config: &LaunchConfig,
        args: &[u8],
        unready: Vec<Range<u64>>,
        memory: &mut Memory,
    ) -> Result<LaunchReport, Error> {
        let options = LaunchOptions { unready, ..self.options.clone() };
        let module = parsed(kernel, self.facts.compute_capability)?;
        Ok(module.launch_with(kernel.name(), config, &[args], memory, &options).map_err(EmulatedError::from)?)
    }

    /// The target of the PTX of a module that the device runs, compute capability × 10.
    ///
    /// # Errors
    /// This build has no such module, or no PTX of it for the device.
    pub fn target(&self, module: Module) -> Result<u32, PlanError> {
        Ok(ptx::select(module, self.facts.compute_capability, None)?.target)
    }

    /// Runs a problem of host memory and returns the executor's counters, distinct bytes among them, with
    /// the results.
    ///
    /// # Errors
    /// As [`launch`](Self::launch).
    pub fn run_counted(
        &self,
        problem: &Problem<'_>,
        placement: Placement,
    ) -> Result<(Output, Option<(Plan, LaunchReport)>), Error> {
        self.counting().run_in_arena(problem, placement)
    }

    /// Runs a problem of the statistics of columns and returns the executor's counters, distinct bytes among them,
    /// with the results.
    ///
    /// # Errors
    /// As [`launch`](Self::launch).
    pub fn run_batch_counted(
        &self,
        problem: &BatchProblem<'_>,
        placement: Placement,
    ) -> Result<(BatchOutput, Option<(ColumnPlan, LaunchReport)>), Error> {
        let device = self.counting();
        let mut arena = Arena::new(&device);
        let output = run_batch_on(&mut arena, problem, placement)?;
        Ok((output, arena.last_of_columns))
    }

    fn counting(&self) -> Self {
        self.clone().with_options(LaunchOptions { distinct_bytes: true, ..self.options.clone() })
    }

    fn run_in_arena(
        &self,
        problem: &Problem<'_>,
        placement: Placement,
    ) -> Result<(Output, Option<(Plan, LaunchReport)>), Error> {
        let mut arena = Arena::new(self);
        let output = run_on(&mut arena, problem, placement)?;
        Ok((output, arena.last))
    }
}

/// How a plan is launched, with thread blocks of this shape.
fn config_of(plan: &Plan, [width, height]: [u32; 2]) -> LaunchConfig {
    LaunchConfig {
        grid: [plan.grid, 1, 1],
        block: [width, height, 1],
        cluster: [plan.cluster, 1, 1],
        dynamic_shared_bytes: plan.shared_bytes,
    }
}

impl Device for Emulated {
    fn name(&self) -> String {
        format!("emulated {}", self.facts.name)
    }

    fn run(&self, problem: &Problem<'_>, placement: Placement) -> Result<Output, Error> {
        Ok(self.run_in_arena(problem, placement)?.0)
    }

    fn run_batch(&self, problem: &BatchProblem<'_>, placement: Placement) -> Result<BatchOutput, Error> {
        run_batch_on(&mut Arena::new(self), problem, placement)
    }
}

struct Arena<'a> {
    device: &'a Emulated,
    memory: Memory,
    last: Option<(Plan, LaunchReport)>,
    last_of_columns: Option<(ColumnPlan, LaunchReport)>,
}

impl<'a> Arena<'a> {
    fn new(device: &'a Emulated) -> Self {
        Self { device, memory: Memory::new(), last: None, last_of_columns: None }
    }
}

impl DeviceMemory for Arena<'_> {
    fn allocate(&mut self, role: Role, contents: &[u8], misalignment: usize, read_only: bool) -> Result<u64, Error> {
        let address = self.memory.allocate_misaligned(role.name(), contents.len(), misalignment);
        self.memory.write(address, contents).map_err(EmulatedError::from)?;
        self.memory.set_read_only(address, read_only).map_err(EmulatedError::from)?;
        Ok(address)
    }

    fn forbid(&mut self, address: u64, bytes: usize) -> Result<(), Error> {
        Ok(self.memory.forbid(address, bytes).map_err(EmulatedError::from)?)
    }

    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Error> {
        Ok(self.memory.read(address, into).map_err(EmulatedError::from)?)
    }

    fn launch(&mut self, call: &Call) -> Result<(), Error> {
        self.last = self.device.launch(call, &mut self.memory)?;
        Ok(())
    }

    fn launch_columns(&mut self, call: &ColumnCall) -> Result<(), Error> {
        self.last_of_columns = Some(self.device.launch_columns(call, &mut self.memory)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Outputs;
    use crate::{DType, Norm, ProgrammaticLaunch};
    use ptx_emu::FaultKind;

    /// Launches something else than what was laid out.
    struct Otherwise<'a, Launch> {
        arena: Arena<'a>,
        launch: Launch,
    }

    impl<Launch: FnMut(&mut Arena<'_>, &Call) -> Result<(), Error>> DeviceMemory for Otherwise<'_, Launch> {
        fn allocate(&mut self, role: Role, contents: &[u8], offset: usize, read_only: bool) -> Result<u64, Error> {
            self.arena.allocate(role, contents, offset, read_only)
        }

        fn forbid(&mut self, address: u64, bytes: usize) -> Result<(), Error> {
            self.arena.forbid(address, bytes)
        }

        fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Error> {
            self.arena.read(address, into)
        }

        fn launch(&mut self, call: &Call) -> Result<(), Error> {
            (self.launch)(&mut self.arena, call)
        }

        fn launch_columns(&mut self, call: &ColumnCall) -> Result<(), Error> {
            self.arena.launch_columns(call)
        }
    }

    /// The tensor and the offset of the byte in the padding that was touched; none if it all ran.
    fn touched(lie: fn(&mut Call)) -> Option<(String, u64)> {
        let device = Emulated::new(DeviceFacts::h200());
        let arena = Arena::new(&device);
        let x = vec![0; 3 * 64 * 4];
        let outputs = Outputs::default();
        let (norm, dtype) = (Norm::rms_norm(1e-6), DType::F32);
        let problem = Problem { outputs, ..Problem::new(norm, dtype, 3, 64, &x) };
        let placement = Placement { padding: 4, ..Placement::default() };
        let launch = |arena: &mut Arena<'_>, call: &Call| {
            let mut call = *call;
            lie(&mut call);
            arena.launch(&call)
        };
        match run_on(&mut Otherwise { arena, launch }, &problem, placement) {
            Ok(_) => None,
            Err(Error::Emulated(EmulatedError::Launch(LaunchError::Fault(fault)))) => match fault.kind {
                FaultKind::Forbidden { name, offset, .. } => Some((name, offset)),
                other => panic!("{other}"),
            },
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn the_gaps_between_rows_are_guarded() {
        assert_eq!(touched(|_| {}), None);
        let row = 64 * 4;
        // A kernel that takes rows for longer than they are reads on; one whose output lies a little
        // off writes into the gap.
        let too_long = |call: &mut Call| (call.hidden, call.rows) = (call.hidden + 4, 2);
        assert_eq!(touched(too_long), Some(("x".to_owned(), row)));
        let off = |call: &mut Call| {
            call.y = call.y.map(|y| crate::RawRows { address: y.address + 16, ..y });
            call.rows = 2;
        };
        assert_eq!(touched(off), Some(("y".to_owned(), row)));
    }

    /// Launches a norm whose parameters are read first, and holds it to what a call of another kind would have to
    /// wait for. Returns the tensor that was touched too early.
    fn touched_before_the_wait(held_to: ProgrammaticLaunch) -> Option<String> {
        let device = Emulated::new(DeviceFacts::h200());
        let mut memory = Memory::new();
        let mut tensor = |name, elements: usize| {
            let address = memory.allocate(name, 2 * elements);
            memory.write(address, &vec![0; 2 * elements]).expect("allocated");
            address
        };
        let rows = |address| crate::RawRows { address, stride: 64 };
        let (x, y, weight) = (tensor("x", 3 * 64), tensor("y", 3 * 64), tensor("weight", 64));
        let mut call = Call::new(Norm::rms_norm(1e-6), DType::BF16, 3, 64, rows(x), rows(y));
        call.weight = Some(crate::RawVector { address: weight, dtype: DType::BF16 });
        call.programmatic_launch = ProgrammaticLaunch::ParametersFirst;
        let plan = plan(&call, device.facts()).expect("valid").expect("has rows");
        let config = config_of(&plan, plan.block);
        let unready = Call { programmatic_launch: held_to, ..call }.unready().expect("valid");
        match device.execute(plan.kernel, &config, bytemuck::bytes_of(&plan.args), unready, &mut memory) {
            Ok(_) => None,
            Err(Error::Emulated(EmulatedError::Launch(LaunchError::Fault(fault)))) => match fault.kind {
                FaultKind::Unready { name, .. } => Some(name),
                other => panic!("{other}"),
            },
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn parameters_alone_are_read_before_the_wait() {
        assert_eq!(touched_before_the_wait(ProgrammaticLaunch::ParametersFirst), None);
        assert_eq!(touched_before_the_wait(ProgrammaticLaunch::WaitFirst).as_deref(), Some("weight"));
    }
}
