// Elementary functions: exp and the tail of the normal distribution, each in three forms.
//
// The f32 forms take some twenty instructions and are off by a few units of 2^-24; no instruction of them is
// approximate, so the bits are the same on every GPU. The approximate forms take half as many, with instructions
// whose last bits differ from GPU to GPU: what is made of them may be a bound, never a result. The forms in f64 are
// for results that the bounds leave in doubt, which is rare.
//
// scripts/activation_tables.py computes the polynomials.
#pragma once

#include "two_float.cuh"

namespace warpnorm {

/// Σ table[k]·x^k by Horner's rule.
template <unsigned int COUNT>
__device__ __forceinline__ double polynomial(const double (&table)[COUNT], double x) {
    double sum = table[COUNT - 1];
#pragma unroll
    for (int k = COUNT - 2; k >= 0; --k) sum = fma(sum, x, table[k]);
    return sum;
}

/// 1/x for a positive x whose reciprocal is no denormal either, off by half a unit in the last place and a sixteenth:
/// without the branch, and the call, that a division of any number takes.
__device__ __forceinline__ float reciprocal(float x) {
    // Off by an eighth at most, as the exponent is negated and the fraction subtracted; then by that to the third power, and
    // to the ninth.
    float y = __int_as_float(0x7ef311c3 - __float_as_int(x));
#pragma unroll
    for (unsigned int k = 0; k < 2; ++k) {
        const float error = __fmaf_rn(-x, y, 1.0f);
        y = __fmaf_rn(y, __fmaf_rn(error, error, error), y);
    }
    return y;
}

/// 1/x, off by one unit in the last place of f32 from the nearest (PTX ISA, rcp.approx); 0 for what has a denormal
/// reciprocal.
__device__ __forceinline__ float approximate_reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
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

/// e^t for |t| up to 1000. The fraction is off by at most 1.1·2^-24 of 1 + fraction.
__device__ __forceinline__ Exponential exponential(const TwoFloat& t) {
    const ReducedExponent reduced(t.hi);
    const float r = reduced.rest + __fmaf_rn(-reduced.multiple, ReducedExponent::LN2_MID, t.lo);
    float sum = 1.38624036e-3f;
    sum = __fmaf_rn(sum, r, 8.36667325e-3f);
    sum = __fmaf_rn(sum, r, 4.16675247e-2f);
    sum = __fmaf_rn(sum, r, 1.66665420e-1f);
    sum = __fmaf_rn(sum, r, 4.99999970e-1f);
    return {__fmaf_rn(r * r, sum, r), reduced.exponent};
}

/// 2^(t·log2 e), and what is left of the exponent t.
struct ApproximatePower {
    float power;
    float rest;

    explicit __device__ __forceinline__ ApproximatePower(float t) {
        constexpr float LOG2_E = 1.44269504088896340736f;
        const float exponent = t * LOG2_E;
        asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(exponent));
        rest = __fmaf_rn(exponent, -ReducedExponent::LN2_MID, __fmaf_rn(exponent, -ReducedExponent::LN2_HI, t));
    }
};

/// e^t for |t| up to 87, off by at most six units of 2^-24 of itself, five of which are the instruction's: two units in
/// the last place from the nearest f32 (PTX ISA, ex2.approx).
__device__ __forceinline__ float approximate_exponential(float t) {
    const ApproximatePower of(t);
    return __fmaf_rn(of.power, of.rest, of.power);
}
__device__ __forceinline__ float approximate_exponential(const TwoFloat& t) {
    const ApproximatePower of(t.hi);
    return __fmaf_rn(of.power, of.rest + t.lo, of.power);
}

/// e^t for |t| up to 700, off by some 2^-45 of itself.
__device__ __forceinline__ double exponential_in_f64(double t) {
    // 1/(k + 1)!: (e^r − 1)/r but for 2^-45 of it where |r| is at most ln 2 / 2.
    constexpr double TERMS[] = {1.0,       1.0 / 2,    1.0 / 6,     1.0 / 24,     1.0 / 120,     1.0 / 720,
                                1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800};
    // The upper 32 bits of ln 2, so that its multiples are exact, and what is left of it.
    constexpr double LN2_HI = 0x1.62e42feep-1;
    constexpr double LN2_LO = 0x1.a39ef35793c76p-33;
    constexpr double LOG2_E = 1.44269504088896340736;
    // Adding 1.5·2^52 rounds to an integer, which then stands in the lowest bits.
    constexpr double MAGIC = 6755399441055744.0;
    const double shifted = fma(t, LOG2_E, MAGIC);
    const double multiple = shifted - MAGIC;
    const double r = fma(-multiple, LN2_LO, fma(-multiple, LN2_HI, t));
    const double power = __hiloint2double((__double2loint(shifted) + 1023) << 20, 0);
    return fma(r * polynomial(TERMS, r), power, power);
}

/// The scaled tail of the normal distribution, exp(a²/2)·Φ(−a) = erfcx(a/√2)/2, for a from 0 to 18.5, off by a
/// few units of 2^-24 of itself.
///
/// It is a polynomial in q = (a − 4)/(a + 4), as Schonfelder has it (Chebyshev expansions for the error and
/// related functions, 1978).
constexpr float SCALED_TAIL_LIMIT = 18.5f;

///
/// `reciprocal` is that of a + 4, and need not be exact.
__device__ __forceinline__ float scaled_tail(float a, float reciprocal) {
    const float estimate = __fmaf_rn(-8.0f, reciprocal, 1.0f);
    // What is left of a − 4 after estimate·(a + 4) makes q right to its last digit.
    const float rest = __fmaf_rn(-estimate, a, __fmaf_rn(-4.0f, estimate + 1.0f, a));
    const float q = __fmaf_rn(reciprocal, rest, estimate);
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

/// The scaled tail in f64, for a from 0 to 19: off by at most 2^-41 of itself and, towards a = 0, of what it is less than
/// 1/2.
__device__ __forceinline__ double scaled_tail_in_f64(double a) {
    // (exp(a²/2)·Φ(−a) − 1/2)/(q + 1), but for 2^-42 of the scaled tail.
    constexpr double TERMS[] = {
        -0.405589358698017952,    0.235191637149403691,    -0.110812381812866369,
        0.0391049744893793337,    -0.00824017028786993305, -0.000251925527155258587,
        0.000759486266413536463,  -0.000120669195043869537, -0.0000665052074156012236,
        0.0000209352477380210307, 7.67064160906635293e-6,  -3.00533084300286544e-6,
        -1.19057066242741928e-6,  3.37609297907756192e-7,  1.73318682248699627e-7,
    };
    const double reciprocal = __drcp_rn(a + 4.0);
    // q + 1, which loses nothing where q is close to −1.
    const double above = 2.0 * a * reciprocal;
    return fma(above, polynomial(TERMS, (a - 4.0) * reciprocal), 0.5);
}

}  // namespace warpnorm
