// Two floats that stand for their exact sum: f32 arithmetic with twice the digits where it is needed.
//
// The algorithms are those of Dekker, A floating-point technique for extending the available precision
// (1971), and Knuth, The Art of Computer Programming, volume 2. They rely on every operation being rounded
// by itself: compiled with --fmad=false, fused operations are written out.
#pragma once

#include "reciprocals.cuh"
#include "warp.cuh"

namespace warpnorm {

constexpr float LARGEST_F32 = 3.40282346638528859812e38f;

struct TwoFloat {
    float hi;
    float lo;
};

/// a + b exactly (Knuth), whichever of the two is larger.
__device__ __forceinline__ TwoFloat two_sum(float a, float b) {
    const float sum = a + b;
    const float b_part = sum - a;
    const float a_part = sum - b_part;
    return {sum, (a - a_part) + (b - b_part)};
}

/// a + b exactly (Dekker) where a is 0 or no smaller in magnitude than b.
__device__ __forceinline__ TwoFloat fast_two_sum(float a, float b) {
    const float sum = a + b;
    return {sum, b - (sum - a)};
}

/// a · b exactly.
__device__ __forceinline__ TwoFloat two_product(float a, float b) {
    const float product = a * b;
    return {product, __fmaf_rn(a, b, -product)};
}

/// a + b with an error of some 2^-47 of the larger term.
__device__ __forceinline__ TwoFloat add(const TwoFloat& a, const TwoFloat& b) {
    const TwoFloat sum = two_sum(a.hi, b.hi);
    return {sum.hi, (a.lo + b.lo) + sum.lo};
}

/// The same as one float. Of what is infinite there is no low part.
__device__ __forceinline__ float in_one(float value) { return value; }
__device__ __forceinline__ float in_one(const TwoFloat& value) {
    return isinf(value.hi) ? value.hi : value.hi + value.lo;
}

__device__ __forceinline__ TwoFloat shuffle_down(const TwoFloat& value, unsigned int delta, unsigned int width) {
    return {shuffle_down(value.hi, delta, width), shuffle_down(value.lo, delta, width)};
}
__device__ __forceinline__ TwoFloat shuffle_xor(const TwoFloat& value, unsigned int mask) {
    return {shuffle_xor(value.hi, mask), shuffle_xor(value.lo, mask)};
}

/// a · b with an error of some 2^-46. `lo` is left as large as 2^-22 of the product.
__device__ __forceinline__ TwoFloat multiply(const TwoFloat& a, const TwoFloat& b) {
    const TwoFloat product = two_product(a.hi, b.hi);
    return {product.hi, __fmaf_rn(a.lo, b.hi, __fmaf_rn(a.hi, b.lo, product.lo))};
}

__device__ __forceinline__ TwoFloat multiply(const TwoFloat& a, float b) {
    const TwoFloat product = two_product(a.hi, b);
    return {product.hi, __fmaf_rn(a.lo, b, product.lo)};
}

/// sum / divisor for the reciprocal given. The first estimate of a finite sum at the very end of f32's
/// range may overflow where the quotient does not.
__device__ __forceinline__ TwoFloat quotient(const TwoFloat& sum, float divisor, float reciprocal) {
    float estimate = sum.hi * reciprocal;
    if (isinf(estimate) && !isinf(sum.hi)) estimate = copysignf(LARGEST_F32, sum.hi);
    const float remainder = __fmaf_rn(-estimate, divisor, sum.hi) + sum.lo;
    return fast_two_sum(estimate, remainder * reciprocal);
}

/// 1/√v with an error of some 2^-46. At 0, at infinity and where the squares leave f32's range the low part is 0.
__device__ __forceinline__ TwoFloat reciprocal_root(const TwoFloat& v) {
    const float estimate = reciprocal_root(v.hi);
    // One step of Newton's method from 1 − v·estimate².
    const TwoFloat square = two_product(estimate, estimate);
    const TwoFloat product = two_product(v.hi, square.hi);
    const float residual =
        ((1.0f - product.hi) - product.lo) - __fmaf_rn(v.hi, square.lo, v.lo * square.hi);
    const float correction = 0.5f * estimate * residual;
    return isfinite(correction) ? fast_two_sum(estimate, correction) : TwoFloat{estimate, 0.0f};
}

/// 1/√(mean_square + eps); zero where the mean square is past f32's range.
__device__ __forceinline__ TwoFloat rstd_of(const TwoFloat& mean_square, float eps) {
    const TwoFloat sum = two_sum(mean_square.hi, eps);
    if (isinf(sum.hi)) return {0.0f, 0.0f};
    return reciprocal_root(fast_two_sum(sum.hi, sum.lo + mean_square.lo));
}

}  // namespace warpnorm
