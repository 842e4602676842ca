// The row kernel: one team reduces one row and writes it normalised.
//
//     h = source(x, residual)    moments = statistic(h)    y = output(h, moments)    sink(y)
//
// Two regimes share every piece of it. In the registers regime a row is one slab and stays in the
// team's registers between the statistic and the sink. In the looped regime the team walks the row in
// slabs twice; in between, the row waits in shared memory or is read again. A sink that must see all of y
// before it can store any has the team walk the row once more, so does a source that normalises its
// inputs, and so does LayerNorm where a row's mean is far from 0. A thread reads, stages and writes the same
// elements in all passes and writes in the last alone, so outputs may lie over inputs and the stage needs no barrier.
#pragma once

#include "../common/dependent_launch.cuh"
#include "args.cuh"
#include "group.cuh"
#include "normed.cuh"
#include "output.cuh"
#include "place.cuh"
#include "quantise.cuh"
#include "rotate.cuh"
#include "source.cuh"
#include "statistic.cuh"
#include "store.cuh"

namespace warpnorm {

/// Stores what there is of a row's moments in the end.
__device__ __forceinline__ void store_moments(const Moments& moments, const RowArgs& args, unsigned long long row) {
    if (moments.is_preliminary()) return;
    if (args.mean != nullptr) store_f32(row_address<F32>(args.mean, row, 1), moments.mean);
    if (args.rstd != nullptr) store_f32(row_address<F32>(args.rstd, row, 1), moments.rstd + moments.rest);
}

/// What the output adds: the residual, where the source has one for it, or β, where there may be one.
template <class Statistic, class Source, Path PATH>
__device__ __forceinline__ Addend<typename Source::Element> addend(const RowArgs& args,
                                                                   const typename Source::Place& place) {
    using Element = typename Source::Element;
    if constexpr (Source::POST_ADDS) {
        return Addend<Element>::residual(args, place);
    } else if constexpr (PATH != Path::GENERAL && !Statistic::IS_BIASED) {
        return {Parameters<Element>(nullptr, false)};
    } else {
        return Addend<Element>::bias(args, place);
    }
}

/// How much of a thread's registers an instance takes beside the row, and how much leaves room for more, by what
/// ptxas spills; a little less with the instructions that older GPUs have.
template <class Statistic, class Source, class Sink>
constexpr unsigned int TAKEN = 2 * Statistic::State::SUMS + Source::INPUTS + (Sink::COLLECTIVE ? 1 : 0);
#if __CUDA_ARCH__ >= 900
constexpr unsigned int MOST_TAKEN = 6;
#else
constexpr unsigned int MOST_TAKEN = 5;
#endif

/// Whether a row that stays in registers has registers left for what its output needs, weights or a gate, so
/// that these are on their way while the row is reduced. Beside f32 activations they would spill.
template <class Statistic, class Source, class Sink>
constexpr bool LOADS_AHEAD = !Source::Element::IS_F32 && TAKEN<Statistic, Source, Sink> <= MOST_TAKEN;

/// Groups that a thread holds where rows stay in registers. With two, a thread does the work of two threads of the
/// team: what a thread does once costs half as much for an element, and there are half as many threads to hide the
/// latency of a row.
enum class Threads {
    SINGLE,
    PAIRED,        // of teams of more than a warp
    PAIRED_LINES,  // of such teams, and rows that are made of whole lines
    PAIRED_FULL,   // of such teams, and rows that fill their warps
    PAIRED_EVEN,   // of such teams and rows, where no warp is without a second
    PAIRED_LANES,  // of smaller ones
};

/// Whether warps do the work of two.
constexpr __device__ bool are_warps_paired(Threads threads) {
    return threads != Threads::SINGLE && threads != Threads::PAIRED_LANES;
}

constexpr __device__ Whole whole_of(Threads threads) {
    switch (threads) {
        case Threads::PAIRED_LINES: return Whole::LINES;
        case Threads::PAIRED_FULL:
        case Threads::PAIRED_EVEN: return Whole::GROUPS;
        default: return Whole::NOTHING;
    }
}

/// Threads that a multiprocessor has registers for, at least as many as there are in a CTA, where rows stay in registers.
///
/// Where threads are paired, so many that nothing is spilt beside two inputs, a rotation, the weights of small teams, twice
/// as many words of f32, or two sums and codes, windows or lines that may end anywhere. Where they are not, with fewer than
/// 1024 all activations of a thread would be computed side by side, and half as many threads be resident.
template <class Statistic, class Source, class Sink, Path PATH, Threads THREADS>
constexpr __device__ unsigned int resident_threads() {
    constexpr bool IS_SHIFTED = PATH == Path::SHIFTED;
    constexpr Whole WHOLE = whole_of(THREADS);
    if (THREADS == Threads::SINGLE) return Source::ACTIVATES ? 1024 : Source::MAX_THREADS;
    constexpr bool HAS_TWO_SUMS = Statistic::State::SUMS == 2;
    constexpr bool IS_F32 = Source::Element::IS_F32;
    if (HAS_TWO_SUMS && IS_SHIFTED && (IS_F32 || Source::INPUTS == 2)) return 512;
    if (Source::INPUTS == 2) return 640;
    if (!are_warps_paired(THREADS)) return Source::Place::IS_PART && !Sink::Output::IS_GATED ? 640 : 768;
    if (IS_F32) return HAS_TWO_SUMS || IS_SHIFTED ? 640 : 1024;
    return HAS_TWO_SUMS && (IS_SHIFTED || Sink::COLLECTIVE || WHOLE == Whole::NOTHING) ? 896 : 1024;
}

/// Has all groups of a thread loaded; of lanes that do the work of two, compiled by itself for rows that they have all
/// chunks of.
template <unsigned int GROUPS, Threads THREADS, class Element, class Load>
__device__ __forceinline__ void load_groups(const Group<Element> (&groups)[2], const Load& load) {
    if (THREADS != Threads::PAIRED_LANES) {
#pragma unroll
        for (unsigned int g = 0; g < GROUPS; ++g) load(g, groups[g]);
    } else if (groups[0].is_full) {
#pragma unroll
        for (unsigned int g = 0; g < GROUPS; ++g) load(g, groups[g].known_to_be_full(true));
    } else {
#pragma unroll
        for (unsigned int g = 0; g < GROUPS; ++g) load(g, groups[g].known_to_be_full(false));
    }
}

/// Where the warps of a CTA exchange the states of its rows.
template <class State, Threads THREADS>
struct ExchangeOf {
    using Type = Team::Exchange<State, Moments>;
};
template <class State>
struct ExchangeOf<State, Threads::PAIRED_LANES> {
    using Type = Team::LanesExchange<State, Moments>;
};

/// The registers regime, by one of the paths. Grid: one CTA for every rows_per_cta rows.
template <class Statistic, class Source, class Sink, Path PATH, Threads THREADS>
__device__ __forceinline__ void registers_row(const RowArgs& args) {
    using Element = typename Source::Element;
    constexpr bool IS_GENERAL = PATH == Path::GENERAL;
    constexpr bool IS_SHIFTED = PATH == Path::SHIFTED;
    constexpr bool IS_PAIRED = are_warps_paired(THREADS);
    constexpr Whole WHOLE = whole_of(THREADS);
    constexpr unsigned int GROUPS = THREADS == Threads::SINGLE ? 1 : 2;
    static_assert(GROUPS == 1 || (!IS_GENERAL && !Source::NORMALISES && Statistic::REDUCES),
                  "pairs are of rows of which something is known, and of one statistic");
    // Whether a team has a CTA of its own: where its threads go on together after the statistic.
    constexpr bool IS_ALONE = IS_PAIRED && IS_SHIFTED;
    static_assert(!Sink::COLLECTIVE || !IS_SHIFTED, "threads that act together hold chunks as they are");
    static_assert(THREADS != Threads::PAIRED_LANES || Sink::TAKES_PAIRED_LANES,
                  "lanes that share a scale hold neighbouring chunks");
    // What is loaded ahead of its use may be loaded ahead of the wait, too; but for a gate, which the kernel before
    // makes. Of paired threads the weights of a group are loaded when it has its turn: where there are many rows, what
    // waits for them is one of several CTAs, and there are as many more of those as there are registers left.
    constexpr bool AHEAD = !IS_PAIRED && LOADS_AHEAD<Statistic, Source, Sink>;
    constexpr bool WEIGHTS_AHEAD = AHEAD && !Sink::Output::IS_GATED;
    launch_dependents();
    if (!WEIGHTS_AHEAD || !(args.flags & PARAMETERS_FIRST)) wait_for_prerequisites();

    Team team = IS_PAIRED     ? Team::of_this_pair_of_warps(args.team_threads)
                : GROUPS == 2 ? Team::of_this_pair_of_lanes(args.team_threads)
                              : Team::of_this_thread(args.team_threads);
    // Known then, and not kept in a register.
    if (IS_ALONE) team.index = 0;
    // Kept where registers are left for it, or the compiler would compute it anew wherever it is asked for.
    if (!IS_GENERAL) asm volatile("" : "+r"(team.rank));
    // The row of a team of this CTA. All but the general path count rows in 32 bits.
    const auto row_of = [&](unsigned int index) -> unsigned long long {
        if (IS_ALONE) return blockIdx.x;
        const unsigned long long row = static_cast<unsigned long long>(blockIdx.x) * args.rows_per_cta + index;
        return IS_GENERAL ? row : static_cast<unsigned int>(row);
    };
    const auto is_row = [&](unsigned long long row) {
        if (IS_ALONE) return true;
        return IS_GENERAL ? row < args.rows : static_cast<unsigned int>(row) < static_cast<unsigned int>(args.rows);
    };
    unsigned long long row = row_of(team.index);
    // Teams past the last row keep their lanes for the shuffles of their neighbours, or go along for the barriers.
    const bool exists = is_row(row);
    // Those of whole warps, with the last row: all they do is not to store it.
    if (IS_PAIRED && !IS_ALONE) {
        row = min(static_cast<unsigned int>(row), static_cast<unsigned int>(args.rows) - 1);
    }
    const bool is_full = THREADS == Threads::PAIRED_LANES && exists && args.hidden == team.threads * GROUP_ELEMENTS;
    // The last of an odd number of warps has nothing beside it.
    const bool has_second = THREADS == Threads::PAIRED_EVEN || team.rank + WARP < team.threads;
    const auto group_of = [&](unsigned int g) {
        const bool has_group = IS_PAIRED ? g == 0 || has_second : exists;
        const bool has_all = is_full || THREADS == Threads::PAIRED_EVEN || (WHOLE == Whole::GROUPS && g == 0);
        return Group<Element>(team, 0, args.hidden, true, has_group, PATH, g * team.beside, has_all, WHOLE);
    };
    const Group<Element> groups[] = {group_of(0), group_of(GROUPS - 1)};

    typename Source::Place place(args, row, PATH);
    const Source source(args, place);
    typename Sink::Output::Ahead ahead[GROUPS];
    if constexpr (WEIGHTS_AHEAD) {
        load_groups<GROUPS, THREADS>(groups, [&](unsigned int g, const Group<Element>& group) {
            ahead[g] = Sink::Output::load_ahead(group, args, place);
        });
        wait_for_prerequisites();
    }
    typename Source::Raw raw[GROUPS];
    if constexpr (IS_SHIFTED) {
        source.load_shifted(raw, groups);
    } else {
        load_groups<GROUPS, THREADS>(groups, [&](unsigned int g, const Group<Element>& group) {
            raw[g] = source.load(group);
            if constexpr (AHEAD && !WEIGHTS_AHEAD) ahead[g] = Sink::Output::load_ahead(group, args, place);
        });
    }

    if constexpr (Source::NORMALISES) {
        using State = typename Source::State;
        using Inner = typename Source::Inner;
        __shared__ Team::Exchange<State, Inner> exchange;
        const State states[] = {Source::of_group(raw[0])};
        const Inner* const inner =
            team.reduce<false>(states, exchange, [&](const State& of_row, unsigned int, bool, const Inner&) {
                return Source::inner(of_row, args);
            }).result;
        Source::normalise(raw[0], inner, groups[0], args, place);
    }
    Values h[GROUPS];
#pragma unroll
    for (unsigned int g = 0; g < GROUPS; ++g) h[g] = source.h(raw[g], groups[g], args);
    const Moments* made = nullptr;
    if constexpr (Statistic::REDUCES) {
        using State = typename Statistic::State;
        __shared__ typename ExchangeOf<State, THREADS>::Type exchange;
        // Again where the moments of a row are preliminary. Its team's neighbours go along, and keep what they have.
#pragma unroll 1
        for (unsigned int round = 0;; ++round) {
            State states[GROUPS];
#pragma unroll
            for (unsigned int g = 0; g < GROUPS; ++g) {
                if (IS_PAIRED && WHOLE == Whole::NOTHING && g > 0 && !has_second) {
                    states[g] = {};
                    break;
                }
                states[g] = Statistic::of_group(h[g], groups[g], args, round, made);
            }
            const auto finish = [&](const State& of_row, unsigned int index, bool counts, const Moments& before) {
                const Moments moments = Statistic::moments(of_row, args, counts ? round : 0, &before);
                if (counts && is_row(row_of(index))) store_moments(moments, args, row_of(index));
                return moments;
            };
            const auto reduced = team.reduce<(Statistic::ROUNDS > 1)>(states, exchange, finish);
            made = reduced.result;
            if (!reduced.repeat || round + 1 == Statistic::ROUNDS) break;
        }
    }

    if (!Sink::COLLECTIVE && !exists) return;
    // Codes have a row of their own, and y may have none.
    if constexpr (!IS_GENERAL && !Sink::COLLECTIVE) place.template keep_output<Element>(args);
    if constexpr (IS_SHIFTED) source.store_shifted_residual(h, groups, team, args, place);
    Sink sinks[GROUPS];
    // Of rows that begin anywhere, y is stored when all of it is there.
    RawChunk shifted[2 * Group<Element>::CHUNKS];
#pragma unroll
    for (unsigned int g = 0; g < GROUPS; ++g) {
        const Group<Element>& group = groups[g];
        if (IS_PAIRED && !Sink::COLLECTIVE && g > 0 && !has_second) break;
        if constexpr (!IS_SHIFTED) source.store_residual(h[g], group, args, place);
        source.output(h[g], args);
        if constexpr (IS_PAIRED) ahead[g] = Sink::Output::load_ahead(group, args, place);
        const Addend<Element> added = addend<Statistic, Source, PATH>(args, place);
        typename Sink::Output::Ahead addends;
        if constexpr (!IS_GENERAL && !Sink::Output::IS_GATED) addends = Sink::Output::load_addends(added, group);
        Sink::Output::each(h[g], made, AHEAD || IS_PAIRED ? &ahead[g] : nullptr, IS_GENERAL ? nullptr : &addends,
                           place.template weight<Element>(args), added, group, args, place,
                           [&](unsigned int c, const RawChunk& y) {
                               if constexpr (IS_SHIFTED) {
                                   shifted[g * Group<Element>::CHUNKS + c] = y;
                               } else {
                                   sinks[g].take(c, y, group, args, place);
                               }
                           });
    }
    if constexpr (IS_SHIFTED) {
        __shared__ Heads<Element> heads;
        store_shifted<Element>(place.template y<Element>(args), shifted, groups, team, heads);
    }
    if constexpr (Sink::COLLECTIVE) {
        __shared__ typename Sink::template Memory<GROUPS> sink_memory;
        if (Sink::observes(args)) {
#pragma unroll
            for (unsigned int g = 0; g < GROUPS; ++g) sinks[g].observe(groups[g]);
        }
        Sink::agree(sinks, sink_memory, team, args, place, exists);
        // No warp has threads of two such teams.
        if (IS_PAIRED && !exists) return;
        Sink::store(sinks, sink_memory, team, groups, args, place);
    }
}

/// The moments of a source's own norms, where it has any.
template <class Source, bool NORMALISES = Source::NORMALISES>
struct InnerOf {
    struct Type {};
};
template <class Source>
struct InnerOf<Source, true> {
    using Type = typename Source::Inner;
};

/// The slabs of a long row that a CTA walks. Where the kernel is one for all calls, no register is left for their end.
template <Path PATH>
struct Walk {
    const Team& team;
    const RowArgs& args;
    unsigned int kept_end = 0;

    __device__ __forceinline__ Walk(const Team& team, const RowArgs& args) : team(team), args(args) {
        if constexpr (PATH != Path::GENERAL) {
            kept_end = end();
            asm volatile("" : "+r"(kept_end));
        }
    }

    __device__ __forceinline__ unsigned int first_slab() const { return team.cluster.rank() * args.cta_slabs; }

    __device__ __forceinline__ unsigned int end() const {
        return min((team.cluster.rank() + 1) * args.cta_slabs, args.slabs);
    }

    __device__ __forceinline__ bool more(unsigned int slab) const {
        if constexpr (PATH != Path::GENERAL) return slab < kept_end;
        // Or it would be known that the end is always the same.
        asm volatile("" : "+r"(slab));
        return slab - first_slab() < args.cta_slabs && slab < args.slabs;
    }

    /// Whether a slab is the first of a stretch.
    __device__ __forceinline__ bool begins_stretch(unsigned int slab) const {
        return slab % (1u << args.stretch_shift) == 0;
    }

    /// Merges the state of a slab with those of the slabs before it, which the first of a stretch has none of, and puts it
    /// aside after the last.
    template <class State, class Result>
    __device__ __forceinline__ void take_slab(typename State::Running& running, const State& found, unsigned int slab,
                                              Team::StretchExchange<State, Result>& exchange) const {
        if (begins_stretch(slab)) {
            running = State::running(found);
        } else {
            running.merge(found);
        }
        if (more(slab + 1) && !begins_stretch(slab + 1)) return;
        team.put_stretch(State::of_running(running), slab >> args.stretch_shift, exchange);
    }

    /// What `finish` makes of the state of the row.
    template <class State, class Result, class Finish>
    __device__ __forceinline__ const Result* merged(Team::StretchExchange<State, Result>& exchange,
                                                    const Finish& finish) const {
        const unsigned int stretches = ((args.slabs - 1) >> args.stretch_shift) + 1;
        return team.reduce_stretches(stretches, args.cta_slabs >> args.stretch_shift, exchange, finish);
    }
};

/// The looped regime, by one of the paths. Grid: for every row longer than a slab one team, which is a CTA, or a cluster
/// of them.
template <class Statistic, class Source, class Sink_, Path PATH>
__device__ __forceinline__ void looped_row(const RowArgs& args) {
    using Element = typename Source::Element;
    using Sink = typename Sink_::Looped;
    extern __shared__ uint4 memory[];
    launch_dependents();
    wait_for_prerequisites();

    const Team team = Team::of_this_cta(args.team_threads, args.cluster);
    const Cluster& cluster = team.cluster;
    const unsigned long long row = cluster.index();
    const bool staged = args.flags & STAGED;
    Stage<Element> stage(memory, args);
    if (PATH != Path::GENERAL) stage.keep();
    const Walk<PATH> walk(team, args);
    constexpr bool IS_GENERAL = PATH == Path::GENERAL;
    static_assert(IS_GENERAL || !Source::NORMALISES, "of one statistic");
    typename Source::Place place(args, row, PATH);
    const Source source(args, place);
    const auto group_of = [&](unsigned int slab) {
        const bool is_full = !IS_GENERAL && (slab + 1) * GROUP_ELEMENTS * team.threads <= args.hidden;
        Team here = team;
        // Where the kernel is one for all calls, no register is left for it.
        if (IS_GENERAL) asm volatile("mov.u32 %0, %%tid.x;" : "=r"(here.rank));
        return Group<Element>(here, slab, args.hidden, false, true, PATH, 0, is_full);
    };

    const typename InnerOf<Source>::Type* inner;
    if constexpr (Source::NORMALISES) {
        using State = typename Source::State;
        __shared__ Team::StretchExchange<State, typename Source::Inner> exchange;
        typename State::Running running;
#pragma unroll 1
        for (unsigned int slab = walk.first_slab(); walk.more(slab); ++slab) {
            const Group<Element> group = group_of(slab);
            const typename Source::Raw raw = source.load(group);
            if (staged) Source::stage_raw(stage, raw, group, args);
            walk.take_slab(running, Source::of_group(raw), slab, exchange);
        }
        inner = walk.merged(exchange, [&](const State& of_row) { return Source::inner(of_row, args); });
    }
    // What h is made of, in the first pass after that of the source's own norms, and in every pass where nothing
    // is staged.
    const auto inputs = [&](const Group<Element>& group, bool from_stage) {
        if constexpr (Source::NORMALISES) {
            typename Source::Raw raw = from_stage ? Source::staged_raw(stage, group, args) : source.load(group);
            Source::normalise(raw, inner, group, args, place);
            return raw;
        } else {
            return source.load(group);
        }
    };

    const Moments* made = nullptr;
    if constexpr (Statistic::REDUCES) {
        using State = typename Statistic::State;
        __shared__ Team::StretchExchange<State, Moments> exchange;
        typename State::Running running;
        // Again where the moments are preliminary.
#pragma unroll 1
        for (unsigned int round = 0;; ++round) {
#pragma unroll 1
            for (unsigned int slab = walk.first_slab(); walk.more(slab); ++slab) {
                const Group<Element> group = group_of(slab);
                if (Statistic::ROUNDS > 1 && round > 0) {
                    // Where the kernel is one for all calls, no registers are left for a choice.
                    const bool from_stage = !IS_GENERAL && staged;
                    const Values h = from_stage ? source.staged(stage, group, args)
                                                : source.h(inputs(group, false), group, args);
                    walk.take_slab(running, Statistic::of_group(h, group, args, round, made), slab, exchange);
                    continue;
                }
                const typename Source::Raw raw = inputs(group, staged);
                const Values h = source.h(raw, group, args);
                if (staged) Source::stage(stage, raw, h, group, args);
                walk.take_slab(running, Statistic::of_group(h, group, args, 0, nullptr), slab, exchange);
            }
            made = walk.merged(exchange, [&](const State& of_row) {
                const Moments moments = Statistic::moments(of_row, args, team.rank == 0 ? round : 0, &exchange.result);
                if (team.leads()) store_moments(moments, args, row);
                return moments;
            });
            if (round + 1 == Statistic::ROUNDS || !made->is_preliminary()) break;
            // The sums of the next round take the place of these, which other CTAs may still read.
            cluster.meet();
        }
    }

    if constexpr (!IS_GENERAL && !Sink::COLLECTIVE) place.template keep_output<Element>(args);
    __shared__ typename Sink::template Memory<1> sink_memory;
    Sink sinks[1];
    Sink& sink = sinks[0];
    bool stores = true;
    if constexpr (Sink::COLLECTIVE) stores = !Sink::observes(args);
#pragma unroll 1
    for (;; stores = true) {
        if constexpr (Sink::COLLECTIVE) {
            if (stores) Sink::agree(sinks, sink_memory, team, args, place, true);
        }
#pragma unroll 1
        for (unsigned int slab = walk.first_slab(); walk.more(slab); ++slab) {
            const Group<Element> group = group_of(slab);
            Values h = staged ? source.staged(stage, group, args) : source.h(inputs(group, false), group, args);
            if (stores) source.store_residual(h, group, args, place);
            source.output(h, args);
            const Addend<Element> added = addend<Statistic, Source, PATH>(args, place);
            typename Sink::Output::Ahead ahead;
            typename Sink::Output::Ahead addends;
            if constexpr (!IS_GENERAL) {
                ahead = Sink::Output::load_ahead(group, args, place);
                addends = Sink::Output::load_addends(added, group);
            }
            Sink::Output::each(h, made, IS_GENERAL ? nullptr : &ahead, IS_GENERAL ? nullptr : &addends,
                               place.template weight<Element>(args), added, group, args, place,
                               [&](unsigned int c, const RawChunk& y) { sink.take(c, y, group, args, place); });
            if constexpr (Sink::COLLECTIVE) {
                if (stores) {
                    Sink::store(sinks, sink_memory, team, &group, args, place);
                } else {
                    sink.observe(group);
                }
            }
        }
        if (stores) break;
    }
    cluster.leave();
}

}  // namespace warpnorm
