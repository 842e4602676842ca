// Deviations: sums of a part of a row that its mean and its squared deviations from the mean follow from.
//
// Lanes of a warp sum deviations from one pivot. Warps, and the stretches of a long row, have pivots of their own: their
// means are merged, and what lies between them.
#pragma once

#include "group.cuh"
#include "sums.cuh"

namespace warpnorm {

/// Mean and squared deviations of a part of the row.
struct DeviationsPart {
    TwoFloat sum;      // Σh scaled by RowArgs::count_scale
    TwoFloat squares;  // Σ(h − mean)²
    float share;       // the number of elements, scaled likewise
    float unscale;     // 1 / count_scale; 0 of an empty part, which others are not merged into

    static __device__ __forceinline__ DeviationsPart empty() { return {}; }

    __device__ __forceinline__ DeviationsPart shuffled_down(unsigned int distance, unsigned int width) const {
        return {shuffle_down(sum, distance, width), shuffle_down(squares, distance, width),
                shuffle_down(share, distance, width), unscale};
    }

    /// With δ the difference of the means, and n the numbers of elements (Chan, Golub and LeVeque, Algorithms for
    /// computing the sample variance, 1983):
    ///
    ///     squares = left + right + δ²·left.n·right.n/(left.n + right.n)
    __device__ __forceinline__ void merge(const DeviationsPart& right) {
        // δ times both shares. Of two floats: the means may be far larger than δ is.
        const TwoFloat mine = two_product(sum.hi, right.share);
        const TwoFloat others = two_product(right.sum.hi, share);
        const float low = (others.lo - mine.lo) + __fmaf_rn(right.sum.lo, share, -sum.lo * right.share);
        const float difference = (others.hi - mine.hi) + low;
        const float shares = share * right.share;
        const float both = share + right.share;
        // Of an empty part there is no mean.
        const float factor = shares > 0.0f ? difference * reciprocal(shares * both) : 0.0f;
        squares = add(add(squares, right.squares), two_product(factor * unscale, difference));
        share = both;
        sum = add(sum, right.sum);
    }
};

/// Sums of the deviations d = h − pivot of a part of the row. The pivot is one for all lanes of a warp that the team has.
template <class Element, class Number = warpnorm::Number<Element>>
struct Deviations {
    static constexpr unsigned int SUMS = 2;

    Sums<2, Number> sums;  // Σd scaled by RowArgs::count_scale, and Σd²
    float pivot;

    /// Of parts with the same pivot.
    template <class Other>
    __device__ __forceinline__ void merge(const Deviations<Element, Other>& right) {
        sums.merge(right.sums);
        // The same, and so kept once.
        pivot = right.pivot;
    }
    __device__ __forceinline__ void reduce_segments(unsigned int width) { sums.reduce_segments(width); }

    struct Slots {
        typename Sums<2, Number>::Slots sums;
        float pivots[MAX_TEAM_WARPS];
    };

    template <unsigned int STATES>
    static __device__ __forceinline__ void reduce_warps(const Deviations (&states)[STATES], Slots& slots,
                                                        unsigned int warp) {
        Sums<2, Number> sums[STATES];
#pragma unroll
        for (unsigned int i = 0; i < STATES; ++i) sums[i] = states[i].sums;
        Sums<2, Number>::reduce_warps(sums, slots.sums, warp);
        if (lane_of_warp() == 0) {
#pragma unroll
            for (unsigned int i = 0; i < STATES; ++i) slots.pivots[warp + i] = states[i].pivot;
        }
    }

    /// What a thread keeps of a stretch of a long row.
    using Running = Deviations<Element, TwoFloat>;
    static __device__ __forceinline__ Running running(const Deviations& first) {
        return {Sums<2, Number>::running(first.sums), first.pivot};
    }
    static __device__ __forceinline__ Deviations of_running(const Running& running) {
        return {Sums<2, Number>::of_running(running.sums), running.pivot};
    }

    using Part = DeviationsPart;

    /// That of a team within a warp: all of the row.
    __device__ __forceinline__ Part part_of_row(const RowArgs& args) const { return part(args.hidden, args); }

    /// That of a warp, from its slot in the shared memory of a CTA of the cluster.
    static __device__ __forceinline__ Part part_of_warp(const Slots& slots, unsigned int slot, const Stretch& stretch,
                                                        const Cluster& cluster, unsigned int cta, const RowArgs& args) {
        const Deviations found = {Sums<2, Number>::get(slots.sums, slot, cluster, cta),
                                  cluster.read(&slots.pivots[slot], cta)};
        return found.part(elements(stretch, args), args);
    }

private:
    __device__ __forceinline__ Part part(unsigned int elements, const RowArgs& args) const {
        Part part = Part::empty();
        if (elements == 0) return part;
        part.share = static_cast<float>(elements) * args.count_scale;
        part.unscale = reciprocal_of_power_of_two(args.count_scale);
        const auto of_part = Sums<2, Number>::running(sums);
        part.sum = add(two_product(pivot, part.share), of_part.of[0]);
        const float sum = in_one(of_part.of[0]);
        part.squares = of_part.of[1];
        // Where it is infinite, Σd may be past f32's range.
        if (isinf(part.squares.hi)) return part;
        part.squares = add(part.squares, two_product(-sum * reciprocal(part.share), sum * part.unscale));
        return part;
    }

    /// Elements of a stretch that a warp has: whole lines but for the row's last one.
    static __device__ __forceinline__ unsigned int elements(const Stretch& stretch, const RowArgs& args) {
        constexpr unsigned int LENGTH = CHUNK<Element>;
        constexpr unsigned int LINE = WARP * LENGTH;
        const unsigned int lines = GROUP_CHUNKS<Element> << args.stretch_shift;
        const unsigned int between = stretch.threads * LENGTH;
        const unsigned int first = stretch.stretch * lines * between + stretch.warp * LINE;
        if (first >= args.hidden) return 0;
        const unsigned int from_first = args.hidden - first;
        // Where the row ends within the stretch. But in rows of millions a stretch has a few lines: to count down takes
        // less than a division.
        unsigned int others = lines - 1;
#pragma unroll 1
        while (others * between >= from_first) --others;
        return others * LINE + min(from_first - others * between, LINE);
    }
};

}  // namespace warpnorm
