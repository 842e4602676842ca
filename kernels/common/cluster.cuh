// Clusters: the CTAs that a team may be spread over, and what they exchange.
//
// Without cluster hardware, before compute capability 9.0, a team is never more than a CTA.
#pragma once

namespace warpnorm {

struct Cluster {
    unsigned int ctas;

    /// A team that lives in one CTA.
    static __device__ __forceinline__ Cluster none() { return {1}; }

    /// The cluster of `ctas` CTAs in a row that this CTA was launched in.
    static __device__ __forceinline__ Cluster of_this_cta(unsigned int ctas) {
#if __CUDA_ARCH__ >= 900
        return {ctas};
#else
        return {1};
#endif
    }

    /// Of this CTA among those of its cluster. Read anew wherever it is asked for, rather than kept in a register.
    __device__ __forceinline__ unsigned int rank() const {
        unsigned int rank = 0;
#if __CUDA_ARCH__ >= 900
        asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
#endif
        return rank;
    }

    /// Of this cluster in the grid.
    __device__ __forceinline__ unsigned int index() const {
#if __CUDA_ARCH__ >= 900
        unsigned int index;
        asm volatile("mov.u32 %0, %%clusterid.x;" : "=r"(index));
        return index;
#else
        return blockIdx.x;
#endif
    }

    /// Waits for all threads of all CTAs, and orders their accesses to shared memory. Called by whole warps.
    __device__ __forceinline__ void meet() const {
#if __CUDA_ARCH__ >= 900
        if (ctas > 1) {
            asm volatile("barrier.cluster.arrive.release.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::: "memory");
            return;
        }
#endif
        __syncthreads();
    }

    /// A float of this CTA's shared memory, as the CTA of rank `cta` has it.
    __device__ __forceinline__ float read(const float* own, unsigned int cta) const {
#if __CUDA_ARCH__ >= 900
        if (ctas > 1) {
            float value;
            asm volatile(
                "{.reg .b32 there; mapa.shared::cluster.u32 there, %1, %2; ld.shared::cluster.f32 %0, [there];}"
                : "=f"(value)
                : "r"(static_cast<unsigned int>(__cvta_generic_to_shared(own))), "r"(cta)
                : "memory");
            return value;
        }
#endif
        return *own;
    }

    /// Called by every thread last of all: a CTA's shared memory must be there as long as others read it.
    __device__ __forceinline__ void leave() const {
        if (ctas > 1) meet();
    }
};

}  // namespace warpnorm
