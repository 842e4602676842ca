// Statistics: what a row is reduced to, and how a value is normalised by it.
//
// A statistic has a State that merges (the left operand always holds the lower lanes), a Result that
// every thread needs, and the arithmetic between them. No instruction here is approximate: square root
// and reciprocal are the correctly rounded ones, so a row's bits are the same on every GPU.
#pragma once

#include "args.cuh"
#include "group.cuh"

namespace warpnorm {

/// 1/√v for v = mean_square + eps, within a hair of half an ULP; zero where the mean square overflowed.
__device__ __forceinline__ float reciprocal_root(float v) {
    const float root = __fsqrt_rn(v);
    const float estimate = __frcp_rn(root);
    // Both residuals are exact: v − root² of the root, 1 − root·estimate of the reciprocal.
    const float root_residual = __fmaf_rn(-root, root, v);
    const float reciprocal_residual = __fmaf_rn(-root, estimate, 1.0f);
    const float correction = __fmaf_rn(-0.5f * root_residual * estimate, estimate, reciprocal_residual);
    const float refined = __fmaf_rn(estimate, correction, estimate);
    // At 0 and infinity the residuals are NaN and the estimate is exact.
    return correction == correction ? refined : estimate;
}

/// Running sums that a thread keeps of its group: short chains, hence small errors and short waits.
constexpr unsigned int SUMS = 4;

__device__ __forceinline__ float total(const float (&sums)[SUMS]) {
    return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

/// a + b = sum + error exactly (Knuth's TwoSum), whichever of the two is larger.
__device__ __forceinline__ float two_sum(float a, float b, float& error) {
    const float sum = a + b;
    const float b_part = sum - a;
    const float a_part = sum - b_part;
    error = (a - a_part) + (b - b_part);
    return sum;
}

/// A sum and its error. Past f32's range the sum is infinite and its error no number.
__device__ __forceinline__ float with_error(float sum, float error) {
    const float total = sum + error;
    return total == total ? total : sum;
}

/// (sum_hi + sum_lo) / divisor, correctly rounded for the reciprocal given (Markstein's scheme), as long
/// as the sum is finite: at the very end of the range the estimate overflows where the quotient does not.
__device__ __forceinline__ float quotient(float sum_hi, float sum_lo, float divisor, float reciprocal) {
    constexpr float LARGEST = 3.40282346638528859812e38f;
    float estimate = sum_hi * reciprocal;
    if (isinf(estimate) && !isinf(sum_hi)) estimate = copysignf(LARGEST, sum_hi);
    return __fmaf_rn(__fmaf_rn(-estimate, divisor, sum_hi) + sum_lo, reciprocal, estimate);
}

/// A count, a mean and a sum of squared deviations, merged as Chan, Golub and LeVeque do.
///
/// The mean is carried as the sum of the values in two floats, sum_hi + sum_lo: merging sums is exact
/// up to 2^-48, so that means of 1e4 with deviations of 1e-2 lose nothing. Counts and sums are scaled
/// by RowArgs::count_scale. COMPENSATED keeps the rounding errors of m2 too: f32 outputs would show
/// them in rows whose m2 is mostly one outlier's, 16-bit outputs do not.
template <bool COMPENSATED>
struct Moments {
    float count;
    float sum_hi;
    float sum_lo;
    float m2_hi;          // Σ (h − mean)², unscaled
    float m2_lo;          // zero unless COMPENSATED
    float reciprocal;     // 1 / count; follows from count and is never exchanged
    float count_unscale;  // constant of the launch

    struct Slot {
        float count, sum_hi, sum_lo, m2_hi, m2_lo;
    };

    __device__ __forceinline__ Slot to_slot() const { return {count, sum_hi, sum_lo, m2_hi, m2_lo}; }
    __device__ __forceinline__ Moments with(const Slot& slot) const {
        return {slot.count, slot.sum_hi, slot.sum_lo, slot.m2_hi, slot.m2_lo, __frcp_rn(slot.count), count_unscale};
    }
    __device__ __forceinline__ Moments empty() const { return {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, count_unscale}; }

    __device__ __forceinline__ Moments shuffled_down(unsigned int distance, unsigned int width) const {
        return {shuffle_down(count, distance, width),
                shuffle_down(sum_hi, distance, width),
                shuffle_down(sum_lo, distance, width),
                shuffle_down(m2_hi, distance, width),
                COMPENSATED ? shuffle_down(m2_lo, distance, width) : 0.0f,
                0.0f,
                count_unscale};
    }

    __device__ __forceinline__ float m2() const { return COMPENSATED ? with_error(m2_hi, m2_lo) : m2_hi; }

    /// Adds the moments of elements that come after these. Only the right operand may be empty: of two
    /// lanes, warps or slabs, the earlier one owns at least as many elements.
    __device__ __forceinline__ void merge(const Moments& right) {
        if (right.count == 0.0f) return;
        // M2 grows by (n_a·n_b / n)·(mean_b − mean_a)². With sums and counts scaled by c that is
        // (n_a·S_b − n_b·S_a)² / (n_a·n_b·n·c).
        float between;
        if (count == right.count) {
            // (S_b − S_a)² / (2·n_a·c): all that happens in rows which the team divides evenly.
            const float difference = (right.sum_hi - sum_hi) + (right.sum_lo - sum_lo);
            reciprocal *= 0.5f;
            between = difference * (difference * (reciprocal * count_unscale));
            count += right.count;
        } else {
            // The products are taken in two floats: the means may agree in all but their last bits.
            const float a = right.count * sum_hi;
            const float b = count * right.sum_hi;
            const float a_error = __fmaf_rn(right.count, sum_hi, -a) + right.count * sum_lo;
            const float b_error = __fmaf_rn(count, right.sum_hi, -b) + count * right.sum_lo;
            const float difference = (b - a) + (b_error - a_error);
            const float counts = count * right.count;
            count += right.count;
            reciprocal = __frcp_rn(count);
            between = difference * (difference * (__frcp_rn(counts) * reciprocal * count_unscale));
        }
        float error;
        sum_hi = two_sum(sum_hi, right.sum_hi, error);
        sum_lo = (sum_lo + right.sum_lo) + error;
        if constexpr (COMPENSATED) {
            float between_error;
            m2_hi = two_sum(two_sum(m2_hi, right.m2_hi, error), between, between_error);
            m2_lo = (m2_lo + right.m2_lo) + (error + between_error);
        } else {
            m2_hi = m2_hi + (right.m2_hi + between);
        }
    }
};

/// Mean and reciprocal standard deviation: y = (h − mean)·rstd.
template <class Element>
struct LayerNorm {
    using State = Moments<Element::IS_F32>;

    struct Result {
        float mean_hi;
        float mean_lo;
        float rstd;
        float offset;  // −mean_lo·rstd
    };

    /// The moments of one group: deviations from a pivot, which is the group's mean rounded to f32,
    /// then corrected for that rounding.
    static __device__ __forceinline__ State of_group(const Values& h, const Group<Element>& group,
                                                     const RowArgs& args) {
        const unsigned int elements = group.elements();
        const bool full = elements == GROUP_ELEMENTS;
        State state;
        state.count_unscale = args.count_unscale;
        state.count = static_cast<float>(elements) * args.count_scale;
        state.sum_hi = 0.0f;
        state.sum_lo = 0.0f;
        if constexpr (Element::IS_F32) {
            // Sums of f32 values are kept exact to 2^-48, since f32 outputs show the mean's last bits.
#pragma unroll
            for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
                float error;
                state.sum_hi = two_sum(state.sum_hi, h.at[e] * args.count_scale, error);
                state.sum_lo += error;
            }
        } else {
            // Sixteen values of 16-bit types add up in f32 with an error far below their own spacing.
            float sums[SUMS] = {};
#pragma unroll
            for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
                sums[e % SUMS] = __fmaf_rn(h.at[e], args.count_scale, sums[e % SUMS]);
            }
            state.sum_hi = two_sum(sums[0] + sums[2], sums[1] + sums[3], state.sum_lo);
        }
        state.reciprocal = full ? args.count_unscale * (1.0f / GROUP_ELEMENTS) : __frcp_rn(state.count);
        // A pivot that is off by an ULP would make deviations of an ULP, whose squares may overflow.
        const float pivot = elements == 0 ? 0.0f : quotient(state.sum_hi, state.sum_lo, state.count, state.reciprocal);
        float squares[SUMS] = {};
        if (full) {
#pragma unroll
            for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
                const float deviation = h.at[e] - pivot;
                squares[e % SUMS] = __fmaf_rn(deviation, deviation, squares[e % SUMS]);
            }
        } else {
#pragma unroll
            for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
                const float deviation = group.contains(e) ? h.at[e] - pivot : 0.0f;
                squares[e % SUMS] = __fmaf_rn(deviation, deviation, squares[e % SUMS]);
            }
        }
        // (mean − pivot)·count, scaled; the squares count it once too often.
        const float offset = __fmaf_rn(-pivot, state.count, state.sum_hi) + state.sum_lo;
        const float excess = elements == 0 ? 0.0f : offset * (offset * (state.reciprocal * args.count_unscale));
        const float squared = total(squares);
        // Past f32's range both may be infinite.
        state.m2_hi = isinf(squared) ? squared : squared - excess;
        state.m2_lo = 0.0f;
        return state;
    }

    /// Called by all lanes; the first of each segment of `width` lanes holds the row's state.
    static __device__ __forceinline__ Result result(const State& state, unsigned int width, const RowArgs& args) {
        const float divisor = args.scaled_hidden;
        const float high = quotient(state.sum_hi, state.sum_lo, divisor, args.scaled_hidden_reciprocal);
        const float rest = __fmaf_rn(-high, divisor, state.sum_hi) + state.sum_lo;
        const float low = quotient(rest, 0.0f, divisor, args.scaled_hidden_reciprocal);
        Result result;
        // The high part becomes the mean rounded to f32: of a constant row, the constant itself.
        result.mean_hi = high + low;
        result.mean_lo = low - (result.mean_hi - high);
        // Rounding can leave a constant row a little below zero; written so that NaN stays NaN.
        const float m2 = state.m2() < 0.0f ? 0.0f : state.m2();
        result.rstd = reciprocal_root(__fmaf_rn(m2, args.hidden_reciprocal, args.eps));
        result.mean_hi = from_first_lane(result.mean_hi, width);
        result.mean_lo = from_first_lane(result.mean_lo, width);
        result.rstd = from_first_lane(result.rstd, width);
        result.offset = -result.mean_lo * result.rstd;
        return result;
    }

    /// ((h − hi) − lo)·rstd with one rounding less. h − hi is exact where it cancels.
    static __device__ __forceinline__ float normalise(float h, const Result& result) {
        return __fmaf_rn(h - result.mean_hi, result.rstd, result.offset);
    }

    static __device__ __forceinline__ float mean(const Result& result) { return result.mean_hi + result.mean_lo; }
};

/// The sum of squares. COMPENSATED keeps the rounding errors of the merges too: over the many slabs of
/// a long row they add up to what f32 outputs would show.
template <bool COMPENSATED>
struct SquareSum {
    float sum_hi;
    float sum_lo;  // zero unless COMPENSATED

    struct Slot {
        float sum_hi, sum_lo;
    };

    __device__ __forceinline__ Slot to_slot() const { return {sum_hi, sum_lo}; }
    __device__ __forceinline__ SquareSum with(const Slot& slot) const { return {slot.sum_hi, slot.sum_lo}; }
    __device__ __forceinline__ SquareSum empty() const { return {0.0f, 0.0f}; }

    __device__ __forceinline__ SquareSum shuffled_down(unsigned int distance, unsigned int width) const {
        return {shuffle_down(sum_hi, distance, width), COMPENSATED ? shuffle_down(sum_lo, distance, width) : 0.0f};
    }

    __device__ __forceinline__ float sum() const { return COMPENSATED ? with_error(sum_hi, sum_lo) : sum_hi; }

    __device__ __forceinline__ void merge(const SquareSum& right) {
        if constexpr (COMPENSATED) {
            float error;
            sum_hi = two_sum(sum_hi, right.sum_hi, error);
            sum_lo = (sum_lo + right.sum_lo) + error;
        } else {
            sum_hi += right.sum_hi;
        }
    }
};

/// Reciprocal root mean square: y = h·rstd.
template <class Element>
struct RmsNorm {
    using State = SquareSum<Element::IS_F32>;

    struct Result {
        float rstd;
    };

    static __device__ __forceinline__ State of_group(const Values& h, const Group<Element>&, const RowArgs&) {
        // Places outside the row hold zero and add nothing.
        float sums[SUMS] = {};
#pragma unroll
        for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) sums[e % SUMS] = __fmaf_rn(h.at[e], h.at[e], sums[e % SUMS]);
        return {total(sums), 0.0f};
    }

    static __device__ __forceinline__ Result result(const State& state, unsigned int width, const RowArgs& args) {
        const float rstd = reciprocal_root(__fmaf_rn(state.sum(), args.hidden_reciprocal, args.eps));
        return {from_first_lane(rstd, width)};
    }

    static __device__ __forceinline__ float normalise(float h, const Result& result) { return h * result.rstd; }

    /// The mean is not part of this statistic and is never stored.
    static __device__ __forceinline__ float mean(const Result&) { return 0.0f; }
};

}  // namespace warpnorm
