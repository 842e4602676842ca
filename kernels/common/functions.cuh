// Elementary functions: exp and the tail of the normal distribution, each in two forms.
//
// The f32 forms take some twenty instructions and are off by a few units of 2^-24. The forms in two floats
// are for results that f32 leaves in doubt: rare, so that their polynomials are loops over tables, and their
// code is short. No instruction here is approximate, so the bits are the same on every GPU.
//
// scripts/activation_tables.py computes the polynomials.
#pragma once

#include "two_float.cuh"

namespace warpnorm {

/// A float and the same in two, as the decimal constants of the tables are given.
constexpr __device__ TwoFloat two_floats(double value) {
    const float hi = static_cast<float>(value);
    return {hi, static_cast<float>(value - static_cast<double>(hi))};
}

/// Σ table[k]·x^k by Horner's rule, with an error of some 2^-45 of the largest term.
template <unsigned int COUNT>
__device__ __forceinline__ TwoFloat polynomial(const TwoFloat (&table)[COUNT], const TwoFloat& x) {
    TwoFloat sum = table[COUNT - 1];
#pragma unroll 1
    for (int k = COUNT - 2; k >= 0; --k) sum = add(table[k], multiply(sum, x));
    return sum;
}

/// 1/x for a positive x whose reciprocal is no denormal either, off by little more than half a unit in the last place:
/// without the branch, and the call, that a division of any number takes.
__device__ __forceinline__ float reciprocal(float x) {
    // Off by an eighth at most, as the exponent is negated and the fraction subtracted.
    float y = __int_as_float(0x7ef311c3 - __float_as_int(x));
#pragma unroll
    for (unsigned int k = 0; k < 2; ++k) {
        const float error = __fmaf_rn(-x, y, 1.0f);
        y = __fmaf_rn(y, __fmaf_rn(error, error, error), y);
    }
    return __fmaf_rn(y, __fmaf_rn(-x, y, 1.0f), y);
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
template <class Float>
struct Exponential {
    Float fraction;
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
    static constexpr float LN2_LO = 0x1.ef357ap-45f;

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
__device__ __forceinline__ Exponential<float> exponential(const TwoFloat& t) {
    const ReducedExponent reduced(t.hi);
    const float r = reduced.rest + __fmaf_rn(-reduced.multiple, ReducedExponent::LN2_MID, t.lo);
    float sum = 1.38624036e-3f;
    sum = __fmaf_rn(sum, r, 8.36667325e-3f);
    sum = __fmaf_rn(sum, r, 4.16675247e-2f);
    sum = __fmaf_rn(sum, r, 1.66665420e-1f);
    sum = __fmaf_rn(sum, r, 4.99999970e-1f);
    return {__fmaf_rn(r * r, sum, r), reduced.exponent};
}

/// 1/(k + 1)!: (e^r − 1)/r but for 2^-45 of it where |r| is at most ln 2 / 2.
__constant__ TwoFloat EXPONENTIAL_TERMS[] = {
    two_floats(1.0),           two_floats(1.0 / 2),        two_floats(1.0 / 6),       two_floats(1.0 / 24),
    two_floats(1.0 / 120),     two_floats(1.0 / 720),      two_floats(1.0 / 5040),    two_floats(1.0 / 40320),
    two_floats(1.0 / 362880),  two_floats(1.0 / 3628800),  two_floats(1.0 / 39916800),
};

/// e^t for |t| up to 1000, where t.lo is small beside 1. The fraction is off by some 2^-44 of itself, and by
/// what 2^-47 of t amounts to.
__device__ __forceinline__ Exponential<TwoFloat> exponential_in_two(const TwoFloat& t) {
    const ReducedExponent reduced(t.hi);
    const TwoFloat middle = two_product(-reduced.multiple, ReducedExponent::LN2_MID);
    const TwoFloat sum = two_sum(reduced.rest, middle.hi);
    const float low = __fmaf_rn(-reduced.multiple, ReducedExponent::LN2_LO, t.lo) + middle.lo;
    const TwoFloat r = two_sum(sum.hi, sum.lo + low);
    return {normalised(multiply(r, polynomial(EXPONENTIAL_TERMS, r))), reduced.exponent};
}

/// The scaled tail of the normal distribution, exp(a²/2)·Φ(−a) = erfcx(a/√2)/2, for a from 0 to 18.5, off by a
/// few units of 2^-24 of itself.
///
/// It is a polynomial in q = (a − 4)/(a + 4), as Schonfelder has it (Chebyshev expansions for the error and
/// related functions, 1978).
constexpr float SCALED_TAIL_LIMIT = 18.5f;

__device__ __forceinline__ float scaled_tail(float a) {
    const float reciprocal = warpnorm::reciprocal(a + 4.0f);
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

/// (exp(a²/2)·Φ(−a) − 1/2)/(q + 1) for a from 0 to 19, but for 2^-42 of the scaled tail.
__constant__ TwoFloat TAIL_TERMS[] = {
    two_floats(-0.405589358698017952), two_floats(0.235191637149403691), two_floats(-0.110812381812866369),
    two_floats(0.0391049744893793337), two_floats(-0.00824017028786993305), two_floats(-0.000251925527155258587),
    two_floats(0.000759486266413536463), two_floats(-0.000120669195043869537), two_floats(-0.0000665052074156012236),
    two_floats(0.0000209352477380210307), two_floats(7.67064160906635293e-6), two_floats(-3.00533084300286544e-6),
    two_floats(-1.19057066242741928e-6), two_floats(3.37609297907756192e-7), two_floats(1.73318682248699627e-7),
};
constexpr float SCALED_TAIL_LIMIT_IN_TWO = 19.0f;

/// The scaled tail in two floats, off by at most 2^-40 of itself and, towards a = 0, of what it is less than 1/2.
__device__ __forceinline__ TwoFloat scaled_tail_in_two(float a) {
    const TwoFloat q = divide(two_sum(a, -4.0f), two_sum(a, 4.0f));
    // q + 1, which loses nothing where q is close to −1.
    const TwoFloat sum = two_sum(1.0f, q.hi);
    const TwoFloat above = two_sum(sum.hi, sum.lo + q.lo);
    return normalised(add({0.5f, 0.0f}, multiply(above, polynomial(TAIL_TERMS, q))));
}

}  // namespace warpnorm
