// Teams: the threads that reduce one row together.
//
// How many threads a team has and which chunks each of them owns follow from the hidden size and the
// element types alone. Where the team lives does not matter to the result: every reduction merges
// lanes first, then the stretches of a long row, then warps, in one fixed order. A team that is spread over a cluster
// has all of its threads in every CTA: each CTA walks some of the row's stretches.
#pragma once

#include "cluster.cuh"
#include "warp.cuh"

namespace warpnorm {

constexpr unsigned int MAX_TEAM_WARPS = 32;

/// Parts of a long row whose sums are merged by themselves, so that any number of CTAs can divide them.
constexpr unsigned int MAX_STRETCHES = 8;

struct Team {
    unsigned int threads;  // 1, 2, 4, 8, 16 or a multiple of 32 up to 1024
    unsigned int rank;     // of this thread in its team
    unsigned int index;    // of this team in its CTA
    Cluster cluster;

    /// Teams of up to one warp, which are powers of two, lie side by side in the CTA; a larger team is
    /// a CTA.
    static __device__ __forceinline__ Team of_this_thread(unsigned int threads) {
        const unsigned int shift = threads <= WARP ? 31 - __clz(threads) : 31;
        return {threads, threadIdx.x & ((1u << shift) - 1), threadIdx.x >> shift, Cluster::none()};
    }

    /// A team of more than a warp, which is the CTA, or one thread in each CTA of a cluster.
    static __device__ __forceinline__ Team of_this_cta(unsigned int threads, unsigned int ctas) {
        __builtin_assume(threads > WARP);
        return {threads, threadIdx.x, 0, Cluster::of_this_cta(ctas)};
    }

    /// Whether this thread is the one that stores what there is one of for a row.
    __device__ __forceinline__ bool leads() const { return rank == 0 && (cluster.ctas == 1 || cluster.rank() == 0); }

    /// Lanes that the team has in each of its warps.
    __device__ __forceinline__ unsigned int lanes() const { return threads < WARP ? threads : WARP; }

    /// The value that the thread of rank 0 holds, in every thread of the team.
    ///
    /// Called by every thread of the CTA. `slot` is shared memory.
    __device__ __forceinline__ float from_first(float value, float* slot) const {
        if (threads <= WARP) return from_first_lane(value, lanes());
        if (rank == 0) *slot = value;
        __syncthreads();
        return *slot;
    }

    /// Shared memory for `largest`: one value a warp, and that of the CTA.
    using LargestSlots = float[MAX_TEAM_WARPS + 1];

    /// The largest of the team's values, none of them negative, in every thread of the team.
    ///
    /// Called once by every thread of the CTA.
    __device__ __forceinline__ float largest(float value, LargestSlots& slots) const {
        value = largest_of_lanes(value, lanes());
        if (threads > WARP) {
            const unsigned int lane = lane_of_warp();
            if (lane == 0) slots[rank / WARP] = value;
            __syncthreads();
            // Lane w of every warp takes what warp w found.
            value = largest_of_lanes(lane < threads / WARP ? slots[lane] : 0.0f, WARP);
        }
        if (cluster.ctas > 1) {
            float* const of_cta = &slots[MAX_TEAM_WARPS];
            if (rank == 0) *of_cta = value;
            cluster.meet();
#pragma unroll 1
            for (unsigned int cta = 0; cta < cluster.ctas; ++cta) value = fmaxf(value, cluster.read(of_cta, cta));
        }
        return value;
    }

    /// The merged state of the whole team, in the first lane of each of its warps.
    ///
    /// Called once by every thread of the CTA. `slots` is shared memory for one state a warp.
    template <class State>
    __device__ __forceinline__ State reduce(State state, typename State::Slots& slots) const {
        // After this, the first lane of each segment of `lanes()` lanes holds its warp's share.
        state = reduce_lanes(state, lanes(), lanes());
        if (threads > WARP) {
            const unsigned int warps = threads / WARP;
            const unsigned int lane = rank % WARP;
            if (lane == 0) state.put(slots, rank / WARP);
            __syncthreads();
            // Lane w of every warp takes the share of warp w; all warps then merge the same tree, which
            // costs less than a second barrier to pass one warp's result around.
            state = lane < warps ? State::get(slots, lane) : State::empty();
            state = reduce_lanes(state, warps, WARP);
        }
        return state;
    }

    /// Shared memory for the states of a long row: one a stretch and warp.
    template <class State>
    using StretchSlots = typename State::Slots[MAX_STRETCHES];

    /// Puts the merged state of each of the team's warps for a stretch of the row where `reduce_stretches` finds it.
    template <class State>
    __device__ __forceinline__ void put_stretch(const State& state, unsigned int stretch,
                                                StretchSlots<State>& slots) const {
        const State merged = reduce_lanes(state, WARP, WARP);
        if (rank % WARP == 0) merged.put(slots[stretch], rank / WARP);
    }

    /// The merged state of a row of so many stretches, of which every CTA has `of_cta`, in the first lane of each warp.
    ///
    /// Called once by every thread of all CTAs.
    template <class State>
    __device__ __forceinline__ State reduce_stretches(unsigned int stretches, unsigned int of_cta,
                                                      const StretchSlots<State>& slots) const {
        cluster.meet();
        const unsigned int warps = threads / WARP;
        const unsigned int lane = rank % WARP;
        // Lane w merges what warp w found in each stretch; then all warps merge the same tree.
        State state = State::empty();
        if (lane < warps) {
#pragma unroll 1
            for (unsigned int stretch = 0; stretch < stretches; ++stretch) {
                state.merge(State::get(slots[stretch], lane, cluster, stretch / of_cta));
            }
        }
        return reduce_lanes(state, warps, WARP);
    }
};

}  // namespace warpnorm
