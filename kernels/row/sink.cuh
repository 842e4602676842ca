// Sinks: what becomes of the normalised values of a row.
#pragma once

#include "args.cuh"
#include "group.cuh"
#include "source.cuh"

namespace warpnorm {

/// The weights or biases that belong to one chunk, as they lie in memory: in the activation type or
/// in f32, in which a chunk of 16-bit activations takes two chunks of parameters.
template <class Element>
struct Parameters {
    static constexpr unsigned int LENGTH = CHUNK<Element>;
    static constexpr unsigned int F32_CHUNKS = LENGTH / CHUNK<F32>;

    RawChunk raw[F32_CHUNKS];

    __device__ __forceinline__ void load(Address base, unsigned int first, unsigned int valid, bool wide,
                                         bool is_f32) {
        if (Element::IS_F32 || is_f32) {
            raw[0] = load_chunk<F32>(column<F32>(base, first), min(valid, CHUNK<F32>), wide);
            if constexpr (F32_CHUNKS == 2) {
                raw[1] = load_chunk<F32>(column<F32>(base, first + CHUNK<F32>), beyond<CHUNK<F32>>(valid), wide);
            }
        } else {
            raw[0] = load_chunk<Element>(column<Element>(base, first), valid, wide);
        }
    }

    __device__ __forceinline__ void widen(float (&values)[LENGTH], bool is_f32) const {
        if (Element::IS_F32 || is_f32) {
#pragma unroll
            for (unsigned int e = 0; e < LENGTH; ++e) {
                values[e] = element_of<F32>(raw[e / CHUNK<F32>], e % CHUNK<F32>);
            }
        } else {
#pragma unroll
            for (unsigned int e = 0; e < LENGTH; ++e) values[e] = element_of<Element>(raw[0], e);
        }
    }
};

/// y = R(v·(γ + γ₀) + β), in the activation type.
template <class Element>
struct Store {
    using G = Group<Element>;

    /// Whether a row that stays in registers has registers left for its weights, so that they are on
    /// their way while the row is reduced. With f32 activations they would spill.
    static constexpr bool WEIGHTS_FIRST = !Element::IS_F32;

    /// The weights of a group, loaded ahead of their use.
    struct Weights {
        Parameters<Element> of[G::CHUNKS];
    };

    static __device__ __forceinline__ void load_weight(Parameters<Element>& weight, const G& group, unsigned int c,
                                                       const RowArgs& args) {
        weight.load(address_of(args.weight), group.first[c], group.valid[c], args.flags & WIDE_WEIGHT,
                    args.flags & PARAMETERS_F32);
    }

    static __device__ __forceinline__ Weights load_weights(const G& group, const RowArgs& args) {
        Weights weights;
        if (args.weight != nullptr) {
#pragma unroll
            for (unsigned int c = 0; c < G::CHUNKS; ++c) load_weight(weights.of[c], group, c, args);
        }
        return weights;
    }

    /// `weights` is null where they were not loaded ahead.
    static __device__ __forceinline__ void store(Values& values, const Weights* weights, const G& group,
                                                 const RowArgs& args, unsigned long long row) {
        if (args.flags & ROUND_BEFORE_WEIGHT) round_values<Element>(values);
        const bool parameters_f32 = args.flags & PARAMETERS_F32;
        const Address y = row_address<Element>(args.y, row, args.y_stride);
        // Chunk by chunk, so that no more than one chunk of gains and biases is held in registers.
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            float* chunk = &values.at[c * G::LENGTH];
            float gain[G::LENGTH];
            if (args.weight != nullptr) {
                Parameters<Element> weight;
                if (weights != nullptr) {
                    weight = weights->of[c];
                } else {
                    load_weight(weight, group, c, args);
                }
                weight.widen(gain, parameters_f32);
#pragma unroll
                for (unsigned int e = 0; e < G::LENGTH; ++e) gain[e] += args.weight_offset;
            }
            if (args.bias != nullptr) {
                Parameters<Element> biases;
                biases.load(address_of(args.bias), group.first[c], group.valid[c], args.flags & WIDE_BIAS,
                            parameters_f32);
                float bias[G::LENGTH];
                biases.widen(bias, parameters_f32);
#pragma unroll
                for (unsigned int e = 0; e < G::LENGTH; ++e) {
                    chunk[e] = args.weight != nullptr ? __fmaf_rn(chunk[e], gain[e], bias[e]) : chunk[e] + bias[e];
                }
            } else if (args.weight != nullptr) {
#pragma unroll
                for (unsigned int e = 0; e < G::LENGTH; ++e) chunk[e] *= gain[e];
            }
            store_chunk<Element>(column<Element>(y, group.first[c]), chunk, group.valid[c], args.flags & WIDE_Y);
        }
    }
};

}  // namespace warpnorm
