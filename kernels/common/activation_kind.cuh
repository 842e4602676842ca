// The activations of gates and feed-forward layers, chosen at run time.
//
//     identity     x
//     ReLU         0 where x ≤ 0, else x
//     leaky ReLU   parameter·x where x ≤ 0, else x
//     sigmoid      σ(x) = 1/(1 + e^−x)
//     swish        x·σ(parameter·x); SiLU where the parameter is 1
//     GELU (tanh)  x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))/2 = x·σ(√(8/π)·(x + 0.044715·x³))
//     GELU         x·Φ(x), where Φ is the distribution function of the standard normal distribution
//
// The last four have one form: factor·G, where G rises from 0 to 1 and is 1/2 in the middle.
//
// NaN gives NaN. An infinity gives what the formula gives in f32, as PyTorch's does: 0 or 1 for the sigmoid,
// and for x·G infinity where G is 1 and NaN where G is 0.
#pragma once

namespace warpnorm {

/// The numbers are those of `Activation::code` in src/activation.rs.
enum class Activation : unsigned int {
    IDENTITY = 0,
    RELU = 1,
    LEAKY_RELU = 2,
    SIGMOID = 3,
    SWISH = 4,
    GELU_TANH = 5,
    GELU_EXACT = 6,
};

/// √(8/π), and 0.044715 times that.
constexpr double GELU_LINEAR = 1.5957691216057307117597842397375;
constexpr double GELU_CUBIC = 0.071354816272600248776388652279863;

/// The activations that are linear on either side of 0.
__device__ __forceinline__ float activate_piecewise(Activation kind, float parameter, float x) {
    // Zero itself for ReLU, so that −∞ gives no NaN.
    const float below = kind == Activation::RELU ? 0.0f : x * (kind == Activation::IDENTITY ? 1.0f : parameter);
    return x <= 0.0f ? below : x;
}

}  // namespace warpnorm
