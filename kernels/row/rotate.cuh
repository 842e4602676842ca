// The sink that rotates heads by their positions before it stores them. The formulas stand in src/rope.rs.
#pragma once

#include "store.cuh"

namespace warpnorm {

/// Threads of a CTA whose heads are rotated: teams of at most a warp, side by side.
constexpr unsigned int ROTATING_THREADS = 128;

template <class Output_, class Element>
struct RotateOf {
    using Output = Output_;
    using G = Group<Element>;
    using Bits = typename Element::Bits;
    static constexpr unsigned int LENGTH = G::LENGTH;

    /// Heads longer than a team's registers are not rotated.
    using Looped = StoreOf<Output, Element>;

    static constexpr bool COLLECTIVE = true;

    /// y of a group.
    RawChunk y[G::CHUNKS];

    static __device__ __forceinline__ bool observes(const RowArgs&) { return false; }
    __device__ __forceinline__ void observe(const G&) {}
    __device__ __forceinline__ void agree(const Team&, const RowArgs&, const PartOfRow&, bool) {}

    __device__ __forceinline__ void take(unsigned int c, const RawChunk& chunk, const G&, const RowArgs&,
                                         const PartOfRow&) {
        y[c] = chunk;
    }

    /// Called by every thread of the CTA.
    __device__ __forceinline__ void store(const Team& team, const G& group, const RowArgs& args,
                                          const PartOfRow& place) {
        if (args.rope.half != 0) rotate(team, group, args, place);
        StoreOf<Output, Element> sink;
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) sink.take(c, y[c], group, args, place);
    }

private:
    __device__ __forceinline__ void rotate(const Team& team, const G& group, const RowArgs& args,
                                           const PartOfRow& place) {
        // The head as it lies in its row, for the threads that hold the elements rotated with one's own.
        __shared__ uint4 heads[ROTATING_THREADS * G::CHUNKS];
        uint4* const head = heads + team.index * team.threads * G::CHUNKS;
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) head[group.first[c] / LENGTH] = to_words(y[c]);
        // A team is in one warp.
        __syncwarp();
        if (group.elements() == 0) return;
        const unsigned long long position = position_of(args, place.row);
        const bool is_f32 = args.flags & TABLES_F32;
        const Parameters<Element> cos(args.rope.cos, false, is_f32, position * args.rope.cos_stride);
        const Parameters<Element> sin(args.rope.sin, false, is_f32, position * args.rope.sin_stride);
        const Bits* const elements = reinterpret_cast<const Bits*>(head);
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            float rotated[LENGTH];
#pragma unroll
            for (unsigned int e = 0; e < LENGTH; ++e) {
                const unsigned int at = group.first[c] + e;
                rotated[e] = element_of<Element>(y[c], e);
                if (e < group.valid[c] && at < 2 * args.rope.half) {
                    const Pair pair(at, args);
                    rotated[e] = rotated_by(rotated[e], Element::widen(elements[pair.partner]), cos.at(pair.index),
                                            sin.at(pair.index), pair.first, args);
                }
            }
            y[c] = narrow_chunk<Element>(rotated);
        }
    }

    /// Where an element's partner is, which angle is theirs, and which of the two it is.
    struct Pair {
        unsigned int partner;
        unsigned int index;
        bool first;

        __device__ __forceinline__ Pair(unsigned int at, const RowArgs& args) {
            if (args.flags & INTERLEAVED) {
                first = at % 2 == 0;
                partner = at ^ 1;
                index = at / 2;
            } else {
                first = at < args.rope.half;
                partner = first ? at + args.rope.half : at - args.rope.half;
                index = first ? at : partner;
            }
        }
    };

    static __device__ __forceinline__ float rotated_by(float value, float partner, float cos, float sin, bool first,
                                                       const RowArgs& args) {
        const float turned = first ? -partner * sin : partner * sin;
        if (args.flags & ROUND_ROTATION) return round_to<Element>(value * cos) + round_to<Element>(turned);
        return __fmaf_rn(value, cos, turned);
    }

    /// Positions past the tables, negative ones among them, take the last: nothing beyond is read.
    static __device__ __forceinline__ unsigned long long position_of(const RowArgs& args, unsigned long long row) {
        unsigned long long position = row;
        if (args.rope.positions != nullptr) {
            const Address positions = address_of(args.rope.positions);
            position = args.flags & POSITIONS_64
                           ? load_64(positions + row * 8)
                           : static_cast<unsigned long long>(static_cast<long long>(
                                 static_cast<int>(load_32(positions + row * 4))));
        }
        return min(position, args.rope.entries - 1);
    }
};

/// Heads, rotated where they are given their positions.
template <class Statistic, class Element>
using Rotate = RotateOf<Output<Statistic, Element, false>, Element>;

}  // namespace warpnorm
