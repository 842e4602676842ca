// Deviations: sums of a part of a row that its mean and its squared deviations from the mean follow from.
//
// Lanes of a warp sum deviations from one pivot. Warps, and the stretches of a long row, have pivots of their own: before
// their sums are merged, they are moved to one of these.
#pragma once

#include "group.cuh"
#include "sums.cuh"

namespace warpnorm {

/// Sums of the deviations d = h − pivot of a part of the row. The pivot is one for all lanes of a warp that the team has,
/// or of the whole team.
template <class Element, class Number = warpnorm::Number<Element>>
struct Deviations {
    static constexpr unsigned int SUMS = 2;

    Sums<2, Number> sums;  // Σd scaled by RowArgs::count_scale, and Σd²
    float pivot;

    static __device__ __forceinline__ Deviations empty() { return {}; }

    /// Of parts with the same pivot, or of an empty one on the right.
    template <class Other>
    __device__ __forceinline__ void merge(const Deviations<Element, Other>& right) {
        sums.merge(right.sums);
    }
    __device__ __forceinline__ Deviations shuffled_down(unsigned int distance, unsigned int width) const {
        return {sums.shuffled_down(distance, width), pivot};
    }
    __device__ __forceinline__ void reduce_segments(unsigned int width) { sums.reduce_segments(width); }

    template <unsigned int SLOTS>
    struct Slots {
        typename Sums<2, Number>::template Slots<SLOTS> sums;
        float pivots[SLOTS];

        __device__ __forceinline__ Deviations get(unsigned int slot, const Cluster& cluster, unsigned int cta) const {
            return {sums.get(slot, cluster, cta), cluster.read(&pivots[slot], cta)};
        }
    };
    using OfWarps = Slots<MAX_TEAM_WARPS>;

    template <unsigned int SLOTS>
    __device__ __forceinline__ void put(Slots<SLOTS>& slots, unsigned int slot) const {
        sums.put(slots.sums, slot);
        slots.pivots[slot] = pivot;
    }

    template <unsigned int STATES>
    static __device__ __forceinline__ void reduce_warps(const Deviations (&states)[STATES], OfWarps& slots,
                                                        unsigned int warp) {
        Sums<2, Number> sums[STATES];
#pragma unroll
        for (unsigned int i = 0; i < STATES; ++i) sums[i] = states[i].sums;
        Sums<2, Number>::reduce_warps(sums, slots.sums, warp, [&](unsigned int state, unsigned int slot) {
            slots.pivots[slot] = select(state == 0, states[0].pivot, states[STATES - 1].pivot);
        });
    }

    /// What a thread keeps of a stretch of a long row.
    using Running = Deviations<Element, TwoFloat>;
    static __device__ __forceinline__ Running running(const Deviations& first) {
        return {Sums<2, Number>::running(first.sums), first.pivot};
    }
    static __device__ __forceinline__ Deviations of_running(const Running& running) {
        return {Sums<2, Number>::of_running(running.sums), running.pivot};
    }

    /// What the team's first warp merges.
    using Part = Running;
    static __device__ __forceinline__ Part part(const Deviations& deviations) { return running(deviations); }

    /// What the sums of all of a team's warps are about: the pivot of the first.
    using Origin = float;
    static __device__ __forceinline__ Origin origin(const OfWarps& slots, unsigned int first, const Cluster& cluster) {
        return cluster.read(&slots.pivots[first], 0);
    }

    /// That of a warp, from its slot in the shared memory of a CTA of the cluster, about the origin.
    static __device__ __forceinline__ Part part_of_warp(const OfWarps& slots, unsigned int slot, const Stretch& stretch,
                                                        const Cluster& cluster, unsigned int cta, Origin origin,
                                                        const RowArgs& args) {
        return moved(running(slots.get(slot, cluster, cta)), origin, elements(stretch, args), args);
    }

private:
    /// The sums of so many elements about another pivot. With δ what theirs is more than that one,
    ///
    ///     Σ(d + δ) = Σd + n·δ    Σ(d + δ)² = Σd² + δ·(2·Σd + n·δ)
    ///
    /// In two floats: much of both may cancel in the end, where the pivots are far from the row's mean.
    static __device__ __forceinline__ Part moved(Part part, Origin origin, unsigned int elements, const RowArgs& args) {
        const float share = static_cast<float>(elements) * args.count_scale;
        const TwoFloat sum = part.sums.of[0];
        const TwoFloat distance = two_sum(part.pivot, -origin);
        if (isinf(distance.hi)) {
            // From one end of f32's range to the other: squares are past it, but the mean is not.
            const TwoFloat moved = add(two_product(part.pivot, share), two_product(-origin, share));
            return {{{add(sum, moved), {distance.hi * distance.hi, 0.0f}}}, origin};
        }
        part.pivot = origin;
        part.sums.of[0] = add(sum, multiply(distance, share));
        // Past f32's range they stay there, whatever the products are.
        if (isinf(part.sums.of[1].hi)) return part;
        const TwoFloat product = multiply(distance, add(sum, part.sums.of[0]));
        const float unscale = reciprocal_of_power_of_two(args.count_scale);
        part.sums.of[1] = add(part.sums.of[1], {product.hi * unscale, product.lo * unscale});
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
