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

/// Teams of a CTA at most: one for each of the threads that teams share. Mirrored by plan::SHARED_CTA_THREADS.
constexpr unsigned int MAX_TEAMS = 128;

/// Parts of a long row whose sums are merged by themselves, so that any number of CTAs can divide them.
constexpr unsigned int MAX_STRETCHES = 8;

struct Team {
    unsigned int threads;  // 1, 2, 4, 8, 16 or a multiple of 32 up to 1024
    unsigned int rank;     // of this thread in its team
    unsigned int index;    // of this team in its CTA
    Cluster cluster;
    unsigned int beside;   // from the rank of this thread to that of the other thread that it does the work of; 0: of none

    /// A team of the CTA, which is as many threads wide as teams have, and as many high as there are teams.
    static __device__ __forceinline__ Team of_this_thread(unsigned int threads) {
        return {threads, threadIdx.x, threadIdx.y, Cluster::none(), 0};
    }

    /// The same of 4 to 32 threads, each thread doing the work of two: lane i that of the lanes i and i + threads / 2.
    static __device__ __forceinline__ Team of_this_pair_of_lanes(unsigned int threads) {
        __builtin_assume(threads <= WARP);
        return {threads, threadIdx.x, threadIdx.y, Cluster::none(), threads / 2};
    }

    /// The same of more than a warp: warp w of a team does the work of the warps 2w and 2w + 1. Of them it has the rank of
    /// the first; there may be no second one.
    static __device__ __forceinline__ Team of_this_pair_of_warps(unsigned int threads) {
        __builtin_assume(threads > WARP);
        return {threads, (threadIdx.x & ~(WARP - 1)) + threadIdx.x, threadIdx.y, Cluster::none(), WARP};
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
            const unsigned int warps = blockDim.x / WARP;
            float* const of_team = &slots[index * warps];
            if (lane == 0) of_team[threadIdx.x / WARP] = value;
            __syncthreads();
            // Lane w of every warp takes what warp w found.
            value = largest_of_lanes(lane < warps ? of_team[lane] : 0.0f, WARP);
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
        typename State::OfWarps states;
        Result results[MAX_TEAMS];
        bool repeat;
    };

    /// What a reduction leaves: where the threads of a team find what was made of its state, and whether that is preliminary
    /// for a team of those that go on together, which then are to reduce other states.
    template <class Result>
    struct Reduced {
        const Result* result;
        bool repeat;
    };

    /// Makes, by `finish`, something of the whole team's merged states. Of these, a thread has one for each thread of the
    /// team that it does the work of. `finish` is called with the merged state of a team, the team's index, whether what
    /// comes of it counts, and where it is kept: by the CTA's first warp, or by teams within a warp themselves.
    ///
    /// Called by every thread of the CTA together.
    template <bool MAY_REPEAT, unsigned int GROUPS, class State, class Result, class Finish>
    __device__ __forceinline__ Reduced<Result> reduce(const State (&states)[GROUPS], Exchange<State, Result>& exchange,
                                                      const Finish& finish) const {
        State state = states[0];
        if (threads <= WARP) {
            // After this, the first lane of each segment of `lanes()` lanes holds its team's state.
            state.reduce_segments(lanes());
        } else {
            // Where teams share a CTA, they are of pairs of warps, a power of two of these each.
            const unsigned int slots = blockDim.x / WARP * GROUPS;
            State::reduce_warps(states, exchange.states, index * slots + rank / WARP);
            __syncthreads();
        }
        bool repeat = false;
        // A second barrier costs less than what every warp would have to compute.
        if (threads <= WARP || is_of_first_warp()) {
            unsigned int team = index;
            bool counts = rank == 0;
            if (threads > WARP) {
                // Lane w of those that a team has takes the state of its warp w.
                const unsigned int warps = threads / WARP;
                const unsigned int warp = lane_of_warp() & ((1u << log2_of_slots()) - 1);
                team = lane_of_warp() >> log2_of_slots();
                counts = team < blockDim.y && warp == 0;
                state = State::empty();
                if (team < blockDim.y && warp < warps) state = exchange.states.get(lane_of_warp(), Cluster::none(), 0);
                state = reduce_lanes(state, warps);
            }
            const Result result = finish(state, team, counts, exchange.results[team]);
            // Before it is replaced, all lanes have read what was made before.
            if (MAY_REPEAT && threads <= WARP) __syncwarp();
            if (counts) put(exchange.results[team], result);
            if constexpr (MAY_REPEAT) {
                repeat = __any_sync(ALL_LANES, counts && result.is_preliminary());
                if (threads > WARP && rank == 0) exchange.repeat = repeat;
            }
        }
        if (threads > WARP) {
            __syncthreads();
            if constexpr (MAY_REPEAT) repeat = exchange.repeat;
        } else {
            __syncwarp();
        }
        return {&exchange.results[index], repeat};
    }

    /// Shared memory of teams within a warp whose lanes do the work of two: of each, its state and what is made of it.
    template <class State, class Result>
    struct LanesExchange {
        typename State::template Slots<MAX_TEAMS / 2> states;
        Result results[MAX_TEAMS / 2];
        bool repeat;
    };

    /// The same of a team within a warp whose lanes do the work of two. Where there are many rows, what a warp
    /// does for some is better done once for all of the CTA's.
    ///
    /// Called by every thread of the CTA together.
    template <bool MAY_REPEAT, class State, class Result, class Finish>
    __device__ __forceinline__ Reduced<Result> reduce(const State (&states)[2], LanesExchange<State, Result>& exchange,
                                                      const Finish& finish) const {
        State state = states[0];
        state.merge(states[1]);
        state.reduce_segments(lanes());
        if (rank == 0) state.put(exchange.states, index);
        __syncthreads();
        if (index * blockDim.x + rank < WARP) {
            bool repeat = false;
            // Lane i takes the teams i and i + WARP.
#pragma unroll 1
            for (unsigned int team = lane_of_warp(); team < blockDim.y; team += WARP) {
                const State of_team = exchange.states.get(team, Cluster::none(), 0);
                const Result result = finish(of_team, team, true, exchange.results[team]);
                put(exchange.results[team], result);
                if constexpr (MAY_REPEAT) repeat = repeat || result.is_preliminary();
            }
            if constexpr (MAY_REPEAT) {
                repeat = __any_sync(ALL_LANES, repeat);
                if (index + rank == 0) exchange.repeat = repeat;
            }
        }
        __syncthreads();
        return {&exchange.results[index], MAY_REPEAT && exchange.repeat};
    }

    /// Shared memory of `reduce_stretches`: one state a stretch and warp, and what is made of the row's.
    template <class State, class Result>
    struct StretchExchange {
        typename State::OfWarps states[MAX_STRETCHES];
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
    /// Called by every thread of all CTAs together.
    template <class State, class Result, class Finish>
    __device__ __forceinline__ const Result* reduce_stretches(unsigned int stretches, unsigned int of_cta,
                                                              StretchExchange<State, Result>& exchange,
                                                              const Finish& finish) const {
        cluster.meet();
        if (is_of_first_warp()) {
            const unsigned int warps = threads / WARP;
            // Lane w merges what warp w found in each stretch.
            State state = State::empty();
            if (rank < warps) {
                state = exchange.states[0].get(rank, cluster, 0);
#pragma unroll 1
                for (unsigned int stretch = 1; stretch < stretches; ++stretch) {
                    state.merge(exchange.states[stretch].get(rank, cluster, stretch / of_cta));
                }
            }
            const Result result = finish(reduce_lanes(state, warps));
            if (rank == 0) put(exchange.result, result);
        }
        __syncthreads();
        return &exchange.result;
    }

private:
    /// Slots, and lanes of the first warp, that a team of more than a warp has: a power of two, one for each of its warps.
    __device__ __forceinline__ unsigned int log2_of_slots() const { return WARP - __clz(threads / WARP - 1); }

    /// Of a team of more than a warp: whether this thread is of the CTA's first.
    __device__ __forceinline__ bool is_of_first_warp() const { return threadIdx.y == 0 && rank < WARP; }
};

}  // namespace warpnorm
