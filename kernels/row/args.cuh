// What a launch passes to the row kernel. Mirrored field by field by `RowArgs` of the Rust side.
#pragma once

namespace warpnorm {

enum Flag : unsigned int {
    // The tensor's rows (or the vector) start at multiples of 16 bytes.
    WIDE_X = 1u << 0,
    WIDE_RESIDUAL = 1u << 1,
    WIDE_WEIGHT = 1u << 2,
    WIDE_BIAS = 1u << 3,
    WIDE_Y = 1u << 4,
    WIDE_RESIDUAL_OUT = 1u << 5,
    // weight and bias are f32 whatever the activations are.
    PARAMETERS_F32 = 1u << 6,
    // y = R(w·R(v)) rather than R(w·v).
    ROUND_BEFORE_WEIGHT = 1u << 7,
    // The statistic sees R(h) rather than h.
    ROUND_STATISTIC = 1u << 8,
    // The output is computed from R(h) rather than from h.
    ROUND_OUTPUT = 1u << 9,
    // The looped regime keeps the row in shared memory between its passes rather than reading it again.
    STAGED = 1u << 10,
};

struct RowArgs {
    const void* x;
    const void* residual;
    const void* weight;    // null: no weight
    const void* bias;      // null: no bias
    void* y;
    void* residual_out;    // null: not stored
    float* mean;           // null: not stored
    float* rstd;           // null: not stored
    // From one row to the next, in elements.
    unsigned long long x_stride;
    unsigned long long residual_stride;
    unsigned long long y_stride;
    unsigned long long residual_out_stride;
    unsigned long long rows;
    unsigned int hidden;
    unsigned int team_threads;
    unsigned int flags;
    float eps;
    float weight_offset;
    float residual_scale;
    float hidden_float;       // hidden, which is exact
    float hidden_reciprocal;  // 1 / hidden
    // Sums of values are kept multiplied by a power of two, at most 1 / 2·hidden and 1 / 256, so that
    // neither a sum nor its anchor overflows where the values are finite; the scaling is exact.
    float count_scale;
    float scaled_hidden;             // hidden · count_scale
    float scaled_hidden_reciprocal;  // 1 / scaled_hidden
    unsigned int rows_per_cta;       // teams side by side in a CTA
};

static_assert(sizeof(RowArgs) == 152, "the Rust side mirrors this layout");

}  // namespace warpnorm
