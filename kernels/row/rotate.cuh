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
    template <unsigned int GROUPS>
    static __device__ __forceinline__ void agree(RotateOf (&)[GROUPS], const Team&, const RowArgs&,
                                                 const PartOfRow&, bool) {}

    __device__ __forceinline__ void take(unsigned int c, const RawChunk& chunk, const G&, const RowArgs&,
                                         const PartOfRow&) {
        y[c] = chunk;
    }

    /// Called by every thread of the CTA.
    static __device__ __forceinline__ void store(RotateOf (&sinks)[1], const Team& team, const G* groups,
                                                 const RowArgs& args, const PartOfRow& place) {
        if (args.rope.half != 0) sinks[0].rotate(team, groups[0], args, place);
        StoreOf<Output, Element> sink;
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) sink.take(c, sinks[0].y[c], groups[0], args, place);
    }

private:
    __device__ __forceinline__ void rotate(const Team& team, const G& group, const RowArgs& args,
                                           const PartOfRow& place) {
        // Line by line, the chunks that the threads hold: chunk j of a head is in line j / threads of its team, at
        // the place of the thread j % threads.
        __shared__ uint4 lines[G::CHUNKS * ROTATING_THREADS];
        const bool in_halves = !(args.flags & INTERLEAVED);
        if (in_halves) {
#pragma unroll
            for (unsigned int c = 0; c < G::CHUNKS; ++c) lines[c * ROTATING_THREADS + threadIdx.x] = to_words(y[c]);
            // A team is in one warp.
            __syncwarp();
        }
        if (group.elements() == 0) return;
        const Lines head = {lines + (threadIdx.x - team.rank), team.threads};
        const Angles angles(args, position_of(args, place.row));
        const unsigned int half = args.rope.half;
        const bool whole_chunks = half % LENGTH == 0;
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            const unsigned int first = group.first(c);
            const unsigned int valid = min(group.valid[c], 2 * half > first ? 2 * half - first : 0);
            if (valid == 0) continue;
            float cos[LENGTH];
            float sin[LENGTH];
            RawChunk partner;
            if (!in_halves) {
                partner = neighbours(y[c]);
                angles.of_pairs(cos, sin, first / 2, valid);
            } else if (whole_chunks) {
                const bool lower = first < half;
                partner = head.chunk(lower ? first + half : first - half);
                angles.of_chunk(cos, sin, lower ? first : first - half, lower);
            } else {
                head.elements(partner, first, valid, half);
                angles.of_elements(cos, sin, first, valid, half);
            }
            float rotated[LENGTH];
#pragma unroll
            for (unsigned int e = 0; e < LENGTH; ++e) {
                const float value = element_of<Element>(y[c], e);
                const float turned = element_of<Element>(partner, e) * sin[e];
                if (args.flags & ROUND_ROTATION) {
                    rotated[e] = round_to<Element>(value * cos[e]) + round_to<Element>(turned);
                } else {
                    rotated[e] = __fmaf_rn(value, cos[e], turned);
                }
                if (e >= valid) rotated[e] = value;
            }
            y[c] = narrow_chunk<Element>(rotated);
        }
    }

    /// Every element's neighbour, of pairs 2i and 2i + 1.
    static __device__ __forceinline__ RawChunk neighbours(const RawChunk& raw) {
        if constexpr (Element::IS_F32) {
            return {{raw.words[1], raw.words[0], raw.words[3], raw.words[2]}};
        } else {
            RawChunk swapped;
#pragma unroll
            for (unsigned int w = 0; w < 4; ++w) swapped.words[w] = __byte_perm(raw.words[w], 0, 0x1032);
            return swapped;
        }
    }

    /// The head as its team holds it.
    struct Lines {
        const uint4* first;  // of the team's first thread
        unsigned int threads;

        __device__ __forceinline__ const uint4& at(unsigned int chunk) const {
            return first[chunk / threads * ROTATING_THREADS + chunk % threads];
        }
        __device__ __forceinline__ RawChunk chunk(unsigned int column) const { return from_words(at(column / LENGTH)); }

        /// The partners of the elements from `column` on, one by one: where halves are not made of whole chunks.
        __device__ __forceinline__ void elements(RawChunk& raw, unsigned int column, unsigned int valid,
                                                 unsigned int half) const {
            float values[LENGTH];
#pragma unroll
            for (unsigned int e = 0; e < LENGTH; ++e) {
                const unsigned int from = column + e < half ? column + e + half : column + e - half;
                values[e] = 0.0f;
                if (e < valid) {
                    const Bits* chunk = reinterpret_cast<const Bits*>(&at(from / LENGTH));
                    values[e] = Element::widen(chunk[from % LENGTH]);
                }
            }
            raw = narrow_chunk<Element>(values);
        }
    };

    /// cos and sin of a position; the sine negative for the first element of a pair, which loses by it.
    struct Angles {
        Parameters<Element> cos;
        Parameters<Element> sin;

        __device__ __forceinline__ Angles(const RowArgs& args, unsigned long long position)
            : cos(args.rope.cos, args.flags & TABLES_F32, position * args.rope.cos_stride),
              sin(args.rope.sin, args.flags & TABLES_F32, position * args.rope.sin_stride) {}

        /// Of a whole chunk of one half.
        __device__ __forceinline__ void of_chunk(float (&cos_of)[LENGTH], float (&sin_of)[LENGTH], unsigned int index,
                                                 bool lower) const {
            of_chunk(cos_of, cos, index);
            of_chunk(sin_of, sin, index);
#pragma unroll
            for (unsigned int e = 0; e < LENGTH; ++e) sin_of[e] = lower ? -sin_of[e] : sin_of[e];
        }

        static __device__ __forceinline__ void of_chunk(float (&values)[LENGTH], const Parameters<Element>& table,
                                                        unsigned int index) {
            RawChunk raw;
            if (!table.is_f32) {
                raw = load_chunk<Element>(column<Element>(table.base, index), LENGTH, is_wide(table.base));
            }
#pragma unroll
            for (unsigned int step = 0; step < LENGTH; step += STEP) {
                table.load_step_of(raw, index, step, STEP);
                float of_step[STEP];
                table.widen(of_step, raw, step);
#pragma unroll
                for (unsigned int e = 0; e < STEP; ++e) values[step + e] = of_step[e];
            }
        }

        /// Of neighbours, from pair `index` on.
        __device__ __forceinline__ void of_pairs(float (&cos_of)[LENGTH], float (&sin_of)[LENGTH], unsigned int index,
                                                 unsigned int valid) const {
#pragma unroll
            for (unsigned int e = 0; e < LENGTH; e += 2) {
                const bool there = e < valid;
                cos_of[e] = cos_of[e + 1] = there ? cos.at(index + e / 2) : 0.0f;
                sin_of[e + 1] = there ? sin.at(index + e / 2) : 0.0f;
                sin_of[e] = -sin_of[e + 1];
            }
        }

        /// Of elements of either half.
        __device__ __forceinline__ void of_elements(float (&cos_of)[LENGTH], float (&sin_of)[LENGTH],
                                                    unsigned int column, unsigned int valid,
                                                    unsigned int half) const {
#pragma unroll
            for (unsigned int e = 0; e < LENGTH; ++e) {
                const bool lower = column + e < half;
                const unsigned int index = lower ? column + e : column + e - half;
                const float magnitude = e < valid ? sin.at(index) : 0.0f;
                cos_of[e] = e < valid ? cos.at(index) : 0.0f;
                sin_of[e] = lower ? -magnitude : magnitude;
            }
        }
    };

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
