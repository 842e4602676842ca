// Reads of memory that nothing has written.
#include "planted.h"

KERNEL(global) {
    if (!FAULTY || I != 70) spare[I] = in[I];
    out[I] = spare[I];  //@ fault
}

// Only the lower half of the word that is then read.
KERNEL(half_of_a_word) {
    unsigned short *halves = (unsigned short *)(spare + I);
    halves[0] = in[I];
    if (!FAULTY || I != 70) halves[1] = 0;
    IN_ORDER();
    out[I] = spare[I];  //@ fault
}

KERNEL(shared) {
    __shared__ word s[64];
    if (!FAULTY || T != 63) s[T] = in[I];
    __syncthreads();
    out[I] = s[T ^ 1];  //@ fault
}

KERNEL(counter_in_shared) {
    __shared__ word count;
    if (!FAULTY && T == 0) count = 0;
    __syncthreads();
    atomicAdd(&count, in[I]);  //@ fault
    __syncthreads();
    out[I] = count;
}

// What the CTA before left in its shared memory is not this one's.
KERNEL(left_by_another_cta) {
    __shared__ word s;
    if (T == 0 && (!FAULTY || blockIdx.x == 0)) s = in[I];
    __syncthreads();
    out[I] = s;  //@ fault
}

KERNEL(local) {
    word local[8];
    for (int k = 0; k < 8; k++) {
        if (!FAULTY || I != 70 || k != 5) local[k] = in[I] + k;
    }
    out[I] = local[(I == 70 ? 5 : I) % 8];  //@ fault
}
