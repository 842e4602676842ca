// LayerNorm: y = ((h − mean)·rstd)·(weight + weight_offset) + bias.
#include "row/row_kernel.cuh"

WARPNORM_FAMILY(layer_norm, LayerNorm)
