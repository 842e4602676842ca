//! Device memory, and copies.

use crate::device::MEMORY;
use crate::queue::Item;
use crate::state::{CONTEXT, Handle, State, locked};
use crate::work::Work;
use crate::{Outcome, entries, put, report};
use cudarc::driver::sys::{CUdeviceptr, CUmemorytype, CUpointer_attribute as PointerAttribute, CUresult, CUstream};
use std::ffi::{c_int, c_uchar, c_uint, c_void};

/// The stream of calls that name none.
const DEFAULT: Handle = Handle(0);

fn allocate(state: &mut State, bytes: usize) -> Outcome<CUdeviceptr> {
    if bytes == 0 {
        return Err(CUresult::CUDA_ERROR_INVALID_VALUE);
    }
    if bytes > MEMORY - state.taken {
        // Some may be freed by then.
        state.finish_all()?;
    }
    if bytes > MEMORY - state.taken {
        return Err(CUresult::CUDA_ERROR_OUT_OF_MEMORY);
    }
    let address = state.memory.allocate("device memory", bytes);
    state.allocated.insert(address, bytes);
    state.taken += bytes;
    Ok(address)
}

fn free(state: &mut State, address: CUdeviceptr, stream: Handle) -> Outcome {
    if address == 0 {
        return Ok(());
    }
    let bytes = state.allocated.remove(&address).ok_or(CUresult::CUDA_ERROR_INVALID_VALUE)?;
    state.give(stream, Item::Free { address, bytes }).map(|_| ())
}

/// Graphs that have memory of their own are not known here.
fn outside_captures(state: &State, stream: CUstream) -> Outcome {
    let stream = Handle::of(stream);
    state.stream(stream)?;
    if state.captures.state_of(stream).is_some() {
        report(&"memory is allocated or freed in a capture");
        return Err(CUresult::CUDA_ERROR_NOT_SUPPORTED);
    }
    Ok(())
}

/// A copy that the caller waits for.
fn at_once(work: &Work) -> Outcome {
    let mut state = locked()?;
    state.captures.forbid()?;
    state.queue(DEFAULT, work.clone())?;
    state.finish(DEFAULT)
}

fn queued(stream: CUstream, work: Work) -> Outcome {
    locked()?.queue(Handle::of(stream), work)
}

entries! {
    fn cuMemAlloc_v2(address: *mut CUdeviceptr, bytes: usize) {
        let mut state = locked()?;
        state.captures.forbid()?;
        let allocated = allocate(&mut state, bytes)?;
        // SAFETY: the macro's contract.
        unsafe { put(address, allocated) }
    }

    fn cuMemAllocAsync(address: *mut CUdeviceptr, bytes: usize, stream: CUstream) {
        let mut state = locked()?;
        outside_captures(&state, stream)?;
        let allocated = allocate(&mut state, bytes)?;
        // SAFETY: the macro's contract.
        unsafe { put(address, allocated) }
    }

    fn cuMemFree_v2(address: CUdeviceptr) {
        let mut state = locked()?;
        state.captures.forbid()?;
        // It waits for all that may use it.
        state.finish_all()?;
        free(&mut state, address, DEFAULT)?;
        state.finish(DEFAULT)
    }

    fn cuMemFreeAsync(address: CUdeviceptr, stream: CUstream) {
        let mut state = locked()?;
        outside_captures(&state, stream)?;
        free(&mut state, address, Handle::of(stream))
    }

    fn cuMemcpyHtoD_v2(to: CUdeviceptr, from: *const c_void, bytes: usize) {
        at_once(&Work::FromHost { to, from: from.expose_provenance(), bytes })
    }

    fn cuMemcpyHtoDAsync_v2(to: CUdeviceptr, from: *const c_void, bytes: usize, stream: CUstream) {
        queued(stream, Work::FromHost { to, from: from.expose_provenance(), bytes })
    }

    fn cuMemcpyDtoH_v2(to: *mut c_void, from: CUdeviceptr, bytes: usize) {
        at_once(&Work::ToHost { to: to.expose_provenance(), from, bytes })
    }

    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: CUdeviceptr, bytes: usize, stream: CUstream) {
        queued(stream, Work::ToHost { to: to.expose_provenance(), from, bytes })
    }

    fn cuMemcpyDtoD_v2(to: CUdeviceptr, from: CUdeviceptr, bytes: usize) {
        at_once(&Work::Copy { to, from, bytes })
    }

    fn cuMemcpyDtoDAsync_v2(to: CUdeviceptr, from: CUdeviceptr, bytes: usize, stream: CUstream) {
        queued(stream, Work::Copy { to, from, bytes })
    }

    fn cuMemsetD8_v2(to: CUdeviceptr, value: c_uchar, bytes: usize) {
        at_once(&Work::Fill { to, value, bytes })
    }

    fn cuMemsetD8Async(to: CUdeviceptr, value: c_uchar, bytes: usize, stream: CUstream) {
        queued(stream, Work::Fill { to, value, bytes })
    }

    fn cuPointerGetAttributes(
        count: c_uint,
        which: *mut PointerAttribute,
        values: *mut *mut c_void,
        address: CUdeviceptr,
    ) {
        let state = locked()?;
        let is_ours = state.allocated.iter().any(|(&first, &bytes)| (first..first + bytes as u64).contains(&address));
        for at in 0..count as usize {
            // SAFETY: the macro's contract: both have so many elements, and each value is of its attribute's type. Of a
            // pointer that is nobody's the driver writes zeros.
            unsafe {
                let value = *values.add(at);
                match *which.add(at) {
                    PointerAttribute::CU_POINTER_ATTRIBUTE_CONTEXT => {
                        put(value.cast(), if is_ours { CONTEXT } else { std::ptr::null_mut() })?;
                    }
                    PointerAttribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE => {
                        put(value.cast(), if is_ours { CUmemorytype::CU_MEMORYTYPE_DEVICE as u32 } else { 0 })?;
                    }
                    PointerAttribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL => {
                        put::<c_int>(value.cast(), if is_ours { 0 } else { -2 })?;
                    }
                    PointerAttribute::CU_POINTER_ATTRIBUTE_DEVICE_POINTER => {
                        put(value.cast(), if is_ours { address } else { 0 })?;
                    }
                    PointerAttribute::CU_POINTER_ATTRIBUTE_IS_MANAGED => put::<c_uint>(value.cast(), 0)?,
                    other => {
                        report(&format!("{other:?} is asked for by nobody yet"));
                        return Err(CUresult::CUDA_ERROR_NOT_SUPPORTED);
                    }
                }
            }
        }
        Ok(())
    }
}
