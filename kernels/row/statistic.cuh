// Statistics: what a row is reduced to, and how a value is normalised by it.
//
// Threads sum over their values in f32 and lanes add their sums up. What the warps of a team found is merged by its
// first warp. All of it goes in an order that the team alone decides, and no instruction is approximate: a row's bits are
// the same on every GPU.
#pragma once

#include "../common/two_float.cuh"
#include "args.cuh"
#include "group.cuh"
#include "sums.cuh"

namespace warpnorm {

/// Running sums that a thread keeps over its group: short chains, short waits.
constexpr unsigned int PARTIAL_SUMS = 4;

__device__ __forceinline__ float total(const float (&sums)[PARTIAL_SUMS]) {
    return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

/// Σh² of f32 values: added to an anchor that no square is larger than, which makes each addition Dekker's.
__device__ __forceinline__ TwoFloat squares_in_two_floats(const Values& h) {
    float sums[PARTIAL_SUMS] = {};
#pragma unroll
    for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
        sums[e % PARTIAL_SUMS] = __fmaf_rn(h.at[e], h.at[e], sums[e % PARTIAL_SUMS]);
    }
    const float anchor = total(sums);
    float sum = anchor;
    float error = 0.0f;
#pragma unroll
    for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
        const float next = __fmaf_rn(h.at[e], h.at[e], sum);
        error += __fmaf_rn(h.at[e], h.at[e], sum - next);
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

    /// In place of the rest: that the row is to be reduced once more, about its mean. In rstd's place is then what that
    /// lacks of the exact one.
    static constexpr float PRELIMINARY = -1.0f;

    __device__ __forceinline__ bool is_preliminary() const { return rest < 0.0f; }
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
/// Values are summed as they are, and their squares:
///
///     mean = Σh/n    Σ(h − mean)² = Σh² − (Σh)²/n
///
/// Where that would cancel more than FAR allows, because the mean is far from 0, the row is reduced once more: as deviations
/// d from what its mean was found to be, of which next to nothing cancels (Chan, Golub and LeVeque, Algorithms for computing
/// the sample variance, 1983: the corrected two-pass algorithm).
template <class Element>
struct LayerNorm {
    static constexpr bool REDUCES = true;
    /// How often a row may be reduced.
    static constexpr unsigned int ROUNDS = 3;
    /// Whether calls with a bias run on other paths than the general one.
    static constexpr bool IS_BIASED = true;

    // Σh scaled by RowArgs::count_scale, and Σh²; or those of deviations.
    using State = Sums<2, Number<Element>>;

    /// How many times what is left of it Σh² may be: the mean is then 0.7 deviations from 0. What sums in f32 lose of 16-bit
    /// values grows with it, and is no more so far than beside an outlier (tests/emulated/accuracy.rs).
    static constexpr float FAR = 1.5f;

    /// Below it products of the mean and the sum of values are among f32's denormals.
    static constexpr float SMALLEST_SUM = 0x1p-100f;

    /// The sums of a group, of its values or, again, of their deviations from the mean found before. Places outside the row
    /// hold zeros, and add nothing.
    static __device__ __forceinline__ State of_group(const Values& h, const Group<Element>& group, const RowArgs& args,
                                                     unsigned int round, const Moments* before) {
        return round == 0 ? sums_of(h, group, args) : sums_about(read_moments<LayerNorm>(before).mean, h, group, args);
    }

    /// The moments of a row, from its sums; again those found before, if they were not preliminary.
    static __device__ __forceinline__ Moments moments(const State& row, const RowArgs& args, unsigned int round,
                                                      const Moments* before) {
        if (round == 0) return found_first(row, args);
        const Moments found = read_moments<LayerNorm>(before);
        return found.is_preliminary() ? recentred(row, found, args, round) : found;
    }

    /// v. h − mean is exact where it cancels.
    static __device__ __forceinline__ float normalise(float h, const Moments& moments) {
        const float deviation = h - moments.mean;
        const float offset =
            Element::IS_F32 ? __fmaf_rn(deviation, moments.rest, moments.offset) : moments.offset;
        return __fmaf_rn(deviation, moments.rstd, offset);
    }

private:
    static __device__ __forceinline__ State sums_of(const Values& h, const Group<Element>& group, const RowArgs& args) {
        if constexpr (Element::IS_F32) return {{sum_in_two_floats(h, args), squares_in_two_floats(h)}};
        float sums[PARTIAL_SUMS] = {};
        float squares[PARTIAL_SUMS] = {};
#pragma unroll
        for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
            if (e > 0 && e % Group<Element>::LENGTH == 0 && group.lacks_line(e / Group<Element>::LENGTH)) break;
            sums[e % PARTIAL_SUMS] = __fmaf_rn(h.at[e], args.count_scale, sums[e % PARTIAL_SUMS]);
            squares[e % PARTIAL_SUMS] = __fmaf_rn(h.at[e], h.at[e], squares[e % PARTIAL_SUMS]);
        }
        return {{Number<Element>{total(sums)}, Number<Element>{total(squares)}}};
    }

    /// The same of deviations from a centre. Of f32 values the mean is exact already, and no more than the squares are summed.
    static __device__ __forceinline__ State sums_about(float centre, const Values& h, const Group<Element>& group,
                                                       const RowArgs& args) {
        Values deviations;
#pragma unroll
        for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
            deviations.at[e] = group.contains(e) ? h.at[e] - centre : 0.0f;
        }
        if constexpr (Element::IS_F32) {
            return {{{0.0f, 0.0f}, squares_in_two_floats(deviations)}};
        } else {
            return sums_of(deviations, group, args);
        }
    }

    /// Σh of f32 values, whose mean is to be as exact as their difference from it.
    ///
    /// It starts at an anchor, which is larger than any partial sum of magnitudes: then each addition is Dekker's, and its
    /// error exact (after Rump, Ogita and Oishi, Accurate floating-point summation, 2008).
    static __device__ __forceinline__ TwoFloat sum_in_two_floats(const Values& h, const RowArgs& args) {
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
        return two_sum(sum - anchor, error);
    }

    static __device__ __forceinline__ Moments found_first(const State& row, const RowArgs& args) {
        const TwoFloat sum{row.of[0]};
        const TwoFloat mean = quotient(sum, args.scaled_hidden, args.scaled_hidden_reciprocal);
        const Number<Element> left = about_mean(row.of[1], mean, sum, args);
        Moments moments = of_mean_and_squares(mean, left, args);
        // Past f32's range squares are infinite, but maybe not those of deviations; and close to its other end what is to
        // be subtracted from them is lost.
        const float squares = in_one(row.of[1]);
        const bool is_lost = squares > 0.0f && squares < SMALLEST_SUM;
        const bool is_near = squares <= fminf(FAR * in_one(left), LARGEST_F32) && !is_lost;
        if (isfinite(mean.hi) && !is_near) make_preliminary(moments, mean);
        return moments;
    }

    static __device__ __forceinline__ void make_preliminary(Moments& moments, const TwoFloat& mean) {
        moments.rstd = mean.lo;
        moments.rest = Moments::PRELIMINARY;
    }

    /// The same of deviations from the mean that was found before.
    static __device__ __forceinline__ Moments recentred(const State& row, const Moments& before, const RowArgs& args,
                                                        unsigned int round) {
        TwoFloat mean = {before.mean, before.rstd};
        TwoFloat sum = {mean.lo * args.scaled_hidden, 0.0f};
        TwoFloat distance = {mean.lo, 0.0f};
        if constexpr (!Element::IS_F32) {
            sum = TwoFloat{row.of[0]};
            distance = quotient(sum, args.scaled_hidden, args.scaled_hidden_reciprocal);
            mean = two_sum(before.mean, distance.hi);
            mean = two_sum(mean.hi, mean.lo + distance.lo);
            // Where deviations leave f32's range, nothing is normalised by the mean.
            if (!isfinite(mean.hi)) mean = {before.mean, 0.0f};
        }
        Moments moments = of_mean_and_squares(mean, about_mean(row.of[1], distance, sum, args), args);
        // Of values near the end of f32's range, what a mean summed in f32 is off by has no square.
        if (isinf(in_one(row.of[1])) && mean.hi != before.mean && round + 1 < ROUNDS) make_preliminary(moments, mean);
        return moments;
    }

    /// Σ(h − mean)² from Σd², the mean's distance from what the deviations d are from, and the scaled Σd.
    static __device__ __forceinline__ TwoFloat about_mean(const TwoFloat& squares, const TwoFloat& distance,
                                                          const TwoFloat& sum, const RowArgs& args) {
        if (isinf(squares.hi)) return squares;
        const float unscale = -reciprocal_of_power_of_two(args.count_scale);
        const TwoFloat product = multiply(distance, sum);
        return add(squares, {product.hi * unscale, product.lo * unscale});
    }
    static __device__ __forceinline__ float about_mean(float squares, const TwoFloat& distance, const TwoFloat& sum,
                                                       const RowArgs& args) {
        if (isinf(squares)) return squares;
        return __fmaf_rn(distance.hi * -reciprocal_of_power_of_two(args.count_scale), sum.hi, squares);
    }

    static __device__ __forceinline__ Moments of_mean_and_squares(const TwoFloat& mean, const Number<Element>& squares,
                                                                  const RowArgs& args) {
        TwoFloat variance = quotient_of_squares<Element>(squares, args);
        // Where there is no mean, there is no variance either. Rounding can leave it a little below zero where all values
        // are the same; written so that NaN stays NaN.
        if (!isfinite(mean.hi)) variance.hi = mean.hi - mean.hi;
        if (variance.hi < 0.0f) variance = {0.0f, 0.0f};
        const TwoFloat rstd = rstd_of_row<Element>(variance, args.eps);
        // Nothing times infinity would make NaN of every v. And zeros keep the signs of the deviations: what is added to
        // them is −0.
        const float offset = isinf(rstd.hi) || rstd.hi == 0.0f ? -0.0f : -mean.lo * rstd.hi;
        return moments_of<Element>(mean.hi, rstd, offset);
    }
};

/// Reciprocal root mean square: v = h·rstd. The mean is 0 and is never stored. Where squares are divided by 1,
/// it is the L2 norm.
template <class Element>
struct RmsNorm {
    static constexpr bool REDUCES = true;
    static constexpr unsigned int ROUNDS = 1;
    static constexpr bool IS_BIASED = false;

    // Σh².
    using State = Sums<1, Number<Element>>;

    static __device__ __forceinline__ State of_group(const Values& h, const Group<Element>&, const RowArgs&,
                                                     unsigned int, const Moments*) {
        State state;
        state.of[0] = sum_of_squares(h);
        return state;
    }

    /// Places outside the row hold zeros and add nothing.
    static __device__ __forceinline__ Number<Element> sum_of_squares(const Values& h) {
        if constexpr (Element::IS_F32) {
            return squares_in_two_floats(h);
        } else {
            float sums[PARTIAL_SUMS] = {};
#pragma unroll
            for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
                sums[e % PARTIAL_SUMS] = __fmaf_rn(h.at[e], h.at[e], sums[e % PARTIAL_SUMS]);
            }
            return total(sums);
        }
    }

    static __device__ __forceinline__ Moments moments(const State& row, const RowArgs& args, unsigned int = 0,
                                                      const Moments* = nullptr) {
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
