// Outputs: y of a row once its moments are known, as the activation type holds it. What becomes of y is the
// sink's.
#pragma once

#include "../common/activation.cuh"
#include "../common/codes.cuh"
#include "addend.cuh"
#include "args.cuh"
#include "group.cuh"
#include "parameters.cuh"
#include "place.cuh"
#include "source.cuh"
#include "statistic.cuh"

namespace warpnorm {

/// y = R(v·(γ + γ₀) + β), in the activation type; R((r + v·(γ + γ₀))·scale) where a residual comes in β's place; and
/// R(v·(γ + γ₀)·act(z)) where GATED: z is a row of its own, or h itself, and v then 1.
///
/// All of it is f32 arithmetic, rounded once in the end, but for the roundings that the op asks for. What is added is
/// added to a product that is not rounded (FMA).
///
/// Where there is a Code, y is no value of the activation type but its code: that of y times 1/scale.
template <class Statistic, class Element, bool GATED, class Code = NoCode>
struct Output {
    static constexpr bool CODED = IS_CODE<Code>;
    static constexpr bool IS_GATED = GATED;
    static_assert(!CODED || (!GATED && !Element::IS_F32), "codes are of 16-bit activations, without a gate");

    using G = Group<Element>;
    static constexpr unsigned int LENGTH = G::LENGTH;

    /// What is loaded ahead of its use: the weights of a group where they are of the activation type, or z.
    struct Ahead {
        RawChunk of[G::CHUNKS];
    };

    template <class Place>
    static __device__ __forceinline__ Ahead load_ahead(const G& group, const RowArgs& args, const Place& place) {
        Ahead ahead;
        if constexpr (GATED) {
            if (args.gate != nullptr) {
                const Address gate = place.template gate<Element>(args);
#pragma unroll
                for (unsigned int c = 0; c < G::CHUNKS; ++c) {
                    ahead.of[c] = load_chunk<Element>(gate, c, group, args.flags & APART);
                }
            }
        } else {
            place.template weight<Element>(args).load_weights(ahead.of, group);
        }
        return ahead;
    }

    /// The same of what is added, where parameters are of the activation type.
    static __device__ __forceinline__ Ahead load_addends(const Addend<Element>& addend, const G& group) {
        Ahead ahead;
        addend.load_chunks_of(ahead.of, group);
        return ahead;
    }

    /// Computes y chunk by chunk and hands each to `take`. `ahead` and `addends` are null where nothing was loaded ahead.
    template <class Place, class Take>
    static __device__ __forceinline__ void each(const Values& values, const Moments* made, const Ahead* ahead,
                                                const Ahead* addends, const Parameters<Element>& weight,
                                                const Addend<Element>& addend, const G& group, const RowArgs& args,
                                                const Place& place, const Take& take) {
        Moments moments;
        if (group.path != Path::GENERAL) moments = read_moments<Statistic>(made);
        const float code_factor = CODED ? __fdiv_rn(1.0f, load_f32(address_of(args.tensor_scale))) : 1.0f;
        const bool has_gate = GATED && args.gate != nullptr;
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            if (c > 0 && group.lacks_line(c)) break;
            RawChunk gains;
            // β, r or z.
            RawChunk seconds;
            if constexpr (GATED) {
                if (ahead != nullptr) {
                    seconds = ahead->of[c];
                } else if (has_gate) {
                    seconds = load_chunk<Element>(place.template gate<Element>(args), c, group, args.flags & APART);
                }
                weight.load_weights_of(gains, c, group);
            } else {
                if (ahead != nullptr) {
                    gains = ahead->of[c];
                } else {
                    weight.load_weights_of(gains, c, group);
                }
                if (addends != nullptr) {
                    seconds = addends->of[c];
                } else {
                    addend.load_chunk_of(seconds, c, group);
                }
            }
            // Where the kernel is one for all calls, no registers are left to keep them in.
            if (group.path == Path::GENERAL) moments = read_moments<Statistic>(made);
            RawChunk result = {};
            // Before a gate.
            float products[LENGTH];
#pragma unroll
            for (unsigned int step = 0; step < LENGTH; step += STEP) {
                const unsigned int left = group.valid[c] > step ? group.valid[c] - step : 0;
                // What is of the activation type is there, where it was loaded ahead.
                const bool has_gains = !GATED && Element::IS_F32 && ahead != nullptr;
                const bool has_addends = Element::IS_F32 && addends != nullptr;
                if (weight.is_f32 && !has_gains) weight.load_step_of(gains, group.first(c), step, left);
                if (!GATED && addend.by_step() && !has_addends) {
                    addend.from.load_step_of(seconds, group.first(c), step, left);
                }
                float y[STEP];
                compute(y, &values.at[c * LENGTH + step], moments, weight, gains, addend, seconds, step, args,
                        group.path);
                if constexpr (CODED) {
#pragma unroll
                    for (unsigned int e = 0; e < STEP; ++e) y[e] *= code_factor;
                }
                if constexpr (GATED) {
#pragma unroll
                    for (unsigned int e = 0; e < STEP; ++e) products[step + e] = y[e];
                } else {
                    put(result, y, step);
                }
            }
            if constexpr (GATED) {
                float z[LENGTH];
#pragma unroll
                for (unsigned int e = 0; e < LENGTH; ++e) {
                    z[e] = has_gate ? element_of<Element>(seconds, e) : values.at[c * LENGTH + e];
                }
                multiply_by_activations<Element>(products, args.activation, args.activation_parameter, z);
#pragma unroll
                for (unsigned int step = 0; step < LENGTH; step += STEP) put(result, &products[step], step);
            }
            take(c, result);
        }
    }

private:
    /// y of STEP elements of a chunk, from place `step` of it on, before a gate.
    static __device__ __forceinline__ void compute(float* y, const float* h, const Moments& moments,
                                                   const Parameters<Element>& weight, const RawChunk& gains,
                                                   const Addend<Element>& addend, const RawChunk& seconds,
                                                   unsigned int step, const RowArgs& args, Path path) {
        float gain[STEP];
        weight.widen(gain, gains, step);
#pragma unroll
        for (unsigned int e = 0; e < STEP; ++e) y[e] = Statistic::normalise(h[e], moments);
        if (GATED && args.gate == nullptr) {
#pragma unroll
            for (unsigned int e = 0; e < STEP; ++e) y[e] = 1.0f;
        }
        if (path == Path::GENERAL ? !(args.flags & BARE_WEIGHTS) : !has_bare_weights(path)) {
            if (rounds_before_weight(args, path)) round_step(y);
            // Without an offset even the zeros keep their signs.
            const bool adds = path == Path::GENERAL ? args.weight_offset != 0.0f : path == Path::ALIGNED_WITH_OFFSET;
            if (adds && weight.exist()) {
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) gain[e] += args.weight_offset;
            }
        }
        if (GATED || (!addend.always && !addend.from.exist())) {
#pragma unroll
            for (unsigned int e = 0; e < STEP; ++e) y[e] *= gain[e];
            return;
        }
        float added[STEP];
        addend.from.widen(added, seconds, step);
        if (addend.each) {
#pragma unroll
            for (unsigned int e = 0; e < STEP; ++e) y[e] *= gain[e];
            round_step(y);
#pragma unroll
            for (unsigned int e = 0; e < STEP; ++e) y[e] += added[e];
            if (addend.scale != 1.0f) round_step(y);
        } else {
#pragma unroll
            for (unsigned int e = 0; e < STEP; ++e) y[e] = __fmaf_rn(y[e], gain[e], added[e]);
        }
        if (addend.scale != 1.0f) {
#pragma unroll
            for (unsigned int e = 0; e < STEP; ++e) y[e] *= addend.scale;
        }
    }

    /// Puts what a step's values are rounded to in its place.
    static __device__ __forceinline__ void put(RawChunk& chunk, const float* y, unsigned int step) {
        if constexpr (CODED) {
            static_assert(!CODED || STEP == CODES_PER_WORD<Code>, "the codes of a step fill a word");
            chunk.words[step / STEP] = narrow_word<Code>(y);
        } else if constexpr (Element::IS_F32) {
#pragma unroll
            for (unsigned int e = 0; e < STEP; ++e) chunk.words[step + e] = F32::narrow(y[e]);
        } else {
#pragma unroll
            for (unsigned int e = 0; e < STEP; e += 2) {
                chunk.words[(step + e) / 2] = narrow_pair<Element>(y[e], y[e + 1]);
            }
        }
    }

    /// R of the values of a step.
    static __device__ __forceinline__ void round_step(float* values) {
        if constexpr (!Element::IS_F32) {
#pragma unroll
            for (unsigned int e = 0; e < STEP; e += 2) {
                const unsigned int pair = narrow_pair<Element>(values[e], values[e + 1]);
                values[e] = Element::widen(static_cast<typename Element::Bits>(pair));
                values[e + 1] = Element::widen(static_cast<typename Element::Bits>(pair >> 16));
            }
        }
    }
};

}  // namespace warpnorm
