// Doubts: which results are not settled by the bounds that the exact values lie between.
#pragma once

namespace warpnorm {

/// Marks of results in doubt, of BITS bits each (8 or 16), which lie side by side in words.
template <unsigned int BITS>
struct Doubts {
    static_assert(BITS == 8 || BITS == 16, "a result is a code of a byte, or a value of 16 bits");
    static constexpr unsigned int PER_WORD = 32 / BITS;
    static constexpr unsigned int HIGHEST = BITS == 16 ? 0x80008000u : 0x80808080u;

    /// The highest bit of each result of word w, shifted down by w places.
    unsigned int marks = 0;

    /// Marks the results of a word of which any bit is set in `differing`. Words from 0 to BITS - 1.
    __device__ __forceinline__ void mark(unsigned int word, unsigned int differing) {
        marks |= ((((differing & ~HIGHEST) + ~HIGHEST) | differing) & HIGHEST) >> word;
    }

    __device__ __forceinline__ bool any() const { return marks != 0; }

    /// Takes one that is marked: its place among the results.
    __device__ __forceinline__ unsigned int take() {
        const unsigned int mark = __ffs(marks) - 1;
        marks &= marks - 1;
        return PER_WORD * (BITS - 1 - mark % BITS) + mark / BITS;
    }

    /// Puts a result in its place in a word. By a mask: an array that is indexed with a number known only at run time
    /// would lie in local memory.
    static __device__ __forceinline__ void put(unsigned int& word, unsigned int index, unsigned int place,
                                               unsigned int result) {
        const unsigned int shift = BITS * (place % PER_WORD);
        const unsigned int replaced = index == place / PER_WORD ? (BITS == 16 ? 0xffffu : 0xffu) << shift : 0;
        word = (word & ~replaced) | (result << shift & replaced);
    }
};

}  // namespace warpnorm
