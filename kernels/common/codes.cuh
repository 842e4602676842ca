// Code types: what quantised elements are stored as.
//
// Every conversion rounds to nearest, ties to even, and saturates; NaN becomes what `cvt` makes of it. The
// bits are the same whether an instruction converts or arithmetic does: sm_90 has instructions for the two
// fp8 types, PTX ISA 8.2 has none for e2m1.
#pragma once

namespace warpnorm {

/// A floating-point type of few bits, converted by arithmetic.
///
/// MANTISSA and BIAS are its own, SIGN is the place of its sign bit, LARGEST the largest finite magnitude
/// as an f32 pattern, and NAN_CODE what a NaN becomes.
template <unsigned int MANTISSA, unsigned int BIAS, unsigned int SIGN, unsigned int LARGEST, unsigned int NAN_CODE>
struct SmallFloat {
    static constexpr bool NAN_IS_LARGEST = NAN_CODE == ((((LARGEST >> 23) + BIAS - 127) << MANTISSA) |
                                                        (LARGEST >> (23 - MANTISSA) & ((1u << MANTISSA) - 1)));

    /// The code of a value.
    ///
    /// The type holds the multiples of a quantum, 2^-MANTISSA times the value's binade, or the least normal
    /// binade below that. Added to 2^23 quanta, a value is rounded to a multiple of the quantum by the
    /// addition itself: the sum's lowest bits count quanta, and its exponent less a constant is the code's. One
    /// added to the other is the code, for codes count on from binade to binade.
    static __device__ __forceinline__ unsigned int narrow_by_arithmetic(float value) {
        constexpr unsigned int DROPPED = 23 - MANTISSA;
        constexpr unsigned int LEAST_NORMAL = 128 - BIAS;
        constexpr unsigned int MAGNITUDE = (1u << SIGN) - 1;
        // What takes the constant away again, as quanta: an even number, so that ties stay ties to even.
        constexpr unsigned int OFFSET = -((LEAST_NORMAL + DROPPED) << MANTISSA) & MAGNITUDE;
        static_assert(OFFSET % 2 == 0, "codes of even quanta are even");
        const float largest = __uint_as_float(LARGEST);
        // In this order, so that a NaN becomes the positive largest value.
        const float bounded = fmaxf(fminf(value, largest), -largest);
        const unsigned int bits = __float_as_uint(bounded);
        const unsigned int binade = max(bits & 0x7f800000u, LEAST_NORMAL << 23);
        const unsigned int anchor = binade + ((DROPPED << 23) + OFFSET);
        const unsigned int sum = __float_as_uint(fabsf(bounded) + __uint_as_float(anchor));
        const unsigned int magnitude = ((sum >> DROPPED) + sum) & MAGNITUDE;
        const unsigned int code = magnitude | (bits >> (31 - SIGN) & (1u << SIGN));
        return NAN_IS_LARGEST || value == value ? code : NAN_CODE;
    }
};

/// e4m3 (OFP8): 448 is the largest value, there is no infinity.
struct E4M3 : SmallFloat<3, 7, 7, 0x43e00000u, 0x7fu> {
    static constexpr float LARGEST = 448.0f;
    static constexpr unsigned int BITS = 8;

    /// The codes of two values, the first in the lower byte.
    static __device__ __forceinline__ unsigned int narrow_pair(float low, float high) {
#if __CUDA_ARCH__ >= 900
        unsigned short pair;
        asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
        return pair;
#else
        return narrow_by_arithmetic(low) | narrow_by_arithmetic(high) << 8;
#endif
    }

    /// The value of a code, exactly.
    static __device__ __forceinline__ float widen(unsigned int code) {
        // As the pattern of an f32, denormals included, the code's exponent and mantissa are 2^120 too small.
        constexpr float REBIAS = 1.32922799578491587290e36f;  // 2^120
        const unsigned int magnitude = code & 0x7fu;
        const float value = __uint_as_float((code & 0x80u) << 24 | magnitude << 20) * REBIAS;
        return magnitude == 0x7fu ? __uint_as_float(0x7fffffffu) : value;
    }
};

/// e5m2 (OFP8): 57344 is the largest finite value.
struct E5M2 : SmallFloat<2, 15, 7, 0x47600000u, 0x7fu> {
    static constexpr float LARGEST = 57344.0f;
    static constexpr unsigned int BITS = 8;

    /// The codes of two values, the first in the lower byte.
    static __device__ __forceinline__ unsigned int narrow_pair(float low, float high) {
#if __CUDA_ARCH__ >= 900
        unsigned short pair;
        asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
        return pair;
#else
        return narrow_by_arithmetic(low) | narrow_by_arithmetic(high) << 8;
#endif
    }
};

/// e2m1 (OCP Microscaling Formats): 0, 1/2, 1, 3/2, 2, 3, 4, 6. NaN becomes 6.
struct E2M1 : SmallFloat<1, 1, 3, 0x40c00000u, 0x7u> {
    static constexpr float LARGEST = 6.0f;
    static constexpr unsigned int BITS = 4;

    /// The codes of two values, the first in the lower four bits.
    static __device__ __forceinline__ unsigned int narrow_pair(float low, float high) {
        return narrow_by_arithmetic(low) | narrow_by_arithmetic(high) << 4;
    }
};

/// Two's complement, saturating at -128 and 127. NaN becomes 0.
struct Int8 {
    static constexpr float LARGEST = 127.0f;
    static constexpr unsigned int BITS = 8;

    /// The codes of two values, the first in the lower byte.
    static __device__ __forceinline__ unsigned int narrow_pair(float low, float high) {
        return __byte_perm(narrow(low), narrow(high), 0x7740) & 0xffffu;
    }

private:
    static __device__ __forceinline__ unsigned int narrow(float value) {
        unsigned int code;
        asm("cvt.rni.sat.s8.f32 %0, %1;" : "=r"(code) : "f"(value));
        return code;
    }
};

/// In place of a code type: values stay of the activation type.
struct NoCode {};

template <class Code>
constexpr bool IS_CODE = true;
template <>
constexpr bool IS_CODE<NoCode> = false;

/// Codes in a word of 32 bits.
template <class Code>
constexpr unsigned int CODES_PER_WORD = 32 / Code::BITS;

/// The codes of CODES_PER_WORD values, the first in the lowest bits: a word as it lies in memory.
template <class Code>
__device__ __forceinline__ unsigned int narrow_word(const float* values) {
    unsigned int word = 0;
#pragma unroll
    for (unsigned int c = 0; c < CODES_PER_WORD<Code>; c += 2) {
        word |= Code::narrow_pair(values[c], values[c + 1]) << (c * Code::BITS);
    }
    return word;
}

#if __CUDA_ARCH__ >= 900
// The second conversion puts its codes beside the others'. In one statement: apart, those of all code types are put beside
// each other by the same instruction, further on.
#define WARPNORM_NARROW_WORD(Code, type)                                                          \
    template <>                                                                                   \
    __device__ __forceinline__ unsigned int narrow_word<Code>(const float* values) {              \
        unsigned int word;                                                                        \
        asm("{.reg .b16 low, high;\n\t"                                                           \
            "cvt.rn.satfinite." type "x2.f32 low, %2, %1;\n\t"                                     \
            "cvt.rn.satfinite." type "x2.f32 high, %4, %3;\n\t"                                    \
            "mov.b32 %0, {low, high};}"                                                           \
            : "=r"(word)                                                                          \
            : "f"(values[0]), "f"(values[1]), "f"(values[2]), "f"(values[3]));                     \
        return word;                                                                              \
    }
WARPNORM_NARROW_WORD(E4M3, "e4m3")
WARPNORM_NARROW_WORD(E5M2, "e5m2")
#undef WARPNORM_NARROW_WORD
#endif

}  // namespace warpnorm
