// Sources whose inputs are normalised before h is made of them: a norm in front of the norm.
//
// The inner norms are RMS norms (or L2 norms, by the divisor), and their results are held in the activation type, as any
// output is. So they take the place of the chunks that they were computed from.
#pragma once

#include "output.cuh"
#include "source.cuh"
#include "statistic.cuh"

namespace warpnorm {

/// Sets the elements of a chunk that lie outside the row to zero.
template <class Element>
__device__ __forceinline__ void clear_outside(RawChunk& raw, unsigned int valid) {
    constexpr unsigned int PER_WORD = CHUNK<Element> / 4;
    if (valid == CHUNK<Element>) return;
#pragma unroll
    for (unsigned int w = 0; w < 4; ++w) {
        const unsigned int left = valid > w * PER_WORD ? valid - w * PER_WORD : 0;
        if (left < PER_WORD) raw.words[w] &= PER_WORD == 2 && left == 1 ? 0xffffu : 0u;
    }
}

/// The output of an inner norm.
template <class Element>
using InnerOutput = Output<RmsNorm<Element>, Element, false>;

/// Normalises chunks in their place.
template <class Element>
__device__ __forceinline__ void normalise_chunks(RawChunk (&chunks)[Group<Element>::CHUNKS], const Moments* made,
                                                 const Parameters<Element>& weight, const Addend<Element>& addend,
                                                 const Group<Element>& group, const RowArgs& args,
                                                 const WholeRow& place) {
    InnerOutput<Element>::each(widened<Element>(chunks), made, nullptr, nullptr, weight, addend, group, args, place,
                               [&](unsigned int c, const RawChunk& y) {
                                   chunks[c] = y;
                                   clear_outside<Element>(chunks[c], group.valid[c]);
                               });
}

/// h = R((r + norm(x)·w₁)·scale), and the new residual stream h where it is asked for.
template <class Element>
struct PostNorm : PlainOf<Element, WholeRow> {
    using Plain = PlainOf<Element, WholeRow>;
    using Plain::Plain;
    using typename Plain::G;
    using typename Plain::Raw;

    static constexpr unsigned int MAX_THREADS = 512;
    static constexpr unsigned int INPUTS = 2;
    static constexpr bool NORMALISES = true;

    using State = typename RmsNorm<Element>::State;
    using Inner = Moments;

    static __device__ __forceinline__ State of_group(const Raw& raw) {
        State state;
        state.of[0] = RmsNorm<Element>::sum_of_squares(widened<Element>(raw.x));
        return state;
    }
    static __device__ __forceinline__ Inner inner(const State& row, const RowArgs& args) {
        return RmsNorm<Element>::moments(row, args);
    }
    static __device__ __forceinline__ void normalise(Raw& raw, const Inner* inner, const G& group,
                                                     const RowArgs& args, const WholeRow& place) {
        const Parameters<Element> weight(args.inner_weight, parameters_are_f32(args, place.path));
        normalise_chunks(raw.x, inner, weight, Addend<Element>::residual(args, place), group, args, place);
    }
    static __device__ __forceinline__ void stage_raw(const Stage<Element>& stage, const Raw& raw, const G& group,
                                                     const RowArgs& args) {
        stage.put_chunks(raw.x, group, 0, args);
    }
    static __device__ __forceinline__ Raw staged_raw(const Stage<Element>& stage, const G& group, const RowArgs& args) {
        Raw raw;
        stage.get_chunks(raw.x, group, 0, args);
        return raw;
    }

    __device__ __forceinline__ void store_residual(const Values& values, const G& group, const RowArgs& args,
                                                   const WholeRow& place) const {
        store_residual_out(values, group, args, place);
    }
};

/// h = A + lr·(B − A), where A is norm(r), B is norm(x) and lr = |rate·scale|.
template <class Element>
struct Interpolation : WithResidual<Element> {
    using WithResidual<Element>::WithResidual;
    using typename TwoInputs<Element, WholeRow>::G;
    /// x and r, and once they are normalised B and A.
    using typename TwoInputs<Element, WholeRow>::Raw;

    static constexpr unsigned int MAX_THREADS = 512;
    static constexpr bool NORMALISES = true;

    // Σr² and Σx².
    using State = Sums<2, Number<Element>>;
    struct Inner {
        Moments from;
        Moments to;

        friend __device__ __forceinline__ void put(Inner& slot, const Inner& inner) {
            put(slot.from, inner.from);
            put(slot.to, inner.to);
        }
    };

    static __device__ __forceinline__ State of_group(const Raw& raw) {
        State state;
        state.of[0] = RmsNorm<Element>::sum_of_squares(widened<Element>(raw.other));
        state.of[1] = RmsNorm<Element>::sum_of_squares(widened<Element>(raw.x));
        return state;
    }
    static __device__ __forceinline__ Inner inner(const State& row, const RowArgs& args) {
        return {RmsNorm<Element>::moments({{row.of[0]}}, args), RmsNorm<Element>::moments({{row.of[1]}}, args)};
    }
    static __device__ __forceinline__ void normalise(Raw& raw, const Inner* inner, const G& group,
                                                     const RowArgs& args, const WholeRow& place) {
        const Parameters<Element> none(nullptr, false);
        normalise_chunks(raw.other, &inner->from, none, {none}, group, args, place);
        normalise_chunks(raw.x, &inner->to, none, {none}, group, args, place);
    }

    __device__ __forceinline__ Values h(const Raw& raw, const G& group, const RowArgs& args) const {
        const Parameters<Element> rate(args.rate, args.flags & RATE_F32);
        Values values;
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            RawChunk rates;
            rate.load_chunk_of(rates, c, group);
#pragma unroll
            for (unsigned int step = 0; step < G::LENGTH; step += STEP) {
                const unsigned int left = group.valid[c] > step ? group.valid[c] - step : 0;
                rate.load_step_of(rates, group.first(c), step, left);
                float lr[STEP];
                rate.widen(lr, rates, step);
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) {
                    const float from = element_of<Element>(raw.other[c], step + e);
                    const float to = element_of<Element>(raw.x[c], step + e);
                    values.at[c * G::LENGTH + step + e] = __fmaf_rn(fabsf(lr[e] * args.rate_scale), to - from, from);
                }
            }
        }
        return values;
    }

    static __device__ __forceinline__ void stage_raw(const Stage<Element>& stage, const Raw& raw, const G& group,
                                                     const RowArgs& args) {
        stage.put_chunks(raw.other, group, 0, args);
        stage.put_chunks(raw.x, group, 1, args);
    }
    static __device__ __forceinline__ Raw staged_raw(const Stage<Element>& stage, const G& group, const RowArgs& args) {
        Raw raw;
        stage.get_chunks(raw.other, group, 0, args);
        stage.get_chunks(raw.x, group, 1, args);
        return raw;
    }
    static __device__ __forceinline__ void stage(const Stage<Element>& stage, const Raw& raw, const Values&,
                                                 const G& group, const RowArgs& args) {
        stage_raw(stage, raw, group, args);
    }
    __device__ __forceinline__ Values staged(const Stage<Element>& stage, const G& group, const RowArgs& args) const {
        return h(staged_raw(stage, group, args), group, args);
    }
};

}  // namespace warpnorm
