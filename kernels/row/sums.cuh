// Sums over a part of a row: what lanes merge, and put aside for the team's first warp, which merges it in turn.
#pragma once

#include "../common/team.cuh"
#include "../common/two_float.cuh"
#include "args.cuh"

namespace warpnorm {

__device__ __forceinline__ float add(float a, float b) { return a + b; }
__device__ __forceinline__ float select(bool first, float a, float b) { return first ? a : b; }
__device__ __forceinline__ TwoFloat select(bool first, const TwoFloat& a, const TwoFloat& b) {
    return {first ? a.hi : b.hi, first ? a.lo : b.lo};
}

/// What the sums of a row of this type are kept in. The statistics of f32 values are to be more exact than f32.
template <bool IS_F32>
struct SumNumber {
    using Type = float;
};
template <>
struct SumNumber<true> {
    using Type = TwoFloat;
};
template <class Element>
using Number = typename SumNumber<Element::IS_F32>::Type;

/// Sums over a part of the row, each a float or two. Parts that are empty hold zeros.
template <unsigned int COUNT, class Number>
struct Sums {
    static constexpr unsigned int SUMS = COUNT;
    static constexpr unsigned int FLOATS = COUNT * sizeof(Number) / sizeof(float);

    Number of[COUNT];

    static __device__ __forceinline__ Sums empty() { return {}; }

    template <class Other>
    __device__ __forceinline__ void merge(const Sums<COUNT, Other>& right) {
#pragma unroll
        for (unsigned int i = 0; i < COUNT; ++i) of[i] = add(of[i], Number{right.of[i]});
    }

    __device__ __forceinline__ Sums shuffled_down(unsigned int distance, unsigned int width) const {
        Sums other;
#pragma unroll
        for (unsigned int i = 0; i < COUNT; ++i) other.of[i] = shuffle_down(of[i], distance, width);
        return other;
    }

    /// Merges the sums of every segment of `width` lanes (a power of two) into those of its first lane, in the order of
    /// `reduce_warps`.
    __device__ __forceinline__ void reduce_segments(unsigned int width) {
#pragma unroll 1
        for (unsigned int distance = width / 2; distance > 0; distance /= 2) merge(shuffled_down(distance, width));
    }

    /// Shared memory for so many of them, float by float, so that lanes which take one each read neighbouring words.
    template <unsigned int SLOTS>
    struct Slots {
        float words[FLOATS][SLOTS];

        __device__ __forceinline__ void put(unsigned int sum, unsigned int slot, const Number& value) {
            Sums::put(value, &words[row(sum)][place(sum, slot)], SLOTS);
        }

        /// From the shared memory of a CTA of the cluster.
        __device__ __forceinline__ Sums get(unsigned int slot, const Cluster& cluster, unsigned int cta) const {
            Sums sums;
#pragma unroll
            for (unsigned int i = 0; i < COUNT; ++i) {
                Sums::get(sums.of[i], &words[row(i)][place(i, slot)], SLOTS, cluster, cta);
            }
            return sums;
        }

    private:
        /// Where the first float of a sum is. Those of second sums are two further on, or two back: lanes that put a sum each
        /// put them into different banks.
        static __device__ __forceinline__ unsigned int row(unsigned int sum) { return sum * FLOATS / COUNT; }
        static __device__ __forceinline__ unsigned int place(unsigned int sum, unsigned int slot) { return slot ^ 2 * sum; }
    };

    template <unsigned int SLOTS>
    __device__ __forceinline__ void put(Slots<SLOTS>& slots, unsigned int slot) const {
#pragma unroll
        for (unsigned int i = 0; i < COUNT; ++i) slots.put(i, slot, of[i]);
    }

    /// The slots of a team's warps.
    using OfWarps = Slots<MAX_TEAM_WARPS>;

    /// Merges the sums of all lanes and puts them into the slots from `warp` on: the first of every lane into the first,
    /// the second into the second.
    ///
    /// With each of the first steps, half of the lanes go on with half of the sums: in the end a segment of lanes has one,
    /// which its first lane puts. The tree is that of `reduce_segments`: which of two is the left operand does not matter.
    template <unsigned int STATES>
    static __device__ __forceinline__ void reduce_warps(const Sums (&states)[STATES], OfWarps& slots, unsigned int warp) {
        constexpr unsigned int ALL = STATES * COUNT;
        static_assert(ALL == 1 || ALL == 2 || ALL == 4, "a power of two, to be halved");
        Number sums[ALL];
#pragma unroll
        for (unsigned int i = 0; i < ALL; ++i) sums[i] = states[i / COUNT].of[i % COUNT];
        if constexpr (ALL == 4) share<2>(sums, WARP / 2);
        if constexpr (ALL >= 2) share<1>(sums, WARP / ALL);
        constexpr unsigned int SEGMENT = WARP / ALL;
#pragma unroll
        for (unsigned int distance = SEGMENT / 2; distance > 0; distance /= 2) {
            sums[0] = add(sums[0], shuffle_down(sums[0], distance, WARP));
        }
        const unsigned int lane = lane_of_warp();
        if (lane % SEGMENT == 0) {
            const unsigned int sum = lane / SEGMENT % COUNT;
            const unsigned int state = lane / SEGMENT / COUNT;
            slots.put(sum, warp + state, sums[0]);
        }
    }

    /// What a thread keeps of a stretch of a long row, which may be many groups: a long chain of additions.
    using Running = Sums<COUNT, TwoFloat>;

    static __device__ __forceinline__ Running running(const Sums& first) {
        Running running;
#pragma unroll
        for (unsigned int i = 0; i < COUNT; ++i) running.of[i] = TwoFloat{first.of[i]};
        return running;
    }
    static __device__ __forceinline__ Sums of_running(const Running& running) {
        Sums sums;
#pragma unroll
        for (unsigned int i = 0; i < COUNT; ++i) held_as(sums.of[i], running.of[i]);
        return sums;
    }

private:
    static __device__ __forceinline__ void held_as(float& number, const TwoFloat& value) { number = in_one(value); }
    static __device__ __forceinline__ void held_as(TwoFloat& number, const TwoFloat& value) { number = value; }
    // Words that belong together are so far apart.
    static __device__ __forceinline__ void put(float sum, float* first, unsigned int) { *first = sum; }
    static __device__ __forceinline__ void put(const TwoFloat& sum, float* first, unsigned int apart) {
        first[0] = sum.hi;
        first[apart] = sum.lo;
    }
    static __device__ __forceinline__ void get(float& sum, const float* first, unsigned int, const Cluster& cluster,
                                               unsigned int cta) {
        sum = cluster.read(first, cta);
    }
    static __device__ __forceinline__ void get(TwoFloat& sum, const float* first, unsigned int apart,
                                               const Cluster& cluster, unsigned int cta) {
        sum = {cluster.read(first, cta), cluster.read(first + apart, cta)};
    }

    /// Merges the sums of lanes that are `distance` apart: the lower one those of the first HALF, the upper one those of
    /// the second, which then are its first.
    template <unsigned int HALF, unsigned int ALL>
    static __device__ __forceinline__ void share(Number (&sums)[ALL], unsigned int distance) {
        const bool upper = lane_of_warp() & distance;
#pragma unroll
        for (unsigned int i = 0; i < HALF; ++i) {
            const Number given = select(upper, sums[i], sums[HALF + i]);
            const Number kept = select(upper, sums[HALF + i], sums[i]);
            sums[i] = add(kept, shuffle_xor(given, distance));
        }
    }
};

}  // namespace warpnorm
