// Reciprocals, and those of roots, of numbers within bounds: without the branch, and the call, that IEEE division and square
// root take for the others. No instruction is approximate, so the bits are the same on every GPU.
#pragma once

namespace warpnorm {

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

/// 1/x of a power of two, where both are normal: exactly.
__device__ __forceinline__ float reciprocal_of_power_of_two(float x) {
    return __int_as_float(0x7f000000 - __float_as_int(x));
}

/// 1/√x for a normal x, off by two thirds of a unit in the last place.
__device__ __forceinline__ float reciprocal_root_within_bounds(float x) {
    // Off by 3.5 % at most, as the exponent is halved and negated, and the fraction with it; then by 5/16 of the third power
    // of what 1 − x·y² is.
    float y = __int_as_float(0x5f375a86 - (__float_as_int(x) >> 1));
#pragma unroll
    for (unsigned int k = 0; k < 2; ++k) {
        const float error = __fmaf_rn(-(x * y), y, 1.0f);
        y = __fmaf_rn(y * error, __fmaf_rn(error, 0.375f, 0.5f), y);
    }
    return y;
}

/// 1/√x of any x, infinite where x is 0, off by no more than a rounded root and a rounded reciprocal are.
__device__ __forceinline__ float reciprocal_root(float x) {
    const bool is_within_bounds = x >= 0x1p-100f && x <= 0x1p+100f;
    return is_within_bounds ? reciprocal_root_within_bounds(x) : __frcp_rn(__fsqrt_rn(x));
}

}  // namespace warpnorm
