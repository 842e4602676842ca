// Statistics: what a row is reduced to, and how a value is normalised by it.
//
// Threads sum over their values in f32 and lanes add their sums up. What the warps of a team found is merged by its
// first warp. All of it goes in an order that the team alone decides, and no instruction is approximate: a row's bits are
// the same on every GPU.
#pragma once

#include "../common/two_float.cuh"
#include "args.cuh"
#include "deviations.cuh"
#include "group.cuh"
#include "sums.cuh"

namespace warpnorm {

/// Running sums that a thread keeps over its group: short chains, short waits.
constexpr unsigned int PARTIAL_SUMS = 4;

__device__ __forceinline__ float total(const float (&sums)[PARTIAL_SUMS]) {
    return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

/// Σ(h − pivot)² of f32 values, exact but for the rounding of h − pivot: added to an anchor that no square is larger than,
/// which makes each addition Dekker's.
__device__ __forceinline__ TwoFloat squares_in_two_floats(const Values& h, float pivot) {
    float sums[PARTIAL_SUMS] = {};
#pragma unroll
    for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
        const float deviation = h.at[e] - pivot;
        sums[e % PARTIAL_SUMS] = __fmaf_rn(deviation, deviation, sums[e % PARTIAL_SUMS]);
    }
    const float anchor = total(sums);
    float sum = anchor;
    float error = 0.0f;
#pragma unroll
    for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
        const float deviation = h.at[e] - pivot;
        const float next = __fmaf_rn(deviation, deviation, sum);
        error += __fmaf_rn(deviation, deviation, sum - next);
        sum = next;
    }
    // Where values are not finite, or so large that their squares are not.
    if (!isfinite(sum)) return {anchor, 0.0f};
    return fast_two_sum(sum - anchor, error);
}

/// Σh², or that of deviations, over what the op divides it by. Of what is infinite there is no low part, and what is made
/// of rows of 16 bits is as exact as they can tell without one.
template <class Element, class Number>
__device__ __forceinline__ TwoFloat quotient_of_squares(const Number& squares, const RowArgs& args) {
    if constexpr (!Element::IS_F32) {
        return {in_one(squares) * args.square_divisor_reciprocal, 0.0f};
    } else {
        if (isinf(squares.hi)) return {squares.hi, 0.0f};
        return quotient(squares, args.square_divisor, args.square_divisor_reciprocal);
    }
}

/// 1/√(mean_square + eps) likewise; zero where the mean square is past f32's range.
template <class Element>
__device__ __forceinline__ TwoFloat rstd_of_row(const TwoFloat& mean_square, float eps) {
    if (Element::IS_F32) return rstd_of(mean_square, eps);
    const float sum = mean_square.hi + eps;
    return {isinf(sum) ? 0.0f : reciprocal_root(sum), 0.0f};
}

/// What a row is normalised by.
struct alignas(16) Moments {
    float mean;
    float rstd;    // of f32 rows, rounded down
    float offset;  // what the mean lacks of the exact one, times −rstd
    float rest;    // what rstd lacks of the exact one: of f32 rows; never negative, so that zeros keep their signs
};

template <class Element>
__device__ __forceinline__ Moments moments_of(float mean, const TwoFloat& rstd, float offset) {
    Moments moments = {mean, rstd.hi, offset, 0.0f};
    if constexpr (Element::IS_F32) {
        moments.rest = fabsf(rstd.lo);
        if (rstd.lo < 0.0f) {
            moments.rstd = __int_as_float(__float_as_int(rstd.hi) - 1);
            moments.rest = (rstd.hi - moments.rstd) + rstd.lo;
        }
    }
    return moments;
}

/// Puts a row's moments into shared memory, at once: the compiler may put them there in turn, as they become known.
__device__ __forceinline__ void put(Moments& slot, const Moments& moments) {
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(static_cast<unsigned int>(__cvta_generic_to_shared(&slot))),
                 "f"(moments.mean), "f"(moments.rstd), "f"(moments.offset), "f"(moments.rest)
                 : "memory");
}

/// A row's moments, which its team has put into shared memory; those of no statistic are nowhere. Read anew wherever they
/// are asked for, rather than kept in registers.
template <class Statistic>
__device__ __forceinline__ Moments read_moments(const Moments* made) {
    if constexpr (!Statistic::REDUCES) return {0.0f, 1.0f, 0.0f, 0.0f};
    Moments moments;
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(moments.mean), "=f"(moments.rstd), "=f"(moments.offset), "=f"(moments.rest)
                 : "r"(static_cast<unsigned int>(__cvta_generic_to_shared(made)))
                 : "memory");
    return moments;
}

/// Mean and reciprocal standard deviation.
///
/// A warp's values are summed as deviations from a pivot, which is the mean of some of them:
///
///     Σ(h − mean)² = Σd² − (Σd)²/n    mean = pivot + Σd/n
///
/// Little of that cancels: of n values Σd² is at most 1 + n/32 times what is left, for the pivot is the mean of 32 of them;
/// where one value is far from all others, 1 + n/32². (At the end of a row, the pivot may be the mean of fewer.) What warps
/// have found is moved to one pivot in two floats, which lose nothing that shows where more of it cancels.
template <class Element>
struct LayerNorm {
    static constexpr bool REDUCES = true;
    /// Whether calls with a bias run on other paths than the general one.
    static constexpr bool IS_BIASED = true;

    using State = Deviations<Element>;

    /// The pivot is the mean of the first values of so many threads.
    static constexpr unsigned int PIVOT_THREADS = 8;
    static constexpr unsigned int PIVOT_VALUES = 4;

    /// The pivot of all lanes of a warp that the team has, for the part of the row that begins with these groups of theirs.
    template <unsigned int GROUPS>
    static __device__ __forceinline__ float pivot(const Values* h, const Group<Element>* groups) {
        const Group<Element>& group = groups[0];
        const unsigned int lanes = group.lanes;
        const unsigned int threads = min(GROUPS * lanes, PIVOT_THREADS);
        float mean = mean_of_first(h[0], threads);
        if (GROUPS == 2 && lanes < PIVOT_THREADS) mean += mean_of_first(h[GROUPS - 1], threads);
        if (lanes == WARP) {
#pragma unroll
            for (unsigned int distance = PIVOT_THREADS / 2; distance > 0; distance /= 2) {
                mean += shuffle_xor(mean, distance);
            }
        } else {
#pragma unroll 1
            for (unsigned int distance = min(lanes, PIVOT_THREADS) / 2; distance > 0; distance /= 2) {
                mean += shuffle_xor(mean, distance);
            }
        }
        // Those of a first line are all there, or all zeros.
        if (group.whole != Whole::NOTHING) return from_lane(mean, 0, lanes);
        const unsigned int line = group.first(0) - (lane_of_warp() & (lanes - 1)) * Group<Element>::LENGTH;
        const bool are_there = line + (threads - 1) * Group<Element>::LENGTH + PIVOT_VALUES <= group.hidden;
        if (!are_there) mean = mean_of_those_there(h[0], group);
        return from_lane(mean, 0, lanes);
    }

    /// A thread's share of the mean of so many threads' first values, rather than their sum, which might leave f32's range.
    /// In pairs: where all values are the same, the mean is that value.
    static __device__ __forceinline__ float mean_of_first(const Values& h, unsigned int threads) {
        const float share = 1.0f / (PIVOT_VALUES * threads);
        return __fmaf_rn(h.at[0], share, h.at[1] * share) + __fmaf_rn(h.at[2], share, h.at[3] * share);
    }

    /// The mean of a thread's values, some of which are not there: the first, and what the others differ from it by.
    static __device__ __forceinline__ float mean_of_those_there(const Values& h, const Group<Element>& group) {
        constexpr float SHARE = 1.0f / GROUP_ELEMENTS;
        float sum = 0.0f;
#pragma unroll
        for (unsigned int e = 1; e < GROUP_ELEMENTS; ++e) {
            sum += group.contains(e) ? __fmaf_rn(h.at[e], SHARE, -h.at[0] * SHARE) : 0.0f;
        }
        const float mean = __fmaf_rn(sum, GROUP_ELEMENTS * reciprocal(static_cast<float>(group.elements())), h.at[0]);
        return isfinite(mean) ? mean : h.at[0];
    }

    static __device__ __forceinline__ State of_group(Values& h, float pivot, const Group<Element>& group,
                                                     const RowArgs& args) {
        State state;
        state.pivot = pivot;
        TwoFloat sum;
        if constexpr (Element::IS_F32) sum = sum_in_two_floats(h, pivot, group.elements(), args);
        // Of 16 bits nothing is summed of lines that are not there, and a group of none has a pivot of 0.
        const bool takes_all = Element::IS_F32 ? group.whole != Whole::GROUPS : group.whole == Whole::NOTHING;
        if (takes_all && group.elements() != GROUP_ELEMENTS) move_outside_to(pivot, h, group);
        if constexpr (Element::IS_F32) {
            // Little but the errors may be left of it: a sum of many is as exact as its terms' low parts are small.
            state.sums.of[0] = two_sum(sum.hi, sum.lo);
            state.sums.of[1] = squares_in_two_floats(h, pivot);
            return state;
        } else {
            float sums[PARTIAL_SUMS] = {};
            float squares[PARTIAL_SUMS] = {};
#pragma unroll
            for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
                if (e > 0 && e % Group<Element>::LENGTH == 0 && group.lacks_line(e / Group<Element>::LENGTH)) break;
                const float deviation = h.at[e] - pivot;
                sums[e % PARTIAL_SUMS] = __fmaf_rn(deviation, args.count_scale, sums[e % PARTIAL_SUMS]);
                squares[e % PARTIAL_SUMS] = __fmaf_rn(deviation, deviation, squares[e % PARTIAL_SUMS]);
            }
            state.sums.of[0] = total(sums);
            state.sums.of[1] = total(squares);
            // Where values are not finite, or so large that their squares are not, deviations may not be finite, either.
            if (!isfinite(state.sums.of[1])) {
                if (group.whole == Whole::LINES) move_outside_to(pivot, h, group);
                state.sums.of[0] = in_one(sum_in_two_floats(h, pivot, GROUP_ELEMENTS, args));
            }
            return state;
        }
    }

    /// Gives places outside the row, which hold zeros and are never stored, a deviation of zero.
    static __device__ __forceinline__ void move_outside_to(float pivot, Values& h, const Group<Element>& group) {
        constexpr unsigned int LENGTH = Group<Element>::LENGTH;
#pragma unroll
        for (unsigned int c = 0; c < Group<Element>::CHUNKS; ++c) {
            if (group.valid[c] == LENGTH) continue;
#pragma unroll
            for (unsigned int e = c * LENGTH; e < (c + 1) * LENGTH; ++e) {
                h.at[e] = group.contains(e) ? h.at[e] : pivot;
                // In a branch of their own: few threads have such places.
                asm volatile("" : "+f"(h.at[e]));
            }
        }
    }

    /// Σd of f32 values, whose mean is to be as exact as their difference from it. So many of them are not zeros outside
    /// the row.
    ///
    /// The sum of h starts at an anchor, which is larger than any partial sum of magnitudes: then each addition is
    /// Dekker's, and its error exact (after Rump, Ogita and Oishi, Accurate floating-point summation, 2008).
    static __device__ __forceinline__ TwoFloat sum_in_two_floats(const Values& h, float pivot, unsigned int count,
                                                                 const RowArgs& args) {
        float magnitudes[PARTIAL_SUMS] = {};
#pragma unroll
        for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
            magnitudes[e % PARTIAL_SUMS] = __fmaf_rn(fabsf(h.at[e]), args.count_scale, magnitudes[e % PARTIAL_SUMS]);
        }
        const float anchor = 4.0f * total(magnitudes);
        float sum = anchor;
        float error = 0.0f;
#pragma unroll
        for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
            const float next = __fmaf_rn(h.at[e], args.count_scale, sum);
            error += __fmaf_rn(h.at[e], args.count_scale, sum - next);
            sum = next;
        }
        return add({sum - anchor, error}, two_product(-pivot, static_cast<float>(count) * args.count_scale));
    }

    static __device__ __forceinline__ Moments moments(const typename State::Part& row, const RowArgs& args) {
        const TwoFloat sum = row.sums.of[0];
        const TwoFloat distance = quotient(sum, args.scaled_hidden, args.scaled_hidden_reciprocal);
        TwoFloat mean = two_sum(row.pivot, distance.hi);
        mean = two_sum(mean.hi, mean.lo + distance.lo);
        if (!isfinite(mean.hi)) {
            // The pivot may be at one end of f32's range and the mean at the other.
            mean = quotient(add(two_product(row.pivot, args.scaled_hidden), sum), args.scaled_hidden,
                            args.scaled_hidden_reciprocal);
        }
        TwoFloat squares = row.sums.of[1];
        if (!isinf(squares.hi)) {
            const TwoFloat product = multiply(distance, sum);
            const float unscale = -reciprocal_of_power_of_two(args.count_scale);
            squares = add(squares, {product.hi * unscale, product.lo * unscale});
        }
        TwoFloat variance = quotient_of_squares<Element>(squares, args);
        // Where there is no mean, there is no variance either. Rounding can leave it a little below zero where all values
        // are the same; written so that NaN stays NaN.
        if (mean.hi != mean.hi) variance.hi = mean.hi;
        if (variance.hi < 0.0f) variance = {0.0f, 0.0f};
        const TwoFloat rstd = rstd_of_row<Element>(variance, args.eps);
        // Nothing times infinity would make NaN of every v. And zeros keep the signs of the deviations: what is added to
        // them is −0.
        const float offset = isinf(rstd.hi) || rstd.hi == 0.0f ? -0.0f : -mean.lo * rstd.hi;
        return moments_of<Element>(mean.hi, rstd, offset);
    }

    /// v. h − mean is exact where it cancels.
    static __device__ __forceinline__ float normalise(float h, const Moments& moments) {
        const float deviation = h - moments.mean;
        const float offset =
            Element::IS_F32 ? __fmaf_rn(deviation, moments.rest, moments.offset) : moments.offset;
        return __fmaf_rn(deviation, moments.rstd, offset);
    }
};

/// Reciprocal root mean square: v = h·rstd. The mean is 0 and is never stored. Where squares are divided by 1,
/// it is the L2 norm.
template <class Element>
struct RmsNorm {
    static constexpr bool REDUCES = true;
    static constexpr bool IS_BIASED = false;

    // Σh².
    using State = Sums<1, Number<Element>>;

    template <unsigned int GROUPS>
    static __device__ __forceinline__ float pivot(const Values*, const Group<Element>*) {
        return 0.0f;
    }

    static __device__ __forceinline__ State of_group(Values& h, float, const Group<Element>&, const RowArgs&) {
        State state;
        state.of[0] = sum_of_squares(h);
        return state;
    }

    /// Places outside the row hold zeros and add nothing.
    static __device__ __forceinline__ Number<Element> sum_of_squares(const Values& h) {
        if constexpr (Element::IS_F32) {
            return squares_in_two_floats(h, 0.0f);
        } else {
            float sums[PARTIAL_SUMS] = {};
#pragma unroll
            for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
                sums[e % PARTIAL_SUMS] = __fmaf_rn(h.at[e], h.at[e], sums[e % PARTIAL_SUMS]);
            }
            return total(sums);
        }
    }

    static __device__ __forceinline__ Moments moments(const typename State::Part& row, const RowArgs& args) {
        const TwoFloat mean_square = quotient_of_squares<Element>(row.of[0], args);
        TwoFloat rstd = rstd_of_row<Element>(mean_square, args.eps);
        if ((args.flags & ZERO_STAYS_ZERO) && mean_square.hi == 0.0f) rstd = {0.0f, 0.0f};
        return moments_of<Element>(0.0f, rstd, 0.0f);
    }

    static __device__ __forceinline__ float normalise(float h, const Moments& moments) {
        return Element::IS_F32 ? __fmaf_rn(h, moments.rstd, h * moments.rest) : h * moments.rstd;
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

    static __device__ __forceinline__ float normalise(float h, const Moments&) { return h; }
};

}  // namespace warpnorm
