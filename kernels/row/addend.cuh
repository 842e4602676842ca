// Addends: what is added to a row once it is normalised and multiplied by its weights.
#pragma once

#include "args.cuh"
#include "group.cuh"
#include "parameters.cuh"
#include "place.cuh"
#include "transfer.cuh"

namespace warpnorm {

/// What is added to v·(γ + γ₀): β; or the residual r, and the sum is multiplied by `scale`.
template <class Element>
struct Addend {
    Parameters<Element> from;
    float scale = 1.0f;
    bool each = false;    // norm, sum and product are each rounded to the activation type
    bool of_row = false;  // it is r, a row of its own
    bool apart = false;   // neighbours' elements of r may be read, as load_chunk says
    bool always = false;  // added without a question, as zeros where there is none; known when compiled

    template <class Place>
    static __device__ __forceinline__ Addend bias(const RowArgs& args, const Place& place) {
        Addend addend = {place.template bias<Element>(args)};
        addend.always = place.path != Path::GENERAL;
        return addend;
    }
    static __device__ __forceinline__ Addend residual(const RowArgs& args, const WholeRow& place) {
        return {place.residual<Element>(args), args.post_scale, (args.flags & ROUND_EACH) != 0, true,
                (args.flags & APART) != 0};
    }

    __device__ __forceinline__ bool by_step() const { return from.is_f32 && !of_row; }

    /// Those of all chunks of a group, where parameters are of the activation type.
    __device__ __forceinline__ void load_chunks_of(RawChunk (&chunks)[Group<Element>::CHUNKS],
                                                   const Group<Element>& group) const {
        if (always) {
            from.load_all_or(Parameters<Element>::negative_zeros(), chunks, group);
        } else if (from.exist()) {
            load_chunks<Element>(chunks, from.base, group, true);
        }
    }

    /// Those of a chunk, where they are not loaded step by step.
    __device__ __forceinline__ void load_chunk_of(RawChunk& raw, unsigned int c, const Group<Element>& group) const {
        if (of_row) {
            raw = load_chunk<Element>(from.base, c, group, apart);
        } else {
            from.load_chunk_of(raw, c, group);
        }
    }
};

}  // namespace warpnorm
