// Outputs: y of a row once its moments are known, as the activation type holds it. What becomes of y is the
// sink's.
#pragma once

#include "../common/activation.cuh"
#include "../common/codes.cuh"
#include "addend.cuh"
#include "args.cuh"
#include "doubts.cuh"
#include "group.cuh"
#include "parameters.cuh"
#include "place.cuh"
#include "source.cuh"
#include "statistic.cuh"

namespace warpnorm {

/// y = R(v·(γ + γ₀) + β), in the activation type; R((r + v·(γ + γ₀))·scale) where a residual comes in β's place.
///
/// 16-bit results are the correctly rounded ones. Two values are computed in f32 that the exact y lies between: of a
/// product one with a factor a little larger than rstd, and that a little smaller; of a sum both about the sum, as far
/// from it as the product may be off. Where both round to the same 16-bit value, that is the result. Where they do
/// not, in about one element of a thousand (f16) or of eight thousand (bf16), and where β cancels the product, y is
/// computed again in two floats, or in f64 where an activation is a factor of it. So is v where the op rounds it before
/// the weight.
///
/// Where there is a Code, y is no value of the activation type but its code: that of the exact y times 1/scale. It
/// is decided as the rounding to 16 bits is.
///
/// Where GATED, y is R(v·(γ + γ₀)·act(z)), without β: z is a row of its own, or h itself, and v then 1. The
/// bounds are as much wider as the activation may be off: it is an approximate one, whose last bits differ from GPU to
/// GPU. Those of y do not.
template <class Statistic, class Element, bool GATED, class Code = NoCode>
struct Output {
    static constexpr bool CODED = IS_CODE<Code>;
    static constexpr bool IS_GATED = GATED;
    static_assert(!CODED || (!GATED && !Element::IS_F32), "codes are of 16-bit activations, without a gate");

    using G = Group<Element>;
    static constexpr unsigned int LENGTH = G::LENGTH;

    /// By what share the activation of z may be off, in units of 2^-24.
    static constexpr float UNITS_OF_GATE = GATED ? APPROXIMATE_ACTIVATION_UNITS : 0.0f;

    /// By what share of itself the factor is made larger, in units of 2^-24: two for the last operation, whose
    /// rounding is directed, two for the product with 1/scale or act(z), and half of one to spare.
    static constexpr float UNITS = Statistic::ROUNDINGS + UNITS_OF_GATE + (CODED || GATED ? 4.5f : 2.5f);
    /// What makes of the bound above one as far below; one unit for the product itself.
    static constexpr float BELOW = 1.0f - (2.0f * UNITS + 1.0f) / 16777216.0f;

    /// On an aligned path, products are rounded to nearest where the shares hold down to f32's denormals: one unit for
    /// each, and half of one to spare.
    static constexpr bool TO_NEAREST = Element::KEEPS_OFF_DENORMALS && !CODED;
    static constexpr float UNITS_TO_NEAREST = Statistic::ROUNDINGS + UNITS_OF_GATE + (GATED ? 2.5f : 1.5f);
    static constexpr float BELOW_TO_NEAREST = 1.0f - (2.0f * UNITS_TO_NEAREST + 1.0f) / 16777216.0f;

    /// The same of a v that is rounded before the weight, of which there is no last operation.
    static constexpr float UNITS_OF_V = Statistic::ROUNDINGS + 0.5f;
    static constexpr float BELOW_OF_V = 1.0f - (2.0f * UNITS_OF_V + 1.0f) / 16777216.0f;

    /// From there on it is exact, but for a gate: a unit for making it larger once more, two for each product.
    static constexpr float UNITS_FROM_V = UNITS_OF_GATE + 5.5f;
    static constexpr float ABOVE_FROM_V = GATED ? 1.0f + UNITS_FROM_V / 16777216.0f : 1.0f;
    static constexpr float BELOW_FROM_V = GATED ? 1.0f - (2.0f * UNITS_FROM_V + 1.0f) / 16777216.0f : 1.0f;

    /// By what share of v·(γ + γ₀) it is off, where nothing else is rounded before β is added; half a unit to spare.
    static constexpr float RADIUS = (Statistic::ROUNDINGS + 0.5f) / 16777216.0f;

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

    /// By what share of itself the factor in front of h is made larger.
    static __device__ __forceinline__ float margin(const Addend<Element>& addend, const RowArgs& args, Path path) {
        // They are not bounded: they have the factor as it is.
        if (Element::IS_F32) return 0.0f;
        if (rounds_before_weight(args, path)) return UNITS_OF_V / 16777216.0f;
        const bool is_sum = !GATED && addend.from.exist();
        if (is_sum && !addend.each) return 0.0f;
        // The products that something is added to are rounded by direction on every path.
        const bool to_nearest = path != Path::GENERAL && TO_NEAREST && !is_sum;
        return (to_nearest ? UNITS_TO_NEAREST : UNITS) / 16777216.0f;
    }

    /// Computes y chunk by chunk and hands each to `take`. `ahead` and `addends` are null where nothing was loaded ahead.
    template <class Place, class Take>
    static __device__ __forceinline__ void each(const Values& values, const Moments* made, const Ahead* ahead,
                                                const Ahead* addends, const Parameters<Element>& weight,
                                                const Addend<Element>& addend, const G& group, const RowArgs& args, const Place& place,
                                                const Take& take) {
        const Bounding bounding(args, group.path);
        const float share = margin(addend, args, group.path);
        const Moments moments = read_moments<Statistic>(made, share);
        const float code_factor = CODED ? __fdiv_rn(1.0f, load_f32(address_of(args.tensor_scale))) : 1.0f;
        // Of a gated output: what is put out last, and the elements in doubt, by their places.
        RawChunk gated[G::CHUNKS];
        Marks pending;
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            const unsigned int column = group.first(c);
            const unsigned int valid = group.valid[c];
            RawChunk gains;
            // β, or z where there is a gate.
            RawChunk seconds;
            RawChunk& first = GATED ? seconds : gains;
            if (ahead != nullptr) {
                first = ahead->of[c];
            } else if constexpr (GATED) {
                if (args.gate != nullptr) {
                    first = load_chunk<Element>(place.template gate<Element>(args), c, group, args.flags & APART);
                }
            } else {
                weight.load_weights_of(first, c, group);
            }
            float h[LENGTH];
#pragma unroll
            for (unsigned int e = 0; e < LENGTH; ++e) h[e] = values.at[c * LENGTH + e];
            if (GATED && args.gate == nullptr) {
                // h is x itself: nothing is rounded.
                seconds = narrow_chunk<Element>(h);
#pragma unroll
                for (unsigned int e = 0; e < LENGTH; ++e) h[e] = 1.0f;
            }
            if constexpr (GATED) {
                weight.load_weights_of(gains, c, group);
            } else {
                if (addends != nullptr) {
                    seconds = addends->of[c];
                } else {
                    addend.load_chunk_of(seconds, c, group);
                }
            }
            RawChunk y;
            // For each word of results, in what bits the bounds do not agree.
            unsigned int doubts[WORDS] = {};
#pragma unroll
            for (unsigned int step = 0; step < LENGTH; step += STEP) {
                const unsigned int left = valid > step ? valid - step : 0;
                if (weight.is_f32) weight.load_step_of(gains, column, step, left);
                if (!GATED && addend.by_step()) addend.from.load_step_of(seconds, column, step, left);
                const Step of = {weight,      addend, args,    bounding, moments,
                                 code_factor, gains,  seconds, step,     group.path};
                if constexpr (Element::IS_F32) {
                    of.in_f32(y, &h[step]);
                } else {
                    of.correctly_rounded(y, &h[step], &doubts[step / Marks::PER_WORD]);
                }
            }
            if constexpr (GATED && !Element::IS_F32) {
                gated[c] = y;
                if (any(doubts)) {
#pragma unroll
                    for (unsigned int w = 0; w < WORDS; ++w) pending.mark(c * WORDS + w, doubts[w]);
                }
            } else {
                if (!Element::IS_F32 && valid > 0) {
                    const Settling of = {weight, addend,  made,   args,  code_factor,
                                         gains,  seconds, column, valid, group.path};
                    of.settle(y, doubts, &values.at[c * LENGTH]);
                }
                take(c, y);
            }
        }
        if constexpr (GATED && !Element::IS_F32) {
            settle_gated(gated, pending, made, weight, group, args, place);
#pragma unroll
            for (unsigned int c = 0; c < G::CHUNKS; ++c) take(c, gated[c]);
        }
    }

private:
    using Marks = Doubts<CODED ? 8 : 16>;
    /// Words of results of a chunk.
    static constexpr unsigned int WORDS = LENGTH / Marks::PER_WORD;

    static __device__ __forceinline__ bool any(const unsigned int (&doubts)[WORDS]) {
        unsigned int bits = 0;
#pragma unroll
        for (unsigned int w = 0; w < WORDS; ++w) bits |= doubts[w];
        return bits != 0;
    }

    /// How far from what is computed the exact values may be: the same for all elements.
    struct Bounding {
        float below;   // what makes of the bound above a product the one below
        float radius;  // around a product that something is added to

        __device__ __forceinline__ Bounding(const RowArgs& args, Path path) {
            const bool rounded = rounds_before_weight(args, path);
            // What has been rounded is exact, but for a gate.
            below = rounded ? BELOW_FROM_V : BELOW;
            // As good as 0, and no NaN times infinity.
            radius = rounded ? 1.17549435082228750797e-38f : RADIUS;
            // Or the compiler would choose anew for every step.
            if (path == Path::GENERAL) asm volatile("" : "+f"(below), "+f"(radius));
        }
    };

    /// v, rounded first where the op says so.
    static __device__ __forceinline__ TwoFloat before_weight(const TwoFloat& v, const RowArgs& args, Path path) {
        if (!rounds_before_weight(args, path)) return v;
        return {Element::widen(static_cast<typename Element::Bits>(narrow_two<Element>(v))), 0.0f};
    }

    /// The output of STEP elements of a chunk, from place `step` of it on.
    struct Step {
        const Parameters<Element>& weight;
        const Addend<Element>& added;
        const RowArgs& args;
        const Bounding& bounding;
        const Moments& moments;
        float code_factor;
        const RawChunk& gains;
        const RawChunk& seconds;  // β, r or z
        unsigned int step;
        Path path;

        __device__ __forceinline__ void gate(float (&z)[STEP]) const {
#pragma unroll
            for (unsigned int e = 0; e < STEP; ++e) z[e] = element_of<Element>(seconds, step + e);
        }

        /// γ + γ₀ from γ. Without an offset even the zeros keep their signs.
        __device__ __forceinline__ void offset(float (&gains)[STEP]) const {
            if (path == Path::GENERAL && weight.offset == 0.0f) return;
#pragma unroll
            for (unsigned int e = 0; e < STEP; ++e) gains[e] += weight.offset;
        }

        __device__ __forceinline__ void in_f32(RawChunk& chunk, const float* h) const {
            float factor[STEP];
            weight.widen(factor, gains, step);
            offset(factor);
            float y[STEP];
#pragma unroll
            for (unsigned int e = 0; e < STEP; ++e) y[e] = Statistic::normalise_in_one(h[e], moments);
            if (!GATED && added.from.exist()) {
                float addend[STEP];
                added.from.widen(addend, seconds, step);
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) y[e] = __fmaf_rn(y[e], factor[e], addend[e]);
                if (added.scale != 1.0f) {
#pragma unroll
                    for (unsigned int e = 0; e < STEP; ++e) y[e] *= added.scale;
                }
            } else {
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) y[e] *= factor[e];
            }
            if constexpr (GATED) {
                float z[STEP];
                gate(z);
                multiply_by_activations(y, args.activation, args.activation_parameter, z);
            }
            chunk = narrow_chunk<F32>(y);
        }

        /// Computes the results from what the exact values lie between, and for each word of them the bits in which the
        /// bounds do not agree.
        __device__ __forceinline__ void correctly_rounded(RawChunk& y, const float* h, unsigned int* doubts) const {
            // The bound that is the larger in magnitude or, where something is added, the one above; and the other.
            float outer[STEP];
            float inner[STEP];
            // For each pair of elements, in what bits the bounds of a rounding before the last do not agree.
            unsigned int doubt[STEP / 2] = {};
#pragma unroll
            for (unsigned int e = 0; e < STEP; ++e) outer[e] = Statistic::normalise_in_one(h[e], moments);
            float factor[STEP];
            weight.widen(factor, gains, step);
            if (path == Path::GENERAL ? !(args.flags & BARE_WEIGHTS) : !has_bare_weights(path)) {
                if (rounds_before_weight(args, path)) round_before_weight(outer, doubt);
                if (path != Path::ALIGNED_ROUNDED) offset(factor);
            }
            float of_z[STEP];
            if constexpr (GATED) activate_gate(of_z);
            if (GATED && path != Path::GENERAL && TO_NEAREST) {
                const float below = path == Path::ALIGNED_ROUNDED ? BELOW_FROM_V : BELOW_TO_NEAREST;
                if (weight.exist()) {
#pragma unroll
                    for (unsigned int e = 0; e < STEP; ++e) outer[e] *= factor[e];
                }
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) {
                    outer[e] *= of_z[e];
                    inner[e] = outer[e] * below;
                }
            } else if (GATED && !weight.exist()) {
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) inner[e] = outer[e] * bounding.below;
            } else if (!GATED && added.from.exist()) {
                float addend[STEP];
                added.from.widen(addend, seconds, step);
                if (added.each) {
                    sum_each_rounded(outer, doubt, factor, addend);
#pragma unroll
                    for (unsigned int e = 0; e < STEP; ++e) inner[e] = outer[e];
                } else {
#pragma unroll
                    for (unsigned int e = 0; e < STEP; ++e) {
                        const float v = outer[e];
                        // Where the sum is infinite, one of the two is no number: it is in doubt, and settled.
                        const float radius = __fmul_ru(fabsf(factor[e]), bounding.radius);
                        outer[e] = __fmaf_ru(fabsf(v), radius, __fmaf_ru(v, factor[e], addend[e]));
                        inner[e] = __fmaf_rd(fabsf(v), -radius, __fmaf_rd(v, factor[e], addend[e]));
                    }
                    if (added.scale != 1.0f) {
#pragma unroll
                        for (unsigned int e = 0; e < STEP; ++e) {
                            outer[e] = __fmul_ru(outer[e], added.scale);
                            inner[e] = __fmul_rd(inner[e], added.scale);
                        }
                    }
                }
            } else if (path == Path::ALIGNED_ROUNDED) {
                // Exact: both are of 16 bits. (What is not, is too small for them.)
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) inner[e] = outer[e] *= factor[e];
            } else if (path != Path::GENERAL && TO_NEAREST) {
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) {
                    outer[e] *= factor[e];
                    inner[e] = outer[e] * BELOW_TO_NEAREST;
                }
            } else {
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) {
                    const float v = outer[e];
                    outer[e] = __fmul_ru(v, factor[e]);
                    inner[e] = __fmul_rd(v * bounding.below, factor[e]);
                }
            }
            if constexpr (GATED) {
                if (path == Path::GENERAL || !TO_NEAREST) {
#pragma unroll
                    for (unsigned int e = 0; e < STEP; ++e) {
                        outer[e] = __fmul_ru(outer[e], of_z[e]);
                        inner[e] = __fmul_rd(inner[e], of_z[e]);
                    }
                }
                mark_lacking_digits(of_z, doubt);
            }
            if constexpr (CODED) {
                static_assert(!CODED || STEP == 4, "the codes of a step fill a word");
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) {
                    outer[e] = __fmul_ru(outer[e], code_factor);
                    inner[e] = __fmul_rd(inner[e], code_factor);
                }
                unsigned int& word = y.words[step / STEP];
                word = narrow_word<Code>(outer);
                doubts[0] = (doubt[0] | doubt[1]) != 0 ? ~0u : word ^ narrow_word<Code>(inner);
            } else {
                unsigned int* words = &y.words[step / 2];
#pragma unroll
                for (unsigned int e = 0; e < STEP; e += 2) {
                    words[e / 2] = narrow_pair<Element>(outer[e], outer[e + 1]);
                    doubts[e / 2] = doubt[e / 2] | (words[e / 2] ^ narrow_pair<Element>(inner[e], inner[e + 1]));
                }
            }
        }

        __device__ __forceinline__ void activate_gate(float (&of_z)[STEP]) const {
            float z[STEP];
            gate(z);
            approximate_activations(of_z, args.activation, args.activation_parameter, z);
        }

        /// Marks elements whose activation may lack digits, or be none.
        __device__ __forceinline__ void mark_lacking_digits(const float (&of_z)[STEP],
                                                            unsigned int (&doubt)[STEP / 2]) const {
            bool any_lacks = false;
#pragma unroll
            for (unsigned int e = 0; e < STEP; ++e) any_lacks |= lacks_digits(of_z[e]);
            if (!any_lacks || args.activation <= Activation::RELU) return;
#pragma unroll
            for (unsigned int e = 0; e < STEP; ++e) {
                if (element_of<Element>(seconds, step + e) != 0.0f && lacks_digits(of_z[e])) {
                    doubt[e / 2] |= 1u << 16 * (e % 2);
                }
            }
        }

        /// v as the activation type holds it: from there on there is no doubt, but of a gate.
        __device__ __forceinline__ void round_before_weight(float (&values)[STEP],
                                                            unsigned int (&doubt)[STEP / 2]) const {
#pragma unroll
            for (unsigned int e = 0; e < STEP; e += 2) {
                const unsigned int pair = narrow_pair<Element>(values[e], values[e + 1]);
                doubt[e / 2] = pair ^ narrow_pair<Element>(values[e] * BELOW_OF_V, values[e + 1] * BELOW_OF_V);
                values[e] = Element::widen(static_cast<typename Element::Bits>(pair)) * ABOVE_FROM_V;
                values[e + 1] = Element::widen(static_cast<typename Element::Bits>(pair >> 16)) * ABOVE_FROM_V;
            }
        }

        /// The sum with r of the product as the activation type holds it: from there on there is no doubt.
        __device__ __forceinline__ void sum_each_rounded(float (&values)[STEP], unsigned int (&doubt)[STEP / 2],
                                                         const float (&factor)[STEP],
                                                         const float (&addend)[STEP]) const {
#pragma unroll
            for (unsigned int e = 0; e < STEP; e += 2) {
                const unsigned int pair = narrow_pair<Element>(__fmul_ru(values[e], factor[e]),
                                                               __fmul_ru(values[e + 1], factor[e + 1]));
                doubt[e / 2] |= pair ^ narrow_pair<Element>(__fmul_rd(values[e] * bounding.below, factor[e]),
                                                            __fmul_rd(values[e + 1] * bounding.below, factor[e + 1]));
                values[e] = added.sum(static_cast<typename Element::Bits>(pair), addend[e]);
                values[e + 1] = added.sum(static_cast<typename Element::Bits>(pair >> 16), addend[e + 1]);
            }
        }
    };

    /// The elements of a chunk whose bounds do not settle them.
    struct Settling {
        const Parameters<Element>& weight;
        const Addend<Element>& added;
        const Moments* made;
        const RowArgs& args;
        float code_factor;
        const RawChunk& gains;
        const RawChunk& seconds;
        unsigned int column;
        unsigned int valid;
        Path path;

        /// y of one element in two floats, from its h.
        __device__ __forceinline__ TwoFloat settled(unsigned int element, float h) const {
            const float gain = weight.pick(gains, element, column) + weight.offset;
            const Moments moments = read_moments<Statistic>(made, 0.0f);
            TwoFloat y = before_weight(Statistic::normalise(h, moments), args, path);
            y = normalised(multiply(y, gain));
            if (!added.from.exist()) return y;
            const float addend = added.from.pick(seconds, element, column);
            if (added.each) {
                const auto product = static_cast<typename Element::Bits>(narrow_two<Element>(y));
                return {added.sum(product, addend), 0.0f};
            }
            // Of what is infinite there is no low part.
            const float whole = __fmaf_rn(Statistic::normalise_in_one(h, moments), gain, addend);
            if (isinf(whole)) return {whole * added.scale, 0.0f};
            const TwoFloat sum = two_sum(y.hi, addend);
            y = normalised({sum.hi, sum.lo + y.lo});
            return added.scale == 1.0f ? y : normalised(multiply(y, added.scale));
        }

        /// Computes the elements in doubt again, in two floats.
        __device__ __forceinline__ void settle(RawChunk& y, const unsigned int (&doubts)[WORDS], const float* h) const {
            if (!any(doubts)) return;
            Marks marks;
#pragma unroll
            for (unsigned int w = 0; w < WORDS; ++w) marks.mark(w, doubts[w]);
#pragma unroll 1
            do {
                const unsigned int element = marks.take();
                // Outside the row, a sum of zeros is one of either sign: always in doubt, and nobody's.
                if (element >= valid) continue;
                const TwoFloat exact = settled(element, pick<LENGTH>(h, element));
                unsigned int bits;
                if constexpr (CODED) {
                    const float value = isinf(exact.hi) ? exact.hi
                                                        : rounded_to_odd(normalised(multiply(exact, code_factor)));
                    bits = Code::narrow_pair(value, 0.0f) & 0xffu;
                } else {
                    bits = narrow_two<Element>(exact);
                }
#pragma unroll
                for (unsigned int w = 0; w < WORDS; ++w) Marks::put(y.words[w], w, element, bits);
            } while (marks.any());
        }
    };

    /// Computes the elements in doubt of a gated output again, in f64. They are read again, too: while
    /// an activation is computed so, no registers are left to keep them in. Nothing has been written over them.
    template <class Place>
    static __device__ __forceinline__ void settle_gated(RawChunk (&y)[G::CHUNKS], Marks doubts, const Moments* made,
                                                        const Parameters<Element>& weight, const G& group,
                                                        const RowArgs& args, const Place& place) {
#pragma unroll 1
        while (doubts.any()) {
            const unsigned int index = doubts.take();
            // By arithmetic: an array that is indexed so would lie in local memory.
            const unsigned int line = group.first(1) - group.first(0);
            const unsigned int at = group.first(0) + index / LENGTH * line + index % LENGTH;
            if (at >= group.hidden) continue;
            Place here = place;
            // Where the kernel is one for all calls, no registers are left to keep addresses in.
            if (group.path == Path::GENERAL) asm volatile("" : "+l"(here.row));
            const Address x = here.template x<Element>(args);
            const Address gate = args.gate == nullptr ? x : here.template gate<Element>(args);
            TwoFloat v = {1.0f, 0.0f};
            if (args.gate != nullptr) {
                const float h = Element::widen(load_16(column<Element>(x, at)));
                v = Statistic::normalise(h, read_moments<Statistic>(made, 0.0f));
            }
            const float gain = weight.exist() ? weight.at(at) + weight.offset : 1.0f;
            double product = in_f64(before_weight(v, args, group.path)) * gain;
            // Past f32's range it is infinite, whatever the activation would make of it.
            if (isinf(static_cast<float>(product))) product = static_cast<float>(product);
            const float z = Element::widen(load_16(column<Element>(gate, at)));
            const double of_z = activate_in_f64(args.activation, args.activation_parameter, z);
            const unsigned int bits = narrow_product<Element>(product, of_z);
#pragma unroll
            for (unsigned int w = 0; w < 4 * G::CHUNKS; ++w) Marks::put(y[w / 4].words[w % 4], w, index, bits);
        }
    }
};

}  // namespace warpnorm
