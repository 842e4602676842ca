// CTAs of a cluster that touch the same shared bytes with nothing between.
#include "cluster.h"

CLUSTER_KERNEL(barrier_missing) {
    __shared__ word s[32];
    s[T] = 0;
    cluster_sync();
    if (rank() == 0) s[T] = in[I];  //@ write
    if (!FAULTY) cluster_sync();
    IN_ORDER();
    out[I] = rank() == 1 ? PEER(s)[T ^ 1] : 0;  //@ read
    cluster_sync();
}

CLUSTER_KERNEL(arrive_without_wait) {
    __shared__ word s[32];
    s[T] = 0;
    cluster_sync();
    s[T] = in[I];  //@ write
    __cluster_barrier_arrive();
    if (!FAULTY) __cluster_barrier_wait();
    IN_ORDER();
    word v = PEER(s)[T];  //@ read
    IN_ORDER();
    if (FAULTY) __cluster_barrier_wait();
    out[I] = v;
    cluster_sync();
}

// Each CTA has its own barriers.
CLUSTER_KERNEL(barrier_of_the_cta_only) {
    __shared__ word s[32];
    s[T] = 0;
    cluster_sync();
    s[T] = in[I];  //@ write
    if (FAULTY) {
        __syncthreads();
    } else {
        cluster_sync();
    }
    out[I] = PEER(s)[T];  //@ read
    cluster_sync();
}

// A relaxed arrival orders no accesses.
CLUSTER_KERNEL(relaxed_arrival) {
    __shared__ word s[32];
    s[T] = 0;
    cluster_sync();
    s[T] = in[I];  //@ write
    if (FAULTY) {
        asm volatile("barrier.cluster.arrive.relaxed;" ::: "memory");
    } else {
        __cluster_barrier_arrive();
    }
    __cluster_barrier_wait();
    out[I] = PEER(s)[T];  //@ read
    cluster_sync();
}

CLUSTER_KERNEL(store_to_the_peer) {
    __shared__ word s[2];
    if (T == 0) s[0] = s[1] = 0;
    cluster_sync();
    if (T == 4) {
        word *to = (word *)__cluster_map_shared_rank(s, 0);
        to[FAULTY ? 0 : rank()] = in[I];  //@ both
    }
    cluster_sync();
    out[I] = ((word *)__cluster_map_shared_rank(s, 0))[T % 2];
    cluster_sync();
}

// The slots of a sum over the cluster are written anew while the peer may still read them.
__device__ __forceinline__ word cluster_sum(word v, word *slot) {
    for (int k = 16; k; k /= 2) v += __shfl_xor_sync(0xffffffff, v, k);
    if (T == 0) *slot = v;  //@ write
    cluster_sync();
    return *slot + *PEER(slot);  //@ read
}

CLUSTER_KERNEL(slots_used_again) {
    __shared__ word slot;
    word total = cluster_sum(in[I], &slot);
    if (!FAULTY) cluster_sync();
    out[I] = total + cluster_sum(in[I] * in[I], &slot);
    cluster_sync();
}
