// Accesses outside of what they mean to touch.
#include "planted.h"

KERNEL(load_past_the_end) {
    out[I] = in[I + FAULTY];  //@ fault
}

KERNEL(store_before_the_start) {
    int i = I;
    out[i - FAULTY] = in[i];  //@ fault
}

KERNEL(atomic_past_the_end) {
    out[I] = in[I];
    atomicAdd(&spare[I / 4 + FAULTY], 1);  //@ fault
}

KERNEL(one_byte_past) {
    const unsigned char *bytes = (const unsigned char *)in;
    out[I] = bytes[4 * I + 3 + FAULTY];  //@ fault
}

// The last four of the words do not all exist.
KERNEL(vector_past_the_end) {
    const unsigned words = 126;
    unsigned first = 4 * I;
    word sum = 0;
    if (first + 4 <= words || FAULTY) {
        uint4 v = *(const uint4 *)(in + first);  //@ fault
        sum = v.x + v.y + v.z + v.w;
    } else {
        for (unsigned i = first; i < words; i++) sum += in[i];
    }
    out[I] = sum;
}

// Rows of 22 words, 32 apart; a CTA each.
KERNEL(load_in_the_gap_of_a_row) {
    const unsigned words = 22;
    const word *row = in + blockIdx.x * 32;
    unsigned first = 4 * T;
    word sum = 0;
    if (first + 4 <= words || (FAULTY && I == 13)) {
        uint4 v = *(const uint4 *)(row + first);  //@ fault
        sum = v.x + v.y + v.z + v.w;
    } else {
        for (unsigned i = first; i < words; i++) sum += row[i];
    }
    out[I] = sum;
}

KERNEL(store_in_the_gap_of_a_row) {
    const unsigned words = 22;
    if (T < words + (FAULTY && blockIdx.x == 1)) out[blockIdx.x * 32 + T] = in[I];  //@ fault
}

KERNEL(shared_past_the_end) {
    __shared__ word s[64];
    s[T] = in[I];
    __syncthreads();
    out[I] = s[T + FAULTY];  //@ fault
}

KERNEL(dynamic_shared_past_the_end) {
    extern __shared__ word dynamic[];
    dynamic[T + FAULTY] = in[I];  //@ fault
    __syncthreads();
    out[I] = dynamic[T];
}

KERNEL(shared_one_byte_past) {
    __shared__ unsigned char s[61];
    if (T < 61) s[T] = in[I];
    __syncthreads();
    out[I] = T < 60 ? s[T + 1 + (FAULTY && I == 123)] : 0;  //@ fault
}

// An address below the start is a huge one.
KERNEL(shared_before_the_start) {
    __shared__ word s[64];
    int t = T;
    s[t] = 0;
    __syncthreads();
    s[t - FAULTY] = in[I];  //@ fault
    __syncthreads();
    out[I] = s[t];
}

KERNEL(local_past_the_end) {
    word local[8];
    for (int k = 0; k < 8; k++) local[k] = in[I] + k;
    unsigned k = I == 77 ? 7 + FAULTY : I % 8;
    out[I] = local[k];  //@ fault
}

KERNEL(local_before_the_start) {
    word local[8];
    for (int k = 0; k < 8; k++) local[k] = in[I] + k;
    int i = I;
    int k = i == 77 ? -FAULTY : i % 8;
    out[I] = local[k];  //@ fault
}

__constant__ word table[64];

KERNEL(constant_past_the_end) {
    out[I] = table[T + FAULTY] + in[I];  //@ fault
}

extern "C" __global__ void parameter_past_the_end(const word *in, word *out, const __grid_constant__ unsigned long long p) {
    const word *at = (const word *)&p;
    asm volatile("" : "+l"(at));  // the compiler would see where it points
    if (FAULTY && I == 70) at += 2;
    out[I] = in[I] + *at;  //@ fault
}

KERNEL(freed) {
    out[I] = FAULTY && I == 70 ? *spare : in[I];  //@ fault
}

KERNEL(null_pointer) {
    word v = in[I];
    if (I == 70 && (FAULTY || spare)) v += *spare;  //@ fault
    out[I] = v;
}
