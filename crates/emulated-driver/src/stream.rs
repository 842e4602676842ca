//! Streams and events.

use crate::queue::{Item, Stream};
use crate::state::{CONTEXT, Handle, Recorded, locked};
use crate::{Outcome, entries, put};
use cudarc::driver::sys::{
    CUcontext, CUevent, CUgraph, CUresult, CUstream, CUstreamCaptureMode, CUstreamCaptureStatus as Status,
};
use std::ffi::{c_int, c_uint};
use std::sync::Arc;

fn create(stream: *mut CUstream) -> Outcome {
    let mut state = locked()?;
    let handle = state.handle();
    state.streams.insert(handle, Stream::default());
    // SAFETY: the macro's contract, which the callers have.
    unsafe { put(stream, handle.pointer()) }
}

fn elapsed(milliseconds: *mut f32, start: CUevent, end: CUevent) -> Outcome {
    let state = locked()?;
    let at = |event| match state.events.get(&Handle::of(event)) {
        Some(Recorded::At(when)) => Ok(*when),
        Some(Recorded::Behind(_)) => Err(CUresult::CUDA_ERROR_NOT_READY),
        Some(Recorded::In(..)) => Err(CUresult::CUDA_ERROR_CAPTURED_EVENT),
        _ => Err(CUresult::CUDA_ERROR_INVALID_HANDLE),
    };
    let time = at(end)?.saturating_duration_since(at(start)?);
    // SAFETY: the macro's contract, which the callers have.
    unsafe { put(milliseconds, time.as_secs_f32() * 1e3) }
}

/// Does what an event stands behind, for a call that waits for it or asks whether it is done.
fn waited_for(event: CUevent) -> Outcome {
    let mut state = locked()?;
    match *state.events.get(&Handle::of(event)).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)? {
        Recorded::In(..) => Err(CUresult::CUDA_ERROR_CAPTURED_EVENT),
        Recorded::Behind(point) => state.wait_for(point),
        Recorded::Never | Recorded::At(_) => Ok(()),
    }
}

entries! {
    fn cuStreamCreate(stream: *mut CUstream, _flags: c_uint) {
        create(stream)
    }

    fn cuStreamCreateWithPriority(stream: *mut CUstream, _flags: c_uint, _priority: c_int) {
        create(stream)
    }

    fn cuStreamDestroy_v2(stream: CUstream) {
        let mut state = locked()?;
        state.stream(Handle::of(stream))?;
        state.finish(Handle::of(stream))?;
        state.streams.remove(&Handle::of(stream)).map(|_| ()).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)
    }

    fn cuStreamGetCtx(stream: CUstream, context: *mut CUcontext) {
        locked()?.stream(Handle::of(stream))?;
        // SAFETY: the macro's contract.
        unsafe { put(context, CONTEXT) }
    }

    fn cuStreamSynchronize(stream: CUstream) {
        let mut state = locked()?;
        state.stream(Handle::of(stream))?;
        state.captures.forbid_waiting(Handle::of(stream))?;
        state.finish(Handle::of(stream))
    }

    fn cuStreamWaitEvent(stream: CUstream, event: CUevent, _flags: c_uint) {
        let mut state = locked()?;
        state.stream(Handle::of(stream))?;
        let recorded = *state.events.get(&Handle::of(event)).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)?;
        state.captures.wait(Handle::of(stream), recorded)?;
        match recorded {
            Recorded::Behind(point) => state.give(Handle::of(stream), Item::Wait(point)).map(|_| ()),
            _ => Ok(()),
        }
    }

    fn cuStreamBeginCapture_v2(stream: CUstream, mode: CUstreamCaptureMode) {
        let mut state = locked()?;
        state.stream(Handle::of(stream))?;
        let id = state.handle();
        state.captures.begin(id, Handle::of(stream), mode)
    }

    fn cuStreamEndCapture(stream: CUstream, graph: *mut CUgraph) {
        let mut state = locked()?;
        let work = state.captures.end(Handle::of(stream))?;
        let handle = state.handle();
        state.graphs.insert(handle, Arc::new(work));
        // SAFETY: the macro's contract.
        unsafe { put(graph, handle.pointer()) }
    }

    fn cuStreamIsCapturing(stream: CUstream, status: *mut Status) {
        let state = locked()?;
        state.stream(Handle::of(stream))?;
        let found = match state.captures.state_of(Handle::of(stream)) {
            None => Status::CU_STREAM_CAPTURE_STATUS_NONE,
            Some(true) => Status::CU_STREAM_CAPTURE_STATUS_ACTIVE,
            Some(false) => Status::CU_STREAM_CAPTURE_STATUS_INVALIDATED,
        };
        // SAFETY: the macro's contract.
        unsafe { put(status, found) }
    }

    fn cuEventCreate(event: *mut CUevent, _flags: c_uint) {
        let mut state = locked()?;
        let handle = state.handle();
        state.events.insert(handle, Recorded::Never);
        // SAFETY: the macro's contract.
        unsafe { put(event, handle.pointer()) }
    }

    fn cuEventDestroy_v2(event: CUevent) {
        let removed = locked()?.events.remove(&Handle::of(event));
        removed.map(|_| ()).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)
    }

    fn cuEventRecord(event: CUevent, stream: CUstream) {
        let mut state = locked()?;
        let recorded = match state.captures.recorded(Handle::of(stream)) {
            Some(recorded) => recorded,
            None => Recorded::Behind(state.give(Handle::of(stream), Item::Record(Handle::of(event)))?),
        };
        *state.events.get_mut(&Handle::of(event)).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)? = recorded;
        Ok(())
    }

    fn cuEventQuery(event: CUevent) {
        waited_for(event)
    }

    fn cuEventSynchronize(event: CUevent) {
        waited_for(event)
    }

    fn cuEventElapsedTime(milliseconds: *mut f32, start: CUevent, end: CUevent) {
        elapsed(milliseconds, start, end)
    }

    fn cuEventElapsedTime_v2(milliseconds: *mut f32, start: CUevent, end: CUevent) {
        elapsed(milliseconds, start, end)
    }
}
