// Chunks: the unit of memory that one thread owns.
//
// A chunk is 16 bytes of the activation type. It moves in one 16-byte access where address and length
// allow, through the aligned windows that it lies across where only the length does (row/transfer.cuh), and element
// by element at the ends of a row: the same elements in the same thread either way.
//
// Global memory is accessed by these functions alone. The narrow forms are predicated, not branched
// around, so that all accesses of a chunk are in flight together. Nothing beyond a row is touched, not even to
// complete a wider access.
#pragma once

#include "arrays.cuh"
#include "element.cuh"

namespace warpnorm {

constexpr unsigned int CHUNK_BYTES = 16;

/// Elements in a chunk of this type.
template <class Element>
constexpr unsigned int CHUNK = CHUNK_BYTES / sizeof(typename Element::Bits);

/// An address in global memory.
using Address = unsigned long long;

__device__ __forceinline__ Address address_of(const void* pointer) {
    return static_cast<Address>(__cvta_generic_to_global(pointer));
}

/// Sixteen bytes as they lie in memory; converted only when they are used, so that the loads of a
/// thread are all in flight before the first of them is waited for.
struct RawChunk {
    unsigned int words[4];
};

__device__ __forceinline__ uint4 to_words(const RawChunk& raw) {
    return make_uint4(raw.words[0], raw.words[1], raw.words[2], raw.words[3]);
}

__device__ __forceinline__ RawChunk from_words(const uint4& words) {
    return {{words.x, words.y, words.z, words.w}};
}

template <class Element>
__device__ __forceinline__ float element_of(const RawChunk& raw, unsigned int index) {
    if constexpr (sizeof(typename Element::Bits) == 4) {
        return Element::widen(raw.words[index]);
    } else {
        const unsigned int word = raw.words[index / 2];
        return Element::widen(static_cast<typename Element::Bits>(index % 2 ? word >> 16 : word));
    }
}

/// The largest magnitude of chunks of 16-bit values; NaNs are left out.
template <class Element, unsigned int CHUNKS>
__device__ __forceinline__ float largest_magnitude(const RawChunk (&raw)[CHUNKS]) {
    float largest = 0.0f;
#if __CUDA_ARCH__ >= 900
    RawChunk pair = {};
#pragma unroll
    for (unsigned int w = 0; w < 4 * CHUNKS; ++w) {
        const unsigned int magnitudes = magnitudes_of_pair<Element>(raw[w / 4].words[w % 4]);
        pair.words[0] = w == 0 ? magnitudes : larger_pair<Element>(pair.words[0], magnitudes);
    }
#pragma unroll
    for (unsigned int e = 0; e < 2; ++e) largest = fmaxf(largest, fabsf(element_of<Element>(pair, e)));
#else
#pragma unroll
    for (unsigned int e = 0; e < CHUNKS * CHUNK<Element>; ++e) {
        largest = fmaxf(largest, fabsf(element_of<Element>(raw[e / CHUNK<Element>], e % CHUNK<Element>)));
    }
#endif
    return largest;
}

/// The largest magnitudes of two chunks of 16-bit values, in a word. What is no number is left out, unless there is nothing
/// else.
template <class Element>
__device__ __forceinline__ unsigned int largest_of_chunks(const RawChunk& first, const RawChunk& second) {
    unsigned int largest[2];
#pragma unroll
    for (unsigned int w = 0; w < 4; ++w) {
        const unsigned int magnitudes[] = {magnitudes_of_pair<Element>(first.words[w]),
                                           magnitudes_of_pair<Element>(second.words[w])};
#pragma unroll
        for (unsigned int i = 0; i < 2; ++i) {
            largest[i] = w == 0 ? magnitudes[i] : larger_pair<Element>(largest[i], magnitudes[i]);
        }
    }
    return larger_pair<Element>(__byte_perm(largest[0], largest[1], 0x5410), __byte_perm(largest[0], largest[1], 0x7632));
}

__device__ __forceinline__ RawChunk load_wide(Address from) {
    RawChunk raw;
    asm volatile("ld.global.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(raw.words[0]), "=r"(raw.words[1]), "=r"(raw.words[2]), "=r"(raw.words[3])
                 : "l"(from)
                 : "memory");
    return raw;
}

/// The same, or what is given where it is not there.
__device__ __forceinline__ RawChunk load_whole(Address from, bool exists, RawChunk raw = {}) {
    asm volatile(
        "{.reg .pred p; setp.ne.u32 p, %5, 0;\n\t"
        "@p ld.global.v4.b32 {%0, %1, %2, %3}, [%4];}"
        : "+r"(raw.words[0]), "+r"(raw.words[1]), "+r"(raw.words[2]), "+r"(raw.words[3])
        : "l"(from), "r"(static_cast<unsigned int>(exists))
        : "memory");
    return raw;
}

__device__ __forceinline__ void store_wide(Address to, const RawChunk& raw) {
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(raw.words[0]), "r"(raw.words[1]),
                 "r"(raw.words[2]), "r"(raw.words[3])
                 : "memory");
}

__device__ __forceinline__ void store_f32(Address to, float value) {
    asm volatile("st.global.f32 [%0], %1;" ::"l"(to), "f"(value) : "memory");
}

__device__ __forceinline__ float load_f32(Address from) {
    float value;
    asm volatile("ld.global.f32 %0, [%1];" : "=f"(value) : "l"(from) : "memory");
    return value;
}

__device__ __forceinline__ unsigned int load_32(Address from) {
    unsigned int bits;
    asm volatile("ld.global.b32 %0, [%1];" : "=r"(bits) : "l"(from) : "memory");
    return bits;
}

__device__ __forceinline__ unsigned long long load_64(Address from) {
    unsigned long long bits;
    asm volatile("ld.global.b64 %0, [%1];" : "=l"(bits) : "l"(from) : "memory");
    return bits;
}

__device__ __forceinline__ unsigned short load_16(Address from) {
    unsigned short bits;
    asm volatile("ld.global.b16 %0, [%1];" : "=h"(bits) : "l"(from) : "memory");
    return bits;
}

__device__ __forceinline__ void store_byte(Address to, unsigned int value) {
    asm volatile("st.global.b8 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}

/// Stores one or two words, at a multiple of their size.
template <unsigned int COUNT, unsigned int WORDS>
__device__ __forceinline__ void store_words(Address to, const unsigned int (&words)[WORDS]) {
    static_assert(COUNT <= 2 && COUNT <= WORDS, "one or two");
    if (COUNT == 2) {
        asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(to), "r"(words[0]), "r"(words[COUNT - 1]) : "memory");
    } else {
        asm volatile("st.global.b32 [%0], %1;" ::"l"(to), "r"(words[0]) : "memory");
    }
}

/// Stores the first `bytes` bytes of one or two words; `wide` promises that `to` is a multiple of their size,
/// or of half of that where only half are stored.
template <unsigned int WORDS>
__device__ __forceinline__ void store_bytes(Address to, const unsigned int (&words)[WORDS], unsigned int bytes,
                                            bool wide) {
    static_assert(WORDS == 1 || WORDS == 2, "eight bytes at most");
    if (WORDS == 2 && wide && bytes == 8) {
        store_words<WORDS>(to, words);
    } else if (wide && bytes == 4) {
        store_words<1>(to, words);
    } else {
#pragma unroll
        for (unsigned int b = 0; b < 4 * WORDS; ++b) {
            if (b < bytes) store_byte(to + b, words[b / 4] >> 8 * (b % 4));
        }
    }
}

/// The first `valid` of four 32-bit elements; zero bits for the others.
__device__ __forceinline__ RawChunk load_narrow_32(Address from, unsigned int valid) {
    RawChunk raw = {};
    asm volatile(
        "{.reg .pred p, q, r, s;\n\t"
        "setp.gt.u32 p, %5, 0; setp.gt.u32 q, %5, 1; setp.gt.u32 r, %5, 2; setp.gt.u32 s, %5, 3;\n\t"
        "@p ld.global.b32 %0, [%4]; @q ld.global.b32 %1, [%4+4];\n\t"
        "@r ld.global.b32 %2, [%4+8]; @s ld.global.b32 %3, [%4+12];}"
        : "+r"(raw.words[0]), "+r"(raw.words[1]), "+r"(raw.words[2]), "+r"(raw.words[3])
        : "l"(from), "r"(valid)
        : "memory");
    return raw;
}

/// Stores those of four 32-bit elements whose bits are set in `which`.
__device__ __forceinline__ void store_narrow_32(Address to, const RawChunk& raw, unsigned int which) {
    asm volatile(
        "{.reg .pred p, q, r, s; .reg .b32 a, b, c, d;\n\t"
        "and.b32 a, %5, 1; and.b32 b, %5, 2; and.b32 c, %5, 4; and.b32 d, %5, 8;\n\t"
        "setp.ne.u32 p, a, 0; setp.ne.u32 q, b, 0; setp.ne.u32 r, c, 0; setp.ne.u32 s, d, 0;\n\t"
        "@p st.global.b32 [%0], %1; @q st.global.b32 [%0+4], %2;\n\t"
        "@r st.global.b32 [%0+8], %3; @s st.global.b32 [%0+12], %4;}" ::"l"(to),
        "r"(raw.words[0]), "r"(raw.words[1]), "r"(raw.words[2]), "r"(raw.words[3]), "r"(which)
        : "memory");
}

/// How many of `valid` elements lie at or past place FIRST.
template <unsigned int FIRST>
__device__ __forceinline__ unsigned int beyond(unsigned int valid) {
    return valid > FIRST ? valid - FIRST : 0;
}

/// The elements 4·HALF to 4·HALF + 3 of a chunk of eight 16-bit elements, of which `valid` exist. By way of registers of
/// 32 bits: halves of one that may be loaded each are more work.
template <unsigned int HALF>
__device__ __forceinline__ void load_narrow_16(Address from, unsigned int valid, RawChunk& raw) {
    asm volatile(
        "{.reg .pred p, q, r, s; .reg .b32 a, b, c, d;\n\t"
        "mov.b32 a, 0; mov.b32 b, 0; mov.b32 c, 0; mov.b32 d, 0;\n\t"
        "setp.gt.u32 p, %3, 0; setp.gt.u32 q, %3, 1; setp.gt.u32 r, %3, 2; setp.gt.u32 s, %3, 3;\n\t"
        "@p ld.global.u16 a, [%2]; @q ld.global.u16 b, [%2+2];\n\t"
        "@r ld.global.u16 c, [%2+4]; @s ld.global.u16 d, [%2+6];\n\t"
        "prmt.b32 %0, a, b, 0x5410; prmt.b32 %1, c, d, 0x5410;}"
        : "=r"(raw.words[2 * HALF]), "=r"(raw.words[2 * HALF + 1])
        : "l"(from + 8 * HALF), "r"(beyond<4 * HALF>(valid))
        : "memory");
}

/// Stores those of the elements 4·HALF to 4·HALF + 3 whose bits are set in `which`.
template <unsigned int HALF>
__device__ __forceinline__ void store_narrow_16(Address to, const RawChunk& raw, unsigned int which) {
    asm volatile(
        "{.reg .pred p, q, r, s; .reg .b16 a, b, c, d; .reg .b32 e, f, g, h;\n\t"
        "mov.b32 {a, b}, %1; mov.b32 {c, d}, %2;\n\t"
        "and.b32 e, %3, 1; and.b32 f, %3, 2; and.b32 g, %3, 4; and.b32 h, %3, 8;\n\t"
        "setp.ne.u32 p, e, 0; setp.ne.u32 q, f, 0; setp.ne.u32 r, g, 0; setp.ne.u32 s, h, 0;\n\t"
        "@p st.global.b16 [%0], a; @q st.global.b16 [%0+2], b;\n\t"
        "@r st.global.b16 [%0+4], c; @s st.global.b16 [%0+6], d;}" ::"l"(to + 8 * HALF),
        "r"(raw.words[2 * HALF]), "r"(raw.words[2 * HALF + 1]), "r"(which >> 4 * HALF)
        : "memory");
}

/// Whether an address is one of 16-byte accesses.
__device__ __forceinline__ bool is_wide(Address address) {
    return (static_cast<unsigned int>(address) & (CHUNK_BYTES - 1)) == 0;
}

/// Loads `valid` elements (0 to CHUNK) that start at `from`, one by one; the others become zero bits.
template <class Element>
__device__ __forceinline__ RawChunk load_narrow(Address from, unsigned int valid) {
    if constexpr (sizeof(typename Element::Bits) == 4) {
        return load_narrow_32(from, valid);
    } else {
        RawChunk raw;
        load_narrow_16<0>(from, valid, raw);
        load_narrow_16<1>(from, valid, raw);
        return raw;
    }
}

/// The same at once, where all exist and `wide` promises that `from` is a multiple of 16 bytes.
template <class Element>
__device__ __forceinline__ RawChunk load_chunk(Address from, unsigned int valid, bool wide) {
    return wide && valid == CHUNK<Element> ? load_wide(from) : load_narrow<Element>(from, valid);
}

/// A chunk of values, each rounded to Element.
template <class Element>
__device__ __forceinline__ RawChunk narrow_chunk(const float* values) {
    RawChunk raw;
#pragma unroll
    for (unsigned int w = 0; w < 4; ++w) {
        if constexpr (sizeof(typename Element::Bits) == 4) {
            raw.words[w] = Element::narrow(values[w]);
        } else {
            raw.words[w] = narrow_pair<Element>(values[2 * w], values[2 * w + 1]);
        }
    }
    return raw;
}

/// Stores those elements of a chunk whose bits are set in `which`, one by one.
template <class Element>
__device__ __forceinline__ void store_narrow(Address to, const RawChunk& raw, unsigned int which) {
    if constexpr (sizeof(typename Element::Bits) == 4) {
        store_narrow_32(to, raw, which);
    } else {
        store_narrow_16<0>(to, raw, which);
        store_narrow_16<1>(to, raw, which);
    }
}

}  // namespace warpnorm
