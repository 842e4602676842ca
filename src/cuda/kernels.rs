//! The kernels of a context, and the raw face.

use super::enqueue::{Shape, enqueue};
use super::error::During;
use super::module::LoadedKernel;
use super::{BatchStatisticsCall, CudaError, NormCall, driver};
use crate::plan::{ColumnPlan, Kernel, Module, Plan, plan, plan_among, plan_columns};
use crate::ptx::INSTANCES;
use crate::{BatchStatistics, Call, ColumnCall, DeviceFacts, Element, Error, Norm, PlanError};
use cudarc::driver::sys::{self, CUstreamCaptureStatus};
use cudarc::driver::{CudaContext, CudaStream, result};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The kernels of this crate in one CUDA context. Make one per context and share it between threads.
///
/// There is a [`Module`] for every kind of norm and activation type. Each of its kernels is loaded when it is first
/// needed, which compiles PTX for the device and can take a tenth of a second or more, unless the build has a
/// [cubin](crate::cubin) for it; [`warm_up`](Self::warm_up) does that ahead of time, for all kernels of a module.
/// Dropping the kernels waits for the context's work, which is not allowed while a stream captures, then unloads them:
/// graphs that captured their launches are to be dropped first.
pub struct Kernels {
    context: Arc<CudaContext>,
    facts: DeviceFacts,
    driver: (u32, u32),
    /// By [`Module::index`] and [`Kernel::index`].
    loaded: Box<[Box<[OnceLock<LoadedKernel>]>]>,
    /// Held while a kernel is loaded, so that none is loaded twice.
    loading: Mutex<()>,
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loaded: Vec<_> = Module::all().filter(|&module| self.is_loaded(module)).collect();
        f.debug_struct("Kernels")
            .field("ordinal", &self.context.ordinal())
            .field("facts", &self.facts)
            .field("driver", &self.driver)
            .field("loaded", &loaded)
            .finish()
    }
}

impl Kernels {
    /// Kernels for this context. Asks the driver about the device; loads nothing yet.
    ///
    /// # Errors
    /// [`CudaError::Driver`] where the driver fails.
    pub fn new(context: &Arc<CudaContext>) -> Result<Self, Error> {
        Ok(Self {
            context: Arc::clone(context),
            facts: driver::facts(context.cu_device())?,
            driver: driver::version()?,
            loaded: INSTANCES
                .iter()
                .map(|instance| instance.kernels.iter().map(|_| OnceLock::new()).collect())
                .collect(),
            loading: Mutex::new(()),
        })
    }

    /// The context that the kernels are for.
    pub fn context(&self) -> &Arc<CudaContext> {
        &self.context
    }

    /// What plans for this device depend on.
    pub fn facts(&self) -> &DeviceFacts {
        &self.facts
    }

    /// The CUDA version that the driver states, major and minor.
    pub fn driver_version(&self) -> (u32, u32) {
        self.driver
    }

    /// Whether all kernels of this module are loaded.
    pub fn is_loaded(&self, module: Module) -> bool {
        let loaded = |kernel| self.slot(kernel).is_ok_and(|slot| slot.get().is_some());
        self.kernels_of(module).is_ok_and(|mut kernels| kernels.all(loaded))
    }

    /// Loads the kernels of these modules, where they are not loaded yet. Call it before a stream's work is captured into
    /// a graph, and before the first request of a server. Loading while another thread captures in global
    /// mode may end that capture.
    ///
    /// ```no_run
    /// # use cudarc::driver::CudaContext;
    /// # use warpnorm::cuda::Kernels;
    /// use warpnorm::plan::Module;
    /// use warpnorm::quantise::{CodeType, Quantisation};
    /// use warpnorm::{DType, Norm};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let kernels = Kernels::new(&CudaContext::new(0)?)?;
    /// let norm = Norm::rms_norm(1e-6);
    /// // All quantisations of a norm are one module, which is another than that of the norm alone.
    /// let fp8 = norm.with_quantisation(Quantisation::per_token(CodeType::E4m3));
    /// kernels.warm_up(&[Module::of(&norm, DType::F16), Module::of(&fp8, DType::F16)])?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Plan`] where this build has no such module or no PTX of it that runs on the device and
    /// driver, [`Error::Cuda`] where the driver refuses a module.
    pub fn warm_up(&self, modules: &[Module]) -> Result<(), Error> {
        modules.iter().try_for_each(|&module| self.load_all(module))
    }

    /// Loads every module.
    ///
    /// # Errors
    /// As [`warm_up`](Self::warm_up).
    pub fn warm_up_all(&self) -> Result<(), Error> {
        Module::all().try_for_each(|module| self.load_all(module))
    }

    /// Begins a norm of tensors that cudarc holds; see [`NormCall`].
    pub fn norm<E: Element>(&self, norm: &Norm) -> NormCall<'_, E> {
        NormCall::new(self, *norm)
    }

    /// Begins the statistics of columns of a tensor that cudarc holds; see [`BatchStatisticsCall`].
    pub fn batch_statistics<E: Element>(&self, statistics: &BatchStatistics) -> BatchStatisticsCall<'_, E> {
        BatchStatisticsCall::new(self, *statistics)
    }

    /// Launches a call on memory named by address. Returns as soon as the launch is queued.
    ///
    /// # Safety
    /// 1. Every tensor of the call is in memory that the kernels' device can access, of at least the
    ///    extent that the call's rows, hidden size and strides span:
    ///    - x, gate and y, and the heads beside them: `rows` rows of so many heads or groups of `hidden` elements;
    ///      residuals: `rows` rows of `hidden` elements;
    ///    - weight and bias: `hidden` elements, of each group where the norm is of groups; all other parameters:
    ///      `hidden` elements;
    ///    - mean and rstd: an f32 for every row, or every head or group of every row;
    ///    - codes: `rows` rows of [`row_bytes`](crate::quantise::Quantisation::row_bytes) bytes, their stride in
    ///      bytes; scales: [`scale_count`](crate::quantise::Quantisation::scale_count) scales of their type, the
    ///      ones between rows' own included; tensor_scale: one f32;
    ///    - cos and sin: `entries` rows of half as many elements as are rotated; positions: one for every row, of
    ///      any value.
    /// 2. That memory stays allocated until the launch has completed, also in every replay of a graph
    ///    that captures it.
    /// 3. From the launch's start to its completion, nothing else writes what the call reads, and
    ///    nothing else reads or writes what it writes. Other streams are to be ordered by the caller. A
    ///    [programmatic](crate::ProgrammaticLaunch) launch starts, as far as this is concerned, when the launches in
    ///    front of it in the stream have completed; but, where it reads parameters first, no launch that may still
    ///    run when it begins writes those. Kernels of others in front of it in such a chain complete only after what
    ///    is in front of them has.
    /// 4. What the call reads has been written before, in the stream's order: also tensor_scale and positions,
    ///    which are read when the launch, or a replay of it, runs.
    ///
    /// # Errors
    /// [`Error::Call`] where the call is invalid, [`Error::Plan`] where this device cannot run it,
    /// [`CudaError::WrongContext`] for a stream of another context, [`CudaError::NotLoaded`] where the
    /// stream is capturing and the kernel is not loaded, [`CudaError::Driver`] where the driver refuses
    /// the launch or reports a failure of earlier work.
    pub unsafe fn launch_raw(&self, stream: &CudaStream, call: &Call) -> Result<(), Error> {
        self.check_context(stream)?;
        // SAFETY: the stream is of the kernels' context and borrowed, so alive; the rest is the
        // caller's to keep.
        unsafe { self.launch_raw_on(stream.cu_stream(), call) }
    }

    /// [`launch_raw`](Self::launch_raw) on a stream that another library owns.
    ///
    /// # Safety
    /// Points 1 to 4 of [`launch_raw`](Self::launch_raw), and:
    ///
    /// 5. `stream` is a live stream of the kernels' context, or null for that context's default stream.
    ///
    /// # Errors
    /// As [`launch_raw`](Self::launch_raw), but for the stream's context, which is not checked.
    pub unsafe fn launch_raw_on(&self, stream: sys::CUstream, call: &Call) -> Result<(), Error> {
        // SAFETY: the stream is live by point 5.
        let Some(plan) = unsafe { self.plan_on(stream, call) }? else { return Ok(()) };
        let mut args = plan.args;
        let Plan { kernel, grid, block, cluster, shared_bytes, programmatic, .. } = plan;
        let shape = Shape { grid, block, cluster, shared_bytes, programmatic };
        // SAFETY: the stream is live by point 5; the kernel's one parameter is a `RowArgs`; grid, block, cluster and
        // shared memory are those that the plan made for this device. The plan's accesses stay within the extents of
        // point 1, and points 2 to 4 make them sound for as long as they last.
        unsafe { self.enqueue(stream, kernel, shape, &mut args) }
    }

    /// Launches the statistics of columns on memory named by address. Returns as soon as the launch is queued.
    ///
    /// # Safety
    /// Points 2 to 4 of [`launch_raw`](Self::launch_raw), and:
    ///
    /// 1. Every tensor of the call is in memory that the kernels' device can access: of x, `rows` rows of `hidden`
    ///    elements, its stride apart; of all others, `hidden` elements.
    ///
    /// # Errors
    /// As [`launch_raw`](Self::launch_raw).
    pub unsafe fn launch_columns_raw(&self, stream: &CudaStream, call: &ColumnCall) -> Result<(), Error> {
        self.check_context(stream)?;
        // SAFETY: the stream is of the kernels' context and borrowed, so alive; the rest is the caller's to keep.
        unsafe { self.launch_columns_raw_on(stream.cu_stream(), call) }
    }

    /// [`launch_columns_raw`](Self::launch_columns_raw) on a stream that another library owns.
    ///
    /// # Safety
    /// As [`launch_columns_raw`](Self::launch_columns_raw), and point 5 of [`launch_raw_on`](Self::launch_raw_on).
    ///
    /// # Errors
    /// As [`launch_raw_on`](Self::launch_raw_on).
    pub unsafe fn launch_columns_raw_on(&self, stream: sys::CUstream, call: &ColumnCall) -> Result<(), Error> {
        let plan = plan_columns(call, &self.facts)?;
        let mut args = plan.args;
        let ColumnPlan { kernel, grid, block, programmatic, .. } = plan;
        let shape = Shape { grid, block: [block, 1], cluster: 1, shared_bytes: 0, programmatic };
        // SAFETY: as above, with a `ColumnArgs`.
        unsafe { self.enqueue(stream, kernel, shape, &mut args) }
    }

    /// Launches a kernel in this shape.
    ///
    /// # Safety
    /// The stream is a live one of the kernels' context; the kernel takes one parameter, an `A`; all that it
    /// accesses in such a launch stays allocated, and untouched by others, until it has completed.
    unsafe fn enqueue<A: bytemuck::Pod>(
        &self,
        stream: sys::CUstream,
        kernel: Kernel,
        shape: Shape,
        args: &mut A,
    ) -> Result<(), Error> {
        self.context.bind_to_thread().during("bind the context")?;
        // SAFETY: the context is current, and the stream is live as the caller promises.
        let loaded = unsafe { self.kernel_on(stream, kernel) }?;
        let shape = loaded.supported(kernel, shape)?;
        // SAFETY: the function is of a module that `self` keeps loaded; the rest is as the caller promises.
        Ok(unsafe { enqueue(loaded.function(), shape, stream, args) }?)
    }

    pub(super) fn check_context(&self, stream: &CudaStream) -> Result<(), CudaError> {
        // By the driver's handle: two cudarc contexts of one device share the primary context, and so its modules. That
        // tensors are of the very object that the stream is of, by which cudarc orders streams, the safe face checks.
        if **stream.context() == *self.context {
            return Ok(());
        }
        Err(CudaError::WrongContext { kernels: self.context.ordinal(), stream: stream.context().ordinal() })
    }

    /// The plan of a call. Where the stream is capturing, when nothing can be loaded, by a kernel that is loaded: if the
    /// best one is not, another one may be, for every number of rows.
    ///
    /// # Safety
    /// The stream is a live one of the kernels' context.
    unsafe fn plan_on(&self, stream: sys::CUstream, call: &Call) -> Result<Option<Plan>, Error> {
        let is_loaded = |kernel| self.slot(kernel).is_ok_and(|slot| slot.get().is_some());
        let best = plan(call, &self.facts)?;
        if best.is_none_or(|plan| is_loaded(plan.kernel)) {
            return Ok(best);
        }
        self.context.bind_to_thread().during("bind the context")?;
        // SAFETY: the context is current, and the stream is live as the caller promises.
        if unsafe { is_capturing(stream) }? { plan_among(call, &self.facts, is_loaded) } else { Ok(best) }
    }

    fn slot(&self, kernel: Kernel) -> Result<&OnceLock<LoadedKernel>, PlanError> {
        Ok(&self.loaded[kernel.module().index()?][kernel.index()])
    }

    /// A kernel, loaded now if need be and if the stream allows it.
    ///
    /// # Safety
    /// The kernels' context is current, and the stream is a live one of it.
    unsafe fn kernel_on(&self, stream: sys::CUstream, kernel: Kernel) -> Result<&LoadedKernel, Error> {
        if let Some(loaded) = self.slot(kernel)?.get() {
            return Ok(loaded);
        }
        // SAFETY: as the caller promises.
        if unsafe { is_capturing(stream) }? {
            return Err(CudaError::NotLoaded { module: kernel.module() }.into());
        }
        self.load(kernel)
    }

    fn load_all(&self, module: Module) -> Result<(), Error> {
        self.kernels_of(module)?.try_for_each(|kernel| self.load(kernel).map(|_| ()))
    }

    /// The kernels of a module that plans for this device are made of.
    fn kernels_of(&self, module: Module) -> Result<impl Iterator<Item = Kernel>, PlanError> {
        let (major, minor) = self.facts.compute_capability;
        let mine = move |kernel: &Kernel| kernel.is_on(major * 10 + minor);
        Ok(module.kernels()?.filter(mine))
    }

    fn load(&self, kernel: Kernel) -> Result<&LoadedKernel, Error> {
        let slot = self.slot(kernel)?;
        if let Some(loaded) = slot.get() {
            return Ok(loaded);
        }
        // The lock guards no data, so a panic under it spoils nothing.
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = slot.get() {
            return Ok(loaded);
        }
        let loaded = LoadedKernel::load(&self.context, &self.facts, self.driver, kernel)?;
        Ok(slot.get_or_init(|| loaded))
    }
}

/// Whether work for the stream is captured rather than done, and nothing may be loaded.
///
/// # Safety
/// The context is current, and the stream is a live one of it.
unsafe fn is_capturing(stream: sys::CUstream) -> Result<bool, CudaError> {
    // SAFETY: as the caller promises.
    let status = unsafe { result::stream::is_capturing(stream) }.during("ask whether the stream is capturing")?;
    Ok(status != CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE)
}
