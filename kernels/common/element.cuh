// Element types: how a value is stored, widened to f32 and rounded back.
//
// No toolkit header is used, so that every compiler sees the same instructions: widening is exact,
// narrowing rounds to nearest, ties to even, and turns every NaN into the canonical one (what `cvt` does).
#pragma once

namespace warpnorm {

struct F32 {
    using Bits = unsigned int;
    static constexpr bool IS_F32 = true;
    static constexpr Bits ONE = 0x3f800000;
    static constexpr Bits NEGATIVE_ZERO = 0x80000000;

    static __device__ __forceinline__ float widen(Bits bits) { return __uint_as_float(bits); }
    static __device__ __forceinline__ Bits narrow(float value) { return __float_as_uint(value); }
};

struct F16 {
    using Bits = unsigned short;
    static constexpr bool IS_F32 = false;
    static constexpr Bits ONE = 0x3c00;
    static constexpr Bits NEGATIVE_ZERO = 0x8000;

    static __device__ __forceinline__ float widen(Bits bits) {
        float value;
        asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
        return value;
    }
    static __device__ __forceinline__ Bits narrow(float value) {
        Bits bits;
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
        return bits;
    }
};

struct BF16 {
    using Bits = unsigned short;
    static constexpr bool IS_F32 = false;
    static constexpr Bits ONE = 0x3f80;
    static constexpr Bits NEGATIVE_ZERO = 0x8000;

    static __device__ __forceinline__ float widen(Bits bits) {
        return __uint_as_float(static_cast<unsigned int>(bits) << 16);
    }
    static __device__ __forceinline__ Bits narrow(float value) {
#if __CUDA_ARCH__ >= 900
        Bits bits;
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
        return bits;
#else
        // The base target has no bf16 conversion. Adding 0x7fff plus the lowest kept bit carries into
        // the kept half exactly when the value lies above the midpoint, or on it with an odd neighbour.
        const unsigned int bits = __float_as_uint(value);
        const unsigned int rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
        return static_cast<Bits>(value != value ? 0x7fffu : rounded);
#endif
    }
};

/// The value after rounding to the storage type: R of the formulas.
template <class Element>
__device__ __forceinline__ float round_to(float value) {
    return Element::widen(Element::narrow(value));
}

/// Two values rounded to a 16-bit type, the first in the lower half.
template <class Element>
__device__ __forceinline__ unsigned int narrow_pair(float low, float high) {
    return static_cast<unsigned int>(Element::narrow(low)) | static_cast<unsigned int>(Element::narrow(high)) << 16;
}

#if __CUDA_ARCH__ >= 900
template <>
__device__ __forceinline__ unsigned int narrow_pair<F16>(float low, float high) {
    unsigned int pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

template <>
__device__ __forceinline__ unsigned int narrow_pair<BF16>(float low, float high) {
    unsigned int pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}
#endif

/// The magnitudes of a pair. An instruction that takes them may take them at no cost.
template <class Element>
__device__ __forceinline__ unsigned int magnitudes_of_pair(unsigned int pair) {
    return pair & 0x7fff7fffu;
}

#if __CUDA_ARCH__ >= 900
template <>
__device__ __forceinline__ unsigned int magnitudes_of_pair<F16>(unsigned int pair) {
    unsigned int magnitudes;
    asm("abs.f16x2 %0, %1;" : "=r"(magnitudes) : "r"(pair));
    return magnitudes;
}

template <>
__device__ __forceinline__ unsigned int magnitudes_of_pair<BF16>(unsigned int pair) {
    unsigned int magnitudes;
    asm("abs.bf16x2 %0, %1;" : "=r"(magnitudes) : "r"(pair));
    return magnitudes;
}
#endif

/// The larger ones of two pairs. What is no number is left out.
template <class Element>
__device__ __forceinline__ unsigned int larger_pair(unsigned int a, unsigned int b) {
    using Bits = typename Element::Bits;
    const float low = fmaxf(Element::widen(static_cast<Bits>(a)), Element::widen(static_cast<Bits>(b)));
    const float high = fmaxf(Element::widen(static_cast<Bits>(a >> 16)), Element::widen(static_cast<Bits>(b >> 16)));
    return narrow_pair<Element>(low, high);
}

#if __CUDA_ARCH__ >= 900
template <>
__device__ __forceinline__ unsigned int larger_pair<F16>(unsigned int a, unsigned int b) {
    unsigned int pair;
    asm("max.f16x2 %0, %1, %2;" : "=r"(pair) : "r"(a), "r"(b));
    return pair;
}

template <>
__device__ __forceinline__ unsigned int larger_pair<BF16>(unsigned int a, unsigned int b) {
    unsigned int pair;
    asm("max.bf16x2 %0, %1, %2;" : "=r"(pair) : "r"(a), "r"(b));
    return pair;
}
#endif

}  // namespace warpnorm
