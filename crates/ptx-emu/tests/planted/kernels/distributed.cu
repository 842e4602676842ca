// Shared memory of other CTAs of the cluster, and the cluster's barrier.
#include "cluster.h"

CLUSTER_KERNEL(load_from_a_peer_that_has_exited) {
    __shared__ word s[32];
    s[T] = in[I];
    cluster_sync();
    word v = 0;
    if (rank() == 1) v = PEER(s)[T];  //@ fault
    out[I] = v;
    if (!FAULTY) cluster_sync();
}  //@ exit

CLUSTER_KERNEL(store_to_a_peer_that_has_exited) {
    __shared__ word s[32];
    s[T] = 0;
    cluster_sync();
    if (rank() == 1) PEER(s)[T] = in[I];  //@ fault
    if (!FAULTY) cluster_sync();
    out[I] = FAULTY ? 0 : s[T];
}  //@ exit

CLUSTER_KERNEL(rank_beyond_the_cluster) {
    __shared__ word s[32];
    s[T] = in[I];
    cluster_sync();
    unsigned other = FAULTY && I == 40 ? 2 : rank() ^ 1;
    out[I] = ((word *)__cluster_map_shared_rank(s, other))[T];  //@ fault
    cluster_sync();
}

CLUSTER_KERNEL(past_the_end_of_the_peer) {
    __shared__ word s[32];
    s[T] = in[I];
    cluster_sync();
    out[I] = rank() == 1 ? PEER(s)[T + FAULTY] : 0;  //@ fault
    cluster_sync();
}

CLUSTER_KERNEL(uninitialised_in_the_peer) {
    __shared__ word s[32];
    if (!FAULTY || I != 9) s[T] = in[I];
    cluster_sync();
    out[I] = rank() == 1 ? PEER(s)[T] : 0;  //@ fault
    cluster_sync();
}

// The window of the CTA's own shared memory does not reach the peer's.
CLUSTER_KERNEL(address_for_another_window) {
    __shared__ word s[32];
    s[T] = in[I];
    cluster_sync();
    unsigned at = (unsigned)__cvta_generic_to_shared(s + T);
    unsigned peer;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(peer) : "r"(at), "r"(rank() ^ 1));
    word v;
    if (FAULTY && I == 40) {
        asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(peer) : "memory");  //@ fault
    } else {
        asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(v) : "r"(peer) : "memory");
    }
    out[I] = v;
    cluster_sync();
}

CLUSTER_KERNEL(wait_without_arrive) {
    if (!FAULTY) __cluster_barrier_arrive();
    __cluster_barrier_wait();  //@ fault
    out[I] = in[I];
}

CLUSTER_KERNEL(second_arrive) {
    __cluster_barrier_arrive();
    if (FAULTY) __cluster_barrier_arrive();  //@ fault
    __cluster_barrier_wait();
    out[I] = in[I];
}

CLUSTER_KERNEL(barrier_in_divergent_code) {
    if (FAULTY && T < 16) {
        asm volatile("barrier.cluster.arrive.aligned;" ::: "memory");  //@ fault
    } else {
        asm volatile("barrier.cluster.arrive.aligned;" ::: "memory");  //@ fault
    }
    __cluster_barrier_wait();
    out[I] = in[I];
}

// One warp waits for the cluster, the other of the same CTA for the first.
CLUSTER_KERNEL(barriers_that_wait_for_each_other) {
    if (T < 32) {
        __cluster_barrier_arrive();
        __cluster_barrier_wait();  //@ fault
        __syncthreads();
    } else {
        if (FAULTY) __syncthreads();  //@ fault
        cluster_sync();
        if (!FAULTY) __syncthreads();
    }
    out[I] = in[I];
}
