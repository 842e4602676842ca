// Norms of whole rows against their formulas: layer norm with statistics, RMS norm with a residual add, strided and in
// place, activations, and a residual after the norm.
#include "common.h"

enum { ROWS = 5, HIDDEN = 67 };

static void layer_norm(warpnorm_device device) {
    static float x[ROWS * HIDDEN], y[ROWS * HIDDEN], weight[HIDDEN], bias[HIDDEN], mean[ROWS], rstd[ROWS];
    for (size_t i = 0; i < ROWS * HIDDEN; i++) x[i] = (float)value(1, i, 3.0);
    for (size_t i = 0; i < HIDDEN; i++) weight[i] = (float)value(2, i, 2.0), bias[i] = (float)value(3, i, 1.0);

    warpnorm_norm norm = norm_of(WARPNORM_FAMILY_LAYER_NORM, 1e-5f);
    warpnorm_call call = call_of(WARPNORM_DTYPE_F32, ROWS, HIDDEN);
    call.x = (warpnorm_rows){x, HIDDEN};
    call.y = (warpnorm_rows_mut){y, HIDDEN};
    call.weight = (warpnorm_vector){weight, WARPNORM_DTYPE_F32};
    call.bias = (warpnorm_vector){bias, WARPNORM_DTYPE_F32};
    call.mean = mean;
    call.rstd = rstd;
    OK(warpnorm_check(&norm, &call));
    OK(warpnorm_warm_up(device, &norm, WARPNORM_DTYPE_F32));
    OK(warpnorm_run(device, NULL, &norm, &call));

    for (size_t row = 0; row < ROWS; row++) {
        double h[HIDDEN], wanted_mean, wanted_rstd;
        for (size_t i = 0; i < HIDDEN; i++) h[i] = x[row * HIDDEN + i];
        row_statistics(h, HIDDEN, 1e-5f, &wanted_mean, &wanted_rstd);
        close_to("mean", row, mean[row], wanted_mean, 1e-6);
        close_to("rstd", row, rstd[row], wanted_rstd, 1e-6);
        for (size_t i = 0; i < HIDDEN; i++) {
            double wanted = (h[i] - wanted_mean) * wanted_rstd * weight[i] + bias[i];
            close_to("y", row * HIDDEN + i, y[row * HIDDEN + i], wanted, 1e-6);
        }
    }
}

// bf16, an f32 weight beside it, row-strided x and residual; y over x and the new residual over the old one.
static void add_rms_norm_in_place(warpnorm_device device) {
    enum { X_STRIDE = HIDDEN + 5, RESIDUAL_STRIDE = HIDDEN + 2 };
    static uint16_t x[ROWS * X_STRIDE], residual[ROWS * RESIDUAL_STRIDE];
    static uint16_t x_before[ROWS * X_STRIDE], residual_before[ROWS * RESIDUAL_STRIDE];
    static float weight[HIDDEN];
    for (size_t i = 0; i < ROWS * X_STRIDE; i++) x[i] = bf16_of(value(4, i, 2.0));
    for (size_t i = 0; i < ROWS * RESIDUAL_STRIDE; i++) residual[i] = bf16_of(value(5, i, 9.0));
    for (size_t i = 0; i < HIDDEN; i++) weight[i] = (float)value(6, i, 2.0);
    memcpy(x_before, x, sizeof x);
    memcpy(residual_before, residual, sizeof residual);

    // y = R(w·R(R(h)·s)), the rounding of Hugging Face's Llama.
    warpnorm_norm norm = preset("llama");
    CHECK(norm.eps == 1e-6f && norm.weight_rounding == WARPNORM_WEIGHT_ROUNDING_BEFORE_WEIGHT);
    CHECK(norm.input.kind == WARPNORM_INPUT_KIND_RESIDUAL_ADD && norm.input.scale == 1.0f);
    warpnorm_call call = call_of(WARPNORM_DTYPE_BF16, ROWS, HIDDEN);
    call.x = (warpnorm_rows){x, X_STRIDE};
    call.y = (warpnorm_rows_mut){x, X_STRIDE};
    call.residual = (warpnorm_rows){residual, RESIDUAL_STRIDE};
    call.residual_out = (warpnorm_rows_mut){residual, RESIDUAL_STRIDE};
    call.weight = (warpnorm_vector){weight, WARPNORM_DTYPE_F32};
    OK(warpnorm_run(device, NULL, &norm, &call));

    for (size_t row = 0; row < ROWS; row++) {
        double h[HIDDEN];
        for (size_t i = 0; i < HIDDEN; i++) {
            double sum = (double)bf16_value(x_before[row * X_STRIDE + i]) +
                         (double)bf16_value(residual_before[row * RESIDUAL_STRIDE + i]);
            uint16_t wanted = bf16_of(sum);
            h[i] = bf16_value(wanted);
            if (residual[row * RESIDUAL_STRIDE + i] != wanted) FAIL("residual of row %zu, element %zu", row, i);
        }
        double s = reciprocal_rms(h, HIDDEN, 1e-6f);
        for (size_t i = 0; i < HIDDEN; i++) {
            uint16_t wanted = bf16_of((double)bf16_value(bf16_of(h[i] * s)) * weight[i]);
            if (bf16_distance(x[row * X_STRIDE + i], wanted) > 0) FAIL("y of row %zu, element %zu", row, i);
        }
        // What lies between the rows is nobody's.
        for (size_t i = HIDDEN; i < X_STRIDE; i++) CHECK(x[row * X_STRIDE + i] == x_before[row * X_STRIDE + i]);
        for (size_t i = HIDDEN; i < RESIDUAL_STRIDE; i++)
            CHECK(residual[row * RESIDUAL_STRIDE + i] == residual_before[row * RESIDUAL_STRIDE + i]);
    }
}

// y = R(silu(z)·x), and without a gate y = R(gelu(x)).
static void activations(warpnorm_device device) {
    static float x[ROWS * HIDDEN], gate[ROWS * HIDDEN], y[ROWS * HIDDEN];
    for (size_t i = 0; i < ROWS * HIDDEN; i++) x[i] = (float)value(7, i, 4.0), gate[i] = (float)value(8, i, 4.0);
    warpnorm_norm norm = norm_of(WARPNORM_FAMILY_IDENTITY, 0.0f);
    norm.gate.kind = WARPNORM_ACTIVATION_KIND_SILU;
    warpnorm_call call = call_of(WARPNORM_DTYPE_F32, ROWS, HIDDEN);
    call.x = (warpnorm_rows){x, HIDDEN};
    call.gate = (warpnorm_rows){gate, HIDDEN};
    call.y = (warpnorm_rows_mut){y, HIDDEN};
    OK(warpnorm_run(device, NULL, &norm, &call));
    for (size_t i = 0; i < ROWS * HIDDEN; i++)
        close_to("swiglu", i, y[i], (double)x[i] * gate[i] / (1.0 + exp(-(double)gate[i])), 1e-6);

    norm.gate.kind = WARPNORM_ACTIVATION_KIND_GELU;
    call.gate = (warpnorm_rows){NULL, 0};
    OK(warpnorm_run(device, NULL, &norm, &call));
    for (size_t i = 0; i < ROWS * HIDDEN; i++)
        close_to("gelu", i, y[i], (double)x[i] * 0.5 * erfc(-(double)x[i] / sqrt(2.0)), 1e-6);

    norm.gate = (warpnorm_activation){WARPNORM_ACTIVATION_KIND_LEAKY_RELU, 0.25f};
    OK(warpnorm_run(device, NULL, &norm, &call));
    for (size_t i = 0; i < ROWS * HIDDEN; i++) close_to("leaky", i, y[i], x[i] > 0 ? x[i] : 0.25 * x[i], 0.0);
}

// Gemma's y = R((r + (x·s)·(1 + w))·scale).
static void add_after_the_norm(warpnorm_device device) {
    static float x[ROWS * HIDDEN], residual[ROWS * HIDDEN], y[ROWS * HIDDEN], weight[HIDDEN];
    for (size_t i = 0; i < ROWS * HIDDEN; i++) x[i] = (float)value(9, i, 4.0), residual[i] = (float)value(10, i, 4.0);
    for (size_t i = 0; i < HIDDEN; i++) weight[i] = (float)value(11, i, 1.0);
    warpnorm_norm norm = norm_of(WARPNORM_FAMILY_RMS_NORM, 1e-6f);
    norm.weight_offset = 1.0f;
    norm.post_add = (warpnorm_post_add){1, 0.5f, WARPNORM_POST_ROUNDING_SINGLE};
    warpnorm_call call = call_of(WARPNORM_DTYPE_F32, ROWS, HIDDEN);
    call.x = (warpnorm_rows){x, HIDDEN};
    call.residual = (warpnorm_rows){residual, HIDDEN};
    call.weight = (warpnorm_vector){weight, WARPNORM_DTYPE_F32};
    call.y = (warpnorm_rows_mut){y, HIDDEN};
    OK(warpnorm_run(device, NULL, &norm, &call));
    for (size_t row = 0; row < ROWS; row++) {
        double h[HIDDEN];
        for (size_t i = 0; i < HIDDEN; i++) h[i] = x[row * HIDDEN + i];
        double s = reciprocal_rms(h, HIDDEN, 1e-6f);
        for (size_t i = 0; i < HIDDEN; i++) {
            double wanted = (residual[row * HIDDEN + i] + h[i] * s * (1.0 + weight[i])) * 0.5;
            close_to("post add", row * HIDDEN + i, y[row * HIDDEN + i], wanted, 1e-6);
        }
    }
}

// Groups of a row, each with a statistic and weights of its own, and a gate before the norm.
static void gated_groups(warpnorm_device device) {
    enum { GROUPS = 3, GROUP = 16, ROW = GROUPS * GROUP, STRIDE = ROW + 4 };
    static float x[ROWS * STRIDE], gate[ROWS * ROW], y[ROWS * ROW], weight[ROW], rstd[ROWS * GROUPS];
    for (size_t i = 0; i < ROWS * STRIDE; i++) x[i] = (float)value(12, i, 2.0);
    for (size_t i = 0; i < ROWS * ROW; i++) gate[i] = (float)value(13, i, 2.0);
    for (size_t i = 0; i < ROW; i++) weight[i] = (float)value(14, i, 2.0);
    warpnorm_norm norm = preset("mamba2");
    CHECK(norm.scope == WARPNORM_SCOPE_GROUP && norm.input.kind == WARPNORM_INPUT_KIND_GATED);
    warpnorm_call call = call_of(WARPNORM_DTYPE_F32, ROWS, GROUP);
    call.parts.count = GROUPS;
    call.x = (warpnorm_rows){x, STRIDE};
    call.gate = (warpnorm_rows){gate, ROW};
    call.y = (warpnorm_rows_mut){y, ROW};
    call.weight = (warpnorm_vector){weight, WARPNORM_DTYPE_F32};
    call.rstd = rstd;
    OK(warpnorm_run(device, NULL, &norm, &call));
    for (size_t row = 0; row < ROWS; row++)
        for (size_t group = 0; group < GROUPS; group++) {
            double h[GROUP];
            for (size_t i = 0; i < GROUP; i++) {
                double z = gate[row * ROW + group * GROUP + i];
                h[i] = x[row * STRIDE + group * GROUP + i] * z / (1.0 + exp(-z));
            }
            double s = reciprocal_rms(h, GROUP, 1e-5f);
            close_to("rstd of a group", row * GROUPS + group, rstd[row * GROUPS + group], s, 1e-6);
            for (size_t i = 0; i < GROUP; i++)
                close_to("y of a group", i, y[row * ROW + group * GROUP + i], h[i] * s * weight[group * GROUP + i],
                         1e-6);
        }
}

int main(int argc, char **argv) {
    warpnorm_device device = device_of(argc, argv);
    layer_norm(device);
    add_rms_norm_in_place(device);
    activations(device);
    add_after_the_norm(device);
    gated_groups(device);
    return finish(device);
}
