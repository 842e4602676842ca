// Groups: the elements that one thread holds in registers at a time.
//
// A team of T threads walks a row in slabs of GROUP_CHUNKS·T chunks. In slab s, the thread of rank t
// owns the chunks (s·GROUP_CHUNKS + i)·T + t for i in 0..GROUP_CHUNKS: neighbours in a warp own
// neighbouring chunks, so every access of a warp is contiguous.
#pragma once

#include "../common/team.cuh"
#include "../common/vector.cuh"
#include "args.cuh"

namespace warpnorm {

constexpr unsigned int GROUP_ELEMENTS = 16;

template <class Element>
constexpr unsigned int GROUP_CHUNKS = GROUP_ELEMENTS / CHUNK<Element>;

/// What is known, when compiled, of the chunks that the lanes of a warp hold of an aligned row: of a line, which is a chunk
/// for each of them, or of a group, which is all its lines, they have all or none.
enum class Whole {
    NOTHING,
    LINES,
    GROUPS,
};

template <class Element>
struct Group {
    static constexpr unsigned int CHUNKS = GROUP_CHUNKS<Element>;
    static constexpr unsigned int LENGTH = CHUNK<Element>;
    static_assert(CHUNKS * LENGTH == GROUP_ELEMENTS, "a group is made of whole chunks");

    unsigned int valid[CHUNKS];  // how many of the chunk's elements lie in the row
    unsigned int first_of_all;
    unsigned int between;  // from one of the thread's chunks to the next
    unsigned int hidden;
    unsigned int lanes;  // of the team in each of its warps
    bool is_all;         // whether the thread has nothing else of the row; known when compiled
    Path path;           // on an aligned one each chunk is whole or not there; known when compiled
    unsigned int beside;  // columns from the first chunk of the thread's first group; known when compiled
    bool is_full;         // whether it is known that all threads have all of their chunks
    Whole whole;

    /// The group of this thread in a slab of a row, which may not exist. Where a thread does the work of two, the
    /// other's group is `beside` threads on.
    __device__ __forceinline__ Group(const Team& team, unsigned int slab, unsigned int hidden, bool is_all,
                                     bool exists, Path path = Path::GENERAL, unsigned int beside = 0,
                                     bool is_full = false, Whole whole = Whole::NOTHING)
        : first_of_all((slab * CHUNKS * team.threads + team.rank) * LENGTH),
          between(team.threads * LENGTH),
          hidden(hidden),
          lanes(team.lanes()),
          is_all(is_all),
          path(path),
          beside(beside * LENGTH),
          is_full(is_full),
          whole(whole) {
        const unsigned int end = exists ? hidden : 0;
        // What follows is kept, or the compiler would compute it anew wherever it is asked for.
        if (whole != Whole::NOTHING) {
            // Lines are filled in their order: where there is a group, there is its first line.
#pragma unroll
            for (unsigned int c = 0; c < CHUNKS; ++c) {
                valid[c] = exists && (whole == Whole::GROUPS || c == 0 || first(c) < end) ? LENGTH : 0;
            }
        } else if (is_aligned()) {
            unsigned int there = is_full ? (1u << CHUNKS) - 1 : 0;
            if (!is_full) {
#pragma unroll
                for (unsigned int c = 0; c < CHUNKS; ++c) there |= (first(c) < end ? 1u : 0u) << c;
            }
            asm volatile("" : "+r"(there));
#pragma unroll
            for (unsigned int c = 0; c < CHUNKS; ++c) valid[c] = there & 1u << c ? LENGTH : 0;
        } else {
#pragma unroll
            for (unsigned int c = 0; c < CHUNKS; ++c) {
                const unsigned int column = first_of_all + c * between + (path == Path::GENERAL ? 0 : this->beside);
                valid[c] = column >= end ? 0 : min(end - column, LENGTH);
                asm volatile("" : "+r"(valid[c]));
            }
        }
    }

    /// The same, where it is known when compiled whether it is full.
    __device__ __forceinline__ Group known_to_be_full(bool is_full) const {
        Group group = *this;
        group.is_full = is_full;
        return group;
    }

    __device__ __forceinline__ bool is_aligned() const { return warpnorm::is_aligned(path); }

    /// The column of a chunk's first element. Where the whole row is in registers, it is computed anew wherever it is
    /// asked for, rather than kept in one.
    __device__ __forceinline__ unsigned int first(unsigned int c) const {
        if (path != Path::GENERAL) return first_of_all + c * between + beside;
        if (c == 0 || !is_all) return first_of_all + c * between;
        unsigned int column;
        asm volatile("mad.lo.u32 %0, %1, %2, %3;" : "=r"(column) : "r"(between), "r"(c), "r"(first_of_all));
        return column;
    }

    /// Where a chunk begins in a row or vector that begins here.
    __device__ __forceinline__ Address at(Address row, unsigned int c) const {
        constexpr Address BYTES = sizeof(typename Element::Bits);
        if (path == Path::GENERAL) return row + first(c) * BYTES;
        // Chunks of two groups lie at the same distance everywhere: the constant goes into the access.
        return row + (first_of_all + c * between) * BYTES + beside * BYTES;
    }

    /// Whether the row goes on for a whole chunk on either side of a chunk.
    __device__ __forceinline__ bool inside(unsigned int c) const {
        return (c > 0 || first(c) >= LENGTH) && beyond(c) == LENGTH;
    }

    /// Whether the chunk is whole and at least so many elements follow it in the row.
    __device__ __forceinline__ bool is_followed_by(unsigned int c, unsigned int elements) const {
        return valid[c] == LENGTH && first(c) + LENGTH + elements <= hidden;
    }

    /// Elements of the chunk that follows a whole one in the row. Computed anew wherever it is asked for, rather than
    /// kept in a register.
    __device__ __forceinline__ unsigned int beyond(unsigned int c) const {
        const unsigned int next = first(c) + LENGTH;
        return valid[c] == LENGTH && next < hidden ? min(hidden - next, LENGTH) : 0;
    }

    /// Whether nothing is to be computed of a line of the group, for no lane of the warp has a chunk of it: where something
    /// is known of lines when compiled, or rows begin anywhere. Of a group's first line it is asked of the group.
    __device__ __forceinline__ bool lacks_line(unsigned int c) const {
        if (path == Path::SHIFTED) return first(c) - kept_lane_of_warp() * LENGTH >= hidden;
        return whole == Whole::LINES && valid[c] == 0;
    }

    /// Whether the element at this place of the group lies in the row.
    __device__ __forceinline__ bool contains(unsigned int place) const {
        return place % LENGTH < valid[place / LENGTH];
    }
};

/// Where a column of a row or vector lies.
template <class Element>
__device__ __forceinline__ Address column(Address row, unsigned int first) {
    return row + first * static_cast<Address>(sizeof(typename Element::Bits));
}

/// The values of a group, widened. Places outside the row hold zero.
struct Values {
    float at[GROUP_ELEMENTS];
};

}  // namespace warpnorm
