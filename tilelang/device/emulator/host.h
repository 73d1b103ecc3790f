/* What codegen/host_cuda.py calls, for kernels on the emulator: the functions of
 * `device/c/cuda_driver.h`, each handed on to the process (tl_set_emulator), which has the kernels.
 * C. The text that includes this defines the table `tl_kernels` first. */
#ifndef TL_EMULATOR_HOST_H
#define TL_EMULATOR_HOST_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TL_EXPORT __attribute__((visibility("default")))

enum { TL_CODE_ERROR = 2, TL_CODE_MEMORY = 3 }; /* RuntimeError, MemoryError */

typedef struct {
  const char *name;
  const char *place; /* "matmul.py:22" */
  uint32_t block[3];
  uint32_t shared_bytes; /* dynamic */
  int cooperative;
} tl_kernel;

static const tl_kernel tl_kernels[TL_NUM_KERNELS];

typedef struct {
  int unused;
} tl_call;

/* Both return whether it went well; the process keeps what went wrong. */
typedef int (*tl_emulated_launch)(const char *kernel, const uint32_t *dims, uint32_t shared_bytes,
                                  const void **args);
typedef void *(*tl_emulated_memory)(uint64_t bytes, const char *name);
static tl_emulated_launch tl_launch_hook;
static tl_emulated_memory tl_memory_hook;
static _Thread_local char tl_text[1600];

TL_EXPORT void tl_set_emulator(tl_emulated_launch launch, tl_emulated_memory memory) {
  tl_launch_hook = launch;
  tl_memory_hook = memory;
}

__attribute__((unused)) static const char *tl_message(void) { return tl_text; }

__attribute__((unused)) static int32_t tl_fail(const char *format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(tl_text, sizeof tl_text, format, values);
  va_end(values);
  return TL_CODE_ERROR;
}

static int32_t tl_begin(tl_call *call, int32_t device, void *stream) {
  (void)call, (void)device, (void)stream;
  return 0;
}
static void tl_end(tl_call *call) { (void)call; }

__attribute__((unused)) static int32_t tl_launch(tl_call *call, int index, int64_t x, int64_t y,
                                                 int64_t z, const void **args) {
  (void)call;
  const tl_kernel *k = &tl_kernels[index];
  const int64_t most = 0x7fffffff;
  if (x > most || y > 65535 || z > 65535)
    return tl_fail("%s: %s: a grid of %lld x %lld x %lld blocks; at most 2147483647 x 65535 x 65535",
                   k->place, k->name, (long long)x, (long long)y, (long long)z);
  const uint32_t dims[6] = {(uint32_t)x, (uint32_t)y, (uint32_t)z,
                            k->block[0], k->block[1], k->block[2]};
  if (!tl_launch_hook) return tl_fail("%s: no emulator", k->name);
  if (!tl_launch_hook(k->name, dims, k->shared_bytes, args))
    return tl_fail("%s: the emulator stopped %s", k->place, k->name);
  return 0;
}

__attribute__((unused)) static int32_t tl_allocate(tl_call *call, void **out, size_t bytes,
                                                   const char *name) {
  (void)call;
  *out = tl_memory_hook ? tl_memory_hook(bytes, name) : NULL;
  if (*out) return 0;
  tl_fail("no memory for %zu bytes of %s", bytes, name);
  return TL_CODE_MEMORY;
}

/* Memory of a call is given back at its end. */
__attribute__((unused)) static void tl_free(tl_call *call, void *memory) { (void)call, (void)memory; }

#endif
