// Applies the functions of kernels/common to arrays, one element a thread, so that the tests see every bit of
// their results.

#include "common/activation.cuh"
#include "common/element.cuh"

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

template <class Element>
__device__ void activate(const Arguments& a) {
    if (I >= a.count) return;
    float x[1] = {a.x[I]};
    float value[1] = {1.0f};
    multiply_by_activations<Element>(value, a.kind, a.parameter, x);
    a.value[I] = value[0];
}

KERNEL activation_f32(const Arguments a) { activate<F32>(a); }

KERNEL activation_16_bit(const Arguments a) { activate<BF16>(a); }

KERNEL reciprocal(const Arguments a) {
    if (I >= a.count) return;
    a.value[I] = warpnorm::reciprocal(a.x[I]);
}

KERNEL reciprocal_root(const Arguments a) {
    if (I >= a.count) return;
    a.value[I] = warpnorm::reciprocal_root_within_bounds(a.x[I]);
}

KERNEL reciprocal_of_power_of_two(const Arguments a) {
    if (I >= a.count) return;
    a.value[I] = warpnorm::reciprocal_of_power_of_two(a.x[I]);
}
