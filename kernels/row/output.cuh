// Outputs: y of a row once its moments are known, as the activation type holds it. What becomes of y is the
// sink's.
#pragma once

#include "args.cuh"
#include "group.cuh"
#include "parameters.cuh"
#include "source.cuh"
#include "statistic.cuh"

namespace warpnorm {

/// y = R(v·(γ + γ₀) + β), in the activation type.
///
/// 16-bit results are the correctly rounded ones. Two values are computed in f32, with a factor a little
/// larger and a little smaller than rstd, so that the exact y lies between them. Where both round to the
/// same 16-bit value, that is the result. Where they do not, in about one element of a thousand (f16) or
/// of eight thousand (bf16), and where β cancels the product, y is computed again in two floats. So is v
/// where the op rounds it before the weight.
template <class Statistic, class Element>
struct Output {
    using G = Group<Element>;
    static constexpr unsigned int LENGTH = G::LENGTH;

    /// By what share of itself the factor is made larger and smaller: twice 2^-24 for the last operation,
    /// whose rounding is directed, and half of one to spare. f32 results have one factor.
    static constexpr float MARGIN = Element::IS_F32 ? 0.0f : (Statistic::ROUNDINGS + 2.5f) / 16777216.0f;

    /// The weights of a group, loaded ahead of their use where they are of the activation type.
    struct Weights {
        RawChunk of[G::CHUNKS];
    };

    static __device__ __forceinline__ Weights load_weights(const G& group, const RowArgs& args) {
        const Parameters<Element> weight(args.weight, WIDE_WEIGHT, args);
        Weights weights;
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            weight.load_chunk_of(weights.of[c], group.first[c], group.valid[c]);
        }
        return weights;
    }

    /// Computes y chunk by chunk and hands each to `take`. `weights` is null where they were not loaded ahead.
    template <class Take>
    static __device__ __forceinline__ void each(const Values& values, const Moments& moments, const Weights* weights,
                                                const G& group, const RowArgs& args, const Take& take) {
        const Parameters<Element> weight(args.weight, WIDE_WEIGHT, args);
        const Parameters<Element> bias(args.bias, WIDE_BIAS, args);
        const Scale larger = scale_of(moments, MARGIN);
        const Scale smaller = scale_of(moments, -MARGIN);
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            const unsigned int column = group.first[c];
            const unsigned int valid = group.valid[c];
            RawChunk gains;
            RawChunk biases;
            if (weights != nullptr) {
                gains = weights->of[c];
            } else {
                weight.load_chunk_of(gains, column, valid);
            }
            bias.load_chunk_of(biases, column, valid);
            RawChunk y;
#pragma unroll
            for (unsigned int step = 0; step < LENGTH; step += STEP) {
                const unsigned int left = valid > step ? valid - step : 0;
                weight.load_step_of(gains, column + step, left);
                bias.load_step_of(biases, column + step, left);
                const Step of = {weight, bias, larger, smaller, gains, biases, step};
                const float* h = &values.at[c * LENGTH + step];
                if constexpr (Element::IS_F32) {
                    of.in_f32(y, h, moments, args);
                } else {
                    of.correctly_rounded(y, h, moments, args);
                }
            }
            take(c, y);
        }
    }

private:
    /// The output of STEP elements of a chunk, from place `step` of it on.
    struct Step {
        const Parameters<Element>& weight;
        const Parameters<Element>& bias;
        const Scale& larger;
        const Scale& smaller;
        const RawChunk& gains;
        const RawChunk& biases;
        unsigned int step;

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
            for (unsigned int e = 0; e < STEP; ++e) y[e] = Statistic::normalise(h[e], moments, larger);
            if (bias.exist()) {
                float addend[STEP];
                bias.widen(addend, biases, step);
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) y[e] = __fmaf_rn(y[e], factor[e], addend[e]);
            } else {
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) y[e] *= factor[e];
            }
            chunk = narrow_chunk<F32>(y);
        }

        __device__ __forceinline__ void correctly_rounded(RawChunk& chunk, const float* h, const Moments& moments,
                                                          const RowArgs& args) const {
            float outer[STEP];
            float inner[STEP];
#pragma unroll
            for (unsigned int e = 0; e < STEP; ++e) {
                outer[e] = Statistic::normalise(h[e], moments, larger);
                inner[e] = Statistic::normalise(h[e], moments, smaller);
            }
            // The bits of each pair of elements on whose rounding the two do not agree.
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
            if (bias.exist()) {
                bias.widen(addend, biases, step);
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) {
                    outer[e] = __fmaf_ru(outer[e], factor[e], addend[e]);
                    inner[e] = __fmaf_rd(inner[e], factor[e], addend[e]);
                }
            } else {
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) {
                    outer[e] = __fmul_ru(outer[e], factor[e]);
                    inner[e] = __fmul_rd(inner[e], factor[e]);
                }
            }
            unsigned int* words = &chunk.words[step / 2];
#pragma unroll
            for (unsigned int e = 0; e < STEP; e += 2) {
                words[e / 2] = narrow_pair<Element>(outer[e], outer[e + 1]);
                doubt[e / 2] |= words[e / 2] ^ narrow_pair<Element>(inner[e], inner[e + 1]);
            }
            if ((doubt[0] | doubt[1]) != 0) settle(words, doubt, h, factor, addend, moments, args);
        }

        /// Computes the elements in doubt again, in two floats.
        __device__ __forceinline__ void settle(unsigned int* words, const unsigned int (&doubt)[STEP / 2],
                                               const float* h, const float (&factor)[STEP],
                                               const float (&addend)[STEP], const Moments& moments,
                                               const RowArgs& args) const {
            unsigned int pending = (doubt[0] & 0xffffu ? 1 : 0) | (doubt[0] >> 16 ? 2 : 0) |
                                   (doubt[1] & 0xffffu ? 4 : 0) | (doubt[1] >> 16 ? 8 : 0);
#pragma unroll 1
            for (; pending != 0; pending &= pending - 1) {
                const unsigned int element = __ffs(pending) - 1;
                TwoFloat y = Statistic::normalise(pick(element, h), moments);
                if (args.flags & ROUND_BEFORE_WEIGHT) {
                    y = {Element::widen(static_cast<typename Element::Bits>(narrow_two<Element>(y))), 0.0f};
                }
                const float gain = pick(element, factor);
                TwoFloat product = two_product(y.hi, gain);
                product.lo = __fmaf_rn(y.lo, gain, product.lo);
                y = fast_two_sum(product.hi, product.lo);
                if (bias.exist()) {
                    const TwoFloat sum = two_sum(y.hi, pick(element, addend));
                    y = normalised({sum.hi, sum.lo + y.lo});
                }
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
};

}  // namespace warpnorm
