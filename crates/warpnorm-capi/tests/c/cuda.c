// What a device of CUDA checks before it launches, with a driver that only writes down what is asked of it.
#include "common.h"
#include "fake_driver.h"

enum { ROWS = 3, HIDDEN = 64, BYTES = ROWS * HIDDEN * sizeof(float) };

static void *x, *y;

static warpnorm_call call_on(void *input, void *output) {
    warpnorm_call call = call_of(WARPNORM_DTYPE_F32, ROWS, HIDDEN);
    call.x = (warpnorm_rows){input, HIDDEN};
    call.y = (warpnorm_rows_mut){output, HIDDEN};
    return call;
}

static void memory(warpnorm_device device, warpnorm_device trusting) {
    warpnorm_norm norm = norm_of(WARPNORM_FAMILY_RMS_NORM, 1e-6f);
    void *const good[] = {
        fake_memory(FAKE_DEVICE, 0, BYTES), fake_memory(FAKE_PINNED, 0, BYTES), fake_memory(FAKE_MANAGED, 1, BYTES)};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int before = fake_launches();
        warpnorm_call call = call_on(x, good[i]);
        OK(warpnorm_run(device, NULL, &norm, &call));
        CHECK(fake_launches() == before + 1);
    }
    static float host[ROWS * HIDDEN];
    const struct {
        void *memory;
        const char *words;
    } bad[] = {{host, "y at 0x"},
               {fake_memory(FAKE_DEVICE, 1, BYTES), "memory of CUDA device 1, wanted memory that CUDA device 0"},
               {fake_memory(FAKE_UNMAPPED, 0, BYTES), "not mapped"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int before = fake_launches();
        warpnorm_call call = call_on(x, bad[i].memory);
        REFUSED(warpnorm_run(device, NULL, &norm, &call), WARPNORM_STATUS_WRONG_DEVICE, bad[i].words);
        call = call_on(bad[i].memory, y);
        REFUSED(warpnorm_run(device, NULL, &norm, &call), WARPNORM_STATUS_WRONG_DEVICE, "x at 0x");
        CHECK(fake_launches() == before);
        // A device that trusts pointers asks nothing.
        int lookups = fake_lookups();
        OK(warpnorm_run(trusting, NULL, &norm, &call));
        CHECK(fake_launches() == before + 1 && fake_lookups() == lookups);
    }
    // Every tensor of a call is looked up, each under its own name.
    warpnorm_call call = call_on(x, y);
#define LOOKED_UP(set, norm, word)                                                                                    \
    do {                                                                                                              \
        call = call_on(x, y);                                                                                         \
        set;                                                                                                          \
        REFUSED(warpnorm_run(device, NULL, &(norm), &call), WARPNORM_STATUS_WRONG_DEVICE, word " at 0x");             \
    } while (0)
    const warpnorm_vector vector = {host, WARPNORM_DTYPE_F32};
    warpnorm_norm layer = norm_of(WARPNORM_FAMILY_LAYER_NORM, 1e-6f), add = preset("llama"), gate = norm;
    gate.gate.kind = WARPNORM_ACTIVATION_KIND_SILU;
    LOOKED_UP(call.weight = vector, norm, "weight");
    LOOKED_UP(call.bias = vector, norm, "bias");
    LOOKED_UP(call.mean = host, layer, "mean");
    LOOKED_UP(call.rstd = host, layer, "rstd");
    LOOKED_UP(call.gate = ((warpnorm_rows){host, HIDDEN}), gate, "gate");
    LOOKED_UP(call.residual = ((warpnorm_rows){host, HIDDEN}), add, "residual");
    LOOKED_UP(call.residual = call.x; call.residual_out = ((warpnorm_rows_mut){host, HIDDEN}), add, "residual_out");
    LOOKED_UP(call.residual = call.x; call.linear_bias = vector, add, "linear_bias");
    warpnorm_norm sandwich = norm, step = preset("n-gpt-step"), heads = norm, rotated = norm, codes = norm;
    sandwich.input.kind = WARPNORM_INPUT_KIND_POST_NORM;
    LOOKED_UP(call.residual = call.x; call.weight = ((warpnorm_vector){x, 0}); call.inner_weight = vector, sandwich,
              "inner_weight");
    LOOKED_UP(call.residual = call.x; call.rate = vector, step, "rate");
    heads.scope = WARPNORM_SCOPE_HEAD;
    void *const second = good[0];
    const warpnorm_heads beside = {
        .x = {second, HIDDEN}, .y = {second, HIDDEN}, .count = 1, .x_stride = HIDDEN, .y_stride = HIDDEN};
    LOOKED_UP(call.second = beside; call.second.x.data = host, heads, "second_x");
    LOOKED_UP(call.second = beside; call.second.y.data = host, heads, "second_y");
    const warpnorm_vector device_vector = {good[1], WARPNORM_DTYPE_F32};
    LOOKED_UP(call.second = beside; call.weight = device_vector; call.second.weight = vector, heads, "second_weight");
    LOOKED_UP(call.second = beside; call.bias = device_vector; call.second.bias = vector, heads, "second_bias");
    rotated.scope = WARPNORM_SCOPE_HEAD;
    rotated.rope.dim = HIDDEN;
    const warpnorm_rope_tables tables = {.cos = {second, HIDDEN / 2}, .sin = {second, HIDDEN / 2}, .entries = ROWS};
    LOOKED_UP(call.rope = tables; call.rope.cos.data = host, rotated, "cos");
    LOOKED_UP(call.rope = tables; call.rope.sin.data = host, rotated, "sin");
    LOOKED_UP(call.rope = tables; call.rope.positions = host, rotated, "positions");
    codes.quantisation.scaling = WARPNORM_SCALING_KIND_NVFP4;
    codes.quantisation.code = WARPNORM_CODE_TYPE_E2M1;
    const warpnorm_codes in_device = {good[0], HIDDEN};
#define QUANTISED(set, word)                                                                                          \
    LOOKED_UP(call.dtype = WARPNORM_DTYPE_F16; call.codes = in_device; call.scales = good[1];                         \
              call.tensor_scale = good[2]; set, codes, word)
    QUANTISED(call.codes.data = host, "codes");
    QUANTISED(call.scales = host, "scales");
    QUANTISED(call.tensor_scale = host, "tensor_scale");

    warpnorm_batch_statistics statistics;
    OK(warpnorm_batch_statistics_init(&statistics, sizeof statistics, WARPNORM_DTYPE_F32, ROWS, HIDDEN, 1e-5f));
    statistics.x = (warpnorm_rows){x, HIDDEN};
    statistics.mean = host;
    REFUSED(warpnorm_run_batch_statistics(device, NULL, &statistics), WARPNORM_STATUS_WRONG_DEVICE, "mean at 0x");
    statistics.mean = y;
    int before = fake_launches();
    OK(warpnorm_run_batch_statistics(device, NULL, &statistics));
    CHECK(fake_launches() == before + 1 && fake_programmatic_launches() == 0);
    statistics.programmatic_launch = WARPNORM_PROGRAMMATIC_LAUNCH_WAIT_FIRST;
    OK(warpnorm_run_batch_statistics(device, NULL, &statistics));
    CHECK(fake_launches() == before + 2 && fake_programmatic_launches() == 1);
    // No rows: nothing is looked up or launched.
    call = call_on(NULL, NULL);
    call.rows = 0;
    OK(warpnorm_run(device, NULL, &norm, &call));
    CHECK(fake_launches() == before + 2);
    // The stream is looked at all the same.
    REFUSED(warpnorm_run(device, fake_stream(fake_primary_context(1)), &norm, &call), WARPNORM_STATUS_WRONG_DEVICE,
            "another context");
}

static void streams(warpnorm_device device) {
    warpnorm_norm norm = norm_of(WARPNORM_FAMILY_RMS_NORM, 1e-6f);
    warpnorm_call call = call_on(x, y);
    void *stream = fake_stream(fake_primary_context(0)), *other = fake_stream(fake_primary_context(1));
    void *theirs = fake_stream(fake_context(0));
    // The caller's context stays current, whatever is launched in.
    fake_set_current(fake_primary_context(1));
    OK(warpnorm_run(device, stream, &norm, &call));
    CHECK(fake_last_stream() == stream && fake_context_of_last_launch() == fake_primary_context(0));
    CHECK(fake_current() == fake_primary_context(1));
    int before = fake_launches();
    REFUSED(warpnorm_run(device, other, &norm, &call), WARPNORM_STATUS_WRONG_DEVICE, "another context");
    REFUSED(warpnorm_run(device, theirs, &norm, &call), WARPNORM_STATUS_WRONG_DEVICE, "another context");
    CHECK(fake_launches() == before && fake_current() == fake_primary_context(1));
    // cudaStreamLegacy and cudaStreamPerThread are numbers, of whichever context is current.
    OK(warpnorm_run(device, (void *)1, &norm, &call));
    OK(warpnorm_run(device, (void *)2, &norm, &call));
    CHECK(fake_context_of_last_launch() == fake_primary_context(0));
    fake_set_current(NULL);

    // Launches begin early where they are asked to.
    before = fake_programmatic_launches();
    call.programmatic_launch = WARPNORM_PROGRAMMATIC_LAUNCH_WAIT_FIRST;
    OK(warpnorm_run(device, stream, &norm, &call));
    CHECK(fake_programmatic_launches() == before + 1 && fake_last_stream() == stream);
    call.programmatic_launch = WARPNORM_PROGRAMMATIC_LAUNCH_PARAMETERS_FIRST;
    OK(warpnorm_run(device, stream, &norm, &call));
    CHECK(fake_programmatic_launches() == before + 2);
    call.programmatic_launch = WARPNORM_PROGRAMMATIC_LAUNCH_OFF;
    OK(warpnorm_run(device, stream, &norm, &call));
    CHECK(fake_programmatic_launches() == before + 2);

    // A capture takes what is loaded, and refuses what is not.
    norm = norm_of(WARPNORM_FAMILY_LAYER_NORM, 1e-5f);
    call.dtype = WARPNORM_DTYPE_F16;
    fake_capture(stream, true);
    REFUSED(warpnorm_run(device, stream, &norm, &call), WARPNORM_STATUS_NOT_LOADED, "call warpnorm_warm_up before");
    fake_capture(stream, false);
    int modules = fake_modules();
    OK(warpnorm_warm_up(device, &norm, WARPNORM_DTYPE_F16));
    // A kernel is loaded without the others: those for all calls and all long rows, the six for aligned calls and that
    // for rows that begin anywhere.
    CHECK(fake_modules() == modules + 9 && fake_current() == NULL);
    modules += 9;
    fake_capture(stream, true);
    OK(warpnorm_run(device, stream, &norm, &call));
    CHECK(fake_modules() == modules);
    fake_capture(stream, false);
    // What a call of few rows has loaded, a capture uses for many, which would have a kernel of their own; but not for
    // rows that lie otherwise.
    norm = norm_of(WARPNORM_FAMILY_RMS_NORM, 1e-6f);
    call.y.data = x;
    call.hidden = call.x.stride = call.y.stride = 1024;
    OK(warpnorm_run(device, stream, &norm, &call));
    CHECK(fake_modules() == modules + 1);
    fake_capture(stream, true);
    call.rows = 65536;
    OK(warpnorm_run(device, stream, &norm, &call));
    CHECK(fake_modules() == modules + 1);
    call.hidden = 1023;
    REFUSED(warpnorm_run(device, stream, &norm, &call), WARPNORM_STATUS_NOT_LOADED, "call warpnorm_warm_up before");
    fake_capture(stream, false);
    call.hidden = 1024;
    OK(warpnorm_run(device, stream, &norm, &call));
    CHECK(fake_modules() == modules + 2);

    // CUDA_ERROR_ILLEGAL_ADDRESS of earlier work.
    fake_fail_launches(700);
    REFUSED(warpnorm_run(device, stream, &norm, &call), WARPNORM_STATUS_DRIVER_ERROR, "CUDA_ERROR_ILLEGAL_ADDRESS");
    fake_fail_launches(0);
}

static void contexts(void) {
    void *context = fake_context(1);
    warpnorm_device device;
    fake_set_current(fake_primary_context(0));
    OK(warpnorm_device_cuda_context(context, WARPNORM_TRUST_POINTERS, &device));
    CHECK(fake_current() == fake_primary_context(0) && fake_retained(1) == 0);
    warpnorm_norm norm = norm_of(WARPNORM_FAMILY_RMS_NORM, 1e-6f);
    warpnorm_call call = call_on(x, y);
    void *stream = fake_stream(context);
    OK(warpnorm_run(device, stream, &norm, &call));
    CHECK(fake_context_of_last_launch() == context);
    char name[32];
    OK(warpnorm_device_name(device, name, sizeof name));
    CHECK(strcmp(name, "fake GPU 1") == 0);
    OK(warpnorm_device_destroy(device));
    // It is the caller's.
    CHECK(fake_destroyed_contexts() == 0 && fake_current() == fake_primary_context(0));
}

int main(void) {
    uint32_t count = 0, kind = 9;
    OK(warpnorm_cuda_device_count(&count));
    CHECK(count == 2);
    warpnorm_device device, trusting;
    REFUSED(warpnorm_device_cuda(2, 0, &device), WARPNORM_STATUS_NO_DEVICE, "no CUDA device 2");
    OK(warpnorm_device_cuda(0, 0, &device));
    OK(warpnorm_device_cuda(0, WARPNORM_TRUST_POINTERS, &trusting));
    CHECK(fake_retained(0) == 2 && fake_current() == NULL);
    OK(warpnorm_device_kind_of(device, &kind));
    CHECK(kind == WARPNORM_DEVICE_KIND_CUDA);
    x = fake_memory(FAKE_DEVICE, 0, BYTES);
    y = fake_memory(FAKE_DEVICE, 0, BYTES);
    memory(device, trusting);
    streams(device);
    contexts();
    fake_set_current(fake_primary_context(1));
    OK(warpnorm_device_destroy(trusting));
    OK(warpnorm_device_destroy(device));
    CHECK(fake_retained(0) == 0 && fake_modules() == 0 && fake_current() == fake_primary_context(1));
    if (failures) fprintf(stderr, "%d checks failed\n", failures);
    return failures != 0;
}
