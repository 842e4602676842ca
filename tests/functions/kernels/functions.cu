// Applies the functions of kernels/common to arrays, one element a thread, so that the tests see every bit of
// their results.

#include "common/activation.cuh"

using namespace warpnorm;

#define KERNEL extern "C" __global__ void
#define I (blockIdx.x * blockDim.x + threadIdx.x)

struct Arguments {
    const float* x;
    float* value;
    unsigned int count;
    Activation kind;
    float parameter;
};

KERNEL activation(const Arguments a) {
    if (I >= a.count) return;
    float x[1] = {a.x[I]};
    float value[1] = {1.0f};
    multiply_by_activations(value, a.kind, a.parameter, x);
    a.value[I] = value[0];
}

KERNEL reciprocal(const Arguments a) {
    if (I >= a.count) return;
    a.value[I] = warpnorm::reciprocal(a.x[I]);
}
