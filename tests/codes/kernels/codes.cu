// kernels/common/codes.cuh and scales.cuh, function by function. Every thread does one piece of work, of
// which there are `count`.
#include "common/codes.cuh"
#include "common/scales.cuh"

using namespace warpnorm;

typedef unsigned int word;

#define THREAD_OR_RETURN(count)                                 \
    const unsigned int i = blockIdx.x * blockDim.x + threadIdx.x; \
    if (i >= (count)) return

/// Eight values become the codes that the target has instructions for, where it has, one or two words.
template <class Code>
__device__ void narrow(const float* values, word* words, unsigned int count) {
    THREAD_OR_RETURN(count);
    constexpr unsigned int PER_WORD = CODES_PER_WORD<Code>;
#pragma unroll
    for (unsigned int w = 0; w < 8 / PER_WORD; ++w) {
        words[i * (8 / PER_WORD) + w] = narrow_word<Code>(values + 8 * i + PER_WORD * w);
    }
}

/// A value becomes a code by arithmetic, in a word of its own.
template <class Code>
__device__ void narrow_by_arithmetic(const float* values, word* words, unsigned int count) {
    THREAD_OR_RETURN(count);
    words[i] = Code::narrow_by_arithmetic(values[i]);
}

#define NARROW(name, Code)                                                                                  \
    extern "C" __global__ void narrow_##name(const float* values, word* words, unsigned int count) {        \
        narrow<Code>(values, words, count);                                                                 \
    }
#define NARROW_BY_ARITHMETIC(name, Code)                                                                    \
    extern "C" __global__ void arithmetic_##name(const float* values, word* words, unsigned int count) {    \
        narrow_by_arithmetic<Code>(values, words, count);                                                   \
    }

NARROW(e4m3, E4M3)
NARROW(e5m2, E5M2)
NARROW(int8, Int8)
NARROW(e2m1, E2M1)
NARROW_BY_ARITHMETIC(e4m3, E4M3)
NARROW_BY_ARITHMETIC(e5m2, E5M2)
NARROW_BY_ARITHMETIC(e2m1, E2M1)

extern "C" __global__ void widen_e4m3(const word* codes, float* values, unsigned int count) {
    THREAD_OR_RETURN(count);
    values[i] = E4M3::widen(codes[i]);
}

__device__ float quotient(const Divisor& divisor, float y) {
    float values[] = {y};
    Divisor::divide(values, {divisor});
    return values[0];
}

/// y / scale by `div.rn`, by `divide`, and by that where another scale is far from 1. `pairs` holds y and scale in turn.
extern "C" __global__ void quotients(const float* pairs, float* results, unsigned int count) {
    THREAD_OR_RETURN(count);
    const float y = pairs[2 * i];
    const float scale = pairs[2 * i + 1];
    const Divisor divisor = Divisor::of(scale);
    float values[] = {y, y};
    Divisor::divide(values, {divisor, Divisor::of(0x1p-90f)});
    results[3 * i] = __fdiv_rn(y, scale);
    results[3 * i + 1] = quotient(divisor, y);
    results[3 * i + 2] = values[0];
}

/// How largest magnitudes become scales of codes whose largest is given, as plan::args computes it.
__device__ DynamicScale to_scale(float largest, float floor, float upper) {
    return {largest, __fdiv_rn(1.0f, largest), __fdiv_rn(floor, largest), __fdiv_rn(upper, largest)};
}

/// The scales that a largest magnitude becomes where nothing bounds them, for the codes that have such.
extern "C" __global__ void dynamic_scales(const float* largest, float* scales, unsigned int count) {
    THREAD_OR_RETURN(count);
    const float of_codes[] = {E4M3::LARGEST, E5M2::LARGEST, Int8::LARGEST};
#pragma unroll
    for (unsigned int c = 0; c < 3; ++c) {
        scales[3 * i + c] = dynamic_scale(largest[i], to_scale(of_codes[c], 0.0f, __int_as_float(0x7f800000)));
    }
}

/// The elements of a group, of which a thread has all.
struct Elements {
    const float* values;
    unsigned int size;

    __device__ float amax() const {
        float amax = 0.0f;
        for (unsigned int e = 0; e < size; ++e) amax = fmaxf(amax, fabsf(values[e]));
        return amax;
    }

    /// Codes of what `scaled` makes of every element; `size` is a multiple of eight.
    template <class Code, class Scaled>
    __device__ void store(word* codes, const Scaled& scaled) const {
        for (unsigned int e = 0; e < size; e += CODES_PER_WORD<Code>) {
            float results[CODES_PER_WORD<Code>];
#pragma unroll
            for (unsigned int c = 0; c < CODES_PER_WORD<Code>; ++c) results[c] = scaled(values[e + c]);
            codes[e / CODES_PER_WORD<Code>] = narrow_word<Code>(results);
        }
    }
};

/// What the groups of all scalings have in common, and what some of them are told beside that.
struct Groups {
    const float* values;
    word* codes;
    word* scales;
    unsigned int count;
    unsigned int size;
    float floor;
    float upper;
    float tensor_scale;
    unsigned int power_of_two;
    unsigned int rounding;
};

template <class Code>
struct Group {
    Elements elements;
    word* codes;

    __device__ Group(const Groups& groups, unsigned int i)
        : elements{groups.values + static_cast<unsigned long long>(i) * groups.size, groups.size},
          codes(groups.codes + static_cast<unsigned long long>(i) * (groups.size / CODES_PER_WORD<Code>)) {}

    template <class Scaled>
    __device__ void store(const Scaled& scaled) const {
        elements.store<Code>(codes, scaled);
    }
};

template <class Code>
__device__ void per_tensor_fp8(const Groups& groups) {
    THREAD_OR_RETURN(groups.count);
    const float reciprocal = __frcp_rn(groups.tensor_scale);
    Group<Code>(groups, i).store([=](float y) { return y * reciprocal; });
}

template <class Code>
__device__ void dynamic_fp8(const Groups& groups) {
    THREAD_OR_RETURN(groups.count);
    const Group<Code> group(groups, i);
    float scale = dynamic_scale(group.elements.amax(), to_scale(Code::LARGEST, groups.floor, groups.upper));
    if (groups.power_of_two) scale = next_power_of_two(scale);
    groups.scales[i] = __float_as_uint(scale);
    const Divisor divisor = Divisor::of(scale);
    group.store([=](float y) { return quotient(divisor, y); });
}

template <class Code>
__device__ void mxfp8(const Groups& groups) {
    THREAD_OR_RETURN(groups.count);
    const Group<Code> group(groups, i);
    const word scale = block_scale<Code>(group.elements.amax(), static_cast<BlockRounding>(groups.rounding));
    groups.scales[i] = scale;
    const float factor = block_factor(scale);
    group.store([=](float y) { return y * factor; });
}

#define FP8(name, Code)                                                                            \
    extern "C" __global__ void per_tensor_##name(const Groups groups) { per_tensor_fp8<Code>(groups); } \
    extern "C" __global__ void dynamic_##name(const Groups groups) { dynamic_fp8<Code>(groups); }       \
    extern "C" __global__ void mxfp8_##name(const Groups groups) { mxfp8<Code>(groups); }

FP8(e4m3, E4M3)
FP8(e5m2, E5M2)

extern "C" __global__ void per_tensor_int8(const Groups groups) {
    THREAD_OR_RETURN(groups.count);
    const Group<Int8> group(groups, i);
    const float scale = groups.tensor_scale;
    const Divisor divisor = Divisor::of(scale);
    group.store([=](float y) { return quotient(divisor, y); });
}

extern "C" __global__ void dynamic_int8(const Groups groups) {
    THREAD_OR_RETURN(groups.count);
    const Group<Int8> group(groups, i);
    float scale = dynamic_scale(group.elements.amax(), to_scale(Int8::LARGEST, groups.floor, groups.upper));
    if (groups.power_of_two) scale = next_power_of_two(scale);
    groups.scales[i] = __float_as_uint(scale);
    const float reciprocal = __frcp_rn(scale);
    group.store([=](float y) { return y * reciprocal; });
}

extern "C" __global__ void nvfp4_e2m1(const Groups groups) {
    THREAD_OR_RETURN(groups.count);
    const Group<E2M1> group(groups, i);
    const Fp4Scale scale(group.elements.amax(), groups.tensor_scale);
    groups.scales[i] = scale.code;
    group.store([=](float y) { return y * scale.factor; });
}
