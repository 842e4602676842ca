// Sources: where the values h of a row come from.
//
// A source loads raw chunks first and computes later. `h` returns what the statistic sees; `output`
// turns that into what the output is computed from; `store_residual` writes the new residual stream.
#pragma once

#include "args.cuh"
#include "group.cuh"
#include "parameters.cuh"
#include "place.cuh"
#include "stage.cuh"
#include "transfer.cuh"

namespace warpnorm {

template <class Element>
__device__ __forceinline__ void round_values(Values& values) {
    if constexpr (!Element::IS_F32) {
#pragma unroll
        for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) values.at[e] = round_to<Element>(values.at[e]);
    }
}

/// The values of raw chunks.
template <class Element>
__device__ __forceinline__ Values widened(const RawChunk (&chunks)[Group<Element>::CHUNKS]) {
    constexpr unsigned int LENGTH = Group<Element>::LENGTH;
    Values values;
#pragma unroll
    for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
        values.at[e] = element_of<Element>(chunks[e / LENGTH], e % LENGTH);
    }
    return values;
}

/// h = x.
template <class Element_, class Place_>
struct PlainOf {
    using Element = Element_;
    using Place = Place_;
    using G = Group<Element>;

    /// The largest team, and with it what registers a thread has. Mirrored by plan::Source::max_threads.
    static constexpr unsigned int MAX_THREADS = Place::IS_PART ? 512 : 1024;
    static constexpr unsigned int INPUTS = 1;
    /// Whether a residual is added after the norm.
    static constexpr bool POST_ADDS = false;
    /// Whether the inputs are normalised themselves before h is made of them.
    static constexpr bool NORMALISES = false;
    /// Whether h is made of activations.
    static constexpr bool ACTIVATES = false;

    Address x;
    bool apart;

    __device__ __forceinline__ PlainOf(const RowArgs& args, const Place& place)
        : x(place.template x<Element>(args)), apart(args.flags & APART) {}

    struct Raw {
        RawChunk x[G::CHUNKS];
    };

    __device__ __forceinline__ Raw load(const G& group) const {
        Raw raw;
        load_chunks<Element>(raw.x, x, group, apart);
        return raw;
    }

    /// The same of two groups, from rows that begin anywhere.
    __device__ __forceinline__ void load_shifted(Raw (&raw)[2], const G (&groups)[2]) const {
        const Inside<Element> inside(groups);
        RawChunk lower[2 * G::CHUNKS];
        load_windows<Element>(lower, x, false, groups, inside);
        RawChunk chunks[2 * G::CHUNKS];
        warpnorm::load_shifted<Element>(chunks, lower, x, groups, inside);
#pragma unroll
        for (unsigned int i = 0; i < 2 * G::CHUNKS; ++i) raw[i / G::CHUNKS].x[i % G::CHUNKS] = chunks[i];
    }

    __device__ __forceinline__ Values h(const Raw& raw, const G&, const RowArgs&) const {
        return widened<Element>(raw.x);
    }

    static __device__ __forceinline__ void stage(const Stage<Element>& stage, const Raw& raw, const Values&,
                                                 const G& group, const RowArgs& args) {
        stage.put_chunks(raw.x, group, 0, args);
    }
    __device__ __forceinline__ Values staged(const Stage<Element>& stage, const G& group, const RowArgs& args) const {
        Raw raw;
        stage.get_chunks(raw.x, group, 0, args);
        return h(raw, group, args);
    }

    __device__ __forceinline__ void output(Values&, const RowArgs&) const {}
    __device__ __forceinline__ void store_residual(const Values&, const G&, const RowArgs&, const Place&) const {}
    __device__ __forceinline__ void store_shifted_residual(const Values (&)[2], const G (&)[2], const Team&,
                                                           const RowArgs&, const Place&) const {}
};

template <class Element>
using Plain = PlainOf<Element, WholeRow>;

/// h = x, and a residual that is added after the norm.
template <class Element>
struct PostAdd : PlainOf<Element, WholeRow> {
    using PlainOf<Element, WholeRow>::PlainOf;

    static constexpr unsigned int MAX_THREADS = 512;
    // The residual, and the choice of where it is rounded.
    static constexpr unsigned int INPUTS = 3;
    static constexpr bool POST_ADDS = true;
};

/// h = x, of heads or groups.
template <class Element>
using Parts = PlainOf<Element, PartOfRow>;

/// Stores h as the residual stream that goes out, where it is asked for.
template <class Element>
__device__ __forceinline__ void store_residual_out(const Values& values, const Group<Element>& group,
                                                   const RowArgs& args, const WholeRow& place) {
    if (args.residual_out == nullptr) return;
    const Address row = place.template at<Element>(args.residual_out, args.residual_out_stride);
#pragma unroll
    for (unsigned int c = 0; c < Group<Element>::CHUNKS; ++c) {
        const RawChunk raw = narrow_chunk<Element>(&values.at[c * Group<Element>::LENGTH]);
        store_chunk<Element>(row, raw, c, group);
    }
}

/// x and another tensor, of which h is made.
template <class Element_, class Place_>
struct TwoInputs {
    using Element = Element_;
    using Place = Place_;
    using G = Group<Element>;

    static constexpr unsigned int INPUTS = 2;
    static constexpr bool POST_ADDS = false;
    static constexpr bool NORMALISES = false;
    static constexpr bool ACTIVATES = false;

    Address x;
    Address other;
    bool apart;

    __device__ __forceinline__ TwoInputs(const RowArgs& args, const Place& place, Address other)
        : x(place.template x<Element>(args)), other(other), apart(args.flags & APART) {}

    struct Raw {
        RawChunk x[G::CHUNKS];
        RawChunk other[G::CHUNKS];
    };

    __device__ __forceinline__ Raw load(const G& group) const {
        Raw raw;
#pragma unroll
        for (unsigned int c = 0; c < G::CHUNKS; ++c) {
            raw.x[c] = load_chunk<Element>(x, c, group, apart);
            raw.other[c] = load_chunk<Element>(other, c, group, apart);
        }
        return raw;
    }

    /// The same of two groups, from rows that begin anywhere. The first windows of both are on their way together.
    __device__ __forceinline__ void load_shifted(Raw (&raw)[2], const G (&groups)[2]) const {
        const Inside<Element> inside(groups);
        RawChunk lower_x[2 * G::CHUNKS];
        RawChunk lower_other[2 * G::CHUNKS];
        load_windows<Element>(lower_x, x, false, groups, inside);
        load_windows<Element>(lower_other, other, false, groups, inside);
        RawChunk chunks[2 * G::CHUNKS];
        warpnorm::load_shifted<Element>(chunks, lower_x, x, groups, inside);
#pragma unroll
        for (unsigned int i = 0; i < 2 * G::CHUNKS; ++i) raw[i / G::CHUNKS].x[i % G::CHUNKS] = chunks[i];
        warpnorm::load_shifted<Element>(chunks, lower_other, other, groups, inside);
#pragma unroll
        for (unsigned int i = 0; i < 2 * G::CHUNKS; ++i) raw[i / G::CHUNKS].other[i % G::CHUNKS] = chunks[i];
    }

    __device__ __forceinline__ void output(Values&, const RowArgs&) const {}
    __device__ __forceinline__ void store_residual(const Values&, const G&, const RowArgs&, const Place&) const {}
};

/// x and the residual that comes in.
template <class Element>
struct WithResidual : TwoInputs<Element, WholeRow> {
    __device__ __forceinline__ WithResidual(const RowArgs& args, const WholeRow& place)
        : TwoInputs<Element, WholeRow>(args, place, place.template at<Element>(args.residual, args.residual_stride)) {}
};

/// h = (α·r + x) + b, where b is the bias of the Linear that x comes from, if there is one, and the new residual
/// stream R(h) where it is asked for.
template <class Element>
struct ResidualAdd : WithResidual<Element> {
    using WithResidual<Element>::WithResidual;
    using typename TwoInputs<Element, WholeRow>::G;
    using typename TwoInputs<Element, WholeRow>::Raw;

    static constexpr unsigned int MAX_THREADS = 1024;

    __device__ __forceinline__ Values h(const Raw& raw, const G& group, const RowArgs& args) const {
        Values values;
#pragma unroll
        for (unsigned int e = 0; e < GROUP_ELEMENTS; ++e) {
            const unsigned int c = e / G::LENGTH;
            values.at[e] = __fmaf_rn(args.residual_scale, element_of<Element>(raw.other[c], e % G::LENGTH),
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
            const RawChunk chunk = load_chunk<Element>(bias, c, group, false);
#pragma unroll
            for (unsigned int e = 0; e < G::LENGTH; ++e) {
                values.at[c * G::LENGTH + e] += element_of<Element>(chunk, e);
            }
        }
    }

    static __device__ __forceinline__ void stage(const Stage<Element>& stage, const Raw&, const Values& h,
                                                 const G& group, const RowArgs& args) {
        stage.put_values(h, group, args);
    }
    __device__ __forceinline__ Values staged(const Stage<Element>& stage, const G& group, const RowArgs& args) const {
        return stage.get_values(group, args);
    }

    __device__ __forceinline__ void output(Values& values, const RowArgs& args) const {
        if (args.flags & ROUND_OUTPUT) round_values<Element>(values);
    }

    __device__ __forceinline__ void store_residual(const Values& values, const G& group, const RowArgs& args,
                                                   const WholeRow& place) const {
        store_residual_out(values, group, args, place);
    }

    /// The same of two groups, to a row that begins anywhere. Called by all threads of the CTA.
    __device__ __forceinline__ void store_shifted_residual(const Values (&values)[2], const G (&groups)[2],
                                                           const Team& team, const RowArgs& args,
                                                           const WholeRow& place) const {
        __shared__ Heads<Element> heads;
        if (args.residual_out == nullptr) return;
        RawChunk chunks[2 * G::CHUNKS];
#pragma unroll
        for (unsigned int i = 0; i < 2 * G::CHUNKS; ++i) {
            chunks[i] = narrow_chunk<Element>(&values[i / G::CHUNKS].at[i % G::CHUNKS * G::LENGTH]);
        }
        const Address row = place.template at<Element>(args.residual_out, args.residual_out_stride);
        store_shifted<Element>(row, chunks, groups, team, heads);
    }
};

/// h = x·act(z), of whole rows, which are one group, or of groups.
template <class Element>
struct Gated : TwoInputs<Element, PartOfRow> {
    using typename TwoInputs<Element, PartOfRow>::G;
    using typename TwoInputs<Element, PartOfRow>::Raw;

    static constexpr unsigned int MAX_THREADS = 512;
    static constexpr bool ACTIVATES = true;

    __device__ __forceinline__ Gated(const RowArgs& args, const PartOfRow& place)
        : TwoInputs<Element, PartOfRow>(args, place, place.template gate<Element>(args)) {}

    /// Places outside the row hold zeros, and 0·act(0) is one: act(0) is finite.
    __device__ __forceinline__ Values h(const Raw& raw, const G&, const RowArgs& args) const {
        Values values = widened<Element>(raw.x);
        Values z = widened<Element>(raw.other);
        multiply_by_activations<Element>(values.at, args.activation, args.activation_parameter, z.at);
        return values;
    }

    static __device__ __forceinline__ void stage(const Stage<Element>& stage, const Raw&, const Values& h,
                                                 const G& group, const RowArgs& args) {
        stage.put_values(h, group, args);
    }
    __device__ __forceinline__ Values staged(const Stage<Element>& stage, const G& group, const RowArgs& args) const {
        return stage.get_values(group, args);
    }
};

}  // namespace warpnorm
