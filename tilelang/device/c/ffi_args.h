/* Argument checking for the entry points that codegen/host_c.py writes.
 *
 * An entry point has the signature of an apache-tvm-ffi "safe call": (handle, arguments, count,
 * result) -> 0, or -1 after an error has been handed to the FFI library. The types below state the
 * part of that interface, and of DLPack's, that is used; both are fixed since tvm-ffi 0.1.1.
 * What runs on every call is inline and a few comparisons; text is made only on failure, in the
 * cold functions. Not here: what is expected of which argument, which the generated text says. */
#ifndef TL_FFI_ARGS_H
#define TL_FFI_ARGS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#if defined(_WIN32)
#define TL_FFI_EXPORT __declspec(dllexport)
#define TL_FFI_IMPORT __declspec(dllimport)
#else
#define TL_FFI_EXPORT __attribute__((visibility("default")))
#define TL_FFI_IMPORT
#endif
/* Entry points and messages are cheap to run and would be a fifth of a kernel's compile time at -O3
 * (105 ms against 65 ms for an empty kernel, GCC 12, 2026-11). */
#if defined(__clang__)
#define TL_FFI_OPTIMIZE(level)
#else
#define TL_FFI_OPTIMIZE(level) __attribute__((optimize(level)))
#endif
#define TL_FFI_ENTRY TL_FFI_OPTIMIZE("O1") TL_FFI_EXPORT
#define TL_FFI_COLD __attribute__((cold, noinline, unused)) TL_FFI_OPTIMIZE("O0") static
#define TL_FFI_HOT __attribute__((always_inline, unused)) static inline
#define TL_FFI_UNLIKELY(x) __builtin_expect(!!(x), 0)

#ifndef TL_FFI_SHOW_CPU /* whether messages say it of tensors on the CPU */
#define TL_FFI_SHOW_CPU 0
#endif

enum { /* type_index of an argument */
  TL_FFI_NONE = 0, TL_FFI_INT = 1, TL_FFI_BOOL = 2, TL_FFI_FLOAT = 3, TL_FFI_POINTER = 4,
  TL_FFI_DLTENSOR = 7, TL_FFI_RAW_STR = 8, TL_FFI_SMALL_STR = 11, TL_FFI_STR = 65,
  TL_FFI_BYTES = 66, TL_FFI_FUNCTION = 68, TL_FFI_TENSOR = 70, TL_FFI_ARRAY = 71, TL_FFI_MAP = 72,
  TL_FFI_OPAQUE = 74, TL_FFI_LIST = 75, TL_FFI_DICT = 76, TL_FFI_BIG_INT = 78
};

typedef struct {
  int32_t type_index;
  uint32_t small_length;
  union {
    int64_t v_int64;
    double v_float64;
    void *v_ptr;
    char v_bytes[8];
  };
} tl_ffi_any;

typedef struct {
  void *data;
  int32_t device_type;
  int32_t device_id;
  int32_t ndim;
  uint8_t dtype_code;
  uint8_t dtype_bits;
  uint16_t dtype_lanes;
  int64_t *shape;
  int64_t *strides; /* in elements; NULL: dense */
  uint64_t byte_offset;
} tl_ffi_tensor;

#define TL_FFI_OBJECT_HEADER_BYTES 24 /* before the tensor of a TL_FFI_TENSOR argument */

TL_FFI_IMPORT void TVMFFIErrorSetRaisedFromCStr(const char *kind, const char *message);

typedef struct { /* one parameter, for messages */
  const char *function;
  const char *name;
  const char *expected; /* "float16[m, 64] on cpu" */
  int32_t index;        /* in the call, from 1 */
} tl_ffi_param;

/* ---- reading arguments -------------------------------------------------------------------- */

/* The tensor of an argument; NULL when it is something else. */
TL_FFI_HOT const tl_ffi_tensor *tl_ffi_as_tensor(const tl_ffi_any *arg) {
  if (arg->type_index == TL_FFI_TENSOR)
    return (const tl_ffi_tensor *)((const char *)arg->v_ptr + TL_FFI_OBJECT_HEADER_BYTES);
  return arg->type_index == TL_FFI_DLTENSOR ? (const tl_ffi_tensor *)arg->v_ptr : NULL;
}

/* The readers of numbers return 0 when the argument is something else. */
TL_FFI_HOT int tl_ffi_read_int(const tl_ffi_any *arg, int64_t *out) {
  *out = arg->v_int64;
  return arg->type_index == TL_FFI_INT || arg->type_index == TL_FFI_BOOL;
}

/* As above for uint64; *fits is 0 for a number outside its range. Values of 2^63 and more come as an
 * object (header, word count, words, of which the last is the sign), or from versions of the FFI
 * library without such objects as a pointer. */
TL_FFI_HOT int tl_ffi_read_uint64(const tl_ffi_any *arg, uint64_t *out, int *fits) {
  if (arg->type_index == TL_FFI_BIG_INT) {
    const char *cell = (const char *)arg->v_ptr + TL_FFI_OBJECT_HEADER_BYTES;
    const int64_t *words = (const int64_t *)(cell + sizeof(size_t));
    *out = (uint64_t)words[0];
    *fits = *(const size_t *)cell == 2 && words[1] == 0;
    return 1;
  }
  *out = (uint64_t)arg->v_int64;
  *fits = arg->v_int64 >= 0 || arg->type_index == TL_FFI_POINTER;
  return arg->type_index == TL_FFI_INT || arg->type_index == TL_FFI_BOOL || arg->type_index == TL_FFI_POINTER;
}

TL_FFI_HOT int tl_ffi_read_float(const tl_ffi_any *arg, double *out) {
  const int is_float = arg->type_index == TL_FFI_FLOAT;
  *out = is_float ? arg->v_float64 : (double)arg->v_int64;
  return is_float || arg->type_index == TL_FFI_INT || arg->type_index == TL_FFI_BOOL;
}

#define TL_FFI_DTYPE(code, bits, lanes) ((uint32_t)(code) | (uint32_t)(bits) << 8 | (uint32_t)(lanes) << 16)

TL_FFI_HOT uint32_t tl_ffi_dtype(const tl_ffi_tensor *t) {
  return TL_FFI_DTYPE(t->dtype_code, t->dtype_bits, t->dtype_lanes);
}

TL_FFI_HOT void *tl_ffi_data(const tl_ffi_tensor *t) { return (char *)t->data + t->byte_offset; }

TL_FFI_HOT int tl_ffi_is_misaligned(const tl_ffi_tensor *t, uintptr_t bytes) {
  return ((uintptr_t)tl_ffi_data(t) & (bytes - 1)) != 0;
}

/* Memory the host can read: cpu, and the pinned and managed kinds of CUDA and ROCm. */
TL_FFI_HOT int tl_ffi_is_on_host(const tl_ffi_tensor *t) {
  const int32_t d = t->device_type;
  return d == 1 || d == 3 || d == 11 || d == 13;
}

/* Memory that kernels on an NVIDIA GPU read: of a device, and the managed kind. */
TL_FFI_HOT int tl_ffi_is_on_cuda(const tl_ffi_tensor *t) { return t->device_type == 2 || t->device_type == 13; }

TL_FFI_HOT int64_t tl_ffi_stride(const tl_ffi_tensor *t, int32_t axis) {
  int64_t step = 1;
  if (t->strides) return t->strides[axis];
  for (int32_t i = axis + 1; i < t->ndim; ++i) step *= t->shape[i];
  return step;
}

/* A tensor's data, an address as a number or pointer, NULL for None. */
TL_FFI_HOT int tl_ffi_read_pointer(const tl_ffi_any *arg, void **out) {
  const tl_ffi_tensor *t = tl_ffi_as_tensor(arg);
  *out = t ? tl_ffi_data(t) : arg->v_ptr;
  return t || arg->type_index == TL_FFI_POINTER || arg->type_index == TL_FFI_INT || arg->type_index == TL_FFI_NONE;
}

/* Whether an argument for a pointer, if it is a tensor, is one that passes `test`. */
TL_FFI_HOT int tl_ffi_points(const tl_ffi_any *arg, int (*test)(const tl_ffi_tensor *)) {
  const tl_ffi_tensor *t = tl_ffi_as_tensor(arg);
  return !t || test(t);
}

/* n of factor * n + offset == value; -1 when there is no such integer n >= 0. */
TL_FFI_HOT int64_t tl_ffi_solve(int64_t value, int64_t factor, int64_t offset) {
  const int64_t rest = value - offset;
  if (factor == 0 || rest % factor != 0) return -1;
  return rest / factor;
}

/* Declared extents may divide by a symbol; one that is 0 gives 0 and so a mismatch, not a trap. */
TL_FFI_HOT int64_t tl_ffi_floordiv(int64_t a, int64_t b) {
  if (b == 0) return 0;
  const int64_t q = a / b;
  return q - (a % b != 0 && (a < 0) != (b < 0));
}

TL_FFI_HOT int64_t tl_ffi_floormod(int64_t a, int64_t b) {
  if (b == 0) return 0;
  const int64_t r = a % b;
  return r + (r != 0 && (r < 0) != (b < 0) ? b : 0);
}

/* ---- messages ----------------------------------------------------------------------------- */

typedef struct {
  char text[2048];
  size_t used;
} tl_ffi_text;

TL_FFI_COLD void tl_ffi_vput(tl_ffi_text *out, const char *format, va_list values) {
  const size_t room = sizeof out->text - out->used;
  const int n = vsnprintf(out->text + out->used, room, format, values);
  if (n > 0) out->used += (size_t)n < room ? (size_t)n : room - 1;
}

TL_FFI_COLD void tl_ffi_put(tl_ffi_text *out, const char *format, ...) {
  va_list values;
  va_start(values, format);
  tl_ffi_vput(out, format, values);
  va_end(values);
}

TL_FFI_COLD int tl_ffi_raise(const char *kind, const tl_ffi_text *message) {
  TVMFFIErrorSetRaisedFromCStr(kind, message->text);
  return -1;
}

TL_FFI_COLD void tl_ffi_put_integers(tl_ffi_text *out, const int64_t *values, int32_t count, const char *brackets) {
  tl_ffi_put(out, "%c", brackets[0]);
  for (int32_t i = 0; i < count; ++i) tl_ffi_put(out, i ? ", %lld" : "%lld", (long long)values[i]);
  tl_ffi_put(out, count == 1 && brackets[0] == '(' ? ",%c" : "%c", brackets[1]);
}

TL_FFI_COLD void tl_ffi_put_dtype(tl_ffi_text *out, const tl_ffi_tensor *t) {
  static const char *const numbers[] = {"int", "uint", "float", "handle", "bfloat", "complex"};
  static const char *const kinds[] = {
      "bool", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz",
      "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn"};
  const int code = t->dtype_code;
  if (code < 6) tl_ffi_put(out, "%s%d", numbers[code], t->dtype_bits);
  else if (code < 18) tl_ffi_put(out, "%s", kinds[code - 6]);
  else tl_ffi_put(out, "dtype(%d, %d)", code, t->dtype_bits);
  if (t->dtype_lanes != 1) tl_ffi_put(out, code == 17 ? "_x%d" : "x%d", t->dtype_lanes);
}

TL_FFI_COLD void tl_ffi_put_tensor(tl_ffi_text *out, const tl_ffi_tensor *t) {
  tl_ffi_put_dtype(out, t);
  tl_ffi_put_integers(out, t->shape, t->ndim, "[]");
  if (t->device_type == 1) {
    if (TL_FFI_SHOW_CPU) tl_ffi_put(out, " on cpu");
    return;
  }
  tl_ffi_put(out, t->device_type == 2 ? " on cuda:%d" : t->device_type == 8 ? " on mps:%d"
                : t->device_type == 10 ? " on rocm:%d" : " on device %d", t->device_id);
  if (t->device_type != 2 && t->device_type != 8 && t->device_type != 10)
    tl_ffi_put(out, " of DLPack kind %d", t->device_type);
}

TL_FFI_COLD void tl_ffi_put_any(tl_ffi_text *out, const tl_ffi_any *arg) {
  switch (arg->type_index) {
    case TL_FFI_NONE: tl_ffi_put(out, "None"); return;
    case TL_FFI_INT: tl_ffi_put(out, "int %lld", (long long)arg->v_int64); return;
    case TL_FFI_BOOL: tl_ffi_put(out, arg->v_int64 ? "bool True" : "bool False"); return;
    case TL_FFI_FLOAT: tl_ffi_put(out, "float %.17g", arg->v_float64); return;
    case TL_FFI_POINTER: tl_ffi_put(out, "a pointer"); return;
    case TL_FFI_BIG_INT: tl_ffi_put(out, "an int beyond 64 bits"); return;
    case TL_FFI_RAW_STR: case TL_FFI_SMALL_STR: case TL_FFI_STR: tl_ffi_put(out, "a str"); return;
    case TL_FFI_BYTES: tl_ffi_put(out, "bytes"); return;
    case TL_FFI_FUNCTION: tl_ffi_put(out, "a function"); return;
    case TL_FFI_ARRAY: case TL_FFI_LIST: tl_ffi_put(out, "a list or tuple"); return;
    case TL_FFI_MAP: case TL_FFI_DICT: tl_ffi_put(out, "a dict"); return;
    case TL_FFI_TENSOR: case TL_FFI_DLTENSOR: tl_ffi_put_tensor(out, tl_ffi_as_tensor(arg)); return;
    default: tl_ffi_put(out, "an object that is neither a tensor nor a number"); return;
  }
}

TL_FFI_COLD void tl_ffi_put_expected(tl_ffi_text *out, const tl_ffi_param *p) {
  out->used = 0;
  tl_ffi_put(out, "%s(): argument %d `%s`: expected %s", p->function, p->index, p->name, p->expected);
}

/* ---- failures: each hands one error to the FFI library and returns -1 ----------------------- */

TL_FFI_COLD int tl_ffi_wrong_count(const char *function, const char *names, int32_t expected, int32_t got) {
  tl_ffi_text out = {.used = 0};
  tl_ffi_put(&out, "%s(): expected %d argument%s (%s), got %d", function, expected,
             expected == 1 ? "" : "s", names, got);
  return tl_ffi_raise("ValueError", &out);
}

/* A number for a tensor, a string for a number, None for what the kernel uses. */
TL_FFI_COLD int tl_ffi_wrong_kind(const tl_ffi_param *p, const tl_ffi_any *arg) {
  tl_ffi_text out;
  tl_ffi_put_expected(&out, p);
  tl_ffi_put(&out, ", got ");
  tl_ffi_put_any(&out, arg);
  return tl_ffi_raise("TypeError", &out);
}

TL_FFI_COLD int tl_ffi_out_of_range(const tl_ffi_param *p, const tl_ffi_any *arg, const char *range) {
  tl_ffi_text out;
  tl_ffi_put_expected(&out, p);
  tl_ffi_put(&out, " (%s), got ", range);
  tl_ffi_put_any(&out, arg);
  return tl_ffi_raise("ValueError", &out);
}

/* Rank, dtype, extent or device. `format` says what the symbols of the declaration stand for. */
TL_FFI_COLD int tl_ffi_wrong_tensor(const tl_ffi_param *p, const tl_ffi_tensor *t, const char *format, ...) {
  tl_ffi_text out;
  va_list values;
  tl_ffi_put_expected(&out, p);
  va_start(values, format);
  tl_ffi_vput(&out, format, values);
  va_end(values);
  tl_ffi_put(&out, ", got ");
  tl_ffi_put_tensor(&out, t);
  return tl_ffi_raise("ValueError", &out);
}

TL_FFI_COLD int tl_ffi_wrong_alignment(const tl_ffi_param *p, const tl_ffi_tensor *t, int bytes) {
  tl_ffi_text out;
  tl_ffi_put_expected(&out, p);
  tl_ffi_put(&out, " at an address divisible by %d, got address %p", bytes, tl_ffi_data(t));
  return tl_ffi_raise("ValueError", &out);
}

/* 0 when the strides differ from `expected` only where no second element is reached. */
TL_FFI_COLD int tl_ffi_check_strides(const tl_ffi_param *p, const tl_ffi_tensor *t, const int64_t *expected,
                                     const char *what) {
  int differs = 0;
  for (int32_t i = 0; i < t->ndim; ++i) {
    if (t->shape[i] == 0) return 0;
    differs |= t->shape[i] > 1 && tl_ffi_stride(t, i) != expected[i];
  }
  if (!differs) return 0;
  tl_ffi_text out;
  tl_ffi_put_expected(&out, p);
  tl_ffi_put(&out, " %s ", what);
  tl_ffi_put_integers(&out, expected, t->ndim, "()");
  tl_ffi_put(&out, ", got strides (");
  for (int32_t i = 0; i < t->ndim; ++i) tl_ffi_put(&out, i ? ", %lld" : "%lld", (long long)tl_ffi_stride(t, i));
  tl_ffi_put(&out, t->ndim == 1 ? ",)" : ")");
  return tl_ffi_raise("ValueError", &out);
}

/* What a kernel returned, when it was not 0: 1 is memory for its blocks that could not be had, 3
 * memory that `reason` speaks of; `reason` is the kernel's own account of anything else, or NULL. */
TL_FFI_COLD int tl_ffi_kernel_failed(const char *function, int32_t code, const char *reason) {
  tl_ffi_text out = {.used = 0};
  if (code == 1) tl_ffi_put(&out, "%s(): out of memory for the buffers of its blocks", function);
  else if (reason) tl_ffi_put(&out, "%s(): %s", function, reason);
  else tl_ffi_put(&out, "%s(): the kernel failed with code %d", function, code);
  return tl_ffi_raise(code == 1 || code == 3 ? "MemoryError" : "RuntimeError", &out);
}

#endif
