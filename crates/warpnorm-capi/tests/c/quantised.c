// Codes and scales, and the statistics of columns.
#include "common.h"

enum { ROWS = 3, HIDDEN = 128 };

// vLLM's int8: scale = max(amax, 127·2⁻²³)/127, code = rint(y·(1/scale)), of y as bf16 holds it.
static void per_token_int8(warpnorm_device device) {
    static uint16_t x[ROWS * HIDDEN], y[ROWS * HIDDEN];
    enum { STRIDE = HIDDEN + 3 };
    static int8_t codes[ROWS * STRIDE];
    static float scales[ROWS];
    for (size_t i = 0; i < ROWS * HIDDEN; i++) x[i] = bf16_of(value(1, i, 2.0));
    memset(codes, 0x55, sizeof codes);

    warpnorm_norm norm = norm_of(WARPNORM_FAMILY_RMS_NORM, 1e-6f);
    norm.quantisation.scaling = WARPNORM_SCALING_KIND_PER_TOKEN;
    norm.quantisation.code = WARPNORM_CODE_TYPE_INT8;
    size_t row_bytes = 0, count = 0, bytes = 0;
    OK(warpnorm_quantised_sizes(&norm, ROWS, HIDDEN, &row_bytes, &count, &bytes));
    CHECK(row_bytes == HIDDEN && count == ROWS && bytes == ROWS * sizeof(float));

    warpnorm_call call = call_of(WARPNORM_DTYPE_BF16, ROWS, HIDDEN);
    call.x = (warpnorm_rows){x, HIDDEN};
    call.y = (warpnorm_rows_mut){y, HIDDEN};
    call.codes = (warpnorm_codes){codes, STRIDE};
    call.scales = scales;
    OK(warpnorm_run(device, NULL, &norm, &call));
    for (size_t row = 0; row < ROWS; row++) {
        double h[HIDDEN];
        for (size_t i = 0; i < HIDDEN; i++) h[i] = bf16_value(x[row * HIDDEN + i]);
        double s = reciprocal_rms(h, HIDDEN, 1e-6f);
        float amax = 0.0f, values[HIDDEN];
        for (size_t i = 0; i < HIDDEN; i++) {
            uint16_t wanted = bf16_of(h[i] * s);
            if (y[row * HIDDEN + i] != wanted) FAIL("y of row %zu, element %zu", row, i);
            values[i] = bf16_value(wanted);
            amax = fmaxf(amax, fabsf(values[i]));
        }
        float scale = fmaxf(amax, 127.0f * 0x1p-23f) / 127.0f;
        CHECK(scales[row] == scale);
        float inverse = 1.0f / scale;
        for (size_t i = 0; i < HIDDEN; i++) CHECK(codes[row * STRIDE + i] == (int8_t)rintf(values[i] * inverse));
        for (size_t i = HIDDEN; i < STRIDE; i++) CHECK(codes[row * STRIDE + i] == 0x55);
    }
}

// NVFP4: two codes a byte; of a row of equal values every code is the largest, 6: 0111. Scales are tiled, and those
// that belong to no row are not written.
static void nvfp4(warpnorm_device device) {
    static uint16_t x[ROWS * HIDDEN];
    static uint8_t codes[ROWS * HIDDEN / 2], scales[512 * 2];
    const float global = 6.0f;
    for (size_t i = 0; i < ROWS * HIDDEN; i++) x[i] = bf16_of(1.0);
    memset(scales, 0xaa, sizeof scales);

    warpnorm_norm norm = norm_of(WARPNORM_FAMILY_RMS_NORM, 0.0f);
    norm.quantisation.scaling = WARPNORM_SCALING_KIND_NVFP4;
    norm.quantisation.code = WARPNORM_CODE_TYPE_E2M1;
    norm.quantisation.layout = WARPNORM_SCALE_LAYOUT_TILED;
    size_t row_bytes = 0, count = 0;
    OK(warpnorm_quantised_sizes(&norm, ROWS, HIDDEN, &row_bytes, &count, NULL));
    CHECK(row_bytes == HIDDEN / 2 && count == sizeof scales);

    warpnorm_call call = call_of(WARPNORM_DTYPE_BF16, ROWS, HIDDEN);
    call.x = (warpnorm_rows){x, HIDDEN};
    call.codes = (warpnorm_codes){codes, HIDDEN / 2};
    call.scales = scales;
    call.tensor_scale = &global;
    OK(warpnorm_run(device, NULL, &norm, &call));
    for (size_t i = 0; i < sizeof codes; i++) CHECK(codes[i] == 0x77);
    // scale = R(global·(1/6)) = 1: e4m3 0 0111 000.
    size_t written = 0;
    for (size_t i = 0; i < sizeof scales; i++) {
        CHECK(scales[i] == 0x38 || scales[i] == 0xaa);
        written += scales[i] == 0x38;
    }
    CHECK(written == ROWS * HIDDEN / 16);
    for (size_t row = 0; row < ROWS; row++)
        for (size_t group = 0; group < HIDDEN / 16; group++)
            CHECK(scales[group / 4 * 512 + row % 32 * 16 + row / 32 % 4 * 4 + group % 4] == 0x38);
}

static void batch_statistics(warpnorm_device device) {
    enum { BATCH = 37, COLUMNS = 11, STRIDE = 13 };
    static float x[BATCH * STRIDE], weight[COLUMNS], bias[COLUMNS];
    static float mean[COLUMNS], rstd[COLUMNS], scale[COLUMNS], shift[COLUMNS];
    for (size_t i = 0; i < BATCH * STRIDE; i++) x[i] = (float)value(5, i, 3.0) + 1.0f;
    for (size_t i = 0; i < COLUMNS; i++) weight[i] = (float)value(6, i, 2.0), bias[i] = (float)value(7, i, 2.0);
    warpnorm_batch_statistics statistics;
    OK(warpnorm_batch_statistics_init(&statistics, sizeof statistics, WARPNORM_DTYPE_F32, BATCH, COLUMNS, 1e-5f));
    REFUSED(warpnorm_run_batch_statistics(device, NULL, &statistics), WARPNORM_STATUS_INVALID_ARGUMENT, "no output");
    statistics.x = (warpnorm_rows){x, STRIDE};
    statistics.weight = (warpnorm_vector){weight, WARPNORM_DTYPE_F32};
    statistics.bias = (warpnorm_vector){bias, WARPNORM_DTYPE_F32};
    statistics.mean = mean;
    statistics.rstd = rstd;
    statistics.scale = scale;
    statistics.shift = shift;
    OK(warpnorm_warm_up_batch_statistics(device, WARPNORM_DTYPE_F32));
    OK(warpnorm_run_batch_statistics(device, NULL, &statistics));
    for (size_t column = 0; column < COLUMNS; column++) {
        double values[BATCH], wanted_mean, wanted_rstd;
        for (size_t row = 0; row < BATCH; row++) values[row] = x[row * STRIDE + column];
        row_statistics(values, BATCH, 1e-5f, &wanted_mean, &wanted_rstd);
        close_to("mean", column, mean[column], wanted_mean, 1e-6);
        close_to("rstd", column, rstd[column], wanted_rstd, 1e-6);
        close_to("scale", column, scale[column], weight[column] * wanted_rstd, 1e-6);
        close_to("shift", column, shift[column], bias[column] - wanted_mean * weight[column] * wanted_rstd, 1e-6);
    }
    REFUSED(warpnorm_run_batch_statistics(device, &statistics, &statistics), WARPNORM_STATUS_INVALID_ARGUMENT,
            "stream");
    statistics.size = 8;
    REFUSED(warpnorm_run_batch_statistics(device, NULL, &statistics), WARPNORM_STATUS_INVALID_ARGUMENT,
            "warpnorm_batch_statistics of 8 bytes");
}

int main(int argc, char **argv) {
    warpnorm_device device = device_of(argc, argv);
    per_token_int8(device);
    nvfp4(device);
    batch_statistics(device);
    return finish(device);
}
