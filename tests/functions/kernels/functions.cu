// Applies the functions of kernels/common to arrays, one element a thread, so that the tests see every bit of
// their results.

#include "common/activation.cuh"

using namespace warpnorm;

#define KERNEL extern "C" __global__ void
#define I (blockIdx.x * blockDim.x + threadIdx.x)

struct Arguments {
    const float* x;
    float* hi;
    float* lo;
    int* exponent;
    unsigned int count;
    Activation kind;
    float parameter;
    float factor;
};

KERNEL activate_f32(const Arguments a) {
    if (I >= a.count) return;
    const float value = activate(a.kind, a.parameter, a.x[I]);
    a.hi[I] = value;
    a.exponent[I] = activation_underflows(a.kind, a.x[I], value);
}

KERNEL activate_two(const Arguments a) {
    if (I >= a.count) return;
    const ScaledTwoFloat value = activate_in_two(a.kind, a.parameter, a.x[I]);
    a.hi[I] = value.value.hi;
    a.lo[I] = value.value.lo;
    a.exponent[I] = value.exponent;
}

KERNEL activate_times(const Arguments a) {
    if (I >= a.count) return;
    const TwoFloat product = multiply(activate_in_two(a.kind, a.parameter, a.x[I]), {a.factor, 0.0f});
    a.hi[I] = product.hi;
    a.lo[I] = product.lo;
}

KERNEL reciprocal_f32(const Arguments a) {
    if (I >= a.count) return;
    a.hi[I] = warpnorm::reciprocal(a.x[I]);
}
