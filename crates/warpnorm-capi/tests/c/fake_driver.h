// A driver that computes nothing: it hands out devices, contexts, streams and memory, and writes down what is asked of
// it. What the library checks before a launch, and in which context, is tested with it where there is no GPU.
#ifndef FAKE_DRIVER_H
#define FAKE_DRIVER_H

#include <stdbool.h>
#include <stddef.h>

enum fake_memory { FAKE_DEVICE, FAKE_PINNED, FAKE_UNMAPPED, FAKE_MANAGED };

// Memory of this kind and device; as all of it is, host memory.
void *fake_memory(enum fake_memory kind, int device, size_t bytes);
void *fake_primary_context(int device);
void *fake_context(int device);
void *fake_stream(void *context);
void fake_capture(void *stream, bool capturing);
// The next launches, or none, return this error.
void fake_fail_launches(int error);

void *fake_current(void);
void fake_set_current(void *context);
int fake_launches(void);
int fake_programmatic_launches(void);
void *fake_last_stream(void);
void *fake_context_of_last_launch(void);
int fake_modules(void);
int fake_retained(int device);
int fake_destroyed_contexts(void);
int fake_lookups(void);

#endif
