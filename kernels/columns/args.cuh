// What a launch passes to the kernel of columns. Mirrored field by field by `ColumnArgs` of the Rust side.
#pragma once

namespace warpnorm {

enum ColumnFlag : unsigned int {
    // Every row of x starts at a multiple of 16 bytes.
    COLUMNS_WIDE_X = 1u << 0,
    // weight and bias are f32 whatever the activations are.
    COLUMNS_PARAMETERS_F32 = 1u << 1,
};

struct ColumnArgs {
    const void* x;
    const void* weight;  // null: ones
    const void* bias;    // null: zeros
    // One element a column each; null: not stored.
    float* mean;
    float* rstd;
    float* scale;
    float* shift;
    unsigned long long x_stride;  // from one row to the next, in elements
    unsigned long long rows;
    unsigned int hidden;
    unsigned int flags;
    float eps;
    unsigned int padding;
};

static_assert(sizeof(ColumnArgs) == 88, "the Rust side mirrors this layout");

}  // namespace warpnorm
