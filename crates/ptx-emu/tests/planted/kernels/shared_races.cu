// Threads of a CTA that touch the same shared bytes with nothing between.
#include "planted.h"

KERNEL(two_threads) {
    __shared__ word s;
    if (T == 0) s = in[0];
    __syncthreads();
    if (T == 5) s = in[1];  //@ write
    if (!FAULTY) __syncthreads();
    word v = 0;
    if (T == 40) {
        IN_ORDER();
        v = s;  //@ read
    }
    out[I] = v;
}

// No barrier between what the warps put into their slots and who sums them up.
KERNEL(reduction) {
    __shared__ word slots[32];
    if (T < 32) slots[T] = 0;
    __syncthreads();
    word v = in[I];
    for (int k = 16; k; k /= 2) v += __shfl_xor_sync(0xffffffff, v, k);
    if (LANE == 0) slots[T / 32] = v;  //@ write
    if (!FAULTY) __syncthreads();
    IN_ORDER();
    word total = 0;
    for (unsigned k = 0; k < blockDim.x / 32; k++) total += slots[k];  //@ read
    out[I] = total;
}

// Two reductions through the same slots, and no barrier that ends the first.
__device__ __forceinline__ word sum(word v, word *slots) {
    for (int k = 16; k; k /= 2) v += __shfl_xor_sync(0xffffffff, v, k);
    if (LANE == 0) slots[T / 32] = v;  //@ write
    __syncthreads();
    word total = 0;
    for (unsigned k = 0; k < blockDim.x / 32; k++) total += slots[k];  //@ read
    return total;
}

KERNEL(slots_used_again) {
    __shared__ word slots[32];
    word total = sum(in[I], slots);
    if (!FAULTY) __syncthreads();
    out[I] = total + sum(in[I] * in[I], slots);
}

KERNEL(two_writers) {
    __shared__ word s;
    if (LANE == 3 && (FAULTY || T < 32)) s = in[T];  //@ both
    __syncthreads();
    out[I] = s;
}

KERNEL(lanes_of_one_store) {
    __shared__ word s[2];
    if (T < 2) s[FAULTY ? 0 : T] = in[I];  //@ both
    __syncthreads();
    out[I] = s[FAULTY ? 0 : T % 2];
}

// Lanes of a warp do not run in step.
KERNEL(within_a_warp) {
    __shared__ word s[64];
    s[T] = in[I];  //@ write
    if (!FAULTY) __syncwarp();
    IN_ORDER();
    out[I] = s[T ^ 1];  //@ read
}

// The lower half of a warp meets, but the upper reads.
KERNEL(half_a_warp_meets) {
    __shared__ word s[32];
    s[T] = 0;
    __syncwarp();
    if (T < 16) s[T] = in[I];  //@ write
    if (FAULTY) {
        if (T < 16) __syncwarp(0x0000ffff);
    } else {
        __syncwarp();
    }
    IN_ORDER();
    out[I] = T < 16 ? 0 : s[T - 16];  //@ read
}

// A barrier of some warps orders nothing for a reader outside.
KERNEL(reader_outside_the_barrier) {
    __shared__ word s[64];
    if (T < 64) s[T] = 0;
    __syncthreads();
    if (T < 64) s[T] = in[I];  //@ write
    if (FAULTY) {
        if (T < 64) asm volatile("bar.sync 1, 64;" ::: "memory");
    } else {
        asm volatile("bar.sync 1, 96;" ::: "memory");
    }
    out[I] = T < 64 ? 0 : s[T - 64];  //@ read
}

// Who only arrives at a barrier may not read what others wrote before it.
KERNEL(arrival_in_place_of_a_wait) {
    __shared__ word s[32];
    if (T < 32) s[T] = 0;
    __syncthreads();
    if (T < 32) s[T] = in[I];  //@ write
    if ((T < 32) != FAULTY) {
        asm volatile("bar.arrive 1, 64;" ::: "memory");
    } else {
        asm volatile("bar.sync 1, 64;" ::: "memory");
    }
    out[I] = T < 32 ? 0 : s[T - 32];  //@ read
}

// The flag is there; that the data are is not said.
KERNEL(message_without_a_fence) {
    __shared__ word data, flag;
    if (T == 0) data = flag = 0;
    __syncthreads();
    word v = 0;
    if (T == 0) {
        data = in[0];  //@ write
        if (!FAULTY) __threadfence_block();
        IN_ORDER();
        *(volatile word *)&flag = 1;
    } else if (T == 32) {
        while (*(volatile word *)&flag == 0) {}
        if (!FAULTY) __threadfence_block();
        IN_ORDER();
        v = data;  //@ read
    }
    out[I] = v;
}

KERNEL(load_of_an_atomic_counter) {
    __shared__ word count;
    if (T == 0) count = 0;
    __syncthreads();
    atomicAdd(&count, in[I]);  //@ write
    if (!FAULTY) __syncthreads();
    word v = 0;
    if (T == 40) {
        IN_ORDER();
        v = count;  //@ read
    }
    out[I] = v;
}

// A count that is loaded and stored, where it ought to be an atomic.
KERNEL(count_without_an_atomic) {
    __shared__ word count;
    if (T == 0) count = 0;
    __syncthreads();
    if (LANE == 3) {
        if (FAULTY) {
            count += in[I];  //@ both
        } else {
            atomicAdd(&count, in[I]);
        }
    }
    __syncthreads();
    out[I] = count;
}

// Sixteen bytes are written, two of them read.
KERNEL(wide_and_narrow) {
    __shared__ __align__(16) word s[8];
    if (T < 8) s[T] = 0;
    __syncthreads();
    if (T == 1) *(uint4 *)(s + 4) = make_uint4(in[0], in[1], in[2], in[3]);  //@ write
    if (!FAULTY) __syncthreads();
    word v = 0;
    if (T == 33) {
        IN_ORDER();
        v = ((const unsigned short *)s)[13];  //@ read
    }
    out[I] = v;
}
