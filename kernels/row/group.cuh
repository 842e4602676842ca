// Groups: the elements that one thread holds in registers at a time.
//
// A team of T threads walks a row in slabs of GROUP_CHUNKS·T chunks. In slab s, the thread of rank t
// owns the chunks (s·GROUP_CHUNKS + i)·T + t for i in 0..GROUP_CHUNKS: neighbours in a warp own
// neighbouring chunks, so every access of a warp is contiguous.
#pragma once

#include "../common/team.cuh"
#include "../common/vector.cuh"

namespace warpnorm {

constexpr unsigned int GROUP_ELEMENTS = 16;

template <class Element>
constexpr unsigned int GROUP_CHUNKS = GROUP_ELEMENTS / CHUNK<Element>;

template <class Element>
struct Group {
    static constexpr unsigned int CHUNKS = GROUP_CHUNKS<Element>;
    static constexpr unsigned int LENGTH = CHUNK<Element>;
    static_assert(CHUNKS * LENGTH == GROUP_ELEMENTS, "a group is made of whole chunks");

    unsigned int first[CHUNKS];  // the column of each chunk's first element
    unsigned int valid[CHUNKS];  // how many of the chunk's elements lie in the row

    /// The group of this thread in a slab; `hidden` 0 stands for a row that does not exist.
    __device__ __forceinline__ Group(const Team& team, unsigned int slab, unsigned int hidden) {
#pragma unroll
        for (unsigned int c = 0; c < CHUNKS; ++c) {
            first[c] = ((slab * CHUNKS + c) * team.threads + team.rank) * LENGTH;
            valid[c] = first[c] < hidden ? min(hidden - first[c], LENGTH) : 0;
        }
    }

    __device__ __forceinline__ unsigned int elements() const {
        unsigned int sum = 0;
#pragma unroll
        for (unsigned int c = 0; c < CHUNKS; ++c) sum += valid[c];
        return sum;
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
