// Every thread has the words of its own last error; devices may be used, made and destroyed by many threads at once.
#include "common.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 4, ROUNDS = 60, HIDDEN = 32 };

static pthread_barrier_t barrier;
static warpnorm_device shared_device, doomed;
static atomic_int bad;

static void *work(void *argument) {
    const size_t number = (size_t)(uintptr_t)argument;
    char wanted[64];
    snprintf(wanted, sizeof wanted, "family is %zu", 100 + number);
    warpnorm_norm norm;
    if (warpnorm_last_error()[0] != 0) bad++;
    warpnorm_norm_init(&norm, sizeof norm, (uint32_t)(100 + number), 0.0f);
    // All have failed by now, each in its own way.
    pthread_barrier_wait(&barrier);
    if (strstr(warpnorm_last_error(), wanted) == NULL) bad++;

    warpnorm_call call;
    float x[HIDDEN], y[HIDDEN];
    for (size_t i = 0; i < HIDDEN; i++) x[i] = (float)(number + 1);
    bool was_destroyed = false;
    for (int round = 0; round < ROUNDS; round++) {
        if (warpnorm_norm_init(&norm, sizeof norm, WARPNORM_FAMILY_RMS_NORM, 0.0f) != WARPNORM_STATUS_OK) bad++;
        if (warpnorm_call_init(&call, sizeof call, WARPNORM_DTYPE_F32, 1, HIDDEN) != WARPNORM_STATUS_OK) bad++;
        call.x = (warpnorm_rows){x, HIDDEN};
        call.y = (warpnorm_rows_mut){y, HIDDEN};
        if (warpnorm_run(shared_device, NULL, &norm, &call) != WARPNORM_STATUS_OK || y[HIDDEN - 1] != 1.0f) bad++;
        // One of the threads destroys this while the others use it: each sees it live, or gone.
        if (number == 0 && round == ROUNDS / 2 && warpnorm_device_destroy(doomed) != WARPNORM_STATUS_OK) bad++;
        warpnorm_status status = warpnorm_run(doomed, NULL, &norm, &call);
        if (status == WARPNORM_STATUS_DESTROYED_HANDLE)
            was_destroyed = true;
        else if (status != WARPNORM_STATUS_OK || was_destroyed)
            bad++;
        warpnorm_device mine;
        if (warpnorm_device_cpu(&mine) != WARPNORM_STATUS_OK) bad++;
        if (warpnorm_run(mine, NULL, &norm, &call) != WARPNORM_STATUS_OK) bad++;
        if (warpnorm_device_destroy(mine) != WARPNORM_STATUS_OK) bad++;
    }
    pthread_barrier_wait(&barrier);
    // Nothing but the destroyed device has failed since.
    if (warpnorm_run(doomed, NULL, &norm, &call) != WARPNORM_STATUS_DESTROYED_HANDLE) bad++;
    if (strstr(warpnorm_last_error(), "destroyed") == NULL) bad++;
    return NULL;
}

int main(int argc, char **argv) {
    shared_device = device_of(argc, argv);
    doomed = device_of(argc, argv);
    pthread_barrier_init(&barrier, NULL, THREADS);
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i);
    for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    CHECK(bad == 0);
    CHECK(warpnorm_last_error()[0] == 0);
    return finish(shared_device);
}
