// Scales of quantised rows: from the largest magnitude of the elements that share one to the scale, and from
// values to what is rounded to codes. The rules, and whose they are, stand in src/quantise/mod.rs.
//
// Every operation is one IEEE operation rounded to nearest, or an exact one. A largest magnitude is what
// `fmaxf` leaves of magnitudes and 0: never NaN.
#pragma once

#include "codes.cuh"
#include "reciprocals.cuh"

namespace warpnorm {

/// How largest magnitudes become f32 scales.
struct DynamicScale {
    float largest;     // magnitude of the codes: what amax is divided by
    float reciprocal;  // 1 / largest
    // What the scale is held to.
    float floor;
    float upper;
};

/// The f32 scale of a row or group: of a largest magnitude of 11 significant bits, which is what 16-bit types have.
///
/// The quotient is the one that `div.rn` makes, in three instructions: what the product with the correctly rounded reciprocal
/// is off by is exact (Markstein, *Computation of elementary functions on the IBM RISC System/6000 processor*, 1990).
/// tests/codes/scales.rs goes through all of 16-bit types. In place of NaN, which it makes of infinity, there is then
/// the upper bound.
__device__ __forceinline__ float dynamic_scale(float amax, const DynamicScale& to) {
    const float product = amax * to.reciprocal;
    const float quotient = __fmaf_rn(__fmaf_rn(-product, to.largest, amax), to.reciprocal, product);
    return fmaxf(fminf(quotient, to.upper), to.floor);
}

/// The least power of two that is no less than a normal or infinite scale.
__device__ __forceinline__ float next_power_of_two(float scale) {
    return __uint_as_float((__float_as_uint(scale) + 0x7fffffu) & 0x7f800000u);
}

/// Division of many values of at most 11 significant bits, which is what 16-bit types have, by one scale, so that they
/// become the same codes, of any type, as the quotients y / scale rounded to f32 do.
///
/// Two instructions, where `div.rn` is ten, a check and a branch around a call among them (ptxas 13.0, sm_75 and sm_90).
///
/// A code follows from which side of the middles between two codes a quotient is on, and which middle it is. Let b be
/// the scale, q = y / b exactly, m a middle, of at most 8 bits, and M one of the two ends of what f32 rounds to m.
///  1. q is never M, for b·M has more bits than y; and it keeps away from it: |q − M| > 2^-40·q, by a search through all
///     y and m, for the scales that y / M lies between (tests/codes/quotients.rs goes through the same ones). But where m
///     and y are powers of two and b is the f32 below one, q is above M by 2^-48·q.
///  2. What is rounded once in the end, v = y·reciprocal + y·rest, is off by less than 2^-44·q, so that q and v are on the
///     same side of M. In the other case v is above M, too: the factor that `rest` is made with is too large.
///  3. Of scales from 2^-80 to 2^100 nothing of v is lost for being small, unless the code is that of zero for every type;
///     and where v is past f32's range, every type saturates. The same goes for others once y and they are multiplied by
///     2^64 or 2^-64.
///  4. `reciprocal` is less than 1 / b and `rest` not zero, so that zeros keep their signs and infinite y stay infinite.
struct Divisor {
    float reciprocal;
    float rest;  // what the reciprocal lacks; of scales that are far from 1, its negative

    static __device__ __forceinline__ Divisor of(float scale) {
        const float magnitude = fabsf(scale);
        if (magnitude >= 0x1p-80f && magnitude <= 0x1p+100f) return of_near(scale);
        Divisor divisor = of_near(scale * (magnitude > 1.0f ? 0x1p-64f : 0x1p+64f));
        divisor.rest = -divisor.rest;
        // Zeros become infinities, and they zeros.
        const float exchanged = __int_as_float(__float_as_int(scale) ^ 0x7f800000);
        if (magnitude == 0.0f || isinf(magnitude)) divisor = {exchanged, exchanged};
        return divisor;
    }

    /// Makes of every y what becomes the code of y / scale, by the divisor of its part of all of them.
    template <unsigned int LENGTH, unsigned int PARTS>
    static __device__ __forceinline__ void divide(float (&values)[LENGTH], const Divisor (&divisors)[PARTS]) {
        constexpr unsigned int OF_PART = LENGTH / PARTS;
        int signs = 0;
#pragma unroll
        for (const Divisor& divisor : divisors) signs |= divisor.sign_of_far();
        if (signs >= 0) {
#pragma unroll
            for (unsigned int e = 0; e < LENGTH; ++e) {
                const Divisor& divisor = divisors[e / OF_PART];
                values[e] = __fmaf_rn(values[e], divisor.reciprocal, values[e] * divisor.rest);
            }
            return;
        }
        // Some are far.
#pragma unroll
        for (unsigned int p = 0; p < PARTS; ++p) {
            const Divisor& divisor = divisors[p];
            const bool is_far = divisor.sign_of_far() < 0;
            const float move = !is_far ? 1.0f : fabsf(divisor.reciprocal) > 1.0f ? 0x1p+64f : 0x1p-64f;
            const float rest = is_far ? -divisor.rest : divisor.rest;
#pragma unroll
            for (unsigned int e = p * OF_PART; e < (p + 1) * OF_PART; ++e) {
                const float moved = values[e] * move;
                values[e] = __fmaf_rn(moved, divisor.reciprocal, moved * rest);
            }
        }
    }

private:
    static __device__ __forceinline__ Divisor of_near(float scale) {
        // Off by nine sixteenths of a unit in the last place: the next f32 below is less than 1 / b, the next above more.
        const int nearest = __float_as_int(warpnorm::reciprocal(scale));
        const float below = __int_as_float(nearest - 1);
        return {below, __fmaf_rn(-scale, below, 1.0f) * __int_as_float(nearest + 1)};
    }

    /// Negative where the scale is far from 1.
    __device__ __forceinline__ int sign_of_far() const { return __float_as_int(reciprocal) ^ __float_as_int(rest); }
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
