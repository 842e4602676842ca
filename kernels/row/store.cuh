// The sink that stores y.
#pragma once

#include "output.cuh"

namespace warpnorm {

template <class Statistic, class Element>
struct Store {
    using Output = warpnorm::Output<Statistic, Element>;

    /// Whether threads act together in the sink, so that those without a row have to go along.
    static constexpr bool COLLECTIVE = false;

    /// Takes a chunk of y.
    __device__ __forceinline__ void take(unsigned int c, const RawChunk& y, const Group<Element>& group,
                                         const RowArgs& args, unsigned long long row) {
        const Address to = row_address<Element>(args.y, row, args.y_stride);
        store_raw<Element>(column<Element>(to, group.first[c]), y, group.valid[c], args.flags & WIDE_Y);
    }
};

}  // namespace warpnorm
