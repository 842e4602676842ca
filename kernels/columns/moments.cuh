// Moments of columns: mean and squared deviations, carried through the rows and merged.
#pragma once

#include "../common/two_float.cuh"
#include "../common/vector.cuh"
#include "../common/warp.cuh"

namespace warpnorm {

/// What is known of a column after some of its rows. Of no rows, all is 0.
struct ColumnMoments {
    TwoFloat mean;
    // Σ(x − mean)². Past f32's range `hi` is infinite and `lo` no number.
    TwoFloat squares;
};

/// Takes the next ROWS rows of a chunk's columns: Welford's recurrence (Note on a method for calculating
/// corrected sums of squares and products, 1962), in the form that takes a group of values at once (Chan, Golub
/// and LeVeque, Algorithms for computing the sample variance, 1983). With e = x − mean, n rows before, and
/// `reciprocal` 1 / (n + ROWS):
///
///     mean += Σe / (n + ROWS)    squares += Σe² − (Σe)² / (n + ROWS)
///
/// From n = ROWS on, at most half of Σe² cancels; before, next to nothing, where `begin` has put the mean. Beside a
/// large mean e is small: one f32 of the mean would lose what e is made of, hence two.
template <class Element, unsigned int ROWS>
__device__ __forceinline__ void take(ColumnMoments (&moments)[CHUNK<Element>], const RawChunk (&raw)[ROWS],
                                     float reciprocal) {
#pragma unroll
    for (unsigned int c = 0; c < CHUNK<Element>; ++c) {
        const TwoFloat mean = moments[c].mean;
        float sum = 0.0f;
        float squares = 0.0f;
#pragma unroll
        for (unsigned int r = 0; r < ROWS; ++r) {
            // x − hi is exact where it cancels.
            const float deviation = (element_of<Element>(raw[r], c) - mean.hi) - mean.lo;
            sum += deviation;
            squares = __fmaf_rn(deviation, deviation, squares);
        }
        const float shift = sum * reciprocal;
        const TwoFloat grown = two_sum(moments[c].squares.hi, __fmaf_rn(-sum, shift, squares));
        moments[c].squares = {grown.hi, moments[c].squares.lo + grown.lo};
        moments[c].mean = two_sum(mean.hi, mean.lo + shift);
    }
}

/// Moments of no rows, with the mean close to that of the first rows to come.
template <class Element, unsigned int ROWS>
__device__ __forceinline__ void begin(ColumnMoments (&moments)[CHUNK<Element>], const RawChunk (&raw)[ROWS]) {
#pragma unroll
    for (unsigned int c = 0; c < CHUNK<Element>; ++c) {
        // Shares rather than a sum, which could pass f32's range.
        float mean = 0.0f;
#pragma unroll
        for (unsigned int r = 0; r < ROWS; ++r) mean = __fmaf_rn(element_of<Element>(raw[r], c), 1.0f / ROWS, mean);
        moments[c] = {{mean, 0.0f}, {0.0f, 0.0f}};
    }
}

/// How two sets of rows are weighed in their union; the right one may be empty.
struct Shares {
    float right;   // of the right set in the union
    float spread;  // left·right / (left + right)

    __device__ __forceinline__ Shares(float left_rows, float right_rows) {
        right = right_rows > 0.0f ? right_rows * __frcp_rn(left_rows + right_rows) : 0.0f;
        spread = left_rows * right;
    }
};

/// The moments of two sets of rows together (Chan, Golub and LeVeque, 1983). With δ = right.mean − left.mean:
///
///     mean = left.mean + δ·right.rows/rows    squares = left + right + δ²·left.rows·right.rows/rows
__device__ __forceinline__ ColumnMoments merged(const ColumnMoments& left, const ColumnMoments& right,
                                                const Shares& shares) {
    const float delta = (right.mean.hi - left.mean.hi) + (right.mean.lo - left.mean.lo);
    const TwoFloat squares = add(left.squares, right.squares);
    // Shares come first: of no rows they are 0, and δ² might be infinite.
    const TwoFloat grown = two_sum(squares.hi, delta * shares.spread * delta);
    return {two_sum(left.mean.hi, __fmaf_rn(delta, shares.right, left.mean.lo)), {grown.hi, squares.lo + grown.lo}};
}

__device__ __forceinline__ ColumnMoments shuffle_xor(const ColumnMoments& moments, unsigned int mask) {
    return {shuffle_xor(moments.mean, mask), shuffle_xor(moments.squares, mask)};
}

/// One of two, member by member: of whole structs the compiler would pick the address, and put both in memory.
__device__ __forceinline__ ColumnMoments either(bool first, const ColumnMoments& a, const ColumnMoments& b) {
    return {{first ? a.mean.hi : b.mean.hi, first ? a.mean.lo : b.mean.lo},
            {first ? a.squares.hi : b.squares.hi, first ? a.squares.lo : b.squares.lo}};
}

/// A merge of what this lane knows and what the lane knows whose number differs in the bit `distance`.
struct Exchange {
    unsigned int distance;
    bool upper;  // whether this lane is the one with the bit
    float rows;  // of both
    Shares shares;

    __device__ __forceinline__ Exchange(float mine, unsigned int distance, bool upper)
        : Exchange(mine, shuffle_xor(mine, distance), distance, upper) {}

    /// The moments of the column that this lane keeps; the other lane is given those of the one that it keeps. The
    /// lower lane's are the left operand in either.
    __device__ __forceinline__ ColumnMoments merged(const ColumnMoments& kept, const ColumnMoments& given) const {
        const ColumnMoments other = shuffle_xor(given, distance);
        return warpnorm::merged(either(upper, other, kept), either(upper, kept, other), shares);
    }

private:
    __device__ __forceinline__ Exchange(float mine, float other, unsigned int distance, bool upper)
        : distance(distance), upper(upper), rows(mine + other),
          shares(upper ? other : mine, upper ? mine : other) {}
};

/// Chunks side by side that a warp reads of a row: a sector of 32 bytes.
constexpr unsigned int TILE_CHUNKS = 2;

/// Merges the moments of the lanes that hold the same chunk: those that differ in the bits 16, 8, 4 and 2. HELD is
/// how many columns a lane holds before the step of the bit DISTANCE.
///
/// In a step two lanes halve what they hold: each keeps one half of its columns and gives the other away, so
/// that a column is merged by one lane and not by both. Once a lane has a single column, both merge it. In the
/// end that is moments[0]; the bits of the lane that the halving steps were about, the first the highest, say of
/// which column. All columns merge in the same order.
template <unsigned int HELD, unsigned int DISTANCE = WARP / 2, unsigned int COLUMNS>
__device__ __forceinline__ void merge_lanes(ColumnMoments (&moments)[COLUMNS], float& rows, unsigned int lane) {
    if constexpr (DISTANCE >= TILE_CHUNKS) {
        const bool upper = lane & DISTANCE;
        const Exchange exchange(rows, DISTANCE, upper);
        rows = exchange.rows;
        if constexpr (HELD == 1) {
            moments[0] = exchange.merged(moments[0], moments[0]);
            merge_lanes<1, DISTANCE / 2>(moments, rows, lane);
        } else {
#pragma unroll
            for (unsigned int c = 0; c < HELD / 2; ++c) {
                const ColumnMoments kept = either(upper, moments[HELD / 2 + c], moments[c]);
                const ColumnMoments given = either(upper, moments[c], moments[HELD / 2 + c]);
                moments[c] = exchange.merged(kept, given);
            }
            merge_lanes<HELD / 2, DISTANCE / 2>(moments, rows, lane);
        }
    }
}

}  // namespace warpnorm
