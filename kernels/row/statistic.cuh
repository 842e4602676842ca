// Statistics: what a row is reduced to, and how a value is normalised by it.
//
// A statistic is one or two sums over the row, each kept in two floats so that nothing of it is lost: the
// result is as exact as the outputs' roundings need it, however the row is divided over threads. No
// instruction here is approximate, so a row's bits are the same on every GPU.
#pragma once

#include "../common/two_float.cuh"
#include "args.cuh"
#include "group.cuh"

namespace warpnorm {

/// Running sums that a thread keeps of its group where a plain sum will do: short chains, short waits.
constexpr unsigned int PARTIAL_SUMS = 4;

__device__ __forceinline__ float total(const float (&sums)[PARTIAL_SUMS]) {
    return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

/// What a team merges: sums over a part of the row. Parts that are empty hold zeros.
template <unsigned int COUNT>
struct Sums {
    static constexpr unsigned int SUMS = COUNT;

    TwoFloat of[COUNT];

    static __device__ __forceinline__ Sums empty() { return {}; }

    /// Shared memory for one state a warp, float by float, so that lanes which read a state each read
    /// neighbouring words.
    struct Slots {
        float words[2 * COUNT][MAX_TEAM_WARPS];

        /// The place of a warp among the words of a sum. The second sums' are two further on, or two back: lanes that
        /// put a sum each put them into different banks.
        static __device__ __forceinline__ unsigned int place(unsigned int sum, unsigned int warp) {
            return warp ^ 2 * sum;
        }
    };

    static __device__ __forceinline__ Sums get(const Slots& slots, unsigned int warp) {
        return get(slots, warp, Cluster::none(), 0);
    }

    /// The same from the shared memory of another CTA of the cluster.
    static __device__ __forceinline__ Sums get(const Slots& slots, unsigned int warp, const Cluster& cluster,
                                               unsigned int cta) {
        Sums sums;
#pragma unroll
        for (unsigned int i = 0; i < COUNT; ++i) {
            const unsigned int place = Slots::place(i, warp);
            sums.of[i] = {cluster.read(&slots.words[2 * i][place], cta), cluster.read(&slots.words[2 * i + 1][place], cta)};
        }
        return sums;
    }

    __device__ __forceinline__ Sums shuffled_down(unsigned int distance, unsigned int width) const {
        Sums other;
#pragma unroll
        for (unsigned int i = 0; i < COUNT; ++i) other.of[i] = shuffled_down(of[i], distance, width);
        return other;
    }

    __device__ __forceinline__ void merge(const Sums& right) {
#pragma unroll
        for (unsigned int i = 0; i < COUNT; ++i) of[i] = add(of[i], right.of[i]);
    }

    /// Merges the states of every segment of `width` lanes (a power of two), the same way as `reduce_lanes` does.
    ///
    /// Of two sums, each half of a segment merges one: after the first step lane i of the lower half has the first sum
    /// of the lanes i and i + width / 2, lane i of the upper half the second sum of those. After the last one, the
    /// first lane of each half has that sum of the segment, and the segment's first lane fetches the other.
    __device__ __forceinline__ void reduce_segments(unsigned int width) {
        static_assert(COUNT <= 2, "a half of the lanes for each");
        if (width == 1) return;
        const unsigned int half = width / 2;
        if (COUNT == 2) share<1>(of, half);
#pragma unroll 1
        for (unsigned int distance = COUNT == 2 ? half / 2 : half; distance > 0; distance /= 2) {
            of[0] = add(of[0], shuffled_down(of[0], distance, width));
        }
        if (COUNT == 2) of[COUNT - 1] = shuffled_down(of[0], half, width);
    }

    /// Merges the states of all lanes, the same way, and puts them into the slots from `warp` on: the first of every
    /// lane into the first, the second into the second.
    ///
    /// The sums are shared out as above: with each step half of the lanes have half of them, until a segment of lanes
    /// has one, which its first lane puts.
    template <unsigned int STATES>
    static __device__ __forceinline__ void reduce_warps(const Sums (&states)[STATES], Slots& slots, unsigned int warp) {
        constexpr unsigned int ALL = STATES * COUNT;
        static_assert(ALL == 1 || ALL == 2 || ALL == 4, "a power of two, to be halved");
        TwoFloat sums[ALL];
#pragma unroll
        for (unsigned int i = 0; i < ALL; ++i) sums[i] = states[i / COUNT].of[i % COUNT];
        if constexpr (ALL == 4) share<2>(sums, WARP / 2);
        if constexpr (ALL >= 2) share<1>(sums, WARP / ALL);
        constexpr unsigned int SEGMENT = WARP / ALL;
#pragma unroll
        for (unsigned int distance = SEGMENT / 2; distance > 0; distance /= 2) {
            sums[0] = add(sums[0], shuffled_down(sums[0], distance, WARP));
        }
        const unsigned int lane = lane_of_warp();
        if (lane % SEGMENT == 0) {
            const unsigned int sum = lane / SEGMENT % COUNT;
            const unsigned int place = Slots::place(sum, warp + lane / SEGMENT / COUNT);
            slots.words[2 * sum][place] = sums[0].hi;
            slots.words[2 * sum + 1][place] = sums[0].lo;
        }
    }

private:
    static __device__ __forceinline__ TwoFloat shuffled_down(const TwoFloat& sum, unsigned int distance,
                                                             unsigned int width) {
        return {shuffle_down(sum.hi, distance, width), shuffle_down(sum.lo, distance, width)};
    }

    /// Merges the sums of lanes that are `distance` apart: the lower one those of the first HALF, the upper one those of
    /// the second, which then are its first.
    template <unsigned int HALF, unsigned int ALL>
    static __device__ __forceinline__ void share(TwoFloat (&sums)[ALL], unsigned int distance) {
        const bool upper = lane_of_warp() & distance;
#pragma unroll
        for (unsigned int i = 0; i < HALF; ++i) {
            const TwoFloat given = upper ? sums[i] : sums[HALF + i];
            const TwoFloat kept = upper ? sums[HALF + i] : sums[i];
            sums[i] = add(kept, {shuffle_xor(given.hi, distance), shuffle_xor(given.lo, distance)});
        }
    }
};

/// What a row is normalised by: v = (h − mean)·rstd.
struct alignas(16) Moments {
    TwoFloat mean;
    TwoFloat rstd;
};

/// The same moments, with an rstd.hi that is larger than rstd by a share of it, and as much less in rstd.lo: for outputs
/// that are computed from rstd.hi alone.
__device__ __forceinline__ Moments with_larger_factor(const Moments& moments, float share) {
    const TwoFloat rstd = moments.rstd;
    if (isinf(rstd.hi)) return {moments.mean, {rstd.hi, 0.0f}};
    // Zeros keep the signs of the deviations: what is added to them is -0.
    if (rstd.hi == 0.0f) return {{moments.mean.hi, 0.0f}, rstd};
    const float factor = rstd.hi + __fmaf_rn(rstd.hi, share, rstd.lo);
    return {moments.mean, {factor, (rstd.hi - factor) + rstd.lo}};
}

/// A row's moments, which its team has put into shared memory; those of no statistic are nowhere, and have the share that
/// is given. Read anew wherever they are asked for, rather than kept in registers.
template <class Statistic>
__device__ __forceinline__ Moments read_moments(const Moments* made, float share) {
    if constexpr (!Statistic::REDUCES) return with_larger_factor({{0.0f, 0.0f}, {1.0f, 0.0f}}, share);
    Moments moments;
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(moments.mean.hi), "=f"(moments.mean.lo), "=f"(moments.rstd.hi), "=f"(moments.rstd.lo)
                 : "r"(static_cast<unsigned int>(__cvta_generic_to_shared(made)))
                 : "memory");
    return moments;
}

/// Mean and reciprocal standard deviation.
///
/// The deviations d = h − pivot are summed, and their squares:
///
///     variance = Σd²/N − (Σd/N)²    mean = pivot + Σd/N
///
/// Parts of a row merge by adding, whatever their sizes. The pivot is the row's first value, or 0 where the
/// second is not within a share c of it. If it is not, Σ(h − mean)² is at least (c·h₀)²/2; so either way Σd² is at most
/// 1 + 2·N·(1 + 2/c²) times Σ(h − mean)², whatever the row, and for most rows about as large. Of 2^24 times the difference
/// cancels no more digits than two floats have to spare (Chan, Golub and LeVeque, Algorithms for computing the sample
/// variance, 1983).
template <class Element>
struct LayerNorm {
    static constexpr bool REDUCES = true;
    /// Whether the sums are of what a value of the row is taken from first.
    static constexpr bool PIVOTS = true;
    /// Whether calls with a bias run on other paths than the general one.
    static constexpr bool IS_BIASED = true;

    // Σd scaled by RowArgs::count_scale, and Σd².
    using State = Sums<2>;

    /// Roundings between the factor and v, the factor's own among them: h − mean.hi, v.
    static constexpr float ROUNDINGS = 3.0f;

    /// The pivot in all threads of a team. Where the mean is no larger than the deviations it is 0 in nearly all rows,
    /// and every d is the value itself; where the mean is larger, most values lie within a factor of two of the pivot,
    /// and their d are exact again. The share c is as small as the length of the rows lets it be: up to 512 elements,
    /// in registers, or any.
    static __device__ __forceinline__ float pivot(const Values& h, const Group<Element>& group, const Team& team,
                                                  float* slot) {
        const float second = group.contains(1) ? h.at[1] : h.at[0];
        const float share = team.threads <= WARP ? 1.0f / 32.0f : group.is_all ? 1.0f / 16.0f : 1.0f / 4.0f;
        const bool close = fabsf(h.at[0] - second) <= share * fabsf(h.at[0]);
        return team.from_first(close ? h.at[0] : 0.0f, slot);
    }

    /// The sums over one group.
    static __device__ __forceinline__ State of_group(Values& h, float pivot, const Group<Element>& group,
                                                     const RowArgs& args) {
        State state;
        bool usable;
        // Of f32 values there are no registers for those of both branches.
        if constexpr (Element::IS_F32) move_outside_to(pivot, h, group);
        // Lanes of another row go with those that have a pivot: from 0, the deviations are the values.
        const bool any_pivot = group.lanes < WARP ? __any_sync(ALL_LANES, pivot != 0.0f) : pivot != 0.0f;
        if (!any_pivot) {
            usable = sum_deviations<false>(state, h, 0.0f, args);
        } else {
            if constexpr (!Element::IS_F32) move_outside_to(pivot, h, group);
            usable = sum_deviations<true>(state, h, pivot, args);
        }
        if (!usable) state = of_large_group(h, pivot, args);
        return state;
    }

    /// Gives places outside the row, which hold zero and are never stored, a deviation of zero.
    static __device__ __forceinline__ void move_outside_to(float pivot, Values& h, const Group<Element>& group) {
        if (group.elements() == GROUP_ELEMENTS) return;
#pragma unroll
        for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) h.at[e] = group.contains(e) ? h.at[e] : pivot;
    }

    /// Sums the deviations from a pivot, or from 0. Those from a pivot are taken in two floats, of 16-bit values too:
    /// where the row starts with a value some 2^13 times as large as the others, one float would lose their last digits,
    /// which are all that is left of them in the mean when the large ones cancel. Returns whether the sums could be had.
    template <bool PIVOT>
    static __device__ __forceinline__ bool sum_deviations(State& state, const Values& h, float pivot,
                                                          const RowArgs& args) {
        // Written the other way round than below, for else sixteen deviations are kept in registers.
        float magnitudes[PARTIAL_SUMS] = {};
#pragma unroll
        for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
            magnitudes[e % PARTIAL_SUMS] += fabsf(PIVOT ? pivot - h.at[e] : h.at[e]);
        }
        const float magnitude = total(magnitudes);

        AnchoredSum deviations(magnitude * args.count_scale);
        AnchoredSum squares(magnitude * magnitude);
#pragma unroll
        for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
            const TwoFloat deviation = PIVOT ? two_sum(h.at[e], -pivot) : TwoFloat{h.at[e], 0.0f};
            deviations.add_product(deviation.hi, args.count_scale);
            squares.add_product(deviation.hi, deviation.hi);
            if constexpr (PIVOT) {
                deviations.error = __fmaf_rn(deviation.lo, args.count_scale, deviations.error);
                squares.error = __fmaf_rn(deviation.hi, deviation.lo + deviation.lo, squares.error);
            }
        }
        state.of[0] = deviations.total();
        state.of[1] = squares.total_of_squares();
        return squares.usable();
    }

    /// The same towards the end of f32's range, and where a value is not finite: scaled values are summed
    /// without an anchor, and the sum of squares is a plain one.
    static __device__ __forceinline__ State of_large_group(const Values& h, float pivot, const RowArgs& args) {
        TwoFloat sum = {0.0f, 0.0f};
        float squares = 0.0f;
#pragma unroll
        for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
            const float deviation = h.at[e] - pivot;
            squares = __fmaf_rn(deviation, deviation, squares);
            sum = add(sum, two_sum(h.at[e] * args.count_scale, -pivot * args.count_scale));
        }
        State state;
        state.of[0] = sum;
        state.of[1] = {squares, 0.0f};
        return state;
    }

    static __device__ __forceinline__ Moments moments(const State& state, float pivot, const RowArgs& args) {
        const TwoFloat shift = quotient(state.of[0], args.scaled_hidden, args.scaled_hidden_reciprocal);
        const TwoFloat sum = two_sum(pivot, shift.hi);
        TwoFloat mean = fast_two_sum(sum.hi, sum.lo + shift.lo);

        TwoFloat variance = {state.of[1].hi, 0.0f};
        if (isinf(state.of[1].hi)) {
            // Squares past f32's range. The mean may be so far from the pivot that the shift is, too, or
            // there is no mean, and then no variance either.
            const TwoFloat scaled = add(two_product(pivot, args.scaled_hidden), state.of[0]);
            mean = quotient(scaled, args.scaled_hidden, args.scaled_hidden_reciprocal);
            if (mean.hi != mean.hi) variance.hi = mean.hi;
        } else {
            const TwoFloat mean_square = quotient(state.of[1], args.square_divisor, args.square_divisor_reciprocal);
            TwoFloat shift_square = two_product(shift.hi, shift.hi);
            shift_square.lo = __fmaf_rn(2.0f * shift.hi, shift.lo, shift_square.lo);
            variance = normalised(add(mean_square, {-shift_square.hi, -shift_square.lo}));
            // Rounding can leave a constant row a little below zero; written so that NaN stays NaN.
            if (variance.hi < 0.0f) variance = {0.0f, 0.0f};
        }
        return {mean, rstd_of(variance, args.eps)};
    }

    /// v with rstd.hi in place of rstd. h − mean.hi is exact where it cancels.
    static __device__ __forceinline__ float normalise_in_one(float h, const Moments& moments) {
        // Nothing times infinity would make NaN of every v.
        const float offset = isinf(moments.rstd.hi) ? 0.0f : -moments.mean.lo * moments.rstd.hi;
        return __fmaf_rn(h - moments.mean.hi, moments.rstd.hi, offset);
    }

    static __device__ __forceinline__ TwoFloat normalise(float h, const Moments& moments) {
        TwoFloat deviation = two_sum(h, -moments.mean.hi);
        deviation = two_sum(deviation.hi, deviation.lo - moments.mean.lo);
        return normalised(multiply(deviation, moments.rstd));
    }
};

/// Reciprocal root mean square: v = h·rstd. The mean is 0 and is never stored. Where squares are divided by 1,
/// it is the L2 norm.
template <class Element>
struct RmsNorm {
    static constexpr bool REDUCES = true;
    static constexpr bool PIVOTS = false;
    static constexpr bool IS_BIASED = false;

    // Σh².
    using State = Sums<1>;

    /// Roundings between the factor and v, the factor's own among them: v.
    static constexpr float ROUNDINGS = 2.0f;

    static __device__ __forceinline__ float pivot(const Values&, const Group<Element>&, const Team&, float*) {
        return 0.0f;
    }

    static __device__ __forceinline__ State of_group(Values& h, float, const Group<Element>&, const RowArgs&) {
        // Places outside the row hold zero and add nothing.
        float sums[PARTIAL_SUMS] = {};
#pragma unroll
        for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
            sums[e % PARTIAL_SUMS] = __fmaf_rn(h.at[e], h.at[e], sums[e % PARTIAL_SUMS]);
        }
        const float plain = total(sums);
        AnchoredSum squares(plain);
#pragma unroll
        for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) squares.add_product(h.at[e], h.at[e]);
        // Towards the end of f32's range, and where a value is not finite, the plain sum has to do.
        State state;
        state.of[0] = {plain, 0.0f};
        if (squares.usable()) state.of[0] = squares.total_of_squares();
        return state;
    }

    static __device__ __forceinline__ Moments moments(const State& state, float, const RowArgs& args) {
        TwoFloat mean_square = {state.of[0].hi, 0.0f};
        if (!isinf(state.of[0].hi)) {
            mean_square = quotient(state.of[0], args.square_divisor, args.square_divisor_reciprocal);
        }
        TwoFloat rstd = rstd_of(mean_square, args.eps);
        if ((args.flags & ZERO_STAYS_ZERO) && mean_square.hi == 0.0f) rstd = {0.0f, 0.0f};
        return {{0.0f, 0.0f}, rstd};
    }

    static __device__ __forceinline__ float normalise_in_one(float h, const Moments& moments) {
        return h * moments.rstd.hi;
    }

    static __device__ __forceinline__ TwoFloat normalise(float h, const Moments& moments) {
        return normalised(multiply(moments.rstd, h));
    }
};

/// No statistic: v = h.
template <class Element>
struct Identity {
    static constexpr bool REDUCES = false;
    static constexpr bool IS_BIASED = true;

    struct State {
        static constexpr unsigned int SUMS = 0;
    };

    /// Roundings between the factor and v, the factor's own among them: v.
    static constexpr float ROUNDINGS = 2.0f;

    static __device__ __forceinline__ float normalise_in_one(float h, const Moments& moments) {
        return h * moments.rstd.hi;
    }
    static __device__ __forceinline__ TwoFloat normalise(float h, const Moments&) { return {h, 0.0f}; }
};

}  // namespace warpnorm
