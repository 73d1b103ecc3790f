/* A CUDA driver without a GPU: it writes down what it is asked to do.
 *
 * One line per call, read with fake_log(). fake_fail(name, code) makes the next calls of a function
 * fail. Two devices; contexts, modules and functions are numbers. */
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char text[1 << 20];
static size_t used;
static char failing[64];
static int failure;
static int num_parameters;
static _Thread_local uintptr_t stack[16];
static _Thread_local int depth;

void fake_reset(void) { used = 0; text[0] = 0; failing[0] = 0; failure = 0; num_parameters = 0; }
const char *fake_log(void) { return text; }
void fake_fail(const char *name, int code) { snprintf(failing, sizeof failing, "%s", name); failure = code; }
void fake_parameters(int count) { num_parameters = count; }
uintptr_t fake_current(void) { return depth ? stack[depth - 1] : 0; }
void fake_make_current(uintptr_t context) { depth = 0; if (context) stack[depth++] = context; }

static int note(const char *name, const char *format, ...) {
  pthread_mutex_lock(&lock);
  va_list values;
  va_start(values, format);
  if (used + 400 < sizeof text) {
    used += (size_t)snprintf(text + used, sizeof text - used, "%s ", name);
    used += (size_t)vsnprintf(text + used, sizeof text - used, format, values);
    used += (size_t)snprintf(text + used, sizeof text - used, "\n");
  }
  va_end(values);
  const int code = strcmp(failing, name) == 0 ? failure : 0;
  pthread_mutex_unlock(&lock);
  return code;
}

#define CONTEXT(device) (0x1000u + (unsigned)(device))

int cuInit(unsigned flags) { return note("cuInit", "%u", flags); }
int cuDriverGetVersion(int *version) { *version = 12040; return 0; }
int cuDeviceGet(int *device, int ordinal) {
  *device = ordinal;
  return ordinal < 0 || ordinal > 1 ? 101 : note("cuDeviceGet", "%d", ordinal);
}
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  (void)device;
  *value = attribute == 75 ? 8 : attribute == 76 ? 0 : attribute == 97 ? 166912 : 1;
  return 0;
}
int cuDevicePrimaryCtxRetain(uintptr_t *context, int device) {
  *context = CONTEXT(device);
  return note("cuDevicePrimaryCtxRetain", "%d", device);
}
int cuCtxGetCurrent(uintptr_t *context) { *context = fake_current(); return 0; }
int cuCtxGetDevice(int *device) {
  if (!depth) return 201;
  *device = (int)(fake_current() - CONTEXT(0));
  return 0;
}
int cuCtxPushCurrent_v2(uintptr_t context) { stack[depth++] = context; return note("cuCtxPushCurrent", "%#lx", (long)context); }
int cuCtxPopCurrent_v2(uintptr_t *context) { *context = stack[--depth]; return note("cuCtxPopCurrent", "%#lx", (long)*context); }
int cuThreadExchangeStreamCaptureMode(int *mode) {
  static _Thread_local int own;
  const int before = own;
  own = *mode;
  *mode = before;
  return note("cuThreadExchangeStreamCaptureMode", "%d", own);
}
int cuModuleLoadData(uintptr_t *module, const char *image) {
  *module = 0x2000 + fake_current();
  return note("cuModuleLoadData", "%.8s on %#lx", image, (long)fake_current());
}
int cuModuleUnload(uintptr_t module) { return note("cuModuleUnload", "%#lx", (long)module); }
int cuModuleGetFunction(uintptr_t *function, uintptr_t module, const char *name) {
  *function = 0x10000 * (fake_current() - CONTEXT(0) + 1) + (uintptr_t)name[strlen(name) - 1];
  (void)module;
  return note("cuModuleGetFunction", "%s", name);
}
int cuFuncGetAttribute(int *value, int attribute, uintptr_t function) { (void)attribute; (void)function; *value = 0; return 0; }
int cuFuncSetAttribute(uintptr_t function, int attribute, int value) {
  (void)function;
  return note("cuFuncSetAttribute", "%d = %d", attribute, value);
}
static int launch(const char *name, uintptr_t f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                  unsigned bz, unsigned shared, void *stream, void **args) {
  char values[300] = "";
  size_t n = 0;
  for (int i = 0; i < num_parameters; ++i)
    n += (size_t)snprintf(values + n, sizeof values - n, " %lld", *(long long *)args[i]);
  return note(name, "%#lx (%u %u %u) (%u %u %u) %u on %#lx in %#lx:%s", (long)f, gx, gy, gz, bx, by, bz, shared,
              (long)(uintptr_t)stream, (long)fake_current(), values);
}
int cuLaunchKernel(uintptr_t f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **args, void **extra) {
  (void)extra;
  return launch("cuLaunchKernel", f, gx, gy, gz, bx, by, bz, shared, stream, args);
}
int cuLaunchCooperativeKernel(uintptr_t f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                              unsigned bz, unsigned shared, void *stream, void **args) {
  return launch("cuLaunchCooperativeKernel", f, gx, gy, gz, bx, by, bz, shared, stream, args);
}
#ifndef FAKE_IS_OLD
int cuMemAllocAsync(uint64_t *address, size_t bytes, void *stream) {
  const int code = note("cuMemAllocAsync", "%zu on %#lx", bytes, (long)(uintptr_t)stream);
  *address = code ? 0 : 0xabc000;
  return code;
}
#endif
int cuMemFreeAsync(uint64_t address, void *stream) {
  return note("cuMemFreeAsync", "%#llx on %#lx", (unsigned long long)address, (long)(uintptr_t)stream);
}
int cuGetErrorName(int code, const char **name) {
  *name = code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : code == 209 ? "CUDA_ERROR_NO_BINARY_FOR_GPU"
        : code == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS" : code == 101 ? "CUDA_ERROR_INVALID_DEVICE" : "CUDA_ERROR_OTHER";
  return 0;
}
int cuGetErrorString(int code, const char **sentence) {
  *sentence = code == 2 ? "out of memory" : "a sentence about it";
  return 0;
}
