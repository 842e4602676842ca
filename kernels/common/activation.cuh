// Gates: values times the activations of others.
#pragma once

#include "activation_16_bit.cuh"
#include "activation_f32.cuh"

namespace warpnorm {

/// Multiplies values by the activations of some x, which are as they were when all is done: to the digits that results
/// of the element type need.
template <class Element, unsigned int COUNT>
__device__ __forceinline__ void multiply_by_activations(float (&values)[COUNT], Activation kind, float parameter,
                                                        float (&x)[COUNT]) {
    if constexpr (Element::IS_F32) {
        multiply_by_f32_activations(values, kind, parameter, x);
    } else {
        multiply_by_16_bit_activations(values, kind, parameter, x);
    }
}

}  // namespace warpnorm
