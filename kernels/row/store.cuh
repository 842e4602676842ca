// The sink that stores y.
#pragma once

#include "output.cuh"

namespace warpnorm {

template <class Output_, class Element>
struct StoreOf {
    using Output = Output_;
    /// The sink of rows that are walked in slabs.
    using Looped = StoreOf;

    /// Whether threads act together in the sink, so that those without a row have to go along.
    static constexpr bool COLLECTIVE = false;
    /// Whether lanes of a team within a warp may do the work of two.
    static constexpr bool TAKES_PAIRED_LANES = true;

    /// Shared memory of the CTA: none.
    template <unsigned int GROUPS>
    struct Memory {};

    /// Takes a chunk of y.
    template <class Place>
    __device__ __forceinline__ void take(unsigned int c, const RawChunk& y, const Group<Element>& group,
                                         const RowArgs& args, const Place& place) {
        store_chunk<Element>(place.template y<Element>(args), y, c, group);
    }
};

template <class Statistic, class Element>
using Store = StoreOf<Output<Statistic, Element, false>, Element>;

/// y·act(z).
template <class Statistic, class Element>
using GatedStore = StoreOf<Output<Statistic, Element, true>, Element>;

}  // namespace warpnorm
