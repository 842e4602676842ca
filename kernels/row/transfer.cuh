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
// warps of a team where they do not show each other their chunks, elements are stored one by one. So memory is accessed
// by whole sectors wherever rows lie.
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
    // Of parameters, which begin at a multiple of 16 bytes.
    if (group.path == Path::SHIFTED) return load_chunk<Element>(from, group.valid[c], true);
    if (is_wide(row) && group.valid[c] == CHUNK<Element>) return load_wide(from);
    if (!is_wide(row) && apart && group.inside(c)) {
        const unsigned int shift = static_cast<unsigned int>(row) & (CHUNK_BYTES - 1);
        // As far into a window as the row is.
        const Address windows = from & ~static_cast<Address>(CHUNK_BYTES - 1);
        const RawChunk lower = load_wide(windows);
        return between<Element>(lower, load_wide(windows + CHUNK_BYTES), shift);
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
            // The same window; one form spills less beside four chunks, the other beside two.
            store_wide(Element::IS_F32 ? (to | (CHUNK_BYTES - 1)) + 1 : to - shift + CHUNK_BYTES, window);
            end = head;
        }
        if (lane > 0 && valid >= head) begin = head;
    }
    const unsigned int which = (1u << end) - (1u << begin);
    if (which != 0) store_narrow<Element>(to, raw, which);
}

/// Whether the row goes on for a whole chunk on either side of all chunks of two groups, and of those of the other lanes.
template <class Element>
__device__ __forceinline__ bool are_inside(const Group<Element> (&groups)[2]) {
    constexpr unsigned int LENGTH = CHUNK<Element>;
    constexpr unsigned int LAST = GROUP_CHUNKS<Element> - 1;
    const unsigned int lane = kept_lane_of_warp() * LENGTH;
    const unsigned int last = groups[1].first(LAST) - lane + (WARP - 1) * LENGTH;
    return groups[0].first(0) != lane && groups[1].valid[LAST] == LENGTH && last + 2 * LENGTH <= groups[1].hidden;
}

/// Which chunks of two groups the row goes on for a whole chunk on either side of.
template <class Element>
struct Inside {
    static constexpr unsigned int CHUNKS = 2 * GROUP_CHUNKS<Element>;

    bool are_all;         // of all lanes of the warp
    unsigned int chunks;  // a bit for each of the thread's; 0 where all are
    unsigned int others;  // the same of those that are in the row, but not inside it

    __device__ __forceinline__ explicit Inside(const Group<Element> (&groups)[2])
        : are_all(are_inside(groups)), chunks(0), others(0) {
        if (are_all) return;
#pragma unroll
        for (unsigned int i = 0; i < CHUNKS; ++i) {
            const Group<Element>& group = groups[i / GROUP_CHUNKS<Element>];
            const unsigned int c = i % GROUP_CHUNKS<Element>;
            const bool is_inside = (i > 0 || group.first(0) > 0) && group.is_followed_by(c, CHUNK<Element>);
            chunks |= (is_inside ? 1u : 0u) << i;
            others |= (group.valid[c] > 0 && !is_inside ? 1u : 0u) << i;
        }
    }
};

/// The 16 bytes that begin in word WORD of the first of two windows, in its first half if `shift` is a multiple of 4.
template <unsigned int WORD, unsigned int COUNT>
__device__ __forceinline__ void between_all_by(RawChunk (&chunks)[COUNT], const RawChunk (&lower)[COUNT],
                                               const RawChunk (&upper)[COUNT], unsigned int shift) {
#pragma unroll
    for (unsigned int i = 0; i < COUNT; ++i) {
#pragma unroll
        for (unsigned int w = 0; w < 4; ++w) {
            const unsigned int at = WORD + w;
            const unsigned int low = at < 4 ? lower[i].words[at % 4] : upper[i].words[at % 4];
            const unsigned int high = at + 1 < 4 ? lower[i].words[(at + 1) % 4] : upper[i].words[(at + 1) % 4];
            chunks[i].words[w] = __funnelshift_r(low, high, 8 * (shift & 2));
        }
    }
}

/// The 16 bytes that begin `shift` bytes, fewer than 16 and the same for all threads of a CTA, into the first of two
/// windows, for each pair of windows.
template <class Element, unsigned int COUNT>
__device__ __forceinline__ void between_all(RawChunk (&chunks)[COUNT], const RawChunk (&lower)[COUNT],
                                            const RawChunk (&upper)[COUNT], unsigned int shift) {
    switch (shift / 4) {
        case 0: return between_all_by<0>(chunks, lower, upper, shift);
        case 1: return between_all_by<1>(chunks, lower, upper, shift);
        case 2: return between_all_by<2>(chunks, lower, upper, shift);
        default: return between_all_by<3>(chunks, lower, upper, shift);
    }
}

/// The windows that the chunks of two groups begin in, or the next ones, from a row that begins anywhere, one CTA's.
template <class Element>
__device__ __forceinline__ void load_windows(RawChunk (&windows)[2 * GROUP_CHUNKS<Element>], Address row, bool next,
                                             const Group<Element> (&groups)[2], const Inside<Element>& inside) {
    constexpr unsigned int CHUNKS = GROUP_CHUNKS<Element>;
    const Address first = (row & ~static_cast<Address>(CHUNK_BYTES - 1)) + (next ? CHUNK_BYTES : 0);
    if (inside.are_all) {
#pragma unroll
        for (unsigned int i = 0; i < 2 * CHUNKS; ++i) windows[i] = load_wide(groups[i / CHUNKS].at(first, i % CHUNKS));
    } else {
#pragma unroll
        for (unsigned int i = 0; i < 2 * CHUNKS; ++i) {
            windows[i] = load_whole(groups[i / CHUNKS].at(first, i % CHUNKS), inside.chunks & 1u << i);
        }
    }
}

/// All chunks of two groups, from such a row, whose first windows are there. The second ones are the first ones of other
/// lanes, but for a warp's last: they come from near.
template <class Element>
__device__ __forceinline__ void load_shifted(RawChunk (&chunks)[2 * GROUP_CHUNKS<Element>],
                                             const RawChunk (&lower)[2 * GROUP_CHUNKS<Element>], Address row,
                                             const Group<Element> (&groups)[2], const Inside<Element>& inside) {
    constexpr unsigned int CHUNKS = GROUP_CHUNKS<Element>;
    const unsigned int shift = static_cast<unsigned int>(row) & (CHUNK_BYTES - 1);
    RawChunk upper[2 * CHUNKS];
    load_windows<Element>(upper, row, true, groups, inside);
    between_all<Element>(chunks, lower, upper, shift);
    if (inside.others != 0) {
#pragma unroll
        for (unsigned int i = 0; i < 2 * CHUNKS; ++i) {
            const Group<Element>& group = groups[i / CHUNKS];
            const unsigned int c = i % CHUNKS;
            if (inside.others & 1u << i) chunks[i] = load_narrow<Element>(group.at(row, c), group.valid[c]);
        }
    }
    // Or what follows would be compiled, and run, for either case.
    __syncwarp();
}

/// The chunks of the first lane of every pair of warps, in shared memory.
template <class Element>
using Heads = uint4[2 * GROUP_CHUNKS<Element>][MAX_TEAM_WARPS / 2];

/// Stores them. Called by all threads of the CTA, for each `heads` once.
///
/// Windows across two warps are completed, too: the first lane of every warp shows the last ones what it has.
template <class Element>
__device__ __forceinline__ void store_shifted(Address row, const RawChunk (&chunks)[2 * GROUP_CHUNKS<Element>],
                                              const Group<Element> (&groups)[2], const Team& team,
                                              Heads<Element>& heads) {
    constexpr unsigned int CHUNKS = GROUP_CHUNKS<Element>;
    constexpr unsigned int LENGTH = CHUNK<Element>;
    constexpr unsigned int BYTES = sizeof(typename Element::Bits);
    const unsigned int shift = static_cast<unsigned int>(row) & (CHUNK_BYTES - 1);
    if (shift == 0) {
#pragma unroll
        for (unsigned int i = 0; i < 2 * CHUNKS; ++i) {
            const Group<Element>& group = groups[i / CHUNKS];
            const Address to = group.at(row, i % CHUNKS);
            const unsigned int valid = group.valid[i % CHUNKS];
            if (valid == LENGTH) {
                store_wide(to, chunks[i]);
            } else if (valid > 0) {
                store_narrow<Element>(to, chunks[i], (1u << valid) - 1);
            }
        }
        return;
    }
    const unsigned int lane = lane_of_warp();
    const unsigned int warp = team.rank / (2 * WARP);
    const bool has_second = team.rank + WARP < team.threads;
    if (lane == 0) {
#pragma unroll
        for (unsigned int i = 0; i < 2 * CHUNKS; ++i) {
            if (i < CHUNKS || has_second) heads[i][warp] = to_words(chunks[i]);
        }
    }
    __syncthreads();
    RawChunk next[2 * CHUNKS];
#pragma unroll
    for (unsigned int i = 0; i < 2 * CHUNKS; ++i) {
#pragma unroll
        for (unsigned int w = 0; w < 4; ++w) next[i].words[w] = from_next_lane(chunks[i].words[w]);
    }
    if (lane == WARP - 1) {
        // What follows the chunk of the warp's last lane is the first one of its second group, or else of the next warp, or
        // of the next line; nothing reads what is said to follow the row's last.
        const bool ends_line = team.rank + (has_second ? WARP : 0) + 1 == team.threads;
#pragma unroll
        for (unsigned int c = 0; c < CHUNKS; ++c) {
            const uint4* const after_warp = ends_line ? &heads[(c + 1) % CHUNKS][0] : &heads[c][warp + 1];
            const uint4* const after_first = has_second ? &heads[CHUNKS + c][warp] : after_warp;
            next[c] = from_words(*after_first);
            next[CHUNKS + c] = from_words(*after_warp);
        }
    }
    const unsigned int head = LENGTH - shift / BYTES;  // elements up to the end of a chunk's first window
    const Address windows = row - shift + CHUNK_BYTES;
    RawChunk whole[2 * CHUNKS];
    between_all<Element>(whole, chunks, next, CHUNK_BYTES - shift);
    if (are_inside(groups)) {
#pragma unroll
        for (unsigned int i = 0; i < 2 * CHUNKS; ++i) store_wide(groups[i / CHUNKS].at(windows, i % CHUNKS), whole[i]);
        return;
    }
#pragma unroll
    for (unsigned int i = 0; i < 2 * CHUNKS; ++i) {
        const Group<Element>& group = groups[i / CHUNKS];
        const unsigned int c = i % CHUNKS;
        const unsigned int valid = group.valid[c];
        const bool completed = group.is_followed_by(c, head);
        if (completed) store_wide(group.at(windows, c), whole[i]);
        // What the chunk before has completed is stored, but of the row's first there is none.
        const unsigned int begin = group.first(c) > 0 && valid >= head ? head : 0;
        const unsigned int which = (1u << (completed ? head : valid)) - (1u << begin);
        if (which != 0) store_narrow<Element>(group.at(row, c), chunks[i], which);
    }
}

}  // namespace warpnorm
