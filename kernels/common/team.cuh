// Teams: the threads that reduce one row together.
//
// How many threads a team has and which chunks each of them owns follow from the hidden size and the
// element types alone. Where the team lives does not matter to the result: every reduction merges
// lanes first and warps second, in one fixed order.
#pragma once

#include "warp.cuh"

namespace warpnorm {

constexpr unsigned int MAX_TEAM_WARPS = 32;

struct Team {
    unsigned int threads;  // 1, 2, 4, 8, 16 or a multiple of 32 up to 1024
    unsigned int rank;     // of this thread in its team
    unsigned int index;    // of this team in its CTA

    /// Teams of up to one warp, which are powers of two, lie side by side in the CTA; a larger team is
    /// a CTA.
    static __device__ __forceinline__ Team of_this_thread(unsigned int threads) {
        const unsigned int shift = threads <= WARP ? 31 - __clz(threads) : 31;
        return {threads, threadIdx.x & ((1u << shift) - 1), threadIdx.x >> shift};
    }

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

    /// The largest of the team's values, none of them negative, in every thread of the team.
    ///
    /// Called once by every thread of the CTA. `slots` is shared memory for one value a warp.
    __device__ __forceinline__ float largest(float value, float* slots) const {
        value = largest_of_lanes(value, lanes());
        if (threads > WARP) {
            const unsigned int lane = rank % WARP;
            if (lane == 0) slots[rank / WARP] = value;
            __syncthreads();
            // Lane w of every warp takes what warp w found.
            value = largest_of_lanes(lane < threads / WARP ? slots[lane] : 0.0f, WARP);
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
};

}  // namespace warpnorm
