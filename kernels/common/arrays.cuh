// Arrays that stay in registers: one that is indexed with a number known only at run time would lie in local memory.
#pragma once

namespace warpnorm {

/// One of COUNT values, a power of two.
template <unsigned int COUNT, class Value>
__device__ __forceinline__ Value pick(const Value* values, unsigned int index) {
    if constexpr (COUNT == 1) {
        return values[0];
    } else {
        const Value low = pick<COUNT / 2>(values, index);
        const Value high = pick<COUNT / 2>(values + COUNT / 2, index);
        return index & COUNT / 2 ? high : low;
    }
}

/// Moves values to places that are BY less, and the first ones to the end: code for a few of them, in a loop, is code for all.
template <unsigned int BY, class Value, unsigned int COUNT>
__device__ __forceinline__ void go_round(Value (&values)[COUNT]) {
    Value moved[COUNT];
#pragma unroll
    for (unsigned int i = 0; i < COUNT; ++i) moved[i] = values[(i + BY) % COUNT];
#pragma unroll
    for (unsigned int i = 0; i < COUNT; ++i) values[i] = moved[i];
}

}  // namespace warpnorm
