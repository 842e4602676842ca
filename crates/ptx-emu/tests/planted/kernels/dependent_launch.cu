// Kernels that begin before the launches in front of them have completed, which may still be writing the input and
// reading the output: see Case::dependent. Nobody else touches the third argument.
#include "dependent_launch.h"

KERNEL(reads_before_the_wait) {
    launch_dependents();
    if (!FAULTY) wait();
    word v = in[I];  //@ fault
    wait();
    out[I] = v;
}

KERNEL(writes_before_the_wait) {
    launch_dependents();
    if (!FAULTY) wait();
    out[I] = I * 0x01010101;  //@ fault
    wait();
    out[I] = in[I];
}

KERNEL(some_threads_do_not_wait) {
    if (!FAULTY || I != 70) wait();
    out[I] = in[I];  //@ fault
}

// What nobody else touches may be read in front of the wait.
KERNEL(only_the_input_has_to_wait) {
    word v = spare[I];
    if (!FAULTY || LANE < 16) wait();
    __syncwarp();
    out[I] = in[I] + v;  //@ fault
}
