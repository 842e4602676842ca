// Scales of quantised rows: from the largest magnitude of the elements that share one to the scale, and from
// values to what is rounded to codes. The rules, and whose they are, stand in src/quantise/mod.rs.
//
// Every operation is one IEEE operation rounded to nearest, or an exact one. A largest magnitude is what
// `fmaxf` leaves of magnitudes and 0: never NaN.
#pragma once

#include "codes.cuh"

namespace warpnorm {

/// The f32 scale of a row or group.
__device__ __forceinline__ float dynamic_scale(float amax, float floor, float upper, float largest) {
    return __fdiv_rn(fmaxf(fminf(amax, upper), floor), largest);
}

/// The least power of two that is no less than a normal or infinite scale.
__device__ __forceinline__ float next_power_of_two(float scale) {
    return __uint_as_float((__float_as_uint(scale) + 0x7fffffu) & 0x7f800000u);
}

/// Division of many values by one scale, so that they become the same codes, of any type, as the quotients
/// y / scale rounded to f32 do.
///
/// Three instructions, five where the estimate is bounded; `div.rn` is ten, a check and a branch around a
/// call among them (ptxas 13.0, sm_75 and sm_90). What follows is Markstein's theorem (Computation of
/// elementary functions on the IBM RISC System/6000 processor, 1990), for an estimate that may be off by
/// more than an ULP.
///
/// Let b be the scale, in [2^-80, 2^120]; r its reciprocal and p = y·r, both rounded; q = y / b exactly.
/// Signs and powers of two left out, 1 <= b < 2 and 1 <= y < 2; b = 1 is trivial. |r - 1/b| <= 2^-25, since
/// 1/b lies in (1/2, 1). Let 2w be the spacing of f32 in q's binade.
///  1. y >= b: q is in [1, 2), w = 2^-24, |q - p| <= y·2^-25 + w < 2w.
///     y < b: q is in (1/2, 1), w = 2^-25, |q - p| <= y·2^-25 + w <= 3w - 2^-47, for y <= 2 - 2^-22.
///  2. d = y - p·b is a multiple of 2w·2^-23, of p's and b's last places, and below 2^24 of those: the
///     first fused operation yields it exactly.
///  3. The second rounds v = p + d·r, where q = p + d/b. RN(v) = RN(q) unless a midpoint of f32 lies between
///     q and v, or v is one; q never is, for b·(its 25 bits) would have to be y.
///     (a) The midpoints next to p, p ± w: the multiples |d| and b·w of 2^-23·w differ by at least one, so
///         if |d| < b·w, then |d|·r <= (b - 2^-23)·w·(1/b + 2^-25) < w because b·b < 4, and if |d| > b·w,
///         then |d|·r >= (b + 2^-23)·w·(1/b - 2^-25) > w because 4 - b·b > b·2^-23 for b <= 2 - 2^-23.
///     (b) The ones after, p ± 3w, are beyond both: |q - p| <= 3w - 2^-47 = 3w·(1 - 2^-23/1.5), and
///         |v - p| <= |q - p|·(1 + b·2^-25) < 3w.
///     (c) Where a power of two lies between p and q or is p, the spacing below is half of that above.
///         From above, q < 1 <= y·r < 1 + 2w rounds to p = 1, and (a) and (b) hold for its lower neighbours.
///         From below, p < 1 <= q puts p at 1 - 2w' at most, for w' = 2^-25, and |q - p| < 3w': then q and v
///         lie in [1 - w', 1 + 2w') and round to 1.
///  4. Ranges. Where |q| is at least 2^-18, d's last place is at least 2^-18-23-80-23 and can be held. Where
///     it is less, what comes out may be another f32, but less than 2^-17 and of the same sign: the code is
///     that of zero for every type. y = ±0 yields ±0: that is why d is computed with the other sign.
///     |p| is held below 2^17: past that every type saturates, and an infinite p would make a NaN of d.
///  5. An infinite b has r = 0 and is replaced by 0: p = ±0 or NaN, v = y·0 + p the same, as y / b is.
struct Divisor {
    float scale;
    float reciprocal;

    /// `scale` is in [2^-80, 2^120] or infinite; see `covers`.
    explicit __device__ __forceinline__ Divisor(float scale)
        : scale(isinf(scale) ? 0.0f : scale), reciprocal(__frcp_rn(scale)) {}

    /// Whether a scale that somebody else has chosen can be divided by.
    static __device__ __forceinline__ bool covers(float scale) {
        return scale >= LEAST && scale <= MOST;
    }

    /// The same where |y / scale| is below 2^17, or y or the scale infinite.
    __device__ __forceinline__ float divide_within_range(float y) const { return refined(y, y * reciprocal); }

    /// y / scale, or what becomes the same code.
    __device__ __forceinline__ float divide(float y) const {
        constexpr float SATURATES = 131072.0f;  // 2^17
        return refined(y, fminf(fmaxf(y * reciprocal, -SATURATES), SATURATES));
    }

private:
    static constexpr float LEAST = 8.27180612553027674871e-25f;  // 2^-80
    static constexpr float MOST = 1.32922799578491587290e36f;    // 2^120

    __device__ __forceinline__ float refined(float y, float estimate) const {
        const float excess = __fmaf_rn(estimate, scale, -y);
        return __fmaf_rn(-excess, reciprocal, estimate);
    }
};

/// How the exponent of a block's power-of-two scale is rounded: BlockRounding of src/quantise/scaling.rs.
enum class BlockRounding : unsigned int {
    UP = 0,
    FLOOR = 1,
};

/// The UE8M0 scale of a block of fp8 codes: e for 2^(e - 127).
///
/// The largest fp8 magnitude is 1.75·2^k. So the exponent of amax / LARGEST is that of amax less k, one more
/// where it is rounded up and the significand of amax is above 1.75; no division is needed.
template <class Code>
__device__ __forceinline__ unsigned int block_scale(float amax, BlockRounding rounding) {
    constexpr int SHIFT = Code::LARGEST == 448.0f ? 8 : 15;
    static_assert(Code::LARGEST == 1.75f * (1 << SHIFT), "the significand of the largest magnitude is 1.75");
    // 0x1fffff carries into the exponent where the significand is above 1.75.
    const unsigned int bits = __float_as_uint(amax) + (rounding == BlockRounding::UP ? 0x1fffffu : 0u);
    const int exponent = max(static_cast<int>(bits >> 23) - SHIFT, 0);
    return isinf(amax) ? 254 : exponent;
}

/// 2^(127 - e): what values are multiplied by, under the UE8M0 scale e of at most 254.
__device__ __forceinline__ float block_factor(unsigned int scale) {
    // 2^-127 is a denormal.
    return __uint_as_float(scale == 254 ? 0x400000u : (254 - scale) << 23);
}

/// The scale of a block of e2m1 codes, an e4m3 code, and what values are multiplied by.
struct Fp4Scale {
    unsigned int code;
    float factor;

    /// `global` is the scale of all blocks: a code stands for code · block scale / global.
    __device__ __forceinline__ Fp4Scale(float amax, float global) {
        const float wanted = __fmul_rn(global, __fdiv_rn(amax, E2M1::LARGEST));
        code = E4M3::narrow_pair(wanted, 0.0f);
        const float scale = E4M3::widen(code);
        factor = scale == 0.0f ? 0.0f : __fdiv_rn(global, scale);
    }
};

}  // namespace warpnorm
