// The sink that rotates heads by their positions before it stores them. The formulas stand in src/rope.rs.
#pragma once

#include "store.cuh"

namespace warpnorm {

/// Threads of a CTA whose heads are rotated: teams of at most a warp, side by side.
constexpr unsigned int ROTATING_THREADS = MAX_TEAMS;

template <class Output_, class Element>
struct RotateOf {
    using Output = Output_;
    using G = Group<Element>;
    using Bits = typename Element::Bits;
    static constexpr unsigned int LENGTH = G::LENGTH;

    /// Heads longer than a team's registers are not rotated.
    using Looped = StoreOf<Output, Element>;

    static constexpr bool COLLECTIVE = true;
    /// Whether lanes of a team within a warp may do the work of two.
    static constexpr bool TAKES_PAIRED_LANES = true;

    /// Shared memory of the CTA, in which the lanes of a team find each other's chunks: chunk j of a head is in line
    /// j / threads of its team, at the place of the thread of rank j % threads.
    template <unsigned int GROUPS>
    struct Memory {
        uint4 lines[G::CHUNKS][GROUPS * ROTATING_THREADS];
    };

    /// y of a group.
    RawChunk y[G::CHUNKS];

    static __device__ __forceinline__ bool observes(const RowArgs&) { return false; }
    __device__ __forceinline__ void observe(const G&) {}
    template <unsigned int GROUPS>
    static __device__ __forceinline__ void agree(RotateOf (&)[GROUPS], Memory<GROUPS>&, const Team&, const RowArgs&,
                                                 const PartOfRow&, bool) {}

    __device__ __forceinline__ void take(unsigned int c, const RawChunk& chunk, const G&, const RowArgs&,
                                         const PartOfRow&) {
        y[c] = chunk;
    }

    /// Called by every thread of the CTA.
    template <unsigned int GROUPS>
    static __device__ __forceinline__ void store(RotateOf (&sinks)[GROUPS], Memory<GROUPS>& memory, const Team& team,
                                                 const G* groups, const RowArgs& args, const PartOfRow& place) {
        if (args.rope.half != 0) rotate(sinks, memory, team, groups, args, place);
        PartOfRow to = place;
        if (groups[0].is_aligned()) to.template keep_output<Element>(args);
        StoreOf<Output, Element> sink;
#pragma unroll
        for (unsigned int g = 0; g < GROUPS; ++g) {
#pragma unroll
            for (unsigned int c = 0; c < G::CHUNKS; ++c) sink.take(c, sinks[g].y[c], groups[g], args, to);
        }
    }

private:
    /// The head as its team holds it.
    struct Head {
        const uint4* first;   // of the team's first thread
        unsigned int line;    // from one line to the next
        unsigned int threads;

        __device__ __forceinline__ const uint4& at(unsigned int chunk) const {
            // A power of two.
            const unsigned int shift = 31 - __clz(threads);
            return first[(chunk >> shift) * line + (chunk & (threads - 1))];
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

    /// cos and sin of a position; where partners have no sign, the sine negative for the first element of a pair, which
    /// loses by it.
    struct Angles {
        Parameters<Element> cos;
        Parameters<Element> sin;

        __device__ __forceinline__ Angles(const RowArgs& args, unsigned long long position)
            : cos(args.rope.cos, args.flags & TABLES_F32, position * args.rope.cos_stride),
              sin(args.rope.sin, args.flags & TABLES_F32, position * args.rope.sin_stride) {}

        /// Of a whole chunk of one half, whose partners have the signs.
        __device__ __forceinline__ void of_chunk(float (&cos_of)[LENGTH], float (&sin_of)[LENGTH],
                                                 unsigned int index) const {
            of_chunk(cos_of, cos, index);
            of_chunk(sin_of, sin, index);
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

    template <unsigned int GROUPS>
    static __device__ __forceinline__ void rotate(RotateOf (&sinks)[GROUPS], Memory<GROUPS>& memory, const Team& team,
                                                  const G* groups, const RowArgs& args, const PartOfRow& place) {
        const bool in_halves = !(args.flags & INTERLEAVED);
        if (in_halves && args.rope.half == HALF * team.threads * LENGTH) {
            if (groups[0].valid[0] == 0) return;
            const Angles angles(args, position_of(args, place.row));
#pragma unroll
            for (unsigned int g = 0; g < GROUPS; ++g) sinks[g].rotate_own(groups[g], angles, args);
            return;
        }
        const unsigned int first = team.index * team.threads;
        if (in_halves) {
#pragma unroll
            for (unsigned int g = 0; g < GROUPS; ++g) {
#pragma unroll
                for (unsigned int c = 0; c < G::CHUNKS; ++c) {
                    memory.lines[c][first + team.rank + g * team.beside] = to_words(sinks[g].y[c]);
                }
            }
            // A team is in one warp.
            __syncwarp();
        }
        if (groups[0].valid[0] == 0) return;
        const Head head = {&memory.lines[0][first], GROUPS * ROTATING_THREADS, team.threads};
        const Angles angles(args, position_of(args, place.row));
#pragma unroll
        for (unsigned int g = 0; g < GROUPS; ++g) sinks[g].rotate_among(head, groups[g], angles, args);
    }

    /// Chunks of a group that lie in the lower half of a head that fills all groups of its team.
    static constexpr unsigned int HALF = G::CHUNKS / 2;

    /// Of such a head, a thread has the partners of all of its elements.
    __device__ __forceinline__ void rotate_own(const G& group, const Angles& angles, const RowArgs& args) {
#pragma unroll
        for (unsigned int c = 0; c < HALF; ++c) {
            float cos[LENGTH];
            float sin[LENGTH];
            angles.of_chunk(cos, sin, group.first(c));
            const RawChunk lower = y[c];
            y[c] = rotated(lower, negated(y[c + HALF]), cos, sin, args);
            y[c + HALF] = rotated(y[c + HALF], lower, cos, sin, args);
        }
    }

    __device__ __forceinline__ void rotate_among(const Head& head, const G& group, const Angles& angles,
                                                 const RowArgs& args) {
        const unsigned int half = args.rope.half;
        const bool whole_chunks = half % LENGTH == 0;
        // Code for one chunk: the chunks go round.
#pragma unroll 1
        for (unsigned int c = 0; c < G::CHUNKS; ++c, go_round<1>(y)) {
            const unsigned int first = group.first(c);
            if (first >= 2 * half) continue;
            const unsigned int valid = min(2 * half - first, LENGTH);
            float cos[LENGTH];
            float sin[LENGTH];
            RawChunk partner;
            if (args.flags & INTERLEAVED) {
                partner = neighbours(y[0]);
                angles.of_pairs(cos, sin, first / 2, valid);
            } else if (whole_chunks) {
                const bool lower = first < half;
                partner = head.chunk(lower ? first + half : first - half);
                if (lower) partner = negated(partner);
                angles.of_chunk(cos, sin, lower ? first : first - half);
            } else {
                head.elements(partner, first, valid, half);
                angles.of_elements(cos, sin, first, valid, half);
            }
            const RawChunk turned = rotated(y[0], partner, cos, sin, args);
            y[0] = valid == LENGTH ? turned : first_of(turned, valid, y[0]);
        }
    }

    static __device__ __forceinline__ RawChunk rotated(const RawChunk& chunk, const RawChunk& partner,
                                                       const float (&cos)[LENGTH], const float (&sin)[LENGTH],
                                                       const RowArgs& args) {
        float sums[LENGTH];
        if (args.flags & ROUND_ROTATION) {
#pragma unroll
            for (unsigned int e = 0; e < LENGTH; ++e) {
                sums[e] = round_to<Element>(element_of<Element>(chunk, e) * cos[e]) +
                          round_to<Element>(element_of<Element>(partner, e) * sin[e]);
            }
        } else {
#pragma unroll
            for (unsigned int e = 0; e < LENGTH; ++e) {
                sums[e] = __fmaf_rn(element_of<Element>(chunk, e), cos[e], element_of<Element>(partner, e) * sin[e]);
            }
        }
        return narrow_chunk<Element>(sums);
    }

    /// The first `count` elements of a chunk, and the others of another.
    static __device__ __forceinline__ RawChunk first_of(const RawChunk& chunk, unsigned int count, RawChunk other) {
#pragma unroll
        for (unsigned int w = 0; w < 4; ++w) {
            constexpr unsigned int PER_WORD = LENGTH / 4;
            const unsigned int taken = count > w * PER_WORD ? min(count - w * PER_WORD, PER_WORD) : 0;
            const unsigned int mask = taken == PER_WORD ? ~0u : taken == 0 ? 0u : 0xffffu;
            other.words[w] = (chunk.words[w] & mask) | (other.words[w] & ~mask);
        }
        return other;
    }

    static __device__ __forceinline__ RawChunk negated(RawChunk chunk) {
#pragma unroll
        for (unsigned int w = 0; w < 4; ++w) chunk.words[w] ^= Element::IS_F32 ? 0x80000000u : 0x80008000u;
        return chunk;
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
