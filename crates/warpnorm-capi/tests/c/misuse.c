// Everything that is not as it must be is refused with a status and words, and nothing crashes or is written.
#include "common.h"

enum { ROWS = 2, HIDDEN = 8 };

static float x[ROWS * HIDDEN + 1], y[ROWS * HIDDEN], weight[HIDDEN];

static warpnorm_call valid_call(void) {
    warpnorm_call call = call_of(WARPNORM_DTYPE_F32, ROWS, HIDDEN);
    call.x = (warpnorm_rows){x, HIDDEN};
    call.y = (warpnorm_rows_mut){y, HIDDEN};
    call.weight = (warpnorm_vector){weight, WARPNORM_DTYPE_F32};
    return call;
}

static warpnorm_norm valid_norm(void) { return norm_of(WARPNORM_FAMILY_RMS_NORM, 1e-6f); }

#define INVALID(call, word) REFUSED(call, WARPNORM_STATUS_INVALID_ARGUMENT, word)

static void devices(warpnorm_device device, char **argv) {
    warpnorm_norm norm = valid_norm();
    warpnorm_call call = valid_call();
    OK(warpnorm_run(device, NULL, &norm, &call));

    // None of these was ever made.
    const uint64_t none[] = {0, device.id + 1000, UINT64_MAX, (uint64_t)(uintptr_t)&device};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        warpnorm_device other = {none[i]};
        REFUSED(warpnorm_run(other, NULL, &norm, &call), WARPNORM_STATUS_INVALID_HANDLE, "none that this library");
        REFUSED(warpnorm_device_destroy(other), WARPNORM_STATUS_INVALID_HANDLE, "none that this library");
    }
    // Destroyed ones stay destroyed, also when others have been made.
    warpnorm_device gone, later;
    OK(warpnorm_device_cpu(&gone));
    OK(warpnorm_device_destroy(gone));
    OK(warpnorm_device_cpu(&later));
    CHECK(later.id != gone.id);
    uint32_t kind = 77;
    char name[256];
    REFUSED(warpnorm_run(gone, NULL, &norm, &call), WARPNORM_STATUS_DESTROYED_HANDLE, "destroyed");
    REFUSED(warpnorm_warm_up(gone, &norm, WARPNORM_DTYPE_F32), WARPNORM_STATUS_DESTROYED_HANDLE, "destroyed");
    REFUSED(warpnorm_warm_up_all(gone), WARPNORM_STATUS_DESTROYED_HANDLE, "destroyed");
    REFUSED(warpnorm_device_kind_of(gone, &kind), WARPNORM_STATUS_DESTROYED_HANDLE, "destroyed");
    REFUSED(warpnorm_device_name(gone, name, sizeof name), WARPNORM_STATUS_DESTROYED_HANDLE, "destroyed");
    REFUSED(warpnorm_device_destroy(gone), WARPNORM_STATUS_DESTROYED_HANDLE, "destroyed");
    CHECK(kind == 77);
    OK(warpnorm_device_destroy(later));

    OK(warpnorm_device_kind_of(device, &kind));
    CHECK(kind == (strcmp(argv[1], "cpu") == 0 ? WARPNORM_DEVICE_KIND_CPU : WARPNORM_DEVICE_KIND_EMULATED));
    OK(warpnorm_device_name(device, name, sizeof name));
    CHECK(strstr(name, kind == WARPNORM_DEVICE_KIND_CPU ? "cpu" : "NVIDIA") != NULL);
    INVALID(warpnorm_device_name(device, name, 3), "capacity of 3");
    INVALID(warpnorm_device_name(device, NULL, 0), "name is a null pointer");
    INVALID(warpnorm_device_cpu(NULL), "device is a null pointer");
    INVALID(warpnorm_device_cpu((warpnorm_device *)((char *)&later + 1)), "multiple of 8");
    INVALID(warpnorm_device_kind_of(device, NULL), "kind is a null pointer");
    warpnorm_device other = {5};
    INVALID(warpnorm_device_emulated(NULL, &other), "gpu is a null pointer");
    INVALID(warpnorm_device_emulated("voodoo2", &other), "wanted one of t4, a100, l4, h100, h200, b200");
    warpnorm_device h100;
    OK(warpnorm_device_emulated("h100", &h100));
    OK(warpnorm_device_destroy(h100));
    INVALID(warpnorm_device_emulated("\xff", &other), "UTF-8");
    INVALID(warpnorm_device_cuda_context(NULL, 0, &other), "context is a null pointer");
    INVALID(warpnorm_device_cuda(0, 6, &other), "flags 0x6");
    CHECK(other.id == 5);
    // Where there is a driver, there is no such device; where there is none, that is said.
    warpnorm_status status = warpnorm_device_cuda(1000, 0, &other);
    CHECK(status == WARPNORM_STATUS_NO_DRIVER || status == WARPNORM_STATUS_NO_DEVICE);
    CHECK(warpnorm_last_error()[0] != 0);
    uint32_t count = 0;
    status = warpnorm_cuda_device_count(&count);
    CHECK(status == WARPNORM_STATUS_NO_DRIVER || status == WARPNORM_STATUS_OK);
    INVALID(warpnorm_run(device, &other, &norm, &call), "wanted a null pointer");
}

static void structures(warpnorm_device device) {
    warpnorm_norm norm = valid_norm();
    warpnorm_call call = valid_call();
    INVALID(warpnorm_run(device, NULL, NULL, &call), "norm is a null pointer");
    INVALID(warpnorm_run(device, NULL, &norm, NULL), "call is a null pointer");
    INVALID(warpnorm_check(NULL, &call), "norm is a null pointer");
    INVALID(warpnorm_norm_init(NULL, sizeof norm, WARPNORM_FAMILY_RMS_NORM, 0.0f), "norm is a null pointer");
    INVALID(warpnorm_norm_init(&norm, sizeof norm - 4, WARPNORM_FAMILY_RMS_NORM, 0.0f), "warpnorm_norm of");
    INVALID(warpnorm_norm_init(&norm, sizeof norm, 4, 0.0f), "family is 4");
    INVALID(warpnorm_call_init(&call, sizeof call + 8, WARPNORM_DTYPE_F32, 1, 1), "warpnorm_call of");
    INVALID(warpnorm_call_init(&call, sizeof call, 3, 1, 1), "dtype is 3");
    INVALID(warpnorm_norm_preset(&norm, sizeof norm, NULL), "name is a null pointer");
    INVALID(warpnorm_norm_preset(&norm, sizeof norm, "bloom"), "wanted one of llama");
    INVALID(warpnorm_norm_preset(&norm, sizeof norm, "deep-norm"), "deep-norm:24");

    char storage[sizeof(warpnorm_norm) + 8];
    memcpy(storage + 2, &norm, sizeof norm);
    INVALID(warpnorm_run(device, NULL, (const warpnorm_norm *)(storage + 2), &call), "norm is at address");
    norm.size = 0;
    INVALID(warpnorm_run(device, NULL, &norm, &call), "warpnorm_norm of 0 bytes");
    norm = valid_norm();
    call.size--;
    INVALID(warpnorm_run(device, NULL, &norm, &call), "warpnorm_call of");

    // Memory that was never initialised, but for its size.
    memset(&norm, 0xff, sizeof norm);
    memset(&call, 0xff, sizeof call);
    norm.size = sizeof norm, call.size = sizeof call;
    INVALID(warpnorm_run(device, NULL, &norm, &call), "family is 4294967295");
    norm = valid_norm();
    INVALID(warpnorm_run(device, NULL, &norm, &call), "dtype is 4294967295");
    memset(&call, 0, sizeof call);
    call.size = sizeof call;
    INVALID(warpnorm_run(device, NULL, &norm, &call), "hidden size is 0");
}

// A number that no enumeration has, wherever there is one.
static void enumerations(warpnorm_device device) {
    warpnorm_call call = valid_call();
#define UNKNOWN(field, given, word)                                                                                   \
    do {                                                                                                              \
        warpnorm_norm norm = valid_norm();                                                                            \
        norm.field = (given);                                                                                         \
        INVALID(warpnorm_run(device, NULL, &norm, &call), word);                                                      \
    } while (0)
    UNKNOWN(weight_rounding, 2, "weight_rounding is 2");
    UNKNOWN(scope, 3, "scope is 3");
    UNKNOWN(input.kind, 5, "input.kind is 5");
    UNKNOWN(gate.kind, 9, "gate.kind is 9");
    UNKNOWN(post_add.present, 2, "post_add.present is 2");
    UNKNOWN(quantisation.scaling, 7, "quantisation.scaling is 7");
#undef UNKNOWN
    warpnorm_norm norm = valid_norm();
    norm.input = (warpnorm_input){.kind = WARPNORM_INPUT_KIND_RESIDUAL_ADD, .rounding = 3};
    INVALID(warpnorm_check(&norm, &call), "input.rounding is 3");
    norm.input = (warpnorm_input){.kind = WARPNORM_INPUT_KIND_POST_NORM, .rounding = 2};
    INVALID(warpnorm_check(&norm, &call), "input.rounding is 2");
    norm.input = (warpnorm_input){.kind = WARPNORM_INPUT_KIND_GATED, .activation = {77, 0}};
    INVALID(warpnorm_check(&norm, &call), "input.activation.kind is 77");
    norm.input.activation.kind = WARPNORM_ACTIVATION_KIND_NONE;
    INVALID(warpnorm_check(&norm, &call), "ACTIVATION_KIND_NONE");
    norm = valid_norm();
    norm.post_add = (warpnorm_post_add){1, 1.0f, 2};
    INVALID(warpnorm_check(&norm, &call), "post_add.rounding is 2");
    norm = valid_norm();
    norm.rope = (warpnorm_rope){4, 2, 0};
    INVALID(warpnorm_check(&norm, &call), "rope.pairs is 2");
    norm.rope = (warpnorm_rope){4, 0, 2};
    INVALID(warpnorm_check(&norm, &call), "rope.rounding is 2");
    norm = valid_norm();
    norm.quantisation.scaling = WARPNORM_SCALING_KIND_PER_TOKEN;
    norm.quantisation.code = 4;
    INVALID(warpnorm_check(&norm, &call), "quantisation.code is 4");
    norm.quantisation.code = 0;
    norm.quantisation.scaling = WARPNORM_SCALING_KIND_PER_GROUP;
    norm.quantisation.layout = 3;
    INVALID(warpnorm_check(&norm, &call), "quantisation.layout is 3");
    norm.quantisation.layout = 0;
    norm.quantisation.power_of_two = 2;
    INVALID(warpnorm_check(&norm, &call), "power_of_two is 2");
    norm.quantisation.scaling = WARPNORM_SCALING_KIND_MXFP8;
    norm.quantisation.block_rounding = 2;
    INVALID(warpnorm_check(&norm, &call), "block_rounding is 2");

    norm = valid_norm();
    call.weight.dtype = 9;
    INVALID(warpnorm_run(device, NULL, &norm, &call), "weight.dtype is 9");
    call = valid_call();
    call.second.count = 1;
    call.second.weight = (warpnorm_vector){weight, 9};
    INVALID(warpnorm_run(device, NULL, &norm, &call), "second.weight.dtype is 9");
    call = valid_call();
    call.rope.positions = x;
    call.rope.position_type = 2;
    INVALID(warpnorm_run(device, NULL, &norm, &call), "rope.position_type is 2");
    call.rope.position_type = 0;
    call.rope.dtype = 3;
    INVALID(warpnorm_run(device, NULL, &norm, &call), "rope.dtype is 3");
    call = valid_call();
    call.programmatic_launch = 3;
    INVALID(warpnorm_run(device, NULL, &norm, &call), "programmatic_launch is 3");
    INVALID(warpnorm_warm_up(device, &norm, 3), "dtype is 3");
    INVALID(warpnorm_warm_up_batch_statistics(device, 3), "dtype is 3");
}

// Shapes, types and pointers that do not fit, and what does not go together.
static void tensors(warpnorm_device device) {
#define BAD(change, word)                                                                                             \
    do {                                                                                                              \
        warpnorm_norm norm = valid_norm();                                                                            \
        warpnorm_call call = valid_call();                                                                            \
        change;                                                                                                       \
        memset(y, 0x55, sizeof y);                                                                                    \
        INVALID(warpnorm_run(device, NULL, &norm, &call), word);                                                      \
        for (size_t i = 0; i < sizeof y; i++) CHECK(((const char *)y)[i] == 0x55);                                    \
    } while (0)
    BAD(call.x.data = NULL, "x is a null address");
    BAD(call.y.data = NULL, "there is no y");
    BAD(call.x.data = (const char *)x + 1, "wanted a multiple of its element size, 4");
    BAD(call.weight.data = (const char *)weight + 2, "weight starts at");
    BAD(call.x.stride = HIDDEN - 1, "row stride of 7");
    BAD(call.hidden = 0, "hidden size is 0");
    BAD(call.hidden = (size_t)1 << 25, "hidden size is 33554432");
    BAD(call.rows = SIZE_MAX, "exceed the address space");
    BAD(call.y.data = x + 1, "y overlaps x");
    BAD(call.weight.dtype = WARPNORM_DTYPE_BF16, "weight is bf16");
    BAD(call.residual = call.x, "a residual is given");
    BAD(call.gate = call.x, "gate is given");
    BAD(call.mean = y, "mean is asked for");
    BAD(call.parts.count = 2, "divided into 2 parts");
    BAD(call.codes = ((warpnorm_codes){y, HIDDEN}), "codes is given");
    BAD(call.second.count = 1, "second_x is given");
    BAD(call.rope.cos = ((warpnorm_rows){x, HIDDEN}), "cos is given");
    BAD(norm.eps = -1.0f, "eps is -1");
    BAD(norm.eps = NAN, "eps is NaN");
    BAD(norm.input.kind = WARPNORM_INPUT_KIND_RESIDUAL_ADD, "takes a residual, but none is given");
    BAD(norm.quantisation.scaling = WARPNORM_SCALING_KIND_PER_TOKEN, "f32 activations are asked to be quantised");
#undef BAD
    warpnorm_norm norm = valid_norm();
    warpnorm_call call = valid_call();
    call.rows = 0;
    call.x.data = NULL;
    OK(warpnorm_run(device, NULL, &norm, &call));
    // Empty tensors are null with many allocators: those that the norm takes and those that it makes.
    call = call_of(WARPNORM_DTYPE_F32, 0, HIDDEN);
    norm.input.kind = WARPNORM_INPUT_KIND_RESIDUAL_ADD;
    OK(warpnorm_check(&norm, &call));
    OK(warpnorm_run(device, NULL, &norm, &call));
    // What is no norm is none of no rows either, and no tensor means nothing but there.
    norm.eps = -1.0f;
    INVALID(warpnorm_check(&norm, &call), "eps is -1");
    INVALID(warpnorm_run(device, NULL, &norm, &call), "eps is -1");
    norm = valid_norm();
    call.rows = 1;
    INVALID(warpnorm_check(&norm, &call), "there is no y");

    norm.scope = WARPNORM_SCOPE_HEAD;
    norm.gate.kind = WARPNORM_ACTIVATION_KIND_RELU;
    REFUSED(warpnorm_warm_up(device, &norm, WARPNORM_DTYPE_F32), WARPNORM_STATUS_UNSUPPORTED, "a norm of heads");
    norm = valid_norm();
    norm.quantisation.scaling = WARPNORM_SCALING_KIND_NVFP4;
    size_t count;
    INVALID(warpnorm_quantised_sizes(&norm, 1, 16, NULL, &count, NULL), "wanted e2m1");
    norm.quantisation.code = WARPNORM_CODE_TYPE_E2M1;
    INVALID(warpnorm_quantised_sizes(&norm, 1, 17, NULL, &count, NULL), "multiple of 16");
    OK(warpnorm_quantised_sizes(&norm, 1, 32, NULL, &count, NULL));
    CHECK(count == 2);
}

int main(int argc, char **argv) {
    CHECK(warpnorm_last_error()[0] == 0);
    warpnorm_device device = device_of(argc, argv);
    if (argc < 2) return 1;
    CHECK(warpnorm_version() >= 1000);
    CHECK(strchr(warpnorm_version_string(), '.') != NULL);
    CHECK(strcmp(warpnorm_status_name(WARPNORM_STATUS_OK), "ok") == 0);
    CHECK(strcmp(warpnorm_status_name(12345), "unknown status") == 0);
    devices(device, argv);
    structures(device);
    enumerations(device);
    tensors(device);
    return finish(device);
}
