// The element type that a module is compiled for, as the compiler is told it: WARPNORM_ELEMENT, and the name that the
// exported kernels have for it, WARPNORM_ELEMENT_NAME.
#pragma once

#include "element.cuh"

#if defined(WARPNORM_ACTIVATION_F32)
#define WARPNORM_ELEMENT F32
#define WARPNORM_ELEMENT_NAME f32
#elif defined(WARPNORM_ACTIVATION_F16)
#define WARPNORM_ELEMENT F16
#define WARPNORM_ELEMENT_NAME f16
#elif defined(WARPNORM_ACTIVATION_BF16)
#define WARPNORM_ELEMENT BF16
#define WARPNORM_ELEMENT_NAME bf16
#else
#error "define WARPNORM_ACTIVATION_F32, WARPNORM_ACTIVATION_F16 or WARPNORM_ACTIVATION_BF16"
#endif
