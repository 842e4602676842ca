// No race, and yet what comes out depends on who comes first.
#include "planted.h"

KERNEL(tickets_of_ctas) {
    __shared__ word ticket;
    if (T == 0) ticket = FAULTY ? atomicAdd(spare, 1) : blockIdx.x;
    __syncthreads();
    out[ticket * blockDim.x + T] = in[I];
}

KERNEL(tickets_of_warps) {
    __shared__ word next;
    if (T == 0) next = 0;
    __syncthreads();
    word ticket = LANE == 0 ? (FAULTY ? atomicAdd(&next, 1) : T / 32) : 0;
    ticket = __shfl_sync(0xffffffff, ticket, 0);
    out[blockIdx.x * blockDim.x + ticket * 32 + LANE] = in[I];
}

// Sums of floats depend on their order, sums of integers do not.
KERNEL(sum_by_atomics) {
    if (T == 0) {
        if (FAULTY) {
            atomicAdd((float *)spare, blockIdx.x == 0 ? 1e8f : blockIdx.x == 1 ? -1e8f : blockIdx.x);
        } else {
            atomicAdd(spare, in[I]);
        }
    }
}

KERNEL(what_has_been_summed) {
    if (I == 0) *out = *spare;
}
