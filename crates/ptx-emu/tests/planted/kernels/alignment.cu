// Addresses that are no multiple of the access's size.
#include "planted.h"

KERNEL(scalar) {
    const char *at = (const char *)(in + I);
    if (FAULTY && I == 70) at += 2;
    out[I] = *(const word *)at;  //@ fault
}

KERNEL(half_at_an_odd_byte) {
    const char *at = (const char *)(in + I);
    if (FAULTY && I == 70) at += 1;
    out[I] = *(const unsigned short *)at;  //@ fault
}

// Rows that do not start at multiples of sixteen bytes, read as if they did.
KERNEL(vector_of_a_row) {
    const word *row = in + blockIdx.x * (FAULTY ? 30 : 32);
    uint4 v = *(const uint4 *)(row + 4 * T);  //@ fault
    out[I] = v.x + v.y + v.z + v.w;
}

KERNEL(vector_store) {
    uint2 v = make_uint2(in[2 * I], in[2 * I + 1]);
    word *at = out + 2 * I;
    if (FAULTY && I == 70) at -= 1;
    *(uint2 *)at = v;  //@ fault
}

KERNEL(shared_vector) {
    __shared__ __align__(16) word s[66];
    s[T] = in[I];
    if (T < 2) s[64 + T] = 0;
    __syncthreads();
    uint2 v = *(const uint2 *)(s + (T & ~1u) + (FAULTY && I == 70));  //@ fault
    out[I] = v.x + v.y;
}

KERNEL(local_vector) {
    __align__(16) word local[10];
    for (int k = 0; k < 10; k++) local[k] = in[I] + k;
    uint2 v = *(const uint2 *)(local + I % 4 * 2 + (FAULTY && I == 70));  //@ fault
    out[I] = v.x + v.y;
}

KERNEL(atomic) {
    char *at = (char *)spare;
    if (FAULTY && I == 70) at += 2;
    atomicAdd((word *)at, in[I]);  //@ fault
    out[I] = 1;
}
