// Q and K of packed rows: normalised by head and rotated by position, in place, V left as it is; and the networks with
// two norms in one launch.
#include "common.h"

enum { TOKENS = 4, DIM = 16, Q_HEADS = 3, K_HEADS = 2, ROW = (Q_HEADS + K_HEADS + K_HEADS) * DIM, POSITIONS = 7 };

static void rotate(double *head, const float *angles) {
    for (size_t i = 0; i < DIM / 2; i++) {
        double first = head[i], second = head[i + DIM / 2], c = angles[i], s = angles[DIM / 2 + i];
        head[i] = first * c - second * s;
        head[i + DIM / 2] = second * c + first * s;
    }
}

static void qk_norm_with_rope(warpnorm_device device, bool wide_positions) {
    static float qkv[TOKENS * ROW], before[TOKENS * ROW], cache[POSITIONS * DIM], q_weight[DIM], k_weight[DIM];
    // A negative position, and one past the tables, take the last.
    const int64_t wide[TOKENS] = {5, 0, 100, -1};
    const int32_t narrow[TOKENS] = {5, 0, 100, -1};
    const size_t wanted_position[TOKENS] = {5, 0, 6, 6};
    for (size_t i = 0; i < TOKENS * ROW; i++) qkv[i] = (float)value(1, i, 2.0);
    memcpy(before, qkv, sizeof qkv);
    for (size_t i = 0; i < DIM; i++) q_weight[i] = (float)value(2, i, 2.0), k_weight[i] = (float)value(3, i, 2.0);
    // A row is [cos | sin].
    for (size_t at = 0; at < POSITIONS; at++)
        for (size_t i = 0; i < DIM / 2; i++) {
            double angle = (double)at * pow(10000.0, -(double)i / (DIM / 2));
            cache[at * DIM + i] = (float)cos(angle);
            cache[at * DIM + DIM / 2 + i] = (float)sin(angle);
        }

    warpnorm_norm norm = norm_of(WARPNORM_FAMILY_RMS_NORM, 1e-6f);
    norm.scope = WARPNORM_SCOPE_HEAD;
    norm.rope.dim = DIM;
    warpnorm_call call = call_of(WARPNORM_DTYPE_F32, TOKENS, DIM);
    call.parts.count = Q_HEADS;
    call.x = (warpnorm_rows){qkv, ROW};
    call.y = (warpnorm_rows_mut){qkv, ROW};
    call.weight = (warpnorm_vector){q_weight, WARPNORM_DTYPE_F32};
    call.second.x = (warpnorm_rows){qkv + Q_HEADS * DIM, ROW};
    call.second.y = (warpnorm_rows_mut){qkv + Q_HEADS * DIM, ROW};
    call.second.count = K_HEADS;
    call.second.weight = (warpnorm_vector){k_weight, WARPNORM_DTYPE_F32};
    call.rope.cos = (warpnorm_rows){cache, DIM};
    call.rope.sin = (warpnorm_rows){cache + DIM / 2, DIM};
    call.rope.entries = POSITIONS;
    call.rope.positions = wide_positions ? (const void *)wide : narrow;
    call.rope.position_type = wide_positions ? WARPNORM_POSITION_TYPE_I64 : WARPNORM_POSITION_TYPE_I32;
    OK(warpnorm_run(device, NULL, &norm, &call));

    for (size_t token = 0; token < TOKENS; token++)
        for (size_t head = 0; head < Q_HEADS + 2 * K_HEADS; head++) {
            const size_t first = token * ROW + head * DIM;
            double h[DIM];
            for (size_t i = 0; i < DIM; i++) h[i] = before[first + i];
            if (head < Q_HEADS + K_HEADS) {
                double s = reciprocal_rms(h, DIM, 1e-6f);
                for (size_t i = 0; i < DIM; i++) h[i] *= s * (head < Q_HEADS ? q_weight[i] : k_weight[i]);
                rotate(h, cache + wanted_position[token] * DIM);
            }
            for (size_t i = 0; i < DIM; i++) close_to("qkv", first + i, qkv[first + i], h[i], 2e-6);
        }
}

// h = (r + norm(x)·w₁)·scale, y = norm(h)·w₂.
static void sandwich(warpnorm_device device) {
    static float x[TOKENS * ROW], residual[TOKENS * ROW], out[TOKENS * ROW], y[TOKENS * ROW], inner[ROW], weight[ROW];
    for (size_t i = 0; i < TOKENS * ROW; i++) x[i] = (float)value(4, i, 2.0), residual[i] = (float)value(5, i, 2.0);
    for (size_t i = 0; i < ROW; i++) inner[i] = (float)value(6, i, 1.0), weight[i] = (float)value(7, i, 1.0);
    warpnorm_norm norm = norm_of(WARPNORM_FAMILY_RMS_NORM, 1e-6f);
    norm.input = (warpnorm_input){.kind = WARPNORM_INPUT_KIND_POST_NORM, .scale = 0.75f};
    warpnorm_call call = call_of(WARPNORM_DTYPE_F32, TOKENS, ROW);
    call.x = (warpnorm_rows){x, ROW};
    call.residual = (warpnorm_rows){residual, ROW};
    call.residual_out = (warpnorm_rows_mut){out, ROW};
    call.y = (warpnorm_rows_mut){y, ROW};
    call.inner_weight = (warpnorm_vector){inner, WARPNORM_DTYPE_F32};
    call.weight = (warpnorm_vector){weight, WARPNORM_DTYPE_F32};
    OK(warpnorm_run(device, NULL, &norm, &call));
    for (size_t row = 0; row < TOKENS; row++) {
        double h[ROW];
        for (size_t i = 0; i < ROW; i++) h[i] = x[row * ROW + i];
        double s = reciprocal_rms(h, ROW, 1e-6f);
        for (size_t i = 0; i < ROW; i++) {
            h[i] = (residual[row * ROW + i] + h[i] * s * inner[i]) * 0.75;
            close_to("sum", i, out[row * ROW + i], h[i], 2e-6);
        }
        s = reciprocal_rms(h, ROW, 1e-6f);
        for (size_t i = 0; i < ROW; i++) close_to("y", i, y[row * ROW + i], h[i] * s * weight[i], 4e-6);
    }
}

// nGPT: h = A + |rate·scale|·(B - A), y = h / length.
static void interpolation(warpnorm_device device) {
    static float x[TOKENS * ROW], residual[TOKENS * ROW], y[TOKENS * ROW], rate[ROW];
    for (size_t i = 0; i < TOKENS * ROW; i++) x[i] = (float)value(8, i, 2.0), residual[i] = (float)value(9, i, 2.0);
    for (size_t i = 0; i < ROW; i++) rate[i] = (float)value(10, i, 1.0);
    warpnorm_norm norm = preset("n-gpt-step");
    norm.input.scale = 0.5f;
    warpnorm_call call = call_of(WARPNORM_DTYPE_F32, TOKENS, ROW);
    call.x = (warpnorm_rows){x, ROW};
    call.residual = (warpnorm_rows){residual, ROW};
    call.rate = (warpnorm_vector){rate, WARPNORM_DTYPE_F32};
    call.y = (warpnorm_rows_mut){y, ROW};
    OK(warpnorm_run(device, NULL, &norm, &call));
    for (size_t row = 0; row < TOKENS; row++) {
        double h[ROW], of_x = 0, of_residual = 0, of_h = 0;
        for (size_t i = 0; i < ROW; i++) {
            double a = residual[row * ROW + i], b = x[row * ROW + i];
            of_residual += a * a, of_x += b * b;
        }
        for (size_t i = 0; i < ROW; i++) {
            double a = residual[row * ROW + i] / sqrt(of_residual), b = x[row * ROW + i] / sqrt(of_x);
            h[i] = a + fabs(rate[i] * 0.5) * (b - a);
            of_h += h[i] * h[i];
        }
        for (size_t i = 0; i < ROW; i++) close_to("y", i, y[row * ROW + i], h[i] / sqrt(of_h), 1e-6);
    }
}

int main(int argc, char **argv) {
    warpnorm_device device = device_of(argc, argv);
    qk_norm_with_rope(device, true);
    qk_norm_with_rope(device, false);
    sandwich(device);
    interpolation(device);
    return finish(device);
}
