//! Graphs: what was captured, to be done again.

use crate::state::{Handle, locked};
use crate::{entries, put};
use cudarc::driver::sys::{CUgraph, CUgraphExec, CUresult, CUstream};
use std::ffi::c_ulonglong;
use std::sync::Arc;

entries! {
    fn cuGraphInstantiateWithFlags(executable: *mut CUgraphExec, graph: CUgraph, _flags: c_ulonglong) {
        let mut state = locked()?;
        let work = state.graphs.get(&Handle::of(graph)).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)?;
        let work = Arc::clone(work);
        let handle = state.handle();
        state.executables.insert(handle, work);
        // SAFETY: the macro's contract.
        unsafe { put(executable, handle.pointer()) }
    }

    fn cuGraphUpload(executable: CUgraphExec, stream: CUstream) {
        let state = locked()?;
        state.stream(Handle::of(stream))?;
        let there = state.executables.contains_key(&Handle::of(executable));
        if there { Ok(()) } else { Err(CUresult::CUDA_ERROR_INVALID_HANDLE) }
    }

    fn cuGraphLaunch(executable: CUgraphExec, stream: CUstream) {
        let mut state = locked()?;
        let work = state.executables.get(&Handle::of(executable)).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)?;
        let work = Arc::clone(work);
        work.iter().try_for_each(|work| state.queue(Handle::of(stream), work.clone()))
    }

    fn cuGraphDestroy(graph: CUgraph) {
        let removed = locked()?.graphs.remove(&Handle::of(graph));
        removed.map(|_| ()).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)
    }

    fn cuGraphExecDestroy(executable: CUgraphExec) {
        let removed = locked()?.executables.remove(&Handle::of(executable));
        removed.map(|_| ()).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)
    }
}
