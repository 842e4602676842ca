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

/// Teams of a CTA at most: one for each of the threads that small teams share. Mirrored by
/// plan::SHARED_CTA_THREADS.
constexpr unsigned int MAX_TEAMS = 128;

/// Parts of a long row whose sums are merged by themselves, so that any number of CTAs can divide them.
constexpr unsigned int MAX_STRETCHES = 8;

struct Team {
    unsigned int threads;  // 1, 2, 4, 8, 16 or a multiple of 32 up to 1024
    unsigned int rank;     // of this thread in its team
    unsigned int index;    // of this team in its CTA
    Cluster cluster;
    unsigned int beside;   // from the rank of this thread to that of the other thread that it does the work of; 0: of none

    /// Teams of up to one warp, which are powers of two, lie side by side in the CTA; a larger team is
    /// a CTA.
    static __device__ __forceinline__ Team of_this_thread(unsigned int threads) {
        const unsigned int shift = threads <= WARP ? 31 - __clz(threads) : 31;
        return {threads, threadIdx.x & ((1u << shift) - 1), threadIdx.x >> shift, Cluster::none(), 0};
    }

    /// A team of 4 to 32 threads, side by side with others, each of whose threads does the work of two: lane i that of
    /// the lanes i and i + threads / 2.
    static __device__ __forceinline__ Team of_this_pair_of_lanes(unsigned int threads) {
        __builtin_assume(threads <= WARP);
        const unsigned int shift = 30 - __clz(threads);
        return {threads, threadIdx.x & ((1u << shift) - 1), threadIdx.x >> shift, Cluster::none(), threads / 2};
    }

    /// A team of more than a warp, which is the CTA, each of whose threads does the work of two: warp w that of the
    /// warps 2w and 2w + 1. Of them it has the rank of the first; there may be no second one.
    static __device__ __forceinline__ Team of_this_pair_of_warps(unsigned int threads) {
        __builtin_assume(threads > WARP);
        return {threads, (threadIdx.x & ~(WARP - 1)) + threadIdx.x, 0, Cluster::none(), WARP};
    }

    /// A team of more than a warp, which is the CTA, or one thread in each CTA of a cluster.
    static __device__ __forceinline__ Team of_this_cta(unsigned int threads, unsigned int ctas) {
        __builtin_assume(threads > WARP);
        return {threads, threadIdx.x, 0, Cluster::of_this_cta(ctas), 0};
    }

    /// Whether this thread is the one that stores what there is one of for a row.
    __device__ __forceinline__ bool leads() const { return rank == 0 && (cluster.ctas == 1 || cluster.rank() == 0); }

    /// Lanes that the team has in each of its warps.
    __device__ __forceinline__ unsigned int lanes() const {
        return beside != 0 ? beside : threads < WARP ? threads : WARP;
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
            // Of two of the team's warps that a warp does the work of, the first one's place.
            const unsigned int step = beside != 0 ? 2 : 1;
            if (lane == 0) slots[rank / WARP] = value;
            __syncthreads();
            // Lane w of every warp takes what warp w found.
            value = largest_of_lanes(lane < threads / WARP && lane % step == 0 ? slots[lane] : 0.0f, WARP);
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

    /// Shared memory of `reduce`: one state a warp, and what is made of each team's.
    template <class State, class Result>
    struct Exchange {
        typename State::Slots states;
        Result results[MAX_TEAMS];
    };

    /// Where all threads of the team find what `finish` makes of the whole team's merged parts. Of the states, a
    /// thread has one for each thread of the team that it does the work of. `finish` is called
    /// by the team's first warp, or its part of one, with the merged part in the first lane, whose result counts.
    ///
    /// Called once by every thread of the CTA.
    template <unsigned int GROUPS, class State, class Result, class Args, class Finish>
    __device__ __forceinline__ const Result* reduce(const State (&states)[GROUPS], Exchange<State, Result>& exchange,
                                                    const Args& args, const Finish& finish) const {
        State state = states[0];
        if (threads > WARP) {
            State::reduce_warps(states, exchange.states, rank / WARP);
            __syncthreads();
        } else {
            if constexpr (GROUPS == 2) state.merge(states[1]);
            // After this, the first lane of each segment of `lanes()` lanes holds its team's state.
            state.reduce_segments(lanes());
        }
        return by_first_warp(exchange.results[index], [&] {
            if (threads <= WARP) return finish(state.part_of_row(args));
            // Lane w takes the part of warp w.
            const unsigned int warps = threads / WARP;
            typename State::Part part = State::Part::empty();
            if (rank < warps) {
                part = State::part_of_warp(exchange.states, threads, rank, 0, Cluster::none(), 0, args);
            }
            return finish(reduce_lanes(part, warps));
        });
    }

    /// Shared memory of `reduce_stretches`: one state a stretch and warp, and what is made of the row's.
    template <class State, class Result>
    struct StretchExchange {
        typename State::Slots states[MAX_STRETCHES];
        Result result;
    };

    /// Puts the merged state of each of the team's warps for a stretch of the row where `reduce_stretches` finds it.
    template <class State, class Result>
    __device__ __forceinline__ void put_stretch(State state, unsigned int stretch,
                                                StretchExchange<State, Result>& exchange) const {
        State::reduce_warps({state}, exchange.states[stretch], rank / WARP);
    }

    /// The same as `reduce` of a row of so many stretches, of which every CTA has `of_cta`.
    ///
    /// Called once by every thread of all CTAs.
    template <class State, class Result, class Args, class Finish>
    __device__ __forceinline__ const Result* reduce_stretches(unsigned int stretches, unsigned int of_cta,
                                                              StretchExchange<State, Result>& exchange, const Args& args,
                                                              const Finish& finish) const {
        cluster.meet();
        return by_first_warp(exchange.result, [&] {
            const unsigned int warps = threads / WARP;
            // Lane w merges what warp w found in each stretch.
            typename State::Part part = State::Part::empty();
            if (rank < warps) {
#pragma unroll 1
                for (unsigned int stretch = 0; stretch < stretches; ++stretch) {
                    const typename State::Part next = State::part_of_warp(
                        exchange.states[stretch], threads, rank, stretch, cluster, stretch / of_cta, args);
                    if (stretch == 0) {
                        part = next;
                    } else {
                        part.merge(next);
                    }
                }
            }
            return finish(reduce_lanes(part, warps));
        });
    }

private:
    /// Puts what the lanes of the team's first warp make where every thread of the team may read it. A second barrier
    /// costs less than what every warp would have to compute.
    template <class Result, class Make>
    __device__ __forceinline__ const Result* by_first_warp(Result& slot, const Make& make) const {
        if (rank < WARP) {
            const Result result = make();
            if (rank == 0) slot = result;
        }
        if (threads > WARP) {
            __syncthreads();
        } else {
            __syncwarp();
        }
        return &slot;
    }
};

}  // namespace warpnorm
