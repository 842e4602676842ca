// Sources: where the values h of a row come from.
//
// A source loads raw chunks first and computes later. `h` returns what the statistic sees; `output`
// turns that into what the output is computed from; `store_residual` writes the new residual stream.
#pragma once

#include "args.cuh"
#include "group.cuh"
#include "parameters.cuh"

namespace warpnorm {

/// Where a row of a strided tensor begins.
template <class Element>
__device__ __forceinline__ Address row_address(const void* base, unsigned long long row,
                                                   unsigned long long stride) {
    return address_of(base) + row * stride * sizeof(typename Element::Bits);
}

template <class Element>
__device__ __forceinline__ void round_values(Values& values) {
    if constexpr (!Element::IS_F32) {
#pragma unroll
        for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) values.at[e] = round_to<Element>(values.at[e]);
    }
}

/// Stores the values of a group to a row.
template <class Element>
__device__ __forceinline__ void store_group(Address row, const Group<Element>& group, const Values& values, bool wide) {
    constexpr unsigned int LENGTH = Group<Element>::LENGTH;
#pragma unroll
    for (unsigned int c = 0; c < Group<Element>::CHUNKS; ++c) {
        store_chunk<Element>(column<Element>(row, group.first[c]), &values.at[c * LENGTH], group.valid[c], wide);
    }
}

/// h = x.
template <class Element_>
struct Plain {
    using Element = Element_;
    using G = Group<Element>;

    static constexpr unsigned int INPUTS = 1;

    Address x;
    bool wide_x;

    __device__ __forceinline__ Plain(const RowArgs& args, unsigned long long row)
        : x(row_address<Element>(args.x, row, args.x_stride)), wide_x(args.flags & WIDE_X) {}

    struct Raw {
        RawChunk x[G::CHUNKS];
    };

    __device__ __forceinline__ Raw load(const G& group) const {
        Raw raw;
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            raw.x[c] = load_chunk<Element>(column<Element>(x, group.first[c]), group.valid[c], wide_x);
        }
        return raw;
    }

    __device__ __forceinline__ Values h(const Raw& raw, const G&, const RowArgs&) const {
        Values values;
#pragma unroll
        for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
            values.at[e] = element_of<Element>(raw.x[e / G::LENGTH], e % G::LENGTH);
        }
        return values;
    }

    /// A stage keeps the row as it came, chunk j at place j.
    static __device__ __forceinline__ void stage(uint4* stage, const Raw& raw, const Values&, const G& group,
                                                 const RowArgs&) {
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            if (group.valid[c] > 0) stage[group.first[c] / G::LENGTH] = to_words(raw.x[c]);
        }
    }
    __device__ __forceinline__ Values staged(const uint4* stage, const G& group, const RowArgs& args) const {
        Raw raw = {};
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            if (group.valid[c] > 0) raw.x[c] = from_words(stage[group.first[c] / G::LENGTH]);
        }
        return h(raw, group, args);
    }

    __device__ __forceinline__ void output(Values&, const RowArgs&) const {}
    __device__ __forceinline__ void store_residual(const Values&, const G&, const RowArgs&, unsigned long long) const {}
};

/// h = (α·r + x) + b, where b is the bias of the Linear that x comes from, if there is one, and the new residual stream R(h) where it is asked for.
template <class Element_>
struct ResidualAdd {
    using Element = Element_;
    using G = Group<Element>;

    static constexpr unsigned int INPUTS = 2;

    Address x;
    Address residual;
    bool wide_x;
    bool wide_residual;

    __device__ __forceinline__ ResidualAdd(const RowArgs& args, unsigned long long row)
        : x(row_address<Element>(args.x, row, args.x_stride)),
          residual(row_address<Element>(args.residual, row, args.residual_stride)),
          wide_x(args.flags & WIDE_X),
          wide_residual(args.flags & WIDE_RESIDUAL) {}

    struct Raw {
        RawChunk x[G::CHUNKS];
        RawChunk residual[G::CHUNKS];
    };

    __device__ __forceinline__ Raw load(const G& group) const {
        Raw raw;
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            raw.x[c] = load_chunk<Element>(column<Element>(x, group.first[c]), group.valid[c], wide_x);
            raw.residual[c] =
                load_chunk<Element>(column<Element>(residual, group.first[c]), group.valid[c], wide_residual);
        }
        return raw;
    }

    __device__ __forceinline__ Values h(const Raw& raw, const G& group, const RowArgs& args) const {
        Values values;
#pragma unroll
        for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
            const unsigned int c = e / G::LENGTH;
            values.at[e] = __fmaf_rn(args.residual_scale, element_of<Element>(raw.residual[c], e % G::LENGTH),
                                     element_of<Element>(raw.x[c], e % G::LENGTH));
        }
        if (args.linear_bias != nullptr) add_linear_bias(values, group, args);
        if (args.flags & ROUND_STATISTIC) round_values<Element>(values);
        return values;
    }

    /// Adds b, which is not loaded ahead: there are no registers for it.
    static __device__ __forceinline__ void add_linear_bias(Values& values, const G& group, const RowArgs& args) {
        const Address bias = address_of(args.linear_bias);
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            const RawChunk chunk = load_chunk<Element>(column<Element>(bias, group.first[c]), group.valid[c],
                                                       args.flags & WIDE_LINEAR_BIAS);
#pragma unroll
            for (unsigned int e = 0; e < G::LENGTH; ++e) {
                values.at[c * G::LENGTH + e] += element_of<Element>(chunk, e);
            }
        }
    }

    /// A stage keeps h in f32, since the sum may not fit the storage type: plane p holds the values
    /// 4p to 4p + 3 of every chunk, so that a warp's accesses stay contiguous.
    static constexpr unsigned int PLANES = G::LENGTH / CHUNK<F32>;

    static __device__ __forceinline__ unsigned int chunks(const RowArgs& args) {
        return (args.hidden - 1) / G::LENGTH + 1;
    }
    static __device__ __forceinline__ void stage(uint4* stage, const Raw&, const Values& h, const G& group,
                                                 const RowArgs& args) {
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            if (group.valid[c] == 0) continue;
#pragma unroll
            for (unsigned int plane = 0; plane < PLANES; ++plane) {
                const float* from = &h.at[c * G::LENGTH + plane * CHUNK<F32>];
                stage[plane * chunks(args) + group.first[c] / G::LENGTH] =
                    make_uint4(__float_as_uint(from[0]), __float_as_uint(from[1]), __float_as_uint(from[2]),
                               __float_as_uint(from[3]));
            }
        }
    }
    __device__ __forceinline__ Values staged(const uint4* stage, const G& group, const RowArgs& args) const {
        Values h = {};
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            if (group.valid[c] == 0) continue;
#pragma unroll
            for (unsigned int plane = 0; plane < PLANES; ++plane) {
                const uint4 words = stage[plane * chunks(args) + group.first[c] / G::LENGTH];
                float* to = &h.at[c * G::LENGTH + plane * CHUNK<F32>];
                to[0] = __uint_as_float(words.x);
                to[1] = __uint_as_float(words.y);
                to[2] = __uint_as_float(words.z);
                to[3] = __uint_as_float(words.w);
            }
        }
        return h;
    }

    __device__ __forceinline__ void output(Values& values, const RowArgs& args) const {
        if (args.flags & ROUND_OUTPUT) round_values<Element>(values);
    }

    __device__ __forceinline__ void store_residual(const Values& values, const G& group, const RowArgs& args,
                                                   unsigned long long row) const {
        if (args.residual_out != nullptr) {
            store_group<Element>(row_address<Element>(args.residual_out, row, args.residual_out_stride), group, values,
                                 args.flags & WIDE_RESIDUAL_OUT);
        }
    }
};

}  // namespace warpnorm
