/* Entry points of CUDA functions without compiled host code: one library serves every kernel.
 *
 * codegen/host_table.py writes a table for functions whose host side only checks arguments and
 * launches; `tl_make` turns it into a function for apache-tvm-ffi that behaves like the entry point
 * of codegen/host_c.py and codegen/host_cuda.py, messages included. Built once per machine by
 * engine/launcher.py. A table is native 64-bit words, in the order in which `tl_make` reads them,
 * then texts; words for texts count bytes from the end of the words.
 * Not here: workspaces, branches, strides and sizes that need more than comparing (compiled text). */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_driver.h"

#define TL_FFI_SHOW_CPU 1
#include "ffi_args.h"

extern void *TVMFFIEnvGetStream(int32_t device_type, int32_t device_id);
typedef int tl_safe_call(void *self, const tl_ffi_any *args, int32_t num_args, tl_ffi_any *result);
extern int TVMFFIFunctionCreate(void *self, tl_safe_call *call, void (*deleter)(void *), void **out);

/* As host_table.py: limits, kinds of parameters, forms of values, operations of an expression. */
enum { TL_VERSION = 1, TL_MAX_VALUES = 64, TL_MAX_RANK = 8, TL_MAX_DTYPES = 4, TL_MAX_FOREIGN = 4, TL_MAX_STACK = 16 };
enum { TL_KIND_TENSOR, TL_KIND_INT, TL_KIND_FLOAT };
enum { TL_FORM_WORD, TL_FORM_BOOL, TL_FORM_FLOAT, TL_FORM_DOUBLE };
enum { TL_OP_CONST, TL_OP_VALUE, TL_OP_ADD, TL_OP_SUB, TL_OP_MUL, TL_OP_FLOORDIV, TL_OP_FLOORMOD, TL_OP_MIN, TL_OP_MAX };

typedef struct {
  int32_t value;    /* which value it has to equal; -1: `constant`; -2: anything, it gives a value */
  int64_t constant;
} tl_extent;

typedef struct {
  tl_ffi_param text;
  int kind, form;
  int32_t ndim, num_dtypes, num_foreign;
  uint32_t dtypes[TL_MAX_DTYPES];
  int alignment;
  tl_extent shape[TL_MAX_RANK];
  const char *where; /* what other arguments decided, as a format of `foreign` values */
  int32_t foreign[TL_MAX_FOREIGN];
  int64_t low, high; /* of an integer; `range` is NULL where it can be anything */
  const char *range;
} tl_param;

typedef struct { /* an extent gives a value */
  int32_t value, param, axis;
  int64_t most;
  const char *reason; /* why it cannot be more */
} tl_binding;

typedef struct {
  int32_t length[3];
  const int64_t *grid[3]; /* expressions in postfix order: operation, operand */
  int32_t num_args;
  const int64_t *args; /* which values are the kernel's parameters */
} tl_start;

typedef struct {
  tl_program program;
  const char *name, *names;
  int32_t num_params, num_bindings;
  tl_param *params;
  tl_binding *bindings;
  tl_start *starts;
  char *memory; /* the table */
} tl_entry;

typedef union { /* a parameter of a kernel */
  int64_t word;
  void *address;
  float f32;
  double f64;
} tl_cell;

typedef struct { /* one call: each value as a number and as kernels take it */
  const tl_ffi_tensor *tensors[TL_MAX_VALUES];
  int64_t numbers[TL_MAX_VALUES];
  tl_cell cells[TL_MAX_VALUES];
  int32_t device;
} tl_values;

/* ---- arguments ---------------------------------------------------------------------------- */

static int tl_read_tensor(const tl_param *p, const tl_ffi_any *arg, int index, tl_values *v) {
  const tl_ffi_tensor *t = tl_ffi_as_tensor(arg);
  if (TL_UNLIKELY(!t)) return tl_ffi_wrong_kind(&p->text, arg);
  int is_known = 0;
  for (int i = 0; i < p->num_dtypes; ++i) is_known |= tl_ffi_dtype(t) == p->dtypes[i];
  if (TL_UNLIKELY(t->ndim != p->ndim || !is_known || !tl_ffi_is_on_cuda(t)))
    return tl_ffi_wrong_tensor(&p->text, t, "");
  if (v->device < 0) v->device = t->device_id;
  if (TL_UNLIKELY(t->device_id != v->device))
    return tl_ffi_wrong_tensor(&p->text, t, ":%d as the tensors before it", v->device);
  if (TL_UNLIKELY(tl_ffi_is_misaligned(t, (uintptr_t)p->alignment)))
    return tl_ffi_wrong_alignment(&p->text, t, p->alignment);
  v->tensors[index] = t;
  v->cells[index].address = tl_ffi_data(t);
  return 0;
}

static int tl_read_number(const tl_param *p, const tl_ffi_any *arg, int index, tl_values *v) {
  if (p->kind == TL_KIND_FLOAT) {
    double number;
    if (TL_UNLIKELY(!tl_ffi_read_float(arg, &number))) return tl_ffi_wrong_kind(&p->text, arg);
    if (p->form == TL_FORM_FLOAT) v->cells[index].f32 = (float)number;
    else v->cells[index].f64 = number;
    return 0;
  }
  int64_t number;
  if (TL_UNLIKELY(!tl_ffi_read_int(arg, &number))) return tl_ffi_wrong_kind(&p->text, arg);
  if (TL_UNLIKELY(p->range && (number < p->low || number > p->high)))
    return tl_ffi_out_of_range(&p->text, arg, p->range);
  v->numbers[index] = number;
  v->cells[index].word = p->form == TL_FORM_BOOL ? number != 0 : number; /* low bytes come first */
  return 0;
}

static int tl_check_shape(const tl_param *p, const tl_ffi_tensor *t, const tl_values *v) {
  for (int i = 0; i < p->ndim; ++i) {
    const tl_extent *e = &p->shape[i];
    const int64_t expected = e->value == -2 ? t->shape[i] : e->value >= 0 ? v->numbers[e->value] : e->constant;
    if (TL_UNLIKELY(t->shape[i] != expected)) {
      int64_t f[TL_MAX_FOREIGN] = {0};
      for (int k = 0; k < p->num_foreign; ++k) f[k] = v->numbers[p->foreign[k]];
      return tl_ffi_wrong_tensor(&p->text, t, p->where, (long long)f[0], (long long)f[1], (long long)f[2],
                                 (long long)f[3]);
    }
  }
  if (!t->strides) return 0;
  int64_t dense[TL_MAX_RANK], step = 1;
  int differs = 0;
  for (int i = p->ndim - 1; i >= 0; --i) {
    dense[i] = step;
    differs |= t->strides[i] != step;
    step *= t->shape[i];
  }
  return TL_UNLIKELY(differs) ? tl_ffi_check_strides(&p->text, t, dense, "with contiguous strides") : 0;
}

static int tl_read_arguments(const tl_entry *e, const tl_ffi_any *args, tl_values *v) {
  for (int i = 0; i < e->num_params; ++i) {
    const tl_param *p = &e->params[i];
    const int failed = p->kind == TL_KIND_TENSOR ? tl_read_tensor(p, &args[i], i, v) : tl_read_number(p, &args[i], i, v);
    if (TL_UNLIKELY(failed)) return failed;
  }
  for (int i = 0; i < e->num_bindings; ++i) {
    const tl_binding *b = &e->bindings[i];
    const int64_t number = v->tensors[b->param]->shape[b->axis];
    if (TL_UNLIKELY(number > b->most))
      return tl_ffi_wrong_tensor(&e->params[b->param].text, v->tensors[b->param], b->reason);
    v->numbers[b->value] = v->cells[b->value].word = number;
  }
  for (int i = 0; i < e->num_params; ++i) {
    if (e->params[i].kind != TL_KIND_TENSOR) continue;
    const int failed = tl_check_shape(&e->params[i], v->tensors[i], v);
    if (TL_UNLIKELY(failed)) return failed;
  }
  return 0;
}

/* ---- launches ----------------------------------------------------------------------------- */

static int64_t tl_apply(int64_t operation, int64_t a, int64_t b) {
  switch (operation) {
    case TL_OP_ADD: return a + b;
    case TL_OP_SUB: return a - b;
    case TL_OP_MUL: return a * b;
    case TL_OP_FLOORDIV: return tl_ffi_floordiv(a, b);
    case TL_OP_FLOORMOD: return tl_ffi_floormod(a, b);
    case TL_OP_MIN: return a < b ? a : b;
    default: return a > b ? a : b;
  }
}

static int64_t tl_evaluate(const int64_t *code, int32_t length, const int64_t *numbers) {
  int64_t stack[TL_MAX_STACK];
  int top = 0;
  for (int i = 0; i < length; i += 2) {
    if (code[i] == TL_OP_CONST) stack[top++] = code[i + 1];
    else if (code[i] == TL_OP_VALUE) stack[top++] = numbers[code[i + 1]];
    else {
      --top;
      stack[top - 1] = tl_apply(code[i], stack[top - 1], stack[top]);
    }
  }
  return stack[0];
}

static int32_t tl_run(tl_entry *e, tl_values *v) {
  tl_call call;
  const void *args[TL_MAX_VALUES];
  const int32_t device = v->device < 0 ? tl_current_device() : v->device;
  int32_t code = tl_begin_program(&e->program, &call, device, TVMFFIEnvGetStream(2, device));
  if (TL_UNLIKELY(code != 0)) return code;
  for (int k = 0; k < e->program.num_kernels && code == 0; ++k) {
    const tl_start *s = &e->starts[k];
    int64_t g[3];
    for (int i = 0; i < 3; ++i) g[i] = tl_evaluate(s->grid[i], s->length[i], v->numbers);
    if (g[0] <= 0 || g[1] <= 0 || g[2] <= 0) continue;
    for (int i = 0; i < s->num_args; ++i) args[i] = &v->cells[s->args[i]];
    code = tl_launch(&call, k, g[0], g[1], g[2], args);
  }
  tl_end(&call);
  return code;
}

static int tl_enter(void *self, const tl_ffi_any *args, int32_t num_args, tl_ffi_any *result) {
  tl_entry *e = self;
  tl_values v;
  (void)result;
  if (TL_UNLIKELY(num_args != e->num_params)) return tl_ffi_wrong_count(e->name, e->names, e->num_params, num_args);
  v.device = -1;
  const int failed = tl_read_arguments(e, args, &v);
  if (TL_UNLIKELY(failed)) return failed;
  const int32_t code = tl_run(e, &v);
  return TL_UNLIKELY(code != 0) ? tl_ffi_kernel_failed(e->name, code, tl_message()) : 0;
}

/* ---- making one --------------------------------------------------------------------------- */

typedef struct {
  const int64_t *next;
  const char *texts;
} tl_reader;

static int64_t tl_word(tl_reader *r) { return *r->next++; }
static const char *tl_string(tl_reader *r) { return r->texts + tl_word(r); }

static const int64_t *tl_words(tl_reader *r, int64_t count) {
  const int64_t *first = r->next;
  r->next += count;
  return first;
}

static void tl_take_tensor(tl_reader *r, tl_param *p) {
  p->alignment = (int)tl_word(r);
  p->num_dtypes = (int32_t)tl_word(r);
  for (int i = 0; i < p->num_dtypes; ++i) p->dtypes[i] = (uint32_t)tl_word(r);
  p->ndim = (int32_t)tl_word(r);
  for (int i = 0; i < p->ndim; ++i) {
    p->shape[i].value = (int32_t)tl_word(r);
    p->shape[i].constant = tl_word(r);
  }
  p->where = tl_string(r);
  p->num_foreign = (int32_t)tl_word(r);
  for (int i = 0; i < p->num_foreign; ++i) p->foreign[i] = (int32_t)tl_word(r);
}

static void tl_take_param(tl_reader *r, tl_param *p, const char *function, int index) {
  p->kind = (int)tl_word(r);
  p->form = (int)tl_word(r);
  p->text.function = function;
  p->text.name = tl_string(r);
  p->text.expected = tl_string(r);
  p->text.index = index;
  if (p->kind == TL_KIND_TENSOR) tl_take_tensor(r, p);
  if (p->kind != TL_KIND_INT) return;
  p->low = tl_word(r);
  p->high = tl_word(r);
  p->range = tl_string(r);
  if (!*p->range) p->range = NULL;
}

static void tl_take_kernel(tl_reader *r, tl_kernel *k, tl_start *s) {
  k->name = tl_string(r);
  k->place = tl_string(r);
  for (int i = 0; i < 3; ++i) k->block[i] = (uint32_t)tl_word(r);
  k->shared_bytes = (uint32_t)tl_word(r);
  k->cooperative = (int)tl_word(r);
  for (int i = 0; i < 3; ++i) {
    s->length[i] = (int32_t)tl_word(r);
    s->grid[i] = tl_words(r, s->length[i]);
  }
  s->num_args = (int32_t)tl_word(r);
  s->args = tl_words(r, s->num_args);
}

static void tl_delete(void *self) {
  tl_entry *e = self;
  free((void *)e->program.kernels);
  free(e->program.functions);
  free(e->params);
  free(e->bindings);
  free(e->starts);
  free(e->memory);
  free(e);
}

/* Words after the version: texts start, name, names, architecture, counts, then the lists. */
static int tl_take_entry(tl_entry *e, tl_reader *r) {
  e->name = tl_string(r);
  e->names = tl_string(r);
  e->program.arch = tl_string(r);
  e->num_params = (int32_t)tl_word(r);
  e->num_bindings = (int32_t)tl_word(r);
  e->program.num_kernels = (int)tl_word(r);
  const size_t kernels = (size_t)e->program.num_kernels;
  tl_kernel *rows = calloc(kernels, sizeof *rows);
  e->program.kernels = rows;
  e->program.functions = calloc(kernels * TL_MAX_DEVICES, sizeof *e->program.functions);
  e->params = calloc((size_t)e->num_params + 1, sizeof *e->params);
  e->bindings = calloc((size_t)e->num_bindings + 1, sizeof *e->bindings);
  e->starts = calloc(kernels, sizeof *e->starts);
  if (!rows || !e->program.functions || !e->params || !e->bindings || !e->starts) return -1;
  for (int i = 0; i < e->num_params; ++i) tl_take_param(r, &e->params[i], e->name, i + 1);
  for (int i = 0; i < e->num_bindings; ++i) {
    tl_binding *b = &e->bindings[i];
    b->value = (int32_t)tl_word(r);
    b->param = (int32_t)tl_word(r);
    b->axis = (int32_t)tl_word(r);
    b->most = tl_word(r);
    b->reason = tl_string(r);
  }
  for (int i = 0; i < e->program.num_kernels; ++i) tl_take_kernel(r, &rows[i], &e->starts[i]);
  return 0;
}

static int tl_fail_make(const char *kind, const char *reason) {
  TVMFFIErrorSetRaisedFromCStr(kind, reason);
  return -1;
}

/* tl_make(table, its bytes, cubin): addresses as integers -> function. The table is copied; the cubin
 * must stay where it is as long as the function. */
TL_FFI_EXPORT int __tvm_ffi_tl_make(void *self, const tl_ffi_any *args, int32_t num_args, tl_ffi_any *result) {
  void *made = NULL;
  (void)self;
  if (num_args != 3) return tl_fail_make("ValueError", "tl_make: expected a table, its size and a cubin");
  const size_t bytes = (size_t)args[1].v_int64;
  tl_entry *e = calloc(1, sizeof *e);
  if (!e || !(e->memory = malloc(bytes))) {
    free(e);
    return tl_fail_make("MemoryError", "tl_make: out of memory");
  }
  memcpy(e->memory, (const void *)(uintptr_t)args[0].v_int64, bytes);
  tl_reader r = {(const int64_t *)e->memory, NULL};
  const int64_t version = tl_word(&r);
  r.texts = e->memory + tl_word(&r);
  e->program.image = (const void *)(uintptr_t)args[2].v_int64;
  if (version != TL_VERSION || tl_take_entry(e, &r) != 0 || TVMFFIFunctionCreate(e, tl_enter, tl_delete, &made) != 0) {
    tl_delete(e);
    return tl_fail_make("RuntimeError", "tl_make: this table was made for another version, or there is no memory");
  }
  result->type_index = TL_FFI_FUNCTION;
  result->small_length = 0;
  result->v_ptr = made;
  return 0;
}
