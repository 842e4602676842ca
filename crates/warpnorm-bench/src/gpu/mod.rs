//! Timing on an NVIDIA GPU.
//!
//! A sample is one replay of a CUDA graph that captured many launches, between two events on one stream: no call of
//! the driver lies between the launches. Launches take sets of tensors in turn, which are larger than the
//! L2 cache together where memory allows it, and a sample takes all of them.

mod cold;
mod copy;
mod graph;
mod memory;
mod rotation;
mod verify;

pub use cold::{CACHE_DISABLED, first_launch};
pub(crate) use graph::GraphTimer;
#[cfg(feature = "cublas")]
pub(crate) use graph::Queue;
pub(crate) use memory::DeviceBuffers;
pub(crate) use rotation::Rotation;

#[cfg(feature = "cublas")]
pub(crate) use memory::Memory;
#[cfg(feature = "cublas")]
pub(crate) use verify::{UNWRITTEN, accept, baseline as check_baseline, relative_l2};

use crate::clocks::Clocks;
use crate::error::During;
use crate::measure::{Protocol, Stopwatch, measure};
use crate::report::{self, Baseline, Cell, Copy, Time};
use crate::{BenchError, Workload};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};
use std::sync::Arc;
use warpnorm::Call;
use warpnorm::cuda::{Cuda, Kernels};
use warpnorm::plan::{Module, byte_floor};

/// The baseline that moves the same bytes, and does nothing to them.
const COPY: &str = "copy";

/// A GPU, and the baselines that it has.
pub struct Gpu {
    cuda: Cuda,
    l2_bytes: u64,
    #[cfg(feature = "cublas")]
    cublas: Result<crate::cublas::CuBlas, BenchError>,
}

impl Gpu {
    /// The first GPU. A missing cuBLAS is no error here, but of every cell.
    ///
    /// # Errors
    /// There is no GPU, or the driver fails.
    pub fn open() -> Result<Self, BenchError> {
        let cuda = Cuda::new(0)?;
        let context = cuda.kernels().context();
        // SAFETY: everything of this crate is on this device's one stream, whose order is all that is needed; and a
        // capturing stream cannot wait for events of before.
        unsafe { context.disable_event_tracking() };
        let l2 = context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE).during("read the size of the L2")?;
        #[cfg(feature = "cublas")]
        let cublas = crate::cublas::CuBlas::new(cuda.stream());
        Ok(Self {
            cuda,
            l2_bytes: l2.unsigned_abs().into(),
            #[cfg(feature = "cublas")]
            cublas,
        })
    }

    /// The device.
    pub fn cuda(&self) -> &Cuda {
        &self.cuda
    }

    /// Bytes of the L2 cache.
    pub fn l2_bytes(&self) -> u64 {
        self.l2_bytes
    }

    /// The device for reports.
    pub fn describe(&self) -> report::Device {
        let (facts, driver) = (self.cuda.kernels().facts(), self.cuda.kernels().driver_version());
        let (major, minor) = facts.compute_capability;
        report::Device {
            kind: "cuda".to_owned(),
            name: facts.name.clone(),
            compute_capability: Some(format!("{major}.{minor}")),
            multiprocessors: Some(facts.multiprocessors),
            cuda_driver: Some(format!("{}.{}", driver.0, driver.1)),
            l2_bytes: Some(self.l2_bytes),
            instead_of_gpu: None,
        }
    }

    /// The clocks as they are now.
    pub fn clocks(&self) -> Clocks {
        let mut id = [0; 32];
        // SAFETY: the driver writes at most 32 bytes, a zero last.
        let written = unsafe {
            sys::cuDeviceGetPCIBusId(id.as_mut_ptr(), id.len() as i32, self.cuda.kernels().context().cu_device())
        };
        let bytes: Vec<u8> = id.iter().map(|&c| c as u8).take_while(|&c| c != 0).collect();
        let text = String::from_utf8(bytes).ok().filter(|_| written.result().is_ok());
        Clocks::query(text.as_deref())
    }

    /// Bytes of tensors that may be taken: half of what is free.
    fn room(&self) -> Result<u64, BenchError> {
        // What was freed in the stream's order is free once the stream is there.
        self.cuda.stream().synchronize().during("wait for the device")?;
        let (free, _) = self.cuda.kernels().context().mem_get_info().during("ask for the free memory")?;
        Ok(free as u64 / 2)
    }

    /// Why there is no cuBLAS, where there is none.
    pub fn without_cublas(&self) -> Option<String> {
        #[cfg(feature = "cublas")]
        return self.cublas.as_ref().err().map(ToString::to_string);
        #[cfg(not(feature = "cublas"))]
        Some("this build has no cuBLAS baselines (feature `cublas`)".to_owned())
    }

    /// The bandwidth of a copy of 512 MiB, or of an eighth of the free memory where that is less.
    ///
    /// # Errors
    /// The driver fails.
    pub fn copy(&self, protocol: &Protocol) -> Result<Copy, BenchError> {
        let bytes = (512u64 << 20).min(self.room()? / 4);
        let mut buffers = DeviceBuffers::new(self.cuda.stream());
        let copy = copy::Copies::new(&mut buffers, bytes, 1)?;
        let queue = move |turn: u32, stream: &Arc<_>| copy.queue(turn, stream);
        let mut timer = GraphTimer::new(self.cuda.stream(), 1, Box::new(queue));
        let times = measure(&mut [&mut timer], protocol).remove(0)?;
        Ok(Copy::new(2 * bytes, times.into()))
    }

    /// Lends the stopwatch of warpnorm's kernel on a workload, its result checked.
    ///
    /// # Errors
    /// The tensors do not fit, the driver fails, or the result is wrong.
    pub fn with_kernel<R>(
        &self,
        workload: &Workload,
        body: impl FnOnce(&mut dyn Stopwatch) -> R,
    ) -> Result<R, BenchError> {
        let (kernels, stream) = (self.cuda.kernels(), self.cuda.stream());
        let mut buffers = DeviceBuffers::new(stream);
        let rotation = Rotation::new(&mut buffers, workload, 4 * self.l2_bytes, self.room()?)?;
        let calls = rotation.calls();
        verify::check(&buffers, workload, &calls[0], || launch(kernels, stream, &calls[0]))?;
        let queue = |turn: u32, stream: &Arc<_>| launch(kernels, stream, &calls[turn as usize % calls.len()]);
        Ok(body(&mut GraphTimer::new(stream, rotation.round(), Box::new(queue))))
    }

    /// Bytes that a launch of a workload must move.
    ///
    /// # Errors
    /// The workload is not possible.
    pub fn floor_bytes(workload: &Workload) -> Result<u64, BenchError> {
        let mut whole = workload.block.as_problem();
        whole.rows = workload.rows;
        Ok(whole.byte_floor().total())
    }

    /// Times a workload and its baselines, each checked before.
    ///
    /// # Errors
    /// The tensors do not fit, the driver fails, or warpnorm's result is wrong. A baseline that fails is in the cell
    /// with its reason.
    pub fn time(&self, workload: &Workload, protocol: &Protocol, peak: Option<&Copy>) -> Result<Cell, BenchError> {
        let stream = self.cuda.stream();
        let mut buffers = DeviceBuffers::new(stream);
        let wanted = 4 * self.l2_bytes;
        let rotation = Rotation::new(&mut buffers, workload, wanted, self.room()?)?;
        let kernels = self.cuda.kernels();
        kernels.warm_up(&[Module::of(&workload.block.norm, workload.block.dtype)])?;

        let first = &rotation.calls()[0];
        let relative_l2 = verify::check(&buffers, workload, first, || launch(kernels, stream, first))?;

        let floor = byte_floor(first).total();
        let calls: Arc<[Call]> = rotation.calls().into();
        let round = rotation.round();
        let ours = move |turn: u32, _: &_| launch(kernels, stream, &calls[(turn % round) as usize]);
        let mut timers = vec![GraphTimer::new(stream, round, Box::new(ours))];
        let mut names: Vec<(&str, Option<f64>)> = Vec::new();
        let mut baselines = Vec::new();

        match copy::Copies::new(&mut buffers, floor.div_ceil(2), copy::sets(floor, wanted, self.room()?)) {
            Ok(copy) => {
                names.push((COPY, None));
                let round = copy.round();
                timers.push(GraphTimer::new(stream, round, Box::new(move |turn, stream| copy.queue(turn, stream))));
            }
            Err(error) => baselines.push(Baseline::missing(COPY, error.to_string())),
        }
        #[cfg(feature = "cublas")]
        match self.composed(&mut buffers, workload, &rotation) {
            Ok((queue, error)) => {
                names.push((crate::cublas::NAME, Some(error)));
                timers.push(GraphTimer::new(stream, round, queue));
            }
            Err(error) => baselines.push(Baseline::missing(crate::cublas::NAME, error.to_string())),
        }

        let mut subjects: Vec<&mut dyn Stopwatch> = timers.iter_mut().map(|timer| timer as _).collect();
        let mut times = measure(&mut subjects, protocol).into_iter();
        drop(subjects);
        let time: Option<Time> = times.next().transpose()?.map(Into::into);
        let timed = names.into_iter().zip(times).map(|((name, error), times)| match times {
            Ok(times) => Baseline::timed(name, times.into(), error),
            Err(error) => Baseline::missing(name, error.to_string()),
        });
        baselines.splice(..0, timed);
        // Copies have sets of their own.
        let others = baselines.iter().filter(|baseline| baseline.name != COPY).filter_map(|baseline| baseline.time);
        let fewest = time.iter().copied().chain(others).map(|time| time.launches).min();
        let block = &workload.block;
        let cell = Cell {
            op: workload.op.clone(),
            options: workload.options.clone(),
            dtype: block.dtype.name().to_owned(),
            rows: workload.rows as u64,
            parts: block.parts as u64,
            hidden: block.hidden as u64,
            tensors: workload.tensors(),
            floor_bytes: Some(floor),
            time,
            gb_per_s: None,
            copy_share: None,
            relative_l2: Some(relative_l2),
            buffers: fewest.map(|launches| rotation.buffers(launches, self.l2_bytes)),
            baselines,
            counters: None,
        };
        Ok(cell.derive(peak))
    }

    /// The composition of cuBLAS calls, once it was seen to give the same result.
    #[cfg(feature = "cublas")]
    fn composed<'a>(
        &'a self,
        buffers: &mut DeviceBuffers,
        workload: &Workload,
        rotation: &Rotation,
    ) -> Result<(Queue<'a>, f64), BenchError> {
        let cublas = self.cublas.as_ref().map_err(|error| BenchError::Unsupported(error.to_string()))?;
        let composed = crate::cublas::Composed::new(cublas, buffers, workload, rotation)?;
        let (first, name) = (&rotation.calls()[0], crate::cublas::NAME);
        let error = check_baseline(buffers, workload, first, name, || composed.queue(0))?;
        Ok((Box::new(move |turn, _| composed.queue(turn)), error))
    }

    /// Times a residual add, norm and matrix product, fused against unfused.
    ///
    /// # Errors
    /// There is no cuBLAS, the tensors do not fit, the driver fails, or a result is wrong.
    #[cfg(feature = "cublas")]
    pub fn segment(&self, workload: &Workload, outputs: usize, protocol: &Protocol) -> Result<Cell, BenchError> {
        let cublas = self.cublas.as_ref().map_err(|error| BenchError::Unsupported(error.to_string()))?;
        let mut buffers = DeviceBuffers::new(self.cuda.stream());
        let rotation = Rotation::new(&mut buffers, workload, 4 * self.l2_bytes, self.room()?)?;
        crate::cublas::segment(
            &self.cuda,
            cublas,
            &mut buffers,
            (workload, &rotation),
            outputs,
            protocol,
            self.l2_bytes,
        )
    }
}

/// Launches a call of a rotation.
pub(crate) fn launch(kernels: &Kernels, stream: &cudarc::driver::CudaStream, call: &Call) -> Result<(), BenchError> {
    // SAFETY: 1. a rotation makes calls of its own buffers, with the extents that it allocated; 2. graphs are dropped
    // before the buffers: timers are made after them in the same function, or borrow them; 3. all work is on this one
    // stream; 4. every input was uploaded on it before.
    Ok(unsafe { kernels.launch_raw(stream, call) }?)
}
