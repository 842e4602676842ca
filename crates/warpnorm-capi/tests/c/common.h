// What the test programs share: checks that say where they failed, values, and formulas in double.
#ifndef COMMON_H
#define COMMON_H

#include "warpnorm.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures = 0;

#define FAIL(...)                                                                                                     \
    do {                                                                                                              \
        fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                                               \
        fprintf(stderr, __VA_ARGS__);                                                                                 \
        fprintf(stderr, "\n");                                                                                        \
        failures++;                                                                                                   \
    } while (0)

#define CHECK(condition)                                                                                              \
    do {                                                                                                              \
        if (!(condition)) FAIL("%s", #condition);                                                                     \
    } while (0)

// The call succeeds.
#define OK(call)                                                                                                      \
    do {                                                                                                              \
        warpnorm_status ok_status = (call);                                                                           \
        if (ok_status != WARPNORM_STATUS_OK)                                                                          \
            FAIL("%s: %s: %s", #call, warpnorm_status_name(ok_status), warpnorm_last_error());                        \
    } while (0)

// The call is refused with this status, and words that hold this one.
#define REFUSED(call, wanted, word)                                                                                   \
    do {                                                                                                              \
        warpnorm_status refused_status = (call);                                                                      \
        if (refused_status != (wanted))                                                                               \
            FAIL("%s is %s, wanted %s", #call, warpnorm_status_name(refused_status), warpnorm_status_name(wanted));   \
        else if (strstr(warpnorm_last_error(), (word)) == NULL)                                                       \
            FAIL("%s says \"%s\", wanted \"%s\" in it", #call, warpnorm_last_error(), (word));                        \
    } while (0)

// The device that the program's argument names.
static inline warpnorm_device device_of(int argc, char **argv) {
    warpnorm_device device = {0};
    const char *name = argc > 1 ? argv[1] : "cpu";
    if (strcmp(name, "cpu") == 0)
        OK(warpnorm_device_cpu(&device));
    else
        OK(warpnorm_device_emulated(name, &device));
    if (failures) exit(1);
    return device;
}

static inline int finish(warpnorm_device device) {
    OK(warpnorm_device_destroy(device));
    if (failures) fprintf(stderr, "%d checks failed\n", failures);
    return failures != 0;
}

// Values between -scale and scale, the same every time.
static inline double value(uint64_t seed, size_t at, double scale) {
    uint64_t state = (seed << 32) + at + 1;
    for (int round = 0; round < 3; round++) state = state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(state >> 40) / (1 << 23) - 1.0) * scale;
}

static inline float bf16_value(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float result;
    memcpy(&result, &wide, sizeof result);
    return result;
}

// To nearest, ties to even, of a finite value: through a float rounded to odd, so that it is rounded once.
static inline uint16_t bf16_of(double exact) {
    float nearest = (float)exact;
    uint32_t bits;
    memcpy(&bits, &nearest, sizeof bits);
    if ((double)nearest != exact) {
        if (fabs((double)nearest) > fabs(exact)) bits--;
        bits |= 1;
    }
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// The distance of two finite bf16 values in units of the last place.
static inline int bf16_distance(uint16_t a, uint16_t b) {
    int x = a & 0x8000 ? -(a & 0x7fff) : a, y = b & 0x8000 ? -(b & 0x7fff) : b;
    return abs(x - y);
}

static inline void close_to(const char *what, size_t at, double got, double wanted, double tolerance) {
    if (!(fabs(got - wanted) <= tolerance * fmax(1.0, fabs(wanted))))
        FAIL("%s[%zu] is %.9g, wanted %.9g", what, at, got, wanted);
}

static inline warpnorm_norm norm_of(uint32_t family, float eps) {
    warpnorm_norm norm;
    OK(warpnorm_norm_init(&norm, sizeof norm, family, eps));
    return norm;
}

static inline warpnorm_norm preset(const char *name) {
    warpnorm_norm norm;
    OK(warpnorm_norm_preset(&norm, sizeof norm, name));
    return norm;
}

static inline warpnorm_call call_of(uint32_t dtype, size_t rows, size_t hidden) {
    warpnorm_call call;
    OK(warpnorm_call_init(&call, sizeof call, dtype, rows, hidden));
    return call;
}

// Mean and reciprocal standard deviation of a row.
static inline void row_statistics(const double *row, size_t hidden, double eps, double *mean, double *rstd) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < hidden; i++) sum += row[i];
    *mean = sum / (double)hidden;
    for (size_t i = 0; i < hidden; i++) squares += (row[i] - *mean) * (row[i] - *mean);
    *rstd = 1.0 / sqrt(squares / (double)hidden + eps);
}

// The reciprocal root mean square of a row.
static inline double reciprocal_rms(const double *row, size_t hidden, double eps) {
    double squares = 0;
    for (size_t i = 0; i < hidden; i++) squares += row[i] * row[i];
    return 1.0 / sqrt(squares / (double)hidden + eps);
}

#endif
