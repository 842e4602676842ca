// Parameters: vectors of `hidden` elements that rows share, or that each row has one of.
#pragma once

#include "args.cuh"
#include "group.cuh"
#include "transfer.cuh"

namespace warpnorm {

/// Elements that are worked on at a time: what fits the registers beside a row and its weights.
constexpr unsigned int STEP = 4;

/// A vector of weights or biases, in the activation type or in f32.
template <class Element>
struct Parameters {
    static_assert(STEP == CHUNK<F32>, "f32 parameters are loaded step by step");

    Address base;  // 0: there is none
    bool is_f32;

    /// `first` elements into a vector, which may be null.
    __device__ __forceinline__ Parameters(const void* vector, bool is_f32, unsigned long long first = 0)
        : base(vector == nullptr ? 0 : address_of(vector)),
          is_f32(Element::IS_F32 || (is_f32 && vector != nullptr)) {
        if (exist()) base += first * (this->is_f32 ? sizeof(float) : sizeof(typename Element::Bits));
    }

    __device__ __forceinline__ bool exist() const { return base != 0; }

    /// Ones in place of a chunk of weights that are not there.
    static __device__ __forceinline__ RawChunk ones() { return all(Element::ONE); }

    /// Negative zeros in place of what is not there to be added: a zero that they are added to keeps its sign.
    static __device__ __forceinline__ RawChunk negative_zeros() { return all(Element::NEGATIVE_ZERO); }

    /// Weights of a chunk, where they are not loaded step by step; ones where there are none.
    __device__ __forceinline__ void load_weights_of(RawChunk& raw, unsigned int c, const Group<Element>& group) const {
        if (exist()) {
            load_chunk_of(raw, c, group);
        } else {
            raw = ones();
        }
    }

    /// Those of all chunks of a group.
    __device__ __forceinline__ void load_weights(RawChunk (&chunks)[Group<Element>::CHUNKS],
                                                 const Group<Element>& group) const {
        if (group.path != Path::GENERAL) {
            load_all_or(ones(), chunks, group);
        } else {
#pragma unroll
            for (unsigned int c = 0; c < Group<Element>::CHUNKS; ++c) load_weights_of(chunks[c], c, group);
        }
    }

    /// Those of all chunks of a group, or what is in the place of each where there are none. Not on the general path.
    __device__ __forceinline__ void load_all_or(const RawChunk& absent, RawChunk (&chunks)[Group<Element>::CHUNKS],
                                                const Group<Element>& group) const {
        if (exist()) {
            load_chunks<Element>(chunks, base, group, true);
            return;
        }
#pragma unroll
        for (unsigned int c = 0; c < Group<Element>::CHUNKS; ++c) {
            chunks[c] = absent;
            // Here, and not in front of the branch whatever there is.
#pragma unroll
            for (unsigned int w = 0; w < 4; ++w) asm volatile("" : "+r"(chunks[c].words[w]));
        }
    }

    /// Those of a chunk, where they are of the activation type.
    __device__ __forceinline__ void load_chunk_of(RawChunk& raw, unsigned int c, const Group<Element>& group) const {
        if (exist() && !is_f32) raw = load_chunk<Element>(base, c, group, false);
    }

    /// Those of a step of a chunk, where they are f32; `valid` of the elements from the step on exist.
    __device__ __forceinline__ void load_step_of(RawChunk& raw, unsigned int column, unsigned int step,
                                                 unsigned int valid) const {
        if (exist() && is_f32) {
            const Address from = warpnorm::column<F32>(base, column) + step * sizeof(float);
            raw = load_chunk<F32>(from, min(valid, STEP), is_wide(base));
        }
    }

    /// One of them.
    __device__ __forceinline__ float at(unsigned int at) const {
        if constexpr (!Element::IS_F32) {
            if (!is_f32) return Element::widen(load_16(warpnorm::column<Element>(base, at)));
        }
        return load_f32(warpnorm::column<F32>(base, at));
    }

    /// The parameters of the elements of a step.
    __device__ __forceinline__ void widen(float (&values)[STEP], const RawChunk& raw, unsigned int step) const {
        if (is_f32) {
#pragma unroll
            for (unsigned int e = 0; e < STEP; ++e) values[e] = element_of<F32>(raw, e);
        } else if constexpr (!Element::IS_F32) {
#pragma unroll
            for (unsigned int e = 0; e < STEP; ++e) values[e] = element_of<Element>(raw, step + e);
        }
    }

private:
    /// A chunk of elements with these bits.
    static __device__ __forceinline__ RawChunk all(unsigned int bits) {
        const unsigned int word = Element::IS_F32 ? bits : bits * 0x10001u;
        return {{word, word, word, word}};
    }
};

}  // namespace warpnorm
