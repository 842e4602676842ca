// The sink that stores y.
#pragma once

#include "output.cuh"

namespace warpnorm {

template <class Statistic, class Element>
struct Store {
    using Output = warpnorm::Output<Statistic, Element>;
    using Chunks = typename Output::Chunks;

    /// Whether threads act together in the sink, so that those without a row have to go along.
    static constexpr bool COLLECTIVE = false;

    /// Stores y of a group.
    __device__ __forceinline__ void store(const Chunks& y, const Team&, const Group<Element>& group,
                                          const RowArgs& args, unsigned long long row) const {
        const Address to = row_address<Element>(args.y, row, args.y_stride);
#pragma unroll
        for (unsigned int c = 0; c < Group<Element>::CHUNKS; ++c) {
            store_raw<Element>(column<Element>(to, group.first[c]), y.of[c], group.valid[c], args.flags & WIDE_Y);
        }
    }
};

}  // namespace warpnorm
