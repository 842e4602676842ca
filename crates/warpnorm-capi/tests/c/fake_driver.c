#include "fake_driver.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEVICES = 2, ALLOCATIONS = 64 };
enum { SUCCESS = 0, INVALID_VALUE = 1, INVALID_DEVICE = 101, INVALID_CONTEXT = 201, NOT_FOUND = 500 };

struct context {
    int device;
};

struct stream {
    struct context *context;
    bool capturing;
};

struct allocation {
    enum fake_memory kind;
    int device;
    char *start;
    size_t bytes;
};

static struct context primary[DEVICES] = {{0}, {1}};
static struct allocation allocations[ALLOCATIONS];
static size_t allocation_count;
static _Thread_local struct context *current;
static int launches, programmatic_launches, modules, retained[DEVICES], destroyed, lookups, launch_error;
static struct stream *last_stream;
static struct context *last_context;

void *fake_memory(enum fake_memory kind, int device, size_t bytes) {
    char *start = aligned_alloc(256, (bytes + 255) / 256 * 256);
    allocations[allocation_count++] = (struct allocation){kind, device, start, bytes};
    return start;
}

void *fake_primary_context(int device) { return &primary[device]; }

void *fake_context(int device) {
    struct context *context = malloc(sizeof *context);
    context->device = device;
    return context;
}

void *fake_stream(void *context) {
    struct stream *stream = calloc(1, sizeof *stream);
    stream->context = context;
    return stream;
}

void fake_capture(void *stream, bool capturing) { ((struct stream *)stream)->capturing = capturing; }
void fake_fail_launches(int error) { launch_error = error; }
void *fake_current(void) { return current; }
void fake_set_current(void *context) { current = context; }
int fake_launches(void) { return launches; }
int fake_programmatic_launches(void) { return programmatic_launches; }
void *fake_last_stream(void) { return last_stream; }
void *fake_context_of_last_launch(void) { return last_context; }
int fake_modules(void) { return modules; }
int fake_retained(int device) { return retained[device]; }
int fake_destroyed_contexts(void) { return destroyed; }
int fake_lookups(void) { return lookups; }

// The entry points that are used, with the signatures of NVIDIA's documentation of the driver API.
int cuInit(unsigned flags) { return flags == 0 ? SUCCESS : INVALID_VALUE; }
int cuDriverGetVersion(int *version) { return *version = 12020, SUCCESS; }
int cuDeviceGetCount(int *count) { return *count = DEVICES, SUCCESS; }
int cuDeviceGet(int *device, int ordinal) {
    return ordinal >= 0 && ordinal < DEVICES ? (*device = ordinal, SUCCESS) : INVALID_DEVICE;
}
int cuDeviceGetName(char *name, int length, int device) {
    snprintf(name, (size_t)length, "fake GPU %d", device);
    return SUCCESS;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) { return *bytes = 1 << 30, (void)device, SUCCESS; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    switch (attribute) {
    case 1: *value = 1024; break;       // MAX_THREADS_PER_BLOCK
    case 5: *value = 0x7fffffff; break; // MAX_GRID_DIM_X
    case 16: *value = 132; break;       // MULTIPROCESSOR_COUNT
    case 39: *value = 2048; break;      // MAX_THREADS_PER_MULTIPROCESSOR
    case 75: *value = 9; break;         // COMPUTE_CAPABILITY_MAJOR
    case 76: *value = 0; break;         // COMPUTE_CAPABILITY_MINOR
    case 81: *value = 228 * 1024; break; // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
    case 82: *value = 65536; break;     // MAX_REGISTERS_PER_MULTIPROCESSOR
    case 97: *value = 227 * 1024; break; // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
    case 106: *value = 32; break;       // MAX_BLOCKS_PER_MULTIPROCESSOR
    case 111: *value = 1024; break;     // RESERVED_SHARED_MEMORY_PER_BLOCK
    default: *value = 0;
    }
    return SUCCESS;
}
int cuDevicePrimaryCtxRetain(struct context **context, int device) {
    retained[device]++;
    return *context = &primary[device], SUCCESS;
}
int cuDevicePrimaryCtxRelease_v2(int device) { return retained[device]--, SUCCESS; }
int cuCtxDestroy_v2(struct context *context) { return destroyed++, (void)context, SUCCESS; }
int cuCtxSetCurrent(struct context *context) { return current = context, SUCCESS; }
int cuCtxGetCurrent(struct context **context) { return *context = current, SUCCESS; }
int cuCtxGetDevice(int *device) { return current ? (*device = current->device, SUCCESS) : INVALID_CONTEXT; }
int cuCtxSynchronize(void) { return current ? SUCCESS : INVALID_CONTEXT; }
int cuStreamGetCtx(struct stream *stream, struct context **context) {
    return *context = stream ? stream->context : current, SUCCESS;
}
int cuStreamIsCapturing(struct stream *stream, int *status) {
    return *status = stream && stream->capturing, SUCCESS;
}
int cuPointerGetAttributes(unsigned count, int *attributes, void **values, uint64_t address) {
    const struct allocation *found = NULL;
    lookups++;
    for (size_t i = 0; i < allocation_count; i++) {
        const char *start = allocations[i].start;
        if (address >= (uintptr_t)start && address < (uintptr_t)start + allocations[i].bytes) found = &allocations[i];
    }
    for (unsigned i = 0; i < count; i++) switch (attributes[i]) {
        case 2: // MEMORY_TYPE: 1 host, 2 device
            *(unsigned *)values[i] = !found ? 0 : found->kind == FAKE_PINNED || found->kind == FAKE_UNMAPPED ? 1 : 2;
            break;
        case 3: // DEVICE_POINTER
            *(uint64_t *)values[i] = found && found->kind != FAKE_UNMAPPED ? address : 0;
            break;
        case 8: // IS_MANAGED
            *(bool *)values[i] = found && found->kind == FAKE_MANAGED;
            break;
        case 9: // DEVICE_ORDINAL
            *(int *)values[i] = found ? found->device : -2;
            break;
        default: return INVALID_VALUE;
        }
    return SUCCESS;
}
int cuModuleLoadDataEx(void **module, const void *image, unsigned count, int *options, void **values) {
    (void)options, (void)values, (void)count;
    if (!current || strstr(image, ".version") == NULL) return INVALID_CONTEXT;
    modules++;
    return *module = strdup(image), SUCCESS;
}
int cuModuleUnload(void *module) { return modules--, free(module), SUCCESS; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
    return *function = module, strstr(module, name) != NULL ? SUCCESS : NOT_FOUND;
}
int cuFuncSetAttribute(void *function, int attribute, int value) {
    return (void)function, (void)attribute, (void)value, SUCCESS;
}
int cuFuncGetAttribute(int *value, int attribute, void *function) {
    return *value = 32, (void)attribute, (void)function, SUCCESS;
}
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, struct stream *stream, void **parameters, void **extra) {
    (void)function, (void)shared, (void)extra;
    if (launch_error) return launch_error;
    if (!parameters || !parameters[0] || !(gx && gy && gz && bx && by && bz)) return INVALID_VALUE;
    launches++;
    last_stream = stream;
    return last_context = current, SUCCESS;
}
struct config {
    unsigned grid[3], block[3], shared;
    struct stream *stream;
    const struct { int id; char padding[4]; union { char bytes[64]; int allowed; } value; } *attributes;
    unsigned count;
};
int cuLaunchKernelEx(const struct config *config, void *function, void **parameters, void **extra) {
    const unsigned *grid = config->grid, *block = config->block;
    int status = cuLaunchKernel(function, grid[0], grid[1], grid[2], block[0], block[1], block[2], config->shared,
                                config->stream, parameters, extra);
    for (unsigned i = 0; status == SUCCESS && i < config->count; i++) {
        // PROGRAMMATIC_STREAM_SERIALIZATION
        if (config->attributes[i].id == 6) programmatic_launches += config->attributes[i].value.allowed;
    }
    return status;
}
int cuGetErrorName(int error, const char **name) {
    return *name = error == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "CUDA_ERROR_OF_THE_TEST", SUCCESS;
}
