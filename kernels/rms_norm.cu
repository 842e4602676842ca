// RMSNorm: y = (h·rstd)·(weight + weight_offset) + bias, rstd = 1/√(mean square + eps).
#include "row/row_kernel.cuh"

WARPNORM_FAMILY(rms_norm, RmsNorm)
