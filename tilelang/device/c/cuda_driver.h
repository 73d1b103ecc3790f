/* Kernels in a cubin, loaded and launched through the CUDA driver: what codegen/host_cuda.py calls.
 *
 * The text that includes this defines the table `tl_kernels` first, with TL_NUM_KERNELS rows; without
 * TL_NUM_KERNELS the includer makes each `tl_program` itself (launcher.c). The driver is opened with dlopen, privately and on first use, so neither its headers nor a link
 * against it are needed. The cubin is part of the text (TL_IMAGE), or handed over after loading
 * (tl_set_image). It is loaded once per device, into the primary context that PyTorch and the CUDA
 * runtime use. Every function may be called from any thread. Functions return 0, or a TL_CODE_*
 * after keeping a message for tl_message(), of the calling thread.
 * Not here: checks of arguments (ffi_args.h), which kernel runs when (the generated text). */
#ifndef TL_CUDA_DRIVER_H
#define TL_CUDA_DRIVER_H

#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#if defined(__clang__)
#define TL_COLD __attribute__((cold, noinline, unused)) static
#else
#define TL_COLD __attribute__((cold, noinline, unused, optimize("O0"))) static
#endif
#ifndef TL_CUDA_LIBRARY
#define TL_CUDA_LIBRARY "libcuda.so.1"
#endif
#define TL_EXPORT __attribute__((visibility("default")))
#define TL_UNLIKELY(x) __builtin_expect(!!(x), 0)

enum { TL_CODE_ERROR = 2, TL_CODE_MEMORY = 3 }; /* RuntimeError, MemoryError */
enum { TL_MAX_DEVICES = 64 };

typedef struct {
  const char *name;
  const char *place; /* "matmul.py:22" */
  uint32_t block[3];
  uint32_t shared_bytes; /* dynamic */
  int cooperative;
} tl_kernel;

typedef struct tl_context tl_context;   /* what CUcontext, CUmodule, CUfunction, CUstream point to */
typedef struct tl_module tl_module;
typedef struct tl_function tl_function;

typedef struct {       /* the kernels of one cubin */
  const tl_kernel *kernels;
  int num_kernels;
  const char *arch;    /* what they were compiled for */
  const void *image;   /* the cubin; it must stay where it is */
  tl_context *contexts[TL_MAX_DEVICES]; /* NULL: not loaded there; written last: whoever sees it sees the functions */
  tl_function **functions; /* [TL_MAX_DEVICES][num_kernels] */
} tl_program;

/* ---- messages ----------------------------------------------------------------------------- */

static _Thread_local char tl_text[1600];

TL_COLD const char *tl_message(void) { return tl_text; }

TL_COLD int32_t tl_fail(const char *format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(tl_text, sizeof tl_text, format, values);
  va_end(values);
  return TL_CODE_ERROR;
}

/* ---- the driver --------------------------------------------------------------------------- */

enum { /* CUresult values that mean more than their sentence */
  TL_CUDA_OUT_OF_MEMORY = 2, TL_CUDA_INVALID_DEVICE = 101, TL_CUDA_INVALID_IMAGE = 200, TL_CUDA_NO_BINARY = 209,
  TL_CUDA_UNSUPPORTED_PTX = 222, TL_CUDA_STICKY_FIRST = 700, TL_CUDA_STICKY_LAST = 719
};
enum { /* CUdevice_attribute */
  TL_ATTRIBUTE_MAJOR = 75, TL_ATTRIBUTE_MINOR = 76, TL_ATTRIBUTE_COOPERATIVE = 95, TL_ATTRIBUTE_SHARED = 97
};
enum { TL_FUNCTION_DYNAMIC_SHARED = 8, TL_FUNCTION_STATIC_SHARED = 1 }; /* CUfunction_attribute */
enum { TL_CAPTURE_RELAXED = 2 };  /* CUstreamCaptureMode */

/* Result, name in the library, parameters. Launching works with drivers for CUDA 11.2 and later. */
#define TL_DRIVER_FUNCTIONS(X)                                                                     \
  X(cuInit, "cuInit", (unsigned))                                                                  \
  X(cuDriverGetVersion, "cuDriverGetVersion", (int *))                                             \
  X(cuDeviceGet, "cuDeviceGet", (int *, int))                                                      \
  X(cuDeviceGetCount, "cuDeviceGetCount", (int *))                                                 \
  X(cuDeviceGetAttribute, "cuDeviceGetAttribute", (int *, int, int))                               \
  X(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (tl_context **, int))                    \
  X(cuCtxGetCurrent, "cuCtxGetCurrent", (tl_context **))                                           \
  X(cuCtxGetDevice, "cuCtxGetDevice", (int *))                                                     \
  X(cuCtxPushCurrent, "cuCtxPushCurrent_v2", (tl_context *))                                       \
  X(cuCtxPopCurrent, "cuCtxPopCurrent_v2", (tl_context **))                                        \
  X(cuThreadExchangeStreamCaptureMode, "cuThreadExchangeStreamCaptureMode", (int *))               \
  X(cuModuleLoadData, "cuModuleLoadData", (tl_module **, const void *))                            \
  X(cuModuleUnload, "cuModuleUnload", (tl_module *))                                               \
  X(cuModuleGetFunction, "cuModuleGetFunction", (tl_function **, tl_module *, const char *))       \
  X(cuFuncGetAttribute, "cuFuncGetAttribute", (int *, int, tl_function *))                         \
  X(cuFuncSetAttribute, "cuFuncSetAttribute", (tl_function *, int, int))                           \
  X(cuLaunchKernel, "cuLaunchKernel", (tl_function *, unsigned, unsigned, unsigned, unsigned,      \
    unsigned, unsigned, unsigned, void *, void **, void **))                                       \
  X(cuLaunchCooperativeKernel, "cuLaunchCooperativeKernel", (tl_function *, unsigned, unsigned,    \
    unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **))                            \
  X(cuMemAllocAsync, "cuMemAllocAsync", (uint64_t *, size_t, void *))                              \
  X(cuMemFreeAsync, "cuMemFreeAsync", (uint64_t, void *))                                          \
  X(cuGetErrorName, "cuGetErrorName", (int, const char **))                                        \
  X(cuGetErrorString, "cuGetErrorString", (int, const char **))

#define TL_DECLARE(member, symbol, parameters) int (*member) parameters;
static struct { TL_DRIVER_FUNCTIONS(TL_DECLARE) } tl_cuda;
#undef TL_DECLARE

TL_COLD const char *tl_error_name(int result) {
  const char *name = NULL;
  return tl_cuda.cuGetErrorName && tl_cuda.cuGetErrorName(result, &name) == 0 && name ? name : "an unknown CUDA error";
}

TL_COLD const char *tl_error_sentence(int result) {
  const char *text = NULL;
  return tl_cuda.cuGetErrorString && tl_cuda.cuGetErrorString(result, &text) == 0 && text ? text : "unknown error";
}

/* `what` failed with `result`. */
TL_COLD int32_t tl_fail_cuda(const char *what, int result) {
  const int is_sticky = result >= TL_CUDA_STICKY_FIRST && result <= TL_CUDA_STICKY_LAST;
  tl_fail("%s: %s: %s%s", what, tl_error_name(result), tl_error_sentence(result),
          is_sticky ? "; a kernel that ran before on this device failed, and the process has to be started again" : "");
  return result == TL_CUDA_OUT_OF_MEMORY ? TL_CODE_MEMORY : TL_CODE_ERROR;
}

static pthread_mutex_t tl_lock = PTHREAD_MUTEX_INITIALIZER;
static int tl_is_open; /* set last, under the lock */

/* Opens the driver; called under the lock. A failure is tried again by the next call. */
TL_COLD int32_t tl_open_driver(void) {
  if (tl_is_open) return 0;
  void *library = dlopen(TL_CUDA_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return tl_fail("this machine has no CUDA driver (%s); install NVIDIA's driver, or compile for target='c'",
                   dlerror());
#define TL_RESOLVE(member, symbol, parameters)                                                          \
  *(void **)&tl_cuda.member = dlsym(library, symbol);                                                   \
  if (!tl_cuda.member) return tl_fail("the CUDA driver is too old: it has no %s; update NVIDIA's driver", symbol);
  TL_DRIVER_FUNCTIONS(TL_RESOLVE)
#undef TL_RESOLVE
  const int result = tl_cuda.cuInit(0);
  if (result != 0) return tl_fail_cuda("the CUDA driver does not start: cuInit", result);
  tl_is_open = 1;
  return 0;
}

/* ---- the cubin, per device ---------------------------------------------------------------- */

TL_COLD int32_t tl_fail_load(const tl_program *program, int device, int result) {
  int major = 0, minor = 0, version = 0;
  const int is_foreign =
      result == TL_CUDA_INVALID_IMAGE || result == TL_CUDA_NO_BINARY || result == TL_CUDA_UNSUPPORTED_PTX;
  char what[160];
  tl_cuda.cuDeviceGetAttribute(&major, TL_ATTRIBUTE_MAJOR, device);
  tl_cuda.cuDeviceGetAttribute(&minor, TL_ATTRIBUTE_MINOR, device);
  tl_cuda.cuDriverGetVersion(&version);
  if (is_foreign)
    snprintf(what, sizeof what, "the driver (CUDA %d.%d) does not load a kernel compiled for %s on cuda:%d, an sm_%d%d",
             version / 1000, version % 1000 / 10, program->arch, device, major, minor);
  else snprintf(what, sizeof what, "loading kernels on cuda:%d", device);
  return tl_fail_cuda(what, result);
}

/* More than 48 KiB of dynamic shared memory have to be asked for. */
TL_COLD int32_t tl_allow_shared(const tl_kernel *kernel, tl_function *function, int device) {
  int limit = 0, fixed = 0;
  tl_cuda.cuDeviceGetAttribute(&limit, TL_ATTRIBUTE_SHARED, device);
  tl_cuda.cuFuncGetAttribute(&fixed, TL_FUNCTION_STATIC_SHARED, function);
  if ((int64_t)kernel->shared_bytes + fixed > limit)
    return tl_fail("kernel %s (%s): %u bytes of shared memory per block, cuda:%d allows %d", kernel->name,
                   kernel->place, kernel->shared_bytes + (unsigned)fixed, device, limit);
  const int result = tl_cuda.cuFuncSetAttribute(function, TL_FUNCTION_DYNAMIC_SHARED, (int)kernel->shared_bytes);
  if (result == 0) return 0;
  char what[200];
  snprintf(what, sizeof what, "kernel %s (%s): cuFuncSetAttribute", kernel->name, kernel->place);
  return tl_fail_cuda(what, result);
}

TL_COLD int32_t tl_find_functions(const tl_program *program, tl_function **to, int device) {
  tl_module *module = NULL;
  int result = tl_cuda.cuModuleLoadData(&module, program->image);
  if (result != 0) return tl_fail_load(program, device, result);
  int32_t code = 0;
  for (int i = 0; i < program->num_kernels && code == 0; ++i) {
    const tl_kernel *kernel = &program->kernels[i];
    char what[200];
    snprintf(what, sizeof what, "kernel %s (%s): cuModuleGetFunction", kernel->name, kernel->place);
    result = tl_cuda.cuModuleGetFunction(&to[i], module, kernel->name);
    code = result != 0 ? tl_fail_cuda(what, result) : tl_allow_shared(kernel, to[i], device);
  }
  if (code != 0) tl_cuda.cuModuleUnload(module);
  return code;
}

/* Loads the cubin on a device; called under the lock. Stream capture is left alone meanwhile:
 * loading allocates, which a capture in this thread would otherwise forbid. */
TL_COLD int32_t tl_load(tl_program *program, int device) {
  tl_context *context = NULL, *popped = NULL;
  int handle = 0, mode = TL_CAPTURE_RELAXED;
  if (program->contexts[device]) return 0;
  if (!program->image) return tl_fail("the library has not been given its kernels (tl_set_image)");
  int result = tl_cuda.cuDeviceGet(&handle, device);
  if (result != 0) return tl_fail_cuda("cuDeviceGet", result);
  result = tl_cuda.cuDevicePrimaryCtxRetain(&context, handle);
  if (result == 0) result = tl_cuda.cuCtxPushCurrent(context);
  if (result != 0) return tl_fail_cuda("the device's context", result);
  tl_cuda.cuThreadExchangeStreamCaptureMode(&mode);
  const int32_t code = tl_find_functions(program, &program->functions[device * program->num_kernels], handle);
  tl_cuda.cuThreadExchangeStreamCaptureMode(&mode);
  tl_cuda.cuCtxPopCurrent(&popped);
  if (code == 0) __atomic_store_n(&program->contexts[device], context, __ATOMIC_RELEASE);
  return code;
}

/* The device of the current context, or the first. */
TL_COLD int tl_current_device(void) {
  int device = 0;
  return tl_is_open && tl_cuda.cuCtxGetDevice(&device) == 0 ? device : 0;
}

TL_COLD int32_t tl_prepare_program(tl_program *program, int *device) {
  pthread_mutex_lock(&tl_lock);
  int32_t code = tl_open_driver();
  if (code == 0 && *device < 0) *device = tl_current_device();
  if (code == 0 && *device >= TL_MAX_DEVICES) code = tl_fail_cuda("cuDeviceGet", TL_CUDA_INVALID_DEVICE);
  if (code == 0) code = tl_load(program, *device);
  pthread_mutex_unlock(&tl_lock);
  return code;
}

/* ---- one call ----------------------------------------------------------------------------- */

typedef struct {
  const tl_program *program;
  void *stream;
  int device;
  int pushed; /* another context, or none, was current in this thread */
} tl_call;

/* Makes the device ready and its context current. `device` < 0: the current one. */
static inline int32_t tl_begin_program(tl_program *program, tl_call *call, int32_t device, void *stream) {
  tl_context *current = NULL;
  int number = device;
  if (TL_UNLIKELY(number < 0 || number >= TL_MAX_DEVICES ||
                  !__atomic_load_n(&program->contexts[number], __ATOMIC_ACQUIRE))) {
    const int32_t code = tl_prepare_program(program, &number);
    if (code != 0) return code;
  }
  call->program = program;
  call->stream = stream;
  call->device = number;
  int result = tl_cuda.cuCtxGetCurrent(&current);
  call->pushed = current != program->contexts[number];
  if (TL_UNLIKELY(call->pushed && result == 0)) result = tl_cuda.cuCtxPushCurrent(program->contexts[number]);
  return TL_UNLIKELY(result != 0) ? tl_fail_cuda("the device's context", result) : 0;
}

/* The current context is again what it was. */
static inline void tl_end(const tl_call *call) {
  tl_context *popped = NULL;
  if (TL_UNLIKELY(call->pushed)) tl_cuda.cuCtxPopCurrent(&popped);
}

TL_COLD int32_t tl_fail_launch(const tl_call *call, const tl_kernel *k, int result, int64_t x, int64_t y, int64_t z) {
  char what[400];
  snprintf(what, sizeof what,
           "kernel %s (%s) on cuda:%d, grid (%lld, %lld, %lld), block (%u, %u, %u), %u bytes of dynamic shared memory",
           k->name, k->place, call->device, (long long)x, (long long)y, (long long)z, k->block[0], k->block[1],
           k->block[2], k->shared_bytes);
  if (result >= 0) return tl_fail_cuda(what, result);
  return tl_fail("%s: a grid has at most (2147483647, 65535, 65535) blocks", what);
}

/* Starts kernel `index` on the call's stream; `args` point to its parameters. */
static inline int32_t tl_launch(const tl_call *call, int index, int64_t x, int64_t y, int64_t z, const void **args) {
  const tl_kernel *k = &call->program->kernels[index];
  tl_function *function = call->program->functions[call->device * call->program->num_kernels + index];
  const unsigned *b = k->block;
  if (TL_UNLIKELY(x > 2147483647 || y > 65535 || z > 65535)) return tl_fail_launch(call, k, -1, x, y, z);
  const int result =
      k->cooperative ? tl_cuda.cuLaunchCooperativeKernel(function, (unsigned)x, (unsigned)y, (unsigned)z, b[0], b[1],
                                                         b[2], k->shared_bytes, call->stream, (void **)args)
                     : tl_cuda.cuLaunchKernel(function, (unsigned)x, (unsigned)y, (unsigned)z, b[0], b[1], b[2],
                                              k->shared_bytes, call->stream, (void **)args, NULL);
  return TL_UNLIKELY(result != 0) ? tl_fail_launch(call, k, result, x, y, z) : 0;
}

/* Global memory for a workspace, in stream order. */
__attribute__((unused)) static int32_t tl_allocate(const tl_call *call, void **out, size_t bytes, const char *name) {
  uint64_t address = 0;
  const int result = tl_cuda.cuMemAllocAsync(&address, bytes ? bytes : 1, call->stream);
  *out = (void *)(uintptr_t)address;
  if (result == 0) return 0;
  char what[200];
  snprintf(what, sizeof what, "workspace `%s` of %zu bytes on cuda:%d", name, bytes, call->device);
  return tl_fail_cuda(what, result);
}

/* Gives a workspace back once the stream's work so far is done; NULL is nothing. */
__attribute__((unused)) static void tl_free(const tl_call *call, void *address) {
  if (address) tl_cuda.cuMemFreeAsync((uint64_t)(uintptr_t)address, call->stream);
}

/* ---- the kernels of this text ------------------------------------------------------------- */

#ifdef TL_NUM_KERNELS
static const tl_kernel tl_kernels[TL_NUM_KERNELS];
static tl_function *tl_functions[TL_MAX_DEVICES][TL_NUM_KERNELS];
#ifdef TL_IMAGE
static tl_program tl_own = {tl_kernels, TL_NUM_KERNELS, TL_ARCH, TL_IMAGE, {NULL}, &tl_functions[0][0]};
#else
static tl_program tl_own = {tl_kernels, TL_NUM_KERNELS, TL_ARCH, NULL, {NULL}, &tl_functions[0][0]};
/* The cubin; it must stay where it is as long as the library. */
TL_EXPORT void tl_set_image(const void *image) { tl_own.image = image; }
#endif

__attribute__((unused)) static int32_t tl_prepare(int *device) { return tl_prepare_program(&tl_own, device); }

static inline int32_t tl_begin(tl_call *call, int32_t device, void *stream) {
  return tl_begin_program(&tl_own, call, device, stream);
}
#endif

#endif
