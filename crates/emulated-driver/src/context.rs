//! The primary context, which is all that there is.

use crate::state::{CONTEXT, IS_CURRENT, locked};
use crate::{entries, put};
use cudarc::driver::sys::{CUcontext, CUdevice, CUresult};
use std::ptr;

entries! {
    fn cuDevicePrimaryCtxRetain(context: *mut CUcontext, device: CUdevice) {
        if device != 0 {
            return Err(CUresult::CUDA_ERROR_INVALID_DEVICE);
        }
        // SAFETY: the macro's contract.
        unsafe { put(context, CONTEXT) }
    }

    fn cuDevicePrimaryCtxRelease_v2(device: CUdevice) {
        if device == 0 { Ok(()) } else { Err(CUresult::CUDA_ERROR_INVALID_DEVICE) }
    }

    fn cuCtxSetCurrent(context: CUcontext) {
        if !context.is_null() && context != CONTEXT {
            return Err(CUresult::CUDA_ERROR_INVALID_CONTEXT);
        }
        IS_CURRENT.set(!context.is_null());
        Ok(())
    }

    fn cuCtxGetCurrent(context: *mut CUcontext) {
        // SAFETY: the macro's contract.
        unsafe { put(context, if IS_CURRENT.get() { CONTEXT } else { ptr::null_mut() }) }
    }

    fn cuCtxGetDevice(device: *mut CUdevice) {
        locked()?;
        // SAFETY: the macro's contract.
        unsafe { put(device, 0) }
    }

    fn cuCtxSynchronize() {
        let mut state = locked()?;
        state.captures.forbid()?;
        state.finish_all()
    }
}
