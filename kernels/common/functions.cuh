// Elementary functions: exp and the tail of the normal distribution, in f32.
//
// They take some twenty instructions and are off by a few units of 2^-24; no instruction of them is approximate, so the
// bits are the same on every GPU. The approximate forms take a few, and may differ between GPUs.
//
// scripts/activation_tables.py computes the polynomials.
#pragma once

#include "two_float.cuh"

namespace warpnorm {

/// 1/x, off by one unit in the last place of f32 from the nearest (PTX ISA, rcp.approx); 0 for what has a denormal
/// reciprocal.
__device__ __forceinline__ float approximate_reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/// 2^x, off by two units in the last place of f32 from the nearest (PTX ISA, ex2.approx); 0 for less than a normal f32.
__device__ __forceinline__ float approximate_exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/// 2^exponent, for exponents of normal numbers: -126 to 127.
__device__ __forceinline__ float power_of_two(int exponent) {
    return __int_as_float((exponent << 23) + __float_as_int(1.0f));
}

/// 2^exponent as first · second, for exponents down to -252, which f32 does not reach.
struct PowerOfTwo {
    float first;
    float second;

    explicit __device__ __forceinline__ PowerOfTwo(int exponent)
        : first(power_of_two(exponent >> 1)), second(power_of_two(exponent - (exponent >> 1))) {}
};

/// e^t as (1 + fraction)·2^exponent, where |fraction| < 0.42. For an exponent of 0 the fraction is e^t − 1, to
/// as many digits of its own.
struct Exponential {
    float fraction;
    int exponent;
};

/// Where e^t is to be found: t = exponent·ln 2 + rest, with `rest` exact but for what LN2_HI leaves of ln 2.
struct ReducedExponent {
    float multiple;  // the exponent as a float
    float rest;
    int exponent;

    // The upper 16 bits of ln 2, so that `rest` is exact, and what is left of it.
    static constexpr float LN2_HI = 0x1.62e4p-1f;
    static constexpr float LN2_MID = 0x1.7f7d1cp-20f;

    explicit __device__ __forceinline__ ReducedExponent(float t) {
        // Adding 1.5·2^23 rounds to an integer, which then stands in the lowest bits.
        constexpr float MAGIC = 12582912.0f;
        constexpr float LOG2_E = 1.44269504088896340736f;
        const float shifted = __fmaf_rn(t, LOG2_E, MAGIC);
        multiple = shifted - MAGIC;
        rest = __fmaf_rn(-multiple, LN2_HI, t);
        exponent = __float_as_int(shifted) - __float_as_int(MAGIC);
    }
};

/// e^t − 1 for |t| up to ln 2 / 2.
__device__ __forceinline__ float exponential_less_one(float t) {
    float sum = 1.38624036e-3f;
    sum = __fmaf_rn(sum, t, 8.36667325e-3f);
    sum = __fmaf_rn(sum, t, 4.16675247e-2f);
    sum = __fmaf_rn(sum, t, 1.66665420e-1f);
    sum = __fmaf_rn(sum, t, 4.99999970e-1f);
    return __fmaf_rn(t * t, sum, t);
}

/// e^t for |t| up to 1000. The fraction is off by at most 1.1·2^-24 of 1 + fraction.
__device__ __forceinline__ Exponential exponential(float t) {
    const ReducedExponent reduced(t);
    const float r = __fmaf_rn(-reduced.multiple, ReducedExponent::LN2_MID, reduced.rest);
    return {exponential_less_one(r), reduced.exponent};
}
__device__ __forceinline__ Exponential exponential(const TwoFloat& t) {
    const ReducedExponent reduced(t.hi);
    const float r = reduced.rest + __fmaf_rn(-reduced.multiple, ReducedExponent::LN2_MID, t.lo);
    return {exponential_less_one(r), reduced.exponent};
}

/// How far the scaled tails reach: past it e^(−a²/2) is no f32, nor its root a normal one.
constexpr float SCALED_TAIL_LIMIT = 18.5f;

/// The scaled tail of the normal distribution, exp(a²/2)·Φ(−a) = erfcx(a/√2)/2, for a from 0 to the limit, where
/// q = (a − 4)/(a + 4): a polynomial in it, as Schonfelder has it (Chebyshev expansions for the error and related
/// functions, 1978).
__device__ __forceinline__ float scaled_tail_of_quotient(float q) {
    float sum = 1.47434139e-5f;
    sum = __fmaf_rn(sum, q, -4.14753704e-5f);
    sum = __fmaf_rn(sum, q, -1.73037595e-4f);
    sum = __fmaf_rn(sum, q, 6.37142861e-4f);
    sum = __fmaf_rn(sum, q, 5.01304108e-4f);
    sum = __fmaf_rn(sum, q, -8.49157013e-3f);
    sum = __fmaf_rn(sum, q, 3.08660585e-2f);
    sum = __fmaf_rn(sum, q, -7.17075169e-2f);
    sum = __fmaf_rn(sum, q, 1.24379158e-1f);
    sum = __fmaf_rn(sum, q, -1.70397714e-1f);
    return __fmaf_rn(sum, q, 9.44106430e-2f);
}

/// The scaled tail of a, off by a few units of 2^-24 of itself. `reciprocal` is that of a + 4, and need not be exact.
__device__ __forceinline__ float scaled_tail(float a, float reciprocal) {
    const float estimate = __fmaf_rn(-8.0f, reciprocal, 1.0f);
    // What is left of a − 4 after estimate·(a + 4) makes q right to its last digit.
    const float rest = __fmaf_rn(-estimate, a, __fmaf_rn(-4.0f, estimate + 1.0f, a));
    return scaled_tail_of_quotient(__fmaf_rn(reciprocal, rest, estimate));
}

/// The same, off by a few units of 2^-23.
__device__ __forceinline__ float approximate_scaled_tail(float a) {
    return scaled_tail_of_quotient(__fmaf_rn(-8.0f, approximate_reciprocal(a + 4.0f), 1.0f));
}

}  // namespace warpnorm
