// What a launch passes to the row kernel. Mirrored field by field by `RowArgs` of the Rust side.
#pragma once

#include "../common/activation.cuh"
#include "../common/scales.cuh"

namespace warpnorm {

enum Flag : unsigned int {
    // A thread may read elements of its neighbours in a row with its own: no output lies over an input that is
    // still being read when the first are written.
    APART = 1u << 0,
    // weight and bias are f32 whatever the activations are, those of other heads and of an inner norm included.
    PARAMETERS_F32 = 1u << 1,
    // y = R(w·R(v)) rather than R(w·v).
    ROUND_BEFORE_WEIGHT = 1u << 2,
    // The statistic sees R(h) rather than h.
    ROUND_STATISTIC = 1u << 3,
    // The output is computed from R(h) rather than from h.
    ROUND_OUTPUT = 1u << 4,
    // The looped regime keeps the row in shared memory between its passes rather than reading it again.
    STAGED = 1u << 5,
    // The codes of every chunk start at a multiple of their size in bytes.
    WIDE_CODES = 1u << 6,
    // What is rounded to codes are quotients by a scale, rather than products with a factor.
    QUOTIENTS = 1u << 7,
    // f32 scales are rounded up to powers of two.
    POWER_OF_TWO_SCALES = 1u << 8,
    // The exponents of UE8M0 scales are rounded down rather than up.
    FLOOR_OF_BLOCK_SCALES = 1u << 9,
    // Scales lie in tiles of 128 rows × 4 groups; scale_row_stride is the number of tiles side by side.
    TILED_SCALES = 1u << 10,
    // Where the sum of squares is 0, so is rstd, and v: the L2 norm of nothing is nothing.
    ZERO_STAYS_ZERO = 1u << 11,
    // Of the residual add after the norm, norm, sum and product are each rounded to the activation type.
    ROUND_EACH = 1u << 12,
    // The rates are f32 whatever the activations are.
    RATE_F32 = 1u << 13,
    // cos and sin are f32 whatever the activations are.
    TABLES_F32 = 1u << 14,
    // Neighbours are rotated together rather than elements of the two halves.
    INTERLEAVED = 1u << 15,
    // Every operation of a rotation is rounded to the activation type.
    ROUND_ROTATION = 1u << 16,
    POSITIONS_64 = 1u << 17,
    // Weights may be read before the kernels in front of this one have completed.
    PARAMETERS_FIRST = 1u << 18,
    // Neither is ROUND_BEFORE_WEIGHT set, nor is there a weight_offset: one test for every step in place of two.
    BARE_WEIGHTS = 1u << 19,
};

/// What is known of a call where its kernel is compiled. Mirrored by plan::Path.
///
/// Of an aligned call: rows, or the heads or groups of them, are made of whole chunks, all of which begin at multiples of
/// 16 bytes, in every tensor, and their codes at multiples of their own size; rows are fewer than 2^31, and as many bytes
/// apart as 32 bits count; parameters are of the activation type; norms without a mean have no bias; and of
/// ROUND_BEFORE_WEIGHT and a weight_offset there is what stands below. Of a shifted call rows may be of any number of
/// elements, and begin anywhere.
enum class Path {
    GENERAL,              // (nothing is known)
    ALIGNED,              // neither
    ALIGNED_ROUNDED,      // the former
    ALIGNED_WITH_OFFSET,  // the latter
    SHIFTED,              // neither
};

enum class CodeType : unsigned int {
    E4M3 = 0,
    E5M2 = 1,
    INT8 = 2,
    E2M1 = 3,
};

enum class Scaling : unsigned int {
    PER_TENSOR = 0,
    PER_TOKEN = 1,
    PER_GROUP = 2,
    MXFP8 = 3,
    NVFP4 = 4,
};

/// The heads or groups of a row, and the heads beside them, of a tensor and with parameters of their own.
struct PartArgs {
    unsigned int count;   // of x
    unsigned int second;  // of x_second
    // Of both together: index / parts is the high word of 2·index·reciprocal, shifted down, where the index has 31 bits.
    unsigned int reciprocal;
    unsigned int reciprocal_shift;
    // From one to the next, in elements.
    unsigned long long x_stride;
    unsigned long long gate_stride;
    unsigned long long y_stride;
    unsigned long long parameter_stride;  // 0: all share weight and bias
    const void* second_x;
    void* second_y;
    const void* second_weight;
    const void* second_bias;
    unsigned long long second_x_row_stride;
    unsigned long long second_y_row_stride;
    unsigned long long second_x_stride;
    unsigned long long second_y_stride;
};

/// The rotation of heads.
struct RopeArgs {
    const void* cos;
    const void* sin;
    const void* positions;  // null: rows are their own positions
    unsigned long long cos_stride;
    unsigned long long sin_stride;
    unsigned long long entries;
    unsigned int half;  // elements that are rotated with another half; 0: none
    unsigned int padding;
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
    // What a sum of squares is divided by: hidden, which is exact, or 1 for the L2 norm.
    float square_divisor;
    float square_divisor_reciprocal;
    // Sums of values are kept multiplied by a power of two, at most 1 / 2·hidden and 1 / 256, so that
    // neither a sum nor its anchor overflows where the values are finite; the scaling is exact.
    float count_scale;
    float scaled_hidden;             // hidden · count_scale
    float scaled_hidden_reciprocal;  // 1 / scaled_hidden
    unsigned int rows_per_cta;       // teams side by side in a CTA
    // Of the sink that quantises; y is null where it is not stored as well.
    void* codes;
    void* scales;                           // null: none are written
    const float* tensor_scale;              // the caller's: the scale of all, or NVFP4's global one
    unsigned long long codes_stride;        // from one row to the next, in bytes
    unsigned long long scale_row_stride;    // from a row's scale to the next row's, in scales
    unsigned long long scale_group_stride;  // from a group's scale to the next group's, in scales
    CodeType code;
    Scaling scaling;
    unsigned int scale_group;  // elements that share a scale, a power of two; 0: all of a row, or of the tensor
    unsigned int scale_group_shift;  // log2 of it
    DynamicScale dynamic;
    const void* gate;          // z; null: h takes its place, where there is an activation
    unsigned long long gate_stride;
    Activation activation;
    float activation_parameter;
    const void* linear_bias;   // null: the Linear before has none, or has added it
    float post_scale;          // what the sum with a residual after the norm is multiplied by
    float rate_scale;
    const void* inner_weight;
    const void* rate;
    PartArgs parts;
    RopeArgs rope;
    // Of a row that is walked in slabs.
    unsigned int cluster;         // CTAs that share the row
    unsigned int slabs;           // of the row
    unsigned int cta_slabs;       // slabs that a CTA walks: whole stretches, but for the row's last
    unsigned int stretch_shift;   // log2 of the slabs of a stretch
};

static_assert(sizeof(RowArgs) == 472, "the Rust side mirrors this layout");

/// Whether chunks are whole, or not there at all, and begin at multiples of 16 bytes.
__device__ constexpr bool is_aligned(Path path) { return path != Path::GENERAL && path != Path::SHIFTED; }

/// Whether it is known that nothing is done with a weight but to multiply by it.
__device__ constexpr bool has_bare_weights(Path path) { return path == Path::ALIGNED || path == Path::SHIFTED; }

/// Whether v is rounded before it is multiplied by the weight.
__device__ __forceinline__ bool rounds_before_weight(const RowArgs& args, Path path) {
    return path == Path::GENERAL ? args.flags & ROUND_BEFORE_WEIGHT : path == Path::ALIGNED_ROUNDED;
}

}  // namespace warpnorm
