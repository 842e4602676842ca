//! Work: what streams are given to do.

use crate::state::{Handle, State};
use crate::{Outcome, report};
use cudarc::driver::sys::CUresult;
use ptx_emu::{LaunchConfig, LaunchError, Memory, MemoryError};
use std::slice;
use std::sync::Arc;

#[derive(Clone)]
pub(crate) enum Work {
    Launch {
        function: Handle,
        config: LaunchConfig,
        arguments: Vec<Vec<u8>>,
    },
    /// Within device memory.
    Copy {
        to: u64,
        from: u64,
        bytes: usize,
    },
    Fill {
        to: u64,
        value: u8,
        bytes: usize,
    },
    /// To the host's memory at an address.
    ToHost {
        to: usize,
        from: u64,
        bytes: usize,
    },
    FromHost {
        to: u64,
        from: usize,
        bytes: usize,
    },
    /// What was copied from the host.
    Write {
        to: u64,
        data: Arc<[u8]>,
    },
    Compute(Compute),
}

type Run = dyn Fn(&mut Memory) -> Result<(), MemoryError> + Send + Sync;

/// What a library would have kernels for.
#[derive(Clone)]
pub(crate) struct Compute(Arc<Run>);

impl Compute {
    pub(crate) fn new(run: impl Fn(&mut Memory) -> Result<(), MemoryError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(run))
    }
}

impl Work {
    /// The same with what the host has now.
    pub(crate) fn staged(self) -> Self {
        match self {
            Self::FromHost { to, from, bytes } if bytes > 0 => {
                // SAFETY: who queues it promises that the host has so many bytes there, and that nobody writes them.
                let data = unsafe { slice::from_raw_parts(std::ptr::with_exposed_provenance(from), bytes) };
                Self::Write { to, data: data.into() }
            }
            other => other,
        }
    }

    pub(crate) fn run(&self, state: &mut State) -> Outcome {
        match *self {
            Self::Launch { function, ref config, ref arguments } => launch(state, function, config, arguments),
            Self::Copy { to, from, bytes } => {
                let mut data = vec![0; bytes];
                copied(state.memory.read(from, &mut data).and_then(|()| state.memory.write(to, &data)))
            }
            Self::Fill { to, value, bytes } => copied(state.memory.write(to, &vec![value; bytes])),
            // From the host comes nothing that was not staged.
            Self::ToHost { bytes: 0, .. } | Self::FromHost { .. } => Ok(()),
            Self::ToHost { to, from, bytes } => {
                // SAFETY: who queued it promised that the host has so many bytes there, and that nobody else uses them
                // until it is done.
                let data = unsafe { slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut(to), bytes) };
                copied(state.memory.read(from, data))
            }
            Self::Write { to, ref data } => copied(state.memory.write(to, data)),
            Self::Compute(Compute(ref run)) => copied(run(&mut state.memory)),
        }
    }
}

fn copied(done: Result<(), MemoryError>) -> Outcome {
    done.map_err(|error| {
        report(&error);
        CUresult::CUDA_ERROR_INVALID_VALUE
    })
}

fn launch(state: &mut State, function: Handle, config: &LaunchConfig, arguments: &[Vec<u8>]) -> Outcome {
    let function = state.functions.get(&function).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)?;
    let module = state.modules.get(&function.module).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)?;
    let (module, name) = (Arc::clone(module), function.name.clone());
    let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
    match module.launch(&name, config, &arguments, &mut state.memory) {
        Ok(_) => Ok(()),
        Err(error @ LaunchError::Fault(_)) => {
            report(&error);
            state.fault = Some(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
            Err(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS)
        }
        Err(error) => {
            report(&error);
            Err(CUresult::CUDA_ERROR_INVALID_VALUE)
        }
    }
}
