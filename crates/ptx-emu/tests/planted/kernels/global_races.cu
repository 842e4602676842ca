// Threads that touch the same global bytes with nothing between, and no end of a kernel either.
#include "planted.h"

// Rows of 64 words, a CTA each; the row of the one begins where that of the other ends.
KERNEL(neighbouring_rows) {
    for (unsigned c = T; c < 64 + (FAULTY && blockIdx.x == 0); c += 32) out[blockIdx.x * 64 + c] = in[blockIdx.x];  //@ both
}

KERNEL(counter) {
    if (T == 7) {
        if (FAULTY) {
            *spare += in[blockIdx.x];  //@ both
        } else {
            atomicAdd(spare, in[blockIdx.x]);
        }
    }
    out[I] = 1;
}

KERNEL(atomic_and_load) {
    if (T == 7) {
        if (FAULTY && blockIdx.x == 1) {
            out[0] = *spare;  //@ read
        } else {
            atomicAdd(spare, in[blockIdx.x]);  //@ write
            out[blockIdx.x] = 1;
        }
    }
}

// Atomics that are atomic for the threads of a CTA only.
KERNEL(atomic_of_a_narrow_scope) {
    if (T == 7) {
        if (FAULTY) {
            atomicAdd_block(spare, in[blockIdx.x]);  //@ both
        } else {
            atomicAdd(spare, in[blockIdx.x]);
        }
    }
    out[I] = 1;
}

// One launch where it takes two: what all CTAs of the first have written, the second reads.
KERNEL(rows) {
    spare[I] = in[I];  //@ write
    IN_ORDER();
    if (FAULTY) out[I] = spare[gridDim.x * blockDim.x - 1 - I];  //@ read
}

KERNEL(columns) {
    out[I] = spare[gridDim.x * blockDim.x - 1 - I];
}

KERNEL(within_a_cta) {
    spare[I] = in[I];  //@ write
    if (!FAULTY) __syncthreads();
    IN_ORDER();
    out[I] = spare[I ^ 32];  //@ read
}

// The last CTA sums up what all have left. Without the fence, its ticket says nothing of them.
KERNEL(last_cta_without_a_fence) {
    word *ticket = spare, *left = spare + 1;
    if (T == 7) {
        left[blockIdx.x] = in[blockIdx.x];  //@ write
        if (!FAULTY) __threadfence();
        IN_ORDER();
        if (atomicAdd(ticket, 1) == gridDim.x - 1) {
            if (!FAULTY) __threadfence();
            IN_ORDER();
            word total = 0;
            for (unsigned k = 0; k < gridDim.x; k++) total += left[k];  //@ read
            out[0] = total;
        }
    }
}

// A fence for the threads of a CTA says nothing to the other.
__device__ __forceinline__ void fence() {
    if (FAULTY) {
        __threadfence_block();
    } else {
        __threadfence();
    }
}

KERNEL(last_cta_with_a_narrow_fence) {
    word *ticket = spare, *left = spare + 1;
    if (T == 7) {
        left[blockIdx.x] = in[blockIdx.x];  //@ write
        fence();
        if (atomicAdd(ticket, 1) == 1) {
            fence();
            out[0] = left[0] + left[1];  //@ read
        }
    }
}
