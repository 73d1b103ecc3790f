/* How a kernel says that something is wrong: the call fails with a message, the process lives on.
 *
 * One tl_fault per call, shared by its blocks; the first message wins. The host function returns
 * TL_CODE_FAULT after copying the message to where its caller finds it: tl_fault_message(), of the
 * calling thread, valid until that thread's next failing call. */
#ifndef TL_FAULT_H
#define TL_FAULT_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define TL_CODE_FAULT 2
#if defined(__clang__)
#define TL_FAULT_COLD static __attribute__((cold, noinline, unused))
#else /* cheap to compile: it runs at most once per call */
#define TL_FAULT_COLD static __attribute__((cold, noinline, unused, optimize("O0")))
#endif

typedef struct {
  int32_t raised;
  char text[1000];
} tl_fault;

static _Thread_local char tl_fault_text[1000];

TL_FAULT_COLD const char *tl_fault_message(void) { return tl_fault_text; }

/* Whether some block has failed: the others may stop. */
static inline __attribute__((always_inline, unused)) int tl_fault_raised(const tl_fault *fault) {
  return __builtin_expect(__atomic_load_n(&fault->raised, __ATOMIC_RELAXED), 0);
}

TL_FAULT_COLD void tl_fault_raise(tl_fault *fault, const char *format, ...) {
  if (__atomic_exchange_n(&fault->raised, 1, __ATOMIC_SEQ_CST)) return;
  va_list values;
  va_start(values, format);
  vsnprintf(fault->text, sizeof fault->text, format, values);
  va_end(values);
}

TL_FAULT_COLD int32_t tl_fault_report(const tl_fault *fault) {
  memcpy(tl_fault_text, fault->text, sizeof tl_fault_text);
  return TL_CODE_FAULT;
}

#endif
