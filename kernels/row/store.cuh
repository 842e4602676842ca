// The sink that stores y.
#pragma once

#include "output.cuh"

namespace warpnorm {

template <class Output_, class Element>
struct StoreOf {
    using Output = Output_;

    /// Whether threads act together in the sink, so that those without a row have to go along.
    static constexpr bool COLLECTIVE = false;

    /// Takes a chunk of y.
    __device__ __forceinline__ void take(unsigned int c, const RawChunk& y, const Group<Element>& group,
                                         const RowArgs& args, unsigned long long row) {
        const Address to = row_address<Element>(args.y, row, args.y_stride);
        store_raw<Element>(column<Element>(to, group.first[c]), y, group.valid[c], args.flags & WIDE_Y);
    }
};

template <class Statistic, class Element>
using Store = StoreOf<Output<Statistic, Element, false>, Element>;

/// y·act(z).
template <class Statistic, class Element>
using GatedStore = StoreOf<Output<Statistic, Element, true>, Element>;

}  // namespace warpnorm
