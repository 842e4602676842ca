// Activations to the last digits of f32, for f32 results. No instruction is approximate, so the bits are the same on
// every GPU.
//
// G of a negative argument is h·e^t, with a tame h; 1 − G of it is G of the positive one. So nothing cancels, and the
// negative tail is as accurate as the rest until it leaves f32's range.
#pragma once

#include "activation_kind.cuh"
#include "arrays.cuh"
#include "functions.cuh"

namespace warpnorm {

/// A float and the same in two, as decimal constants are given.
constexpr __device__ TwoFloat two_floats(double value) {
    const float hi = static_cast<float>(value);
    return {hi, static_cast<float>(value - static_cast<double>(hi))};
}

/// How far `activate_f32` may be off, relative to the exact value, where that is a normal f32.
constexpr float F32_ACTIVATION_ERROR = 6.0f / 16777216.0f;

/// √(8/π)·(1 + 0.044715·x²), off by some 2^-46; `lo` is left large.
__device__ __forceinline__ TwoFloat gelu_slope(float x) {
    constexpr TwoFloat LINEAR = two_floats(GELU_LINEAR);
    constexpr TwoFloat CUBIC = two_floats(GELU_CUBIC);
    return add(LINEAR, multiply(CUBIC, two_product(x, x)));
}

/// What the activations from SIGMOID on have in common.
struct Gate {
    /// e^-172 is 2^-248, which two powers of two make up.
    static constexpr float LIMIT = 172.0f;

    float factor;   // the activation is factor·G
    float size;     // |t| of σ(t), or |x| of Φ(x), at most the limit
    bool negative;  // whether G is below 1/2
    bool limited;   // whether the size was larger than the limit
    TwoFloat t;     // G is h·e^t where it is below 1/2, else 1 − h·e^t

    /// Sizes above the limits count as the limits, which keep the exponent of e^t within bounds.
    __device__ __forceinline__ Gate(Activation kind, float parameter, float x)
        : factor(kind == Activation::SIGMOID ? 1.0f : x), negative(x < 0.0f) {
        if (kind == Activation::GELU_EXACT) {
            size = fabsf(x);
            limited = size > SCALED_TAIL_LIMIT;
            size = limited ? SCALED_TAIL_LIMIT : size;
            t = two_product(-0.5f * size, size);
        } else {
            t = {x, 0.0f};
            if (kind == Activation::SWISH) t = two_product(x, parameter);
            if (kind == Activation::GELU_TANH) t = multiply(gelu_slope(x), x);
            negative = t.hi < 0.0f;
            if (!negative) t = {-t.hi, -t.lo};
            // Past the limit the low part may be anything, for infinities even NaN.
            limited = t.hi < -LIMIT;
            if (limited) t = {-LIMIT, 0.0f};
            size = -t.hi;
        }
    }

    /// The activation where G is as good as 0 or 1. For −∞·0 it is NaN.
    __device__ __forceinline__ float at_limit() const { return negative ? factor * 0.0f : factor; }
};

/// The activation of x, off by at most F32_ACTIVATION_ERROR of it where it is a normal f32; below, by a few times
/// the smallest f32 too. The parameter is the slope or β.
__device__ __forceinline__ float activate_f32(Activation kind, float parameter, float x) {
    if (kind <= Activation::LEAKY_RELU) return activate_piecewise(kind, parameter, x);
    const Gate gate(kind, parameter, x);
    const Exponential e = exponential(gate.t);
    const PowerOfTwo power(e.exponent);
    float h;
    if (kind == Activation::GELU_EXACT) {
        h = scaled_tail(gate.size, reciprocal(gate.size + 4.0f));
    } else {
        h = reciprocal(__fmaf_rn(__fmaf_rn(e.fraction, power.first, power.first), power.second, 1.0f));
    }
    const float scaled_factor = gate.factor * h;
    const float tail = __fmaf_rn(scaled_factor, e.fraction, scaled_factor) * power.first * power.second;
    const float value = gate.negative ? tail : gate.factor - tail;
    return gate.limited ? gate.at_limit() : value;
}

/// SiLU of x, which nearly all gates have, off by no more. e^−x stays within f32's range as 2^−31·e^−x, where σ is neither as
/// good as 0 nor as 1.
__device__ __forceinline__ float silu_f32(float x) {
    constexpr int SHIFT = 31;
    constexpr float SCALE = 1.0f / (1u << SHIFT);
    const float bounded = fminf(x, 64.0f);
    const Exponential e = exponential(-bounded);
    const float power = power_of_two(e.exponent - SHIFT);
    const float scaled_sigmoid = reciprocal(__fmaf_rn(e.fraction, power, power) + SCALE);
    const float scaled = bounded * (x < -108.0f ? 0.0f : scaled_sigmoid);
    // What is past the bound is added, and −∞ less itself is NaN.
    return __fmaf_rn(scaled, SCALE, x - bounded);
}

/// Multiplies values by the activations of some x, which are as they were when all is done.
template <unsigned int COUNT>
__device__ __forceinline__ void multiply_by_f32_activations(float (&values)[COUNT], Activation kind, float parameter,
                                                        float (&x)[COUNT]) {
    if (kind == Activation::SWISH && parameter == 1.0f) {
#pragma unroll
        for (unsigned int e = 0; e < COUNT; ++e) values[e] *= silu_f32(x[e]);
        return;
    }
    constexpr unsigned int AT_A_TIME = COUNT < 4 ? COUNT : 4;
    static_assert(COUNT % AT_A_TIME == 0, "values go round as a whole");
    // Other kinds are rare: values go round, so that there is code for a few of them only.
#pragma unroll 1
    for (unsigned int first = 0; first < COUNT; first += AT_A_TIME) {
#pragma unroll
        for (unsigned int e = 0; e < AT_A_TIME; ++e) values[e] *= activate_f32(kind, parameter, x[e]);
        go_round<AT_A_TIME>(values);
        go_round<AT_A_TIME>(x);
    }
}

}  // namespace warpnorm
