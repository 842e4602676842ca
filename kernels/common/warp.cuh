// Reductions inside one warp.
#pragma once

namespace warpnorm {

constexpr unsigned int WARP = 32;
constexpr unsigned int ALL_LANES = 0xffffffffu;

/// The number of this thread in its warp. Read anew wherever it is asked for, rather than kept in a register.
__device__ __forceinline__ unsigned int lane_of_warp() {
    unsigned int lane;
    asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
    return lane;
}

/// The same, of which and of what follows from it the compiler may keep what it likes. CTAs have one dimension.
__device__ __forceinline__ unsigned int kept_lane_of_warp() { return threadIdx.x % WARP; }

__device__ __forceinline__ float shuffle_down(float value, unsigned int delta, unsigned int width) {
    return __shfl_down_sync(ALL_LANES, value, delta, width);
}

/// The same of a segment of `width` lanes, those of `mask`, without the others.
__device__ __forceinline__ unsigned int shuffle_down(unsigned int value, unsigned int delta, unsigned int width,
                                                     unsigned int mask) {
    return __shfl_down_sync(mask, value, delta, width);
}

/// The value of the next lane, the first one's in the last.
__device__ __forceinline__ unsigned int from_next_lane(unsigned int value) {
    return __shfl_sync(ALL_LANES, value, kept_lane_of_warp() + 1);
}

/// The value that another lane of the warp holds.
__device__ __forceinline__ float from_lane(float value, unsigned int lane) { return __shfl_sync(ALL_LANES, value, lane); }

/// The value of the lane whose number differs in the bits of `mask`.
__device__ __forceinline__ float shuffle_xor(float value, unsigned int mask) {
    return __shfl_xor_sync(ALL_LANES, value, mask);
}
__device__ __forceinline__ unsigned int shuffle_xor(unsigned int value, unsigned int mask) {
    return __shfl_xor_sync(ALL_LANES, value, mask);
}

/// The largest value of each segment of `width` lanes (a power of two), none of them negative, in every lane of the
/// segment.
__device__ __forceinline__ float largest_of_lanes(float value, unsigned int width) {
#if __CUDA_ARCH__ >= 900
    // Such values are in the order of their bits.
    if (width == WARP) return __uint_as_float(__reduce_max_sync(ALL_LANES, __float_as_uint(value)));
#endif
#pragma unroll 1
    for (unsigned int distance = width / 2; distance > 0; distance /= 2) {
        value = fmaxf(value, shuffle_xor(value, distance));
    }
    return value;
}

/// Merges the states of the first `count` lanes of a warp, or of each of its segments of as many lanes as the power of two
/// that is no less.
///
/// A step of distance d leaves in lane i < d of a segment the states of its lanes i, i + d, i + 2d, … merged in a tree;
/// after the last step its first lane holds them all. Other lanes hold partial results that nobody reads. The lower lane
/// is always the left operand, so the order of the arithmetic depends on `count` alone. A segment's lanes from `count` on
/// hold empty states. In a loop: it is one warp of a CTA that has use for it.
template <class State>
__device__ __forceinline__ State reduce_lanes(State state, unsigned int count) {
    // The largest power of two below the count.
#pragma unroll 1
    for (unsigned int distance = count > 1 ? 1u << (31 - __clz(count - 1)) : 0; distance > 0; distance /= 2) {
        state.merge(state.shuffled_down(distance, WARP));
    }
    return state;
}

}  // namespace warpnorm
