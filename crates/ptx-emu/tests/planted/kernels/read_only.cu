// Writes to memory that is given to be read.
#include "planted.h"

KERNEL(store_to_the_input) {
    word *to = FAULTY && I / 32 == 2 ? (word *)in : out;
    to[I] = in[I] + 1;  //@ fault
}

KERNEL(atomic_on_the_input) {
    word *to = FAULTY && I == 70 ? (word *)in : spare;
    out[I] = atomicAdd(&to[I], 1);  //@ fault
}

__constant__ word table[4];

KERNEL(store_to_constants) {
    const word *to = out + I;
    if (FAULTY && I == 70) {
        to = table + 2;
        asm volatile("" : "+l"(to));  // the compiler would see where it points
    }
    *(word *)to = in[I];  //@ fault
}

extern "C" __global__ void store_to_a_parameter(const word *in, word *out, const __grid_constant__ unsigned long long p) {
    const word *to = out + I;
    if (FAULTY && I == 70) {
        to = (const word *)&p + 1;
        asm volatile("" : "+l"(to));
    }
    *(word *)to = in[I];  //@ fault
}
