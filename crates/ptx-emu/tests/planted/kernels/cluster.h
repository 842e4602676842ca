// Kernels launched in clusters of two CTAs, which takes sm_90.
#include "planted.h"

#define CLUSTER_KERNEL(name) \
    extern "C" __global__ void __cluster_dims__(2, 1, 1) name(const word *in, word *out, word *spare)

__device__ __forceinline__ unsigned rank() {
    unsigned rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

__device__ __forceinline__ void cluster_sync() {
    __cluster_barrier_arrive();
    __cluster_barrier_wait();
}

// Where the other CTA of the cluster has what this one has at `s`.
#define PEER(s) ((word *)__cluster_map_shared_rank(s, rank() ^ 1))
