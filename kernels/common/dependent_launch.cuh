// Programmatic dependent launch: a kernel that begins before those in front of it in its stream have completed.
//
// Before compute capability 9.0 there is none, and a kernel begins when all before it is done.
#pragma once

namespace warpnorm {

/// Lets the kernel behind this one begin, if it is launched so, as soon as all thread blocks of this one have come
/// here: none of them waits for room that the other takes.
__device__ __forceinline__ void launch_dependents() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Waits until the kernels in front of this one have completed, and what they wrote is there to be read. Called by
/// every thread, or this kernel might complete, and let go on who waits for it, before they have.
__device__ __forceinline__ void wait_for_prerequisites() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace warpnorm
