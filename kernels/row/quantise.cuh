// The sink that stores y as codes, and the scales that they are under. The rules, and whose they are, stand in
// src/quantise/mod.rs.
//
// Quantisation starts from y as the activation type holds it (but for QuantiseWide), and y stays in registers until
// the largest magnitude of those that share a scale is known: of a row by one reduction of the team, of a group by one of
// the lanes that hold it.
#pragma once

#include "../common/scales.cuh"
#include "output.cuh"

namespace warpnorm {

/// What values are multiplied by, as that which has the place of a divisor.
__device__ __forceinline__ Divisor factor(float factor) { return {factor, 0.0f}; }

/// The codes of a group, and their way to memory: those of a chunk by themselves. So a warp stores whole sectors, as it would
/// if pairs of lanes exchanged their codes to store sixteen bytes each, in fewer instructions.
template <class Element>
struct CodeRows {
    using G = Group<Element>;
    static constexpr unsigned int LENGTH = G::LENGTH;
    // Of f32 activations y is not correctly rounded, and codes could not be exact.
    static_assert(!Element::IS_F32 && G::CHUNKS == 2, "16-bit activations are quantised, in two lines of chunks");

    /// The codes of a chunk as they lie in memory: a byte each, or half of one.
    static constexpr unsigned int WORDS = LENGTH / 4;
    struct Codes {
        unsigned int words[WORDS];
    };

    static __device__ __forceinline__ void store_codes(const Codes (&codes)[G::CHUNKS], const G& group,
                                                       const RowArgs& args, unsigned long long row) {
        const Address to = address_of(args.codes) + row * args.codes_stride;
        const bool halves = args.code == CodeType::E2M1;
        if (group.is_aligned()) {
            if (halves) return store_whole<WORDS / 2>(codes, to, group);
            return store_whole<WORDS>(codes, to, group);
        }
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            const unsigned int first = halves ? group.first(c) / 2 : group.first(c);
            const unsigned int bytes = halves ? (group.valid[c] + 1) / 2 : group.valid[c];
            store_bytes<WORDS>(to + first, codes[c].words, bytes, args.flags & WIDE_CODES);
        }
    }

private:
    /// Stores so many words of codes of every chunk.
    template <unsigned int OF_CHUNK>
    static __device__ __forceinline__ void store_whole(const Codes (&codes)[G::CHUNKS], Address to, const G& group) {
        constexpr unsigned int PER_BYTE = WORDS / OF_CHUNK;
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            const Address at = to + (group.first_of_all + c * group.between) / PER_BYTE + group.beside / PER_BYTE;
            if (group.valid[c] > 0) store_words<OF_CHUNK>(at, codes[c].words);
        }
    }
};

template <class Output_, class Element>
struct QuantiseOf : CodeRows<Element> {
    using Output = Output_;
    using Looped = QuantiseOf;
    using typename CodeRows<Element>::G;
    using typename CodeRows<Element>::Codes;
    using CodeRows<Element>::LENGTH;

    /// Whether threads act together in the sink, so that those without a row have to go along.
    static constexpr bool COLLECTIVE = true;
    /// Whether lanes of a team within a warp may do the work of two.
    static constexpr bool TAKES_PAIRED_LANES = false;

    /// y of a group. Places outside the row hold anything.
    struct Chunks {
        RawChunk of[G::CHUNKS];
    } y;
    /// The largest magnitude of the row so far; once the team has agreed, the row's scale. All that a thread
    /// keeps: there is no register left for more.
    float row_scale = 0.0f;

    /// Shared memory of the CTA.
    template <unsigned int GROUPS>
    struct Memory {
        Team::LargestSlots largest;
    };

    /// Whether all of a row's y must be seen before any can be stored.
    static __device__ __forceinline__ bool observes(const RowArgs& args) { return args.scaling == Scaling::PER_TOKEN; }

    /// Takes a chunk of y.
    __device__ __forceinline__ void take(unsigned int c, const RawChunk& chunk, const G&, const RowArgs&,
                                         const WholeRow&) {
        y.of[c] = chunk;
    }

    __device__ __forceinline__ void observe(const G& group) {
        if (group.is_aligned()) {
            // Of places outside the row y may be more than any in it, as −mean·rstd is far from 0. Where there is a chunk
            // of the second line, there is one of the first.
            if (group.valid[0] == 0) return;
            const RawChunk chunks[] = {y.of[0], group.valid[1] > 0 ? y.of[1] : y.of[0]};
            row_scale = fmaxf(row_scale, largest_magnitude<Element>(chunks));
        } else {
#pragma unroll
            for (unsigned int c = 0; c < G::CHUNKS; ++c) row_scale = fmaxf(row_scale, amax_of(y.of[c], group.valid[c]));
        }
    }

    /// Called by every thread of the CTA, once all of y has been observed, for all of its groups: all threads of a team
    /// get the row's scale.
    template <unsigned int GROUPS>
    static __device__ __forceinline__ void agree(QuantiseOf (&groups)[GROUPS], Memory<GROUPS>& memory, const Team& team,
                                                 const RowArgs& args, const WholeRow& place, bool exists) {
        if (!observes(args)) return;
        const float row_scale = fmaxf(groups[0].row_scale, groups[GROUPS - 1].row_scale);
        const float largest = team.largest(row_scale, memory.largest);
        const float scale = dynamic_scale(largest, args.dynamic);
#pragma unroll
        for (unsigned int g = 0; g < GROUPS; ++g) groups[g].row_scale = scale;
        if (exists && team.leads()) store_f32(address_of(args.scales) + place.row * sizeof(float), scale);
    }

    /// Stores the codes of a thread's groups, the scales that are their own and, where it is asked for, y. Called by every
    /// thread of the team's warps.
    template <unsigned int GROUPS>
    static __device__ __forceinline__ void store(const QuantiseOf (&sinks)[GROUPS], Memory<GROUPS>&, const Team& team,
                                                 const G* groups, const RowArgs& args, const WholeRow& place) {
        // Where the kernel is one for all calls, no registers are left for the values of all chunks.
        if (!groups[0].is_aligned()) {
#pragma unroll
            for (unsigned int g = 0; g < GROUPS; ++g) sinks[g].store_by_chunk(team, groups[g], args, place);
            return;
        }
        constexpr unsigned int CHUNKS = GROUPS * G::CHUNKS;
        Divisor divisors[CHUNKS];
        if (args.scale_group != 0) {
            by_groups(divisors, sinks, team, groups, args, place.row);
        } else {
            const Divisor of_row = sinks[0].by_row(args);
#pragma unroll
            for (Divisor& divisor : divisors) divisor = of_row;
        }
        if (args.y != nullptr) {
#pragma unroll
            for (unsigned int g = 0; g < GROUPS; ++g) sinks[g].store_y(groups[g], args, place);
        }
        RawChunk chunks[CHUNKS];
#pragma unroll
        for (unsigned int i = 0; i < CHUNKS; ++i) chunks[i] = sinks[i / G::CHUNKS].y.of[i % G::CHUNKS];
        Codes codes[CHUNKS];
        narrow(codes, chunks, divisors, args);
#pragma unroll
        for (unsigned int g = 0; g < GROUPS; ++g) {
            Codes of_group[G::CHUNKS];
#pragma unroll
            for (unsigned int c = 0; c < G::CHUNKS; ++c) of_group[c] = codes[g * G::CHUNKS + c];
            CodeRows<Element>::store_codes(of_group, groups[g], args, place.row);
        }
    }

private:
    __device__ __forceinline__ void store_y(const G& group, const RowArgs& args, const WholeRow& place) const {
        const Address row = place.y<Element>(args);
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) store_chunk<Element>(row, y.of[c], c, group);
    }

    /// What `store` does of a group, with code for one chunk.
    __device__ __forceinline__ void store_by_chunk(const Team& team, const G& group, const RowArgs& args,
                                                   const WholeRow& place) const {
        float largest[G::CHUNKS];
        Divisor by[1];
        if (args.scale_group != 0) {
            group_amax(largest, y, team, group, args);
        } else {
            by[0] = by_row(args);
        }
        Codes codes[G::CHUNKS];
#pragma unroll 1
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            // Asked for anew: no register is left for the answer.
            if (args.scale_group != 0) {
                const GroupScale scale(pick<G::CHUNKS>(largest, c), args);
                const bool in_first_lane = (team.rank & (group_lanes(team, args) - 1)) == 0;
                const bool is_first = in_first_lane && (c == 0 || !takes_both_lines(team, args));
                if (is_first && pick<G::CHUNKS>(group.valid, c) > 0) {
                    store_scale(scale.stored, group.first(c), args, place.row);
                }
                by[0] = scale.by;
            }
            const RawChunk chunk[] = {pick<G::CHUNKS>(y.of, c)};
            Codes of_chunk[1];
            narrow(of_chunk, chunk, by, args);
#pragma unroll
            for (unsigned int i = 0; i < G::CHUNKS; ++i) codes[i] = i == c ? of_chunk[0] : codes[i];
        }
        if (args.y != nullptr) store_y(group, args, place);
        CodeRows<Element>::store_codes(codes, group, args, place.row);
    }

    /// The largest magnitude of the elements of a chunk that lie in the row. NaNs are left out.
    static __device__ __forceinline__ float amax_of(const RawChunk& raw, unsigned int valid) {
        float amax = 0.0f;
        if (valid == LENGTH) {
            amax = largest_magnitude<Element, 1>({raw});
        } else {
#pragma unroll
            for (unsigned int e = 0; e < LENGTH; ++e) {
                amax = fmaxf(amax, e < valid ? fabsf(element_of<Element>(raw, e)) : 0.0f);
            }
        }
        return amax;
    }

    /// Lanes that hold a chunk each of one line of a scale's group, a power of two; groups of more chunks than the team
    /// has threads take both lines.
    static __device__ __forceinline__ unsigned int group_lanes(const Team& team, const RowArgs& args) {
        return min(args.scale_group / LENGTH, team.threads);
    }
    static __device__ __forceinline__ bool takes_both_lines(const Team& team, const RowArgs& args) {
        return args.scale_group / LENGTH > team.threads;
    }

    /// For each chunk the largest magnitude of its group, in all lanes that hold a part of it.
    static __device__ __forceinline__ void group_amax(float (&largest)[G::CHUNKS], const Chunks& y, const Team& team,
                                                      const G& group, const RowArgs& args) {
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) largest[c] = amax_of(y.of[c], group.valid[c]);
        if (takes_both_lines(team, args)) largest[0] = largest[1] = fmaxf(largest[0], largest[1]);
        // Lane i has merged with lane i ^ distance after each step; after the last all have the same.
#pragma unroll 1
        for (unsigned int distance = group_lanes(team, args) / 2; distance > 0; distance /= 2) {
#pragma unroll
            for (unsigned int c = 0; c < G::CHUNKS; ++c) {
                largest[c] = fmaxf(largest[c], shuffle_xor(largest[c], distance));
            }
        }
    }

    /// How the values of a thread's chunks are scaled, all of which are aligned. Every scale is made by one lane of those that
    /// hold a part of what shares it, stored there, and fetched by the others.
    template <unsigned int GROUPS>
    static __device__ __forceinline__ void by_groups(Divisor (&divisors)[GROUPS * G::CHUNKS],
                                                     const QuantiseOf (&sinks)[GROUPS], const Team& team,
                                                     const G* groups, const RowArgs& args, unsigned long long row) {
        constexpr unsigned int CHUNKS = GROUPS * G::CHUNKS;
        const unsigned int lanes = group_lanes(team, args);
        unsigned int valid[CHUNKS];
        unsigned int columns[CHUNKS];
#pragma unroll
        for (unsigned int i = 0; i < CHUNKS; ++i) {
            valid[i] = groups[i / G::CHUNKS].valid[i % G::CHUNKS];
            columns[i] = groups[i / G::CHUNKS].first(i % G::CHUNKS);
        }
        // The magnitudes of a group's two chunks, in a word.
        unsigned int largest[GROUPS];
#pragma unroll
        for (unsigned int g = 0; g < GROUPS; ++g) {
            largest[g] = largest_of_chunks<Element>(sinks[g].y.of[0], sinks[g].y.of[1]);
            if (takes_both_lines(team, args)) {
                largest[g] = larger_pair<Element>(largest[g], __byte_perm(largest[g], 0, 0x1032));
            }
        }
        // Lane i has merged with lane i ^ distance after each step; after the last all have the same.
#pragma unroll 1
        for (unsigned int distance = lanes / 2; distance > 0; distance /= 2) {
#pragma unroll
            for (unsigned int g = 0; g < GROUPS; ++g) {
                largest[g] = larger_pair<Element>(largest[g], shuffle_xor(largest[g], distance));
            }
        }
        // Lane i makes the scales of the chunks i, i + lanes, … of all that a thread has.
        const unsigned int lane = team.rank & (lanes - 1);
        const unsigned int first_lane = lane_of_warp() & ~(lanes - 1);
#pragma unroll 1
        for (unsigned int first = 0; first < CHUNKS; first += lanes) {
            const unsigned int mine = (first + lane) % CHUNKS;
            const unsigned int c = mine % G::CHUNKS;
            const unsigned int both = pick<GROUPS>(largest, mine / G::CHUNKS);
            const auto bits = static_cast<typename Element::Bits>(c == 0 ? both : both >> 16);
            const GroupScale scale(fmaxf(Element::widen(bits), 0.0f), args);
            // Rows are made of whole groups: where one lane of a group has a chunk, all have.
            const bool stores = lane < CHUNKS && (c == 0 || !takes_both_lines(team, args));
            if (stores && pick<CHUNKS>(valid, mine) > 0) {
                store_scale(scale.stored, pick<CHUNKS>(columns, mine), args, row);
            }
#pragma unroll
            for (unsigned int i = 0; i < CHUNKS; ++i) {
                if (i < first) continue;
                divisors[i].reciprocal = from_lane(scale.by.reciprocal, first_lane - first + i);
                divisors[i].rest = from_lane(scale.by.rest, first_lane - first + i);
            }
        }
    }

    /// By the scale of the tensor or of the row; groups have their own.
    __device__ __forceinline__ Divisor by_row(const RowArgs& args) const {
        return by_scale(args.scaling == Scaling::PER_TENSOR ? load_f32(address_of(args.tensor_scale)) : row_scale, args);
    }

    static __device__ __forceinline__ Divisor by_scale(float scale, const RowArgs& args) {
        return args.flags & QUOTIENTS ? Divisor::of(scale) : factor(__fdiv_rn(1.0f, scale));
    }

    /// The scale of a group.
    struct GroupScale {
        Divisor by;
        unsigned int stored;

        __device__ __forceinline__ GroupScale(float amax, const RowArgs& args) {
            if (args.scaling == Scaling::PER_GROUP) {
                float scale = dynamic_scale(amax, args.dynamic);
                if (args.flags & POWER_OF_TWO_SCALES) scale = next_power_of_two(scale);
                stored = __float_as_uint(scale);
                by = by_scale(scale, args);
            } else if (args.scaling == Scaling::MXFP8) {
                const BlockRounding rounding =
                    args.flags & FLOOR_OF_BLOCK_SCALES ? BlockRounding::FLOOR : BlockRounding::UP;
                const bool e4m3 = args.code == CodeType::E4M3;
                stored = e4m3 ? block_scale<E4M3>(amax, rounding) : block_scale<E5M2>(amax, rounding);
                by = factor(block_factor(stored));
            } else {
                const Fp4Scale scale(amax, load_f32(address_of(args.tensor_scale)));
                stored = scale.code;
                by = factor(scale.factor);
            }
        }
    };

    /// Stores the scale of the group that a column of this row is in.
    static __device__ __forceinline__ void store_scale(unsigned int stored, unsigned int column, const RowArgs& args,
                                                       unsigned long long row) {
        // Here, and not in front of the branch whatever call it is.
        asm volatile("" : "+l"(row), "+r"(column));
        const unsigned int of_row = column >> args.scale_group_shift;
        const unsigned long long index = scale_index(row, of_row, args);
        const Address scales = address_of(args.scales);
        if (args.scaling == Scaling::PER_GROUP) {
            store_f32(scales + index * sizeof(float), __uint_as_float(stored));
        } else {
            store_byte(scales + index, stored);
        }
    }

    /// Where the scale of a group of this row lies: in tiles of 128 rows × 4 groups, or by strides.
    static __device__ __forceinline__ unsigned long long scale_index(unsigned long long row, unsigned int of_group,
                                                                     const RowArgs& args) {
        if (args.flags & TILED_SCALES) {
            const unsigned long long tile = row / 128 * args.scale_row_stride + of_group / 4;
            return tile * 512 + row % 32 * 16 + row / 32 % 4 * 4 + of_group % 4;
        }
        return row * args.scale_row_stride + of_group * args.scale_group_stride;
    }

    /// The codes of some chunks, under a scale each.
    template <unsigned int CHUNKS>
    static __device__ __forceinline__ void narrow(Codes (&codes)[CHUNKS], const RawChunk (&chunks)[CHUNKS],
                                                  const Divisor (&divisors)[CHUNKS], const RowArgs& args) {
        float values[CHUNKS * LENGTH];
#pragma unroll
        for (unsigned int c = 0; c < CHUNKS; ++c) codes[c] = {};
#pragma unroll
        for (unsigned int e = 0; e < CHUNKS * LENGTH; ++e) values[e] = element_of<Element>(chunks[e / LENGTH], e % LENGTH);
        if (args.flags & QUOTIENTS) {
            Divisor::divide(values, divisors);
        } else {
#pragma unroll
            for (unsigned int e = 0; e < CHUNKS * LENGTH; ++e) values[e] *= divisors[e / LENGTH].reciprocal;
        }
        switch (args.code) {
            case CodeType::E4M3: return narrow_to<E4M3>(codes, values);
            case CodeType::E5M2: return narrow_to<E5M2>(codes, values);
            case CodeType::INT8: return narrow_to<Int8>(codes, values);
            case CodeType::E2M1: return narrow_to<E2M1>(codes, values);
        }
    }

    template <class Code, unsigned int CHUNKS>
    static __device__ __forceinline__ void narrow_to(Codes (&codes)[CHUNKS], const float (&values)[CHUNKS * LENGTH]) {
#pragma unroll
        for (unsigned int c = 0; c < CHUNKS; ++c) {
#pragma unroll
            for (unsigned int w = 0; w < LENGTH / CODES_PER_WORD<Code>; ++w) {
                codes[c].words[w] = narrow_word<Code>(&values[c * LENGTH + w * CODES_PER_WORD<Code>]);
            }
        }
    }
};

template <class Statistic, class Element>
using Quantise = QuantiseOf<Output<Statistic, Element, false>, Element>;

/// Stores the codes of y before y is rounded, under the scale that is given.
template <class Statistic, class Element>
struct QuantiseWide : CodeRows<Element> {
    using Output = warpnorm::Output<Statistic, Element, false, E4M3>;
    using Looped = QuantiseWide;
    using typename CodeRows<Element>::G;
    using typename CodeRows<Element>::Codes;

    static constexpr bool COLLECTIVE = true;
    static constexpr bool TAKES_PAIRED_LANES = false;

    /// Shared memory of the CTA: none.
    template <unsigned int GROUPS>
    struct Memory {};

    Codes codes[G::CHUNKS];

    static __device__ __forceinline__ bool observes(const RowArgs&) { return false; }
    __device__ __forceinline__ void observe(const G&) {}
    template <unsigned int GROUPS>
    static __device__ __forceinline__ void agree(QuantiseWide (&)[GROUPS], Memory<GROUPS>&, const Team&, const RowArgs&,
                                                 const WholeRow&, bool) {}

    /// Takes the codes of a chunk, in its first words.
    __device__ __forceinline__ void take(unsigned int c, const RawChunk& chunk, const G&, const RowArgs&,
                                         const WholeRow&) {
#pragma unroll
        for (unsigned int w = 0; w < CodeRows<Element>::WORDS; ++w) codes[c].words[w] = chunk.words[w];
    }

    /// Called by every thread of the team's warps.
    template <unsigned int GROUPS>
    static __device__ __forceinline__ void store(const QuantiseWide (&sinks)[GROUPS], Memory<GROUPS>&, const Team& team,
                                                 const G* groups, const RowArgs& args, const WholeRow& place) {
#pragma unroll
        for (unsigned int g = 0; g < GROUPS; ++g) {
            CodeRows<Element>::store_codes(sinks[g].codes, groups[g], args, place.row);
        }
    }
};

/// y·act(z).
template <class Statistic, class Element>
using GatedQuantise = QuantiseOf<Output<Statistic, Element, true>, Element>;

}  // namespace warpnorm
