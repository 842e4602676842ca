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
    double* wide;
    unsigned int* bits;
    unsigned int count;
    Activation kind;
    float parameter;
    float factor;
};

KERNEL activate_f32(const Arguments a) {
    if (I >= a.count) return;
    float x[1] = {a.x[I]};
    float value[1] = {1.0f};
    multiply_by_activations(value, a.kind, a.parameter, x);
    a.value[I] = value[0];
}

KERNEL activate_approximately(const Arguments a) {
    if (I >= a.count) return;
    const float x[1] = {a.x[I]};
    float value[1];
    approximate_activations(value, a.kind, a.parameter, x);
    a.value[I] = value[0];
    a.bits[I] = lacks_digits(value[0]);
}

KERNEL activate_f64(const Arguments a) {
    if (I >= a.count) return;
    a.wide[I] = activate_in_f64(a.kind, a.parameter, a.x[I]);
}

KERNEL narrow_product_f16(const Arguments a) {
    if (I >= a.count) return;
    a.bits[I] = narrow_product<F16>(activate_in_f64(a.kind, a.parameter, a.x[I]), a.factor);
}

KERNEL narrow_product_bf16(const Arguments a) {
    if (I >= a.count) return;
    a.bits[I] = narrow_product<BF16>(activate_in_f64(a.kind, a.parameter, a.x[I]), a.factor);
}

KERNEL reciprocal_f32(const Arguments a) {
    if (I >= a.count) return;
    a.value[I] = warpnorm::reciprocal(a.x[I]);
}
