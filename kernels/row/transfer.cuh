// Transfers: chunks between rows and registers.
//
// A row begins at a multiple of its element's size, not of 16 bytes: with an odd number of elements, every other one
// or seven rows in eight do not. Their chunks lie across two windows, that is 16 bytes at a multiple of 16:
//
//     windows       |0123456789abcdef|0123456789abcdef|
//     chunk                    <---------------->
//
// A chunk is loaded as its two windows, and what is not its own is shifted out. It is stored as the window that its
// end lies in, completed with the beginning of the next lane's chunk. Only at the ends of a row, and between the
// warps of a team, elements are stored one by one. So memory is accessed by whole sectors wherever rows lie.
#pragma once

#include "args.cuh"
#include "group.cuh"

namespace warpnorm {

/// The 16 bytes that begin `shift` bytes into the first of two windows.
template <class Element>
__device__ __forceinline__ RawChunk between(const RawChunk& lower, const RawChunk& upper, unsigned int shift) {
    unsigned int words[8];
#pragma unroll
    for (unsigned int w = 0; w < 4; ++w) {
        words[w] = lower.words[w];
        words[4 + w] = upper.words[w];
    }
#pragma unroll
    for (unsigned int w = 0; w < 6; ++w) words[w] = shift & 8 ? words[w + 2] : words[w];
#pragma unroll
    for (unsigned int w = 0; w < 5; ++w) words[w] = shift & 4 ? words[w + 1] : words[w];
    RawChunk raw;
#pragma unroll
    for (unsigned int w = 0; w < 4; ++w) {
        raw.words[w] = Element::IS_F32 ? words[w] : __funnelshift_r(words[w], words[w + 1], 8 * (shift & 2));
    }
    return raw;
}

/// A chunk of a group, from a row that starts here.
///
/// `apart` says that neighbours' elements may be read with a thread's own: that nobody writes them meanwhile.
template <class Element>
__device__ __forceinline__ RawChunk load_chunk(Address row, unsigned int c, const Group<Element>& group, bool apart) {
    const Address from = group.at(row, c);
    if (group.is_aligned()) return load_whole(from, group.valid[c] != 0);
    if (is_wide(row) && group.valid[c] == CHUNK<Element>) return load_wide(from);
    if (!is_wide(row) && apart && group.inside(c)) {
        const unsigned int shift = static_cast<unsigned int>(row) & (CHUNK_BYTES - 1);
        const RawChunk lower = load_wide(from - shift);
        return between<Element>(lower, load_wide(from - shift + CHUNK_BYTES), shift);
    }
    return load_narrow<Element>(from, group.valid[c]);
}

/// All chunks of a group.
template <class Element>
__device__ __forceinline__ void load_chunks(RawChunk (&chunks)[Group<Element>::CHUNKS], Address row,
                                            const Group<Element>& group, bool apart) {
    if (group.is_full) {
#pragma unroll
        for (unsigned int c = 0; c < Group<Element>::CHUNKS; ++c) chunks[c] = load_wide(group.at(row, c));
    } else {
#pragma unroll
        for (unsigned int c = 0; c < Group<Element>::CHUNKS; ++c) chunks[c] = load_chunk<Element>(row, c, group, apart);
    }
}

/// Stores a chunk of a group to a row that starts here. Called by all threads of a team together.
template <class Element>
__device__ __forceinline__ void store_chunk(Address row, const RawChunk& raw, unsigned int c,
                                            const Group<Element>& group) {
    constexpr unsigned int LENGTH = CHUNK<Element>;
    constexpr unsigned int BYTES = sizeof(typename Element::Bits);
    const unsigned int valid = group.valid[c];
    const Address to = group.at(row, c);
    if (group.is_aligned()) {
        if (valid != 0) store_wide(to, raw);
        return;
    }
    const bool wide = is_wide(row);
    if (wide && valid == LENGTH) {
        store_wide(to, raw);
        return;
    }
    unsigned int begin = 0;
    unsigned int end = valid;
    if (!wide) {
        unsigned int shift = static_cast<unsigned int>(row) & (CHUNK_BYTES - 1);
        // Or what follows from it would be kept in registers while a row is walked in slabs.
        asm volatile("" : "+r"(shift));
        const unsigned int head = LENGTH - shift / BYTES;  // elements up to the end of the chunk's first window
        const unsigned int lanes = group.lanes;
        const unsigned int in_warp = lane_of_warp();
        const unsigned int lane = in_warp & (lanes - 1);
        const unsigned int mask = ALL_LANES >> (WARP - lanes) << (in_warp - lane);
        // The window after the one that lane i's chunk begins in: its beginning is lane i's, its end lane i + 1's.
        RawChunk next;
#pragma unroll
        for (unsigned int w = 0; w < 4; ++w) next.words[w] = shuffle_down(raw.words[w], 1, lanes, mask);
        const RawChunk window = between<Element>(raw, next, CHUNK_BYTES - shift);
        if (lane + 1 < lanes && group.beyond(c) >= head) {
            store_wide(to - shift + CHUNK_BYTES, window);
            end = head;
        }
        if (lane > 0 && valid >= head) begin = head;
    }
    const unsigned int which = (1u << end) - (1u << begin);
    if (which != 0) store_narrow<Element>(to, raw, which);
}

}  // namespace warpnorm
