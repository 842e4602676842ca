// Activations for results of 16 bits: a few times 2^-23 off, in a third of the instructions that all digits of f32 take.
//
// They rest on the two functions of the special function unit. What these return may differ in the last digits between
// generations of GPUs, and a result next to a tie with it; all else in the kernels is the same on every GPU.
#pragma once

#include "activation_kind.cuh"
#include "functions.cuh"

namespace warpnorm {

/// −log₂(e)/2: t times it is half the exponent of 2 that e^−t has.
constexpr double HALF_EXPONENT = -0.72134752044448170367996234050095;

/// σ(t) from half = t·HALF_EXPONENT. e^−t is a square, so that neither it nor its reciprocal, times a power of two,
/// leaves f32's range where σ does not.
__device__ __forceinline__ float approximate_sigmoid(float half) {
    constexpr float SCALE = 0x1p-64f;
    const float root = approximate_exp2(half);
    return approximate_reciprocal(__fmaf_rn(root * SCALE, root, SCALE)) * SCALE;
}

/// x·Φ(x).
__device__ __forceinline__ float approximate_gelu(float x) {
    // Past the limit the square of the root below is 0, and so is the tail.
    const float size = fminf(fabsf(x), SCALED_TAIL_LIMIT);
    const float root = approximate_exp2(size * (0.5f * static_cast<float>(HALF_EXPONENT)) * size);
    const float tail = size * approximate_scaled_tail(size) * root * root;
    // Of −∞ the product is NaN.
    return __fmaf_rn(x, x > 0.0f ? 1.0f : 0.0f, -tail);
}

/// Multiplies values by the activations of some x.
///
/// Activations are off by at most 6 + 2·|ln G| times 2^-23 of theirs, for GELU 10 instead of 6, and by what G loses among
/// f32's denormals: `Tolerance::error_of_activation` in src/parity/tolerance.rs.
template <unsigned int COUNT>
__device__ __forceinline__ void multiply_by_16_bit_activations(float (&values)[COUNT], Activation kind,
                                                               float parameter, const float (&x)[COUNT]) {
    if (kind == Activation::SWISH && parameter == 1.0f) {
#pragma unroll
        for (unsigned int e = 0; e < COUNT; ++e) {
            values[e] *= x[e] * approximate_sigmoid(x[e] * static_cast<float>(HALF_EXPONENT));
        }
    } else if (kind == Activation::GELU_EXACT) {
#pragma unroll
        for (unsigned int e = 0; e < COUNT; ++e) values[e] *= approximate_gelu(x[e]);
    } else if (kind >= Activation::SIGMOID) {
        // t = x·(linear + cubic·x²).
        float linear = static_cast<float>(HALF_EXPONENT);
        float cubic = 0.0f;
        if (kind == Activation::SWISH) linear *= parameter;
        if (kind == Activation::GELU_TANH) {
            linear = static_cast<float>(GELU_LINEAR * HALF_EXPONENT);
            cubic = static_cast<float>(GELU_CUBIC * HALF_EXPONENT);
        }
#pragma unroll
        for (unsigned int e = 0; e < COUNT; ++e) {
            // Without a cubic term an infinity would make it NaN.
            const float square = fminf(x[e] * x[e], 0x1p+100f);
            const float half = x[e] * __fmaf_rn(cubic, square, linear);
            values[e] *= (kind == Activation::SIGMOID ? 1.0f : x[e]) * approximate_sigmoid(half);
        }
    } else {
#pragma unroll
        for (unsigned int e = 0; e < COUNT; ++e) values[e] *= activate_piecewise(kind, parameter, x[e]);
    }
}

}  // namespace warpnorm
