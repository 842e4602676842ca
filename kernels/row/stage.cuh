// The stage: where what a CTA walks of a long row waits in shared memory, from one pass over it to the next.
//
// It has planes of one 16-byte word a chunk: as the chunks came, of each tensor that is staged; or of values in f32,
// which the storage type may not hold. Of those, plane p has the values 4p to 4p + 3 of every chunk, so that a warp's
// accesses stay contiguous.
#pragma once

#include "args.cuh"
#include "group.cuh"

namespace warpnorm {

template <class Element>
struct Stage {
    using G = Group<Element>;

    /// The address in shared memory that the first chunk of the whole row would have in the first plane.
    unsigned int row;

    __device__ __forceinline__ Stage(void* memory, const RowArgs& args) {
        const unsigned int before = Cluster::of_this_cta(args.cluster).rank() * columns(args);
        row = static_cast<unsigned int>(__cvta_generic_to_shared(memory)) - bytes_of(before);
    }

    /// Keeps where it begins, rather than have it computed anew for every chunk: where a register is left for it.
    __device__ __forceinline__ void keep() { asm volatile("" : "+r"(row)); }

    __device__ __forceinline__ void put(const RawChunk& raw, unsigned int column, unsigned int plane,
                                        const RowArgs& args) const {
        asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(at(column, plane, args)), "r"(raw.words[0]),
                     "r"(raw.words[1]), "r"(raw.words[2]), "r"(raw.words[3])
                     : "memory");
    }
    __device__ __forceinline__ RawChunk get(unsigned int column, unsigned int plane, const RowArgs& args) const {
        RawChunk raw;
        asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(raw.words[0]), "=r"(raw.words[1]), "=r"(raw.words[2]), "=r"(raw.words[3])
                     : "r"(at(column, plane, args))
                     : "memory");
        return raw;
    }

    /// Chunks as they came.
    __device__ __forceinline__ void put_chunks(const RawChunk (&chunks)[G::CHUNKS], const G& group, unsigned int plane,
                                               const RowArgs& args) const {
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            if (group.valid[c] > 0) put(chunks[c], group.first(c), plane, args);
        }
    }
    __device__ __forceinline__ void get_chunks(RawChunk (&chunks)[G::CHUNKS], const G& group, unsigned int plane,
                                               const RowArgs& args) const {
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            chunks[c] = {};
            if (group.valid[c] > 0) chunks[c] = get(group.first(c), plane, args);
        }
    }

    /// Values in f32.
    __device__ __forceinline__ void put_values(const Values& h, const G& group, const RowArgs& args) const {
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            if (group.valid[c] == 0) continue;
#pragma unroll
            for (unsigned int plane = 0; plane < G::LENGTH / CHUNK<F32>; ++plane) {
                const float* from = &h.at[c * G::LENGTH + plane * CHUNK<F32>];
                put({{__float_as_uint(from[0]), __float_as_uint(from[1]), __float_as_uint(from[2]),
                      __float_as_uint(from[3])}},
                    group.first(c), plane, args);
            }
        }
    }
    __device__ __forceinline__ Values get_values(const G& group, const RowArgs& args) const {
        Values h = {};
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            if (group.valid[c] == 0) continue;
#pragma unroll
            for (unsigned int plane = 0; plane < G::LENGTH / CHUNK<F32>; ++plane) {
                const RawChunk words = get(group.first(c), plane, args);
#pragma unroll
                for (unsigned int e = 0; e < CHUNK<F32>; ++e) {
                    h.at[c * G::LENGTH + plane * CHUNK<F32> + e] = __uint_as_float(words.words[e]);
                }
            }
        }
        return h;
    }

private:
    /// Columns that a CTA walks, but for the row's last.
    static __device__ __forceinline__ unsigned int columns(const RowArgs& args) {
        return args.cta_slabs * GROUP_ELEMENTS * args.team_threads;
    }
    /// Bytes of a plane that so many columns, which are whole chunks, take.
    static __device__ __forceinline__ unsigned int bytes_of(unsigned int columns) {
        return columns * (CHUNK_BYTES / G::LENGTH);
    }
    __device__ __forceinline__ unsigned int at(unsigned int column, unsigned int plane, const RowArgs& args) const {
        const unsigned int chunks = (min(args.hidden, columns(args)) - 1) / G::LENGTH + 1;
        return row + bytes_of(column) + plane * chunks * CHUNK_BYTES;
    }
};

}  // namespace warpnorm
