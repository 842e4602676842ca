// The activations of gates and feed-forward layers, chosen at run time, in f32 and in two floats.
//
//     identity     x
//     ReLU         0 where x ≤ 0, else x
//     leaky ReLU   parameter·x where x ≤ 0, else x
//     sigmoid      σ(x) = 1/(1 + e^−x)
//     swish        x·σ(parameter·x); SiLU where the parameter is 1
//     GELU (tanh)  x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))/2 = x·σ(√(8/π)·(x + 0.044715·x³))
//     GELU         x·Φ(x), where Φ is the distribution function of the standard normal distribution
//
// The last four have one form: factor·G, where G rises from 0 to 1 and is 1/2 in the middle. G of a negative
// argument is h·e^t, with a tame h; 1 − G of it is G of the positive one. So nothing cancels, and the negative
// tail is as accurate as the rest until it leaves f32's range.
//
// NaN gives NaN. An infinity gives what the formula gives in f32, as PyTorch's does: 0 or 1 for the sigmoid,
// and for x·G infinity where G is 1 and NaN where G is 0.
#pragma once

#include "functions.cuh"

namespace warpnorm {

/// The numbers are those of `Activation::code` in src/activation.rs.
enum class Activation : unsigned int {
    IDENTITY = 0,
    RELU = 1,
    LEAKY_RELU = 2,
    SIGMOID = 3,
    SWISH = 4,
    GELU_TANH = 5,
    GELU_EXACT = 6,
};

/// How far `activate` may be off, relative to the exact value, where that is a normal f32.
constexpr float ACTIVATION_ERROR = 6.0f / 16777216.0f;

/// value·2^exponent, with an exponent from -252 to 0: f32's range is too small for what a large factor may
/// bring back into it.
struct ScaledTwoFloat {
    TwoFloat value;
    int exponent;
};

/// What the activations from SIGMOID on have in common.
struct Gate {
    float factor;   // the activation is factor·G
    float size;     // |t| of σ(t), or |x| of Φ(x), at most the limit
    bool negative;  // whether G is below 1/2
    bool limited;   // whether the size was larger than the limit
    TwoFloat t;     // G is h·e^t where it is below 1/2, else 1 − h·e^t

    /// Sizes above the limits count as the limits, which keep the exponent of e^t within bounds.
    __device__ __forceinline__ Gate(Activation kind, float parameter, float x, float limit, float normal_limit)
        : factor(kind == Activation::SIGMOID ? 1.0f : x), negative(x < 0.0f) {
        if (kind == Activation::GELU_EXACT) {
            size = fabsf(x);
            limited = size > normal_limit;
            size = limited ? normal_limit : size;
            t = two_product(-0.5f * size, size);
        } else {
            t = {x, 0.0f};
            if (kind == Activation::SWISH) t = two_product(x, parameter);
            if (kind == Activation::GELU_TANH) t = multiply(gelu_slope(x), x);
            negative = t.hi < 0.0f;
            if (!negative) t = {-t.hi, -t.lo};
            // Past the limit the low part may be anything, for infinities even NaN.
            limited = t.hi < -limit;
            if (limited) t = {-limit, 0.0f};
            size = -t.hi;
        }
    }

    /// √(8/π)·(1 + 0.044715·x²), off by some 2^-46; `lo` is left large.
    static __device__ __forceinline__ TwoFloat gelu_slope(float x) {
        constexpr TwoFloat LINEAR = two_floats(1.5957691216057307117597842397375);
        constexpr TwoFloat CUBIC = two_floats(0.071354816272600248776388652279863);
        return add(LINEAR, multiply(CUBIC, two_product(x, x)));
    }

    /// The activation where G is as good as 0 or 1. For −∞·0 it is NaN.
    __device__ __forceinline__ float at_limit() const { return negative ? factor * 0.0f : factor; }
};

/// The activation of x, off by at most ACTIVATION_ERROR of it where it is a normal f32; below, by a few times
/// the smallest f32 too. The parameter is the slope or β.
__device__ __forceinline__ float activate(Activation kind, float parameter, float x) {
    if (kind <= Activation::LEAKY_RELU) {
        // Zero itself for ReLU, so that −∞ gives no NaN.
        const float below = kind == Activation::RELU ? 0.0f : x * (kind == Activation::IDENTITY ? 1.0f : parameter);
        return x <= 0.0f ? below : x;
    }
    // e^-172 is 2^-248, which two powers of two make up.
    const Gate gate(kind, parameter, x, 172.0f, SCALED_TAIL_LIMIT);
    const Exponential<float> e = exponential(gate.t);
    const PowerOfTwo power(e.exponent);
    float h;
    if (kind == Activation::GELU_EXACT) {
        h = scaled_tail(gate.size);
    } else {
        h = reciprocal(__fmaf_rn(__fmaf_rn(e.fraction, power.first, power.first), power.second, 1.0f));
    }
    const float scaled_factor = gate.factor * h;
    const float tail = __fmaf_rn(scaled_factor, e.fraction, scaled_factor) * power.first * power.second;
    const float value = gate.negative ? tail : gate.factor - tail;
    return gate.limited ? gate.at_limit() : value;
}

/// Whether a value of `activate` may lack digits because f32's range ends: a factor may make them count again.
__device__ __forceinline__ bool activation_underflows(Activation kind, float x, float value) {
    constexpr float SMALLEST_NORMAL = 1.17549435082228750797e-38f;
    return kind > Activation::RELU && x != 0.0f && fabsf(value) < SMALLEST_NORMAL;
}

/// Below this size G counts as 1/2. In f64, too, it all but is; where nothing else tells on which side of the
/// middle of two 16-bit values a result lies, kernels and reference then agree.
constexpr float TANGENT_SIZE = 0x1p-50f;
/// Above this size a G of nearly 0 counts as 0.
constexpr float LARGEST_SIZE = 190.0f;

/// The activation of x, off by at most 2^-38 of it. Where G is nearly 1 or 1/2, the low part is at least on the
/// right side of 0.
__device__ __forceinline__ ScaledTwoFloat activate_in_two(Activation kind, float parameter, float x) {
    if (kind <= Activation::LEAKY_RELU && (x > 0.0f || kind == Activation::IDENTITY || x != x)) return {{x, 0.0f}, 0};
    if (kind == Activation::RELU) return {{0.0f, 0.0f}, 0};
    // Low parts end at 2^-149, and with them the digits of what is below 2^-102.
    const bool small = fabsf(x) < 0x1p-64f && kind != Activation::SIGMOID;
    const int shift = small ? -64 : 0;
    const float factor = kind == Activation::SIGMOID ? 1.0f : x * (small ? 0x1p64f : 1.0f);
    if (kind == Activation::LEAKY_RELU) {
        const TwoFloat product = two_product(factor, parameter);
        return {isfinite(product.hi) ? product : TwoFloat{product.hi, 0.0f}, shift};
    }
    Gate gate(kind, parameter, x, LARGEST_SIZE, SCALED_TAIL_LIMIT_IN_TWO);
    if (gate.limited && (gate.negative || isinf(x))) return {{gate.at_limit(), 0.0f}, 0};
    if (gate.size < TANGENT_SIZE) {
        gate.size = 0.0f;
        gate.t = {0.0f, 0.0f};
    }
    const Exponential<TwoFloat> e = exponential_in_two(gate.t);
    // Where it is added to or subtracted from something, no more of it than 2^-100 counts, and that by its sign.
    const float power = power_of_two(max(e.exponent, -100));
    TwoFloat h;
    if (kind == Activation::GELU_EXACT) {
        h = scaled_tail_in_two(gate.size);
    } else {
        h = divide({1.0f, 0.0f}, normalised(add(two_sum(1.0f, power), scaled(e.fraction, power))));
    }
    const TwoFloat scaled_factor = normalised(multiply(h, factor));
    const TwoFloat tail = normalised(add(scaled_factor, multiply(scaled_factor, e.fraction)));
    if (!gate.negative) return {normalised(add({factor, 0.0f}, scaled(tail, -power))), shift};
    const int wanted = e.exponent + shift;
    const int exponent = max(wanted, -252);
    return {scaled(tail, power_of_two(wanted - exponent)), exponent};
}

/// a·factor, with the error of `multiply`. Where it is no finite f32, the low part is 0.
__device__ __forceinline__ TwoFloat multiply(const ScaledTwoFloat& a, const TwoFloat& factor) {
    // At first as much of the power as keeps a large factor from overflowing and a small one's digits; the rest
    // of it, if there is any, makes the product small.
    const int first = max(a.exponent, -64);
    const PowerOfTwo rest(a.exponent - first);
    TwoFloat product = multiply(a.value, scaled(factor, power_of_two(first)));
    product = scaled(scaled(product, rest.first), rest.second);
    return isfinite(product.hi) ? normalised(product) : TwoFloat{product.hi, 0.0f};
}

}  // namespace warpnorm
