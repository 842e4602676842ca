// warpnorm: fused row-normalisation kernels for NVIDIA GPUs.
//
// Generated from crates/warpnorm-capi by `scripts/c_header.sh`; do not edit.
//
// A device is made once and used from any thread. An op is described by a warpnorm_norm, the tensors that it is to
// run on by a warpnorm_call; both are plain structures that warpnorm_norm_init and warpnorm_call_init fill:
//
//     warpnorm_device device;
//     warpnorm_norm norm;
//     warpnorm_call call;
//     warpnorm_status status = warpnorm_device_cuda(0, 0, &device);
//     if (status == WARPNORM_STATUS_OK)
//         status = warpnorm_norm_init(&norm, sizeof norm, WARPNORM_FAMILY_RMS_NORM, 1e-6f);
//     if (status == WARPNORM_STATUS_OK)
//         status = warpnorm_call_init(&call, sizeof call, WARPNORM_DTYPE_BF16, rows, hidden);
//     if (status == WARPNORM_STATUS_OK) {
//         call.x = (warpnorm_rows){x, hidden};
//         call.weight = (warpnorm_vector){weight, WARPNORM_DTYPE_F32};
//         call.y = (warpnorm_rows_mut){y, hidden};
//         status = warpnorm_run(device, stream, &norm, &call);
//     }
//     if (status != WARPNORM_STATUS_OK)
//         fprintf(stderr, "%s\n", warpnorm_last_error());
//
// Every function that can fail returns a warpnorm_status, and leaves what went wrong in words for the thread that
// called it: warpnorm_last_error. Nothing is unwound or thrown into the caller. The library keeps no state beside the
// table of devices, which any number of threads may use.

#ifndef WARPNORM_H
#define WARPNORM_H

#include <stddef.h>
#include <stdint.h>

// A flag for a device of CUDA: pointers are not looked up. Without it, every launch asks the driver of each tensor
// whether its memory is one that the device can access, which turns a host pointer, or one of another device, into
// WARPNORM_STATUS_WRONG_DEVICE instead of a fault that ends the context.
// To be set for the least overhead, or for memory of another device with peer access.
#define WARPNORM_TRUST_POINTERS 1

// How a call of this library went. New ones may be added.
enum warpnorm_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // It did what was asked.
    WARPNORM_STATUS_OK = 0,
    // An argument, a value of a structure, a shape or a pointer is not what it must be.
    WARPNORM_STATUS_INVALID_ARGUMENT = 1,
    // There is no kernel for this combination, or this build or the device cannot run it.
    WARPNORM_STATUS_UNSUPPORTED = 2,
    // There is no NVIDIA driver on this machine.
    WARPNORM_STATUS_NO_DRIVER = 3,
    // The machine has no such device.
    WARPNORM_STATUS_NO_DEVICE = 4,
    // The driver refused something, or reports a failure of earlier work.
    WARPNORM_STATUS_DRIVER_ERROR = 5,
    // A tensor is in memory that the device cannot access, or the stream is of another context.
    WARPNORM_STATUS_WRONG_DEVICE = 6,
    // This is no device.
    WARPNORM_STATUS_INVALID_HANDLE = 7,
    // This device has been destroyed.
    WARPNORM_STATUS_DESTROYED_HANDLE = 8,
    // The stream is capturing and the op's kernel is not loaded: see warpnorm_warm_up.
    WARPNORM_STATUS_NOT_LOADED = 9,
    // The executor of the emulated device found a fault.
    WARPNORM_STATUS_EMULATOR_FAULT = 10,
    // A fault of this library, which has left its other devices and calls intact.
    WARPNORM_STATUS_INTERNAL = 11,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum warpnorm_status warpnorm_status;
#else
typedef uint32_t warpnorm_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The type of the elements of a tensor.
enum warpnorm_dtype
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // IEEE 754 binary32.
    WARPNORM_DTYPE_F32 = 0,
    // IEEE 754 binary16.
    WARPNORM_DTYPE_F16 = 1,
    // The upper half of a binary32.
    WARPNORM_DTYPE_BF16 = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum warpnorm_dtype warpnorm_dtype;
#else
typedef uint32_t warpnorm_dtype;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The statistic that a row is normalised by.
enum warpnorm_family
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Mean and standard deviation: v = (h - mean)·rstd, rstd = 1/sqrt(variance + eps), of the population.
    WARPNORM_FAMILY_LAYER_NORM = 0,
    // Root mean square: v = h·rstd, rstd = 1/sqrt(mean square + eps).
    WARPNORM_FAMILY_RMS_NORM = 1,
    // Euclidean length: v = h·rstd, rstd = 1/sqrt(sum of squares + eps), 0 for a row of zeros.
    WARPNORM_FAMILY_L2_NORM = 2,
    // None: v = h. Activations, with a gate; a scale and a shift, with weight and bias.
    WARPNORM_FAMILY_IDENTITY = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum warpnorm_family warpnorm_family;
#else
typedef uint32_t warpnorm_family;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Where the product with the weight is rounded. R rounds to the activation type.
enum warpnorm_weight_rounding
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // y = R(v·w + b): FlashInfer, OLMo 2, Gemma.
    WARPNORM_WEIGHT_ROUNDING_SINGLE = 0,
    // y = R(R(v)·w + b): Hugging Face Llama, Mistral, Qwen.
    WARPNORM_WEIGHT_ROUNDING_BEFORE_WEIGHT = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum warpnorm_weight_rounding warpnorm_weight_rounding;
#else
typedef uint32_t warpnorm_weight_rounding;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What of a row is normalised by one statistic.
enum warpnorm_scope
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // All of it.
    WARPNORM_SCOPE_ROW = 0,
    // Each of its heads, of `hidden` elements. The heads share weight and bias.
    WARPNORM_SCOPE_HEAD = 1,
    // Each of its groups, of `hidden` elements. Weight and bias are as long as the row.
    WARPNORM_SCOPE_GROUP = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum warpnorm_scope warpnorm_scope;
#else
typedef uint32_t warpnorm_scope;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What the values h of a row are made of.
enum warpnorm_input_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // h = x.
    WARPNORM_INPUT_KIND_PLAIN = 0,
    // h = scale·residual + x, and the bias of the Linear before where the call has one. `rounding` is a
    // warpnorm_residual_rounding.
    WARPNORM_INPUT_KIND_RESIDUAL_ADD = 1,
    // h = x·act(gate), in f32: the gate before the norm.
    WARPNORM_INPUT_KIND_GATED = 2,
    // h = R((residual + norm(x)·inner_weight)·scale): two norms, one after the other. `rounding` is a
    // warpnorm_post_rounding.
    WARPNORM_INPUT_KIND_POST_NORM = 3,
    // h = A + lr·(B - A), A = R(norm(residual)), B = R(norm(x)), lr = |rate·scale|: nGPT's step.
    WARPNORM_INPUT_KIND_INTERPOLATION = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum warpnorm_input_kind warpnorm_input_kind;
#else
typedef uint32_t warpnorm_input_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What of the sum h = scale·residual + x is rounded before it is used.
enum warpnorm_residual_rounding
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Statistic and output are those of R(h): Hugging Face, vLLM but for its dynamic quantisation.
    WARPNORM_RESIDUAL_ROUNDING_STORED = 0,
    // Statistic and output are those of h in f32: FlashInfer, quack, vLLM's dynamic quantisation.
    WARPNORM_RESIDUAL_ROUNDING_WIDE = 1,
    // Statistic of h in f32, output of R(h): SGLang's fused add.
    WARPNORM_RESIDUAL_ROUNDING_SPLIT = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum warpnorm_residual_rounding warpnorm_residual_rounding;
#else
typedef uint32_t warpnorm_residual_rounding;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Where a norm is rounded whose result is added to the residual.
enum warpnorm_post_rounding
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // R((r + v·w)·scale).
    WARPNORM_POST_ROUNDING_SINGLE = 0,
    // R(R(r + R(v·w))·scale): Hugging Face Gemma 2, OLMo 2.
    WARPNORM_POST_ROUNDING_EACH = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum warpnorm_post_rounding warpnorm_post_rounding;
#else
typedef uint32_t warpnorm_post_rounding;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The function of a gate or of a feed-forward layer.
enum warpnorm_activation_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // There is no gate.
    WARPNORM_ACTIVATION_KIND_NONE = 0,
    // x: a gate without an activation, the bilinear GLU.
    WARPNORM_ACTIVATION_KIND_IDENTITY = 1,
    // max(0, x).
    WARPNORM_ACTIVATION_KIND_RELU = 2,
    // x above 0, `parameter`·x elsewhere.
    WARPNORM_ACTIVATION_KIND_LEAKY_RELU = 3,
    // 1/(1 + exp(-x)).
    WARPNORM_ACTIVATION_KIND_SIGMOID = 4,
    // x·sigmoid(`parameter`·x).
    WARPNORM_ACTIVATION_KIND_SWISH = 5,
    // GELU by tanh.
    WARPNORM_ACTIVATION_KIND_GELU_TANH = 6,
    // x·Φ(x): GELU itself.
    WARPNORM_ACTIVATION_KIND_GELU = 7,
    // x·sigmoid(x): Swish with 1, whatever the parameter.
    WARPNORM_ACTIVATION_KIND_SILU = 8,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum warpnorm_activation_kind warpnorm_activation_kind;
#else
typedef uint32_t warpnorm_activation_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Which elements of a head are rotated together.
enum warpnorm_rope_pairs
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Element i with element i + dim/2: GPT-NeoX, Llama.
    WARPNORM_ROPE_PAIRS_HALF_SPLIT = 0,
    // Element 2i with element 2i + 1: GPT-J.
    WARPNORM_ROPE_PAIRS_INTERLEAVED = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum warpnorm_rope_pairs warpnorm_rope_pairs;
#else
typedef uint32_t warpnorm_rope_pairs;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Where a rotation is rounded.
enum warpnorm_rope_rounding
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // R(y0·cos - y1·sin): FlashInfer, vLLM.
    WARPNORM_ROPE_ROUNDING_SINGLE = 0,
    // R(R(y0·cos) - R(y1·sin)): Hugging Face, older versions of vLLM.
    WARPNORM_ROPE_ROUNDING_EACH = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum warpnorm_rope_rounding warpnorm_rope_rounding;
#else
typedef uint32_t warpnorm_rope_rounding;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The type of a code.
enum warpnorm_code_type
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // OCP 8-bit floating point, four exponent bits: PyTorch's float8_e4m3fn.
    WARPNORM_CODE_TYPE_E4M3 = 0,
    // OCP 8-bit floating point, five exponent bits: PyTorch's float8_e5m2.
    WARPNORM_CODE_TYPE_E5M2 = 1,
    // Two's complement, for scales of 127.
    WARPNORM_CODE_TYPE_INT8 = 2,
    // Four bits, two of exponent; two codes a byte, the first in its lower half.
    WARPNORM_CODE_TYPE_E2M1 = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum warpnorm_code_type warpnorm_code_type;
#else
typedef uint32_t warpnorm_code_type;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Which elements share a scale, and what it is.
enum warpnorm_scaling_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // y is not quantised.
    WARPNORM_SCALING_KIND_NONE = 0,
    // One f32 scale for all elements, which is given: `tensor_scale`.
    WARPNORM_SCALING_KIND_PER_TENSOR = 1,
    // The same, and codes are made of y before it is rounded. RMSNorm, e4m3.
    WARPNORM_SCALING_KIND_PER_TENSOR_WIDE = 2,
    // An f32 scale for every row.
    WARPNORM_SCALING_KIND_PER_TOKEN = 3,
    // An f32 scale for every `group_size` elements of a row.
    WARPNORM_SCALING_KIND_PER_GROUP = 4,
    // A power-of-two scale, one UE8M0 byte, for every 32 elements of a row.
    WARPNORM_SCALING_KIND_MXFP8 = 5,
    // An e4m3 scale for every 16 elements of a row, under one f32 scale that is given: `tensor_scale`.
    WARPNORM_SCALING_KIND_NVFP4 = 6,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum warpnorm_scaling_kind warpnorm_scaling_kind;
#else
typedef uint32_t warpnorm_scaling_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How scales lie.
enum warpnorm_scale_layout
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // scales[row][group].
    WARPNORM_SCALE_LAYOUT_ROW_MAJOR = 0,
    // scales[group][row], the rows of a group rounded up to a multiple of `layout_alignment`.
    WARPNORM_SCALE_LAYOUT_COLUMN_MAJOR = 1,
    // Tiles of 128 rows and 4 groups, as cuBLAS and Blackwell's tensor cores read them.
    WARPNORM_SCALE_LAYOUT_TILED = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum warpnorm_scale_layout warpnorm_scale_layout;
#else
typedef uint32_t warpnorm_scale_layout;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How the exponent of a block's power-of-two scale is rounded.
enum warpnorm_block_rounding
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Up: nothing saturates.
    WARPNORM_BLOCK_ROUNDING_UP = 0,
    // Down, as the OCP specification has it: the largest elements may saturate.
    WARPNORM_BLOCK_ROUNDING_FLOOR = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum warpnorm_block_rounding warpnorm_block_rounding;
#else
typedef uint32_t warpnorm_block_rounding;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The type of positions.
enum warpnorm_position_type
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // int32_t.
    WARPNORM_POSITION_TYPE_I32 = 0,
    // int64_t.
    WARPNORM_POSITION_TYPE_I64 = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum warpnorm_position_type warpnorm_position_type;
#else
typedef uint32_t warpnorm_position_type;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// When a launch on a GPU may begin. Without effect before compute capability 9.0, and on other devices.
enum warpnorm_programmatic_launch
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // When all work in front of it in the stream has completed.
    WARPNORM_PROGRAMMATIC_LAUNCH_OFF = 0,
    // Early, beside the end of the kernel in front of it, for which it waits before it reads or writes any tensor.
    WARPNORM_PROGRAMMATIC_LAUNCH_WAIT_FIRST = 1,
    // Early, and it may read parameters before it waits: weight, bias, linear_bias, inner_weight, rate, and weight
    // and bias of `second`. A promise of the caller's: no kernel that may still be running then writes those, neither
    // the one in front of it in the stream nor, where that was launched programmatically, those in front of that.
    WARPNORM_PROGRAMMATIC_LAUNCH_PARAMETERS_FIRST = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum warpnorm_programmatic_launch warpnorm_programmatic_launch;
#else
typedef uint32_t warpnorm_programmatic_launch;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What computes on a device, and whose memory its tensors are in.
enum warpnorm_device_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // A GPU; tensors are in memory that it can access.
    WARPNORM_DEVICE_KIND_CUDA = 0,
    // The reference, in f64; tensors are in host memory.
    WARPNORM_DEVICE_KIND_CPU = 1,
    // A GPU that is not there: its kernels, run by an executor. Tensors are in host memory.
    WARPNORM_DEVICE_KIND_EMULATED = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum warpnorm_device_kind warpnorm_device_kind;
#else
typedef uint32_t warpnorm_device_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A device. To be made by warpnorm_device_cuda, _cuda_context, _cpu or _emulated, and destroyed by
// warpnorm_device_destroy. It may be copied and used from any thread; what is none, or has been destroyed, is an
// error and no more.
typedef struct warpnorm_device {
    // Its number, which no other device of this process has or will have. Never 0.
    uint64_t id;
} warpnorm_device;

// An activation, with the number that it takes.
typedef struct warpnorm_activation {
    // A warpnorm_activation_kind.
    uint32_t kind;
    // The slope of leaky ReLU, β of Swish; of all others it is not looked at.
    float parameter;
} warpnorm_activation;

// What the values of a row are made of. What its kind does not name is not looked at.
typedef struct warpnorm_input {
    // A warpnorm_input_kind.
    uint32_t kind;
    // Of WARPNORM_INPUT_KIND_RESIDUAL_ADD, what the residual is multiplied by; of _POST_NORM, the sum; of
    // _INTERPOLATION, the rates.
    float scale;
    // Of _RESIDUAL_ADD, a warpnorm_residual_rounding; of _POST_NORM, a warpnorm_post_rounding.
    uint32_t rounding;
    // Of _GATED: that of the gate.
    struct warpnorm_activation activation;
} warpnorm_input;

// The residual add after a norm: y = R((residual + v·w)·scale).
typedef struct warpnorm_post_add {
    // 1 if there is one, 0 if there is none. The rest is then not looked at.
    uint32_t present;
    // What the sum is multiplied by.
    float scale;
    // A warpnorm_post_rounding.
    uint32_t rounding;
} warpnorm_post_add;

// The rotation of heads by their positions.
typedef struct warpnorm_rope {
    // The first elements of a head that are rotated, an even number; 0 for none. The rest is then not looked at.
    size_t dim;
    // A warpnorm_rope_pairs.
    uint32_t pairs;
    // A warpnorm_rope_rounding.
    uint32_t rounding;
} warpnorm_rope;

// What y is quantised to. What its scaling does not name is not looked at.
typedef struct warpnorm_quantisation {
    // A warpnorm_scaling_kind.
    uint32_t scaling;
    // A warpnorm_code_type.
    uint32_t code;
    // Of _PER_TOKEN and fp8 codes: the largest magnitude of a row counts as no more; 0 for no bound.
    float upper_bound;
    // Of _PER_GROUP: the largest magnitude of a group counts as no less. warpnorm_norm_init has 1e-10.
    float floor;
    // Of _PER_GROUP: elements that share a scale, 64 or 128.
    size_t group_size;
    // Of _COLUMN_MAJOR: see there. 1, or 4 for DeepGEMM.
    size_t layout_alignment;
    // Of _PER_GROUP, _MXFP8 and _NVFP4: a warpnorm_scale_layout.
    uint32_t layout;
    // Of _PER_GROUP: 1 if scales are rounded up to powers of two, else 0.
    uint32_t power_of_two;
    // Of _MXFP8: a warpnorm_block_rounding.
    uint32_t block_rounding;
} warpnorm_quantisation;

// A normalisation over the last dimension, with all that surrounds it in the same pass:
//
//     h = x                                    or what `input` says
//     v = (h - mean)·rstd                      by the statistic of `family`
//     y = R(v·(weight + weight_offset) + bias) R rounds to the activation type, to nearest even
//     y = R(v·(weight + weight_offset)·act(z)) where there is a gate
//     y = R((residual + v·(weight + weight_offset))·scale) where there is a post_add
//     y = rotated(y)                           where there is a rope
//     codes, scales = quantise(y)              where there is a quantisation
//
// Fill it by warpnorm_norm_init or warpnorm_norm_preset, then change what is to be other. What does not go together
// is refused when it is run.
typedef struct warpnorm_norm {
    // sizeof(warpnorm_norm).
    uint32_t size;
    // A warpnorm_family.
    uint32_t family;
    // Added to the variance or the mean square, inside the root. At least 0.
    float eps;
    // Added to every weight, in f32; 1 for Gemma.
    float weight_offset;
    // A warpnorm_weight_rounding.
    uint32_t weight_rounding;
    // A warpnorm_scope.
    uint32_t scope;
    // What h is made of.
    struct warpnorm_input input;
    // The activation of the gate after the norm; of WARPNORM_FAMILY_IDENTITY without a gate, that of x.
    struct warpnorm_activation gate;
    // The residual add after the norm.
    struct warpnorm_post_add post_add;
    // The rotation of heads.
    struct warpnorm_rope rope;
    // Codes of y.
    struct warpnorm_quantisation quantisation;
} warpnorm_norm;

// Rows that are read. Absent where the pointer is null.
typedef struct warpnorm_rows {
    // Where the first row starts: a multiple of the element size.
    const void *data;
    // From one row to the next, in elements; at least a row.
    size_t stride;
} warpnorm_rows;

// Elements side by side. Absent where the pointer is null.
typedef struct warpnorm_vector {
    // Where they start: a multiple of the element size.
    const void *data;
    // A warpnorm_dtype: mostly the activation type or f32.
    uint32_t dtype;
} warpnorm_vector;

// Rows that are written. Absent where the pointer is null.
typedef struct warpnorm_rows_mut {
    // Where the first row starts: a multiple of the element size.
    void *data;
    // From one row to the next, in elements; at least a row.
    size_t stride;
} warpnorm_rows_mut;

// Rows of codes. Absent where the pointer is null.
typedef struct warpnorm_codes {
    // Where the first row starts.
    void *data;
    // From one row to the next, in bytes: at least the row_bytes of warpnorm_quantised_sizes.
    size_t stride;
} warpnorm_codes;

// The heads or groups of a row, `hidden` elements each.
typedef struct warpnorm_parts {
    // How many a row has; 1 where norms are of whole rows.
    size_t count;
    // From one to the next in a row of x, in elements.
    size_t x_stride;
    // The same in a row of the gate.
    size_t gate_stride;
    // The same in a row of y.
    size_t y_stride;
} warpnorm_parts;

// Heads beside those of x, with parameters of their own: K beside Q. Absent where all pointers are null and the
// count is 0.
typedef struct warpnorm_heads {
    // As many rows as x has.
    struct warpnorm_rows x;
    // The result; may lie exactly over x.
    struct warpnorm_rows_mut y;
    // Heads of a row.
    size_t count;
    // From one to the next in a row of x, in elements.
    size_t x_stride;
    // The same in a row of y.
    size_t y_stride;
    // `hidden` elements, where those of x have a weight.
    struct warpnorm_vector weight;
    // `hidden` elements, where those of x have a bias.
    struct warpnorm_vector bias;
} warpnorm_heads;

// The tables of a rotary embedding. Absent where all pointers are null.
typedef struct warpnorm_rope_tables {
    // `entries` rows of dim/2 cosines.
    struct warpnorm_rows cos;
    // `entries` rows of dim/2 sines; rows may interleave with those of cos.
    struct warpnorm_rows sin;
    // Rows of the tables. A position past them, or a negative one, takes the last.
    size_t entries;
    // The position of every row; null for that of its number.
    const void *positions;
    // The warpnorm_dtype of cos and sin: the activation type or f32.
    uint32_t dtype;
    // A warpnorm_position_type.
    uint32_t position_type;
} warpnorm_rope_tables;

// The tensors of one launch. All are in memory of the device's: of a GPU, memory that it can access; else of the
// host. Fill it by warpnorm_call_init, then set x, y and what else the norm takes.
//
// Memory must be as large as rows, sizes and strides say, and stay allocated and untouched by others until the launch
// has completed. y may lie exactly over x, residual or gate (same address and strides), residual_out over x or
// residual; beyond that, what is written overlaps nothing.
typedef struct warpnorm_call {
    // sizeof(warpnorm_call).
    uint32_t size;
    // The warpnorm_dtype of x, residual, gate, y and residual_out.
    uint32_t dtype;
    // Number of rows. 0 does nothing: norm and `hidden` are checked, and no tensor is looked at, so that all may be
    // absent.
    size_t rows;
    // Elements of a row, or of each head or group of it.
    size_t hidden;
    // The input: `rows` rows of `parts.count` parts of `hidden` elements.
    struct warpnorm_rows x;
    // The residual stream that comes in, where the norm takes one.
    struct warpnorm_rows residual;
    // The gate, as x is; where the norm has one.
    struct warpnorm_rows gate;
    // The bias of the Linear that x comes from, `hidden` elements of x's type; with a residual add alone.
    struct warpnorm_vector linear_bias;
    // `hidden` elements; of all groups one after the other, where the norm is of groups.
    struct warpnorm_vector weight;
    // As long as the weight and of its type.
    struct warpnorm_vector bias;
    // The output, as x is. Where the norm quantises, it may be absent.
    struct warpnorm_rows_mut y;
    // The residual stream that goes out, R(h), where it is wanted.
    struct warpnorm_rows_mut residual_out;
    // Where it is wanted, the mean of every row, or of every part of every row; layer norm only.
    float *mean;
    // Where it is wanted, the reciprocal of every row's or part's standard deviation, root mean square or length.
    float *rstd;
    // The codes of y, where the norm quantises.
    struct warpnorm_codes codes;
    // Their scales, as many and of such size as warpnorm_quantised_sizes says; where the norm makes scales.
    void *scales;
    // The f32 scale that is given; where the norm takes one.
    const float *tensor_scale;
    // The weight of the first of two norms, `hidden` elements of the weight's type.
    struct warpnorm_vector inner_weight;
    // The rates of an interpolation, `hidden` elements.
    struct warpnorm_vector rate;
    // Heads or groups of a row.
    struct warpnorm_parts parts;
    // Heads beside those of x.
    struct warpnorm_heads second;
    // The tables of the rotation, where the norm rotates.
    struct warpnorm_rope_tables rope;
    // A warpnorm_programmatic_launch.
    uint32_t programmatic_launch;
} warpnorm_call;

// The statistics of the columns of x over its rows, as batch normalisation takes them:
//
//     mean  = Σx / rows
//     rstd  = 1/sqrt(Σ(x - mean)² / rows + eps)
//     scale = weight·rstd                      weight is 1 where there is none
//     shift = bias - mean·scale                bias is 0 where there is none
//
// y = x·scale + shift is then a run of WARPNORM_FAMILY_IDENTITY with scale for its weight and shift for its bias,
// both f32. Fill it by warpnorm_batch_statistics_init, then set x and at least one output, each `hidden` f32 elements
// that lie apart from every other tensor.
typedef struct warpnorm_batch_statistics {
    // sizeof(warpnorm_batch_statistics).
    uint32_t size;
    // The warpnorm_dtype of x.
    uint32_t dtype;
    // Added to the variance, inside the root. At least 0.
    float eps;
    // Number of rows, at least 1.
    size_t rows;
    // Number of columns.
    size_t hidden;
    // The input.
    struct warpnorm_rows x;
    // γ, `hidden` elements of x's type or f32; only beside scale or shift.
    struct warpnorm_vector weight;
    // β, of γ's type; only beside shift.
    struct warpnorm_vector bias;
    // The mean of every column.
    float *mean;
    // The reciprocal standard deviation of every column.
    float *rstd;
    // γ·rstd.
    float *scale;
    // β - mean·scale.
    float *shift;
    // A warpnorm_programmatic_launch; the parameters are weight and bias.
    uint32_t programmatic_launch;
} warpnorm_batch_statistics;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of the library: major·1000000 + minor·1000 + patch.
uint32_t warpnorm_version(void);

// The same in words, such as `0.1.0`. Valid for ever.
const char *warpnorm_version_string(void);

// What went wrong in the last call of this thread that failed, in UTF-8; empty if none has. Valid until the next
// call of this thread that fails.
const char *warpnorm_last_error(void);

// A status in words, such as `invalid argument`. Valid for ever; of a number that is none, `unknown status`.
const char *warpnorm_status_name(uint32_t status);

// Makes a device of the GPU of this ordinal, in its primary context: the one that the CUDA runtime, PyTorch and all
// others use who do not make their own. `flags` is 0 or WARPNORM_TRUST_POINTERS.
warpnorm_status warpnorm_device_cuda(uint32_t ordinal,
                                     uint32_t flags,
                                     struct warpnorm_device *device);

// Makes a device of a GPU in this context, a CUcontext, which must outlive the device.
warpnorm_status warpnorm_device_cuda_context(void *context, uint32_t flags, struct warpnorm_device *device);

// Makes a device of the CPU: the reference, in f64. Tensors are in host memory; streams are null.
warpnorm_status warpnorm_device_cpu(struct warpnorm_device *device);

// Makes a device that runs the kernels themselves in an executor, with the facts of the GPU of this name: `t4`,
// `a100`, `l4`, `h100`, `h200` or `b200`. Tensors are in host memory; streams are null. Only in builds of the library
// with the feature `emulator`; others return WARPNORM_STATUS_UNSUPPORTED.
warpnorm_status warpnorm_device_emulated(const char *gpu,
                                         struct warpnorm_device *device);

// Destroys a device. Calls of other threads that are under way on it are completed first, by those. Where the device
// is a GPU, work of its context is waited for, which is not allowed while a stream captures; graphs that captured
// launches on it are to be destroyed before.
warpnorm_status warpnorm_device_destroy(struct warpnorm_device device);

// What a device is: writes a warpnorm_device_kind.
warpnorm_status warpnorm_device_kind_of(struct warpnorm_device device, uint32_t *kind);

// Writes the name of a device, such as `NVIDIA H100 80GB HBM3`, with a NUL behind it. A capacity of less than that is
// an error; 256 is enough.
warpnorm_status warpnorm_device_name(struct warpnorm_device device,
                                     char *name,
                                     size_t capacity);

// Counts the GPUs that the driver shows. Makes no context.
warpnorm_status warpnorm_cuda_device_count(uint32_t *count);

// A norm of this family and eps, and nothing around it. `size` is sizeof(warpnorm_norm).
warpnorm_status warpnorm_norm_init(struct warpnorm_norm *norm, size_t size, uint32_t family, float eps);

// The norm of a framework by name, with its roundings, offset and eps, and the residual add where it has one:
// `llama`, `gemma`, `flash-infer`, `vllm`, `bert`, or with numbers `deep-norm:24` and `qwen3-heads:128`. A name that
// there is not is an error that lists those that there are. `size` is sizeof(warpnorm_norm).
warpnorm_status warpnorm_norm_preset(struct warpnorm_norm *norm,
                                     size_t size,
                                     const char *name);

// A call without tensors, of rows that are one part. `size` is sizeof(warpnorm_call), `dtype` a warpnorm_dtype.
warpnorm_status warpnorm_call_init(struct warpnorm_call *call,
                                   size_t size,
                                   uint32_t dtype,
                                   size_t rows,
                                   size_t hidden);

// Statistics of columns without tensors. `size` is sizeof(warpnorm_batch_statistics), `dtype` a warpnorm_dtype.
warpnorm_status warpnorm_batch_statistics_init(struct warpnorm_batch_statistics *statistics,
                                               size_t size,
                                               uint32_t dtype,
                                               size_t rows,
                                               size_t hidden,
                                               float eps);

// What codes and scales of so many rows take: bytes of a row of codes, how many scales there are, those between the
// rows' own included, and the bytes of all of them. A result that is not wanted may be null.
warpnorm_status warpnorm_quantised_sizes(const struct warpnorm_norm *norm,
                                         size_t rows,
                                         size_t hidden,
                                         size_t *row_bytes,
                                         size_t *scale_count,
                                         size_t *scale_bytes);

// Checks a call as warpnorm_run does, but for what only a device can tell. Reads no tensor.
warpnorm_status warpnorm_check(const struct warpnorm_norm *norm, const struct warpnorm_call *call);

// Runs a norm. On a GPU it is put on the stream, a cudaStream_t or CUstream of the device's context, null for its
// default stream, and the function returns: it allocates nothing, loads nothing but a module's first use, waits for
// nothing, and can be captured in a graph after warpnorm_warm_up. Elsewhere the stream is null, and the results are
// there when it returns.
warpnorm_status warpnorm_run(struct warpnorm_device device,
                             void *stream,
                             const struct warpnorm_norm *norm,
                             const struct warpnorm_call *call);

// Takes the statistics of columns. Streams are as those of warpnorm_run.
warpnorm_status warpnorm_run_batch_statistics(struct warpnorm_device device,
                                              void *stream,
                                              const struct warpnorm_batch_statistics *statistics);

// Loads the module of a norm of activations of this type, a warpnorm_dtype: before a stream captures it, or before
// the first request. Where there is nothing to load, only the arguments are checked.
warpnorm_status warpnorm_warm_up(struct warpnorm_device device,
                                 const struct warpnorm_norm *norm,
                                 uint32_t dtype);

// The same for the statistics of columns of this type.
warpnorm_status warpnorm_warm_up_batch_statistics(struct warpnorm_device device, uint32_t dtype);

// The same for all that there is, which takes seconds where the driver has not compiled it before.
warpnorm_status warpnorm_warm_up_all(struct warpnorm_device device);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* WARPNORM_H */
