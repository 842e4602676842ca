// Outputs: y of a row once its moments are known, as the activation type holds it. What becomes of y is the
// sink's.
#pragma once

#include "../common/activation.cuh"
#include "../common/codes.cuh"
#include "args.cuh"
#include "group.cuh"
#include "parameters.cuh"
#include "place.cuh"
#include "source.cuh"
#include "statistic.cuh"

namespace warpnorm {

/// What is added to v·(γ + γ₀): β; or the residual r, and the sum is multiplied by `scale`.
template <class Element>
struct Addend {
    Parameters<Element> from;
    float scale = 1.0f;
    bool each = false;  // norm, sum and product are each rounded to the activation type

    template <class Place>
    static __device__ __forceinline__ Addend bias(const RowArgs& args, const Place& place) {
        return {place.template bias<Element>(args)};
    }
    static __device__ __forceinline__ Addend residual(const RowArgs& args, const WholeRow& place) {
        return {place.residual<Element>(args), args.post_scale, (args.flags & ROUND_EACH) != 0};
    }
};

/// y = R(v·(γ + γ₀) + β), in the activation type; R((r + v·(γ + γ₀))·scale) where a residual comes in β's place.
///
/// 16-bit results are the correctly rounded ones. Two values are computed in f32, one with a factor a little larger than
/// rstd, the other a little smaller than that, so that the exact y lies between them. Where both round to the
/// same 16-bit value, that is the result. Where they do not, in about one element of a thousand (f16) or
/// of eight thousand (bf16), and where β cancels the product, y is computed again in two floats. So is v
/// where the op rounds it before the weight.
///
/// Where there is a Code, y is no value of the activation type but its code: that of the exact y times 1/scale. It
/// is decided as the rounding to 16 bits is.
///
/// Where GATED, y is R(v·(γ + γ₀)·act(z)), without β: z is a row of its own, or h itself, and v then 1. The
/// bounds are as much wider as the activation may be off.
template <class Statistic, class Element, bool GATED, class Code = NoCode>
struct Output {
    static constexpr bool CODED = IS_CODE<Code>;
    static constexpr bool IS_GATED = GATED;
    static_assert(!CODED || (!GATED && !Element::IS_F32), "codes are of 16-bit activations, without a gate");

    using G = Group<Element>;
    static constexpr unsigned int LENGTH = G::LENGTH;

    /// By what share of itself the factor is made larger, in units of 2^-24: two for the last operation, whose
    /// rounding is directed, two for the product with 1/scale, and half of one to spare.
    static constexpr float UNITS = Statistic::ROUNDINGS + (CODED ? 4.5f : 2.5f);
    /// f32 results are not bounded: they have the factor as it is.
    static constexpr float MARGIN = Element::IS_F32 ? 0.0f : UNITS / 16777216.0f;
    /// What makes of the bound above one as far below; one unit for the product itself.
    static constexpr float BELOW = 1.0f - (2.0f * UNITS + 1.0f) / 16777216.0f;

    /// The same of the activation of z, which is off itself, and whose product is rounded.
    static constexpr float GATE_MARGIN = ACTIVATION_ERROR + 3.5f / 16777216.0f;

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
            const Parameters<Element> weight = place.template weight<Element>(args);
#pragma unroll
            for (unsigned int c = 0; c < G::CHUNKS; ++c) {
                weight.load_chunk_of(ahead.of[c], group.first(c), group.valid[c]);
            }
        }
        return ahead;
    }

    /// Computes y chunk by chunk and hands each to `take`. `ahead` is null where nothing was loaded ahead.
    template <class Place, class Take>
    static __device__ __forceinline__ void each(const Values& values, const Moments& moments, const Ahead* ahead,
                                                const Parameters<Element>& weight, const Addend<Element>& addend,
                                                const G& group, const RowArgs& args, const Place& place,
                                                const Take& take) {
        const Parameters<Element>& bias = addend.from;
        const Scale scale = scale_of(moments, MARGIN);
        const float code_factor = CODED ? __fdiv_rn(1.0f, load_f32(address_of(args.tensor_scale))) : 1.0f;
        // Of a gated output: what is put out last, and the elements in doubt, by their places.
        RawChunk gated[G::CHUNKS];
        unsigned int pending = 0;
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
                weight.load_chunk_of(first, column, valid);
            }
            if constexpr (GATED) {
                weight.load_chunk_of(gains, column, valid);
            } else {
                bias.load_chunk_of(seconds, column, valid);
            }
            RawChunk y;
#pragma unroll
            for (unsigned int step = 0; step < LENGTH; step += STEP) {
                const unsigned int left = valid > step ? valid - step : 0;
                if (weight.is_f32) {
                    weight.load_step_of(gains, column, step, left);
                    if constexpr (!GATED) bias.load_step_of(seconds, column, step, left);
                }
                const Step of = {weight, addend, scale, code_factor, gains, seconds, step};
                const float* h = &values.at[c * LENGTH + step];
                if constexpr (Element::IS_F32) {
                    of.in_f32(y, h, moments, args);
                } else {
                    const unsigned int doubt = of.correctly_rounded(y, h, moments, args);
                    if constexpr (GATED) pending |= doubt << (c * LENGTH + step);
                }
            }
            if constexpr (GATED && !Element::IS_F32) {
                if (valid < LENGTH) pending &= ~(((1u << LENGTH) - (1u << valid)) << c * LENGTH);
                gated[c] = y;
            } else {
                take(c, y);
            }
        }
        if constexpr (GATED && !Element::IS_F32) {
            settle_gated(gated, pending, moments, weight, group, args, place);
#pragma unroll
            for (unsigned int c = 0; c < G::CHUNKS; ++c) take(c, gated[c]);
        }
    }

private:
    /// v, rounded first where the op says so.
    static __device__ __forceinline__ TwoFloat before_weight(const TwoFloat& v, const RowArgs& args) {
        if (!(args.flags & ROUND_BEFORE_WEIGHT)) return v;
        return {Element::widen(static_cast<typename Element::Bits>(narrow_two<Element>(v))), 0.0f};
    }

    /// The output of STEP elements of a chunk, from place `step` of it on.
    struct Step {
        const Parameters<Element>& weight;
        const Addend<Element>& added;
        const Scale& scale;
        float code_factor;
        const RawChunk& gains;
        const RawChunk& seconds;  // β, r or z
        unsigned int step;

        /// z: of its own row, or h.
        __device__ __forceinline__ void gate(float (&z)[STEP], const float* h, const RowArgs& args) const {
#pragma unroll
            for (unsigned int e = 0; e < STEP; ++e) {
                z[e] = element_of<Element>(seconds, step + e);
                if (args.gate == nullptr) z[e] = h[e];
            }
        }

        /// v, or the bound above it; 1 where z takes the place of h.
        __device__ __forceinline__ float normalised_by_scale(float h, const Moments& moments,
                                                             const RowArgs& args) const {
            if (GATED && args.gate == nullptr) return 1.0f;
            return Statistic::normalise(h, moments, scale);
        }

        /// γ + γ₀, in f32; 1 where there is no weight.
        __device__ __forceinline__ void gain(float (&values)[STEP], const RowArgs& args) const {
            if (weight.exist()) {
                weight.widen(values, gains, step);
                if (args.weight_offset != 0.0f) {
#pragma unroll
                    for (unsigned int e = 0; e < STEP; ++e) values[e] += args.weight_offset;
                }
            } else {
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) values[e] = 1.0f;
            }
        }

        __device__ __forceinline__ void in_f32(RawChunk& chunk, const float* h, const Moments& moments,
                                               const RowArgs& args) const {
            float factor[STEP];
            gain(factor, args);
            float y[STEP];
#pragma unroll
            for (unsigned int e = 0; e < STEP; ++e) y[e] = normalised_by_scale(h[e], moments, args);
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
                gate(z, h, args);
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) {
                    y[e] *= activate(args.activation, args.activation_parameter, z[e]);
                }
            }
            chunk = narrow_chunk<F32>(y);
        }

        /// Returns a bit for each element that is left in doubt: where there is a gate, it is settled later.
        __device__ __forceinline__ unsigned int correctly_rounded(RawChunk& chunk, const float* h,
                                                                  const Moments& moments, const RowArgs& args) const {
            float outer[STEP];
            float inner[STEP];
#pragma unroll
            for (unsigned int e = 0; e < STEP; ++e) {
                outer[e] = normalised_by_scale(h[e], moments, args);
                inner[e] = GATED && args.gate == nullptr ? outer[e] : outer[e] * BELOW;
            }
            // For each pair of elements, in what bits the two do not agree.
            unsigned int doubt[STEP / 2] = {};
            if (args.flags & ROUND_BEFORE_WEIGHT) {
#pragma unroll
                for (unsigned int e = 0; e < STEP; e += 2) {
                    const unsigned int pair = narrow_pair<Element>(outer[e], outer[e + 1]);
                    doubt[e / 2] = pair ^ narrow_pair<Element>(inner[e], inner[e + 1]);
                    outer[e] = inner[e] = Element::widen(static_cast<typename Element::Bits>(pair));
                    outer[e + 1] = inner[e + 1] = Element::widen(static_cast<typename Element::Bits>(pair >> 16));
                }
            }
            float factor[STEP];
            gain(factor, args);
            float addend[STEP] = {};
            if (!GATED && added.from.exist() && added.each) {
                added.from.widen(addend, seconds, step);
                each_rounded(outer, inner, doubt, factor, addend);
            } else if (!GATED && added.from.exist()) {
                added.from.widen(addend, seconds, step);
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) {
                    // The bound of the product that is above the other is rounded up, the one below down: beside
                    // a large β one rounding is more than the bounds are apart.
                    const bool negative = (outer[e] < 0.0f) != (factor[e] < 0.0f);
                    const float above = negative ? inner[e] : outer[e];
                    const float below = negative ? outer[e] : inner[e];
                    outer[e] = __fmaf_ru(above, factor[e], addend[e]);
                    inner[e] = __fmaf_rd(below, factor[e], addend[e]);
                }
                if (added.scale != 1.0f) {
#pragma unroll
                    for (unsigned int e = 0; e < STEP; ++e) {
                        outer[e] = __fmul_ru(outer[e], added.scale);
                        inner[e] = __fmul_rd(inner[e], added.scale);
                    }
                }
            } else {
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) {
                    outer[e] = __fmul_ru(outer[e], factor[e]);
                    inner[e] = __fmul_rd(inner[e], factor[e]);
                }
            }
            if constexpr (GATED) {
                // β's place is z's.
                gate(addend, h, args);
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) {
                    const float of_z = activate(args.activation, args.activation_parameter, addend[e]);
                    outer[e] = __fmul_ru(outer[e], __fmaf_rn(of_z, GATE_MARGIN, of_z));
                    inner[e] = __fmul_rd(inner[e], __fmaf_rn(of_z, -GATE_MARGIN, of_z));
                    if (activation_underflows(args.activation, addend[e], of_z)) doubt[e / 2] |= 1u << 16 * (e % 2);
                }
            }
            if constexpr (CODED) {
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) {
                    outer[e] = __fmul_ru(outer[e], code_factor);
                    inner[e] = __fmul_rd(inner[e], code_factor);
                }
                return coded(chunk.words[step / STEP], doubt[0] | doubt[1], outer, inner, h, factor, addend, moments,
                             args);
            }
            unsigned int* words = &chunk.words[step / 2];
#pragma unroll
            for (unsigned int e = 0; e < STEP; e += 2) {
                words[e / 2] = narrow_pair<Element>(outer[e], outer[e + 1]);
                doubt[e / 2] |= words[e / 2] ^ narrow_pair<Element>(inner[e], inner[e + 1]);
            }
            if ((doubt[0] | doubt[1]) == 0) return 0;
            const unsigned int pending = (doubt[0] & 0xffffu ? 1 : 0) | (doubt[0] >> 16 ? 2 : 0) |
                                         (doubt[1] & 0xffffu ? 4 : 0) | (doubt[1] >> 16 ? 8 : 0);
            if constexpr (!GATED) settle(words, pending, h, factor, addend, moments, args);
            return pending;
        }

        /// The sum with r, from the product as the activation type holds it: from there on there is no doubt.
        __device__ __forceinline__ void each_rounded(float (&outer)[STEP], float (&inner)[STEP],
                                                     unsigned int (&doubt)[STEP / 2], const float (&factor)[STEP],
                                                     const float (&addend)[STEP]) const {
#pragma unroll
            for (unsigned int e = 0; e < STEP; e += 2) {
                const unsigned int pair = narrow_pair<Element>(__fmul_ru(outer[e], factor[e]),
                                                               __fmul_ru(outer[e + 1], factor[e + 1]));
                doubt[e / 2] |= pair ^ narrow_pair<Element>(__fmul_rd(inner[e], factor[e]),
                                                            __fmul_rd(inner[e + 1], factor[e + 1]));
                outer[e] = inner[e] = post_sum(static_cast<typename Element::Bits>(pair), addend[e]);
                outer[e + 1] = inner[e + 1] = post_sum(static_cast<typename Element::Bits>(pair >> 16), addend[e + 1]);
            }
        }

        /// The sum of a rounded product and r, or that times the scale, before the last rounding.
        __device__ __forceinline__ float post_sum(typename Element::Bits product, float addend) const {
            const float sum = Element::widen(product) + addend;
            return added.scale == 1.0f ? sum : round_to<Element>(sum) * added.scale;
        }

        /// The codes of STEP elements, four to a word. `before` is not 0 where a rounding before them is in doubt.
        __device__ __forceinline__ unsigned int coded(unsigned int& word, unsigned int before,
                                                      const float (&outer)[STEP], const float (&inner)[STEP],
                                                      const float* h, const float (&factor)[STEP],
                                                      const float (&addend)[STEP], const Moments& moments,
                                                      const RowArgs& args) const {
            static_assert(!CODED || STEP == 4, "the codes of a step fill a word");
            word = narrow_word<Code>(outer);
            const unsigned int doubt = word ^ narrow_word<Code>(inner);
            if ((doubt | before) == 0) return 0;
#pragma unroll 1
            for (unsigned int element = 0; element < STEP; ++element) {
                if (before == 0 && (doubt >> 8 * element & 0xffu) == 0) continue;
                const TwoFloat y = settled(element, h, factor, addend, moments, args);
                const float value = rounded_to_odd(normalised(multiply(y, code_factor)));
                const unsigned int code = Code::narrow_pair(value, 0.0f) & 0xffu;
                word = (word & ~(0xffu << 8 * element)) | code << 8 * element;
            }
            return 0;
        }

        /// y of one element in two floats.
        __device__ __forceinline__ TwoFloat settled(unsigned int element, const float* h,
                                                    const float (&factor)[STEP], const float (&addend)[STEP],
                                                    const Moments& moments, const RowArgs& args) const {
            TwoFloat y = before_weight(Statistic::normalise(pick(element, h), moments), args);
            y = normalised(multiply(y, pick(element, factor)));
            if (added.from.exist() && added.each) {
                const auto product = static_cast<typename Element::Bits>(narrow_two<Element>(y));
                y = {post_sum(product, pick(element, addend)), 0.0f};
            } else if (added.from.exist()) {
                const TwoFloat sum = two_sum(y.hi, pick(element, addend));
                y = normalised({sum.hi, sum.lo + y.lo});
                if (added.scale != 1.0f) y = normalised(multiply(y, added.scale));
            }
            return y;
        }

        /// Computes the elements in doubt again, in two floats.
        __device__ __forceinline__ void settle(unsigned int* words, unsigned int pending, const float* h,
                                               const float (&factor)[STEP],
                                               const float (&addend)[STEP], const Moments& moments,
                                               const RowArgs& args) const {
#pragma unroll 1
            for (; pending != 0; pending &= pending - 1) {
                const unsigned int element = __ffs(pending) - 1;
                const TwoFloat y = settled(element, h, factor, addend, moments, args);
                const unsigned int shift = 16 * (element % 2);
                const unsigned int others = (element < 2 ? words[0] : words[1]) & ~(0xffffu << shift);
                const unsigned int word = others | narrow_two<Element>(y) << shift;
                words[0] = element < 2 ? word : words[0];
                words[1] = element < 2 ? words[1] : word;
            }
        }

        /// One of four values; no array is indexed with a number known only at run time.
        static __device__ __forceinline__ float pick(unsigned int index, const float* values) {
            const float even = index & 2 ? values[2] : values[0];
            const float odd = index & 2 ? values[3] : values[1];
            return index & 1 ? odd : even;
        }
    };

    /// Computes the elements in doubt of a gated output again, in two floats. They are read again, too: while
    /// an activation is computed so, no registers are left to keep them in. Nothing has been written over them.
    template <class Place>
    static __device__ __forceinline__ void settle_gated(RawChunk (&y)[G::CHUNKS], unsigned int pending,
                                                        const Moments& moments, const Parameters<Element>& weight,
                                                        const G& group, const RowArgs& args, const Place& place) {
        const Address x = place.template x<Element>(args);
        const Address gate = args.gate == nullptr ? x : place.template gate<Element>(args);
#pragma unroll 1
        for (; pending != 0; pending &= pending - 1) {
            const unsigned int place = __ffs(pending) - 1;
            // By arithmetic: an array that is indexed so would lie in local memory.
            const unsigned int line = group.first(1) - group.first(0);
            const unsigned int at = group.first(0) + place / LENGTH * line + place % LENGTH;
            TwoFloat result = {1.0f, 0.0f};
            if (args.gate != nullptr) {
                result = Statistic::normalise(Element::widen(load_16(column<Element>(x, at))), moments);
            }
            const float gain = weight.exist() ? weight.at(at) + args.weight_offset : 1.0f;
            result = multiply(before_weight(result, args), gain);
            // Past f32's range the low part is no number. One of the bounds got no further than its end.
            result = isinf(result.hi) ? TwoFloat{result.hi, 0.0f} : normalised(result);
            const float z = Element::widen(load_16(column<Element>(gate, at)));
            result = multiply(activate_in_two(args.activation, args.activation_parameter, z), result);
            const unsigned int shift = 16 * (place % 2);
            const unsigned int bits = narrow_two<Element>(result) << shift;
            // By masks: of a choice between registers the compiler would make an array in local memory.
#pragma unroll
            for (unsigned int w = 0; w < 4 * G::CHUNKS; ++w) {
                unsigned int& word = y[w / 4].words[w % 4];
                const unsigned int replaced = w == place / 2 ? 0xffffu << shift : 0;
                word = (word & ~replaced) | (bits & replaced);
            }
        }
    }
};

}  // namespace warpnorm
